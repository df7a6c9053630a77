//! Closed to open: rows B1 to B22, as far as sockets have a part in them.

use std::time::Duration;

use super::*;
use crate::support::{Client, until};
use crate::unreachable::refusing;

#[test]
fn the_default_opens_after_five_failures_in_a_row() {
    let moody = Moody::start(Mood::Answer(500));
    let gateway = moody.behind("{}").start();
    for _ in 0..4 {
        assert_eq!(gateway.get("/").status, 500);
    }
    moody.become_(Mood::Answer(200));
    gateway.get("/").expect_ok();
    moody.become_(Mood::Answer(500));
    assert_eq!(trip(&gateway), 5);
    assert_eq!(moody.seen(), 10);
    assert_eq!(moves(&gateway, "open", "consecutive_failures"), 1.0);
    assert_eq!(gauge(&gateway), OPEN);
}

/// B1 to B3, with the rate of the rows' set-up.
#[test]
fn b1_b2_b3_a_share_of_failures_opens_it_from_min_requests_on() {
    const RATE: &str = "{ consecutive_failures: off, failure_rate: { percent: 50%, window: 60s, min_requests: 10 } }";
    for (calls, opens) in [
        ("ffff ssss sf", true),
        ("ffff ssss ss", false),
        ("fffff ssss", false),
    ] {
        let moody = Moody::start(Mood::Answer(200));
        let gateway = moody.behind(RATE).start();
        for call in calls.replace(' ', "").chars() {
            moody.become_(Mood::Answer(if call == 'f' { 503 } else { 200 }));
            let answer = gateway.get("/");
            assert_ne!(answer.reason(), "breaker_open", "{calls}");
        }
        let is_open = gauge(&gateway) == OPEN;
        assert_eq!(is_open, opens, "{calls}");
        assert_eq!(
            moves(&gateway, "open", "failure_rate"),
            f64::from(u8::from(opens))
        );
    }
}

/// B9: slow answers open it although each of them succeeds.
#[test]
fn b9_slow_answers_open_it() {
    let moody = Moody::start(Mood::Slow(Duration::from_millis(60)));
    let gateway = moody
        .behind("{ slow_rate: { percent: 50%, slower_than: 50ms, window: 60s, min_requests: 4 } }")
        .start();
    for _ in 0..4 {
        gateway.get("/").expect_ok();
    }
    gateway.get("/").expect_refusal(503, "breaker_open");
    assert_eq!(moves(&gateway, "open", "slow_rate"), 1.0);
}

/// Whoever sends slowly makes nobody else's upstream slow.
#[test]
fn b9_a_slow_upload_is_no_slow_answer() {
    let moody = Moody::start(Mood::Answer(200));
    let gateway = moody
        .behind(
            "{ slow_rate: { percent: 100%, slower_than: 500ms, window: 60s, min_requests: 4 } }",
        )
        .start();
    let mut clients: Vec<Client> = (0..4).map(|_| gateway.client()).collect();
    for client in &mut clients {
        client.send("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 2\r\n\r\na");
    }
    moody.upstream().await_requests(4);
    std::thread::park_timeout(Duration::from_millis(700));
    for client in &mut clients {
        client.send("b");
        client.response().expect_ok();
    }
    let page = gateway.admin_get("/upstreams", "").json();
    assert_eq!(page["upstreams"][0]["breaker"]["slow"]["requests"], 4);
    assert_eq!(gauge(&gateway), CLOSED);
}

/// B11.
#[test]
fn b11_a_refused_connect_a_reset_and_a_timeout_count() {
    let (_held, refuses) = refusing();
    let gateway = Setup::to(refuses)
        .upstream(&format!("circuit_breaker: {THREE}"))
        .route("retry: off")
        .start();
    assert_eq!(trip(&gateway), 3);

    let moody = Moody::start(Mood::Reset);
    let gateway = moody.behind(THREE).start();
    assert_eq!(trip(&gateway), 3);

    let moody = Moody::start(Mood::Wait(Gate::default()));
    let gateway = moody
        .behind(THREE)
        .upstream("timeouts: { response: 50ms }")
        .start();
    for _ in 0..3 {
        gateway.get("/").expect_refusal(504, "upstream_timeout");
    }
    gateway.get("/").expect_refusal(503, "breaker_open");
}

/// B11 and B12: statuses.
#[test]
fn b12_what_a_healthy_upstream_says_does_not_count() {
    for (status, counts) in [
        (500, true),
        (501, true),
        (502, true),
        (503, true),
        (504, true),
        (505, true),
        (400, false),
        (404, false),
        (429, false),
        (499, false),
    ] {
        let moody = Moody::start(Mood::Answer(status));
        let gateway = moody.behind("{ consecutive_failures: 2 }").start();
        for _ in 0..2 {
            assert_eq!(gateway.get("/").status, status);
        }
        let expected = if counts { OPEN } else { CLOSED };
        assert_eq!(gauge(&gateway), expected, "{status}");
    }
}

/// B12: 429 is no success either.
#[test]
fn b12_429_says_nothing() {
    let moody = Moody::start(Mood::Answer(500));
    let gateway = moody.behind(THREE).start();
    for status in [500, 500, 429, 429] {
        moody.become_(Mood::Answer(status));
        assert_eq!(gateway.get("/").status, status);
    }
    moody.become_(Mood::Answer(500));
    assert_eq!(trip(&gateway), 1);
}

#[test]
fn the_list_of_failures_is_the_files() {
    let moody = Moody::start(Mood::Answer(500));
    let gateway = moody
        .behind("{ consecutive_failures: 2, failures: [404, reset] }")
        .start();
    for _ in 0..4 {
        assert_eq!(gateway.get("/").status, 500);
    }
    moody.become_(Mood::Answer(404));
    assert_eq!(trip(&gateway), 2);
}

/// B13.
#[test]
fn b13_a_client_that_leaves_counts_neither_way() {
    let gate = Gate::default();
    let moody = Moody::start(Mood::Answer(500));
    let gateway = moody.behind(THREE).start();
    for _ in 0..2 {
        assert_eq!(gateway.get("/").status, 500);
    }
    moody.become_(Mood::Wait(gate.clone()));
    for left in 1..=4 {
        let mut client = gateway.client();
        client.send_get("/left");
        moody.upstream().await_requests(2 + left);
        client.reset();
        until(PATIENCE, "the gateway noticed", || {
            let labels = [("reason", "client_closed")];
            let seen = gateway.metric("tidegate_gateway_responses_total", &labels);
            seen == Some(left as f64)
        });
    }
    gate.open();
    assert_eq!(gauge(&gateway), CLOSED);
    moody.become_(Mood::Answer(500));
    assert_eq!(trip(&gateway), 1);
}

/// B15: what the gateway answers itself.
#[test]
fn b15_answers_of_the_gateway_are_nobodys_failure() {
    let moody = Moody::start(Mood::Answer(500));
    let gateway = moody.behind(THREE).route("max_body: 10B").start();
    for _ in 0..2 {
        assert_eq!(gateway.get("/").status, 500);
    }
    for _ in 0..5 {
        let mut client = gateway.client();
        client.send("POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n14\r\n01234567890123456789\r\n0\r\n\r\n");
        client.response().expect_refusal(413, "body_too_large");
        let early = "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 11\r\n\r\n01234567890";
        gateway
            .client()
            .ask(early)
            .expect_refusal(413, "body_too_large");
    }
    assert_eq!(gauge(&gateway), CLOSED);
    assert_eq!(trip(&gateway), 1);
}

/// B16: the breaker of an upstream hears of a request once, by its last attempt.
#[test]
fn b16_a_request_counts_once_however_often_it_is_tried() {
    let moody = Moody::start(Mood::Answer(503));
    let gateway = Setup::to(moody.upstream().address())
        .upstream(&format!("circuit_breaker: {THREE}, retry_budget: off"))
        .route("retry: { attempts: 2, on: [503], backoff: off }")
        .start();
    for requests in 1..=3 {
        assert_eq!(gateway.get("/").status, 503);
        assert_eq!(moody.seen(), requests * 3);
    }
    gateway.get("/").expect_refusal(503, "breaker_open");
    assert_eq!(moody.seen(), 9);
}

/// B21: two routes to one upstream share its breaker.
#[test]
fn b21_routes_share_the_breaker_of_their_upstream() {
    let moody = Moody::start(Mood::Answer(500));
    let gateway = moody
        .behind(THREE)
        .before("name: other, match: { path: /other }, upstream: app, retry: off")
        .start();
    for path in ["/", "/other", "/"] {
        assert_eq!(gateway.get(path).status, 500);
    }
    for path in ["/", "/other"] {
        gateway.get(path).expect_refusal(503, "breaker_open");
    }
}

/// B22: a hundred fail at once.
#[test]
fn b22_a_burst_opens_it_once_and_late_results_move_nothing() {
    const BURST: usize = 40;
    let gate = Gate::default();
    let held = gate.clone();
    let upstream = Upstream::start(move |peer| {
        while peer.request().is_some() {
            held.pass();
            if peer.send(answer(500, "late")).is_err() {
                return;
            }
        }
    });
    let gateway = Setup::to(upstream.address())
        .upstream(&format!("circuit_breaker: {THREE}"))
        .route("retry: off")
        .start();
    let mut clients: Vec<Client> = (0..BURST).map(|_| gateway.client()).collect();
    for client in &mut clients {
        client.send_get("/");
    }
    upstream.await_requests(BURST);
    gate.open();
    for client in &mut clients {
        assert_eq!(client.response().status, 500);
    }
    assert_eq!(moves(&gateway, "open", "consecutive_failures"), 1.0);
    let all = gateway.metric("tidegate_breaker_transitions_total", &[]);
    assert_eq!(all, Some(1.0));
}

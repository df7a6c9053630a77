//! While it is open: rows B23 to B30, and what stands in for the upstream.

use serde_json::json;

use super::*;
use crate::support::{Echo, Report, until};

/// B23 and B24.
#[test]
fn b23_b24_an_open_breaker_answers_itself_and_the_upstream_sees_nothing() {
    let moody = Moody::start(Mood::Answer(500));
    let gateway = moody.behind(THREE).start();
    assert_eq!(trip(&gateway), 3);
    let mut client = gateway.client();
    for _ in 0..200 {
        let refused = client.get("/");
        refused.expect_refusal(503, "breaker_open");
        let seconds: u64 = refused.field("retry-after").unwrap().parse().unwrap();
        assert!((1..=60).contains(&seconds));
    }
    assert_eq!(moody.seen(), 3);
    let line = gateway.await_access("reason", "breaker_open");
    assert_eq!(line["status"], 503);
    assert_eq!(line.get("attempts"), None);
    let labels = [("reason", "breaker_open")];
    let told = gateway.metric("tidegate_gateway_responses_total", &labels);
    assert_eq!(told, Some(201.0));
}

/// B23: what is left is rounded up.
#[test]
fn b23_retry_after_is_the_time_left_rounded_up() {
    let moody = Moody::start(Mood::Answer(500));
    let gateway = moody
        .behind("{ consecutive_failures: 1, open_for: 1500s }")
        .start();
    let begin = std::time::Instant::now();
    assert_eq!(gateway.get("/").status, 500);
    let refused = gateway.get("/");
    let seconds: u64 = refused.field("retry-after").unwrap().parse().unwrap();
    let most = begin.elapsed().as_secs() + 1;
    assert!((1500 - most..=1500).contains(&seconds), "{seconds}");
}

/// B25.
#[test]
fn b25_no_body_is_asked_for() {
    let moody = Moody::start(Mood::Answer(500));
    let gateway = moody.behind(THREE).start();
    assert_eq!(trip(&gateway), 3);
    let mut client = gateway.client();
    client.send(
        "POST /up HTTP/1.1\r\nHost: a.test\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n",
    );
    // The first thing that comes is the answer, not a 100.
    client.response().expect_refusal(503, "breaker_open");
    let mut client = gateway.client();
    let small = "POST /up HTTP/1.1\r\nHost: a.test\r\nContent-Length: 5\r\n\r\nhello";
    client.ask(small).expect_refusal(503, "breaker_open");
    client.get("/").expect_refusal(503, "breaker_open");
    assert_eq!(moody.seen(), 3);
}

/// B27: the gauge stays 1 until the first probe, and nobody probes without a request.
#[test]
fn b27_without_traffic_it_stays_open() {
    let moody = Moody::start(Mood::Answer(500));
    let gateway = moody
        .behind("{ consecutive_failures: 1, open_for: 50ms, half_open_successes: 1 }")
        .start();
    assert_eq!(gateway.get("/").status, 500);
    let page = || gateway.admin_get("/upstreams", "").json()["upstreams"][0]["breaker"].clone();
    until(PATIENCE, "its time is over", || {
        page()["next_probe_ms"] == json!(0)
    });
    assert_eq!(gauge(&gateway), OPEN);
    assert_eq!(moves(&gateway, "half_open", "timer"), 0.0);
    assert_eq!(moody.seen(), 1);
    moody.become_(Mood::Answer(200));
    gateway.get("/").expect_ok();
    assert_eq!(gauge(&gateway), CLOSED);
    assert_eq!(moves(&gateway, "half_open", "timer"), 1.0);
    assert_eq!(moves(&gateway, "closed", "probes_succeeded"), 1.0);
}

/// B30: a fixed answer.
#[test]
fn b30_a_fixed_answer_stands_in() {
    let moody = Moody::start(Mood::Answer(500));
    let gateway = moody
        .behind("{ consecutive_failures: 1, fallback: { status: 200, headers: { X-From: cache }, body: \"old news\" } }")
        .start();
    assert_eq!(gateway.get("/").status, 500);
    let answer = gateway.get("/stale").expect_ok();
    assert_eq!(answer.text(), "old news");
    assert_eq!(answer.field("x-from"), Some("cache"));
    assert_eq!(answer.reason(), "breaker_open");
    assert_eq!(
        gateway.await_access("path", "/stale")["reason"],
        "breaker_open"
    );
    let labels = [("reason", "breaker_open")];
    let told = gateway.metric("tidegate_gateway_responses_total", &labels);
    assert_eq!(told, Some(1.0));
    assert_eq!(moody.seen(), 1);
}

/// B30: another upstream, with a breaker of its own.
#[test]
fn b30_another_upstream_stands_in_until_its_own_breaker_opens() {
    let (first, second) = (
        Moody::start(Mood::Answer(500)),
        Moody::start(Mood::Answer(200)),
    );
    let third = Echo::start("third");
    let text = first
        .behind("{ consecutive_failures: 1, fallback: { upstream: second } }")
        .text()
        + &format!(
            "  second: {{ endpoints: [\"http://{}\"], circuit_breaker: {{ consecutive_failures: 2, fallback: {{ upstream: third }} }} }}\n  third: {{ endpoints: [\"http://{}\"] }}\n",
            second.upstream().address(),
            third.address(),
        );
    let gateway = Gateway::start(&text);
    assert_eq!(gateway.get("/").status, 500);
    gateway.get("/second").expect_ok();
    assert_eq!(
        gateway.await_access("path", "/second")["upstream"],
        "second"
    );
    second.become_(Mood::Answer(502));
    for _ in 0..2 {
        assert_eq!(gateway.get("/").status, 502);
    }
    let posted = "POST /third HTTP/1.1\r\nHost: a.test\r\nContent-Length: 5\r\n\r\nhello";
    let report = Report::of(gateway.client().ask(posted));
    assert_eq!((report.upstream(), report.body()), ("third", "hello"));
    assert_eq!((first.seen(), second.seen()), (1, 3));
}

#[test]
fn an_observing_breaker_computes_everything_and_refuses_nothing() {
    let moody = Moody::start(Mood::Answer(500));
    let gateway = moody
        .behind(
            "{ consecutive_failures: 3, open_for: 100ms, half_open_successes: 1, mode: observe }",
        )
        .start();
    for seen in 1..=6 {
        assert_eq!(gateway.get("/").status, 500);
        assert_eq!(moody.seen(), seen);
    }
    assert_eq!(moves(&gateway, "open", "consecutive_failures"), 1.0);
    assert_eq!(gauge(&gateway), OPEN);
    moody.become_(Mood::Answer(200));
    until(PATIENCE, "it would have probed and closed", || {
        gateway.get("/").expect_ok();
        gauge(&gateway) == CLOSED
    });
    let text = moody.behind("{ consecutive_failures: 3 }").text();
    gateway.apply(&text);
    moody.become_(Mood::Answer(500));
    assert_eq!(trip(&gateway), 3);
}

#[test]
fn each_move_is_a_line_with_the_numbers_that_caused_it() {
    let moody = Moody::start(Mood::Answer(500));
    let mut gateway = moody
        .behind("{ consecutive_failures: 3, open_for: 50ms, half_open_successes: 1 }")
        .start();
    assert_eq!(trip(&gateway), 3);
    let line = gateway.await_stderr("circuit breaker opened");
    for part in ["app", "consecutive_failures", "3"] {
        assert!(line.contains(part), "{part} in {line}");
    }
    moody.become_(Mood::Answer(200));
    assert_eq!(await_probe(&gateway), 200);
    gateway.await_stderr("circuit breaker probes");
    gateway.await_stderr("circuit breaker closed");
}

//! Connections to upstreams are kept and used again, and one that dies in the meantime is nobody's trouble.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use crate::support::{Echo, Gateway, PATIENCE, Report, Setup, Upstream, answer, scale, until};

#[test]
fn one_connection_serves_many_requests() {
    let echo = Echo::start("app");
    let gateway = Setup::to(echo.address()).top("workers: 1").start();
    let mut client = gateway.client();
    let used: BTreeSet<u64> = (0..20)
        .map(|_| Report::of(client.get("/")).connection())
        .collect();
    assert_eq!(used.len(), 1);
    let other: u64 = Report::of(gateway.get("/")).connection();
    assert!(used.contains(&other), "another client uses it too");
    let idle = [("upstream", "app"), ("state", "idle")];
    gateway.await_metric("tidegate_upstream_connections", &idle, 1.0);
}

#[test]
fn an_upstream_that_closes_is_not_used_again() {
    let upstream =
        Upstream::answering("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok");
    let gateway = Setup::to(upstream.address()).top("workers: 1").start();
    let mut client = gateway.client();
    for count in 1..=5 {
        client.get("/").expect_ok();
        assert_eq!(upstream.connections(), count);
    }
}

/// An upstream whose connections die without a word after `most` answers.
fn dying(most: usize) -> Upstream {
    Upstream::start(move |peer| {
        for _ in 0..most {
            if peer.whole_request().is_none() || peer.send(answer(200, "ok")).is_err() {
                return;
            }
        }
    })
}

/// Sends `count` GETs over `clients` connections and expects 200 each time.
fn expect_all_served(upstream: &Upstream, clients: usize, count: usize) {
    let gateway = Setup::to(upstream.address()).start();
    thread::scope(|scope| {
        for _ in 0..clients {
            scope.spawn(|| {
                let mut client = gateway.client();
                for _ in 0..count / clients {
                    client.get("/").expect_ok();
                }
            });
        }
    });
    assert_eq!(
        gateway.metric("tidegate_gateway_responses_total", &[]),
        None,
        "no answer was ours"
    );
}

#[test]
fn connections_that_die_after_some_answers_are_never_seen() {
    expect_all_served(&dying(3), 4, scale(2_000, 20_000));
}

#[test]
fn connections_that_die_after_each_answer_are_never_seen() {
    expect_all_served(&dying(1), 4, scale(1_000, 10_000));
}

#[test]
fn a_request_that_meets_a_dying_connection_is_sent_again() {
    // Every connection reads its second request and dies without an answer, by an end or by a reset.
    let upstream = Upstream::start(|peer| {
        if peer.whole_request().is_some() && peer.send(answer(200, "ok")).is_ok() {
            let _ = peer.request();
            if peer.number % 2 == 0 {
                peer.reset();
            }
        }
    });
    expect_all_served(&upstream, 2, scale(500, 5_000));
}

#[test]
fn a_post_that_was_sent_is_not_sent_again() {
    let posts = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&posts);
    let upstream = Upstream::start(move |peer| {
        while let Some(request) = peer.request() {
            if request.method == "POST" {
                let _ = peer.body(&request);
                counted.fetch_add(1, Ordering::SeqCst);
                return;
            }
            let _ = peer.send(answer(200, "ok"));
        }
    });
    let gateway = Setup::to(upstream.address()).top("workers: 1").start();
    let mut client = gateway.client();
    for count in 1..=20 {
        client.get("/").expect_ok();
        let post = "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 5\r\n\r\nhello";
        client.ask(post).expect_refusal(502, "upstream_reset");
        assert_eq!(posts.load(Ordering::SeqCst), count);
    }
}

#[test]
fn an_answer_that_began_is_never_asked_for_again() {
    let upstream = Upstream::start(|peer| {
        if peer.whole_request().is_some()
            && peer.send(answer(200, "ok")).is_ok()
            && peer.request().is_some()
        {
            let _ = peer.send("HTTP/1.1 200 O");
        }
    });
    let gateway = Setup::to(upstream.address()).top("workers: 1").start();
    let mut client = gateway.client();
    client.get("/first").expect_ok();
    client.get("/second").expect_refusal(502, "upstream_reset");
    assert_eq!(upstream.requests().len(), 2);
}

#[test]
fn an_idle_connection_is_closed_in_time() {
    let echo = Echo::start("app");
    let gateway = Setup::to(echo.address())
        .upstream("timeouts: { idle: 300ms }")
        .start();
    gateway.get("/").expect_ok();
    assert_eq!(echo.upstream().open(), 1);
    echo.upstream().await_all_closed();
    gateway.get("/").expect_ok();
    assert_eq!(echo.upstream().connections(), 2);
}

#[test]
fn an_old_connection_takes_no_further_request() {
    let echo = Echo::start("app");
    let gateway = Setup::to(echo.address())
        .upstream("pool: { max_age: 300ms }")
        .top("workers: 1")
        .start();
    let mut client = gateway.client();
    let first = Report::of(client.get("/")).connection();
    until(PATIENCE, "a younger connection", || {
        Report::of(client.get("/")).connection() != first
    });
}

#[test]
fn an_old_connection_is_closed_when_it_is_idle() {
    let echo = Echo::start("app");
    let gateway = Setup::to(echo.address())
        .upstream("pool: { max_age: 300ms }, timeouts: { idle: 5m }")
        .start();
    gateway.get("/").expect_ok();
    echo.upstream().await_all_closed();
}

/// An upstream that answers only when twelve ask at once, behind a pool of four.
fn by_the_dozen() -> (Upstream, Gateway) {
    let arrived = AtomicUsize::new(0);
    let upstream = Upstream::start(move |peer| {
        while peer.whole_request().is_some() {
            let dozen = arrived.fetch_add(1, Ordering::SeqCst) / 12 + 1;
            until(PATIENCE, "twelve at once", || {
                arrived.load(Ordering::SeqCst) >= dozen * 12
            });
            if peer.send(answer(200, "ok")).is_err() {
                return;
            }
        }
    });
    let gateway = Setup::to(upstream.address())
        .upstream("pool: { max_idle_per_endpoint: 4 }")
        .top("workers: 1")
        .start();
    (upstream, gateway)
}

fn ask_for_a_dozen(gateway: &Gateway) {
    thread::scope(|scope| {
        for _ in 0..12 {
            scope.spawn(|| gateway.get("/").expect_ok());
        }
    });
}

#[test]
fn no_more_connections_stay_than_the_pool_holds() {
    let (upstream, gateway) = by_the_dozen();
    ask_for_a_dozen(&gateway);
    assert_eq!(upstream.connections(), 12);
    until(PATIENCE, "four connections are kept", || {
        upstream.open() == 4
    });
}

#[test]
fn a_burst_finds_the_connections_of_the_one_before() {
    let (upstream, gateway) = by_the_dozen();
    // On a machine that is held up they may have rested too long in between: then once more.
    until(PATIENCE, "a burst that opens no connection", || {
        let before = upstream.connections();
        ask_for_a_dozen(&gateway);
        upstream.connections() == before
    });
}

#[test]
fn a_broken_upload_does_not_poison_the_pool() {
    let bodies = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&bodies);
    let upstream = Upstream::start(move |peer| {
        while let Some(request) = peer.request() {
            match peer.body(&request) {
                Ok(body) => kept.lock().unwrap().push(String::from_utf8(body).unwrap()),
                Err(_) => return,
            }
            let _ = peer.send(answer(200, "ok"));
        }
    });
    let gateway = Setup::to(upstream.address()).top("workers: 1").start();
    gateway.get("/").expect_ok();
    for _ in 0..5 {
        let mut leaver = gateway.client();
        leaver.send("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 100\r\n\r\nhalf");
        until(PATIENCE, "the upstream sees half", || {
            upstream
                .received()
                .iter()
                .any(|text| text.ends_with("half"))
        });
        leaver.reset();
        let mut next = gateway.client();
        next.ask("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 5\r\n\r\nwhole")
            .expect_ok();
    }
    let bodies = bodies.lock().unwrap();
    assert!(
        bodies.iter().all(|body| body.is_empty() || body == "whole"),
        "{bodies:?}"
    );
}

#[test]
fn endpoints_share_the_work() {
    for (balance, spread) in [("round_robin", 2), ("least_requests", 60)] {
        let upstreams = [(); 3].map(|()| Upstream::answering(answer(200, "ok")));
        let gateway = Setup::to(upstreams[0].address())
            .endpoint(upstreams[1].address())
            .endpoint(upstreams[2].address())
            .upstream(&format!("balance: {balance}"))
            .top("workers: 1")
            .start();
        let mut client = gateway.client();
        for _ in 0..300 {
            client.get("/").expect_ok();
        }
        for upstream in &upstreams {
            let count = upstream.requests().len();
            assert!(count.abs_diff(100) <= spread, "{balance}: {count} of 300");
        }
        let endpoint = upstreams[0].address().to_string();
        let labels = [
            ("upstream", "app"),
            ("endpoint", endpoint.as_str()),
            ("status", "200"),
        ];
        #[allow(clippy::cast_precision_loss)]
        gateway.await_metric(
            "tidegate_upstream_requests_total",
            &labels,
            upstreams[0].requests().len() as f64,
        );
    }
}

#[test]
fn least_requests_avoids_a_busy_endpoint() {
    let gate = crate::support::Gate::default();
    let shut = gate.clone();
    let slow = Upstream::start(move |peer| {
        while peer.whole_request().is_some() {
            shut.pass();
            let _ = peer.send(answer(200, "slow"));
        }
    });
    let fast = Upstream::answering(answer(200, "fast"));
    let gateway = Setup::to(slow.address())
        .endpoint(fast.address())
        .upstream("balance: least_requests, timeouts: { response: 20s }")
        .top("workers: 1")
        .start();
    thread::scope(|scope| {
        let gateway = &gateway;
        // Ask until one request hangs at the slow endpoint; from then on only the fast one is chosen.
        let hanging = scope.spawn(move || {
            let mut client = gateway.client();
            until(PATIENCE, "the slow one is asked", || {
                client.get("/").text() == "slow"
            });
        });
        slow.await_requests(1);
        let mut client = gateway.client();
        for _ in 0..50 {
            assert_eq!(client.get("/").text(), "fast");
        }
        gate.open();
        hanging.join().unwrap();
    });
}

//! Tries and time: what a try may take, what all may take together, and no try for a client that has gone.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::retry::{Deed, doing, retries, retrying};
use crate::support::{Gate, PATIENCE, Setup, Upstream, answer, until};

/// An upstream that keeps every request until the gate opens.
fn silent(gate: &Gate) -> Upstream {
    let gate = gate.clone();
    Upstream::start(move |peer| {
        while peer.whole_request().is_some() {
            gate.pass();
            if peer.send(answer(200, "late")).is_err() {
                return;
            }
        }
    })
}

/// An upstream that answers its third request, and keeps the first two until the gate opens.
fn awake_at_the_third(gate: &Gate) -> Upstream {
    let (arrived, shut) = (AtomicUsize::new(0), gate.clone());
    Upstream::start(move |peer| {
        while peer.whole_request().is_some() {
            if arrived.fetch_add(1, Ordering::SeqCst) < 2 {
                shut.pass();
                return;
            }
            let _ = peer.send(answer(200, "third"));
        }
    })
}

#[test]
fn a_try_that_takes_too_long_is_followed_by_another() {
    for (retry, route) in [
        (
            "attempts: 3, on: [timeout], per_try_timeout: 100ms",
            "max_body: 1MiB",
        ),
        (
            "attempts: 3, on: [timeout]",
            "timeouts: { response: 100ms }",
        ),
    ] {
        let gate = Gate::default();
        let upstream = awake_at_the_third(&gate);
        let gateway = retrying(&upstream, retry).route(route).start();
        let begin = Instant::now();
        assert_eq!(gateway.get("/").expect_ok().text(), "third");
        let took = begin.elapsed();
        assert!(took >= Duration::from_millis(195), "{retry}: {took:?}");
        assert!(retries(&gateway, "timeout") == 2.0);
        assert_eq!(gateway.await_access("path", "/")["attempts"], 3);
        gate.open();
    }
}

#[test]
fn the_time_of_a_try_ends_without_another() {
    let gate = Gate::default();
    let upstream = silent(&gate);
    let gateway = retrying(&upstream, "attempts: 3, on: [503], per_try_timeout: 100ms").start();
    let begin = Instant::now();
    gateway.get("/").expect_refusal(504, "upstream_timeout");
    assert!(
        begin.elapsed() >= Duration::from_millis(95),
        "{:?}",
        begin.elapsed()
    );
    assert_eq!(upstream.requests().len(), 1);
    gate.open();
}

/// B47.
#[test]
fn the_time_of_the_request_ends_all_tries() {
    let gate = Gate::default();
    let upstream = silent(&gate);
    let gateway = retrying(
        &upstream,
        "attempts: 5, on: [timeout], per_try_timeout: 100ms",
    )
    .route("timeouts: { request: 250ms }")
    .start();
    let begin = Instant::now();
    gateway.get("/").expect_refusal(504, "upstream_timeout");
    assert!(
        begin.elapsed() >= Duration::from_millis(245),
        "{:?}",
        begin.elapsed()
    );
    gate.open();
    let attempts = gateway.await_access("path", "/")["attempts"].as_u64();
    let tries = attempts.unwrap() as usize;
    assert!((1..=3).contains(&tries), "{tries}");
    upstream.await_requests(tries);
    upstream.await_all_closed();
    assert_eq!(upstream.requests().len(), tries, "no try came later");
}

#[test]
fn nothing_is_tried_for_a_client_that_has_gone() {
    let upstream = doing(&[Deed::Answer(503); 100]);
    // Of an hour's jitter, a wait too short to leave in is drawn once in many thousand runs.
    let gateway = Setup::to(upstream.address())
        .route("retry: { attempts: 9, on: [503], backoff: { base: 1h, max: 1h } }")
        .start();
    let mut client = gateway.client();
    client.send_get("/");
    until(PATIENCE, "the first try failed", || {
        retries(&gateway, "status") == 1.0
    });
    let busy = [("upstream", "app"), ("state", "busy")];
    gateway.await_metric("tidegate_upstream_connections", &busy, 0.0);
    drop(client);
    let line = gateway.await_access("path", "/");
    assert_eq!(line["reason"], "client_closed");
    assert_eq!(upstream.requests().len(), 1);
    gateway.await_metric("tidegate_requests_in_flight", &[("route", "all")], 0.0);
}

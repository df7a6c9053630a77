//! `max_wait`: requests that come too early wait for their turn, in bounded number, and nobody pays for one that leaves.

use std::thread;
use std::time::{Duration, Instant};

use super::{decisions, limiting};
use crate::support::h2::{CANCEL, RST_STREAM, frame};
use crate::support::{Gateway, H2, PATIENCE, Setup, Upstream, answer, until};

fn waiting(gateway: &Gateway) -> u64 {
    let page = gateway.admin_get("/limits", "").json();
    page["limits"][0]["waiting"].as_u64().unwrap()
}

fn await_waiting(gateway: &Gateway, count: u64) {
    until(PATIENCE, &format!("{count} that wait"), || {
        waiting(gateway) == count
    });
}

fn full_in(gateway: &Gateway) -> f64 {
    let bucket = gateway.admin_get("/limits/one/global", "").json();
    bucket["full_in_seconds"].as_f64().unwrap()
}

#[test]
fn who_comes_too_early_waits_for_his_turn() {
    // So slow that the second comes too early, however loaded the machine is.
    let gateway = limiting("rate: 1/4s, burst: 1, max_wait: 1m").start();
    let mut client = gateway.client();
    let since = Instant::now();
    for _ in 0..2 {
        client.get("/own").expect_ok();
    }
    assert!(
        since.elapsed() >= Duration::from_secs(4),
        "{:?}",
        since.elapsed()
    );
    assert_eq!(decisions(&gateway, "one", "allowed"), 2.0);
    let lines = gateway.await_access_lines(2);
    assert!(lines[0].get("wait_ms").is_none(), "{}", lines[0]);
    assert!(lines[1]["wait_ms"].as_f64() > Some(0.0), "{}", lines[1]);
}

#[test]
fn whose_turn_is_too_far_away_is_refused_at_once() {
    let gateway = limiting("rate: 1/h, burst: 1, max_wait: 90m, key: global").start();
    gateway.get("/own").expect_ok();
    let mut waits = gateway.client();
    waits.send_get("/own");
    await_waiting(&gateway, 1);
    gateway.get("/own").expect_refusal(429, "rate_limited");
    assert_eq!(waiting(&gateway), 1);
}

#[test]
fn only_so_many_wait() {
    let gateway =
        limiting("rate: 1/h, burst: 1, max_wait: 24h, max_waiting: 3, key: global").start();
    gateway.get("/own").expect_ok();
    let waits: Vec<_> = (0..3)
        .map(|_| {
            let mut client = gateway.client();
            client.send_get("/own");
            client
        })
        .collect();
    await_waiting(&gateway, 3);
    let before = full_in(&gateway);
    let refused = gateway.get("/own");
    refused.expect_refusal(429, "rate_limited");
    assert!(refused.field("retry-after").is_some());
    assert!(full_in(&gateway) <= before, "it took nothing");
    assert_eq!((waiting(&gateway), waits.len()), (3, 3));
}

/// A client that leaves gives back its place and its tokens.
#[test]
fn who_leaves_gives_everything_back() {
    let upstream = Upstream::answering(answer(200, "served"));
    let gateway = Setup::to(upstream.address())
        .route("rate_limits: [{ name: one, rate: 1/h, burst: 2, max_wait: 24h, key: global }]")
        .listener("rate_limits: [{ name: all, rate: 1/h, burst: 9, key: global }]")
        .start();
    let waiting = || {
        let page = gateway.admin_get("/limits", "").json();
        let limits = page["limits"].as_array().unwrap();
        let one = limits.iter().find(|limit| limit["name"] == "one").unwrap();
        one["waiting"].as_u64().unwrap()
    };
    for _ in 0..2 {
        gateway.get("/").expect_ok();
    }
    let mut first = gateway.client();
    first.send_get("/");
    let mut second = H2::connect(gateway.address());
    let stream = second.send_get("/");
    until(PATIENCE, "two that wait", || waiting() == 2);
    assert!(full_in(&gateway) > 3.0 * 3600.0);
    first.reset();
    until(PATIENCE, "one that waits", || waiting() == 1);
    second.send(frame(RST_STREAM, 0, stream, CANCEL.to_be_bytes()));
    until(PATIENCE, "nobody that waits", || waiting() == 0);
    assert!(full_in(&gateway) <= 2.0 * 3600.0);
    // The listener's limit had admitted it without a wait, and gets its token back too.
    let left = gateway.admin_get("/limits/all/global", "").json()["left"].clone();
    assert_eq!((left, upstream.requests().len()), (7.into(), 2));
}

/// A turn that would come after the deadline of the request is none.
#[test]
fn nobody_waits_beyond_his_deadline() {
    let gateway = Setup::to("127.0.0.1:9")
        .before(
            "name: own, match: { path: /own }, respond: {}, timeouts: { request: 10m }, \
             rate_limits: [{ name: one, rate: 1/h, burst: 1, max_wait: 24h }]",
        )
        .start();
    gateway.get("/own").expect_ok();
    gateway.get("/own").expect_refusal(429, "rate_limited");
    assert_eq!(waiting(&gateway), 0);
}

#[test]
fn a_listeners_limit_shapes_before_routing() {
    let gateway = limiting("rate: 1000/s")
        .listener("rate_limits: [{ name: all, rate: 10/s, burst: 1, max_wait: 5s }]")
        .start();
    let mut client = gateway.client();
    let since = Instant::now();
    for _ in 0..3 {
        client.get("/own").expect_ok();
    }
    assert!(since.elapsed() >= Duration::from_millis(200));
}

/// The sum of all clients keeps the rate, and everybody gets his turn.
#[test]
fn a_crowd_is_served_at_the_rate() {
    let gateway = limiting("rate: 50/s, burst: 1, max_wait: 30s, key: global").start();
    let since = Instant::now();
    thread::scope(|scope| {
        for _ in 0..10 {
            scope.spawn(|| {
                let mut client = gateway.client();
                for _ in 0..5 {
                    client.get("/own").expect_ok();
                }
            });
        }
    });
    assert!(
        since.elapsed() >= Duration::from_millis(49 * 20),
        "{:?}",
        since.elapsed()
    );
    assert_eq!(decisions(&gateway, "one", "allowed"), 50.0);
    assert_eq!(waiting(&gateway), 0);
}

/// Observing, nobody is made to wait.
#[test]
fn observing_delays_nobody() {
    let gateway =
        limiting("rate: 1/h, burst: 1, max_wait: 90m, key: global, mode: observe").start();
    for _ in 0..4 {
        gateway.get("/own").expect_ok();
    }
    assert_eq!(decisions(&gateway, "one", "allowed"), 2.0);
    assert_eq!(decisions(&gateway, "one", "observed"), 2.0);
}

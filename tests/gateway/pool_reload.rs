//! Reloads and connections: a bound that changes, and endpoints that are gone.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use crate::support::{
    Census, Client, Gate, Gateway, PATIENCE, Setup, Upstream, answer, scale, until,
};

/// What is promised for connections of endpoints that are gone.
const SOON: Duration = Duration::from_secs(1);

/// Before the next sweep of the pool, most likely.
const AT_ONCE: Duration = Duration::from_millis(300);

fn gated(census: &Census, gate: &Gate) -> Upstream {
    let gate = gate.clone();
    census.upstream(move |peer| {
        while peer.whole_request().is_some() {
            gate.pass();
            if peer.send(answer(200, "ok")).is_err() {
                return;
            }
        }
    })
}

fn bounded(upstream: &Upstream, bound: &str) -> Setup {
    Setup::to(upstream.address())
        .upstream(&format!(
            "pool: {{ max_connections_per_endpoint: {bound} }}, timeouts: {{ connect: 20s }}"
        ))
        .top("workers: 2")
}

fn send_all(gateway: &Gateway, count: usize) -> Vec<Client> {
    (0..count)
        .map(|_| {
            let mut client = gateway.client();
            client.send_get("/");
            client
        })
        .collect()
}

fn expect_busy_and_idle(gateway: &Gateway, busy: f64, idle: f64) {
    for (state, value) in [("busy", busy), ("idle", idle)] {
        until(
            PATIENCE,
            &format!("{value} connections are {state}"),
            || {
                let now = gateway.metric("tidegate_upstream_connections", &[("state", state)]);
                // There is no gauge before it was moved.
                (now.unwrap_or(0.0) - value).abs() < 1e-9
            },
        );
    }
}

#[test]
fn a_bound_that_rises_lets_in_who_waits_and_one_that_falls_closes_what_is_idle() {
    let (census, gate) = (Census::default(), Gate::default());
    let upstream = gated(&census, &gate);
    let gateway = bounded(&upstream, "2").start();
    let mut clients = send_all(&gateway, 8);
    gateway.await_metric("tidegate_requests_in_flight", &[("route", "all")], 8.0);
    upstream.await_requests(2);
    assert_eq!(census.most(), 2);
    gateway.apply(&bounded(&upstream, "5").text());
    upstream.await_requests(5);
    assert_eq!(census.most(), 5);
    // All five carry a request: a smaller bound waits for them, and nobody else gets in meanwhile.
    gateway.apply(&bounded(&upstream, "1").text());
    assert_eq!(upstream.requests().len(), 5);
    gate.open();
    for client in &mut clients {
        client.response().expect_ok();
    }
    until(PATIENCE, "one is left", || census.now() == 1);
    assert_eq!(census.most(), 5);
    census.begin_anew();
    for mut client in send_all(&gateway, 8) {
        client.response().expect_ok();
    }
    assert_eq!(census.most(), 1);
    expect_busy_and_idle(&gateway, 0.0, 1.0);
}

#[test]
fn a_smaller_bound_closes_idle_connections_at_once() {
    let (census, gate) = (Census::default(), Gate::default());
    let upstream = gated(&census, &gate);
    let gateway = bounded(&upstream, "6").start();
    let mut clients = send_all(&gateway, 6);
    upstream.await_requests(6);
    gate.open();
    for client in &mut clients {
        client.response().expect_ok();
    }
    expect_busy_and_idle(&gateway, 0.0, 6.0);
    gateway.apply(&bounded(&upstream, "2").text());
    until(SOON, "two are left", || census.now() == 2);
    expect_busy_and_idle(&gateway, 0.0, 2.0);
}

#[test]
fn a_bound_that_changes_under_load_fails_no_request() {
    let census = Census::default();
    let upstream = census.upstream(|peer| peer.serve(|_, _| answer(200, "ok")));
    let gateway = bounded(&upstream, "3").start();
    let ended = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                let mut client = gateway.client();
                for _ in 0..scale(400, 8_000) {
                    if ended.load(Ordering::SeqCst) {
                        return;
                    }
                    client.get("/").expect_ok();
                }
            });
        }
        for number in 0..scale(10, 100) {
            let bound = ["5", "3", "4", "2"][number % 4];
            gateway.apply(&bounded(&upstream, bound).text());
        }
        ended.store(true, Ordering::SeqCst);
    });
    assert!(
        (2..=5).contains(&census.most()),
        "{} at once",
        census.most()
    );
    gateway.apply(&bounded(&upstream, "1").text());
    until(SOON, "at most one is left", || census.now() <= 1);
    expect_busy_and_idle(&gateway, 0.0, 1.0);
    assert_eq!(
        gateway.metric("tidegate_gateway_responses_total", &[]),
        None,
        "no answer was ours"
    );
}

#[test]
fn a_bound_can_be_switched_on_and_off() {
    let (census, gate) = (Census::default(), Gate::default());
    let upstream = gated(&census, &gate);
    let gateway = bounded(&upstream, "off").start();
    let mut clients = send_all(&gateway, 6);
    upstream.await_requests(6);
    gateway.apply(&bounded(&upstream, "2").text());
    gate.open();
    for client in &mut clients {
        client.response().expect_ok();
    }
    // None of the six was counted, so none of them is kept.
    until(PATIENCE, "the uncounted are closed", || census.now() == 0);
    census.begin_anew();
    for mut client in send_all(&gateway, 8) {
        client.response().expect_ok();
    }
    assert!((1..=2).contains(&census.most()));
    gateway.apply(&bounded(&upstream, "off").text());
    for mut client in send_all(&gateway, 8) {
        client.response().expect_ok();
    }
    // What was counted before is kept beside what is not.
    assert!(census.now() >= 1);
}

#[test]
fn idle_connections_of_a_removed_endpoint_are_closed() {
    let (census, gate) = (Census::default(), Gate::default());
    let upstream = gated(&census, &gate);
    let other = Upstream::answering(answer(200, "other"));
    let gateway = bounded(&upstream, "off").start();
    gate.open();
    let mut clients = send_all(&gateway, 6);
    for client in &mut clients {
        client.response().expect_ok();
    }
    assert!(census.now() > 0);
    gateway.apply(&bounded(&other, "off").text());
    until(SOON, "the idle ones are closed", || census.now() == 0);
    expect_busy_and_idle(&gateway, 0.0, 0.0);
    assert_eq!(clients[0].get("/").text(), "other");
}

#[test]
fn busy_connections_of_a_removed_endpoint_are_closed_when_they_come_back() {
    for bound in ["off", "6"] {
        let (census, gate) = (Census::default(), Gate::default());
        let upstream = gated(&census, &gate);
        let other = Upstream::answering(answer(200, "other"));
        let gateway = bounded(&upstream, bound).start();
        let mut clients = send_all(&gateway, 6);
        upstream.await_requests(6);
        gateway.apply(&bounded(&other, bound).text());
        gate.open();
        for client in &mut clients {
            assert_eq!(client.response().expect_ok().text(), "ok");
        }
        until(AT_ONCE, "what came back is closed", || census.now() == 0);
        expect_busy_and_idle(&gateway, 0.0, 0.0);
        assert_eq!(clients[0].get("/").text(), "other");
        // An endpoint that comes back is used as if it had never been away.
        gateway.apply(&bounded(&upstream, bound).text());
        assert_eq!(clients[0].get("/").text(), "ok");
        assert_eq!(census.now(), 1);
    }
}

#[test]
fn requests_that_wait_at_a_removed_endpoint_are_still_served() {
    let (census, gate) = (Census::default(), Gate::default());
    let upstream = gated(&census, &gate);
    let other = Upstream::answering(answer(200, "other"));
    let gateway = bounded(&upstream, "1").start();
    let mut clients = send_all(&gateway, 6);
    gateway.await_metric("tidegate_requests_in_flight", &[("route", "all")], 6.0);
    upstream.await_requests(1);
    gateway.apply(&bounded(&other, "1").text());
    gate.open();
    for client in &mut clients {
        assert_eq!(client.response().expect_ok().text(), "ok");
    }
    until(SOON, "what came back is closed", || census.now() == 0);
    assert_eq!(census.most(), 1);
}

#[test]
fn a_smaller_pool_is_taken_up_by_what_lies_in_it() {
    let gate = Gate::default();
    let census = Census::default();
    let upstream = gated(&census, &gate);
    let setup = |most: usize| {
        Setup::to(upstream.address())
            .upstream(&format!("pool: {{ max_idle_per_endpoint: {most} }}"))
            .top("workers: 2")
    };
    let gateway = setup(100).start();
    let mut clients = send_all(&gateway, 64);
    upstream.await_requests(64);
    gate.open();
    for client in &mut clients {
        client.response().expect_ok();
    }
    gateway.await_metric("tidegate_upstream_connections", &[("state", "busy")], 0.0);
    assert!(census.now() > 20 && census.now() <= 64);
    // Twenty over two workers are ten each; one over two are still four each.
    for (configured, kept) in [(20, 20), (1, 8)] {
        gateway.apply(&setup(configured).text());
        until(SOON, "the others are closed", || census.now() <= kept);
        assert!(census.now() >= kept / 2);
    }
}

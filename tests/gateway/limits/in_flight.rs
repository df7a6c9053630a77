//! `max_in_flight` of a route: exactly so many at once, of all or of each key, whatever becomes of them.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use super::get_with;
use crate::support::h2::{CANCEL, RST_STREAM, frame};
use crate::support::{
    Chat, Client, Gate, Gateway, H2, PATIENCE, Setup, Upstream, answer, echoing, until,
};

/// An upstream that answers `/held` when the gate opens, and all else at once.
fn holding(gate: &Gate) -> Upstream {
    let gate = gate.clone();
    Upstream::start(move |peer| {
        peer.serve(|request, _| {
            if request.target == "/held" {
                gate.pass();
            }
            answer(200, "served")
        });
    })
}

fn held(gateway: &Gateway, upstream: &Upstream, fields: &str) -> Client {
    let before = upstream.requests().len();
    let mut client = gateway.client();
    client.send(get_with("/held", fields));
    upstream.await_requests(before + 1);
    client
}

#[test]
fn a_route_carries_so_many_and_no_more() {
    let gate = Gate::default();
    let upstream = holding(&gate);
    let gateway = Setup::to(upstream.address())
        .route("max_in_flight: 2")
        .start();
    let mut waiting: Vec<_> = (0..2).map(|_| held(&gateway, &upstream, "")).collect();
    let mut client = gateway.client();
    for _ in 0..3 {
        let refused = client.get("/");
        refused.expect_refusal(429, "concurrency_limited");
        assert!(refused.text().contains("route all"));
    }
    assert_eq!(upstream.requests().len(), 2);
    gate.open();
    for client in &mut waiting {
        client.response().expect_ok();
    }
    until(PATIENCE, "a place", || client.get("/").status == 200);
    let labels = [("route", "all"), ("reason", "concurrency_limited")];
    assert!(gateway.metric("tidegate_gateway_responses_total", &labels) >= Some(3.0));
}

#[test]
fn each_key_has_places_of_its_own() {
    let gate = Gate::default();
    let upstream = holding(&gate);
    let gateway = Setup::to(upstream.address())
        .route("max_in_flight: { key: header:x-k, limit: 1 }")
        .start();
    let mut first = held(&gateway, &upstream, "x-k: a\r\n");
    let mut client = gateway.client();
    let mut ask = |fields: &str| client.ask(get_with("/", fields));
    ask("x-k: a\r\n").expect_refusal(429, "concurrency_limited");
    ask("x-k: b\r\n").expect_ok();
    // Without the key the address counts, and two lines are none.
    ask("").expect_ok();
    let mut nobody = held(&gateway, &upstream, "");
    ask("").expect_refusal(429, "concurrency_limited");
    ask("x-k: c\r\nx-k: d\r\n").expect_refusal(429, "concurrency_limited");
    gate.open();
    first.response().expect_ok();
    nobody.response().expect_ok();
    until(PATIENCE, "its place", || ask("x-k: a\r\n").status == 200);
}

/// Whoever leaves, on either protocol, leaves his place.
#[test]
fn who_leaves_leaves_a_place() {
    let gate = Gate::default();
    let upstream = holding(&gate);
    let gateway = Setup::to(upstream.address())
        .route("max_in_flight: 2")
        .start();
    let first = held(&gateway, &upstream, "");
    let mut second = H2::connect(gateway.address());
    let stream = second.send_get("/held");
    upstream.await_requests(2);
    let mut client = gateway.client();
    client.get("/").expect_refusal(429, "concurrency_limited");
    first.reset();
    until(PATIENCE, "a place", || client.get("/").status == 200);
    second.send(frame(RST_STREAM, 0, stream, CANCEL.to_be_bytes()));
    let other = held(&gateway, &upstream, "");
    until(PATIENCE, "another place", || client.get("/").status == 200);
    gate.open();
    drop(other);
}

/// A refusal here gives back what the rate limits gave.
#[test]
fn a_refusal_costs_no_token() {
    let gate = Gate::default();
    let upstream = holding(&gate);
    let gateway = Setup::to(upstream.address())
        .route("max_in_flight: 1, rate_limits: [{ name: one, rate: 1/h, burst: 5, key: global }]")
        .start();
    let mut first = held(&gateway, &upstream, "");
    for _ in 0..9 {
        gateway.get("/").expect_refusal(429, "concurrency_limited");
    }
    assert_eq!(
        gateway.admin_get("/limits/one/global", "").json()["left"],
        4
    );
    gate.open();
    first.response().expect_ok();
}

/// Places are counted over reloads; another bound holds at once.
#[test]
fn a_reload_forgets_nobody() {
    let gate = Gate::default();
    let upstream = holding(&gate);
    let setup = |most: &str| Setup::to(upstream.address()).route(&format!("max_in_flight: {most}"));
    let gateway = setup("2").start();
    let mut waiting: Vec<_> = (0..2).map(|_| held(&gateway, &upstream, "")).collect();
    for (most, status) in [("1", 429), ("3", 200), ("2", 429), ("off", 200)] {
        gateway.apply(&setup(most).text());
        assert_eq!(gateway.get("/").status, status, "{most}");
    }
    gateway.apply(&setup("2").text());
    gate.open();
    for client in &mut waiting {
        client.response().expect_ok();
    }
    until(PATIENCE, "all places", || gateway.get("/").status == 200);
}

/// An open WebSocket is no request that is under way.
#[test]
fn a_websocket_leaves_its_place() {
    let upstream = echoing();
    let gateway = Setup::to(upstream.address())
        .route("max_in_flight: 1")
        .start();
    let mut chats: Vec<_> = (0..3).map(|_| Chat::open(gateway.address(), "/")).collect();
    chats.iter_mut().for_each(|chat| chat.expect_echo("hello"));
}

#[test]
fn under_load_the_upstream_never_sees_more() {
    let (now, most) = (
        AtomicUsize::new(0),
        std::sync::Arc::new(AtomicUsize::new(0)),
    );
    let seen = most.clone();
    let upstream = Upstream::start(move |peer| {
        peer.serve(|_, _| {
            seen.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            thread::yield_now();
            now.fetch_sub(1, Ordering::SeqCst);
            answer(200, "served")
        });
    });
    let gateway = Setup::to(upstream.address())
        .route("max_in_flight: 3")
        .start();
    thread::scope(|scope| {
        for _ in 0..12 {
            scope.spawn(|| {
                let mut client = gateway.client();
                for _ in 0..50 {
                    let status = client.get("/").status;
                    assert!(status == 200 || status == 429, "{status}");
                }
            });
        }
    });
    assert!(most.load(Ordering::SeqCst) <= 3);
    until(PATIENCE, "a place", || gateway.get("/").status == 200);
}

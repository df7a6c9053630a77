//! Bulkheads: how many requests an upstream gets at once, who waits, and who does not count.

use std::time::Duration;

use crate::breaker::{Mood, Moody};
use crate::support::{
    Client, Gate, Gateway, Handshake, PATIENCE, Setup, Upstream, answer, reflecting, until,
};

fn before(upstream: &Upstream, keys: &str) -> Gateway {
    Setup::to(upstream.address())
        .upstream(keys)
        .route("retry: off")
        .start()
}

/// Requests in the bulkhead, and those that wait.
fn counts(gateway: &Gateway) -> (u64, u64) {
    let page = gateway.admin_get("/upstreams", "").json();
    let bulkhead = &page["upstreams"][0]["bulkhead"];
    let number = |key: &str| bulkhead[key].as_u64().expect("a number");
    (number("in_flight"), number("waiting"))
}

fn asking(gateway: &Gateway, count: usize) -> Vec<Client> {
    let mut clients: Vec<Client> = (0..count).map(|_| gateway.client()).collect();
    for client in &mut clients {
        client.send_get("/");
    }
    clients
}

/// B41.
#[test]
fn b41_exactly_as_many_as_the_file_says() {
    let gate = Gate::default();
    let moody = Moody::start(Mood::Wait(gate.clone()));
    let gateway = before(moody.upstream(), "max_in_flight: 10");
    let mut clients = asking(&gateway, 50);
    let refused = [("reason", "upstream_overloaded")];
    gateway.await_metric("tidegate_gateway_responses_total", &refused, 40.0);
    moody.upstream().await_requests(10);
    assert_eq!(counts(&gateway), (10, 0));
    gate.open();
    let answers: Vec<_> = clients.iter_mut().map(Client::response).collect();
    assert_eq!(answers.iter().filter(|a| a.status == 200).count(), 10);
    let other = answers.iter().find(|a| a.status != 200).unwrap();
    other.expect_refusal(503, "upstream_overloaded");
    assert_eq!(other.field("retry-after"), Some("1"));
    assert_eq!((moody.seen(), moody.most()), (10, 10));
    until(PATIENCE, "everybody left", || counts(&gateway) == (0, 0));
    gateway.get("/").expect_ok();
}

/// B43.
#[test]
fn b43_as_many_wait_as_the_queue_holds_and_all_of_them_are_served() {
    let gate = Gate::default();
    let moody = Moody::start(Mood::Wait(gate.clone()));
    let gateway = before(
        moody.upstream(),
        "max_in_flight: 2, queue: { size: 5, timeout: 60s }",
    );
    let mut clients = asking(&gateway, 10);
    let refused = [("reason", "upstream_overloaded")];
    gateway.await_metric("tidegate_gateway_responses_total", &refused, 3.0);
    moody.upstream().await_requests(2);
    assert_eq!(counts(&gateway), (2, 5));
    assert_eq!(moody.seen(), 2);
    gate.open();
    let statuses: Vec<u16> = clients.iter_mut().map(|c| c.response().status).collect();
    assert_eq!(statuses.iter().filter(|s| **s == 200).count(), 7);
    assert!(moody.most() <= 2);
    until(PATIENCE, "lines tell how long they waited", || {
        let lines = gateway.access_log();
        let waits = lines
            .iter()
            .filter(|l| l["status"] == 200 && l.get("wait_ms").is_some());
        waits.count() == 5
    });
}

#[test]
fn the_wait_in_the_queue_is_timed() {
    let gate = Gate::default();
    let moody = Moody::start(Mood::Wait(gate.clone()));
    let gateway = before(
        moody.upstream(),
        "max_in_flight: 1, queue: { size: 5, timeout: 50ms }",
    );
    let mut first = asking(&gateway, 1);
    moody.upstream().await_requests(1);
    gateway.get("/").expect_refusal(503, "upstream_overloaded");
    gate.open();
    first[0].response().expect_ok();
    gateway.get("/").expect_ok();
}

/// B42.
#[test]
fn b42_who_leaves_the_queue_leaves_his_place() {
    let gate = Gate::default();
    let moody = Moody::start(Mood::Wait(gate.clone()));
    let gateway = before(
        moody.upstream(),
        "max_in_flight: 1, queue: { size: 1, timeout: 60s }",
    );
    let mut first = asking(&gateway, 1);
    moody.upstream().await_requests(1);
    let mut second = gateway.client();
    second.send_get("/second");
    until(PATIENCE, "the second waits", || counts(&gateway) == (1, 1));
    second.reset();
    until(PATIENCE, "the second has left", || {
        counts(&gateway) == (1, 0)
    });
    let mut third = gateway.client();
    third.send_get("/third");
    until(PATIENCE, "the third waits", || counts(&gateway) == (1, 1));
    gate.open();
    first[0].response().expect_ok();
    third.response().expect_ok();
    assert_eq!(moody.seen(), 2);
}

#[test]
fn off_is_off_and_a_reload_sets_another_bound() {
    let gate = Gate::default();
    let moody = Moody::start(Mood::Wait(gate.clone()));
    let setup = |keys: &str| {
        Setup::to(moody.upstream().address())
            .upstream(keys)
            .route("retry: off")
    };
    let gateway = setup("max_in_flight: off").start();
    let mut clients = asking(&gateway, 20);
    moody.upstream().await_requests(20);
    gateway.apply(&setup("max_in_flight: 3").text());
    clients.extend(asking(&gateway, 3));
    moody.upstream().await_requests(23);
    gateway.get("/").expect_refusal(503, "upstream_overloaded");
    gateway.apply(&setup("max_in_flight: 2").text());
    gateway.get("/").expect_refusal(503, "upstream_overloaded");
    gate.open();
    for client in &mut clients {
        client.response().expect_ok();
    }
    until(PATIENCE, "everybody left", || counts(&gateway) == (0, 0));
}

#[test]
fn websockets_leave_it() {
    let upstream = reflecting();
    let gateway = before(&upstream, "max_in_flight: 1");
    let mut open: Vec<Client> = Vec::new();
    for _ in 0..3 {
        let mut client = gateway.client();
        client.upgrade(&Handshake::to("/ws"));
        client.expect_echo(b"there");
        open.push(client);
    }
    assert_eq!(counts(&gateway), (0, 0));
}

#[test]
fn streams_that_are_stable_leave_it() {
    let gate = Gate::default();
    let held = gate.clone();
    let upstream = Upstream::start(move |peer| {
        while peer.request().is_some() {
            let begun = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nbegun";
            if peer.send(begun).is_err() {
                return;
            }
            held.pass();
            if peer.send("ended").is_err() {
                return;
            }
        }
    });
    let gateway = before(
        &upstream,
        "max_in_flight: 1, circuit_breaker: { stream_stable_after: 300ms }",
    );
    let mut first = gateway.client();
    first.send_get("/");
    let mut head = first.head();
    assert_eq!(head.status, 200);
    let mut second = gateway.client();
    until(PATIENCE, "the first has left", || {
        second.send_get("/");
        let mut answer = second.head();
        if answer.status == 200 {
            return true;
        }
        second.rest(&mut answer).unwrap();
        false
    });
    gate.open();
    first.rest(&mut head).unwrap();
}

/// Many slow senders keep nobody out; a slow upstream does.
#[test]
fn slow_uploads_do_not_fill_it() {
    let upstream = Upstream::start(|peer| {
        while peer.whole_request().is_some() {
            if peer.send(answer(200, "all")).is_err() {
                return;
            }
        }
    });
    let gateway = before(&upstream, "max_in_flight: 2");
    let mut senders: Vec<Client> = (0..2).map(|_| gateway.client()).collect();
    for sender in &mut senders {
        sender.send("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 10\r\n\r\nhalf");
    }
    upstream.await_requests(2);
    until(PATIENCE, "both have left", || counts(&gateway) == (0, 0));
    gateway.get("/").expect_ok();
    for sender in &mut senders {
        sender.send("andend");
        sender.response().expect_ok();
    }
}

/// The place is kept from try to try, and not lost.
#[test]
fn tries_share_a_place() {
    let moody = Moody::start(Mood::Answer(503));
    let gateway = Setup::to(moody.upstream().address())
        .upstream("max_in_flight: 1, retry_budget: off")
        .route("retry: { attempts: 3, on: [503], backoff: { base: 1ms, max: 5ms } }")
        .start();
    for _ in 0..5 {
        assert_eq!(gateway.get("/").status, 503);
        assert_eq!(counts(&gateway), (0, 0));
    }
    assert_eq!(moody.seen(), 20);
    moody.become_(Mood::Slow(Duration::from_millis(1)));
    gateway.get("/").expect_ok();
}

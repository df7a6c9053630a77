//! Answers that go on after their head: rows B14, B17 and B18, and tunnels.

use std::time::Duration;

use super::*;
use crate::support::{Handshake, Opcode, masked, switching, until};

const TWO: &str = "{ consecutive_failures: 2, stream_stable_after: 100ms }";
/// So long that nothing becomes stable.
const NEVER_STABLE: &str = "{ consecutive_failures: 2, stream_stable_after: 1h }";

const CUT: &str = "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nno more than this";

/// B14.
#[test]
fn b14_a_body_that_breaks_is_a_failure() {
    let moody = Moody::start(Mood::Say(CUT));
    let gateway = moody.behind(NEVER_STABLE).start();
    for _ in 0..2 {
        let mut client = gateway.client();
        client.send_get("/");
        let mut head = client.head();
        assert_eq!(head.status, 200);
        assert!(client.rest(&mut head).is_err());
    }
    until(PATIENCE, "it is open", || gauge(&gateway) == OPEN);
    gateway.get("/").expect_refusal(503, "breaker_open");
}

/// An upstream that answers `/stream` with a body that goes on until the gate opens and breaks then, `/fail` with 500 and
/// all else with 200.
fn streaming(gate: &Gate) -> Upstream {
    let gate = gate.clone();
    Upstream::start(move |peer| {
        while let Some(request) = peer.request() {
            let status = match request.target.as_str() {
                "/stream" => {
                    if peer
                        .send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nbegun")
                        .is_ok()
                    {
                        gate.pass();
                    }
                    return;
                }
                "/fail" => 500,
                _ => 200,
            };
            if peer.send(answer(status, "said")).is_err() {
                return;
            }
        }
    })
}

fn before(upstream: &Upstream, breaker: &str) -> Gateway {
    Setup::to(upstream.address())
        .upstream(&format!("circuit_breaker: {breaker}"))
        .route("retry: off")
        .start()
}

fn failures_in_a_row(gateway: &Gateway) -> serde_json::Value {
    let page = gateway.admin_get("/upstreams", "").json();
    page["upstreams"][0]["breaker"]["consecutive_failures"].clone()
}

/// B18: it settles while it streams; that it breaks later does not count.
#[test]
fn b18_a_body_that_has_streamed_for_long_enough_is_a_success() {
    let gate = Gate::default();
    let upstream = streaming(&gate);
    let gateway = before(&upstream, TWO);
    assert_eq!(gateway.get("/fail").status, 500);
    assert_eq!(failures_in_a_row(&gateway), 1);
    let mut client = gateway.client();
    client.send_get("/stream");
    let mut head = client.head();
    assert_eq!(head.status, 200);
    // Nothing more comes, and yet the row is ended.
    until(PATIENCE, "it counts as a success", || {
        failures_in_a_row(&gateway) == 0
    });
    assert_eq!(gateway.get("/fail").status, 500);
    gate.open();
    assert!(client.rest(&mut head).is_err());
    gateway.await_access("path", "/stream");
    assert_eq!(failures_in_a_row(&gateway), 1);
    assert_eq!(gauge(&gateway), CLOSED);
}

/// B18: what counts as slow is the head.
#[test]
fn b18_a_long_body_is_not_slow() {
    let moody = Moody::start(Mood::Answer(200));
    let gate = Gate::default();
    let upstream = streaming(&gate);
    let gateway = before(
        &upstream,
        "{ stream_stable_after: 50ms, slow_rate: { slower_than: 2s, window: 60s, min_requests: 1 } }",
    );
    drop(moody);
    let mut client = gateway.client();
    client.send_get("/stream");
    assert_eq!(client.head().status, 200);
    until(PATIENCE, "it is settled", || {
        let page = gateway.admin_get("/upstreams", "").json();
        page["upstreams"][0]["breaker"]["slow"]["requests"] == 1
    });
    let page = gateway.admin_get("/upstreams", "").json();
    assert_eq!(page["upstreams"][0]["breaker"]["slow"]["slow"], 0);
    gate.open();
}

/// A probe that streams closes the breaker when it is stable, and not at its head.
#[test]
fn a_streaming_probe_counts_when_it_is_stable() {
    let gate = Gate::default();
    let upstream = streaming(&gate);
    let gateway = before(
        &upstream,
        "{ consecutive_failures: 1, open_for: 100ms, half_open_successes: 1, stream_stable_after: 300ms }",
    );
    assert_eq!(gateway.get("/fail").status, 500);
    let mut client = gateway.client();
    let head = crate::support::until_some(PATIENCE, "a probe streams", || {
        client.send_get("/stream");
        let head = client.head();
        if head.status == 503 {
            let mut head = head;
            client.rest(&mut head).unwrap();
            return None;
        }
        Some(head)
    });
    assert_eq!(head.status, 200);
    until(PATIENCE, "it closed", || gauge(&gateway) == CLOSED);
    assert_eq!(moves(&gateway, "closed", "probes_succeeded"), 1.0);
    gate.open();
}

/// An upstream that accepts every WebSocket and closes it when the gate opens, unless the client has closed it before.
fn dropping(gate: &Gate) -> Upstream {
    let gate = gate.clone();
    Upstream::start(move |peer| {
        while let Some(request) = peer.request() {
            if request.field("upgrade").is_none() {
                if peer.send(answer(500, "no")).is_err() {
                    return;
                }
                continue;
            }
            if peer.send(switching(&request, "")).is_ok() {
                gate.pass();
            }
            return;
        }
    })
}

#[test]
fn an_upstream_that_accepts_websockets_and_drops_them_trips() {
    let gate = Gate::default();
    gate.open();
    let upstream = dropping(&gate);
    let gateway = before(&upstream, NEVER_STABLE);
    // They hold their side of the connection.
    let mut clients: Vec<_> = (0..2).map(|_| gateway.client()).collect();
    for client in &mut clients {
        client.upgrade(&Handshake::to("/ws"));
        client.expect_closed();
    }
    until(PATIENCE, "it is open", || gauge(&gateway) == OPEN);
    let mut client = gateway.client();
    let refused = client.ask(Handshake::to("/ws").text());
    refused.expect_refusal(503, "breaker_open");
}

/// B17: a tunnel that has lived for long enough is a success, whatever becomes of it.
#[test]
fn b17_a_101_counts_when_it_is_stable() {
    let gate = Gate::default();
    let upstream = dropping(&gate);
    let gateway = before(&upstream, TWO);
    assert_eq!(gateway.get("/").status, 500);
    assert_eq!(failures_in_a_row(&gateway), 1);
    let mut client = gateway.client();
    client.upgrade(&Handshake::to("/ws"));
    until(PATIENCE, "it counts as a success", || {
        failures_in_a_row(&gateway) == 0
    });
    assert_eq!(gateway.get("/").status, 500);
    gate.open();
    client.expect_closed();
    drop(client);
    gateway.await_metric("tidegate_websocket_connections", &[], 0.0);
    assert_eq!(failures_in_a_row(&gateway), 1);
    assert_eq!(gauge(&gateway), CLOSED);
}

/// RFC 6455, section 7.1.1: the server is the first to close the connection, because the client has asked for it.
#[test]
fn a_websocket_that_the_client_closes_at_once_is_no_failure() {
    let upstream = Upstream::start(|peer| {
        if peer.accept("").is_some() {
            peer.be_patient();
            // Whatever comes is the client's Close.
            let _ = peer.some_bytes();
        }
    });
    let gateway = before(&upstream, NEVER_STABLE);
    for n in 1..=4 {
        let mut client = gateway.client();
        client.upgrade(&Handshake::to("/ws"));
        client.send(masked(Opcode::Close, true, &[0x03, 0xe8]));
        client.expect_closed();
        drop(client);
        let labels = [("by", "upstream")];
        gateway.await_metric("tidegate_websocket_closes_total", &labels, f64::from(n));
    }
    assert_eq!(gauge(&gateway), CLOSED);
    assert_eq!(failures_in_a_row(&gateway), 0);
}

/// A client that takes nothing does not keep a probe's place.
#[test]
fn a_client_that_reads_nothing_holds_no_probe() {
    let moody = Moody::start(Mood::Answer(500));
    let big = Upstream::start(|peer| {
        let mut failed = false;
        while peer.request().is_some() {
            if !std::mem::replace(&mut failed, true) {
                let _ = peer.send(answer(500, "no"));
                continue;
            }
            let _ = peer.send("HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n");
            let block = vec![b'x'; 1 << 20];
            for _ in 0..100 {
                if peer.send(&block).is_err() {
                    return;
                }
            }
        }
    });
    drop(moody);
    let gateway = before(
        &big,
        "{ consecutive_failures: 1, open_for: 50ms, half_open_successes: 1, stream_stable_after: 200ms }",
    );
    assert_eq!(gateway.get("/").status, 500);
    let mut clients = Vec::new();
    until(
        Duration::from_secs(10),
        "it closed by a stream that nobody reads",
        || {
            let mut client = gateway.client();
            client.send_get("/");
            clients.push(client);
            gauge(&gateway) == CLOSED
        },
    );
}

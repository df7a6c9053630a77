//! Upstreams that cannot be reached or keep silent: each deadline of an attempt, and of a request, is held.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use crate::support::{Gate, PATIENCE, Setup, Upstream, answer, until};

/// An address that refuses: bound, so that nobody else gets it, and never listened on.
pub(super) fn refusing() -> (socket2::Socket, SocketAddr) {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket
        .bind(&"127.0.0.1:0".parse::<SocketAddr>().unwrap().into())
        .unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    (socket, address)
}

fn deaf() -> (TcpListener, Vec<TcpStream>, SocketAddr) {
    deaf_at(SocketAddr::from(([127, 0, 0, 1], 0)))
}

/// An address that takes no more connections and does not say so: its queue is full.
pub(crate) fn deaf_at(address: SocketAddr) -> (TcpListener, Vec<TcpStream>, SocketAddr) {
    let socket = socket2::Socket::new(
        socket2::Domain::for_address(address),
        socket2::Type::STREAM,
        None,
    )
    .unwrap();
    socket.bind(&address.into()).unwrap();
    socket.listen(0).unwrap();
    let listener: TcpListener = socket.into();
    let address = listener.local_addr().unwrap();
    let connect = || TcpStream::connect_timeout(&address, Duration::from_millis(200));
    let waiting: Vec<TcpStream> = std::iter::from_fn(|| connect().ok()).take(100).collect();
    assert!(waiting.len() < 100, "the queue is never full");
    (listener, waiting, address)
}

/// An upstream that reads each request and answers it when the gate opens.
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

#[test]
fn an_endpoint_that_refuses_is_502() {
    let (_held, address) = refusing();
    let gateway = Setup::to(address).start();
    let mut client = gateway.client();
    for _ in 0..2 {
        let answer = client.get("/");
        answer.expect_refusal(502, "upstream_connect_failed");
        assert!(
            answer
                .field("proxy-status")
                .unwrap()
                .contains("error=connection_refused"),
            "{answer:?}"
        );
    }
    let labels = [("route", "all"), ("reason", "upstream_connect_failed")];
    gateway.await_metric("tidegate_gateway_responses_total", &labels, 2.0);
}

#[test]
fn an_endpoint_that_refused_loses_for_a_second() {
    let (_held, refuses) = refusing();
    let serves = Upstream::answering(answer(200, "ok"));
    let gateway = Setup::to(refuses)
        .endpoint(serves.address())
        .route("retry: off")
        .start();
    let mut client = gateway.client();
    until(PATIENCE, "one attempt fails", || {
        client.get("/").status == 502
    });
    let failed = Instant::now();
    let statuses: Vec<u16> = (0..30).map(|_| client.get("/").status).collect();
    if failed.elapsed() < Duration::from_millis(900) {
        assert_eq!(statuses, [200; 30]);
    }
    until(PATIENCE, "it is tried again", || {
        client.get("/").status == 502
    });
    assert!(
        failed.elapsed() > Duration::from_millis(900),
        "after {:?}",
        failed.elapsed()
    );
}

#[test]
fn a_connect_that_takes_too_long_is_504() {
    let (_listener, _waiting, address) = deaf();
    let gateway = Setup::to(address)
        .upstream("timeouts: { connect: 300ms }")
        .start();
    let begin = Instant::now();
    gateway
        .get("/")
        .expect_refusal(504, "upstream_connect_timeout");
    assert!(
        begin.elapsed() >= Duration::from_millis(290),
        "too early: {:?}",
        begin.elapsed()
    );
}

#[test]
fn a_head_that_takes_too_long_is_504() {
    let gate = Gate::default();
    let upstream = silent(&gate);
    let gateway = Setup::to(upstream.address())
        .upstream("timeouts: { response: 300ms }")
        .start();
    let begin = Instant::now();
    gateway.get("/").expect_refusal(504, "upstream_timeout");
    assert!(
        begin.elapsed() >= Duration::from_millis(290),
        "too early: {:?}",
        begin.elapsed()
    );
    assert_eq!(
        upstream.requests().len(),
        1,
        "a time-out is not tried again"
    );
    gate.open();
    upstream.await_all_closed();
}

#[test]
fn the_wait_for_the_head_begins_with_the_last_byte_of_the_request() {
    let upstream =
        Upstream::start(|peer| peer.serve(|_, body| answer(200, &body.len().to_string())));
    let gateway = Setup::to(upstream.address())
        .upstream("timeouts: { response: 2s }")
        .start();
    let mut client = gateway.client();
    client.send("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 8\r\n\r\n");
    for _ in 0..8 {
        assert!(
            client.silent_for(Duration::from_millis(300)),
            "the upload was taken for a slow upstream"
        );
        client.send("x");
    }
    assert_eq!(client.response().expect_ok().text(), "8");
}

#[test]
fn a_route_overrides_its_upstream() {
    let gate = Gate::default();
    let upstream = silent(&gate);
    let gateway = Setup::to(upstream.address())
        .upstream("timeouts: { response: 2s }")
        .before(
            "name: patient, match: { path: /patient }, upstream: app, timeouts: { response: off }",
        )
        .before("name: hasty, match: { path: /hasty }, upstream: app, timeouts: { response: 50ms }")
        .start();
    let begin = Instant::now();
    gateway
        .get("/hasty")
        .expect_refusal(504, "upstream_timeout");
    assert!(
        begin.elapsed() < Duration::from_millis(1990),
        "the upstream's own held: {:?}",
        begin.elapsed()
    );
    let mut client = gateway.client();
    assert!(
        client
            .send_get("/patient")
            .silent_for(Duration::from_millis(2300)),
        "off is not off"
    );
    gate.open();
    assert_eq!(client.response().expect_ok().text(), "late");
}

#[test]
fn the_whole_request_has_a_deadline_of_its_own() {
    let gate = Gate::default();
    let upstream = silent(&gate);
    let gateway = Setup::to(upstream.address())
        .route("timeouts: { request: 300ms }")
        .start();
    let begin = Instant::now();
    gateway.get("/").expect_refusal(504, "upstream_timeout");
    assert!(
        begin.elapsed() >= Duration::from_millis(290),
        "too early: {:?}",
        begin.elapsed()
    );
    gate.open();
}

#[test]
fn the_deadline_of_a_request_holds_for_its_body_too() {
    let upstream = Upstream::start(|peer| {
        if peer.whole_request().is_some() {
            let _ = peer.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
            let mut wait = Instant::now();
            while peer.send("1\r\nx\r\n").is_ok() {
                while wait.elapsed() < Duration::from_millis(20) {
                    std::thread::yield_now();
                }
                wait = Instant::now();
            }
        }
    });
    let gateway = Setup::to(upstream.address())
        .route("timeouts: { request: 400ms }")
        .start();
    let mut client = gateway.client();
    let mut head = client.send_get("/").head();
    assert_eq!(head.status, 200);
    let broken = client
        .rest(&mut head)
        .expect_err("the body went on after the deadline");
    assert!(!crate::support::is_timeout(&broken));
    assert_eq!(
        gateway.await_access("path", "/")["reason"],
        "upstream_timeout"
    );
    upstream.await_all_closed();
}

#[test]
fn a_body_that_stalls_is_cut() {
    let upstream = Upstream::start(|peer| {
        if peer.whole_request().is_some() {
            let _ = peer.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello");
            assert!(peer.closed(), "the gateway waits for ever");
        }
    });
    let gateway = Setup::to(upstream.address())
        .upstream("timeouts: { body: 300ms }")
        .start();
    let mut client = gateway.client();
    let mut head = client.send_get("/").head();
    assert_eq!(head.status, 200);
    let broken = client
        .rest(&mut head)
        .expect_err("a body that stalls looks whole");
    assert!(
        !crate::support::is_timeout(&broken),
        "the client was left waiting"
    );
    assert_eq!(
        gateway.await_access("path", "/")["reason"],
        "upstream_timeout"
    );
    upstream.await_all_closed();
}

#[test]
fn a_stream_may_pause_where_the_route_says_so() {
    let gate = Gate::default();
    let shut = gate.clone();
    let upstream = Upstream::start(move |peer| {
        if peer.whole_request().is_some() {
            let _ = peer.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello");
            shut.pass();
            let _ = peer.send("world");
            peer.closed();
        }
    });
    let gateway = Setup::to(upstream.address())
        .upstream("timeouts: { body: 200ms, response: 200ms }")
        .route("timeouts: { body: off }")
        .start();
    let mut client = gateway.client();
    let mut head = client.send_get("/").head();
    let mut writer = client.writer();
    let waiting = std::thread::spawn(move || client.rest(&mut head).map(|()| head.text()));
    // The pipelined second request does not hurry the first.
    std::io::Write::write_all(&mut writer, b"GET /next HTTP/1.1\r\nHost: a.test\r\n\r\n").unwrap();
    let begin = Instant::now();
    until(Duration::from_secs(2), "the pause", || {
        begin.elapsed() > Duration::from_millis(600)
    });
    gate.open();
    assert_eq!(waiting.join().unwrap().unwrap(), "helloworld");
}

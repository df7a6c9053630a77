//! Ends and silences in a tunnel: a half that has ended leaves the other, a silence has a bound.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::{
    Chat, Client, Gate, Gateway, Handshake, Opcode, PATIENCE, Setup, Upstream, echoing, masked,
    plain,
};

use super::{ALL, CLOSES, OPEN, before};

/// A socket through `gateway` that was opened by hand.
fn open(gateway: &Gateway) -> Client {
    let mut client = gateway.client();
    client.upgrade(&Handshake::to("/"));
    client
}

fn idle_after(upstream: &Upstream, time: &str) -> Gateway {
    Setup::to(upstream.address())
        .route(&format!("websocket: {{ idle_timeout: {time} }}"))
        .start()
}

const LONG: usize = 300_000;

#[test]
fn a_client_may_end_first_and_still_be_answered() {
    let upstream = Upstream::start(|peer| {
        if peer.accept("").is_none() {
            return;
        }
        let mut seen = 0;
        loop {
            match peer.some_bytes().unwrap().len() {
                0 => break,
                more => seen += more,
            }
        }
        assert_eq!(seen, LONG, "all of it, then the end");
        peer.send(vec![5; LONG]).unwrap();
    });
    let gateway = before(&upstream);
    let mut client = open(&gateway);
    client.send(vec![3; LONG]);
    client.half_close();
    let answer = client.read_to_end().unwrap();
    assert!(answer == vec![5; LONG], "{} bytes", answer.len());
    upstream.await_all_closed();
    gateway.await_metric(CLOSES, &[("route", "all"), ("by", "client")], 1.0);
}

#[test]
fn an_upstream_may_end_first_and_still_be_told() {
    let heard = Arc::new(AtomicBool::new(false));
    let tell = Arc::clone(&heard);
    let upstream = Upstream::start(move |peer| {
        if peer.accept("").is_none() {
            return;
        }
        peer.send(vec![5; LONG]).unwrap();
        peer.half_close();
        assert!(peer.bytes(LONG).unwrap() == vec![3; LONG]);
        assert!(peer.some_bytes().unwrap().is_empty(), "then the end");
        tell.store(true, Ordering::SeqCst);
    });
    let gateway = before(&upstream);
    let mut client = open(&gateway);
    let first = client.read_to_end().unwrap();
    assert!(first == vec![5; LONG], "{} bytes", first.len());
    client.send(vec![3; LONG]);
    client.half_close();
    upstream.await_all_closed();
    assert!(heard.load(Ordering::SeqCst));
    gateway.await_metric(CLOSES, &[("route", "all"), ("by", "upstream")], 1.0);
    gateway.await_metric(OPEN, &ALL, 0.0);
}

#[test]
fn a_reset_is_felt_at_the_other_end() {
    let upstream = Upstream::start(|peer| {
        if peer.accept("").is_some() {
            assert!(peer.closed(), "the client's reset arrives");
        }
    });
    let gateway = before(&upstream);
    open(&gateway).reset();
    upstream.await_all_closed();
    let rude = Upstream::start(|peer| {
        if peer.accept("").is_some() {
            peer.reset();
        }
    });
    let gateway = before(&rude);
    let mut client = open(&gateway);
    let begin = Instant::now();
    let _ = client.read_to_end();
    assert!(begin.elapsed() < PATIENCE / 2, "it was told at once");
}

#[test]
fn a_socket_may_be_silent_for_a_while() {
    let upstream = echoing();
    let gateway = idle_after(&upstream, "500ms");
    let mut chat = Chat::open(gateway.address(), "/");
    let begin = Instant::now();
    let end = chat.try_read();
    assert!(end.is_err(), "{end:?}");
    assert!(
        begin.elapsed() >= Duration::from_millis(490),
        "{:?}",
        begin.elapsed()
    );
    upstream.await_all_closed();
    gateway.await_metric(CLOSES, &[("route", "all"), ("by", "gateway")], 1.0);
    gateway.await_metric(OPEN, &ALL, 0.0);
}

/// Traffic one way keeps both ways open.
#[test]
fn a_byte_of_either_side_breaks_the_silence() {
    let gate = Gate::default();
    let done = gate.clone();
    let upstream = Upstream::start(move |peer| {
        let Some(request) = peer.accept("") else {
            return;
        };
        while !done.is_open() {
            if request.target == "/talks" {
                peer.send(plain(Opcode::Text, true, b".")).unwrap();
            }
            thread::park_timeout(Duration::from_millis(100));
        }
        peer.closed();
    });
    let gateway = idle_after(&upstream, "600ms");
    let mut listens = gateway.client();
    listens.upgrade(&Handshake::to("/talks"));
    let mut talks = gateway.client();
    talks.upgrade(&Handshake::to("/listens"));
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_millis(1_800) {
        talks.send(masked(Opcode::Text, true, b"."));
        assert_eq!(listens.bytes(3), plain(Opcode::Text, true, b"."));
    }
    gateway.await_metric(OPEN, &ALL, 2.0);
    gate.open();
    listens.read_to_end().unwrap();
    talks.read_to_end().unwrap();
}

#[test]
fn an_upgraded_connection_never_serves_requests_again() {
    let upstream = Upstream::start(|peer| {
        if peer.accept("").is_some() {
            let request = "GET /smuggled HTTP/1.1\r\nHost: a.test\r\n\r\n";
            assert_eq!(peer.bytes(request.len()).unwrap(), request.as_bytes());
            peer.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
                .unwrap();
            assert!(peer.closed());
        }
    });
    let gateway = Setup::to(upstream.address())
        .before("name: ours, match: { path: /smuggled }, respond: { body: ours }")
        .start();
    let mut client = open(&gateway);
    // These are bytes of the tunnel, not a request to the gateway.
    let answer = client.get("/smuggled").expect_ok();
    assert_eq!(answer.text(), "ok");
    drop(client);
    upstream.await_all_closed();
}

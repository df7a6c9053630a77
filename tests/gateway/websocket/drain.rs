//! The end of the gateway, seen by those who hold a WebSocket: no new one begins, the old ones get what time there is.

use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::support::{
    Chat, Client, Gateway, Handshake, Opcode, PATIENCE, Setup, Upstream, masked, reflecting, until,
};

use super::{ALL, OPEN};

fn with_drain(upstream: &Upstream, keys: &str) -> Gateway {
    Setup::to(upstream.address())
        .top(&format!("drain: {{ {keys} }}"))
        .start()
}

fn open(gateway: &Gateway) -> Client {
    let mut client = gateway.client();
    client.upgrade(&Handshake::to("/"));
    client
}

fn await_draining(gateway: &Gateway) {
    until(PATIENCE, "/readyz turns 503", || {
        gateway.admin_get("/readyz", "").status == 503
    });
}

#[test]
fn from_sigterm_on_no_socket_opens() {
    let upstream = reflecting();
    let mut gateway = with_drain(&upstream, "delay: 2s, deadline: 8s");
    let mut kept = gateway.client();
    kept.get("/before").expect_ok();
    let mut socket = open(&gateway);
    gateway.sigterm();
    await_draining(&gateway);
    let seen = upstream.requests().len();
    for mut client in [kept, gateway.client()] {
        let refusal = client.ask(Handshake::to("/").text());
        refusal.expect_refusal(503, "draining");
        let after = refusal.field("retry-after").expect("Retry-After");
        assert!(after.parse::<u32>().is_ok_and(|seconds| seconds > 0));
        assert!(refusal.lists("connection", "close"), "{refusal:?}");
        client.expect_closed();
    }
    assert_eq!(upstream.requests().len(), seen, "no upstream saw them");
    // Requests are served for as long as the delay lasts, and open sockets are not touched.
    gateway.get("/during").expect_ok();
    socket.expect_echo(&masked(Opcode::Text, true, b"still here"));
    gateway.await_metric(OPEN, &ALL, 1.0);
    drop(socket);
    assert_eq!(gateway.wait_exit(PATIENCE).code(), Some(0));
}

#[test]
fn sockets_leave_one_by_one_within_the_time() {
    const SOCKETS: usize = 60;
    let upstream = reflecting();
    let mut gateway = with_drain(&upstream, "delay: 500ms, deadline: 5s");
    let clients: Vec<Client> = (0..SOCKETS).map(|_| open(&gateway)).collect();
    let begin = Instant::now();
    gateway.sigterm();
    let waits: Vec<_> = clients
        .into_iter()
        .map(|mut client| {
            std::thread::spawn(move || {
                client.expect_closed();
                begin.elapsed()
            })
        })
        .collect();
    let mut ends: Vec<Duration> = waits.into_iter().map(|wait| wait.join().unwrap()).collect();
    ends.sort();
    assert!(ends[0] >= Duration::from_millis(490), "{:?}", ends[0]);
    let spread = ends[SOCKETS - 1] - ends[0];
    assert!(spread > Duration::from_secs(1), "all at once: {ends:?}");
    assert!(ends[SOCKETS - 1] < Duration::from_secs(8), "{ends:?}");
    assert_eq!(gateway.wait_exit(PATIENCE).code(), Some(0));
    upstream.await_all_closed();
}

#[test]
fn sockets_that_leave_by_themselves_are_not_waited_for() {
    let upstream = reflecting();
    let mut gateway = with_drain(&upstream, "delay: 200ms, deadline: 30s");
    let clients: Vec<Client> = (0..5).map(|_| open(&gateway)).collect();
    gateway.sigterm();
    until(PATIENCE, "the listener closes", || {
        TcpStream::connect(gateway.address()).is_err()
    });
    drop(clients);
    let begin = Instant::now();
    assert_eq!(gateway.wait_exit(PATIENCE).code(), Some(0));
    assert!(begin.elapsed() < Duration::from_secs(5));
}

#[test]
fn a_socket_that_flows_is_cut_at_the_deadline() {
    let upstream = Upstream::start(|peer| {
        if peer.accept("").is_some() {
            while peer.send([0; 16 * 1024]).is_ok() {}
        }
    });
    let mut gateway = with_drain(&upstream, "delay: 200ms, deadline: 1500ms");
    let mut client = open(&gateway);
    let begin = Instant::now();
    gateway.sigterm();
    let reader = std::thread::spawn(move || client.stream_to_end(&mut |_| {}));
    assert_eq!(gateway.wait_exit(PATIENCE).code(), Some(0));
    assert!(begin.elapsed() < Duration::from_secs(5));
    // An end or a reset, and soon.
    let _ = reader.join().unwrap();
    upstream.await_all_closed();
}

#[test]
fn a_client_of_a_library_sees_its_end() {
    let upstream = reflecting();
    let mut gateway = with_drain(&upstream, "delay: 100ms, deadline: 1s");
    let mut chat = Chat::open(gateway.address(), "/");
    gateway.sigterm();
    let end = chat.try_read();
    assert!(end.is_err(), "{end:?}");
    assert_eq!(gateway.wait_exit(PATIENCE).code(), Some(0));
}

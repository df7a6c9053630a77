//! WebSockets through the gateway: a handshake that both sides mean, then a pipe that changes no byte and forgets none.

mod answers;
mod deaths;
mod drain;
mod fields;
mod handshake;
mod passage;
mod reload;
mod sharing;
mod slow;

use std::net::SocketAddr;

use tokio_tungstenite::tungstenite::{Bytes, Message};

use crate::support::{
    Chat, Client, Gateway, Handshake, Opcode, Setup, Upstream, echoing, masked, plain, reflecting,
    switching,
};

/// How many WebSockets are open now.
const OPEN: &str = "tidegate_websocket_connections";

/// How many have ended, and by whom.
const CLOSES: &str = "tidegate_websocket_closes_total";

/// The route of every test that needs but one.
const ALL: [(&str, &str); 1] = [("route", "all")];

/// A gateway in front of `upstream`.
fn before(upstream: &Upstream) -> Gateway {
    Setup::to(upstream.address()).start()
}

/// The lengths at which a frame's head changes its form, and some beyond.
const LENGTHS: [usize; 9] = [0, 1, 125, 126, 127, 65_535, 65_536, 200_000, 1 << 20];

/// R176, at every length.
fn say_everything(address: SocketAddr) {
    let mut chat = Chat::open(address, "/chat");
    for length in LENGTHS {
        chat.expect_echo(Message::text("t".repeat(length)));
        let bytes: Vec<u8> = (0..length).map(|place| (place % 251) as u8).collect();
        chat.expect_echo(Message::binary(bytes));
    }
    chat.expect_echo(Message::text("Grüße, 世界"));
    chat.close();
}

#[test]
fn texts_and_bytes_come_back_without_a_gateway() {
    say_everything(echoing().address());
}

#[test]
fn texts_and_bytes_come_back() {
    let upstream = echoing();
    say_everything(before(&upstream).address());
}

#[test]
fn many_at_once_do_not_mix() {
    let upstream = echoing();
    let gateway = before(&upstream);
    let mut chats: Vec<Chat> = (0..40)
        .map(|_| Chat::open(gateway.address(), "/chat"))
        .collect();
    for round in 0..5 {
        for (number, chat) in chats.iter_mut().enumerate() {
            chat.send(Message::text(format!("{round} of {number}")));
        }
        for (number, chat) in chats.iter_mut().enumerate() {
            assert_eq!(chat.read(), Message::text(format!("{round} of {number}")));
        }
    }
    gateway.await_metric(OPEN, &ALL, 40.0);
    chats.into_iter().for_each(Chat::close);
    gateway.await_metric(OPEN, &ALL, 0.0);
}

#[test]
fn fragments_stay_fragments() {
    let upstream = reflecting();
    let gateway = before(&upstream);
    let mut client = gateway.client();
    client.upgrade(&Handshake::to("/chat"));
    let frames = [
        masked(Opcode::Text, false, b"Hel"),
        masked(Opcode::Ping, true, b"between"),
        masked(Opcode::Continuation, false, b"l"),
        masked(Opcode::Continuation, true, b"o"),
    ];
    for frame in &frames {
        client.expect_echo(frame);
    }
    // A byte at a time, and all in one.
    for byte in frames.concat() {
        client.expect_echo(&[byte]);
    }
    client.expect_echo(&frames.concat());
}

#[test]
fn fragments_are_one_message_for_the_upstream() {
    let upstream = echoing();
    let gateway = before(&upstream);
    let mut client = gateway.client();
    client.upgrade(&Handshake::to("/chat"));
    client.send(masked(Opcode::Text, false, b"Hel"));
    client.send(masked(Opcode::Ping, true, b"there?"));
    client.send(masked(Opcode::Continuation, true, b"lo"));
    let expected = [
        plain(Opcode::Pong, true, b"there?"),
        plain(Opcode::Text, true, b"Hello"),
    ];
    let expected = expected.concat();
    assert_eq!(client.bytes(expected.len()), expected);
}

#[test]
fn pings_of_both_sides_reach_the_other() {
    let upstream = Upstream::start(|peer| {
        let Some(_) = peer.accept("") else { return };
        let ping = masked(Opcode::Ping, true, b"from the client");
        assert_eq!(peer.bytes(ping.len()).unwrap().len(), ping.len());
        peer.send(plain(Opcode::Pong, true, b"from the client"))
            .unwrap();
        peer.send(plain(Opcode::Ping, true, b"from the upstream"))
            .unwrap();
        // Head, mask and payload of the library's pong.
        let pong = peer.bytes(2 + 4 + 17).unwrap();
        assert_eq!(pong[0], 0x8a, "a pong");
        assert!(peer.closed());
    });
    let gateway = before(&upstream);
    let mut chat = Chat::open(gateway.address(), "/");
    chat.send(Message::Ping(Bytes::from_static(b"from the client")));
    assert_eq!(
        chat.read(),
        Message::Pong(Bytes::from_static(b"from the client"))
    );
    assert_eq!(
        chat.read(),
        Message::Ping(Bytes::from_static(b"from the upstream"))
    );
    // The library sends its pong with what it does next.
    let _ = chat.silent_for(std::time::Duration::from_millis(50));
    drop(chat);
    upstream.await_all_closed();
}

#[test]
fn frames_right_behind_the_handshake_are_not_lost() {
    let upstream = reflecting();
    let gateway = before(&upstream);
    for length in [1, 100, 20_000] {
        let frame = masked(Opcode::Binary, true, &vec![7; length]);
        let mut client = gateway.client();
        client.send([Handshake::to("/").text().as_bytes(), &frame].concat());
        client.expect_switch();
        assert!(client.bytes(frame.len()) == frame, "{length}");
        client.expect_echo(&frame);
    }
}

#[test]
fn frames_in_the_segment_of_the_101_are_not_lost() {
    for length in [1, 100, 20_000] {
        let frame = plain(Opcode::Binary, true, &vec![7; length]);
        let said = frame.clone();
        let upstream = Upstream::start(move |peer| {
            let Some(request) = peer.request() else {
                return;
            };
            let switch = switching(&request, "");
            peer.send([switch.as_bytes(), &said].concat()).unwrap();
            peer.reflect();
        });
        let gateway = before(&upstream);
        let mut client = gateway.client();
        client.upgrade(&Handshake::to("/"));
        assert!(client.bytes(frame.len()) == frame, "{length}");
        client.expect_echo(&masked(Opcode::Text, true, b"and on"));
    }
}

#[test]
fn frames_that_both_sides_send_at_once_are_not_lost() {
    let hello = plain(Opcode::Text, true, b"welcome");
    let said = hello.clone();
    let upstream = Upstream::start(move |peer| {
        let Some(request) = peer.request() else {
            return;
        };
        let switch = switching(&request, "");
        peer.send([switch.as_bytes(), &said].concat()).unwrap();
        peer.reflect();
    });
    let gateway = before(&upstream);
    let frame = masked(Opcode::Binary, true, &[9; 3_000]);
    let mut client = gateway.client();
    client.send([Handshake::to("/").text().as_bytes(), &frame].concat());
    client.expect_switch();
    let expected = [hello, frame].concat();
    assert!(client.bytes(expected.len()) == expected);
}

#[test]
fn a_handshake_in_pieces_is_a_handshake() {
    let upstream = reflecting();
    let gateway = before(&upstream);
    let mut client = gateway.client();
    for piece in Handshake::to("/").text().as_bytes().chunks(7) {
        client.send(piece);
    }
    client.expect_switch();
    client.expect_echo(&masked(Opcode::Text, true, b"whole"));
}

#[test]
fn a_connection_that_served_requests_may_be_upgraded() {
    let upstream = reflecting();
    let gateway = before(&upstream);
    let mut client: Client = gateway.client();
    client.get("/first").expect_ok();
    client.get("/second").expect_ok();
    client.upgrade(&Handshake::to("/third"));
    client.expect_echo(&masked(Opcode::Text, true, b"hello"));
    // The two requests and the handshake went over one connection, and that one serves no request any more.
    assert_eq!(upstream.connections(), 1);
    gateway.get("/fourth").expect_ok();
    assert_eq!(upstream.connections(), 2);
    client.expect_echo(&masked(Opcode::Text, true, b"still there"));
}

#[test]
fn sockets_are_counted_and_are_no_long_requests() {
    let upstream = echoing();
    let gateway = before(&upstream);
    let first = Chat::open(gateway.address(), "/");
    let second = Chat::open(gateway.address(), "/");
    gateway.await_metric(OPEN, &ALL, 2.0);
    let switched = [("route", "all"), ("status", "101")];
    gateway.await_metric("tidegate_requests_total", &switched, 2.0);
    gateway.await_metric("tidegate_requests_in_flight", &ALL, 0.0);
    first.close();
    second.close();
    gateway.await_metric(OPEN, &ALL, 0.0);
    gateway.await_metric("tidegate_websocket_opens_total", &ALL, 2.0);
    gateway.await_metric(CLOSES, &ALL, 2.0);
    gateway.await_metric("tidegate_websocket_duration_seconds_count", &ALL, 2.0);
    let page = gateway.metrics();
    assert_eq!(
        page.sum("tidegate_request_duration_seconds_count", &ALL)
            .unwrap_or_default(),
        0.0,
        "a session is no request that takes hours"
    );
    let mut closes = page.all().iter().filter(|sample| sample.name == CLOSES);
    assert!(closes.all(|sample| sample.labels.contains_key("code")));
    let line = gateway.await_access("method", "GET");
    assert_eq!(line["status"], 101);
}

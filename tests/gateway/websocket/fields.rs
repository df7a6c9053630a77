//! Header fields of a handshake and of its 101: those of every request, and those that make it one.

use crate::support::{Chat, Client, Handshake, KEY, Opcode, Setup, Upstream, masked};

use super::before;

/// An upstream that accepts with further `lines` and sends bytes back.
fn accepting(lines: &'static str) -> Upstream {
    Upstream::start(move |peer| {
        if peer.accept(lines).is_some() {
            peer.reflect();
        }
    })
}

#[test]
fn the_upstream_sees_a_handshake_from_the_gateway() {
    let upstream = accepting("");
    let gateway = Setup::to(upstream.address())
        .route("match: { path_prefix: /chat }, rewrite: { path_prefix: /rooms }")
        .route(
            "request_headers: { remove: [x-debug], set: { x-from: edge }, add: { x-more: two } }",
        )
        .start();
    let handshake = Handshake::to("/chat/7?x=%20")
        .set("Connection", "Upgrade, X-Secret")
        .with("X-Secret", "for this hop")
        .with("Keep-Alive", "timeout=5")
        .with("X-Forwarded-For", "6.6.6.6")
        .with("X-Debug", "1")
        .with("X-More", "one")
        .with("Cookie", "session=1")
        .with("Origin", "http://a.test");
    gateway.client().upgrade(&handshake);
    let request = upstream.requests().remove(0);
    assert_eq!(request.start, "GET /rooms/7?x=%20 HTTP/1.1");
    assert!(request.lists("connection", "upgrade"), "{request:?}");
    assert!(!request.lists("connection", "x-secret"), "{request:?}");
    assert_eq!(request.field("upgrade"), Some("websocket"));
    for (name, value) in [
        ("host", "a.test"),
        ("sec-websocket-key", KEY),
        ("sec-websocket-version", "13"),
        ("cookie", "session=1"),
        ("origin", "http://a.test"),
        ("x-from", "edge"),
        ("x-forwarded-for", "127.0.0.1"),
        ("x-forwarded-proto", "http"),
        ("x-forwarded-host", "a.test"),
    ] {
        assert_eq!(request.field(name), Some(value), "{name}");
    }
    assert!(request.lists("x-more", "one") && request.lists("x-more", "two"));
    for gone in ["x-secret", "keep-alive", "x-debug", "proxy-connection"] {
        assert!(request.all(gone).is_empty(), "{gone}: {request:?}");
    }
    let via = request.field("via").expect("Via");
    assert!(via.starts_with("1.1 "), "{via}");
    let id = request.field("x-request-id").expect("a request id");
    let line = gateway.await_access("method", "GET");
    assert_eq!(
        (&line["status"], &line["request_id"]),
        (&101.into(), &id.into())
    );
}

#[test]
fn the_client_sees_a_101_from_the_gateway() {
    let upstream = accepting(
        "Set-Cookie: a=1\r\nSet-Cookie: b=2\r\nServer: chat\r\nX-Powered-By: x\r\nKeep-Alive: timeout=5\r\n",
    );
    let gateway = Setup::to(upstream.address())
        .route("response_headers: { remove: [x-powered-by], set: { x-edge: here } }")
        .start();
    let head = gateway.client().upgrade(&Handshake::to("/"));
    assert_eq!(head.all("set-cookie"), ["a=1", "b=2"]);
    assert_eq!(head.field("server"), Some("chat"));
    assert_eq!(head.field("x-edge"), Some("here"));
    for gone in ["x-powered-by", "keep-alive", "transfer-encoding"] {
        assert!(head.all(gone).is_empty(), "{gone}: {head:?}");
    }
}

#[test]
fn a_field_that_the_upstream_nominates_stays_there() {
    let upstream = Upstream::start(|peer| {
        let Some(request) = peer.request() else {
            return;
        };
        let switch = crate::support::switching(&request, "X-Hop: 1\r\n");
        let switch = switch.replace("Connection: Upgrade", "Connection: X-Hop, upgrade");
        peer.send(switch).unwrap();
        peer.reflect();
    });
    let gateway = before(&upstream);
    let head = gateway.client().upgrade(&Handshake::to("/"));
    assert!(head.all("x-hop").is_empty(), "{head:?}");
    assert!(!head.lists("connection", "x-hop"), "{head:?}");
}

#[test]
fn a_subprotocol_is_the_upstreams_choice() {
    let upstream = accepting("Sec-WebSocket-Protocol: superchat\r\n");
    let gateway = before(&upstream);
    let chat = Chat::open_with(gateway.address(), "/", |request| {
        request
            .with_sub_protocol("chat")
            .with_sub_protocol("superchat")
    });
    let chosen = chat.answer.headers().get_all("sec-websocket-protocol");
    assert!(chosen.iter().eq(["superchat"]), "{chosen:?}");
    let request = upstream.requests().remove(0);
    let offered = request.all("sec-websocket-protocol").join(", ");
    assert_eq!(offered.replace(", ", ","), "chat,superchat");
    // To choose none is a choice as well.
    let silent = accepting("");
    let gateway = before(&silent);
    let handshake = Handshake::to("/").with("Sec-WebSocket-Protocol", "chat");
    let head = gateway.client().upgrade(&handshake);
    assert!(head.all("sec-websocket-protocol").is_empty());
}

#[test]
fn compression_is_between_the_two_ends() {
    const OFFER: &str = "permessage-deflate; client_max_window_bits; server_no_context_takeover";
    const CHOICE: &str =
        "permessage-deflate; server_no_context_takeover; client_max_window_bits=12";
    let upstream = accepting(
        "Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover; client_max_window_bits=12\r\n",
    );
    let gateway = before(&upstream);
    let mut client: Client = gateway.client();
    let handshake = Handshake::to("/")
        .with("Sec-WebSocket-Extensions", OFFER)
        .with("Sec-WebSocket-Extensions", "x-other");
    let head = client.upgrade(&handshake);
    assert_eq!(head.field("sec-websocket-extensions"), Some(CHOICE));
    let request = upstream.requests().remove(0);
    let offered = request.all("sec-websocket-extensions").join(", ");
    assert_eq!(offered, format!("{OFFER}, x-other"));
    // RSV1 says that a message is compressed.
    let mut frame = masked(Opcode::Text, true, &[0xca, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0]);
    frame[0] |= 0x40;
    client.expect_echo(&frame);
}

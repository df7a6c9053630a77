//! What an upstream may answer to a handshake, and what becomes of the client's connection then.

use std::time::{Duration, Instant};

use crate::support::{
    ACCEPT, Gate, Gateway, Handshake, Opcode, Setup, Upstream, answer, echoing, plain, vacant,
};

use super::{ALL, OPEN, before};

const SWITCH: &str = "HTTP/1.1 101 Switching Protocols\r\n";
const FIELDS: &str = "Upgrade: websocket\r\nConnection: Upgrade\r\n";

/// An upstream that answers every handshake with `head` and a frame behind it, every other request with `served`.
fn saying(head: String) -> Upstream {
    Upstream::start(move |peer| {
        while let Some((request, _)) = peer.whole_request() {
            let handshake = request.lists("upgrade", "websocket");
            let frame = plain(Opcode::Text, true, b"stolen");
            let text = answer(200, "served").into_bytes();
            let said = match handshake {
                true => [head.as_bytes(), &frame].concat(),
                false => text,
            };
            if peer.send(said).is_err() {
                return;
            }
        }
    })
}

/// Fails unless the handshake gets a 502, the upstream's connection ends, and the client's goes on.
fn expect_502(what: &str, handshake: &Handshake, head: &str) {
    eprintln!("{what}");
    let upstream = saying(format!("{SWITCH}{head}\r\n"));
    let gateway = before(&upstream);
    let mut client = gateway.client();
    let refusal = client.ask(handshake.text());
    refusal.expect_refusal(502, "upstream_protocol_error");
    assert!(refusal.all("sec-websocket-accept").is_empty(), "{what}");
    upstream.await_all_closed();
    client.get("/").expect_ok();
    assert_eq!(
        gateway.metric(OPEN, &ALL).unwrap_or_default(),
        0.0,
        "{what}"
    );
}

#[test]
fn a_101_must_answer_this_handshake() {
    let accept = format!("Sec-WebSocket-Accept: {ACCEPT}\r\n");
    let shake = Handshake::to("/");
    let rows = [
        ("no Accept", FIELDS.to_owned()),
        (
            "another Accept",
            format!("{FIELDS}Sec-WebSocket-Accept: HSmrc0sMlYUkAGmm5OPpG2HaGWk=\r\n"),
        ),
        ("two Accepts", format!("{FIELDS}{accept}{accept}")),
        ("no Upgrade", format!("Connection: Upgrade\r\n{accept}")),
        ("no Connection", format!("Upgrade: websocket\r\n{accept}")),
        (
            "another Upgrade",
            format!("Upgrade: h2c\r\nConnection: Upgrade\r\n{accept}"),
        ),
        (
            "a Connection that says something else",
            format!("Upgrade: websocket\r\nConnection: keep-alive\r\n{accept}"),
        ),
        (
            "a subprotocol never offered",
            format!("{FIELDS}{accept}Sec-WebSocket-Protocol: chat\r\n"),
        ),
        (
            "an extension never offered",
            format!("{FIELDS}{accept}Sec-WebSocket-Extensions: permessage-deflate\r\n"),
        ),
    ];
    for (what, head) in rows {
        expect_502(what, &shake, &head);
    }
}

#[test]
fn an_upstream_chooses_from_what_was_offered() {
    let accept = format!("Sec-WebSocket-Accept: {ACCEPT}\r\n");
    let offering = Handshake::to("/")
        .with("Sec-WebSocket-Protocol", "chat, superchat")
        .with("Sec-WebSocket-Extensions", "permessage-deflate");
    for (what, field) in [
        ("another subprotocol", "Sec-WebSocket-Protocol: mqtt"),
        ("its case matters", "Sec-WebSocket-Protocol: Chat"),
        ("two of them", "Sec-WebSocket-Protocol: chat, superchat"),
        ("another extension", "Sec-WebSocket-Extensions: x-mux"),
        (
            "one more than offered",
            "Sec-WebSocket-Extensions: permessage-deflate, x-mux",
        ),
    ] {
        expect_502(what, &offering, &format!("{FIELDS}{accept}{field}\r\n"));
    }
}

#[test]
fn a_101_to_a_plain_request_is_no_answer() {
    let head = format!("{SWITCH}{FIELDS}Sec-WebSocket-Accept: {ACCEPT}\r\n\r\n");
    let upstream = Upstream::start(move |peer| {
        if peer.request().is_some() {
            peer.send(&head).unwrap();
            assert!(peer.closed(), "nothing is tunnelled");
        }
    });
    let gateway = before(&upstream);
    for request in [
        "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n".to_owned(),
        Handshake::to("/").without("Connection").text(),
        Handshake::to("/").version("HTTP/1.0").text(),
    ] {
        let answer = gateway.client().ask(request);
        answer.expect_refusal(502, "upstream_protocol_error");
    }
    upstream.await_all_closed();
}

#[test]
fn any_other_answer_is_an_ordinary_answer() {
    for status in [200, 204, 302, 400, 401, 404, 426, 500, 503] {
        let upstream = Upstream::start(move |peer| {
            while let Some(request) = peer.request() {
                let text = match (request.lists("upgrade", "websocket"), status) {
                    (true, 204) => "HTTP/1.1 204 Said\r\nX-Own: 1\r\n\r\n".to_owned(),
                    (true, _) => answer(status, "no").replace("\r\n\r\n", "\r\nX-Own: 1\r\n\r\n"),
                    (false, _) => answer(200, "served"),
                };
                if peer.send(text).is_err() {
                    return;
                }
            }
        });
        let gateway = before(&upstream);
        let mut client = gateway.client();
        let said = client.ask(Handshake::to("/").text());
        assert_eq!((said.status, said.reason()), (status, ""));
        assert_eq!(said.field("x-own"), Some("1"));
        if status != 204 {
            assert_eq!(said.text(), "no");
        }
        assert!(said.all("sec-websocket-accept").is_empty());
        client.get("/next").expect_ok();
        assert_eq!(upstream.connections(), 1, "{status}: it is used again");
        assert_eq!(gateway.metric(OPEN, &ALL).unwrap_or_default(), 0.0);
        client.ask(Handshake::to("/").text());
        client.get("/next").expect_ok();
    }
}

#[test]
fn an_answer_that_streams_streams() {
    let gate = Gate::default();
    let opened = gate.clone();
    let upstream = Upstream::start(move |peer| {
        let Some(_) = peer.request() else { return };
        peer.send("HTTP/1.1 403 No\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nnot\r\n")
            .unwrap();
        opened.pass();
        peer.send("4\r\n you\r\n0\r\n\r\n").unwrap();
        peer.closed();
    });
    let gateway = before(&upstream);
    let mut client = gateway.client();
    let mut head = client.send(Handshake::to("/").text()).head();
    assert_eq!(head.status, 403);
    gate.open();
    client.rest(&mut head).unwrap();
    assert_eq!(head.text(), "not you");
}

#[test]
fn an_upstream_that_leaves_without_an_answer_is_502() {
    let upstream = Upstream::start(|peer| {
        peer.request();
    });
    let gateway = before(&upstream);
    let mut client = gateway.client();
    let refusal = client.ask(Handshake::to("/").text());
    refusal.expect_refusal(502, "upstream_reset");
    assert_eq!(upstream.connections(), 1, "a handshake is not tried again");
    let half = Upstream::start(|peer| {
        if peer.request().is_some() {
            peer.send("HTTP/1.1 101 Swit").unwrap();
        }
    });
    let gateway = before(&half);
    let refusal = gateway.client().ask(Handshake::to("/").text());
    refusal.expect_refusal(502, "upstream_reset");
}

#[test]
fn an_upstream_that_refuses_is_502() {
    let [address] = vacant();
    let gateway = Setup::to(address).start();
    let mut client = gateway.client();
    let refusal = client.ask(Handshake::to("/").text());
    refusal.expect_refusal(502, "upstream_connect_failed");
    let again = client.ask(Handshake::to("/").text());
    again.expect_refusal(502, "upstream_connect_failed");
}

#[test]
fn a_head_that_never_comes_is_504() {
    let gate = Gate::default();
    let shut = gate.clone();
    let upstream = Upstream::start(move |peer| {
        if peer.request().is_some() {
            shut.pass();
        }
    });
    let gateway = Setup::to(upstream.address())
        .upstream("timeouts: { response: 400ms }")
        .start();
    let begin = Instant::now();
    let refusal = gateway.client().ask(Handshake::to("/").text());
    refusal.expect_refusal(504, "upstream_timeout");
    assert!(begin.elapsed() >= Duration::from_millis(390));
    gate.open();
    upstream.await_all_closed();
}

#[test]
fn no_deadline_of_requests_holds_for_a_socket() {
    let upstream = echoing();
    let gateway = Setup::to(upstream.address())
        .listener("timeouts: { idle: 300ms, request_head: 300ms, request_body: 300ms }")
        .route("timeouts: { request: 400ms }")
        .upstream("timeouts: { response: 300ms, body: 300ms, idle: 300ms }")
        .start();
    let mut chat = crate::support::Chat::open(gateway.address(), "/");
    assert!(chat.silent_for(Duration::from_millis(1_200)));
    chat.expect_echo("still here");
    chat.close();
}

#[test]
fn a_client_that_leaves_before_the_answer_is_gone() {
    let gate = Gate::default();
    let shut = gate.clone();
    let upstream = Upstream::start(move |peer| {
        if peer.request().is_some() {
            shut.pass();
            assert!(peer.closed());
        }
    });
    let gateway: Gateway = before(&upstream);
    let mut client = gateway.client();
    client.send(Handshake::to("/").text());
    upstream.await_requests(1);
    drop(client);
    let line = gateway.await_access("reason", "client_closed");
    assert_eq!(line["status"], 499);
    gate.open();
    upstream.await_all_closed();
    gateway.await_metric("tidegate_requests_in_flight", &ALL, 0.0);
    assert_eq!(gateway.metric(OPEN, &ALL).unwrap_or_default(), 0.0);
}

//! Answers that take their time: server-sent events and long polls pass piece by piece, each at once.

use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use crate::support::{Client, Gateway, PATIENCE, Response, Setup, Upstream};

/// An upstream that sends `head` after each request, and then what the test says, piece by piece, until it says nothing.
fn told(head: &'static str) -> (Upstream, Sender<Vec<u8>>) {
    let (tell, told) = channel::<Vec<u8>>();
    let told: Mutex<Receiver<Vec<u8>>> = Mutex::new(told);
    let upstream = Upstream::start(move |peer| {
        while peer.whole_request().is_some() {
            peer.send(head).unwrap();
            while let Ok(piece) = told.lock().unwrap().recv_timeout(3 * PATIENCE) {
                if piece.is_empty() {
                    break;
                }
                if peer.send(&piece).is_err() {
                    return;
                }
            }
            if !head.contains("chunked") {
                return;
            }
        }
    });
    (upstream, tell)
}

fn chunk(text: &str) -> Vec<u8> {
    format!("{:x}\r\n{text}\r\n", text.len()).into_bytes()
}

const CHUNKED: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-store\r\n\
                       Transfer-Encoding: chunked\r\n\r\n";
const UNTIL_CLOSE: &str =
    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n";

/// Reads one chunk that carries exactly `text`: no more came, and nothing of it is missing.
fn expect_chunk(client: &mut Client, text: &str) {
    let expected = chunk(text);
    let mut came = client.bytes(expected.len());
    let size = expected.iter().position(|byte| *byte == b'\r').unwrap();
    came[..size].make_ascii_lowercase();
    assert_eq!(
        String::from_utf8_lossy(&came),
        String::from_utf8_lossy(&expected)
    );
}

fn expect_head(client: &mut Client) -> Response {
    let head = client.head();
    assert_eq!(head.status, 200);
    assert_eq!(head.field("content-type"), Some("text/event-stream"));
    assert_eq!(head.field("transfer-encoding"), Some("chunked"));
    head
}

fn before(upstream: &Upstream) -> Gateway {
    Setup::to(upstream.address()).start()
}

/// Each event is asked for by the arrival of the one before: an answer that is gathered somewhere never comes.
#[test]
fn each_event_arrives_before_the_next_is_sent() {
    for (head, close) in [(CHUNKED, false), (UNTIL_CLOSE, true)] {
        let (upstream, tell) = told(head);
        let gateway = before(&upstream);
        let mut client = gateway.client();
        client.send_get("/events");
        // The head comes without any event.
        expect_head(&mut client);
        for number in 0..50 {
            let event = format!("id: {number}\ndata: {}\n\n", "x".repeat(number * 37));
            tell.send(if close {
                event.clone().into()
            } else {
                chunk(&event)
            })
            .unwrap();
            expect_chunk(&mut client, &event);
        }
        if !close {
            tell.send(b"0\r\n\r\n".to_vec()).unwrap();
        }
        tell.send(Vec::new()).unwrap();
        assert_eq!(client.bytes(5), b"0\r\n\r\n");
    }
}

#[test]
fn half_an_event_passes_too() {
    let (upstream, tell) = told(UNTIL_CLOSE);
    let gateway = before(&upstream);
    let mut client = gateway.client();
    client.send_get("/events");
    expect_head(&mut client);
    for byte in "data: a\n\n".bytes() {
        tell.send(vec![byte]).unwrap();
        assert_eq!(
            client.bytes(6),
            [b"1\r\n".as_slice(), &[byte], b"\r\n"].concat()
        );
    }
    tell.send(Vec::new()).unwrap();
}

#[test]
fn a_stream_may_pause_longer_than_any_deadline_of_requests() {
    let (upstream, tell) = told(CHUNKED);
    let gateway = Setup::to(upstream.address())
        .listener(
            "timeouts: { idle: 300ms, write: 300ms, request_head: 300ms, request_body: 300ms }",
        )
        .upstream("timeouts: { response: 300ms, idle: 300ms }")
        .start();
    let mut client = gateway.client();
    client.send_get("/events");
    expect_head(&mut client);
    for _ in 0..2 {
        assert!(client.silent_for(Duration::from_millis(900)));
        tell.send(chunk(": still here\n\n")).unwrap();
        expect_chunk(&mut client, ": still here\n\n");
    }
    tell.send(b"0\r\n\r\n".to_vec()).unwrap();
    tell.send(Vec::new()).unwrap();
    assert_eq!(client.bytes(5), b"0\r\n\r\n");
    // The connection is an ordinary one again.
    client.send_get("/more");
    expect_head(&mut client);
    tell.send(b"0\r\n\r\n".to_vec()).unwrap();
    tell.send(Vec::new()).unwrap();
    assert_eq!(client.bytes(5), b"0\r\n\r\n");
}

#[test]
fn the_upstream_hears_of_a_listener_that_left() {
    let (upstream, tell) = told(CHUNKED);
    let gateway = before(&upstream);
    let mut client = gateway.client();
    client.send_get("/events");
    expect_head(&mut client);
    tell.send(chunk("data: 1\n\n")).unwrap();
    expect_chunk(&mut client, "data: 1\n\n");
    let begin = Instant::now();
    drop(client);
    let line = gateway.await_access("reason", "client_closed");
    assert_eq!(line["path"], "/events");
    assert!(begin.elapsed() < PATIENCE / 2);
    let busy = [("upstream", "app"), ("state", "busy")];
    gateway.await_metric("tidegate_upstream_connections", &busy, 0.0);
    tell.send(Vec::new()).unwrap();
    upstream.await_all_closed();
}

#[test]
fn a_long_poll_is_answered_when_there_is_an_answer() {
    let upstream = Upstream::start(|peer| {
        while let Some((request, _)) = peer.whole_request() {
            let pause = Duration::from_millis(if request.target == "/poll" { 700 } else { 0 });
            std::thread::park_timeout(pause);
            let text = crate::support::answer(200, "news");
            if peer.send(text).is_err() {
                return;
            }
        }
    });
    let gateway = Setup::to(upstream.address())
        .listener(
            "timeouts: { idle: 300ms, write: 300ms, request_head: 300ms, request_body: 300ms }",
        )
        .start();
    let mut client = gateway.client();
    for _ in 0..2 {
        let begin = Instant::now();
        assert_eq!(client.get("/poll").expect_ok().text(), "news");
        let waited = begin.elapsed();
        let range = Duration::from_millis(690)..Duration::from_secs(3);
        assert!(range.contains(&waited), "{waited:?}");
    }
}

/// The head of an answer is news by itself.
#[test]
fn a_head_passes_before_its_body() {
    let head = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n";
    let (upstream, tell) = told(head);
    let gateway = before(&upstream);
    let mut client = gateway.client();
    let answer = client.send_get("/").head();
    assert_eq!(answer.field("content-length"), Some("4"));
    tell.send(b"ne".to_vec()).unwrap();
    assert_eq!(client.bytes(2), b"ne");
    tell.send(b"ws".to_vec()).unwrap();
    assert_eq!(client.bytes(2), b"ws");
    tell.send(Vec::new()).unwrap();
}

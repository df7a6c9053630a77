//! How a connection becomes HTTP/2 on clear text, and how it does not.

use std::time::{Duration, Instant};

use crate::support::h2::{PREFACE, PROTOCOL_ERROR, WINDOW_UPDATE, frame, settings};
use crate::support::{Echo, Gateway, H2, Report, Setup};

fn gateway(keys: &str) -> (Echo, Gateway) {
    let echo = Echo::start("app");
    let setup = Setup::to(echo.address());
    let setup = if keys.is_empty() {
        setup
    } else {
        setup.listener(keys)
    };
    let gateway = setup.start();
    (echo, gateway)
}

#[test]
fn both_protocols_are_spoken_on_one_port_by_default() {
    let (_echo, gateway) = gateway("");
    for _ in 0..3 {
        let report = Report::of(H2::connect(gateway.address()).get("/two"));
        assert_eq!((report.method(), report.target()), ("GET", "/two"));
        assert_eq!(report.field("host"), Some("a.test"));
        assert_eq!(report.field("via"), Some("2.0 tidegate"));
        let report = Report::of(gateway.get("/one"));
        assert_eq!(report.field("via"), Some("1.1 tidegate"));
    }
    let line = gateway.await_access("path", "/two");
    assert_eq!(
        (&line["protocol"], &line["status"]),
        (&"HTTP/2".into(), &200.into())
    );
    assert_eq!(gateway.await_access("path", "/one")["protocol"], "HTTP/1.1");
}

#[test]
fn the_preface_may_come_in_any_pieces() {
    let (_echo, gateway) = gateway("");
    let whole = [PREFACE, &settings(&[])].concat();
    let cuts: Vec<Vec<usize>> = vec![
        (1..whole.len()).collect(),
        vec![1],
        vec![3],
        vec![13],
        vec![14],
        vec![15],
        vec![23],
        vec![24],
        vec![25],
        vec![2, 16, 30],
    ];
    for cuts in cuts {
        let mut client = H2::silent(gateway.address());
        let mut from = 0;
        for to in cuts.iter().copied().chain([whole.len()]) {
            client.send(&whole[from..to]);
            // Each piece is a read of its own, or nearly always.
            std::thread::park_timeout(Duration::from_millis(2));
            from = to;
        }
        assert_eq!(client.get("/").status, 200, "cut at {cuts:?}");
    }
}

#[test]
fn requests_may_follow_the_preface_at_once() {
    let (_echo, gateway) = gateway("");
    let mut client = H2::silent(gateway.address());
    client.send([PREFACE, &settings(&[])].concat());
    assert_eq!(client.get("/").status, 200);
}

#[test]
fn methods_that_begin_alike_stay_http1_whatever_the_pieces() {
    let (_echo, gateway) = gateway("");
    for method in ["POST", "PUT", "PATCH", "PROPFIND", "P", "PR", "PRI", "PRIX"] {
        for slow in [false, true] {
            let request =
                format!("{method} /x HTTP/1.1\r\nHost: a.test\r\nContent-Length: 2\r\n\r\nhi");
            let mut client = gateway.client();
            if slow {
                for byte in request.as_bytes().chunks(1) {
                    client.send(byte);
                }
            } else {
                client.send(&request);
            }
            let report = Report::of(client.response());
            assert_eq!((report.method(), report.body()), (method, "hi"));
        }
    }
}

#[test]
fn what_only_looks_like_a_preface_is_no_request() {
    let (echo, gateway) = gateway("");
    let rows: [&[u8]; 5] = [
        b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n",
        b"PRI * HTTP/2.0\r\nHost: a.test\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x06\0\0\0\0\0",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nGET / HTTP/1.1\r\nHost: a.test\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\x04\x08\0\0\0\0\0\0\0\0\x01",
    ];
    for row in rows {
        let mut client = gateway.client();
        client.send(row);
        let said = client.read_to_end().unwrap_or_default();
        let answered = |needle: &[u8]| said.windows(needle.len()).any(|window| window == needle);
        assert!(!answered(b"200"), "{}", String::from_utf8_lossy(&said));
    }
    echo.upstream().expect_untouched();
    gateway.get("/after").expect_ok();
}

#[test]
fn a_preface_after_a_request_is_no_http2() {
    let (_echo, gateway) = gateway("");
    let mut client = gateway.client();
    client.get("/first").expect_ok();
    client.send([PREFACE, &settings(&[])].concat());
    client.response().expect_refusal(400, "bad_request");
}

#[test]
fn http1_alone_refuses_the_preface_readably() {
    let (echo, gateway) = gateway("protocols: [http1]");
    let mut client = gateway.client();
    client.send([PREFACE, &settings(&[])].concat());
    let answer = client.response();
    answer.expect_refusal(400, "bad_request");
    assert!(answer.text().contains("HTTP/2"), "{}", answer.text());
    echo.upstream().expect_untouched();
    gateway.get("/").expect_ok();
}

#[test]
fn http2_alone_refuses_http1_readably() {
    let (echo, gateway) = gateway("protocols: [http2]");
    let mut client = gateway.client();
    let answer = client.get("/");
    answer.expect_refusal(400, "bad_request");
    assert!(answer.text().contains("HTTP/1"), "{}", answer.text());
    assert!(answer.lists("connection", "close"));
    echo.upstream().expect_untouched();
    assert_eq!(H2::connect(gateway.address()).get("/").status, 200);
}

#[test]
fn settings_tell_the_bounds_of_the_file() {
    let (_echo, gateway) = gateway("limits: { h2_streams: 7, head_bytes: 8KiB }");
    let mut client = H2::connect(gateway.address());
    let value = |client: &H2, key: u16| {
        let mut pairs = client.settings.iter();
        pairs.find(|(k, _)| *k == key).map(|(_, value)| *value)
    };
    assert_eq!(value(&client, 3), Some(7), "concurrent streams");
    assert_eq!(value(&client, 4), Some(256 * 1024), "window of a stream");
    assert_eq!(value(&client, 6), Some(16 * 1024), "size of a head");
    assert_eq!(value(&client, 2), None, "nothing is pushed by a server");
    assert_eq!(value(&client, 8), None, "no extended CONNECT");
    // And the window of the connection is widened to 1 MiB.
    let widened = loop {
        let frame = client.read().unwrap().unwrap();
        if frame.kind == WINDOW_UPDATE {
            break frame;
        }
    };
    assert_eq!(
        (widened.stream, widened.payload),
        (0, (1024 * 1024 - 65535u32).to_be_bytes().to_vec())
    );
}

#[test]
fn a_preface_that_is_not_ended_in_time_is_closed_silently() {
    let (_echo, gateway) = gateway("timeouts: { first_byte: 400ms, request_head: 400ms }");
    for pieces in [&PREFACE[..14], &PREFACE[..20], PREFACE] {
        let begin = Instant::now();
        let mut client = gateway.client();
        client.send(pieces);
        let said = client.read_to_end().unwrap();
        assert!(!said.starts_with(b"HTTP/1"));
        assert!(begin.elapsed() >= Duration::from_millis(350));
        assert!(
            begin.elapsed() < Duration::from_secs(4),
            "{:?}",
            begin.elapsed()
        );
    }
    // The beginning of it alone is the beginning of a head of HTTP/1.
    let mut client = gateway.client();
    client.send(&PREFACE[..5]);
    client.response().expect_refusal(408, "request_timeout");
}

#[test]
fn frames_before_settings_are_a_fault() {
    let (_echo, gateway) = gateway("");
    let mut client = H2::silent(gateway.address());
    client.send([PREFACE, &frame(6, 0, 0, [0; 8])].concat());
    assert_eq!(client.end().unwrap_or(PROTOCOL_ERROR), PROTOCOL_ERROR);
}

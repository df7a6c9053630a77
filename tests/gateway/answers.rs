//! Answers that lie: a clean 502, or a body that the client can tell is broken; never a word of the next answer.

use crate::support::{Client, Gateway, Setup, Upstream, answer};

/// A gateway before an upstream that says `bytes` to the first request of each connection and then closes.
fn after(bytes: impl Into<Vec<u8>>) -> (Gateway, Upstream) {
    let upstream = Upstream::saying_once(bytes);
    (Setup::to(upstream.address()).start(), upstream)
}

fn expect_refused(reason: &str, rows: &[(&str, Vec<u8>)]) {
    for (what, bytes) in rows {
        eprintln!("answer: {what}");
        let (gateway, upstream) = after(bytes.clone());
        let mut client = gateway.client();
        client.get("/").expect_refusal(502, reason);
        assert_eq!(
            upstream.requests().len(),
            1,
            "an answer was seen, so nothing is tried again"
        );
        assert_eq!(
            client.get("/").status,
            502,
            "the client's own connection is fine"
        );
        let line = gateway.await_access("reason", reason);
        assert_eq!(
            (&line["route"], &line["upstream"]),
            (&"all".into(), &"app".into())
        );
        let labels = [("route", "all"), ("reason", reason)];
        gateway.await_metric("tidegate_gateway_responses_total", &labels, 2.0);
    }
}

#[test]
fn an_answer_that_is_not_http_is_502() {
    let ok =
        |fields: &str, body: &str| format!("HTTP/1.1 200 OK\r\n{fields}\r\n{body}").into_bytes();
    let large = format!("X-Large: {}\r\n", "a".repeat(1 << 20));
    let rows = [
        (
            "lengths that differ",
            ok("Content-Length: 2\r\nContent-Length: 3\r\n", "abc"),
        ),
        ("a length that is none", ok("Content-Length: two\r\n", "ab")),
        (
            "two codings",
            ok("Transfer-Encoding: gzip, chunked\r\n", "0\r\n\r\n"),
        ),
        (
            "nearly chunked",
            ok("Transfer-Encoding: xchunked\r\n", "0\r\n\r\n"),
        ),
        (
            "chunked twice",
            ok(
                "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
                "0\r\n\r\n",
            ),
        ),
        (
            "chunked twice in a list",
            ok("Transfer-Encoding: chunked, chunked\r\n", "0\r\n\r\n"),
        ),
        ("no status line", b"garbage\r\n\r\n".to_vec()),
        ("no status code", b"HTTP/1.1 OK\r\n\r\n".to_vec()),
        ("a short status code", b"HTTP/1.1 20 OK\r\n\r\n".to_vec()),
        ("a long status code", b"HTTP/1.1 2000 OK\r\n\r\n".to_vec()),
        (
            "a status beyond all classes",
            b"HTTP/1.1 600 Odd\r\nContent-Length: 0\r\n\r\n".to_vec(),
        ),
        (
            "a status far beyond",
            b"HTTP/1.1 999 Odd\r\nContent-Length: 0\r\n\r\n".to_vec(),
        ),
        ("another protocol", b"SSH-2.0-OpenSSH_9.2\r\n".to_vec()),
        (
            "another version",
            b"HTTP/9.9 200 OK\r\nContent-Length: 0\r\n\r\n".to_vec(),
        ),
        (
            "a field without a colon",
            ok("X-Odd\r\nContent-Length: 0\r\n", ""),
        ),
        (
            "a NUL in a field",
            ok("X-Odd: a\0b\r\nContent-Length: 0\r\n", ""),
        ),
        (
            "an upgrade that nobody asked for",
            b"HTTP/1.1 101 Now\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n".to_vec(),
        ),
        ("a head beyond all bounds", ok(&large, "")),
    ];
    expect_refused("upstream_protocol_error", &rows);
}

#[test]
fn a_length_beside_chunked_is_502_or_dropped() {
    let bytes = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
    let (gateway, _upstream) = after(bytes);
    let answer = gateway.get("/");
    if answer.status == 502 {
        answer.expect_refusal(502, "upstream_protocol_error");
    } else {
        assert_eq!(
            (answer.field("content-length"), answer.text().as_str()),
            (None, "hello")
        );
    }
}

#[test]
fn an_end_before_the_head_is_502() {
    let rows = [
        ("nothing", Vec::new()),
        ("half a status line", b"HTTP/1.1 2".to_vec()),
        ("half a head", b"HTTP/1.1 200 OK\r\nContent-Le".to_vec()),
        ("only a promise", b"HTTP/1.1 100 Continue\r\n\r\n".to_vec()),
    ];
    for (what, bytes) in rows {
        eprintln!("answer: {what}");
        let (gateway, _upstream) = after(bytes);
        gateway.get("/").expect_refusal(502, "upstream_reset");
    }
}

#[test]
fn a_reset_before_and_within_the_head_is_502() {
    for bytes in ["", "HTTP/1.1 2", "HTTP/1.1 200 OK\r\nContent-Le"] {
        let upstream = Upstream::start(move |peer| {
            if peer.whole_request().is_some() {
                let _ = peer.send(bytes);
                peer.reset();
            }
        });
        let gateway = Setup::to(upstream.address()).start();
        gateway.get("/").expect_refusal(502, "upstream_reset");
        assert_eq!(
            upstream.requests().len(),
            1,
            "a first use of a connection is not tried again"
        );
        let labels = [("upstream", "app"), ("status", "502")];
        assert_eq!(
            gateway.metric("tidegate_upstream_requests_total", &labels),
            None,
            "nobody answered 502"
        );
    }
}

/// The client must not take what it got for a whole answer, and must not wait.
fn expect_broken(client: &mut Client) {
    let head = client.send_get("/").head();
    assert_eq!(head.status, 200);
    let mut body = head.clone();
    let broken = client
        .rest(&mut body)
        .expect_err("a body that breaks off looks whole");
    assert!(
        !crate::support::is_timeout(&broken),
        "the client was left waiting"
    );
}

#[test]
fn a_body_that_breaks_off_looks_broken() {
    let rows = [
        (
            "short of its length",
            "Content-Length: 100\r\n\r\nten bytes.",
        ),
        (
            "in a chunk",
            "Transfer-Encoding: chunked\r\n\r\n64\r\nten bytes.",
        ),
        (
            "between chunks",
            "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        ),
        (
            "within the last chunk",
            "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n",
        ),
        (
            "in a chunk that is none",
            "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nxyz\r\n",
        ),
    ];
    for (what, rest) in rows {
        eprintln!("body: {what}");
        let (gateway, _upstream) = after(format!("HTTP/1.1 200 OK\r\n{rest}"));
        expect_broken(&mut gateway.client());
        let line = gateway.await_access("path", "/");
        assert_eq!(line["status"], 200, "{line}");
        assert_eq!(
            line["reason"],
            if what.ends_with("none") {
                "upstream_protocol_error"
            } else {
                "upstream_reset"
            },
            "{what} {line}"
        );
    }
}

#[test]
fn a_reset_within_the_body_looks_broken() {
    let upstream = Upstream::start(|peer| {
        if peer.whole_request().is_some() {
            let _ =
                peer.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n");
            peer.reset();
        }
    });
    let gateway = Setup::to(upstream.address()).start();
    let mut client = gateway.client();
    // The reset may overtake the head on its way to the gateway's reader.
    match client.send_get("/").try_response() {
        Ok(answer) => answer.expect_refusal(502, "upstream_reset"),
        Err(broken) => assert!(
            !crate::support::is_timeout(&broken),
            "the client was left waiting"
        ),
    }
}

#[test]
fn a_body_that_ends_with_the_connection_is_whole() {
    let (gateway, _upstream) = after("HTTP/1.1 200 OK\r\n\r\nall of it");
    let mut client = gateway.client();
    assert_eq!(client.get("/").expect_ok().text(), "all of it");
    assert_eq!(
        client.get("/").expect_ok().text(),
        "all of it",
        "the client's connection is kept"
    );
    let (gateway, _upstream) = after("HTTP/1.0 200 OK\r\nX: y\r\n\r\nall of it");
    assert_eq!(gateway.get("/").expect_ok().text(), "all of it");
}

#[test]
fn interim_answers_are_swallowed() {
    let interim = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n";
    let upstream = Upstream::answering(format!("{interim}{}", answer(200, "final")));
    let gateway = Setup::to(upstream.address()).start();
    let mut client = gateway.client();
    for _ in 0..2 {
        assert_eq!(client.get("/").expect_ok().text(), "final");
    }
    let old = client.ask("GET / HTTP/1.0\r\nHost: a.test\r\n\r\n");
    assert_eq!(old.expect_ok().text(), "final");
}

/// An upstream that answers `/odd` with `odd` and everything else with its target.
fn odd(odd: &'static str) -> Upstream {
    Upstream::start(move |peer| {
        peer.serve(|request, _| {
            if request.target == "/odd" {
                odd.to_owned()
            } else {
                answer(200, &request.target)
            }
        });
    })
}

#[test]
fn answers_without_a_body_have_none() {
    for (method, said, status) in [
        ("GET", "HTTP/1.1 204 None\r\n\r\n", 204),
        ("GET", "HTTP/1.1 304 Same\r\nETag: \"a\"\r\n\r\n", 304),
        ("GET", "HTTP/1.1 304 Same\r\nContent-Length: 5\r\n\r\n", 304),
        ("HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", 200),
        (
            "HEAD",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            200,
        ),
        ("HEAD", "HTTP/1.1 200 OK\r\n\r\n", 200),
        (
            "HEAD",
            "HTTP/1.1 404 No\r\nContent-Length: 1000000\r\n\r\n",
            404,
        ),
    ] {
        let upstream = odd(said);
        let gateway = Setup::to(upstream.address()).start();
        let mut client = gateway.client();
        let head = client
            .send(format!("{method} /odd HTTP/1.1\r\nHost: a.test\r\n\r\n"))
            .head();
        assert_eq!(head.status, status, "{said}");
        if method == "HEAD" {
            let length = said
                .split("Content-Length: ")
                .nth(1)
                .and_then(|rest| rest.split("\r\n").next());
            assert_eq!(head.field("content-length"), length, "{said}");
        }
        assert_eq!(client.get("/next").expect_ok().text(), "/next", "{said}");
        assert_eq!(client.get("/third").expect_ok().text(), "/third", "{said}");
    }
}

#[test]
fn bytes_beyond_an_answer_belong_to_nobody() {
    const EVIL: &str = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil";
    let beyond = |head: &str| Box::leak(format!("{head}{EVIL}").into_boxed_str()) as &'static str;
    for (method, said) in [
        (
            "GET",
            beyond("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"),
        ),
        (
            "GET",
            beyond("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"),
        ),
        (
            "GET",
            beyond("HTTP/1.1 204 None\r\nContent-Length: 5\r\n\r\nhello"),
        ),
        ("GET", beyond("HTTP/1.1 304 Same\r\n\r\n")),
        (
            "HEAD",
            beyond("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"),
        ),
    ] {
        let upstream = odd(said);
        let gateway = Setup::to(upstream.address()).top("workers: 1").start();
        let mut client = gateway.client();
        let head = client
            .send(format!("{method} /odd HTTP/1.1\r\nHost: a.test\r\n\r\n"))
            .head();
        if method == "GET" {
            let mut whole = head;
            client.rest(&mut whole).expect("the answer itself is whole");
        }
        for target in ["/1", "/2", "/3"] {
            let answer = gateway.get(target);
            assert_eq!(
                (answer.status, answer.text().as_str()),
                (200, target),
                "after {said:?}"
            );
        }
    }
}

#[test]
fn an_answer_may_come_in_pieces() {
    let upstream = Upstream::start(|peer| {
        while peer.whole_request().is_some() {
            let bytes = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n";
            for byte in bytes.as_bytes().chunks(1) {
                peer.send(byte).unwrap();
            }
        }
    });
    let gateway = Setup::to(upstream.address()).start();
    let mut client = gateway.client();
    for _ in 0..2 {
        assert_eq!(client.get("/").expect_ok().text(), "hello world");
    }
}

//! Bodies on HTTP/2: flow control both ways, trailers, events that pass at once, early answers and clients that leave.

use std::time::Duration;

use crate::support::h2::{
    CANCEL, DATA, END_HEADERS, END_STREAM, HEADERS, NO_ERROR, RST_STREAM, WHOLE, WINDOW_UPDATE,
    block, frame, head,
};
use crate::support::{Echo, Gate, H2, Report, Setup, Upstream, answer, until};

#[test]
fn uploads_of_known_and_unknown_length() {
    let echo = Echo::start("app");
    let gateway = Setup::to(echo.address()).start();
    let mut client = H2::connect(gateway.address());
    let body = vec![b'x'; 200_000];
    let known = [("content-length", "200000")];
    let report = Report::of(client.ask(&head("POST", "/", &known), &body));
    assert_eq!(report.body().len(), body.len());
    assert_eq!(report.field("content-length"), Some("200000"));
    assert_eq!(report.field("transfer-encoding"), None);
    for method in ["POST", "PUT", "GET", "DELETE"] {
        let report = Report::of(client.ask(&head(method, "/", &[]), b"hello"));
        assert_eq!((report.method(), report.body()), (method, "hello"));
        assert_eq!(report.field("transfer-encoding"), Some("chunked"));
        assert_eq!(report.field("content-length"), None);
    }
}

#[test]
fn trailers_pass_both_ways() {
    let upstream = Upstream::start(|peer| {
        while let Some(request) = peer.request() {
            let (body, trailers) = peer.body_and_trailers(&request).unwrap();
            assert_eq!(body, b"hi");
            let told = trailers.iter().find(|(name, _)| name == "x-sum");
            let told = told.map_or("none", |(_, value)| value);
            let text = format!(
                "HTTP/1.1 200 OK\r\nTrailer: x-end\r\nTransfer-Encoding: chunked\r\n\r\n\
                 2\r\nok\r\n0\r\nx-end: {told}\r\n\r\n"
            );
            peer.send(text).unwrap();
        }
    });
    let gateway = Setup::to(upstream.address()).start();
    let mut client = H2::connect(gateway.address());
    for (announced, expected) in [(true, "7"), (false, "none")] {
        let more: &[_] = if announced {
            &[("trailer", "x-sum")]
        } else {
            &[]
        };
        let stream = client.begin(&head("POST", "/", more), END_HEADERS);
        client.send(frame(DATA, 0, stream, b"hi"));
        client.send(frame(HEADERS, WHOLE, stream, block(&[("x-sum", "7")])));
        let answer = client.response(stream);
        assert_eq!(answer.text(), "ok");
        assert_eq!(answer.trailers, [("x-end".to_owned(), expected.to_owned())]);
    }
}

#[test]
fn an_answer_waits_for_windows_and_loses_nothing() {
    let size = 1_000_000;
    let upstream = Upstream::answering(answer(200, &"y".repeat(size)));
    let gateway = Setup::to(upstream.address()).start();
    // The smallest window that still moves, widened byte by byte, then by much.
    let mut client = H2::with(gateway.address(), &[(4, 1)]);
    client.takes = false;
    let stream = client.send_get("/");
    client.until("the first byte", |client| {
        client.so_far(stream).body.len() == 1
    });
    for expected in 2..20 {
        client.send(frame(WINDOW_UPDATE, 0, stream, 1u32.to_be_bytes()));
        client.until("one more byte", |client| {
            client.so_far(stream).body.len() == expected
        });
    }
    assert!(client.silent_for(Duration::from_millis(200)));
    client.send(frame(WINDOW_UPDATE, 0, stream, 2_000_000u32.to_be_bytes()));
    // Now the connection's window is what holds it.
    client.until("the window of the connection", |client| {
        client.so_far(stream).body.len() == 65_535
    });
    client.send(frame(WINDOW_UPDATE, 0, 0, 2_000_000u32.to_be_bytes()));
    assert_eq!(client.response(stream).body.len(), size);
}

#[test]
fn an_upload_gets_windows_as_the_upstream_reads() {
    let gate = Gate::default();
    let shut = gate.clone();
    let upstream = Upstream::start(move |peer| {
        while let Some(request) = peer.request() {
            shut.pass();
            let mut size = 0;
            peer.stream_body(&request, &mut |bytes| size += bytes.len())
                .unwrap();
            peer.send(answer(200, &size.to_string())).unwrap();
        }
    });
    let gateway = Setup::to(upstream.address()).start();
    let mut client = H2::connect(gateway.address());
    let stream = client.begin(&head("POST", "/", &[]), END_HEADERS);
    // What a client may send before anybody reads is bounded by the window of the stream.
    let piece = vec![b'x'; 16 * 1024];
    let window = 256 * 1024 / piece.len();
    for _ in 0..window {
        client.send(frame(DATA, 0, stream, &piece));
    }
    gate.open();
    let (mut room, mut sent) = (0, window);
    while sent < 4 * window {
        let update = client.read().unwrap().unwrap();
        if update.kind == WINDOW_UPDATE && update.stream == stream {
            room += u32::from_be_bytes(update.payload.try_into().unwrap()) as usize;
        }
        while room >= piece.len() {
            client.send(frame(DATA, 0, stream, &piece));
            (room, sent) = (room - piece.len(), sent + 1);
        }
    }
    client.send(frame(DATA, END_STREAM, stream, b""));
    let size: usize = client.response(stream).text().parse().unwrap();
    assert_eq!(size, sent * piece.len());
}

#[test]
fn events_pass_at_once() {
    let gate = Gate::default();
    let shut = gate.clone();
    let upstream = Upstream::start(move |peer| {
        while peer.whole_request().is_some() {
            let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\
                        Transfer-Encoding: chunked\r\n\r\n";
            peer.send(head).unwrap();
            for _ in 0..20 {
                peer.send("9\r\ndata: x\n\n\r\n").unwrap();
                std::thread::park_timeout(Duration::from_millis(10));
            }
            // Nothing of what came may wait for more.
            shut.pass();
            peer.send("0\r\n\r\n").unwrap();
        }
    });
    let gateway = Setup::to(upstream.address()).start();
    let mut client = H2::connect(gateway.address());
    let stream = client.send_get("/events");
    assert_eq!(client.await_head(stream).body, b"");
    client.until("twenty events", |client| {
        client.so_far(stream).body.len() == 180
    });
    // Others are served meanwhile, on the same connection.
    let other = client.send_get("/events");
    client.until("an event for another", |client| {
        !client.so_far(other).body.is_empty()
    });
    gate.open();
    assert_eq!(client.response(stream).body.len(), 180);
    client.response(other);
}

#[test]
fn an_early_answer_is_whole_and_the_rest_is_reset_without_error() {
    let echo = Echo::start("app");
    let gateway = Setup::to(echo.address())
        .route("max_body: 1KiB")
        .before("match: { path: /no }, respond: { status: 403, body: no }")
        .start();
    let mut client = H2::connect(gateway.address());
    for (path, status) in [("/no", 403), ("/", 413)] {
        let length = [("content-length", "100000")];
        let stream = client.begin(&head("POST", path, &length), END_HEADERS);
        let answer = client.response(stream);
        assert_eq!(answer.status, status);
        assert_eq!(answer.field("connection"), None);
        client.until("the reset", |client| client.so_far(stream).reset.is_some());
        assert_eq!(client.so_far(stream).reset, Some(NO_ERROR));
        // What was under way is ignored.
        client.send(frame(DATA, END_STREAM, stream, b"late"));
        assert!(client.is_alive());
    }
    // Without a length the bound is found on the way.
    let stream = client.begin(&head("POST", "/", &[]), END_HEADERS);
    client.send(frame(DATA, 0, stream, vec![0; 2000]));
    client
        .response(stream)
        .expect_refusal(413, "body_too_large");
    client.get("/after").expect_ok();
    assert!(!echo.upstream().received().concat().contains("\r\n0\r\n"));
}

#[test]
fn a_client_that_resets_frees_the_upstream() {
    let upstream = Upstream::start(|peer| {
        let Some((request, _)) = peer.whole_request() else {
            return;
        };
        if request.target == "/body" {
            peer.send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nbegin")
                .unwrap();
        }
        peer.closed();
    });
    let gateway = Setup::to(upstream.address()).start();
    let mut client = H2::connect(gateway.address());
    for (number, path) in ["/head", "/body"].into_iter().enumerate() {
        let stream = client.send_get(path);
        upstream.await_requests(number + 1);
        if path == "/body" {
            client.until("its beginning", |client| {
                client.so_far(stream).body == b"begin"
            });
        }
        client.send(frame(RST_STREAM, 0, stream, CANCEL.to_be_bytes()));
        let line = gateway.await_access("path", path);
        assert_eq!(line["reason"], "client_closed");
        upstream.await_all_closed();
    }
    assert!(client.is_alive());
}

/// hyper takes a reset with NO_ERROR for the end of a body: the upstream would take half an upload for a whole one.
#[test]
fn an_upload_that_is_reset_is_never_whole_for_the_upstream() {
    for code in [NO_ERROR, CANCEL, 2, 7] {
        let echo = Echo::start("app");
        let gateway = Setup::to(echo.address()).start();
        let mut client = H2::connect(gateway.address());
        let stream = client.begin(&head("POST", "/half", &[]), END_HEADERS);
        client.send(frame(DATA, 0, stream, b"half"));
        until(Duration::from_secs(5), "half an upload", || {
            echo.upstream().received().concat().contains("half\r\n")
        });
        client.send(frame(RST_STREAM, 0, stream, code.to_be_bytes()));
        echo.upstream().await_all_closed();
        let received = echo.upstream().received().concat();
        assert!(!received.contains("\r\n0\r\n"), "code {code}: {received}");
        let line = gateway.await_access("path", "/half");
        assert_eq!(line["reason"], "client_closed", "code {code}");
        assert!(client.is_alive());
    }
}

#[test]
fn an_answer_that_breaks_off_is_reset() {
    let upstream = Upstream::saying_once("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nbegin");
    let gateway = Setup::to(upstream.address()).start();
    let mut client = H2::connect(gateway.address());
    let stream = client.send_get("/");
    let answer = client.answer(stream);
    assert!(
        answer.reset.is_some_and(|code| code != NO_ERROR) && !answer.whole,
        "{answer:?}"
    );
    assert!(client.is_alive());
}

#[test]
fn heads_without_bodies() {
    let rows = [
        (
            "HEAD",
            "HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n",
            Some("500"),
        ),
        ("GET", "HTTP/1.1 204 No\r\n\r\n", None),
        (
            "GET",
            "HTTP/1.1 304 Not\r\nContent-Length: 70\r\n\r\n",
            Some("70"),
        ),
        (
            "GET",
            "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
            Some("0"),
        ),
        (
            "GET",
            "HTTP/1.1 103 Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
            Some("0"),
        ),
    ];
    for (method, says, length) in rows {
        let upstream =
            Upstream::start(
                move |peer| {
                    while peer.request().is_some() && peer.send(says).is_ok() {}
                },
            );
        let gateway = Setup::to(upstream.address()).start();
        let mut client = H2::connect(gateway.address());
        let answer = client.ask(&head(method, "/", &[]), b"");
        assert_eq!(
            (answer.field("content-length"), answer.body.len()),
            (length, 0),
            "{says}"
        );
        assert_eq!(answer.field("link"), None);
        assert!(answer.field("date").is_some());
    }
}

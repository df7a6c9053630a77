//! Uploads that do not go as planned: too large, answered early, awaiting a 100, or left behind by their client.

use std::io::Write;
use std::thread;
use std::time::Duration;

use crate::support::{Client, Echo, Gate, Report, Setup, Upstream, answer, until};

const POST: &str = "POST / HTTP/1.1\r\nHost: a.test\r\n";

#[test]
fn a_length_beyond_max_body_is_413_at_once() {
    let echo = Echo::start("app");
    let gateway = Setup::to(echo.address()).route("max_body: 1KiB").start();
    let mut client = gateway.client();
    client.send(format!("{POST}Content-Length: 1025\r\n\r\n"));
    client.response().expect_refusal(413, "body_too_large");
    echo.upstream().expect_untouched();
    let labels = [("route", "all"), ("reason", "body_too_large")];
    gateway.await_metric("tidegate_gateway_responses_total", &labels, 1.0);
    let just = "x".repeat(1024);
    let report = Report::of(
        gateway
            .client()
            .ask(format!("{POST}Content-Length: 1024\r\n\r\n{just}")),
    );
    assert_eq!(report.body(), just);
}

#[test]
fn chunks_beyond_max_body_are_413_and_no_whole_request() {
    let echo = Echo::start("app");
    let gateway = Setup::to(echo.address()).route("max_body: 100KiB").start();
    let mut client = gateway.client();
    client.send(format!("{POST}Transfer-Encoding: chunked\r\n\r\n"));
    let chunk = format!("4000\r\n{}\r\n", "x".repeat(0x4000));
    for _ in 0..64 {
        // The refusal comes in the middle of this; what follows it is discarded for a while.
        if client.try_send(&chunk).is_err() {
            break;
        }
    }
    client.response().expect_refusal(413, "body_too_large");
    echo.upstream().await_all_closed();
    assert!(
        !echo.upstream().received().concat().contains("\r\n0\r\n"),
        "the upstream saw the end of a body"
    );
}

#[test]
fn the_default_of_max_body_is_ten_mebibytes() {
    let echo = Echo::start("app");
    let gateway = Setup::to(echo.address()).start();
    let limit = 10 << 20;
    gateway
        .client()
        .ask(format!("{POST}Content-Length: {}\r\n\r\n", limit + 1))
        .expect_refusal(413, "body_too_large");
    let mut client = gateway.client();
    client.send(format!(
        "{POST}Content-Length: {limit}\r\nExpect: 100-continue\r\n\r\n"
    ));
    assert_eq!(client.head().status, 100, "this much is taken");
}

#[test]
fn an_uploader_that_goes_on_sees_its_413() {
    let echo = Echo::start("app");
    let gateway = Setup::to(echo.address()).route("max_body: 1KiB").start();
    for _ in 0..5 {
        let mut client = gateway.client();
        client.send(format!("{POST}Content-Length: 67108864\r\n\r\n"));
        let mut writer = client.writer();
        // It does not look at the answer until it cannot write any more.
        let sending = thread::spawn(move || {
            let block = vec![b'x'; 64 * 1024];
            (0..1024)
                .map_while(|_| writer.write_all(&block).ok())
                .count()
        });
        let answer = client.response();
        answer.expect_refusal(413, "body_too_large");
        assert!(answer.lists("connection", "close"));
        let blocks = sending.join().unwrap();
        assert!(blocks < 1024, "all of it was read");
    }
    echo.upstream().expect_untouched();
}

#[test]
fn a_small_rest_is_drained_and_the_connection_kept() {
    let echo = Echo::start("app");
    let gateway = Setup::to(echo.address())
        .before("match: { path: /no }, respond: { status: 403, body: no }")
        .start();
    let mut client = gateway.client();
    for length in [1, 1000, 60_000] {
        client.send(format!(
            "POST /no HTTP/1.1\r\nHost: a.test\r\nContent-Length: {length}\r\n\r\n"
        ));
        let refused = client.response();
        assert_eq!(refused.status, 403);
        assert!(
            !refused.lists("connection", "close"),
            "{length}: {refused:?}"
        );
        client.send("x".repeat(length));
        assert_eq!(
            client.get("/next").expect_ok().status,
            200,
            "after {length} bytes"
        );
    }
    client.send("POST /no HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n");
    assert_eq!(client.response().status, 403);
    client.send("5\r\nhello\r\n0\r\n\r\n");
    client.get("/next").expect_ok();
    assert_eq!(
        echo.upstream().connections(),
        1,
        "one connection to the gateway, one worker, one upstream connection"
    );
}

#[test]
fn a_rest_that_does_not_come_closes_the_connection() {
    let echo = Echo::start("app");
    let gateway = Setup::to(echo.address())
        .before("match: { path: /no }, respond: { status: 403, body: no }")
        .start();
    let mut client = gateway.client();
    client.send("POST /no HTTP/1.1\r\nHost: a.test\r\nContent-Length: 1000\r\n\r\nhalf");
    assert_eq!(client.response().status, 403);
    client.expect_closed();
}

#[test]
fn a_large_rest_closes_the_connection_after_the_answer() {
    let echo = Echo::start("app");
    let gateway = Setup::to(echo.address())
        .before("match: { path: /no }, respond: { status: 403, body: no }")
        .start();
    let mut client = gateway.client();
    client.send(format!(
        "POST /no HTTP/1.1\r\nHost: a.test\r\nContent-Length: {}\r\n\r\n",
        5 << 20
    ));
    let answer = client.response();
    assert_eq!((answer.status, answer.text().as_str()), (403, "no"));
    client.expect_closed();
    echo.upstream().expect_untouched();
}

#[test]
fn an_early_answer_of_the_upstream_passes() {
    let upstream = Upstream::start(|peer| {
        if let Some(request) = peer.request() {
            assert_eq!(request.method, "POST");
            let _ = peer.send(answer(403, "not you"));
            peer.closed();
        }
    });
    let gateway = Setup::to(upstream.address()).route("max_body: off").start();
    let mut client = gateway.client();
    client.send(format!("{POST}Content-Length: 104857600\r\n\r\n"));
    let mut writer = client.writer();
    let sending = thread::spawn(move || {
        let block = vec![b'x'; 64 * 1024];
        (0..1600)
            .map_while(|_| writer.write_all(&block).ok())
            .count()
    });
    let answer = client.response();
    assert_eq!((answer.status, answer.text().as_str()), (403, "not you"));
    assert!(
        sending.join().unwrap() < 1600,
        "the upload went on to its end"
    );
    upstream.await_all_closed();
}

#[test]
fn a_100_is_sent_when_the_upstream_takes_the_body() {
    let echo = Echo::start("app");
    let gateway = Setup::to(echo.address()).start();
    let mut client = gateway.client();
    client.send(format!(
        "{POST}Content-Length: 5\r\nExpect: 100-continue\r\n\r\n"
    ));
    assert_eq!(client.head().status, 100);
    client.send("hello");
    assert_eq!(Report::of(client.response()).body(), "hello");
    client.send(format!(
        "{POST}Content-Length: 5\r\nExpect: 100-CONTINUE\r\n\r\n"
    ));
    assert_eq!(client.head().status, 100, "the word has no case");
    client.send("again");
    assert_eq!(Report::of(client.response()).body(), "again");
    // A client that does not wait gets its 100 or not, but never a second one.
    client.send(format!(
        "{POST}Content-Length: 5\r\nExpect: 100-continue\r\n\r\nhasty"
    ));
    let mut head = client.head();
    if head.status == 100 {
        head = client.head();
    }
    client.rest(&mut head).unwrap();
    assert_eq!(Report::of(head).body(), "hasty");
}

#[test]
fn a_refusal_comes_without_a_100() {
    let echo = Echo::start("app");
    let gateway = Setup::to(echo.address())
        .route("match: { path_prefix: /app }, max_body: 1KiB")
        .before("match: { path: /no }, respond: { status: 403, body: no }")
        .before("match: { path: /get, methods: [GET] }, respond: { status: 200 }")
        .start();
    let ask = |target: &str, length: u32| {
        let mut client = gateway.client();
        let request = format!(
            "POST {target} HTTP/1.1\r\nHost: a.test\r\nContent-Length: {length}\r\nExpect: 100-continue\r\n\r\n"
        );
        // `response` fails for an interim answer.
        client.ask(request)
    };
    ask("/app", 2000).expect_refusal(413, "body_too_large");
    assert_eq!(ask("/no", 10).status, 403);
    ask("/get", 10).expect_refusal(405, "method_not_allowed");
    echo.upstream().expect_untouched();
}

#[test]
fn a_client_that_leaves_cancels_the_attempt() {
    let gate = Gate::default();
    let shut = gate.clone();
    let upstream = Upstream::start(move |peer| {
        if peer.whole_request().is_some() {
            assert!(peer.closed(), "the gateway goes on without its client");
            shut.open();
        }
    });
    for (number, reset) in [false, true].into_iter().enumerate() {
        let gateway = Setup::to(upstream.address()).start();
        let mut client = gateway.client();
        client.send_get("/gone");
        upstream.await_requests(number + 1);
        if reset {
            client.reset()
        } else {
            drop(client)
        }
        upstream.await_all_closed();
        assert!(gate.is_open());
        let line = gateway.await_access("path", "/gone");
        assert_eq!(
            (&line["status"], &line["reason"]),
            (&499.into(), &"client_closed".into()),
            "{line}"
        );
        let labels = [("route", "all"), ("reason", "client_closed")];
        gateway.await_metric("tidegate_gateway_responses_total", &labels, 1.0);
        gateway.await_metric(
            "tidegate_requests_total",
            &[("route", "all"), ("status", "499")],
            1.0,
        );
        gateway.await_metric("tidegate_requests_in_flight", &[("route", "all")], 0.0);
    }
}

#[test]
fn a_client_that_leaves_in_its_body_cancels_the_attempt() {
    let echo = Echo::start("app");
    let gateway = Setup::to(echo.address()).start();
    for rest in [
        "Content-Length: 10\r\n\r\nhello",
        "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
    ] {
        let mut client = gateway.client();
        client.send(format!("POST /half HTTP/1.1\r\nHost: a.test\r\n{rest}"));
        until(Duration::from_secs(5), "the upstream reads", || {
            echo.upstream().open() == 1
        });
        client.half_close();
        echo.upstream().await_all_closed();
    }
    for line in gateway.await_access_lines(2) {
        assert_eq!(
            (&line["status"], &line["reason"]),
            (&499.into(), &"client_closed".into()),
            "{line}"
        );
    }
    let received = echo.upstream().received().concat();
    assert!(
        !received.contains("\r\n0\r\n"),
        "half a body was made a whole one: {received}"
    );
}

#[test]
fn a_client_that_leaves_in_the_answer_is_noticed() {
    let upstream = Upstream::start(|peer| {
        if peer.whole_request().is_some() {
            let _ = peer.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
            let chunk = format!("4000\r\n{}\r\n", "x".repeat(0x4000));
            while peer.send(&chunk).is_ok() {}
        }
    });
    let gateway = Setup::to(upstream.address()).start();
    let mut client = Client::connect(gateway.address());
    assert_eq!(client.send_get("/stream").head().status, 200);
    client.reset();
    upstream.await_all_closed();
    let line = gateway.await_access("path", "/stream");
    assert_eq!(line["reason"], "client_closed", "{line}");
}

//! HTTP/1.1 as clients use it: keep-alive, pipelining, HTTP/1.0, HEAD, trailers.

use crate::support::{Echo, Report, Setup, Upstream, answer};

#[test]
fn a_connection_serves_many_requests() {
    let echo = Echo::start("app");
    let gateway = Setup::to(echo.address()).start();
    let mut client = gateway.client();
    for number in 0..100 {
        assert_eq!(
            Report::of(client.get(&format!("/{number}"))).target(),
            format!("/{number}")
        );
    }
    gateway.await_metric("tidegate_connections", &[("listener", "main")], 1.0);
    gateway.await_metric(
        "tidegate_requests_total",
        &[("route", "all"), ("method", "GET"), ("status", "200")],
        100.0,
    );
}

#[test]
fn pipelined_requests_are_answered_in_their_order() {
    let echo = Echo::start("app");
    let gateway = Setup::to(echo.address())
        .before("match: { path: /fixed }, respond: { status: 200, body: fixed }")
        .start();
    let mut client = gateway.client();
    let mut requests = String::new();
    for number in 0..20 {
        requests += &format!(
            "GET /{number} HTTP/1.1\r\nHost: a.test\r\n\r\nGET /fixed HTTP/1.1\r\nHost: a.test\r\n\r\n"
        );
        requests +=
            &format!("POST /p{number} HTTP/1.1\r\nHost: a.test\r\nContent-Length: 4\r\n\r\nbody");
    }
    client.send(requests);
    for number in 0..20 {
        assert_eq!(Report::of(client.response()).target(), format!("/{number}"));
        assert_eq!(client.response().expect_ok().text(), "fixed");
        let report = Report::of(client.response());
        assert_eq!(
            (report.target(), report.body()),
            (format!("/p{number}").as_str(), "body")
        );
    }
}

#[test]
fn a_client_may_ask_for_the_end() {
    let echo = Echo::start("app");
    let gateway = Setup::to(echo.address()).start();
    let mut client = gateway.client();
    let answer = client
        .ask("GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n")
        .expect_ok();
    assert!(answer.lists("connection", "close"));
    client.expect_closed();
    assert!(
        !echo.upstream().requests()[0].lists("connection", "close"),
        "the client's close is its own"
    );
}

#[test]
fn empty_lines_before_a_request_are_ignored() {
    let echo = Echo::start("app");
    let gateway = Setup::to(echo.address()).start();
    let mut client = gateway.client();
    client
        .ask("\r\nGET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
        .expect_ok();
    client
        .ask("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 2\r\n\r\nab")
        .expect_ok();
    client
        .ask("\r\nGET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
        .expect_ok();
}

#[test]
fn http_1_0_is_closed_unless_it_asks() {
    let echo = Echo::start("app");
    let gateway = Setup::to(echo.address()).start();
    let mut client = gateway.client();
    Report::of(client.ask("GET / HTTP/1.0\r\nHost: a.test\r\n\r\n"));
    client.expect_closed();
    let mut client = gateway.client();
    for _ in 0..3 {
        let answer = client.ask("GET / HTTP/1.0\r\nHost: a.test\r\nConnection: keep-alive\r\n\r\n");
        assert!(answer.lists("connection", "keep-alive"), "{answer:?}");
        Report::of(answer);
    }
}

#[test]
fn http_1_0_never_sees_chunks() {
    let upstream = Upstream::answering(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n",
    );
    let gateway = Setup::to(upstream.address()).start();
    for keep in ["", "Connection: keep-alive\r\n"] {
        let mut client = gateway.client();
        let answer = client
            .ask(format!("GET / HTTP/1.0\r\nHost: a.test\r\n{keep}\r\n"))
            .expect_ok();
        assert_eq!(answer.text(), "hello world");
        assert_eq!(answer.field("transfer-encoding"), None);
        client.expect_closed();
    }
}

#[test]
fn head_has_the_fields_of_get_and_no_body() {
    let upstream = Upstream::start(|peer| {
        peer.serve(|request, _| match request.method.as_str() {
            "HEAD" => "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nETag: \"e\"\r\n\r\n".to_owned(),
            _ => answer(200, "hello"),
        });
    });
    let gateway = Setup::to(upstream.address()).start();
    let mut client = gateway.client();
    for _ in 0..3 {
        let head = client
            .send("HEAD / HTTP/1.1\r\nHost: a.test\r\n\r\n")
            .head();
        assert_eq!(
            (
                head.status,
                head.field("content-length"),
                head.field("etag")
            ),
            (200, Some("5"), Some("\"e\""))
        );
        assert_eq!(client.get("/").expect_ok().text(), "hello");
    }
    gateway.await_metric(
        "tidegate_requests_total",
        &[("method", "HEAD"), ("status", "200")],
        3.0,
    );
}

#[test]
fn a_strange_method_passes_and_is_counted_as_other() {
    let echo = Echo::start("app");
    let gateway = Setup::to(echo.address()).start();
    let report = Report::of(
        gateway
            .client()
            .ask("PROPFIND /dav HTTP/1.1\r\nHost: a.test\r\n\r\n"),
    );
    assert_eq!(report.method(), "PROPFIND");
    gateway.await_metric(
        "tidegate_requests_total",
        &[("method", "OTHER"), ("status", "200")],
        1.0,
    );
    assert_eq!(gateway.await_access("path", "/dav")["method"], "PROPFIND");
}

#[test]
fn announced_trailers_of_a_request_pass() {
    let echo = Echo::start("app");
    let gateway = Setup::to(echo.address()).start();
    let report = Report::of(gateway.client().ask(
        "POST / HTTP/1.1\r\nHost: a.test\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n\
         5\r\nhello\r\n0\r\nX-Sum: abc\r\n\r\n",
    ));
    assert_eq!(
        (report.body(), report.trailers("x-sum")),
        ("hello", vec!["abc"])
    );
    assert_eq!(
        report
            .field("trailer")
            .map(str::to_ascii_lowercase)
            .as_deref(),
        Some("x-sum")
    );
}

#[test]
fn announced_trailers_of_an_answer_pass_to_who_wants_them() {
    let upstream = Upstream::answering(
        "HTTP/1.1 200 OK\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-Sum: abc\r\n\r\n",
    );
    let gateway = Setup::to(upstream.address()).start();
    let mut client = gateway.client();
    let answer = client
        .ask("GET / HTTP/1.1\r\nHost: a.test\r\nTE: trailers\r\nConnection: TE\r\n\r\n")
        .expect_ok();
    assert_eq!(answer.text(), "hello");
    let trailers: Vec<(String, String)> = answer
        .trailers
        .iter()
        .map(|(name, value)| (name.to_ascii_lowercase(), value.clone()))
        .collect();
    assert_eq!(trailers, [("x-sum".to_owned(), "abc".to_owned())]);
    let answer = client.get("/").expect_ok();
    assert_eq!(
        (answer.text().as_str(), answer.trailers.len()),
        ("hello", 0),
        "nobody asked for trailers"
    );
    client.get("/").expect_ok();
}

#[test]
fn trailers_cannot_change_what_was_decided() {
    let echo = Echo::start("app");
    let gateway = Setup::to(echo.address()).start();
    let mut client = gateway.client();
    let report = Report::of(client.ask(
        "POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\nTrailer: Host, Content-Length\r\n\
         \r\n5\r\nhello\r\n0\r\nHost: evil.test\r\nContent-Length: 9\r\n\r\n",
    ));
    assert_eq!(report.body(), "hello");
    for name in ["host", "content-length"] {
        assert_eq!(report.trailers(name), Vec::<&str>::new(), "{name}");
    }
    client.get("/").expect_ok();
}

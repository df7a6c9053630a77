//! Requests that no upstream may ever see: each is refused with its status and reason, told alike in answer, log and metric.

use std::time::Duration;

use crate::framing::post;
use crate::support::{Echo, Gateway, Setup};

/// A request head for `GET / HTTP/1.1` and these field lines.
fn get(fields: &str) -> Vec<u8> {
    format!("GET / HTTP/1.1\r\n{fields}\r\n").into_bytes()
}

/// A GET of `target` with a good Host.
fn target(target: &str) -> Vec<u8> {
    format!("GET {target} HTTP/1.1\r\nHost: a.test\r\n\r\n").into_bytes()
}

/// Sends each request on a connection of its own and checks the answer, the log, the metrics and the upstream's peace.
pub(crate) fn expect_refused(status: u16, reason: &str, rows: &[(&str, Vec<u8>)]) {
    let echo = Echo::start("app");
    let gateway = Setup::to(echo.address()).start();
    for (what, bytes) in rows {
        eprintln!("refused: {what}");
        let mut client = gateway.client();
        // A refusal may come before the last byte went out.
        let _ = client.try_send(bytes);
        client.response().expect_refusal(status, reason);
    }
    expect_told(&gateway, status, reason, rows.len());
    echo.upstream().expect_untouched();
}

/// Checks that access log and metrics tell of `count` refusals before any route was found.
fn expect_told(gateway: &Gateway, status: u16, reason: &str, count: usize) {
    let lines = gateway.await_access_lines(count);
    assert_eq!(lines.len(), count);
    for line in &lines {
        assert_eq!(
            (&line["status"], &line["reason"]),
            (&status.into(), &reason.into()),
            "{line}"
        );
        assert_eq!(line["listener"], "main");
        assert!(
            line["request_id"].is_string() && line["time"].is_string(),
            "{line}"
        );
    }
    let labels = [("route", "_none"), ("reason", reason)];
    #[allow(clippy::cast_precision_loss)]
    let count = count as f64;
    gateway.await_metric("tidegate_gateway_responses_total", &labels, count);
    let status = status.to_string();
    let labels = [
        ("listener", "main"),
        ("route", "_none"),
        ("status", status.as_str()),
    ];
    gateway.await_metric("tidegate_requests_total", &labels, count);
}

#[test]
fn hosts_that_are_none() {
    let host = |value: &str| get(&format!("Host: {value}\r\n"));
    let rows = [
        ("no Host", get("X-A: b\r\n")),
        ("two alike", get("Host: a.test\r\nHost: a.test\r\n")),
        ("two that differ", get("Host: a.test\r\nHost: b.test\r\n")),
        (
            "two beside an absolute target",
            b"GET http://a.test/ HTTP/1.1\r\nHost: a.test\r\nHost: b.test\r\n\r\n".to_vec(),
        ),
        (
            "none beside an absolute target",
            b"GET http://a.test/ HTTP/1.1\r\nX: y\r\n\r\n".to_vec(),
        ),
        ("a list", host("a.test, b.test")),
        ("a space", host("a test")),
        ("userinfo", host("user@a.test")),
        ("a path", host("a.test/x")),
        ("a query", host("a.test?x")),
        ("a fragment", host("a.test#x")),
        ("a backslash", host("a.test\\x")),
        ("a port that is no number", host("a.test:http")),
        ("a port beyond all ports", host("a.test:65536")),
        ("two ports", host("a.test:80:80")),
        ("an address left open", host("[::1")),
        ("an address that is none", host("[::g]")),
        ("no name but a port", host(":80")),
        ("a quote", host("\"a.test\"")),
        ("a control byte", host("a\u{1}.test")),
    ];
    expect_refused(400, "bad_request", &rows);
}

#[test]
fn targets_that_are_none() {
    let rows = [
        ("authority form", target("a.test:80")),
        ("a name alone", target("a.test")),
        ("an asterisk for GET", target("*")),
        ("userinfo", target("http://user:pass@a.test/")),
        ("no authority", target("http:///x")),
        ("another scheme", target("ftp://a.test/x")),
        ("a NUL", target("/a%00b")),
        ("a backslash", target("/a\\b")),
        ("an escaped backslash", target("/a%5Cb")),
        ("an escape cut short", target("/a%4")),
        ("an escape of nothing", target("/a%")),
        ("an escape that is none", target("/a%zz")),
    ];
    expect_refused(400, "bad_request", &rows);
}

#[test]
fn lines_that_are_no_requests() {
    let rows: [(&str, Vec<u8>); 8] = [
        ("one word", b"GARBAGE\r\n\r\n".to_vec()),
        ("no version", b"GET /\r\nHost: a.test\r\n\r\n".to_vec()),
        (
            "a version of the future",
            b"GET / HTTP/3.7\r\nHost: a.test\r\n\r\n".to_vec(),
        ),
        (
            "a version in small letters",
            b"GET / http/1.1\r\nHost: a.test\r\n\r\n".to_vec(),
        ),
        (
            "a method that is no token",
            b"G@T / HTTP/1.1\r\nHost: a.test\r\n\r\n".to_vec(),
        ),
        (
            "two spaces",
            b"GET  / HTTP/1.1\r\nHost: a.test\r\n\r\n".to_vec(),
        ),
        (
            "a raw NUL in the target",
            b"GET /a\0b HTTP/1.1\r\nHost: a.test\r\n\r\n".to_vec(),
        ),
        (
            "a TLS greeting",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n".to_vec(),
        ),
    ];
    expect_refused(400, "bad_request", &rows);
}

#[test]
fn connect_is_not_done_here() {
    let rows = [
        (
            "authority form",
            b"CONNECT a.test:443 HTTP/1.1\r\nHost: a.test:443\r\n\r\n".to_vec(),
        ),
        (
            "origin form",
            b"CONNECT /x HTTP/1.1\r\nHost: a.test\r\n\r\n".to_vec(),
        ),
    ];
    expect_refused(501, "not_implemented", &rows);
}

#[test]
fn upgrades_that_nobody_offers() {
    let h2c = "Host: a.test\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n";
    let rows = [
        ("h2c", get(h2c)),
        (
            "h2c among others",
            get("Host: a.test\r\nConnection: upgrade\r\nUpgrade: websocket, h2c\r\n"),
        ),
        (
            "another protocol",
            get("Host: a.test\r\nConnection: Upgrade\r\nUpgrade: foo/1\r\n"),
        ),
    ];
    expect_refused(403, "upgrade_refused", &rows);
}

#[test]
fn a_target_that_is_too_long() {
    let rows = [
        ("a path", target(&format!("/{}", "a".repeat(9 * 1024)))),
        ("a query", target(&format!("/?{}", "a".repeat(9 * 1024)))),
        (
            "longer than a head may be",
            target(&format!("/{}", "a".repeat(70 * 1024))),
        ),
    ];
    let echo = Echo::start("app");
    let gateway = Setup::to(echo.address()).start();
    for (what, bytes) in &rows {
        let mut client = gateway.client();
        let _ = client.try_send(bytes);
        let answer = client.response();
        // A target that does not even fit into a head may be called either.
        let either = answer.status == 431 && bytes.len() > 32 * 1024;
        match either {
            true => answer.expect_refusal(431, "head_too_large"),
            false => answer.expect_refusal(414, "uri_too_long"),
        }
        eprintln!("refused: {what}");
    }
    echo.upstream().expect_untouched();
}

#[test]
fn a_head_that_is_too_large() {
    let many: String = (0..101)
        .map(|number| format!("X-{number}: v\r\n"))
        .collect();
    let rows = [
        (
            "one large field",
            get(&format!(
                "Host: a.test\r\nX-Large: {}\r\n",
                "a".repeat(33 * 1024)
            )),
        ),
        (
            "one name",
            get(&format!("Host: a.test\r\n{}: v\r\n", "a".repeat(33 * 1024))),
        ),
        (
            "a head far beyond",
            get(&format!(
                "Host: a.test\r\nX-Large: {}\r\n",
                "a".repeat(2 << 20)
            )),
        ),
        ("too many fields", get(&format!("Host: a.test\r\n{many}"))),
    ];
    expect_refused(431, "head_too_large", &rows);
}

#[test]
fn what_just_fits_is_served() {
    let echo = Echo::start("app");
    let gateway = Setup::to(echo.address()).start();
    let many: String = (0..99).map(|number| format!("X-{number}: v\r\n")).collect();
    for bytes in [
        target(&format!("/{}", "a".repeat(8 * 1024 - 1))),
        get(&format!(
            "Host: a.test\r\nX-Large: {}\r\n",
            "a".repeat(31 * 1024)
        )),
        get(&format!("Host: a.test\r\n{many}")),
    ] {
        gateway.client().ask(bytes).expect_ok();
    }
}

#[test]
fn limits_of_the_head_follow_the_file() {
    let echo = Echo::start("app");
    let limits = "limits: { head_bytes: 2KiB, headers: 5, uri_bytes: 100B }";
    let gateway = Setup::to(echo.address()).listener(limits).start();
    let ask = |bytes: Vec<u8>| gateway.client().ask(bytes);
    ask(target(&format!("/{}", "a".repeat(100)))).expect_refusal(414, "uri_too_long");
    ask(target(&format!("/{}", "a".repeat(99)))).expect_ok();
    ask(get(&format!("Host: a.test\r\nX: {}\r\n", "a".repeat(2100))))
        .expect_refusal(431, "head_too_large");
    ask(get(
        "Host: a.test\r\nA: 1\r\nB: 2\r\nC: 3\r\nD: 4\r\nE: 5\r\n",
    ))
    .expect_refusal(431, "head_too_large");
    ask(get("Host: a.test\r\nA: 1\r\nB: 2\r\nC: 3\r\nD: 4\r\n")).expect_ok();
}

#[test]
fn after_a_good_request_a_bad_one_is_refused_alone() {
    let echo = Echo::start("app");
    let gateway = Setup::to(echo.address()).start();
    for bad in [
        "GARBAGE\r\n\r\n",
        "GET /b HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        "GET /%zz HTTP/1.1\r\nHost: a\r\n\r\n",
    ] {
        let mut client = gateway.client();
        client.send(format!("GET /good HTTP/1.1\r\nHost: a.test\r\n\r\n{bad}"));
        client.response().expect_ok();
        client.response().expect_refusal(400, "bad_request");
    }
    let targets: Vec<String> = echo
        .upstream()
        .requests()
        .into_iter()
        .map(|request| request.target)
        .collect();
    assert_eq!(targets, ["/good"; 3]);
}

#[test]
fn an_http2_preface_on_a_clear_port_does_no_harm() {
    let echo = Echo::start("app");
    let gateway = Setup::to(echo.address()).start();
    let mut client = gateway.client();
    client.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0");
    assert!(
        !client.silent_for(Duration::from_secs(2)),
        "no answer and no end"
    );
    let _ = client.read_to_end();
    echo.upstream().expect_untouched();
    gateway.get("/after").expect_ok();
}

#[test]
fn an_expectation_that_cannot_be_met_is_refused() {
    let rows = [(
        "another word",
        post("Content-Length: 5\r\nExpect: 200-ok\r\n", "hello"),
    )];
    let echo = Echo::start("app");
    let gateway = Setup::to(echo.address()).start();
    for (_, bytes) in rows {
        gateway
            .client()
            .ask(bytes)
            .expect_refusal(417, "expectation_failed");
    }
    echo.upstream().expect_untouched();
    assert_eq!(
        gateway.await_access_lines(1)[0]["reason"],
        "expectation_failed"
    );
}

//! Heads on HTTP/2: pseudo-fields and fields are checked, folded into HTTP/1.1, and one reader sees what the next sees.

use crate::support::h2::{H2 as Raw, PROTOCOL_ERROR, WHOLE, head};
use crate::support::{Echo, H2, Report, Setup};

/// Status and reason; `None` where HTTP/2 itself forbids it.
type Refusal = Option<(u16, &'static str)>;
type Fields = Vec<(&'static str, &'static str)>;

fn pseudo(method: &'static str, authority: Option<&'static str>, path: &'static str) -> Fields {
    let mut fields = vec![(":method", method), (":scheme", "http"), (":path", path)];
    fields.extend(authority.map(|authority| (":authority", authority)));
    fields
}

fn with(more: &[(&'static str, &'static str)]) -> Fields {
    head("GET", "/x", more)
}

/// Every row is refused: with a reason where the frame was whole, by a reset where HTTP/2 itself forbids it.
fn expect_refused(rows: Vec<(&str, Fields, Refusal)>) {
    let echo = Echo::start("app");
    let gateway = Setup::to(echo.address()).start();
    for (what, fields, expected) in rows {
        eprintln!("head: {what}");
        let mut client = H2::connect(gateway.address());
        let stream = client.begin(&fields, WHOLE);
        match expected {
            Some((status, reason)) => client.response(stream).expect_refusal(status, reason),
            None => {
                let over = |client: &H2| {
                    let connection = client.goaways.last().map(|last| last.1);
                    client.so_far(stream).reset.or(connection)
                };
                client.until(what, |client| over(client).is_some());
                assert_eq!(over(&client), Some(PROTOCOL_ERROR), "{what}");
            }
        }
    }
    echo.upstream().expect_untouched();
    H2::connect(gateway.address()).get("/after").expect_ok();
}

const BAD: Refusal = Some((400, "bad_request"));

#[test]
fn pseudo_fields_are_checked() {
    let a = Some("a.test");
    let twice = |field| [pseudo("GET", a, "/x"), vec![field]].concat();
    expect_refused(vec![
        ("no method", pseudo("GET", a, "/x")[1..].to_vec(), None),
        (
            "no scheme",
            vec![(":method", "GET"), (":path", "/"), (":authority", "a.test")],
            None,
        ),
        (
            "no path",
            vec![
                (":method", "GET"),
                (":scheme", "http"),
                (":authority", "a.test"),
            ],
            None,
        ),
        ("an empty path", pseudo("GET", a, ""), None),
        ("two methods", twice((":method", "GET")), None),
        ("two paths", twice((":path", "/x")), None),
        ("two authorities", twice((":authority", "a.test")), None),
        ("an unknown one", twice((":colour", "red")), None),
        ("that of an answer", twice((":status", "200")), None),
        (
            "behind a field",
            [vec![("x-a", "b")], pseudo("GET", a, "/x")].concat(),
            None,
        ),
        ("no host at all", pseudo("GET", None, "/x"), BAD),
        ("userinfo", pseudo("GET", Some("u@a.test"), "/x"), BAD),
        (
            "userinfo with a password",
            pseudo("GET", Some("u:p@a.test"), "/x"),
            BAD,
        ),
        (
            "a port that is too large",
            pseudo("GET", Some("a.test:65536"), "/x"),
            BAD,
        ),
        (
            "a host with a comma",
            pseudo("GET", Some("a.test,b.test"), "/x"),
            BAD,
        ),
        ("a path without its slash", pseudo("GET", a, "*"), BAD),
        ("a backslash", pseudo("GET", a, "/a\\b"), BAD),
        ("an escape of NUL", pseudo("GET", a, "/%00"), BAD),
        ("a broken escape", pseudo("GET", a, "/%4"), BAD),
        (
            "another scheme",
            vec![
                (":method", "GET"),
                (":scheme", "ftp"),
                (":path", "/"),
                (":authority", "a.test"),
            ],
            BAD,
        ),
        (
            "CONNECT",
            vec![(":method", "CONNECT"), (":authority", "a.test:443")],
            Some((501, "not_implemented")),
        ),
        (
            "extended CONNECT",
            [pseudo("CONNECT", a, "/x"), vec![(":protocol", "websocket")]].concat(),
            None,
        ),
    ]);
}

#[test]
fn fields_are_checked() {
    expect_refused(vec![
        ("connection", with(&[("connection", "close")]), None),
        (
            "connection and what it names",
            with(&[("connection", "x-a"), ("x-a", "b")]),
            None,
        ),
        ("keep-alive", with(&[("keep-alive", "1")]), None),
        (
            "proxy-connection",
            with(&[("proxy-connection", "close")]),
            None,
        ),
        (
            "transfer-encoding",
            with(&[("transfer-encoding", "chunked")]),
            None,
        ),
        ("upgrade", with(&[("upgrade", "websocket")]), None),
        (
            "te beyond trailers",
            with(&[("te", "trailers, gzip")]),
            None,
        ),
        ("an upper-case name", with(&[("X-Upper", "1")]), None),
        ("a name with a space", with(&[("x a", "1")]), None),
        ("a name with a colon", with(&[("x:a", "1")]), None),
        ("an empty name", with(&[("", "1")]), None),
        (
            "a line's end in a value",
            with(&[("x-a", "1\r\nx-b: 2")]),
            None,
        ),
        ("a NUL in a value", with(&[("x-a", "1\0")]), None),
        ("another Host", with(&[("host", "b.test")]), BAD),
        (
            "two Hosts",
            with(&[("host", "a.test"), ("host", "a.test")]),
            BAD,
        ),
        (
            "a Host with another port",
            with(&[("host", "a.test:81")]),
            BAD,
        ),
        (
            "an expectation",
            with(&[("expect", "200-ok")]),
            Some((417, "expectation_failed")),
        ),
    ]);
}

#[test]
fn what_is_allowed_passes_in_the_form_of_http1() {
    let echo = Echo::start("app");
    let gateway = Setup::to(echo.address()).start();
    let mut client = H2::connect(gateway.address());
    let mut ask = |fields: &[(&str, &str)]| Report::of(client.ask(fields, b""));
    let report = ask(&with(&[
        ("cookie", "a=1"),
        ("cookie", "b=2; c=3"),
        ("x-a", "1"),
        ("x-a", "2"),
        ("cookie", "d=4"),
        ("te", "trailers"),
    ]));
    assert_eq!(report.field("cookie"), Some("a=1; b=2; c=3; d=4"));
    assert_eq!(report.all("x-a"), ["1", "2"]);
    assert_eq!(report.field("te"), Some("trailers"));
    assert_eq!(report.field("host"), Some("a.test"));
    assert_eq!(report.field("x-forwarded-host"), Some("a.test"));
    for name in ["content-length", "transfer-encoding", "http2-settings"] {
        assert_eq!(report.field(name), None, "{name}");
    }
    let same = [
        ("host", "A.TEST"),
        ("http2-settings", "x"),
        ("expect", "100-continue"),
    ];
    let report = ask(&with(&same));
    assert_eq!(report.field("host"), Some("A.TEST"));
    assert_eq!(
        (report.field("http2-settings"), report.field("expect")),
        (None, None)
    );
    let mut only_host = pseudo("GET", None, "/y?q=1");
    only_host.push(("host", "h.test:81"));
    let report = ask(&only_host);
    assert_eq!(
        (report.target(), report.field("host")),
        ("/y?q=1", Some("h.test:81"))
    );
    assert_eq!(
        ask(&pseudo("GET", Some("[::1]:80"), "/a/../b%41")).target(),
        "/bA"
    );
    let mut secure = pseudo("GET", Some("a.test"), "/");
    secure[1] = (":scheme", "https");
    assert_eq!(ask(&secure).method(), "GET");
}

#[test]
fn heads_have_the_bounds_of_http1() {
    let echo = Echo::start("app");
    let gateway = Setup::to(echo.address())
        .listener("limits: { head_bytes: 4KiB, headers: 10, uri_bytes: 100B }")
        .start();
    let mut client = H2::connect(gateway.address());
    let long = "v".repeat(5000);
    let path = format!("/{}", "p".repeat(100));
    client
        .ask(&head("GET", "/x", &[("x-long", &long)]), b"")
        .expect_refusal(431, "head_too_large");
    client
        .ask(&head("GET", "/x", &[("x-a", "1"); 10]), b"")
        .expect_refusal(431, "head_too_large");
    client.get(&path).expect_refusal(414, "uri_too_long");
    // Crumbs are one field.
    client
        .ask(&head("GET", "/x", &[("cookie", "a=1"); 40]), b"")
        .expect_ok();
    client
        .ask(&head("GET", "/x", &[("x-a", "1"); 9]), b"")
        .expect_ok();
    // Far beyond, it is the library that answers; the connection lives.
    let far = "v".repeat(12_000);
    let stream = client.begin(&head("GET", "/x", &[("x-far", &far)]), WHOLE);
    assert_eq!(status(&mut client, stream), "431");
    client.get("/after").expect_ok();
    let reasons: Vec<_> = gateway
        .await_access_lines(6)
        .iter()
        .map(|l| l["reason"].clone())
        .collect();
    assert_eq!(
        &reasons[..3],
        ["head_too_large", "head_too_large", "uri_too_long"]
    );
}

fn status(client: &mut Raw, stream: u32) -> String {
    let answer = client.await_head(stream);
    answer.fields[0].1.clone()
}

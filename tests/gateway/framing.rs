//! Bodies whose end two readers could see in two places: refused, or read in the one way that RFC 9112, section 6.3, leaves.

use crate::hostile::expect_refused;
use crate::support::{Echo, Report, Setup};

/// A POST with a good Host, these field lines and this body.
pub(crate) fn post(fields: &str, body: &str) -> Vec<u8> {
    format!("POST / HTTP/1.1\r\nHost: a.test\r\n{fields}\r\n{body}").into_bytes()
}

#[test]
fn framing_that_can_be_read_in_two_ways() {
    let chunks = "5\r\nhello\r\n0\r\n\r\n";
    let rows = [
        (
            "lengths that differ",
            post("Content-Length: 5\r\nContent-Length: 6\r\n", "hello"),
        ),
        (
            "lengths that differ in a list",
            post("Content-Length: 5, 6\r\n", "hello"),
        ),
        (
            "a length with a sign",
            post("Content-Length: +5\r\n", "hello"),
        ),
        ("a negative length", post("Content-Length: -5\r\n", "hello")),
        (
            "a length that is no number",
            post("Content-Length: 5a\r\n", "hello"),
        ),
        ("an empty length", post("Content-Length:\r\n", "hello")),
        (
            "a length beyond all bounds",
            post("Content-Length: 99999999999999999999999\r\n", "hello"),
        ),
        (
            "chunked twice in a list",
            post("Transfer-Encoding: chunked, chunked\r\n", chunks),
        ),
        (
            "chunked on two lines",
            post(
                "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
                chunks,
            ),
        ),
        (
            "a space before the colon",
            post("Content-Length : 5\r\n", "hello"),
        ),
        (
            "a folded line",
            post("X-A: b\r\n Content-Length: 5\r\n", ""),
        ),
        (
            "a bare CR in a value",
            post("X-A: b\rContent-Length: 5\r\n", ""),
        ),
        ("a NUL in a value", post("X-A: b\0c\r\n", "")),
        ("a line without a colon", post("Content-Length\r\n", "")),
        ("an empty name", post(": 5\r\n", "")),
        ("a chunked HTTP/1.0", {
            format!("POST / HTTP/1.0\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}")
                .into_bytes()
        }),
    ];
    expect_refused(400, "bad_request", &rows);
}

#[test]
fn transfer_codings_that_we_do_not_do() {
    let chunks = "5\r\nhello\r\n0\r\n\r\n";
    let rows = [
        ("gzip alone", post("Transfer-Encoding: gzip\r\n", "")),
        (
            "gzip before chunked",
            post("Transfer-Encoding: gzip, chunked\r\n", chunks),
        ),
        (
            "gzip after chunked",
            post("Transfer-Encoding: chunked, gzip\r\n", chunks),
        ),
        (
            "identity before chunked",
            post("Transfer-Encoding: identity, chunked\r\n", chunks),
        ),
        (
            "two lines",
            post(
                "Transfer-Encoding: x\r\nTransfer-Encoding: chunked\r\n",
                chunks,
            ),
        ),
        (
            "nearly chunked",
            post("Transfer-Encoding: xchunked\r\n", chunks),
        ),
        (
            "beside a length",
            post("Content-Length: 5\r\nTransfer-Encoding: gzip\r\n", "hello"),
        ),
    ];
    expect_refused(501, "not_implemented", &rows);
}

#[test]
fn an_unframed_connection_is_closed_after_its_refusal() {
    let echo = Echo::start("app");
    let gateway = Setup::to(echo.address()).start();
    let smuggled = "GET /smuggled HTTP/1.1\r\nHost: a.test\r\n\r\n";
    for fields in [
        "Content-Length: 5\r\nContent-Length: 6\r\n",
        "Transfer-Encoding: chunked, chunked\r\n",
    ] {
        let mut client = gateway.client();
        client.send(post(fields, smuggled));
        let answer = client.response();
        answer.expect_refusal(400, "bad_request");
        assert!(answer.lists("connection", "close"), "{answer:?}");
        client.expect_closed();
    }
    echo.upstream().expect_untouched();
}

#[test]
fn a_length_beside_chunked_is_dropped_and_the_connection_closed() {
    let echo = Echo::start("app");
    let gateway = Setup::to(echo.address()).start();
    for fields in [
        "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n",
        "Transfer-Encoding: Chunked\r\nContent-Length: 300\r\n",
    ] {
        let mut client = gateway.client();
        client.send(post(
            fields,
            "5\r\nhello\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a.test\r\n\r\n",
        ));
        let answer = client.response();
        let report = Report::of(answer.clone());
        assert_eq!(
            (report.body(), report.field("content-length")),
            ("hello", None)
        );
        assert_eq!(report.field("transfer-encoding"), Some("chunked"));
        assert!(answer.lists("connection", "close"), "{answer:?}");
        client.expect_closed();
    }
    assert!(
        echo.upstream()
            .requests()
            .iter()
            .all(|request| request.target == "/")
    );
}

#[test]
fn chunks_that_are_none_break_the_request() {
    let echo = Echo::start("app");
    let gateway = Setup::to(echo.address()).start();
    for chunks in [
        "zz\r\nhello\r\n0\r\n\r\n",
        "5\r\nhelloXX0\r\n\r\n",
        "-5\r\nhello\r\n",
        "5 5\r\nhello\r\n",
        "10000000000000000\r\n",
    ] {
        let mut client = gateway.client();
        client.send(post("Transfer-Encoding: chunked\r\n", chunks));
        client.response().expect_refusal(400, "bad_request");
        client.expect_closed();
    }
    assert!(
        echo.upstream()
            .received()
            .iter()
            .all(|bytes| !bytes.contains("\r\n0\r\n\r\n")),
        "none looked complete"
    );
}

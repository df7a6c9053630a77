//! Changes to the fields of requests and answers: their order, their lines, and that no peer can undo them.

use crate::support::{Client, Echo, Report, Response, Setup, Upstream};

/// What the upstream sees of a request with these field lines.
fn seen(client: &mut Client, lines: &str) -> Report {
    Report::of(client.ask(format!("GET / HTTP/1.1\r\nHost: a.test\r\n{lines}\r\n")))
}

#[test]
fn remove_then_set_then_add() {
    let echo = Echo::start("app");
    let gateway = Setup::to(echo.address())
        .route("request_headers: { add: { X-All: added, X-Added: [one, two], X-Empty: \"\" }, set: { X-All: set, X-Set: \"a, b; c=\\\"d\\\"\" }, remove: [X-All, X-Set, X-Added, X-Gone] }")
        .start();
    let mut client = gateway.client();
    for lines in [
        "",
        "X-All: theirs\r\nX-Set: theirs\r\nX-Added: theirs\r\nX-Gone: theirs\r\n",
        "x-all: 1\r\nX-ALL: 2\r\nx-SET: 1\r\nx-set: 2\r\nX-ADDED: 1\r\nx-gone: 1\r\nX-GONE: 2\r\n",
    ] {
        let report = seen(&mut client, &format!("{lines}X-Other: 1\r\nx-other: 2\r\n"));
        assert_eq!(report.all("x-all"), ["set", "added"], "{lines}");
        assert_eq!(report.all("x-set"), ["a, b; c=\"d\""], "{lines}");
        assert_eq!(report.all("x-added"), ["one", "two"], "{lines}");
        assert_eq!(report.all("x-empty"), [""], "{lines}");
        assert!(report.all("x-gone").is_empty(), "{lines}");
        assert_eq!(report.all("x-other"), ["1", "2"], "others are left alone");
    }
}

#[test]
fn what_clients_always_send_can_be_changed_too() {
    let echo = Echo::start("app");
    let gateway = Setup::to(echo.address())
        .route("request_headers: { remove: [Accept-Encoding, authorization], set: { User-Agent: gateway/1, COOKIE: c=1 } }")
        .start();
    let report = seen(
        &mut gateway.client(),
        "User-Agent: theirs\r\nCookie: a=1; b=2\r\nAccept-Encoding: gzip\r\nAuthorization: Basic eDp5\r\nAccept: */*\r\n",
    );
    assert_eq!(report.all("user-agent"), ["gateway/1"]);
    assert_eq!(report.all("cookie"), ["c=1"]);
    assert!(report.all("accept-encoding").is_empty() && report.all("authorization").is_empty());
    assert_eq!(report.all("accept"), ["*/*"]);
}

/// A client that names a field in Connection says that it is meant for the next hop only. What the file sets is ours.
#[test]
fn a_client_cannot_have_it_taken_away() {
    let echo = Echo::start("app");
    let gateway = Setup::to(echo.address())
        .route("request_headers: { set: { X-Internal: \"yes\" }, add: { X-Tag: ours } }")
        .start();
    for connection in [
        "X-Internal",
        "x-internal, x-tag",
        "keep-alive, X-INTERNAL, X-Tag",
        "close, X-Internal",
    ] {
        let report = seen(
            &mut gateway.client(),
            &format!("Connection: {connection}\r\nX-Internal: no\r\nX-Tag: theirs\r\n"),
        );
        assert_eq!(report.all("x-internal"), ["yes"], "{connection}");
        let tags = report.all("x-tag");
        assert_eq!(tags.last(), Some(&"ours"), "{connection}: {tags:?}");
        assert!(report.all("connection").is_empty(), "{connection}");
    }
}

/// What an upstream answers with these field lines, as the client sees it.
fn answered(keys: &str, lines: &str) -> Response {
    let upstream = Upstream::answering(format!(
        "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n{lines}\r\nbody"
    ));
    let setup = Setup::to(upstream.address()).route(keys);
    let answer = setup.start().get("/").expect_ok();
    assert_eq!(answer.text(), "body");
    answer
}

const COOKIES: &str = "Set-Cookie: a=1; Expires=Wed, 01 Jan 2031 00:00:00 GMT\r\nset-cookie: b=2\r\nSET-COOKIE: c=3\r\n";

#[test]
fn lines_of_set_cookie_are_never_joined() {
    let theirs = ["a=1; Expires=Wed, 01 Jan 2031 00:00:00 GMT", "b=2", "c=3"];
    for (keys, wanted) in [
        ("max_body: 1MiB", theirs.to_vec()),
        ("response_headers: { set: { X-A: a } }", theirs.to_vec()),
        (
            "response_headers: { add: { Set-Cookie: [d=4, \"e=5, f\"] } }",
            [&theirs[..], &["d=4", "e=5, f"]].concat(),
        ),
        (
            "response_headers: { set: { set-cookie: d=4 } }",
            vec!["d=4"],
        ),
        ("response_headers: { remove: [SET-cookie] }", vec![]),
        (
            "response_headers: { remove: [Set-Cookie], add: { Set-Cookie: d=4 } }",
            vec!["d=4"],
        ),
    ] {
        assert_eq!(answered(keys, COOKIES).all("set-cookie"), wanted, "{keys}");
    }
}

#[test]
fn answers_are_changed_in_the_same_order() {
    let keys = "response_headers: { add: { X-All: added, Server: ours }, set: { X-All: set, Cache-Control: no-store }, remove: [X-All, x-powered-by, Server] }";
    for lines in [
        "",
        "X-All: theirs\r\nCache-Control: public\r\nX-Powered-By: them\r\nServer: them\r\n",
        "x-ALL: 1\r\nx-all: 2\r\ncache-control: public\r\ncache-control: max-age=5\r\nx-powered-by: 1\r\nX-POWERED-BY: 2\r\n",
    ] {
        let answer = answered(keys, &format!("{lines}X-Other: 1\r\nx-other: 2\r\n"));
        assert_eq!(answer.all("x-all"), ["set", "added"], "{lines}");
        assert_eq!(answer.all("cache-control"), ["no-store"], "{lines}");
        assert_eq!(answer.all("server"), ["ours"], "{lines}");
        assert!(answer.all("x-powered-by").is_empty(), "{lines}");
        assert_eq!(answer.all("x-other"), ["1", "2"], "{lines}");
    }
}

#[test]
fn an_upstream_cannot_have_it_taken_away() {
    let keys = "response_headers: { set: { X-Frame-Options: DENY } }";
    let answer = answered(
        keys,
        "Connection: X-Frame-Options, close\r\nX-Frame-Options: ALLOW\r\n",
    );
    assert_eq!(answer.all("x-frame-options"), ["DENY"]);
}

/// Answers without a body are changed like all others, and stay without one.
#[test]
fn answers_without_a_body_are_changed_too() {
    let upstream = Upstream::start(|peer| {
        peer.serve(|request, _| {
            let status = request.target.trim_start_matches('/');
            format!("HTTP/1.1 {status} Said\r\nETag: \"e\"\r\nX-A: theirs\r\n\r\n")
        });
    });
    let gateway = Setup::to(upstream.address())
        .route("response_headers: { set: { X-A: ours } }")
        .start();
    let mut client = gateway.client();
    for status in [204, 304] {
        let answer = client.get(&format!("/{status}"));
        assert_eq!((answer.status, answer.all("x-a")), (status, vec!["ours"]));
        assert_eq!(answer.field("etag"), Some("\"e\""));
    }
}

/// One route's changes are no other's, on the same connections.
#[test]
fn changes_belong_to_their_route() {
    let echo = Echo::start("app");
    let gateway = Setup::to(echo.address())
        .top("workers: 1")
        .before("match: { path: /changed }, upstream: app, request_headers: { set: { X-A: changed } }, response_headers: { set: { X-B: changed } }")
        .start();
    let mut client = gateway.client();
    for _ in 0..3 {
        for (target, wanted) in [("/changed", vec!["changed"]), ("/plain", vec![])] {
            let answer = client.get(target);
            assert_eq!(answer.all("x-b"), wanted, "{target}");
            assert_eq!(Report::of(answer).all("x-a"), wanted, "{target}");
        }
    }
    assert_eq!(echo.upstream().connections(), 1);
}

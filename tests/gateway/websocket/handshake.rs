//! Handshakes that no upstream may see, and requests that only look like one.

use crate::support::{Echo, Gateway, Handshake, KEY, Report, Setup, Upstream, echoing};

use super::before;

/// An upstream that must not be reached, and a gateway in front of it.
fn guarded(route: &str) -> (Gateway, Upstream) {
    let upstream = echoing();
    let gateway = Setup::to(upstream.address()).route(route).start();
    (gateway, upstream)
}

fn expect_refused(status: u16, reason: &str, rows: &[(&str, String)]) {
    let upstream = echoing();
    let gateway = before(&upstream);
    for (what, head) in rows {
        let answer = gateway.client().ask(head);
        eprintln!("{what}");
        answer.expect_refusal(status, reason);
        if status == 426 {
            assert_eq!(answer.field("sec-websocket-version"), Some("13"), "{what}");
            assert!(answer.lists("upgrade", "websocket"), "{what}: {answer:?}");
        }
    }
    upstream.expect_untouched();
    gateway.get("/").expect_ok();
}

#[test]
fn only_version_13_is_spoken() {
    let shake = || Handshake::to("/");
    let version = "Sec-WebSocket-Version";
    expect_refused(
        426,
        "upgrade_required",
        &[
            ("version 8", shake().set(version, "8").text()),
            ("version 14", shake().set(version, "14").text()),
            ("no number", shake().set(version, "thirteen").text()),
            ("none", shake().without(version).text()),
            ("a list", shake().set(version, "13, 8").text()),
            ("two lines", shake().with(version, "13").text()),
        ],
    );
}

#[test]
fn a_key_is_sixteen_bytes_in_base64() {
    let shake = || Handshake::to("/");
    let key = "Sec-WebSocket-Key";
    expect_refused(
        400,
        "bad_request",
        &[
            ("none", shake().without(key).text()),
            ("empty", shake().set(key, "").text()),
            (
                "fifteen bytes",
                shake().set(key, "dGhlIHNhbXBsZSBub25j").text(),
            ),
            (
                "seventeen bytes",
                shake().set(key, "dGhlIHNhbXBsZSBub25jZWU=").text(),
            ),
            (
                "not base64",
                shake().set(key, "dGhlIHNhbXBsZSBub25j!Q==").text(),
            ),
            (
                "no padding",
                shake().set(key, "dGhlIHNhbXBsZSBub25jZQ").text(),
            ),
            ("twice the same", shake().with(key, KEY).text()),
            ("two", shake().with(key, "x3JJHMbDL1EzLkh9GBhXDw==").text()),
        ],
    );
}

#[test]
fn a_handshake_is_a_get_without_a_body() {
    let shake = || Handshake::to("/");
    let with_body = shake().with("Content-Length", "5").text() + "hello";
    let chunked = shake().with("Transfer-Encoding", "chunked").text() + "5\r\nhello\r\n0\r\n\r\n";
    expect_refused(
        400,
        "bad_request",
        &[
            ("POST", shake().method("POST").text()),
            (
                "POST of nothing",
                shake().method("POST").with("Content-Length", "0").text(),
            ),
            ("PUT", shake().method("PUT").text()),
            ("DELETE", shake().method("DELETE").text()),
            ("a body", with_body),
            ("a body in chunks", chunked),
        ],
    );
    let upstream = echoing();
    let gateway = before(&upstream);
    let nothing = Handshake::to("/").with("Content-Length", "0");
    gateway.client().upgrade(&nothing);
}

#[test]
fn any_other_upgrade_is_refused() {
    let shake = || Handshake::to("/");
    expect_refused(
        403,
        "upgrade_refused",
        &[
            ("h2c", shake().set("Upgrade", "h2c").text()),
            (
                "websocket or h2c",
                shake().set("Upgrade", "websocket, h2c").text(),
            ),
            ("h2c beside it", shake().with("Upgrade", "h2c").text()),
            ("another", shake().set("Upgrade", "TLS/1.0").text()),
            (
                "websocket of a version",
                shake().set("Upgrade", "websocket/13").text(),
            ),
        ],
    );
}

#[test]
fn a_route_may_switch_it_off() {
    let (gateway, upstream) = guarded("websocket: off");
    let answer = gateway.client().ask(Handshake::to("/").text());
    answer.expect_refusal(403, "upgrade_refused");
    upstream.expect_untouched();
    gateway.get("/").expect_ok();
}

#[test]
fn a_handshake_finds_a_route_like_any_request() {
    let upstream = echoing();
    let gateway = Setup::to(upstream.address())
        .route("match: { path_prefix: /chat }")
        .start();
    let answer = gateway.client().ask(Handshake::to("/elsewhere").text());
    answer.expect_refusal(404, "route_not_found");
    upstream.expect_untouched();
    gateway.client().upgrade(&Handshake::to("/chat/room"));
}

#[test]
fn http_1_0_knows_no_upgrade() {
    let echo = Echo::start("app");
    let gateway = before(echo.upstream());
    let old = Handshake::to("/").version("HTTP/1.0").text();
    let report = Report::of(gateway.client().ask(old));
    assert_eq!(report.all("upgrade"), Vec::<&str>::new());
    assert!(
        !report.all("connection").concat().contains("pgrade"),
        "{report:?}"
    );
}

#[test]
fn without_connection_upgrade_it_is_an_ordinary_request() {
    let echo = Echo::start("app");
    let gateway = before(echo.upstream());
    for connection in ["keep-alive", "x-upgrade", "upgrade-insecure-requests"] {
        let plain = Handshake::to("/").set("Connection", connection).text();
        let report = Report::of(gateway.client().ask(plain));
        assert_eq!(report.all("upgrade"), Vec::<&str>::new(), "{connection}");
    }
    let without = Handshake::to("/").without("Connection").text();
    let report = Report::of(gateway.client().ask(without));
    assert_eq!(report.all("upgrade"), Vec::<&str>::new());
}

#[test]
fn spellings_that_mean_the_same() {
    let upstream = echoing();
    let gateway = before(&upstream);
    let shake = || Handshake::to("/");
    for handshake in [
        shake().set("Upgrade", "WebSocket"),
        shake().set("Connection", "keep-alive, UPGRADE"),
        shake().with("Connection", "keep-alive"),
        shake()
            .without("Connection")
            .with("connection", "a, upgrade,"),
        shake().set("Sec-WebSocket-Version", " 13\t"),
    ] {
        gateway.client().upgrade(&handshake);
    }
}

/// Asks with each origin of a host `a.test`; fails unless exactly the `allowed` ones are let through.
fn expect_origins(origins: &str, allowed: &[&str], denied: &[&str]) {
    let (gateway, upstream) = guarded(&format!("websocket: {{ origins: {origins} }}"));
    for origin in denied {
        eprintln!("{origin:?} is denied");
        let handshake = Handshake::to("/").with("Origin", origin);
        let answer = gateway.client().ask(handshake.text());
        answer.expect_refusal(403, "origin_denied");
    }
    upstream.expect_untouched();
    for origin in allowed {
        eprintln!("{origin:?} is allowed");
        let handshake = Handshake::to("/").with("Origin", origin);
        gateway.client().upgrade(&handshake);
    }
    gateway.client().upgrade(&Handshake::to("/"));
}

#[test]
fn pages_of_the_same_host_may_connect() {
    let elsewhere = [
        "http://b.test",
        "http://sub.a.test",
        "http://a.test.evil.test",
        "http://a.test:8080",
        "null",
        "",
        "a.test",
        "http://a.test http://a.test",
    ];
    let here = [
        "http://a.test",
        "https://a.test",
        "http://a.test:80",
        "https://a.test:443",
        "HTTP://A.test",
    ];
    expect_origins("same_host", &here, &elsewhere);
}

#[test]
fn a_port_is_part_of_the_host() {
    let (gateway, upstream) = guarded("websocket: { origins: same_host }");
    for (host, origin) in [
        ("a.test:8080", "http://a.test"),
        ("a.test:8080", "http://a.test:8081"),
    ] {
        let handshake = Handshake::to("/").set("Host", host).with("Origin", origin);
        let answer = gateway.client().ask(handshake.text());
        answer.expect_refusal(403, "origin_denied");
    }
    upstream.expect_untouched();
    for (host, origin) in [
        ("a.test:8080", "http://a.test:8080"),
        ("a.test:443", "https://a.test"),
        ("a.test:80", "http://a.test"),
    ] {
        let handshake = Handshake::to("/").set("Host", host).with("Origin", origin);
        gateway.client().upgrade(&handshake);
    }
}

#[test]
fn origins_may_be_listed() {
    expect_origins(
        "[https://app.example.com, \"https://*.example.org\", \"*.example.net\"]",
        &[
            "https://app.example.com",
            "https://app.example.com:443",
            "https://a.example.org",
            "https://a.b.example.org",
            "http://x.example.net",
            "https://x.example.net",
        ],
        &[
            "http://app.example.com",
            "https://app.example.com:8443",
            "https://example.org",
            "http://a.example.org",
            "https://aexample.org",
            "http://a.test",
            "null",
        ],
    );
}

#[test]
fn any_origin_is_any() {
    expect_origins("any", &["http://b.test", "null", "https://x:1"], &[]);
}

#[test]
fn two_origins_are_none() {
    let (gateway, upstream) = guarded("websocket: { origins: same_host }");
    let twice = Handshake::to("/")
        .with("Origin", "http://a.test")
        .with("Origin", "http://b.test");
    let answer = gateway.client().ask(twice.text());
    assert!(matches!(answer.status, 400 | 403), "{answer:?}");
    upstream.expect_untouched();
}

/// An ordinary request says `Origin` too, and there it is the upstream's business.
#[test]
fn an_origin_concerns_handshakes_alone() {
    let (gateway, _upstream) = guarded("websocket: { origins: same_host }");
    let request = "GET / HTTP/1.1\r\nHost: a.test\r\nOrigin: http://b.test\r\n\r\n";
    gateway.client().ask(request).expect_ok();
}

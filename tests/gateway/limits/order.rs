//! Where on the way of a request limits hold, and what a refused one does not do.

use super::{decisions, get_with, is_admitted, limiting, passing};
use crate::support::{Echo, Gateway, H2, Handshake, Setup, Upstream, answer, echoing};

/// L30: a listener's limits come before routing, so that scanning for routes is limited too.
#[test]
fn a_listeners_limits_hold_before_routing() {
    let gateway = limiting("rate: 1/h")
        .listener("rate_limits: [{ name: scanners, rate: 1/h, burst: 3 }]")
        .before("name: narrow, match: { hosts: [only.test] }, respond: {}")
        .route("match: { hosts: [nobody.test] }")
        .start();
    let mut client = gateway.client();
    for _ in 0..3 {
        client
            .get("/wp-login.php")
            .expect_refusal(404, "route_not_found");
    }
    client
        .get("/wp-login.php")
        .expect_refusal(429, "rate_limited");
    client.get("/own").expect_refusal(429, "rate_limited");
    assert_eq!(decisions(&gateway, "scanners", "limited"), 2.0);
    assert_eq!(
        decisions(&gateway, "one", "allowed"),
        0.0,
        "its limit was not asked"
    );
}

/// L30: a head that is refused takes nothing, for its faults are found first.
#[test]
fn a_malformed_head_takes_nothing() {
    let gateway = limiting("rate: 1/h")
        .listener("rate_limits: [{ name: all, rate: 1/h }]")
        .start();
    for _ in 0..3 {
        let mut client = gateway.client();
        client
            .ask("GET /own HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n")
            .expect_refusal(400, "bad_request");
    }
    assert!(is_admitted(&gateway.get("/own")));
}

/// L30: refused by the route's limit, a request gives back what the listener's gave.
#[test]
fn a_refusal_of_the_route_gives_back_to_the_listener() {
    let gateway = limiting("rate: 1/h, key: global")
        .listener("rate_limits: [{ name: all, rate: 1/h, burst: 5, key: global }]")
        .start();
    let mut client = gateway.client();
    assert_eq!(passing(&mut client, "/own", 20), 1);
    let left = gateway.admin_get("/limits/all/global", "").json()["left"].clone();
    assert_eq!(left, 4);
    assert_eq!(decisions(&gateway, "all", "allowed"), 20.0);
    assert_eq!(decisions(&gateway, "one", "limited"), 19.0);
}

/// L30: in the order of the file; those behind the one that refuses are not asked.
#[test]
fn a_routes_limits_are_asked_in_their_order() {
    let gateway = Setup::to("127.0.0.1:9")
        .before(
            "name: own, match: { path: /own }, respond: {}, \
             rate_limits: [{ name: first, rate: 1/h }, { name: second, rate: 1/h, key: host }]",
        )
        .start();
    let mut client = gateway.client();
    assert_eq!(passing(&mut client, "/own", 3), 1);
    assert_eq!(decisions(&gateway, "first", "limited"), 2.0);
    assert_eq!(decisions(&gateway, "second", "allowed"), 1.0);
    assert_eq!(decisions(&gateway, "second", "limited"), 0.0);
}

/// L30: a limit comes before what the route asks of a body, and before the upstream.
#[test]
fn limits_come_before_the_body() {
    let echo = Echo::start("app");
    let gateway = Setup::to(echo.address())
        .route("max_body: 10B, rate_limits: [{ rate: 1/h, burst: 2 }]")
        .start();
    let mut client = gateway.client();
    let long = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 20\r\n\r\n01234567890123456789";
    client.ask(long).expect_refusal(413, "body_too_large");
    client.ask(long).expect_refusal(413, "body_too_large");
    client.ask(long).expect_refusal(429, "rate_limited");
    assert!(echo.upstream().requests().is_empty());
}

/// Limits hold on routes that answer themselves.
#[test]
fn limits_hold_on_answers_and_redirects() {
    let gateway = limiting("rate: 1/h, key: [client_ip, route]")
        .before("name: away, match: { path: /away }, redirect: { path: /own }, rate_limits: [one]")
        .start();
    let mut client = gateway.client();
    assert_eq!(client.get("/away").status, 302);
    client.get("/away").expect_refusal(429, "rate_limited");
    assert_eq!(passing(&mut client, "/own", 2), 1);
}

/// L27: nothing of a refused request's body goes anywhere, and the connection serves on.
#[test]
fn a_refused_body_is_not_forwarded_and_the_connection_stays() {
    let echo = Echo::start("app");
    let gateway = Setup::to(echo.address())
        .route("rate_limits: [{ rate: 1/h, key: header:x-k }]")
        .start();
    let mut client = gateway.client();
    let post = |key: &str| {
        format!("POST / HTTP/1.1\r\nHost: a\r\nx-k: {key}\r\nContent-Length: 5\r\n\r\nhello")
    };
    client.ask(post("a")).expect_ok();
    for _ in 0..3 {
        client.ask(post("a")).expect_refusal(429, "rate_limited");
    }
    // On the same connection, and not confused about where a body ended.
    client.ask(post("b")).expect_ok();
    assert_eq!(echo.upstream().requests().len(), 2);
}

/// L27: a large body is not read for nothing: the answer comes, then the connection ends.
#[test]
fn a_large_refused_body_costs_the_connection() {
    let gateway = limiting("rate: 1/h, on_missing_key: deny, key: header:x-k").start();
    let mut client = gateway.client();
    client.send("POST /own HTTP/1.1\r\nHost: a\r\nContent-Length: 10000000\r\n\r\n");
    let refused = client.response();
    refused.expect_refusal(429, "rate_limited");
    assert_eq!(refused.field("connection"), Some("close"));
}

/// L28: on HTTP/2 each stream is a request.
#[test]
fn streams_are_counted_one_by_one() {
    let gateway = limiting("rate: 1/h, burst: 30, headers: always").start();
    let mut client = H2::connect(gateway.address());
    let streams: Vec<u32> = (0..100).map(|_| client.send_get("/own")).collect();
    let answers: Vec<_> = streams
        .into_iter()
        .map(|stream| client.response(stream))
        .collect();
    assert_eq!(
        answers.iter().filter(|answer| is_admitted(answer)).count(),
        30
    );
    let refused = answers.iter().find(|answer| answer.status == 429).unwrap();
    assert!(refused.field("retry-after").is_some());
    assert!(
        refused
            .field("ratelimit")
            .unwrap()
            .starts_with("\"one\";r=0;t=")
    );
    assert_eq!(decisions(&gateway, "one", "limited"), 70.0);
}

/// L29: opening a WebSocket is one request; its messages are none.
#[test]
fn a_websocket_is_one_request() {
    let upstream = echoing();
    let gateway = Setup::to(upstream.address())
        .route("rate_limits: [{ name: sockets, rate: 1/h }]")
        .start();
    let mut chat = crate::support::Chat::open(gateway.address(), "/");
    for _ in 0..20 {
        chat.expect_echo("hello");
    }
    let refused = gateway.client().ask(Handshake::to("/").text());
    refused.expect_refusal(429, "rate_limited");
    assert_eq!(decisions(&gateway, "sockets", "allowed"), 1.0);
    chat.close();
}

/// L31: a refused request is no attempt, no retry and no copy.
#[test]
fn a_refused_request_is_neither_retried_nor_mirrored() {
    let upstream = Upstream::answering(answer(200, "served"));
    let copies = Upstream::answering(answer(200, "copied"));
    let gateway = Setup::to(upstream.address())
        .route("rate_limits: [{ rate: 1/h, burst: 2 }], mirror: { upstream: copies }, retry: { attempts: 3 }")
        .text();
    let more = format!(
        "  copies: {{ endpoints: [\"http://{}\"] }}\n",
        copies.address()
    );
    let gateway = Gateway::start(&(gateway + &more));
    let mut client = gateway.client();
    assert_eq!(passing(&mut client, "/", 10), 2);
    copies.await_requests(2);
    assert_eq!(upstream.requests().len(), 2);
    assert_eq!(copies.requests().len(), 2);
    assert_eq!(gateway.metric("tidegate_upstream_retries_total", &[]), None);
    let answers = gateway.metric("tidegate_upstream_requests_total", &[("upstream", "app")]);
    assert_eq!(answers, Some(2.0));
}

/// A retry takes no token: the client asked once.
#[test]
fn a_retry_takes_no_token() {
    let upstream = Upstream::answering(answer(503, "no"));
    let gateway = Setup::to(upstream.address())
        .route("rate_limits: [{ name: all, rate: 1/h, burst: 10, key: global }], retry: { attempts: 3, on: [503], backoff: off }")
        .upstream("retry_budget: off")
        .start();
    assert_eq!(gateway.client().get("/").status, 503);
    assert_eq!(upstream.requests().len(), 4);
    let left = gateway.admin_get("/limits/all/global", "").json()["left"].clone();
    assert_eq!(left, 9);
}

/// One limit that several routes name is one limit; one that each writes for itself is each one's own.
#[test]
fn a_named_limit_is_shared_and_a_default_policy_is_not() {
    let gateway = Setup::to("127.0.0.1:9")
        .top("rate_limits: { shared: { rate: 1/h, burst: 3 } }")
        .top("route_defaults: { rate_limits: [{ rate: 1/h, burst: 2 }] }")
        .before("name: a, match: { path: /a }, respond: {}, rate_limits: [shared]")
        .before("name: b, match: { path: /b }, respond: {}, rate_limits: [shared]")
        .before("name: c, match: { path: /c }, respond: {}")
        .before("name: d, match: { path: /d }, respond: {}")
        .before("name: e, match: { path: /e }, respond: {}, rate_limits: off")
        .start();
    let mut client = gateway.client();
    assert_eq!(
        passing(&mut client, "/a", 2) + passing(&mut client, "/b", 2),
        3
    );
    assert_eq!(passing(&mut client, "/c", 3), 2);
    assert_eq!(passing(&mut client, "/d", 3), 2);
    assert_eq!(passing(&mut client, "/e", 5), 5);
    let limits = gateway.admin_get("/limits", "").json();
    let names: Vec<&str> = limits["limits"]
        .as_array()
        .unwrap()
        .iter()
        .map(|l| l["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["shared", "c-95b87a", "d-95b87a", "all-95b87a"]);
}

/// The key of what the client sent, whatever the route makes of it later.
#[test]
fn a_key_is_read_before_the_route_changes_anything() {
    let echo = Echo::start("app");
    let gateway = Setup::to(echo.address())
        .route("rate_limits: [{ rate: 1/h, key: header:x-k }], request_headers: { set: { x-k: same } }, rewrite: { path: /same }")
        .start();
    let mut client = gateway.client();
    for key in ["a", "b"] {
        client
            .ask(get_with("/", &format!("x-k: {key}\r\n")))
            .expect_ok();
    }
    client
        .ask(get_with("/", "x-k: a\r\n"))
        .expect_refusal(429, "rate_limited");
}

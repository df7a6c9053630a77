//! Who the client is: forwarded fields are believed through `trusted_proxies` only, walked from the right.

use std::net::{IpAddr, Ipv4Addr};

use crate::support::{Client, Echo, Gateway, Report, Setup};

fn ask(gateway: &Gateway, fields: &str) -> Report {
    Report::of(gateway.client().ask(format!(
        "GET / HTTP/1.1\r\nHost: a.test:8080\r\n{fields}\r\n"
    )))
}

/// The client that the access log names for the request of `report`.
fn logged_client(gateway: &Gateway, report: &Report) -> String {
    let entry = gateway.await_access("request_id", report.field("x-request-id").unwrap());
    entry["client"].as_str().expect("a client").to_owned()
}

#[test]
fn the_upstream_is_told_who_asked() {
    let echo = Echo::start("app");
    let gateway = Setup::to(echo.address()).start();
    let report = ask(&gateway, "");
    assert_eq!(report.field("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(report.field("x-forwarded-proto"), Some("http"));
    assert_eq!(report.field("x-forwarded-host"), Some("a.test:8080"));
    assert_eq!(report.field("host"), Some("a.test:8080"));
    assert_eq!(logged_client(&gateway, &report), "127.0.0.1");
    let mut other =
        Client::connect_from(IpAddr::V4(Ipv4Addr::new(127, 0, 0, 5)), gateway.address());
    assert_eq!(
        Report::of(other.get("/")).field("x-forwarded-for"),
        Some("127.0.0.5")
    );
}

#[test]
fn a_stranger_is_not_believed() {
    let echo = Echo::start("app");
    let gateway = Setup::to(echo.address())
        .listener("trusted_proxies: [10.0.0.0/8]")
        .start();
    let lies = "X-Forwarded-For: 203.0.113.9\r\nX-Forwarded-For: 10.0.0.1\r\nX-Forwarded-Proto: https\r\n\
        X-Forwarded-Host: evil.test\r\nForwarded: for=203.0.113.9;proto=https\r\n";
    let report = ask(&gateway, lies);
    assert_eq!(report.field("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(report.field("x-forwarded-proto"), Some("http"));
    assert_eq!(report.field("x-forwarded-host"), Some("a.test:8080"));
    assert!(!report.all("forwarded").join(",").contains("203.0.113.9"));
    assert_eq!(logged_client(&gateway, &report), "127.0.0.1");
}

#[test]
fn a_private_peer_outside_the_list_is_counted_and_warned_of_once() {
    let echo = Echo::start("app");
    let mut gateway = Setup::to(echo.address()).start();
    ask(&gateway, "");
    let untrusted = |gateway: &Gateway| {
        gateway.metric(
            "tidegate_untrusted_forwarded_total",
            &[("listener", "main")],
        )
    };
    assert_eq!(untrusted(&gateway).unwrap_or(0.0), 0.0);
    for _ in 0..3 {
        ask(&gateway, "X-Forwarded-For: 203.0.113.9\r\n");
    }
    gateway.await_metric(
        "tidegate_untrusted_forwarded_total",
        &[("listener", "main")],
        3.0,
    );
    gateway.await_stderr("trusted_proxies");
    assert_eq!(gateway.count_stderr("trusted_proxies"), 1);
}

#[test]
fn the_walk_ends_at_the_first_stranger_from_the_right() {
    let echo = Echo::start("app");
    let trust = "trusted_proxies: [127.0.0.0/8, 10.0.0.0/8, \"2001:db8::/32\"]";
    let gateway = Setup::to(echo.address()).listener(trust).start();
    let client = |fields: &str| logged_client(&gateway, &ask(&gateway, fields));
    assert_eq!(client("X-Forwarded-For: 203.0.113.9\r\n"), "203.0.113.9");
    assert_eq!(
        client("X-Forwarded-For: 203.0.113.9, 10.1.1.1\r\n"),
        "203.0.113.9"
    );
    assert_eq!(
        client("X-Forwarded-For: 6.6.6.6, 203.0.113.9, 10.1.1.1\r\n"),
        "203.0.113.9"
    );
    assert_eq!(
        client("X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-For: 203.0.113.9, 2001:db8::1\r\n"),
        "203.0.113.9"
    );
    assert_eq!(
        client("X-Forwarded-For: 10.2.2.2,10.1.1.1\r\n"),
        "10.2.2.2",
        "all trusted: the farthest"
    );
    assert_eq!(
        client("X-Forwarded-For: 6.6.6.6, not an address, 10.1.1.1\r\n"),
        "10.1.1.1",
        "garbage ends the walk"
    );
    assert_eq!(client(""), "127.0.0.1");
}

#[test]
fn a_trusted_proxy_passes_on_what_it_was_told() {
    let echo = Echo::start("app");
    let gateway = Setup::to(echo.address())
        .listener("trusted_proxies: private")
        .start();
    let fields = "X-Forwarded-For: 203.0.113.9\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: shop.test\r\n";
    let report = ask(&gateway, fields);
    assert_eq!(
        report.field("x-forwarded-for"),
        Some("203.0.113.9, 127.0.0.1")
    );
    assert_eq!(report.field("x-forwarded-proto"), Some("https"));
    assert_eq!(report.field("x-forwarded-host"), Some("shop.test"));
    assert_eq!(
        gateway
            .metric("tidegate_untrusted_forwarded_total", &[])
            .unwrap_or(0.0),
        0.0
    );
}

#[test]
fn forwarded_is_understood_too() {
    let echo = Echo::start("app");
    let gateway = Setup::to(echo.address())
        .listener("trusted_proxies: [127.0.0.1/32]")
        .start();
    let client = |fields: &str| logged_client(&gateway, &ask(&gateway, fields));
    assert_eq!(
        client("Forwarded: for=203.0.113.9;proto=https\r\n"),
        "203.0.113.9"
    );
    assert_eq!(
        client("Forwarded: for=\"[2001:db8:9::1]:4711\"\r\n"),
        "2001:db8:9::1"
    );
    assert_eq!(
        client("Forwarded: for=6.6.6.6, for=\"203.0.113.9:80\"\r\n"),
        "203.0.113.9"
    );
    assert_eq!(client("Forwarded: for=unknown\r\n"), "127.0.0.1");
}

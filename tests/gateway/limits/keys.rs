//! Who shares a bucket, and that there is no way round by spelling.

use std::net::{IpAddr, Ipv4Addr};

use super::{decisions, get_with, is_admitted, limiting, passing};
use crate::support::{Authority, Client, Gateway, Visitor, tls_file, unique_directory};

fn ask(client: &mut Client, target: &str, fields: &str) -> bool {
    is_admitted(&client.ask(get_with(target, fields)))
}

/// Does a request from behind a trusted proxy pass?
fn ask_from(gateway: &Gateway, address: &str) -> bool {
    let fields = format!("X-Forwarded-For: {address}\r\n");
    ask(&mut gateway.client(), "/own", &fields)
}

/// L15.
#[test]
fn two_values_of_a_field_are_two_buckets() {
    let gateway = limiting("rate: 1/h, key: header:X-Api-Key").start();
    let mut client = gateway.client();
    assert!(ask(&mut client, "/own", "X-Api-Key: one\r\n"));
    assert!(!ask(&mut client, "/own", "x-api-key: one\r\n"));
    assert!(ask(&mut client, "/own", "X-Api-Key: two\r\n"));
    assert!(
        ask(&mut client, "/own", "X-Api-Key: One\r\n"),
        "another value"
    );
}

/// L16: the port is no part of the address.
#[test]
fn two_addresses_are_two_buckets() {
    let gateway = limiting("rate: 1/h, burst: 2").start();
    let from = |last| {
        let source = IpAddr::V4(Ipv4Addr::new(127, 0, 0, last));
        Client::connect_from(source, gateway.address())
    };
    for last in [2, 3] {
        assert_eq!(passing(&mut from(last), "/own", 1), 1);
        assert_eq!(passing(&mut from(last), "/own", 3), 1);
    }
}

/// L17.
#[test]
fn a_strangers_word_makes_no_new_bucket() {
    let gateway = limiting("rate: 1/h, burst: 2")
        .listener("trusted_proxies: [192.0.2.0/24]")
        .start();
    assert!(ask_from(&gateway, "203.0.113.1"));
    assert!(ask_from(&gateway, "203.0.113.2"));
    assert!(!ask_from(&gateway, "203.0.113.3"));
}

/// L18: the rightmost address that is no proxy's.
#[test]
fn a_trusted_proxys_word_counts_from_the_right() {
    let gateway = limiting("rate: 1/h")
        .listener("trusted_proxies: [127.0.0.0/8]")
        .start();
    assert!(ask_from(&gateway, "6.6.6.6, 203.0.113.1"));
    assert!(!ask_from(&gateway, "7.7.7.7, 203.0.113.1"));
    assert!(!ask_from(&gateway, "203.0.113.1, 127.0.0.9"));
    assert!(ask_from(&gateway, "203.0.113.2"));
}

/// Before routing the client is known as well.
#[test]
fn a_listeners_limit_knows_the_client_behind_a_proxy() {
    let gateway = limiting("rate: 1/h")
        .listener("trusted_proxies: [127.0.0.0/8], rate_limits: [{ rate: 1/h }]")
        .start();
    let ask = |address: &str| {
        let fields = format!("X-Forwarded-For: {address}\r\n");
        gateway
            .client()
            .ask(get_with("/nowhere-at-all", &fields))
            .status
    };
    assert_ne!(ask("203.0.113.1"), 429);
    assert_eq!(ask("203.0.113.1"), 429);
    assert_ne!(ask("203.0.113.2"), 429);
}

/// What a connection keeps of its client's address is neither the next address's nor that of another width.
#[test]
fn the_client_of_a_connection_may_be_another_with_each_request() {
    let wide = "rate_limits: [{ name: wide, rate: 3/h, ipv6_prefix: 32 }]";
    let gateway = limiting("rate: 1/h")
        .listener(&format!("trusted_proxies: [127.0.0.0/8], {wide}"))
        .start();
    let mut client = gateway.client();
    let mut from = |address: &str| {
        let fields = format!("X-Forwarded-For: {address}\r\n");
        ask(&mut client, "/own", &fields)
    };
    let (v4, v6) = (
        ["203.0.113.1", "203.0.113.2"],
        ["2001:db8:1::1", "2001:db8:2::1"],
    );
    assert!(v4.into_iter().chain(v6).all(&mut from));
    assert!(!v4.into_iter().chain(v6).any(&mut from));
    assert!(from("2001:db8:3::1"), "the third of its wider network");
    assert!(!from("2001:db8:4::1"), "the fourth");
}

/// L19: one client has 2^64 addresses; an IPv4 client has one, in whatever dress.
#[test]
fn an_ipv6_client_is_its_network_and_an_ipv4_client_itself() {
    let trusting = |policy: &str| {
        limiting(policy)
            .listener("trusted_proxies: [127.0.0.0/8]")
            .start()
    };
    let gateway = trusting("rate: 1/h");
    assert!(ask_from(&gateway, "2001:db8:1:2::1"));
    assert!(!ask_from(&gateway, "2001:db8:1:2:ffff::9"));
    assert!(ask_from(&gateway, "2001:db8:1:3::1"));
    assert!(ask_from(&gateway, "203.0.113.7"));
    assert!(!ask_from(&gateway, "::ffff:203.0.113.7"));
    assert!(!ask_from(&gateway, "64:ff9b::203.0.113.7"));
    assert!(ask_from(&gateway, "64:ff9b::203.0.113.8"));
    let wide = trusting("rate: 1/h, ipv6_prefix: 48");
    assert!(ask_from(&wide, "2001:db8:1:2::1"));
    assert!(!ask_from(&wide, "2001:db8:1:ffff::1"));
    let single = trusting("rate: 1/h, ipv6_prefix: 128");
    assert!(ask_from(&single, "2001:db8:1:2::1"));
    assert!(ask_from(&single, "2001:db8:1:2::2"));
}

/// L20: never one shared bucket, and never none, by accident.
#[test]
fn a_request_without_the_key_is_known_by_its_address() {
    let gateway = limiting("rate: 1/h, key: header:x-k")
        .listener("trusted_proxies: [127.0.0.0/8]")
        .start();
    assert!(ask_from(&gateway, "203.0.113.1"));
    assert!(!ask_from(&gateway, "203.0.113.1"));
    assert!(ask_from(&gateway, "203.0.113.2"));
    let mut client = gateway.client();
    let both = "X-Forwarded-For: 203.0.113.1\r\nx-k: 203.0.113.1\r\n";
    assert!(
        ask(&mut client, "/own", both),
        "a value that looks like an address is no address"
    );
    let empty = "X-Forwarded-For: 203.0.113.3\r\nx-k:\r\n";
    assert!(ask(&mut client, "/own", empty));
    assert!(!ask(&mut client, "/own", empty));
}

/// L20: or whatever the file says.
#[test]
fn a_request_without_the_key_may_pass_or_be_refused() {
    let gateway = limiting("rate: 1/h, key: cookie:id, on_missing_key: allow").start();
    assert_eq!(passing(&mut gateway.client(), "/own", 5), 5);
    assert_eq!(decisions(&gateway, "one", "allowed"), 5.0);
    let gateway = limiting("rate: 1/h, key: cookie:id, on_missing_key: deny").start();
    let mut client = gateway.client();
    let refused = client.get("/own");
    refused.expect_refusal(429, "rate_limited");
    assert_eq!(refused.field("retry-after"), None, "no time helps");
    assert!(refused.text().contains("cookie:id"), "{}", refused.text());
    assert!(ask(&mut client, "/own", "Cookie: id=1\r\n"));
    assert_eq!(decisions(&gateway, "one", "limited"), 1.0);
}

/// L21: bounded and hashed; two lines are no way round.
#[test]
fn a_field_in_two_lines_is_no_key() {
    let gateway = limiting("rate: 1/h, burst: 2, key: header:x-k")
        .listener("limits: { head_bytes: 128KiB }")
        .start();
    let mut client = gateway.client();
    assert!(ask(&mut client, "/own", "x-k: a\r\nx-k: 1\r\n"));
    assert!(ask(&mut client, "/own", "x-k: 2\r\nx-k: a\r\n"));
    assert!(
        !ask(&mut client, "/own", "x-k: a\r\nx-k: 3\r\n"),
        "all of them are the address's"
    );
    assert!(ask(&mut client, "/own", "x-k: a\r\n"));
    let long = format!("x-k: {}\r\n", "v".repeat(64 << 10));
    assert!(ask(&mut client, "/own", &long));
    assert!(ask(&mut client, "/own", &long));
    assert!(!ask(&mut client, "/own", &long));
}

/// L21: the same of cookies and parameters, of which servers take now the first, now the last.
#[test]
fn a_cookie_or_parameter_twice_is_no_key() {
    let gateway = limiting("rate: 1/h, key: query:id").start();
    let mut client = gateway.client();
    assert!(ask(&mut client, "/own?id=1&id=a", ""));
    assert!(!ask(&mut client, "/own?id=2&id=a", ""));
    assert!(ask(&mut client, "/own?id=a", ""));
    assert!(
        !ask(&mut client, "/own?%69d=%61", ""),
        "another spelling of the same"
    );
    let gateway = limiting("rate: 1/h, key: cookie:id").start();
    let mut client = gateway.client();
    assert!(ask(&mut client, "/own", "Cookie: id=1; id=a\r\n"));
    assert!(!ask(
        &mut client,
        "/own",
        "Cookie: id=2\r\nCookie: id=a\r\n"
    ));
    assert!(ask(&mut client, "/own", "Cookie: id=a\r\n"));
}

/// L22: one path has one bucket, however it is spelt.
#[test]
fn a_path_has_one_bucket_in_all_its_spellings() {
    let gateway = limiting("rate: 1/h, key: path").start();
    let mut client = gateway.client();
    assert_eq!(passing(&mut client, "/own/a", 1), 1);
    for spelt in [
        "/own/%61",
        "/own//a",
        "/own/./a",
        "/own/b/../a",
        "//own/a",
        "/own/a?x=1",
    ] {
        assert_eq!(passing(&mut client, spelt, 1), 0, "{spelt}");
    }
    assert_eq!(passing(&mut client, "/own/b", 1), 1);
}

/// L23: a flood of keys takes no more than it is given, and frees nobody who is limited.
#[test]
fn a_flood_of_keys_is_bounded_and_frees_nobody() {
    let gateway = limiting("rate: 1/h, burst: 2, key: header:x-k, max_keys: 100")
        .listener("limits: { requests_per_connection: off }")
        .start();
    let mut client = gateway.client();
    for _ in 0..2 {
        assert!(ask(&mut client, "/own", "x-k: limited\r\n"));
    }
    for key in 0..1000 {
        assert!(ask(&mut client, "/own", &format!("x-k: {key}\r\n")));
        if key % 100 == 0 {
            assert!(!ask(&mut client, "/own", "x-k: limited\r\n"), "after {key}");
        }
    }
    let held = gateway.metric("tidegate_rate_limit_keys", &[]).unwrap();
    let evicted = gateway
        .metric("tidegate_rate_limit_evictions_total", &[])
        .unwrap();
    assert!((1.0..=100.0).contains(&held), "{held}");
    assert!(evicted >= 900.0, "{evicted}");
}

/// L23: the same where the memory of all limits together is the bound: of twelve, so that a thousand keys are many.
#[test]
fn a_flood_of_keys_stays_within_the_memory_of_all_limits() {
    let limit = |number| format!("{{ name: l{number}, rate: 1/h, burst: 2, key: header:x-k }}");
    let limits: Vec<String> = (0..12).map(limit).collect();
    let many = limits.join(", ");
    let gateway = limiting("rate: 1/h")
        .top("limits_memory: 1MiB")
        .before(&format!(
            "name: many, match: {{ path: /many }}, respond: {{}}, rate_limits: [{many}]"
        ))
        .listener("limits: { requests_per_connection: off }")
        .start();
    let mut client = gateway.client();
    for _ in 0..2 {
        assert!(ask(&mut client, "/many", "x-k: limited\r\n"));
    }
    for key in 0..5000 {
        assert!(ask(&mut client, "/many", &format!("x-k: {key}\r\n")));
        if key % 500 == 0 {
            assert!(!ask(&mut client, "/many", "x-k: limited\r\n"), "{key}");
        }
    }
    let page = gateway.admin_get("/limits", "").json();
    let sum = |of: &str| -> u64 {
        let limits = page["limits"].as_array().unwrap();
        limits.iter().filter_map(|limit| limit[of].as_u64()).sum()
    };
    let bytes = page["memory"]["bytes"].as_u64().unwrap();
    // What no limiter can do without is beside it.
    assert!(bytes <= (1 << 20) + (64 << 10), "{bytes}");
    assert_eq!(bytes, sum("bytes"));
    let (keys, evictions) = (sum("keys"), sum("evictions"));
    assert!(keys > 20_000 && evictions > 5_000, "{keys} {evictions}");
    assert_eq!(keys + evictions, 12 * 5001);
}

#[test]
fn a_key_of_several_parts_is_one_key() {
    let gateway = limiting("rate: 1/h, key: [host, method, header:x-k]").start();
    let mut client = gateway.client();
    let mut ask = |method: &str, host: &str, key: &str| {
        let head = format!("{method} /own HTTP/1.1\r\nHost: {host}\r\nx-k: {key}\r\n\r\n");
        is_admitted(&client.ask(head))
    };
    assert!(ask("GET", "a.test", "1"));
    assert!(
        !ask("GET", "A.Test:8080", "1"),
        "neither case nor port count"
    );
    assert!(ask("PUT", "a.test", "1"));
    assert!(ask("GET", "b.test", "1"));
    assert!(ask("GET", "a.test", "2"));
}

#[test]
fn a_key_may_be_the_route_or_the_connection() {
    let other = "name: other, match: { path: /other }, respond: {}, rate_limits: [one]";
    let gateway = limiting("rate: 1/h, key: route").before(other).start();
    let mut client = gateway.client();
    assert_eq!(passing(&mut client, "/own", 2), 1);
    assert_eq!(passing(&mut client, "/other", 2), 1);
    let gateway = limiting("rate: 1/h, key: connection").start();
    assert_eq!(passing(&mut gateway.client(), "/own", 2), 1);
    assert_eq!(passing(&mut gateway.client(), "/own", 2), 1);
}

#[test]
fn who_is_exempt_is_not_limited_and_not_counted() {
    let gateway = limiting("rate: 1/h, exempt: [203.0.113.0/24, \"2001:db8::/32\"]")
        .listener("trusted_proxies: [127.0.0.0/8]")
        .start();
    for _ in 0..3 {
        assert!(ask_from(&gateway, "203.0.113.9"));
        assert!(ask_from(&gateway, "2001:db8::9"));
    }
    assert_eq!(decisions(&gateway, "one", "allowed"), 0.0);
    assert!(ask_from(&gateway, "203.0.114.9"));
    assert!(!ask_from(&gateway, "203.0.114.9"));
}

#[test]
fn a_certificate_is_a_key() {
    let (server, people) = (Authority::new("servers"), Authority::new("people"));
    let directory = unique_directory();
    server.issue(&["a.test"]).write(&directory, "a");
    std::fs::write(directory.join("people.crt"), &people.cert).unwrap();
    let mode = ", client_auth: { ca: people.crt, mode: optional }";
    let setup = limiting("rate: 1/h, key: client_cert").listener(&tls_file(&["a"], mode));
    std::fs::write(directory.join("gateway.yaml"), setup.text()).unwrap();
    let gateway = Gateway::start_in(directory, "gateway.yaml");
    let visit = |name: &str| {
        let pair = people.client(name, &[]);
        let mut client = Visitor::showing(&server, &pair).visit(gateway.address(), "a.test");
        passing(&mut client, "/own", 2)
    };
    assert_eq!(visit("anna"), 1);
    assert_eq!(visit("anna"), 0, "another connection of the same");
    assert_eq!(visit("bert"), 1);
    let mut nobody = Visitor::trusting(&server).visit(gateway.address(), "a.test");
    assert_eq!(passing(&mut nobody, "/own", 2), 1, "known by its address");
}

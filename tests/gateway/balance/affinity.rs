//! Requests that belong together stay together: by a key, in every gateway alike, or by a cookie.

use std::collections::BTreeMap;

use super::{Counts, counted, echoes, file, weighing, who};
use crate::support::{Client, Gateway, Report, Response};

const BY_TENANT: &str = "{ hash: [\"header:x-tenant\", path] }";
const STICKY: &str = "{ sticky_cookie: { name: gate, ttl: 1h } }";

/// Which endpoint each of 60 tenants is sent to, asked over several connections.
fn places(gateway: &Gateway) -> BTreeMap<usize, String> {
    let mut clients: Vec<Client> = (0..4).map(|_| gateway.client()).collect();
    (0..60)
        .map(|tenant| {
            let request =
                format!("GET /orders HTTP/1.1\r\nHost: a.test\r\nX-Tenant: t{tenant}\r\n\r\n");
            let response = clients[tenant % 4].ask(request);
            (tenant, Report::of(response).upstream().to_owned())
        })
        .collect()
}

#[test]
fn a_key_has_one_endpoint_in_every_gateway() {
    let echoes = echoes::<4>();
    let endpoints = weighing(&echoes, &[1, 1, 1, 1]);
    let reversed: Vec<_> = endpoints.iter().rev().copied().collect();
    let mut gateway = Gateway::start(&file(BY_TENANT, &endpoints));
    let first = places(&gateway);
    assert_eq!(counted(first.values().cloned()).len(), 4, "{first:?}");
    assert_eq!(places(&gateway), first);
    let beside = Gateway::start(&file(BY_TENANT, &reversed));
    assert_eq!(places(&beside), first);
    gateway.kill();
    let restarted = Gateway::start(&file(BY_TENANT, &endpoints));
    assert_eq!(places(&restarted), first);
}

#[test]
fn only_the_keys_of_an_endpoint_that_goes_move() {
    let echoes = echoes::<5>();
    let endpoints = weighing(&echoes, &[1, 1, 2, 1, 1]);
    let without = [&endpoints[..3], &endpoints[4..]].concat();
    let gateway = Gateway::start(&file(BY_TENANT, &endpoints));
    let before = places(&gateway);
    gateway.apply(&file(BY_TENANT, &without));
    let after = places(&gateway);
    for (tenant, place) in &before {
        assert_eq!(&after[tenant] == place, place != "d", "tenant {tenant}");
    }
    gateway.apply(&file(BY_TENANT, &endpoints));
    assert_eq!(places(&gateway), before);
}

#[test]
fn a_request_without_the_key_goes_where_there_is_least_to_do() {
    let echoes = echoes::<2>();
    let gateway = Gateway::start(&file(BY_TENANT, &weighing(&echoes, &[1, 1])));
    let mut client = gateway.client();
    let names = (0..60).map(|_| who(&mut client));
    let counts: Counts = counted(names);
    assert!(counts["a"] > 10 && counts["b"] > 10, "{counts:?}");
}

/// One GET with a cookie, if there is one, on a connection of its own.
fn ask(gateway: &Gateway, cookie: Option<&str>) -> Response {
    let line = cookie.map_or(String::new(), |cookie| format!("Cookie: {cookie}\r\n"));
    gateway
        .client()
        .ask(format!("GET / HTTP/1.1\r\nHost: a.test\r\n{line}\r\n"))
        .expect_ok()
}

/// The cookie that an answer sets, as a client sends it back.
fn cookie_of(response: &Response) -> Option<String> {
    let line = response.field("set-cookie")?;
    let (pair, attributes) = line.split_once("; ").unwrap();
    assert_eq!(attributes, "Path=/; HttpOnly; SameSite=Lax; Max-Age=3600");
    let digits = pair.strip_prefix("gate=").unwrap();
    let is_digit = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
    assert!(digits.len() == 16 && digits.chars().all(is_digit), "{line}");
    Some(pair.to_owned())
}

#[test]
fn a_cookie_keeps_a_client_at_its_endpoint_until_that_goes() {
    let echoes = echoes::<3>();
    let endpoints = weighing(&echoes, &[1, 1, 1]);
    let gateway = Gateway::start(&file(STICKY, &endpoints));
    let first = ask(&gateway, None);
    let cookie = cookie_of(&first).expect("a cookie");
    let own = Report::of(first).upstream().to_owned();
    for others in ["", "a=b; ", "theme=dark; lang=en; "] {
        for _ in 0..10 {
            let next = ask(&gateway, Some(&format!("{others}{cookie}")));
            assert_eq!(cookie_of(&next), None, "set again");
            let report = Report::of(next);
            assert_eq!(report.upstream(), own);
        }
    }
    let gone = ["a", "b", "c"].iter().position(|name| *name == own);
    let mut rest = endpoints.clone();
    rest.remove(gone.unwrap());
    gateway.apply(&file(STICKY, &rest));
    let moved = ask(&gateway, Some(&cookie));
    let fresh = cookie_of(&moved).expect("a new cookie");
    assert_ne!(fresh, cookie);
    let other = Report::of(moved).upstream().to_owned();
    assert_ne!(other, own);
    let again = ask(&gateway, Some(&fresh));
    assert_eq!(cookie_of(&again), None);
    assert_eq!(Report::of(again).upstream(), other);
}

#[test]
fn a_cookie_of_nobody_is_replaced() {
    let echoes = echoes::<2>();
    let gateway = Gateway::start(&file(STICKY, &weighing(&echoes, &[1, 1])));
    for cookie in [
        "gate=",
        "gate=0123456789abcdef",
        "gate=0123456789ABCDEF",
        "gate=../../etc/passwd",
        "other=1",
    ] {
        assert!(
            cookie_of(&ask(&gateway, Some(cookie))).is_some(),
            "{cookie}"
        );
    }
}

/// The same address has the same cookie wherever the gateway runs.
#[test]
fn a_cookie_holds_in_every_gateway() {
    let echoes = echoes::<3>();
    let mut endpoints = weighing(&echoes, &[1, 1, 1]);
    let first = ask(&Gateway::start(&file(STICKY, &endpoints)), None);
    let cookie = cookie_of(&first).expect("a cookie");
    endpoints.reverse();
    let beside = Gateway::start(&file(STICKY, &endpoints));
    let own = Report::of(first).upstream().to_owned();
    for _ in 0..10 {
        let next = ask(&beside, Some(&cookie));
        assert_eq!(cookie_of(&next), None);
        assert_eq!(Report::of(next).upstream(), own);
    }
}

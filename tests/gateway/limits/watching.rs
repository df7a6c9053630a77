//! Limits as their operator sees them: dry runs, candidates, counters, and the pages of the admin port.

use super::{decisions, get_with, is_admitted, limiting, passing};
use crate::support::{Client, Gateway, PATIENCE, Response, until};

const ADMIN: &str = "X-Tidegate-Admin: 1\r\n";

fn ask_admin(gateway: &Gateway, method: &str, target: &str, fields: &str) -> Response {
    let address = gateway.admin().unwrap();
    Client::connect(address).ask(format!(
        "{method} {target} HTTP/1.1\r\nHost: {address}\r\n{fields}\r\n"
    ))
}

/// A trace of keys and costs that no limit of the test lets through whole.
fn run(gateway: &Gateway) -> usize {
    let mut client = gateway.client();
    let keys = (0..200_u32).map(|turn| turn * turn % 7);
    let answers = keys.map(|key| client.ask(get_with("/own", &format!("x-k: {key}\r\n"))));
    answers.filter(|answer| !is_admitted(answer)).count()
}

/// What observing would have refused is what enforcing refuses.
#[test]
fn observing_sees_what_enforcing_refuses() {
    let policy = "rate: 1/h, burst: 20, key: header:x-k, cost: 3";
    let enforced = limiting(policy).start();
    let refused = run(&enforced);
    assert!(refused > 50 && refused < 200, "{refused}");
    let observed = limiting(&format!("{policy}, mode: observe")).start();
    assert_eq!(run(&observed), 0);
    assert_eq!(decisions(&observed, "one", "observed"), refused as f64);
    assert_eq!(decisions(&enforced, "one", "limited"), refused as f64);
    for gateway in [enforced, observed] {
        assert_eq!(
            decisions(&gateway, "one", "allowed"),
            (200 - refused) as f64
        );
    }
}

/// A candidate sees what it would refuse in the place of the first, whatever that says.
#[test]
fn a_candidate_is_only_counted() {
    let candidate = "rate: 1/h, burst: 6, key: header:x-k";
    let alone = limiting(candidate).start();
    let refused = run(&alone) as f64;
    for (policy, passes) in [("burst: 1000", 200), ("burst: 1", 200 - 7)] {
        let both = limiting(&format!(
            "rate: 1/h, {policy}, key: header:x-k, candidate: {{ rate: 1/h, burst: 6 }}, mode: enforce"
        ));
        let gateway = both.start();
        let limited = run(&gateway);
        assert_eq!(
            decisions(&gateway, "one", "candidate_limited"),
            refused,
            "{policy}"
        );
        assert_eq!(decisions(&gateway, "one", "limited"), limited as f64);
        assert!(limited == 0 || 200 - limited <= passes, "{limited}");
    }
}

/// L32: for each limit allowed and limited are what was sent, and no label is a key.
#[test]
fn every_request_is_counted_once_and_by_no_key() {
    let gateway = limiting("rate: 1/h, burst: 2, key: header:x-k")
        .listener("rate_limits: [{ name: all, rate: 1/h, burst: 1000 }]")
        .start();
    let mut client = gateway.client();
    for key in 0..50 {
        for _ in 0..3 {
            client.ask(get_with("/own", &format!("x-k: secret-{key}\r\n")));
        }
    }
    assert_eq!(
        decisions(&gateway, "one", "allowed") + decisions(&gateway, "one", "limited"),
        150.0
    );
    assert_eq!(decisions(&gateway, "one", "limited"), 50.0);
    assert_eq!(decisions(&gateway, "all", "allowed"), 150.0);
    assert_eq!(
        gateway.metric("tidegate_rate_limit_keys", &[("limit", "one")]),
        Some(50.0)
    );
    assert_eq!(
        gateway.metric("tidegate_rate_limit_keys", &[("limit", "all")]),
        Some(1.0)
    );
    assert_eq!(
        gateway.metric("tidegate_rate_limit_evictions_total", &[("limit", "one")]),
        Some(0.0)
    );
    let page = gateway.admin_get("/metrics", "").text();
    assert!(!page.contains("secret-"));
}

/// Nobody asks it any more, and nobody reads the metrics: its full buckets are forgotten all the same.
#[test]
fn full_buckets_are_forgotten_where_nobody_asks() {
    let gateway = limiting("rate: 1000/s, key: header:x-k").start();
    let mut client = gateway.client();
    let page = || gateway.admin_get("/limits", "").json()["limits"][0].clone();
    for key in 0..300 {
        client.ask(get_with("/own", &format!("x-k: {key}\r\n")));
    }
    assert_eq!(page()["decisions"]["allowed"], 300);
    until(3 * PATIENCE, "no bucket is held", || page()["keys"] == 0);
    assert_eq!(page()["evictions"], 0);
}

#[test]
fn a_limit_that_was_never_asked_has_no_series() {
    let gateway = limiting("rate: 1/h").start();
    gateway.get("/nothing-of-ours");
    assert_eq!(gateway.metric("tidegate_rate_limit_keys", &[]), None);
    assert_eq!(
        gateway.metric("tidegate_rate_limit_evictions_total", &[]),
        None
    );
}

#[test]
fn the_page_of_limits_shows_each() {
    let gateway = limiting("rate: 5/s, burst: 3, key: [client_ip, path], mode: observe")
        .top("limits_memory: 8MiB")
        .start();
    passing(&mut gateway.client(), "/own/a", 2);
    let page = gateway.admin_get("/limits", "").expect_ok().json();
    assert_eq!(page["memory"]["most"], 8 << 20);
    let one = &page["limits"][0];
    assert_eq!(one["name"], "one");
    assert_eq!(one["key"], serde_json::json!(["client_ip", "path"]));
    assert_eq!(one["policy"], "\"one\";q=3;w=1");
    assert_eq!((&one["mode"], &one["keys"]), (&"observe".into(), &1.into()));
    assert_eq!(one["decisions"]["allowed"], 2);
    let config = gateway.admin_get("/config", "").json();
    let said = &config["config"]["rate_limits"]["one"];
    assert_eq!(
        (&said["rate"], &said["burst"], &said["mode"]),
        (&"5/s".into(), &3.into(), &"observe".into())
    );
    assert_eq!(config["config"]["limits_memory"], "8MiB");
}

/// One bucket by its key, as people write it: looked at, and filled.
#[test]
fn a_bucket_can_be_looked_at_and_filled() {
    let gateway = limiting("rate: 1/h, burst: 5, key: [client_ip, path]").start();
    let mut client = gateway.client();
    assert_eq!(passing(&mut client, "/own/a", 4), 4);
    let target = "/limits/one/127.0.0.1,/own/a";
    let bucket = gateway.admin_get(target, "").expect_ok().json();
    assert_eq!(
        (&bucket["limit"], &bucket["left"]),
        (&"one".into(), &1.into())
    );
    assert_eq!(
        gateway
            .admin_get("/limits/one/127.0.0.1,%2Fown%2Fa", "")
            .json()["left"],
        1
    );
    assert_eq!(
        gateway.admin_get("/limits/one/127.0.0.2,/own/a", "").json()["left"],
        5
    );
    let without = ask_admin(&gateway, "DELETE", target, "");
    assert_eq!(without.status, 403, "a verb wants its field");
    let filled = ask_admin(&gateway, "DELETE", target, ADMIN)
        .expect_ok()
        .json();
    assert_eq!(filled["left"], 5);
    assert_eq!(passing(&mut client, "/own/a", 9), 5);
}

#[test]
fn a_bucket_of_nobody_is_full_and_a_wrong_name_is_told() {
    let gateway = limiting("rate: 1/h, key: header:x-k")
        .listener("trusted_proxies: [127.0.0.0/8]")
        .start();
    let mut client = gateway.client();
    client.ask(get_with("/own", "x-k: a b,c\r\n")).expect_ok();
    client
        .ask(get_with("/own", "X-Forwarded-For: 2001:db8::7\r\n"))
        .expect_ok();
    let left = |key: &str| {
        gateway
            .admin_get(&format!("/limits/one/{key}"), "")
            .expect_ok()
            .json()["left"]
            .clone()
    };
    assert_eq!(left("a%20b%2Cc"), 0);
    assert_eq!(left("other"), 1);
    assert_eq!(
        left("client_ip=2001:db8::99"),
        0,
        "any address of its network"
    );
    for (method, target, status) in [
        ("GET", "/limits/none/a", 404),
        ("GET", "/limits/one/", 404),
        ("GET", "/limits/one", 404),
        ("GET", "/limits/one/a,b", 400),
        ("GET", "/limits/one/client_ip=here", 400),
        ("POST", "/limits/one/a", 405),
        ("DELETE", "/limits", 405),
        ("DELETE", "/limits/none/a", 404),
    ] {
        assert_eq!(
            ask_admin(&gateway, method, target, ADMIN).status,
            status,
            "{method} {target}"
        );
    }
}

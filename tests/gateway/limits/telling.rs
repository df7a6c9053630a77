//! What is said of limits in answers: 429, `Retry-After`, `RateLimit-Policy`, `RateLimit`, the reason and the name.

use std::time::{Duration, Instant};

use super::{is_admitted, limiting, passing};
use crate::support::{Echo, PATIENCE, Response, Setup, Upstream, answer, until};

/// The items of a structured field: a list of strings with whole numbers as parameters (RFC 9651).
fn items(answer: &Response, field: &str) -> Vec<(String, Vec<(String, u64)>)> {
    let lines = answer.all(field);
    assert!(lines.len() < 2, "{lines:?}");
    let one = |item: &str| {
        let mut parts = item.trim().split(';');
        let name = parts.next().unwrap();
        let name = name
            .strip_prefix('"')
            .and_then(|n| n.strip_suffix('"'))
            .expect("a string");
        let parameters = parts.map(|part| {
            let (key, value) = part.split_once('=').expect("a parameter");
            (key.to_owned(), value.parse().expect("a whole number"))
        });
        (name.to_owned(), parameters.collect())
    };
    lines
        .iter()
        .flat_map(|line| line.split(','))
        .map(one)
        .collect()
}

fn item(name: &str, parameters: &[(&str, u64)]) -> (String, Vec<(String, u64)>) {
    let parameters = parameters
        .iter()
        .map(|(key, value)| ((*key).to_owned(), *value));
    (name.to_owned(), parameters.collect())
}

/// L24: who waits as long as `Retry-After` says is admitted, and it is less than a second longer than needed.
#[test]
fn retry_after_is_enough() {
    let gateway = limiting("rate: 2/7s, burst: 1, key: global").start();
    let mut client = gateway.client();
    assert!(is_admitted(&client.get("/own")));
    // With a burst of one, what is needed is what the bucket needs to be full.
    let needed = || {
        let bucket = gateway.admin_get("/limits/one/global", "").json();
        bucket["full_in_seconds"].as_f64().unwrap()
    };
    let before = needed();
    let refused = client.get("/own");
    let since = Instant::now();
    let after = needed();
    refused.expect_refusal(429, "rate_limited");
    let wait: u64 = refused.field("retry-after").unwrap().parse().unwrap();
    assert!(
        wait as f64 >= after && wait as f64 <= before.ceil(),
        "{before} {wait} {after}"
    );
    until(PATIENCE, "the time to retry", || {
        since.elapsed() >= Duration::from_secs(wait)
    });
    assert!(is_admitted(&client.get("/own")));
}

/// The answer names the limit in every place, and is stored by nobody.
#[test]
fn a_refusal_names_the_limit() {
    let gateway = limiting("rate: 1/h").start();
    let mut client = gateway.client();
    assert!(is_admitted(&client.get("/own")));
    let refused = client.get("/own");
    refused.expect_refusal(429, "rate_limited");
    let problem = refused.json();
    assert_eq!(problem["limit"], "one");
    assert!(
        problem["detail"].as_str().unwrap().contains("one"),
        "{problem}"
    );
    assert_eq!(refused.field("cache-control"), Some("no-store"));
    let line = gateway.await_access("reason", "rate_limited");
    assert_eq!(
        (&line["limit"], &line["status"], &line["route"]),
        (&"one".into(), &429.into(), &"own".into())
    );
    let labels = [("route", "own"), ("reason", "rate_limited")];
    gateway.await_metric("tidegate_gateway_responses_total", &labels, 1.0);
    let quiet = limiting("rate: 1/h, headers: off")
        .top("errors: reason")
        .start();
    let mut client = quiet.client();
    assert_eq!(passing(&mut client, "/own", 1), 1);
    let refused = client.get("/own");
    refused.expect_refusal(429, "rate_limited");
    let fields: Vec<_> = refused
        .fields
        .iter()
        .map(|(_, value)| value.as_str())
        .collect();
    assert!(!refused.text().contains("one") && !fields.join(" ").contains("one"));
    assert!(refused.field("retry-after").is_some());
}

/// L25: by default refusals alone tell of limits.
#[test]
fn refusals_carry_the_fields() {
    let gateway = limiting("rate: 10/m, burst: 20, key: global, cost: 15").start();
    let mut client = gateway.client();
    let admitted = client.get("/own").expect_ok();
    assert_eq!(
        (
            admitted.field("ratelimit"),
            admitted.field("ratelimit-policy")
        ),
        (None, None)
    );
    let refused = client.get("/own");
    refused.expect_refusal(429, "rate_limited");
    assert_eq!(
        items(&refused, "ratelimit-policy"),
        [item("one", &[("q", 20), ("w", 120)])]
    );
    let [(name, state)] = &items(&refused, "ratelimit")[..] else {
        panic!("one item")
    };
    assert_eq!((name.as_str(), &state[0]), ("one", &("r".to_owned(), 5)));
    assert!(
        state[1].0 == "t" && (80..=90).contains(&state[1].1),
        "{state:?}"
    );
    let wait: u64 = refused.field("retry-after").unwrap().parse().unwrap();
    assert!((50..=60).contains(&wait), "{wait}");
}

/// L25: with `always` every answer tells, and what is left falls by one each time.
#[test]
fn always_means_every_answer() {
    let gateway = limiting("rate: 1/h, burst: 5, headers: always").start();
    let mut client = gateway.client();
    for left in (0..5).rev() {
        let answer = client.get("/own").expect_ok();
        assert_eq!(
            items(&answer, "ratelimit-policy"),
            [item("one", &[("q", 5), ("w", 18_000)])]
        );
        let state = items(&answer, "ratelimit");
        assert_eq!((state[0].1[0].1, state.len()), (left, 1));
        let full_in = state[0].1[1].1;
        assert!(
            full_in <= (5 - left) * 3600 && full_in > (5 - left) * 3600 - 60,
            "{full_in}"
        );
    }
    assert_eq!(items(&client.get("/own"), "ratelimit")[0].1[0].1, 0);
}

/// Each limit that tells is an item; the one that refuses stands alone.
#[test]
fn several_limits_are_several_items() {
    let gateway = limiting("rate: 1/h, burst: 9, headers: always")
        .listener("rate_limits: [{ name: all, rate: 1/h, burst: 2, headers: always }]")
        .start();
    let mut client = gateway.client();
    let answer = client.get("/own").expect_ok();
    let names = |answer: &Response, field: &str| -> Vec<String> {
        items(answer, field)
            .into_iter()
            .map(|(name, _)| name)
            .collect()
    };
    assert_eq!(names(&answer, "ratelimit"), ["all", "one"]);
    assert_eq!(names(&answer, "ratelimit-policy"), ["all", "one"]);
    // A route that has no limit of its own, and an upstream that is not there.
    let failed = client.get("/");
    assert_eq!(
        (failed.status, names(&failed, "ratelimit")),
        (502, vec!["all".to_owned()])
    );
    let refused = client.get("/own");
    refused.expect_refusal(429, "rate_limited");
    assert_eq!(names(&refused, "ratelimit"), ["all"]);
}

/// L26: the upstream's own fields are replaced where ours are told, and pass where they are not.
#[test]
fn the_upstreams_own_fields_are_never_doubled() {
    let own = "RateLimit: \"theirs\";r=1;t=1\r\nRateLimit-Policy: \"theirs\";q=1;w=1\r\n";
    let upstream =
        Upstream::answering(answer(200, "ok").replacen("\r\n", &format!("\r\n{own}"), 1));
    let started = |headers: &str| {
        Setup::to(upstream.address())
            .route(&format!(
                "rate_limits: [{{ name: ours, rate: 1/h, burst: 5, headers: {headers} }}]"
            ))
            .start()
    };
    let told = started("always").get("/").expect_ok();
    assert_eq!(items(&told, "ratelimit")[0].0, "ours");
    assert_eq!(items(&told, "ratelimit-policy")[0].0, "ours");
    for silent in ["refused", "off"] {
        let told = started(silent).get("/").expect_ok();
        assert_eq!(items(&told, "ratelimit")[0].0, "theirs");
    }
}

/// What the answer says that a request did cost is charged when it is known.
#[test]
fn a_cost_that_the_upstream_tells_is_charged_afterwards() {
    let upstream = Upstream::start(|peer| {
        peer.serve(|request, _| {
            let cost = request.target.trim_start_matches('/');
            answer(200, "ok").replacen("\r\n", &format!("\r\nX-Cost: {cost}\r\n"), 1)
        });
    });
    let gateway = Setup::to(upstream.address())
        .route("rate_limits: [{ name: tokens, rate: 1/h, burst: 100, key: global, cost: \"header:X-Cost\", headers: always }]")
        .start();
    let mut client = gateway.client();
    let mut left = |target: &str| items(&client.get(target).expect_ok(), "ratelimit")[0].1[0].1;
    assert_eq!(left("/30"), 70);
    assert_eq!(left("/1"), 69);
    assert_eq!(left("/0"), 69, "the token is given back");
    assert_eq!(left("/much"), 68, "what is no number is one");
    assert_eq!(left("/60"), 8);
    assert_eq!(left("/50"), 0, "it is known too late to refuse it");
    let refused = client.get("/1");
    refused.expect_refusal(429, "rate_limited");
    let wait: u64 = refused.field("retry-after").unwrap().parse().unwrap();
    assert!(wait > 42 * 3600, "the debt is paid first: {wait}");
}

#[test]
fn an_answer_of_ours_costs_one() {
    let echo = Echo::start("app");
    let gateway = Setup::to(echo.address())
        .route("max_body: 1B, rate_limits: [{ name: tokens, rate: 1/h, burst: 5, key: global, cost: \"header:X-Cost\" }]")
        .start();
    let long = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n01";
    gateway
        .client()
        .ask(long)
        .expect_refusal(413, "body_too_large");
    assert_eq!(
        gateway.admin_get("/limits/tokens/global", "").json()["left"],
        4
    );
}

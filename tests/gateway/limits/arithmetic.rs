//! How many pass. Rates are slow where a count must be exact, so that nothing comes back while the test runs.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::{decisions, is_admitted, limiting, passing};
use crate::support::{PATIENCE, scale, until};

/// L1.
#[test]
fn a_full_bucket_lets_its_burst_pass() {
    let gateway = limiting("rate: 1/h, burst: 20").start();
    assert_eq!(passing(&mut gateway.client(), "/own", 25), 20);
    assert_eq!(decisions(&gateway, "one", "allowed"), 20.0);
    assert_eq!(decisions(&gateway, "one", "limited"), 5.0);
}

/// L2: whoever keeps below the rate is never refused.
#[test]
fn a_client_below_the_rate_is_never_refused() {
    let gateway = limiting("rate: 10/s, burst: 1").start();
    let mut client = gateway.client();
    for turn in 0..scale(10, 50) {
        let since = Instant::now();
        assert!(is_admitted(&client.get("/own")), "turn {turn}");
        // From the answer on: whatever the request took to be decided was before.
        let answered = Instant::now();
        until(PATIENCE, "a tenth of a second", || {
            answered.elapsed() >= Duration::from_millis(100)
        });
        assert!(since.elapsed() >= Duration::from_millis(100));
    }
}

/// L3: however long it is idle, a bucket holds no more than its burst.
#[test]
fn credit_is_capped_at_the_burst() {
    let gateway = limiting("rate: 50/s, burst: 5, key: global").start();
    let mut client = gateway.client();
    assert!(passing(&mut client, "/own", 5) == 5);
    let left = || gateway.admin_get("/limits/one/global", "").json()["left"].clone();
    until(PATIENCE, "a full bucket", || left() == 5);
    let since = Instant::now();
    until(PATIENCE, "time for ten more tokens", || {
        since.elapsed() >= Duration::from_millis(200)
    });
    assert_eq!(left(), 5);
    let since = Instant::now();
    let passed = passing(&mut client, "/own", 25);
    let come = since.elapsed().as_secs_f64() * 50.0;
    assert!(
        passed >= 5 && passed as f64 <= 5.0 + come,
        "{passed} passed, {come} came"
    );
}

/// L4: no race above, no loss below.
#[test]
fn a_hundred_clients_at_once_get_exactly_the_burst() {
    let gateway = limiting("rate: 1/h, burst: 20, key: global").start();
    let passed = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..100 {
            scope.spawn(|| {
                let mut client = gateway.client();
                passed.fetch_add(passing(&mut client, "/own", 2), Ordering::Relaxed);
            });
        }
    });
    assert_eq!(passed.into_inner(), 20);
    assert_eq!(decisions(&gateway, "one", "limited"), 180.0);
}

/// L5, L10: twice the rate for a while gets the burst and the rate, and never more.
#[test]
fn more_than_the_rate_gets_the_rate() {
    let gateway = limiting("rate: 100/s, burst: 20, key: global").start();
    let lasts = Duration::from_secs(scale(2, 10));
    let mut client = gateway.client();
    let (mut passed, since) = (0, Instant::now());
    while since.elapsed() < lasts {
        passed += passing(&mut client, "/own", 4);
        thread::park_timeout(Duration::from_millis(10));
    }
    let most = 20.0 + since.elapsed().as_secs_f64() * 100.0;
    assert!(passed as f64 <= most, "{passed} of at most {most}");
    assert!(
        passed as f64 >= 20.0 + lasts.as_secs_f64() * 10.0,
        "{passed} of {most}"
    );
}

/// L6: rates below one a second.
#[test]
fn once_a_minute_is_once_a_minute() {
    let gateway = limiting("rate: 1/m").start();
    let mut client = gateway.client();
    assert!(is_admitted(&client.get("/own")));
    let refused = client.get("/own");
    refused.expect_refusal(429, "rate_limited");
    let wait: u64 = refused.field("retry-after").unwrap().parse().unwrap();
    assert!((45..=60).contains(&wait), "{wait}");
}

/// L7: a token every microsecond.
#[test]
fn very_high_rates_do_not_round_to_nothing() {
    let gateway = limiting("rate: 1000000/s, headers: always").start();
    let mut client = gateway.client();
    for _ in 0..50 {
        let answer = client.get("/own").expect_ok();
        let policy = answer.field("ratelimit-policy");
        assert_eq!(policy, Some("\"one\";q=1000000;w=1"));
    }
}

/// L8: what is refused costs nothing.
#[test]
fn refusals_cost_nothing() {
    let gateway = limiting("rate: 1/h, burst: 2, key: global").start();
    let mut client = gateway.client();
    assert_eq!(passing(&mut client, "/own", 2), 2);
    let full_in = || {
        let bucket = gateway.admin_get("/limits/one/global", "").json();
        bucket["full_in_seconds"].as_f64().unwrap()
    };
    let before = full_in();
    assert_eq!(passing(&mut client, "/own", 50), 0);
    assert!(full_in() <= before && before <= 7200.0);
}

/// L11: a request may cost more than one token, here or everywhere.
#[test]
fn a_dear_request_takes_more() {
    let dear =
        "name: dear, match: { path: /dear }, respond: {}, rate_limits: [{ limit: one, cost: 5 }]";
    let gateway = limiting("rate: 1/h, burst: 20, key: global")
        .before(dear)
        .start();
    let mut client = gateway.client();
    assert_eq!(passing(&mut client, "/dear", 3), 3);
    assert_eq!(passing(&mut client, "/own", 3), 3);
    assert_eq!(passing(&mut client, "/dear", 2), 0);
    assert_eq!(passing(&mut client, "/own", 3), 2);
    let all = limiting("rate: 1/h, burst: 20, cost: 5").start();
    assert_eq!(passing(&mut all.client(), "/own", 6), 4);
}

/// L12: several limits admit together; one that refuses takes nothing from the others.
#[test]
fn several_limits_admit_together_or_take_nothing() {
    let both = "name: both, match: { path: /both }, respond: {}, \
        rate_limits: [{ name: wide, rate: 1/h, burst: 10, key: global }, { name: narrow, rate: 1/h, burst: 4, key: header:x-k }]";
    let gateway = limiting("rate: 1/h").before(both).start();
    let mut client = gateway.client();
    let mut ask = |key: &str, count: usize| {
        let asked =
            (0..count).map(|_| client.ask(super::get_with("/both", &format!("x-k: {key}\r\n"))));
        asked.filter(is_admitted).count()
    };
    assert_eq!(ask("a", 9), 4, "the narrow one refuses");
    let left = |limit: &str, key: &str| {
        gateway
            .admin_get(&format!("/limits/{limit}/{key}"), "")
            .json()["left"]
            .clone()
    };
    assert_eq!(left("wide", "global"), 6);
    assert_eq!(ask("b", 4), 4);
    assert_eq!(ask("c", 4), 2, "the wide one refuses");
    assert_eq!(left("narrow", "c"), 2);
    assert_eq!(left("wide", "global"), 0);
}

//! A Redis that is hurt in the middle of load: no request fails because of it, and it is found again by itself.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::{errors, patient, shared, state, until_state};
use crate::limits::passing;
use crate::support::{Gateway, PATIENCE, Redis, Slow, until};

const MODES: [&str; 2] = ["exact", "leased"];

/// A limit that nobody reaches.
fn wide(mode: &str) -> String {
    format!("rate: 1000000/s, store: {{ redis: main, mode: {mode} }}")
}

/// Clients that never get anything but 200, while `hurt` does what it does.
fn under_load(gateway: &Gateway, hurt: impl FnOnce(&dyn Fn())) {
    let (done, served) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let mut client = gateway.client();
                while !done.load(Ordering::SeqCst) {
                    assert_eq!(client.get("/own").status, 200);
                    served.fetch_add(1, Ordering::SeqCst);
                    thread::park_timeout(Duration::from_micros(300));
                }
            });
        }
        // However this ends, the clients end with it.
        let _over = Over(&done);
        let go_on = || {
            let wanted = served.load(Ordering::SeqCst) + 100;
            until(3 * PATIENCE, "requests go on", || {
                served.load(Ordering::SeqCst) >= wanted
            });
        };
        go_on();
        hurt(&go_on);
        go_on();
    });
}

/// Says that it is over when it goes.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

#[test]
fn a_redis_that_is_killed_and_comes_back_costs_no_request() {
    for mode in MODES {
        let mut redis = Redis::start(&[]);
        let mut gateway = shared(redis.port, "20ms", &wide(mode)).start();
        until_state(&gateway, "here");
        under_load(&gateway, |go_on| {
            redis.stop();
            until_state(&gateway, "away");
            go_on();
            redis.start_again();
            until_state(&gateway, "here");
        });
        gateway.await_stderr("the store main is away");
        gateway.await_stderr("the store main is back");
    }
}

#[test]
fn a_redis_that_is_frozen_and_thaws_costs_no_request() {
    for mode in MODES {
        let redis = Redis::start(&[]);
        let gateway = shared(redis.port, "20ms", &wide(mode)).start();
        until_state(&gateway, "here");
        under_load(&gateway, |go_on| {
            redis.freeze();
            until_state(&gateway, "away");
            go_on();
            redis.thaw();
            until_state(&gateway, "here");
        });
        assert!(errors(&gateway, "timeout") > 0.0, "{mode}");
    }
}

/// Who waits in vain is counted once; then nobody waits, so the counter does not follow the requests.
#[test]
fn a_frozen_redis_is_not_asked_by_each_request() {
    let redis = Redis::start(&[]);
    let gateway = shared(redis.port, "2s", &wide("exact")).start();
    until_state(&gateway, "here");
    redis.freeze();
    let begin = Instant::now();
    let mut client = gateway.client();
    assert_eq!(passing(&mut client, "/own", 300), 300);
    let took = begin.elapsed();
    // One of them waited. Did each, it would be ten minutes.
    assert!(
        took >= Duration::from_secs(2) && took < Duration::from_secs(60),
        "{took:?}"
    );
    assert!(errors(&gateway, "timeout") < 100.0);
    redis.thaw();
    until_state(&gateway, "here");
}

#[test]
fn a_redis_that_lost_its_state_begins_with_full_buckets() {
    let mut redis = Redis::start(&[]);
    let policy = "rate: 1/h, burst: 3, store: { redis: main, mode: exact }, on_store_failure: deny";
    let gateway = patient(&redis, policy).start();
    assert_eq!(passing(&mut gateway.client(), "/own", 5), 3);
    redis.stop();
    until_state(&gateway, "away");
    redis.start_again();
    until_state(&gateway, "here");
    assert_eq!(passing(&mut gateway.client(), "/own", 5), 3);
    assert_eq!(redis.say("SCRIPT FLUSH"), "+OK");
    assert_eq!(
        passing(&mut gateway.client(), "/own", 5),
        0,
        "a forgotten script forgets no bucket"
    );
}

/// Each way to hold without the store: own buckets, no limit, nobody.
#[test]
fn without_the_store_a_limit_holds_as_the_file_says() {
    for mode in MODES {
        let policy = |on_failure: &str| {
            format!(
                "rate: 1/h, burst: 3, store: {{ redis: main, mode: {mode} }}, on_store_failure: {on_failure}"
            )
        };
        let gone = crate::support::free_port();
        for (on_failure, passes) in [("local", 3), ("allow", 8)] {
            let gateway = shared(gone, "8s", &policy(on_failure)).start();
            until_state(&gateway, "away");
            assert_eq!(
                passing(&mut gateway.client(), "/own", 8),
                passes,
                "{on_failure}"
            );
            assert!(errors(&gateway, "connect") > 0.0);
        }
        let gateway = shared(gone, "8s", &policy("deny")).start();
        until_state(&gateway, "away");
        let refused = gateway.get("/own");
        refused.expect_refusal(503, "store_unavailable");
        let observing = format!("{}, mode: observe", policy("deny"));
        let gateway = shared(gone, "8s", &observing).start();
        until_state(&gateway, "away");
        assert_eq!(gateway.get("/own").status, 200);
    }
}

/// The same where Redis is there and says nothing: whoever asked it waits for 20 ms, and nobody after him.
#[test]
fn a_frozen_redis_leaves_a_limit_to_what_the_file_says() {
    let redis = Redis::start(&[]);
    for mode in MODES {
        for (on_failure, passes) in [("local", 3), ("allow", 8), ("deny", 0)] {
            let policy = format!(
                "rate: 1/h, burst: 3, store: {{ redis: main, mode: {mode} }}, on_store_failure: {on_failure}"
            );
            let gateway = shared(redis.port, "20ms", &policy).start();
            until_state(&gateway, "here");
            redis.freeze();
            let (begin, mut client) = (Instant::now(), gateway.client());
            let answers: Vec<u16> = (0..8).map(|_| client.get("/own").status).collect();
            // Did each wait for a server that hangs, it would be for ever.
            assert!(begin.elapsed() < PATIENCE, "{:?}", begin.elapsed());
            redis.thaw();
            let passed = answers.iter().filter(|status| **status == 200).count();
            assert_eq!(passed, passes, "{mode}, {on_failure}: {answers:?}");
            let otherwise = if on_failure == "deny" { 503 } else { 429 };
            assert!(answers.iter().all(|s| [200, otherwise].contains(s)));
            assert!(errors(&gateway, "timeout") > 0.0);
        }
    }
}

/// The default is `local`: a limit holds on, in each gateway by itself.
#[test]
fn own_buckets_hold_while_the_store_is_away_and_the_stores_again_afterwards() {
    let mut redis = Redis::start(&[]);
    let policy = "rate: 1/h, burst: 3, store: { redis: main, mode: exact }";
    let gateway = patient(&redis, policy).start();
    assert_eq!(passing(&mut gateway.client(), "/own", 2), 2);
    redis.stop();
    until_state(&gateway, "away");
    assert_eq!(passing(&mut gateway.client(), "/own", 5), 3);
    redis.start_again();
    until_state(&gateway, "here");
    assert_eq!(passing(&mut gateway.client(), "/own", 5), 3);
}

#[test]
fn a_full_redis_is_away_until_it_has_room() {
    let redis = Redis::start(&["--maxmemory", "1mb", "--maxmemory-policy", "noeviction"]);
    // Whatever a server of this version needs for itself: less than that is full.
    assert_eq!(redis.say("CONFIG SET maxmemory 100kb"), "+OK");
    let gateway = patient(&redis, &wide("exact")).start();
    until_state(&gateway, "away");
    assert_eq!(passing(&mut gateway.client(), "/own", 20), 20);
    assert!(errors(&gateway, "full") > 0.0);
    assert_eq!(redis.say("CONFIG SET maxmemory 0"), "+OK");
    until_state(&gateway, "here");
    assert_eq!(passing(&mut gateway.client(), "/own", 20), 20);
}

#[test]
fn a_wrong_password_is_told_and_never_shown() {
    let redis = Redis::start(&["--requirepass", "right-word"]);
    let text = patient(&redis, &wide("exact")).text();
    let wrong = text.replace("redis://", "redis://:wrong-word@");
    let mut gateway = Gateway::start(&wrong);
    until_state(&gateway, "away");
    assert!(errors(&gateway, "auth") > 0.0);
    assert_eq!(passing(&mut gateway.client(), "/own", 20), 20);
    let line = gateway.await_stderr("the store main is away (auth)");
    let pages = ["/config", "/limits"].map(|page| gateway.admin_get(page, "").text());
    for told in [&line, &pages[0], &pages[1]] {
        assert!(!told.contains("wrong-word"), "{told}");
    }
    gateway.apply(&text.replace("redis://", "redis://:right-word@"));
    until_state(&gateway, "here");
    assert_eq!(gateway.count_stderr("-word"), 0);
}

#[test]
fn a_slow_redis_is_away_until_it_is_fast_again() {
    let redis = Redis::start(&[]);
    let slow = Slow::before(redis.port);
    let gateway = shared(slow.port, "500ms", &wide("exact")).start();
    until_state(&gateway, "here");
    slow.delay(1500);
    assert_eq!(passing(&mut gateway.client(), "/own", 50), 50);
    until(PATIENCE, "it is away", || state(&gateway) == "away");
    assert!(errors(&gateway, "timeout") > 0.0);
    slow.delay(0);
    until_state(&gateway, "here");
}

#[test]
fn a_redis_that_became_a_replica_is_away_until_it_leads_again() {
    let redis = Redis::start(&[]);
    let gateway = patient(&redis, &wide("exact")).start();
    until_state(&gateway, "here");
    let other = crate::support::free_port();
    assert_eq!(redis.say(&format!("REPLICAOF 127.0.0.1 {other}")), "+OK");
    assert_eq!(passing(&mut gateway.client(), "/own", 20), 20);
    until_state(&gateway, "away");
    assert!(errors(&gateway, "read_only") > 0.0);
    assert_eq!(redis.say("REPLICAOF NO ONE"), "+OK");
    until_state(&gateway, "here");
}

/// A client that leaves while its request waits for the store harms nobody.
#[test]
fn clients_that_leave_while_they_wait_are_forgotten() {
    let redis = Redis::start(&[]);
    let policy = "rate: 1/h, burst: 5, store: { redis: main, mode: exact }";
    let gateway = patient(&redis, policy).start();
    until_state(&gateway, "here");
    redis.freeze();
    for _ in 0..3 {
        let mut client = gateway.client();
        client.send_get("/own");
        gateway.await_metric("tidegate_requests_in_flight", &[("route", "own")], 1.0);
        client.reset();
        gateway.await_metric("tidegate_requests_in_flight", &[("route", "own")], 0.0);
    }
    redis.thaw();
    until_state(&gateway, "here");
    let passed = passing(&mut gateway.client(), "/own", 8);
    assert!((2..=5).contains(&passed), "{passed}");
}

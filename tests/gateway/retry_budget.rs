//! The budget of retries: however much fails, an upstream gets few tries more than it gets requests.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::retry::{Deed, doing};
use crate::support::{PATIENCE, Setup, Upstream, answer, scale, until};

/// B44: all fail, and there is no time for the minimum to count.
#[test]
fn an_outage_is_not_multiplied() {
    let upstream = doing(&[Deed::Answer(503); 1000]);
    let gateway = Setup::to(upstream.address())
        .route("retry: { attempts: 3, on: [503], backoff: off }")
        .upstream("retry_budget: { percent: 20%, min_per_second: 0 }")
        .start();
    let mut client = gateway.client();
    for _ in 0..100 {
        assert_eq!(client.get("/").status, 503);
    }
    let tries = upstream.requests().len();
    assert!(
        (110..=120).contains(&tries),
        "{tries} tries of 100 requests"
    );
}

#[test]
fn a_budget_of_nothing_allows_nothing() {
    let upstream = doing(&[Deed::Answer(503); 1000]);
    let gateway = Setup::to(upstream.address())
        .route("retry: { attempts: 3, on: [503] }")
        .upstream("retry_budget: { percent: 0%, min_per_second: 0 }")
        .start();
    let mut client = gateway.client();
    for _ in 0..10 {
        assert_eq!(client.get("/").status, 503);
    }
    assert_eq!(upstream.requests().len(), 10);
}

#[test]
fn without_a_budget_every_request_gets_its_tries() {
    let upstream = doing(&[Deed::Answer(503); 1000]);
    let gateway = Setup::to(upstream.address())
        .route("retry: { attempts: 3, on: [503], backoff: off }")
        .upstream("retry_budget: off")
        .start();
    let mut client = gateway.client();
    for _ in 0..50 {
        assert_eq!(client.get("/").status, 503);
    }
    assert_eq!(upstream.requests().len(), 200);
}

/// All routes to an upstream spend the same budget, and a reload does not fill it again.
#[test]
fn the_budget_is_the_upstreams_and_outlives_reloads() {
    let upstream = doing(&[Deed::Answer(503); 1000]);
    let retry = "retry: { attempts: 1, on: [503], backoff: off }";
    let setup = Setup::to(upstream.address())
        .before(&format!(
            "name: one, match: {{ path: /one }}, upstream: app, {retry}"
        ))
        .route(retry)
        .upstream("retry_budget: { percent: 10%, min_per_second: 0 }");
    let gateway = setup.start();
    let mut client = gateway.client();
    for round in 0..10 {
        for _ in 0..10 {
            assert_eq!(client.get("/one").status, 503);
            assert_eq!(client.get("/").status, 503);
        }
        let listener = format!("limits: {{ uri_bytes: {}B }}", 4000 + round);
        gateway.apply(&setup.clone().listener(&listener).text());
    }
    let tries = upstream.requests().len();
    assert!(
        (210..=220).contains(&tries),
        "{tries} tries of 200 requests"
    );
}

/// The promise: at 100 requests a second and more, of which half fail, at most 1.2 tries for each.
#[test]
fn half_of_the_requests_fail_and_there_are_few_tries_more() {
    let arrived = AtomicUsize::new(0);
    let upstream = Upstream::start(move |peer| {
        peer.serve(|_, _| {
            let fails = arrived.fetch_add(1, Ordering::Relaxed).is_multiple_of(2);
            answer(if fails { 503 } else { 200 }, "said")
        });
    });
    let gateway = Setup::to(upstream.address())
        .listener("limits: { requests_per_connection: off }")
        .route("retry: { attempts: 3, on: [503], backoff: { base: 1ms, max: 10ms } }")
        .start();
    let asked = AtomicUsize::new(0);
    let lasts = Duration::from_secs(scale(3, 30));
    let begin = Instant::now();
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut client = gateway.client();
                while begin.elapsed() < lasts {
                    let status = client.get("/").status;
                    assert!(status == 200 || status == 503, "{status}");
                    asked.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    let (asked, tried) = (asked.into_inner(), upstream.requests().len());
    let rate = asked as f64 / begin.elapsed().as_secs_f64();
    assert!(rate >= 100.0, "only {rate:.0} requests a second");
    let share = tried as f64 / asked as f64;
    assert!(share <= 1.2, "{tried} tries of {asked} requests");
    assert!(share >= 1.15, "{tried} tries of {asked} requests: too few");
    let retries = (tried - asked) as f64;
    let labels = [("upstream", "app"), ("cause", "status")];
    until(PATIENCE, "the retries are counted", || {
        gateway.metric("tidegate_upstream_retries_total", &labels) == Some(retries)
    });
}

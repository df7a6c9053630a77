//! Who is left out, one after the other and all at once.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use http::HeaderValue;
use proptest::prelude::*;

use super::super::balance::{Ask, Balancer, Way};
use super::super::endpoint::{Endpoint, EndpointState};
use super::super::probe::{Expect, Heard, ProbePolicy, ProbeState};
use super::super::serving::{Roster, Serving, ServingPolicy};
use super::super::{PoolPolicy, Timeouts, UpstreamState};
use super::*;

const NOW: Nanos = Nanos(60_000_000_000);
const BASE: Duration = Duration::from_secs(30);

fn upstream(weights: &[u32], max_percent: u32) -> Upstream {
    let endpoints: Vec<Endpoint> = (1_u16..)
        .zip(weights)
        .map(|(port, weight)| Endpoint {
            state: Arc::new(EndpointState::new(
                SocketAddr::from(([192, 0, 2, 1], port)),
                0,
                port.into(),
                4,
            )),
            weight: *weight,
            authority: HeaderValue::from_static("example.com"),
            name: None,
            secure: None,
            sibling: None,
            probe: Some(Arc::new(ProbeState::new(NOW))),
        })
        .collect();
    Upstream {
        name: "app".into(),
        balancer: Balancer::new(&Way::RoundRobin, &endpoints),
        endpoints,
        timeouts: Timeouts {
            connect: None,
            response: None,
            body: None,
        },
        pool: PoolPolicy {
            max_idle: 1,
            max_connections: None,
            idle: None,
            max_age: None,
        },
        budget: None,
        bulkhead: None,
        ejection: Some(EjectionPolicy {
            consecutive_failures: 3,
            base: BASE,
            max_percent,
        }),
        probe: None,
        serving: ServingPolicy::default(),
        roster: Roster::default(),
        failover: Box::default(),
        breaking: None,
        stable_after: Duration::from_secs(1),
        state: Arc::new(UpstreamState::new(4)),
    }
}

fn fail(upstream: &Upstream, endpoint: usize, now: Nanos) {
    let failed = Failed {
        began: now,
        now,
        worker: 0,
        what: "reset",
    };
    upstream.attempt_failed(endpoint, &failed);
}

fn fail_often(upstream: &Upstream, endpoint: usize, now: Nanos) {
    (0..3).for_each(|_| fail(upstream, endpoint, now));
}

fn find_unhealthy(upstream: &Upstream, endpoint: usize) {
    let policy = ProbePolicy {
        path: "/".into(),
        expect: Expect([(200, 299)].into()),
        interval: BASE,
        timeout: BASE,
        healthy: 1,
        unhealthy: 1,
    };
    let heard = Heard {
        at: NOW,
        is_good: false,
        what: "503".into(),
    };
    let probe = upstream.endpoints[endpoint].probe.as_ref();
    probe.unwrap().hear(heard, &policy);
    upstream.state.step();
}

fn out(upstream: &Upstream, now: Nanos) -> Vec<usize> {
    let all = upstream.endpoints.iter().enumerate();
    all.filter(|(_, e)| e.state.ejection.is_out(now))
        .map(|(i, _)| i)
        .collect()
}

fn picked(upstream: &Upstream, now: Nanos) -> Vec<Option<usize>> {
    let ask = |random| Ask {
        now,
        random,
        hash: None,
        avoid: None,
    };
    let mut all: Vec<_> = (0..60).map(|n| upstream.pick(&ask(n << 50))).collect();
    all.sort_unstable();
    all.dedup();
    all
}

#[test]
fn the_third_failure_in_a_row_leaves_it_out_until_its_time_is_over() {
    let upstream = upstream(&[1, 1], 50);
    fail(&upstream, 0, NOW);
    fail(&upstream, 0, NOW);
    upstream.attempt_succeeded(0);
    fail(&upstream, 0, NOW);
    fail(&upstream, 0, NOW);
    assert_eq!(picked(&upstream, NOW), [Some(0), Some(1)]);
    assert!(
        upstream.roster.is_full_in(0),
        "nobody looks while all serve"
    );
    fail(&upstream, 0, NOW);
    assert_eq!(picked(&upstream, NOW), [Some(1)]);
    let end = NOW.plus(BASE);
    assert_eq!(picked(&upstream, Nanos(end.0 - 1)), [Some(1)]);
    assert_eq!(picked(&upstream, end), [Some(0), Some(1)]);
    assert_eq!(upstream.endpoints[0].state.stats.ejections.sum(), 1);
}

#[test]
fn the_only_one_stays_and_so_does_the_last_one() {
    let one = upstream(&[1], 100);
    fail_often(&one, 0, NOW);
    assert_eq!((out(&one, NOW), picked(&one, NOW)), (vec![], vec![Some(0)]));
    let three = upstream(&[1, 1, 1], 100);
    for endpoint in 0..3 {
        fail_often(&three, endpoint, NOW);
    }
    assert_eq!(out(&three, NOW), [0, 1]);
    // One that gets no request is nobody's stand-in.
    let spare = upstream(&[1, 0], 100);
    fail_often(&spare, 0, NOW);
    assert_eq!(out(&spare, NOW), [0; 0]);
}

#[test]
fn no_more_than_the_share_is_out() {
    for (endpoints, max_percent, most) in
        [(2, 50, 1), (3, 50, 1), (10, 50, 5), (10, 0, 0), (9, 10, 0)]
    {
        let upstream = upstream(&vec![1; endpoints], max_percent);
        for endpoint in 0..endpoints {
            fail_often(&upstream, endpoint, NOW);
        }
        assert_eq!(out(&upstream, NOW).len(), most, "{endpoints} {max_percent}");
    }
}

#[test]
fn what_probes_found_out_counts_for_who_is_the_last() {
    let upstream = upstream(&[1, 1, 1], 100);
    find_unhealthy(&upstream, 0);
    fail_often(&upstream, 1, NOW);
    fail_often(&upstream, 2, NOW);
    assert_eq!(out(&upstream, NOW), [1]);
    // Now the last one is found to be unhealthy: better one that failed than nobody.
    find_unhealthy(&upstream, 2);
    assert_eq!(picked(&upstream, NOW), [Some(1)]);
    find_unhealthy(&upstream, 1);
    assert_eq!(picked(&upstream, NOW), [None]);
}

#[test]
fn off_is_off_also_for_those_that_are_out() {
    let mut upstream = upstream(&[1, 1], 50);
    fail_often(&upstream, 0, NOW);
    upstream.ejection = None;
    upstream.roster = Roster::default();
    assert_eq!(picked(&upstream, NOW), [Some(0), Some(1)]);
    fail_often(&upstream, 1, NOW);
    assert_eq!(out(&upstream, NOW), [0]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    /// The law of this file, whoever fails when: at no time are more out than may be, and somebody serves.
    #[test]
    fn many_workers_never_take_too_many(endpoints in 1..12_usize, max_percent in 0..=100_u32) {
        let upstream = upstream(&vec![1; endpoints], max_percent);
        let most = upstream.ejection.unwrap().most_of(endpoints);
        let (turn, done) = (AtomicUsize::new(0), AtomicBool::new(false));
        std::thread::scope(|scope| {
            let watch = scope.spawn(|| {
                let mut worst = 0;
                while !done.load(Relaxed) {
                    worst = worst.max(out(&upstream, NOW).len());
                    let is_nobody = upstream.look(NOW, |serving| matches!(serving, Serving::Nobody));
                    assert!(!is_nobody);
                }
                worst
            });
            let workers: Vec<_> = (0..4).map(|_| scope.spawn(|| {
                while turn.fetch_add(1, Relaxed) < 400 {
                    let endpoint = turn.load(Relaxed) * 7 % endpoints;
                    fail(&upstream, endpoint, NOW);
                }
            })).collect();
            for worker in workers {
                worker.join().unwrap();
            }
            done.store(true, Relaxed);
            let worst = watch.join().unwrap();
            assert!(worst <= most, "{worst} of {most}");
        });
        for endpoint in 0..endpoints {
            fail_often(&upstream, endpoint, NOW);
        }
        prop_assert_eq!(out(&upstream, NOW).len(), most);
    }
}

//! Many threads at one breaker.

use std::sync::Barrier;
use std::sync::atomic::{AtomicI32, AtomicU32, Ordering::SeqCst};

use super::*;

const THREADS: usize = 8;

/// B31 and B39: never more probes than are allowed, and no place is lost.
#[test]
fn b39_probes_are_exact_under_threads() {
    let mut policy = defaults();
    policy.thresholds.open_for = Duration::from_millis(4);
    policy.thresholds.max_open_for = Duration::from_millis(4);
    policy.thresholds.half_open_probes = 3;
    policy.thresholds.half_open_successes = 1000;
    let state = Arc::new(State::new(THREADS));
    for round in 0..200_u64 {
        let now = Nanos(round * 1_000_000_000);
        let late = now.plus(Duration::from_millis(500));
        // Opens by failures of the closed time, or by a probe that fails.
        for _ in 0..5 {
            if let Ok((permit, _)) = state.admit(&policy, now) {
                state.settle(permit, &policy, (Verdict::Failure, QUICK), now, 0);
            }
        }
        assert_eq!(state.view(&policy, now).kind, Kind::Open);
        let (under_way, admitted) = (AtomicI32::new(0), AtomicU32::new(0));
        let barrier = Barrier::new(THREADS);
        std::thread::scope(|scope| {
            for worker in 0..THREADS {
                let (state, policy, barrier) = (&state, &policy, &barrier);
                let (under_way, admitted) = (&under_way, &admitted);
                scope.spawn(move || {
                    barrier.wait();
                    for turn in 0..50 {
                        let Ok((permit, _)) = state.admit(policy, late) else {
                            continue;
                        };
                        assert!(under_way.fetch_add(1, SeqCst) < 3);
                        admitted.fetch_add(1, SeqCst);
                        under_way.fetch_sub(1, SeqCst);
                        if turn % 2 == 0 {
                            state.settle(permit, policy, (Verdict::Success, QUICK), late, worker);
                        }
                    }
                });
            }
        });
        assert!(admitted.into_inner() >= 3);
        let view = state.view(&policy, late);
        assert_eq!((view.kind, view.probes.0), (Kind::HalfOpen, 0));
    }
}

/// B22: one opening, whoever sees the last failure.
#[test]
fn b22_it_opens_once_under_threads() {
    for _ in 0..200 {
        let (state, policy) = (Arc::new(State::new(THREADS)), defaults());
        let (opened, now) = (AtomicU32::new(0), Nanos(1));
        let barrier = Barrier::new(THREADS);
        std::thread::scope(|scope| {
            for worker in 0..THREADS {
                let (state, policy, barrier, opened) = (&state, &policy, &barrier, &opened);
                scope.spawn(move || {
                    let permits: Vec<Permit> = (0..10)
                        .filter_map(|_| state.admit(policy, now).ok())
                        .map(|(permit, _)| permit)
                        .collect();
                    barrier.wait();
                    for permit in permits {
                        let failed = (Verdict::Failure, QUICK);
                        if state.settle(permit, policy, failed, now, worker).is_some() {
                            opened.fetch_add(1, SeqCst);
                        }
                    }
                });
            }
        });
        assert_eq!(opened.into_inner(), 1);
    }
}

/// A rate over all workers: half of what they count fails, and one of them sees it.
#[test]
fn a_rate_is_met_by_all_workers_together() {
    for _ in 0..100 {
        let (state, policy) = (Arc::new(State::new(THREADS)), by_rate());
        let (opened, now) = (AtomicU32::new(0), Nanos(1));
        std::thread::scope(|scope| {
            for worker in 0..THREADS {
                let (state, policy, opened) = (&state, &policy, &opened);
                scope.spawn(move || {
                    for verdict in [Verdict::Failure, Verdict::Success] {
                        if let Ok((permit, _)) = state.admit(policy, now)
                            && state
                                .settle(permit, policy, (verdict, QUICK), now, worker)
                                .is_some()
                        {
                            opened.fetch_add(1, SeqCst);
                        }
                    }
                });
            }
        });
        assert_eq!(opened.into_inner(), 1);
    }
}

//! The word under loom: every order in which threads may see it. `make loom`.

use loom::thread;

use super::*;
use crate::breaker::cell::Cell;
use crate::breaker::machine::{End, Event, Machine, Phase, Step, Ticket};

fn thresholds(probes: u32) -> Thresholds {
    Thresholds {
        consecutive_failures: Some(2),
        open_for: Duration::from_millis(4),
        max_open_for: Duration::from_millis(4),
        half_open_successes: 2,
        half_open_probes: probes,
    }
}

const FAILED: End = End {
    failed: true,
    rate: None,
    doubtful: false,
};

fn apply(cell: &Cell, event: Event, by: &Thresholds, at: u64) -> Step {
    cell.apply(|machine| machine.step(event, by, Nanos(at)))
}

/// Opened by two failures at the time 0.
fn opened(by: &Thresholds) -> loom::sync::Arc<Cell> {
    let cell = Cell::default();
    for _ in 0..2 {
        let event = Event::Ended {
            generation: 0,
            end: FAILED,
        };
        apply(&cell, event, by, 0);
    }
    assert!(matches!(cell.load().phase, Phase::Open { .. }));
    loom::sync::Arc::new(cell)
}

#[test]
fn two_failures_at_once_open_it_once() {
    loom::model(|| {
        let by = thresholds(1);
        let cell = loom::sync::Arc::new(Cell::default());
        let fail = move |cell: &Cell| {
            let event = Event::Ended {
                generation: 0,
                end: FAILED,
            };
            u32::from(apply(cell, event, &by, 0).cause.is_some())
        };
        let other = {
            let cell = cell.clone();
            thread::spawn(move || fail(&cell))
        };
        let own = fail(&cell);
        assert_eq!(own + other.join().unwrap(), 1);
        assert_eq!(cell.load().generation, 1);
    });
}

#[test]
fn one_probe_of_three_that_ask() {
    loom::model(|| {
        let by = thresholds(1);
        let cell = opened(&by);
        let ask = move |cell: &Cell| apply(cell, Event::Admit, &by, 5_000_000).admitted;
        let others: Vec<_> = (0..2)
            .map(|_| {
                let cell = cell.clone();
                thread::spawn(move || ask(&cell))
            })
            .collect();
        let own = ask(&cell);
        let others = others.into_iter().map(|other| other.join().unwrap());
        let admitted: Vec<Ticket> = others.chain([own]).flatten().collect();
        assert_eq!(admitted.len(), 1);
        assert!(admitted[0].probe);
    });
}

#[test]
fn a_probe_that_fails_beside_one_that_is_given_back_leaves_no_place_taken() {
    loom::model(|| {
        let by = thresholds(2);
        let cell = opened(&by);
        let first = apply(&cell, Event::Admit, &by, 5_000_000).admitted.unwrap();
        let second = apply(&cell, Event::Admit, &by, 5_000_000).admitted.unwrap();
        let other = {
            let cell = cell.clone();
            thread::spawn(move || cell.give_back(second))
        };
        let failed = Event::Probed {
            generation: first.generation,
            failed: true,
        };
        apply(&cell, failed, &by, 5_000_000);
        other.join().unwrap();
        assert!(matches!(cell.load().phase, Phase::Open { .. }));
        // Both places are there again.
        for expected in [true, true, false] {
            let asked = apply(&cell, Event::Admit, &by, 50_000_000).admitted;
            assert_eq!(asked.is_some(), expected);
        }
    });
}

#[test]
fn a_late_failure_beside_a_close_opens_nothing() {
    loom::model(|| {
        let by = thresholds(1);
        let cell = opened(&by);
        let first = apply(&cell, Event::Admit, &by, 5_000_000).admitted.unwrap();
        let succeeded = |ticket: Ticket| Event::Probed {
            generation: ticket.generation,
            failed: false,
        };
        apply(&cell, succeeded(first), &by, 5_000_000);
        let second = apply(&cell, Event::Admit, &by, 5_000_000).admitted.unwrap();
        let other = {
            let cell = cell.clone();
            thread::spawn(move || {
                let late = Event::Ended {
                    generation: 0,
                    end: FAILED,
                };
                apply(&cell, late, &by, 5_000_000);
            })
        };
        apply(&cell, succeeded(second), &by, 5_000_000);
        other.join().unwrap();
        let closed = Machine {
            generation: cell.load().generation,
            ..Machine::NEW
        };
        assert_eq!(cell.load(), closed);
    });
}

/// Each worker counts for itself, so neither sees enough alone; of two that do it at the same time one sees both.
#[test]
fn a_rate_that_two_workers_meet_together_opens_it() {
    loom::model(|| {
        let mut policy = by_rate();
        policy.failure_rate = policy.failure_rate.map(|rate| Rate {
            min_requests: 4,
            ..rate
        });
        let state = Arc::new(State::new(2));
        let count = |state: &Arc<State>, policy: &Policy, verdict: Verdict, worker: usize| {
            let (permit, _) = state.admit(policy, Nanos(0)).unwrap();
            state.settle(permit, policy, (verdict, QUICK), Nanos(0), worker)
        };
        // Each has counted before: how a worker's ring comes to be is the standard library's, which loom does not see.
        for worker in [0, 1] {
            count(&state, &policy, Verdict::Success, worker);
        }
        let other = {
            let (state, policy) = (state.clone(), policy.clone());
            thread::spawn(move || count(&state, &policy, Verdict::Failure, 1))
        };
        let own = count(&state, &policy, Verdict::Failure, 0);
        let moved = [own, other.join().unwrap()];
        assert_eq!(moved.iter().flatten().count(), 1, "{moved:?}");
        assert_eq!(state.view(&policy, Nanos(0)).kind, Kind::Open);
    });
}

//! The rows of the breaker as the pure core keeps them, in virtual time.

#[cfg(not(gateway_loom))]
mod laws;
#[cfg(gateway_loom)]
mod races;
#[cfg(not(gateway_loom))]
mod rows;
#[cfg(not(gateway_loom))]
mod threads;

use std::sync::Arc;
use std::time::Duration;

use super::machine::{Kind, Thresholds};
use super::outcome::{FailureKind, Fault, Verdict};
use super::{Permit, Policy, Rate, Refused, State, Transition};
use crate::time::Nanos;

/// `circuit_breaker: {}`.
fn defaults() -> Policy {
    Policy {
        thresholds: Thresholds {
            consecutive_failures: Some(5),
            open_for: Duration::from_secs(60),
            max_open_for: Duration::from_secs(60),
            half_open_successes: 2,
            half_open_probes: 1,
        },
        failure_rate: None,
        slow_rate: None,
        half_open_timeout: Duration::from_secs(10),
        failures: [
            FailureKind::Fault(Fault::Connect),
            FailureKind::ServerErrors,
        ]
        .into_iter()
        .collect(),
        observes: false,
    }
}

/// The set-up of the rows: half of at least ten, over two seconds.
fn by_rate() -> Policy {
    let mut policy = defaults();
    policy.thresholds.consecutive_failures = None;
    policy.thresholds.open_for = Duration::from_secs(1);
    policy.thresholds.max_open_for = Duration::from_secs(1);
    policy.thresholds.half_open_probes = 3;
    policy.thresholds.half_open_successes = 3;
    policy.failure_rate = Some(Rate {
        per_million: 500_000,
        window: Duration::from_secs(2),
        min_requests: 10,
    });
    policy
}

/// A breaker, its policy, and a clock that is moved by hand.
struct Game {
    state: Arc<State>,
    policy: Policy,
    now: Nanos,
    moves: Vec<Transition>,
}

/// How long an answer takes that is not said to be slow.
const QUICK: Duration = Duration::from_millis(1);

impl Game {
    fn new(policy: Policy) -> Game {
        Game {
            state: Arc::new(State::new(2)),
            policy,
            now: Nanos(7_777_777_777),
            moves: Vec::new(),
        }
    }

    fn pass(&mut self, millis: u64) {
        self.now = self.now.plus(Duration::from_millis(millis));
    }

    fn admit(&mut self) -> Result<Permit, Refused> {
        let (permit, moved) = self.state.admit(&self.policy, self.now)?;
        self.moves.extend(moved.map(|moved| *moved));
        Ok(permit)
    }

    fn settle(&mut self, permit: Permit, verdict: Verdict) {
        self.settle_after(permit, verdict, QUICK);
    }

    fn settle_after(&mut self, permit: Permit, verdict: Verdict, took: Duration) {
        let moved = self
            .state
            .settle(permit, &self.policy, (verdict, took), self.now, 0);
        self.moves.extend(moved.map(|moved| *moved));
    }

    /// One request, from its beginning to its end; false if it was refused.
    fn call(&mut self, verdict: Verdict) -> bool {
        self.call_for(verdict, QUICK)
    }

    fn call_for(&mut self, verdict: Verdict, took: Duration) -> bool {
        match self.admit() {
            Ok(permit) => {
                self.settle_after(permit, verdict, took);
                true
            }
            Err(_) => false,
        }
    }

    /// Calls as a text tells them: `f` fails, `s` succeeds, `n` says nothing; all of them pass.
    fn calls(&mut self, text: &str) {
        for (index, letter) in text.chars().enumerate() {
            let verdict = match letter {
                'f' => Verdict::Failure,
                's' => Verdict::Success,
                _ => Verdict::Neutral,
            };
            assert!(self.call(verdict), "call {index} of {text} was refused");
        }
    }

    fn kind(&self) -> Kind {
        self.state.view(&self.policy, self.now).kind
    }
}

//! What breakers are measured with: closed, with rates or without, and open.

use std::sync::Arc;
use std::time::Duration;

use tidegate::breaker::machine::Thresholds;
use tidegate::breaker::outcome::{FailureKind, Outcome};
use tidegate::breaker::{Policy, Rate, State};
use tidegate::time::Nanos;

/// A breaker, ready for a request.
pub(crate) struct Breaker {
    state: Arc<State>,
    policy: Policy,
    now: Nanos,
}

impl Breaker {
    /// One request, from its admission to its end; false if it was refused.
    pub(crate) fn pass(&self) -> bool {
        let Ok((permit, moved)) = self.state.admit(&self.policy, self.now) else {
            return false;
        };
        let answered = Outcome::Answered(http::StatusCode::OK);
        let verdict = self.policy.failures.judge(answered);
        let took = Duration::from_millis(2);
        let settled = self
            .state
            .settle(permit, &self.policy, (verdict, took), self.now, 0);
        moved.is_none() && settled.is_none()
    }
}

/// With failures in a row, and with rates beside them where `rates` says so; open after failures where `open` does.
pub(crate) fn breaker(rates: bool, open: bool) -> Breaker {
    let rate = Rate {
        per_million: 500_000,
        window: Duration::from_secs(10),
        min_requests: 20,
    };
    let policy = Policy {
        thresholds: Thresholds {
            consecutive_failures: Some(5),
            open_for: Duration::from_secs(60),
            max_open_for: Duration::from_secs(60),
            half_open_successes: 2,
            half_open_probes: 1,
        },
        failure_rate: rates.then_some(rate),
        slow_rate: rates.then_some((rate, Duration::from_secs(2))),
        half_open_timeout: Duration::from_secs(10),
        failures: [FailureKind::ServerErrors].into_iter().collect(),
        observes: false,
    };
    let breaker = Breaker {
        state: Arc::new(State::new(1)),
        policy,
        now: Nanos(60_000_000_000),
    };
    // The first request makes what is counted in.
    breaker.pass();
    for _ in 0..if open { 5 } else { 0 } {
        if let Ok((permit, _)) = breaker.state.admit(&breaker.policy, breaker.now) {
            let failed = Outcome::Answered(http::StatusCode::BAD_GATEWAY);
            let verdict = breaker.policy.failures.judge(failed);
            let took = Duration::from_millis(2);
            breaker
                .state
                .settle(permit, &breaker.policy, (verdict, took), breaker.now, 0);
        }
    }
    breaker
}

//! The breakers of an upstream as the file has them → as requests meet them.

use http::header::HeaderMap;

use crate::breaker::machine::Thresholds;
use crate::breaker::{Policy, Rate};
use crate::config::{BreakerRate, BreakerScope, CircuitBreaker, Fallback};
use crate::upstream::breaking::{self, Breaking, Scope};

/// Compiles a `circuit_breaker`.
pub(super) fn breaking(said: &CircuitBreaker) -> Box<Breaking> {
    Box::new(Breaking {
        policy: policy(said),
        scope: match said.scope {
            BreakerScope::Upstream => Scope::Upstream,
            BreakerScope::Endpoint => Scope::Endpoint,
        },
        fallback: said.fallback.as_ref().map(fallback),
    })
}

fn policy(said: &CircuitBreaker) -> Policy {
    Policy {
        thresholds: Thresholds {
            consecutive_failures: said.consecutive_failures,
            open_for: said.open_for,
            max_open_for: said.max_open_for,
            half_open_successes: said.half_open_successes,
            half_open_probes: said.half_open_probes,
        },
        failure_rate: said.failure_rate.map(rate),
        slow_rate: said.slow_rate.map(|(slow, than)| (rate(slow), than)),
        half_open_timeout: said.half_open_timeout,
        failures: said.failures.iter().copied().collect(),
        observes: said.observes,
    }
}

fn rate(said: BreakerRate) -> Rate {
    Rate {
        per_million: said.per_million,
        window: said.window,
        min_requests: said.min_requests,
    }
}

fn fallback(said: &Fallback) -> breaking::Fallback {
    match said {
        Fallback::Respond(fixed) => {
            let mut headers = HeaderMap::new();
            for (name, value) in &fixed.headers {
                headers.append(name.clone(), value.clone());
            }
            breaking::Fallback::Respond(fixed.status, headers, fixed.body.clone())
        }
        Fallback::Upstream(index) => breaking::Fallback::Upstream(*index),
    }
}

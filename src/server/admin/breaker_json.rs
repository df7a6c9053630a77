//! Circuit breakers: what the file says of them, in its words, and how they stand.

use std::time::Duration;

use serde_json::{Value, json};

use super::effective::{count, duration, off, percent};
use super::route_json;
use crate::breaker::outcome::{FailureKind, Fault};
use crate::breaker::windows::Counts;
use crate::breaker::{Forced, Kind, View};
use crate::config::{BreakerRate, BreakerScope, CircuitBreaker, Config, Fallback};
use crate::time::Nanos;
use crate::upstream::Upstream;
use crate::upstream::breaking::{Breaking, Circuit, Scope};

/// `circuit_breaker`.
pub(super) fn whole(config: &Config, breaker: &CircuitBreaker) -> Value {
    let CircuitBreaker {
        scope,
        consecutive_failures,
        failure_rate,
        slow_rate,
        open_for,
        max_open_for,
        half_open_successes,
        half_open_probes,
        half_open_timeout,
        failures,
        stream_stable_after,
        fallback,
        observes,
    } = breaker;
    let mut said = json!({
        "scope": match scope { BreakerScope::Upstream => "upstream", BreakerScope::Endpoint => "endpoint" },
        "consecutive_failures": count(*consecutive_failures),
        "failure_rate": failure_rate.map_or_else(off, rate),
        "slow_rate": slow_rate.map_or_else(off, |(slow, than)| {
            let mut said = rate(slow);
            said["slower_than"] = duration(than);
            said
        }),
        "open_for": duration(*open_for),
        "max_open_for": duration(*max_open_for),
        "half_open_successes": half_open_successes,
        "half_open_probes": half_open_probes,
        "half_open_timeout": duration(*half_open_timeout),
        "failures": failures.iter().map(failure).collect::<Vec<_>>(),
        "stream_stable_after": duration(*stream_stable_after),
        "mode": if *observes { "observe" } else { "enforce" },
    });
    match fallback {
        None => {}
        Some(Fallback::Respond(fixed)) => said["fallback"] = route_json::respond(fixed),
        Some(Fallback::Upstream(index)) => {
            let name = config.upstreams.get(*index).map(|u| u.name.as_str());
            said["fallback"] = json!({ "upstream": name });
        }
    }
    said
}

/// The breaker of an upstream as it stands, where one stands for all of it.
pub(super) fn of_upstream(upstream: &Upstream, now: Nanos) -> Option<Value> {
    let breaking = upstream.breaking.as_deref()?;
    let whole = breaking.scope == Scope::Upstream;
    whole.then(|| standing(breaking, &upstream.state.circuit, now))
}

/// The breaker of one endpoint as it stands, where each has its own.
pub(super) fn of_endpoint(upstream: &Upstream, circuit: &Circuit, now: Nanos) -> Option<Value> {
    let breaking = upstream.breaking.as_deref()?;
    (breaking.scope == Scope::Endpoint).then(|| standing(breaking, circuit, now))
}

/// State, windows, and what comes next.
pub(super) fn standing(breaking: &Breaking, circuit: &Circuit, now: Nanos) -> Value {
    let policy = &breaking.policy;
    let View {
        kind,
        forced,
        consecutive,
        failures,
        slow,
        next_probe,
        probes: (in_flight, succeeded),
    } = circuit.state.view(policy, now);
    let window = |counts: Counts, bad: &str, length: Duration| json!({ "over": duration(length), "requests": counts.total, bad: counts.bad });
    json!({
        "state": kind.word(),
        "forced": match forced { Forced::No => Value::Null, Forced::Open => "open".into(), Forced::Closed => "closed".into() },
        "mode": if policy.observes { "observe" } else { "enforce" },
        "consecutive_failures": consecutive,
        "failures": policy.failure_rate.map(|rate| window(failures, "failed", rate.window)),
        "slow": policy.slow_rate.map(|(rate, _)| window(slow, "slow", rate.window)),
        "next_probe_ms": next_probe.map(|left| left.as_micros().div_ceil(1000) as u64),
        "probes": (kind == Kind::HalfOpen).then(|| json!({ "in_flight": in_flight, "succeeded": succeeded })),
    })
}

fn rate(rate: BreakerRate) -> Value {
    let BreakerRate {
        per_million,
        window,
        min_requests,
    } = rate;
    json!({
        "percent": percent(per_million),
        "window": duration(window),
        "min_requests": min_requests,
    })
}

fn failure(kind: &FailureKind) -> Value {
    match kind {
        FailureKind::Fault(Fault::Connect) => "connect".into(),
        FailureKind::Fault(Fault::Timeout) => "timeout".into(),
        FailureKind::Fault(Fault::Reset) => "reset".into(),
        FailureKind::ServerErrors => "5xx".into(),
        FailureKind::Status(status) => (*status).into(),
    }
}

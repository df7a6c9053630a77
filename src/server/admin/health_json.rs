//! Who serves, in the words of the file, and how each endpoint stands at this moment.

use serde_json::{Value, json};

use super::effective::{duration, off, or_off, percent};
use crate::config::{Config, Ejection, Health, HealthCheck};
use crate::telemetry::rfc3339;
use crate::time::{Nanos, wall_at, wall_nanos};
use crate::upstream::Upstream;
use crate::upstream::endpoint::Endpoint;
use crate::upstream::probe::ProbeState;
use crate::upstream::serving::Serving;

/// Adds to an upstream what the file says of its health.
pub(super) fn add(said: &mut Value, config: &Config, health: &Health) {
    let Health {
        check,
        ejection,
        panic_below,
        slow_start,
        failover,
    } = health;
    said["health_check"] = check.as_ref().map_or_else(off, probes);
    said["ejection"] = ejection.map_or_else(off, ejects);
    said["panic_below"] = panic_below.map_or_else(off, percent);
    said["slow_start"] = or_off(*slow_start);
    if !failover.is_empty() {
        let named = failover.iter().filter_map(|i| config.upstreams.get(*i));
        said["failover"] = named.map(|upstream| upstream.name.as_str()).collect();
    }
}

fn probes(check: &HealthCheck) -> Value {
    let HealthCheck {
        path,
        interval,
        timeout,
        healthy,
        unhealthy,
        expect,
    } = check;
    let range = |(from, to): &(u16, u16)| match from == to {
        true => Value::from(*from),
        false => format!("{from}-{to}").into(),
    };
    json!({
        "path": path,
        "interval": duration(*interval),
        "timeout": duration(*timeout),
        "healthy": healthy,
        "unhealthy": unhealthy,
        "expect": expect.iter().map(range).collect::<Vec<_>>(),
    })
}

fn ejects(ejection: Ejection) -> Value {
    let Ejection {
        consecutive_failures,
        base,
        max_percent,
    } = ejection;
    json!({
        "consecutive_failures": consecutive_failures,
        "base": duration(base),
        "max_percent": max_percent,
    })
}

/// How an upstream stands: how many of its endpoints serve, and whether that is so few that all are used.
pub(super) fn standing(upstream: &Upstream, now: Nanos) -> Value {
    upstream.look(now, |serving| match serving {
        Serving::Everybody => json!({ "endpoints": upstream.endpoints.len(), "panic": false }),
        Serving::Part(part) => json!({ "endpoints": part.count(), "panic": part.is_panic }),
        Serving::Nobody => json!({ "endpoints": 0, "panic": false }),
    })
}

/// How an endpoint stands: whether it serves, and if not, why and until when.
pub(super) fn health(upstream: &Upstream, endpoint: &Endpoint, now: Nanos) -> Value {
    let bars = endpoint.bars(now, upstream.ejection.is_some());
    let ejection = &endpoint.state.ejection;
    let (since, until) = ejection.last();
    let is_out = upstream.ejection.is_some() && until > now;
    json!({
        "serves": bars.is_empty(),
        "why_not": bars.words().collect::<Vec<_>>(),
        "ejection": match upstream.ejection {
            None => Value::Null,
            Some(_) => json!({
                "failures_in_a_row": ejection.failures(),
                "since": is_out.then(|| moment(since, now)),
                "until": is_out.then(|| moment(until, now)),
                "times": endpoint.state.stats.ejections.sum(),
            }),
        },
        "probe": endpoint.probe.as_ref().map(|probe| probed(probe, now)),
    })
}

fn probed(probe: &ProbeState, now: Nanos) -> Value {
    let tally = probe.tally();
    let heard = probe.heard();
    let next = Some(probe.next()).filter(|next| next.0 > 0);
    json!({
        "verdict": tally.verdict.word(),
        "since": moment(probe.since(), now),
        "against": tally.against,
        "last": heard.as_ref().map(|heard| heard.what.as_str()),
        "last_at": heard.as_ref().map(|heard| moment(heard.at, now)),
        "next_at": next.map(|next| moment(next, now)),
    })
}

/// A moment, of the past or to come, as the wall clock has it.
fn moment(at: Nanos, now: Nanos) -> String {
    let at = if at > now {
        wall_nanos() + (at.0 - now.0)
    } else {
        wall_at(at)
    };
    rfc3339::text(at)
}

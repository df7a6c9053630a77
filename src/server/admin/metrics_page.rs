//! `/metrics`: everything that is counted, of what is in force and of what went away less than ten minutes ago.

use std::collections::BTreeMap;

use http::header::{self, HeaderMap};
use http::{Response, StatusCode};

use super::answer::text;
use crate::breaker::{Cause, Kind};
use crate::metrics::{EndpointStats, Format, GatewayStats, Metric, NO_ROUTE, Page, process};
use crate::proxy::body::Body;
use crate::snapshot::Snapshot;
use crate::store;
use crate::time::{self, Nanos};
use crate::upstream::breaking::Circuit;

/// The page in the format that the client prefers.
pub(super) fn answer(
    gateway: &GatewayStats,
    snapshot: &Snapshot,
    headers: &HeaderMap,
) -> Response<Body> {
    let accept = headers
        .get(header::ACCEPT)
        .and_then(|v| v.to_str().ok())
        .unwrap_or_default();
    let format = Format::negotiate(accept);
    let body = render(gateway, snapshot, format);
    text(StatusCode::OK, format.content_type(), body)
}

fn render(gateway: &GatewayStats, snapshot: &Snapshot, format: Format) -> String {
    let mut page = Page::new(format);
    let (carry, now) = (&snapshot.carry, time::now());
    let listeners: Vec<(u16, &str)> = carry
        .listeners
        .alive(now)
        .map(|(n, s)| (s.number, n.as_str()))
        .collect();
    let name_of = |number: u16| {
        listeners
            .iter()
            .find(|(n, _)| *n == number)
            .map(|(_, name)| *name)
    };
    gateway.write(&mut page, env!("CARGO_PKG_VERSION"));
    for (name, stats) in carry.routes.alive(now) {
        stats.write(
            &mut page,
            if name == NO_ROUTE { NO_ROUTE } else { name },
            name_of,
        );
    }
    for (name, upstream) in carry.upstreams.alive(now) {
        upstream.stats.write(&mut page, name);
    }
    for ((upstream, _), endpoint) in carry.endpoints.alive(now) {
        endpoint.stats.write(&mut page, upstream, &endpoint.label);
    }
    write_health(&mut page, snapshot, now);
    write_breakers(&mut page, snapshot, now);
    for (name, state) in carry.listeners.alive(now) {
        state.stats.write(&mut page, name);
    }
    write_limits(&mut page, snapshot, now);
    write_stores(&mut page, snapshot, now);
    write_expiry(&mut page, snapshot);
    process::write(&mut page);
    page.finish()
}

/// Counters go by a limit's name, buckets by its key too: those of a name that has another key by now are forgotten
/// soon, and what they had to evict still counts.
fn write_limits(page: &mut Page, snapshot: &Snapshot, now: Nanos) {
    for (name, stats) in snapshot.carry.limits.alive(now) {
        let all = snapshot.carry.buckets.alive(now);
        let evictions = all
            .filter(|((of, _), _)| of == name)
            .map(|(_, buckets)| buckets.limiter().evictions())
            .sum();
        let current = snapshot.limits.iter().find(|limit| limit.name == *name);
        let keys = current.map(|limit| {
            let limiter = limit.buckets().limiter();
            // A limit that is asked forgets by itself; one that is not would show for ever what it held last.
            limiter.forget_full(now);
            limiter.keys()
        });
        stats.write(page, name, keys, evictions);
    }
}

/// A store whose address was changed goes on counting.
fn write_stores(page: &mut Page, snapshot: &Snapshot, now: Nanos) {
    let mut sums: BTreeMap<&str, [u64; store::Cause::ALL.len()]> = BTreeMap::new();
    for ((name, _), link) in snapshot.carry.stores.alive(now) {
        let sum = sums.entry(name).or_default();
        for (sum, cause) in sum.iter_mut().zip(store::Cause::ALL) {
            *sum += link.errors(cause);
        }
    }
    for (name, sum) in sums {
        for (count, cause) in sum.into_iter().zip(store::Cause::ALL) {
            if count > 0 {
                page.count(Metric::StoreErrors, &[name, cause.word()], count);
            }
        }
    }
}

/// Of endpoints that are there, where somebody looks after their health: one that is gone is neither.
fn write_health(page: &mut Page, snapshot: &Snapshot, now: Nanos) {
    for upstream in &snapshot.upstreams {
        if upstream.ejection.is_none() && upstream.probe.is_none() {
            continue;
        }
        for endpoint in &upstream.endpoints {
            let bars = endpoint.bars(now, upstream.ejection.is_some());
            let is_healthy = bars.is_empty();
            let label = &endpoint.state.label;
            EndpointStats::write_health(page, &upstream.name, label, is_healthy);
        }
    }
}

/// The state of those that are there; what was counted of those that are gone, too.
fn write_breakers(page: &mut Page, snapshot: &Snapshot, now: Nanos) {
    for upstream in &snapshot.upstreams {
        let Some(breaking) = &upstream.breaking else {
            continue;
        };
        for (endpoint, circuit) in upstream.circuits() {
            let state = circuit.state.view(&breaking.policy, now).kind as u8;
            let labels = [upstream.name.as_str(), endpoint];
            page.value(Metric::BreakerState, &labels, f64::from(state));
        }
    }
    for (name, state) in snapshot.carry.upstreams.alive(now) {
        write_transitions(page, name, "", &state.circuit);
    }
    for ((upstream, _), state) in snapshot.carry.endpoints.alive(now) {
        write_transitions(page, upstream, &state.label, &state.circuit);
    }
}

fn write_transitions(page: &mut Page, upstream: &str, endpoint: &str, circuit: &Circuit) {
    for (key, count) in circuit.transitions.sums() {
        let (to, cause) = (key >> 8, key & 0xff);
        let (Some(to), Some(cause)) = (Kind::ALL.get(to as usize), Cause::ALL.get(cause as usize))
        else {
            continue;
        };
        let labels = [upstream, endpoint, to.word(), cause.word()];
        page.count(Metric::BreakerTransitions, &labels, count);
    }
}

/// Of certificates that share a name the first that expires counts: two series with the same labels are none.
fn write_expiry(page: &mut Page, snapshot: &Snapshot) {
    for listener in &snapshot.listeners {
        let Some(tls) = &listener.tls else { continue };
        let mut expiry: BTreeMap<&str, i64> = BTreeMap::new();
        for certificate in tls.policy.certificates() {
            let first = expiry
                .entry(&certificate.label)
                .or_insert(certificate.not_after);
            *first = certificate.not_after.min(*first);
        }
        for (name, seconds) in expiry {
            page.value(
                Metric::CertificateExpiry,
                &[&listener.name, name],
                seconds as f64,
            );
        }
    }
}

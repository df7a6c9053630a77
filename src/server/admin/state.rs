//! `/routes` and `/upstreams`: what is in force as a table, and how the endpoints are doing at this moment.

use serde_json::{Value, json};

use super::super::addresses;
use super::super::resolve::Standings;
use super::{breaker_json, health_json, route_json, upstream_json};
use crate::config::Config;
use crate::snapshot::Snapshot;
use crate::telemetry::rfc3339;
use crate::time::Nanos;
use crate::upstream::Upstream;
use crate::upstream::endpoint::Endpoint;

/// Every route in file order.
pub(super) fn routes(generation: u64, config: &Config) -> Value {
    let rows: Vec<Value> = config
        .routes
        .iter()
        .enumerate()
        .map(|(order, route)| route_json::row(config, order, route))
        .collect();
    json!({ "generation": generation, "routes": rows })
}

/// Every endpoint in file order. The numbers are sums over workers that go on working, each for itself exact.
pub(super) fn upstreams(
    config: &Config,
    snapshot: &Snapshot,
    names: &Standings,
    now: Nanos,
) -> Value {
    let rows: Vec<Value> = snapshot
        .upstreams
        .iter()
        .map(|upstream| one_upstream(config, upstream, names, now))
        .collect();
    json!({ "generation": snapshot.generation, "upstreams": rows })
}

fn one_upstream(config: &Config, upstream: &Upstream, names: &Standings, now: Nanos) -> Value {
    let said = config.upstreams.iter().find(|u| u.name == upstream.name);
    let endpoints: Vec<Value> = upstream
        .endpoints
        .iter()
        .map(|endpoint| one_endpoint(upstream, endpoint, now))
        .collect();
    let of_names = said.into_iter().flat_map(addresses::names_of);
    let names: Vec<Value> = of_names.map(|name| one_name(&name, names)).collect();
    json!({
        "name": upstream.name,
        "balance": said.map(|u| upstream_json::balance(&u.balance)),
        "serving": health_json::standing(upstream, now),
        "breaker": breaker_json::of_upstream(upstream, now),
        "bulkhead": bulkhead(upstream),
        "endpoints": endpoints,
        "names": names,
    })
}

/// Requests that hold a place, and that wait for one.
fn bulkhead(upstream: &Upstream) -> Option<Value> {
    let policy = upstream.bulkhead.as_ref()?;
    let (in_flight, waiting) = upstream.state.bulkhead.counts();
    Some(json!({ "limit": policy.limit, "in_flight": in_flight, "waiting": waiting }))
}

/// A name that endpoints come from: how many, when DNS last gave them, and what it said since.
fn one_name(name: &str, names: &Standings) -> Value {
    let standing = names.get(name).cloned().unwrap_or_default();
    json!({
        "name": name,
        "addresses": standing.addresses,
        "resolved_at": standing.resolved_at.map(rfc3339::text),
        "error": standing.error,
    })
}

fn one_endpoint(upstream: &Upstream, endpoint: &Endpoint, now: Nanos) -> Value {
    let health = health_json::health(upstream, endpoint, now);
    let (name, weight, endpoint) = (&endpoint.name, endpoint.weight, &endpoint.state);
    let (idle, busy) = (endpoint.stats.idle.sum(), endpoint.stats.busy.sum());
    // Workers share a count only where a balancer compares it; an attempt is busy all the time that it is in flight.
    let in_flight = if upstream.counts_in_flight() {
        i64::from(endpoint.in_flight())
    } else {
        busy
    };
    json!({
        "endpoint": endpoint.label,
        "name": name.as_deref(),
        "weight": weight,
        "connections": { "idle": idle.max(0), "busy": busy.max(0) },
        "in_flight": in_flight.max(0),
        "shunned": endpoint.is_shunned(now),
        "health": health,
        "breaker": breaker_json::of_endpoint(upstream, &endpoint.circuit, now),
    })
}

//! An upstream in the words of the file, and the section `dns` that its names are resolved by.

use serde_json::{Value, json};

use super::breaker_json;
use super::effective::{count, duration, off, or_off, percent};
use super::health_json;
use super::limit_json;
use crate::config::{
    Balance, Config, Dns, Endpoint, PoolPolicy, RetryBudget, Upstream, UpstreamTimeouts,
};

/// Everything that the file says about it.
pub(super) fn whole(config: &Config, upstream: &Upstream) -> Value {
    // Taken apart, so that what is new in a file is not forgotten here.
    let Upstream {
        name: _,
        endpoints,
        balance: chosen,
        timeouts,
        pool,
        retry_budget,
        max_in_flight,
        queue,
        circuit_breaker,
        health,
    } = upstream;
    let mut said = json!({
        "endpoints": endpoints.iter().map(endpoint).collect::<Vec<_>>(),
        "balance": balance(chosen),
        "timeouts": deadlines(timeouts),
        "pool": bounds(pool),
        "retry_budget": retry_budget.map_or_else(off, budget),
        "max_in_flight": count(*max_in_flight),
        "queue": { "size": queue.size, "timeout": duration(queue.timeout) },
        "circuit_breaker": circuit_breaker.as_ref().map_or_else(off, |b| breaker_json::whole(config, b)),
    });
    health_json::add(&mut said, config, health);
    said
}

/// The word or the map of the file.
pub(super) fn balance(balance: &Balance) -> Value {
    match balance {
        Balance::RoundRobin => "round_robin".into(),
        Balance::LeastRequests => "least_requests".into(),
        Balance::Random => "random".into(),
        Balance::Latency => "latency".into(),
        Balance::Hash(key) => json!({ "hash": limit_json::key(key) }),
        Balance::StickyCookie { name, ttl } => {
            json!({ "sticky_cookie": { "name": name, "ttl": or_off(*ttl) } })
        }
    }
}

/// The section `dns`; what is not written of it comes from the system.
pub(super) fn dns(dns: &Dns) -> Value {
    let Dns {
        servers,
        min_ttl,
        max_ttl,
        timeout,
    } = dns;
    json!({
        "servers": servers.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "min_ttl": duration(*min_ttl),
        "max_ttl": duration(*max_ttl),
        "timeout": duration(*timeout),
    })
}

fn endpoint(endpoint: &Endpoint) -> Value {
    let Endpoint {
        host: _,
        port: _,
        weight,
        authority,
        is_secure,
        secure: _,
    } = endpoint;
    let scheme = if *is_secure { "https" } else { "http" };
    let url = format!("{scheme}://{authority}");
    match weight {
        1 => url.into(),
        weight => json!({ "url": url, "weight": weight }),
    }
}

fn deadlines(timeouts: &UpstreamTimeouts) -> Value {
    let UpstreamTimeouts {
        connect,
        response,
        body,
        idle,
    } = timeouts;
    json!({
        "connect": or_off(*connect),
        "response": or_off(*response),
        "body": or_off(*body),
        "idle": or_off(*idle),
    })
}

fn bounds(pool: &PoolPolicy) -> Value {
    let PoolPolicy {
        max_idle_per_endpoint,
        max_age,
        max_connections_per_endpoint,
    } = pool;
    json!({
        "max_idle_per_endpoint": max_idle_per_endpoint,
        "max_age": or_off(*max_age),
        "max_connections_per_endpoint": count(*max_connections_per_endpoint),
    })
}

fn budget(budget: RetryBudget) -> Value {
    let RetryBudget {
        per_million,
        min_per_second,
    } = budget;
    json!({ "percent": percent(per_million), "min_per_second": min_per_second })
}

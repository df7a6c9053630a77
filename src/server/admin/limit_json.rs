//! Rate limits in the words of the file, for `/config`.

use serde_json::{Map, Value, json};

use super::effective::{duration, off};
use crate::config::{
    Config, Cost, InFlight, LimitHeaders, MissingKey, OnStoreFailure, Rate, RateLimit, RedisUrl,
    Store, StoreUse, UsedLimit,
};
use crate::http::key::Key;

/// Every limit, also those that listeners and routes write themselves, by its name.
pub(super) fn all(limits: &[RateLimit]) -> Value {
    let limits: Map<String, Value> = limits
        .iter()
        .map(|limit| (limit.name.clone(), whole(limit)))
        .collect();
    limits.into()
}

/// Every store by its name; user and password are not told.
pub(super) fn stores(stores: &[Store]) -> Value {
    let told = stores.iter().map(|store| {
        let RedisUrl {
            is_secure,
            host,
            port,
            database,
            user,
            password,
        } = &store.redis;
        let scheme = if *is_secure { "rediss" } else { "redis" };
        let who = if user.is_some() || password.is_some() {
            "***@"
        } else {
            ""
        };
        let host = if host.contains(':') {
            format!("[{host}]")
        } else {
            host.clone()
        };
        let url = format!("{scheme}://{who}{host}:{port}/{database}");
        let timeout = duration(store.timeout);
        (
            store.name.clone(),
            json!({ "redis": url, "timeout": timeout }),
        )
    });
    told.collect::<Map<String, Value>>().into()
}

/// The limits that a listener or a route uses.
pub(super) fn used(config: &Config, uses: &[UsedLimit]) -> Value {
    uses.iter()
        .filter_map(|used| {
            let name = config.rate_limits.get(used.limit)?.name.as_str();
            Some(match &used.cost {
                None => name.into(),
                Some(of_use) => json!({ "limit": name, "cost": cost(of_use) }),
            })
        })
        .collect()
}

/// `max_in_flight` of a route.
pub(super) fn in_flight(bound: &InFlight) -> Value {
    let InFlight { key: of, limit } = bound;
    match of {
        None => (*limit).into(),
        Some(of) => json!({ "key": key(of), "limit": limit }),
    }
}

/// The parts of a key.
pub(super) fn key(key: &Key) -> Value {
    key.parts().iter().map(ToString::to_string).collect()
}

fn whole(limit: &RateLimit) -> Value {
    // Taken apart, so that what is new in a file is not forgotten here.
    let RateLimit {
        name: _,
        key: of,
        rate: quota,
        cost: takes,
        on_missing_key,
        ipv6_prefix,
        exempt,
        max_wait,
        max_waiting,
        max_keys,
        store,
        on_store_failure,
        is_enforced,
        candidate,
        headers,
    } = limit;
    let exempt = exempt.iter();
    let mut said = json!({
        "key": key(of),
        "rate": rate(quota),
        "burst": quota.burst,
        "cost": cost(takes),
        "on_missing_key": match on_missing_key {
            MissingKey::ClientIp => "client_ip",
            MissingKey::Allow => "allow",
            MissingKey::Deny => "deny",
        },
        "ipv6_prefix": ipv6_prefix,
        "exempt": exempt.map(|(ip, length)| format!("{ip}/{length}")).collect::<Vec<_>>(),
        "max_wait": duration(*max_wait),
        "max_waiting": max_waiting,
        "max_keys": max_keys,
        "store": store.as_ref().map_or_else(|| "local".into(), store_use),
        "on_store_failure": match on_store_failure {
            OnStoreFailure::Local => "local",
            OnStoreFailure::Allow => "allow",
            OnStoreFailure::Deny => "deny",
        },
        "mode": if *is_enforced { "enforce" } else { "observe" },
        "headers": match headers {
            LimitHeaders::Refused => "refused".into(),
            LimitHeaders::Always => "always".into(),
            LimitHeaders::Off => off(),
        },
    });
    if let Some(candidate) = candidate {
        said["candidate"] = json!({ "rate": rate(candidate), "burst": candidate.burst });
    }
    said
}

fn store_use(used: &StoreUse) -> Value {
    let mode = if used.is_exact { "exact" } else { "leased" };
    json!({ "redis": used.store, "mode": mode })
}

fn cost(cost: &Cost) -> Value {
    match cost {
        Cost::Fixed(tokens) => (*tokens).into(),
        Cost::Header(name) => format!("header:{name}").into(),
    }
}

/// `100/s`, `50/10s`.
fn rate(rate: &Rate) -> Value {
    let per = duration(rate.per);
    let per = per.as_str().unwrap_or_default();
    let unit = per.strip_prefix('1').filter(|rest| rest.len() <= 2);
    let unit = unit.filter(|rest| rest.starts_with(|c: char| c.is_ascii_alphabetic()));
    format!("{}/{}", rate.tokens, unit.unwrap_or(per)).into()
}

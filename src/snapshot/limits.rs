//! Rate limits of a file made ready: policy from the configuration, buckets and counters from the snapshot before.

use std::collections::HashMap;
use std::sync::Arc;

use super::carry::Carry;
use crate::config::{self, Config};
use crate::filter::in_flight::InFlight;
use crate::filter::limit::place::{OnFailure, Place, Shared, Way};
use crate::filter::limit::{Cost, Headers, Limit, Missing, Policy, Used, fields};
use crate::http::forwarded::Networks;
use crate::limit::Quota;
use crate::store::{Address, Names, Store};
use crate::time::Nanos;

/// Every limit of the file, in its order.
pub(super) fn limits(
    config: &Config,
    stores: &[Store],
    carry: &mut Carry,
    workers: usize,
    now: Nanos,
) -> Vec<Arc<Limit>> {
    let limits = config.rate_limits.iter();
    limits
        .filter_map(|limit| limit_of(limit, stores, carry, workers, now))
        .map(Arc::new)
        .collect()
}

/// Every store of the file, in its order.
pub(super) fn stores(config: &Config, carry: &mut Carry) -> Vec<Store> {
    let stores = config.stores.iter();
    let store = |store: &config::Store| {
        let said = store.redis.clone();
        let address = Address {
            is_secure: said.is_secure,
            host: said.host,
            port: said.port,
            database: said.database,
            user: said.user,
            password: said.password.map(|password| password.0),
        };
        Store::new(carry.store(&store.name, address), store.timeout)
    };
    stores.map(store).collect()
}

/// The limits that a listener or a route uses, by the names that the file has for them.
pub(super) fn used(
    config: &Config,
    uses: &[config::UsedLimit],
    limits: &ByName<'_>,
) -> Arc<[Used]> {
    let find = |used: &config::UsedLimit| {
        let said = config.rate_limits.get(used.limit)?;
        let limit = limits.0.get(said.name.as_str())?;
        Some(Used {
            limit: Arc::clone(limit),
            cost: cost(used.cost.as_ref().unwrap_or(&said.cost)),
        })
    };
    uses.iter().filter_map(find).collect()
}

/// How many requests a route carries at once.
pub(super) fn in_flight(route: &config::Route, carry: &mut Carry) -> Option<InFlight> {
    let bound = route.max_in_flight.as_ref()?;
    let key = bound.key.as_ref().map(ToString::to_string);
    Some(InFlight {
        key: bound.key.clone(),
        most: bound.limit,
        counts: carry.in_flight(&route.name, &key.unwrap_or_default()),
    })
}

/// Limits by name: a file may list them in another order than the one that a snapshot was made from.
pub(super) struct ByName<'a>(HashMap<&'a str, &'a Arc<Limit>>);

impl<'a> ByName<'a> {
    pub(super) fn new(limits: &'a [Arc<Limit>]) -> Self {
        ByName(limits.iter().map(|l| (l.name.as_str(), l)).collect())
    }
}

/// `None` never happens: the rate was tried when the file was read.
fn limit_of(
    limit: &config::RateLimit,
    stores: &[Store],
    carry: &mut Carry,
    workers: usize,
    now: Nanos,
) -> Option<Limit> {
    let rate = &limit.rate;
    let quota = quota_of(rate)?;
    let key = limit.key.to_string();
    let buckets = carry.buckets(&limit.name, &key, quota, limit.max_keys, now);
    Some(Limit {
        name: limit.name.clone(),
        policy: Policy {
            key: limit.key.clone(),
            quota,
            candidate: limit.candidate.as_ref().and_then(quota_of),
            max_keys: limit.max_keys,
            cost: cost(&limit.cost),
            on_missing_key: match limit.on_missing_key {
                config::MissingKey::ClientIp => Missing::Client,
                config::MissingKey::Allow => Missing::Allowed,
                config::MissingKey::Deny => Missing::Denied,
            },
            ipv6_prefix: limit.ipv6_prefix,
            exempt: Networks::new(&limit.exempt),
            max_wait: limit.max_wait,
            max_waiting: limit.max_waiting,
            is_enforced: limit.is_enforced,
            headers: match limit.headers {
                config::LimitHeaders::Refused => Headers::Refused,
                config::LimitHeaders::Always => Headers::Always,
                config::LimitHeaders::Off => Headers::Off,
            },
        },
        place: place(limit, &key, stores, carry),
        buckets,
        stats: carry.limit_stats(&limit.name, workers),
        shown: fields::policy(&limit.name, rate.tokens, rate.per, rate.burst),
    })
}

fn place(limit: &config::RateLimit, key: &str, stores: &[Store], carry: &mut Carry) -> Place {
    let Some(used) = &limit.store else {
        return Place::Local;
    };
    let find = |store: &&Store| store.link().name() == used.store;
    // One is there: dangling names were refused.
    stores.iter().find(find).map_or(Place::Local, |store| {
        Place::Shared(Shared {
            store: store.clone(),
            way: if used.is_exact {
                Way::Exact(Names::new(&limit.name, key))
            } else {
                Way::Leased(carry.leases(&limit.name, key, &used.store, limit.max_keys))
            },
            on_failure: match limit.on_store_failure {
                config::OnStoreFailure::Local => OnFailure::Local,
                config::OnStoreFailure::Allow => OnFailure::Allow,
                config::OnStoreFailure::Deny => OnFailure::Deny,
            },
        })
    })
}

fn quota_of(rate: &config::Rate) -> Option<Quota> {
    Quota::new(rate.tokens, rate.per, rate.burst).ok()
}

fn cost(cost: &config::Cost) -> Cost {
    match cost {
        config::Cost::Fixed(tokens) => Cost::Fixed(*tokens),
        config::Cost::Header(name) => Cost::Header(name.clone()),
    }
}

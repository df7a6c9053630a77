//! `/limits`: how every rate limit stands and whom it refuses; one bucket looked at, or filled.

use http::StatusCode;
use serde_json::{Map, Value, json};

use super::answer::Refused;
use super::limit_json;
use crate::filter::limit::Limit;
use crate::filter::limit::place::{Place, Shared, Way};
use crate::limit::KeyId;
use crate::metrics::Decision;
use crate::snapshot::Snapshot;
use crate::store::lease::Leases;
use crate::store::{Cause, Store};
use crate::time::Nanos;

/// Keys told of each limit: those that it refused most.
const TOP: usize = 20;

/// Every store and every limit in file order.
pub(super) fn all(snapshot: &Snapshot, now: Nanos) -> Value {
    let limits: Vec<Value> = snapshot.limits.iter().map(|limit| one(limit)).collect();
    let room = snapshot.carry.room();
    json!({
        "generation": snapshot.generation,
        "stores": stores(&snapshot.stores, now),
        "memory": { "bytes": room.used(), "most": snapshot.limits_memory },
        "limits": limits,
    })
}

fn one(limit: &Limit) -> Value {
    let (policy, buckets) = (&limit.policy, limit.buckets());
    let limiter = buckets.limiter();
    let decisions: Map<String, Value> = Decision::ALL
        .iter()
        .zip(limit.stats.sums())
        .map(|(decision, count)| (decision.word().to_owned(), count.into()))
        .collect();
    let top: Vec<Value> = limiter
        .top(TOP)
        .into_iter()
        .map(|heavy| {
            let key = String::from_utf8_lossy(&heavy.name);
            json!({ "key": key, "limited": heavy.count, "error": heavy.error })
        })
        .collect();
    json!({
        "name": limit.name,
        "key": limit_json::key(&policy.key),
        "policy": limit.shown,
        "store": place(limit),
        "mode": if policy.is_enforced { "enforce" } else { "observe" },
        "decisions": decisions,
        "keys": limiter.keys(),
        "max_keys": policy.max_keys,
        "evictions": limiter.evictions(),
        "bytes": limiter.bytes() + leases(limit).map_or(0, Leases::bytes),
        "waiting": buckets.waiting(),
        "top": top,
    })
}

/// One bucket, by the rest of the path after `/limits/`; `fills` makes it full first.
///
/// # Errors
/// 404 for a limit that is not there, 400 for a key that is none of it, 503 where it is kept in a store that is away.
pub(super) async fn bucket(
    snapshot: &Snapshot,
    rest: &str,
    fills: bool,
    now: Nanos,
) -> Result<Value, Refused> {
    let found = find(snapshot, rest)?;
    let limit = found.limit;
    if fills {
        limit.buckets().refill(found.key);
    }
    let (left, full_in) = match &limit.place {
        Place::Local => {
            let fill = limit.buckets().look(found.key, now);
            (fill.left, fill.full_in)
        }
        Place::Shared(shared) => {
            let quota = limit.policy.quota;
            let visit = shared.visit(found.key, &found.bytes, quota, fills).await;
            let level = visit.map_err(|cause| unavailable(shared, cause))?;
            (level.left, level.full_in)
        }
    };
    if fills {
        tracing::info!(limit = limit.name, key = found.text, "bucket filled");
    }
    Ok(json!({
        "limit": limit.name,
        "key": found.text,
        "policy": limit.shown,
        "left": left,
        "full_in_seconds": full_in.as_secs_f64(),
    }))
}

struct Found<'a> {
    limit: &'a Limit,
    key: KeyId,
    bytes: Vec<u8>,
    text: &'a str,
}

fn find<'a>(snapshot: &'a Snapshot, rest: &'a str) -> Result<Found<'a>, Refused> {
    let (name, text) = rest.split_once('/').unwrap_or((rest, ""));
    let Some(limit) = snapshot.limits.iter().find(|limit| limit.name == name) else {
        let detail = "no limit has this name: /limits lists them";
        return Err(Refused::new(StatusCode::NOT_FOUND, detail));
    };
    let Some((key, bytes)) = limit.locate(text) else {
        let detail = format!(
            "the key of this limit is `{}`: each part percent-encoded, joined with `,`; `client_ip=ADDRESS` for a client \
             whose request had none",
            limit.policy.key
        );
        return Err(Refused::new(StatusCode::BAD_REQUEST, detail));
    };
    Ok(Found {
        limit,
        key,
        bytes,
        text,
    })
}

fn unavailable(shared: &Shared, cause: Cause) -> Refused {
    let (store, cause) = (shared.store.link().name(), cause.word());
    let detail = format!("the store {store} is away ({cause})");
    Refused::new(StatusCode::SERVICE_UNAVAILABLE, detail)
}

/// Where the buckets of a limit are.
fn place(limit: &Limit) -> Value {
    let Place::Shared(shared) = &limit.place else {
        return "local".into();
    };
    let leases = leases(limit);
    let mode = if leases.is_some() { "leased" } else { "exact" };
    let mut said = json!({ "redis": shared.store.link().name(), "mode": mode });
    if let Some(leases) = leases {
        said["leases"] = leases.len().into();
    }
    said
}

fn leases(limit: &Limit) -> Option<&Leases> {
    match &limit.place {
        Place::Shared(Shared {
            way: Way::Leased(leases),
            ..
        }) => Some(leases),
        Place::Shared(_) | Place::Local => None,
    }
}

/// How every store stands, in file order.
fn stores(stores: &[Store], now: Nanos) -> Value {
    let told = stores.iter().map(|store| {
        let (link, standing) = (store.link(), store.link().standing());
        let errors: Map<String, Value> = Cause::ALL
            .iter()
            .map(|cause| (cause.word().to_owned(), link.errors(*cause)))
            .filter(|(_, count)| *count > 0)
            .map(|(word, count)| (word, count.into()))
            .collect();
        json!({
            "name": link.name(),
            "address": link.address().to_string(),
            "state": standing.presence.word(),
            "for_seconds": now.since(standing.since).as_secs(),
            "last_cause": standing.cause.map(Cause::word),
            "errors": errors,
        })
    });
    told.collect()
}

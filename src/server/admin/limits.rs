//! `/limits`: how every rate limit stands and whom it refuses; one bucket looked at, or filled.

use http::StatusCode;
use serde_json::{Map, Value, json};

use super::answer::Refused;
use super::limit_json;
use crate::filter::limit::Limit;
use crate::limit::KeyId;
use crate::metrics::Decision;
use crate::snapshot::Snapshot;
use crate::time::Nanos;

/// Keys told of each limit: those that it refused most.
const TOP: usize = 20;

/// Every limit in file order.
pub(super) fn all(snapshot: &Snapshot) -> Value {
    let limits: Vec<Value> = snapshot.limits.iter().map(|limit| one(limit)).collect();
    let room = snapshot.carry.room();
    json!({
        "generation": snapshot.generation,
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
        "mode": if policy.is_enforced { "enforce" } else { "observe" },
        "decisions": decisions,
        "keys": limiter.keys(),
        "max_keys": policy.max_keys,
        "evictions": limiter.evictions(),
        "bytes": limiter.bytes(),
        "waiting": buckets.waiting(),
        "top": top,
    })
}

/// One bucket, by the rest of the path after `/limits/`.
///
/// # Errors
/// 404 for a limit that is not there, 400 for a key that is none of it.
pub(super) fn bucket(snapshot: &Snapshot, rest: &str, now: Nanos) -> Result<Value, Refused> {
    let (limit, key, text) = find(snapshot, rest)?;
    Ok(told(limit, key, text, now))
}

/// Fills one bucket.
///
/// # Errors
/// As [`bucket`].
pub(super) fn refill(snapshot: &Snapshot, rest: &str, now: Nanos) -> Result<Value, Refused> {
    let (limit, key, text) = find(snapshot, rest)?;
    limit.buckets().refill(key);
    tracing::info!(limit = limit.name, key = text, "bucket filled");
    Ok(told(limit, key, text, now))
}

fn find<'a>(snapshot: &'a Snapshot, rest: &'a str) -> Result<(&'a Limit, KeyId, &'a str), Refused> {
    let (name, text) = rest.split_once('/').unwrap_or((rest, ""));
    let Some(limit) = snapshot.limits.iter().find(|limit| limit.name == name) else {
        let detail = "no limit has this name: /limits lists them";
        return Err(Refused::new(StatusCode::NOT_FOUND, detail));
    };
    let Some(key) = limit.find(text) else {
        let detail = format!(
            "the key of this limit is `{}`: each part percent-encoded, joined with `,`; `client_ip=ADDRESS` for a client \
             whose request had none",
            limit.policy.key
        );
        return Err(Refused::new(StatusCode::BAD_REQUEST, detail));
    };
    Ok((limit, key, text))
}

fn told(limit: &Limit, key: KeyId, text: &str, now: Nanos) -> Value {
    let fill = limit.buckets().look(key, now);
    json!({
        "limit": limit.name,
        "key": text,
        "policy": limit.shown,
        "left": fill.left,
        "full_in_seconds": fill.full_in.as_secs_f64(),
    })
}

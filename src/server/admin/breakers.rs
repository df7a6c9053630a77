//! `PUT /breakers/…`: an operator's hand on circuit breakers. It stays there over reloads, until it is taken away.

use http::StatusCode;
use serde_json::{Value, json};

use super::answer::Refused;
use super::breaker_json::standing;
use crate::breaker::Forced;
use crate::http::query::decode;
use crate::proxy::breaker::log;
use crate::snapshot::Snapshot;
use crate::time::Nanos;
use crate::upstream::Upstream;
use crate::upstream::breaking::{Breaking, Circuit, Scope};

/// Does what `body` asks for with the breakers that `path` names: `UPSTREAM`, or `UPSTREAM/ENDPOINT`. Tells how they
/// stand then. `writer` is who counts.
///
/// # Errors
/// 400 for another body, 404 for a breaker that is not there.
pub(super) fn force(
    snapshot: &Snapshot,
    path: &str,
    body: &[u8],
    now: Nanos,
    writer: usize,
) -> Result<Value, Refused> {
    let forced = wish(body)?;
    let (upstream, breaking, circuits) = find(snapshot, path)?;
    for (endpoint, circuit) in &circuits {
        tracing::info!(
            upstream = upstream.name,
            endpoint,
            force = word(forced),
            "circuit breaker taken in hand"
        );
        if let Some(moved) = upstream.force(circuit, forced, now, writer) {
            log(&upstream.name, endpoint, &moved, breaking.policy.observes);
        }
    }
    let rows: Vec<Value> = circuits
        .iter()
        .map(|(endpoint, circuit)| {
            let mut row = standing(breaking, circuit, now);
            row["endpoint"] = (*endpoint).into();
            row
        })
        .collect();
    Ok(json!({ "upstream": upstream.name, "force": word(forced), "breakers": rows }))
}

type Found<'a> = (&'a Upstream, &'a Breaking, Vec<(&'a str, &'a Circuit)>);

fn find<'a>(snapshot: &'a Snapshot, path: &str) -> Result<Found<'a>, Refused> {
    let missing = |detail: String| Refused::new(StatusCode::NOT_FOUND, detail);
    let mut parts = path.splitn(2, '/').map(plain);
    let name = parts.next().unwrap_or_default();
    let endpoint = parts.next();
    let shown = name.escape_debug();
    let upstream = snapshot.upstreams.iter().find(|u| u.name == name);
    let upstream = upstream.ok_or_else(|| missing(format!("no upstream is called `{shown}`")))?;
    let breaking = upstream
        .breaking
        .as_deref()
        .ok_or_else(|| missing(format!("upstream `{shown}` has no `circuit_breaker`")))?;
    let mut circuits = upstream.circuits();
    if let Some(endpoint) = endpoint {
        if breaking.scope == Scope::Upstream {
            return Err(missing(format!(
                "upstream `{shown}` has one breaker for all its endpoints: /breakers/{shown}"
            )));
        }
        circuits.retain(|(label, _)| *label == endpoint);
        if circuits.is_empty() {
            let endpoint = endpoint.escape_debug();
            return Err(missing(format!(
                "upstream `{shown}` has no endpoint `{endpoint}`"
            )));
        }
    }
    Ok((upstream, breaking, circuits))
}

fn plain(part: &str) -> String {
    let bytes: Vec<u8> = decode(part.as_bytes()).collect();
    String::from_utf8_lossy(&bytes).into_owned()
}

fn wish(body: &[u8]) -> Result<Forced, Refused> {
    let bad = || {
        let form = "the body is `{\"force\": \"open\"}`, or `closed`, or `auto`";
        Refused::new(StatusCode::BAD_REQUEST, form)
    };
    let Ok(Value::Object(members)) = serde_json::from_slice(body) else {
        return Err(bad());
    };
    if members.len() != 1 {
        return Err(bad());
    }
    match members.get("force").and_then(Value::as_str) {
        Some("open") => Ok(Forced::Open),
        Some("closed") => Ok(Forced::Closed),
        Some("auto") => Ok(Forced::No),
        _ => Err(bad()),
    }
}

fn word(forced: Forced) -> &'static str {
    match forced {
        Forced::No => "auto",
        Forced::Open => "open",
        Forced::Closed => "closed",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hand_is_one_of_three_words_and_nothing_beside_it() {
        let of = |text: &str| wish(text.as_bytes()).map_err(|refused| refused.status.as_u16());
        assert_eq!(of(r#"{"force":"open"}"#).unwrap(), Forced::Open);
        assert_eq!(of(r#"{"force":"closed"}"#).unwrap(), Forced::Closed);
        assert_eq!(of(r#"{"force":"auto"}"#).unwrap(), Forced::No);
        for text in [
            "",
            "{}",
            "[]",
            "open",
            r#"{"force":"half_open"}"#,
            r#"{"force":true}"#,
            r#"{"force":"open","for":"1m"}"#,
        ] {
            assert_eq!(of(text).err(), Some(400), "{text}");
        }
    }
}

//! What changes the gateway: `POST /reload` and `PUT /loglevel`.

use std::future::poll_fn;
use std::pin::pin;
use std::time::Duration;

use http::header::{self, HeaderMap};
use http::{Response, StatusCode};
use http_body::Body as _;
use hyper::body::Incoming;
use serde_json::{Map, Value, json};
use tracing::Level;

use super::answer::{Refused, data, tag_of, tagged};
use crate::config::Problem;
use crate::http::fields::list;
use crate::proxy::body::Body;
use crate::server::reload::{Answer, Desk, Outcome, Report};
use crate::telemetry::control_log::LevelHandle;

/// Largest body.
const MOST_BYTES: usize = 64 * 1024;
/// A body that takes longer is given up.
const WITHIN: Duration = Duration::from_secs(10);

/// The parts of the program that may have a level of their own; each with all below it.
const TARGETS: [&str; 19] = [
    "breaker",
    "config",
    "drain",
    "error",
    "filter",
    "http",
    "limit",
    "metrics",
    "proxy",
    "route",
    "server",
    "snapshot",
    "store",
    "sync",
    "telemetry",
    "time",
    "timer",
    "tls",
    "upstream",
];

/// The libraries that tell something themselves.
const LIBRARIES: [&str; 4] = ["h2", "hickory_net", "hickory_proto", "hickory_resolver"];

/// Takes the files up at once, by the way that a change of them would go.
pub(super) async fn reload(desk: &Desk, headers: &HeaderMap) -> Result<Response<Body>, Refused> {
    match desk.reload(expected(headers)).await {
        Some(Answer::Done(report)) => told(&report),
        Some(Answer::Elsewhere(generation)) => Err(Refused::new(
            StatusCode::PRECONDITION_FAILED,
            format!("generation {generation} is in force, which `If-Match` does not name"),
        )
        .with(header::ETAG, &tag_of(generation))
        .telling(json!({ "generation": generation }))),
        None => Err(Refused::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "the gateway is about to end and takes up nothing more",
        )),
    }
}

fn told(report: &Report) -> Result<Response<Body>, Refused> {
    let generation = report.generation;
    let changes = match &report.outcome {
        Outcome::Applied(changes) => changes.to_json(),
        Outcome::Unchanged => json!({ "added": [], "changed": [], "removed": [] }),
        Outcome::Rejected(problems) => {
            return Err(Refused::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                format!("generation {generation} stays in force"),
            )
            .telling(json!({ "generation": generation, "problems": listed(problems) })));
        }
    };
    let mut told = json!({
        "generation": generation,
        "result": report.outcome.result().word(),
        "warnings": listed(&report.warnings),
        "problems": listed(&report.outdated),
    });
    if let (Some(told), Value::Object(changes)) = (told.as_object_mut(), changes) {
        told.extend(changes);
    }
    Ok(tagged(generation, &told))
}

fn listed(problems: &[Problem]) -> Vec<Value> {
    problems.iter().map(Problem::to_json).collect()
}

/// The generations that `If-Match` names (RFC 9110, section 13.1.1); `None` where any will do. A tag that is none of
/// ours names none, and a number without its quotes is understood.
fn expected(headers: &HeaderMap) -> Option<Vec<u64>> {
    if !headers.contains_key(header::IF_MATCH) {
        return None;
    }
    let tags = headers
        .get_all(header::IF_MATCH)
        .iter()
        .flat_map(|value| list(value.as_bytes()))
        .filter_map(|tag| std::str::from_utf8(tag).ok());
    let mut generations = Vec::new();
    for tag in tags {
        if tag == "*" {
            return None;
        }
        generations.extend(tag.trim_matches('"').parse::<u64>());
    }
    Some(generations)
}

/// Sets the level of the control log, of everything or of one target.
pub(super) fn set_level(levels: &LevelHandle, body: &[u8]) -> Result<Response<Body>, Refused> {
    let wish = Wish::parse(body)?;
    match &wish.target {
        None => levels.set(wish.level),
        Some(target) if levels.set_target(target, wish.level) => {}
        Some(_) => {
            return Err(Refused::new(
                StatusCode::CONFLICT,
                "too many targets have a level of their own already",
            ));
        }
    }
    tracing::info!(
        level = wish.level.as_str().to_ascii_lowercase(),
        target = wish.target,
        "level of the control log set"
    );
    Ok(data(&told_levels(levels)))
}

/// The levels that hold, as they are told.
fn told_levels(levels: &LevelHandle) -> Value {
    let levels = levels.levels();
    let targets: Map<String, Value> = levels
        .targets
        .iter()
        .map(|(target, level)| (target.clone(), word(*level).into()))
        .collect();
    json!({ "level": word(levels.usual), "targets": targets })
}

/// What `PUT /loglevel` asks for.
#[derive(Debug, PartialEq)]
struct Wish {
    level: Level,
    target: Option<String>,
}

impl Wish {
    fn parse(body: &[u8]) -> Result<Wish, Refused> {
        let bad = |detail: String| Refused::new(StatusCode::BAD_REQUEST, detail);
        let form = "the body is `{\"level\": \"debug\", \"target\": \"tidegate::proxy\"}`, without `target` for all of `tidegate`";
        let Ok(Value::Object(mut members)) = serde_json::from_slice(body) else {
            return Err(bad(form.to_owned()));
        };
        let (level, target) = (members.remove("level"), members.remove("target"));
        if let Some(other) = members.keys().next() {
            return Err(bad(format!(
                "`{}` is not known: {form}",
                other.escape_debug()
            )));
        }
        let Some(level) = level.as_ref().and_then(Value::as_str).and_then(level_of) else {
            return Err(bad(
                "`level` is error, warn, info, debug or trace".to_owned()
            ));
        };
        let target = match target {
            None | Some(Value::Null) => None,
            Some(Value::String(target)) => Some(known_target(target)?),
            Some(_) => return Err(bad(form.to_owned())),
        };
        Ok(Wish { level, target })
    }
}

fn level_of(word: &str) -> Option<Level> {
    Some(match word {
        "error" => Level::ERROR,
        "warn" => Level::WARN,
        "info" => Level::INFO,
        "debug" => Level::DEBUG,
        "trace" => Level::TRACE,
        _ => return None,
    })
}

fn word(level: Level) -> &'static str {
    match level {
        Level::ERROR => "error",
        Level::WARN => "warn",
        Level::INFO => "info",
        Level::DEBUG => "debug",
        Level::TRACE => "trace",
    }
}

/// A target that says nothing would be set in vain, and nobody would know why nothing is logged.
fn known_target(target: String) -> Result<String, Refused> {
    let mut parts = target.split("::");
    let is_known = match parts.next() {
        Some("tidegate") => parts.next().is_none_or(|part| TARGETS.contains(&part)),
        Some(library) => LIBRARIES.contains(&library),
        None => false,
    };
    let is_spelled = parts.all(|part| {
        !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
    });
    if is_known && is_spelled && target.len() <= 128 {
        return Ok(target);
    }
    let detail = format!(
        "no such target: `tidegate`, `tidegate::` and one of {}, or a library, {}",
        TARGETS.join(", "),
        LIBRARIES.join(", ")
    );
    Err(Refused::new(StatusCode::NOT_FOUND, detail))
}

/// The whole body, within its bounds.
///
/// # Errors
/// 413, 408, or 400 where it breaks off.
pub(super) async fn read(body: Incoming) -> Result<Vec<u8>, Refused> {
    match tokio::time::timeout(WITHIN, gather(body)).await {
        Ok(result) => result,
        Err(_) => Err(Refused::new(
            StatusCode::REQUEST_TIMEOUT,
            "the body did not come in time",
        )),
    }
}

async fn gather(body: Incoming) -> Result<Vec<u8>, Refused> {
    let too_large = || {
        Refused::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("the body is larger than {MOST_BYTES} bytes"),
        )
    };
    if body.size_hint().lower() > MOST_BYTES as u64 {
        return Err(too_large());
    }
    let mut body = pin!(body);
    let mut bytes = Vec::new();
    while let Some(frame) = poll_fn(|cx| body.as_mut().poll_frame(cx)).await {
        let frame =
            frame.map_err(|_| Refused::new(StatusCode::BAD_REQUEST, "the body broke off"))?;
        if let Some(data) = frame.data_ref() {
            bytes.extend_from_slice(data);
        }
        if bytes.len() > MOST_BYTES {
            return Err(too_large());
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wish(text: &str) -> Result<(Level, Option<String>), u16> {
        Wish::parse(text.as_bytes())
            .map(|wish| (wish.level, wish.target))
            .map_err(|refused| refused.status.as_u16())
    }

    #[test]
    fn a_level_has_five_words_and_a_target_is_ours() {
        assert_eq!(wish(r#"{"level":"debug"}"#), Ok((Level::DEBUG, None)));
        assert_eq!(
            wish(r#"{"level":"warn","target":null}"#),
            Ok((Level::WARN, None))
        );
        for target in ["tidegate", "tidegate::proxy", "tidegate::server::reload"] {
            let text = format!(r#"{{"level":"trace","target":"{target}"}}"#);
            assert_eq!(wish(&text), Ok((Level::TRACE, Some(target.into()))));
        }
        for text in [
            "",
            "debug",
            "[]",
            "{}",
            r#"{"level":"verbose"}"#,
            r#"{"level":"DEBUG"}"#,
            r#"{"level":5}"#,
            r#"{"level":"debug","target":5}"#,
            r#"{"level":"debug","targets":"x"}"#,
            "{\"level\":\"debug\"",
        ] {
            assert_eq!(wish(text), Err(400), "{text}");
        }
        for target in [
            "",
            "tidegat",
            "tidegate::",
            "tidegate::prox",
            "tidegate::proxy::",
            "hyper",
            "tidegate::proxy::a b",
            "tidegate=debug",
        ] {
            let text = format!(r#"{{"level":"debug","target":"{target}"}}"#);
            assert_eq!(wish(&text), Err(404), "{target}");
        }
    }

    #[test]
    fn if_match_names_generations() {
        let of = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(header::IF_MATCH, value.parse().unwrap());
            }
            expected(&headers)
        };
        assert_eq!(of(&[]), None);
        assert_eq!(of(&["*"]), None);
        assert_eq!(of(&["\"3\""]), Some(vec![3]));
        assert_eq!(of(&["3"]), Some(vec![3]));
        assert_eq!(of(&["\"3\", \"4\"", "\"5\""]), Some(vec![3, 4, 5]));
        // A weak tag never matches (RFC 9110, section 8.8.3.2).
        assert_eq!(of(&["W/\"3\""]), Some(vec![]));
        assert_eq!(of(&["\"other\""]), Some(vec![]));
        assert_eq!(of(&[""]), Some(vec![]));
    }

    #[test]
    fn every_module_is_a_target() {
        for line in include_str!("../../lib.rs").lines() {
            if let Some(name) = line.strip_prefix("pub mod ") {
                let name = name.trim_end_matches(';');
                assert!(TARGETS.contains(&name), "{name}");
            }
        }
    }
}

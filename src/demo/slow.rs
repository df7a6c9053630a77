//! A service that takes its time: `?ms=` milliseconds, a second if nothing is said.

use std::time::Duration;

use http::{Request, StatusCode};
use hyper::body::Incoming;
use serde_json::json;

use super::query;
use super::serve::{self, Answer};

const DEFAULT_MS: u64 = 1_000;
/// Longer than any deadline that one would wait for.
const MOST_MS: u64 = 600_000;

/// Answers after the time that the query asks for, at most 10 minutes.
pub(super) async fn answer(request: Request<Incoming>) -> Answer {
    let ms = match query::number(request.uri(), "ms") {
        Ok(ms) => ms.unwrap_or(DEFAULT_MS),
        Err(problem) => return Ok(query::complain(&problem)),
    };
    if ms > MOST_MS {
        let problem = format!("`ms={ms}`: at most {MOST_MS} is possible");
        return Ok(query::complain(&problem));
    }
    tokio::time::sleep(Duration::from_millis(ms)).await;
    let report = json!({ "service": "slow", "waited_ms": ms });
    Ok(serve::json(StatusCode::OK, &report))
}

//! What an attempt tells of the health of its endpoint: the failures that lead to ejection.
//!
//! A failure is what a client would call one: no connection, no answer in time, a broken one, a 5xx of the endpoint's own.
//! Who limits its clients (429) is neither well nor ill; answers of the gateway itself and clients that leave say nothing.

use std::borrow::Cow;

use http::StatusCode;

use super::outcome::Report;
use crate::breaker::outcome::{Fault, Outcome};
use crate::time::Nanos;
use crate::upstream::Upstream;
use crate::upstream::out::Failed;

/// Tells of an attempt that began at `began`; called exactly once for each.
#[inline]
pub(super) fn tell(upstream: &Upstream, endpoint: usize, began: Nanos, report: &Report) {
    match report.outcome {
        Outcome::Neutral | Outcome::Answered(StatusCode::TOO_MANY_REQUESTS) => {}
        Outcome::Answered(status) if !status.is_server_error() => {
            upstream.attempt_succeeded(endpoint);
        }
        outcome => upstream.attempt_failed(
            endpoint,
            &Failed {
                began,
                now: report.now,
                worker: report.worker,
                what: &words(outcome),
            },
        ),
    }
}

#[cold]
fn words(outcome: Outcome) -> Cow<'static, str> {
    match outcome {
        Outcome::Answered(status) => format!("status {}", status.as_u16()).into(),
        Outcome::Failed(Fault::Connect) => "no connection".into(),
        Outcome::Failed(Fault::Timeout) => "no answer in time".into(),
        Outcome::Failed(Fault::Reset) => "a broken connection".into(),
        Outcome::Neutral => "nothing".into(),
    }
}

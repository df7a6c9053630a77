//! `routes[].retry`: what is tried again, how often, and after which time.

use std::time::Duration;

use super::doubts::is_within;
use super::fields::Fields;
use super::nearest::nearest;
use super::report::{Fault, Report, quote};
use super::schema::join;

/// `routes[].retry`.
#[derive(Clone, Debug, PartialEq)]
pub struct Retry {
    /// Tries after the first; 0 = off.
    pub attempts: u32,
    /// What is tried again; nothing twice.
    pub on: Vec<RetryOn>,
    /// How long one try may take, until its answer's head; `None` = off.
    pub per_try_timeout: Option<Duration>,
    /// Time between tries.
    pub backoff: Backoff,
}

/// One word of `retry.on`. All but the first two hold for idempotent methods only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RetryOn {
    /// No connection came to be.
    Connect,
    /// The endpoint refused the stream before it looked at it (RFC 9113, section 8.7).
    RefusedStream,
    /// The connection broke before the answer's head.
    Reset,
    /// `per_try_timeout` or `timeouts.response` passed.
    Timeout,
    /// An answer of 500, 502, 503 or 504.
    Status(u16),
}

/// `retry.backoff`, drawn with full jitter: before the n-th retry at most `base` · 2ⁿ⁻¹, and never more than `max`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// Most before the first retry.
    pub base: Duration,
    /// Most before any; at least `base`.
    pub max: Duration,
}

/// The `retry` of a route.
pub(super) fn parse(route: &Fields<'_>, report: &mut Report) -> Retry {
    let fields = route.section("retry");
    let attempts = fields.number("attempts");
    let attempts = attempts.and_then(|n| u32::try_from(n).ok());
    Retry {
        attempts: if route.is_off("retry") {
            0
        } else {
            attempts.unwrap_or_default()
        },
        on: parse_on(&fields, report),
        per_try_timeout: fields.duration("per_try_timeout"),
        backoff: parse_backoff(route, report),
    }
}

fn parse_on(fields: &Fields<'_>, report: &mut Report) -> Vec<RetryOn> {
    let Some(node) = fields.node("on") else {
        return DEFAULT.to_vec();
    };
    let mut all = Vec::new();
    for item in node.items() {
        let Some(scalar) = item.scalar() else {
            continue;
        };
        let Ok(cause) = cause(&scalar.text) else {
            continue;
        };
        if all.contains(&cause) {
            let message = format!("{} is listed twice", quote(scalar.shown()));
            report.error(item.span, Fault::bare(message));
        }
        all.push(cause);
    }
    all
}

fn parse_backoff(route: &Fields<'_>, report: &mut Report) -> Backoff {
    let retry = route.section("retry");
    if retry.is_off("backoff") {
        return Backoff {
            base: Duration::ZERO,
            max: Duration::ZERO,
        };
    }
    let fields = retry.section("backoff");
    let base = fields.duration("base").unwrap_or_default();
    let max = fields.duration("max").unwrap_or_default();
    if base > max {
        // The route's own word is the one that does not fit its defaults.
        let is_own = |name| fields.node(name).is_some_and(|node| is_within(node, route));
        let said = if is_own("max") && !is_own("base") {
            fields.node("max")
        } else {
            fields.node("base").or(fields.node("max"))
        };
        let message = format!("`base` ({base:?}) is longer than `max` ({max:?})");
        let help = "times double from `base` on, up to `max`";
        let span = said.map_or(retry.span("backoff"), |node| node.span);
        report.error(span, Fault::new(message, help));
    }
    Backoff { base, max }
}

/// One word of `retry.on`.
pub(super) fn cause(text: &str) -> Result<RetryOn, Fault> {
    if let Some((_, cause)) = CAUSES.iter().find(|(word, _)| *word == text) {
        return Ok(*cause);
    }
    let words = || CAUSES.iter().map(|(word, _)| *word);
    let allowed = join(words().map(quote), "or");
    let help = match text {
        "5xx" => format!("name the codes that are meant; allowed: {allowed}"),
        _ => match nearest(text, words()) {
            Some(near) => format!("did you mean `{near}`? allowed: {allowed}"),
            None => format!("allowed: {allowed}"),
        },
    };
    let message = format!("{} is nothing that is tried again", quote(text));
    Err(Fault::new(message, help))
}

/// The words of `retry.on`, in the order of the contract.
pub(super) const CAUSES: [(&str, RetryOn); 8] = [
    ("connect", RetryOn::Connect),
    ("refused_stream", RetryOn::RefusedStream),
    ("reset", RetryOn::Reset),
    ("timeout", RetryOn::Timeout),
    ("500", RetryOn::Status(500)),
    ("502", RetryOn::Status(502)),
    ("503", RetryOn::Status(503)),
    ("504", RetryOn::Status(504)),
];

const DEFAULT: [RetryOn; 2] = [RetryOn::Connect, RetryOn::RefusedStream];

//! `upstreams.*.circuit_breaker`: when an upstream is left alone, how it is tried again, and what is done meanwhile.

use std::time::Duration;

use super::fields::Fields;
use super::names::Names;
use super::nearest::nearest;
use super::node::{Node, Scalar};
use super::report::{Fault, Report, quote};
use super::{Respond, Upstream, keys, respond};
use crate::breaker::outcome::{FailureKind, Fault as Broken};

/// `upstreams.*.circuit_breaker`.
#[derive(Clone, Debug, PartialEq)]
pub struct CircuitBreaker {
    /// One for the upstream, or one for each endpoint.
    pub scope: BreakerScope,
    /// Failures in a row; `None` = off.
    pub consecutive_failures: Option<u32>,
    /// Share of failures; `None` = off.
    pub failure_rate: Option<BreakerRate>,
    /// Share of slow answers, and what is slow; `None` = off.
    pub slow_rate: Option<(BreakerRate, Duration)>,
    /// Open to half-open.
    pub open_for: Duration,
    /// Up to which that doubles; at least `open_for`.
    pub max_open_for: Duration,
    /// Half-open to closed.
    pub half_open_successes: u32,
    /// Most probes at once.
    pub half_open_probes: u32,
    /// A slower probe is a failure.
    pub half_open_timeout: Duration,
    /// What counts as a failure; nothing twice.
    pub failures: Vec<FailureKind>,
    /// A body or a WebSocket that lives so long is a success.
    pub stream_stable_after: Duration,
    /// What is done while it is open; `None` = 503.
    pub fallback: Option<Fallback>,
    /// Is nothing refused?
    pub observes: bool,
}

/// `circuit_breaker.scope`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BreakerScope {
    /// One for all endpoints.
    Upstream,
    /// One each.
    Endpoint,
}

/// `failure_rate` and the like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BreakerRate {
    /// Of a million; more than 0 and no more than all.
    pub per_million: u32,
    /// Over which time.
    pub window: Duration,
    /// Fewer requests say nothing.
    pub min_requests: u32,
}

/// `circuit_breaker.fallback`.
#[derive(Clone, Debug, PartialEq)]
pub enum Fallback {
    /// A fixed answer.
    Respond(Respond),
    /// Another upstream, by its index. No circle of them.
    Upstream(usize),
}

/// The breaker of an upstream; a fallback to another upstream comes later ([`resolve`]).
pub(super) fn parse(upstream: &Fields<'_>, report: &mut Report) -> Option<CircuitBreaker> {
    if upstream.node("circuit_breaker").is_none() || upstream.is_off("circuit_breaker") {
        return None;
    }
    let fields = upstream.section("circuit_breaker");
    let small = |name: &str| fields.number(name).and_then(|n| u32::try_from(n).ok());
    let time = |name: &str| fields.duration(name).unwrap_or_default();
    let breaker = CircuitBreaker {
        scope: match fields.text("scope") {
            Some("endpoint") => BreakerScope::Endpoint,
            _ => BreakerScope::Upstream,
        },
        consecutive_failures: small("consecutive_failures"),
        failure_rate: parse_rate(&fields, "failure_rate", report),
        slow_rate: parse_rate(&fields, "slow_rate", report).map(|rate| {
            let slower_than = fields.section("slow_rate").duration("slower_than");
            (rate, slower_than.unwrap_or_default())
        }),
        open_for: time("open_for"),
        max_open_for: parse_longest(&fields, report),
        half_open_successes: small("half_open_successes").unwrap_or(1),
        half_open_probes: small("half_open_probes").unwrap_or(1),
        half_open_timeout: time("half_open_timeout"),
        failures: parse_failures(&fields, report),
        stream_stable_after: time("stream_stable_after"),
        fallback: parse_fallback(&fields, report),
        observes: fields.text("mode") == Some("observe"),
    };
    let rates = breaker.failure_rate.is_some() || breaker.slow_rate.is_some();
    if breaker.consecutive_failures.is_none() && !rates {
        let message = "nothing opens this breaker";
        let help = "one of `consecutive_failures`, `failure_rate` and `slow_rate` is needed, or `circuit_breaker: off`";
        report.error(fields.place(), Fault::new(message, help));
    }
    Some(breaker)
}

fn parse_rate(breaker: &Fields<'_>, name: &str, report: &mut Report) -> Option<BreakerRate> {
    if breaker.node(name).is_none() || breaker.is_off(name) {
        return None;
    }
    let fields = breaker.section(name);
    let per_million = fields.share("percent").unwrap_or_default();
    if !(1..=1_000_000).contains(&per_million) {
        let message = "this share is never reached, or always";
        let help = "a percentage above `0%`, up to `100%`";
        report.error(fields.span("percent"), Fault::new(message, help));
    }
    let min = fields.number("min_requests");
    Some(BreakerRate {
        per_million,
        window: fields.duration("window").unwrap_or_default(),
        min_requests: min.and_then(|n| u32::try_from(n).ok()).unwrap_or(1),
    })
}

fn parse_longest(fields: &Fields<'_>, report: &mut Report) -> Duration {
    let open_for = fields.duration("open_for").unwrap_or_default();
    let longest = fields.duration("max_open_for").unwrap_or(open_for);
    if longest < open_for {
        let message =
            format!("`max_open_for` ({longest:?}) is shorter than `open_for` ({open_for:?})");
        let help = "`open_for` doubles up to `max_open_for`";
        report.error(fields.span("max_open_for"), Fault::new(message, help));
    }
    longest.max(open_for)
}

fn parse_failures(fields: &Fields<'_>, report: &mut Report) -> Vec<FailureKind> {
    let Some(node) = fields.node("failures") else {
        return WORDS.map(|(_, kind)| kind).to_vec();
    };
    let mut all = Vec::new();
    for item in node.items() {
        let Some(kind) = item.scalar().and_then(|s| failure(&s.text).ok()) else {
            continue;
        };
        if all.contains(&kind) {
            let shown = quote(item.scalar().map_or("", Scalar::shown));
            report.error(item.span, Fault::bare(format!("{shown} is listed twice")));
        }
        all.push(kind);
    }
    all
}

/// One word of `failures`.
pub(super) fn failure(text: &str) -> Result<FailureKind, Fault> {
    if let Some((_, kind)) = WORDS.iter().find(|(word, _)| *word == text) {
        return Ok(*kind);
    }
    let status = text.parse::<u16>().ok();
    if text == "429" {
        let help = "a server that limits its clients is well";
        return Err(Fault::new("429 never counts as a failure", help));
    }
    if let Some(status) = status.filter(|status| (400..600).contains(status)) {
        return Ok(FailureKind::Status(status));
    }
    let allowed = "allowed: `connect`, `timeout`, `reset`, `5xx`, or a status from 400 to 599";
    let help = match nearest(text, WORDS.iter().map(|(word, _)| *word)) {
        Some(near) => format!("did you mean `{near}`? {allowed}"),
        None => allowed.to_owned(),
    };
    let message = format!("{} is nothing that counts as a failure", quote(text));
    Err(Fault::new(message, help))
}

/// The words of `failures`, which are its default.
pub(super) const WORDS: [(&str, FailureKind); 4] = [
    ("connect", FailureKind::Fault(Broken::Connect)),
    ("timeout", FailureKind::Fault(Broken::Timeout)),
    ("reset", FailureKind::Fault(Broken::Reset)),
    ("5xx", FailureKind::ServerErrors),
];

/// A fixed answer; one that names an upstream is only checked here.
fn parse_fallback(breaker: &Fields<'_>, report: &mut Report) -> Option<Fallback> {
    breaker.node("fallback")?;
    let fields = breaker.section("fallback");
    if fields.node("upstream").is_none() {
        let fixed = respond::parse(&fields, report);
        return Some(Fallback::Respond(fixed));
    }
    for name in ["status", "headers", "body"] {
        if let Some(node) = fields.node(name) {
            let message = format!("`{name}` beside `upstream`: the answer comes from there");
            let help = "either a fixed answer or another upstream";
            report.error(node.span, Fault::new(message, help));
        }
    }
    None
}

/// Finds the upstreams that fallbacks name, and the circles that they would make.
pub(super) fn resolve(root: &Fields<'_>, upstreams: &mut [Upstream], report: &mut Report) {
    let written = root.node("upstreams").and_then(Node::map);
    let named: Vec<(usize, &Node)> = written
        .unwrap_or_default()
        .iter()
        .enumerate()
        .filter_map(|(index, (_, node))| {
            let upstream = Fields::new(Some(node), keys::UPSTREAM);
            let breaker = upstream.section("circuit_breaker");
            let place = breaker.section("fallback").node("upstream")?;
            Some((index, place))
        })
        .collect();
    let mut found: Vec<Option<usize>> = vec![None; upstreams.len()];
    let names = Names::of_upstreams(upstreams);
    for (index, place) in &named {
        let Some(scalar) = place.scalar() else {
            continue;
        };
        found[*index] = names.find(place, &scalar.text, scalar.shown(), report);
    }
    for (index, place) in named {
        if let Some(other) = found[index]
            && let Some(breaker) = &mut upstreams[index].circuit_breaker
        {
            breaker.fallback = Some(Fallback::Upstream(other));
            refuse_circle(&found, index, place, report);
        }
    }
}

fn refuse_circle(found: &[Option<usize>], from: usize, place: &Node, report: &mut Report) {
    let mut at = found[from];
    // One step more than there are upstreams has met one twice.
    for _ in 0..found.len() {
        match at {
            Some(next) if next == from => {
                let message = "this fallback leads back to its own upstream";
                let help =
                    "the last of several fallbacks is an upstream without one, or a fixed answer";
                report.error(place.span, Fault::new(message, help));
                return;
            }
            Some(next) => at = found[next],
            None => return,
        }
    }
}

//! What is allowed and yet hardly meant: caps smaller than the number of workers, retries that nothing comes of.

use std::num::NonZeroUsize;
use std::thread;

use http::Method;

use super::fields::Fields;
use super::keys;
use super::node::{Node, Span};
use super::report::{Fault, Report};
use super::{Match, RetryOn, retries};

/// Warns of caps below the number of workers (`None` = one per core), over which they are divided.
pub(super) fn warn_of_small_caps(
    root: &Fields<'_>,
    workers: Option<NonZeroUsize>,
    report: &mut Report,
) {
    let workers = workers.or_else(|| thread::available_parallelism().ok());
    let workers = workers.map_or(1, NonZeroUsize::get);
    for listener in root.node("listeners").map(Node::items).unwrap_or_default() {
        let fields = Fields::new(Some(listener), keys::LISTENER);
        warn(
            &fields.section("limits"),
            "connections",
            "with fewer connections than workers, some workers have nothing to do",
            workers,
            report,
        );
    }
    let upstreams = root.node("upstreams").and_then(Node::map);
    for (_, upstream) in upstreams.unwrap_or_default() {
        let fields = Fields::new(Some(upstream), keys::UPSTREAM);
        warn(
            &fields.section("pool"),
            "max_idle_per_endpoint",
            "each worker keeps at least 4, so more are kept than this says",
            workers,
            report,
        );
        warn(
            &fields.section("pool"),
            "max_connections_per_endpoint",
            "a worker without a connection of its own waits for one that another has idle",
            workers,
            report,
        );
    }
}

/// Warns of what a route's `retry` asks for and cannot get. What came from `route_defaults` is meant for other routes
/// too, and is left alone.
pub(super) fn warn_of_vain_retries(
    route: &Fields<'_>,
    matches: &[(Match, Span)],
    report: &mut Report,
) {
    let retry = route.section("retry");
    let (each, all) = (
        retry.duration("per_try_timeout"),
        route.section("timeouts").duration("request"),
    );
    if let (Some(each), Some(all)) = (each, all)
        && each > all
    {
        let message =
            format!("`per_try_timeout` ({each:?}) is longer than the whole request may take");
        let help = format!("`timeouts.request` of this route is {all:?}");
        report.warn(retry.span("per_try_timeout"), Fault::new(message, help));
    }
    let on = retry.node("on").filter(|node| is_within(node, route));
    let vain: Vec<&Node> = on
        .map(Node::items)
        .unwrap_or_default()
        .iter()
        .filter(|item| {
            item.scalar()
                .is_some_and(|word| needs_idempotence(&word.text))
        })
        .collect();
    if let [first, ..] = vain.as_slice()
        && matches.iter().all(|(one, _)| never_repeats(one))
    {
        let message = "this is never tried again here";
        let help = "a request of these methods may have been processed: they are tried again on `connect` and `refused_stream` only";
        report.warn(first.span, Fault::new(message, help));
    }
}

/// Whether a value is written in a route itself.
pub(super) fn is_within(node: &Node, route: &Fields<'_>) -> bool {
    let (span, place) = (node.span, route.place());
    span.file == place.file && (place.line..=place.last_line).contains(&span.line)
}

fn needs_idempotence(word: &str) -> bool {
    let cause = retries::cause(word);
    cause.is_ok_and(|cause| !matches!(cause, RetryOn::Connect | RetryOn::RefusedStream))
}

/// It has methods, of which none is idempotent (RFC 9110, section 9.2.2).
fn never_repeats(one: &Match) -> bool {
    !one.methods.is_empty() && !one.methods.iter().any(Method::is_idempotent)
}

fn warn(fields: &Fields<'_>, name: &str, help: &str, workers: usize, report: &mut Report) {
    // Only what is written: every default is large enough.
    let written = fields.node(name).and_then(|_| fields.number(name));
    // One of 0 was refused.
    if written.is_some_and(|cap| 0 < cap && cap < workers as u64) {
        let message = format!("`{name}` is below the number of workers, which is {workers}");
        report.warn(fields.span(name), Fault::new(message, help));
    }
}

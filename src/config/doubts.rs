//! What is allowed and yet hardly meant: caps so small that a worker gets nothing of them.

use std::num::NonZeroUsize;
use std::thread;

use super::fields::Fields;
use super::keys;
use super::node::Node;
use super::report::{Fault, Report};

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
        warn(&fields.section("limits"), "connections", workers, report);
    }
    let upstreams = root.node("upstreams").and_then(Node::map);
    for (_, upstream) in upstreams.unwrap_or_default() {
        let fields = Fields::new(Some(upstream), keys::UPSTREAM);
        warn(
            &fields.section("pool"),
            "max_idle_per_endpoint",
            workers,
            report,
        );
    }
}

fn warn(fields: &Fields<'_>, name: &str, workers: usize, report: &mut Report) {
    // Only what is written: every default is large enough.
    let written = fields.node(name).and_then(|_| fields.number(name));
    if written.is_some_and(|cap| cap < workers as u64) {
        let message = format!("`{name}` is below the number of workers, which is {workers}");
        let help = "it is divided over the workers, so some of them get none";
        report.warn(fields.span(name), Fault::new(message, help));
    }
}

//! `match.headers` and `match.query`: a value is exact, `{regex: …}` or `{present: …}`.

use http::HeaderName;

use super::ValueMatch;
use super::fields::Fields;
use super::keys;
use super::node::{Key, Node};
use super::report::{Fault, Report, quote};
use super::word;

/// `match.headers`.
pub(super) fn headers(fields: &Fields<'_>, report: &mut Report) -> Vec<(HeaderName, ValueMatch)> {
    let mut all: Vec<(HeaderName, ValueMatch)> = Vec::new();
    for (key, value) in entries(fields, "headers") {
        let Ok(name) = word::field_name(&key.text) else {
            continue;
        };
        if all.iter().any(|(earlier, _)| *earlier == name) {
            let message = format!("the header {} stands here twice", quote(&key.text));
            report.error(key.span, Fault::new(message, "case makes no difference"));
        }
        if let Some(value) = parse(value, report) {
            all.push((name, value));
        }
    }
    all
}

/// `match.query`.
pub(super) fn query(fields: &Fields<'_>, report: &mut Report) -> Vec<(String, ValueMatch)> {
    entries(fields, "query")
        .iter()
        .filter_map(|(key, value)| Some((key.text.clone(), parse(value, report)?)))
        .collect()
}

fn entries<'n>(fields: &Fields<'n>, name: &str) -> &'n [(Key, Node)] {
    fields.node(name).and_then(Node::map).unwrap_or_default()
}

fn parse(node: &Node, report: &mut Report) -> Option<ValueMatch> {
    if let Some(scalar) = node.scalar() {
        return Some(ValueMatch::Exact(scalar.text.clone()));
    }
    let fields = Fields::new(Some(node), keys::VALUE);
    match (fields.written("regex"), fields.written("present")) {
        (Some(pattern), None) => Some(ValueMatch::Regex(pattern.into())),
        (None, Some(_)) => Some(ValueMatch::Present(fields.is_true("present"))),
        (Some(_), Some(_)) => {
            let fault = Fault::new(
                "a value is either `regex` or `present`",
                "what a regular expression matches is present",
            );
            report.error(fields.span("present"), fault);
            None
        }
        (None, None) => {
            if !report.has_error_within(node.span) {
                let help = "an exact value, `{regex: …}` or `{present: true}`";
                report.error(node.span, Fault::new("this asks for nothing", help));
            }
            None
        }
    }
}

//! `match`: what a route answers to, and the name made from it.

use std::collections::HashSet;
use std::fmt::Write as _;

use http::Method;

use super::fields::Fields;
use super::keys;
use super::node::{Node, Span};
use super::report::{Fault, Report, quote};
use super::{Match, PathMatch, path, values, word};

/// The matches of a route; one that matches everything when none is written.
pub(super) fn parse(route: &Fields<'_>, report: &mut Report) -> Vec<(Match, Span)> {
    match route.node("match") {
        None => vec![(Match::default(), route.span("match"))],
        Some(node) => node
            .items()
            .iter()
            .map(|item| (parse_one(item, report), item.span))
            .collect(),
    }
}

fn parse_one(node: &Node, report: &mut Report) -> Match {
    let fields = Fields::new(Some(node), keys::MATCH);
    let mut paths = PATHS.iter().filter(|name| fields.node(name).is_some());
    if let (Some(first), Some(second)) = (paths.next(), paths.next()) {
        let message = format!("a match has either {} or {}", quote(first), quote(second));
        let fault = Fault::new(message, "a list of matches can have both");
        report.error(fields.span(second), fault);
    }
    for name in ["path", "path_prefix"] {
        if fields.written(name).is_some_and(|path| path.contains('*')) {
            let help = "`path_prefix` matches all that is below it, without `*`";
            report.warn(
                fields.span(name),
                Fault::new("`*` is an ordinary character in a path", help),
            );
        }
    }
    Match {
        hosts: each(&fields, "hosts", |text| word::host(text).ok(), report),
        path: parse_path(&fields),
        methods: each(&fields, "methods", |text| word::method(text).ok(), report),
        headers: values::headers(&fields, report),
        query: values::query(&fields, report),
    }
}

const PATHS: [&str; 3] = ["path", "path_prefix", "path_regex"];

fn parse_path(fields: &Fields<'_>) -> PathMatch {
    let written = |name| fields.written(name);
    match (
        written("path"),
        written("path_regex"),
        fields.text("path_prefix"),
    ) {
        (Some(path), _, _) => PathMatch::Exact(path::normalise(path)),
        (None, Some(pattern), _) => PathMatch::Regex(pattern.into()),
        (None, None, Some(prefix)) => PathMatch::Prefix(path::normalise_prefix(prefix)),
        (None, None, None) => PathMatch::default(),
    }
}

/// The key of the first match that is about a whole path, so that no prefix of it could be replaced.
pub(super) fn whole_path(matches: &[(Match, Span)]) -> Option<&'static str> {
    matches.iter().find_map(|(one, _)| match one.path {
        PathMatch::Exact(_) => Some("path"),
        PathMatch::Regex(_) => Some("path_regex"),
        PathMatch::Prefix(_) => None,
    })
}

/// The values of a list, each once.
fn each<T: Clone + Eq + std::hash::Hash>(
    fields: &Fields<'_>,
    name: &str,
    parse: impl Fn(&str) -> Option<T>,
    report: &mut Report,
) -> Vec<T> {
    let mut seen = HashSet::new();
    let mut values = Vec::new();
    for item in fields.node(name).map(Node::items).unwrap_or_default() {
        let Some(scalar) = item.scalar() else {
            continue;
        };
        let Some(value) = parse(&scalar.text) else {
            continue;
        };
        if seen.insert(value.clone()) {
            values.push(value);
        } else {
            report.error(
                item.span,
                Fault::bare(format!("{} is listed twice", quote(scalar.shown()))),
            );
        }
    }
    values
}

/// The name of a route that has none: host, path and method of its first match, `-`, and six hexadecimal digits of
/// a hash of all its matches. At most 63 characters; moving the route changes nothing.
pub(super) fn name(matches: &[(Match, Span)]) -> String {
    let mut text = String::new();
    if let Some((first, _)) = matches.first() {
        let host = first.hosts.first().map(String::as_str).unwrap_or_default();
        let method = first
            .methods
            .first()
            .map(Method::as_str)
            .unwrap_or_default();
        // Writing to a String cannot fail.
        let _ = write!(text, "{host} {} {}", path_text(&first.path), method);
    }
    let mut base = word::slug(&text.to_lowercase());
    base.truncate(word::LONGEST_NAME - 7);
    let base = if base.is_empty() {
        "any"
    } else {
        base.trim_end_matches(['-', '_'])
    };
    let all: Vec<String> = matches.iter().map(|(one, _)| canonical(one)).collect();
    format!(
        "{base}-{:06x}",
        word::fnv1a(all.join("\n").as_bytes()) & 0xff_ffff
    )
}

/// A match as text: equal for matches that mean the same.
pub(super) fn canonical(one: &Match) -> String {
    let mut hosts: Vec<&str> = one.hosts.iter().map(String::as_str).collect();
    let mut methods: Vec<&str> = one.methods.iter().map(Method::as_str).collect();
    hosts.sort_unstable();
    methods.sort_unstable();
    let kind = match one.path {
        PathMatch::Exact(_) => "exact",
        PathMatch::Prefix(_) => "prefix",
        PathMatch::Regex(_) => "regex",
    };
    format!(
        "{} {kind} {} {}{}",
        hosts.join(","),
        path_text(&one.path),
        methods.join(","),
        conditions(one)
    )
}

/// Fields and query as text, in one order; empty without any.
pub(super) fn conditions(one: &Match) -> String {
    let headers = one
        .headers
        .iter()
        .map(|(name, value)| format!(" header {:?} {value:?}", name.as_str()));
    let query = one
        .query
        .iter()
        .map(|(name, value)| format!(" query {name:?} {value:?}"));
    let mut all: Vec<String> = headers.chain(query).collect();
    all.sort_unstable();
    all.concat()
}

fn path_text(path: &PathMatch) -> &str {
    match path {
        PathMatch::Exact(path) | PathMatch::Prefix(path) | PathMatch::Regex(path) => path,
    }
}

//! `match`: what a route answers to, the name made from it, and whether an earlier route leaves it anything.

use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;

use http::Method;

use super::fields::Fields;
use super::keys;
use super::node::{Node, Span};
use super::report::{Fault, Report, quote};
use super::{Match, PathMatch, path, word};

/// The matches of a route; one that matches everything when none is written.
pub(super) fn parse(route: &Fields<'_>, report: &mut Report<'_>) -> Vec<(Match, Span)> {
    match route.node("match") {
        None => vec![(Match::default(), route.span("match"))],
        Some(node) => node
            .items()
            .iter()
            .map(|item| (parse_one(item, report), item.span))
            .collect(),
    }
}

fn parse_one(node: &Node, report: &mut Report<'_>) -> Match {
    let fields = Fields::new(Some(node), keys::MATCH);
    if fields.node("path").is_some() && fields.node("path_prefix").is_some() {
        let fault = Fault::new(
            "a match has either `path` or `path_prefix`",
            "a list of matches can have both",
        );
        report.error(fields.span("path_prefix"), fault);
    }
    let written = fields.written("path");
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
        path: match (written, fields.text("path_prefix")) {
            (Some(path), _) => PathMatch::Exact(path::normalise(path)),
            (None, Some(prefix)) => PathMatch::Prefix(path::normalise_prefix(prefix)),
            (None, None) => PathMatch::default(),
        },
        methods: each(&fields, "methods", |text| word::method(text).ok(), report),
        headers: Vec::new(),
        query: Vec::new(),
    }
}

/// The values of a list, each once.
fn each<T: Clone + Eq + std::hash::Hash>(
    fields: &Fields<'_>,
    name: &str,
    parse: impl Fn(&str) -> Option<T>,
    report: &mut Report<'_>,
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
        fnv1a(all.join("\n").as_bytes()) & 0xff_ffff
    )
}

/// A match as text: equal for matches that mean the same.
fn canonical(one: &Match) -> String {
    let mut hosts: Vec<&str> = one.hosts.iter().map(String::as_str).collect();
    let mut methods: Vec<&str> = one.methods.iter().map(Method::as_str).collect();
    hosts.sort_unstable();
    methods.sort_unstable();
    let kind = if matches!(one.path, PathMatch::Exact(_)) {
        "exact"
    } else {
        "prefix"
    };
    format!(
        "{} {kind} {} {}",
        hosts.join(","),
        path_text(&one.path),
        methods.join(",")
    )
}

fn path_text(path: &PathMatch) -> &str {
    match path {
        PathMatch::Exact(path) | PathMatch::Prefix(path) | PathMatch::Regex(path) => path,
    }
}

/// FNV-1a, 64 bits: the names that it makes must never change.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// The matches of earlier routes.
#[derive(Default)]
pub(super) struct Matches {
    /// Canonical text → place.
    equal: HashMap<String, Span>,
    /// (host, path) → what is taken there. An empty host is "any".
    cells: HashMap<(String, PathMatch), Cell>,
}

/// Which methods earlier routes take at one host and path.
#[derive(Default)]
struct Cell {
    any: bool,
    named: HashSet<Method>,
}

impl Cell {
    /// Nothing is left. A route that names its method goes before one that does not, wherever they stand.
    fn leaves_nothing(&self, methods: &[Method]) -> bool {
        if methods.is_empty() {
            self.any
        } else {
            methods.iter().all(|method| self.named.contains(method))
        }
    }

    fn take(&mut self, methods: &[Method]) {
        self.any |= methods.is_empty();
        self.named.extend(methods.iter().cloned());
    }
}

impl Matches {
    /// Adds a route's matches; `false` if one of them equals an earlier one (reported). A route that can never be
    /// chosen otherwise is warned of.
    pub(super) fn add(
        &mut self,
        matches: &[(Match, Span)],
        route: Span,
        report: &mut Report<'_>,
    ) -> bool {
        let mut is_new = true;
        for (one, span) in matches {
            if let Some(first) = self.equal.get(&canonical(one)) {
                is_new = false;
                let help = format!(
                    "the same match is on line {}, and the earlier one wins",
                    first.line
                );
                report.error(*span, Fault::new("this match is written twice", help));
            } else {
                self.equal.insert(canonical(one), *span);
            }
        }
        if is_new && !matches.is_empty() && matches.iter().all(|(one, _)| self.is_shadowed(one)) {
            let help = "earlier routes with the same path take all of its hosts and methods";
            report.warn(route, Fault::new("this route is never chosen", help));
        }
        for (one, _) in matches {
            for host in hosts(one) {
                self.cells
                    .entry((host.into(), one.path.clone()))
                    .or_default()
                    .take(&one.methods);
            }
        }
        is_new
    }

    fn is_shadowed(&self, one: &Match) -> bool {
        hosts(one).all(|host| {
            let cell = self.cells.get(&(host.to_owned(), one.path.clone()));
            cell.is_some_and(|cell| cell.leaves_nothing(&one.methods))
        })
    }
}

fn hosts(one: &Match) -> impl Iterator<Item = &str> {
    let any = one.hosts.is_empty().then_some("");
    one.hosts.iter().map(String::as_str).chain(any)
}

//! `rewrite`: path and host as the upstream sees them.

use super::fields::Fields;
use super::matches;
use super::node::Span;
use super::report::{Fault, Report, quote};
use super::{Match, Rewrite, RewriteHost, RewritePath, path, pattern, word};

/// The rewrite of a route; nothing when none is written.
pub(super) fn parse(route: &Fields<'_>, matches: &[(Match, Span)], report: &mut Report) -> Rewrite {
    let fields = route.section("rewrite");
    if let Some((key, fault)) = find_fault(&fields, matches) {
        report.error(fields.span(key), fault);
    }
    let host = fields.written("host");
    Rewrite {
        path: parse_path(&fields, report),
        host: host.and_then(|host| match host {
            "upstream" => Some(RewriteHost::Endpoint),
            name => word::authority(name).ok().map(RewriteHost::Name),
        }),
    }
}

const PATHS: [&str; 3] = ["path_prefix", "path", "path_regex"];

fn find_fault(fields: &Fields<'_>, matches: &[(Match, Span)]) -> Option<(&'static str, Fault)> {
    let mut written = PATHS.iter().filter(|name| fields.node(name).is_some());
    if let (Some(first), Some(second)) = (written.next(), written.next()) {
        let message = format!("a rewrite has either {} or {}", quote(first), quote(second));
        return Some((second, Fault::bare(message)));
    }
    let whole = fields
        .node("path_prefix")
        .and(matches::whole_path(matches))?;
    let message = format!(
        "`path_prefix` replaces a prefix, but the match has a whole {}",
        quote(whole)
    );
    Some((
        "path_prefix",
        Fault::new(
            message,
            "`rewrite.path`, `rewrite.path_regex`, or `match.path_prefix`",
        ),
    ))
}

fn parse_path(fields: &Fields<'_>, report: &mut Report) -> Option<RewritePath> {
    if let Some(full) = fields.written("path") {
        return Some(RewritePath::Full(full.into()));
    }
    if let Some(prefix) = fields.written("path_prefix") {
        return Some(RewritePath::Prefix(path::normalise_prefix(prefix)));
    }
    let replacing = fields.section("path_regex");
    let expression = replacing.written("pattern")?;
    let replace = replacing.written("replace")?;
    if let Err(fault) = pattern::check_replacement(expression, replace) {
        report.error(replacing.span("replace"), fault);
    }
    Some(RewritePath::Regex {
        pattern: expression.into(),
        replace: replace.into(),
    })
}

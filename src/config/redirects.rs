//! `redirect`: where the client is sent, and that it is not sent in circles.

use http::StatusCode;

use super::fields::Fields;
use super::matches;
use super::node::Span;
use super::report::{Fault, Report};
use super::respond::status;
use super::{Match, PathMatch, path, word};

/// `routes[].redirect`: what is `None` comes from the request.
#[derive(Clone, Debug, PartialEq)]
pub struct Redirect {
    /// `http` or `https`.
    pub scheme: Option<String>,
    /// Host without port.
    pub host: Option<String>,
    /// Port.
    pub port: Option<u16>,
    /// The new path.
    pub path: Option<RedirectPath>,
    /// 301, 302, 303, 307 or 308.
    pub status: http::StatusCode,
}

/// `redirect.path` or `redirect.path_prefix`.
#[derive(Clone, Debug, PartialEq)]
pub enum RedirectPath {
    /// Replaces the whole path; the query is dropped.
    Full(String),
    /// Replaces what the route's own `path_prefix` matched.
    Prefix(String),
}

/// `redirect`.
pub(super) fn parse(
    route: &Fields<'_>,
    matches: &[(Match, Span)],
    report: &mut Report,
) -> Redirect {
    let fields = route.section("redirect");
    let redirect = Redirect {
        scheme: fields.written("scheme").map(String::from),
        host: fields
            .written("host")
            .and_then(|host| word::plain_host(host).ok()),
        port: fields
            .number("port")
            .and_then(|port| u16::try_from(port).ok()),
        path: redirect_path(&fields),
        status: status(&fields, StatusCode::FOUND),
    };
    if let Some((key, fault)) = redirect_fault(&fields, matches) {
        let span = if key.is_empty() {
            route.span("redirect")
        } else {
            fields.span(key)
        };
        if !report.has_error_within(route.span("redirect")) {
            report.error(span, fault);
        }
    }
    redirect
}

fn redirect_path(fields: &Fields<'_>) -> Option<RedirectPath> {
    match fields.written("path") {
        Some(full) => Some(RedirectPath::Full(full.into())),
        None => fields
            .written("path_prefix")
            .map(|prefix| RedirectPath::Prefix(path::normalise_prefix(prefix))),
    }
}

/// What is wrong with a redirect as a whole, and at which of its keys (empty: at the redirect itself).
fn redirect_fault(fields: &Fields<'_>, matches: &[(Match, Span)]) -> Option<(&'static str, Fault)> {
    let says = |name| fields.node(name).is_some();
    let goes_elsewhere = says("scheme") || says("host") || says("port");
    if !goes_elsewhere && !says("path") && !says("path_prefix") {
        let help = "at least one of `scheme`, `host`, `port`, `path` and `path_prefix`";
        return Some(("", Fault::new("this redirects to the request itself", help)));
    }
    if says("path") && says("path_prefix") {
        return Some((
            "path_prefix",
            Fault::bare("a redirect has either `path` or `path_prefix`"),
        ));
    }
    if let Some(whole) = matches::whole_path(matches).filter(|_| says("path_prefix")) {
        let message =
            format!("`path_prefix` replaces a prefix, but the match has a whole `{whole}`");
        let help = "`redirect.path`, or `match.path_prefix`";
        return Some(("path_prefix", Fault::new(message, help)));
    }
    let target = fields.written("path").map(path::normalise);
    let loops = |one: &PathMatch| match (one, &target) {
        (PathMatch::Exact(path), Some(target)) => path == target,
        _ => false,
    };
    if !goes_elsewhere && matches.iter().any(|(one, _)| loops(&one.path)) {
        return Some((
            "path",
            Fault::bare("this redirects to the request itself, again and again"),
        ));
    }
    None
}

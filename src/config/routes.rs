//! `routes`: what each matches and does; names are unique and no match is written twice.

use std::collections::HashMap;

use bytes::Bytes;
use http::StatusCode;

use super::fields::Fields;
use super::keys;
use super::matches::{self, Matches};
use super::node::{Node, Span};
use super::report::{Fault, Report, quote};
use super::{
    Action, Match, PathMatch, Redirect, RedirectPath, Respond, Route, RouteTimeouts, Upstream,
    path, word,
};

/// All routes, in file order; one without a valid action is left out (it was reported).
pub(super) fn parse(
    root: &Fields<'_>,
    upstreams: &[Upstream],
    report: &mut Report<'_>,
) -> Vec<Route> {
    let upstreams = upstreams
        .iter()
        .enumerate()
        .map(|(index, upstream)| (upstream.name.as_str(), index))
        .collect();
    let mut parser = Parser {
        upstreams,
        names: HashMap::new(),
        matches: Matches::default(),
        report,
    };
    let items = root.node("routes").map(Node::items).unwrap_or_default();
    items.iter().filter_map(|node| parser.parse(node)).collect()
}

struct Parser<'a, 'r, 's> {
    /// Name → index.
    upstreams: HashMap<&'a str, usize>,
    /// Names of earlier routes and their places.
    names: HashMap<String, Span>,
    /// Matches of earlier routes.
    matches: Matches,
    report: &'r mut Report<'s>,
}

impl Parser<'_, '_, '_> {
    fn parse(&mut self, node: &Node) -> Option<Route> {
        node.map()?;
        let fields = Fields::new(Some(node), keys::ROUTE);
        let matches = matches::parse(&fields, self.report);
        let is_new = self.matches.add(&matches, node.span, self.report);
        let name = self.name(&fields, &matches, is_new);
        let timeouts = fields.section("timeouts");
        let overriding = |name| timeouts.node(name).map(|_| timeouts.duration(name));
        Some(Route {
            listeners: Vec::new(),
            rewrite: super::Rewrite::default(),
            request_headers: super::FieldChanges::default(),
            response_headers: super::FieldChanges::default(),
            mirrors: Vec::new(),
            name,
            line: node.span.line,
            action: self.action(&fields, &matches)?,
            timeouts: RouteTimeouts {
                request: timeouts.duration("request"),
                response: overriding("response"),
                body: overriding("body"),
            },
            max_body: fields.size("max_body"),
            matches: matches.into_iter().map(|(one, _)| one).collect(),
        })
    }

    fn name(&mut self, fields: &Fields<'_>, matches: &[(Match, Span)], is_new: bool) -> String {
        let written = fields.written("name");
        let name = written.map_or_else(|| matches::name(matches), String::from);
        let span = fields.span("name");
        match self.names.get(&name) {
            // A name that is none was reported.
            _ if word::check_name(&name).is_err() => {}
            // Equal matches give equal names, and were reported as such.
            Some(_) if written.is_none() && !is_new => {}
            Some(first) => {
                let message = format!("a second route called {}", quote(&name));
                let help = format!(
                    "the first is on line {}; give one another `name`",
                    first.line
                );
                self.report.error(span, Fault::new(message, help));
            }
            None => {
                self.names.insert(name.clone(), span);
            }
        }
        name
    }

    fn action(&mut self, fields: &Fields<'_>, matches: &[(Match, Span)]) -> Option<Action> {
        let written: Vec<_> = ACTIONS
            .iter()
            .filter(|name| fields.node(name).is_some())
            .collect();
        match written.as_slice() {
            [] => {
                let place = fields.place();
                // A misspelt key was reported; that nothing is left then needs no words.
                if !self.report.has_error_within(place) {
                    let help = "exactly one of `upstream`, `respond` and `redirect`";
                    self.report
                        .error(place, Fault::new("this route does nothing", help));
                }
                None
            }
            [one] => match **one {
                "upstream" => self.upstream(fields),
                "respond" => Some(Action::Respond(self.respond(&fields.section("respond")))),
                _ => Some(Action::Redirect(self.redirect(fields, matches))),
            },
            [first, second, ..] => {
                let message = format!("a route has either {} or {}", quote(first), quote(second));
                let help = "exactly one of `upstream`, `respond` and `redirect`";
                self.report
                    .error(fields.span(second), Fault::new(message, help));
                None
            }
        }
    }

    fn upstream(&mut self, fields: &Fields<'_>) -> Option<Action> {
        let name = fields.written("upstream")?;
        if let Some(index) = self.upstreams.get(name) {
            return Some(Action::Upstream(*index));
        }
        // A value that is no name was reported.
        word::check_name(name).ok()?;
        let near = self.report.nearest(name, self.upstreams.keys().copied());
        let help = match near {
            Some(near) => format!("did you mean {}?", quote(near)),
            None if self.upstreams.is_empty() => "this file has no `upstreams`".into(),
            None => "it must be a key of `upstreams`".into(),
        };
        let shown = fields
            .node("upstream")
            .and_then(Node::scalar)
            .map_or(name, |scalar| scalar.shown());
        self.report.error(
            fields.span("upstream"),
            Fault::new(format!("no upstream is called {}", quote(shown)), help),
        );
        None
    }

    fn respond(&mut self, fields: &Fields<'_>) -> Respond {
        let status = status(fields, StatusCode::OK);
        let body = Bytes::copy_from_slice(fields.text("body").unwrap_or_default().as_bytes());
        // RFC 9110, sections 15.3.5, 15.3.6 and 15.4.5.
        if !body.is_empty() && matches!(status.as_u16(), 204 | 205 | 304) {
            let fault = Fault::bare(format!(
                "an answer with status {} has no body",
                status.as_u16()
            ));
            self.report.error(fields.span("body"), fault);
        }
        let mut headers = Vec::new();
        for (key, value) in fields
            .node("headers")
            .and_then(Node::map)
            .unwrap_or_default()
        {
            let Ok(name) = word::header_name(&key.text) else {
                continue;
            };
            if headers.iter().any(|(earlier, _)| *earlier == name) {
                let fault = Fault::new(
                    format!("the header {} is set twice", quote(&key.text)),
                    "a list gives it several values",
                );
                self.report.error(key.span, fault);
            }
            let texts = value.items().iter().filter_map(Node::scalar);
            let values = texts.filter_map(|scalar| word::header_value(&scalar.text).ok());
            headers.extend(values.map(|value| (name.clone(), value)));
        }
        Respond {
            status,
            headers,
            body,
        }
    }

    fn redirect(&mut self, route: &Fields<'_>, matches: &[(Match, Span)]) -> Redirect {
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
            if !self.report.has_error_within(route.span("redirect")) {
                self.report.error(span, fault);
            }
        }
        redirect
    }
}

const ACTIONS: [&str; 3] = ["upstream", "respond", "redirect"];

fn status(fields: &Fields<'_>, otherwise: StatusCode) -> StatusCode {
    let code = fields
        .number("status")
        .and_then(|code| u16::try_from(code).ok());
    code.and_then(|code| StatusCode::from_u16(code).ok())
        .unwrap_or(otherwise)
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
    let exact = |one: &PathMatch| matches!(one, PathMatch::Exact(_));
    if says("path_prefix") && matches.iter().any(|(one, _)| exact(&one.path)) {
        let help = "`redirect.path`, or `match.path_prefix`";
        return Some((
            "path_prefix",
            Fault::new(
                "`path_prefix` replaces a prefix, but the match has a whole `path`",
                help,
            ),
        ));
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

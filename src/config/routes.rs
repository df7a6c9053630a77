//! `routes`: what each matches and does; names are unique and no match is written twice.

use std::collections::HashMap;

use super::fields::Fields;
use super::limit_uses::Limits;
use super::matches;
use super::names::Names;
use super::node::{Node, Span};
use super::report::{Fault, Report, quote};
use super::taken::Taken;
use super::{Action, Listener, Match, Route, RouteTimeouts, Upstream};
use super::{
    changes, doubts, in_flight, keys, redirects, respond, retries, rewrites, targets, websockets,
    word,
};

/// All routes, in file order; one without a valid action is left out (it was reported).
pub(super) fn parse(
    root: &Fields<'_>,
    upstreams: &[Upstream],
    listeners: &[Listener],
    limits: &mut Limits<'_>,
    report: &mut Report,
) -> Vec<Route> {
    let mut parser = Parser {
        limits,
        upstreams: Names::of_upstreams(upstreams),
        listeners: Names::of_listeners(root, listeners),
        names: HashMap::new(),
        taken: Taken::new(listeners.len()),
        report,
    };
    let items = root.node("routes").map(Node::items).unwrap_or_default();
    let routes = items.iter().filter_map(|node| parser.parse(node)).collect();
    parser.check_defaults(root);
    routes
}

struct Parser<'a, 'l, 'r> {
    limits: &'r mut Limits<'l>,
    upstreams: Names<'a>,
    listeners: Names<'a>,
    /// Names of earlier routes and their places.
    names: HashMap<String, Span>,
    /// Matches of earlier routes.
    taken: Taken,
    report: &'r mut Report,
}

impl Parser<'_, '_, '_> {
    fn parse(&mut self, node: &Node) -> Option<Route> {
        node.map()?;
        let fields = Fields::new(Some(node), keys::ROUTE);
        let matches = matches::parse(&fields, self.report);
        let listeners = targets::listeners(&fields, &self.listeners, self.report);
        let is_new = self.taken.add(&matches, &listeners, node.span, self.report);
        let name = self.name(&fields, &matches, is_new);
        let timeouts = fields.section("timeouts");
        let overriding = |name| timeouts.node(name).map(|_| timeouts.duration(name));
        let action = self.action(&fields, &matches);
        let rewrite = rewrites::parse(&fields, &matches, self.report);
        let request_headers = changes::parse(&fields.section("request_headers"), self.report);
        let response_headers = changes::parse(&fields.section("response_headers"), self.report);
        let mirrors = targets::mirrors(&fields, &self.upstreams, self.report);
        let retry = retries::parse(&fields, self.report);
        let websocket = websockets::parse(&fields, self.report);
        let rate_limits = self.limits.uses(&name, &fields, self.report);
        let max_in_flight = in_flight::parse(&fields, self.report);
        self.warn_of_idle_keys(&fields);
        doubts::warn_of_vain_retries(&fields, &matches, self.report);
        Some(Route {
            name,
            file: self.report.name(node.span.file),
            line: node.span.line,
            listeners,
            matches: matches.into_iter().map(|(one, _)| one).collect(),
            action: action?,
            rewrite,
            request_headers,
            response_headers,
            mirrors,
            timeouts: RouteTimeouts {
                request: timeouts.duration("request"),
                response: overriding("response"),
                body: overriding("body"),
            },
            retry,
            websocket,
            rate_limits,
            max_in_flight,
            max_body: fields.size("max_body"),
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
                    "the first is on {}; give one another `name`",
                    self.report.line(*first, span)
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
                "upstream" => targets::upstream(fields, &self.upstreams, self.report),
                "respond" => Some(Action::Respond(respond::parse(
                    &fields.section("respond"),
                    self.report,
                ))),
                _ => Some(Action::Redirect(redirects::parse(
                    fields,
                    matches,
                    self.report,
                ))),
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

    /// Keys for the way to an upstream, on a route that goes to none. What came from `route_defaults` or an anchor is
    /// meant for other routes too.
    fn warn_of_idle_keys(&mut self, fields: &Fields<'_>) {
        if fields.node("upstream").is_some() {
            return;
        }
        for name in ["rewrite", "request_headers", "mirror", "retry", "websocket"] {
            let written = fields.node(name).filter(|_| !fields.is_off(name));
            if written.is_some_and(|node| doubts::is_within(node, fields)) {
                let message = format!("{} does nothing here", quote(name));
                let help = "this route answers itself, and sends nothing to an upstream";
                self.report
                    .warn(fields.span(name), Fault::new(message, help));
            }
        }
    }

    /// Names that `route_defaults` says dangle even where every route says its own.
    fn check_defaults(&mut self, root: &Fields<'_>) {
        let Some(node) = root.node("route_defaults") else {
            return;
        };
        let fields = Fields::new(Some(node), keys::ROUTE);
        targets::listeners(&fields, &self.listeners, self.report);
        targets::upstream(&fields, &self.upstreams, self.report);
        targets::mirrors(&fields, &self.upstreams, self.report);
        self.limits.check_names(&fields, self.report);
    }
}

const ACTIONS: [&str; 3] = ["upstream", "respond", "redirect"];

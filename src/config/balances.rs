//! `upstreams.*.balance`: how an endpoint is chosen.

use std::time::Duration;

use super::fields::Fields;
use super::node::Node;
use super::report::{Fault, Report};

/// `upstreams.*.balance`.
#[derive(Clone, Debug, PartialEq)]
pub enum Balance {
    /// One after the other.
    RoundRobin,
    /// The less loaded of two drawn at random.
    LeastRequests,
    /// Drawn at random.
    Random,
    /// The faster of two drawn at random.
    Latency,
    /// The same endpoint for the same key, whichever gateway is asked.
    Hash(Vec<String>),
    /// The endpoint that a cookie names.
    StickyCookie {
        /// Name of the cookie: a token (RFC 6265, section 4.1.1).
        name: String,
        /// How long the client keeps it; `None` = as long as its session.
        ttl: Option<Duration>,
    },
}

/// The balance of an upstream.
pub(super) fn parse(upstream: &Fields<'_>, report: &mut Report) -> Balance {
    let map = upstream.node("balance").filter(|node| node.map().is_some());
    match (upstream.text("balance"), map) {
        (_, Some(node)) => parse_map(&upstream.section("balance"), node, report),
        (Some("round_robin"), None) => Balance::RoundRobin,
        (Some("random"), None) => Balance::Random,
        (Some("latency"), None) => Balance::Latency,
        _ => Balance::LeastRequests,
    }
}

fn parse_map(fields: &Fields<'_>, node: &Node, report: &mut Report) -> Balance {
    match (fields.node("hash"), fields.node("sticky_cookie")) {
        (Some(key), None) => Balance::Hash(parse_key(key)),
        (None, Some(_)) => {
            let cookie = fields.section("sticky_cookie");
            Balance::StickyCookie {
                name: cookie.text("name").unwrap_or_default().into(),
                ttl: cookie.duration("ttl"),
            }
        }
        (Some(_), Some(_)) => {
            let message = "a balance is either `hash` or `sticky_cookie`";
            let help = "a request without the cookie goes to the endpoint with the fewest requests";
            report.error(fields.span("sticky_cookie"), Fault::new(message, help));
            Balance::LeastRequests
        }
        (None, None) => {
            if !report.has_error_within(node.span) {
                let help = "`{hash: client_ip}` or `{sticky_cookie: {name: …}}`";
                report.error(node.span, Fault::new("this map chooses nothing", help));
            }
            Balance::LeastRequests
        }
    }
}

fn parse_key(node: &Node) -> Vec<String> {
    let parts = node.items().iter().filter_map(Node::scalar);
    parts.map(|scalar| scalar.text.clone()).collect()
}

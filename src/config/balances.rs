//! `upstreams.*.balance`: how an endpoint is chosen.

use std::time::Duration;

use super::fields::Fields;
use super::nearest::nearest;
use super::node::Node;
use super::report::{Fault, Report, quote};
use crate::http::key::{self, Key, Part};

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
    Hash(Key),
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
        (Some(key), None) => Balance::Hash(parse_key(key, report)),
        (None, Some(_)) => {
            let cookie = fields.section("sticky_cookie");
            Balance::StickyCookie {
                name: cookie.text("name").unwrap_or_default().into(),
                ttl: cookie.duration("ttl"),
            }
        }
        (Some(_), Some(_)) => {
            let message = "a balance is either `hash` or `sticky_cookie`";
            let help = "exactly one of the two";
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

/// A key: one part, or a list of them.
pub(super) fn parse_key(node: &Node, report: &mut Report) -> Key {
    let mut parts = Vec::new();
    for item in node.items() {
        let Some(scalar) = item.scalar() else {
            continue;
        };
        let Ok(part) = key_part(&scalar.text) else {
            continue;
        };
        if parts.contains(&part) {
            let message = format!("{} is listed twice", quote(scalar.shown()));
            report.error(item.span, Fault::bare(message));
        }
        parts.push(part);
    }
    Key::new(parts)
}

/// One part of a key: `client_ip`, `header:X-Tenant`.
pub(super) fn key_part(text: &str) -> Result<Part, Fault> {
    Key::parse_part(text).map_err(|fault| {
        let near = fault.unknown_word().and_then(|word| {
            let words = key::WORDS.iter().map(|word| word.trim_end_matches(':'));
            nearest(word, words)
        });
        let help = match near {
            Some(near) => format!("did you mean {}? {}", quote(near), fault.help()),
            None => fault.help(),
        };
        Fault::new(fault.message(), help)
    })
}

//! `dns`: how host names of endpoints are resolved.

use std::net::SocketAddr;
use std::time::Duration;

use super::address;
use super::fields::Fields;
use super::node::Node;
use super::report::{Fault, Report, quote};

/// `dns`.
#[derive(Clone, Debug, PartialEq)]
pub struct Dns {
    /// Resolvers, in the order in which they are asked; empty = those of `/etc/resolv.conf`.
    pub servers: Vec<SocketAddr>,
    /// Shorter times to live are raised to this.
    pub min_ttl: Duration,
    /// Longer ones are lowered to this; at least `min_ttl`.
    pub max_ttl: Duration,
    /// How long an answer may take.
    pub timeout: Duration,
}

/// The section `dns`.
pub(super) fn parse(fields: &Fields<'_>, report: &mut Report) -> Dns {
    let min_ttl = fields.duration("min_ttl").unwrap_or_default();
    let max_ttl = fields.duration("max_ttl").unwrap_or_default();
    if min_ttl > max_ttl {
        let key = if fields.node("min_ttl").is_some() {
            "min_ttl"
        } else {
            "max_ttl"
        };
        let message = format!("`min_ttl` ({min_ttl:?}) is longer than `max_ttl` ({max_ttl:?})");
        let help = "times to live are kept between the two: a `min_ttl` of at most `max_ttl`";
        report.error(fields.span(key), Fault::new(message, help));
    }
    Dns {
        servers: parse_servers(fields, report),
        min_ttl,
        max_ttl,
        timeout: fields.duration("timeout").unwrap_or_default(),
    }
}

fn parse_servers(fields: &Fields<'_>, report: &mut Report) -> Vec<SocketAddr> {
    let mut servers = Vec::new();
    for item in fields.node("servers").map(Node::items).unwrap_or_default() {
        let Some(scalar) = item.scalar() else {
            continue;
        };
        let Ok(server) = address::resolver(&scalar.text) else {
            continue;
        };
        if servers.contains(&server) {
            let message = format!("{} is listed twice", quote(scalar.shown()));
            report.error(item.span, Fault::bare(message));
        }
        servers.push(server);
    }
    servers
}

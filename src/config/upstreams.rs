//! `upstreams`: named groups of endpoints, no endpoint twice in one.

use std::collections::HashMap;
use std::net::SocketAddr;

use super::fields::Fields;
use super::keys;
use super::node::{Node, Span};
use super::report::{Fault, Report};
use super::{Balance, PoolPolicy, Upstream, UpstreamTimeouts, address};

/// All upstreams, in file order.
pub(super) fn parse(root: &Fields<'_>, report: &mut Report) -> Vec<Upstream> {
    let entries = root
        .node("upstreams")
        .and_then(Node::map)
        .unwrap_or_default();
    entries
        .iter()
        .map(|(key, node)| parse_upstream(&key.text, node, report))
        .collect()
}

fn parse_upstream(name: &str, node: &Node, report: &mut Report) -> Upstream {
    let fields = Fields::new(Some(node), keys::UPSTREAM);
    let pool = fields.section("pool");
    let idle = pool
        .number("max_idle_per_endpoint")
        .and_then(|n| usize::try_from(n).ok());
    Upstream {
        name: name.into(),
        endpoints: parse_endpoints(&fields, report),
        balance: match fields.text("balance") {
            Some("round_robin") => Balance::RoundRobin,
            _ => Balance::LeastRequests,
        },
        timeouts: parse_timeouts(&fields.section("timeouts")),
        pool: PoolPolicy {
            max_idle_per_endpoint: idle.unwrap_or_default(),
            max_age: pool.duration("max_age"),
        },
    }
}

fn parse_endpoints(fields: &Fields<'_>, report: &mut Report) -> Vec<SocketAddr> {
    let mut seen: HashMap<SocketAddr, Span> = HashMap::new();
    let mut endpoints = Vec::new();
    for item in fields
        .node("endpoints")
        .map(Node::items)
        .unwrap_or_default()
    {
        let url = item.find("url").unwrap_or(item);
        let Some(address) = url
            .scalar()
            .and_then(|scalar| address::endpoint(&scalar.text).ok())
        else {
            continue;
        };
        if let Some(first) = seen.insert(address, url.span) {
            let help = format!("it is first listed on {}", report.line(first, url.span));
            report.error(
                url.span,
                Fault::new(format!("the endpoint `{address}` is listed twice"), help),
            );
        }
        endpoints.push(address);
    }
    endpoints
}

fn parse_timeouts(fields: &Fields<'_>) -> UpstreamTimeouts {
    UpstreamTimeouts {
        connect: fields.duration("connect"),
        response: fields.duration("response"),
        body: fields.duration("body"),
        idle: fields.duration("idle"),
    }
}

//! `upstreams`: named groups of endpoints and how they are used.

use std::time::Duration;

use super::fields::Fields;
use super::keys;
use super::node::Node;
use super::report::Report;
use super::tls::Named;
use super::{
    Balance, CircuitBreaker, Endpoint, Health, balances, breakers, endpoints, health, upstream_tls,
};

/// One entry of `upstreams`.
#[derive(Clone, Debug, PartialEq)]
pub struct Upstream {
    /// Its key in the map.
    pub name: String,
    /// Never empty; no host with one port twice; not all of weight 0.
    pub endpoints: Vec<Endpoint>,
    /// How one is chosen.
    pub balance: Balance,
    /// Deadlines of attempts.
    pub timeouts: UpstreamTimeouts,
    /// Bounds of connections.
    pub pool: PoolPolicy,
    /// Bounds retries, of all routes together; `None` = off.
    pub retry_budget: Option<RetryBudget>,
    /// Most requests at once; `None` = off.
    pub max_in_flight: Option<u32>,
    /// Where more of them wait.
    pub queue: Queue,
    /// When it is left alone; `None` = off.
    pub circuit_breaker: Option<CircuitBreaker>,
    /// Who of the endpoints serves, and who stands in for them.
    pub health: Health,
}

/// `upstreams.*.timeouts`; `None` = off.
#[derive(Clone, Debug, PartialEq)]
pub struct UpstreamTimeouts {
    /// TCP connect.
    pub connect: Option<Duration>,
    /// From the last request byte sent to the answer's head.
    pub response: Option<Duration>,
    /// No byte in either direction after the head.
    pub body: Option<Duration>,
    /// Pooled connection without a request.
    pub idle: Option<Duration>,
}

/// `upstreams.*.pool`.
#[derive(Clone, Debug, PartialEq)]
pub struct PoolPolicy {
    /// Idle connections to one endpoint, over all workers.
    pub max_idle_per_endpoint: usize,
    /// A connection older than this takes no further request; `None` = off.
    pub max_age: Option<Duration>,
    /// Connections to one endpoint, idle and busy, over all workers, at least 1; `None` = off.
    pub max_connections_per_endpoint: Option<usize>,
}

/// `upstreams.*.queue`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Queue {
    /// Most requests that wait; 0 = none.
    pub size: u32,
    /// How long one waits.
    pub timeout: Duration,
}

/// `upstreams.*.retry_budget`: retries are at most a share of requests, or so many each second if that is more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryBudget {
    /// Retries allowed for each million requests.
    pub per_million: u32,
    /// Retries allowed each second, however few the requests.
    pub min_per_second: u32,
}

/// All upstreams, in file order.
pub(super) fn parse(
    root: &Fields<'_>,
    named: &mut Named<'_>,
    report: &mut Report,
) -> Vec<Upstream> {
    let entries = root
        .node("upstreams")
        .and_then(Node::map)
        .unwrap_or_default();
    let mut upstreams: Vec<Upstream> = entries
        .iter()
        .map(|(key, node)| parse_upstream(&key.text, node, named, report))
        .collect();
    breakers::resolve(root, &mut upstreams, report);
    health::join(root, &mut upstreams, report);
    upstreams
}

fn parse_upstream(name: &str, node: &Node, named: &mut Named<'_>, report: &mut Report) -> Upstream {
    let fields = Fields::new(Some(node), keys::UPSTREAM);
    let mut endpoints = endpoints::parse(&fields, report);
    upstream_tls::apply(&fields, &mut endpoints, named, report);
    Upstream {
        name: name.into(),
        endpoints,
        balance: balances::parse(&fields, report),
        timeouts: parse_timeouts(&fields.section("timeouts")),
        pool: parse_pool(&fields.section("pool")),
        retry_budget: parse_budget(&fields),
        max_in_flight: small(&fields, "max_in_flight"),
        queue: parse_queue(&fields.section("queue")),
        circuit_breaker: breakers::parse(&fields, report),
        health: health::parse(&fields, report),
    }
}

fn parse_timeouts(fields: &Fields<'_>) -> UpstreamTimeouts {
    UpstreamTimeouts {
        connect: fields.duration("connect"),
        response: fields.duration("response"),
        body: fields.duration("body"),
        idle: fields.duration("idle"),
    }
}

fn parse_pool(fields: &Fields<'_>) -> PoolPolicy {
    let number = |name| fields.number(name).and_then(|n| usize::try_from(n).ok());
    PoolPolicy {
        max_idle_per_endpoint: number("max_idle_per_endpoint").unwrap_or_default(),
        max_age: fields.duration("max_age"),
        max_connections_per_endpoint: number("max_connections_per_endpoint"),
    }
}

fn parse_queue(fields: &Fields<'_>) -> Queue {
    Queue {
        size: small(fields, "size").unwrap_or_default(),
        timeout: fields.duration("timeout").unwrap_or_default(),
    }
}

fn small(fields: &Fields<'_>, name: &str) -> Option<u32> {
    fields.number(name).and_then(|n| u32::try_from(n).ok())
}

fn parse_budget(upstream: &Fields<'_>) -> Option<RetryBudget> {
    if upstream.is_off("retry_budget") {
        return None;
    }
    let fields = upstream.section("retry_budget");
    let min = fields.number("min_per_second");
    Some(RetryBudget {
        per_million: fields.share("percent").unwrap_or_default(),
        min_per_second: min.and_then(|n| u32::try_from(n).ok()).unwrap_or_default(),
    })
}

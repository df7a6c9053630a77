//! (configuration, addresses of names, previous snapshot) → snapshot. Total: what is wrong was found before; no I/O.

use std::sync::Arc;
use std::time::Duration;

use http::header::{HeaderMap, HeaderValue};
use regex::Regex;

use super::breaking::breaking;
use super::carry::Carry;
use super::endpoints::{places, settle};
use super::health;
use super::limits::{self, ByName};
use super::places::place;
use super::{
    Action, Forward, Listener, ListenerLimits, ListenerTimeouts, ListenerTls, OwnTimeouts, Route,
    Snapshot, Target,
};
use crate::config::{self, Config, Protocols};
use crate::filter::fields::FieldChanges;
use crate::filter::limit::Used;
use crate::filter::redirect::Redirect;
use crate::filter::rewrite::Rewrite;
use crate::filter::split::Split;
use crate::http::forwarded::Networks;
use crate::route::{PathPattern, Pattern, Table};
use crate::telemetry::access_log::{Piece, Shape};
use crate::time::Nanos;
use crate::tls::Tickets;
use crate::upstream::balance::{Balancer, Sticky, Way};
use crate::upstream::budget::BudgetPolicy;
use crate::upstream::bulkhead::BulkheadPolicy;
use crate::upstream::names::Addresses;
use crate::upstream::serving::{Roster, ServingPolicy};
use crate::upstream::{PoolPolicy, Timeouts, Upstream, retry};

/// Fewer idle connections for each worker would make it dial for every other request.
const MIN_IDLE: usize = 4;

/// `stream_stable_after` of an upstream without a breaker.
const STABLE_AFTER: Duration = Duration::from_secs(1);

/// What a snapshot depends on beside the file.
#[derive(Clone, Copy, Debug)]
pub struct Ground {
    /// Worker threads.
    pub workers: usize,
    /// The default of `limits.connections`, from the open-file limit.
    pub connections: usize,
    /// The present moment.
    pub now: Nanos,
}

/// Compiles `config` with the `addresses` that its names have, taking over the state of `previous`.
#[must_use]
pub fn compile(
    config: &Config,
    addresses: &Addresses,
    previous: Option<&Snapshot>,
    ground: Ground,
) -> Snapshot {
    let mut carry = Carry::succeed(previous.map(|p| &p.carry), ground.now);
    let workers = ground.workers;
    let upstreams: Vec<Arc<Upstream>> = config
        .upstreams
        .iter()
        .map(|u| {
            Arc::new(upstream(
                u,
                &config.upstreams,
                addresses,
                &mut carry,
                workers,
            ))
        })
        .collect();
    let stores = limits::stores(config, &mut carry);
    let limits = limits::limits(config, &stores, &mut carry, workers, ground.now);
    let by_name = ByName::new(&limits);
    let routes = config
        .routes
        .iter()
        .map(|r| {
            let limits = limits::used(config, &r.rate_limits, &by_name);
            route(r, limits, &upstreams, &mut carry, workers)
        })
        .collect();
    Snapshot {
        generation: previous.map_or(1, |p| p.generation + 1),
        listeners: listeners(config, &by_name, &mut carry, previous, ground),
        table: Arc::new(Table::new(patterns(config, &mut carry, workers))),
        routes,
        upstreams,
        limits,
        stores,
        limits_memory: config.limits_memory,
        unrouted: carry.route(crate::metrics::NO_ROUTE, workers),
        show_detail: config.errors == config::ErrorDetail::Full,
        access_log: config.logging.access.as_ref().map(log_shape),
        carry,
    }
}

fn patterns(config: &Config, carry: &mut Carry, workers: usize) -> Vec<(Pattern, Target)> {
    let numbers: Vec<u16> = config
        .listeners
        .iter()
        .map(|l| carry.listener(&l.name, workers).number)
        .collect();
    let mut patterns = Vec::new();
    for (index, route) in config.routes.iter().enumerate() {
        for m in &route.matches {
            let (path, prefix) = match &m.path {
                config::PathMatch::Exact(path) => (PathPattern::Exact(path.clone()), 0),
                config::PathMatch::Prefix(path) if path == "/" => {
                    (PathPattern::Prefix(path.clone()), 0)
                }
                config::PathMatch::Prefix(path) => (PathPattern::Prefix(path.clone()), path.len()),
                config::PathMatch::Regex(text) => (PathPattern::Regex(text.clone()), 0),
            };
            let pattern = Pattern {
                listeners: route.listeners.iter().map(|l| numbers[*l]).collect(),
                hosts: m.hosts.clone(),
                path,
                methods: m.methods.clone(),
                headers: m.headers.clone(),
                query: m.query.clone(),
            };
            patterns.push((
                pattern,
                Target {
                    route: number(index),
                    prefix: number(prefix),
                },
            ));
        }
    }
    patterns
}

fn number(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

pub(super) fn upstream(
    u: &config::Upstream,
    all: &[config::Upstream],
    addresses: &Addresses,
    carry: &mut Carry,
    workers: usize,
) -> Upstream {
    let probe = u.health.check.as_ref().map(health::probe);
    let places = places(u, addresses);
    let endpoints = settle(&places, &u.name, probe.as_ref(), carry, workers);
    Upstream {
        name: u.name.clone(),
        balancer: Balancer::new(&way(&u.balance), &endpoints),
        endpoints,
        timeouts: Timeouts {
            connect: u.timeouts.connect,
            response: u.timeouts.response,
            body: u.timeouts.body,
        },
        pool: PoolPolicy {
            max_idle: (u.pool.max_idle_per_endpoint / workers.max(1)).max(MIN_IDLE),
            max_connections: u.pool.max_connections_per_endpoint,
            idle: u.timeouts.idle,
            max_age: u.pool.max_age,
        },
        budget: u.retry_budget.as_ref().map(|budget| BudgetPolicy {
            per_million: budget.per_million,
            min_per_second: budget.min_per_second,
        }),
        bulkhead: u.max_in_flight.map(|limit| BulkheadPolicy {
            limit,
            queue: u.queue.size,
            timeout: u.queue.timeout,
        }),
        ejection: u.health.ejection.as_ref().map(health::ejection),
        probe,
        serving: ServingPolicy {
            panic_below: u.health.panic_below,
            slow_start: u.health.slow_start,
        },
        roster: Roster::default(),
        failover: health::stand_ins(u, all),
        stable_after: (u.circuit_breaker.as_ref()).map_or(STABLE_AFTER, |b| b.stream_stable_after),
        breaking: u.circuit_breaker.as_ref().map(breaking),
        state: carry.upstream(&u.name, workers),
    }
}

fn way(balance: &config::Balance) -> Way {
    match balance {
        config::Balance::RoundRobin => Way::RoundRobin,
        config::Balance::LeastRequests => Way::LeastRequests,
        config::Balance::Random => Way::Random,
        config::Balance::Latency => Way::Latency,
        config::Balance::Hash(key) => Way::Hash(key.clone()),
        config::Balance::StickyCookie { name, ttl } => Way::StickyCookie(Sticky {
            name: name.clone(),
            ttl: *ttl,
        }),
    }
}

fn route(
    r: &config::Route,
    rate_limits: Arc<[Used]>,
    upstreams: &[Arc<Upstream>],
    carry: &mut Carry,
    workers: usize,
) -> Route {
    let action = match &r.action {
        config::Action::Upstream(index) => Action::Forward(forward(r, &[(*index, 1)], upstreams)),
        config::Action::Weighted(weights) => Action::Forward(forward(r, weights, upstreams)),
        config::Action::Respond(fixed) => {
            let mut headers = HeaderMap::new();
            for (name, value) in &fixed.headers {
                headers.append(name.clone(), value.clone());
            }
            Action::Respond(fixed.status, headers, fixed.body.clone())
        }
        config::Action::Redirect(to) => Action::Redirect(redirect(to)),
    };
    Route {
        name: r.name.clone(),
        action,
        max_body: r.max_body,
        request_timeout: r.timeouts.request,
        rate_limits,
        max_in_flight: limits::in_flight(r, carry),
        websocket: r.websocket.as_ref().map(|w| super::WebSocket {
            origins: w.origins.clone(),
            idle: w.idle_timeout,
        }),
        response_fields: changes(&r.response_headers),
        stats: carry.route(&r.name, workers),
    }
}

fn forward(r: &config::Route, weights: &[(usize, u32)], upstreams: &[Arc<Upstream>]) -> Forward {
    let timeouts = OwnTimeouts {
        response: r.timeouts.response,
        body: r.timeouts.body,
    };
    let branch = |(index, _): &(usize, u32)| (*index, timeouts.over(upstreams[*index].timeouts));
    Forward {
        branches: weights.iter().map(branch).collect(),
        timeouts: Box::new(timeouts),
        split: Split::new(
            &weights
                .iter()
                .map(|(_, weight)| *weight)
                .collect::<Vec<_>>(),
        ),
        retry: retry(&r.retry),
        rewrite: rewrite(&r.rewrite),
        request_fields: changes(&r.request_headers),
        mirrors: r
            .mirrors
            .iter()
            .map(|m| (m.upstream, m.per_million))
            .collect(),
    }
}

fn retry(r: &config::Retry) -> retry::Policy {
    let cause = |on: &config::RetryOn| match on {
        config::RetryOn::Connect => retry::Cause::Connect,
        config::RetryOn::RefusedStream => retry::Cause::RefusedStream,
        config::RetryOn::Reset => retry::Cause::Reset,
        config::RetryOn::Timeout => retry::Cause::Timeout,
        config::RetryOn::Status(status) => retry::Cause::Status(*status),
    };
    retry::Policy {
        attempts: r.attempts,
        causes: r.on.iter().map(cause).collect(),
        per_try_timeout: r.per_try_timeout,
        base: r.backoff.base,
        max: r.backoff.max,
    }
}

fn rewrite(r: &config::Rewrite) -> Option<Rewrite> {
    use crate::filter::rewrite::{Host, Path};
    let path = r.path.as_ref().and_then(|path| match path {
        config::RewritePath::Full(path) => Some(Path::Full(path.clone())),
        config::RewritePath::Prefix(path) => Some(Path::Prefix(path.clone())),
        // It was compiled once to be checked: the second time cannot fail.
        config::RewritePath::Regex { pattern, replace } => Regex::new(pattern)
            .ok()
            .map(|pattern| Path::Regex(pattern, replace.clone())),
    });
    let host = r.host.as_ref().and_then(|host| match host {
        config::RewriteHost::Name(name) => HeaderValue::from_str(name).ok().map(Host::Name),
        config::RewriteHost::Endpoint => Some(Host::Endpoint),
    });
    (path.is_some() || host.is_some()).then_some(Rewrite { path, host })
}

fn changes(c: &config::FieldChanges) -> Option<FieldChanges> {
    let said = !(c.remove.is_empty() && c.set.is_empty() && c.add.is_empty());
    said.then(|| FieldChanges {
        remove: c.remove.clone(),
        set: c.set.clone(),
        add: c.add.clone(),
    })
}

fn redirect(to: &config::Redirect) -> Redirect {
    use crate::filter::redirect::Path;
    Redirect {
        scheme: to.scheme.clone(),
        host: to.host.clone(),
        port: to.port,
        path: match &to.path {
            None => Path::Kept,
            Some(config::RedirectPath::Full(path)) => Path::Full(path.clone()),
            Some(config::RedirectPath::Prefix(path)) => Path::Prefix(path.clone()),
        },
        status: to.status,
    }
}

/// Session tickets outlive a renewal of certificates, and end with the trust by which their clients were verified.
fn secure(
    name: &str,
    tls: &config::Tls,
    protocols: Protocols,
    previous: Option<&Snapshot>,
) -> ListenerTls {
    let before = previous
        .and_then(|snapshot| snapshot.listeners.iter().find(|l| l.name == *name))
        .and_then(|listener| listener.tls.as_ref())
        .filter(|before| before.policy.trusts_as(&tls.policy));
    let tickets = before.map_or_else(Tickets::new, |before| before.tickets.clone());
    ListenerTls {
        server: tls.policy.serve(&tickets, &offered(protocols)),
        policy: tls.policy.clone(),
        tickets,
    }
}

/// What is offered by ALPN, the better first (RFC 7301).
fn offered(protocols: Protocols) -> Vec<&'static [u8]> {
    let http2 = protocols.http2.then_some(&b"h2"[..]);
    let http1: &[&[u8]] = if protocols.http1 {
        &[b"http/1.1", b"http/1.0"]
    } else {
        &[]
    };
    http2.into_iter().chain(http1.iter().copied()).collect()
}

pub(super) fn listeners(
    config: &Config,
    limits: &ByName<'_>,
    carry: &mut Carry,
    previous: Option<&Snapshot>,
    ground: Ground,
) -> Vec<Arc<Listener>> {
    let listeners: Vec<Listener> = config
        .listeners
        .iter()
        .map(|l| {
            let state = carry.listener(&l.name, ground.workers);
            let (t, bounds) = (&l.timeouts, &l.limits);
            Listener {
                name: l.name.clone(),
                number: state.number,
                bind: l.bind.clone(),
                is_gone: false,
                is_narrowed: false,
                trusted: Networks::new(&l.trusted_proxies.networks),
                proxy_protocol: l.proxy_protocol,
                tls: l
                    .tls
                    .as_ref()
                    .map(|tls| secure(&l.name, tls, l.protocols, previous)),
                protocols: l.protocols,
                timeouts: ListenerTimeouts {
                    first_byte: t.first_byte,
                    request_head: t.request_head,
                    request_body: t.request_body,
                    write: t.write,
                    idle: t.idle,
                    tls_handshake: t.tls_handshake,
                },
                limits: ListenerLimits {
                    min_body_rate: bounds
                        .min_body_rate
                        .map(|rate| (rate.bytes_per_second, rate.after)),
                    connections: bounds.connections.unwrap_or(Some(ground.connections)),
                    connections_per_ip: bounds.connections_per_ip,
                    head_bytes: bounds.head_bytes,
                    headers: bounds.headers,
                    uri_bytes: bounds.uri_bytes,
                    requests_per_connection: bounds.requests_per_connection,
                    h2_streams: bounds.h2_streams,
                },
                rate_limits: limits::used(config, &l.rate_limits, limits),
                stats: state.stats.clone(),
            }
        })
        .collect();
    place(
        listeners,
        previous.map_or(&[], |previous| &previous.listeners),
    )
}

pub(super) fn log_shape(access: &config::AccessLog) -> Shape {
    match &access.format {
        config::LogFormat::Json(fields) => Shape::json(fields, access.sample_per_million),
        config::LogFormat::Text(pieces) => Shape::text(
            pieces.iter().map(|piece| match piece {
                config::LogPiece::Literal(text) => Piece::Literal(text.clone()),
                config::LogPiece::Field(field) => Piece::Field(*field),
            }),
            access.sample_per_million,
        ),
    }
}

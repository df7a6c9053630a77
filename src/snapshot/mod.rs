//! A [`Snapshot`] is a configuration compiled for use: immutable, with everything a request needs reachable by pointer.
//!
//! Policy (numbers) lives here. State (counters, loads) lives behind `Arc`s that successive snapshots share: see `carry`.

mod breaking;
pub mod carry;
pub mod compile;
mod endpoints;
mod health;
mod limits;
mod places;
pub mod readdress;
pub mod shared;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use http::header::HeaderMap;

use crate::config::Protocols;
use crate::filter::fields::FieldChanges;
use crate::filter::in_flight::InFlight;
use crate::filter::limit::{Limit, Used};
use crate::filter::rewrite::Rewrite;
use crate::filter::split::Split;
use crate::http::forwarded::Networks;
use crate::http::origin::Allowed;
use crate::metrics::{ListenerStats, RouteStats};
use crate::route::Table;
use crate::store::Store;
use crate::telemetry::access_log::Shape;
use crate::time::Nanos;
use crate::tls::{Policy, Tickets};
use crate::upstream::{Timeouts, Upstream, retry};
use carry::Carry;

/// One generation of the configuration, with the addresses that its names have at one time.
pub struct Snapshot {
    /// Counts successful loads, from 1. Snapshots that differ in addresses alone have the same.
    pub generation: u64,
    /// By the number that a listener got when it first appeared; one that is gone keeps its place for the connections
    /// that came through it.
    pub listeners: Vec<Arc<Listener>>,
    /// Host, path and method → [`Target`].
    pub table: Arc<Table<Target>>,
    /// In file order.
    pub routes: Arc<[Route]>,
    /// In file order.
    pub upstreams: Vec<Arc<Upstream>>,
    /// Rate limits: those of the file in its order, then those of listeners and routes.
    pub limits: Vec<Arc<Limit>>,
    /// Where limits are that other gateways share.
    pub stores: Vec<Store>,
    /// Most bytes of all their buckets together.
    pub limits_memory: u64,
    /// Counters of requests that match no route.
    pub unrouted: Arc<RouteStats>,
    /// Do answers of our own name upstreams and limits?
    pub show_detail: bool,
    /// How the access log looks; `None` = off.
    pub access_log: Option<Shape>,
    /// State by identity, for the next snapshot.
    pub carry: Carry,
}

impl Snapshot {
    /// Lets what lives beside state hold from `now` on, also for those who walk through an older snapshot: bounds of
    /// connections, quotas, and the memory of buckets.
    pub fn enforce(&self, now: Nanos) {
        self.upstreams
            .iter()
            .for_each(|upstream| upstream.enforce());
        self.carry.room().set(self.limits_memory);
        self.limits.iter().for_each(|limit| limit.enforce(now));
    }

    /// Lets its stores connect that have not begun to, and those rest that the file named once.
    pub fn begin_stores(&self, now: Nanos) {
        self.stores.iter().for_each(|store| store.link().begin());
        for (_, link) in self.carry.stores.alive(now) {
            let is_named = |store: &Store| Arc::ptr_eq(store.link(), link);
            if !self.stores.iter().any(is_named) {
                link.rest();
            }
        }
    }
}

/// What the table answers: a route, and how much of the path its prefix matched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// Index into [`Snapshot::routes`].
    pub route: u32,
    /// Bytes of the path that the route's `path_prefix` stands for; 0 for `/` and for exact paths.
    pub prefix: u32,
}

/// A route, ready to be followed.
pub struct Route {
    /// Its name.
    pub name: String,
    /// What happens to a request.
    pub action: Action,
    /// Most bytes of a request body; `None` = off.
    pub max_body: Option<u64>,
    /// Total time, head to last byte; `None` = off.
    pub request_timeout: Option<Duration>,
    /// Limits, all of which must admit.
    pub rate_limits: Arc<[Used]>,
    /// How many requests it carries at once; `None` = off.
    pub max_in_flight: Option<InFlight>,
    /// How WebSockets are treated; `None` = refused.
    pub websocket: Option<WebSocket>,
    /// Changes to the fields of answers, but for those that tell of a failure.
    pub response_fields: Option<FieldChanges>,
    /// Counters, found by name.
    pub stats: Arc<RouteStats>,
}

/// How a route treats WebSockets.
pub struct WebSocket {
    /// Pages that may connect.
    pub origins: Vec<Allowed>,
    /// No byte either way; `None` = off.
    pub idle: Option<Duration>,
}

/// What a route does.
pub enum Action {
    /// Forwards to an upstream.
    Forward(Forward),
    /// Gives a fixed answer.
    Respond(StatusCode, HeaderMap, Bytes),
    /// Sends the client elsewhere.
    Redirect(crate::filter::redirect::Redirect),
}

/// How a route forwards.
pub struct Forward {
    /// The upstreams, by their index in [`Snapshot::upstreams`], with the route's deadlines; never empty.
    pub branches: Vec<(usize, Timeouts)>,
    /// Chooses between them; `None` where there is one.
    pub split: Option<Split>,
    /// The route's own deadlines.
    pub timeouts: Box<OwnTimeouts>,
    /// What is tried again.
    pub retry: retry::Policy,
    /// Path and host as the upstream sees them.
    pub rewrite: Option<Rewrite>,
    /// Changes to the fields of requests.
    pub request_fields: Option<FieldChanges>,
    /// Upstreams that get a copy: index, and how many of a million requests.
    pub mirrors: Vec<(usize, u32)>,
}

/// A route's deadlines, where it has its own; those may be off.
#[derive(Clone, Copy, Debug)]
pub struct OwnTimeouts {
    /// Until the answer's head.
    pub response: Option<Option<Duration>>,
    /// Silence after it.
    pub body: Option<Option<Duration>>,
}

impl OwnTimeouts {
    /// The deadlines at an upstream whose own are `upstream`.
    #[must_use]
    pub fn over(&self, upstream: Timeouts) -> Timeouts {
        Timeouts {
            connect: upstream.connect,
            response: self.response.unwrap_or(upstream.response),
            body: self.body.unwrap_or(upstream.body),
        }
    }
}

impl Forward {
    /// The branch of the next request.
    #[must_use]
    pub fn pick(&self) -> (usize, Timeouts) {
        let index = self.split.as_ref().map_or(0, Split::pick);
        self.branches[index.min(self.branches.len() - 1)]
    }
}

impl Snapshot {
    /// Who does the work of `upstream` at `now`: itself, or the first of its `failover` that may serve while none of its
    /// own endpoints may. Where nobody may, the one that was meant says so.
    #[must_use]
    #[inline]
    pub fn stand_in(&self, upstream: usize, now: Nanos) -> usize {
        let meant = &self.upstreams[upstream];
        if meant.failover.is_empty() || meant.serves(now) {
            return upstream;
        }
        let mut others = meant.failover.iter().copied();
        let other = others.find(|other| self.upstreams[*other].serves(now));
        other.unwrap_or(upstream)
    }
}

/// A listener's policy. Its sockets live with the workers.
#[derive(Clone)]
pub struct Listener {
    /// Its name.
    pub name: String,
    /// What routes and counters know it by: its place in [`Snapshot::listeners`], but for one that is gone and whose
    /// address another took over.
    pub number: u16,
    /// Where it listens, or listened until it went; port 0 stands for the port that the system chose.
    pub bind: Vec<SocketAddr>,
    /// Is it gone from the configuration? What is left are connections that came through it.
    pub is_gone: bool,
    /// Was an address taken from it, so that some of its connections have to leave?
    pub is_narrowed: bool,
    /// Whose forwarded fields are believed.
    pub trusted: Networks,
    /// Is a PROXY protocol header required?
    pub proxy_protocol: bool,
    /// How HTTPS is served; `None` = clear text.
    pub tls: Option<ListenerTls>,
    /// What is spoken.
    pub protocols: Protocols,
    /// Deadlines of its connections.
    pub timeouts: ListenerTimeouts,
    /// Bounds of its connections.
    pub limits: ListenerLimits,
    /// Limits that hold before routing.
    pub rate_limits: Arc<[Used]>,
    /// Counters, found by name.
    pub stats: Arc<ListenerStats>,
}

/// The TLS of a listener, ready for handshakes. Connections that had theirs keep what they began with.
#[derive(Clone)]
pub struct ListenerTls {
    /// Who gets which certificate, and what is asked of clients.
    pub policy: Arc<Policy>,
    /// The same for rustls.
    pub server: Arc<rustls::ServerConfig>,
    /// What session tickets are sealed with.
    pub tickets: Tickets,
}

/// Deadlines of client connections; `None` = off.
#[derive(Clone, Copy, Debug)]
pub struct ListenerTimeouts {
    /// A new connection that says nothing.
    pub first_byte: Option<Duration>,
    /// The whole head, from its first byte.
    pub request_head: Option<Duration>,
    /// Longest gap between two reads of the body.
    pub request_body: Option<Duration>,
    /// Longest time without progress while we write.
    pub write: Option<Duration>,
    /// Keep-alive connection without a request.
    pub idle: Option<Duration>,
    /// The whole TLS handshake.
    pub tls_handshake: Option<Duration>,
}

/// Bounds of client connections; `None` = off.
#[derive(Clone, Copy, Debug)]
pub struct ListenerLimits {
    /// Bytes per second of an upload, after this much waiting.
    pub min_body_rate: Option<(u64, Duration)>,
    /// Connections of all listeners together.
    pub connections: Option<usize>,
    /// Connections of one client address.
    pub connections_per_ip: Option<usize>,
    /// Bytes of a request head.
    pub head_bytes: usize,
    /// Fields of a request head.
    pub headers: usize,
    /// Bytes of a request target.
    pub uri_bytes: usize,
    /// Requests on one connection.
    pub requests_per_connection: Option<u64>,
    /// Streams that one HTTP/2 connection may have open at a time.
    pub h2_streams: u32,
}

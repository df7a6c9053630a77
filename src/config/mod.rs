//! The meaning of the file, already typed: once a [`Config`] exists, nothing in it is wrong.
//!
//! `read` makes of YAML a tree in which every value knows its place; `keys` is the one table of keys, defaults and
//! meanings, [`schema`] says what a row of it is; `check` holds the tree against the table, and `parse` turns it
//! into these types. Both go on after a fault, so that one report has every [`Problem`].

mod address;
mod balances;
mod bind_places;
mod breakers;
mod changes;
mod check;
mod defaults;
mod disk;
mod dns;
mod doubts;
mod endpoints;
mod expand;
mod fields;
mod gather;
mod health;
mod in_flight;
mod json_schema;
mod keys;
mod keys_breaker;
mod keys_health;
mod keys_later;
mod keys_limits;
mod keys_resilience;
mod limit_uses;
mod listeners;
mod load;
mod log_line;
mod matches;
mod merge;
mod names;
mod nearest;
mod node;
mod origin;
mod parse;
mod path;
mod pattern;
mod pending;
mod problem;
mod rate_limits;
mod read;
mod redirects;
mod report;
mod respond;
mod retries;
mod rewrites;
mod routes;
mod scalar;
pub mod schema;
mod source;
mod stores;
mod taken;
mod targets;
#[cfg(test)]
mod tests;
mod tls;
mod upstream_tls;
mod upstreams;
mod values;
mod websockets;
mod word;

pub use balances::Balance;
pub use bind_places::BindPlaces;
pub use breakers::{BreakerRate, BreakerScope, CircuitBreaker, Fallback};
pub use dns::Dns;
pub use endpoints::{Endpoint, EndpointHost};
pub use health::{Ejection, Health, HealthCheck};
pub use in_flight::InFlight;
pub use json_schema::json_schema;
pub use limit_uses::UsedLimit;
pub use load::{Loaded, Reading, load, parse_text, read, read_again, read_text};
pub use origin::Origin;
pub use pending::not_yet_in_force;
pub use problem::{Problem, Severity, render};
pub use rate_limits::{Cost, LimitHeaders, MissingKey, OnStoreFailure, Rate, RateLimit, StoreUse};
pub use redirects::{Redirect, RedirectPath};
pub use respond::Respond;
pub use retries::{Backoff, Retry, RetryOn};
pub use stores::{RedisUrl, Store};
pub use tls::{CertificateFiles, FileInForce, FilesInForce, PairInForce, Tls};
pub use upstreams::{PoolPolicy, Queue, RetryBudget, Upstream, UpstreamTimeouts};
pub use websockets::WebSocket;

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

pub use crate::route::ValueMatch;
pub use crate::telemetry::access_log::{LogField, LogPath};

/// Everything `gateway.yaml` says, with defaults filled in and every name resolved.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Worker threads; `None` = one per core that the process may use.
    pub workers: Option<NonZeroUsize>,
    /// How host names of endpoints are resolved.
    pub dns: Dns,
    /// Where requests come in. Never empty.
    pub listeners: Vec<Listener>,
    /// The operator's port; `None` when `admin: off`.
    pub admin: Option<Admin>,
    /// Named groups of endpoints, in file order.
    pub upstreams: Vec<Upstream>,
    /// Routes in file order.
    pub routes: Vec<Route>,
    /// What SIGTERM does.
    pub drain: Drain,
    /// The control log and the access log.
    pub logging: Logging,
    /// How much an answer of our own tells.
    pub errors: ErrorDetail,
    /// The entries of `stores`, in file order.
    pub stores: Vec<Store>,
    /// The entries of `rate_limits` in file order, then those that listeners and routes write themselves.
    pub rate_limits: Vec<RateLimit>,
    /// Most bytes of all buckets together.
    pub limits_memory: u64,
    /// The files of authorities, and of pairs that upstreams are shown, as they are in force.
    pub files: Vec<FileInForce>,
}

/// One entry of `listeners`.
#[derive(Clone, Debug, PartialEq)]
pub struct Listener {
    /// `name`, or made from the first bind. Unique.
    pub name: String,
    /// Addresses to bind; never empty. Port 0 asks the system for a free one.
    pub bind: Vec<SocketAddr>,
    /// Whose forwarded fields are believed.
    pub trusted_proxies: Trust,
    /// A PROXY protocol header (v1 or v2) is required from trusted peers.
    pub proxy_protocol: bool,
    /// How HTTPS is served; `None` = clear text.
    pub tls: Option<Tls>,
    /// What is spoken.
    pub protocols: Protocols,
    /// Deadlines of client connections.
    pub timeouts: ListenerTimeouts,
    /// Bounds of client connections.
    pub limits: ListenerLimits,
    /// Limits that hold before routing, in file order; none twice.
    pub rate_limits: Vec<UsedLimit>,
}

/// `listeners[].protocols`; at least one of them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Protocols {
    /// HTTP/1.0 and 1.1.
    pub http1: bool,
    /// HTTP/2.
    pub http2: bool,
}

/// `listeners[].trusted_proxies`.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Trust {
    /// Networks as (address, prefix length), masked; IPv4-mapped IPv6 folded to IPv4.
    pub networks: Vec<(std::net::IpAddr, u8)>,
}

/// `listeners[].timeouts`; `None` = off.
#[derive(Clone, Debug, PartialEq)]
pub struct ListenerTimeouts {
    /// A new connection that says nothing.
    pub first_byte: Option<Duration>,
    /// The whole head, from its first byte.
    pub request_head: Option<Duration>,
    /// Longest gap between two reads of the body until the answer's head.
    pub request_body: Option<Duration>,
    /// Longest time without progress while we have something to write.
    pub write: Option<Duration>,
    /// Keep-alive connection without a request.
    pub idle: Option<Duration>,
    /// The whole TLS handshake.
    pub tls_handshake: Option<Duration>,
}

/// `listeners[].limits`; `None` = off.
#[derive(Clone, Debug, PartialEq)]
pub struct ListenerLimits {
    /// Slower uploads are cut: bytes per second, after this time.
    pub min_body_rate: Option<MinRate>,
    /// `limits.connections`: `None` = the default, from the open-file limit; `Some(None)` = off.
    pub connections: Option<Option<usize>>,
    /// Connections of one client address.
    pub connections_per_ip: Option<usize>,
    /// Bytes of a request head (431 beyond). At least 1 KiB.
    pub head_bytes: usize,
    /// Fields of a request head (431 beyond).
    pub headers: usize,
    /// Bytes of a request target (414 beyond).
    pub uri_bytes: usize,
    /// Requests on one connection, then `Connection: close` or GOAWAY.
    pub requests_per_connection: Option<u64>,
    /// Streams that one HTTP/2 connection may have open at a time.
    pub h2_streams: u32,
}

/// `limits.min_body_rate`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MinRate {
    /// Bytes per second that an upload must reach.
    pub bytes_per_second: u64,
    /// Time waited for the client before the rate is looked at.
    pub after: Duration,
}

/// `admin`.
#[derive(Clone, Debug, PartialEq)]
pub struct Admin {
    /// Default `127.0.0.1:9901`.
    pub bind: SocketAddr,
    /// Bearer token; off by default.
    pub token: Option<Secret>,
}

/// A text that never appears in logs or dumps.
#[derive(Clone, PartialEq)]
pub struct Secret(pub String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

/// One entry of `routes`.
#[derive(Clone, Debug, PartialEq)]
pub struct Route {
    /// `name`, or made from host, path, method and a hash of the match. Unique.
    pub name: String,
    /// The file that it is written in, as the caller named that or its directory.
    pub file: Arc<str>,
    /// Line of the file where the route begins, from 1.
    pub line: usize,
    /// Indices into [`Config::listeners`]; empty = all.
    pub listeners: Vec<usize>,
    /// Any of them suffices; never empty.
    pub matches: Vec<Match>,
    /// What happens to a request.
    pub action: Action,
    /// Path and host as the upstream sees them.
    pub rewrite: Rewrite,
    /// Changes to the fields of requests.
    pub request_headers: FieldChanges,
    /// Changes to the fields of answers.
    pub response_headers: FieldChanges,
    /// Upstreams that get a copy.
    pub mirrors: Vec<Mirror>,
    /// Overrides of the upstream's.
    pub timeouts: RouteTimeouts,
    /// When a request is tried again.
    pub retry: Retry,
    /// Upgrades to WebSocket; `None` = off.
    pub websocket: Option<WebSocket>,
    /// Limits, all of which must admit, in file order; none twice.
    pub rate_limits: Vec<UsedLimit>,
    /// Most requests at once; `None` = off.
    pub max_in_flight: Option<InFlight>,
    /// Bytes of a request body (413 beyond); `None` = off.
    pub max_body: Option<u64>,
}

/// One `match` of a route: all of its parts hold.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Match {
    /// Lower-case names without port or trailing dot, `*.example.com` for any subdomain; empty = any host.
    pub hosts: Vec<String>,
    /// What the path must be. Already normalised.
    pub path: PathMatch,
    /// Empty = any method.
    pub methods: Vec<http::Method>,
    /// All of them hold; no name twice.
    pub headers: Vec<(http::HeaderName, ValueMatch)>,
    /// All of them hold, for the first value of each decoded name; no name twice.
    pub query: Vec<(String, ValueMatch)>,
}

/// `match.path` or `match.path_prefix`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum PathMatch {
    /// The whole path.
    Exact(String),
    /// Whole segments of its beginning. Without a trailing slash, except `/` itself.
    Prefix(String),
    /// A regular expression that the whole path matches. Valid.
    Regex(String),
}

impl Default for PathMatch {
    fn default() -> Self {
        PathMatch::Prefix("/".into())
    }
}

/// Exactly one of `upstream`, `respond`, `redirect`.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Index into [`Config::upstreams`].
    Upstream(usize),
    /// Indices into [`Config::upstreams`] with their weights; at least one weight is not 0.
    Weighted(Vec<(usize, u32)>),
    /// A fixed answer.
    Respond(Respond),
    /// A redirect built from the request.
    Redirect(Redirect),
}

/// `routes[].rewrite`: what is `None` stays.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Rewrite {
    /// The path that the upstream sees.
    pub path: Option<RewritePath>,
    /// The host that the upstream sees.
    pub host: Option<RewriteHost>,
}

/// `rewrite.path`, `rewrite.path_prefix` or `rewrite.path_regex`.
#[derive(Clone, Debug, PartialEq)]
pub enum RewritePath {
    /// Replaces the whole path; the query stays.
    Full(String),
    /// Replaces what the route's own `path_prefix` matched.
    Prefix(String),
    /// Replaces what the pattern matches; `$1` and `${name}` stand for groups. Valid.
    Regex {
        /// The regular expression; may match a part of the path.
        pattern: String,
        /// What stands in its place.
        replace: String,
    },
}

/// `rewrite.host`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RewriteHost {
    /// This name, perhaps with a port.
    Name(String),
    /// `upstream`: the endpoint's own.
    Endpoint,
}

/// `request_headers` or `response_headers`, applied in this order.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct FieldChanges {
    /// Taken away, every line.
    pub remove: Vec<http::HeaderName>,
    /// One line with this value, whatever was there.
    pub set: Vec<(http::HeaderName, http::HeaderValue)>,
    /// One line more.
    pub add: Vec<(http::HeaderName, http::HeaderValue)>,
}

/// One entry of `mirror`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mirror {
    /// Index into [`Config::upstreams`].
    pub upstream: usize,
    /// How many of a million requests are copied.
    pub per_million: u32,
}

/// `routes[].timeouts`: outer `None` = not said, `Some(None)` = off.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct RouteTimeouts {
    /// Total, head to last byte; off by default, so one `Option` is enough.
    pub request: Option<Duration>,
    /// Overrides `upstreams.*.timeouts.response`.
    pub response: Option<Option<Duration>>,
    /// Overrides `upstreams.*.timeouts.body`.
    pub body: Option<Option<Duration>>,
}

/// `drain`, both counted from SIGTERM.
#[derive(Clone, Debug, PartialEq)]
pub struct Drain {
    /// How long connections are still accepted.
    pub delay: Duration,
    /// When what is left is cut.
    pub deadline: Duration,
}

/// `logging`.
#[derive(Clone, Debug, PartialEq)]
pub struct Logging {
    /// `error`, `warn`, `info`, `debug` or `trace`.
    pub level: tracing::Level,
    /// `None` when `access: off`.
    pub access: Option<AccessLog>,
}

/// `logging.access`.
#[derive(Clone, Debug, PartialEq)]
pub struct AccessLog {
    /// Where the lines go.
    pub path: LogPath,
    /// How a line looks.
    pub format: LogFormat,
    /// How many of a million lines are kept; those of failed requests always are.
    pub sample_per_million: u32,
}

/// `logging.access.format` and `fields`.
#[derive(Clone, Debug, PartialEq)]
pub enum LogFormat {
    /// JSON with these keys of the contract, in this order.
    Json(Vec<LogField>),
    /// A text in which `{key}` stands for a key of the contract, cut into its pieces.
    Text(Vec<LogPiece>),
}

/// A piece of a text line.
#[derive(Clone, Debug, PartialEq)]
pub enum LogPiece {
    /// As it is.
    Literal(String),
    /// The value of this key, `-` where it is unknown.
    Field(LogField),
}

/// `errors.detail`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorDetail {
    /// Names of upstreams and limits, in words.
    Full,
    /// The reason word alone.
    Reason,
}

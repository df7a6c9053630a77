//! What is counted: plain structs of per-worker counters, found once when a snapshot is compiled and then written
//! through a pointer, never by name.
//!
//! Law: memory is bounded by the names in the file. A key of a [`Series`] is packed from closed sets only, and
//! what a worker never counts costs it one empty pointer.

mod cut;
mod gateway;
mod histogram;
mod labels;
mod limits;
pub mod names;
mod per_worker;
pub mod process;
mod series;
mod sockets;
pub mod text;

#[cfg(test)]
mod tests;

pub use cut::Cut;
pub use gateway::{GatewayStats, ReloadResult};
pub use histogram::{BOUNDS, BUCKETS, Histogram, Totals};
pub use labels::{method_index, method_label, status_index, status_label};
pub use limits::{Decision, LimitStats};
pub use names::Metric;
pub use per_worker::{Counter, Gauge};
pub use series::Series;
pub use sockets::{ClosedBy, SocketStats};
pub use text::{Format, Page};

use std::sync::OnceLock;

use crate::error::Reason;

/// The `route` of requests that match none.
pub const NO_ROUTE: &str = "_none";

/// What is counted for one route; its identity is the route's name.
#[derive(Debug)]
pub struct RouteStats {
    /// Exchanges ended, by [`request_key`].
    pub requests: Series,
    /// Exchanges running.
    pub in_flight: Gauge,
    /// From the request's head to the last byte of its answer.
    pub duration: Histogram,
    /// Answers made by the gateway itself, by `Reason as u32`.
    pub reasons: Series,
    /// Bytes of request bodies taken from clients.
    pub request_bytes: Counter,
    /// Bytes of response bodies given to clients.
    pub response_bytes: Counter,
    /// WebSockets; most routes never have one.
    sockets: OnceLock<Box<SocketStats>>,
    workers: usize,
}

impl RouteStats {
    /// Nothing counted yet, for workers `0..workers` and the control thread.
    #[must_use]
    pub fn new(workers: usize) -> RouteStats {
        RouteStats {
            requests: Series::new(workers),
            in_flight: Gauge::new(workers),
            duration: Histogram::new(workers),
            reasons: Series::new(workers),
            request_bytes: Counter::new(workers),
            response_bytes: Counter::new(workers),
            sockets: OnceLock::new(),
            workers,
        }
    }

    /// What is counted of its WebSockets.
    #[must_use]
    pub fn sockets(&self) -> &SocketStats {
        self.sockets
            .get_or_init(|| Box::new(SocketStats::new(self.workers)))
    }

    /// Counts one exchange that came in through listener number `listener`.
    #[inline]
    pub fn count_request(
        &self,
        worker: usize,
        listener: u16,
        method: &http::Method,
        status: http::StatusCode,
    ) {
        let key = request_key(listener, method_index(method), status_index(status));
        self.requests.add(worker, key, 1);
    }

    /// Counts one answer that the gateway made itself.
    #[inline]
    pub fn count_reason(&self, worker: usize, reason: Reason) {
        self.reasons.add(worker, reason as u32, 1);
    }

    /// Writes what was counted. `listeners` gives the name of a listener number; one that it does not know is left out.
    pub fn write<'n>(
        &self,
        page: &mut Page,
        route: &str,
        listeners: impl Fn(u16) -> Option<&'n str>,
    ) {
        for (key, count) in self.requests.sums() {
            let (listener, method, status) = split_request_key(key);
            if let Some(listener) = listeners(listener) {
                let labels = [listener, route, method_label(method), status_label(status)];
                page.count(Metric::Requests, &labels, count);
            }
        }
        for (key, count) in self.reasons.sums() {
            if let Some(reason) = Reason::ALL.get(key as usize) {
                page.count(Metric::GatewayResponses, &[route, reason.word()], count);
            }
        }
        write_gauge(page, Metric::RequestsInFlight, &[route], &self.in_flight);
        write_counter(page, Metric::RequestBytes, &[route], &self.request_bytes);
        write_counter(page, Metric::ResponseBytes, &[route], &self.response_bytes);
        write_histogram(page, Metric::RequestDuration, &[route], &self.duration);
        if let Some(sockets) = self.sockets.get() {
            sockets.write(page, route);
        }
    }
}

/// Packs a key of [`RouteStats::requests`] from a listener's number, [`method_index`] and [`status_index`].
#[must_use]
pub const fn request_key(listener: u16, method: u8, status: u8) -> u32 {
    (listener as u32) << 16 | (method as u32) << 8 | status as u32
}

/// The parts of a [`request_key`]: listener, method, status.
#[must_use]
pub const fn split_request_key(key: u32) -> (u16, u8, u8) {
    ((key >> 16) as u16, (key >> 8) as u8, key as u8)
}

/// What is counted for one endpoint of an upstream; its identity is both their names.
#[derive(Debug)]
pub struct EndpointStats {
    /// Answers received, by [`status_index`].
    pub requests: Series,
    /// Connections in the pools, waiting for a request.
    pub idle: Gauge,
    /// Connections that carry a request.
    pub busy: Gauge,
    /// Times that it was left out after failures in a row.
    pub ejections: Counter,
}

impl EndpointStats {
    /// Nothing counted yet, for workers `0..workers` and the control thread.
    #[must_use]
    pub fn new(workers: usize) -> EndpointStats {
        EndpointStats {
            requests: Series::new(workers),
            idle: Gauge::new(workers),
            busy: Gauge::new(workers),
            ejections: Counter::new(workers),
        }
    }

    /// Counts one answer of this endpoint.
    #[inline]
    pub fn count_request(&self, worker: usize, status: http::StatusCode) {
        self.requests
            .add(worker, u32::from(status_index(status)), 1);
    }

    /// Writes whether an endpoint may serve.
    pub fn write_health(page: &mut Page, upstream: &str, endpoint: &str, is_healthy: bool) {
        let value = f64::from(u8::from(is_healthy));
        page.value(Metric::EndpointHealthy, &[upstream, endpoint], value);
    }

    /// Writes what was counted.
    pub fn write(&self, page: &mut Page, upstream: &str, endpoint: &str) {
        for (key, count) in self.requests.sums() {
            page.count(
                Metric::UpstreamRequests,
                &[upstream, endpoint, status_label(key as u8)],
                count,
            );
        }
        for (state, gauge) in [("idle", &self.idle), ("busy", &self.busy)] {
            write_gauge(
                page,
                Metric::UpstreamConnections,
                &[upstream, endpoint, state],
                gauge,
            );
        }
        let labels = [upstream, endpoint];
        write_counter(page, Metric::EndpointEjections, &labels, &self.ejections);
    }
}

/// What is counted for one upstream; its identity is its name.
#[derive(Debug)]
pub struct UpstreamStats {
    /// From the start of an attempt to the head of its answer, or to its failure.
    pub duration: Histogram,
    /// Attempts after the first, by `RetryCause as u32`.
    pub retries: Series,
}

/// What made another attempt necessary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum RetryCause {
    /// No connection could be made.
    Connect,
    /// The connection broke before an answer.
    Reset,
    /// No answer came in time.
    Timeout,
    /// The endpoint refused the stream without looking at it.
    RefusedStream,
    /// The answer's status says so.
    Status,
}

impl RetryCause {
    /// Every cause, in the order of their numbers.
    pub const ALL: [RetryCause; 5] = [
        RetryCause::Connect,
        RetryCause::Reset,
        RetryCause::Timeout,
        RetryCause::RefusedStream,
        RetryCause::Status,
    ];

    /// The `cause` in the metric.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            RetryCause::Connect => "connect",
            RetryCause::Reset => "reset",
            RetryCause::Timeout => "timeout",
            RetryCause::RefusedStream => "refused_stream",
            RetryCause::Status => "status",
        }
    }
}

impl UpstreamStats {
    /// Nothing counted yet, for workers `0..workers` and the control thread.
    #[must_use]
    pub fn new(workers: usize) -> UpstreamStats {
        UpstreamStats {
            duration: Histogram::new(workers),
            retries: Series::new(workers),
        }
    }

    /// Requests sent here so far, each counted once however often it was tried.
    #[must_use]
    pub fn requests(&self) -> u64 {
        let retries: u64 = self.retries.sums().iter().map(|(_, n)| n).sum();
        self.duration.totals().count().saturating_sub(retries)
    }

    /// Writes what was counted.
    pub fn write(&self, page: &mut Page, upstream: &str) {
        write_histogram(page, Metric::UpstreamDuration, &[upstream], &self.duration);
        for (key, count) in self.retries.sums() {
            if let Some(cause) = RetryCause::ALL.get(key as usize) {
                page.count(Metric::UpstreamRetries, &[upstream, cause.word()], count);
            }
        }
    }
}

/// Why a client's connection was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Refusal {
    /// `limits.connections` is reached.
    Limit,
    /// `limits.connections_per_ip` is reached.
    PerIp,
    /// The process may open no more files.
    Descriptors,
}

impl Refusal {
    /// Every refusal, in the order of their numbers.
    pub const ALL: [Refusal; 3] = [Refusal::Limit, Refusal::PerIp, Refusal::Descriptors];

    /// The `cause` in the metric.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Refusal::Limit => "limit",
            Refusal::PerIp => "per_ip",
            Refusal::Descriptors => "descriptors",
        }
    }
}

/// How a TLS handshake ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Handshake {
    /// The client may speak HTTP.
    Ok,
    /// One side refused, or the client left.
    Failed,
    /// It took too long.
    Timeout,
}

impl Handshake {
    /// Every result, in the order of their numbers.
    pub const ALL: [Handshake; 3] = [Handshake::Ok, Handshake::Failed, Handshake::Timeout];

    /// The `result` in the metric.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Handshake::Ok => "ok",
            Handshake::Failed => "failed",
            Handshake::Timeout => "timeout",
        }
    }
}

/// What is counted for one listener; its identity is its name.
#[derive(Debug)]
pub struct ListenerStats {
    /// Client connections open.
    pub connections: Gauge,
    /// Connections refused, by `Refusal as u32`.
    pub refused: Series,
    /// Connections cut, by `Cut as u32`.
    pub cut: Series,
    /// TLS handshakes ended, by `Handshake as u32`.
    pub handshakes: Series,
    /// Requests of private peers outside `trusted_proxies` whose forwarded fields were dropped.
    pub untrusted_forwarded: Counter,
}

impl ListenerStats {
    /// Nothing counted yet, for workers `0..workers` and the control thread.
    #[must_use]
    pub fn new(workers: usize) -> ListenerStats {
        ListenerStats {
            connections: Gauge::new(workers),
            refused: Series::new(workers),
            cut: Series::new(workers),
            handshakes: Series::new(workers),
            untrusted_forwarded: Counter::new(workers),
        }
    }

    /// Counts one TLS handshake.
    pub fn count_handshake(&self, worker: usize, result: Handshake) {
        self.handshakes.add(worker, result as u32, 1);
    }

    /// Counts one connection that was cut.
    pub fn count_cut(&self, worker: usize, cause: Cut) {
        self.cut.add(worker, cause as u32, 1);
    }

    /// Counts one refused connection.
    #[inline]
    pub fn count_refusal(&self, worker: usize, cause: Refusal) {
        self.refused.add(worker, cause as u32, 1);
    }

    /// Writes what was counted.
    pub fn write(&self, page: &mut Page, listener: &str) {
        write_gauge(page, Metric::Connections, &[listener], &self.connections);
        for (key, count) in self.refused.sums() {
            if let Some(cause) = Refusal::ALL.get(key as usize) {
                page.count(Metric::ConnectionsRefused, &[listener, cause.word()], count);
            }
        }
        for (key, count) in self.cut.sums() {
            if let Some(cause) = Cut::ALL.get(key as usize) {
                page.count(Metric::ConnectionsCut, &[listener, cause.word()], count);
            }
        }
        for (key, count) in self.handshakes.sums() {
            if let Some(result) = Handshake::ALL.get(key as usize) {
                page.count(Metric::TlsHandshakes, &[listener, result.word()], count);
            }
        }
        write_counter(
            page,
            Metric::UntrustedForwarded,
            &[listener],
            &self.untrusted_forwarded,
        );
    }
}

// A series appears at its first use, so each of these writes nothing before it.

fn write_counter(page: &mut Page, metric: Metric, labels: &[&str], counter: &Counter) {
    if counter.is_used() {
        page.count(metric, labels, counter.sum());
    }
}

fn write_gauge(page: &mut Page, metric: Metric, labels: &[&str], gauge: &Gauge) {
    if gauge.is_used() {
        page.value(metric, labels, gauge.sum() as f64);
    }
}

fn write_histogram(page: &mut Page, metric: Metric, labels: &[&str], histogram: &Histogram) {
    let totals = histogram.totals();
    if totals.count() > 0 {
        page.histogram(metric, labels, &totals);
    }
}

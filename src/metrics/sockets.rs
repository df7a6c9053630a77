//! What is counted of the WebSockets of one route.

use super::names::Metric;
use super::per_worker::{Counter, Gauge};
use super::text::Page;
use super::{Histogram, Series};

/// Who was the first to end a WebSocket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ClosedBy {
    /// The client closed, or its connection broke.
    Client,
    /// The upstream closed, or its connection broke.
    Upstream,
    /// A deadline passed, or the gateway shuts down.
    Gateway,
}

impl ClosedBy {
    const ALL: [ClosedBy; 3] = [ClosedBy::Client, ClosedBy::Upstream, ClosedBy::Gateway];

    /// The `by` in the metric.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            ClosedBy::Client => "client",
            ClosedBy::Upstream => "upstream",
            ClosedBy::Gateway => "gateway",
        }
    }
}

/// The `code` of a tunnel: its frames are not looked at.
const UNSEEN: &str = "none";

/// What is counted of the WebSockets of one route; its identity is the route's name.
#[derive(Debug)]
pub struct SocketStats {
    open: Gauge,
    opens: Counter,
    /// By `ClosedBy as u32`.
    closes: Series,
    duration: Histogram,
}

impl SocketStats {
    /// Nothing counted yet, for workers `0..workers` and the control thread.
    #[must_use]
    pub fn new(workers: usize) -> SocketStats {
        SocketStats {
            open: Gauge::new(workers),
            opens: Counter::new(workers),
            closes: Series::new(workers),
            duration: Histogram::new(workers),
        }
    }

    /// One more is open.
    pub fn opened(&self, worker: usize) {
        self.open.add(worker, 1);
        self.opens.add(worker, 1);
    }

    /// One that was open for `nanos` nanoseconds has ended.
    pub fn closed(&self, worker: usize, by: ClosedBy, nanos: u64) {
        self.open.add(worker, -1);
        self.closes.add(worker, by as u32, 1);
        self.duration.record(worker, nanos);
    }

    /// Writes what was counted.
    pub fn write(&self, page: &mut Page, route: &str) {
        super::write_gauge(page, Metric::WebSocketConnections, &[route], &self.open);
        super::write_counter(page, Metric::WebSocketOpens, &[route], &self.opens);
        for (key, count) in self.closes.sums() {
            if let Some(by) = ClosedBy::ALL.get(key as usize) {
                page.count(Metric::WebSocketCloses, &[route, by.word(), UNSEEN], count);
            }
        }
        super::write_histogram(page, Metric::WebSocketDuration, &[route], &self.duration);
    }
}

//! Upstreams: named groups of endpoints, how one is chosen, and the connections that one worker keeps to them.

pub mod balance;
pub mod connect;
pub mod doorbell;
pub mod endpoint;
pub mod names;
pub mod pool;
pub mod tap;

use std::sync::Arc;
use std::time::Duration;

use crate::metrics::UpstreamStats;
use crate::time::Nanos;
use balance::Balancer;
use endpoint::Endpoint;

/// A named group of endpoints with its policy. Part of a snapshot; its state lives behind the `Arc`s.
pub struct Upstream {
    /// The name in the file, in metrics and in logs.
    pub name: String,
    /// Never empty.
    pub endpoints: Vec<Arc<Endpoint>>,
    /// How one of them is chosen.
    pub balancer: Balancer,
    /// Deadlines of attempts.
    pub timeouts: Timeouts,
    /// Bounds of idle connections.
    pub pool: PoolPolicy,
    /// Counters, found by name.
    pub stats: Arc<UpstreamStats>,
}

/// Deadlines of an attempt; `None` = off.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// TCP connect.
    pub connect: Option<Duration>,
    /// From the last request byte sent to the answer's head.
    pub response: Option<Duration>,
    /// No byte in either direction after the head.
    pub body: Option<Duration>,
}

/// Bounds of one worker's idle connections to one endpoint.
#[derive(Clone, Copy, Debug)]
pub struct PoolPolicy {
    /// Most idle connections.
    pub max_idle: usize,
    /// Longest time without a request; `None` = off.
    pub idle: Option<Duration>,
    /// Longest life; `None` = off.
    pub max_age: Option<Duration>,
}

impl Upstream {
    /// Chooses an endpoint for one attempt, by its index; `random` decides between equals.
    #[must_use]
    pub fn pick(&self, now: Nanos, random: u64) -> usize {
        if self.endpoints.len() == 1 {
            0
        } else {
            self.balancer.pick(&self.endpoints, now, random)
        }
    }

    /// Are attempts under way counted? Only where a balancer compares them: the count is shared by all workers.
    #[must_use]
    pub fn counts_in_flight(&self) -> bool {
        self.endpoints.len() > 1 && self.balancer.counts_in_flight()
    }
}

//! Upstreams: named groups of endpoints, how one is chosen, and the connections that one worker keeps to them.

pub mod balance;
pub mod breaking;
pub mod budget;
pub mod bulkhead;
pub mod connect;
pub mod doorbell;
pub mod endpoint;
pub mod names;
pub mod permits;
pub mod pool;
pub mod race;
pub mod retry;
pub mod tap;

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use crate::metrics::UpstreamStats;
use balance::{Ask, Balancer};
use breaking::{Breaking, Circuit};
use budget::{Budget, BudgetPolicy};
use bulkhead::{Bulkhead, BulkheadPolicy};
use endpoint::Endpoint;

/// A named group of endpoints with its policy. Part of a snapshot; its state lives behind the `Arc`s.
pub struct Upstream {
    /// The name in the file, in metrics and in logs.
    pub name: String,
    /// In file order; empty while none of its names has an address.
    pub endpoints: Vec<Endpoint>,
    /// How one of them is chosen.
    pub balancer: Balancer,
    /// Deadlines of attempts.
    pub timeouts: Timeouts,
    /// Bounds of idle connections.
    pub pool: PoolPolicy,
    /// How many requests may be tried again; `None` = any number.
    pub budget: Option<BudgetPolicy>,
    /// Most requests at once; `None` = off.
    pub bulkhead: Option<BulkheadPolicy>,
    /// When it is left alone; `None` = never.
    pub breaking: Option<Box<Breaking>>,
    /// An answer whose body flows for so long counts as whole.
    pub stable_after: Duration,
    /// What outlives the snapshot.
    pub state: Arc<UpstreamState>,
}

/// An upstream's state. Found again by its name when the file changes.
pub struct UpstreamState {
    /// Counters.
    pub stats: UpstreamStats,
    /// Whose turn it is, for balancers that go round.
    pub turn: AtomicUsize,
    /// Retries taken.
    pub budget: Budget,
    /// Its breaker, where one stands for all of it.
    pub circuit: Circuit,
    /// Places for requests.
    pub bulkhead: Arc<Bulkhead>,
}

impl UpstreamState {
    /// A new upstream without history, for a gateway of `workers` workers.
    #[must_use]
    pub fn new(workers: usize) -> UpstreamState {
        UpstreamState {
            stats: UpstreamStats::new(workers),
            turn: AtomicUsize::new(0),
            budget: Budget::new(),
            circuit: Circuit::new(workers),
            bulkhead: Bulkhead::new(workers),
        }
    }
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

/// Bounds of connections to one endpoint.
#[derive(Clone, Copy, Debug)]
pub struct PoolPolicy {
    /// Most idle connections of one worker.
    pub max_idle: usize,
    /// Most connections of all workers; `None` = off.
    pub max_connections: Option<usize>,
    /// Longest time without a request; `None` = off.
    pub idle: Option<Duration>,
    /// Longest life; `None` = off.
    pub max_age: Option<Duration>,
}

impl Upstream {
    /// Makes the bounds of this policy those of the endpoints' state; to be called when it comes into force.
    pub fn enforce(&self) {
        for endpoint in &self.endpoints {
            endpoint.state.permits.bind(self.pool.max_connections);
        }
    }

    /// Chooses an endpoint for one attempt, by its index; `None` when there is none.
    #[must_use]
    pub fn pick(&self, ask: &Ask) -> Option<usize> {
        match self.endpoints.len() {
            0 => None,
            1 => Some(0),
            _ => self.balancer.pick(&self.endpoints, &self.state.turn, ask),
        }
    }

    /// Are attempts under way counted? Only where a balancer compares them: the count is shared by all workers.
    #[must_use]
    pub fn counts_in_flight(&self) -> bool {
        self.endpoints.len() > 1 && self.balancer.counts_in_flight()
    }
}

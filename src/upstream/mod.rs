//! Upstreams: named groups of endpoints, how one is chosen, and the connections that one worker keeps to them.

pub mod balance;
pub mod bars;
pub mod breaking;
pub mod budget;
pub mod bulkhead;
pub mod connect;
pub mod doorbell;
pub mod ejection;
pub mod endpoint;
pub mod names;
pub mod out;
pub mod permits;
pub mod pool;
pub mod probe;
pub mod race;
pub mod retry;
pub mod serving;
pub mod tap;

use std::sync::atomic::{
    AtomicU64, AtomicUsize,
    Ordering::{Acquire, Release},
};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::metrics::UpstreamStats;
use crate::time::Nanos;
use balance::{Ask, Balancer};
use breaking::{Breaking, Circuit};
use budget::{Budget, BudgetPolicy};
use bulkhead::{Bulkhead, BulkheadPolicy};
use ejection::EjectionPolicy;
use endpoint::Endpoint;
use probe::ProbePolicy;
use serving::{Part, Roster, Serving, ServingPolicy, work_out};

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
    /// When endpoints that fail are left out; `None` = never.
    pub ejection: Option<EjectionPolicy>,
    /// How its endpoints are probed; `None` = not at all.
    pub probe: Option<ProbePolicy>,
    /// What else decides who serves.
    pub serving: ServingPolicy,
    /// Who serves now.
    pub roster: Roster,
    /// Upstreams that take over while nobody of this one may serve, by their places in the snapshot.
    pub failover: Box<[usize]>,
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
    /// Steps on whenever what an endpoint may do changes.
    epoch: AtomicU64,
    /// Held by the one who decides whether an endpoint is left out.
    ejecting: Mutex<()>,
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
            epoch: AtomicU64::new(0),
            ejecting: Mutex::new(()),
            circuit: Circuit::new(workers),
            bulkhead: Bulkhead::new(workers),
        }
    }

    /// What one of the endpoints may do has changed: who serves has to be worked out anew.
    pub fn step(&self) {
        self.epoch.fetch_add(1, Release);
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

    /// Chooses an endpoint for one attempt, by its index; `None` when none may serve.
    #[must_use]
    #[inline]
    pub fn pick(&self, ask: &Ask) -> Option<usize> {
        if self.roster.is_full_in(self.state.epoch.load(Acquire)) {
            self.pick_of(None, ask)
        } else {
            self.pick_of_some(ask)
        }
    }

    /// May any endpoint serve at `now`?
    #[must_use]
    pub fn serves(&self, now: Nanos) -> bool {
        let all = self.roster.is_full_in(self.state.epoch.load(Acquire));
        all || self.look(now, |serving| !matches!(serving, Serving::Nobody))
    }

    /// How many endpoints may serve at `now`.
    #[must_use]
    pub fn count_serving(&self, now: Nanos) -> usize {
        self.look(now, |serving| match serving {
            Serving::Everybody => self.endpoints.len(),
            Serving::Part(part) => part.count(),
            Serving::Nobody => 0,
        })
    }

    /// Tells `use_it` who may serve at `now`.
    pub fn look<R>(&self, now: Nanos, use_it: impl FnOnce(&Serving) -> R) -> R {
        let make = || {
            self.tell_returned(now);
            let stand = |endpoint: &Endpoint| endpoint.stand(now, self.ejection.is_some());
            let entries: Vec<_> = self.endpoints.iter().map(stand).collect();
            work_out(&entries, self.serving, now)
        };
        self.roster.look(&self.state.epoch, now, make, use_it)
    }

    #[cold]
    fn pick_of_some(&self, ask: &Ask) -> Option<usize> {
        self.look(ask.now, |serving| match serving {
            Serving::Everybody => self.pick_of(None, ask),
            Serving::Part(part) => self.pick_of(Some(part), ask),
            Serving::Nobody => None,
        })
    }

    #[inline]
    fn pick_of(&self, part: Option<&Part>, ask: &Ask) -> Option<usize> {
        match self.endpoints.len() {
            0 => None,
            1 => Some(0),
            _ => (self.balancer).pick_of(&self.endpoints, part, &self.state.turn, ask),
        }
    }

    /// Are attempts under way counted? Only where a balancer compares them: the count is shared by all workers.
    #[must_use]
    pub fn counts_in_flight(&self) -> bool {
        self.endpoints.len() > 1 && self.balancer.counts_in_flight()
    }
}

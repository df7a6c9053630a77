//! One address of an upstream: what the file says of it, and what all workers know of it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use http::HeaderValue;

use super::balance::Latency;
use super::bars::Bars;
use super::breaking::Circuit;
use super::ejection::Ejection;
use super::permits::Permits;
use super::probe::ProbeState;
use super::serving::Entry;
use crate::metrics::EndpointStats;
use crate::time::Nanos;
use crate::tls::Target;

/// How long an endpoint whose last connect failed loses every comparison.
const SHUNNED_FOR: Duration = Duration::from_secs(1);

/// An endpoint as one snapshot sees it.
pub struct Endpoint {
    /// What outlives the snapshot.
    pub state: Arc<EndpointState>,
    /// Its share beside the others; 0 = none.
    pub weight: u32,
    /// Host and port as the file has them: the `Host` of `rewrite.host: upstream`.
    pub authority: HeaderValue,
    /// How TLS is spoken with it; `None` = clear text.
    pub secure: Option<Box<Target>>,
    /// The name that its address came from; `None` = the file has the address itself.
    pub name: Option<Arc<str>>,
    /// Another endpoint of the upstream, by its index: an address of the same name and of the other family.
    pub sibling: Option<u32>,
    /// What probes say of it; `None` = it is not probed.
    pub probe: Option<Arc<ProbeState>>,
}

impl Endpoint {
    /// Tells the TLS settings of its connections apart; 0 = clear text.
    #[must_use]
    pub fn lock(&self) -> u64 {
        self.secure.as_ref().map_or(0, |target| target.digest)
    }

    /// What keeps it from serving at `now`, in an upstream that ejects endpoints or does not.
    #[must_use]
    pub fn bars(&self, now: Nanos, ejects: bool) -> Bars {
        let probe = self.probe.as_ref();
        let ejected = ejects && self.state.ejection.is_out(now);
        Bars::EJECTED
            .when(ejected)
            .and(Bars::UNHEALTHY.when(probe.is_some_and(|probe| probe.is_unhealthy())))
    }

    /// How it stands at `now`.
    #[must_use]
    pub fn stand(&self, now: Nanos, ejects: bool) -> Entry {
        let (_, ejected_until) = self.state.ejection.last();
        let ejected_until = if ejects { ejected_until } else { Nanos(0) };
        let probe = self.probe.as_ref();
        let came = [
            self.state.joined(),
            probe.map_or(Nanos(0), |probe| probe.recovered()),
            ejected_until,
        ];
        Entry {
            weight: self.weight,
            bars: self.bars(now, ejects),
            until: if ejected_until > now {
                ejected_until
            } else {
                Nanos(u64::MAX)
            },
            came: came
                .into_iter()
                .filter(|at| *at <= now)
                .max()
                .unwrap_or_default(),
        }
    }
}

/// An endpoint's state. Found again by upstream name and address when the file changes.
pub struct EndpointState {
    /// Where to connect to.
    pub address: SocketAddr,
    /// The address as metrics and logs write it.
    pub label: String,
    /// Where a worker's pool keeps its connections; reused after the endpoint is gone.
    pub slot: usize,
    /// Tells an endpoint from an earlier one with the same slot.
    pub uid: u64,
    /// Counters.
    pub stats: EndpointStats,
    /// How many connections it bears.
    pub permits: Arc<Permits>,
    /// How long attempts took, where a balancer compares that.
    pub latency: Latency,
    /// What its failures brought it.
    pub ejection: Ejection,
    /// Its breaker, where each endpoint has its own.
    pub circuit: Circuit,
    in_flight: AtomicU32,
    shunned_until: AtomicU64,
    joined: AtomicU64,
}

impl EndpointState {
    /// A new endpoint without history, for a gateway of `workers` workers.
    #[must_use]
    pub fn new(address: SocketAddr, slot: usize, uid: u64, workers: usize) -> EndpointState {
        EndpointState {
            address,
            label: address.to_string(),
            slot,
            uid,
            stats: EndpointStats::new(workers),
            permits: Permits::new(workers),
            latency: Latency::default(),
            ejection: Ejection::default(),
            circuit: Circuit::new(workers),
            in_flight: AtomicU32::new(0),
            shunned_until: AtomicU64::new(0),
            joined: AtomicU64::new(0),
        }
    }

    /// It came to its upstream, or came back to it; 0 = it is there from the beginning.
    pub fn join(&self, now: Nanos) {
        self.joined.store(now.0, Relaxed);
    }

    /// When it came to its upstream; 0 = it was there from the beginning.
    #[must_use]
    pub fn joined(&self) -> Nanos {
        Nanos(self.joined.load(Relaxed))
    }

    /// Attempts that are under way, over all workers.
    #[must_use]
    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Relaxed)
    }

    /// One attempt more.
    pub fn enter(&self) {
        self.in_flight.fetch_add(1, Relaxed);
    }

    /// One attempt less.
    pub fn leave(&self) {
        self.in_flight.fetch_sub(1, Relaxed);
    }

    /// A connect failed: for a second, others are preferred.
    pub fn connect_failed(&self, now: Nanos) {
        self.shunned_until.store(now.plus(SHUNNED_FOR).0, Relaxed);
    }

    /// A connect succeeded.
    pub fn connected(&self) {
        if self.shunned_until.load(Relaxed) != 0 {
            self.shunned_until.store(0, Relaxed);
        }
    }

    /// Did its last connect fail less than a second ago?
    #[must_use]
    pub fn is_shunned(&self, now: Nanos) -> bool {
        self.shunned_until.load(Relaxed) > now.0
    }
}

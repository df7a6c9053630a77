//! The breakers of an upstream: one for all its endpoints, or one for each; and what is done while nothing passes.

use std::sync::Arc;

use bytes::Bytes;
use http::StatusCode;
use http::header::HeaderMap;

use super::Upstream;
use super::balance::Ask;
use super::serving::Serving;
use crate::breaker::{Forced, Policy, Refused, State, Transition};
use crate::metrics::Series;
use crate::time::Nanos;

/// What the file says of an upstream's breakers. Part of a snapshot.
pub struct Breaking {
    /// When they move.
    pub policy: Policy,
    /// How many there are.
    pub scope: Scope,
    /// What is done with a request that may not pass; `None` = 503.
    pub fallback: Option<Fallback>,
}

/// What a breaker stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The upstream: it hears of each request once, by its last attempt.
    Upstream,
    /// An endpoint: it hears of each attempt.
    Endpoint,
}

/// What is done with a request that may not pass.
pub enum Fallback {
    /// A fixed answer.
    Respond(StatusCode, HeaderMap, Bytes),
    /// Another upstream, by its index in the snapshot. No circle of them.
    Upstream(usize),
}

/// One breaker as all workers see it, and what is counted of it. Outlives the snapshot, with what it is the breaker of.
pub struct Circuit {
    /// Its state.
    pub state: Arc<State>,
    /// How often it moved, by [`key_of`].
    pub transitions: Series,
}

impl Circuit {
    /// Closed, for a gateway of `workers` workers.
    #[must_use]
    pub fn new(workers: usize) -> Circuit {
        Circuit {
            state: Arc::new(State::new(workers)),
            transitions: Series::new(workers),
        }
    }

    /// Counts that it moved, as `worker`.
    pub fn count(&self, worker: usize, moved: &Transition) {
        self.transitions.add(worker, key_of(moved), 1);
    }
}

/// A transition as it is counted: where to, and why.
#[must_use]
pub fn key_of(moved: &Transition) -> u32 {
    (moved.to as u32) << 8 | moved.cause as u32
}

impl Upstream {
    /// The breaker that an attempt at `endpoint` concerns; `None` where there is none.
    #[must_use]
    pub fn circuit(&self, endpoint: usize) -> Option<(&Breaking, &Circuit)> {
        let breaking = self.breaking.as_deref()?;
        let circuit = match breaking.scope {
            Scope::Upstream => &self.state.circuit,
            Scope::Endpoint => &self.endpoints.get(endpoint)?.state.circuit,
        };
        Some((breaking, circuit))
    }

    /// The breaker of `endpoint`, where each has its own.
    #[must_use]
    #[inline]
    pub fn circuit_of_endpoint(&self, endpoint: usize) -> Option<(&Breaking, &Circuit)> {
        let breaking = self.breaking.as_deref();
        breaking.filter(|breaking| breaking.scope == Scope::Endpoint)?;
        self.circuit(endpoint)
    }

    /// May `endpoint` be tried, as far as its own breaker goes?
    #[must_use]
    #[inline]
    pub fn would_try(&self, endpoint: usize, now: Nanos) -> bool {
        self.circuit_of_endpoint(endpoint)
            .is_none_or(|(breaking, circuit)| {
                breaking.policy.observes || circuit.state.would_admit(&breaking.policy, now)
            })
    }

    /// May it be bothered with copies of requests? Only while nothing is wrong with it.
    #[must_use]
    pub fn takes_copies(&self) -> bool {
        self.breaking.as_deref().is_none_or(|breaking| {
            let mut circuits = self.circuits().into_iter();
            breaking.policy.observes || circuits.all(|(_, circuit)| circuit.state.is_closed())
        })
    }

    /// Where each endpoint has a breaker: is there none that could be tried?
    ///
    /// # Errors
    /// The one that probes first.
    pub fn look_for_endpoint(&self, now: Nanos) -> Result<(), Refused> {
        let all = || 0..self.endpoints.len();
        let is_found = self.look(now, |serving| match serving {
            // That is nothing that a breaker could tell.
            Serving::Nobody => true,
            _ => all().any(|i| serving.takes(i) && self.would_try(i, now)),
        });
        if is_found {
            return Ok(());
        }
        let left = all()
            .filter_map(|i| self.circuit_of_endpoint(i))
            .map(|(breaking, circuit)| circuit.state.view(&breaking.policy, now).next_probe);
        // One that is half-open has no time left, and is the first.
        Err(Refused {
            left: left.min().flatten(),
        })
    }

    /// The endpoints that may stand in for the `picked` one, in the order in which they are asked: those that serve
    /// before those to which nobody could connect just now, and last the one that just failed this request.
    pub fn others(&self, picked: usize, ask: &Ask) -> impl Iterator<Item = usize> {
        let count = self.endpoints.len();
        let first = ((u128::from(ask.hash.unwrap_or(ask.random)) * count as u128) >> 64) as usize;
        let unweighed = self.endpoints.iter().all(|e| e.weight == 0);
        let around = (0..count).map(move |step| (first + step) % count);
        let mut all: Vec<usize> = self.look(ask.now, |serving| {
            around
                .filter(|i| *i != picked && (unweighed || self.endpoints[*i].weight > 0))
                .filter(|i| serving.takes(*i))
                .collect()
        });
        all.sort_by_key(|i| {
            let is_shunned = self.endpoints[*i].state.is_shunned(ask.now);
            (ask.avoid == Some(*i), is_shunned)
        });
        all.into_iter()
    }

    /// Every breaker of it: the address of the endpoint that it is of, empty where it is the upstream's.
    #[must_use]
    pub fn circuits(&self) -> Vec<(&str, &Circuit)> {
        match self.breaking.as_deref().map(|breaking| breaking.scope) {
            None => Vec::new(),
            Some(Scope::Upstream) => vec![("", &self.state.circuit)],
            Some(Scope::Endpoint) => {
                let endpoints = self.endpoints.iter();
                endpoints
                    .map(|e| (e.state.label.as_str(), &e.state.circuit))
                    .collect()
            }
        }
    }

    /// Holds one of its breakers, or lets it go; counts that, as `worker`.
    pub fn force(
        &self,
        circuit: &Circuit,
        forced: Forced,
        now: Nanos,
        worker: usize,
    ) -> Option<Box<Transition>> {
        let breaking = self.breaking.as_deref()?;
        let moved = circuit.state.force(forced, &breaking.policy, now);
        if let Some(moved) = &moved {
            circuit.count(worker, moved);
        }
        moved
    }
}

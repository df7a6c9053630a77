//! The endpoint that an attempt holds: taken, timed until the answer's head, given back.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;

use super::exchange::Exchange;
use super::tunnel::Session;
use crate::breaker::outcome::Outcome;
use crate::error::{Origin, Reason};
use crate::time::Nanos;
use crate::upstream::Upstream;
use crate::upstream::endpoint::{Endpoint, EndpointState};

/// One endpoint held for one attempt, by its place in the pinned snapshot.
#[derive(Clone, Copy)]
pub(super) struct Lease {
    upstream: u32,
    endpoint: u32,
    counted: bool,
    /// Has its answer's head come?
    answered: bool,
    since: Nanos,
}

impl Exchange {
    /// Holds an endpoint for one attempt.
    pub fn hold(&mut self, upstream: usize, endpoint: usize, now: Nanos) {
        self.release(now);
        let counted = self.pin.upstreams[upstream].counts_in_flight();
        let (upstream, endpoint) = (upstream as u32, endpoint as u32);
        let lease = Lease {
            upstream,
            endpoint,
            counted,
            answered: false,
            since: now,
        };
        self.begin_trial(upstream, endpoint, now);
        if counted {
            self.endpoint_of(lease).enter();
        }
        self.endpoint_of(lease)
            .stats
            .busy
            .add(self.client.worker.index, 1);
        self.lease = Some(lease);
        self.attempts += 1;
        if let Some(note) = &mut self.note {
            note.endpoint = Some((upstream, endpoint));
        }
    }

    /// The upstream and endpoint held.
    #[must_use]
    pub fn held(&self) -> Option<(&Upstream, &Arc<EndpointState>)> {
        let lease = self.lease?;
        Some((self.upstream_of(lease), self.endpoint_of(lease)))
    }

    /// The endpoint held, as the pinned snapshot has it.
    #[must_use]
    pub fn held_endpoint(&self) -> Option<&Endpoint> {
        let lease = self.lease?;
        self.upstream_of(lease)
            .endpoints
            .get(lease.endpoint as usize)
    }

    /// The name that the address of the endpoint held came from; `None` = the file has the address itself.
    #[must_use]
    pub fn held_name(&self) -> Option<&Arc<str>> {
        let lease = self.lease?;
        let endpoint = &self.upstream_of(lease).endpoints[lease.endpoint as usize];
        endpoint.name.as_ref()
    }

    /// The same name's address of the other family, by its place among the endpoints, unless nobody could connect to it
    /// just now or it is left out.
    #[must_use]
    pub fn sibling(&self, now: Nanos) -> Option<(usize, SocketAddr)> {
        let lease = self.lease?;
        let endpoints = &self.upstream_of(lease).endpoints;
        let index = endpoints[lease.endpoint as usize].sibling? as usize;
        let ejects = self.upstream_of(lease).ejection.is_some();
        let endpoint = endpoints.get(index)?;
        let serves = !endpoint.state.is_shunned(now) && endpoint.bars(now, ejects).is_empty();
        serves.then_some((index, endpoint.state.address))
    }

    /// The attempt goes on at another endpoint of the same upstream.
    pub fn move_to(&mut self, endpoint: usize) {
        let Some(old) = self.lease else { return };
        let new = Lease {
            endpoint: endpoint as u32,
            ..old
        };
        let worker = self.client.worker.index;
        self.endpoint_of(old).stats.busy.add(worker, -1);
        self.endpoint_of(new).stats.busy.add(worker, 1);
        if old.counted {
            self.endpoint_of(old).leave();
            self.endpoint_of(new).enter();
        }
        self.lease = Some(new);
        self.move_trial(new.endpoint);
        if let Some(note) = &mut self.note {
            note.endpoint = Some((new.upstream, new.endpoint));
        }
    }

    /// The upstream and endpoint held, by their places in the pinned snapshot.
    #[must_use]
    pub fn place(&self) -> Option<(usize, usize)> {
        self.lease
            .map(|lease| (lease.upstream as usize, lease.endpoint as usize))
    }

    /// The head of an answer has come from the endpoint held.
    pub fn heard(&mut self, status: StatusCode) {
        let now = self.client.worker.read_clock();
        self.head_at = Some(now);
        let Some(mut lease) = self.lease else { return };
        self.endpoint_of(lease)
            .stats
            .count_request(self.client.worker.index, status);
        lease.answered = true;
        self.time(lease, now);
        self.lease = Some(lease);
        self.note_head(status, now);
    }

    /// An answer that the client gets has begun.
    pub fn answered(&mut self, status: StatusCode) {
        self.heard(status);
        self.status = Some(status);
        if let Some(upload) = &self.upload {
            upload.answer_began();
        }
    }

    /// Gives the endpoint back.
    pub fn release(&mut self, now: Nanos) {
        let Some(lease) = self.lease.take() else {
            return;
        };
        let endpoint = self.endpoint_of(lease);
        endpoint.stats.busy.add(self.client.worker.index, -1);
        if lease.counted {
            endpoint.leave();
        }
        if !lease.answered {
            self.time(lease, now);
        }
        // Whoever knew better has said so before.
        self.conclude(Outcome::Neutral);
    }

    /// Passes what is held of the endpoint on to a tunnel, which gives it back at its own end.
    pub fn hand_over(&mut self) -> Option<Session> {
        let trial = self.hand_trial();
        let lease = self.lease.take()?;
        let endpoint = lease.endpoint as usize;
        Some(Session::open(
            self.client.worker.clone(),
            self.route()?.stats.clone(),
            self.upstream_of(lease).endpoints[endpoint].state.clone(),
            lease.counted,
            self.client.worker.recent(),
            trial,
        ))
    }

    /// Takes down how long the attempt took until its answer's head, or until it was given up.
    fn time(&self, lease: Lease, now: Nanos) {
        let upstream = self.upstream_of(lease);
        let took = now.0.saturating_sub(lease.since.0);
        let worker = self.client.worker.index;
        upstream.state.stats.duration.record(worker, took);
        if !upstream.balancer.observes_latency() {
            return;
        }
        let (latency, took) = (&self.endpoint_of(lease).latency, Duration::from_nanos(took));
        // A client that leaves tells nothing of the endpoint.
        let is_its_fault = |reason: Reason| reason.origin() == Origin::Upstream;
        if lease.answered {
            latency.observe(now, took);
        } else if self.reason.is_none_or(is_its_fault) {
            latency.observe_failure(now, took);
        }
    }

    fn upstream_of(&self, lease: Lease) -> &Upstream {
        &self.pin.upstreams[lease.upstream as usize]
    }

    fn endpoint_of(&self, lease: Lease) -> &Arc<EndpointState> {
        let upstream = &self.pin.upstreams[lease.upstream as usize];
        &upstream.endpoints[lease.endpoint as usize].state
    }
}

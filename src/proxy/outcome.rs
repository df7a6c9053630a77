//! What came of an attempt: found out once, and told to everything that judges an endpoint or an upstream by it.
//!
//! An answer's head is only half of it. A body that breaks at once is a failure, and a stream may flow for hours: so an
//! answer that goes on is watched for `stream_stable_after`, in a list of its worker ([`super::trials`]), and settled
//! then at the latest.

use std::rc::Rc;
use std::time::Duration;

use http::StatusCode;

use super::breaker;
use super::exchange::Exchange;
use super::health;
use super::trials::{Key, Watched};
use crate::breaker::Permit;
use crate::breaker::outcome::{Fault, Outcome};
use crate::error::Reason;
use crate::http::upload::Upload;
use crate::snapshot::shared::Pin;
use crate::time::Nanos;
use crate::upstream::Upstream;
use crate::upstream::breaking::Scope;

/// Everything that is known of an attempt when it is over, or over for those who judge.
#[derive(Clone, Copy, Debug)]
pub(super) struct Report {
    pub(super) outcome: Outcome,
    /// From its start to the answer's head, or to its failure.
    pub(super) took: Duration,
    pub(super) now: Nanos,
    /// Who tells.
    pub(super) worker: usize,
}

/// Tells of an attempt at an endpoint; called exactly once for each.
fn tell(upstream: &Upstream, endpoint: usize, began: Nanos, report: &Report) {
    tracing::trace!(upstream = upstream.name, endpoint, ?report);
    health::tell(upstream, endpoint, began, report);
}

/// An attempt of which it is not known yet what came of it.
pub(super) struct Trial {
    pub(super) upstream: u32,
    pub(super) endpoint: u32,
    pub(super) began: Nanos,
    /// The answer's status, and when its head came.
    pub(super) head: Option<(StatusCode, Nanos)>,
    /// Of the breaker that it passed.
    pub(super) permit: Option<Permit>,
    /// Does it hold a place of the upstream's bulkhead?
    pub(super) in_bulkhead: bool,
}

/// Where the trial of an exchange is.
#[derive(Default)]
pub(super) enum Standing {
    /// Nothing is open.
    #[default]
    Settled,
    /// With the exchange.
    Own(Trial),
    /// With the worker.
    Watched(Key),
}

/// The last attempt has failed, and the upstream's breaker will hear of it unless there is another.
pub(super) struct Last {
    upstream: u32,
    endpoint: u32,
    pub(super) permit: Permit,
    report: Report,
}

impl Exchange {
    /// An attempt begins, with the permit that was got for it.
    pub(super) fn begin_trial(&mut self, upstream: u32, endpoint: u32, now: Nanos) {
        self.conclude(Outcome::Neutral);
        let permit = self.permit.take();
        let probes = permit.as_ref().is_some_and(Permit::is_probe);
        self.trial = Standing::Own(Trial {
            upstream,
            endpoint,
            began: now,
            head: None,
            permit,
            in_bulkhead: std::mem::take(&mut self.in_bulkhead),
        });
        // Should a probe hang, its breaker must not hang with it; and a client that sends slowly must not fill the
        // bulkhead.
        if probes || self.upload.is_some() {
            self.watch_early(now, probes);
        }
    }

    /// The attempt goes on at another endpoint of its upstream.
    pub(super) fn move_trial(&mut self, endpoint: u32) {
        let worker = self.client.worker.clone();
        let pin = self.pin.clone();
        self.with_trial(|trial| {
            let upstream = &pin.upstreams[trial.upstream as usize];
            trial.endpoint = endpoint;
            if upstream.circuit_of_endpoint(endpoint as usize).is_some() {
                let asker = breaker::Asker {
                    now: worker.recent(),
                    worker: worker.index,
                };
                trial.permit = breaker::ask_endpoint(upstream, endpoint as usize, asker)
                    .ok()
                    .flatten();
            }
        });
    }

    /// The head of an answer has come.
    pub(super) fn note_head(&mut self, status: StatusCode, now: Nanos) {
        match &mut self.trial {
            Standing::Settled => {}
            Standing::Own(trial) => trial.head = Some((status, now)),
            Standing::Watched(key) => {
                let mut trials = self.client.worker.trials.borrow_mut();
                if let Some(watched) = trials.find(*key) {
                    watched.trial.head = Some((status, now));
                    watched.due = Some(watched.trial.stable_at(&watched.pin, now));
                }
            }
        }
    }

    /// The attempt is over with `outcome`, and no other follows; unless it was settled before.
    #[inline]
    pub(super) fn conclude(&mut self, outcome: Outcome) {
        if !matches!(self.trial, Standing::Settled) {
            self.settle_trial(outcome);
        }
    }

    fn settle_trial(&mut self, outcome: Outcome) {
        let worker = &self.client.worker;
        match std::mem::take(&mut self.trial) {
            Standing::Settled => {}
            Standing::Own(trial) => trial.settle(&self.pin, outcome, worker.recent(), worker.index),
            Standing::Watched(key) => worker.conclude(key, outcome),
        }
    }

    /// The answer is whole.
    pub(super) fn conclude_whole(&mut self) {
        if let Some(status) = self.status {
            self.conclude(Outcome::Answered(status));
        }
    }

    /// The attempt is over with `outcome`, and another may follow: then the breaker of the upstream, which hears of a
    /// request once, does not hear of this one.
    pub(super) fn fail(&mut self, outcome: Outcome) {
        let worker = self.client.worker.clone();
        let now = worker.recent();
        let trial = match std::mem::take(&mut self.trial) {
            Standing::Settled => return,
            Standing::Own(trial) => trial,
            Standing::Watched(key) => match worker.trials.borrow_mut().take(key) {
                Some(watched) => watched.trial,
                None => return,
            },
        };
        // The place is kept for the next attempt.
        self.in_bulkhead = trial.in_bulkhead;
        self.upstream = trial.upstream;
        let last = trial.close(&self.pin, outcome, now, worker.index);
        self.last = last.map(Box::new);
    }

    /// No attempt follows the last one.
    #[inline]
    pub(super) fn settle_last(&mut self) {
        if let Some(last) = self.last.take() {
            last.settle(&self.pin);
        }
        if std::mem::take(&mut self.in_bulkhead) {
            leave_bulkhead(&self.pin, self.upstream, self.client.worker.index);
        }
    }

    /// The answer goes on after its head: from now on the worker looks after the trial.
    #[inline]
    pub(super) fn watch_trial(&mut self) {
        if matches!(self.trial, Standing::Own(_)) {
            self.watch_stream();
        }
    }

    fn watch_stream(&mut self) {
        if let Some(trial) = self.own_trial() {
            let head_at = trial.head.map(|(_, at)| at);
            let due = head_at.map(|at| trial.stable_at(&self.pin, at));
            self.watch(trial, due, None);
        }
    }

    /// The trial of an answer that a tunnel carries on.
    pub(super) fn hand_trial(&mut self) -> Option<Key> {
        self.watch_trial();
        let worker = self.client.worker.index;
        match std::mem::take(&mut self.trial) {
            Standing::Watched(key) => {
                let mut trials = self.client.worker.trials.borrow_mut();
                if let Some(watched) = trials.find(key) {
                    watched.trial.leave_bulkhead(&watched.pin, worker);
                }
                Some(key)
            }
            Standing::Settled | Standing::Own(_) => None,
        }
    }

    fn watch_early(&mut self, now: Nanos, probes: bool) {
        if let Some(trial) = self.own_trial() {
            let upstream = &self.pin.upstreams[trial.upstream as usize];
            let breaking = upstream.breaking.as_deref().filter(|_| probes);
            let due = breaking.map(|b| now.plus(b.policy.half_open_timeout));
            let upload = self.upload.clone();
            self.watch(trial, due, upload);
        }
    }

    fn own_trial(&mut self) -> Option<Trial> {
        match std::mem::take(&mut self.trial) {
            Standing::Own(trial) => Some(trial),
            other => {
                self.trial = other;
                None
            }
        }
    }

    fn watch(&mut self, trial: Trial, due: Option<Nanos>, upload: Option<Rc<Upload>>) {
        let watched = Watched {
            trial,
            pin: self.pin.clone(),
            due,
            upload,
        };
        let key = self.client.worker.trials.borrow_mut().add(watched);
        self.trial = Standing::Watched(key);
    }

    fn with_trial(&mut self, change: impl FnOnce(&mut Trial)) {
        match &mut self.trial {
            Standing::Settled => {}
            Standing::Own(trial) => change(trial),
            Standing::Watched(key) => {
                let mut trials = self.client.worker.trials.borrow_mut();
                if let Some(watched) = trials.find(*key) {
                    change(&mut watched.trial);
                }
            }
        }
    }
}

impl Trial {
    /// When an answer whose head came at `at` counts as whole.
    fn stable_at(&self, pin: &Pin, at: Nanos) -> Nanos {
        at.plus(pin.upstreams[self.upstream as usize].stable_after)
    }

    /// Tells of the attempt, and no other follows.
    #[inline]
    pub(super) fn settle(self, pin: &Pin, outcome: Outcome, now: Nanos, worker: usize) {
        let (upstream, in_bulkhead) = (self.upstream, self.in_bulkhead);
        if let Some(last) = self.close(pin, outcome, now, worker) {
            last.settle(pin);
        }
        // Who gets the place must find the breaker told.
        if in_bulkhead {
            leave_bulkhead(pin, upstream, worker);
        }
    }

    /// Tells of the attempt; what is left is for the breaker of the upstream. What happens to an answer that has flown
    /// for long enough no longer counts.
    #[inline]
    fn close(mut self, pin: &Pin, outcome: Outcome, now: Nanos, worker: usize) -> Option<Last> {
        let upstream = &pin.upstreams[self.upstream as usize];
        let report = self.report(upstream, outcome, now, worker);
        tell(upstream, self.endpoint as usize, self.began, &report);
        let permit = self.permit.take()?;
        let last = Last {
            upstream: self.upstream,
            endpoint: self.endpoint,
            permit,
            report,
        };
        let breaking = upstream.breaking.as_deref()?;
        match breaking.scope {
            Scope::Upstream => Some(last),
            Scope::Endpoint => {
                last.settle(pin);
                None
            }
        }
    }

    /// It no longer counts among the requests that its upstream bears.
    pub(super) fn leave_bulkhead(&mut self, pin: &Pin, worker: usize) {
        if std::mem::take(&mut self.in_bulkhead) {
            leave_bulkhead(pin, self.upstream, worker);
        }
    }

    /// The breaker waits no longer for this one, whatever comes of it.
    pub(super) fn give_up_probe(&mut self, pin: &Pin, outcome: Outcome, now: Nanos, worker: usize) {
        if let Some(permit) = self.permit.take() {
            let upstream = &pin.upstreams[self.upstream as usize];
            let report = self.report(upstream, outcome, now, worker);
            breaker::settle(upstream, self.endpoint as usize, permit, &report);
        }
    }

    fn report(&self, upstream: &Upstream, outcome: Outcome, now: Nanos, worker: usize) -> Report {
        let outcome = match self.head {
            Some((status, at)) if now.since(at) >= upstream.stable_after => {
                Outcome::Answered(status)
            }
            _ => outcome,
        };
        let until = self.head.map_or(now, |(_, at)| at);
        Report {
            outcome,
            took: until.since(self.began),
            now,
            worker,
        }
    }
}

impl Last {
    fn settle(self, pin: &Pin) {
        let upstream = &pin.upstreams[self.upstream as usize];
        breaker::settle(upstream, self.endpoint as usize, self.permit, &self.report);
    }
}

impl Outcome {
    /// What a refusal for `reason` tells of the attempt that led to it.
    pub(super) fn of_reason(reason: Reason) -> Outcome {
        match reason {
            Reason::UpstreamConnectFailed
            | Reason::UpstreamTlsFailed
            | Reason::UpstreamConnectTimeout => Outcome::Failed(Fault::Connect),
            Reason::UpstreamTimeout => Outcome::Failed(Fault::Timeout),
            Reason::UpstreamReset | Reason::UpstreamProtocolError => Outcome::Failed(Fault::Reset),
            _ => Outcome::Neutral,
        }
    }
}

#[inline]
fn leave_bulkhead(pin: &Pin, upstream: u32, worker: usize) {
    let upstream = &pin.upstreams[upstream as usize];
    // Where the limit was lifted meanwhile, by another snapshot, this one still knows it.
    if let Some(policy) = &upstream.bulkhead {
        upstream.state.bulkhead.leave(worker, policy.limit);
    }
}

/// Is the client's next byte waited for, so that it is the one who takes so long?
pub(super) fn is_client_slow(upload: Option<&Rc<Upload>>) -> bool {
    upload.is_some_and(|upload| upload.waits_for_client())
}

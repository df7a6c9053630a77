//! What came of an attempt: found out once, and told to everything that judges an endpoint or an upstream by it.
//!
//! An answer's head is only half of it. A body that breaks at once is a failure, and a stream may flow for hours: so an
//! answer that goes on is watched for `stream_stable_after`, in a list of its worker, and settled then at the latest.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use http::StatusCode;

use super::exchange::Exchange;
use super::health;
use super::worker::Worker;
use crate::breaker::outcome::{Fault, Outcome};
use crate::error::Reason;
use crate::http::upload::{Progress, Upload};
use crate::snapshot::shared::Pin;
use crate::time::Nanos;
use crate::upstream::Upstream;
use crate::upstream::endpoint::EndpointState;

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

/// Tells of an attempt; called exactly once for each.
fn tell(upstream: &Upstream, endpoint: &EndpointState, report: &Report) {
    tracing::trace!(upstream = upstream.name, endpoint = endpoint.label, ?report);
}

/// An attempt of which it is not known yet what came of it.
pub(super) struct Trial {
    upstream: u32,
    endpoint: u32,
    began: Nanos,
    /// The answer's status, and when its head came.
    head: Option<(StatusCode, Nanos)>,
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

impl Exchange {
    /// An attempt begins.
    pub(super) fn begin_trial(&mut self, upstream: u32, endpoint: u32, now: Nanos) {
        self.conclude(Outcome::Neutral);
        self.trial = Standing::Own(Trial {
            upstream,
            endpoint,
            began: now,
            head: None,
        });
    }

    /// The attempt goes on at another endpoint of its upstream.
    pub(super) fn move_trial(&mut self, endpoint: u32) {
        if let Standing::Own(trial) = &mut self.trial {
            trial.endpoint = endpoint;
        }
    }

    /// The head of an answer has come.
    pub(super) fn note_head(&mut self, status: StatusCode, now: Nanos) {
        if let Standing::Own(trial) = &mut self.trial {
            trial.head = Some((status, now));
        }
    }

    /// The attempt is over with `outcome`, unless it was settled before. A whole answer is [`Outcome::Answered`] with
    /// whatever status.
    pub(super) fn conclude(&mut self, outcome: Outcome) {
        let worker = &self.client.worker;
        let now = worker.recent();
        match std::mem::take(&mut self.trial) {
            Standing::Settled => {}
            Standing::Own(trial) => trial.settle(&self.pin, outcome, now, worker.index),
            Standing::Watched(key) => worker.conclude(key, outcome),
        }
    }

    /// The answer is whole.
    pub(super) fn conclude_whole(&mut self) {
        if let Some(status) = self.status {
            self.conclude(Outcome::Answered(status));
        }
    }

    /// The answer goes on after its head: from now on the worker looks after the trial.
    pub(super) fn watch_trial(&mut self) {
        let Standing::Own(trial) = std::mem::take(&mut self.trial) else {
            return;
        };
        let stable = self.pin.upstreams[trial.upstream as usize].stable_after;
        let due = trial.head.map(|(_, at)| at.plus(stable));
        let watched = Watched {
            trial,
            pin: self.pin.clone(),
            due,
        };
        let key = self.client.worker.trials.borrow_mut().add(watched);
        self.trial = Standing::Watched(key);
    }

    /// The trial of an answer that a tunnel carries on.
    pub(super) fn hand_trial(&mut self) -> Option<Key> {
        self.watch_trial();
        match std::mem::take(&mut self.trial) {
            Standing::Watched(key) => Some(key),
            Standing::Settled | Standing::Own(_) => None,
        }
    }
}

impl Trial {
    /// Tells of the attempt. What happens to an answer that has flown for long enough no longer counts.
    fn settle(self, pin: &Pin, outcome: Outcome, now: Nanos, worker: usize) {
        let upstream = &pin.upstreams[self.upstream as usize];
        let endpoint = &upstream.endpoints[self.endpoint as usize].state;
        let outcome = match self.head {
            Some((status, at)) if now.since(at) >= upstream.stable_after => {
                Outcome::Answered(status)
            }
            _ => outcome,
        };
        let until = self.head.map_or(now, |(_, at)| at);
        let report = Report {
            outcome,
            took: until.since(self.began),
            now,
            worker,
        };
        tell(upstream, endpoint, &report);
        health::tell(upstream, self.endpoint as usize, self.began, &report);
    }
}

impl Worker {
    /// A watched attempt is over, unless it was settled before.
    pub(super) fn conclude(&self, key: Key, outcome: Outcome) {
        let watched = self.trials.borrow_mut().take(key);
        if let Some(watched) = watched {
            let now = self.recent();
            watched.trial.settle(&watched.pin, outcome, now, self.index);
        }
    }

    /// Settles what has flown for long enough.
    pub fn settle_stable(&self) {
        let now = self.read_clock();
        let due = self.trials.borrow_mut().take_due(now);
        for watched in due {
            watched
                .trial
                .settle(&watched.pin, Outcome::Neutral, now, self.index);
        }
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

/// Is the client still sending, so that it may be the one who takes so long?
pub(super) fn is_uploading(upload: Option<&Rc<Upload>>) -> bool {
    upload.is_some_and(|upload| upload.progress() == Progress::Streaming)
}

/// An attempt whose answer goes on.
struct Watched {
    trial: Trial,
    /// Where its upstream is; kept for no longer than the trial.
    pin: Pin,
    /// When it is settled at the latest.
    due: Option<Nanos>,
}

/// Finds a watched trial again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Key {
    index: u32,
    turn: u32,
}

/// The watched trials of a worker: as many as it has requests under way.
#[derive(Default)]
pub(super) struct Trials {
    places: Vec<Place>,
    free: Vec<u32>,
}

#[derive(Default)]
struct Place {
    watched: Option<Watched>,
    /// Tells a trial from an earlier one in the same place.
    turn: u32,
}

/// The list, as the worker keeps it; never borrowed while anybody is told.
pub(super) type TrialList = RefCell<Trials>;

impl Trials {
    fn add(&mut self, watched: Watched) -> Key {
        let index = self.free.pop().unwrap_or_else(|| {
            self.places.push(Place::default());
            (self.places.len() - 1) as u32
        });
        let place = &mut self.places[index as usize];
        place.watched = Some(watched);
        Key {
            index,
            turn: place.turn,
        }
    }

    fn take(&mut self, key: Key) -> Option<Watched> {
        let place = self.places.get_mut(key.index as usize)?;
        if place.turn != key.turn {
            return None;
        }
        let watched = place.watched.take()?;
        place.turn = place.turn.wrapping_add(1);
        self.free.push(key.index);
        Some(watched)
    }

    fn take_due(&mut self, now: Nanos) -> Vec<Watched> {
        let is_due = |place: &Place| {
            let due = place.watched.as_ref().and_then(|watched| watched.due);
            due.is_some_and(|due| due <= now)
        };
        let keys: Vec<Key> = (0..)
            .zip(&self.places)
            .filter(|(_, place)| is_due(place))
            .map(|(index, place)| Key {
                index,
                turn: place.turn,
            })
            .collect();
        keys.into_iter().filter_map(|key| self.take(key)).collect()
    }
}

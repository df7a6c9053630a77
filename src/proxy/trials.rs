//! Attempts that go on while nobody looks: answers that stream, tunnels, probes. The worker settles them in time.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use super::outcome::{Trial, is_client_slow};
use super::worker::Worker;
use crate::breaker::outcome::{Fault, Outcome};
use crate::http::upload::Upload;
use crate::snapshot::shared::Pin;
use crate::time::Nanos;

/// An attempt that goes on.
pub(super) struct Watched {
    pub(super) trial: Trial,
    /// Where its upstream is; kept for no longer than the trial.
    pub(super) pin: Pin,
    /// When it counts as whole; before its head, when a probe has failed.
    pub(super) due: Option<Nanos>,
    /// What is being sent.
    pub(super) upload: Option<Rc<Upload>>,
}

/// A request whose client was waited for this long is a slow upload.
const SLOW_AFTER: Duration = Duration::from_millis(200);

/// Finds a watched trial again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Key {
    index: u32,
    turn: u32,
}

/// The watched trials of a worker: no more than it has requests under way, and tunnels that are just open.
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
    pub(super) fn add(&mut self, watched: Watched) -> Key {
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

    pub(super) fn find(&mut self, key: Key) -> Option<&mut Watched> {
        let place = self.places.get_mut(key.index as usize)?;
        let is_it = place.turn == key.turn;
        place.watched.as_mut().filter(|_| is_it)
    }

    pub(super) fn take(&mut self, key: Key) -> Option<Watched> {
        self.find(key)?;
        let place = self.places.get_mut(key.index as usize)?;
        place.turn = place.turn.wrapping_add(1);
        self.free.push(key.index);
        place.watched.take()
    }

    /// The first one that is due.
    fn first_due(&self, from: u32, now: Nanos) -> Option<Key> {
        self.first(from, |watched| watched.due.is_some_and(|due| due <= now))
    }

    /// The first one that holds a place of a bulkhead while its client keeps everybody waiting.
    fn first_slow(&self, from: u32, now: Nanos) -> Option<Key> {
        self.first(from, |watched| {
            let upload = watched
                .upload
                .as_ref()
                .filter(|_| watched.trial.in_bulkhead);
            upload.is_some_and(|upload| upload.waited_for_client(now) >= SLOW_AFTER)
        })
    }

    fn first(&self, from: u32, is_it: impl Fn(&Watched) -> bool) -> Option<Key> {
        let rest = self.places.get(from as usize..)?;
        let found = rest
            .iter()
            .position(|place| place.watched.as_ref().is_some_and(&is_it))?;
        Some(Key {
            index: from + found as u32,
            turn: rest[found].turn,
        })
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

    /// Settles what has flown for long enough, and probes of which nothing was heard for too long; what a slow client
    /// sends leaves the bulkhead.
    pub fn settle_due(&self) {
        let now = self.read_clock();
        self.let_slow_uploads_go(now);
        let mut from = 0;
        loop {
            let Some(key) = self.trials.borrow().first_due(from, now) else {
                return;
            };
            from = key.index + 1;
            self.settle_one(key, now);
        }
    }

    fn let_slow_uploads_go(&self, now: Nanos) {
        let mut trials = self.trials.borrow_mut();
        let mut from = 0;
        while let Some(key) = trials.first_slow(from, now) {
            from = key.index + 1;
            if let Some(watched) = trials.find(key) {
                watched.trial.leave_bulkhead(&watched.pin, self.index);
            }
        }
    }

    fn settle_one(&self, key: Key, now: Nanos) {
        let mut trials = self.trials.borrow_mut();
        let has_head = trials.find(key).is_some_and(|w| w.trial.head.is_some());
        if has_head {
            let watched = trials.take(key);
            drop(trials);
            if let Some(Watched { trial, pin, .. }) = watched {
                trial.settle(&pin, Outcome::Neutral, now, self.index);
            }
        } else if let Some(watched) = trials.find(key) {
            watched.due = None;
            let outcome = if is_client_slow(watched.upload.as_ref()) {
                Outcome::Neutral
            } else {
                Outcome::Failed(Fault::Timeout)
            };
            let pin = watched.pin.clone();
            watched.trial.give_up_probe(&pin, outcome, now, self.index);
        }
    }
}

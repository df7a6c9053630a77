//! What a request took from limits: given back if it does not take place, told in its answer, and charged once the
//! upstream has said what it did cost.

use std::time::Duration;

use http::header::{HeaderMap, HeaderName};

use super::exchange::Exchange;
use super::worker::Worker;
use crate::filter::limit::fields::Told;
use crate::filter::limit::place::Source;
use crate::filter::limit::{Cost, Headers, Used};
use crate::limit::KeyId;
use crate::time::Nanos;

/// Tallies that a worker keeps for later requests.
const MOST_SPARE: usize = 64;

/// Whose limits are asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    /// Before routing.
    Listener,
    /// After it.
    Route,
}

/// What one request took, in the order in which it was asked for.
#[derive(Default)]
pub(super) struct Tally {
    taken: Vec<Taken>,
    /// How many of those that were taken hold a place among the requests that wait.
    is_waiting: bool,
}

/// What a request took from one limit.
pub(super) struct Taken {
    /// The limit, by its owner and its place there: the exchange walks through one snapshot.
    pub(super) owner: Owner,
    pub(super) index: usize,
    pub(super) key: KeyId,
    pub(super) cost: u64,
    /// Who gave the tokens, if they were there. If not, the limit is one that only observes.
    pub(super) source: Option<Source>,
    /// Were they there by the candidate?
    pub(super) candidate_took: bool,
    /// Does it hold one of the places of those that wait?
    pub(super) waits: bool,
    pub(super) left: u64,
    pub(super) full_in: Duration,
}

impl Exchange {
    /// The limits of one of the two owners.
    pub(super) fn limits_of(&self, owner: Owner) -> &[Used] {
        match owner {
            Owner::Listener => &self.listener().rate_limits,
            Owner::Route => self.route().map_or(&[], |route| &route.rate_limits),
        }
    }

    /// Notes what was taken.
    pub(super) fn took(&mut self, taken: Taken) {
        let spare = || self.client.worker.spare_tally();
        let tally = self.tally.get_or_insert_with(spare);
        tally.taken.push(taken);
    }

    /// Will nobody ask for what this limit gives? That is so of the last one before the request goes on, where none
    /// before it noted anything: what it gives need not be noted either.
    #[inline]
    pub(super) fn is_last_asked(&self, owner: Owner, index: usize) -> bool {
        let Some(route) = self.route().filter(|_| owner == Owner::Route) else {
            return false;
        };
        let limits = &route.rate_limits;
        let is_last = index + 1 == limits.len() && route.max_in_flight.is_none();
        is_last && self.tally.is_none() && !limits[index].is_asked_later()
    }

    /// The request does not take place: what it took is there again.
    pub(super) fn give_back(&mut self) {
        let Some(mut tally) = self.tally.take() else {
            return;
        };
        let now = self.client.worker.recent();
        for taken in tally.taken.drain(..) {
            self.return_tokens(&taken, now);
        }
        self.client.worker.keep_tally(tally);
    }

    fn return_tokens(&self, taken: &Taken, now: Nanos) {
        let Some(used) = self.limits_of(taken.owner).get(taken.index) else {
            return;
        };
        let buckets = used.limit.buckets();
        if taken.waits {
            buckets.end_to_wait();
        }
        if let Some(source) = taken.source {
            used.limit.give_back(taken.key, source, taken.cost, now);
        }
        if taken.candidate_took {
            buckets.give_back_to_candidate(taken.key, taken.cost, now);
        }
    }

    /// The request waits, or has waited, for its turn: as long as it does its places count, and leaving early gives
    /// everything back.
    pub(super) fn set_waiting(&mut self, is_waiting: bool) {
        let Some(mut tally) = self.tally.take() else {
            return;
        };
        tally.is_waiting = is_waiting;
        if !is_waiting {
            for taken in tally.taken.iter_mut().filter(|taken| taken.waits) {
                taken.waits = false;
                if let Some(used) = self.limits_of(taken.owner).get(taken.index) {
                    used.limit.buckets().end_to_wait();
                }
            }
        }
        self.tally = Some(tally);
    }

    /// The request waits, or has waited, for a store: leaving meanwhile gives back what it took before.
    pub(super) fn set_pending(&mut self, is_pending: bool) {
        if let Some(tally) = &mut self.tally {
            tally.is_waiting = is_pending;
        }
    }

    /// Does it wait for its turn, or for a store?
    pub(super) fn waits_for_turn(&self) -> bool {
        self.tally.as_ref().is_some_and(|tally| tally.is_waiting)
    }

    /// Every limit has admitted the request: what nobody asks for again is forgotten.
    pub(super) fn settle_limits(&mut self) {
        let is_needed = |taken: &Taken| {
            let used = self.limits_of(taken.owner).get(taken.index);
            used.is_some_and(Used::is_asked_later)
        };
        let keeps = |tally: &Tally| tally.taken.iter().any(is_needed);
        if self.tally.as_deref().is_some_and(|tally| !keeps(tally)) {
            self.forget_tally();
        }
    }

    /// Charges what the upstream's answer says that the request did cost, beside the one token that it took.
    pub(super) fn charge_limits(&mut self, answer: &HeaderMap) {
        let Some(mut tally) = self.tally.take() else {
            return;
        };
        let now = self.client.worker.recent();
        for taken in &mut tally.taken {
            let used = self.limits_of(taken.owner).get(taken.index);
            if let (Some(used), Some(source)) = (used, taken.source)
                && let Cost::Header(name) = &used.cost
                && let Some(cost) = said(answer, name)
            {
                let limit = &used.limit;
                match cost.checked_sub(taken.cost) {
                    None => limit.give_back(taken.key, source, taken.cost - cost, now),
                    Some(0) => {}
                    Some(more) => limit.charge(taken.key, source, more, now),
                }
                if source == Source::Local {
                    let fill = limit.buckets().look(taken.key, now);
                    (taken.left, taken.full_in) = (fill.left, fill.full_in);
                } else {
                    // Nobody waits for a store to be told what it has left.
                    taken.left = (taken.left + taken.cost).saturating_sub(cost);
                }
            }
        }
        self.tally = Some(tally);
    }

    /// Tells how the limits stand, where they tell it in every answer; forgets them then.
    #[inline]
    pub(super) fn tell_limits(&mut self, headers: &mut HeaderMap) {
        if self.tally.is_some() {
            self.tell_tally(headers);
        }
    }

    fn tell_tally(&mut self, headers: &mut HeaderMap) {
        if let Some(tally) = &self.tally {
            let mut told = Told::default();
            for taken in &tally.taken {
                let used = self.limits_of(taken.owner).get(taken.index);
                let used = used.filter(|used| used.limit.policy.headers == Headers::Always);
                if let Some(used) = used {
                    let limit = &used.limit;
                    told.add(&limit.name, &limit.shown, taken.left, taken.full_in);
                }
            }
            told.write(headers);
            self.forget_tally();
        }
    }

    fn forget_tally(&mut self) {
        if let Some(mut tally) = self.tally.take() {
            tally.taken.clear();
            self.client.worker.keep_tally(tally);
        }
    }
}

/// The tokens that an answer names: one line with a whole number.
fn said(answer: &HeaderMap, name: &HeaderName) -> Option<u64> {
    let mut lines = answer.get_all(name).iter();
    let line = lines.next().filter(|_| lines.next().is_none())?;
    line.to_str().ok()?.trim().parse().ok()
}

impl Worker {
    /// An empty tally.
    fn spare_tally(&self) -> Box<Tally> {
        self.tallies.borrow_mut().pop().unwrap_or_default()
    }

    /// Keeps an empty tally for a later request.
    fn keep_tally(&self, mut tally: Box<Tally>) {
        tally.is_waiting = false;
        let mut spare = self.tallies.borrow_mut();
        if spare.len() < MOST_SPARE {
            spare.push(tally);
        }
    }
}

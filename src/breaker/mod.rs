//! Circuit breakers: when a failing upstream is left alone, and how it is tried again.
//!
//! Closed = traffic flows, open = refused, half-open = probing. What moves one into the other is pure ([`machine`]);
//! the state is one atomic word ([`cell`]), so that a closed breaker costs one load and no store while all goes well;
//! rates are counted by each worker for itself ([`windows`]). Law: a permit is settled at most once, and one that is
//! dropped unsettled says nothing; results of requests that began in an earlier state move nothing.

pub mod cell;
pub mod machine;
pub mod outcome;
#[cfg(test)]
mod tests;
pub mod windows;

use std::sync::Arc;
use std::time::Duration;

use crate::sync::atomic::AtomicU32;
use crate::sync::atomic::Ordering::{AcqRel, Acquire};
use crate::time::Nanos;
use cell::Cell;
pub use machine::{Cause, Forced, Kind};
use machine::{End, Event, Phase, Step, Thresholds, Ticket};
use outcome::{Failures, Verdict};
use windows::{Counts, Moment, Windows};

/// What the file says of a breaker. Part of a snapshot; a changed one holds for the state as it is.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// What moves it.
    pub thresholds: Thresholds,
    /// Closed to open by share of failures; `None` = off.
    pub failure_rate: Option<Rate>,
    /// Closed to open by share of slow answers, with the time above which one is slow; `None` = off.
    pub slow_rate: Option<(Rate, Duration)>,
    /// A probe whose answer's head takes longer is a failure.
    pub half_open_timeout: Duration,
    /// What counts as a failure.
    pub failures: Failures,
    /// Is nothing refused, and all the rest done?
    pub observes: bool,
}

/// A share of the requests of a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Of a million; at or above it the breaker opens.
    pub per_million: u32,
    /// The last so much time; its resolution is 1/32 of it.
    pub window: Duration,
    /// Fewer requests say nothing.
    pub min_requests: u32,
}

impl Rate {
    fn is_met(&self, counts: Counts) -> bool {
        let share = u128::from(counts.total) * u128::from(self.per_million);
        !self.is_early(counts) && u128::from(counts.bad) * 1_000_000 >= share
    }

    /// Are there too few requests, some of them bad?
    fn is_open_question(&self, counts: Counts) -> bool {
        self.is_early(counts) && counts.bad > 0
    }

    fn is_early(&self, counts: Counts) -> bool {
        counts.total < u64::from(self.min_requests)
    }
}

/// A breaker's state, for all workers. Found again by its identity when the file changes.
#[derive(Debug)]
pub struct State {
    cell: Cell,
    failures: Windows,
    slow: Windows,
    /// Probes in flight, whenever they were let through: the cell knows those of the present half-open time alone.
    probes: AtomicU32,
}

/// The right to one request; dropped, it says nothing of the upstream.
#[derive(Debug)]
#[must_use]
pub struct Permit {
    generation: u32,
    probe: Option<Probe>,
}

impl Permit {
    /// Is it one of the few of a half-open breaker?
    #[must_use]
    pub fn is_probe(&self) -> bool {
        self.probe.is_some()
    }
}

/// A probe in flight, which ends when dropped.
#[derive(Debug)]
struct Probe {
    state: Arc<State>,
    generation: u32,
}

impl Drop for Probe {
    fn drop(&mut self) {
        self.state.probes.fetch_sub(1, AcqRel);
        let ticket = Ticket {
            generation: self.generation,
            probe: true,
        };
        self.state.cell.give_back(ticket);
    }
}

/// The breaker lets no request through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// How long until a probe is due; `None` while others probe, or by force.
    pub left: Option<Duration>,
}

/// A breaker has moved, with the numbers that made it move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transition {
    /// What it was.
    pub from: Kind,
    /// What it is.
    pub to: Kind,
    /// Why.
    pub cause: Cause,
    /// Failures in a row, the last one included; 0 where it did not look.
    pub consecutive: u32,
    /// Requests and failures of the window, where failures are counted by rate.
    pub failures: Counts,
    /// Requests and slow ones of the window, where those are counted.
    pub slow: Counts,
    /// How long it stays open.
    pub open_for: Option<Duration>,
}

/// What a breaker looks like, for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct View {
    /// What holds now; a forced breaker is what it is forced to be.
    pub kind: Kind,
    /// Does somebody hold it?
    pub forced: Forced,
    /// Failures in a row.
    pub consecutive: u32,
    /// Requests and failures of the window.
    pub failures: Counts,
    /// Requests and slow ones of the window.
    pub slow: Counts,
    /// Until the next probe, where it is open.
    pub next_probe: Option<Duration>,
    /// Probes under way, and successes since it is half-open.
    pub probes: (u32, u32),
}

impl State {
    /// Closed, without history, for a gateway of `workers` workers.
    #[must_use]
    pub fn new(workers: usize) -> State {
        State {
            cell: Cell::default(),
            failures: Windows::new(workers),
            slow: Windows::new(workers),
            probes: AtomicU32::new(0),
        }
    }

    /// May a request go? Where asking moved the breaker (`timer`), that is told too.
    ///
    /// # Errors
    /// It is open, or half-open with all its probes under way.
    #[inline]
    pub fn admit(
        self: &Arc<State>,
        policy: &Policy,
        now: Nanos,
    ) -> Result<(Permit, Option<Box<Transition>>), Refused> {
        match self.cell.closed_generation() {
            Some(generation) => {
                let probe = None;
                Ok((Permit { generation, probe }, None))
            }
            None => self.admit_slowly(policy, now),
        }
    }

    /// Would [`State::admit`] let a request go?
    #[must_use]
    #[inline]
    pub fn would_admit(&self, policy: &Policy, now: Nanos) -> bool {
        self.cell.closed_generation().is_some() || {
            let has_place = self.probes.load(Acquire) < policy.thresholds.half_open_probes;
            let machine = self.cell.load();
            machine.would_admit(&thresholds(policy, has_place), now)
        }
    }

    /// Is it closed, and by itself?
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.cell.closed_generation().is_some()
    }

    /// Does the state hold in which `permit` was given, and is it no probe's? Then it serves for another try, too.
    #[must_use]
    pub fn still_holds(&self, permit: &Permit) -> bool {
        !permit.is_probe() && self.cell.closed_generation() == Some(permit.generation)
    }

    /// Takes down how a request ended: how long it was until the answer's head, or until it failed.
    #[inline]
    pub fn settle(
        &self,
        permit: Permit,
        policy: &Policy,
        (verdict, took): (Verdict, Duration),
        now: Nanos,
        worker: usize,
    ) -> Option<Box<Transition>> {
        if verdict == Verdict::Neutral || self.cell.generation() != permit.generation {
            return None;
        }
        let is_slow = |(_, slower_than): &(Rate, Duration)| took > *slower_than;
        let slow = policy.slow_rate.as_ref().is_some_and(is_slow);
        let failed = verdict == Verdict::Failure;
        if permit.is_probe() {
            return self.settle_probe(permit, policy, failed || slow, now);
        }
        self.record(policy, &permit, (failed, slow), now, worker);
        if !failed && !slow && self.cell.is_calm() {
            return None;
        }
        self.judge(policy, &permit, failed, now)
    }

    /// Holds the breaker open or closed, or lets it go again.
    pub fn force(&self, forced: Forced, policy: &Policy, now: Nanos) -> Option<Box<Transition>> {
        let step = self
            .cell
            .apply(|machine| machine.step(Event::Force(forced), &policy.thresholds, now));
        self.tell(&step, policy, now)
    }

    /// What it looks like.
    #[must_use]
    pub fn view(&self, policy: &Policy, now: Nanos) -> View {
        let machine = self.cell.load();
        let (consecutive, next_probe, probes) = match machine.phase {
            Phase::Closed { failures, .. } => (failures, None, (0, 0)),
            Phase::Open { until, .. } => (0, Some(until.since(now)), (0, 0)),
            Phase::HalfOpen {
                probes, successes, ..
            } => (0, None, (probes, successes)),
        };
        let (failures, slow) = self.counts(policy, machine.generation, now);
        View {
            kind: machine.kind(),
            forced: machine.forced,
            consecutive,
            failures,
            slow,
            next_probe: next_probe.filter(|_| machine.forced == Forced::No),
            probes,
        }
    }

    #[cold]
    fn admit_slowly(
        self: &Arc<State>,
        policy: &Policy,
        now: Nanos,
    ) -> Result<(Permit, Option<Box<Transition>>), Refused> {
        // Most are refused, and write nothing.
        let asked = self.cell.load();
        let asked = asked.step(Event::Admit, &policy.thresholds, now);
        asked.admitted.ok_or(Refused { left: asked.left })?;
        // Taken before it is known to be needed; dropped where it is not.
        let mut place = self.take_place(policy);
        let by = thresholds(policy, place.is_some());
        let step = self
            .cell
            .apply(|machine| machine.step(Event::Admit, &by, now));
        let Ticket { generation, probe } = step.admitted.ok_or(Refused { left: step.left })?;
        if let Some(place) = &mut place {
            place.generation = generation;
        }
        let moved = self.tell(&step, policy, now);
        let probe = place.filter(|_| probe);
        Ok((Permit { generation, probe }, moved))
    }

    /// A place for a probe, unless as many are in flight as may be.
    fn take_place(self: &Arc<State>, policy: &Policy) -> Option<Probe> {
        let most = policy.thresholds.half_open_probes;
        let one_more = |probes: u32| (probes < most).then_some(probes + 1);
        let taken = self.probes.fetch_update(AcqRel, Acquire, one_more);
        taken.ok().map(|_| Probe {
            state: self.clone(),
            generation: NO_GENERATION,
        })
    }

    #[cold]
    fn settle_probe(
        &self,
        mut permit: Permit,
        policy: &Policy,
        failed: bool,
        now: Nanos,
    ) -> Option<Box<Transition>> {
        let event = Event::Probed {
            generation: permit.generation,
            failed,
        };
        let step = self
            .cell
            .apply(|machine| machine.step(event, &policy.thresholds, now));
        if let Some(probe) = permit.probe.take() {
            probe.forget();
        }
        self.tell(&step, policy, now)
    }

    /// Counts a request in the windows, where there are any. Each worker writes lines of its own.
    #[inline]
    fn record(
        &self,
        policy: &Policy,
        permit: &Permit,
        (failed, slow): (bool, bool),
        now: Nanos,
        worker: usize,
    ) {
        if let Some(rate) = &policy.failure_rate {
            let moment = Moment::new(now, rate.window, permit.generation);
            self.failures.record(worker, moment, failed);
        }
        if let Some((rate, _)) = &policy.slow_rate {
            let moment = Moment::new(now, rate.window, permit.generation);
            self.slow.record(worker, moment, slow);
        }
    }

    /// Something was wrong, now or lately: takes the verdict over all workers.
    #[cold]
    fn judge(
        &self,
        policy: &Policy,
        permit: &Permit,
        failed: bool,
        now: Nanos,
    ) -> Option<Box<Transition>> {
        // Of two workers that record at the same time one at least sees both.
        crate::sync::atomic::fence(crate::sync::atomic::Ordering::SeqCst);
        let counts = self.counts(policy, permit.generation, now);
        let rates = [
            (policy.failure_rate, counts.0, Cause::FailureRate),
            (
                policy.slow_rate.map(|(rate, _)| rate),
                counts.1,
                Cause::SlowRate,
            ),
        ];
        let met = |(rate, counts, cause): &(Option<Rate>, Counts, Cause)| {
            rate.is_some_and(|rate| rate.is_met(*counts))
                .then_some(*cause)
        };
        let is_open = |(rate, counts, _): &(Option<Rate>, Counts, Cause)| {
            rate.is_some_and(|rate| rate.is_open_question(*counts))
        };
        let end = End {
            failed,
            rate: rates.iter().find_map(met),
            doubtful: rates.iter().any(is_open),
        };
        let event = Event::Ended {
            generation: permit.generation,
            end,
        };
        let step = self
            .cell
            .apply(|machine| machine.step(event, &policy.thresholds, now));
        self.tell(&step, policy, now)
    }

    fn counts(&self, policy: &Policy, generation: u32, now: Nanos) -> (Counts, Counts) {
        let sum = |windows: &Windows, rate: Option<&Rate>| {
            rate.map_or_else(Counts::default, |rate| {
                windows.sum(Moment::new(now, rate.window, generation))
            })
        };
        (
            sum(&self.failures, policy.failure_rate.as_ref()),
            sum(&self.slow, policy.slow_rate.as_ref().map(|(rate, _)| rate)),
        )
    }

    fn tell(&self, step: &Step, policy: &Policy, now: Nanos) -> Option<Box<Transition>> {
        let cause = step.cause?;
        let (failures, slow) = self.counts(policy, step.before.generation, now);
        let consecutive = match (step.before.phase, cause) {
            (Phase::Closed { failures, .. }, Cause::ConsecutiveFailures) => failures + 1,
            (Phase::Closed { failures, .. }, _) => failures,
            _ => 0,
        };
        let open_for = match step.next.phase {
            Phase::Open { until, .. } if step.next.forced == Forced::No => Some(until.since(now)),
            _ => None,
        };
        Some(Box::new(Transition {
            from: step.before.kind(),
            to: step.next.kind(),
            cause,
            consecutive,
            failures,
            slow,
            open_for,
        }))
    }
}

impl Probe {
    /// It was settled: nothing is left to give back.
    fn forget(mut self) {
        self.generation = NO_GENERATION;
    }
}

/// What moves the breaker where there is a place for a probe, or none.
fn thresholds(policy: &Policy, has_place: bool) -> Thresholds {
    let mut by = policy.thresholds;
    if !has_place {
        by.half_open_probes = 0;
    }
    by
}

/// More than a word can hold.
const NO_GENERATION: u32 = u32::MAX;

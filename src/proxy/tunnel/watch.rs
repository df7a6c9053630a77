//! The deadlines of a tunnel, and when the drain closes it.

use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use super::Limits;
use super::pipe::{Flow, Pipe, Stage};
use crate::drain::Phase;
use crate::metrics::ClosedBy;
use crate::proxy::worker::Worker;
use crate::time::Nanos;
use crate::timer::Deadline;

/// A side that has said its last word, and hears nothing more for so long, is closed: no WebSocket speaks with half a
/// connection.
const HALF_CLOSED: Duration = Duration::from_secs(30);
/// The share of the drain's time over which tunnels leave.
const SPREAD: f64 = 0.8;

/// Looks after the deadlines of a tunnel.
pub(super) struct Watch {
    pub(super) worker: Rc<Worker>,
    limits: Limits,
    moved_at: Nanos,
    /// Since when the client takes nothing.
    blocked_since: Option<Nanos>,
    /// What the client had taken then.
    taken: usize,
    /// Who was the first to say its last word.
    first_to_end: Option<ClosedBy>,
    /// When the drain closes it.
    leaves_at: Option<Nanos>,
    /// What the deadline is set to.
    set: Option<Nanos>,
}

impl Watch {
    pub(super) fn begin(worker: Rc<Worker>, limits: Limits) -> Watch {
        Watch {
            limits,
            moved_at: worker.read_clock(),
            blocked_since: None,
            taken: 0,
            first_to_end: None,
            leaves_at: None,
            set: None,
            worker,
        }
    }

    /// Ready with who closed it.
    pub(super) fn look<C, U>(
        &mut self,
        pipe: &Pipe<C, U>,
        moved: bool,
        deadline: &Deadline,
    ) -> Poll<ClosedBy> {
        let now = if moved || deadline.fired() {
            self.worker.read_clock()
        } else {
            self.worker.recent()
        };
        if moved {
            self.moved_at = now;
        }
        if let Some(by) = pipe.ended_by() {
            return Poll::Ready(self.first_to_end.unwrap_or(by));
        }
        self.note_ends(pipe);
        if pipe.is_over() {
            return Poll::Ready(self.first_to_end.unwrap_or(ClosedBy::Gateway));
        }
        self.note_blocked(&pipe.down, now);
        if self.note_drain() || (deadline.fired() && self.due().is_some_and(|due| due <= now)) {
            return Poll::Ready(self.first_to_end.unwrap_or(ClosedBy::Gateway));
        }
        // A deadline that moves away is found out when it falls, so that a message costs no look at the wheel.
        let due = self.due();
        let nearer = match (due, self.set) {
            (Some(due), Some(set)) => due < set,
            (due, set) => due != set,
        };
        if nearer || deadline.fired() {
            self.set = due;
            deadline.set_at(now, due);
        }
        Poll::Pending
    }

    /// Who was the first to end, if anybody has; `closed` is what the last look said.
    pub(super) fn first_end(&self, closed: &Poll<ClosedBy>) -> Option<ClosedBy> {
        match closed {
            Poll::Ready(by) => Some(*by),
            Poll::Pending => self.first_to_end,
        }
    }

    fn note_ends<C, U>(&mut self, pipe: &Pipe<C, U>) {
        if self.first_to_end.is_none() {
            self.first_to_end = match (pipe.up.stage, pipe.down.stage) {
                (Stage::Open, Stage::Open) => None,
                (_, Stage::Open) => Some(ClosedBy::Client),
                _ => Some(ClosedBy::Upstream),
            };
        }
    }

    fn note_blocked(&mut self, down: &Flow, now: Nanos) {
        if !down.is_blocked() {
            self.blocked_since = None;
        } else if self.blocked_since.is_none() || self.taken != down.written {
            self.blocked_since = Some(now);
            self.taken = down.written;
        }
    }

    /// True when the time of the drain is over. Tunnels leave one by one, so that their clients do not all come back at
    /// the same moment.
    fn note_drain(&mut self) -> bool {
        match self.worker.drain.phase() {
            Phase::Serving | Phase::Announced => false,
            Phase::Closing => {
                if self.leaves_at.is_none() {
                    let now = self.worker.read_clock();
                    let left = self.worker.drain.cut_at().since(now).mul_f64(SPREAD);
                    let share = (self.worker.random() >> 40) as f64 / (1u64 << 24) as f64;
                    self.leaves_at = Some(now.plus(left.mul_f64(share)));
                }
                false
            }
            Phase::Cut => true,
        }
    }

    fn due(&self) -> Option<Nanos> {
        let silence = match (self.limits.idle, self.first_to_end) {
            (idle, None) => idle,
            (idle, Some(_)) => Some(idle.map_or(HALF_CLOSED, |idle| idle.min(HALF_CLOSED))),
        };
        let silent = silence.map(|t| self.moved_at.plus(t));
        let blocked = self
            .blocked_since
            .zip(self.limits.write)
            .map(|(since, t)| since.plus(t));
        silent
            .into_iter()
            .chain(blocked)
            .chain(self.leaves_at)
            .min()
    }
}

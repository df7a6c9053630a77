//! The machine of a breaker: (state, event, thresholds, now) → state. Pure, and all of it in one match.
//!
//! Law: closed leads to open only, open to half-open only, half-open to closed or open; nothing but a hand that forces
//! it takes another way. Whatever began in another generation moves nothing.

use std::time::Duration;

use crate::time::Nanos;

/// The numbers that move it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Thresholds {
    /// Failures in a row that open it, at most [`MOST_FAILURES`]; `None` = off.
    pub consecutive_failures: Option<u32>,
    /// Open to half-open.
    pub open_for: Duration,
    /// `open_for` doubles at each re-opening, up to this; not below it.
    pub max_open_for: Duration,
    /// Half-open to closed, at most [`MOST_PROBES`].
    pub half_open_successes: u32,
    /// Most probes in flight, at most [`MOST_PROBES`]; 0 = no place is free for one.
    pub half_open_probes: u32,
}

/// Most failures in a row that are counted.
pub const MOST_FAILURES: u32 = (1 << 20) - 1;
/// Most probes, and most successes, of one half-open time.
pub const MOST_PROBES: u32 = (1 << 12) - 1;
/// Most doublings of `open_for` that are counted.
pub const MOST_LEVELS: u32 = (1 << 5) - 1;
/// Generations are counted modulo one more than this.
pub const LAST_GENERATION: u32 = (1 << 17) - 1;

/// The state of a breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Machine {
    /// What it has come to by itself; it rests while it is forced.
    pub phase: Phase,
    /// What it is held to.
    pub forced: Forced,
    /// Counts everything that makes earlier results worthless.
    pub generation: u32,
}

/// What a breaker has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Traffic flows.
    Closed {
        /// In a row.
        failures: u32,
        /// Were there failures or slow answers among too few requests? Then successes are judged as well.
        doubtful: bool,
    },
    /// Refused.
    Open {
        /// When a probe is due; its resolution is [`TICK`].
        until: Nanos,
        /// Re-openings since it was closed.
        level: u32,
    },
    /// Probing.
    HalfOpen {
        /// Under way.
        probes: u32,
        /// So far.
        successes: u32,
        /// Re-openings since it was closed.
        level: u32,
    },
}

/// The resolution of moments in a breaker's word, one millisecond; they are rounded down.
pub const TICK: u64 = 1_000_000;

/// A hand on the breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forced {
    /// It moves by itself.
    No,
    /// Everything is refused.
    Open,
    /// Everything passes.
    Closed,
}

/// What a breaker does, whoever decided it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// Traffic flows.
    Closed,
    /// Refused.
    Open,
    /// Probing.
    HalfOpen,
}

impl Kind {
    /// Every kind, in the order of their numbers, which are the gauge's values.
    pub const ALL: [Kind; 3] = [Kind::Closed, Kind::Open, Kind::HalfOpen];

    /// The word in metrics, log and admin.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Kind::Closed => "closed",
            Kind::Open => "open",
            Kind::HalfOpen => "half_open",
        }
    }
}

/// Why a breaker moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Cause {
    /// Too many failures in a row.
    ConsecutiveFailures,
    /// Too large a share of failures.
    FailureRate,
    /// Too large a share of slow answers.
    SlowRate,
    /// A probe failed.
    ProbeFailed,
    /// Enough probes succeeded.
    ProbesSucceeded,
    /// `open_for` is over, and a request came.
    Timer,
    /// By an operator's hand.
    Forced,
}

impl Cause {
    /// Every cause, in the order of their numbers.
    pub const ALL: [Cause; 7] = [
        Cause::ConsecutiveFailures,
        Cause::FailureRate,
        Cause::SlowRate,
        Cause::ProbeFailed,
        Cause::ProbesSucceeded,
        Cause::Timer,
        Cause::Forced,
    ];

    /// The word in metrics and log.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Cause::ConsecutiveFailures => "consecutive_failures",
            Cause::FailureRate => "failure_rate",
            Cause::SlowRate => "slow_rate",
            Cause::ProbeFailed => "probe_failed",
            Cause::ProbesSucceeded => "probes_succeeded",
            Cause::Timer => "timer",
            Cause::Forced => "forced",
        }
    }
}

/// What happens to a breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A request asks to pass.
    Admit,
    /// A request of the closed state ended.
    Ended {
        /// In which it was admitted.
        generation: u32,
        /// What came of it.
        end: End,
    },
    /// A probe ended.
    Probed {
        /// In which it was admitted.
        generation: u32,
        /// Did it fail?
        failed: bool,
    },
    /// A permit came back unused.
    GivenBack(Ticket),
    /// An operator's hand.
    Force(Forced),
}

/// What came of a request of the closed state, and of all those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    /// Did it fail?
    pub failed: bool,
    /// The rate that is met by now.
    pub rate: Option<Cause>,
    /// Are there failures or slow answers among too few requests?
    pub doubtful: bool,
}

/// What an admitted request has to show at its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket {
    /// In which it was admitted.
    pub generation: u32,
    /// Is it one of the probes?
    pub probe: bool,
}

/// What came of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// The state before.
    pub before: Machine,
    /// The state after.
    pub next: Machine,
    /// Why it became another, for those who look from outside.
    pub cause: Option<Cause>,
    /// To [`Event::Admit`]: the permit.
    pub admitted: Option<Ticket>,
    /// To [`Event::Admit`] of an open one: how long until a probe is due.
    pub left: Option<Duration>,
}

impl Machine {
    /// Closed, without history.
    pub const NEW: Machine = Machine {
        phase: Phase::Closed {
            failures: 0,
            doubtful: false,
        },
        forced: Forced::No,
        generation: 0,
    };

    /// What it does.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match (self.forced, self.phase) {
            (Forced::Open, _) | (Forced::No, Phase::Open { .. }) => Kind::Open,
            (Forced::Closed, _) | (Forced::No, Phase::Closed { .. }) => Kind::Closed,
            (Forced::No, Phase::HalfOpen { .. }) => Kind::HalfOpen,
        }
    }

    /// What `event` makes of it at `now`.
    #[must_use]
    pub fn step(self, event: Event, by: &Thresholds, now: Nanos) -> Step {
        let is_now = |generation: u32| generation == self.generation;
        match (self.forced, self.phase, event) {
            (_, _, Event::Force(forced)) => self.force(forced, now),

            (Forced::Open, _, Event::Admit) => self.refuse(None),
            (Forced::Closed, _, Event::Admit) => self.admit(false),
            (Forced::Open | Forced::Closed, _, _) => self.stay(),

            (_, Phase::Closed { .. }, Event::Admit) => self.admit(false),
            (_, Phase::Open { until, .. }, Event::Admit)
                if now < until || by.half_open_probes == 0 =>
            {
                self.refuse(Some(until.since(now)))
            }
            (_, Phase::Open { level, .. }, Event::Admit) => {
                let phase = Phase::HalfOpen {
                    probes: 0,
                    successes: 0,
                    level,
                };
                let moved = self.turn(phase, Cause::Timer);
                Step {
                    before: self,
                    cause: moved.cause,
                    next: moved.next.count_probe(1, 0).next,
                    ..moved.next.admit(true)
                }
            }
            (_, Phase::HalfOpen { probes, .. }, Event::Admit) if probes < by.half_open_probes => {
                Step {
                    next: self.count_probe(1, 0).next,
                    ..self.admit(true)
                }
            }
            (_, Phase::HalfOpen { .. }, Event::Admit) => self.refuse(None),

            (_, Phase::Closed { failures, .. }, Event::Ended { generation, end })
                if is_now(generation) =>
            {
                self.end(failures, end, by, now)
            }
            (_, Phase::HalfOpen { level, .. }, Event::Probed { generation, failed })
                if failed && is_now(generation) =>
            {
                self.open((level + 1).min(MOST_LEVELS), Cause::ProbeFailed, by, now)
            }
            (_, Phase::HalfOpen { successes, .. }, Event::Probed { generation, .. })
                if is_now(generation) && successes + 1 >= by.half_open_successes =>
            {
                self.turn(Machine::NEW.phase, Cause::ProbesSucceeded)
            }
            (_, Phase::HalfOpen { .. }, Event::Probed { generation, .. }) if is_now(generation) => {
                self.count_probe(-1, 1)
            }
            (_, Phase::HalfOpen { .. }, Event::GivenBack(ticket))
                if ticket.probe && is_now(ticket.generation) =>
            {
                self.count_probe(-1, 0)
            }

            (_, _, Event::Ended { .. } | Event::Probed { .. } | Event::GivenBack(_)) => self.stay(),
        }
    }

    /// Would [`Event::Admit`] be granted?
    #[must_use]
    pub fn would_admit(&self, by: &Thresholds, now: Nanos) -> bool {
        self.step(Event::Admit, by, now).admitted.is_some()
    }

    /// What it rested in is what it comes back to; but where nobody waited for probes, they begin anew.
    fn force(self, forced: Forced, now: Nanos) -> Step {
        if forced == self.forced {
            return self.stay();
        }
        let phase = match self.phase {
            Phase::Closed { .. } => Machine::NEW.phase,
            open @ Phase::Open { .. } => open,
            Phase::HalfOpen { level, .. } => Phase::Open {
                until: round_down(now),
                level,
            },
        };
        let next = Machine {
            forced,
            ..self.turn(phase, Cause::Forced).next
        };
        Step {
            cause: (next.kind() != self.kind()).then_some(Cause::Forced),
            next,
            ..self.stay()
        }
    }

    fn open(self, level: u32, cause: Cause, by: &Thresholds, now: Nanos) -> Step {
        let longest = by.max_open_for.max(by.open_for);
        let doubled = by.open_for.saturating_mul(1 << level).min(longest);
        let until = round_down(now.plus(doubled));
        self.turn(Phase::Open { until, level }, cause)
    }

    fn end(self, failures: u32, end: End, by: &Thresholds, now: Nanos) -> Step {
        let failures = if end.failed {
            (failures + 1).min(MOST_FAILURES)
        } else {
            0
        };
        let is_most = |most: &u32| end.failed && failures >= *most;
        let in_a_row = by.consecutive_failures.filter(is_most);
        let cause = in_a_row.map(|_| Cause::ConsecutiveFailures).or(end.rate);
        let doubtful = end.doubtful;
        match cause {
            Some(cause) => self.open(0, cause, by, now),
            None => self.with(Phase::Closed { failures, doubtful }),
        }
    }

    fn count_probe(self, under_way: i32, succeeded: u32) -> Step {
        match self.phase {
            Phase::HalfOpen {
                probes,
                successes,
                level,
            } => self.with(Phase::HalfOpen {
                probes: probes.saturating_add_signed(under_way),
                successes: successes + succeeded,
                level,
            }),
            Phase::Closed { .. } | Phase::Open { .. } => self.stay(),
        }
    }

    fn turn(self, phase: Phase, cause: Cause) -> Step {
        let next = Machine {
            phase,
            forced: self.forced,
            generation: (self.generation + 1) & LAST_GENERATION,
        };
        Step {
            next,
            cause: Some(cause),
            ..self.stay()
        }
    }

    fn with(self, phase: Phase) -> Step {
        Step {
            next: Machine { phase, ..self },
            ..self.stay()
        }
    }

    fn admit(self, probe: bool) -> Step {
        Step {
            admitted: Some(Ticket {
                generation: self.generation,
                probe,
            }),
            ..self.stay()
        }
    }

    fn refuse(self, left: Option<Duration>) -> Step {
        Step {
            left,
            ..self.stay()
        }
    }

    fn stay(self) -> Step {
        Step {
            before: self,
            next: self,
            cause: None,
            admitted: None,
            left: None,
        }
    }
}

/// A word holds no more; and who is told to come back in a second shall not come a millisecond too early.
fn round_down(moment: Nanos) -> Nanos {
    Nanos(moment.0 / TICK * TICK)
}

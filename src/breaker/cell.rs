//! A [`Machine`] packed in one atomic word, and the loop that changes it.

use super::machine::{
    Event, Forced, LAST_GENERATION, MOST_FAILURES, MOST_LEVELS, MOST_PROBES, Machine, Phase, Step,
    TICK, Thresholds, Ticket,
};
use crate::sync::atomic::AtomicU64;
use crate::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed};
use crate::time::Nanos;

/// The state of one breaker, as all workers see it.
#[derive(Debug)]
pub struct Cell(AtomicU64);

impl Default for Cell {
    fn default() -> Cell {
        Cell(AtomicU64::new(pack(Machine::NEW)))
    }
}

impl Cell {
    /// The state.
    #[must_use]
    pub fn load(&self) -> Machine {
        unpack(self.0.load(Acquire))
    }

    /// The generation, of a breaker that nobody forces and that is closed.
    #[must_use]
    #[inline]
    pub fn closed_generation(&self) -> Option<u32> {
        let word = self.0.load(Acquire);
        (word & (PHASE | FORCED) == 0).then(|| generation(word))
    }

    /// The generation.
    #[must_use]
    #[inline]
    pub fn generation(&self) -> u32 {
        generation(self.0.load(Acquire))
    }

    /// Is it closed, by itself, with no failure on record? Then a success changes nothing.
    #[must_use]
    #[inline]
    pub fn is_calm(&self) -> bool {
        self.0.load(Relaxed) & !(LAST_GENERATION_64 << GENERATION_AT) == 0
    }

    /// Gives a permit back unused.
    pub fn give_back(&self, ticket: Ticket) {
        self.apply(|machine| machine.step(Event::GivenBack(ticket), &ANY, Nanos(0)));
    }

    /// Applies a step to the state, again and again until nobody else came between. A step that changes nothing writes
    /// nothing.
    pub fn apply(&self, step: impl Fn(Machine) -> Step) -> Step {
        let mut seen = self.0.load(Acquire);
        loop {
            let step = step(unpack(seen));
            let next = pack(step.next);
            if next == seen {
                return step;
            }
            match self.0.compare_exchange_weak(seen, next, AcqRel, Acquire) {
                Ok(_) => return step,
                Err(other) => seen = other,
            }
        }
    }
}

/// For an event that asks no threshold.
const ANY: Thresholds = Thresholds {
    consecutive_failures: None,
    open_for: std::time::Duration::ZERO,
    max_open_for: std::time::Duration::ZERO,
    half_open_successes: 1,
    half_open_probes: 1,
};

// From the lowest bit: phase 2, forced 2, generation 17, and 43 bits of the phase's own.

const PHASE: u64 = 0b11;
const CLOSED: u64 = 0;
const OPEN: u64 = 1;
const HALF_OPEN: u64 = 2;

const FORCED: u64 = 0b11 << 2;
const FORCED_OPEN: u64 = 1 << 2;
const FORCED_CLOSED: u64 = 2 << 2;

const GENERATION_AT: u32 = 4;
const LAST_GENERATION_64: u64 = LAST_GENERATION as u64;
const OWN_AT: u32 = 21;

/// Of a closed one: doubtful 1, failures.
const FAILURES_AT: u32 = OWN_AT + 1;
/// Of the others: level 5, then moment 38, or probes 12 and successes 12.
const MOMENT_AT: u32 = OWN_AT + 5;
const SUCCESSES_AT: u32 = MOMENT_AT + 12;

/// The last moment that fits, 8 years after the start.
const LAST_TICK: u64 = (1 << 38) - 1;

fn generation(word: u64) -> u32 {
    (word >> GENERATION_AT & LAST_GENERATION_64) as u32
}

fn pack(machine: Machine) -> u64 {
    let level = |level: u32| u64::from(level.min(MOST_LEVELS)) << OWN_AT;
    let phase = match machine.phase {
        Phase::Closed { failures, doubtful } => {
            let failures = u64::from(failures.min(MOST_FAILURES));
            CLOSED | u64::from(doubtful) << OWN_AT | failures << FAILURES_AT
        }
        Phase::Open { until, level: of } => {
            OPEN | level(of) | (until.0 / TICK).min(LAST_TICK) << MOMENT_AT
        }
        Phase::HalfOpen {
            probes,
            successes,
            level: of,
        } => {
            let probes = u64::from(probes.min(MOST_PROBES)) << MOMENT_AT;
            let successes = u64::from(successes.min(MOST_PROBES)) << SUCCESSES_AT;
            HALF_OPEN | level(of) | probes | successes
        }
    };
    let forced = match machine.forced {
        Forced::No => 0,
        Forced::Open => FORCED_OPEN,
        Forced::Closed => FORCED_CLOSED,
    };
    phase | forced | u64::from(machine.generation & LAST_GENERATION) << GENERATION_AT
}

fn unpack(word: u64) -> Machine {
    let field = |at: u32, most: u32| (word >> at) as u32 & most;
    let level = field(OWN_AT, MOST_LEVELS);
    let phase = match word & PHASE {
        CLOSED => Phase::Closed {
            failures: field(FAILURES_AT, MOST_FAILURES),
            doubtful: word >> OWN_AT & 1 == 1,
        },
        OPEN => Phase::Open {
            until: Nanos((word >> MOMENT_AT).saturating_mul(TICK)),
            level,
        },
        _ => Phase::HalfOpen {
            probes: field(MOMENT_AT, MOST_PROBES),
            successes: field(SUCCESSES_AT, MOST_PROBES),
            level,
        },
    };
    let forced = match word & FORCED {
        FORCED_OPEN => Forced::Open,
        FORCED_CLOSED => Forced::Closed,
        _ => Forced::No,
    };
    Machine {
        phase,
        forced,
        generation: generation(word),
    }
}

#[cfg(all(test, not(gateway_loom)))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    prop_compose! {
        fn any_machine()(
            which in 0..3_u8,
            (failures, doubtful) in (0..=MOST_FAILURES, any::<bool>()),
            (tick, level) in (0..=LAST_TICK, 0..=MOST_LEVELS),
            (probes, successes) in (0..=MOST_PROBES, 0..=MOST_PROBES),
            forced in prop::sample::select(vec![Forced::No, Forced::Open, Forced::Closed]),
            generation in 0..=LAST_GENERATION,
        ) -> Machine {
            let phase = match which {
                0 => Phase::Closed { failures, doubtful },
                1 => Phase::Open { until: Nanos(tick * TICK), level },
                _ => Phase::HalfOpen { probes, successes, level },
            };
            Machine { phase, forced, generation }
        }
    }

    proptest! {
        #[test]
        fn a_word_holds_all_of_a_machine(machine in any_machine()) {
            prop_assert_eq!(unpack(pack(machine)), machine);
        }

        #[test]
        fn the_quick_looks_say_what_the_whole_says(machine in any_machine()) {
            let cell = Cell(AtomicU64::new(pack(machine)));
            let is_open = machine.forced == Forced::No && matches!(machine.phase, Phase::Closed { .. });
            prop_assert_eq!(cell.closed_generation(), is_open.then_some(machine.generation));
            prop_assert_eq!(cell.generation(), machine.generation);
            let calm = Machine { generation: machine.generation, ..Machine::NEW };
            prop_assert_eq!(cell.is_calm(), machine == calm);
        }
    }
}

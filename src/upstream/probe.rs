//! What active probes found out about an endpoint: rise and fall, as pure transitions in one word.
//!
//! One task writes it, workers read it. A verdict belongs to the endpoint *and* to what was asked: a changed question
//! begins as unknown. An endpoint that nobody knows yet serves until probes say that it does not.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{
    AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use http::HeaderValue;

use crate::time::Nanos;

/// How endpoints are probed. Part of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbePolicy {
    /// The path that is asked for, in its one spelling.
    pub path: Arc<str>,
    /// Status codes of a good answer.
    pub expect: Expect,
    /// From the begin of one probe to the begin of the next, but for a tenth more or less.
    pub interval: Duration,
    /// How long a probe may take, from connecting to the end of its answer.
    pub timeout: Duration,
    /// Good answers in a row after which it serves again, at least 1.
    pub healthy: u32,
    /// Bad ones after which it is left out, at least 1.
    pub unhealthy: u32,
}

/// Status codes, as ranges with both their ends.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Expect(pub Arc<[(u16, u16)]>);

impl Expect {
    /// Is it one of them?
    #[must_use]
    pub fn takes(&self, status: u16) -> bool {
        self.0
            .iter()
            .any(|(from, to)| (*from..=*to).contains(&status))
    }
}

impl fmt::Display for Expect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (nth, (from, to)) in self.0.iter().enumerate() {
            if nth > 0 {
                f.write_str(", ")?;
            }
            match from == to {
                true => write!(f, "{from}")?,
                false => write!(f, "{from}-{to}")?,
            }
        }
        Ok(())
    }
}

/// What an endpoint is asked: what makes two verdicts comparable, beside the endpoint itself.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Question {
    /// The path.
    pub path: Arc<str>,
    /// Host and port that are asked for.
    pub authority: HeaderValue,
    /// The TLS settings; 0 = clear text.
    pub lock: u64,
    /// What a good answer is.
    pub expect: Expect,
}

/// What probes say of an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// No answer yet, or too few bad ones: it serves.
    Unknown,
    /// It serves.
    Healthy,
    /// It is left out.
    Unhealthy,
}

impl Verdict {
    /// As pages and logs write it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Verdict::Unknown => "unknown",
            Verdict::Healthy => "healthy",
            Verdict::Unhealthy => "unhealthy",
        }
    }
}

/// A verdict and how many answers in a row speak against it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tally {
    /// What holds.
    pub verdict: Verdict,
    /// Answers in a row that say otherwise.
    pub against: u32,
}

impl Tally {
    /// Nothing is known.
    pub const UNKNOWN: Tally = Tally {
        verdict: Verdict::Unknown,
        against: 0,
    };

    /// After one more answer. The first good one makes an unknown endpoint healthy, for it serves anyway.
    #[must_use]
    pub fn after(self, is_good: bool, healthy: u32, unhealthy: u32) -> Tally {
        let (other, needed) = match (self.verdict, is_good) {
            (Verdict::Unknown, true) => (Verdict::Healthy, 1),
            (Verdict::Unhealthy, true) => (Verdict::Healthy, healthy),
            (Verdict::Unknown | Verdict::Healthy, false) => (Verdict::Unhealthy, unhealthy),
            (Verdict::Healthy, true) | (Verdict::Unhealthy, false) => {
                return Tally { against: 0, ..self };
            }
        };
        let against = self.against.saturating_add(1);
        if against < needed {
            return Tally { against, ..self };
        }
        Tally {
            verdict: other,
            against: 0,
        }
    }

    fn pack(self) -> u64 {
        u64::from(self.against) << 2 | self.verdict as u64
    }

    fn unpack(word: u64) -> Tally {
        let verdict = match word & 3 {
            0 => Verdict::Unknown,
            1 => Verdict::Healthy,
            _ => Verdict::Unhealthy,
        };
        Tally {
            verdict,
            against: u32::try_from(word >> 2).unwrap_or(u32::MAX),
        }
    }
}

/// The last answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heard {
    /// When it came, or was given up.
    pub at: Nanos,
    /// Was it as expected?
    pub is_good: bool,
    /// What it was, in words.
    pub what: String,
}

/// What is known of one endpoint by one question. Found again by both when the file changes.
#[derive(Debug)]
pub struct ProbeState {
    tally: AtomicU64,
    since: AtomicU64,
    recovered: AtomicU64,
    next: AtomicU64,
    heard: ArcSwapOption<Heard>,
}

impl ProbeState {
    /// Nothing is known since `now`.
    #[must_use]
    pub fn new(now: Nanos) -> ProbeState {
        ProbeState {
            tally: AtomicU64::new(Tally::UNKNOWN.pack()),
            since: AtomicU64::new(now.0),
            recovered: AtomicU64::new(0),
            next: AtomicU64::new(0),
            heard: ArcSwapOption::empty(),
        }
    }

    /// What holds.
    #[must_use]
    pub fn tally(&self) -> Tally {
        Tally::unpack(self.tally.load(Acquire))
    }

    /// Is it to be left out?
    #[must_use]
    pub fn is_unhealthy(&self) -> bool {
        self.tally().verdict == Verdict::Unhealthy
    }

    /// Since when the verdict holds.
    #[must_use]
    pub fn since(&self) -> Nanos {
        Nanos(self.since.load(Relaxed))
    }

    /// When it last stopped being unhealthy; 0 = never was.
    #[must_use]
    pub fn recovered(&self) -> Nanos {
        Nanos(self.recovered.load(Relaxed))
    }

    /// When it is asked next; 0 = not known.
    #[must_use]
    pub fn next(&self) -> Nanos {
        Nanos(self.next.load(Relaxed))
    }

    /// It will be asked at this moment.
    pub fn plan(&self, next: Nanos) {
        self.next.store(next.0, Relaxed);
    }

    /// The last answer.
    #[must_use]
    pub fn heard(&self) -> Option<Arc<Heard>> {
        self.heard.load_full()
    }

    /// Takes an answer down; returns the new verdict where it changed. Only one task may call it.
    pub fn hear(&self, heard: Heard, policy: &ProbePolicy) -> Option<Verdict> {
        let before = self.tally();
        let after = before.after(heard.is_good, policy.healthy, policy.unhealthy);
        let changed = after.verdict != before.verdict;
        if changed {
            self.since.store(heard.at.0, Relaxed);
            if before.verdict == Verdict::Unhealthy {
                self.recovered.store(heard.at.0, Relaxed);
            }
        }
        self.heard.store(Some(Arc::new(heard)));
        self.tally.store(after.pack(), Release);
        changed.then_some(after.verdict)
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn policy(healthy: u32, unhealthy: u32) -> ProbePolicy {
        ProbePolicy {
            path: "/".into(),
            expect: Expect([(200, 299), (304, 304)].into()),
            interval: Duration::from_secs(5),
            timeout: Duration::from_secs(2),
            healthy,
            unhealthy,
        }
    }

    fn heard(is_good: bool, at: u64) -> Heard {
        Heard {
            at: Nanos(at),
            is_good,
            what: String::new(),
        }
    }

    /// What it was after each answer: `+` good, `-` bad.
    fn verdicts(answers: &str) -> String {
        let state = ProbeState::new(Nanos(1));
        let policy = policy(2, 3);
        let told = (2..).zip(answers.chars()).map(|(at, answer)| {
            state.hear(heard(answer == '+', at), &policy);
            match state.tally().verdict {
                Verdict::Unknown => '?',
                Verdict::Healthy => 'h',
                Verdict::Unhealthy => 'u',
            }
        });
        told.collect()
    }

    /// U1, and what is new serves until it fails.
    #[test]
    fn three_bad_answers_and_it_is_out_two_good_ones_and_it_is_back() {
        assert_eq!(verdicts("+--+---"), "hhhhhhu");
        assert_eq!(verdicts("---+-++"), "??uuuuh");
        assert_eq!(verdicts("--+--"), "??hhh");
        assert_eq!(verdicts("---+++---"), "??uuhhhhu");
    }

    #[test]
    fn a_change_is_told_with_its_time() {
        let (state, policy) = (ProbeState::new(Nanos(5)), policy(1, 1));
        assert_eq!(state.hear(heard(true, 6), &policy), Some(Verdict::Healthy));
        assert_eq!((state.since(), state.recovered()), (Nanos(6), Nanos(0)));
        assert_eq!(state.hear(heard(true, 7), &policy), None);
        assert_eq!(
            state.hear(heard(false, 8), &policy),
            Some(Verdict::Unhealthy)
        );
        assert_eq!(state.hear(heard(true, 9), &policy), Some(Verdict::Healthy));
        assert_eq!((state.since(), state.recovered()), (Nanos(9), Nanos(9)));
        assert_eq!(state.heard().unwrap().at, Nanos(9));
    }

    #[test]
    fn expected_are_the_ends_and_what_is_between() {
        let expect = policy(1, 1).expect;
        let taken = [199, 200, 299, 300, 303, 304, 305].map(|status| expect.takes(status));
        assert_eq!(taken, [false, true, true, false, false, true, false]);
        assert_eq!(expect.to_string(), "200-299, 304");
    }

    proptest! {
        /// The definition, told by looking back over all answers.
        #[test]
        fn a_verdict_falls_only_by_answers_in_a_row(
            answers in vec(any::<bool>(), 0..60), healthy in 1..5_u32, unhealthy in 1..5_u32,
        ) {
            let mut tally = Tally::UNKNOWN;
            for end in 1..=answers.len() {
                let before = tally;
                tally = tally.after(answers[end - 1], healthy, unhealthy);
                prop_assert_eq!(Tally::unpack(tally.pack()), tally);
                let ends_with = |is_good: bool, count: u32| {
                    let tail = answers[..end].iter().rev().take_while(|answer| **answer == is_good);
                    tail.count() >= count as usize
                };
                let expected = match before.verdict {
                    Verdict::Unhealthy if ends_with(true, healthy) => Verdict::Healthy,
                    Verdict::Unhealthy => Verdict::Unhealthy,
                    _ if ends_with(false, unhealthy) => Verdict::Unhealthy,
                    Verdict::Unknown if ends_with(true, 1) => Verdict::Healthy,
                    same => same,
                };
                prop_assert_eq!(tally.verdict, expected);
            }
        }
    }
}

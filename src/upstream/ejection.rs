//! Leaving an endpoint out for a while that failed several times in a row: what is known of one, and how long it is out.
//!
//! Failures are counted in one word that is only read while all goes well. Who may be left out is decided for a whole
//! upstream at a time, in `upstream/out.rs`; here is what one endpoint knows of itself. Times grow: the n-th time takes n
//! times as long as the first, at most [`MOST_TIMES`] times; each `base` of service since the last takes one step back.

use std::sync::atomic::{
    AtomicBool, AtomicU32, AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
};
use std::time::Duration;

use crate::time::Nanos;

/// An endpoint is left out no longer than this many times `base`.
pub const MOST_TIMES: u32 = 10;

/// When endpoints are left out. Part of a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EjectionPolicy {
    /// Failures in a row that it takes, at least 1.
    pub consecutive_failures: u32,
    /// For how long, the first time.
    pub base: Duration,
    /// Most endpoints left out at once, of a hundred.
    pub max_percent: u32,
}

impl EjectionPolicy {
    /// Of so many endpoints this many may be out at once; never all.
    #[must_use]
    pub fn most_of(&self, endpoints: usize) -> usize {
        let share = endpoints.saturating_mul(self.max_percent as usize) / 100;
        share.min(endpoints.saturating_sub(1))
    }
}

/// What an endpoint's failures brought it. Outlives snapshots.
#[derive(Debug, Default)]
pub struct Ejection {
    /// In a row.
    failures: AtomicU32,
    /// How often it was left out, less what was forgiven.
    times: AtomicU32,
    /// When it was left out last.
    since: AtomicU64,
    /// When that ends or ended; 0 = never left out.
    until: AtomicU64,
    /// Is its return still to be told?
    untold: AtomicBool,
}

/// An endpoint that was just left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ejected {
    /// For how long.
    pub lasts: Duration,
    /// The failures that were the cause.
    pub failures: u32,
}

impl Ejection {
    /// An attempt went well: one load, and a store only where failures are on record.
    #[inline]
    pub fn succeeded(&self) {
        if self.failures.load(Relaxed) != 0 {
            self.failures.store(0, Relaxed);
        }
    }

    /// An attempt that began at `began` failed; returns how many did so in a row. What began before it was last left
    /// out, or while it was, says nothing of how it is now.
    pub fn failed(&self, began: Nanos) -> u32 {
        if began < self.until() {
            return 0;
        }
        let before = self.failures.fetch_add(1, Relaxed);
        before.saturating_add(1)
    }

    /// Failures in a row.
    #[must_use]
    pub fn failures(&self) -> u32 {
        self.failures.load(Relaxed)
    }

    /// Is it left out at `now`?
    #[must_use]
    pub fn is_out(&self, now: Nanos) -> bool {
        self.until() > now
    }

    /// When it was left out last, and when that ends or ended; 0 = never.
    #[must_use]
    pub fn last(&self) -> (Nanos, Nanos) {
        let until = self.until();
        (Nanos(self.since.load(Relaxed)), until)
    }

    /// Leaves it out. To be called by one at a time.
    pub(super) fn begin(&self, now: Nanos, policy: &EjectionPolicy) -> Ejected {
        let served = now.since(self.until());
        let times = grown(self.times.load(Relaxed), served, policy.base);
        let lasts = policy.base.saturating_mul(times);
        self.times.store(times, Relaxed);
        self.since.store(now.0, Relaxed);
        // Released: who sees it out sees since when.
        self.until.store(now.plus(lasts).0, Release);
        self.untold.store(true, Relaxed);
        let failures = self.failures.swap(0, Relaxed);
        Ejected { lasts, failures }
    }

    /// True for the first who asks after it has come back.
    pub(super) fn returned(&self, now: Nanos) -> bool {
        self.untold.load(Relaxed) && !self.is_out(now) && self.untold.swap(false, Relaxed)
    }

    fn until(&self) -> Nanos {
        Nanos(self.until.load(Acquire))
    }
}

/// How many times `base` an endpoint is out that was so `times` before and has served for `served` since.
fn grown(times: u32, served: Duration, base: Duration) -> u32 {
    let forgiven = served.as_nanos() / base.as_nanos().max(1);
    let forgiven = u32::try_from(forgiven).unwrap_or(u32::MAX);
    (times.saturating_sub(forgiven) + 1).min(MOST_TIMES)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BASE: Duration = Duration::from_secs(30);
    const POLICY: EjectionPolicy = EjectionPolicy {
        consecutive_failures: 3,
        base: BASE,
        max_percent: 50,
    };

    fn at(seconds: u64) -> Nanos {
        Nanos(seconds * 1_000_000_000)
    }

    #[test]
    fn a_success_ends_the_row() {
        let ejection = Ejection::default();
        assert_eq!([1, 2].map(|_| ejection.failed(at(1))), [1, 2], "in a row");
        ejection.succeeded();
        assert_eq!(ejection.failed(at(1)), 1);
    }

    #[test]
    fn each_time_is_longer_and_good_service_is_rewarded() {
        let ejection = Ejection::default();
        let mut now = at(100);
        for times in 1..=12 {
            let ejected = ejection.begin(now, &POLICY);
            assert_eq!(ejected.lasts, BASE * u32::min(times, MOST_TIMES));
            let (since, until) = ejection.last();
            assert_eq!((since, until), (now, now.plus(ejected.lasts)));
            // It fails again as soon as it is back.
            now = until;
            assert!(!ejection.is_out(now));
        }
        let ejected = ejection.begin(now.plus(BASE * 8), &POLICY);
        assert_eq!(ejected.lasts, BASE * 3, "eight steps back, one forward");
        let long_after = now.plus(BASE * 1000);
        assert_eq!(ejection.begin(long_after, &POLICY).lasts, BASE);
    }

    #[test]
    fn what_began_before_it_came_back_says_nothing() {
        let ejection = Ejection::default();
        ejection.failed(at(1));
        let ejected = ejection.begin(at(2), &POLICY);
        assert_eq!(ejected.failures, 1);
        assert_eq!(ejection.failed(at(1)), 0);
        assert_eq!(ejection.failed(at(31)), 0);
        assert_eq!(ejection.failures(), 0);
        assert_eq!(ejection.failed(at(32)), 1);
    }

    #[test]
    fn its_return_is_told_once() {
        let ejection = Ejection::default();
        assert!(!ejection.returned(at(1)));
        ejection.begin(at(2), &POLICY);
        assert!(!ejection.returned(at(31)));
        assert!(ejection.returned(at(32)));
        assert!(!ejection.returned(at(33)));
    }

    proptest! {
        #[test]
        fn never_all_and_never_more_than_the_share(endpoints in 0..2000_usize, max_percent in 0..=100_u32) {
            let most = EjectionPolicy { max_percent, ..POLICY }.most_of(endpoints);
            prop_assert!(most < endpoints.max(1));
            prop_assert!(most * 100 <= endpoints * max_percent as usize);
            // No less than that either: one more would be too many.
            let more = most + 1;
            prop_assert!(more * 100 > endpoints * max_percent as usize || more >= endpoints);
        }

        #[test]
        fn times_stay_within_their_bounds(times in 0..=MOST_TIMES, served: u64, base in 1..=u64::MAX) {
            let next = grown(times, Duration::from_nanos(served), Duration::from_nanos(base));
            prop_assert!((1..=MOST_TIMES).contains(&next) && next <= times + 1);
        }
    }
}

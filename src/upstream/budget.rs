//! How many requests of one upstream may be tried again: retries heal single failures, and would multiply an outage.
//!
//! A window of ten buckets of one second slides along. It is only touched when a try has failed: what the caller counts
//! anyway tells how many requests went by meanwhile, and those are taken to be as old as the look before them, so that
//! the window never holds more requests than there were.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::time::Nanos;

/// How many retries an upstream gets, of all routes together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BudgetPolicy {
    /// Retries for a million requests of the window.
    pub per_million: u32,
    /// Retries for each second of the window, however few the requests are.
    pub min_per_second: u32,
}

/// The retries of one upstream, over all workers. Found by the upstream's name; knows no policy, so that a changed
/// policy holds at once and forgives nothing.
#[derive(Debug, Default)]
pub struct Budget(Mutex<Window>);

impl Budget {
    /// Nothing was tried again yet.
    #[must_use]
    pub fn new() -> Budget {
        Budget::default()
    }

    /// Takes one retry, if there is one left: afterwards the window holds at most `per_million` of its requests, or
    /// `min_per_second` for each of its seconds that has begun since the first call.
    ///
    /// `requests_so_far` counts requests to this upstream, each once however often it is tried; it only grows. Workers
    /// may call with clocks and counts that are a moment apart.
    #[must_use]
    pub fn take(&self, policy: &BudgetPolicy, now: Nanos, requests_so_far: u64) -> bool {
        let mut window = self.window();
        window.look(now.0 / SECOND, requests_so_far);
        let taken = window.retries() < window.allowed(policy);
        if taken {
            window.newest_bucket().retries += 1;
        }
        taken
    }

    fn window(&self) -> MutexGuard<'_, Window> {
        // A worker that panicked in here left plain numbers behind, none of them dangerous.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug, Default)]
struct Window {
    buckets: [Bucket; BUCKETS as usize],
    /// The first second that was looked at, and the newest.
    span: Option<(u64, u64)>,
    /// The count of requests at the last look.
    requests: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Bucket {
    retries: u64,
    requests: u64,
}

impl Window {
    /// Moves on to `second`, and adds what was counted since the last look to the bucket of that look.
    fn look(&mut self, second: u64, requests: u64) {
        let Some((first, newest)) = self.span else {
            self.span = Some((second, second));
            self.requests = requests;
            return;
        };
        self.newest_bucket().requests += requests.saturating_sub(self.requests);
        self.requests = self.requests.max(requests);
        let second = second.max(newest);
        for left in newest + 1..=second.min(newest + BUCKETS) {
            self.buckets[(left % BUCKETS) as usize] = Bucket::default();
        }
        self.span = Some((first, second));
    }

    fn newest_bucket(&mut self) -> &mut Bucket {
        let newest = self.span.map_or(0, |(_, newest)| newest);
        &mut self.buckets[(newest % BUCKETS) as usize]
    }

    fn retries(&self) -> u64 {
        self.buckets.iter().map(|bucket| bucket.retries).sum()
    }

    fn allowed(&self, policy: &BudgetPolicy) -> u64 {
        let requests: u64 = self.buckets.iter().map(|bucket| bucket.requests).sum();
        let share = u128::from(requests) * u128::from(policy.per_million) / MILLION;
        let begun = self.span.map_or(1, |(first, newest)| newest - first + 1);
        let least = begun.min(BUCKETS) * u64::from(policy.min_per_second);
        u64::try_from(share).unwrap_or(u64::MAX).max(least)
    }
}

/// Buckets of the window.
const BUCKETS: u64 = 10;
/// Nanoseconds of one bucket.
const SECOND: u64 = 1_000_000_000;
const MILLION: u128 = 1_000_000;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const DEFAULT: BudgetPolicy = BudgetPolicy {
        per_million: 200_000,
        min_per_second: 3,
    };

    fn at(millis: u64) -> Nanos {
        Nanos(millis * 1_000_000)
    }

    /// Everything that was ever asked, without a window.
    #[derive(Default)]
    struct Naive {
        /// Second, and count of requests, of each call.
        looks: Vec<(u64, u64)>,
        /// The second of each retry.
        retries: Vec<u64>,
    }

    impl Naive {
        fn take(&mut self, policy: &BudgetPolicy, second: u64, requests: u64) -> bool {
            let last = self.looks.last().copied().unwrap_or((0, 0));
            let (second, requests) = (second.max(last.0), requests.max(last.1));
            self.looks.push((second, requests));
            let from = second.saturating_sub(9);
            let within = self.looks.iter().find(|look| look.0 >= from);
            let share = (requests - within.map_or(requests, |look| look.1)) as u128
                * u128::from(policy.per_million)
                / 1_000_000;
            let begun = (second - self.looks[0].0 + 1).min(10);
            let allowed = share.max(u128::from(begun * u64::from(policy.min_per_second)));
            let taken = (self.retries.iter().filter(|s| **s >= from).count() as u128) < allowed;
            if taken {
                self.retries.push(second);
            }
            taken
        }
    }

    fn policy() -> impl Strategy<Value = BudgetPolicy> {
        (0..=2_000_000_u32, 0..5_u32).prop_map(|(per_million, min_per_second)| BudgetPolicy {
            per_million,
            min_per_second,
        })
    }

    proptest! {
        /// Also with clocks that step back, counts that lag, long silences, and a policy that changes half way.
        #[test]
        fn it_decides_as_the_naive_model_does(
            start in 0..100_000_u64,
            policies in (policy(), policy()),
            steps in prop::collection::vec(
                (prop_oneof![9 => -50..700_i64, 1 => 0..40_000_i64], prop_oneof![8 => 0..20_i64, 1 => -3..1000_i64]),
                1..300,
            ),
        ) {
            let (budget, mut naive) = (Budget::new(), Naive::default());
            let (mut millis, mut requests) = (start, 10_u64);
            for (index, (step, more)) in steps.iter().enumerate() {
                millis = millis.saturating_add_signed(*step);
                requests = requests.saturating_add_signed(*more);
                let policy = if index < steps.len() / 2 { &policies.0 } else { &policies.1 };
                let expected = naive.take(policy, millis / 1000, requests);
                prop_assert_eq!(budget.take(policy, at(millis), requests), expected, "call {}", index);
            }
        }
    }

    #[test]
    fn half_of_the_requests_fail_and_no_window_sees_more_than_a_fifth_more() {
        let budget = Budget::new();
        // Moments of requests and of retries, in milliseconds; every second try fails, retries too.
        let (mut requests, mut retries) = (Vec::new(), Vec::new());
        for millis in (0..60_000).step_by(10) {
            requests.push(millis);
            let mut failing = requests.len() % 2 == 0;
            while failing && budget.take(&DEFAULT, at(millis), requests.len() as u64) {
                retries.push(millis);
                failing = retries.len() % 2 == 0;
            }
        }
        let within = |all: &[u64], from: u64| {
            all.iter()
                .filter(|t| (from..from + 10_000).contains(*t))
                .count()
        };
        for from in (10_000..=50_000).step_by(50) {
            let (requests, retries) = (within(&requests, from), within(&retries, from));
            assert_eq!(requests, 1000);
            assert!(retries <= 200, "{retries} retries from {from} ms on");
            assert!(
                retries >= 150,
                "{retries} retries from {from} ms on are too few"
            );
        }
    }

    /// B44: 100 requests, all failing, with a budget of 20 %.
    #[test]
    fn an_outage_is_not_multiplied() {
        let budget = Budget::new();
        let policy = BudgetPolicy {
            min_per_second: 0,
            ..DEFAULT
        };
        let taken = (1..=100)
            .filter(|n| budget.take(&policy, at(*n), *n))
            .count();
        assert_eq!(taken, 19, "a fifth of the 99 requests after the first");
        let budget = Budget::new();
        let taken = (1..=100)
            .filter(|n| budget.take(&DEFAULT, at(*n), *n))
            .count();
        assert_eq!(taken, 19, "the minimum of 3 is no addition");
    }

    #[test]
    fn the_minimum_is_for_each_second_that_has_begun() {
        let budget = Budget::new();
        let taken_by = |millis| {
            (0..100)
                .filter(|_| budget.take(&DEFAULT, at(millis), 0))
                .count()
        };
        assert_eq!(taken_by(500), 3);
        assert_eq!(taken_by(999), 0);
        assert_eq!(taken_by(1000), 3);
        assert_eq!(taken_by(5000), 12);
        assert_eq!(taken_by(60_000), 30, "never more than ten seconds' worth");
        assert_eq!(taken_by(69_999), 0);
        assert_eq!(taken_by(70_000), 30);
    }

    #[test]
    fn counts_go_on_when_the_policy_changes() {
        let budget = Budget::new();
        let wide = BudgetPolicy {
            per_million: 0,
            min_per_second: 10,
        };
        let narrow = BudgetPolicy {
            min_per_second: 5,
            ..wide
        };
        let taken =
            |policy: &BudgetPolicy| (0..20).filter(|_| budget.take(policy, at(0), 0)).count();
        assert_eq!(taken(&narrow), 5);
        assert_eq!(taken(&wide), 5, "five of the ten were taken before");
        assert_eq!(taken(&narrow), 0);
    }

    #[test]
    fn a_window_of_huge_counts_does_not_overflow() {
        let budget = Budget::new();
        let all = BudgetPolicy {
            per_million: u32::MAX,
            min_per_second: u32::MAX,
        };
        assert!(budget.take(&all, Nanos(0), 0));
        assert!(budget.take(&all, Nanos(u64::MAX), u64::MAX));
        assert!(budget.take(&all, Nanos(0), 0));
    }

    #[test]
    fn a_panic_while_it_was_locked_is_survived() {
        let budget = Budget::new();
        let panicked = std::thread::scope(|scope| {
            scope
                .spawn(|| {
                    let _window = budget.window();
                    panic!("on purpose");
                })
                .join()
                .is_err()
        });
        assert!(panicked && budget.0.is_poisoned());
        assert!(budget.take(&DEFAULT, at(0), 0));
    }
}

//! How long things took: fixed bounds, one array of buckets per worker.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::per_worker::{PerWorker, bump};

/// Upper bounds of the buckets in nanoseconds, inclusive and ascending: 0.5 ms to 60 s. One more bucket follows
/// them, for all that took longer.
pub const BOUNDS: [u64; 16] = [
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    100_000_000,
    250_000_000,
    500_000_000,
    1_000_000_000,
    2_500_000_000,
    5_000_000_000,
    10_000_000_000,
    30_000_000_000,
    60_000_000_000,
];

/// Number of buckets, the last one without a bound.
pub const BUCKETS: usize = BOUNDS.len() + 1;

/// A histogram of durations.
#[derive(Debug)]
pub struct Histogram(PerWorker<Slot>);

#[derive(Debug, Default)]
struct Slot {
    buckets: [AtomicU64; BUCKETS],
    /// Wraps after 584 years of summed time; a reader takes that for a restart, as with any counter.
    nanos: AtomicU64,
}

/// What a [`Histogram`] has seen.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Totals {
    /// Observations in each bucket alone, not cumulated.
    pub buckets: [u64; BUCKETS],
    /// All observations together, in seconds.
    pub seconds: f64,
}

impl Totals {
    /// Number of observations.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }
}

impl Histogram {
    /// A histogram for workers `0..workers` and, as number `workers`, the control thread.
    #[must_use]
    pub fn new(workers: usize) -> Histogram {
        Histogram(PerWorker::new(workers))
    }

    /// Takes note of one duration in nanoseconds, as `worker`.
    #[inline]
    pub fn record(&self, worker: usize, nanos: u64) {
        let Some(slot) = self.0.at(worker) else {
            return;
        };
        if let Some(bucket) = slot.buckets.get(bucket_of(nanos)) {
            bump(bucket, 1);
        }
        bump(&slot.nanos, nanos);
    }

    /// The sum over all workers. The count is made from the buckets, so the two always agree.
    #[must_use]
    pub fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        for slot in self.0.used() {
            for (total, bucket) in totals.buckets.iter_mut().zip(&slot.buckets) {
                *total += bucket.load(Relaxed);
            }
            totals.seconds += slot.nanos.load(Relaxed) as f64 / 1e9;
        }
        totals
    }
}

/// The bucket for a duration. The bounds lie at least a factor 2 apart, so a number's bit length leaves at most
/// two of them to compare with.
#[inline]
fn bucket_of(nanos: u64) -> usize {
    let mut bucket = usize::from(FIRST[(u64::BITS - nanos.leading_zeros()) as usize]);
    while bucket < BOUNDS.len() && nanos > BOUNDS[bucket] {
        bucket += 1;
    }
    bucket
}

/// For each bit length the first bound that a number of that length may lie under.
const FIRST: [u8; 65] = {
    let mut first = [0; 65];
    let mut bits = 1;
    while bits <= 64 {
        let least = 1u64 << (bits - 1);
        let mut bound = 0;
        while bound < BOUNDS.len() && BOUNDS[bound] < least {
            bound += 1;
        }
        first[bits] = bound as u8;
        bits += 1;
    }
    first
};

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn look_up_equals_a_plain_scan(nanos in prop_oneof![any::<u64>(), 0..200_000_000_000u64, 0..3_000_000u64]) {
            let plain = BOUNDS.iter().position(|&bound| nanos <= bound).unwrap_or(BOUNDS.len());
            prop_assert_eq!(bucket_of(nanos), plain);
        }

        #[test]
        fn totals_hold_every_observation(seen in prop::collection::vec((0..3usize, 0..100_000_000_000u64), 0..200)) {
            let histogram = Histogram::new(2);
            for &(worker, nanos) in &seen {
                histogram.record(worker, nanos);
            }
            let totals = histogram.totals();
            let seconds = seen.iter().map(|&(_, nanos)| nanos).sum::<u64>() as f64 / 1e9;
            prop_assert_eq!(totals.count(), seen.len() as u64);
            prop_assert!((totals.seconds - seconds).abs() <= seconds * 1e-12);
        }
    }

    #[test]
    fn a_bound_belongs_to_its_own_bucket() {
        for (bucket, &bound) in BOUNDS.iter().enumerate() {
            assert_eq!(bucket_of(bound), bucket);
            assert_eq!(bucket_of(bound + 1), bucket + 1);
        }
        assert_eq!(bucket_of(0), 0);
        assert_eq!(bucket_of(u64::MAX), BOUNDS.len());
    }
}

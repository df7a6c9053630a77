//! How long an endpoint took lately: a peak-sensitive moving average, as in Finagle ("peak EWMA").
//!
//! A slower sample counts at once, faster ones only with time; what was measured loses its weight over [`MEMORY`], so
//! that an endpoint that was slow is tried again.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use crate::time::Nanos;

/// After this time a sample counts for 1/e of what it did.
const MEMORY: Duration = Duration::from_secs(10);

/// Failures in a row make an average no longer than twice this.
const WORST: Duration = Duration::from_secs(10);

/// What an endpoint is taken for that failed before it ever answered, in nanoseconds.
const UNKNOWN: f64 = 100e6;

/// An endpoint's average, over all workers. Two that write at once may lose one of the samples, never more.
#[derive(Debug, Default)]
pub struct Latency {
    /// Nanoseconds, the bits of an `f64`.
    average: AtomicU64,
    /// When that was; 0 = no sample yet.
    at: AtomicU64,
}

impl Latency {
    /// An attempt took so long until its answer's head.
    pub fn observe(&self, now: Nanos, sample: Duration) {
        let sample = sample.as_secs_f64() * 1e9;
        let at = self.at.load(Relaxed);
        let average = f64::from_bits(self.average.load(Relaxed));
        let average = if at == 0 || sample >= average {
            sample
        } else {
            let kept = kept(Nanos(at), now);
            average * kept + sample * (1.0 - kept)
        };
        self.store(average, now);
    }

    /// An attempt failed after so long, without an answer. It counts with that time, but as no less than twice what
    /// the endpoint was taken for: else one that fails at once would look like the fastest of all.
    pub fn observe_failure(&self, now: Nanos, took: Duration) {
        let twice = self.estimate(now).map_or(UNKNOWN, |average| {
            2.0 * average.min(WORST.as_secs_f64() * 1e9)
        });
        self.store(twice.max(took.as_secs_f64() * 1e9), now);
    }

    /// The average in nanoseconds, the less the longer ago the last sample is; `None` without any.
    #[must_use]
    pub fn estimate(&self, now: Nanos) -> Option<f64> {
        let at = self.at.load(Relaxed);
        let average = f64::from_bits(self.average.load(Relaxed));
        (at > 0).then(|| average * kept(Nanos(at), now))
    }

    fn store(&self, average: f64, now: Nanos) {
        self.average.store(average.to_bits(), Relaxed);
        self.at.store(now.0.max(1), Relaxed);
    }
}

/// What share of an average is left.
fn kept(then: Nanos, now: Nanos) -> f64 {
    (-now.since(then).as_secs_f64() / MEMORY.as_secs_f64()).exp()
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn at(millis: u64) -> Nanos {
        Nanos(millis * 1_000_000)
    }

    fn millis(latency: &Latency, now: u64) -> f64 {
        latency.estimate(at(now)).unwrap() / 1e6
    }

    #[test]
    fn a_slower_sample_counts_at_once_and_faster_ones_with_time() {
        let latency = Latency::default();
        assert_eq!(latency.estimate(at(5)), None);
        latency.observe(at(0), Duration::from_millis(10));
        latency.observe(at(0), Duration::from_millis(50));
        latency.observe(at(0), Duration::from_millis(10));
        assert_eq!(millis(&latency, 0), 50.0);
        latency.observe(at(10_000), Duration::from_millis(10));
        let expected = 50.0 / std::f64::consts::E + 10.0 * (1.0 - 1.0 / std::f64::consts::E);
        assert!((millis(&latency, 10_000) - expected).abs() < 1e-6);
    }

    #[test]
    fn it_fades_without_samples() {
        let latency = Latency::default();
        latency.observe(at(0), Duration::from_millis(100));
        assert!((millis(&latency, 10_000) - 100.0 / std::f64::consts::E).abs() < 1e-6);
        assert!(millis(&latency, 60_000) < 0.3);
        // A reader may have read the clock before the sample came.
        latency.observe(at(60_000), Duration::from_millis(100));
        assert_eq!(millis(&latency, 59_000), 100.0);
    }

    #[test]
    fn failing_at_once_is_not_being_fast() {
        let latency = Latency::default();
        latency.observe_failure(at(0), Duration::from_millis(1));
        assert_eq!(millis(&latency, 0), 100.0);
        let latency = Latency::default();
        latency.observe(at(0), Duration::from_millis(5));
        latency.observe_failure(at(0), Duration::ZERO);
        assert_eq!(millis(&latency, 0), 10.0);
        latency.observe_failure(at(0), Duration::from_millis(300));
        assert_eq!(millis(&latency, 0), 300.0);
        (0..5000).for_each(|_| latency.observe_failure(at(0), Duration::ZERO));
        assert_eq!(millis(&latency, 0), 20_000.0);
    }

    proptest! {
        #[test]
        fn it_stays_within_what_was_seen(samples in vec((0..5000_u64, 0..1000_u64), 1..40)) {
            let latency = Latency::default();
            let mut now = 0;
            for (pause, sample) in &samples {
                now += pause;
                latency.observe(at(now), Duration::from_millis(*sample));
            }
            let seen = samples.iter().map(|(_, sample)| *sample as f64);
            let most = seen.clone().fold(0.0, f64::max);
            let least = seen.fold(f64::MAX, f64::min);
            let average = millis(&latency, now);
            prop_assert!(least - 1e-6 <= average && average <= most + 1e-6);
        }
    }
}

//! Rolling windows of requests and of the bad ones among them: each worker counts for itself, and who judges sums up.
//!
//! A window is 32 buckets of time. A bucket is one word that holds its epoch beside its counts, so that a reader never
//! mixes two epochs; it is begun anew by the first who counts in it. A bucket of another state of the breaker counts as
//! empty: a breaker that closes begins with empty windows.

use std::sync::OnceLock;
use std::time::Duration;

use crate::sync::atomic::AtomicU64;
use crate::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use crate::time::Nanos;

/// Requests and bad ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// All.
    pub total: u64,
    /// Failures, or slow ones.
    pub bad: u64,
}

/// Most requests that a sum is sure to reach, however many come: full buckets are halved.
pub const SURE_TO_REACH: u32 = (COUNT_MASK / 2) as u32;

/// Where in a window it is now.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    epoch: u64,
    tag: u64,
}

impl Moment {
    /// `now` in windows of this length, of which the longest resolution is a 32nd; a `generation` sees only its own.
    #[must_use]
    #[inline]
    pub fn new(now: Nanos, window: Duration, generation: u32) -> Moment {
        let bucket = (window.as_nanos() as u64 / BUCKETS).max(1);
        Moment {
            epoch: now.0 / bucket,
            tag: u64::from(generation) & GENERATION_MASK,
        }
    }

    /// The mark of a bucket that was begun `back` buckets ago.
    fn mark(self, back: u64) -> Option<(usize, u64)> {
        let epoch = self.epoch.checked_sub(back)?;
        let mark = self.tag << EPOCH_BITS | epoch & EPOCH_MASK;
        Some(((epoch % BUCKETS) as usize, mark))
    }
}

/// The windows of one breaker: a ring of buckets for each worker, made when it counts for the first time.
#[derive(Debug)]
pub struct Windows(Box<[OnceLock<Box<Ring>>]>);

/// Alone on its lines; 128 because processors fetch lines in pairs.
#[derive(Debug)]
#[repr(align(128))]
struct Ring([AtomicU64; BUCKETS as usize]);

impl Windows {
    /// Empty ones, for workers `0..workers`.
    #[must_use]
    pub fn new(workers: usize) -> Windows {
        Windows((0..workers.max(1)).map(|_| OnceLock::new()).collect())
    }

    /// Counts one request, as `worker`: at most one thread may be that.
    #[inline]
    pub fn record(&self, worker: usize, moment: Moment, is_bad: bool) {
        let slot = self.0.get(worker).or_else(|| self.0.last());
        let (Some(slot), Some((index, mark))) = (slot, moment.mark(0)) else {
            return;
        };
        let ring = slot.get_or_init(|| Box::new(Ring(std::array::from_fn(|_| AtomicU64::new(0)))));
        let bucket = &ring.0[index];
        let seen = bucket.load(Relaxed);
        let mut counts = if seen >> MARK_AT == mark {
            read(seen)
        } else {
            Counts::default()
        };
        if counts.total == COUNT_MASK {
            counts = Counts {
                total: counts.total / 2,
                bad: counts.bad / 2,
            };
        }
        let total = counts.total + 1;
        let bad = counts.bad + u64::from(is_bad);
        bucket.store(mark << MARK_AT | bad << BAD_AT | total, Release);
    }

    /// What all workers counted within the window.
    #[must_use]
    pub fn sum(&self, moment: Moment) -> Counts {
        let mut sum = Counts::default();
        for ring in self.0.iter().filter_map(OnceLock::get) {
            for (index, mark) in (0..BUCKETS).filter_map(|back| moment.mark(back)) {
                let word = ring.0[index].load(Acquire);
                if word >> MARK_AT == mark {
                    let counts = read(word);
                    sum.total += counts.total;
                    sum.bad += counts.bad;
                }
            }
        }
        sum
    }
}

fn read(word: u64) -> Counts {
    Counts {
        total: word & COUNT_MASK,
        bad: word >> BAD_AT & COUNT_MASK,
    }
}

const BUCKETS: u64 = 32;

// From the lowest bit: all 17, bad ones 17, epoch 22, generation 8.

const BAD_AT: u32 = 17;
const COUNT_MASK: u64 = (1 << 17) - 1;
const MARK_AT: u32 = 34;
const EPOCH_BITS: u32 = 22;
const EPOCH_MASK: u64 = (1 << EPOCH_BITS) - 1;
const GENERATION_MASK: u64 = (1 << 8) - 1;

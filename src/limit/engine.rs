//! Where the decision is made: governor's GCRA, on a clock that stands still and a store that is one bucket.
//!
//! governor counts from the birth of a limiter; buckets here outlive every limiter of governor's. So it is asked about
//! the *backlog*, which is how far a bucket is from full: at moment 0 of a clock that never moves, a bucket's
//! theoretical arrival time *is* its backlog. What governor reads and writes is a [`Backlog`] on the caller's stack,
//! filled from a slot of the table under that slot's lock; governor itself holds no state and needs no exchange loop.

use std::cell::Cell;
use std::hash::{Hash, Hasher};
use std::num::NonZeroU32;
use std::time::Duration;

use governor::RateLimiter;
use governor::clock::Clock;
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::StateStore;

use super::Quota;

/// governor with one quota.
#[derive(Debug)]
pub(super) struct Engine {
    gcra: RateLimiter<Backlog, OneBucket, Standstill, NoOpMiddleware<Nanos>>,
}

impl Engine {
    pub(super) fn new(quota: &Quota) -> Engine {
        let burst = u32::try_from(quota.burst()).unwrap_or(u32::MAX);
        // A burst of nothing is never asked about.
        let burst = NonZeroU32::new(burst).unwrap_or(NonZeroU32::MIN);
        let interval = Duration::from_nanos(quota.interval().max(1));
        let quota = governor::Quota::with_period(interval)
            .unwrap_or_else(|| governor::Quota::per_second(burst))
            .allow_burst(burst);
        Engine {
            gcra: RateLimiter::new(quota, OneBucket, Standstill),
        }
    }

    /// Takes `cost` tokens, at most the burst, from a bucket that is `backlog` nanoseconds from full: how far from full
    /// it is then, or how many nanoseconds are missing.
    #[inline]
    pub(super) fn decide(&self, backlog: u64, cost: NonZeroU32) -> Result<u64, u64> {
        let bucket = Backlog(Cell::new(backlog));
        match self.gcra.check_key_n(&bucket, cost) {
            Ok(Ok(())) => Ok(bucket.0.get()),
            Ok(Err(until)) => Err(until.earliest_possible().as_u64()),
            // More than the burst.
            Err(_) => Err(u64::MAX),
        }
    }
}

/// Nanoseconds that a bucket is from full; governor's key, because governor's store gives nothing else by reference.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Backlog(Cell<u64>);

impl Hash for Backlog {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.get().hash(state);
    }
}

/// The store of exactly the bucket that is asked about.
#[derive(Debug)]
struct OneBucket;

impl StateStore for OneBucket {
    type Key = Backlog;

    #[inline]
    fn measure_and_replace<T, F, E>(&self, bucket: &Backlog, decide: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let (outcome, next) = decide(Some(Nanos::from(bucket.0.get())))?;
        bucket.0.set(next.as_u64());
        Ok(outcome)
    }
}

/// The clock of a moment: time is in the backlog.
#[derive(Debug)]
struct Standstill;

impl Clock for Standstill {
    type Instant = Nanos;

    #[inline]
    fn now(&self) -> Nanos {
        Nanos::from(0)
    }
}

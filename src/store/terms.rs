//! What a bucket holds and how fast it fills, in the units of the script.

use std::time::Duration;

use super::Level;
use crate::limit::{Quota, Verdict};

/// What a bucket holds and how fast it fills.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// Nanoseconds in which one token comes back; at least 1.
    pub interval: u64,
    /// Tokens of a full bucket.
    pub burst: u64,
}

impl From<Quota> for Terms {
    fn from(quota: Quota) -> Terms {
        Terms {
            interval: quota.interval(),
            burst: quota.burst(),
        }
    }
}

impl Terms {
    /// Nanoseconds in which an empty bucket becomes full.
    #[must_use]
    pub fn size(&self) -> u128 {
        self.time_of(self.burst)
    }

    /// Nanoseconds in which so many tokens come back.
    #[must_use]
    pub fn time_of(&self, tokens: u64) -> u128 {
        u128::from(tokens) * u128::from(self.interval)
    }

    /// How long a bucket with this `debt` must be waited for until it has `tokens`; rounded up.
    #[must_use]
    pub fn wait_for(&self, tokens: u64, debt: u128) -> Duration {
        nanos((debt + self.time_of(tokens)).saturating_sub(self.size()))
    }

    /// What the answer to a wish for `cost` tokens means for whoever wants them.
    #[must_use]
    pub fn verdict(&self, cost: u64, level: &Level) -> Verdict {
        let wait = if level.granted {
            nanos(level.debt.saturating_sub(self.size()))
        } else if cost > self.burst {
            Duration::MAX
        } else {
            self.wait_for(cost, level.debt)
        };
        Verdict {
            admitted: level.granted,
            left: self.left(level.debt),
            wait,
            full_in: nanos(level.debt),
        }
    }

    /// Whole tokens in a bucket with this `debt`.
    #[must_use]
    pub fn left(&self, debt: u128) -> u64 {
        let room = self.size().saturating_sub(debt);
        u64::try_from(room / u128::from(self.interval.max(1))).unwrap_or(u64::MAX)
    }
}

fn nanos(nanos: u128) -> Duration {
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

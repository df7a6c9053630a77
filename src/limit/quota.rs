//! A quota: how long one token takes to come, and how many a bucket holds.

use std::fmt;
use std::time::Duration;

/// Rate and size of a bucket. All arithmetic on it is in nanoseconds of filling, and cannot overflow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// Nanoseconds in which one token comes; at least 1.
    interval: u64,
    burst: u32,
}

/// Why a rate and a burst make no quota.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QuotaFault {
    /// No tokens ever come, but the bucket is to hold some.
    NeverFills,
    /// More than one token per nanosecond.
    TooFast,
    /// An empty bucket would take longer than 73 years to fill.
    TooSlow,
    /// A bucket holds at most 4,294,967,295 tokens.
    TooLarge,
}

impl fmt::Display for QuotaFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            QuotaFault::NeverFills => "a rate of nothing never fills a burst",
            QuotaFault::TooFast => "the rate is above one per nanosecond",
            QuotaFault::TooSlow => "the burst would take more than 73 years to fill",
            QuotaFault::TooLarge => "the burst is above 4294967295",
        })
    }
}

impl std::error::Error for QuotaFault {}

impl Quota {
    /// `tokens` come in each `per`, and a full bucket holds `burst`.
    ///
    /// The time for one token is rounded up to a whole nanosecond, so that never more is admitted than was asked for
    /// (600,000/s become 599,880/s). A burst of 0 admits nothing, whatever the rate; so does a rate of 0, which may
    /// have no other burst.
    ///
    /// # Errors
    ///
    /// What [`QuotaFault`] lists: every bound of the arithmetic is checked here and nowhere later.
    pub fn new(tokens: u64, per: Duration, burst: u64) -> Result<Quota, QuotaFault> {
        let burst = u32::try_from(burst).map_err(|_| QuotaFault::TooLarge)?;
        let per = per.as_nanos();
        let interval = match (tokens, burst) {
            // Nothing comes: a token in 73 years, so that buckets wait for a rate to return.
            (0, 0) => u128::from(LONGEST_FILL),
            (0, _) => return Err(QuotaFault::NeverFills),
            _ if u128::from(tokens) > per => return Err(QuotaFault::TooFast),
            _ => per.div_ceil(u128::from(tokens)),
        };
        // Even for a burst of nothing: a later law may put a burst beside this interval.
        let fills_in = interval.saturating_mul(u128::from(burst.max(1)));
        if fills_in > u128::from(LONGEST_FILL) {
            return Err(QuotaFault::TooSlow);
        }
        let interval = u64::try_from(interval).map_err(|_| QuotaFault::TooSlow)?;
        Ok(Quota { interval, burst })
    }

    /// Tokens that a full bucket holds.
    #[must_use]
    pub fn burst(&self) -> u64 {
        u64::from(self.burst)
    }

    /// Nanoseconds in which one token comes, rounded up; at least 1.
    #[must_use]
    pub fn interval(&self) -> u64 {
        self.interval
    }

    /// Whole seconds, rounded up, in which an empty bucket fills: the `w` of `RateLimit-Policy`.
    #[must_use]
    pub fn window_seconds(&self) -> u64 {
        self.fills_in().div_ceil(1_000_000_000)
    }

    /// Nanoseconds in which an empty bucket fills.
    pub(crate) fn fills_in(&self) -> u64 {
        self.interval * self.burst()
    }

    /// The same for the bucket as it is stored: that of a quota without burst has the size of one token, so that its
    /// fill ratio lasts until there is a burst again.
    pub(crate) fn scale(&self) -> u64 {
        self.interval * self.size()
    }

    /// Tokens of the bucket as it is stored; at least 1.
    pub(crate) fn size(&self) -> u64 {
        self.burst().max(1)
    }
}

/// 73 years, in nanoseconds. A bucket in deepest debt is twice that from full; with the process's age added it stays
/// below 2⁶⁴.
const LONGEST_FILL: u64 = 1 << 61;

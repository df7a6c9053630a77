//! The quota in force, and how a bucket passes from one quota to the next.
//!
//! A bucket keeps its *fill ratio*: half full stays half full, fractions of tokens included, rounded against the
//! client. Between quotas of the same burst, or towards a smaller one, that is all.
//!
//! Towards a larger burst it is a gift of tokens that never came in, once: the contract wants it so. Given again and
//! again it would be credit: with a burst of 10 and 20 in turn, whatever trickles into the small bucket would double in
//! the large one, and the limit would admit more than `burst + rate·t` of either quota. So where a burst as large was
//! in force within the last ten minutes, what may have come in since then counts token by token, and only the rest by
//! ratio. For that a bucket is remembered beyond the moment at which it is full, as long as the tokens that run over
//! would not have filled the larger one either.

use std::sync::Arc;

use super::Quota;
use super::engine::Engine;

/// One quota in force. Every shard holds the law that its buckets follow.
#[derive(Debug)]
pub(super) struct Law {
    /// Counts laws, from 0.
    pub(super) epoch: u64,
    pub(super) quota: Quota,
    pub(super) engine: Engine,
    /// Since when, in nanoseconds of the process.
    pub(super) since: u64,
    change: Option<Change>,
    /// In which the tokens come that a larger burst of late has more than this one.
    keeps: u64,
}

/// From the law before to this one.
#[derive(Debug)]
struct Change {
    from: Quota,
    /// When the law before came into force.
    from_since: u64,
    /// What may have come in between the end of the larger burst and `from_since`, in nanoseconds of filling.
    came_in_before: u64,
    /// The larger burst that was in force lately, at least that of the law before.
    highest: u64,
}

impl Law {
    /// When a bucket is full under this law that would have been full at `full_at` under the one before, if its shard
    /// changed laws at `switched`.
    pub(super) fn convert(&self, full_at: u64, switched: u64) -> u64 {
        let Some(change) = &self.change else {
            return full_at;
        };
        let came_in = switched.saturating_sub(change.from_since);
        let came_in = came_in.saturating_add(change.came_in_before);
        let backlog = i128::from(full_at) - i128::from(switched);
        let full_at = i128::from(switched) + change.backlog(&self.quota, backlog, came_in);
        u64::try_from(full_at.max(0)).unwrap_or(u64::MAX)
    }

    /// How long a bucket is remembered after it is full, in nanoseconds.
    #[inline]
    pub(super) fn keeps(&self, now: u64) -> u64 {
        if self.keeps > 0 && now.saturating_sub(self.since) < LATELY {
            self.keeps
        } else {
            0
        }
    }
}

impl Change {
    /// Nanoseconds from full under `to`; below 0 where the bucket is full since a while.
    fn backlog(&self, to: &Quota, backlog: i128, came_in: u64) -> i128 {
        let (old, new) = (i128::from(self.from.scale()), i128::from(to.scale()));
        let left = old - backlog;
        let single = self.counted_singly(to, left, came_in);
        // (nanoseconds of a token now) / (then), times what the burst grows beyond any that was in force lately.
        let tokens_grow = i128::from(to.size().max(self.highest));
        let single_now = wide(
            single,
            i128::from(to.interval()),
            i128::from(self.from.interval()),
        );
        let single_now = wide(single_now, tokens_grow, i128::from(self.highest));
        let ratio_now = wide(left - single, new, old);
        let next = new - single_now - ratio_now;
        // Nobody is locked out by an old rate: a debt lasts as long as it would have, or as one bucket takes to fill.
        let longest = new + new.max(-left);
        next.min(longest)
    }

    /// Of what is left in a bucket, that which may have come in since a burst as large was in force.
    fn counted_singly(&self, to: &Quota, left: i128, came_in: u64) -> i128 {
        if to.size() <= self.from.size() || self.highest <= self.from.size() {
            return 0;
        }
        let most = if left < 0 {
            i128::from(self.from.scale())
        } else {
            left
        };
        i128::from(came_in).min(most)
    }
}

/// The laws of one limiter: that in force, and what of the past the next one must know.
#[derive(Debug)]
pub(super) struct Laws {
    now: Arc<Law>,
    /// How many buckets' worth came in to a key since the beginning, in 2⁻⁶⁴ buckets.
    turnover: u128,
    /// Bursts larger than today's that were in force lately, each smaller and later than the one before it.
    heights: Vec<Height>,
}

/// The end of a larger burst.
#[derive(Debug)]
struct Height {
    size: u64,
    until: u64,
    turnover: u128,
}

impl Laws {
    pub(super) fn new(quota: Quota, now: u64) -> Laws {
        let law = Law {
            epoch: 0,
            engine: Engine::new(&quota),
            quota,
            since: now,
            change: None,
            keeps: 0,
        };
        Laws {
            now: Arc::new(law),
            turnover: 0,
            heights: Vec::new(),
        }
    }

    /// The law in force.
    pub(super) fn current(&self) -> &Arc<Law> {
        &self.now
    }

    /// Brings a quota into force.
    pub(super) fn change(&mut self, quota: Quota, now: u64) {
        let old = self.now.clone();
        let now = now.max(old.since);
        let turnover_before = self.turnover;
        let came_in = u128::from(now - old.since);
        self.turnover =
            turnover_before.saturating_add((came_in << 64).div_ceil(u128::from(old.quota.scale())));
        self.remember(old.quota.size(), now);
        let change = self.weigh(&old, &quota, turnover_before);
        let highest = self.heights.first().map_or(0, |height| height.size);
        let keeps = highest
            .saturating_sub(quota.size())
            .saturating_mul(quota.interval());
        self.now = Arc::new(Law {
            epoch: old.epoch + 1,
            engine: Engine::new(&quota),
            quota,
            since: now,
            change: Some(change),
            keeps,
        });
    }

    fn remember(&mut self, size: u64, until: u64) {
        self.heights
            .retain(|height| height.size > size && until - height.until < LATELY);
        if self.heights.len() == MOST_HEIGHTS {
            // The next larger and earlier one stands for it: more counts singly than need be.
            self.heights.pop();
        }
        let turnover = self.turnover;
        self.heights.push(Height {
            size,
            until,
            turnover,
        });
    }

    fn weigh(&self, old: &Law, to: &Quota, turnover_before: u128) -> Change {
        let as_large = self
            .heights
            .iter()
            .rev()
            .find(|height| height.size >= to.size());
        let height = as_large.or(self.heights.first());
        let buckets = height.map_or(0, |height| turnover_before.saturating_sub(height.turnover));
        let scale = u128::from(old.quota.scale());
        // Rounded up, and no more than a bucket: more than a bucket cannot have come in.
        let came_in_before = (buckets.min(1 << 64).div_ceil(1 << 3) * scale).div_ceil(1 << 61);
        Change {
            from: old.quota,
            from_since: old.since,
            came_in_before: u64::try_from(came_in_before).unwrap_or(u64::MAX),
            highest: height.map_or(old.quota.size(), |height| {
                height
                    .size
                    .clamp(old.quota.size(), to.size().max(old.quota.size()))
            }),
        }
    }
}

/// `a·b / c` rounded down (towards less in a bucket); none of them above 2⁶³ in size.
fn wide(a: i128, b: i128, c: i128) -> i128 {
    a.saturating_mul(b).div_euclid(c)
}

/// For how long a burst that ended is remembered: 10 minutes, as state of names that are gone.
const LATELY: u64 = 600 * 1_000_000_000;

const MOST_HEIGHTS: usize = 16;

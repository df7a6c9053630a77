//! The lease of one key: how many tokens are held, when more are asked for, when it is over. Pure.

use std::time::Duration;

use super::super::Terms;
use super::super::cause::Cause;
use super::super::question::{Level, MOST_EXTRA};
use super::Want;
use crate::time::Nanos;

/// The use of the last such interval is what a lease holds.
const INTERVAL: Duration = Duration::from_millis(100);
/// After so long without a use a lease ends.
const LIFE: Duration = Duration::from_secs(1);
/// An empty bucket is not asked for again so soon, for every gateway would do it at each request.
const LEAST_PAUSE: Duration = Duration::from_millis(5);
/// Nor later than this, for tokens may come back from elsewhere.
const MOST_PAUSE: Duration = Duration::from_millis(250);
/// The part of the burst that one gateway holds at most: one tenth.
const PART: u64 = 10;

pub(super) struct Entry {
    pub(super) id: u128,
    pub(super) digest: u128,
    pub(super) terms: Terms,
    /// Tokens that are here.
    pub(super) held: u64,
    /// Tokens that are asked for.
    asked: u64,
    /// Tokens used since `since`, and in the interval before that.
    used: u64,
    used_before: u64,
    since: Nanos,
    touched: Nanos,
    /// Until then a wish for `empty_for` tokens or more is refused without asking.
    empty_until: Nanos,
    empty_for: u64,
    /// The store's bucket when it was last heard of: nanoseconds until it was full.
    debt: u64,
    debt_at: Nanos,
}

/// What comes next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// The tokens are taken; so many more are to be asked for, which are counted as asked for already.
    Taken(Level, u64),
    /// There are none.
    Empty(Level),
    /// The store must be asked, and for so many more, which are counted as asked for already.
    Ask(u64),
}

impl Entry {
    /// The lease of a key that is new: nothing is held.
    pub(super) fn new(id: u128, digest: u128, want: Want, now: Nanos) -> Entry {
        Entry {
            id,
            digest,
            terms: want.terms,
            held: 0,
            asked: 0,
            used: want.cost,
            used_before: 0,
            since: now,
            touched: now,
            empty_until: Nanos(0),
            empty_for: 0,
            debt: 0,
            debt_at: now,
        }
    }

    pub(super) fn hash(entry: &Entry) -> u64 {
        entry.id as u64
    }

    /// Takes tokens. Without the store only what is here can be taken.
    pub(super) fn take(&mut self, want: Want, now: Nanos, is_store_here: bool) -> Next {
        let cost = want.cost;
        self.obey(want.terms);
        self.roll(now);
        self.touched = now;
        if self.held >= cost {
            self.held -= cost;
            self.used = self.used.saturating_add(cost);
            let refill = if is_store_here { self.wants(now) } else { 0 };
            self.asked += refill;
            return Next::Taken(self.level(true, now), refill);
        }
        if now < self.empty_until && cost >= self.empty_for {
            let level = self.level(false, now);
            // Its turn may come before it loses patience: the store knows.
            if self.terms.wait_for(cost, level.debt) > want.patience {
                return Next::Empty(level);
            }
        }
        if !is_store_here {
            return Next::Ask(0);
        }
        self.used = self.used.saturating_add(cost);
        let extra = self.wants(now);
        self.asked += extra;
        Next::Ask(extra)
    }

    /// Keeps tokens that were taken and not needed, as many as there is room for.
    pub(super) fn keep(&mut self, terms: Terms, tokens: u64, now: Nanos) -> u64 {
        self.obey(terms);
        self.touched = now;
        let kept = tokens.min(self.room());
        self.held += kept;
        self.used = self.used.saturating_sub(tokens);
        kept
    }

    /// Pays for what was used already with what is held, as far as it goes.
    pub(super) fn pay(&mut self, terms: Terms, tokens: u64, now: Nanos) -> u64 {
        self.obey(terms);
        self.roll(now);
        self.touched = now;
        self.used = self.used.saturating_add(tokens);
        let paid = tokens.min(self.held);
        self.held -= paid;
        paid
    }

    pub(super) fn forget(&mut self) {
        self.held = 0;
        self.empty_until = Nanos(0);
        self.debt = 0;
    }

    /// Takes down the answer to a question for `least` tokens and `extra` ones beyond them, put under the terms of
    /// `terms`. Says how many of the extra ones that came must go back.
    pub(super) fn land(
        &mut self,
        terms: &Terms,
        (least, extra): (u64, u64),
        answer: Result<Level, Cause>,
        now: Nanos,
    ) -> u64 {
        self.asked = self.asked.saturating_sub(extra);
        let Ok(level) = answer else {
            return 0;
        };
        if *terms != self.terms {
            // The limit has changed meanwhile. What the script took under the old terms goes back under them.
            return level.extra;
        }
        self.debt = u64::try_from(level.debt).unwrap_or(u64::MAX);
        self.debt_at = now;
        let kept = level.extra.min(self.room());
        self.held += kept;
        let missing = match (level.granted, level.extra) {
            (false, _) => Some(least),
            (true, 0) if extra > 0 => Some(1),
            (true, _) => None,
        };
        if let Some(missing) = missing {
            let pause = self.terms.wait_for(missing, level.debt);
            self.empty_until = now.plus(pause.clamp(LEAST_PAUSE, MOST_PAUSE));
            self.empty_for = missing;
        }
        level.extra - kept
    }

    /// Whether it has been used so little that it ends. Not while tokens are on their way.
    pub(super) fn is_over(&self, now: Nanos) -> bool {
        self.asked == 0 && now.since(self.touched) >= LIFE
    }

    /// Tokens to ask for now: when half of what an interval uses is left, up to the whole, within the tenth.
    fn wants(&self, now: Nanos) -> u64 {
        if self.asked > 0 || now < self.empty_until {
            return 0;
        }
        let target = self.used.max(self.used_before).min(self.most());
        if self.held > target / 2 {
            return 0;
        }
        target - self.held
    }

    fn room(&self) -> u64 {
        self.most().saturating_sub(self.held + self.asked)
    }

    fn most(&self) -> u64 {
        (self.terms.burst / PART).min(MOST_EXTRA)
    }

    /// Begins a new interval when the last is over.
    fn roll(&mut self, now: Nanos) {
        let gone = now.since(self.since);
        if gone < INTERVAL {
            return;
        }
        let used = u128::from(self.used) * INTERVAL.as_nanos();
        let share = used.div_ceil(gone.as_nanos());
        self.used_before = u64::try_from(share).unwrap_or(u64::MAX);
        self.used = 0;
        self.since = now;
    }

    /// Goes by new terms: what is held is as large a part of the new burst as it was of the old.
    fn obey(&mut self, terms: Terms) {
        if terms == self.terms {
            return;
        }
        // What is held is at most a million: nothing overflows.
        let held = u128::from(self.held) * u128::from(terms.burst);
        let held = held / u128::from(self.terms.burst.max(1));
        self.held = u64::try_from(held).unwrap_or(u64::MAX);
        self.terms = terms;
        self.held = self.held.min(self.most());
        self.empty_until = Nanos(0);
    }

    /// The bucket as far as it is known here: the store's when it was heard of last, and what is held.
    fn level(&self, granted: bool, now: Nanos) -> Level {
        let debt = u128::from(self.debt).saturating_sub(now.since(self.debt_at).as_nanos());
        let held = self.terms.time_of(self.held);
        Level {
            granted,
            extra: 0,
            debt: debt.saturating_sub(held),
        }
    }
}

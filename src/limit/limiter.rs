//! One limit: its quota, and a bucket for each key.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::{Fill, Heavy, KeyId, Quota, Room, Verdict};
use crate::time::Nanos;

/// A limit's buckets and the quota that is in force for all of them, whoever asks.
#[derive(Debug)]
pub struct Limiter {
    cells: Mutex<Cells>,
}

#[derive(Debug)]
struct Cells {
    quota: Quota,
    held: BTreeMap<KeyId, u64>,
}

impl Limiter {
    /// A limiter whose buckets are all full.
    #[must_use]
    pub fn new(quota: Quota, max_keys: u64, room: Arc<Room>, now: Nanos) -> Limiter {
        let _ = (max_keys, room, now);
        let held = BTreeMap::new();
        Limiter {
            cells: Mutex::new(Cells { quota, held }),
        }
    }

    /// A policy with this quota and bound came into force.
    pub fn enforce(&self, quota: Quota, max_keys: u64, now: Nanos) {
        let _ = (max_keys, now);
        self.cells().quota = quota;
    }

    /// Takes `cost` tokens if they are there; a refusal takes nothing.
    pub fn check(&self, key: KeyId, cost: u64, now: Nanos) -> Verdict {
        self.reserve(key, cost, now, Duration::ZERO)
    }

    /// Takes `cost` tokens if they are there or come within `max_wait`.
    pub fn reserve(&self, key: KeyId, cost: u64, now: Nanos, max_wait: Duration) -> Verdict {
        let mut cells = self.cells();
        let quota = cells.quota;
        let full = quota.fills_in();
        let backlog = cells.backlog(key, now);
        let refused = |wait| Verdict {
            admitted: false,
            left: full.saturating_sub(backlog) / quota.interval(),
            wait,
            full_in: Duration::from_nanos(backlog),
        };
        if cost > quota.burst() {
            return refused(Duration::MAX);
        }
        let next = backlog + cost * quota.interval();
        let wait = Duration::from_nanos(next.saturating_sub(full));
        if wait > max_wait {
            return refused(wait);
        }
        cells.held.insert(key, now.0 + next);
        Verdict {
            admitted: true,
            left: full.saturating_sub(next) / quota.interval(),
            wait,
            full_in: Duration::from_nanos(next),
        }
    }

    /// Gives `cost` tokens back; a bucket is never more than full.
    pub fn give_back(&self, key: KeyId, cost: u64, now: Nanos) {
        let mut cells = self.cells();
        let back = cost.saturating_mul(cells.quota.interval());
        let next = cells.backlog(key, now).saturating_sub(back);
        cells.held.insert(key, now.0 + next);
    }

    /// Takes `cost` tokens whether they are there or not.
    pub fn charge(&self, key: KeyId, cost: u64, now: Nanos) {
        let mut cells = self.cells();
        let taken = cost.saturating_mul(cells.quota.interval());
        let most = 2 * cells.quota.fills_in();
        let next = cells.backlog(key, now).saturating_add(taken).min(most);
        cells.held.insert(key, now.0 + next);
    }

    /// How full the bucket of a key is.
    #[must_use]
    pub fn look(&self, key: KeyId, now: Nanos) -> Fill {
        let cells = self.cells();
        let (quota, backlog) = (cells.quota, cells.backlog(key, now));
        let until_one = (backlog + quota.interval()).saturating_sub(quota.fills_in());
        Fill {
            left: quota.fills_in().saturating_sub(backlog) / quota.interval(),
            full_in: Duration::from_nanos(backlog),
            wait_for_one: if quota.burst() == 0 {
                Duration::MAX
            } else {
                Duration::from_nanos(until_one)
            },
        }
    }

    /// Makes the bucket of a key full; was there one that might not have been?
    pub fn refill(&self, key: KeyId) -> bool {
        self.cells().held.remove(&key).is_some()
    }

    /// Keys held.
    #[must_use]
    pub fn keys(&self) -> u64 {
        self.cells().held.len() as u64
    }

    /// Buckets that were forgotten before they were full.
    #[must_use]
    pub fn evictions(&self) -> u64 {
        0
    }

    /// Bytes held.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.keys() * 32
    }

    /// A request was limited on this key, which people call `name`.
    pub fn note_limited(&self, key: KeyId, name: &[u8]) {
        let _ = (key, name);
    }

    /// The `n` keys that were limited most.
    #[must_use]
    pub fn top(&self, n: usize) -> Vec<Heavy> {
        let _ = n;
        Vec::new()
    }

    fn cells(&self) -> MutexGuard<'_, Cells> {
        self.cells.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Cells {
    fn backlog(&self, key: KeyId, now: Nanos) -> u64 {
        let tat = self.held.get(&key).copied().unwrap_or_default();
        tat.saturating_sub(now.0)
    }
}

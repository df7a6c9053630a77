//! How many requests a route carries at once, of all or of each key: counted, never more than the bound.
//!
//! A key is in the map as long as a request of it is under way, so the map is as large as the connections of clients let
//! it become. A request without the key is counted by its client's address.

use std::collections::HashMap;
use std::collections::hash_map::{Entry, RandomState};
use std::hash::BuildHasher as _;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::http::key::{self, Facts, Key};
use crate::limit::{KeyId, Seed};

/// Parts of the map, each under a lock of its own; a power of two.
const SHARDS: usize = 32;
/// Bits of an IPv6 address that are one client, as in rate limits.
const IPV6_PREFIX: u8 = 64;

/// The bound of one route.
pub struct InFlight {
    /// Who shares it; `None` = all.
    pub key: Option<Key>,
    /// Most requests at once.
    pub most: u64,
    /// What is under way: outlives snapshots.
    pub counts: Arc<Counts>,
}

/// Requests that are under way.
pub struct Counts {
    all: AtomicU64,
    by_key: [Mutex<HashMap<KeyId, u64>>; SHARDS],
    seed: Seed,
    /// Chooses the part of the map.
    hasher: RandomState,
}

/// A request that was counted; to be given back to the [`Counts`] that it came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Place(Option<KeyId>);

impl InFlight {
    /// Counts a request; `None` where that would be one too many.
    pub fn enter(&self, facts: &Facts<'_>, scratch: &mut Vec<u8>) -> Option<Place> {
        let Some(key) = &self.key else {
            return self.counts.enter_all(self.most);
        };
        scratch.clear();
        let client = key::network(facts.client, IPV6_PREFIX);
        if !key.append_single(&Facts { client, ..*facts }, scratch) {
            Key::append_client(client, scratch);
        }
        let id = self.counts.seed.identify(0, scratch);
        self.counts.enter_key(id, self.most)
    }
}

impl Counts {
    /// Nothing is under way.
    #[must_use]
    pub fn new(seed: Seed) -> Counts {
        Counts {
            all: AtomicU64::new(0),
            by_key: Default::default(),
            seed,
            hasher: RandomState::new(),
        }
    }

    /// A request is over.
    pub fn leave(&self, place: Place) {
        let Some(key) = place.0 else {
            self.all.fetch_sub(1, Relaxed);
            return;
        };
        if let Entry::Occupied(mut held) = self.shard(key).entry(key) {
            *held.get_mut() -= 1;
            if *held.get() == 0 {
                held.remove();
            }
        }
    }

    fn enter_all(&self, most: u64) -> Option<Place> {
        let more = |now: u64| (now < most).then_some(now + 1);
        let entered = self.all.fetch_update(Relaxed, Relaxed, more);
        entered.is_ok().then_some(Place(None))
    }

    fn enter_key(&self, key: KeyId, most: u64) -> Option<Place> {
        let mut held = self.shard(key);
        let count = held.get(&key).copied().unwrap_or_default();
        if count >= most {
            return None;
        }
        held.insert(key, count + 1);
        Some(Place(Some(key)))
    }

    fn shard(&self, key: KeyId) -> MutexGuard<'_, HashMap<KeyId, u64>> {
        let shard = &self.by_key[self.hasher.hash_one(key) as usize % SHARDS];
        shard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn never_more_than_the_bound_and_nothing_is_left_behind() {
        let counts = Counts::new(Seed::random());
        let keys: Vec<KeyId> = (0_u8..10).map(|n| counts.seed.identify(0, &[n])).collect();
        let most = AtomicU64::new(0);
        thread::scope(|scope| {
            for turn in 0..4 {
                let (counts, keys, most) = (&counts, &keys, &most);
                scope.spawn(move || {
                    for round in 0..2000 {
                        let key = keys[(round * 7 + turn) % keys.len()];
                        let place = counts.enter_key(key, 2);
                        let held = counts.shard(key).get(&key).copied().unwrap_or_default();
                        most.fetch_max(held, Relaxed);
                        place.into_iter().for_each(|place| counts.leave(place));
                        let all = counts.enter_all(3);
                        most.fetch_max(counts.all.load(Relaxed).saturating_sub(1), Relaxed);
                        all.into_iter().for_each(|place| counts.leave(place));
                    }
                });
            }
        });
        assert!(most.into_inner() <= 2);
        assert_eq!(counts.all.load(Relaxed), 0);
        assert!(keys.iter().all(|key| counts.shard(*key).is_empty()));
    }
}

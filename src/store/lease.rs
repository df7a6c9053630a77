//! Tokens taken from the store ahead of need: so many that requests wait for nobody, so few that the limit holds.
//!
//! A gateway holds at most a tenth of the burst of a key, so in any window it admits at most that much beyond what the
//! store has given out. What it holds is sized to what the key has used lately, taken anew before it runs out, and put
//! back a second after its last use. A key's first request waits for the store like one of `exact`; so does each request
//! of a key whose burst is below ten, for a tenth of that is no token.

mod entry;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Weak};
use std::time::Duration;

use hashbrown::HashTable;
use parking_lot::Mutex;

use super::bucket::{Bucket, Names};
use super::cause::Cause;
use super::question::{Asking, Level, Wish};
use super::{Store, Terms};
use crate::limit::Share;
use crate::time::Nanos;
use entry::{Entry, Next};

/// Shards of a limit's leases; each has a lock that is held for some ten nanoseconds.
pub(super) const SHARDS: usize = 64;
/// Leases of one limit; each takes 150 to 350 bytes. A key beyond it is asked for like one of `exact`.
pub const MOST_LEASES: usize = 65_536;
/// Leases for which a table begins: it doubles from there, and does not shrink below.
const FEWEST: usize = 14;

/// The leases of one limit: state, which a reload takes over.
pub struct Leases {
    names: Names,
    shards: Box<[Shard]>,
    most_in_shard: usize,
    /// The memory of the tables: of the same room as all buckets.
    share: Share,
}

#[repr(align(128))]
#[derive(Default)]
struct Shard(Mutex<HashTable<Entry>>);

/// What came of the wish for tokens.
#[derive(Debug)]
pub enum Taken {
    /// They are taken; this is the bucket now, as far as is known here.
    Yes(Level),
    /// There are none, as the store said a moment ago.
    No(Level),
    /// The store must be waited for.
    Wait(Asking),
    /// The store is away, and nothing is left here.
    Away(Cause),
}

/// A key that was asked for before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    /// As it is known here.
    pub id: u128,
    /// As it is known in the store.
    pub digest: u128,
}

/// What a request wants of a key.
#[derive(Clone, Copy, Debug)]
pub struct Want {
    /// How the key's bucket fills.
    pub terms: Terms,
    /// Tokens.
    pub cost: u64,
    /// How long it would wait for them.
    pub patience: Duration,
}

impl Leases {
    /// No leases yet, of at most `most` keys (and never more than [`MOST_LEASES`]), as far as `share` has memory for them.
    #[must_use]
    pub fn new(names: Names, most: usize, share: Share) -> Leases {
        let shards = std::iter::repeat_with(Shard::default);
        share.need((SHARDS * size_of::<Shard>()) as u64);
        Leases {
            names,
            shards: shards.take(SHARDS).collect(),
            most_in_shard: most.min(MOST_LEASES).div_ceil(SHARDS),
            share,
        }
    }

    /// Takes tokens of the key that is known here by `id`, a hash without collisions, and in the store by a digest, which
    /// is worked out where the key is new here, and told back.
    pub fn take(
        self: &Arc<Leases>,
        store: &Store,
        id: u128,
        digest: impl FnOnce() -> u128,
        want: Want,
        now: Nanos,
    ) -> (Taken, u128) {
        let away = store.away();
        let mut shard = self.shard(id).lock();
        let (digest, next) = match shard.find_mut(id as u64, |entry| entry.id == id) {
            Some(entry) => (entry.digest, entry.take(want, now, away.is_none())),
            // While the store is away nobody asks for it.
            None if away.is_some() => (0, Next::Ask(0)),
            None => {
                let digest = digest();
                if self.has_room(&mut shard) {
                    let entry = Entry::new(id, digest, want, now);
                    shard.insert_unique(id as u64, entry, Entry::hash);
                }
                (digest, Next::Ask(0))
            }
        };
        drop(shard);
        let taken = match (next, away) {
            (Next::Taken(level, refill), _) => {
                if refill > 0 {
                    self.refill(store, id, digest, want.terms, refill);
                }
                Taken::Yes(level)
            }
            (Next::Empty(level), _) => Taken::No(level),
            (Next::Ask(_), Some(cause)) => Taken::Away(cause),
            (Next::Ask(extra), None) => {
                let wish = Wish::Take {
                    least: want.cost,
                    patience: want.patience,
                    extra,
                };
                let landing = self.landing(id, want.cost, extra);
                let bucket = self.names.with_digest(digest);
                Taken::Wait(store.link.ask(bucket, want.terms, wish, Some(landing)))
            }
        };
        (taken, digest)
    }

    /// Puts back tokens that a request took and did not need.
    pub fn give(&self, store: &Store, key: Key, terms: Terms, tokens: u64, now: Nanos) {
        let kept = self.with(key.id, |entry| entry.keep(terms, tokens, now));
        if kept < tokens {
            let bucket = self.names.with_digest(key.digest);
            store.tell(bucket, terms, Wish::Give(tokens - kept));
        }
    }

    /// Charges what was used already, whether it is there or not: the store hears of what is not held here.
    pub fn owe(&self, store: &Store, key: Key, terms: Terms, tokens: u64, now: Nanos) {
        let paid = self.with(key.id, |entry| entry.pay(terms, tokens, now));
        if paid < tokens {
            let bucket = self.names.with_digest(key.digest);
            store.tell(bucket, terms, Wish::Owe(tokens - paid));
        }
    }

    /// The names of the buckets in the store.
    #[must_use]
    pub fn names(&self) -> &Names {
        &self.names
    }

    /// Forgets what is known of a key, tokens held and refusals alike: its bucket was filled by hand.
    pub fn forget(&self, id: u128) {
        self.with(id, |entry| {
            entry.forget();
            0
        });
    }

    /// Bytes held, as they are charged to the room.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.share.bytes()
    }

    /// Keys with a lease.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.0.lock().len()).sum()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Ends the leases of one shard that nobody has used for a while, and says what they held.
    pub(super) fn sweep(&self, shard: usize, now: Nanos) -> Vec<(Bucket, Terms, u64)> {
        let Some(shard) = self.shards.get(shard % SHARDS) else {
            return Vec::new();
        };
        let mut ended = Vec::new();
        let mut shard = shard.0.lock();
        shard.retain(|entry| {
            let is_over = entry.is_over(now);
            if is_over && entry.held > 0 {
                let bucket = self.names.with_digest(entry.digest);
                ended.push((bucket, entry.terms, entry.held));
            }
            !is_over
        });
        self.ease(&mut shard);
        ended
    }

    /// Whether one more lease has a place, for which a table that is full grows.
    fn has_room(&self, table: &mut HashTable<Entry>) -> bool {
        if table.len() >= self.most_in_shard {
            return false;
        }
        if table.len() < table.capacity() {
            return true;
        }
        let before = table.allocation_size() as u64;
        // It doubles; with the tags of its slots and what the allocator rounds up it is a little more.
        let more = before.max((FEWEST * 2 * size_of::<Entry>()) as u64) + 64;
        if !self.share.take(more) {
            return false;
        }
        table.reserve(table.len().max(FEWEST), Entry::hash);
        self.settle(before + more, table);
        true
    }

    /// Gives memory back that few leases do not need.
    fn ease(&self, table: &mut HashTable<Entry>) {
        let wanted = (2 * table.len()).max(FEWEST);
        if 2 * wanted < table.capacity() {
            let before = table.allocation_size() as u64;
            table.shrink_to(wanted, Entry::hash);
            self.settle(before, table);
        }
    }

    /// Pays what a table takes, of which so much was paid.
    fn settle(&self, paid: u64, table: &HashTable<Entry>) {
        let takes = table.allocation_size() as u64;
        self.share.need(takes.saturating_sub(paid));
        self.share.give(paid.saturating_sub(takes));
    }

    fn refill(self: &Arc<Self>, store: &Store, id: u128, digest: u128, terms: Terms, extra: u64) {
        let wish = Wish::Take {
            least: 0,
            patience: Duration::ZERO,
            extra,
        };
        let landing = self.landing(id, 1, extra);
        let bucket = self.names.with_digest(digest);
        store.link.tell(bucket, terms, wish, Some(landing));
    }

    fn landing(self: &Arc<Self>, id: u128, least: u64, extra: u64) -> Landing {
        Landing {
            leases: self.clone(),
            id,
            least,
            extra,
        }
    }

    /// What `change` says of the key's lease; 0 where there is none.
    fn with(&self, id: u128, change: impl FnOnce(&mut Entry) -> u64) -> u64 {
        let mut shard = self.shard(id).lock();
        let entry = shard.find_mut(id as u64, |entry| entry.id == id);
        entry.map_or(0, change)
    }

    fn shard(&self, id: u128) -> &Mutex<HashTable<Entry>> {
        // The table goes by the low bits.
        let number = (id >> 64) as usize % SHARDS;
        &self.shards[number].0
    }
}

/// Where the answer to a question of a lease comes down.
pub(super) struct Landing {
    leases: Arc<Leases>,
    id: u128,
    /// Tokens that a request wanted, or would want next.
    least: u64,
    /// Tokens that were asked for beyond them, and are counted as on their way.
    extra: u64,
}

impl Landing {
    /// Takes the answer down, and says how many tokens found no place and must go back.
    pub(super) fn land(self, terms: &Terms, answer: Result<Level, Cause>, now: Nanos) -> u64 {
        let come = answer.map_or(0, |level| level.extra);
        let mut shard = self.leases.shard(self.id).lock();
        match shard.find_mut(self.id as u64, |entry| entry.id == self.id) {
            Some(entry) => entry.land(terms, (self.least, self.extra), answer, now),
            None => come,
        }
    }

    pub(super) fn leases(&self) -> Weak<Leases> {
        Arc::downgrade(&self.leases)
    }
}

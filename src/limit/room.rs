//! Bounds: the memory that all limiters share, and what each has taken of it.

use std::sync::Arc;

use crate::sync::atomic::{AtomicU64, Ordering};

/// A budget of bytes for all limiters and leases together (`limits_memory`), which can change while they run.
#[derive(Debug)]
pub struct Room {
    bound: AtomicU64,
    used: AtomicU64,
}

impl Room {
    /// A budget of so many bytes.
    #[must_use]
    pub fn new(bytes: u64) -> Room {
        Room {
            bound: AtomicU64::new(bytes),
            used: AtomicU64::new(0),
        }
    }

    /// Changes the budget. Where it is now below what is taken, each new key costs two old ones until it holds again.
    pub fn set(&self, bytes: u64) {
        self.bound.store(bytes, Ordering::Relaxed);
    }

    /// Bytes taken. May pass the budget by what no limiter can do without: the table of its shards and their first,
    /// smallest pages, a few KiB for each, and the counters of those that were limited.
    #[must_use]
    pub fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    fn is_exceeded(&self) -> bool {
        self.used() > self.bound.load(Ordering::Relaxed)
    }
}

/// What one holder has taken of a room, which has it back when this goes.
#[derive(Debug)]
pub struct Share {
    room: Arc<Room>,
    bytes: AtomicU64,
}

impl Share {
    /// Nothing of this room yet.
    #[must_use]
    pub fn new(room: Arc<Room>) -> Share {
        Share {
            room,
            bytes: AtomicU64::new(0),
        }
    }

    /// Bytes taken.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Takes memory if the room has it.
    pub fn take(&self, bytes: u64) -> bool {
        let bound = self.room.bound.load(Ordering::Relaxed);
        let before = self.room.used.fetch_add(bytes, Ordering::Relaxed);
        if before.saturating_add(bytes) > bound {
            self.room.used.fetch_sub(bytes, Ordering::Relaxed);
            return false;
        }
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        true
    }

    /// Takes memory that there is no doing without.
    pub fn need(&self, bytes: u64) {
        self.room.used.fetch_add(bytes, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Gives back memory that was taken.
    pub fn give(&self, bytes: u64) {
        self.room.used.fetch_sub(bytes, Ordering::Relaxed);
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.room.used.fetch_sub(self.bytes(), Ordering::Relaxed);
    }
}

/// What one limiter holds: keys up to its bound, bytes up to what the room has.
///
/// Alone in its cache lines: that keys come and go does not slow those who only read what lies beside it.
#[derive(Debug)]
#[repr(align(128))]
pub(super) struct Ledger {
    share: Share,
    keys: AtomicU64,
    max_keys: AtomicU64,
    evictions: AtomicU64,
}

impl Ledger {
    pub(super) fn new(room: Arc<Room>, max_keys: u64) -> Ledger {
        Ledger {
            share: Share::new(room),
            keys: AtomicU64::new(0),
            max_keys: AtomicU64::new(max_keys.max(1)),
            evictions: AtomicU64::new(0),
        }
    }

    pub(super) fn keys(&self) -> u64 {
        self.keys.load(Ordering::Relaxed)
    }

    pub(super) fn bytes(&self) -> u64 {
        self.share.bytes()
    }

    pub(super) fn evictions(&self) -> u64 {
        self.evictions.load(Ordering::Relaxed)
    }

    pub(super) fn bound_keys(&self, max_keys: u64) {
        self.max_keys.store(max_keys.max(1), Ordering::Relaxed);
    }

    /// More keys than the bound, which has come down?
    pub(super) fn holds_too_many(&self) -> bool {
        self.keys() > self.max_keys.load(Ordering::Relaxed)
    }

    /// Is the room smaller than what is taken of it?
    pub(super) fn is_over_room(&self) -> bool {
        self.share.room.is_exceeded()
    }

    /// One key more, if the bound allows it.
    pub(super) fn take_key(&self) -> bool {
        let most = self.max_keys.load(Ordering::Relaxed);
        let one_more = |keys| (keys < most).then_some(keys + 1);
        let taken = self
            .keys
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more);
        taken.is_ok()
    }

    pub(super) fn drop_keys(&self, keys: u64) {
        self.keys.fetch_sub(keys, Ordering::Relaxed);
    }

    /// A bucket that was not full was forgotten.
    pub(super) fn count_eviction(&self) {
        self.evictions.fetch_add(1, Ordering::Relaxed);
    }

    /// Takes memory if the room has it.
    pub(super) fn take_bytes(&self, bytes: u64) -> bool {
        self.share.take(bytes)
    }

    /// Takes memory that there is no doing without.
    pub(super) fn need_bytes(&self, bytes: u64) {
        self.share.need(bytes);
    }

    pub(super) fn give_bytes(&self, bytes: u64) {
        self.share.give(bytes);
    }
}

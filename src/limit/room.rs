//! The memory that all limiters share: a budget of bytes that can change while they run.

use std::sync::atomic::{AtomicU64, Ordering};

/// A budget in bytes, and how much of it is taken.
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

    /// Changes the budget. Where it is now below what is taken, every new key costs an old one until it holds.
    pub fn set(&self, bytes: u64) {
        self.bound.store(bytes, Ordering::Relaxed);
    }

    /// Bytes taken.
    #[must_use]
    pub fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }
}

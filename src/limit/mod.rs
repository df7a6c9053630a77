//! Stub for a compile check only.
#![allow(missing_docs, clippy::all)]
use crate::time::Nanos;
use std::sync::Arc;
use std::time::Duration;
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota;
impl Quota {
    pub fn new(_: u64, _: Duration, _: u64) -> Result<Quota, String> {
        Ok(Quota)
    }
}
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyId(u128);
#[derive(Clone, Copy)]
pub struct Seed;
impl Seed {
    pub fn random() -> Seed {
        Seed
    }
    pub fn identify(&self, _: u64, _: &[u8]) -> KeyId {
        KeyId(0)
    }
}
#[derive(Default)]
pub struct Room;
impl Room {
    pub fn set_bytes(&self, _: u64) {}
}
pub struct Limiter;
pub struct Verdict {
    pub admitted: bool,
    pub left: u64,
    pub wait: Duration,
    pub full_in: Duration,
}
pub struct Fill {
    pub left: u64,
    pub full_in: Duration,
}
impl Limiter {
    pub fn new(_: Quota, _: usize, _: Arc<Room>, _: Nanos) -> Limiter {
        Limiter
    }
    pub fn enforce(&self, _: Quota, _: usize, _: Nanos) {}
    pub fn check(&self, _: KeyId, _: u64, _: Nanos) -> Verdict {
        Verdict {
            admitted: true,
            left: 0,
            wait: Duration::ZERO,
            full_in: Duration::ZERO,
        }
    }
    pub fn reserve(&self, _: KeyId, _: u64, _: Nanos, _: Duration) -> Verdict {
        Verdict {
            admitted: true,
            left: 0,
            wait: Duration::ZERO,
            full_in: Duration::ZERO,
        }
    }
    pub fn give_back(&self, _: KeyId, _: u64, _: Nanos) {}
    pub fn charge(&self, _: KeyId, _: u64, _: Nanos) {}
    pub fn look(&self, _: KeyId, _: Nanos) -> Fill {
        Fill {
            left: 0,
            full_in: Duration::ZERO,
        }
    }
    pub fn refill(&self, _: KeyId) {}
    pub fn note_limited(&self, _: KeyId, _: &str) {}
    pub fn keys(&self) -> usize {
        0
    }
    pub fn evictions(&self) -> u64 {
        0
    }
    pub fn bytes(&self) -> usize {
        0
    }
}

//! Rate limits: token buckets by key, exact under any number of threads, in bounded memory.
//!
//! A [`Limiter`] is one limit of the file with all its buckets; a [`Quota`] is its rate and burst; a [`Seed`] makes a
//! [`KeyId`] of whatever the limit counts by. Nothing here knows HTTP, reads a clock or waits: `now` is an argument, and
//! what must be waited for is told as a [`Verdict`]. WebSocket messages are limited by the same engine as requests.
//!
//! **The law.** In any window of length t at most `burst + t / interval` tokens are taken of one key, and a client that
//! keeps below that is never refused: GCRA, decided by governor (`engine`), on times that are exact to the nanosecond
//! and compared under the lock of the key's shard. A clock that lags behind another thread's changes nothing: a shard's
//! time is the latest that it has seen.
//!
//! **Memory.** 16 bytes for a bucket, in tables that are between two thirds and four fifths taken: 20 to 25 bytes for
//! each key, 32 at most (`page`, `cells`). `max_keys` and the [`Room`] are hard. A bucket that is full says no more than
//! one that is not there, so it is forgotten first, as a hand goes round the shard with the checks; where at least 32
//! buckets were looked at and none was full, the nearest to full of these is forgotten and counted. So what an
//! attacker's many keys push out is each other, never the key that has used up its tokens.
//!
//! **Reload.** The quota lies beside the buckets ([`Limiter::enforce`]): whoever asks, from whatever snapshot, gets the
//! answer of the quota in force, and every bucket keeps its fill ratio (`law`).

mod cells;
mod engine;
mod heavy;
mod law;
mod limiter;
mod page;
mod quota;
mod room;
mod seed;

pub use limiter::Limiter;
pub use quota::{Quota, QuotaFault};
pub use room::{Room, Share};
pub use seed::{KeyId, Seed};

use std::time::Duration;

/// What a limiter said to one use of a key, and how full its bucket is afterwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Were the tokens taken?
    pub admitted: bool,
    /// Whole tokens left now.
    pub left: u64,
    /// Refused: exactly how long until this cost would be admitted if nobody else came, [`Duration::MAX`] where it is
    /// above the burst. Admitted by `reserve`: how long to wait before going on. Else zero.
    pub wait: Duration,
    /// How long until the bucket is full.
    pub full_in: Duration,
}

/// How full one bucket is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fill {
    /// Whole tokens left.
    pub left: u64,
    /// How long until the bucket is full.
    pub full_in: Duration,
    /// How long until one token is there; zero where one is, [`Duration::MAX`] where none ever will be.
    pub wait_for_one: Duration,
}

/// A key that was often limited.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heavy {
    /// What the caller called the key, cut to [`LONGEST_NAME`] bytes.
    pub name: Box<[u8]>,
    /// How often it was limited, or up to `error` less.
    pub count: u64,
    /// By how much `count` may be too large.
    pub error: u64,
}

/// Bytes of a limited key's name that are kept.
pub const LONGEST_NAME: usize = 64;

#[cfg(test)]
mod tests;

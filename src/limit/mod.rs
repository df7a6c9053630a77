//! Rate limits: token buckets by key, exact under any number of threads, in bounded memory.

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
pub use room::Room;
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

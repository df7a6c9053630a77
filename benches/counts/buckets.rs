//! What checks are measured with: a limiter that holds ten thousand keys.

use std::sync::Arc;
use std::time::Duration;

use tidegate::limit::{Limiter, Quota, Room, Seed, Verdict};
use tidegate::time::Nanos;

const KEYS: u32 = 10_000;

/// One check, ready to be made.
pub(crate) struct Check {
    limiter: Limiter,
    seed: Seed,
    key: Vec<u8>,
}

/// What the check meets.
#[derive(Clone, Copy)]
pub(crate) enum Bucket {
    /// A key that is held, with tokens left.
    Live,
    /// A key that was never seen.
    New,
    /// A key without tokens.
    Empty,
}

pub(crate) fn check(bucket: Bucket, key: &str) -> Check {
    let quota = Quota::new(1000, Duration::from_secs(3600), 1000).unwrap();
    let limiter = Limiter::new(quota, 1_000_000, Arc::new(Room::new(1 << 30)), Nanos(0));
    let seed = Seed::known(1, 2);
    for number in 0..KEYS {
        limiter.check(seed.identify(1, &number.to_le_bytes()), 1, Nanos(1));
    }
    let key = key.as_bytes().to_vec();
    let cost = match bucket {
        Bucket::Live => 10,
        Bucket::New => 0,
        Bucket::Empty => 1000,
    };
    limiter.check(seed.identify(1, &key), cost, Nanos(1));
    Check { limiter, seed, key }
}

impl Check {
    pub(crate) fn check(&self, now: Nanos) -> Verdict {
        let key = self.seed.identify(1, &self.key);
        self.limiter.check(key, 1, now)
    }
}

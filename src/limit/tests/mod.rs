//! The limiter in virtual time: buckets, bounds, changes of law, threads, floods and the sketch.

mod bucket;
mod change;
mod flood;
mod model;
mod page;
mod sketch;
mod store;
mod threads;

use std::sync::Arc;
use std::time::Duration;

use super::{KeyId, Limiter, Quota, Room, Seed};
use crate::time::Nanos;

const MILLISECOND: u64 = 1_000_000;
const SECOND: u64 = 1_000_000_000;
const HOUR: Duration = Duration::from_secs(3600);

/// A process is not born at 0.
const START: Nanos = Nanos(7 * SECOND);

const PLENTY: u64 = 1 << 40;

fn after(nanos: u64) -> Nanos {
    Nanos(START.0 + nanos)
}

fn per_second(tokens: u64, burst: u64) -> Quota {
    Quota::new(tokens, Duration::from_secs(1), burst).unwrap()
}

fn per_hour(tokens: u64, burst: u64) -> Quota {
    Quota::new(tokens, HOUR, burst).unwrap()
}

fn limiter(quota: Quota) -> Limiter {
    bounded(quota, 1_000_000)
}

fn bounded(quota: Quota, max_keys: u64) -> Limiter {
    Limiter::new(quota, max_keys, Arc::new(Room::new(PLENTY)), START)
}

/// Keys by number: the same in every run, and as scattered as a hash.
fn key(number: u64) -> KeyId {
    KeyId {
        place: scatter(number.wrapping_mul(2)),
        tag: scatter(number.wrapping_mul(2).wrapping_add(1)).max(1),
    }
}

/// SplitMix64.
fn scatter(number: u64) -> u64 {
    let mut z = number.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

fn admits(limiter: &Limiter, key: KeyId, now: Nanos) -> bool {
    limiter.check(key, 1, now).admitted
}

/// How many of so many requests at one moment are admitted.
fn admitted(limiter: &Limiter, key: KeyId, requests: u64, now: Nanos) -> u64 {
    (0..requests).filter(|_| admits(limiter, key, now)).count() as u64
}

/// The usual size of a test, or the long one where `TIDEGATE_SOAK=1`.
fn scale<T>(usual: T, long: T) -> T {
    let soak = std::env::var_os("TIDEGATE_SOAK").is_some_and(|value| value == "1");
    if soak { long } else { usual }
}

#[test]
fn keys_of_two_limits_and_of_two_processes_are_strangers() {
    let (one, other) = (Seed::random(), Seed::random());
    assert_eq!(one.identify(1, b"a"), one.identify(1, b"a"));
    assert_ne!(one.identify(1, b"a"), one.identify(2, b"a"));
    assert_ne!(one.identify(1, b"a"), one.identify(1, b"b"));
    assert_ne!(one.identify(1, b"a"), other.identify(1, b"a"));
    assert_eq!(format!("{one:?}"), "Seed(secret)");
}

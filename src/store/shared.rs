//! What the thread of a store and the workers both see: how it stands, and what went wrong how often.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::bucket::Bucket;
use super::cause::Cause;
use super::{Address, Terms};
use crate::time::Nanos;

/// How a store stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Whether it is asked.
    pub presence: Presence,
    /// Why it is away, or was last.
    pub cause: Option<Cause>,
    /// Since when it stands so, to the millisecond.
    pub since: Nanos,
}

/// Whether a store is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// The first connection is being made: questions wait for it, as long as they may.
    Joining,
    /// It answers.
    Here,
    /// It is not asked until it has proved itself again.
    Away,
}

impl Presence {
    /// The word in pages.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Presence::Joining => "joining",
            Presence::Here => "here",
            Presence::Away => "away",
        }
    }
}

pub(super) struct Shared {
    pub(super) name: Arc<str>,
    pub(super) address: Address,
    /// Milliseconds since the process began ‖ cause + 1 in 8 bits ‖ presence in 8 bits: one word, read by each request.
    standing: AtomicU64,
    /// Nanoseconds.
    timeout: AtomicU64,
    errors: [AtomicU64; Cause::ALL.len()],
    /// A worker waited in vain, or the store is wanted no more, or again.
    pub(super) doubt: Notify,
    /// Does the file in force name it?
    is_wanted: AtomicBool,
    /// Tokens that came back from leases, to be returned by the thread.
    returns: Mutex<Vec<(Bucket, Terms, u64)>>,
}

impl Shared {
    pub(super) fn new(name: &str, address: Address) -> Shared {
        Shared {
            name: name.into(),
            address,
            standing: AtomicU64::new(pack(Presence::Joining, None, Nanos(0))),
            timeout: AtomicU64::new(0),
            errors: Default::default(),
            doubt: Notify::new(),
            is_wanted: AtomicBool::new(false),
            returns: Mutex::new(Vec::new()),
        }
    }

    pub(super) fn standing(&self) -> Standing {
        unpack(self.standing.load(Ordering::Acquire))
    }

    /// The store is here.
    pub(super) fn arrive(&self, now: Nanos) {
        let before = self.standing();
        self.standing
            .store(pack(Presence::Here, before.cause, now), Ordering::Release);
    }

    /// The store is away from now on. False if it was already.
    pub(super) fn leave(&self, cause: Cause, now: Nanos) -> bool {
        let away = pack(Presence::Away, Some(cause), now);
        let change = |word| (unpack(word).presence != Presence::Away).then_some(away);
        self.standing
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, change)
            .is_ok()
    }

    /// Whether anybody needs it. Without that it has no connection.
    pub(super) fn is_wanted(&self) -> bool {
        self.is_wanted.load(Ordering::Acquire)
    }

    pub(super) fn want(&self, is_wanted: bool) {
        if self.is_wanted.swap(is_wanted, Ordering::AcqRel) != is_wanted {
            self.doubt.notify_one();
        }
    }

    /// It is neither here nor away: the next who ask wait for its first connection.
    pub(super) fn rest(&self, now: Nanos) {
        let joining = pack(Presence::Joining, self.standing().cause, now);
        self.standing.store(joining, Ordering::Release);
    }

    pub(super) fn timeout(&self) -> Duration {
        Duration::from_nanos(self.timeout.load(Ordering::Relaxed))
    }

    pub(super) fn set_timeout(&self, timeout: Duration) {
        let nanos = u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX);
        self.timeout.store(nanos, Ordering::Relaxed);
    }

    pub(super) fn count(&self, cause: Cause) {
        self.errors[cause as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn errors(&self, cause: Cause) -> u64 {
        self.errors[cause as usize].load(Ordering::Relaxed)
    }

    /// Remembers tokens that are to be put back. Beyond a bound they are forgotten, which errs on the safe side.
    pub(super) fn return_later(&self, bucket: Bucket, terms: Terms, tokens: u64) {
        let mut returns = self.returns.lock();
        if returns.len() < MOST_RETURNS {
            returns.push((bucket, terms, tokens));
        }
    }

    pub(super) fn take_returns(&self) -> Vec<(Bucket, Terms, u64)> {
        std::mem::take(&mut *self.returns.lock())
    }
}

fn pack(presence: Presence, cause: Option<Cause>, since: Nanos) -> u64 {
    let cause = cause.map_or(0, |cause| cause as u64 + 1);
    (since.0 / 1_000_000) << 16 | cause << 8 | presence as u64
}

fn unpack(word: u64) -> Standing {
    let presence = match word & 0xff {
        0 => Presence::Joining,
        1 => Presence::Here,
        _ => Presence::Away,
    };
    let number = u8::try_from(word >> 8 & 0xff).unwrap_or_default();
    Standing {
        presence,
        cause: number.checked_sub(1).and_then(Cause::from_number),
        since: Nanos((word >> 16) * 1_000_000),
    }
}

/// Buckets whose tokens wait to be put back.
const MOST_RETURNS: usize = 4096;

//! A rate limit, ready to be asked: who shares a bucket, what a request takes from it, and what becomes of one that
//! finds it empty.
//!
//! Policy is the snapshot's; the buckets, with the quota that they are filled by, live behind an `Arc` and outlive it.

pub mod fields;
pub mod place;
#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use http::HeaderName;

use crate::http::forwarded::Networks;
use crate::http::key::{self, Facts, Key, Part};
use crate::limit::{Fill, KeyId, Limiter, Quota, Room, Seed, Verdict};
use crate::metrics::LimitStats;
use crate::store::{Asking, Level};
use crate::time::Nanos;
use place::{OnFailure, Place, Said, Source, Use};

/// One limit of a snapshot.
pub struct Limit {
    /// Its name.
    pub name: String,
    /// What it asks and does.
    pub policy: Policy,
    /// Where its buckets are.
    pub place: Place,
    /// Those of this process: its own ones, or what is left when a store is away.
    pub buckets: Arc<Buckets>,
    /// Counters, found by name.
    pub stats: Arc<LimitStats>,
    /// What `RateLimit-Policy` says of it.
    pub shown: String,
}

/// What a limit asks of a request, and does with it.
pub struct Policy {
    /// Who shares a bucket.
    pub key: Key,
    /// How buckets fill.
    pub quota: Quota,
    /// A second quota that is only counted.
    pub candidate: Option<Quota>,
    /// Most buckets.
    pub max_keys: u64,
    /// What a request takes, where its owner does not say otherwise.
    pub cost: Cost,
    /// What a request without the key is.
    pub on_missing_key: Missing,
    /// Bits of an IPv6 address that are one client.
    pub ipv6_prefix: u8,
    /// Clients that are not limited.
    pub exempt: Networks,
    /// Longest wait for a turn; zero = none.
    pub max_wait: Duration,
    /// Most requests that wait at once.
    pub max_waiting: usize,
    /// Is anybody refused?
    pub is_enforced: bool,
    /// Which answers tell of it.
    pub headers: Headers,
}

/// What a request takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cost {
    /// So many tokens.
    Fixed(u64),
    /// One token at first; what this field of the answer says is charged when that is there.
    Header(HeaderName),
}

/// What a request without the key is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// Known by its address.
    Client,
    /// Let through.
    Allowed,
    /// Refused.
    Denied,
}

/// Which answers carry RateLimit fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Headers {
    /// Refusals alone.
    Refused,
    /// Every answer.
    Always,
    /// None.
    Off,
}

/// The buckets of a limit in this process: they outlive snapshots.
pub struct Buckets {
    limiter: Limiter,
    /// Those of the candidate, if there ever was one.
    candidate: OnceLock<Limiter>,
    seed: Seed,
    /// Shared by all limits.
    room: Arc<Room>,
    /// Requests that wait for their turn.
    waiting: AtomicUsize,
}

/// The limit of a route or listener, with what a request takes there.
pub struct Used {
    /// The limit.
    pub limit: Arc<Limit>,
    /// What a request takes.
    pub cost: Cost,
}

impl Used {
    /// Does the answer of a request that was admitted still have to do with it?
    #[must_use]
    pub fn is_asked_later(&self) -> bool {
        self.limit.policy.headers == Headers::Always || matches!(self.cost, Cost::Header(_))
    }
}

/// Whose bucket a request is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    /// This key's.
    Key(KeyId),
    /// Nobody's: its client is exempt.
    Exempt,
    /// Nobody's, for it has no key, and may pass.
    Allowed,
    /// Nobody's, for it has no key, and is refused.
    Denied,
}

impl Limit {
    /// Whose bucket a request is about; the bytes of its key are left in `scratch`, which loses what it had.
    pub fn identify(&self, facts: &Facts<'_>, scratch: &mut Vec<u8>) -> Whose {
        scratch.clear();
        let policy = &self.policy;
        if !policy.exempt.is_empty() && policy.exempt.contains(facts.client) {
            return Whose::Exempt;
        }
        let client = self.mask(facts.client);
        if !policy
            .key
            .append_single(&Facts { client, ..*facts }, scratch)
        {
            match policy.on_missing_key {
                Missing::Client => Key::append_client(client, scratch),
                Missing::Allowed => return Whose::Allowed,
                Missing::Denied => return Whose::Denied,
            }
        }
        Whose::Key(self.buckets().seed.identify(0, scratch))
    }

    /// Is a bucket of this process found by the address of the client, and by nothing else?
    #[must_use]
    #[inline]
    pub fn is_by_address(&self) -> bool {
        matches!(self.policy.key.parts(), [Part::ClientIp])
            && matches!(self.place, Place::Local)
            && self.policy.exempt.is_empty()
    }

    /// Leaves the bytes of a key in `out` that is the address of a client; `out` loses what it had.
    pub fn spell(&self, client: IpAddr, out: &mut Vec<u8>) {
        out.clear();
        Key::append_client(self.mask(client), out);
    }

    /// Does it say yes or no at once, by one quota and in this process?
    #[must_use]
    #[inline]
    pub fn is_plain(&self) -> bool {
        matches!(self.place, Place::Local)
            && self.policy.candidate.is_none()
            && self.policy.max_wait.is_zero()
    }

    /// The bucket of a key as people write it; `None` if that is none of this limit.
    #[must_use]
    pub fn find(&self, text: &str) -> Option<KeyId> {
        self.locate(text).map(|(key, _)| key)
    }

    /// The bucket of a key as people write it, and the bytes that stand for the key; `None` if that is none of this limit.
    #[must_use]
    pub fn locate(&self, text: &str) -> Option<(KeyId, Vec<u8>)> {
        let mut bytes = Vec::new();
        self.policy
            .key
            .read(text, |address| self.mask(address), &mut bytes)?;
        Some((self.buckets().seed.identify(0, &bytes), bytes))
    }

    /// Asks for tokens at `now`; how long the request can wait for them is bounded by `max_wait` too.
    #[must_use]
    pub fn take(&self, mut used: Use<'_>, now: Nanos) -> Said {
        used.patience = used.patience.min(self.policy.max_wait);
        match &self.place {
            Place::Local => Said::Verdict(self.buckets.take(used, now), Source::Local),
            Place::Shared(shared) => shared
                .take(used, self.policy.quota, now)
                .unwrap_or_else(|_| self.take_without_store(used, now)),
        }
    }

    /// The same, when the store did not answer.
    #[must_use]
    pub fn take_without_store(&self, mut used: Use<'_>, now: Nanos) -> Said {
        used.patience = used.patience.min(self.policy.max_wait);
        let on_failure = match &self.place {
            Place::Local => OnFailure::Local,
            Place::Shared(shared) => shared.on_failure,
        };
        place::without(on_failure, &self.buckets, used, self.policy.quota, now)
    }

    /// Waits for the answer of its store, as long as that may take; `None` where it failed.
    pub async fn hear(&self, asking: Asking) -> Option<Level> {
        match &self.place {
            Place::Shared(shared) => shared.store.wait(asking).await.ok(),
            Place::Local => None,
        }
    }

    /// A request that took `cost` tokens of `source` does not take place.
    pub fn give_back(&self, key: KeyId, source: Source, cost: u64, now: Nanos) {
        match (source, &self.place) {
            (Source::Local, _) => self.buckets.give_back(key, cost, now),
            (Source::Store(digest), Place::Shared(shared)) => {
                shared.give_back(key, digest, self.policy.quota, cost, now);
            }
            (Source::Store(_) | Source::Nobody, _) => {}
        }
    }

    /// A request that took tokens of `source` takes more than it was known to.
    pub fn charge(&self, key: KeyId, source: Source, cost: u64, now: Nanos) {
        match (source, &self.place) {
            (Source::Local, _) => self.buckets.charge(key, cost, now),
            (Source::Store(digest), Place::Shared(shared)) => {
                shared.charge(key, digest, self.policy.quota, cost, now);
            }
            (Source::Store(_) | Source::Nobody, _) => {}
        }
    }

    /// Asks the candidate, if there is one: would it have let the request pass?
    #[must_use]
    pub fn take_from_candidate(&self, key: KeyId, cost: u64, now: Nanos) -> Option<bool> {
        self.policy.candidate.as_ref()?;
        let candidate = self.buckets().candidate.get()?;
        Some(candidate.check(key, cost, now).admitted)
    }

    /// The buckets of this process.
    #[must_use]
    pub fn buckets(&self) -> &Buckets {
        &self.buckets
    }

    /// Lets the quota hold, from `now` on, also for those who walk through an older snapshot.
    pub fn enforce(&self, now: Nanos) {
        let (policy, buckets) = (&self.policy, self.buckets());
        buckets.limiter.enforce(policy.quota, policy.max_keys, now);
        if let Some(quota) = policy.candidate {
            let candidate = buckets
                .candidate
                .get_or_init(|| Limiter::new(quota, policy.max_keys, buckets.room.clone(), now));
            candidate.enforce(quota, policy.max_keys, now);
        }
    }

    fn mask(&self, client: IpAddr) -> IpAddr {
        key::network(client, self.policy.ipv6_prefix)
    }
}

impl Buckets {
    /// No key was seen yet.
    #[must_use]
    pub fn new(quota: Quota, max_keys: u64, room: Arc<Room>, seed: Seed, now: Nanos) -> Buckets {
        Buckets {
            limiter: Limiter::new(quota, max_keys, room.clone(), now),
            candidate: OnceLock::new(),
            seed,
            room,
            waiting: AtomicUsize::new(0),
        }
    }

    /// Takes tokens, or a turn for them within the patience of the request.
    fn take(&self, used: Use<'_>, now: Nanos) -> Verdict {
        if used.patience.is_zero() {
            self.limiter.check(used.key, used.cost, now)
        } else {
            self.limiter
                .reserve(used.key, used.cost, now, used.patience)
        }
    }

    /// What a bucket has.
    #[must_use]
    pub fn look(&self, key: KeyId, now: Nanos) -> Fill {
        self.limiter.look(key, now)
    }

    /// Fills a bucket, and the candidate's.
    pub fn refill(&self, key: KeyId) {
        self.limiter.refill(key);
        if let Some(candidate) = self.candidate.get() {
            candidate.refill(key);
        }
    }

    /// A request takes more than it was known to.
    pub fn charge(&self, key: KeyId, cost: u64, now: Nanos) {
        self.limiter.charge(key, cost, now);
    }

    /// A request that took `cost` tokens does not take place.
    pub fn give_back(&self, key: KeyId, cost: u64, now: Nanos) {
        self.limiter.give_back(key, cost, now);
    }

    /// The same, of the candidate.
    pub fn give_back_to_candidate(&self, key: KeyId, cost: u64, now: Nanos) {
        if let Some(candidate) = self.candidate.get() {
            candidate.give_back(key, cost, now);
        }
    }

    /// Forgets what is full by now in the part of the buckets whose turn it is, the candidate's too.
    pub fn forget_full_part(&self, turn: usize, now: Nanos) {
        let limiters = [Some(&self.limiter), self.candidate.get()];
        for limiter in limiters.into_iter().flatten() {
            limiter.forget_full_part(turn, now);
        }
    }

    /// The limiter itself, for those who count.
    #[must_use]
    pub fn limiter(&self) -> &Limiter {
        &self.limiter
    }

    /// A request wants to wait for its turn; `false` where `most` do already.
    pub fn begin_to_wait(&self, most: usize) -> bool {
        let waits = |waiting: usize| (waiting < most).then_some(waiting + 1);
        self.waiting.fetch_update(Relaxed, Relaxed, waits).is_ok()
    }

    /// One that began to wait does so no more.
    pub fn end_to_wait(&self) {
        self.waiting.fetch_sub(1, Relaxed);
    }

    /// Requests that wait for their turn.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting.load(Relaxed)
    }
}

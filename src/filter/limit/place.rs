//! Where the buckets of a limit are: in this process, or in a store that other gateways share.

use std::sync::Arc;
use std::time::Duration;

use super::Buckets;
use crate::limit::{KeyId, Quota, Verdict};
use crate::store::lease::{self, Leases, Taken, Want};
use crate::store::{Asking, Cause, Level, Names, Store, Terms, Wish, digest};
use crate::time::Nanos;

/// Where the buckets of a limit are.
pub enum Place {
    /// In this process.
    Local,
    /// In a store.
    Shared(Shared),
}

/// Buckets in a store.
pub struct Shared {
    /// The store.
    pub store: Store,
    /// How it is asked.
    pub way: Way,
    /// What holds while it is away.
    pub on_failure: OnFailure,
}

/// How a store is asked.
pub enum Way {
    /// For each request.
    Exact(Names),
    /// In batches.
    Leased(Arc<Leases>),
}

/// What holds while a store is away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnFailure {
    /// Buckets of this process.
    Local,
    /// No limit.
    Allow,
    /// Nobody passes.
    Deny,
}

/// What a limit said at once.
pub enum Said {
    /// This, and who gave the tokens, if it gave any.
    Verdict(Verdict, Source),
    /// It is for the store to say.
    Ask(Question),
    /// Its store is away, and nobody may pass without it.
    Unavailable,
}

/// A question that a store has not answered yet.
pub struct Question {
    asking: Asking,
    reading: Reading,
}

/// How the answer to a question is read.
#[derive(Clone, Copy)]
pub struct Reading(Source);

/// Who gave tokens, and gets them back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// Buckets of this process.
    Local,
    /// The store, which knows the key by this digest.
    Store(u128),
    /// Nobody: the limit did not hold.
    Nobody,
}

/// A use of a key.
#[derive(Clone, Copy)]
pub struct Use<'a> {
    /// The key, and what it was made of.
    pub key: KeyId,
    /// The bytes of the key, which are the same in every gateway.
    pub bytes: &'a [u8],
    /// Tokens.
    pub cost: u64,
    /// How long it can wait for them.
    pub patience: Duration,
}

impl Shared {
    pub(super) fn take(&self, used: Use<'_>, quota: Quota, now: Nanos) -> Result<Said, Cause> {
        let terms = Terms::from(quota);
        let (cost, patience) = (used.cost, used.patience);
        let said = |level: &Level, source| Said::Verdict(terms.verdict(cost, level), source);
        match &self.way {
            Way::Exact(names) => {
                if let Some(cause) = self.store.away() {
                    return Err(cause);
                }
                let digest = digest(used.bytes);
                let wish = Wish::Take {
                    least: cost,
                    patience,
                    extra: 0,
                };
                let asking = self.store.ask(names.with_digest(digest), terms, wish)?;
                Ok(Said::Ask(Question::new(asking, digest)))
            }
            Way::Leased(leases) => {
                let want = Want {
                    terms,
                    cost,
                    patience,
                };
                let digest = || digest(used.bytes);
                let (taken, digest) =
                    leases.take(&self.store, used.key.number(), digest, want, now);
                let source = Source::Store(digest);
                match taken {
                    Taken::Yes(level) => Ok(said(&level, source)),
                    Taken::No(level) => Ok(said(&level, Source::Nobody)),
                    Taken::Wait(asking) => Ok(Said::Ask(Question::new(asking, digest))),
                    Taken::Away(cause) => Err(cause),
                }
            }
        }
    }

    pub(super) fn give_back(&self, key: KeyId, digest: u128, quota: Quota, cost: u64, now: Nanos) {
        let terms = Terms::from(quota);
        match &self.way {
            Way::Exact(names) => {
                self.store
                    .tell(names.with_digest(digest), terms, Wish::Give(cost));
            }
            Way::Leased(leases) => {
                leases.give(&self.store, known(key, digest), terms, cost, now);
            }
        }
    }

    pub(super) fn charge(&self, key: KeyId, digest: u128, quota: Quota, cost: u64, now: Nanos) {
        let terms = Terms::from(quota);
        match &self.way {
            Way::Exact(names) => {
                self.store
                    .tell(names.with_digest(digest), terms, Wish::Owe(cost));
            }
            Way::Leased(leases) => leases.owe(&self.store, known(key, digest), terms, cost, now),
        }
    }

    /// Looks at a bucket in the store, or fills it there.
    ///
    /// # Errors
    /// The store is away, or does not answer in time.
    pub async fn visit(
        &self,
        key: KeyId,
        bytes: &[u8],
        quota: Quota,
        fills: bool,
    ) -> Result<Verdict, Cause> {
        let (terms, digest) = (Terms::from(quota), digest(bytes));
        let names = match &self.way {
            Way::Exact(names) => names,
            Way::Leased(leases) => leases.names(),
        };
        let wish = if fills { Wish::Fill } else { Wish::Look };
        let level = self
            .store
            .check(names.with_digest(digest), terms, wish)
            .await?;
        if let (true, Way::Leased(leases)) = (fills, &self.way) {
            leases.forget(key.number());
        }
        Ok(terms.verdict(0, &level))
    }
}

impl Question {
    fn new(asking: Asking, digest: u128) -> Question {
        let reading = Reading(Source::Store(digest));
        Question { asking, reading }
    }

    /// The answer to come, and how to read it.
    #[must_use]
    pub fn part(self) -> (Asking, Reading) {
        (self.asking, self.reading)
    }
}

impl Reading {
    /// What the store's answer means for a wish for `cost` tokens, and who gave them.
    #[must_use]
    pub fn read(self, level: &Level, cost: u64, quota: Quota) -> (Verdict, Source) {
        (Terms::from(quota).verdict(cost, level), self.0)
    }
}

/// What holds without the store.
pub(super) fn without(
    on_failure: OnFailure,
    buckets: &Buckets,
    used: Use<'_>,
    quota: Quota,
    now: Nanos,
) -> Said {
    match on_failure {
        OnFailure::Local => Said::Verdict(buckets.take(used, now), Source::Local),
        OnFailure::Allow => {
            let free = Verdict {
                admitted: true,
                left: quota.burst(),
                wait: Duration::ZERO,
                full_in: Duration::ZERO,
            };
            Said::Verdict(free, Source::Nobody)
        }
        OnFailure::Deny => Said::Unavailable,
    }
}

fn known(key: KeyId, digest: u128) -> lease::Key {
    lease::Key {
        id: key.number(),
        digest,
    }
}

//! Keys as 128 bits that nobody outside can aim: SipHash-1-3 under a secret of this process.

use std::hash::{BuildHasher, Hasher, RandomState};

use siphasher::sip128::{Hasher128, SipHasher13};

/// The secret under which keys are hashed. One for a process: keys of two seeds are strangers.
#[derive(Clone, Copy)]
pub struct Seed {
    secret: SipHasher13,
}

/// A key of one limit: enough of a hash to stand for the key itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyId {
    /// Chooses the shard.
    pub(crate) place: u64,
    /// Tells it from the others of its shard; never 0, which marks an empty slot.
    pub(crate) tag: u64,
}

impl KeyId {
    /// All 128 bits in one number.
    #[must_use]
    pub fn number(self) -> u128 {
        u128::from(self.place) << 64 | u128::from(self.tag)
    }
}

impl Seed {
    /// A new secret, from the random state of the standard library's maps, which the operating system seeds.
    #[must_use]
    pub fn random() -> Seed {
        let word = |number: u64| RandomState::new().hash_one(number);
        Seed::known(word(1) ^ word(2), word(3) ^ word(4))
    }

    /// A secret that is none, for what must be the same in every run: counts and tests.
    #[must_use]
    pub fn known(high: u64, low: u64) -> Seed {
        Seed {
            secret: SipHasher13::new_with_keys(high, low),
        }
    }

    /// The key of the limit `limit_salt` whose name is `bytes`. Those who compose a key of parts see to it that no two
    /// compositions spell the same bytes.
    #[must_use]
    pub fn identify(&self, limit_salt: u64, bytes: &[u8]) -> KeyId {
        let mut hasher = self.secret;
        hasher.write_u64(limit_salt);
        hasher.write(bytes);
        let hash = hasher.finish128();
        KeyId {
            place: hash.h1,
            tag: hash.h2.max(1),
        }
    }
}

impl std::fmt::Debug for Seed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Seed(secret)")
    }
}

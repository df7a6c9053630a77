//! The name of a bucket in the store: equal in every gateway, short whatever the client sends, and free of what it sent.

use std::fmt::Write;
use std::sync::Arc;

use sha2::{Digest, Sha256};

/// The names of one limit's buckets. The limit's name and the definition of its key belong to them, as they do to the
/// identity of its state in one process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    prefix: Arc<str>,
}

/// One bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bucket {
    prefix: Arc<str>,
    digest: u128,
}

impl Names {
    /// The names of the limit `name`, whose key is defined by `definition`.
    #[must_use]
    pub fn new(name: &str, definition: &str) -> Names {
        let short = digest(definition.as_bytes()) >> 96;
        Names {
            prefix: format!("tidegate:{name}:{short:08x}:").into(),
        }
    }

    /// The bucket of `key`. Clients choose keys, and all gateways must agree on the name, so no secret of one process
    /// can be in it: it is 128 bits of SHA-256, in which nobody finds two keys of one name.
    #[must_use]
    pub fn bucket(&self, key: &[u8]) -> Bucket {
        self.with_digest(digest(key))
    }

    /// The same, of a digest that is known already.
    #[must_use]
    pub fn with_digest(&self, digest: u128) -> Bucket {
        Bucket {
            prefix: self.prefix.clone(),
            digest,
        }
    }
}

impl Bucket {
    /// The key in Redis.
    pub(super) fn name(&self) -> String {
        let mut name = String::with_capacity(self.prefix.len() + 32);
        name.push_str(&self.prefix);
        // Writing to a string does not fail.
        let _ = write!(name, "{:032x}", self.digest);
        name
    }
}

/// The first 128 bits of SHA-256.
#[must_use]
pub fn digest(bytes: &[u8]) -> u128 {
    let whole: [u8; 32] = Sha256::digest(bytes).into();
    let mut half = [0; 16];
    half.copy_from_slice(&whole[..16]);
    u128::from_be_bytes(half)
}

//! `X-Request-Id`: the client's own if it is sane, else 128 bits of ours in hexadecimal.

use std::cell::{Cell, RefCell};
use std::hash::{BuildHasher, Hasher, RandomState};

use bytes::Bytes;
use http::HeaderValue;

const LENGTH: usize = 32;
/// Identifiers are made so many at a time: cutting one from a block costs a fraction of an allocation.
const BATCH: usize = 64;

/// Makes identifiers for one worker: a random start for each process and worker, then a counter, mixed.
pub struct RequestIds {
    high: [u8; 16],
    next: Cell<u64>,
    block: RefCell<Bytes>,
}

impl Default for RequestIds {
    fn default() -> Self {
        let random = || RandomState::new().build_hasher().finish();
        RequestIds {
            high: hexadecimal(random()),
            next: Cell::new(random()),
            block: RefCell::default(),
        }
    }
}

impl RequestIds {
    /// A new identifier.
    #[must_use]
    pub fn make(&self) -> HeaderValue {
        let mut block = self.block.borrow_mut();
        if block.is_empty() {
            *block = self.make_block();
        }
        let id = block.split_to(LENGTH);
        HeaderValue::from_maybe_shared(id).unwrap_or_else(|_| HeaderValue::from_static("0"))
    }

    fn make_block(&self) -> Bytes {
        let mut block = Vec::with_capacity(BATCH * LENGTH);
        for _ in 0..BATCH {
            block.extend_from_slice(&self.high);
            block.extend_from_slice(&hexadecimal(self.draw()));
        }
        Bytes::from(block)
    }

    /// Splitmix64: a counter never repeats, and neighbours look unrelated.
    fn draw(&self) -> u64 {
        let n = self.next.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        self.next.set(n);
        let mut low = n;
        low = (low ^ (low >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        low = (low ^ (low >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        low ^ (low >> 31)
    }
}

fn hexadecimal(value: u64) -> [u8; 16] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = [0; 16];
    for (pair, byte) in text
        .as_chunks_mut::<2>()
        .0
        .iter_mut()
        .zip(value.to_be_bytes())
    {
        *pair = [
            DIGITS[usize::from(byte >> 4)],
            DIGITS[usize::from(byte & 15)],
        ];
    }
    text
}

/// Short enough for a log line and made of characters that need no escape anywhere.
#[must_use]
pub fn is_sane(id: &[u8]) -> bool {
    (1..=128).contains(&id.len())
        && id
            .iter()
            .all(|b| b.is_ascii_alphanumeric() || b"-_.:=+/@".contains(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn never_twice_and_always_sane() {
        let ids = RequestIds::default();
        let made: std::collections::HashSet<Vec<u8>> =
            (0..1000).map(|_| ids.make().as_bytes().to_vec()).collect();
        assert_eq!(made.len(), 1000);
        assert!(made.iter().all(|id| id.len() == 32 && is_sane(id)));
    }

    #[test]
    fn sanity() {
        assert!(is_sane(b"7f3c-9.A_z:1"));
        assert!(
            !is_sane(b"")
                && !is_sane(b"a b")
                && !is_sane(b"a\"")
                && !is_sane(&[b'a'; 129])
                && !is_sane("é".as_bytes())
        );
    }
}

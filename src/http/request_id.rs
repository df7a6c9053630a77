//! `X-Request-Id`: the client's own if it is sane, else 128 bits of ours in hexadecimal.

use std::cell::{Cell, RefCell};
use std::hash::{BuildHasher, Hasher, RandomState};

use bytes::{Bytes, BytesMut};
use http::HeaderValue;

/// Identifiers are cut from a block of this many bytes, so that most cost no allocation.
const BLOCK: usize = 4096;
const LENGTH: usize = 32;

/// Makes identifiers for one worker: a random start for each process and worker, then a counter, mixed.
pub struct RequestIds {
    high: u64,
    next: Cell<u64>,
    block: RefCell<BytesMut>,
}

impl Default for RequestIds {
    fn default() -> Self {
        let random = || RandomState::new().build_hasher().finish();
        RequestIds {
            high: random(),
            next: Cell::new(random()),
            block: RefCell::new(BytesMut::new()),
        }
    }
}

impl RequestIds {
    /// A new identifier.
    #[must_use]
    pub fn make(&self) -> HeaderValue {
        // Splitmix64: a counter never repeats, and neighbours look unrelated.
        let n = self.next.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        self.next.set(n);
        let mut low = n;
        low = (low ^ (low >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        low = (low ^ (low >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        low ^= low >> 31;
        let mut block = self.block.borrow_mut();
        if block.capacity() < LENGTH {
            *block = BytesMut::with_capacity(BLOCK);
        }
        let mut text = [0; LENGTH];
        write_hex(&mut text[..16], self.high);
        write_hex(&mut text[16..], low);
        block.extend_from_slice(&text);
        let id: Bytes = block.split().freeze();
        HeaderValue::from_maybe_shared(id).unwrap_or_else(|_| HeaderValue::from_static("0"))
    }
}

fn write_hex(out: &mut [u8], value: u64) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for (i, byte) in value.to_be_bytes().into_iter().enumerate() {
        out[2 * i] = DIGITS[usize::from(byte >> 4)];
        out[2 * i + 1] = DIGITS[usize::from(byte & 15)];
    }
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

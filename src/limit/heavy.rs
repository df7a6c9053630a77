//! Who is limited most: a sketch of fixed size that keeps the true heavy hitters however many keys there are.
//!
//! Space-Saving (Metwally, Agrawal, El Abbadi 2005) in sets: a key's hash chooses one of 64 sets, each with 16 counters
//! and a lock of its own. A key that has no counter takes the smallest of its set and inherits its count as the
//! *error*: so a count is never too small, and too large by `error` at most, which is about a thousandth of all that
//! was noted. A key above that share is always in the sketch.

use std::sync::{OnceLock, PoisonError};

use super::{Heavy, KeyId, LONGEST_NAME};
use crate::sync::{Mutex, MutexGuard};

/// Counters of the keys that were limited most.
#[derive(Debug, Default)]
pub(super) struct Sketch {
    /// None until the first key is limited: most limits never need it.
    sets: OnceLock<Box<[Mutex<Set>]>>,
}

#[derive(Debug)]
struct Set {
    tags: [u64; COUNTERS],
    counts: [u64; COUNTERS],
    errors: [u64; COUNTERS],
    names: [Name; COUNTERS],
}

#[derive(Clone, Copy, Debug)]
struct Name {
    length: u8,
    bytes: [u8; LONGEST_NAME],
}

impl Sketch {
    /// Counts one refusal of a key; true where the sketch began with it, and takes [`SKETCH_BYTES`] from now on.
    pub(super) fn note(&self, key: KeyId, name: &[u8]) -> bool {
        let mut begins = false;
        let sets = self.sets.get_or_init(|| {
            begins = true;
            (0..SETS).map(|_| Mutex::new(Set::new())).collect()
        });
        // Bits that chose neither shard nor page.
        let number = (key.place >> 40) as usize % SETS;
        hold(&sets[number]).note(key.tag, name);
        begins
    }

    /// The `n` largest, largest first.
    pub(super) fn top(&self, n: usize) -> Vec<Heavy> {
        let mut all = Vec::new();
        for set in self.sets.get().into_iter().flatten() {
            all.extend(hold(set).heavies());
        }
        all.sort_unstable_by(|a: &Heavy, b| (b.count, &a.name).cmp(&(a.count, &b.name)));
        all.truncate(n);
        all
    }
}

impl Set {
    fn new() -> Set {
        Set {
            tags: [0; COUNTERS],
            counts: [0; COUNTERS],
            errors: [0; COUNTERS],
            names: [Name::of(b""); COUNTERS],
        }
    }

    fn note(&mut self, tag: u64, name: &[u8]) {
        if let Some(at) = self.tags.iter().position(|held| *held == tag) {
            self.counts[at] += 1;
            return;
        }
        let smallest = self
            .counts
            .iter()
            .enumerate()
            .min_by_key(|(_, count)| **count);
        let (at, count) = smallest.map_or((0, 0), |(at, count)| (at, *count));
        self.tags[at] = tag;
        self.errors[at] = count;
        self.counts[at] = count + 1;
        self.names[at] = Name::of(name);
    }

    fn heavies(&self) -> Vec<Heavy> {
        let taken = (0..COUNTERS).filter(|at| self.counts[*at] > 0);
        taken
            .map(|at| Heavy {
                name: self.names[at].as_bytes().into(),
                count: self.counts[at],
                error: self.errors[at],
            })
            .collect()
    }
}

impl Name {
    fn of(name: &[u8]) -> Name {
        let length = name.len().min(LONGEST_NAME);
        let mut bytes = [0; LONGEST_NAME];
        bytes[..length].copy_from_slice(&name[..length]);
        Name {
            length: length as u8,
            bytes,
        }
    }

    fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }
}

fn hold(set: &Mutex<Set>) -> MutexGuard<'_, Set> {
    set.lock().unwrap_or_else(PoisonError::into_inner)
}

const SETS: usize = 64;
const COUNTERS: usize = 16;

/// What a sketch takes, in bytes: about 90 KiB.
pub(super) const SKETCH_BYTES: u64 = (SETS * size_of::<Mutex<Set>>()) as u64;

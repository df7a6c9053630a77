//! A table of counters whose keys appear as they are first used: each worker keeps a chain of small blocks that it
//! alone appends to.
//!
//! A route sees few of all methods and statuses there are, so a look-up is a scan of the few keys really in use.

use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::sync::atomic::{
    AtomicU32, AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
};

use super::per_worker::{PerWorker, bump};

/// Counters by a small packed key.
///
/// The table has no bound of its own: the keys do. Callers pack numbers of listeners, methods and statuses, all of
/// them closed sets, and never anything that a client can invent.
#[derive(Debug)]
pub struct Series(PerWorker<Block>);

impl Series {
    /// A table for workers `0..workers` and, as number `workers`, the control thread.
    #[must_use]
    pub fn new(workers: usize) -> Series {
        Series(PerWorker::new(workers))
    }

    /// Adds `n` to the counter of `key`, as `worker`. `u32::MAX` is no key and not counted.
    #[inline]
    pub fn add(&self, worker: usize, key: u32, n: u64) {
        debug_assert_ne!(key, FREE);
        let mut next = if key == FREE { None } else { self.0.at(worker) };
        while let Some(block) = next {
            if block.add(key, n) {
                return;
            }
            next = Some(block.next.get_or_init(Box::default));
        }
    }

    /// Every key in use with its sum over all workers, by rising key.
    #[must_use]
    pub fn sums(&self) -> Vec<(u32, u64)> {
        let mut sums = BTreeMap::new();
        for head in self.0.used() {
            let mut next = Some(head);
            while let Some(block) = next {
                block.sum_into(&mut sums);
                next = block.next.get().map(|block| &**block);
            }
        }
        sums.into_iter().collect()
    }
}

/// Marks an entry that has no key yet.
const FREE: u32 = u32::MAX;

/// Entries of one block: with its link a block fills one padded slot.
const ENTRIES: usize = 8;

#[derive(Debug)]
struct Block {
    keys: [AtomicU32; ENTRIES],
    counts: [AtomicU64; ENTRIES],
    next: OnceLock<Box<Block>>,
}

impl Default for Block {
    fn default() -> Block {
        Block {
            keys: [const { AtomicU32::new(FREE) }; ENTRIES],
            counts: [const { AtomicU64::new(0) }; ENTRIES],
            next: OnceLock::new(),
        }
    }
}

impl Block {
    /// False when the key is not here and there is no room for it.
    #[inline]
    fn add(&self, key: u32, n: u64) -> bool {
        for (slot, count) in self.keys.iter().zip(&self.counts) {
            let seen = slot.load(Relaxed);
            if seen == key {
                bump(count, n);
                return true;
            }
            if seen == FREE {
                count.store(n, Relaxed);
                // Released after its count: a reader that sees the key sees the count too.
                slot.store(key, Release);
                return true;
            }
        }
        false
    }

    fn sum_into(&self, sums: &mut BTreeMap<u32, u64>) {
        for (slot, count) in self.keys.iter().zip(&self.counts) {
            let key = slot.load(Acquire);
            if key == FREE {
                return;
            }
            let sum = sums.entry(key).or_default();
            *sum = u64::wrapping_add(*sum, count.load(Relaxed));
        }
    }
}

impl Drop for Block {
    /// Link by link: left to itself, a long chain would free itself by recursion and could overflow the stack.
    fn drop(&mut self) {
        let mut next = self.next.take();
        while let Some(mut block) = next {
            next = block.next.take();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::sync::atomic::AtomicBool;

    proptest! {
        #[test]
        fn equals_a_map(adds in prop::collection::vec((0..4usize, 0..40u32, 0..1000u64), 0..300)) {
            let series = Series::new(3);
            let mut model = BTreeMap::<u32, u64>::new();
            for &(worker, key, n) in &adds {
                series.add(worker, key, n);
                *model.entry(key).or_default() += n;
            }
            prop_assert_eq!(series.sums(), model.into_iter().collect::<Vec<_>>());
        }

        #[test]
        fn a_reader_beside_the_writers_never_sees_a_sum_fall(
            keys in prop::collection::vec(0..50u32, 200..600),
        ) {
            let series = Series::new(2);
            let done = AtomicBool::new(false);
            std::thread::scope(|scope| {
                let reader = scope.spawn(|| {
                    let mut last = BTreeMap::<u32, u64>::new();
                    loop {
                        let ended = done.load(Acquire);
                        for (key, sum) in series.sums() {
                            let before = last.insert(key, sum).unwrap_or(0);
                            assert!(sum >= before && sum > 0, "key {key}: {before} then {sum}");
                        }
                        if ended {
                            return last;
                        }
                    }
                });
                let writers = [0, 1].map(|worker| {
                    let (series, keys) = (&series, &keys);
                    scope.spawn(move || keys.iter().for_each(|&key| series.add(worker, key, 1)))
                });
                for writer in writers {
                    writer.join().unwrap();
                }
                done.store(true, Release);
                let mut model = BTreeMap::<u32, u64>::new();
                for &key in &keys {
                    *model.entry(key).or_default() += 2;
                }
                assert_eq!(reader.join().unwrap(), model);
            });
        }
    }

    #[test]
    fn a_very_long_chain_is_freed_without_recursion() {
        let series = Series::new(0);
        let mut block = series.0.at(0).unwrap();
        for _ in 0..1_000_000 {
            block = block.next.get_or_init(Box::default);
        }
        drop(series);
    }
}

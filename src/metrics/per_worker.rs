//! Counters with one slot per worker and a single writer each, summed by whoever reads.
//!
//! A slot is written by its own worker alone, so an increment is a plain load and store and no line of memory
//! travels between cores. A slot comes into being at its first use: what never happens costs one pointer.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Keeps its content alone on its cache lines; 128 because processors fetch lines in pairs.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(super) struct CachePadded<T>(pub(super) T);

/// One lazily made `T` for each worker, and one more (number `workers`) for the control thread.
#[derive(Debug)]
pub(super) struct PerWorker<T>(Box<[OnceLock<Box<CachePadded<T>>>]>);

impl<T: Default> PerWorker<T> {
    pub(super) fn new(workers: usize) -> PerWorker<T> {
        PerWorker((0..=workers).map(|_| OnceLock::new()).collect())
    }

    /// The slot of `worker`. A number that does not exist is a bug; in release it falls to the control thread's
    /// slot, because a wrong count is better than a dead worker.
    #[inline]
    pub(super) fn at(&self, worker: usize) -> Option<&T> {
        debug_assert!(
            worker < self.0.len(),
            "worker {worker} of {}",
            self.0.len() - 1
        );
        let slot = self.0.get(worker).or_else(|| self.0.last())?;
        Some(&slot.get_or_init(Box::default).0)
    }

    /// The slots in use.
    pub(super) fn used(&self) -> impl Iterator<Item = &T> {
        self.0
            .iter()
            .filter_map(|slot| slot.get().map(|slot| &slot.0))
    }
}

/// The single writer's addition: no read-modify-write, no lock prefix. Wraps around.
#[inline]
pub(super) fn bump(cell: &AtomicU64, n: u64) {
    cell.store(cell.load(Relaxed).wrapping_add(n), Relaxed);
}

/// A number that only grows.
///
/// At most one thread may write as one `worker`; two that did would lose counts, and nothing worse.
#[derive(Debug)]
pub struct Counter(PerWorker<AtomicU64>);

impl Counter {
    /// A counter for workers `0..workers` and, as number `workers`, the control thread.
    #[must_use]
    pub fn new(workers: usize) -> Counter {
        Counter(PerWorker::new(workers))
    }

    /// Adds `n`, as `worker`.
    #[inline]
    pub fn add(&self, worker: usize, n: u64) {
        if let Some(cell) = self.0.at(worker) {
            bump(cell, n);
        }
    }

    /// The sum over all workers.
    #[must_use]
    pub fn sum(&self) -> u64 {
        self.0
            .used()
            .fold(0, |sum, cell| sum.wrapping_add(cell.load(Relaxed)))
    }

    /// Was it ever added to?
    #[must_use]
    pub fn is_used(&self) -> bool {
        self.0.used().next().is_some()
    }
}

/// A number that goes up and down. What one worker adds another may take away; only the sum has a meaning.
#[derive(Debug)]
pub struct Gauge(Counter);

impl Gauge {
    /// A gauge for workers `0..workers` and, as number `workers`, the control thread.
    #[must_use]
    pub fn new(workers: usize) -> Gauge {
        Gauge(Counter::new(workers))
    }

    /// Adds `n`, which may be negative, as `worker`.
    #[inline]
    pub fn add(&self, worker: usize, n: i64) {
        self.0.add(worker, n.cast_unsigned());
    }

    /// The sum over all workers. Read while workers write, it may be off by the steps just being taken.
    #[must_use]
    pub fn sum(&self) -> i64 {
        self.0.sum().cast_signed()
    }

    /// Was it ever moved?
    #[must_use]
    pub fn is_used(&self) -> bool {
        self.0.is_used()
    }
}

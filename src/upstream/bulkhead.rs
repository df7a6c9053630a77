//! How many requests an upstream bears at once, over all workers: never more, and where a place is free it is found.
//!
//! Far below the limit a worker fetches places in batches and keeps those that come back, so that a request touches a
//! line of its own worker only. Near it each place is fetched alone from the one shared word, and what others have in
//! stock is taken from them. Who finds no place may wait for one, in a queue that is bounded and served in order.

use std::collections::VecDeque;
use std::sync::atomic::{
    AtomicU32,
    Ordering::{Relaxed, SeqCst},
    fence,
};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

/// What the file says. Part of a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BulkheadPolicy {
    /// Most requests at once.
    pub limit: u32,
    /// Most that wait; 0 = none.
    pub queue: u32,
    /// How long one waits.
    pub timeout: Duration,
}

/// The places of one upstream. Found by its name when the file changes.
#[derive(Debug)]
pub struct Bulkhead {
    /// Places that are taken or in stock.
    taken: AtomicU32,
    stocks: Box<[Stock]>,
    waiting: AtomicU32,
    queue: Mutex<Queue>,
}

/// Free places that a worker keeps; alone on its lines, because processors fetch them in pairs.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Stock(AtomicU32);

#[derive(Debug, Default)]
struct Queue {
    last: u64,
    those: VecDeque<(u64, oneshot::Sender<Place>)>,
}

/// A place that was waited for, until it is [`Place::keep`]t; dropped, it comes back.
#[derive(Debug)]
pub struct Place {
    bulkhead: Arc<Bulkhead>,
    worker: usize,
    limit: u32,
    is_kept: bool,
}

/// A request that waits; dropped, it waits no more.
pub struct Waiting {
    bulkhead: Arc<Bulkhead>,
    number: u64,
    answer: oneshot::Receiver<Place>,
}

impl Bulkhead {
    /// Nothing is taken yet, in a gateway of `workers` workers.
    #[must_use]
    pub fn new(workers: usize) -> Arc<Bulkhead> {
        Arc::new(Bulkhead {
            taken: AtomicU32::new(0),
            stocks: (0..workers.max(1)).map(|_| Stock::default()).collect(),
            waiting: AtomicU32::new(0),
            queue: Mutex::default(),
        })
    }

    /// Takes a place, as `worker`, unless there is none or others have waited longer. It is given back by
    /// [`Bulkhead::leave`].
    #[must_use]
    #[inline]
    pub fn enter(&self, worker: usize, limit: u32) -> bool {
        self.waiting.load(Relaxed) == 0 && self.take(worker, limit)
    }

    /// Gives a place back; who waits gets it.
    #[inline]
    pub fn leave(self: &Arc<Self>, worker: usize, limit: u32) {
        self.put(worker, limit);
        // Either this sees who has just begun to wait, or he sees the place.
        fence(SeqCst);
        if self.waiting.load(Relaxed) > 0 {
            self.serve(worker, limit);
        }
    }

    /// Begins to wait, if no more than `most` do so then.
    #[must_use]
    pub fn wait(self: &Arc<Self>, worker: usize, policy: &BulkheadPolicy) -> Option<Waiting> {
        let (tell, answer) = oneshot::channel();
        let number = {
            let mut queue = self.queue();
            if queue.those.len() >= policy.queue as usize {
                return None;
            }
            queue.last += 1;
            let number = queue.last;
            queue.those.push_back((number, tell));
            self.waiting.fetch_add(1, Relaxed);
            number
        };
        fence(SeqCst);
        // A place may have come back just before.
        self.serve(worker, policy.limit);
        Some(Waiting {
            bulkhead: self.clone(),
            number,
            answer,
        })
    }

    /// Requests that have a place, and that wait for one. Read while workers go on, it may be off by theirs.
    #[must_use]
    pub fn counts(&self) -> (u32, u32) {
        let stock: u32 = self.stocks.iter().map(|s| s.0.load(Relaxed)).sum();
        let taken = self.taken.load(Relaxed);
        (taken.saturating_sub(stock), self.waiting.load(Relaxed))
    }

    #[inline]
    fn take(&self, worker: usize, limit: u32) -> bool {
        let fits = self.taken.load(Relaxed) <= limit;
        fits && self.stock(worker).take_one() || self.fetch(worker, limit)
    }

    /// From the shared word, or from what others have.
    #[cold]
    fn fetch(&self, worker: usize, limit: u32) -> bool {
        if self.taken.load(Relaxed) > limit {
            self.give_stocks_back();
        }
        let margin = BATCH * (self.stocks.len() as u32 + 1);
        let more = |taken: u32| {
            let batch = if taken.saturating_add(margin) <= limit {
                BATCH
            } else {
                1
            };
            (taken < limit).then_some(taken + batch)
        };
        match self.taken.fetch_update(SeqCst, Relaxed, more) {
            Ok(before) if before.saturating_add(margin) <= limit => {
                self.stock(worker).0.fetch_add(BATCH - 1, SeqCst);
                true
            }
            Ok(_) => true,
            Err(taken) => taken <= limit && self.stocks.iter().any(Stock::take_one),
        }
    }

    fn put(&self, worker: usize, limit: u32) {
        if self.taken.load(Relaxed) > limit {
            self.taken.fetch_sub(1, SeqCst);
            return;
        }
        let stock = self.stock(worker);
        if stock.0.fetch_add(1, SeqCst) >= 2 * BATCH
            && stock
                .0
                .fetch_update(SeqCst, Relaxed, |n| n.checked_sub(BATCH))
                .is_ok()
        {
            self.taken.fetch_sub(BATCH, SeqCst);
        }
    }

    /// The limit is lower than it was: what nobody uses must not count.
    fn give_stocks_back(&self) {
        for stock in &self.stocks {
            let unused = stock.0.swap(0, SeqCst);
            self.taken.fetch_sub(unused, SeqCst);
        }
    }

    /// Hands places to those who wait, as long as there are both.
    #[cold]
    fn serve(self: &Arc<Self>, worker: usize, limit: u32) {
        let mut queue = self.queue();
        while !queue.those.is_empty() && self.take(worker, limit) {
            let mut spare = Some(Place {
                bulkhead: self.clone(),
                worker,
                limit,
                is_kept: false,
            });
            while let Some(place) = spare.take() {
                let Some((_, next)) = queue.those.pop_front() else {
                    // Nobody is left; dropping it would lock the queue again.
                    place.keep();
                    self.put(worker, limit);
                    break;
                };
                self.waiting.fetch_sub(1, Relaxed);
                spare = next.send(place).err();
            }
        }
    }

    fn stock(&self, worker: usize) -> &Stock {
        &self.stocks[worker.min(self.stocks.len() - 1)]
    }

    fn queue(&self) -> std::sync::MutexGuard<'_, Queue> {
        // A worker that panicked in here left a list behind that is whole.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Stock {
    fn take_one(&self) -> bool {
        let one_less = |n: u32| n.checked_sub(1);
        self.0.fetch_update(SeqCst, Relaxed, one_less).is_ok()
    }
}

impl Place {
    /// The place is the request's now, and [`Bulkhead::leave`] gives it back.
    pub fn keep(mut self) {
        self.is_kept = true;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if !self.is_kept {
            self.bulkhead.leave(self.worker, self.limit);
        }
    }
}

impl Waiting {
    /// Waits for a place.
    pub async fn place(&mut self) -> Option<Place> {
        (&mut self.answer).await.ok()
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let mut queue = self.bulkhead.queue();
        let before = queue.those.len();
        queue.those.retain(|(number, _)| *number != self.number);
        if queue.those.len() < before {
            self.bulkhead.waiting.fetch_sub(1, Relaxed);
        }
    }
}

/// Places that a worker fetches at once.
const BATCH: u32 = 16;

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Barrier;
    use std::sync::atomic::AtomicI64;

    fn policy(limit: u32, queue: u32) -> BulkheadPolicy {
        BulkheadPolicy {
            limit,
            queue,
            timeout: Duration::from_secs(1),
        }
    }

    /// B41: as many as the limit says, by one worker or by several, whoever keeps places in stock.
    #[test]
    fn b41_exactly_as_many_as_the_limit() {
        for limit in [1, 2, 10, 31, 32, 33, 63, 64, 65, 100, 1024] {
            let bulkhead = Bulkhead::new(3);
            // Leaves places in the stocks of the others.
            for worker in [1, 2] {
                assert!(bulkhead.enter(worker, limit));
                bulkhead.leave(worker, limit);
            }
            let entered = (0..2 * limit).filter(|_| bulkhead.enter(0, limit)).count();
            assert_eq!(entered as u32, limit);
            assert!(!bulkhead.enter(1, limit) && !bulkhead.enter(2, limit));
            assert_eq!(bulkhead.counts(), (limit, 0));
            for _ in 0..limit {
                bulkhead.leave(0, limit);
            }
            assert_eq!(bulkhead.counts(), (0, 0));
            let others = (0..2 * limit).filter(|n| bulkhead.enter(1 + (*n % 2) as usize, limit));
            assert_eq!(others.count() as u32, limit);
        }
    }

    #[test]
    fn a_lower_limit_holds_at_once_and_counts_nobody_who_left() {
        let bulkhead = Bulkhead::new(2);
        let entered = (0..100).filter(|n| bulkhead.enter(n % 2, 1000)).count();
        assert_eq!(entered, 100);
        assert!(!bulkhead.enter(0, 10));
        for n in 0..90 {
            bulkhead.leave(n % 2, 10);
        }
        assert!(!bulkhead.enter(0, 10) && !bulkhead.enter(1, 10));
        bulkhead.leave(0, 10);
        assert!(bulkhead.enter(1, 10) && !bulkhead.enter(0, 10));
        assert_eq!(bulkhead.counts().0, 10);
    }

    #[test]
    fn never_more_under_threads_and_nothing_is_lost() {
        for limit in [1, 3, 40, 200] {
            let (bulkhead, inside) = (Bulkhead::new(4), AtomicI64::new(0));
            let barrier = Barrier::new(4);
            std::thread::scope(|scope| {
                for worker in 0..4 {
                    let (bulkhead, inside, barrier) = (&bulkhead, &inside, &barrier);
                    scope.spawn(move || {
                        barrier.wait();
                        for turn in 0..2000_u32 {
                            let mut held = 0;
                            for _ in 0..turn % 90 {
                                if bulkhead.enter(worker, limit) {
                                    held += 1;
                                    assert!(inside.fetch_add(1, SeqCst) < i64::from(limit));
                                }
                            }
                            for _ in 0..held {
                                inside.fetch_sub(1, SeqCst);
                                bulkhead.leave(worker, limit);
                            }
                        }
                    });
                }
            });
            assert_eq!(bulkhead.counts(), (0, 0));
            let entered = (0..2 * limit).filter(|_| bulkhead.enter(0, limit)).count();
            assert_eq!(entered as u32, limit);
        }
    }

    #[tokio::test]
    async fn b42_b43_a_queue_is_bounded_in_order_and_forgets_who_left() {
        let (bulkhead, policy) = (Bulkhead::new(2), policy(1, 2));
        assert!(bulkhead.enter(0, 1));
        let mut first = bulkhead.wait(0, &policy).unwrap();
        let second = bulkhead.wait(1, &policy).unwrap();
        assert!(bulkhead.wait(1, &policy).is_none());
        assert_eq!(bulkhead.counts(), (1, 2));
        drop(second);
        let mut third = bulkhead.wait(1, &policy).unwrap();
        bulkhead.leave(0, 1);
        assert!(!bulkhead.enter(1, 1), "others have waited longer");
        let place = first.place().await.unwrap();
        drop(first);
        // Given back unused.
        drop(place);
        third.place().await.unwrap().keep();
        drop(third);
        assert_eq!(bulkhead.counts(), (1, 0));
        bulkhead.leave(1, 1);
        assert!(bulkhead.enter(0, 1));
    }

    #[test]
    fn a_place_that_comes_to_somebody_who_just_left_goes_on() {
        let (bulkhead, policy) = (Bulkhead::new(1), policy(1, 5));
        assert!(bulkhead.enter(0, 1));
        let waiting = bulkhead.wait(0, &policy).unwrap();
        bulkhead.leave(0, 1);
        // It has the place by now, and did not look.
        drop(waiting);
        assert!(bulkhead.enter(0, 1));
    }
}

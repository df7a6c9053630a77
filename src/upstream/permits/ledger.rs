//! The books of one endpoint's permits: how many are out, who waits for one, and who shall give one up. Pure.

use std::collections::VecDeque;

/// Most requests that wait for one endpoint, over all workers.
pub(super) const MOST_WAITING: usize = 1024;

/// The books. `T` is how somebody who waits is told.
pub(super) struct Ledger<T> {
    /// Most permits that may be out; falls and rises with the configuration.
    bound: usize,
    /// Permits that are out. More than the bound only after it fell.
    open: usize,
    /// Permits of connections that are being closed for the sake of others.
    leaving: usize,
    /// Who waits, by worker, each in the order of arrival.
    queues: Box<[VecDeque<Ticket<T>>]>,
    waiting: usize,
    next: u64,
}

/// A place in the queue: all workers together draw rising numbers.
struct Ticket<T> {
    number: u64,
    tell: T,
}

/// What came of asking for a permit.
pub(super) enum Asked {
    /// It is out.
    Granted,
    /// There was none: this is the number of the ticket.
    Queued(u64),
    /// Too many wait.
    Full,
}

/// What becomes of a connection that a worker has no request for.
pub(super) enum Verdict<T> {
    /// Nobody needs it.
    Keep,
    /// It serves the worker's own request of this number, which waits no more.
    Serve(u64, T),
    /// It is to be closed, and its permit goes to whoever has waited longest.
    GiveUp,
}

impl<T> Ledger<T> {
    /// No permit is out, and there is no bound.
    pub(super) fn new(workers: usize) -> Ledger<T> {
        Ledger {
            bound: usize::MAX,
            open: 0,
            leaving: 0,
            queues: (0..workers.max(1)).map(|_| VecDeque::new()).collect(),
            waiting: 0,
            next: 0,
        }
    }

    /// A request of `worker` asks for a permit; nobody overtakes who waits already.
    pub(super) fn ask(&mut self, worker: usize, tell: impl FnOnce() -> T) -> Asked {
        if self.open < self.bound && self.waiting == 0 {
            self.open += 1;
            return Asked::Granted;
        }
        if self.waiting >= MOST_WAITING {
            return Asked::Full;
        }
        let number = self.next;
        self.next += 1;
        self.waiting += 1;
        let tell = tell();
        self.queue_of(worker).push_back(Ticket { number, tell });
        Asked::Queued(number)
    }

    /// A request waits no longer. Nothing happens if its turn came first.
    pub(super) fn leave(&mut self, worker: usize, number: u64) -> Option<T> {
        let queue = self.queue_of(worker);
        let place = queue.binary_search_by_key(&number, |ticket| ticket.number);
        let ticket = queue.remove(place.ok()?)?;
        self.waiting -= 1;
        Some(ticket.tell)
    }

    /// A permit comes back, of a connection that `left` for the sake of others or not. Tells who has it next.
    pub(super) fn give_back(&mut self, left: bool) -> Option<T> {
        self.open -= 1;
        self.leaving -= usize::from(left);
        self.grant()
    }

    /// Sets the bound; who waits gets what is free by it, each call one: call until `None`.
    pub(super) fn bind(&mut self, bound: usize) -> Option<T> {
        self.bound = bound.max(1);
        self.grant()
    }

    /// What becomes of a connection of `worker` that has no request. One that was just made at the cost of a handshake
    /// (`fresh`) serves the worker's own requests first; else the order of arrival decides.
    pub(super) fn judge(&mut self, worker: usize, fresh: bool) -> Verdict<T> {
        let own = self.queue_of(worker).front().map(|ticket| ticket.number);
        let others = self.waiting - self.queue_of(worker).len();
        let surplus = self.surplus();
        let others_first = match own {
            None => true,
            Some(own) => !fresh && self.first().is_some_and(|(_, number)| number < own),
        };
        let goes = if others_first {
            surplus + others > self.leaving
        } else {
            surplus > self.leaving
        };
        if goes {
            self.leaving += 1;
            return Verdict::GiveUp;
        }
        match self.queue_of(worker).pop_front() {
            None => Verdict::Keep,
            Some(ticket) => {
                self.waiting -= 1;
                Verdict::Serve(ticket.number, ticket.tell)
            }
        }
    }

    /// More connections are wanted than are about to close: then no worker should keep an idle one.
    pub(super) fn wants_more(&self) -> bool {
        self.surplus() + self.waiting > self.leaving
    }

    /// Does anybody wait, or are more permits out than may be?
    pub(super) fn is_pressed(&self) -> bool {
        self.waiting > 0 || self.surplus() > 0
    }

    fn surplus(&self) -> usize {
        self.open.saturating_sub(self.bound)
    }

    /// Gives a free permit to whoever has waited longest.
    fn grant(&mut self) -> Option<T> {
        if self.open >= self.bound {
            return None;
        }
        let (worker, _) = self.first()?;
        let ticket = self.queue_of(worker).pop_front()?;
        self.waiting -= 1;
        self.open += 1;
        Some(ticket.tell)
    }

    /// The worker and the number of the one who has waited longest.
    fn first(&self) -> Option<(usize, u64)> {
        self.queues
            .iter()
            .enumerate()
            .filter_map(|(worker, queue)| Some((worker, queue.front()?.number)))
            .min_by_key(|(_, number)| *number)
    }

    fn queue_of(&mut self, worker: usize) -> &mut VecDeque<Ticket<T>> {
        let last = self.queues.len() - 1;
        &mut self.queues[worker.min(last)]
    }
}

#[cfg(test)]
mod tests;

//! How many connections an endpoint bears: permits, shared by all workers in the order in which their requests came.
//!
//! A permit rides with its socket and comes back when that is closed. It is asked for when a connection is dialled, and
//! looked at again only where somebody waits; so the lock is taken for dials, closes and queues, never for a request on
//! a connection that is there.

mod ledger;

use std::cell::Cell;
use std::rc::{Rc, Weak};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use tokio::sync::{Notify, oneshot};

use ledger::{Asked, Ledger, Verdict};

/// The permits of one endpoint.
pub struct Permits {
    ledger: Mutex<Ledger<oneshot::Sender<Permit>>>,
    /// Does anybody wait, or are too many out? Written under the lock.
    pressed: AtomicBool,
    /// How each worker that ever dialled is told that idle connections are wanted.
    calls: Box<[OnceLock<Arc<Notify>>]>,
}

/// The right to one connection, over all workers. Dropped when the socket is closed.
pub struct Permit {
    permits: Arc<Permits>,
    leaving: Cell<bool>,
}

/// What the keeper of a connection knows of the permit that its socket holds.
#[derive(Default)]
pub struct Hold(Weak<Permit>);

/// What came of asking for a permit.
pub enum Asking {
    /// Dial.
    Granted(Permit),
    /// Wait for a permit; the sender dropped without one means that a connection of the own worker is there instead.
    Queued(u64, oneshot::Receiver<Permit>),
    /// Too many wait already.
    Full,
}

/// What becomes of a connection without a request.
pub enum Judgement {
    /// It may be kept.
    Keep,
    /// It serves the request with this number, to be told by dropping the sender once it lies ready.
    Serve(u64, oneshot::Sender<Permit>),
    /// It is to be dropped: it counts as good as closed.
    GiveUp,
}

impl Permits {
    /// For a gateway of `workers` workers; without a bound until one is set.
    #[must_use]
    pub fn new(workers: usize) -> Arc<Permits> {
        Arc::new(Permits {
            ledger: Mutex::new(Ledger::new(workers)),
            pressed: AtomicBool::new(false),
            calls: (0..workers).map(|_| OnceLock::new()).collect(),
        })
    }

    /// Sets the most permits that may be out, at least 1; `None` = any number. A smaller bound takes effect as
    /// connections close, and idle ones close at once.
    pub fn bind(self: &Arc<Self>, bound: Option<usize>) {
        let bound = bound.unwrap_or(usize::MAX);
        while let Some(next) = self.with(None, |ledger| ledger.bind(bound)) {
            self.grant(next);
        }
    }

    /// Asks for a permit, for `worker`; `call` is how that worker is told to give idle connections up.
    pub fn ask(self: &Arc<Self>, worker: usize, call: &Arc<Notify>) -> Asking {
        if let Some(own) = self.calls.get(worker) {
            own.get_or_init(|| call.clone());
        }
        let mut answer = None;
        let asked = self.with(Some(worker), |ledger| {
            ledger.ask(worker, || {
                let (tell, hear) = oneshot::channel();
                answer = Some(hear);
                tell
            })
        });
        match (asked, answer) {
            (Asked::Granted, _) => Asking::Granted(Permit::new(self)),
            (Asked::Queued(number), Some(answer)) => Asking::Queued(number, answer),
            (Asked::Queued(_) | Asked::Full, _) => Asking::Full,
        }
    }

    /// The request with this number waits no more.
    pub fn leave(&self, worker: usize, number: u64) {
        drop(self.with(Some(worker), |ledger| ledger.leave(worker, number)));
    }

    /// Hands a permit that the ledger has counted to whoever waits for it; should he have left, it comes back.
    fn grant(self: &Arc<Self>, next: oneshot::Sender<Permit>) {
        drop(next.send(Permit::new(self)));
    }

    /// Does `act` with the ledger, and calls the workers other than `worker` if idle connections are wanted since.
    fn with<R>(
        &self,
        worker: Option<usize>,
        act: impl FnOnce(&mut Ledger<oneshot::Sender<Permit>>) -> R,
    ) -> R {
        let (result, wanted) = {
            let mut ledger = self.ledger.lock().unwrap_or_else(PoisonError::into_inner);
            let before = ledger.wants_more();
            let result = act(&mut ledger);
            self.pressed.store(ledger.is_pressed(), Relaxed);
            (result, ledger.wants_more() && !before)
        };
        if wanted {
            self.call_all_but(worker);
        }
        result
    }

    fn call_all_but(&self, worker: Option<usize>) {
        for (other, call) in self.calls.iter().enumerate() {
            if let (true, Some(call)) = (Some(other) != worker, call.get()) {
                call.notify_one();
            }
        }
    }
}

impl Permit {
    fn new(permits: &Arc<Permits>) -> Permit {
        Permit {
            permits: permits.clone(),
            leaving: Cell::new(false),
        }
    }

    #[cold]
    fn judge(&self, worker: usize, fresh: bool) -> Judgement {
        let act = |ledger: &mut Ledger<_>| ledger.judge(worker, fresh);
        match self.permits.with(Some(worker), act) {
            Verdict::Keep => Judgement::Keep,
            Verdict::Serve(number, tell) => Judgement::Serve(number, tell),
            Verdict::GiveUp => {
                self.leaving.set(true);
                Judgement::GiveUp
            }
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let left = self.leaving.get();
        if let Some(next) = self.permits.with(None, |ledger| ledger.give_back(left)) {
            self.permits.grant(next);
        }
    }
}

impl Hold {
    /// Of the permit that a socket holds.
    #[must_use]
    pub fn of(permit: Option<&Rc<Permit>>) -> Hold {
        Hold(permit.map(Rc::downgrade).unwrap_or_default())
    }

    /// Does the socket live, and with a permit?
    #[must_use]
    #[inline]
    pub fn is_there(&self) -> bool {
        self.0.strong_count() > 0
    }

    /// What becomes of the connection, which is `worker`'s and has no request; to be obeyed. `fresh`: it is so young
    /// that its handshake has not paid off yet.
    #[inline]
    pub fn judge(&self, worker: usize, fresh: bool) -> Judgement {
        match self.0.upgrade() {
            // Whoever begins to wait after this look calls the workers, and idle connections are judged then.
            Some(permit) if permit.permits.pressed.load(Relaxed) => permit.judge(worker, fresh),
            Some(_) | None => Judgement::Keep,
        }
    }
}

#[cfg(test)]
mod tests;

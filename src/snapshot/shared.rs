//! The one current snapshot, and each worker's cached copy of it.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use tokio::sync::watch;

use super::Snapshot;
use crate::time;

const FIRST: u64 = 1;

/// Where the control thread publishes and workers look.
pub struct Shared {
    current: ArcSwap<Snapshot>,
    /// Counts publications, of generations and of changed addresses; on a cache line that is only read while nothing
    /// changes.
    version: AtomicU64,
    published: watch::Sender<u64>,
}

/// A pinned snapshot: a request walks only through what it pinned. Cloning counts within one worker only.
pub type Pin = Rc<Arc<Snapshot>>;

/// A worker's cached copy.
pub struct View {
    shared: Arc<Shared>,
    version: Cell<u64>,
    cached: RefCell<Pin>,
}

impl Shared {
    /// Publishes the first snapshot.
    #[must_use]
    pub fn new(snapshot: Snapshot) -> Arc<Shared> {
        snapshot.enforce(time::now());
        Arc::new(Shared {
            current: ArcSwap::from_pointee(snapshot),
            version: AtomicU64::new(FIRST),
            published: watch::Sender::new(FIRST),
        })
    }

    /// The current snapshot.
    #[must_use]
    pub fn load(&self) -> Arc<Snapshot> {
        self.current.load_full()
    }

    /// Makes `snapshot` the current one; returns the one it replaces, to be dropped where it holds up nobody. Only the
    /// control thread publishes.
    pub fn publish(&self, snapshot: Arc<Snapshot>) -> Arc<Snapshot> {
        snapshot.enforce(time::now());
        let retired = self.current.swap(snapshot);
        // After the swap: who sees the new number finds the new snapshot.
        let version = self.version.fetch_add(1, Ordering::Release) + 1;
        self.published.send_replace(version);
        retired
    }

    /// Sees each publication.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.published.subscribe()
    }
}

impl View {
    /// A view of what is current now.
    #[must_use]
    pub fn new(shared: Arc<Shared>) -> View {
        let version = shared.version.load(Ordering::Acquire);
        let cached = RefCell::new(Rc::new(shared.load()));
        View {
            shared,
            version: Cell::new(version),
            cached,
        }
    }

    /// The current snapshot: one atomic read and a non-atomic count, while nothing changes.
    #[must_use]
    pub fn pin(&self) -> Pin {
        self.look(Rc::clone)
    }

    /// Shows the current snapshot to one who does not keep it.
    pub fn look<R>(&self, use_it: impl FnOnce(&Pin) -> R) -> R {
        let version = self.shared.version.load(Ordering::Acquire);
        if version != self.version.get() {
            self.version.set(version);
            *self.cached.borrow_mut() = Rc::new(self.shared.load());
        }
        use_it(&self.cached.borrow())
    }
}

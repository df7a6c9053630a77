//! Where a snapshot becomes the current one, and where those that it retires are freed: never at a request's cost.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;

use crate::snapshot::Snapshot;
use crate::snapshot::shared::Shared;

/// How often retired snapshots are looked at.
const LOOK: Duration = Duration::from_millis(200);

/// The one who publishes. Lives on the control thread.
pub struct Publisher {
    shared: Arc<Shared>,
    /// Snapshots that some request may still walk through: freeing ten thousand routes is never a request's work.
    retired: RefCell<Vec<Arc<Snapshot>>>,
    has_retired: Notify,
}

impl Publisher {
    /// Publishes to all who see `shared`.
    #[must_use]
    pub fn new(shared: Arc<Shared>) -> Rc<Publisher> {
        Rc::new(Publisher {
            shared,
            retired: RefCell::default(),
            has_retired: Notify::new(),
        })
    }

    /// The current snapshot.
    #[must_use]
    pub fn load(&self) -> Arc<Snapshot> {
        self.shared.load()
    }

    /// Makes `snapshot` the current one.
    pub fn publish(&self, snapshot: Snapshot) {
        // Publications may follow each other faster than the look at the retired ones comes.
        self.free_unused();
        let retired = self.shared.publish(Arc::new(snapshot));
        self.retired.borrow_mut().push(retired);
        self.has_retired.notify_one();
    }

    /// Frees the retired snapshots that no request walks through any more, until it is dropped.
    pub async fn free_retired(&self) {
        loop {
            self.has_retired.notified().await;
            while !self.retired.borrow().is_empty() {
                tokio::time::sleep(LOOK).await;
                self.free_unused();
            }
        }
    }

    fn free_unused(&self) {
        self.retired
            .borrow_mut()
            .retain(|snapshot| Arc::strong_count(snapshot) > 1);
    }
}

//! What wakes the task of an upstream connection, and how that is held back where there is nothing to do.
//!
//! hyper wakes the task whenever a piece of an answer's body is taken from it, also the last piece. A poll of a
//! connection that has nothing to do costs as much as a thirtieth of a request, and small answers are all last pieces.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Wake, Waker};

const RINGS: u8 = 0;
const MUFFLED: u8 = 1;
const RUNG_WHILE_MUFFLED: u8 = 2;

/// Wakes one task. Used by one thread; the atomics are only there because wakers must be `Send`.
#[derive(Default)]
pub struct Doorbell {
    task: OnceLock<Waker>,
    state: AtomicU8,
}

impl Doorbell {
    /// Calls `take`, which tells whether it took the last piece: if so, the wake that it caused is dropped.
    ///
    /// Everything that the task has to do after the last piece it did when it sent that piece, before it was taken.
    pub fn muffle<T>(&self, take: impl FnOnce() -> (T, bool)) -> T {
        self.state.store(MUFFLED, Relaxed);
        let (taken, last) = take();
        let rung = self.state.load(Relaxed) == RUNG_WHILE_MUFFLED;
        self.state.store(RINGS, Relaxed);
        if rung && !last {
            self.ring();
        }
        taken
    }

    /// Runs `task`, woken through this bell.
    pub async fn attend(self: Arc<Self>, task: impl Future) {
        let waker = Waker::from(self.clone());
        let mut task = pin!(task);
        poll_fn(|cx| {
            // A task's waker stays the same for as long as the task lives.
            self.task.get_or_init(|| cx.waker().clone());
            task.as_mut()
                .poll(&mut Context::from_waker(&waker))
                .map(drop)
        })
        .await;
    }

    fn ring(&self) {
        if let Some(task) = self.task.get() {
            task.wake_by_ref();
        }
    }
}

impl Wake for Doorbell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.state.load(Relaxed) == RINGS {
            self.ring();
        } else {
            self.state.store(RUNG_WHILE_MUFFLED, Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;

    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Relaxed);
        }
    }

    #[test]
    fn only_the_wake_of_the_last_piece_is_dropped() {
        let count = Arc::new(Count(AtomicUsize::new(0)));
        let bell = Arc::new(Doorbell::default());
        bell.task.set(Waker::from(count.clone())).unwrap();
        let waker = Waker::from(bell.clone());
        bell.muffle(|| (waker.wake_by_ref(), true));
        assert_eq!(count.0.load(Relaxed), 0);
        bell.muffle(|| (waker.wake_by_ref(), false));
        bell.muffle(|| ((), false));
        assert_eq!(count.0.load(Relaxed), 1);
        waker.wake();
        assert_eq!(count.0.load(Relaxed), 2);
    }
}

//! Waiting: always for a condition, always with a deadline.

use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// How long a conversation waits for what must happen: far more than it takes, less than a person would.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// Waits until `condition` holds; fails the test with `what` after `deadline`.
pub(crate) fn until(deadline: Duration, what: &str, mut condition: impl FnMut() -> bool) {
    until_some(deadline, what, || condition().then_some(()));
}

/// Waits until `look` finds something; fails the test with `what` after `deadline`.
pub(crate) fn until_some<T>(
    deadline: Duration,
    what: &str,
    mut look: impl FnMut() -> Option<T>,
) -> T {
    let begin = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(
            begin.elapsed() < deadline,
            "not within {deadline:?}: {what}"
        );
        thread::park_timeout(Duration::from_millis(3));
    }
}

/// A size of a test: `usual` in every run, `long` in `make soak`, which sets `TIDEGATE_SOAK=1`.
pub(crate) fn scale<T>(usual: T, long: T) -> T {
    let soak = std::env::var_os("TIDEGATE_SOAK").is_some_and(|value| value == "1");
    if soak { long } else { usual }
}

/// A gate that a script waits at until the test opens it. Once open it stays open.
#[derive(Clone, Default)]
pub(crate) struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    /// Lets everybody through who waits, and everybody who comes later.
    pub(crate) fn open(&self) {
        *self.0.0.lock().unwrap() = true;
        self.0.1.notify_all();
    }

    /// Waits until the gate is open; fails after [`PATIENCE`].
    pub(crate) fn pass(&self) {
        let shut = self.0.0.lock().unwrap();
        let (open, _) = self
            .0
            .1
            .wait_timeout_while(shut, 3 * PATIENCE, |open| !*open)
            .unwrap();
        assert!(*open, "nobody opened the gate");
    }

    /// True once somebody opened it.
    pub(crate) fn is_open(&self) -> bool {
        *self.0.0.lock().unwrap()
    }
}

//! "Please finish": the phases of a shutdown, seen by every worker through one word.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};

use tokio::sync::watch;

use crate::time::Nanos;

/// How far the shutdown is. Only ever grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Phase {
    /// Normal service.
    Serving,
    /// SIGTERM came: still accepting, each answer says `Connection: close`.
    Announced,
    /// Listeners and idle connections are closed; requests in flight finish.
    Closing,
    /// The deadline passed: what is left is cut.
    Cut,
}

/// The signal. Cheap to read, and awaited where somebody must wake up for it.
#[derive(Clone)]
pub struct Drain {
    phase: Arc<AtomicU8>,
    cut_at: Arc<AtomicU64>,
    is_followed: Arc<AtomicBool>,
    changed: watch::Sender<Phase>,
}

impl Default for Drain {
    fn default() -> Self {
        Drain {
            phase: Arc::new(AtomicU8::new(0)),
            cut_at: Arc::new(AtomicU64::new(u64::MAX)),
            is_followed: Arc::default(),
            changed: watch::Sender::new(Phase::Serving),
        }
    }
}

impl Drain {
    /// The present phase: one relaxed load.
    #[must_use]
    pub fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Relaxed) {
            0 => Phase::Serving,
            1 => Phase::Announced,
            2 => Phase::Closing,
            _ => Phase::Cut,
        }
    }

    /// Moves on to `phase`; going back is ignored.
    pub fn enter(&self, phase: Phase) {
        if phase > self.phase() {
            self.phase.store(phase as u8, Ordering::Relaxed);
            self.changed.send_replace(phase);
        }
    }

    /// Enters [`Phase::Closing`]; what is left at `cut_at` will be cut.
    pub fn close(&self, cut_at: Nanos) {
        self.cut_at.store(cut_at.0, Ordering::Relaxed);
        self.enter(Phase::Closing);
    }

    /// Another process serves on the same sockets: whoever still asks this one is served all the same.
    pub fn hand_over(&self) {
        self.is_followed.store(true, Ordering::Relaxed);
    }

    /// Does another process serve on the same sockets?
    #[must_use]
    pub fn is_followed(&self) -> bool {
        self.is_followed.load(Ordering::Relaxed)
    }

    /// When what is left will be cut; far away before [`Phase::Closing`].
    #[must_use]
    pub fn cut_at(&self) -> Nanos {
        Nanos(self.cut_at.load(Ordering::Relaxed))
    }

    /// Waits until `phase` or a later one is entered.
    pub async fn reached(&self, phase: Phase) {
        let mut seen = self.changed.subscribe();
        // The sender lives as long as `self`, so waiting cannot fail.
        let _ = seen.wait_for(|now| *now >= phase).await;
    }
}

//! How much the control log tells: one level for all, and others for single parts, both changed while it runs.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use tracing::Level;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::{Registry, reload};

/// Most parts with a level of their own.
const MOST: usize = 64;
/// This program. Its libraries tell of what strangers send them, frame by frame, some of it as warnings: whoever wants to
/// would fill the log. What comes of it is told by us, and libraries are asked for by name.
const OURS: &str = "tidegate";

/// Which events are told.
#[derive(Clone, Debug, PartialEq)]
pub struct Levels {
    /// Of everything of this program that is not named below; of its libraries nothing.
    pub usual: Level,
    /// By target: `tidegate::proxy` stands for this module and all below it, `h2` for a library; the longest name holds.
    pub targets: BTreeMap<String, Level>,
}

impl Levels {
    pub(super) fn new(usual: Level) -> Levels {
        Levels {
            usual,
            targets: BTreeMap::new(),
        }
    }

    pub(super) fn filter(&self) -> Targets {
        Targets::new()
            .with_default(LevelFilter::OFF)
            .with_target(OURS, self.usual)
            .with_targets(self.targets.clone())
    }
}

/// Changes the levels while the gateway runs.
#[derive(Clone, Debug)]
pub struct LevelHandle {
    pub(super) filter: reload::Handle<Targets, Registry>,
    pub(super) levels: Arc<Mutex<Levels>>,
}

impl LevelHandle {
    /// From now on events below `level` are left out, where no target has a level of its own.
    pub fn set(&self, level: Level) {
        self.change(|levels| levels.usual = level);
    }

    /// The same for one target and all below it. False, and nothing changed, when too many have one already.
    #[must_use]
    pub fn set_target(&self, target: &str, level: Level) -> bool {
        let mut fits = true;
        self.change(|levels| {
            fits = levels.targets.len() < MOST || levels.targets.contains_key(target);
            if fits {
                levels.targets.insert(target.to_owned(), level);
            }
        });
        fits
    }

    /// What holds now.
    #[must_use]
    pub fn levels(&self) -> Levels {
        self.lock().clone()
    }

    fn change(&self, change: impl FnOnce(&mut Levels)) {
        let mut levels = self.lock();
        change(&mut levels);
        // Fails only when the log is gone, and then there is nothing to set.
        let _ = self.filter.reload(levels.filter());
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Levels> {
        self.levels.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

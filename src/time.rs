//! Time: nanoseconds since the process began; the one place that reads a clock.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A moment, in nanoseconds since the first look at the clock of this process. Monotonic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Nanos(pub u64);

impl Nanos {
    /// Time elapsed since `earlier`; zero if `earlier` lies ahead.
    #[must_use]
    pub fn since(self, earlier: Nanos) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// This moment moved into the future; saturates after 584 years.
    #[must_use]
    pub fn plus(self, by: Duration) -> Nanos {
        let by = u64::try_from(by.as_nanos()).unwrap_or(u64::MAX);
        Nanos(self.0.saturating_add(by))
    }
}

/// `time` as people read it: a part of a millisecond counts as one.
#[must_use]
pub fn whole_millis(time: Duration) -> Duration {
    let millis = time.as_nanos().div_ceil(1_000_000);
    Duration::from_millis(u64::try_from(millis).unwrap_or(u64::MAX))
}

struct Epoch {
    instant: Instant,
    /// Nanoseconds between 1970 and `instant`, as the wall clock had it when the process began.
    unix_nanos: u64,
}

#[allow(clippy::disallowed_methods)]
fn epoch() -> &'static Epoch {
    static EPOCH: OnceLock<Epoch> = OnceLock::new();
    EPOCH.get_or_init(|| Epoch {
        instant: Instant::now(),
        unix_nanos: wall_nanos(),
    })
}

/// Reads the monotonic clock (about 25 ns).
#[must_use]
#[allow(clippy::disallowed_methods)]
pub fn now() -> Nanos {
    let elapsed = Instant::now().duration_since(epoch().instant);
    Nanos(u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX))
}

/// The wall clock, in nanoseconds since 1970.
#[must_use]
#[allow(clippy::disallowed_methods)]
pub fn wall_nanos() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// The wall clock at a moment of the past, in nanoseconds since 1970; corrected once a second for a clock that was set.
#[must_use]
pub fn wall_at(moment: Nanos) -> u64 {
    static OFFSET: AtomicU64 = AtomicU64::new(0);
    static CHECKED: AtomicU64 = AtomicU64::new(0);
    let checked = CHECKED.load(Ordering::Relaxed);
    if checked == 0 || moment.0.saturating_sub(checked) > 1_000_000_000 {
        CHECKED.store(moment.0.max(1), Ordering::Relaxed);
        OFFSET.store(wall_nanos().saturating_sub(now().0), Ordering::Relaxed);
    }
    OFFSET.load(Ordering::Relaxed).saturating_add(moment.0)
}

/// The wall-clock moment at which the process read its clock first, in seconds since 1970.
#[must_use]
pub fn started_at_unix_seconds() -> f64 {
    epoch().unix_nanos as f64 / 1e9
}

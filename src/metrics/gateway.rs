//! What is counted for the gateway as a whole.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use super::names::Metric;
use super::per_worker::Counter;
use super::text::Page;

/// How a reload ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReloadResult {
    /// A new generation is in force.
    Applied,
    /// The files say what they said before.
    Unchanged,
    /// The files have problems; the old generation stays.
    Rejected,
}

impl ReloadResult {
    const ALL: [ReloadResult; 3] = [
        ReloadResult::Applied,
        ReloadResult::Unchanged,
        ReloadResult::Rejected,
    ];

    /// The `result` in the metric.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            ReloadResult::Applied => "applied",
            ReloadResult::Unchanged => "unchanged",
            ReloadResult::Rejected => "rejected",
        }
    }
}

/// What is counted for the process.
#[derive(Debug)]
pub struct GatewayStats {
    /// Requests whose handling panicked.
    pub panics: Counter,
    /// Lines of the access log that were lost. Shared with the log's writer, so its slots have several writers.
    pub access_log_dropped: Arc<AtomicU64>,
    /// The number of the configuration in force; 0 before the first.
    generation: AtomicU64,
    reloads: [AtomicU64; ReloadResult::ALL.len()],
    last_reload_success: AtomicBool,
    /// Nanoseconds since 1970.
    last_success: AtomicU64,
}

impl GatewayStats {
    /// Nothing counted yet, for workers `0..workers` and the control thread.
    #[must_use]
    pub fn new(workers: usize) -> GatewayStats {
        GatewayStats {
            panics: Counter::new(workers),
            access_log_dropped: Arc::default(),
            generation: AtomicU64::new(0),
            reloads: Default::default(),
            last_reload_success: AtomicBool::new(false),
            last_success: AtomicU64::new(0),
        }
    }

    /// Takes note that configuration number `generation` came into force, at the start of the process.
    pub fn start(&self, generation: u64, wall_nanos: u64) {
        self.generation.store(generation, Relaxed);
        self.last_success.store(wall_nanos, Relaxed);
        self.last_reload_success.store(true, Relaxed);
    }

    /// Takes note of a reload's end, at `wall_nanos` since 1970; `generation` is the one in force now. `is_whole` unless
    /// something was left out of it: then it is applied and no success.
    pub fn reload(&self, result: ReloadResult, is_whole: bool, generation: u64, wall_nanos: u64) {
        if let Some(count) = self.reloads.get(result as usize) {
            count.fetch_add(1, Relaxed);
        }
        if result == ReloadResult::Rejected {
            self.last_reload_success.store(false, Relaxed);
        } else {
            self.start(generation, wall_nanos);
            self.last_reload_success.store(is_whole, Relaxed);
        }
    }

    /// Writes what was counted. `version` is the program's.
    pub fn write(&self, page: &mut Page, version: &str) {
        page.value(Metric::BuildInfo, &[version], 1.0);
        page.count(Metric::Panics, &[], self.panics.sum());
        page.count(
            Metric::AccessLogDropped,
            &[],
            self.access_log_dropped.load(Relaxed),
        );
        page.value(
            Metric::ConfigGeneration,
            &[],
            self.generation.load(Relaxed) as f64,
        );
        for (result, count) in ReloadResult::ALL.iter().zip(&self.reloads) {
            page.count(Metric::ConfigReloads, &[result.word()], count.load(Relaxed));
        }
        let success = self.last_reload_success.load(Relaxed);
        page.value(
            Metric::ConfigLastReloadSuccess,
            &[],
            f64::from(u8::from(success)),
        );
        let seconds = self.last_success.load(Relaxed) as f64 / 1e9;
        page.value(Metric::ConfigLastSuccessTimestamp, &[], seconds);
    }
}

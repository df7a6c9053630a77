//! What is counted for one rate limit; its identity is its name.

use super::{Metric, Page, Series};

/// What a limit said to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Decision {
    /// It may pass, perhaps after a wait.
    Allowed,
    /// It is refused.
    Limited,
    /// It would be refused, if the limit were enforced.
    Observed,
    /// It would be refused by the candidate, whatever the limit itself said.
    CandidateLimited,
}

impl Decision {
    /// Every decision, in the order of their numbers.
    pub const ALL: [Decision; 4] = [
        Decision::Allowed,
        Decision::Limited,
        Decision::Observed,
        Decision::CandidateLimited,
    ];

    /// The `decision` in the metric.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Decision::Allowed => "allowed",
            Decision::Limited => "limited",
            Decision::Observed => "observed",
            Decision::CandidateLimited => "candidate_limited",
        }
    }
}

/// What is counted for one limit. Each request is counted once as allowed, limited or observed, and by a candidate once
/// more; one that is exempt is not.
#[derive(Debug)]
pub struct LimitStats {
    /// Decisions, by `Decision as u32`.
    decisions: Series,
}

impl LimitStats {
    /// Nothing counted yet, for workers `0..workers` and the control thread.
    #[must_use]
    pub fn new(workers: usize) -> LimitStats {
        LimitStats {
            decisions: Series::new(workers),
        }
    }

    /// Counts one decision.
    #[inline]
    pub fn count(&self, worker: usize, decision: Decision) {
        self.decisions.add(worker, decision as u32, 1);
    }

    /// How often each decision was made, in the order of their numbers.
    #[must_use]
    pub fn sums(&self) -> [u64; Decision::ALL.len()] {
        let mut sums = [0; Decision::ALL.len()];
        for (key, count) in self.decisions.sums() {
            if let Some(sum) = sums.get_mut(key as usize) {
                *sum = count;
            }
        }
        sums
    }

    /// Writes what was counted, with the keys that are held and those that were forgotten before they were full again.
    pub fn write(&self, page: &mut Page, limit: &str, keys: Option<u64>, evictions: u64) {
        let sums = self.sums();
        if sums == [0; Decision::ALL.len()] {
            return;
        }
        for (decision, count) in Decision::ALL.iter().zip(sums) {
            if count > 0 {
                let labels = [limit, decision.word()];
                page.count(Metric::RateLimitDecisions, &labels, count);
            }
        }
        if let Some(keys) = keys {
            page.value(Metric::RateLimitKeys, &[limit], keys as f64);
        }
        page.count(Metric::RateLimitEvictions, &[limit], evictions);
    }
}

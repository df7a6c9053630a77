//! Who of an upstream is left out after failures: one decision at a time, so that its bounds hold whoever fails when.
//!
//! An endpoint goes when it has failed often enough in a row, when no more than `max_percent` are out then, and when
//! another serves: probes and breakers count for that too. The lock is taken by failures only, and never on the way of
//! a request that goes well.

use std::sync::PoisonError;

use super::Upstream;
use super::bars::Bars;
use super::ejection::{Ejected, EjectionPolicy};
use crate::time::{Nanos, whole_millis};

/// An attempt that failed by the fault of its endpoint.
#[derive(Clone, Copy, Debug)]
pub struct Failed<'a> {
    /// When the attempt began.
    pub began: Nanos,
    /// The present moment.
    pub now: Nanos,
    /// Who counts it.
    pub worker: usize,
    /// What happened, in words.
    pub what: &'a str,
}

impl Upstream {
    /// An attempt at this endpoint went well.
    #[inline]
    pub fn attempt_succeeded(&self, endpoint: usize) {
        if self.ejection.is_some()
            && let Some(endpoint) = self.endpoints.get(endpoint)
        {
            endpoint.state.ejection.succeeded();
        }
    }

    /// An attempt at this endpoint failed by the endpoint's fault: it is left out if that was too often in a row.
    #[cold]
    pub fn attempt_failed(&self, endpoint: usize, failed: &Failed<'_>) {
        let Some((policy, place)) = self.ejection.as_ref().zip(self.endpoints.get(endpoint)) else {
            return;
        };
        let in_a_row = place.state.ejection.failed(failed.began);
        if in_a_row < policy.consecutive_failures {
            return;
        }
        let Some(ejected) = self.eject(endpoint, policy, failed.now) else {
            return;
        };
        place.state.stats.ejections.add(failed.worker, 1);
        tracing::warn!(
            upstream = self.name,
            endpoint = place.state.label,
            failures = ejected.failures,
            last = failed.what,
            lasts = ?ejected.lasts,
            "{} of {} is left out for {:?}: {} failures in a row, the last: {}",
            place.state.label,
            self.name,
            ejected.lasts,
            ejected.failures,
            failed.what,
        );
    }

    /// Leaves it out, if that may be.
    fn eject(&self, index: usize, policy: &EjectionPolicy, now: Nanos) -> Option<Ejected> {
        let unweighed = self.endpoints.iter().all(|e| e.weight == 0);
        let _alone = (self.state.ejecting.lock()).unwrap_or_else(PoisonError::into_inner);
        let ejection = &self.endpoints.get(index)?.state.ejection;
        // Somebody may have been faster, or an attempt may have gone well meanwhile.
        if ejection.is_out(now) || ejection.failures() < policy.consecutive_failures {
            return None;
        }
        let (mut all, mut out, mut others) = (0, 0, 0);
        let takers = self.endpoints.iter().enumerate();
        for (i, endpoint) in takers.filter(|(_, e)| unweighed || e.weight > 0) {
            let bars = endpoint.bars(now, true);
            all += 1;
            out += usize::from(bars.has(Bars::EJECTED));
            let serves = bars.is_empty() && self.would_try(i, now);
            others += usize::from(i != index && serves);
        }
        if others == 0 || out + 1 > policy.most_of(all) {
            return None;
        }
        let ejected = ejection.begin(now, policy);
        self.state.step();
        Some(ejected)
    }

    /// Tells of endpoints that came back since somebody looked.
    pub(super) fn tell_returned(&self, now: Nanos) {
        let back = self.endpoints.iter().map(|endpoint| &endpoint.state);
        for state in back.filter(|state| state.ejection.returned(now)) {
            let (since, _) = state.ejection.last();
            let out = whole_millis(now.since(since));
            tracing::info!(
                upstream = self.name,
                endpoint = state.label,
                "{} of {} is used again, after {out:?}",
                state.label,
                self.name,
            );
        }
    }
}

#[cfg(test)]
mod tests;

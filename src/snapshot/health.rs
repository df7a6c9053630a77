//! What the file says of health, as upstreams follow it; and who stands in for whom, as one list for each.

use crate::config;
use crate::upstream::ejection::EjectionPolicy;
use crate::upstream::probe::{Expect, ProbePolicy};

pub(super) fn probe(check: &config::HealthCheck) -> ProbePolicy {
    ProbePolicy {
        path: check.path.as_str().into(),
        expect: Expect(check.expect.as_slice().into()),
        interval: check.interval,
        timeout: check.timeout,
        healthy: check.healthy,
        unhealthy: check.unhealthy,
    }
}

pub(super) fn ejection(ejection: &config::Ejection) -> EjectionPolicy {
    EjectionPolicy {
        consecutive_failures: ejection.consecutive_failures,
        base: ejection.base,
        max_percent: ejection.max_percent,
    }
}

/// All who may take over from an upstream, by their places among `all`, in the order in which they are asked: each
/// before those that stand in for itself, and each once.
pub(super) fn stand_ins(upstream: &config::Upstream, all: &[config::Upstream]) -> Box<[usize]> {
    let mut found: Vec<usize> = Vec::new();
    let mut waiting: Vec<usize> = upstream.health.failover.iter().rev().copied().collect();
    while let Some(next) = waiting.pop() {
        // The file has no loops; should one slip through, it ends here.
        if found.contains(&next) {
            continue;
        }
        found.push(next);
        waiting.extend(all[next].health.failover.iter().rev());
    }
    found.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_asked_once_and_before_those_that_stand_in_for_it() {
        let upstream = |name: &str, failover: &str| {
            format!(
                "  {name}: {{ endpoints: [\"http://{name}\"], health_check: {{}}, failover: [{failover}] }}\n"
            )
        };
        let text = format!(
            "listeners: [{{ bind: \"127.0.0.1:1\" }}]\nroutes: [{{ upstream: a }}]\nupstreams:\n{}{}{}{}",
            upstream("a", "b, c"),
            upstream("b", "d"),
            upstream("c", "d"),
            upstream("d", ""),
        );
        let config = config::parse_text("f", &text, &|_| None).unwrap().config;
        let stand_ins = |index: usize| stand_ins(&config.upstreams[index], &config.upstreams);
        assert_eq!(*stand_ins(0), [1, 3, 2]);
        assert_eq!(*stand_ins(1), [3]);
        assert_eq!(*stand_ins(3), [0_usize; 0]);
    }
}

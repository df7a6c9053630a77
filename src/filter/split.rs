//! Traffic split over upstreams by weight: evenly spread, so that the shares hold for few requests too.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// 2^64 divided by the golden ratio: multiples of it fill an interval as evenly as can be.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// Weights and whose turn it is.
#[derive(Debug)]
pub struct Split {
    /// For each branch the sum of the weights up to and with its own.
    bounds: Vec<u64>,
    turn: AtomicU32,
}

impl Split {
    /// From weights, of which at least one is not 0. `None` where there is nothing to choose.
    #[must_use]
    pub fn new(weights: &[u32]) -> Option<Split> {
        if weights.len() < 2 {
            return None;
        }
        let bounds = weights.iter().scan(0, |sum, weight| {
            *sum += u64::from(*weight);
            Some(*sum)
        });
        Some(Split {
            bounds: bounds.collect(),
            turn: AtomicU32::new(0),
        })
    }

    /// The branch of the next request.
    pub fn pick(&self) -> usize {
        self.branch(self.turn.fetch_add(1, Relaxed))
    }

    fn branch(&self, turn: u32) -> usize {
        let total = self.bounds.last().copied().unwrap_or_default();
        let point = (u128::from(STEP.wrapping_mul(u64::from(turn) + 1)) * u128::from(total)) >> 64;
        self.bounds
            .partition_point(|bound| u128::from(*bound) <= point)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_hold_and_a_weight_of_0_is_never_chosen() {
        let split = Split::new(&[70, 0, 30]).unwrap();
        let mut counts = [0; 3];
        for _ in 0..500 {
            counts[split.pick()] += 1;
        }
        assert!(
            (345..=355).contains(&counts[0]) && counts[1] == 0 && counts[0] + counts[2] == 500,
            "{counts:?}"
        );
    }

    proptest::proptest! {
        #[test]
        fn every_share_is_within_a_hundredth(weights in proptest::collection::vec(0u32..100, 2..6)) {
            proptest::prop_assume!(weights.iter().any(|w| *w > 0));
            let split = Split::new(&weights).unwrap();
            let total: u32 = weights.iter().sum();
            let mut counts = vec![0u32; weights.len()];
            for turn in 0..2000 {
                counts[split.branch(turn)] += 1;
            }
            for (count, weight) in counts.iter().zip(&weights) {
                let (share, wanted) = (f64::from(*count) / 2000.0, f64::from(*weight) / f64::from(total));
                proptest::prop_assert!((share - wanted).abs() < 0.01, "{share} {wanted}");
            }
        }
    }
}

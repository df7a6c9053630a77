//! The smooth order of round_robin: after any number of turns, each has had its share to within less than one.
//!
//! Equal weights need nothing but their number. For others one period is worked out in advance by R. Tijdeman's
//! solution of the chairman assignment problem (Discrete Mathematics 32, 1980): of those that are not ahead of their
//! share, the one that would first fall behind it.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;

/// Longest period; where the weights would need a longer one they are rounded, each to at least one turn.
const LONGEST: u64 = 65_536;

/// Whose turn is it?
pub(super) enum Order {
    /// All have one weight.
    Even(usize),
    /// One period.
    Period(Box<[u32]>),
}

impl Order {
    /// By the weights of all, in their order. Those of weight 0 have no turn, unless that is the weight of all.
    pub(super) fn new(weights: &[u32]) -> Order {
        if weights.windows(2).all(|pair| pair[0] == pair[1]) {
            return Order::Even(weights.len());
        }
        let turns = (0..).zip(weights).filter(|(_, weight)| **weight > 0);
        Order::Period(period(&reduce(
            turns.map(|(i, weight)| (i, u64::from(*weight))).collect(),
        )))
    }

    /// Who has this turn; 0 if there is none.
    pub(super) fn at(&self, turn: usize) -> usize {
        match self {
            Order::Even(n) => turn.checked_rem(*n).unwrap_or(0),
            Order::Period(order) => order[turn % order.len()] as usize,
        }
    }
}

/// Number and turns in one period.
type Turns = Vec<(u32, u64)>;

/// The same shares with fewer turns.
fn reduce(mut turns: Turns) -> Turns {
    let divisor = turns.iter().fold(0, |a, (_, b)| gcd(a, *b));
    let sum: u64 = turns.iter().map(|(_, n)| n).sum();
    for (_, n) in &mut turns {
        *n = if sum / divisor <= LONGEST {
            *n / divisor
        } else {
            ((*n * LONGEST + sum / 2) / sum).max(1)
        };
    }
    turns
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

fn period(turns: &Turns) -> Box<[u32]> {
    let sum: u64 = turns.iter().map(|(_, n)| n).sum();
    let grain = 2 * (turns.len() as u64 - 1).max(1);
    // The first moment at which the share is ahead of the turns had by this much, in `grain`ths of a turn.
    let moment = |n: u64, had: u64, ahead: u64| (sum * (had * grain + ahead)).div_ceil(n * grain);
    let mut had = vec![0; turns.len()];
    let mut waiting: BinaryHeap<Reverse<(u64, usize)>> = (0..turns.len())
        .map(|who| Reverse((moment(turns[who].1, 0, 1), who)))
        .collect();
    let mut ready: BinaryHeap<Reverse<(u64, usize)>> = BinaryHeap::new();
    let mut order = Vec::with_capacity(usize::try_from(sum).unwrap_or_default());
    for now in 1..=sum {
        while let Some(next) = waiting.peek_mut().filter(|next| next.0.0 <= now) {
            let Reverse((_, who)) = PeekMut::pop(next);
            ready.push(Reverse((moment(turns[who].1, had[who], grain - 1), who)));
        }
        // Tijdeman's theorem: there is always one.
        let Some(Reverse((_, who))) = ready.pop() else {
            continue;
        };
        order.push(turns[who].0);
        had[who] += 1;
        waiting.push(Reverse((moment(turns[who].1, had[who], 1), who)));
    }
    order.into()
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn first(weights: &[u32], turns: usize) -> Vec<usize> {
        let order = Order::new(weights);
        (0..turns).map(|turn| order.at(turn)).collect()
    }

    fn longest_run(order: &[usize]) -> usize {
        order
            .chunk_by(|a, b| a == b)
            .map(<[usize]>::len)
            .max()
            .unwrap_or(0)
    }

    #[test]
    fn five_to_one_to_one() {
        let order = first(&[5, 1, 1], 14);
        assert_eq!(order, [0, 0, 1, 0, 0, 2, 0, 0, 0, 1, 0, 0, 2, 0]);
        // Five of seven with two others between them: no order has shorter runs.
        assert_eq!(longest_run(&first(&[5, 1, 1], 70)), 3);
    }

    #[test]
    fn equal_weights_need_no_table() {
        assert!(matches!(Order::new(&[3; 1000]), Order::Even(1000)));
        assert_eq!(first(&[2, 2, 2], 5), [0, 1, 2, 0, 1]);
        assert_eq!(first(&[0, 4, 4, 0], 3), [1, 2, 1]);
        assert_eq!(first(&[0, 0], 3), [0, 1, 0]);
        assert_eq!(first(&[], 1), [0]);
    }

    #[test]
    fn a_period_is_bounded() {
        let length = |weights: &[u32]| match Order::new(weights) {
            Order::Even(n) => n,
            Order::Period(order) => order.len(),
        };
        assert_eq!(length(&[1_000_000, 500_000]), 3);
        assert_eq!(length(&[65_535, 1]), 65_536);
        assert_eq!(length(&[65_536, 1]), 65_536);
        assert_eq!(length(&[u32::MAX, u32::MAX - 1, 1]), 65_537);
        assert_eq!(first(&[u32::MAX, 1], 65_537).iter().sum::<usize>(), 1);
    }

    proptest! {
        /// The law of this file.
        #[test]
        fn after_any_number_of_turns_each_has_its_share(weights in vec(0..30_u32, 1..12)) {
            let sum: u32 = weights.iter().sum();
            prop_assume!(sum > 0);
            let mut had = vec![0_u32; weights.len()];
            for (turn, who) in first(&weights, 2 * sum as usize).into_iter().enumerate() {
                had[who] += 1;
                for (had, weight) in had.iter().zip(&weights) {
                    let share = f64::from(*weight) * (turn + 1) as f64 / f64::from(sum);
                    prop_assert!((f64::from(*had) - share).abs() < 1.0);
                }
            }
        }

    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]

        #[test]
        fn rounded_weights_stay_near(weights in vec(1..u32::MAX, 2..6)) {
            let order = Order::new(&weights);
            let sum: f64 = weights.iter().map(|w| f64::from(*w)).sum();
            let Order::Period(period) = order else { return Ok(()) };
            for (who, weight) in (0..).zip(&weights) {
                let turns = period.iter().filter(|other| **other == who).count() as f64;
                let share = f64::from(*weight) / sum * period.len() as f64;
                prop_assert!((turns - share).abs() < 6.0, "{turns} of {share}");
            }
        }
    }
}

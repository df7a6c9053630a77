//! Draws in proportion to weight, in constant time: Walker's alias method, built as by Vose (1991).

use super::mix;

/// Which of so many, by random numbers.
#[derive(Debug)]
pub enum Draw {
    /// All have one weight.
    Even(usize),
    /// Those with a weight, as many cells as there are of them.
    Weighted(Box<[Cell]>),
}

/// One of the equal parts of all weight together; at most two share it.
#[derive(Clone, Copy, Debug)]
pub struct Cell {
    own: u32,
    other: u32,
    /// How much of the cell is `own`, of 2³²; all of it where `other` is `own`.
    share: u32,
}

/// How often a second one that is like the first is drawn again.
const TRIES: u64 = 4;

impl Draw {
    /// By the weights of all, in their order. Those of weight 0 are never drawn, unless that is the weight of all.
    #[must_use]
    pub fn new(weights: &[u32]) -> Draw {
        if weights.windows(2).all(|pair| pair[0] == pair[1]) {
            return Draw::Even(weights.len());
        }
        let weighed = (0..).zip(weights).filter(|(_, weight)| **weight > 0);
        Draw::Weighted(cells(weighed.map(|(i, w)| (i, u128::from(*w))).collect()))
    }

    /// One of them; 0 if there is none.
    #[must_use]
    pub fn one(&self, random: u64) -> usize {
        match self {
            Draw::Even(n) => part(random >> 32, *n),
            Draw::Weighted(cells) => {
                let cell = &cells[part(random >> 32, cells.len())];
                let is_own = random & LOW < u64::from(cell.share);
                (if is_own { cell.own } else { cell.other }) as usize
            }
        }
    }

    /// Two that differ, if there are two: the first in proportion to weight, the second of the others.
    #[must_use]
    pub fn two(&self, random: u64) -> (usize, usize) {
        let first = self.one(random);
        let second = match self {
            Draw::Even(0 | 1) => first,
            Draw::Even(n) => (first + 1 + part(random & LOW, n - 1)) % n,
            Draw::Weighted(cells) => (1..=TRIES)
                .map(|try_| self.one(mix(random, try_)))
                .find(|second| *second != first)
                .unwrap_or_else(|| beside(first, cells, random)),
        };
        (first, second)
    }
}

/// Anyone but `first`: it is so heavy that drawing by weight finds no other.
fn beside(first: usize, cells: &[Cell], random: u64) -> usize {
    let at = part(mix(random, 0) >> 32, cells.len());
    let own = |at: usize| cells[at % cells.len()].own as usize;
    if own(at) == first {
        own(at + 1)
    } else {
        own(at)
    }
}

/// The half of a random number that the place does not use.
const LOW: u64 = 0xffff_ffff;

/// A random number below 2³² as one below `n`.
fn part(random: u64, n: usize) -> usize {
    ((random * n as u64) >> 32) as usize
}

/// `left` is what of each is not yet in a cell: number and weight.
fn cells(mut left: Vec<(u32, u128)>) -> Box<[Cell]> {
    let count = left.len() as u128;
    // In units in which every cell holds `full`, whatever their number.
    let full: u128 = left.iter().map(|(_, weight)| weight).sum();
    for (_, weight) in &mut left {
        *weight *= count;
    }
    let (mut small, mut large): (Vec<_>, Vec<_>) =
        left.into_iter().partition(|(_, weight)| *weight < full);
    let mut cells = Vec::with_capacity(small.len() + large.len());
    while let (Some((own, weight)), Some((other, rest))) = (small.pop(), large.last_mut()) {
        cells.push(Cell {
            own,
            other: *other,
            share: u32::try_from((weight << 32) / full).unwrap_or(u32::MAX),
        });
        *rest -= full - weight;
        if *rest < full {
            small.extend(large.pop());
        }
    }
    cells.extend(small.into_iter().chain(large).map(|(own, _)| Cell {
        own,
        other: own,
        share: 0,
    }));
    cells.into()
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    /// What share of 2³² each gets, added up from the cells.
    fn shares(weights: &[u32]) -> Vec<f64> {
        let mut shares = vec![0.0; weights.len()];
        match Draw::new(weights) {
            Draw::Even(n) => shares.fill(1.0 / n as f64),
            Draw::Weighted(cells) => {
                for cell in &cells {
                    let own = f64::from(cell.share) / 2_f64.powi(32);
                    shares[cell.own as usize] += own / cells.len() as f64;
                    shares[cell.other as usize] += (1.0 - own) / cells.len() as f64;
                }
            }
        }
        shares
    }

    proptest! {
        #[test]
        fn shares_are_in_proportion_to_weight(
            weights in vec(prop_oneof![0..4_u32, 0..1000_u32, any::<u32>()], 1..40),
        ) {
            let sum: f64 = weights.iter().map(|w| f64::from(*w)).sum();
            prop_assume!(sum > 0.0);
            for (share, weight) in shares(&weights).iter().zip(&weights) {
                prop_assert!((share - f64::from(*weight) / sum).abs() < 1e-8);
                prop_assert_eq!(*weight == 0, *share == 0.0);
            }
        }

        #[test]
        fn two_differ_and_have_weight(
            weights in vec(prop_oneof![0..4_u32, any::<u32>()], 1..20), random: u64,
        ) {
            let draw = Draw::new(&weights);
            let (first, second) = draw.two(random);
            prop_assert_eq!(first, draw.one(random));
            let weighed = weights.iter().filter(|w| **w > 0).count();
            prop_assert_eq!(first == second, weighed.max(usize::from(weighed == 0) * weights.len()) == 1);
            prop_assert!(weighed == 0 || weights[first] > 0 && weights[second] > 0);
        }
    }

    #[test]
    fn of_even_ones_every_pair_is_as_likely() {
        let draw = Draw::new(&[7; 3]);
        let mut counts = [[0_i32; 3]; 3];
        for step in 0..30_000 {
            let (first, second) = draw.two(mix(step, 1));
            counts[first][second] += 1;
        }
        for (first, row) in counts.iter().enumerate() {
            for (second, count) in row.iter().enumerate() {
                let expected = if first == second { 0 } else { 5000 };
                assert!((expected - *count).abs() <= expected / 20, "{counts:?}");
            }
        }
    }

    #[test]
    fn none_is_no_panic() {
        assert_eq!(Draw::new(&[]).two(u64::MAX), (0, 0));
    }
}

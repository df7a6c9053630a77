//! The sketch of those limited most, against exact counts.

use std::collections::HashMap;

use super::super::LONGEST_NAME;
use super::*;

/// Draws ranks from 1 to `keys` with frequency `1 / rank^exponent`, by the inverse of the distribution.
struct Zipf {
    below: Vec<f64>,
}

impl Zipf {
    fn new(keys: usize, exponent: f64) -> Zipf {
        let mut sum = 0.0;
        let weights = (1..=keys).map(|rank| {
            sum += (rank as f64).powf(-exponent);
            sum
        });
        Zipf {
            below: weights.collect(),
        }
    }

    fn draw(&self, random: u64) -> u64 {
        let unit = (random >> 11) as f64 / (1_u64 << 53) as f64;
        let wanted = unit * self.below.last().copied().unwrap();
        self.below.partition_point(|sum| *sum < wanted) as u64
    }
}

/// How many of the true top 20 of a stream the sketch names among its own.
fn recall(zipf: &Zipf, seed: u64) -> usize {
    let limiter = limiter(per_hour(1, 1));
    let mut truth: HashMap<u64, u64> = HashMap::new();
    let noted = scale(200_000, 5_000_000);
    for turn in 0..noted {
        let number = zipf.draw(scatter(scatter(seed) ^ turn));
        *truth.entry(number).or_default() += 1;
        limiter.note_limited(key(scatter(number ^ seed)), number.to_string().as_bytes());
    }
    let found = limiter.top(20);
    assert_eq!(found.len(), 20);
    for heavy in &found {
        let number: u64 = std::str::from_utf8(&heavy.name).unwrap().parse().unwrap();
        let true_count = truth[&number];
        assert!(
            (heavy.count - heavy.error..=heavy.count).contains(&true_count),
            "{heavy:?}: {true_count}"
        );
        assert!(heavy.error <= noted / 512, "{heavy:?}");
    }
    let mut most: Vec<(u64, u64)> = truth
        .into_iter()
        .map(|(number, count)| (count, number))
        .collect();
    most.sort_unstable_by(|a, b| b.cmp(a));
    // Where the twentieth ties with the next, either is true.
    let least = most[19].0;
    let names = found
        .iter()
        .map(|heavy| std::str::from_utf8(&heavy.name).unwrap().parse().unwrap());
    names
        .filter(|name: &u64| {
            most.iter()
                .any(|(count, number)| number == name && *count >= least)
        })
        .count()
}

#[test]
fn the_true_top_20_of_a_million_keys_are_found() {
    let zipf = Zipf::new(1_000_000, 1.0);
    let found: usize = (1..=3).map(|seed| recall(&zipf, seed)).sum();
    assert!(found * 100 >= 3 * 20 * 95, "{found} of 60");
}

#[test]
fn names_are_bounded_and_counts_exact_where_there_are_few() {
    let limiter = limiter(per_hour(1, 1));
    let before = limiter.bytes();
    assert!(limiter.top(20).is_empty());
    for number in 0..10 {
        for _ in 0..=number {
            limiter.note_limited(key(number), &[b'a' + number as u8; 1000]);
        }
    }
    let top = limiter.top(3);
    assert_eq!(
        top.iter().map(|heavy| heavy.count).collect::<Vec<_>>(),
        [10, 9, 8]
    );
    assert!(
        top.iter()
            .all(|heavy| heavy.error == 0 && heavy.name.len() == LONGEST_NAME)
    );
    assert_eq!(&top[0].name[..2], b"jj");
    let grown = limiter.bytes() - before;
    assert!((64 * 1024..=100 * 1024).contains(&grown), "{grown}");
}

//! Balancers where some are left out, or have not grown to their full share.

use super::*;
use crate::upstream::bars::Bars;
use crate::upstream::serving::{Entry, Part, Serving, ServingPolicy, work_out};

/// Those of `weights` of whom `bars` say nothing; each came so many milliseconds ago, 0 = was there from the beginning.
fn part(weights: &[u32], out: &[usize], came: &[u64]) -> Option<Part> {
    let entries: Vec<Entry> = weights
        .iter()
        .enumerate()
        .map(|(i, weight)| Entry {
            weight: *weight,
            bars: Bars::UNHEALTHY.when(out.contains(&i)),
            until: Nanos(u64::MAX),
            came: match came.get(i) {
                None | Some(0) => Nanos(0),
                Some(ago) => Nanos(NOW.0 - ago * 1_000_000),
            },
        })
        .collect();
    let policy = ServingPolicy {
        panic_below: None,
        slow_start: Some(Duration::from_secs(10)),
    };
    match work_out(&entries, policy, NOW).0 {
        Serving::Part(part) => Some(part),
        Serving::Everybody | Serving::Nobody => None,
    }
}

fn counts(way: &Way, weights: &[u32], part: &Part) -> Vec<f64> {
    let endpoints = endpoints(weights);
    let balancer = Balancer::new(way, &endpoints);
    let turn = AtomicUsize::new(0);
    let mut counts = vec![0.0; weights.len()];
    for random in 0..PICKS {
        let hash = matches!(way, Way::Hash(_)).then(|| mix(random, 2));
        let ask = Ask {
            hash,
            ..ask(random)
        };
        let picked = balancer.pick_of(&endpoints, Some(part), &turn, &ask);
        counts[picked.unwrap()] += 1.0;
    }
    counts
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Whatever is asked and whoever is shunned, busy or slow: who is left out gets nothing.
    #[test]
    fn who_is_left_out_gets_nothing(
        told in vec(told(), 1..9), out in vec(0..9_usize, 0..9),
        asked in vec((any::<u64>(), any::<Option<u64>>(), any::<Option<u8>>(), any::<usize>()), 8),
    ) {
        let weights: Vec<u32> = told.iter().map(|(weight, ..)| *weight).collect();
        let Some(part) = part(&weights, &out, &[]) else { return Ok(()) };
        let endpoints = endpoints_as(&told);
        for way in ways() {
            let balancer = Balancer::new(&way, &endpoints);
            for (random, hash, avoid, turn) in asked.clone() {
                let avoid = avoid.map(|avoid| usize::from(avoid) % 9);
                let own = endpoints.get(turn % 16).map(|e| sticky::token(e.state.address));
                let ask = Ask { now: NOW, random, hash: own.or(hash), avoid };
                let picked = balancer.pick_of(&endpoints, Some(&part), &AtomicUsize::new(turn), &ask);
                let picked = picked.unwrap();
                prop_assert!(part.takes(picked) && !out.contains(&picked), "{:?} {}", way, picked);
                let others = (0..endpoints.len()).filter(|i| part.takes(*i));
                prop_assert!(Some(picked) != avoid || others.count() == 1);
            }
        }
    }
}

#[test]
fn those_that_serve_share_what_the_others_leave() {
    let weights = [2, 1, 1, 3];
    let part = part(&weights, &[0], &[]).unwrap();
    for way in ways() {
        let counts = counts(&way, &weights, &part);
        for (i, share) in [0.0, 0.2, 0.2, 0.6].into_iter().enumerate() {
            // Who would be next of a key falls as the key's own places do: by weight too.
            let share = share * PICKS as f64;
            assert!(
                (counts[i] - share).abs() < 1.0 + 6.0 * share.sqrt(),
                "{way:?} {counts:?}"
            );
        }
    }
}

#[test]
fn one_of_a_thousand_is_found_in_any_way() {
    let weights = [1; 1000];
    let out: Vec<usize> = (0..1000).filter(|i| *i != 777).collect();
    let part = part(&weights, &out, &[]).unwrap();
    for way in ways() {
        assert_eq!(counts(&way, &weights, &part)[777], PICKS as f64, "{way:?}");
    }
}

#[test]
fn an_endpoint_that_came_back_grows() {
    for (ago, share) in [(1, 0.1), (5000, 0.5), (9000, 0.9)] {
        let part = part(&[1, 1], &[], &[0, ago]).unwrap();
        for way in ways() {
            let counts = counts(&way, &[1, 1], &part);
            let is = counts[1] / counts[0];
            match way {
                // Half of a key's places are its own, and it takes this share of them: the other gets the rest.
                Way::Hash(_) | Way::RoundRobin => {
                    let part_of_all = counts[1] / PICKS as f64;
                    assert!(
                        part_of_all < 0.55 && part_of_all > share * 0.4,
                        "{way:?} {ago} {counts:?}"
                    );
                }
                _ => assert!((is - share).abs() < 0.13, "{way:?} {ago} {counts:?}"),
            }
        }
    }
}

#[test]
fn a_key_goes_to_its_next_choice_and_back_and_others_stay() {
    let weights = [1, 1, 1, 1];
    let endpoints = endpoints(&weights);
    let way = Way::Hash(Key::new(vec![crate::http::key::Part::Path]));
    let balancer = Balancer::new(&way, &endpoints);
    let without = part(&weights, &[2], &[]).unwrap();
    let mut moved_to = [0; 4];
    for key in 0..2000 {
        let ask = |random| Ask {
            hash: Some(mix(key, 7)),
            ..super::ask(random)
        };
        let pick =
            |part, random| balancer.pick_of(&endpoints, part, &AtomicUsize::new(0), &ask(random));
        let own = pick(None, 1).unwrap();
        let next = pick(Some(&without), 2).unwrap();
        assert_eq!(pick(Some(&without), 3), Some(next), "whatever is drawn");
        if own == 2 {
            moved_to[next] += 1;
        } else {
            assert_eq!(next, own);
        }
        assert_eq!(pick(None, 4), Some(own), "it is back");
    }
    assert!(
        moved_to[2] == 0 && [0, 1, 3].iter().all(|i| moved_to[*i] > 100),
        "{moved_to:?}"
    );
}

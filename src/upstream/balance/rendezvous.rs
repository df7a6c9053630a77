//! Consistent hashing: rendezvous (Thaler and Ravishankar, 1998) with weights, worked out in advance for all places.
//!
//! Every endpoint calls at places in an endless order of its own, which its address alone decides; of weight w, it
//! makes its n-th call at the moment (n + ½) ÷ w. A place belongs to who called there first. So what one endpoint gets
//! depends on nothing but who is there: when one goes, its places fall to those who came next, and when one comes, or
//! gets more weight, it takes its places; no key moves between two that stay as they are, and the order of the file is
//! nothing. The price: shares are not exact. Of 10 endpoints one has 1 % more or less than its share, of 100 it has 2 %,
//! of 1,000 it has 6 % (standard deviations).
//!
//! All of it is fixed for ever: gateways of any version send a key to the same endpoint.

use std::net::SocketAddr;

use twox_hash::XxHash3_64;

use super::mix;

/// Binary digits of the number of a place: 131,072 of them, 512 KiB.
const DIGITS: u32 = 17;
const PLACES: usize = 1 << DIGITS;

/// Seed of XXH3.
const ORDER: u64 = 1;

/// Which endpoint has which place.
pub(super) struct Table {
    places: Box<[u32]>,
}

/// The first call at a place so far: when, and who in the order of names.
type Call = (u64, u32);

struct Caller {
    seed: u64,
    weight: u64,
    calls: u64,
}

impl Table {
    /// By address and weight of all, in their order. Those of weight 0 get no place, unless that is the weight of all.
    /// Takes some 10 ms, however many they are.
    pub(super) fn new(endpoints: &[(SocketAddr, u32)]) -> Table {
        let unweighed = endpoints.iter().all(|(_, weight)| *weight == 0);
        let mut named: Vec<(String, u32, u32)> = (0..)
            .zip(endpoints)
            .map(|(index, (address, weight))| {
                let weight = if unweighed { 1 } else { *weight };
                (address.to_string(), index, weight)
            })
            .filter(|(_, _, weight)| *weight > 0)
            .collect();
        named.sort_unstable();
        let callers = named.iter().map(|(name, _, weight)| Caller {
            seed: XxHash3_64::oneshot_with_seed(ORDER, name.as_bytes()),
            weight: u64::from(*weight),
            calls: 0,
        });
        let owners = call_everywhere(callers.collect());
        let lowest = named.first().map_or(0, |(_, index, _)| *index);
        let index = |(_, who): &Call| {
            named
                .get(*who as usize)
                .map_or(lowest, |(_, index, _)| *index)
        };
        Table {
            places: owners.iter().map(index).collect(),
        }
    }

    /// Who has the place of a hash; 0 if there is nobody.
    pub(super) fn at(&self, hash: u64) -> usize {
        self.places[place(hash)] as usize
    }
}

/// The hash of a key; fixed for ever.
pub(super) fn hash(key: &[u8]) -> u64 {
    XxHash3_64::oneshot(key)
}

fn place(hash: u64) -> usize {
    (hash >> (u64::BITS - DIGITS)) as usize
}

/// Nobody called.
const NEVER: Call = (u64::MAX, u32::MAX);

fn call_everywhere(mut callers: Vec<Caller>) -> Vec<Call> {
    let mut first = vec![NEVER; PLACES];
    let weight: u64 = callers.iter().map(|caller| caller.weight).sum();
    // After each round, of as many calls as there are places, what is taken is taken for good.
    let rounds = if callers.is_empty() { 0 } else { MOST_ROUNDS };
    for round in 1..=rounds {
        let end = round * ((PLACES as u64) << (FRACTION + 1)) / weight;
        for (who, caller) in (0..).zip(&mut callers) {
            let mut moment = caller.moment();
            while moment < end {
                let at = caller.call();
                first[at] = first[at].min((moment, who));
                moment = caller.moment();
            }
        }
        if !first.contains(&NEVER) {
            break;
        }
    }
    first
}

/// Of so many rounds the last leaves a place free once in 10²² tables; who has the lowest name gets it.
const MOST_ROUNDS: u64 = 64;

/// Binary digits of a moment's fraction.
const FRACTION: u32 = 36;

impl Caller {
    /// When its next call is: an integer, so that every machine finds the same.
    fn moment(&self) -> u64 {
        ((2 * self.calls + 1) << FRACTION) / self.weight
    }

    fn call(&mut self) -> usize {
        self.calls += 1;
        place(mix(self.seed, self.calls))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::collection::{btree_map, vec};
    use proptest::prelude::*;

    use super::*;

    /// Addresses with their weights, in an order without meaning.
    fn endpoints() -> impl Strategy<Value = Vec<(SocketAddr, u32)>> {
        let weight = prop_oneof![3 => Just(1), 1 => 1..20_u32];
        btree_map(any::<u16>(), weight, 2..30).prop_map(|ports| {
            let address = |port| SocketAddr::from(([192, 0, 2, 1], port));
            ports
                .into_iter()
                .map(|(port, weight)| (address(port), weight))
                .collect()
        })
    }

    /// Who has each place, by address.
    fn owners(endpoints: &[(SocketAddr, u32)]) -> Vec<SocketAddr> {
        let table = Table::new(endpoints);
        table
            .places
            .iter()
            .map(|index| endpoints[*index as usize].0)
            .collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(12))]

        /// The law of this file; so a change of one of n moves its share of the keys, about 1/n.
        #[test]
        fn only_the_keys_of_the_changed_endpoint_move(
            mut all in endpoints(), chosen: prop::sample::Index, less in 0..20_u32,
        ) {
            let before = owners(&all);
            let chosen = chosen.index(all.len());
            let (address, weight) = all[chosen];
            let less = less.min(weight - 1);
            if less > 0 {
                all[chosen].1 = less;
            } else {
                all.remove(chosen);
            }
            let after = owners(&all);
            for (before, after) in before.iter().zip(&after) {
                prop_assert!(before == after || *before == address);
            }
            prop_assert_eq!(less > 0, after.contains(&address));
        }

        #[test]
        fn shares_are_near_the_weights(all in endpoints()) {
            let mut counts: BTreeMap<SocketAddr, f64> = BTreeMap::new();
            for owner in owners(&all) {
                *counts.entry(owner).or_default() += 1.0;
            }
            let sum: f64 = all.iter().map(|(_, weight)| f64::from(*weight)).sum();
            for (address, weight) in &all {
                let share = PLACES as f64 * f64::from(*weight) / sum;
                // Six standard deviations of as many throws of a die.
                prop_assert!((counts[address] - share).abs() < 6.0 * share.sqrt());
            }
        }

        #[test]
        fn the_order_of_the_file_is_nothing(all in endpoints(), swaps in vec((0..30_usize, 0..30_usize), 30)) {
            let before = owners(&all);
            let mut other = all;
            let n = other.len();
            for (a, b) in swaps {
                other.swap(a % n, b % n);
            }
            prop_assert!(before == owners(&other));
        }
    }

    #[test]
    fn weights_count_beside_each_other_only() {
        let endpoints = |weights: [u32; 3]| {
            let address = |port| SocketAddr::from(([192, 0, 2, 1], port));
            (1..)
                .zip(weights)
                .map(|(port, weight)| (address(port), weight))
                .collect::<Vec<_>>()
        };
        assert!(owners(&endpoints([1, 2, 3])) == owners(&endpoints([10, 20, 30])));
        assert!(owners(&endpoints([0, 0, 0])) == owners(&endpoints([1, 1, 1])));
        let extreme = owners(&endpoints([u32::MAX, 1, 0]));
        assert!(extreme.iter().all(|owner| owner.port() == 1));
    }

    #[test]
    fn nobody_is_no_panic() {
        assert_eq!(Table::new(&[]).at(u64::MAX), 0);
    }
}

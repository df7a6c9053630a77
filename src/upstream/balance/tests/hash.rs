//! `{hash: KEY}`: whose keys move, and where all of them are for ever.

use super::*;

fn picks(endpoints: &[Endpoint], avoid: Option<usize>) -> Vec<SocketAddr> {
    let balancer = Balancer::new(&ways()[4], endpoints);
    (0..2000)
        .map(|key: u64| {
            let hash = Some(rendezvous::hash(&key.to_le_bytes()));
            let ask = Ask {
                hash,
                avoid,
                ..ask(key)
            };
            let picked = balancer.pick(endpoints, &AtomicUsize::new(0), &ask);
            endpoints[picked.unwrap()].state.address
        })
        .collect()
}

#[test]
fn the_keys_of_a_shunned_endpoint_and_no_others_spread_over_the_rest() {
    let those = endpoints(&[1; 5]);
    let before = picks(&those, None);
    let avoided = picks(&those, Some(2));
    those[2].state.connect_failed(NOW);
    let shunned = picks(&those, None);
    assert_eq!(avoided, shunned);
    let mut counts = [0; 5];
    for (before, after) in before.iter().zip(&shunned) {
        if before.port() == 3 {
            counts[usize::from(after.port()) - 1] += 1;
        } else {
            assert_eq!(before, after);
        }
    }
    assert_eq!(counts[2], 0);
    let spread = [0, 1, 3, 4].map(|i| counts[i]);
    assert!(spread.iter().all(|n| (60..140).contains(n)), "{counts:?}");
    those[2].state.connected();
    assert_eq!(before, picks(&those, None));
}

/// About one in n: the share of the one that comes or goes.
#[test]
fn one_of_n_moves_one_in_n() {
    for n in [2, 3, 10, 50] {
        let mut those = endpoints(&vec![1; n]);
        let before = picks(&those, None);
        those.remove(n / 2);
        let after = picks(&those, None);
        let moved = before.iter().zip(&after).filter(|(a, b)| a != b).count();
        let (share, moved) = (1.0 / n as f64, moved as f64 / 2000.0);
        assert!((moved - share).abs() < 0.25 * share + 0.01, "{n}: {moved}");
    }
}

/// Gateways of all versions send these keys there: who changes this moves every user's keys at the next upgrade.
/// Worked out by another program, with another implementation of XXH3.
#[test]
fn the_hash_is_fixed_for_ever() {
    let those = endpoints(&[1, 1, 2, 1]);
    let balancer = Balancer::new(&Way::Hash(Key::new(vec![Part::Path])), &those);
    let headers = HeaderMap::new();
    let picked = ["/", "/a", "/b", "/c", "/orders/17", "/é"].map(|path| {
        let facts = facts(path, &headers);
        let hash = balancer.hash(&facts, &mut Vec::new());
        let ask = Ask { hash, ..ask(0) };
        let picked = balancer.pick(&those, &AtomicUsize::new(0), &ask).unwrap();
        (hash.unwrap(), picked)
    });
    let expected = [
        (9_591_694_344_044_012_358, 3),
        (5_601_847_216_544_147_748, 0),
        (15_391_537_133_737_593_278, 2),
        (4_041_672_754_405_562_757, 1),
        (7_693_353_327_600_278_307, 2),
        (7_307_665_993_184_424_693, 0),
    ];
    assert_eq!(picked, expected);
    assert_eq!(sticky::token(address(9000)), 15_119_823_941_565_051_306);
}

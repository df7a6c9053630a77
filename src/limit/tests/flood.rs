//! An attacker with very many keys: bounded memory, nobody freed, the others as fast as before.

use super::*;

/// `check` visits a bounded number of slots, so time needs no clock here: `benches/` counts its instructions, and the
/// loop below would not end if a check cost what the flood holds.
#[test]
fn a_flood_of_keys_neither_frees_nor_evicts_a_limited_key_nor_a_steady_client() {
    let keys: u64 = scale(200_000, 10_000_000);
    let max_keys = keys / 10;
    let limiter = bounded(per_second(100, 100), max_keys);
    let (limited, steady) = (key(1 << 40), key(1 << 41));
    // 1 µs for each new key. The limited one asks on and on; the steady one keeps to half the rate.
    let (mut escaped, mut refused) = (admitted(&limiter, limited, 100, START), 0);
    let mut most_bytes = 0;
    for number in 1..=keys {
        let now = after(number * 1000);
        assert!(admits(&limiter, key(number), now), "a new key is full");
        escaped += u64::from(admits(&limiter, limited, now));
        if number % 20_000 == 0 {
            refused += u64::from(!admits(&limiter, steady, now));
            most_bytes = most_bytes.max(limiter.bytes());
        }
    }
    assert!(limiter.keys() <= max_keys);
    assert!(
        most_bytes <= max_keys * 32 + 64 * 1024,
        "{most_bytes} bytes for {max_keys} keys"
    );
    let law = 100 + keys * 1000 / 10_000_000;
    assert_eq!(escaped, law, "of a key with 100/s and a burst of 100");
    assert_eq!(refused, 0);
}

/// Nothing is ever full again in this flood: every new key costs a live one.
#[test]
fn a_flood_of_lasting_keys_costs_only_the_attacker() {
    let keys: u64 = scale(200_000, 10_000_000);
    let limiter = bounded(per_hour(100, 100), keys / 20);
    let limited: Vec<KeyId> = (0..50).map(|number| key((1 << 40) + number)).collect();
    for limited in &limited {
        assert_eq!(admitted(&limiter, *limited, 200, START), 100);
    }
    for number in 1..=keys {
        assert!(admits(&limiter, key(number), after(number)));
        let limited = limited[number as usize % limited.len()];
        assert!(
            !admits(&limiter, limited, after(number)),
            "freed by key {number}"
        );
    }
    assert_eq!(limiter.keys(), keys / 20);
    assert_eq!(limiter.evictions(), keys + 50 - keys / 20);
}

//! What is held, what is forgotten first, and what it costs.

use super::*;

#[test]
fn a_bucket_that_is_full_again_is_forgotten_and_costs_nobody_anything() {
    let limiter = bounded(per_second(1, 1), 100);
    for number in 0..100 {
        assert!(admits(&limiter, key(number), START));
    }
    assert_eq!(limiter.keys(), 100);
    // Half of them are used once more; at 2 s the others are full since a second.
    for number in 0..50 {
        assert!(admits(&limiter, key(number), after(SECOND + MILLISECOND)));
    }
    for number in 100..125 {
        assert!(admits(&limiter, key(number), after(2 * SECOND)));
    }
    assert_eq!(limiter.evictions(), 0);
    assert!((75..=100).contains(&limiter.keys()), "{}", limiter.keys());
    for number in 0..50 {
        assert!(
            !admits(&limiter, key(number), after(2 * SECOND)),
            "{number}"
        );
    }
}

#[test]
fn of_buckets_that_are_not_full_the_nearest_to_full_is_forgotten() {
    for max_keys in [1, 2, 3, 10, 30] {
        let limiter = bounded(per_hour(100, 100), max_keys);
        // The later ones have taken more.
        for number in 0..max_keys {
            assert!(limiter.check(key(number), 10 + number, START).admitted);
        }
        assert_eq!((limiter.keys(), limiter.evictions()), (max_keys, 0));
        assert!(limiter.check(key(1000), 90, START).admitted);
        assert_eq!((limiter.keys(), limiter.evictions()), (max_keys, 1));
        assert_eq!(limiter.look(key(0), START).left, 100, "{max_keys}");
        for number in 1..max_keys {
            assert_eq!(limiter.look(key(number), START).left, 90 - number);
        }
        assert_eq!(limiter.look(key(1000), START).left, 10);
    }
}

#[test]
fn a_limited_key_outlives_any_number_of_keys_that_are_less_limited() {
    for max_keys in [2, 16, 100, 5000] {
        let limiter = bounded(per_hour(10, 10), max_keys);
        assert_eq!(admitted(&limiter, key(0), 20, START), 10);
        for number in 1..10_000 {
            let now = after(number * 1000);
            assert!(admits(&limiter, key(number), now));
            assert!(limiter.keys() <= max_keys);
            assert!(
                !admits(&limiter, key(0), now),
                "freed by key {number} of {max_keys}"
            );
        }
        assert_eq!(limiter.evictions(), 9_999 - (max_keys - 1));
    }
}

#[test]
fn a_key_costs_less_than_32_bytes_all_told() {
    let limiter = bounded(per_hour(1, 1), 1_000_000);
    let empty = limiter.bytes();
    assert!(
        empty <= 16 * 1024 + 128 * super::super::limiter::shards() as u64,
        "{empty}"
    );
    let mut most = 0.0;
    for number in 0..scale(300_000, 1_000_000) {
        admits(&limiter, key(number), START);
        if number > 20_000 {
            let each = (limiter.bytes() - empty) as f64 / limiter.keys() as f64;
            most = f64::max(most, each);
        }
    }
    assert!(most <= 27.0, "{most}");
}

#[test]
fn memory_comes_back_when_keys_are_full() {
    let room = Arc::new(Room::new(PLENTY));
    let limiter = Limiter::new(per_second(1, 1), 1_000_000, room.clone(), START);
    let empty = limiter.bytes();
    for number in 0..50_000 {
        admits(&limiter, key(number), START);
    }
    let full = limiter.bytes();
    assert_eq!(room.used(), full);
    limiter.forget_full(after(SECOND - 1));
    assert_eq!(limiter.keys(), 50_000);
    limiter.forget_full(after(SECOND));
    assert_eq!((limiter.keys(), limiter.evictions()), (0, 0));
    assert!(
        limiter.bytes() < empty + (full - empty) / 8,
        "{} of {full}",
        limiter.bytes()
    );
    // One key's traffic alone would have done it too, a slot at a time, in its own shard.
    drop(limiter);
    assert_eq!(room.used(), 0);
}

#[test]
fn a_room_that_is_full_costs_old_keys_and_frees_no_limited_one() {
    let room = Arc::new(Room::new(256 * 1024));
    let limiter = Limiter::new(per_hour(10, 10), 1_000_000, room.clone(), START);
    assert_eq!(admitted(&limiter, key(0), 20, START), 10);
    for number in 1..20_000 {
        assert!(admits(&limiter, key(number), after(number)));
        assert!(
            !admits(&limiter, key(0), after(number)),
            "freed by key {number}"
        );
    }
    assert!(room.used() <= 260 * 1024, "{}", room.used());
    assert!(
        limiter.keys() > 5000 && limiter.evictions() > 5000,
        "{}",
        limiter.keys()
    );
    // Half of it is taken away while it runs.
    room.set(128 * 1024);
    for number in 20_000..30_000 {
        assert!(admits(&limiter, key(number), after(number)));
    }
    assert!(room.used() <= 132 * 1024, "{}", room.used());
    assert!(!admits(&limiter, key(0), after(30_000)));
    // None at all: each shard keeps its smallest page, and a key is still limited.
    room.set(0);
    for number in 30_000..40_000 {
        assert!(admits(&limiter, key(number), after(number)));
    }
    assert_eq!(admitted(&limiter, key(7), 20, after(40_000)), 10);
    assert!(
        limiter.bytes() <= 32 * 1024 + 1024 * super::super::limiter::shards() as u64,
        "{}",
        limiter.bytes()
    );
}

#[test]
fn a_lower_bound_of_keys_holds_when_enforce_returns() {
    let limiter = bounded(per_hour(100, 100), 10_000);
    for number in 0..10_000 {
        let cost = if number == 4711 { 100 } else { 1 + number % 50 };
        assert!(limiter.check(key(number), cost, START).admitted);
    }
    limiter.enforce(per_hour(100, 100), 100, after(1));
    assert_eq!((limiter.keys(), limiter.evictions()), (100, 9900));
    assert!(!admits(&limiter, key(4711), after(2)));
    limiter.enforce(per_hour(100, 100), 10_000, after(3));
    for number in 10_000..12_000 {
        assert!(admits(&limiter, key(number), after(4)));
    }
    assert_eq!(limiter.keys(), 2100);
}

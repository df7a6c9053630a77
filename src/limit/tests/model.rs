//! The lock of a shard and the epoch of the law under every schedule that loom can think of.
#![cfg(gateway_loom)]

use loom::thread;

use super::*;

fn small(quota: Quota, max_keys: u64) -> Arc<Limiter> {
    let room = Arc::new(Room::new(PLENTY));
    Arc::new(Limiter::with_shards(2, quota, max_keys, room, START))
}

#[test]
fn two_threads_on_one_key_get_what_is_there() {
    loom::model(|| {
        let limiter = small(per_hour(3, 3), 10);
        let other = limiter.clone();
        let thread = thread::spawn(move || admitted(&other, key(1), 2, START));
        let own = admitted(&limiter, key(1), 2, START);
        assert_eq!(own + thread.join().unwrap(), 3);
    });
}

#[test]
fn a_change_of_law_is_seen_whole_and_gains_nothing() {
    loom::model(|| {
        let limiter = small(per_hour(2, 2), 10);
        assert!(admits(&limiter, key(1), START));
        let other = limiter.clone();
        let thread = thread::spawn(move || admitted(&other, key(1), 4, START));
        limiter.enforce(per_hour(4, 4), 10, START);
        let passed = thread.join().unwrap() + admitted(&limiter, key(1), 4, START);
        // Half of two or half of four, or one of two and then nothing.
        assert!((1..=2).contains(&passed), "{passed}");
        assert_eq!(limiter.look(key(1), START).left, 0);
    });
}

#[test]
fn a_bound_of_keys_is_hard_while_two_threads_bring_new_ones() {
    loom::model(|| {
        let limiter = small(per_hour(1, 1), 1);
        let other = limiter.clone();
        let thread = thread::spawn(move || {
            assert!(admits(&other, key(1), START));
            assert!(other.keys() <= 1);
        });
        assert!(admits(&limiter, key(2), START));
        thread.join().unwrap();
        assert_eq!(limiter.keys(), 1);
    });
}

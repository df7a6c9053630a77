//! Many threads on one limiter: exact in number, whatever their clocks say.

use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use super::*;

const THREADS: u64 = 8;

fn on_threads<T: Send>(act: impl Fn(u64) -> T + Sync) -> Vec<T> {
    let start = Barrier::new(THREADS as usize);
    thread::scope(|scope| {
        let (act, start) = (&act, &start);
        let spawn = |number| {
            scope.spawn(move || {
                start.wait();
                act(number)
            })
        };
        let threads: Vec<_> = (0..THREADS).map(spawn).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    })
}

#[test]
fn l4_exactly_the_burst_is_admitted_however_many_ask_at_once() {
    let limiter = limiter(per_hour(1000, 1000));
    let counts = on_threads(|_| admitted(&limiter, key(1), 500, START));
    assert_eq!(counts.iter().sum::<u64>(), 1000);
}

#[test]
fn one_key_under_all_threads_gets_exactly_its_rate() {
    let limiter = limiter(per_second(1_000_000, 100));
    let clock = AtomicU64::new(0);
    let counts = on_threads(|_| {
        let mut passed = 0;
        for _ in 0..20_000 {
            // A quarter of a token comes for each ask. Threads read the clock, and are overtaken before they use it.
            let now = after(clock.fetch_add(250, Ordering::Relaxed));
            passed += u64::from(admits(&limiter, key(1), now));
        }
        passed
    });
    let elapsed = THREADS * 20_000 * 250 - 250;
    let law = 100 + elapsed / 1000;
    let passed: u64 = counts.iter().sum();
    assert!(passed <= law, "{passed} of {law}");
    // Four ask for each token. One is lost only while all threads carry stale times for longer than a burst lasts.
    assert!(passed * 100 >= law * 90, "{passed} of {law}");
}

#[test]
fn threads_that_insert_evict_and_change_laws_keep_the_books() {
    let limiter = bounded(per_hour(5, 5), 500);
    let laws = [per_hour(5, 5), per_hour(10, 5), per_hour(10, 20)];
    on_threads(|thread| {
        for step in 0..5000 {
            let now = after(step);
            match (thread, step % 100) {
                (0, 0) => limiter.enforce(laws[(step / 100) as usize % 3], 500 - step / 100, now),
                (1, 0) => limiter.forget_full(now),
                _ => {
                    let key = key(scatter(thread * 5000 + step) % 2000);
                    limiter.check(key, 1 + step % 3, now);
                    limiter.charge(key, step % 2, now);
                    limiter.give_back(key, step % 2, now);
                    limiter.refill(super::key(step % 700));
                }
            }
        }
    });
    limiter.enforce(laws[0], 100, after(5000));
    assert!(limiter.keys() <= 100, "{}", limiter.keys());
    // What is held is what is counted: forgetting everything leaves nothing.
    limiter.forget_full(Nanos(1 << 60));
    assert_eq!(limiter.keys(), 0);
}

#[test]
fn a_bound_of_keys_is_hard_under_all_threads() {
    let limiter = bounded(per_hour(1, 1), 64);
    let most = on_threads(|thread| {
        let mut most = 0;
        for step in 0..20_000 {
            limiter.check(key(thread * 20_000 + step), 1, after(step));
            most = most.max(limiter.keys());
        }
        most
    });
    assert!(most.iter().all(|most| *most <= 64), "{most:?}");
}

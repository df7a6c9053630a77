//! How long a check of a limit takes, by the clock: what caches and other threads cost is in no count of instructions.
//!
//! Each line is the median of rounds that take turns; a check makes its key of eight bytes, as the gateway does. Run it on a
//! machine that does nothing else: `cargo bench --bench limiter`.
#![allow(clippy::disallowed_methods, missing_docs)]

use std::hint::black_box;
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use tidegate::limit::{Limiter, Quota, QuotaFault, Room, Seed};
use tidegate::time::Nanos;

/// The allocator of the gateway itself.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const ROUNDS: usize = 9;
const CHECKS: u64 = 500_000;
const MILLION: u64 = 1_000_000;

/// What is measured.
struct Case {
    name: &'static str,
    /// The most that it should take, in nanoseconds.
    goal: Option<f64>,
    limiter: Limiter,
    /// The key of each check, by its number and the thread that makes it.
    key: fn(u64, u64) -> u64,
    threads: u64,
}

fn main() -> Result<(), QuotaFault> {
    let wide = Quota::new(1000, Duration::from_secs(3600), 1_000_000)?;
    let narrow = Quota::new(1, Duration::from_secs(3600), 1)?;
    let one = |_, _| 7;
    let case = |name, goal, (quota, keys), key, threads| Case {
        name,
        goal,
        limiter: filled(quota, keys),
        key,
        threads,
    };
    let cases = [
        case("a live key of one", Some(100.0), (wide, 1), one, 1),
        case("a key without tokens", None, (narrow, 10), one, 1),
        case(
            "a live key of a million",
            Some(250.0),
            (wide, MILLION),
            scattered,
            1,
        ),
        case(
            "new keys, one costing another",
            None,
            (wide, MILLION),
            new,
            1,
        ),
        case("one key, two threads", Some(400.0), (wide, 10), one, 2),
        case(
            "two keys, two threads",
            None,
            (wide, 10),
            |_, thread| thread,
            2,
        ),
    ];
    let mut took = vec![Vec::new(); cases.len()];
    for round in 0..ROUNDS as u64 {
        for (case, took) in cases.iter().zip(&mut took) {
            took.push(measure(case, round));
        }
    }
    println!("{:<32} {:>8} {:>8}", "a check of", "ns", "goal");
    for (case, took) in cases.iter().zip(&mut took) {
        took.sort_by(f64::total_cmp);
        let goal = case.goal.map_or(String::new(), |goal| format!("{goal:.0}"));
        println!("{:<32} {:>8.0} {goal:>8}", case.name, took[ROUNDS / 2]);
    }
    Ok(())
}

/// A limiter that holds so many keys, and no more than a million.
fn filled(quota: Quota, keys: u64) -> Limiter {
    let limiter = Limiter::new(quota, MILLION, Arc::new(Room::new(1 << 30)), Nanos(0));
    for number in 0..keys {
        limiter.check(identify(number), 1, Nanos(1));
    }
    limiter
}

fn identify(number: u64) -> tidegate::limit::KeyId {
    Seed::known(1, 2).identify(0, &number.to_le_bytes())
}

/// One of the million, far from the one before.
fn scattered(number: u64, _: u64) -> u64 {
    number.wrapping_mul(0x9E37_79B9_7F4A_7C15) % MILLION
}

/// One that was never there.
fn new(number: u64, _: u64) -> u64 {
    MILLION + number
}

/// Nanoseconds that each check of a thread takes, while all threads of the case make theirs.
fn measure(case: &Case, round: u64) -> f64 {
    let together = Barrier::new(case.threads as usize);
    let check_all = |thread| {
        together.wait();
        let begin = Instant::now();
        for number in round * CHECKS..(round + 1) * CHECKS {
            let key = identify((case.key)(number, thread));
            black_box(case.limiter.check(key, 1, Nanos(number * 50)));
        }
        begin.elapsed().as_nanos() as f64 / CHECKS as f64
    };
    thread::scope(|scope| {
        let others: Vec<_> = (1..case.threads)
            .map(|thread| scope.spawn(move || check_all(thread)))
            .collect();
        let own = check_all(0);
        let others = others.into_iter().filter_map(|other| other.join().ok());
        others.fold(own, f64::max)
    })
}

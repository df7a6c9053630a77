//! A quota that changes while its buckets live.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

const MAX_KEYS: u64 = 1000;

/// Enforces at a moment, and says what is left of one bucket.
fn left_after(limiter: &Limiter, quota: Quota, now: Nanos) -> u64 {
    limiter.enforce(quota, MAX_KEYS, now);
    limiter.look(key(1), now).left
}

#[test]
fn h2_the_same_quota_again_changes_nothing() {
    let quota = per_second(3, 7);
    let limiter = bounded(quota, MAX_KEYS);
    assert_eq!(admitted(&limiter, key(1), 9, START), 7);
    for step in 1..1000 {
        limiter.enforce(quota, MAX_KEYS, after(step));
    }
    let full = Duration::from_nanos(quota.fills_in());
    assert_eq!(limiter.look(key(1), START).full_in, full);
}

#[test]
fn h3_the_fill_ratio_is_kept_and_fractions_survive() {
    let limiter = bounded(per_hour(10, 10), MAX_KEYS);
    assert!(limiter.check(key(1), 4, START).admitted);
    assert_eq!(left_after(&limiter, per_hour(20, 20), START), 12);
    assert_eq!(left_after(&limiter, per_hour(5, 5), START), 3);
    // 1.8 of 3, which is 6 of 10 again.
    assert_eq!(left_after(&limiter, per_hour(3, 3), START), 1);
    assert_eq!(left_after(&limiter, per_hour(10, 10), START), 6);
    assert_eq!(left_after(&limiter, per_hour(1000, 1000), START), 600);
    assert_eq!(limiter.look(key(2), START).left, 1000);
}

#[test]
fn h3_a_new_rate_holds_at_once() {
    let limiter = bounded(per_second(10, 10), MAX_KEYS);
    assert_eq!(admitted(&limiter, key(1), 20, START), 10);
    limiter.enforce(per_second(5, 10), MAX_KEYS, START);
    assert_eq!(admitted(&limiter, key(1), 20, after(SECOND)), 5);
    // Also for a key that nobody asked for while the law changed, long after.
    limiter.enforce(per_second(1, 10), MAX_KEYS, after(SECOND));
    assert_eq!(admitted(&limiter, key(1), 20, after(4 * SECOND)), 3);
}

#[test]
fn nobody_is_locked_out_by_an_old_rate() {
    let limiter = bounded(per_hour(1, 5), MAX_KEYS);
    assert_eq!(admitted(&limiter, key(1), 20, START), 5);
    limiter.charge(key(1), 5, START);
    limiter.enforce(per_second(100, 50), MAX_KEYS, START);
    let wait = limiter.check(key(1), 1, START).wait;
    assert_eq!(wait, Duration::from_millis(510));
    // And waits that were promised do not become hours.
    let limiter = bounded(per_second(100, 1), MAX_KEYS);
    for _ in 0..1000 {
        assert!(
            limiter
                .reserve(key(1), 1, START, Duration::from_secs(10))
                .admitted
        );
    }
    limiter.enforce(per_second(1, 1), MAX_KEYS, START);
    let wait = limiter.check(key(1), 1, START).wait;
    assert!(wait <= Duration::from_secs(11), "{wait:?}");
}

#[test]
fn no_credit_for_the_past() {
    // An hour of nothing under a slow quota is not worth an hour of the quick one.
    let limiter = bounded(per_hour(1, 100), MAX_KEYS);
    assert!(limiter.check(key(1), 100, START).admitted);
    let later = after(HOUR.as_nanos() as u64);
    limiter.enforce(per_second(100, 100), MAX_KEYS, later);
    assert_eq!(admitted(&limiter, key(1), 100, later), 1);
}

#[test]
fn a_limit_of_nothing_forgives_no_debt() {
    let limiter = bounded(per_hour(10, 10), MAX_KEYS);
    assert!(limiter.check(key(1), 8, START).admitted);
    for nothing in [per_second(0, 0), per_second(10, 0)] {
        limiter.enforce(nothing, MAX_KEYS, after(1));
        assert!(!admits(&limiter, key(1), after(1)));
        assert_eq!(left_after(&limiter, per_hour(10, 10), after(1)), 2);
    }
}

#[test]
fn many_pages_are_converted_whether_they_are_asked_or_not() {
    let limiter = bounded(per_hour(10, 10), 100_000);
    for number in 0..30_000 {
        assert!(limiter.check(key(number), 1 + number % 10, START).admitted);
    }
    limiter.enforce(per_hour(1000, 1000), 100_000, START);
    limiter.enforce(per_hour(100, 100), 100_000, START);
    for number in 0..30_000 {
        assert_eq!(limiter.look(key(number), START).left, 90 - number % 10 * 10);
    }
}

/// Ten times the rate on one key for 20 s, while the quota changes every 50 ms: what is admitted beyond the law.
fn excess(quotas: &[Quota], every: u64) -> i128 {
    let limiter = bounded(quotas[0], MAX_KEYS);
    let quickest = quotas.iter().map(Quota::interval).min().unwrap();
    let largest = quotas.iter().map(Quota::burst).max().unwrap();
    let (mut passed, mut turn, mut came, mut in_force) = (0, 0, 0.0, quotas[0]);
    let (step, end) = (quickest / 10, 20 * SECOND);
    for now in (0..end).step_by(usize::try_from(step).unwrap()) {
        if now / every > turn {
            turn = now / every;
            in_force = quotas[turn as usize % quotas.len()];
            limiter.enforce(in_force, MAX_KEYS, after(now));
        }
        passed += i128::from(admits(&limiter, key(1), after(now)));
        came += step as f64 / in_force.interval() as f64;
    }
    // What comes in a window under the laws that are in force in it, and one bucket of the largest.
    let law = i128::from(largest) + came as i128;
    assert!(law <= i128::from(largest) + i128::from(end / quickest) + 1);
    // The limit still lets through what it promises.
    assert!(
        passed * 100 >= (came as i128) * 90,
        "{passed} of {law} for {quotas:?}"
    );
    passed - law
}

#[test]
fn a_hot_key_gains_nothing_while_the_quota_changes_every_50_ms() {
    let pairs = [
        [per_second(100, 100), per_second(200, 200)],
        [per_second(100, 100), per_second(101, 100)],
        [per_second(100, 10), per_second(100, 20)],
        [per_second(100, 1), per_second(100, 100)],
        [per_second(100, 10), per_second(50, 40)],
        [per_second(1000, 1000), per_second(900, 100)],
        [per_second(30, 7), per_second(90, 3)],
    ];
    for pair in &pairs {
        assert!(excess(pair, 50 * MILLISECOND) <= 0, "{pair:?}");
    }
    let three = [
        per_second(100, 5),
        per_second(100, 10),
        per_second(100, 20),
        per_second(100, 10),
    ];
    assert!(excess(&three, 50 * MILLISECOND) <= 0);
    let growing: Vec<Quota> = (0..400)
        .map(|turn| per_second(100, if turn % 2 == 0 { 10 } else { 11 + turn }))
        .collect();
    assert!(excess(&growing, 50 * MILLISECOND) <= 0);
}

#[test]
fn a_bucket_that_nobody_uses_comes_back_as_it_went() {
    for (large, small) in [(20, 10), (100, 1), (7, 3)] {
        let limiter = bounded(per_second(1, large), MAX_KEYS);
        assert!(limiter.check(key(1), large, START).admitted);
        let mut now = START;
        for turn in 0..20 {
            now = after((turn + 1) * 50 * MILLISECOND);
            limiter.enforce(
                per_second(1, if turn % 2 == 0 { small } else { large }),
                MAX_KEYS,
                now,
            );
        }
        // A second has passed: one token came, less what is lost while the bucket is small and no more than is whole.
        let fill = limiter.look(key(1), now);
        assert!(fill.left <= 1);
        let missing = fill.full_in.as_secs_f64() - (large - 1) as f64;
        assert!((-1e-6..=0.5).contains(&missing), "{missing}");
    }
}

fn quota() -> impl Strategy<Value = Quota> {
    let per = prop_oneof![Just(1_u64), Just(60), Just(3600)];
    (1_u64..2000, per, 1_u64..300).prop_map(|(tokens, per, burst)| {
        Quota::new(tokens, Duration::from_secs(per), burst).unwrap()
    })
}

proptest! {
    /// The one change that a reload makes: as full as before, to less than a token, and never more.
    #[test]
    fn one_change_keeps_the_ratio(old in quota(), new in quota(), taken in 0_u64..300, waited in 0_u64..SECOND) {
        let limiter = bounded(old, MAX_KEYS);
        limiter.check(key(1), taken.min(old.burst()), START);
        let before = limiter.look(key(1), after(waited)).full_in.as_nanos();
        limiter.enforce(new, MAX_KEYS, after(waited));
        let now = limiter.look(key(1), after(waited)).full_in.as_nanos();
        let exact = before * u128::from(new.fills_in()) / u128::from(old.fills_in());
        prop_assert!(now >= exact && now <= exact + 2, "{now} for {exact}");
    }

    /// Whatever the changes and the load: a fresh bucket of the largest burst, and what came in.
    #[test]
    fn changes_admit_no_more_than_the_largest_law(
        quotas in vec((1_u64..50, 1_u64..50), 2..5),
        steps in vec((0_u64..30, 0_u64..6, any::<prop::sample::Index>()), 1..200),
    ) {
        let quotas: Vec<Quota> = quotas.iter().map(|(rate, burst)| per_second(*rate, *burst)).collect();
        let limiter = bounded(quotas[0], MAX_KEYS);
        let (mut now, mut came, mut passed, mut in_force) = (0, 0.0, 0, quotas[0]);
        let largest = quotas.iter().map(Quota::burst).max().unwrap();
        passed += admitted(&limiter, key(1), 50, START);
        for (pause, asked, chosen) in steps {
            now += pause * MILLISECOND;
            came += (pause * MILLISECOND) as f64 / in_force.interval() as f64;
            passed += admitted(&limiter, key(1), asked, after(now));
            in_force = *chosen.get(&quotas);
            limiter.enforce(in_force, MAX_KEYS, after(now));
            prop_assert!(passed as f64 <= largest as f64 + came + 1e-6, "{passed} of {largest} and {came}");
        }
    }
}

//! One bucket: what is admitted, when the next is, and what refunds and late costs do.

use std::time::Duration;

use super::super::QuotaFault;
use super::*;

#[test]
fn l1_to_l3_a_burst_then_the_rate_then_never_more_than_the_burst() {
    let limiter = limiter(per_second(10, 20));
    assert_eq!(admitted(&limiter, key(1), 25, START), 20);
    for tick in 1..=50 {
        assert!(
            admits(&limiter, key(1), after(tick * 100 * MILLISECOND)),
            "{tick}"
        );
    }
    assert_eq!(admitted(&limiter, key(1), 25, after(65 * SECOND)), 20);
}

#[test]
fn l5_l8_twice_the_rate_gets_the_rate_and_refusals_cost_nothing() {
    let limiter = limiter(per_second(10, 20));
    let times = (0..200).map(|tick| after(tick * 50 * MILLISECOND));
    let passed = times.filter(|now| admits(&limiter, key(1), *now)).count();
    // 10 s, of which the last 50 ms bring nothing any more.
    assert_eq!(passed, 20 + 99);
}

#[test]
fn l6_the_wait_after_a_refusal_is_exact() {
    let limiter = limiter(Quota::new(1, Duration::from_secs(60), 1).unwrap());
    assert!(admits(&limiter, key(1), START));
    for second in [0, 1, 59] {
        let refused = limiter.check(key(1), 1, after(second * SECOND));
        assert!(!refused.admitted);
        assert_eq!(refused.wait, Duration::from_secs(60 - second));
    }
    assert!(!admits(&limiter, key(1), after(60 * SECOND - 1)));
    assert!(admits(&limiter, key(1), after(60 * SECOND)));
}

#[test]
fn l7_a_million_a_second_and_one_an_hour() {
    let quick = per_second(1_000_000, 1_000_000);
    assert_eq!((quick.interval(), quick.window_seconds()), (1000, 1));
    let limiter = limiter(quick);
    assert_eq!(admitted(&limiter, key(1), 1_000_001, START), 1_000_000);
    assert_eq!(admitted(&limiter, key(1), 3, after(2000)), 2);
    assert_eq!(per_second(600_000, 1).interval(), 1667);
    assert_eq!(per_hour(1, 100_000).window_seconds(), 360_000_000);
}

#[test]
fn l7_what_would_overflow_is_no_quota() {
    let new = |tokens, seconds, burst| Quota::new(tokens, Duration::from_secs(seconds), burst);
    assert_eq!(new(1, 3600, 5_124_096), Err(QuotaFault::TooSlow));
    assert_eq!(new(1, u64::MAX, 1), Err(QuotaFault::TooSlow));
    assert_eq!(new(1, 3600, u64::MAX), Err(QuotaFault::TooLarge));
    assert_eq!(new(1_000_000_001, 1, 1), Err(QuotaFault::TooFast));
    assert_eq!(new(1, 0, 1), Err(QuotaFault::TooFast));
    assert_eq!(new(0, 1, 1), Err(QuotaFault::NeverFills));
    let largest = new(1_000_000_000, 1, u64::from(u32::MAX)).unwrap();
    assert_eq!((largest.interval(), largest.burst()), (1, 4_294_967_295));
    // The slowest that there is, in debt, at the end of time.
    let slowest = new(1, 3600, 600_000).unwrap();
    let limiter = limiter(slowest);
    let late = Nanos(1 << 60);
    limiter.charge(key(1), u64::MAX, late);
    let refused = limiter.check(key(1), 600_000, late);
    assert_eq!(refused.wait, Duration::from_nanos(2 * slowest.fills_in()));
    assert!(
        limiter
            .check(key(1), 600_000, late.plus(refused.wait))
            .admitted
    );
}

#[test]
fn l11_costs() {
    let limiter = limiter(per_second(10, 20));
    for left in [15, 10, 5, 0] {
        let verdict = limiter.check(key(1), 5, START);
        assert_eq!((verdict.admitted, verdict.left), (true, left));
    }
    let refused = limiter.check(key(1), 5, START);
    assert_eq!((refused.admitted, refused.left), (false, 0));
    assert_eq!(refused.wait, Duration::from_millis(500));
    assert_eq!(refused.full_in, Duration::from_secs(2));
    // Free, and never to be had.
    assert!(limiter.check(key(1), 0, START).admitted);
    let refused = limiter.check(key(2), 21, START);
    assert_eq!(
        (refused.admitted, refused.left, refused.wait),
        (false, 20, Duration::MAX)
    );
    assert_eq!(limiter.check(key(2), u64::MAX, START).wait, Duration::MAX);
    assert!(limiter.check(key(2), 20, START).admitted);
}

#[test]
fn l14_nothing_is_admitted_by_a_limit_of_nothing() {
    for nothing in [per_second(0, 0), per_second(10, 0)] {
        let limiter = limiter(nothing);
        for now in [START, after(SECOND), Nanos(1 << 60)] {
            let refused = limiter.check(key(1), 1, now);
            assert_eq!(
                (refused.admitted, refused.left, refused.wait),
                (false, 0, Duration::MAX)
            );
            assert_eq!(limiter.look(key(1), now).wait_for_one, Duration::MAX);
        }
        limiter.charge(key(1), 3, START);
        limiter.give_back(key(1), 3, START);
        assert_eq!(nothing.window_seconds(), 0);
    }
}

#[test]
fn l15_keys_do_not_touch_each_other() {
    let limiter = limiter(per_hour(1, 1));
    for number in 0..1000 {
        assert!(admits(&limiter, key(number), START));
    }
    for number in 0..1000 {
        assert!(!admits(&limiter, key(number), START));
    }
    assert_eq!(limiter.keys(), 1000);
    assert!(limiter.refill(key(5)));
    assert!(!limiter.refill(key(5)));
    assert!(!limiter.refill(key(1001)));
    assert!(admits(&limiter, key(5), START));
}

#[test]
fn a_look_takes_nothing_and_tells_what_a_check_would() {
    let limiter = limiter(per_second(10, 2));
    let full = limiter.look(key(1), START);
    assert_eq!(
        (full.left, full.full_in, full.wait_for_one),
        (2, Duration::ZERO, Duration::ZERO)
    );
    assert_eq!(limiter.keys(), 0);
    assert_eq!(admitted(&limiter, key(1), 2, START), 2);
    let now = after(30 * MILLISECOND);
    let empty = limiter.look(key(1), now);
    assert_eq!((empty.left, empty.full_in), (0, Duration::from_millis(170)));
    assert_eq!(empty.wait_for_one, limiter.check(key(1), 1, now).wait);
    assert_eq!(empty.wait_for_one, Duration::from_millis(70));
}

#[test]
fn shaping_takes_tokens_that_are_still_to_come() {
    let limiter = limiter(per_second(10, 1));
    let patience = Duration::from_millis(250);
    let reserve = |now| limiter.reserve(key(1), 1, now, patience);
    for wait in [0, 100, 200] {
        let reserved = reserve(START);
        assert!(reserved.admitted);
        assert_eq!(reserved.wait, Duration::from_millis(wait));
    }
    // The fourth would wait 300 ms: it may come back in 50.
    let refused = reserve(START);
    assert_eq!(
        (refused.admitted, refused.wait),
        (false, Duration::from_millis(50))
    );
    assert!(!reserve(after(50 * MILLISECOND - 1)).admitted);
    // One gives up, and the next has its turn.
    limiter.give_back(key(1), 1, after(MILLISECOND));
    assert_eq!(reserve(after(MILLISECOND)).wait, Duration::from_millis(199));
    // Those who do not wait stand behind all who do.
    assert!(!admits(&limiter, key(1), after(300 * MILLISECOND - 1)));
    assert!(admits(&limiter, key(1), after(300 * MILLISECOND)));
    assert_eq!(
        limiter.reserve(key(2), 2, START, Duration::MAX).wait,
        Duration::MAX
    );
    assert!(limiter.reserve(key(2), 1, START, Duration::MAX).admitted);
    assert!(limiter.reserve(key(2), 1, START, Duration::MAX).admitted);
}

#[test]
fn a_refund_never_makes_more_than_full() {
    let limiter = limiter(per_second(10, 20));
    assert!(limiter.check(key(1), 5, START).admitted);
    limiter.give_back(key(1), 2, START);
    assert_eq!(limiter.look(key(1), START).left, 17);
    limiter.give_back(key(1), u64::MAX, START);
    limiter.give_back(key(2), 7, START);
    assert_eq!(admitted(&limiter, key(1), 25, START), 20);
    assert_eq!(admitted(&limiter, key(2), 25, START), 20);
}

#[test]
fn a_late_cost_may_make_a_debt_of_one_burst() {
    let limiter = limiter(per_second(10, 20));
    limiter.charge(key(1), 5, START);
    assert_eq!(limiter.look(key(1), START).left, 15);
    limiter.charge(key(1), 25, START);
    let refused = limiter.check(key(1), 1, START);
    assert_eq!(
        (refused.admitted, refused.wait),
        (false, Duration::from_millis(1100))
    );
    limiter.charge(key(1), u64::MAX, START);
    assert_eq!(
        limiter.check(key(1), 1, START).wait,
        Duration::from_millis(2100)
    );
    assert!(admits(&limiter, key(1), after(2100 * MILLISECOND)));
}

#[test]
fn a_clock_that_is_behind_another_neither_gives_nor_takes() {
    let limiter = limiter(per_second(1000, 10));
    assert_eq!(admitted(&limiter, key(1), 20, after(5 * MILLISECOND)), 10);
    // This thread looked at the clock 3 ms before the other one.
    let refused = limiter.check(key(1), 1, after(2 * MILLISECOND));
    assert_eq!(
        (refused.admitted, refused.wait),
        (false, Duration::from_millis(4))
    );
    assert!(admits(&limiter, key(1), after(6 * MILLISECOND)));
    // Full for the one whose clock is ahead, emptied by the one behind: nothing is left over for the first.
    assert!(limiter.look(key(1), after(SECOND)).full_in.is_zero());
    assert_eq!(
        admitted(&limiter, key(1), 20, after(SECOND - 5 * MILLISECOND)),
        10
    );
    assert!(!admits(&limiter, key(1), after(SECOND)));
}

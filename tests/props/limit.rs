//! `limit::Limiter` admits what plain governor and a naive log of the past admit.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use governor::clock::FakeRelativeClock;
use governor::{Quota as Plain, RateLimiter};
use proptest::collection::vec;
use proptest::prelude::*;
use tidegate::limit::{KeyId, Limiter, Quota, Room, Seed};
use tidegate::time::Nanos;

const SECOND: u64 = 1_000_000_000;

/// One use of one key: how long after the last, by which of three keys, at what cost.
#[derive(Clone, Debug)]
struct Use {
    pause: u64,
    key: usize,
    cost: u64,
}

/// Pauses around the time of a token, where mistakes of one nanosecond show.
fn uses(interval: u64) -> impl Strategy<Value = Vec<Use>> {
    let pause = prop_oneof![
        3 => Just(0),
        3 => 0..=interval,
        2 => interval.saturating_sub(1)..=interval + 1,
        1 => 0..=20 * interval,
    ];
    let one = (
        pause,
        0..3_usize,
        prop_oneof![4 => Just(1_u64), 1 => 0..12_u64],
    );
    vec(
        one.prop_map(|(pause, key, cost)| Use { pause, key, cost }),
        1..200,
    )
}

fn quota_and_uses() -> impl Strategy<Value = (Quota, Vec<Use>)> {
    let rate = prop_oneof![1..20_u64, 1..2_000_000_u64];
    let per = prop_oneof![Just(1_u64), Just(60), Just(3600), Just(86_400)];
    (rate, per, 1..30_u64).prop_flat_map(|(rate, per, burst)| {
        let quota = Quota::new(rate, Duration::from_secs(per), burst).unwrap();
        uses(quota.interval()).prop_map(move |uses| (quota, uses))
    })
}

fn limiter(quota: Quota) -> (Limiter, [KeyId; 3], Nanos) {
    let (room, seed, start) = (
        Arc::new(Room::new(1 << 30)),
        Seed::random(),
        Nanos(5 * SECOND),
    );
    let keys = [0, 1, 2].map(|number| seed.identify(1, &[number]));
    (Limiter::new(quota, 1000, room, start), keys, start)
}

/// All that was admitted, and the law said plainly: in no window more than the burst and what came in it.
#[derive(Default)]
struct Log(Vec<(u64, u64)>);

impl Log {
    fn admits(&mut self, quota: &Quota, cost: u64, now: u64) -> bool {
        let fits = self.0.iter().rev().try_fold(cost, |sum, (time, cost)| {
            let sum = sum + cost;
            let beyond = u128::from(sum.saturating_sub(quota.burst()));
            let came = u128::from(now - time);
            (beyond * u128::from(quota.interval()) <= came).then_some(sum)
        });
        let admitted = cost <= quota.burst() && (cost == 0 || fits.is_some());
        if admitted && cost > 0 {
            self.0.push((now, cost));
        }
        admitted
    }
}

proptest! {
    #[test]
    fn it_decides_as_plain_governor_does((quota, uses) in quota_and_uses()) {
        let (limiter, keys, start) = limiter(quota);
        let burst = NonZeroU32::new(u32::try_from(quota.burst()).unwrap()).unwrap();
        let plain = Plain::with_period(Duration::from_nanos(quota.interval())).unwrap().allow_burst(burst);
        let clock = FakeRelativeClock::default();
        let plain = [0, 1, 2].map(|_| RateLimiter::direct_with_clock(plain, clock.clone()));
        let mut now = start;
        for Use { pause, key, cost } in uses {
            now = Nanos(now.0 + pause);
            clock.advance(Duration::from_nanos(pause));
            let verdict = limiter.check(keys[key], cost, now);
            let Some(tokens) = NonZeroU32::new(u32::try_from(cost).unwrap()) else {
                prop_assert!(verdict.admitted);
                continue;
            };
            match plain[key].check_n(tokens) {
                Ok(Ok(())) => prop_assert!(verdict.admitted),
                Ok(Err(until)) => {
                    let wait = until.wait_time_from(governor::clock::Clock::now(&clock));
                    prop_assert_eq!((verdict.admitted, verdict.wait), (false, wait));
                }
                Err(_) => prop_assert_eq!((verdict.admitted, verdict.wait), (false, Duration::MAX)),
            }
        }
    }

    #[test]
    fn it_decides_as_the_log_of_the_past_does((quota, uses) in quota_and_uses()) {
        let (limiter, keys, start) = limiter(quota);
        let mut logs: [Log; 3] = Default::default();
        let mut now = start;
        for Use { pause, key, cost } in uses {
            now = Nanos(now.0 + pause);
            let verdict = limiter.check(keys[key], cost, now);
            prop_assert_eq!(verdict.admitted, logs[key].admits(&quota, cost, now.0));
        }
    }

    /// Who waits exactly as long as he was told is admitted, and a nanosecond earlier he is not.
    #[test]
    fn a_wait_is_exact((quota, uses) in quota_and_uses()) {
        let (limiter, keys, start) = limiter(quota);
        let mut now = start;
        for Use { pause, key, cost } in uses {
            now = Nanos(now.0 + pause);
            let verdict = limiter.check(keys[key], cost, now);
            prop_assert!(verdict.left <= quota.burst());
            if verdict.admitted || verdict.wait == Duration::MAX {
                prop_assert_eq!(verdict.admitted, cost <= quota.burst());
                continue;
            }
            let then = now.plus(verdict.wait);
            prop_assert!(!limiter.check(keys[key], cost, Nanos(then.0 - 1)).admitted);
            prop_assert!(limiter.check(keys[key], cost, then).admitted);
            now = then;
        }
    }

    /// What was taken and given back, in any order with looks and zero costs, leaves what was.
    #[test]
    fn a_refund_undoes((quota, uses) in quota_and_uses()) {
        let (with, keys, start) = limiter(quota);
        let without = Limiter::new(quota, 1000, Arc::new(Room::new(1 << 30)), start);
        let mut now = start;
        for (turn, Use { pause, key, cost }) in uses.into_iter().enumerate() {
            now = Nanos(now.0 + pause);
            if turn % 3 == 0 {
                if with.check(keys[key], cost, now).admitted {
                    with.give_back(keys[key], cost, now);
                }
            } else {
                let expected = without.check(keys[key], cost, now);
                prop_assert_eq!(with.check(keys[key], cost, now), expected);
            }
            prop_assert_eq!(with.look(keys[key], now), without.look(keys[key], now));
        }
    }

    /// A client that keeps below the rate is never refused, however it spaces its requests.
    #[test]
    fn who_keeps_below_the_rate_is_never_refused(rate in 1..1000_u64, spaces in vec(0..1000_u64, 1..300)) {
        let quota = Quota::new(rate, Duration::from_secs(1), 1).unwrap();
        let (limiter, keys, mut now) = limiter(quota);
        for space in spaces {
            prop_assert!(limiter.check(keys[0], 1, now).admitted);
            now = Nanos(now.0 + quota.interval() + space);
        }
    }
}

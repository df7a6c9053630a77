//! Who serves: laws and cases, and what a roster remembers.

use std::cell::Cell;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

const NOW: Nanos = Nanos(100_000_000_000);
const SECOND: Duration = Duration::from_secs(1);

fn entry(bars: Bars) -> Entry {
    Entry {
        weight: 1,
        bars,
        until: NEVER,
        came: Nanos(0),
    }
}

fn entries() -> impl Strategy<Value = Vec<Entry>> {
    let bars = prop_oneof![2 => Just(0_u8), 3 => 0..4_u8].prop_map(|bits| {
        let bar = |bit: Bars, n: u8| bit.when(bits & n != 0);
        bar(Bars::EJECTED, 1).and(bar(Bars::UNHEALTHY, 2))
    });
    let came = prop_oneof![Just(0), 90_000_000_000..=100_000_000_000_u64];
    let weight = prop_oneof![Just(1), 0..5_u32];
    let entry = (bars, weight, came, prop::option::of(1..10_u64));
    let entry = entry.prop_map(|(bars, weight, came, until)| Entry {
        weight,
        bars,
        until: until.map_or(NEVER, |seconds| NOW.plus(SECOND * seconds as u32)),
        came: Nanos(came),
    });
    vec(entry, 0..9)
}

fn policy() -> impl Strategy<Value = ServingPolicy> {
    (prop::option::of(0..=1_000_000_u32), any::<bool>()).prop_map(|(panic_below, is_slow)| {
        ServingPolicy {
            panic_below,
            slow_start: is_slow.then_some(SECOND * 10),
        }
    })
}

proptest! {
    /// The laws of this file.
    #[test]
    fn who_serves(entries in entries(), policy in policy(), seed: u64) {
        let (serving, until) = work_out(&entries, policy, NOW);
        prop_assert!(until > NOW);
        let unweighed = entries.iter().all(|e| e.weight == 0);
        let counts = |e: &Entry| unweighed || e.weight > 0;
        let free = entries.iter().filter(|e| counts(e) && e.bars.is_empty()).count();
        let all = entries.iter().filter(|e| counts(e)).count();
        let panics = policy.panic_below.is_some_and(|p| (free as f64) < f64::from(p) / 1e6 * all as f64);
        for (i, entry) in entries.iter().enumerate() {
            let serves = serving.takes(i);
            let allowed = counts(entry) && match (panics, free) {
                (true, _) => true,
                (false, 0) => entry.bars.is_within(Bars::EJECTED),
                (false, _) => entry.bars.is_empty(),
            };
            prop_assert!(serves == allowed || matches!(serving, Serving::Everybody) && !counts(entry));
            if let Serving::Part(part) = &serving {
                prop_assert_eq!(part.weight(i) > 0, serves);
                prop_assert!(serves || !part.admits(i, seed));
            }
        }
        if let Serving::Part(part) = &serving {
            prop_assert!(part.takes(part.draw().one(seed)), "whom nobody may draw");
            prop_assert!((0..entries.len()).any(|i| part.part(i) == 1.0), "somebody serves in full");
        }
    }
}

#[test]
fn nobody_is_nobody_and_an_ejection_is_never_the_reason() {
    let nobody = |bars: &[Bars]| {
        let entries: Vec<Entry> = bars.iter().map(|bars| entry(*bars)).collect();
        let (serving, _) = work_out(&entries, ServingPolicy::default(), NOW);
        matches!(serving, Serving::Nobody)
    };
    assert!(nobody(&[]));
    assert!(nobody(&[Bars::UNHEALTHY]));
    assert!(nobody(&[
        Bars::UNHEALTHY,
        Bars::UNHEALTHY.and(Bars::EJECTED)
    ]));
    assert!(!nobody(&[Bars::EJECTED]));
    assert!(!nobody(&[Bars::UNHEALTHY, Bars::EJECTED]));
}

#[test]
fn below_panic_all_are_used_again() {
    let serving = |panic_below: u32| {
        let bars = [Bars::NONE, Bars::EJECTED, Bars::UNHEALTHY, Bars::EJECTED];
        let policy = ServingPolicy {
            panic_below: Some(panic_below),
            slow_start: None,
        };
        let (serving, _) = work_out(&bars.map(entry), policy, NOW);
        [0, 1, 2, 3].map(|i| serving.takes(i))
    };
    assert_eq!(serving(250_000), [true, false, false, false]);
    assert_eq!(serving(250_001), [true, true, true, true]);
}

#[test]
fn a_share_grows_from_a_tenth_and_only_beside_others() {
    let share = |came: [u64; 2], after: u64| {
        let now = NOW.plus(Duration::from_millis(after));
        let entries = came.map(|came| Entry {
            came: Nanos(came),
            ..entry(Bars::NONE)
        });
        let policy = ServingPolicy {
            panic_below: None,
            slow_start: Some(SECOND * 10),
        };
        match work_out(&entries, policy, now).0 {
            Serving::Part(part) => part.part(1),
            _ => 1.0,
        }
    };
    let back = [0, NOW.0];
    let near = |is: f64, expected: f64| assert!((is - expected).abs() < 0.01, "{is} {expected}");
    near(share(back, 0), 0.1);
    near(share(back, 500), 0.1);
    near(share(back, 5000), 0.5);
    near(share(back, 9000), 0.9);
    near(share(back, 10_000), 1.0);
    near(share([NOW.0, NOW.0], 1000), 1.0);
    // Of two that grow, the first one has all that it can have.
    near(share([NOW.0, NOW.0 + 4_000_000_000], 5000), 0.2);
}

#[test]
fn a_growing_share_takes_more_and_more_of_the_same_requests() {
    let part = |after: u64| {
        let came = Nanos(NOW.0);
        let entries = [
            entry(Bars::NONE),
            Entry {
                came,
                ..entry(Bars::NONE)
            },
        ];
        let policy = ServingPolicy {
            panic_below: None,
            slow_start: Some(SECOND * 10),
        };
        let now = NOW.plus(Duration::from_millis(after));
        match work_out(&entries, policy, now).0 {
            Serving::Part(part) => part,
            other => panic!("{other:?}"),
        }
    };
    let (early, late) = (part(2000), part(8000));
    let seeds = (0..10_000_u64).map(|n| n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 7);
    let taken = |part: &Part| seeds.clone().filter(|seed| part.admits(1, *seed)).count();
    assert!((1800..2200).contains(&taken(&early)), "{}", taken(&early));
    assert!((7800..8200).contains(&taken(&late)), "{}", taken(&late));
    assert!(
        seeds
            .clone()
            .all(|seed| !early.admits(1, seed) || late.admits(1, seed))
    );
}

#[test]
fn what_is_known_is_known_until_something_changes() {
    let (roster, epoch, asked) = (Roster::default(), AtomicU64::new(0), Cell::new(0));
    let look = |now: u64, made: (Serving, Nanos)| {
        let make = || {
            asked.set(asked.get() + 1);
            made
        };
        roster.look(&epoch, Nanos(now), make, |_| ());
        asked.get()
    };
    assert!(!roster.is_full_in(0));
    assert_eq!(look(1, (Serving::Nobody, Nanos(10))), 1);
    assert_eq!(look(9, (Serving::Nobody, Nanos(10))), 1);
    assert_eq!(
        look(10, (Serving::Everybody, Nanos(20))),
        2,
        "its time is over"
    );
    assert!(!roster.is_full_in(0), "not for ever");
    epoch.store(1, Release);
    assert_eq!(
        look(11, (Serving::Everybody, NEVER)),
        3,
        "something changed"
    );
    assert!(roster.is_full_in(1));
    assert_eq!(look(1 << 60, (Serving::Nobody, NEVER)), 3);
    assert!(!roster.is_full_in(2));
}

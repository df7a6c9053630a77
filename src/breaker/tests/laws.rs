//! Whatever happens in whatever order: what a breaker never does.

use std::collections::HashMap;

use proptest::prelude::*;

use super::*;
use crate::breaker::machine::{End, Event, Machine, Phase, TICK, Ticket};
use crate::breaker::windows::{Moment, SURE_TO_REACH, Windows};
use crate::breaker::{Cause, Forced};

#[derive(Clone, Copy, Debug)]
enum Act {
    Admit,
    /// The n-th of the permits that are out, and how it ended.
    Settle(usize, Verdict, bool),
    Drop(usize),
    Pass(u64),
    Force(Forced),
}

fn any_act() -> impl Strategy<Value = Act> {
    let verdict = prop::sample::select(vec![
        Verdict::Success,
        Verdict::Failure,
        Verdict::Failure,
        Verdict::Neutral,
    ]);
    let forced = prop::sample::select(vec![Forced::No, Forced::No, Forced::Open, Forced::Closed]);
    prop_oneof![
        8 => Just(Act::Admit),
        8 => (0..8_usize, verdict, any::<bool>()).prop_map(|(n, v, slow)| Act::Settle(n, v, slow)),
        1 => (0..8_usize).prop_map(Act::Drop),
        3 => (0..700_u64).prop_map(Act::Pass),
        1 => forced.prop_map(Act::Force),
    ]
}

prop_compose! {
    fn any_policy()(
        consecutive in prop::option::of(1..6_u32),
        failures in prop::option::of((1..=1_000_000_u32, 1..6_u32)),
        slow in prop::option::of((1..=1_000_000_u32, 1..6_u32)),
        open_for in 1..2000_u64,
        doubled in 0..4_u32,
        successes in 1..5_u32,
        probes in 1..4_u32,
    ) -> Policy {
        let rate = |(per_million, min_requests)| Rate {
            per_million,
            window: Duration::from_secs(1),
            min_requests,
        };
        let mut policy = defaults();
        policy.thresholds = Thresholds {
            consecutive_failures: consecutive,
            open_for: Duration::from_millis(open_for),
            max_open_for: Duration::from_millis(open_for << doubled),
            half_open_successes: successes,
            half_open_probes: probes,
        };
        policy.failure_rate = failures.map(rate);
        policy.slow_rate = slow.map(|slow| (rate(slow), Duration::from_millis(100)));
        policy
    }
}

proptest! {
    #[test]
    fn no_path_skips_half_open_no_probe_is_too_many_and_a_hand_holds(
        policy in any_policy(),
        acts in prop::collection::vec(any_act(), 1..400),
    ) {
        let mut game = Game::new(policy.clone());
        let mut out: Vec<Permit> = Vec::new();
        let mut forced = Forced::No;
        let mut opened_at = None;
        for act in acts {
            let moves = game.moves.len();
            let before = game.kind();
            match act {
                Act::Admit => match game.admit() {
                    Ok(permit) => {
                        prop_assert!(forced != Forced::Open);
                        if before == Kind::Open {
                            let (at, least): (Nanos, Duration) = opened_at.unwrap();
                            prop_assert!(game.now.since(at) >= least, "too early");
                        }
                        prop_assert_eq!(permit.is_probe(), game.kind() == Kind::HalfOpen);
                        out.push(permit);
                    }
                    Err(_) => prop_assert!(before != Kind::Closed),
                },
                Act::Settle(n, verdict, slow) if !out.is_empty() => {
                    let permit = out.swap_remove(n % out.len());
                    let took = Duration::from_millis(if slow { 200 } else { 10 });
                    game.settle_after(permit, verdict, took);
                }
                Act::Drop(n) if !out.is_empty() => drop(out.swap_remove(n % out.len())),
                Act::Settle(..) | Act::Drop(_) => {}
                Act::Pass(millis) => game.pass(millis),
                Act::Force(to) => {
                    forced = to;
                    let moved = game.state.force(to, &policy, game.now);
                    game.moves.extend(moved.map(|moved| *moved));
                }
            }
            match forced {
                Forced::No => {}
                Forced::Open => prop_assert_eq!(game.kind(), Kind::Open),
                Forced::Closed => prop_assert_eq!(game.kind(), Kind::Closed),
            }
            for moved in &game.moves[moves..] {
                prop_assert_eq!(moved.from, before);
                let is_lawful = match (moved.from, moved.to, moved.cause) {
                    (_, _, Cause::Forced) => true,
                    (Kind::Closed, Kind::Open, cause) => matches!(
                        cause,
                        Cause::ConsecutiveFailures | Cause::FailureRate | Cause::SlowRate
                    ),
                    (Kind::Open, Kind::HalfOpen, cause) => cause == Cause::Timer,
                    (Kind::HalfOpen, Kind::Open, cause) => cause == Cause::ProbeFailed,
                    (Kind::HalfOpen, Kind::Closed, cause) => cause == Cause::ProbesSucceeded,
                    _ => false,
                };
                prop_assert!(is_lawful, "{:?}", moved);
                if moved.to == Kind::Open {
                    let least = moved.open_for.unwrap_or(Duration::ZERO);
                    if moved.cause != Cause::Forced {
                        let tick = Duration::from_nanos(TICK);
                        prop_assert!(least + tick > policy.thresholds.open_for);
                    }
                    opened_at = Some((game.now, least));
                }
            }
            prop_assert!(game.moves.len() <= moves + 1);
            let (under_way, _) = game.state.view(&policy, game.now).probes;
            let in_flight = out.iter().filter(|permit| permit.is_probe()).count() as u32;
            prop_assert!(under_way <= in_flight);
            prop_assert!(in_flight <= policy.thresholds.half_open_probes);
        }
    }

    /// Whatever the machine: an event of another generation leaves it as it is.
    #[test]
    fn what_began_in_another_generation_moves_nothing(
        phase in prop_oneof![
            (0..9_u32, any::<bool>()).prop_map(|(failures, doubtful)| Phase::Closed { failures, doubtful }),
            (0..9_u64, 0..9_u32).prop_map(|(n, level)| Phase::Open { until: Nanos(n << 30), level }),
            (1..9_u32, 0..9_u32).prop_map(|(probes, successes)| Phase::HalfOpen { probes, successes, level: 1 }),
        ],
        (own, other) in (0..50_u32, 0..50_u32),
        failed in any::<bool>(),
        probe in any::<bool>(),
    ) {
        prop_assume!(own != other);
        let machine = Machine { phase, forced: Forced::No, generation: own };
        let end = End { failed, rate: Some(Cause::FailureRate), doubtful: true };
        for event in [
            Event::Ended { generation: other, end },
            Event::Probed { generation: other, failed },
            Event::GivenBack(Ticket { generation: other, probe }),
        ] {
            let step = machine.step(event, &defaults().thresholds, Nanos(1));
            prop_assert_eq!(step.next, machine);
            prop_assert_eq!(step.cause, None);
        }
    }

    /// Against a list of everything that was counted: never more than there was in the window, nor less than there was
    /// in 31/32 of it.
    #[test]
    fn a_window_counts_what_was_within_it(
        window in 100..5000_u64,
        steps in prop::collection::vec((0..2_usize, 0..400_u64, any::<bool>(), 0..3_u32), 1..200),
    ) {
        let windows = Windows::new(2);
        let length = Duration::from_millis(window);
        let (mut now, mut generation) = (Nanos(5_000_000_000), 0);
        let mut seen: Vec<(Nanos, u32, bool)> = Vec::new();
        for (worker, pause, bad, turn) in steps {
            now = now.plus(Duration::from_millis(pause));
            if turn == 0 && pause % 7 == 0 {
                generation += 1;
            }
            windows.record(worker, Moment::new(now, length, generation), bad);
            seen.push((now, generation, bad));
            let sum = windows.sum(Moment::new(now, length, generation));
            let within = |time: Duration| {
                let all = seen.iter().filter(|(at, of, _)| *of == generation && now.since(*at) < time);
                (all.clone().count() as u64, all.filter(|(_, _, bad)| *bad).count() as u64)
            };
            let (most, least) = (within(length), within(length * 31 / 32 - Duration::from_nanos(64)));
            prop_assert!(sum.total <= most.0 && sum.bad <= most.1, "{:?} {:?}", sum, most);
            prop_assert!(sum.total >= least.0 && sum.bad >= least.1, "{:?} {:?}", sum, least);
        }
    }
}

#[test]
fn a_full_bucket_keeps_its_share() {
    let windows = Windows::new(1);
    let moment = Moment::new(Nanos(1), Duration::from_secs(3200), 3);
    for number in 0..400_000_u32 {
        windows.record(0, moment, number % 4 == 0);
    }
    let sum = windows.sum(moment);
    assert!(sum.total >= u64::from(SURE_TO_REACH));
    let share = sum.bad as f64 / sum.total as f64;
    assert!((0.24..0.26).contains(&share), "{share}");
}

#[test]
fn words_are_those_of_the_contract() {
    assert_eq!(Kind::ALL.map(Kind::word), ["closed", "open", "half_open"]);
    let causes: HashMap<&str, usize> = Cause::ALL.iter().map(|c| (c.word(), *c as usize)).collect();
    assert_eq!(causes.len(), 7);
    assert!(Cause::ALL.iter().enumerate().all(|(n, c)| *c as usize == n));
    assert!(Kind::ALL.iter().enumerate().all(|(n, k)| *k as usize == n));
}

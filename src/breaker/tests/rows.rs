//! Row by row; where a row speaks of real sockets, `tests/gateway/breaker` has it.

use super::*;
use crate::breaker::{Cause, Forced};

#[test]
fn the_machine_of_the_contract_is_the_default() {
    let mut game = Game::new(defaults());
    game.calls("ffff");
    assert_eq!(game.kind(), Kind::Closed);
    game.calls("f");
    assert_eq!(game.kind(), Kind::Open);
    game.pass(59_990);
    assert!(!game.call(Verdict::Success));
    game.pass(20);
    // One success of two.
    game.calls("s");
    assert_eq!(game.kind(), Kind::HalfOpen);
    game.calls("s");
    assert_eq!(game.kind(), Kind::Closed);
    game.calls("fffff");
    game.pass(60_010);
    game.calls("f");
    assert_eq!(game.kind(), Kind::Open);
    let told: Vec<(Kind, Cause)> = game.moves.iter().map(|m| (m.to, m.cause)).collect();
    assert_eq!(
        told,
        [
            (Kind::Open, Cause::ConsecutiveFailures),
            (Kind::HalfOpen, Cause::Timer),
            (Kind::Closed, Cause::ProbesSucceeded),
            (Kind::Open, Cause::ConsecutiveFailures),
            (Kind::HalfOpen, Cause::Timer),
            (Kind::Open, Cause::ProbeFailed),
        ]
    );
    assert_eq!(game.moves[0].consecutive, 5);
    let open_for = game.moves[0].open_for.unwrap();
    assert!(open_for <= Duration::from_secs(60) && open_for > Duration::from_millis(59_998));
}

#[test]
fn b1_fewer_than_min_requests_say_nothing() {
    let mut game = Game::new(by_rate());
    game.calls("fffffffff");
    assert_eq!(game.kind(), Kind::Closed);
}

#[test]
fn b2_exactly_the_threshold_opens_after_the_tenth() {
    for calls in ["ssssfffff", "sssssffff"] {
        let mut game = Game::new(by_rate());
        game.calls(calls);
        assert_eq!(game.kind(), Kind::Closed);
        // Whatever the tenth is: with four failures so far it is one, with five it is none.
        game.calls(if calls.matches('f').count() == 5 {
            "s"
        } else {
            "f"
        });
        assert_eq!(game.kind(), Kind::Open);
        assert!(!game.call(Verdict::Success));
        let told = game.moves[0];
        assert_eq!((told.failures.bad, told.failures.total), (5, 10));
        assert_eq!(told.cause, Cause::FailureRate);
    }
}

#[test]
fn b3_below_the_threshold_nothing_opens() {
    let mut game = Game::new(by_rate());
    game.calls("ffffssssss");
    assert_eq!(game.kind(), Kind::Closed);
}

#[test]
fn b4_the_order_of_the_failures_does_not_matter() {
    for calls in ["fffffsssss", "sssssfffff", "fsfsfsfsfs", "sfsfsfsfsf"] {
        let mut game = Game::new(by_rate());
        game.calls(calls);
        assert_eq!(game.kind(), Kind::Open, "{calls}");
    }
}

#[test]
fn b5_old_failures_have_left_the_window() {
    let mut game = Game::new(by_rate());
    game.calls("fffff");
    game.pass(1500);
    game.calls("ssss");
    game.pass(600);
    // The five failures are older than two seconds now.
    game.calls("ssssss");
    game.calls("ffff");
    assert_eq!(game.kind(), Kind::Closed);
    let view = game.state.view(&game.policy, game.now);
    assert_eq!((view.failures.bad, view.failures.total), (4, 14));
}

#[test]
fn b6_after_the_window_min_requests_apply_anew() {
    let mut game = Game::new(by_rate());
    game.calls("sssssssssf");
    game.pass(2000);
    game.calls("f");
    assert_eq!(game.kind(), Kind::Closed);
    game.calls("fffffffff");
    assert_eq!(game.kind(), Kind::Open);
}

#[test]
fn b7_no_loss_and_no_double_count_at_the_borders_of_buckets() {
    // Ten calls 180 ms apart: all within two seconds, each in a bucket of its own.
    for offset in 0..70 {
        let mut game = Game::new(by_rate());
        game.pass(offset);
        for (number, call) in ["f", "s", "f", "s", "f", "s", "f", "s", "f"]
            .iter()
            .enumerate()
        {
            game.calls(call);
            let view = game.state.view(&game.policy, game.now);
            assert_eq!(view.failures.total, number as u64 + 1);
            game.pass(180);
        }
        assert_eq!(game.kind(), Kind::Closed);
        game.calls("s");
        assert_eq!(game.kind(), Kind::Open, "from {offset} ms on");
    }
}

#[test]
fn b8_a_success_ends_a_row_of_failures() {
    let mut game = Game::new(defaults());
    game.calls("ffffsffff");
    assert_eq!(game.kind(), Kind::Closed);
    game.calls("f");
    assert_eq!(game.kind(), Kind::Open);
}

fn by_slowness() -> Policy {
    let mut policy = by_rate();
    let slow = policy.failure_rate.take();
    policy.slow_rate = slow.map(|rate| (rate, Duration::from_millis(200)));
    policy
}

#[test]
fn b9_slow_answers_open_it_although_each_succeeded() {
    let mut game = Game::new(by_slowness());
    for _ in 0..10 {
        assert!(game.call_for(Verdict::Success, Duration::from_millis(250)));
    }
    assert_eq!(game.kind(), Kind::Open);
    assert_eq!(game.moves[0].cause, Cause::SlowRate);
    let mut game = Game::new(by_slowness());
    for _ in 0..100 {
        // No slower than that is not slower.
        assert!(game.call_for(Verdict::Success, Duration::from_millis(200)));
    }
    assert_eq!(game.kind(), Kind::Closed);
}

#[test]
fn b10_slow_and_failed_counts_once_in_each_rate() {
    let mut policy = by_rate();
    policy.slow_rate = policy
        .failure_rate
        .map(|rate| (rate, Duration::from_millis(200)));
    let mut game = Game::new(policy);
    for _ in 0..4 {
        assert!(game.call_for(Verdict::Failure, Duration::from_millis(250)));
    }
    let view = game.state.view(&game.policy, game.now);
    assert_eq!((view.failures.bad, view.failures.total), (4, 4));
    assert_eq!((view.slow.bad, view.slow.total), (4, 4));
}

#[test]
fn b13_b36_a_client_that_leaves_says_nothing() {
    let mut game = Game::new(defaults());
    game.calls("ffff");
    game.calls("nnnnnnnn");
    let left = game.admit().unwrap();
    drop(left);
    assert_eq!(game.kind(), Kind::Closed);
    game.calls("f");
    game.pass(60_010);
    // The probe's client leaves: another request becomes the probe.
    for _ in 0..5 {
        let probe = game.admit().unwrap();
        assert!(probe.is_probe() && game.admit().is_err());
        drop(probe);
    }
    game.calls("nnnn");
    assert_eq!(game.kind(), Kind::HalfOpen);
    game.calls("ss");
    assert_eq!(game.kind(), Kind::Closed);
}

#[test]
fn b22_b26_it_opens_once_and_late_results_move_nothing() {
    let mut game = Game::new(defaults());
    let permits: Vec<Permit> = (0..100).map(|_| game.admit().unwrap()).collect();
    let mut permits = permits.into_iter();
    for permit in permits.by_ref().take(50) {
        game.settle(permit, Verdict::Failure);
    }
    assert_eq!(game.moves.len(), 1);
    let until = game.state.view(&game.policy, game.now).next_probe;
    game.pass(1000);
    for (index, permit) in permits.enumerate() {
        let verdict = [Verdict::Failure, Verdict::Success][index % 2];
        game.settle(permit, verdict);
    }
    assert_eq!(game.moves.len(), 1);
    let left = game.state.view(&game.policy, game.now).next_probe;
    assert_eq!(left, until.map(|until| until - Duration::from_secs(1)));
}

#[test]
fn a_late_failure_of_the_closed_time_fails_no_probe() {
    let mut game = Game::new(defaults());
    let late: Vec<Permit> = (0..3).map(|_| game.admit().unwrap()).collect();
    let mut late = late.into_iter();
    game.calls("fffff");
    game.pass(60_010);
    let probe = game.admit().unwrap();
    game.settle(late.next().unwrap(), Verdict::Failure);
    assert_eq!(game.kind(), Kind::HalfOpen);
    game.settle(probe, Verdict::Success);
    game.settle(late.next().unwrap(), Verdict::Success);
    assert_eq!(game.kind(), Kind::HalfOpen, "only probes count");
    game.calls("s");
    assert_eq!(game.kind(), Kind::Closed);
    game.calls("ffff");
    game.settle(late.next().unwrap(), Verdict::Failure);
    assert_eq!(game.kind(), Kind::Closed);
}

#[test]
fn b23_what_is_left_is_told() {
    let mut game = Game::new(defaults());
    game.calls("fffff");
    game.pass(20_000);
    let left = game.admit().err().and_then(|refused| refused.left).unwrap();
    assert!(left <= Duration::from_secs(40) && left > Duration::from_millis(39_998));
}

#[test]
fn b28_the_time_doubles_up_to_its_most_and_begins_anew_after_a_close() {
    let mut policy = defaults();
    policy.thresholds.open_for = Duration::from_secs(1);
    policy.thresholds.max_open_for = Duration::from_secs(5);
    let mut game = Game::new(policy);
    game.calls("fffff");
    let mut told = Vec::new();
    for _ in 0..4 {
        let open_for = game.moves.last().and_then(|moved| moved.open_for).unwrap();
        told.push(open_for.as_secs_f64().round() as u64);
        game.pass(open_for.as_millis() as u64 + 1);
        game.calls("f");
    }
    assert_eq!(told, [1, 2, 4, 5]);
    game.pass(5010);
    game.calls("ss");
    game.calls("fffff");
    let open_for = game.moves.last().and_then(|moved| moved.open_for).unwrap();
    assert!(open_for <= Duration::from_secs(1));
}

#[test]
fn b31_exactly_as_many_probes_as_are_allowed() {
    let mut game = Game::new(by_rate());
    game.calls("ffffffffff");
    game.pass(1010);
    let asked: Vec<_> = (0..50).map(|_| game.admit()).collect();
    let passed: Vec<usize> = (0..50).filter(|i| asked[*i].is_ok()).collect();
    assert_eq!(passed, [0, 1, 2]);
    // Nobody knows when there is a place.
    assert!(asked.into_iter().flatten().count() == 3);
    assert_eq!(game.kind(), Kind::HalfOpen);
}

#[test]
fn b32_a_breaker_that_closes_has_forgotten() {
    let mut game = Game::new(by_rate());
    game.calls("ffffffffff");
    game.pass(1010);
    game.calls("sss");
    assert_eq!(game.kind(), Kind::Closed);
    let view = game.state.view(&game.policy, game.now);
    assert_eq!((view.failures.bad, view.failures.total), (0, 0));
    // The ten failures are younger than the window, and of another time.
    game.calls("fffffffff");
    assert_eq!(game.kind(), Kind::Closed);
    game.calls("f");
    assert_eq!(game.kind(), Kind::Open);
}

#[test]
fn b33_b34_b38_one_failed_probe_opens_it_for_a_full_time_and_all_probes_are_back() {
    let mut game = Game::new(by_rate());
    game.calls("ffffffffff");
    game.pass(1010);
    let probes: Vec<Permit> = (0..3).map(|_| game.admit().unwrap()).collect();
    let mut probes = probes.into_iter();
    game.settle(probes.next().unwrap(), Verdict::Success);
    game.settle(probes.next().unwrap(), Verdict::Failure);
    assert_eq!(game.kind(), Kind::Open);
    game.pass(990);
    assert!(game.admit().is_err());
    game.pass(20);
    // The third of the earlier probes still hangs at the upstream: that has three with two more.
    let again: Vec<Permit> = (0..2).map(|_| game.admit().unwrap()).collect();
    assert!(game.admit().is_err());
    drop(probes);
    let last = game.admit().unwrap();
    assert!(game.admit().is_err());
    drop((again, last));
    let all: Vec<Permit> = (0..3).map(|_| game.admit().unwrap()).collect();
    assert!(game.admit().is_err());
    drop(all);
}

/// Probes that hang keep their places over re-openings; while all are taken it stays open, and asks to be asked again.
#[test]
fn probes_that_hang_do_not_pile_up() {
    let mut policy = by_rate();
    policy.thresholds.half_open_probes = 2;
    let mut game = Game::new(policy);
    game.calls("ffffffffff");
    game.pass(1010);
    let mut hang = vec![game.admit().unwrap()];
    game.calls("f");
    game.pass(1010);
    hang.push(game.admit().unwrap());
    assert!(!game.call(Verdict::Failure));
    game.settle(hang.pop().unwrap(), Verdict::Failure);
    game.policy.thresholds.half_open_probes = 1;
    game.pass(1010);
    let moves = game.moves.len();
    assert_eq!(game.admit().unwrap_err().left, Some(Duration::ZERO));
    assert!(!game.state.would_admit(&game.policy, game.now));
    assert_eq!((game.kind(), game.moves.len()), (Kind::Open, moves));
    drop(hang);
    game.calls("sss");
    assert_eq!(game.kind(), Kind::Closed);
}

#[test]
fn b37_a_slow_probe_has_failed() {
    let mut game = Game::new(by_slowness());
    for _ in 0..10 {
        game.call_for(Verdict::Success, Duration::from_millis(250));
    }
    game.pass(1010);
    game.call_for(Verdict::Success, Duration::from_millis(250));
    assert_eq!(game.kind(), Kind::Open);
    assert_eq!(game.moves.last().map(|m| m.cause), Some(Cause::ProbeFailed));
}

#[test]
fn a_changed_threshold_holds_for_the_counts_that_are_kept() {
    let mut game = Game::new(defaults());
    game.calls("fff");
    game.policy.thresholds.consecutive_failures = Some(4);
    game.calls("f");
    assert_eq!(game.kind(), Kind::Open);
    let mut game = Game::new(by_rate());
    game.calls("ssssssfff");
    if let Some(rate) = &mut game.policy.failure_rate {
        rate.per_million = 400_000;
    }
    game.calls("f");
    assert_eq!(game.kind(), Kind::Open);
}

#[test]
fn a_hand_holds_it_and_what_it_was_comes_back() {
    let mut game = Game::new(defaults());
    let force = |game: &mut Game, forced| {
        let moved = game.state.force(forced, &game.policy, game.now);
        game.moves.extend(moved.map(|moved| *moved));
    };
    force(&mut game, Forced::Open);
    game.pass(1_000_000);
    assert_eq!(game.admit().err(), Some(Refused { left: None }));
    assert_eq!(game.kind(), Kind::Open);
    force(&mut game, Forced::Closed);
    game.calls("ffffffffff");
    assert_eq!(game.kind(), Kind::Closed);
    force(&mut game, Forced::No);
    // What failed under the hand is forgotten.
    game.calls("ffff");
    assert_eq!(game.kind(), Kind::Closed);
    game.calls("f");
    // An open one that was held closed is open again for what is left.
    force(&mut game, Forced::Closed);
    game.pass(30_000);
    game.calls("s");
    force(&mut game, Forced::No);
    assert_eq!(game.kind(), Kind::Open);
    assert!(game.admit().is_err());
    game.pass(30_010);
    let probe = game.admit().unwrap();
    // The probe of before the hand says nothing after it.
    force(&mut game, Forced::Open);
    force(&mut game, Forced::No);
    game.settle(probe, Verdict::Failure);
    game.calls("ss");
    assert_eq!(game.kind(), Kind::Closed);
    let causes = game.moves.iter().filter(|m| m.cause == Cause::Forced);
    let to: Vec<Kind> = causes.map(|moved| moved.to).collect();
    let (open, closed) = (Kind::Open, Kind::Closed);
    assert_eq!(to, [open, closed, closed, open, open]);
}

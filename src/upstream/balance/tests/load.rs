//! How loads spread, in virtual time.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::*;

/// So many clients that ask again as soon as they are answered; how many answers each endpoint gave in `seconds`,
/// when it takes `millis` for one.
fn run(way: &Way, weights: &[u32], millis: &[u64], clients: u64, seconds: u64) -> Vec<u64> {
    let endpoints = endpoints(weights);
    let balancer = Balancer::new(way, &endpoints);
    let turn = AtomicUsize::new(0);
    let mut counts = vec![0; weights.len()];
    // When each is answered: by whom, and how long that took.
    let mut answers: BinaryHeap<Reverse<(u64, u64, Option<usize>)>> = (0..clients)
        .map(|client| Reverse((client * 1000, 0, None)))
        .collect();
    let mut random = 0;
    while let Some(Reverse((now, took, by))) = answers.pop() {
        if now > seconds * 1_000_000_000 {
            break;
        }
        let moment = NOW.plus(Duration::from_nanos(now));
        if let Some(by) = by {
            endpoints[by].state.leave();
            let took = Duration::from_nanos(took);
            endpoints[by].state.latency.observe(moment, took);
            counts[by] += 1;
        }
        random += 1;
        let ask = Ask {
            now: moment,
            ..ask(random)
        };
        let picked = balancer.pick(&endpoints, &turn, &ask).unwrap();
        endpoints[picked].state.enter();
        // Ten per cent more or less.
        let took = millis[picked] * (900_000 + mix(random, 5) % 200_000);
        answers.push(Reverse((now + took, took, Some(picked))));
    }
    counts
}

fn share(counts: &[u64], of: usize) -> f64 {
    counts[of] as f64 / counts.iter().sum::<u64>() as f64
}

/// U5.
#[test]
fn least_requests_gives_a_slow_endpoint_its_share() {
    let counts = run(&Way::LeastRequests, &[1, 1], &[10, 90], 40, 20);
    assert!((0.08..0.13).contains(&share(&counts, 1)), "{counts:?}");
    let counts = run(
        &Way::LeastRequests,
        &[1, 1, 1, 1],
        &[10, 10, 10, 100],
        40,
        20,
    );
    assert!(share(&counts, 3) < 0.06, "{counts:?}");
}

#[test]
fn weights_hold_under_load() {
    for way in [Way::LeastRequests, Way::Latency] {
        for clients in [1, 8, 80] {
            let counts = run(&way, &[3, 1], &[10, 10], clients, 20);
            let share = share(&counts, 0);
            assert!((0.7..0.8).contains(&share), "{way:?} {clients}: {counts:?}");
        }
    }
}

#[test]
fn latency_prefers_the_faster_and_tries_the_slower_again() {
    for clients in [1, 4] {
        let counts = run(&Way::Latency, &[1, 1, 1], &[5, 5, 200], clients, 60);
        assert!(share(&counts, 2) < 0.01, "{clients}: {counts:?}");
        assert!(counts[2] >= 2, "{clients}: {counts:?}");
        assert!(
            (0.4..0.6).contains(&share(&counts, 0)),
            "{clients}: {counts:?}"
        );
    }
}

/// One that nobody knows gets one attempt, however many ask, until it is known what became of that.
#[test]
fn an_endpoint_without_samples_is_tried_once_at_a_time() {
    let endpoints = endpoints(&[1, 1, 1]);
    for known in &endpoints[..2] {
        known.state.latency.observe(NOW, Duration::from_millis(5));
        (0..30).for_each(|_| known.state.enter());
    }
    let balancer = Balancer::new(&Way::Latency, &endpoints);
    let turn = AtomicUsize::new(0);
    let picked = (0..100).filter(|random| {
        let picked = balancer.pick(&endpoints, &turn, &ask(*random)).unwrap();
        endpoints[picked].state.enter();
        picked == 2
    });
    assert_eq!(picked.count(), 1);
}

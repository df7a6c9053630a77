//! Laws of all balancers.

mod cookies;
mod hash;
mod load;
mod part;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderValue, Method};
use proptest::collection::vec;
use proptest::prelude::*;

use super::super::endpoint::EndpointState;
use super::*;
use crate::http::key::Part;

/// Long enough after the start that a connect may have failed before.
const NOW: Nanos = Nanos(60_000_000_000);

fn endpoints(weights: &[u32]) -> Vec<Endpoint> {
    (1..)
        .zip(weights)
        .map(|(port, weight)| Endpoint {
            state: Arc::new(EndpointState::new(address(port), 0, port.into(), 1)),
            weight: *weight,
            authority: HeaderValue::from_static("example.com"),
            name: None,
            secure: None,
            sibling: None,
            probe: None,
        })
        .collect()
}

fn address(port: u16) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 1], port))
}

fn ask(random: u64) -> Ask {
    Ask {
        now: NOW,
        random: mix(random, 1),
        hash: None,
        avoid: None,
    }
}

fn facts<'a>(path: &'a str, headers: &'a HeaderMap) -> Facts<'a> {
    Facts {
        client: [127, 0, 0, 1].into(),
        host: b"",
        path,
        query: None,
        method: &Method::GET,
        headers,
        route: "",
        connection: 0,
        subject: b"",
    }
}

fn ways() -> [Way; 6] {
    [
        Way::RoundRobin,
        Way::LeastRequests,
        Way::Random,
        Way::Latency,
        Way::Hash(Key::new(vec![Part::Path])),
        sticky(),
    ]
}

fn sticky() -> Way {
    Way::StickyCookie(Sticky {
        name: "gate".into(),
        ttl: None,
    })
}

/// What there is to know of an endpoint: its weight, is it shunned, its load, milliseconds that it took if it was tried.
type Told = (u32, bool, u32, Option<u64>);

fn told() -> impl Strategy<Value = Told> {
    let weight = prop_oneof![Just(0), Just(1), 0..10_u32, any::<u32>()];
    let took = proptest::option::of(1..5_u64);
    (weight, prop::bool::weighted(0.3), 0..4_u32, took)
}

fn endpoints_as(told: &[Told]) -> Vec<Endpoint> {
    let weights: Vec<u32> = told.iter().map(|(weight, ..)| *weight).collect();
    let endpoints = endpoints(&weights);
    for (endpoint, (_, is_shunned, in_flight, took)) in endpoints.iter().zip(told) {
        if *is_shunned {
            endpoint.state.connect_failed(NOW);
        }
        (0..*in_flight).for_each(|_| endpoint.state.enter());
        if let Some(took) = took {
            let took = Duration::from_millis(*took);
            endpoint.state.latency.observe(NOW, took);
        }
    }
    endpoints
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// What no balancer may do, whatever it is asked.
    #[test]
    fn nobody_is_picked_whom_another_could_stand_in_for(
        told in vec(told(), 0..8),
        asked in vec((any::<u64>(), any::<Option<u64>>(), any::<Option<u8>>(), any::<usize>()), 8),
    ) {
        let endpoints = endpoints_as(&told);
        let unweighed = endpoints.iter().all(|e| e.weight == 0);
        let takes = |i: &usize| unweighed || endpoints[*i].weight > 0;
        for way in ways() {
            let balancer = Balancer::new(&way, &endpoints);
            for (random, hash, avoid, turn) in asked.clone() {
                let avoid = avoid.map(|avoid| usize::from(avoid) % 9);
                // Half of the tokens are of somebody.
                let own = endpoints.get(turn % 16).map(|e| sticky::token(e.state.address));
                let ask = Ask { now: NOW, random, hash: own.or(hash), avoid };
                let pick = || balancer.pick(&endpoints, &AtomicUsize::new(turn), &ask);
                let Some(picked) = pick() else {
                    prop_assert!(endpoints.is_empty());
                    continue;
                };
                prop_assert_eq!(pick(), Some(picked), "more than its arguments decide");
                prop_assert!(takes(&picked));
                let others = || (0..endpoints.len()).filter(takes).filter(|i| Some(*i) != avoid);
                prop_assert!(Some(picked) != avoid || others().next().is_none());
                let is_shunned = |i: usize| endpoints[i].state.is_shunned(NOW);
                prop_assert!(!is_shunned(picked) || others().all(is_shunned));
            }
        }
    }

    /// Of those that serve, each gets its share, whatever is wrong with others.
    #[test]
    fn weights_hold_in_the_long_run(
        weights in vec(0..6_u32, 1..6), shunned: prop::sample::Index, is_shunned: bool,
    ) {
        prop_assume!(weights.iter().any(|weight| *weight > 0));
        let endpoints = endpoints(&weights);
        let mut shares: Vec<f64> = weights.iter().map(|w| f64::from(*w)).collect();
        let shunned = shunned.index(weights.len());
        if is_shunned && shares.iter().sum::<f64>() > shares[shunned] {
            endpoints[shunned].state.connect_failed(NOW);
            shares[shunned] = 0.0;
        }
        let sum: f64 = shares.iter().sum();
        for way in ways() {
            let balancer = Balancer::new(&way, &endpoints);
            let turn = AtomicUsize::new(0);
            let mut counts = vec![0.0; weights.len()];
            for random in 0..PICKS {
                let hash = matches!(way, Way::Hash(_)).then(|| mix(random, 2));
                let ask = Ask { hash, ..ask(random) };
                counts[balancer.pick(&endpoints, &turn, &ask).unwrap()] += 1.0;
            }
            // Of those who compare two, who is shunned gives its part to whom it was compared with.
            let compares = matches!(way, Way::LeastRequests | Way::Latency | Way::StickyCookie(_));
            if compares && shares[shunned] == 0.0 && weights[shunned] > 0 {
                prop_assert!(counts[shunned] == 0.0);
                continue;
            }
            for (count, share) in counts.iter().zip(&shares) {
                let expected = PICKS as f64 * share / sum;
                let allowed = 1.0 + 6.0 * expected.sqrt();
                prop_assert!((count - expected).abs() <= allowed, "{:?} {:?}", way, counts);
            }
        }
    }
}

const PICKS: u64 = 3000;

/// U3, over workers too: whoever asks, the turn is one.
#[test]
fn round_robin_is_exact_over_all_workers() {
    let endpoints = endpoints(&[1, 1, 1]);
    let balancer = Balancer::new(&Way::RoundRobin, &endpoints);
    let turn = AtomicUsize::new(0);
    let counts = [const { AtomicUsize::new(0) }; 3];
    std::thread::scope(|scope| {
        for worker in 0..4 {
            let (endpoints, balancer, turn, counts) = (&endpoints, &balancer, &turn, &counts);
            scope.spawn(move || {
                for random in 0..75 {
                    let picked = balancer.pick(endpoints, turn, &ask(worker * 100 + random));
                    counts[picked.unwrap()].fetch_add(1, Relaxed);
                }
            });
        }
    });
    assert_eq!(counts.map(AtomicUsize::into_inner), [100, 100, 100]);
}

/// What is passed over takes a turn more, so its share goes to all others alike.
#[test]
fn round_robin_spreads_the_turns_of_a_shunned_endpoint() {
    let endpoints = endpoints(&[1, 1, 1, 1]);
    endpoints[1].state.connect_failed(NOW);
    let balancer = Balancer::new(&Way::RoundRobin, &endpoints);
    let turn = AtomicUsize::new(0);
    let picked: Vec<usize> = (0..6)
        .map(|random| balancer.pick(&endpoints, &turn, &ask(random)).unwrap())
        .collect();
    assert_eq!(picked, [0, 2, 3, 0, 2, 3]);
}

#[test]
fn a_shunned_endpoint_comes_back_after_a_second() {
    let endpoints = endpoints(&[1, 1]);
    endpoints[0].state.connect_failed(NOW);
    for way in [
        Way::RoundRobin,
        Way::LeastRequests,
        Way::Random,
        Way::Latency,
    ] {
        let balancer = Balancer::new(&way, &endpoints);
        let turn = AtomicUsize::new(0);
        let is_picked = |after: u64| {
            (0..50).any(|random| {
                let now = NOW.plus(Duration::from_millis(after));
                let ask = Ask { now, ..ask(random) };
                balancer.pick(&endpoints, &turn, &ask) == Some(0)
            })
        };
        assert_eq!((is_picked(999), is_picked(1000)), (false, true), "{way:?}");
    }
}

//! Names and their addresses in snapshots: which endpoints they give, and which state survives when they change.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use proptest::prelude::*;

use super::Snapshot;
use super::carry::KEPT_FOR;
use super::compile::{Ground, compile};
use super::readdress::readdress;
use crate::config::{self, Config};
use crate::time::Nanos;
use crate::upstream::balance::Ask;
use crate::upstream::endpoint::EndpointState;
use crate::upstream::names::Addresses;

const FILE: &str = "
listeners: [{ bind: 127.0.0.1:8080 }]
routes:
  - { match: { path: /one }, upstream: one }
  - { match: { path: /two }, upstream: two }
  - { match: { path: /both }, upstream: { one: 1, two: 2 } }
upstreams:
  one: { endpoints: ['http://a:80', { url: 'http://b:80', weight: 3 }, 'http://10.0.0.1:80'] }
  two: { endpoints: ['http://b:81'] }
  fixed: { endpoints: ['http://10.0.0.9:80'] }
";

fn config(text: &str) -> Config {
    config::parse_text("test.yaml", text, &|_| None)
        .unwrap_or_else(|problems| panic!("{}", config::render(&problems)))
        .config
}

fn ground(seconds: u64) -> Ground {
    Ground {
        workers: 2,
        connections: 100,
        now: Nanos(seconds * 1_000_000_000),
    }
}

fn addresses(names: &[(&str, &[&str])]) -> Addresses {
    let ips = |list: &[&str]| list.iter().map(|ip| ip.parse().unwrap()).collect();
    let names = names
        .iter()
        .map(|(name, list)| (Arc::from(*name), ips(list)));
    names.collect()
}

/// Address, weight, name and sibling of every endpoint.
type Row = (String, u32, Option<String>, Option<u32>);

fn rows(snapshot: &Snapshot, upstream: usize) -> Vec<Row> {
    let endpoints = snapshot.upstreams[upstream].endpoints.iter();
    endpoints
        .map(|e| {
            let name = e.name.as_ref().map(ToString::to_string);
            (e.state.label.clone(), e.weight, name, e.sibling)
        })
        .collect()
}

fn row(address: &str, weight: u32, name: &str, sibling: Option<u32>) -> Row {
    let name = (!name.is_empty()).then(|| name.to_owned());
    (address.to_owned(), weight, name, sibling)
}

#[test]
fn a_name_gives_one_endpoint_for_each_address_and_families_take_turns() {
    let known = addresses(&[
        ("a", &["10.0.1.1", "10.0.1.2", "10.0.1.3", "fd00::1"]),
        ("b", &["10.0.0.1", "10.0.1.2", "fd00::1", "fd00::2"]),
    ]);
    let snapshot = compile(&config(FILE), &known, None, ground(0));
    assert_eq!(
        rows(&snapshot, 0),
        [
            row("[fd00::1]:80", 4, "a", Some(1)),
            row("10.0.1.1:80", 1, "a", Some(0)),
            row("10.0.1.2:80", 4, "a", Some(0)),
            row("10.0.1.3:80", 1, "a", Some(0)),
            // What is known already is left out, but for its weight.
            row("10.0.0.1:80", 4, "b", Some(5)),
            row("[fd00::2]:80", 3, "b", Some(4)),
        ]
    );
    assert_eq!(rows(&snapshot, 1).len(), 4);
    let endpoints = &snapshot.upstreams[0].endpoints;
    assert!(endpoints.iter().all(|e| {
        let own = e.name.as_deref().unwrap();
        e.authority.to_str().unwrap() == format!("{own}:80")
    }));
    assert_eq!(rows(&snapshot, 2), [row("10.0.0.9:80", 1, "", None)]);
}

#[test]
fn a_name_without_an_address_gives_no_endpoint() {
    let snapshot = compile(&config(FILE), &Addresses::default(), None, ground(0));
    assert_eq!(rows(&snapshot, 0), [row("10.0.0.1:80", 1, "", None)]);
    assert!(rows(&snapshot, 1).is_empty());
    let ask = Ask {
        now: Nanos(1),
        random: 7,
        hash: None,
        avoid: None,
    };
    assert_eq!(snapshot.upstreams[1].pick(&ask), None);
}

#[test]
fn changed_addresses_cost_only_the_upstreams_that_they_are_of() {
    let config = config(FILE);
    let known = addresses(&[("a", &["10.0.1.1"]), ("b", &["10.0.2.1"])]);
    let first = compile(&config, &known, None, ground(0));
    assert!(readdress(&config, &known, &first, ground(1)).is_none());
    let known = addresses(&[("a", &["10.0.1.2"]), ("b", &["10.0.2.1"])]);
    let second = readdress(&config, &known, &first, ground(1)).unwrap();
    assert_eq!(second.generation, first.generation);
    assert!(Arc::ptr_eq(&first.table, &second.table));
    assert!(Arc::ptr_eq(&first.routes, &second.routes));
    let shared = |i: usize| Arc::ptr_eq(&first.upstreams[i], &second.upstreams[i]);
    assert_eq!([0, 1, 2].map(shared), [false, true, true]);
    assert_eq!(rows(&second, 0)[0], row("10.0.1.2:80", 1, "a", None));
    // The file may have been taken up in another order since, for that means the same.
    let mut swapped = config.clone();
    swapped.upstreams.reverse();
    let third = readdress(&swapped, &Addresses::default(), &second, ground(2)).unwrap();
    assert_eq!(rows(&third, 0), [row("10.0.0.1:80", 1, "", None)]);
    assert!(rows(&third, 1).is_empty());
    assert_eq!(rows(&third, 2), rows(&first, 2));
}

#[test]
fn an_endpoint_that_dns_took_away_is_kept_for_ten_minutes() {
    let config = config(FILE);
    let (with, without) = (addresses(&[("b", &["10.0.2.1"])]), Addresses::default());
    let first = compile(&config, &with, None, ground(0));
    let state = first.upstreams[1].endpoints[0].state.clone();
    let second = readdress(&config, &without, &first, ground(10)).unwrap();
    let is_kept = |snapshot: &Snapshot, seconds| {
        let mut alive = snapshot.carry.endpoints.alive(ground(seconds).now);
        alive.any(|(_, other)| Arc::ptr_eq(other, &state))
    };
    assert!(is_kept(&second, 609) && !is_kept(&second, 610));
    // A reload meanwhile changes nothing of that.
    let reloaded = compile(&config, &without, Some(&second), ground(20));
    assert_eq!(reloaded.generation, 2);
    assert!(is_kept(&reloaded, 609) && !is_kept(&reloaded, 610));
    let back = readdress(&config, &with, &reloaded, ground(500)).unwrap();
    assert!(Arc::ptr_eq(&back.upstreams[1].endpoints[0].state, &state));
}

/// Which addresses the two names have.
fn any_addresses() -> impl Strategy<Value = Addresses> {
    let some = || prop::collection::btree_set(1_u8..7, 0..5);
    (some(), some()).prop_map(|(a, b)| {
        // Of both families, and some addresses are of both names.
        let ip = |n: u8| -> IpAddr {
            let text = if n.is_multiple_of(2) {
                format!("10.0.0.{n}")
            } else {
                format!("fd00::{n}")
            };
            text.parse().unwrap()
        };
        let names = [("a", a), ("b", b)].into_iter();
        names
            .map(|(name, list)| (Arc::from(name), list.into_iter().map(ip).collect()))
            .collect()
    })
}

type States = BTreeMap<(String, SocketAddr), Arc<EndpointState>>;

fn states(snapshot: &Snapshot) -> States {
    let upstreams = snapshot.upstreams.iter();
    upstreams
        .flat_map(|u| {
            u.endpoints
                .iter()
                .map(|e| ((u.name.clone(), e.state.address), e.state.clone()))
        })
        .collect()
}

proptest! {
    /// For any A and B: whoever is in both keeps its state, and B made from A is B but for the state.
    #[test]
    fn state_survives(
        steps in prop::collection::vec((any_addresses(), 1_u64..400, any::<bool>()), 1..12),
    ) {
        let config = config(FILE);
        let mut current = compile(&config, &Addresses::default(), None, ground(0));
        let mut seen: HashMap<(String, SocketAddr), (Arc<EndpointState>, u64)> = HashMap::new();
        let mut now = 0;
        for (known, pause, reloads) in steps {
            now += pause;
            // Who is in `current` is gone from now on at the earliest.
            for (key, state) in states(&current) {
                seen.insert(key, (state, now));
            }
            let next = if reloads {
                Some(compile(&config, &known, Some(&current), ground(now)))
            } else {
                readdress(&config, &known, &current, ground(now))
            };
            let fresh = compile(&config, &known, None, ground(now));
            let changes = (0..3).any(|i| rows(&current, i) != rows(&fresh, i));
            prop_assert_eq!(next.is_some(), reloads || changes);
            let Some(next) = next else { continue };
            for i in 0..3 {
                prop_assert_eq!(rows(&next, i), rows(&fresh, i));
            }
            let mut slots = BTreeMap::new();
            for (key, state) in states(&next) {
                let gone = seen.get(&key).map(|(state, last)| (state, now - last));
                if let Some((before, for_so_long)) = gone {
                    let kept = for_so_long < KEPT_FOR.as_secs();
                    prop_assert_eq!(Arc::ptr_eq(before, &state), kept);
                }
                prop_assert!(slots.insert(state.slot, state.uid).is_none());
            }
            for i in 0..3 {
                let (before, after) = (&current.upstreams[i].state, &next.upstreams[i].state);
                prop_assert!(Arc::ptr_eq(before, after));
            }
            let same = |(a, b): (&super::Route, &super::Route)| Arc::ptr_eq(&a.stats, &b.stats);
            prop_assert!(current.routes.iter().zip(next.routes.iter()).all(same));
            current = next;
        }
    }
}

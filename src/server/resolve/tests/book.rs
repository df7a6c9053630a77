//! The book by virtual time: what is due, what is kept, what is told.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use super::super::book::{Book, Family, Found, Lifetimes, MOST_ADDRESSES, News};
use super::ips;
use crate::time::Nanos;

const USUAL: Lifetimes = Lifetimes {
    min_ttl: Duration::from_secs(1),
    max_ttl: Duration::from_secs(300),
};

fn at(seconds: f64) -> Nanos {
    Nanos::default().plus(Duration::from_secs_f64(seconds))
}

fn names(list: &[&str]) -> BTreeSet<Arc<str>> {
    list.iter().map(|name| Arc::from(*name)).collect()
}

fn some(list: &[&str], ttl: u64) -> Family {
    Family::Addresses(ips(list), Duration::from_secs(ttl))
}

fn nothing() -> Family {
    Family::Nothing("nothing".into())
}

fn failed() -> Family {
    Family::Failed("failed".into())
}

/// A book that follows `app`, which is being looked up at 0.
fn asking(lifetimes: Lifetimes) -> (Book, Arc<str>) {
    let mut book = Book::new(lifetimes, 7);
    book.follow(lifetimes, &names(&["app"]), at(0.0));
    assert!(book.is_awaited("app"));
    let name = book.begin(at(0.0)).unwrap();
    assert_eq!(book.begin(at(0.0)), None);
    (book, name)
}

fn hear(book: &mut Book, v4: Family, v6: Family, now: Nanos) -> Vec<News> {
    book.hear(&Arc::from("app"), Found { v4, v6 }, now, 1)
}

fn pause(book: &Book, since: Nanos) -> Duration {
    book.next_due().unwrap().since(since)
}

#[test]
fn a_good_answer_holds_for_the_shortest_time_to_live_within_bounds() {
    for (v4, v6, wanted) in [
        (some(&["10.0.0.1"], 60), some(&["::2"], 30), 30),
        (some(&["10.0.0.1"], 60), nothing(), 60),
        (some(&["10.0.0.1"], 60), failed(), 60),
        (failed(), some(&["::2"], 90), 90),
        (some(&["10.0.0.1"], 0), nothing(), 1),
        (some(&["10.0.0.1"], 100_000), nothing(), 300),
    ] {
        let (mut book, _) = asking(USUAL);
        assert_eq!(hear(&mut book, v4, v6, at(2.0)), []);
        assert_eq!(pause(&book, at(2.0)), Duration::from_secs(wanted));
    }
    let never = Lifetimes {
        min_ttl: Duration::ZERO,
        max_ttl: Duration::ZERO,
    };
    let (mut book, _) = asking(never);
    hear(&mut book, some(&["10.0.0.1"], 0), nothing(), at(0.0));
    assert_eq!(pause(&book, at(0.0)), Duration::from_millis(100));
}

#[test]
fn a_failed_look_up_is_tried_again_soon_but_not_in_step() {
    for (min_ttl, longest) in [(0, 1), (1, 1), (3, 3), (60, 5)] {
        let lifetimes = Lifetimes {
            min_ttl: Duration::from_secs(min_ttl),
            ..USUAL
        };
        let longest = Duration::from_secs(longest);
        let mut pauses = BTreeSet::new();
        for (v4, v6) in [
            (failed(), failed()),
            (nothing(), nothing()),
            (nothing(), failed()),
        ] {
            let (mut book, _) = asking(lifetimes);
            for _ in 0..20 {
                hear(&mut book, v4.clone(), v6.clone(), at(1.0));
                let pause = pause(&book, at(1.0));
                assert!(pause <= longest && pause > longest * 3 / 4, "{pause:?}");
                pauses.insert(pause);
                assert!(book.begin(at(10.0)).is_some());
            }
        }
        assert!(pauses.len() > 10);
    }
}

#[test]
fn only_addresses_replace_addresses() {
    let (mut book, name) = asking(USUAL);
    let publish = move |book: &mut Book| book.publish().map(|all| all.of(&name).to_vec());
    hear(
        &mut book,
        some(&["10.0.0.2", "10.0.0.1"], 1),
        some(&["::2"], 1),
        at(0.0),
    );
    assert_eq!(
        publish(&mut book),
        Some(ips(&["10.0.0.1", "10.0.0.2", "::2"]))
    );
    for (v4, v6, after) in [
        (failed(), failed(), None),
        (nothing(), nothing(), None),
        (nothing(), failed(), None),
        (some(&["10.0.0.1", "10.0.0.2"], 1), failed(), None),
        (
            some(&["10.0.0.3"], 1),
            Family::Late,
            Some(["10.0.0.3", "::2"].as_slice()),
        ),
        (
            some(&["10.0.0.3"], 1),
            some(&["::3"], 1),
            Some(&["10.0.0.3", "::3"]),
        ),
        (nothing(), some(&["::3"], 1), Some(&["::3"])),
        (failed(), some(&["::4"], 1), Some(&["::4"])),
    ] {
        let case = format!("{v4:?} {v6:?}");
        hear(&mut book, v4, v6, at(0.0));
        assert_eq!(publish(&mut book), after.map(ips), "{case}");
    }
}

#[test]
fn a_change_of_state_is_told_once() {
    let (mut book, _) = asking(USUAL);
    let said = |text: &str| String::from(text);
    for (v4, news) in [
        (nothing(), vec![News::Nothing(0, said("nothing"))]),
        (nothing(), vec![]),
        (failed(), vec![News::Failing(0, said("failed"))]),
        (failed(), vec![]),
        (some(&["10.0.0.1", "10.0.0.2"], 1), vec![News::Mended(2)]),
        (some(&["10.0.0.3"], 1), vec![]),
        (failed(), vec![News::Failing(1, said("failed"))]),
        (nothing(), vec![News::Nothing(1, said("nothing"))]),
        (some(&["10.0.0.3"], 1), vec![News::Mended(1)]),
    ] {
        assert_eq!(hear(&mut book, v4, nothing(), at(0.0)), news);
    }
    // Half an answer is no trouble that anybody must be told of; the pages have it.
    assert_eq!(
        hear(&mut book, some(&["10.0.0.3"], 1), failed(), at(0.0)),
        []
    );
    assert_eq!(book.standing("app").error.as_deref(), Some("failed"));
}

#[test]
fn a_thousand_addresses_are_enough() {
    let (mut book, name) = asking(USUAL);
    let many = (0..2000).map(|n| IpAddr::from(Ipv4Addr::from_bits(0x0a00_0000 + n)));
    let many: Vec<IpAddr> = many.collect();
    let all = Family::Addresses(many.iter().rev().copied().collect(), Duration::from_secs(1));
    let said = hear(&mut book, all.clone(), some(&["::1"], 1), at(0.0));
    assert_eq!(said, [News::Cut]);
    assert_eq!(hear(&mut book, all, nothing(), at(0.0)), []);
    assert_eq!(book.publish().unwrap().of(&name), &many[..MOST_ADDRESSES]);
    assert_eq!(book.standing("app").addresses, MOST_ADDRESSES);
}

#[test]
fn a_complaint_brings_the_look_up_forward() {
    let (mut book, name) = asking(USUAL);
    // While it is looked up, nothing comes of it.
    book.complain("app", at(0.0));
    assert_eq!(book.next_due(), None);
    hear(&mut book, some(&["10.0.0.1"], 60), nothing(), at(0.1));
    book.complain("app", at(0.2));
    assert_eq!(book.next_due(), Some(at(1.0)));
    book.complain("app", at(0.3));
    assert_eq!(book.begin(at(1.0)), Some(name));
    hear(&mut book, some(&["10.0.0.1"], 60), nothing(), at(1.0));
    book.complain("app", at(30.0));
    assert_eq!(book.next_due(), Some(at(30.0)));
    book.complain("unknown", at(30.0));
    // With a longer `min_ttl`, not within that.
    let slow = Lifetimes {
        min_ttl: Duration::from_secs(10),
        ..USUAL
    };
    let (mut book, _) = asking(slow);
    hear(&mut book, some(&["10.0.0.1"], 60), nothing(), at(0.1));
    book.complain("app", at(2.0));
    assert_eq!(book.next_due(), Some(at(10.0)));
}

#[test]
fn a_changed_file_has_every_name_looked_up_again() {
    let mut book = Book::new(USUAL, 7);
    book.follow(USUAL, &names(&["app", "other"]), at(0.0));
    let (first, second) = (book.begin(at(0.0)).unwrap(), book.begin(at(0.0)).unwrap());
    assert_eq!((&*first, &*second), ("app", "other"));
    hear(&mut book, some(&["10.0.0.1"], 60), nothing(), at(0.0));
    // One rests, the other is being looked up by what the files said before.
    book.doubt_all(at(1.0));
    assert_eq!(book.begin(at(1.0)), Some(first));
    assert_eq!(book.begin(at(1.0)), None);
    let old = Found {
        v4: some(&["10.0.0.1"], 60),
        v6: nothing(),
    };
    book.hear(&second, old, at(1.5), 1);
    assert_eq!(book.begin(at(1.5)), Some(second));
}

#[test]
fn a_name_is_forgotten_ten_minutes_after_it_is_gone() {
    let (mut book, name) = asking(USUAL);
    hear(&mut book, some(&["10.0.0.1"], 60), nothing(), at(0.0));
    assert_eq!(book.publish().unwrap().of("app").len(), 1);
    book.follow(USUAL, &names(&[]), at(1.0));
    assert!(book.is_empty());
    assert!(book.publish().unwrap().of("app").is_empty());
    assert_eq!(book.begin(at(600.0)), None);
    // Back in time: it has its addresses, and is looked up.
    book.follow(USUAL, &names(&["app"]), at(600.0));
    assert!(!book.is_awaited("app"));
    assert_eq!(book.publish().unwrap().of("app").len(), 1);
    assert_eq!(book.begin(at(600.0)), Some(name));
    // Gone again while it is looked up: what is heard is kept, but nothing is due but its end.
    book.follow(USUAL, &names(&[]), at(601.0));
    hear(&mut book, some(&["10.0.0.2"], 60), nothing(), at(602.0));
    assert_eq!(book.next_due(), Some(at(1201.0)));
    assert_eq!(book.begin(at(1201.0)), None);
    book.follow(USUAL, &names(&["app"]), at(1202.0));
    assert!(book.is_awaited("app"));
}

fn any_family(net: &'static str) -> impl Strategy<Value = Family> {
    prop_oneof![
        (1_u8..5, 0_u64..100).prop_map(move |(n, ttl)| some(&[&format!("{net}{n}")], ttl)),
        Just(nothing()),
        Just(failed()),
        Just(Family::Late),
    ]
}

proptest! {
    #[test]
    fn a_name_that_had_an_address_always_has_one(
        heard in prop::collection::vec((any_family("10.0.0."), any_family("fd00::")), 1..30),
    ) {
        let (mut book, name) = asking(USUAL);
        let (mut now, mut known) = (0.0, Vec::new());
        for (v4, v6) in heard {
            now += 1000.0;
            let is_late = v4 == Family::Late || v6 == Family::Late;
            let brings = [&v4, &v6].iter().any(|f| matches!(f, Family::Addresses(..)));
            // The resolver tells of a late family only beside addresses.
            if is_late && !brings {
                continue;
            }
            hear(&mut book, v4, v6, at(now));
            if let Some(all) = book.publish() {
                let next = all.of(&name).to_vec();
                prop_assert_ne!(&next, &known);
                prop_assert!(brings && !next.is_empty());
                known = next;
            }
            // It is always either being looked up or due within `max_ttl`.
            let due = book.next_due();
            prop_assert_eq!(due.is_none(), is_late);
            if due.is_some() {
                prop_assert!(pause(&book, at(now)) <= USUAL.max_ttl);
                prop_assert_eq!(book.begin(at(now + 400.0)), Some(name.clone()));
            }
        }
    }
}

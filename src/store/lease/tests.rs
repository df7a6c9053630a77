//! The lease of one key, in virtual time and without a store; and the memory of many.

use std::sync::Arc;
use std::time::Duration;

use super::super::{Address, Cause, Level, Link, Names, Store, Terms};
use super::entry::{Entry, Next};
use super::{Leases, SHARDS, Share, Taken, Want};
use crate::limit::Room;
use crate::time::Nanos;

const TERMS: Terms = Terms {
    interval: 1_000_000,
    burst: 1000,
};

fn at(millis: u64) -> Nanos {
    Nanos(millis * 1_000_000)
}

fn come(extra: u64) -> Result<Level, Cause> {
    Ok(Level {
        granted: true,
        extra,
        debt: 0,
    })
}

const fn want(terms: Terms, cost: u64) -> Want {
    Want {
        terms,
        cost,
        patience: Duration::ZERO,
    }
}

fn new() -> Entry {
    Entry::new(1, 2, want(TERMS, 1), at(0))
}

/// Uses tokens one by one, one millisecond apart, with a store that answers at once; returns how often it was asked.
fn use_up(entry: &mut Entry, times: u64, from: u64) -> (u64, u64) {
    let (mut asked, mut waited) = (0, 0);
    for turn in 0..times {
        let now = at(from + turn);
        match entry.take(want(TERMS, 1), now, true) {
            Next::Taken(level, refill) => {
                assert!(level.granted);
                if refill > 0 {
                    asked += 1;
                    assert_eq!(entry.land(&TERMS, (1, refill), come(refill), now), 0);
                }
            }
            Next::Ask(extra) => {
                waited += 1;
                assert_eq!(entry.land(&TERMS, (1, extra), come(extra), now), 0);
            }
            Next::Empty(_) => panic!("the store always has tokens"),
        }
        assert!(entry.held <= 100, "a tenth of the burst");
    }
    (asked, waited)
}

#[test]
fn a_key_that_is_used_steadily_waits_once_and_asks_rarely() {
    let mut entry = new();
    let (_, waited) = use_up(&mut entry, 300, 0);
    assert!(waited <= 2, "{waited}");
    let (asked, waited) = use_up(&mut entry, 1000, 300);
    assert_eq!(waited, 0);
    // Half of what 100 ms use, each time.
    assert!(asked <= 22, "{asked}");
}

#[test]
fn what_is_held_and_asked_for_is_never_more_than_a_tenth_of_the_burst() {
    let mut entry = new();
    let mut on_their_way = 0;
    for turn in 0..10_000 {
        match entry.take(want(TERMS, 1), at(turn / 100), true) {
            Next::Taken(_, more) | Next::Ask(more) => on_their_way += more,
            Next::Empty(_) => {}
        }
        assert!(entry.held + on_their_way <= 100);
        if turn % 7 == 0 {
            entry.land(
                &TERMS,
                (1, on_their_way),
                come(on_their_way),
                at(turn / 100),
            );
            on_their_way = 0;
        }
    }
}

#[test]
fn a_burst_below_ten_holds_nothing_ahead() {
    let small = Terms { burst: 9, ..TERMS };
    let mut entry = Entry::new(1, 2, want(small, 1), at(0));
    for turn in 0..200 {
        assert_eq!(entry.take(want(small, 1), at(turn), true), Next::Ask(0));
        entry.land(&small, (1, 0), come(0), at(turn));
    }
    assert_eq!(entry.keep(small, 1, at(200)), 0);
}

#[test]
fn an_empty_bucket_is_not_asked_for_again_at_once() {
    let mut entry = new();
    let refused = Ok(Level {
        granted: false,
        extra: 0,
        debt: TERMS.size(),
    });
    entry.land(&TERMS, (3, 0), refused, at(0));
    assert!(
        matches!(entry.take(want(TERMS, 3), at(1), true), Next::Empty(level) if !level.granted)
    );
    assert!(
        matches!(entry.take(want(TERMS, 1), at(1), true), Next::Ask(_)),
        "one may be there"
    );
    assert!(matches!(
        entry.take(want(TERMS, 3), at(5), true),
        Next::Ask(_)
    ));
    // However long the wait is: tokens may come back from elsewhere.
    let slow = Terms {
        interval: 3_600_000_000_000,
        burst: 5,
    };
    let mut entry = Entry::new(1, 2, want(slow, 1), at(0));
    let refused = Ok(Level {
        granted: false,
        extra: 0,
        debt: slow.size(),
    });
    entry.land(&slow, (1, 0), refused, at(0));
    assert!(matches!(
        entry.take(want(slow, 1), at(249), true),
        Next::Empty(_)
    ));
    assert!(matches!(
        entry.take(want(slow, 1), at(250), true),
        Next::Ask(0)
    ));
}

#[test]
fn without_the_store_what_is_held_is_used_up() {
    let mut entry = new();
    use_up(&mut entry, 500, 0);
    let held = entry.held;
    assert!(held > 0);
    for _ in 0..held {
        assert!(matches!(
            entry.take(want(TERMS, 1), at(500), false),
            Next::Taken(_, 0)
        ));
    }
    assert_eq!(entry.take(want(TERMS, 1), at(500), false), Next::Ask(0));
}

#[test]
fn a_lease_ends_a_second_after_its_last_use_but_not_while_tokens_are_on_their_way() {
    let mut entry = new();
    assert!(!entry.is_over(at(999)));
    assert!(entry.is_over(at(1000)));
    let Next::Ask(more) = entry.take(want(TERMS, 1), at(10), true) else {
        panic!("nothing is held");
    };
    assert!(more > 0);
    assert!(!entry.is_over(at(5000)));
    entry.land(&TERMS, (1, more), Err(Cause::Timeout), at(5000));
    assert_eq!(entry.held, 0);
    assert!(entry.is_over(at(5000)));
}

#[test]
fn other_terms_shrink_what_is_held_and_send_back_what_was_taken_under_the_old() {
    let mut entry = new();
    use_up(&mut entry, 500, 0);
    let held = entry.held;
    let narrow = Terms { burst: 10, ..TERMS };
    assert!(matches!(
        entry.take(want(narrow, 1), at(501), true),
        Next::Ask(_)
    ));
    assert!(entry.held <= held / 100);
    assert_eq!(entry.land(&TERMS, (1, 0), come(40), at(502)), 40);
}

#[test]
fn tokens_that_were_not_needed_are_kept_as_far_as_there_is_room() {
    let mut entry = new();
    assert_eq!(entry.keep(TERMS, 7, at(1)), 7);
    assert_eq!(entry.keep(TERMS, 200, at(1)), 93);
    assert_eq!(entry.pay(TERMS, 30, at(1)), 30);
    assert_eq!(entry.pay(TERMS, 100, at(1)), 70);
}

/// A store that nobody has begun to connect to: whoever asks it waits.
fn silent() -> Store {
    let address = Address {
        is_secure: false,
        host: "127.0.0.1".into(),
        port: 1,
        database: 0,
        user: None,
        password: None,
    };
    Store::new(Arc::new(Link::new("main", address)), Duration::from_secs(1))
}

/// Asks for one token of each of so many keys; the leases that there are then.
fn fill(leases: &Arc<Leases>, store: &Store, keys: u32) -> usize {
    for number in 0..u128::from(keys) {
        let id = (number << 64 | number).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let (taken, digest) = leases.take(store, id, || id, want(TERMS, 1), at(0));
        assert!(matches!(taken, Taken::Wait(_)) && digest == id);
    }
    leases.len()
}

fn leases_in(room: &Arc<Room>) -> Arc<Leases> {
    let names = Names::new("limit", "client_ip");
    Arc::new(Leases::new(names, usize::MAX, Share::new(room.clone())))
}

#[test]
fn a_lease_takes_350_bytes_at_most_and_gives_them_back() {
    let (room, store) = (Arc::new(Room::new(1 << 30)), silent());
    let leases = leases_in(&room);
    let empty = leases.bytes();
    assert_eq!(fill(&leases, &store, 4000), 4000);
    let each = (leases.bytes() - empty) as f64 / 4000.0;
    assert!((100.0..=350.0).contains(&each), "{each}");
    assert_eq!(room.used(), leases.bytes());
    for shard in 0..SHARDS {
        assert!(leases.sweep(shard, at(2000)).is_empty(), "none held tokens");
    }
    assert!(leases.is_empty());
    let left = leases.bytes() - empty;
    assert!(left <= SHARDS as u64 * 4096, "{left}");
    drop((store, leases));
    assert_eq!(room.used(), 0);
}

/// Without memory a key has no lease: it is asked for at each request, as in `exact`.
#[test]
fn leases_take_no_more_memory_than_there_is() {
    let (room, store) = (Arc::new(Room::new(400_000)), silent());
    let leases = leases_in(&room);
    let held = fill(&leases, &store, 4000);
    assert!((1000..4000).contains(&held), "{held}");
    assert!(room.used() <= 400_000, "{}", room.used());
    let (none, store) = (Arc::new(Room::new(0)), silent());
    assert_eq!(fill(&leases_in(&none), &store, 100), 0);
}

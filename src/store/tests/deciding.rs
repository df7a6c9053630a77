//! What the script decides: exactly, on the server's clock, with keys that vanish.

use std::time::Duration;

use super::super::{Names, Wish, digest};
use super::redis::Redis;
use super::*;

#[tokio::test]
async fn a_bucket_gives_its_burst_and_no_token_more() {
    let redis = Redis::start(&[]);
    let store = connect_to(address_of(&redis), LONG);
    let terms = terms(10, HOUR);
    for taken in 1..=10u64 {
        let level = asked(&store, "a", terms, take(1)).await;
        assert!(level.granted);
        assert!(level.debt <= terms.time_of(taken));
        assert!(level.debt > terms.time_of(taken) - 60_000_000_000);
    }
    let refused = asked(&store, "a", terms, take(1)).await;
    assert!(!refused.granted);
    assert!(
        asked(&store, "b", terms, take(10)).await.granted,
        "another key"
    );
    assert!(
        !asked(&store, "c", terms, take(11)).await.granted,
        "more than it ever holds"
    );
    assert!(
        asked(&store, "c", terms, take(10)).await.granted,
        "nothing was taken"
    );
}

#[tokio::test]
async fn tokens_come_back_in_the_time_that_the_rate_says() {
    let redis = Redis::start(&[]);
    let store = connect_to(address_of(&redis), LONG);
    let terms = terms(2, Duration::from_millis(400));
    assert!(asked(&store, "a", terms, take(2)).await.granted);
    let refused = asked(&store, "a", terms, take(1)).await;
    if refused.granted {
        return; // 400 ms went by: this machine sleeps, and tells nothing.
    }
    let wait = terms.wait_for(1, refused.debt);
    assert!(
        wait <= Duration::from_millis(400) && !wait.is_zero(),
        "{wait:?}"
    );
    tokio::time::sleep(wait).await;
    assert!(
        asked(&store, "a", terms, take(1)).await.granted,
        "after waiting so long as was said"
    );
}

#[tokio::test]
async fn extra_tokens_are_as_many_as_there_are() {
    let redis = Redis::start(&[]);
    let store = connect_to(address_of(&redis), LONG);
    // An interval whose product with 10 rounds if computed in doubles.
    let terms = terms(1_000_000, Duration::from_nanos(3_599_999_999_999));
    let wish = take_more(1, 999_998);
    let level = asked(&store, "a", terms, wish).await;
    assert_eq!((level.granted, level.extra), (true, 999_998));
    let level = asked(&store, "a", terms, take_more(0, 7)).await;
    assert_eq!((level.granted, level.extra), (true, 1));
    let level = asked(&store, "a", terms, take_more(0, 7)).await;
    assert_eq!((level.granted, level.extra), (true, 0));
    let level = asked(&store, "a", terms, take_more(1, 7)).await;
    assert_eq!((level.granted, level.extra), (false, 0));
}

#[tokio::test]
async fn tokens_are_given_back_owed_looked_at_and_filled_up() {
    let redis = Redis::start(&[]);
    let store = connect_to(address_of(&redis), LONG);
    let terms = terms(10, HOUR);
    asked(&store, "a", terms, take(8)).await;
    let level = asked(&store, "a", terms, Wish::Give(3)).await;
    assert!(level.debt <= terms.time_of(5) && level.debt > terms.time_of(4));
    assert!(!asked(&store, "a", terms, Wish::Look).await.granted);
    let level = asked(&store, "a", terms, Wish::Owe(40)).await;
    assert!(
        level.debt == terms.time_of(20),
        "a debt beyond the bucket, but of two"
    );
    assert!(!asked(&store, "a", terms, take(1)).await.granted);
    let level = asked(&store, "a", terms, Wish::Fill).await;
    assert_eq!((level.granted, level.debt), (true, 0));
    assert!(asked(&store, "a", terms, take(10)).await.granted);
    let level = asked(&store, "a", terms, Wish::Give(100)).await;
    assert_eq!(level.debt, 0, "a bucket is never more than full");
    let exists = format!("EXISTS {}", bucket("a").name());
    assert_eq!(redis.say(&exists), ":0", "a full bucket is no key");
}

#[tokio::test]
async fn a_bucket_vanishes_when_it_is_full_again() {
    let redis = Redis::start(&[]);
    let store = connect_to(address_of(&redis), LONG);
    asked(&store, "a", terms(10, Duration::from_millis(20)), take(10)).await;
    asked(&store, "b", terms(10, HOUR), take(1)).await;
    let name = bucket("b").name();
    let left: u64 = redis.say(&format!("PTTL {name}"))[1..].parse().unwrap();
    assert!(left <= 3_600_001 && left > 3_000_000, "{left}");
    until("one key is left", || redis.say("DBSIZE") == ":1").await;
}

#[tokio::test]
async fn a_changed_limit_keeps_the_bucket_as_full_as_it_was() {
    let redis = Redis::start(&[]);
    let store = connect_to(address_of(&redis), LONG);
    asked(&store, "a", terms(100, HOUR), take(75)).await;
    // A quarter is left of 1,000 tokens at another rate; and of the first terms again.
    let wider = terms(1000, HOUR / 7);
    let level = asked(&store, "a", wider, Wish::Look).await;
    let share = level.debt as f64 / wider.size() as f64;
    assert!((0.749..=0.75001).contains(&share), "{share}");
    assert!(!asked(&store, "a", wider, take(252)).await.granted);
    assert!(asked(&store, "a", wider, take(248)).await.granted);
    let level = asked(&store, "a", terms(100, HOUR), take(2)).await;
    assert!(
        !level.granted,
        "no credit for the way there and back: {level:?}"
    );
}

#[tokio::test]
async fn a_clock_that_was_set_back_forgives_nothing_and_locks_nobody_out() {
    let redis = Redis::start(&[]);
    let store = connect_to(address_of(&redis), LONG);
    until_here(&store).await;
    let terms = terms(10, HOUR);
    let name = bucket("a").name();
    // Written in the year 2099, with three tokens taken.
    let kept = format!("4070908800 5 {} 0 {} 0", 3 * 3600, 10 * 3600);
    assert_eq!(redis.say(&format!("SET {name} \"{kept}\"")), "+OK");
    let level = asked(&store, "a", terms, Wish::Look).await;
    assert_eq!(level.debt, terms.time_of(3));
    assert!(asked(&store, "a", terms, take(7)).await.granted);
    assert!(!asked(&store, "a", terms, take(1)).await.granted);
}

#[tokio::test]
async fn many_questions_at_once_share_a_connection_and_get_what_one_bucket_has() {
    let redis = Redis::start(&[]);
    let stores = [(); 3].map(|()| connect_to(address_of(&redis), LONG));
    let terms = terms(500, HOUR);
    let asking: Vec<_> = (0..1500)
        .map(|turn| stores[turn % 3].ask(bucket("a"), terms, take(1)).unwrap())
        .collect();
    let mut granted = 0;
    for asking in asking {
        granted += usize::from(asking.await.unwrap().granted);
    }
    assert_eq!(granted, 500);
    let clients = redis.say("INFO clients");
    // Three stores, and whoever asks.
    assert!(clients.contains("connected_clients:4"), "{clients}");
}

#[test]
fn names_are_equal_everywhere_and_hide_what_clients_sent() {
    let names = Names::new("api", "client_ip");
    let name = names.bucket(b"192.0.2.1").name();
    assert_eq!(
        name,
        "tidegate:api:16e8f8e3:".to_owned() + &format!("{:032x}", digest(b"192.0.2.1"))
    );
    assert_eq!(
        format!("{:032x}", digest(b"abc")),
        "ba7816bf8f01cfea414140de5dae2223"
    );
    assert_ne!(names.bucket(b"a"), Names::new("api", "host").bucket(b"a"));
    assert_ne!(
        names.bucket(b"a"),
        Names::new("other", "client_ip").bucket(b"a")
    );
}

//! What a store does when Redis is hurt: it fails at once, says why, and is back by itself.

use std::io::{Read, Write};
use std::net::TcpListener;

use super::redis::{Redis, Slow, free_port};
use super::*;
use crate::store::Cause;
use crate::store::dial;
use crate::store::room::{FIRST_REST, next_rest};

/// Recovery is promised within three seconds; a machine under load gets more.
async fn until_back(store: &Store) {
    until_here(store).await;
    assert!(
        asked(store, "back", terms(1000, HOUR), take(1))
            .await
            .granted
    );
}

async fn until_away(store: &Store, cause: Cause) {
    until("the store is away", || store.away() == Some(cause)).await;
}

#[tokio::test]
async fn a_store_that_is_not_there_is_away_and_found_when_it_comes() {
    let mut redis = Redis::start(&[]);
    redis.stop();
    let store = connect_to(address_of(&redis), Duration::from_secs(2));
    until_away(&store, Cause::Connect).await;
    let refused = store.ask(bucket("a"), terms(1, HOUR), take(1));
    assert_eq!(refused.unwrap_err(), Cause::Connect, "nobody waits for it");
    assert!(store.link().errors(Cause::Connect) > 0);
    redis.start_again();
    until_back(&store).await;
}

#[tokio::test]
async fn a_server_that_dies_is_noticed_at_once_and_begins_anew() {
    let mut redis = Redis::start(&[]);
    let store = connect_to(address_of(&redis), LONG);
    assert!(asked(&store, "a", terms(1, HOUR), take(1)).await.granted);
    redis.stop();
    let answer = store.check(bucket("a"), terms(1, HOUR), take(1)).await;
    assert!(
        matches!(answer, Err(Cause::Closed | Cause::Connect)),
        "{answer:?}"
    );
    redis.start_again();
    until_back(&store).await;
    let level = asked(&store, "a", terms(1, HOUR), take(1)).await;
    assert!(
        level.granted,
        "its state is lost with it: the bucket is full"
    );
}

#[tokio::test]
async fn a_frozen_server_costs_one_timeout_and_is_back_when_it_thaws() {
    let redis = Redis::start(&[]);
    let store = connect_to(address_of(&redis), Duration::from_secs(1));
    until_back(&store).await;
    redis.freeze();
    let asking: Vec<_> = (0..100)
        .map(|_| store.ask(bucket("a"), terms(1000, HOUR), take(1)).unwrap())
        .collect();
    for asking in asking {
        assert_eq!(asking.await, Err(Cause::Timeout));
    }
    assert_eq!(store.link().errors(Cause::Timeout), 100);
    assert_eq!(store.away(), Some(Cause::Timeout));
    redis.thaw();
    until_back(&store).await;
}

/// As long as the file says, and no longer: a server that is reached and says nothing is given up like one that is gone.
#[tokio::test]
async fn nobody_waits_longer_than_the_timeout() {
    let redis = Redis::start(&[]);
    let timeout = Duration::from_millis(20);
    let store = connect_to(address_of(&redis), timeout);
    until_here(&store).await;
    redis.freeze();
    let begin = time::now();
    let answer = store.check(bucket("a"), terms(1, HOUR), take(1)).await;
    let waited = time::now().since(begin);
    assert_eq!(answer, Err(Cause::Timeout));
    // A busy machine adds to it; a store that is waited for does for ever.
    assert!(timeout <= waited && waited < PATIENCE, "{waited:?}");
    let at_once = store.ask(bucket("a"), terms(1, HOUR), take(1));
    assert_eq!(at_once.unwrap_err(), Cause::Timeout);
    redis.thaw();
    until_here(&store).await;
}

/// A store that serves again is found within three seconds, whenever it comes: at worst when a dial in vain has just begun.
#[test]
fn a_store_that_serves_is_found_within_three_seconds() {
    let rests = std::iter::successors(Some(FIRST_REST), |rest| Some(next_rest(*rest)));
    let longest = rests.take(100).max().unwrap();
    let dial = dial::WITHIN + Duration::from_millis(20);
    assert!(dial + longest + dial < Duration::from_secs(3));
}

#[tokio::test]
async fn who_gives_up_first_sends_the_store_away_himself() {
    let redis = Redis::start(&[]);
    let store = connect_to(address_of(&redis), LONG);
    until_back(&store).await;
    redis.freeze();
    let asking = store.ask(bucket("a"), terms(10, HOUR), take(1)).unwrap();
    store.missed();
    assert_eq!(store.away(), Some(Cause::Timeout));
    assert_eq!(asking.await, Err(Cause::Timeout), "others hear it too");
    redis.thaw();
    until_back(&store).await;
}

#[tokio::test]
async fn a_full_server_is_away_until_it_has_room() {
    // It needs more than that for itself.
    let redis = Redis::start(&["--maxmemory", "100kb", "--maxmemory-policy", "noeviction"]);
    let store = connect_to(address_of(&redis), LONG);
    until_away(&store, Cause::Full).await;
    assert_eq!(redis.say("CONFIG SET maxmemory 100mb"), "+OK");
    until_back(&store).await;
    assert_eq!(redis.say("CONFIG SET maxmemory 1"), "+OK");
    let answer = store.check(bucket("b"), terms(10, HOUR), take(1)).await;
    assert_eq!(answer, Err(Cause::Full));
    assert_eq!(store.away(), Some(Cause::Full));
}

#[tokio::test]
async fn a_wrong_password_is_told_from_a_server_that_is_gone() {
    let redis = Redis::start(&["--requirepass", "right"]);
    let mut address = address_of(&redis);
    let store = connect_to(address.clone(), LONG);
    until_away(&store, Cause::Auth).await;
    address.password = Some("wrong".into());
    let store = connect_to(address.clone(), LONG);
    until_away(&store, Cause::Auth).await;
    assert!(!format!("{:?} {}", store.link().address(), address).contains("wrong"));
    address.password = Some("right".into());
    until_back(&connect_to(address, LONG)).await;
}

#[tokio::test]
async fn a_user_that_may_not_do_what_limits_need_is_refused_and_one_that_may_just_that_is_served() {
    let redis = Redis::start(&[]);
    let rights = "on >secret ~tidegate:* -@all +evalsha +script|load +time +get +set +del";
    assert_eq!(redis.say(&format!("ACL SETUSER limits {rights}")), "+OK");
    let mut address = address_of(&redis);
    address.user = Some("limits".into());
    address.password = Some("secret".into());
    let store = connect_to(address, LONG);
    until_back(&store).await;
    assert_eq!(redis.say("ACL SETUSER limits -set"), "+OK");
    let answer = store.check(bucket("a"), terms(10, HOUR), take(1)).await;
    assert_eq!(answer, Err(Cause::Auth));
    assert_eq!(redis.say("ACL SETUSER limits +set"), "+OK");
    until_back(&store).await;
}

#[tokio::test]
async fn a_server_that_has_become_a_replica_is_away_and_back_when_it_leads_again() {
    let redis = Redis::start(&[]);
    let store = connect_to(address_of(&redis), LONG);
    until_back(&store).await;
    assert_eq!(
        redis.say(&format!("REPLICAOF 127.0.0.1 {}", free_port())),
        "+OK"
    );
    let answer = store.check(bucket("a"), terms(10, HOUR), take(1)).await;
    assert_eq!(answer, Err(Cause::ReadOnly));
    assert_eq!(store.away(), Some(Cause::ReadOnly));
    assert_eq!(redis.say("REPLICAOF NO ONE"), "+OK");
    until_back(&store).await;
}

#[tokio::test]
async fn a_forgotten_script_is_told_again_and_nobody_notices() {
    let redis = Redis::start(&[]);
    let store = connect_to(address_of(&redis), LONG);
    until_back(&store).await;
    for turn in 1..=5 {
        assert_eq!(redis.say("SCRIPT FLUSH"), "+OK");
        let level = asked(&store, "a", terms(5, HOUR), take(1)).await;
        assert!(level.granted, "{turn}");
    }
    assert!(
        !asked(&store, "a", terms(5, HOUR), take(1)).await.granted,
        "none was taken twice or lost"
    );
    assert!(
        Cause::ALL
            .iter()
            .all(|cause| store.link().errors(*cause) == 0)
    );
}

#[tokio::test]
async fn somebody_elses_key_fails_alone() {
    let redis = Redis::start(&[]);
    let store = connect_to(address_of(&redis), LONG);
    until_back(&store).await;
    assert_eq!(redis.say(&format!("LPUSH {} x", bucket("a").name())), ":1");
    let answer = store.check(bucket("a"), terms(10, HOUR), take(1)).await;
    assert_eq!(answer, Err(Cause::Refused));
    assert_eq!(store.away(), None);
    assert!(asked(&store, "b", terms(10, HOUR), take(1)).await.granted);
}

#[tokio::test]
async fn more_questions_than_may_wait_fail_at_once() {
    // Nobody has begun the thread.
    let store = Store::new(Arc::new(Link::new("main", nowhere())), LONG);
    let waiting: Vec<_> = (0..5000)
        .map(|_| store.ask(bucket("a"), terms(1, HOUR), take(1)).unwrap())
        .collect();
    assert_eq!(store.link().errors(Cause::Queue), 5000 - 4096);
    drop(waiting);
}

#[tokio::test]
async fn a_slow_server_is_away_until_it_is_fast_again() {
    let redis = Redis::start(&[]);
    let slow = Slow::before(redis.port);
    let mut address = address_of(&redis);
    address.port = slow.port;
    let store = connect_to(address, Duration::from_millis(500));
    until_back(&store).await;
    slow.delay(1500);
    let answer = store.check(bucket("a"), terms(10, HOUR), take(1)).await;
    assert_eq!(answer, Err(Cause::Timeout));
    let refused = store.ask(bucket("a"), terms(10, HOUR), take(1));
    assert_eq!(refused.unwrap_err(), Cause::Timeout);
    slow.delay(0);
    until_back(&store).await;
}

#[tokio::test]
async fn replies_of_a_failover_are_told_apart() {
    for (reply, cause) in [
        (
            "-LOADING Redis is loading the dataset in memory",
            Cause::Loading,
        ),
        ("-MOVED 3999 127.0.0.1:6381", Cause::Moved),
        ("-CLUSTERDOWN Hash slot not served", Cause::Moved),
        ("-MASTERDOWN Link with MASTER is down", Cause::ReadOnly),
        (
            "-MISCONF Redis is configured to save RDB snapshots",
            Cause::ReadOnly,
        ),
        ("-BUSY Redis is busy running a script", Cause::Busy),
        ("-NOAUTH Authentication required.", Cause::Auth),
        (
            "-ERR Error running script (call to f_6b): @user_script:81: -OOM command not allowed",
            Cause::Full,
        ),
        (":1", Cause::Reply),
        ("what is this", Cause::Reply),
    ] {
        let port = says_always(reply);
        let address = Address { port, ..nowhere() };
        let store = connect_to(address, LONG);
        until_away(&store, cause).await;
    }
}

/// A server that answers everything alike.
fn says_always(reply: &'static str) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut bytes = [0; 4096];
            while stream.read(&mut bytes).is_ok_and(|count| count > 0) {
                let _ = stream.write_all(format!("{reply}\r\n").as_bytes());
            }
        }
    });
    port
}

#[tokio::test]
async fn a_store_that_nobody_needs_has_no_connection_until_somebody_does() {
    let redis = Redis::start(&[]);
    let store = connect_to(address_of(&redis), LONG);
    until_back(&store).await;
    store.link().rest();
    // The one who asks how many there are.
    let is_alone = || redis.say("INFO clients").contains("connected_clients:1\r");
    until("the connection is closed", is_alone).await;
    assert_eq!(store.away(), None);
    store.link().begin();
    until_back(&store).await;
    assert!(
        Cause::ALL
            .iter()
            .all(|cause| store.link().errors(*cause) == 0)
    );
}

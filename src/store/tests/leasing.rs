//! Leases on a real Redis: several gateways, one limit.

use super::super::lease::{Key, Leases, Taken, Want};
use super::super::{Cause, digest};
use super::redis::Redis;
use super::*;
use crate::limit::{Room, Share};

/// One gateway: its connection and its leases.
struct Gateway {
    store: Store,
    leases: Arc<Leases>,
}

fn leases(most: usize) -> Leases {
    let share = Share::new(Arc::new(Room::new(1 << 30)));
    Leases::new(Names::new("limit", "client_ip"), most, share)
}

impl Gateway {
    fn before(redis: &Redis) -> Gateway {
        Gateway {
            store: connect_to(address_of(redis), LONG),
            leases: Arc::new(leases(1000)),
        }
    }

    /// One request of the key; `None` where the store had to be waited for and failed.
    async fn admits(&self, key: &str, terms: Terms) -> Result<bool, Cause> {
        match self.begin(key, terms) {
            Taken::Yes(_) => Ok(true),
            Taken::No(_) => Ok(false),
            Taken::Wait(asking) => asking.await.map(|level| level.granted),
            Taken::Away(cause) => Err(cause),
        }
    }

    fn begin(&self, key: &str, terms: Terms) -> Taken {
        let id = digest(key.as_bytes());
        let want = Want {
            terms,
            cost: 1,
            patience: Duration::ZERO,
        };
        let taken = self.leases.take(&self.store, id, || id, want, time::now());
        taken.0
    }

    async fn until_forgotten(&self) {
        until("the leases have ended", || self.leases.is_empty()).await;
    }
}

#[tokio::test]
async fn three_gateways_together_admit_what_one_limit_says() {
    let redis = Redis::start(&[]);
    let gateways = [(); 3].map(|()| Gateway::before(&redis));
    let terms = terms(300, HOUR);
    let mut admitted = 0;
    // Each admits at most all: without sharing it would be 900.
    for turn in 0..1500 {
        let gateway = &gateways[turn % 3];
        admitted += u64::from(gateway.admits("a", terms).await.unwrap());
    }
    assert!(admitted <= 300, "{admitted}");
    // What is missing is held by somebody, a tenth each at most, and comes back.
    assert!(admitted >= 300 - 3 * 30, "{admitted}");
    for gateway in &gateways {
        gateway.until_forgotten().await;
    }
    let mut late = admitted;
    until("what was held is back", || {
        redis.say("PING") == "+PONG" && gateways[0].store.away().is_none()
    })
    .await;
    let begin = time::now();
    while late < 300 && time::now().since(begin) < PATIENCE {
        late += u64::from(gateways[0].admits("a", terms).await.unwrap());
        tokio::task::yield_now().await;
    }
    assert_eq!(late, 300, "no token is lost");
    assert!(!gateways[1].admits("a", terms).await.unwrap());
}

#[tokio::test]
async fn a_hot_key_waits_for_its_first_token_alone() {
    let redis = Redis::start(&[]);
    let gateway = Gateway::before(&redis);
    let terms = terms(100_000, Duration::from_micros(1));
    let mut waited = 0;
    for _ in 0..2000 {
        if let Taken::Wait(asking) = gateway.begin("a", terms) {
            waited += 1;
            assert!(asking.await.unwrap().granted);
        }
        tokio::time::sleep(Duration::from_micros(500)).await;
    }
    assert!(waited < 200, "{waited} of 2000 waited");
}

#[tokio::test]
async fn tokens_in_hand_outlive_the_store_and_then_it_is_away() {
    let mut redis = Redis::start(&[]);
    let gateway = Gateway::before(&redis);
    let terms = terms(1000, HOUR);
    for _ in 0..200 {
        assert!(gateway.admits("a", terms).await.unwrap());
    }
    redis.stop();
    until("it is away", || gateway.store.away().is_some()).await;
    let mut left = 0;
    let cause = loop {
        match gateway.admits("a", terms).await {
            Ok(is_admitted) => left += u64::from(is_admitted),
            Err(cause) => break cause,
        }
    };
    assert!((1..=100).contains(&left), "{left}");
    assert!(matches!(cause, Cause::Connect | Cause::Closed));
    redis.start_again();
    until_here(&gateway.store).await;
    assert!(gateway.admits("a", terms).await.unwrap());
}

#[tokio::test]
async fn a_full_map_asks_for_each_request_and_admits_no_more() {
    let redis = Redis::start(&[]);
    let gateway = Gateway {
        store: connect_to(address_of(&redis), LONG),
        leases: Arc::new(leases(1)),
    };
    let terms = terms(10, HOUR);
    for number in 0..500 {
        assert!(
            gateway
                .admits(&format!("other-{number}"), terms)
                .await
                .unwrap()
        );
    }
    assert!(gateway.leases.len() <= 64, "one for each shard");
    let mut admitted = 0;
    for _ in 0..30 {
        admitted += u64::from(gateway.admits("a", terms).await.unwrap());
    }
    assert!((9..=10).contains(&admitted), "{admitted}");
}

#[tokio::test]
async fn tokens_given_back_and_owed_reach_the_store() {
    let redis = Redis::start(&[]);
    let gateway = Gateway::before(&redis);
    let terms = terms(9, HOUR);
    let id = digest(b"a");
    let key = Key { id, digest: id };
    for _ in 0..9 {
        assert!(gateway.admits("a", terms).await.unwrap());
    }
    assert!(!gateway.admits("a", terms).await.unwrap());
    gateway
        .leases
        .give(&gateway.store, key, terms, 2, time::now());
    // Bursts below ten hold nothing here: the store has them.
    let level = asked(&gateway.store, "a", terms, Wish::Look).await;
    assert_eq!(terms.left(level.debt), 2);
    gateway
        .leases
        .owe(&gateway.store, key, terms, 5, time::now());
    let level = asked(&gateway.store, "a", terms, Wish::Look).await;
    assert!(level.debt > terms.time_of(11));
    asked(&gateway.store, "a", terms, Wish::Fill).await;
    gateway.leases.forget(digest(b"a"));
    assert!(gateway.admits("a", terms).await.unwrap());
}

//! Stores against a real Redis, which the tests start, stop, hurt and bring back.

mod deciding;
mod failing;
mod leasing;
#[path = "../../tests/gateway/support/redis.rs"]
mod redis;

use std::sync::Arc;
use std::time::Duration;

use super::{Address, Bucket, Level, Link, Names, Presence, Store, Terms, Wish};
use crate::time;
use redis::Redis;

/// Longer than anything takes that works.
const PATIENCE: Duration = Duration::from_secs(30);
/// A `timeout` that a busy machine does not reach.
const LONG: Duration = Duration::from_secs(20);

const fn terms(burst: u64, interval: Duration) -> Terms {
    Terms {
        burst,
        interval: interval.as_nanos() as u64,
    }
}

/// No token comes back while a test runs.
const HOUR: Duration = Duration::from_secs(3600);

fn bucket(key: &str) -> Bucket {
    Names::new("limit", "client_ip").bucket(key.as_bytes())
}

const fn take(least: u64) -> Wish {
    take_more(least, 0)
}

const fn take_more(least: u64, extra: u64) -> Wish {
    Wish::Take {
        least,
        patience: Duration::ZERO,
        extra,
    }
}

fn address_of(redis: &Redis) -> Address {
    Address {
        port: redis.port,
        ..nowhere()
    }
}

fn nowhere() -> Address {
    Address {
        is_secure: false,
        host: "127.0.0.1".into(),
        port: 1,
        database: 0,
        user: None,
        password: None,
    }
}

fn connect_to(address: Address, timeout: Duration) -> Store {
    let store = Store::new(Arc::new(Link::new("main", address)), timeout);
    store.link().begin();
    store
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let begin = time::now();
    while !holds() {
        assert!(time::now().since(begin) < PATIENCE, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

async fn until_here(store: &Store) {
    until("the store is here", || {
        store.link().standing().presence == Presence::Here
    })
    .await;
}

async fn asked(store: &Store, key: &str, terms: Terms, wish: Wish) -> Level {
    store.check(bucket(key), terms, wish).await.unwrap()
}

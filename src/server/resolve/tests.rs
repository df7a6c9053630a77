//! The resolver against a scripted DNS server, on files of its own.

mod asking;
mod book;
// It keeps when it was asked: a clock of its own, as the tests of the gateway have.
#[allow(clippy::disallowed_methods)]
#[path = "../../../tests/gateway/support/dns.rs"]
mod dns;
mod lasting;

use std::collections::BTreeSet;
use std::fs;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::system::Files;
use super::{Resolver, Standing};
use crate::config::Dns as Policy;
use crate::upstream::names::Addresses;
use dns::Dns;

/// Far more than anything here takes.
const PATIENCE: Duration = Duration::from_secs(20);

/// A directory that nobody else has.
pub(super) fn directory() -> PathBuf {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let number = NEXT.fetch_add(1, Ordering::SeqCst);
    let name = format!("tidegate-names-{}-{number}", std::process::id());
    let directory = std::env::temp_dir().join(name);
    fs::create_dir_all(&directory).unwrap();
    directory
}

/// A resolver on files of its own.
struct Room {
    resolver: Resolver,
    directory: PathBuf,
    policy: Policy,
}

impl Room {
    /// Asks `servers`, and again at least every 150 ms.
    fn new(servers: &[&Dns]) -> Room {
        Room::with(servers, "", "")
    }

    fn with(servers: &[&Dns], hosts: &str, resolv_conf: &str) -> Room {
        let directory = directory();
        let files = Files {
            hosts: directory.join("hosts"),
            resolv_conf: directory.join("resolv.conf"),
        };
        fs::write(&files.hosts, hosts).unwrap();
        fs::write(&files.resolv_conf, resolv_conf).unwrap();
        Room {
            resolver: Resolver::on(files),
            directory,
            policy: Policy {
                servers: servers.iter().map(|dns| dns.address()).collect(),
                min_ttl: Duration::ZERO,
                max_ttl: Duration::from_millis(150),
                timeout: Duration::from_secs(2),
            },
        }
    }

    async fn follow(&mut self, names: &[&str]) -> Addresses {
        let names: BTreeSet<Arc<str>> = names.iter().map(|name| Arc::from(*name)).collect();
        let first = self.resolver.follow(&self.policy, names);
        tokio::time::timeout(PATIENCE, first).await.unwrap()
    }

    /// Waits until `name` has these addresses.
    async fn await_addresses(&mut self, name: &str, list: &[&str]) {
        let list = ips(list);
        let wait = async {
            while self.resolver.addresses.borrow_and_update().of(name) != list {
                self.resolver.addresses.changed().await.unwrap();
            }
        };
        if tokio::time::timeout(PATIENCE, wait).await.is_err() {
            let now = self.resolver.addresses.borrow().clone();
            panic!("{name} has {:?}, not {list:?}", now.of(name));
        }
    }

    /// Waits until the standing of `name` is as wanted, and returns it.
    async fn await_standing(&self, name: &str, wanted: impl Fn(&Standing) -> bool) -> Standing {
        let mut standings = self.resolver.standings();
        let wait = standings.wait_for(|all| all.get(name).is_some_and(&wanted));
        let found = tokio::time::timeout(PATIENCE, wait).await;
        found.expect(name).unwrap()[name].clone()
    }

    /// What is published now.
    fn of(&self, name: &str) -> Vec<IpAddr> {
        self.resolver.addresses.borrow().of(name).to_vec()
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.directory);
    }
}

fn ips(list: &[&str]) -> Vec<IpAddr> {
    list.iter().map(|ip| ip.parse().unwrap()).collect()
}

/// Waits until `condition` holds.
async fn until(what: &str, condition: impl Fn() -> bool) {
    let wait = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    let waited = tokio::time::timeout(PATIENCE, wait).await;
    assert!(waited.is_ok(), "never: {what}");
}

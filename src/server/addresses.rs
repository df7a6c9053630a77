//! From names to endpoints: which names a configuration has, and what is published when their addresses change.
//!
//! This goes on while a reload reads files: a mount that hangs does not keep traffic on addresses that are gone.

use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;

use tokio::sync::watch;

use super::publish::Publisher;
use super::reload::Standing;
use crate::config::{Config, EndpointHost, Upstream};
use crate::snapshot::compile::Ground;
use crate::snapshot::readdress::readdress;
use crate::time;
use crate::upstream::names::Addresses;

/// The names that endpoints of `config` are given by.
pub(super) fn names(config: &Config) -> BTreeSet<Arc<str>> {
    config.upstreams.iter().flat_map(names_of).collect()
}

/// The names that endpoints of one upstream are given by, each once.
pub(super) fn names_of(upstream: &Upstream) -> BTreeSet<Arc<str>> {
    let names = upstream
        .endpoints
        .iter()
        .filter_map(|endpoint| match &endpoint.host {
            EndpointHost::Name(name) => Some(name.clone()),
            EndpointHost::Ip(_) => None,
        });
    names.collect()
}

/// Publishes what `addresses` bring, until it is dropped.
pub(super) async fn keep_up(
    mut addresses: watch::Receiver<Addresses>,
    standing: Standing,
    publisher: Rc<Publisher>,
    ground: Ground,
) {
    while addresses.changed().await.is_ok() {
        let next = addresses.borrow_and_update().clone();
        let now = time::now();
        let ground = Ground { now, ..ground };
        let current = publisher.load();
        // Both are of the same generation: they change together, without a pause in between.
        let in_force = standing.load();
        if let Some(snapshot) = readdress(&in_force.config, &next, &current, ground) {
            drop(current);
            tracing::debug!(took = ?time::now().since(now), "addresses changed");
            publisher.publish(snapshot);
        }
    }
    // The resolver's thread ends the process should it panic.
    std::future::pending().await
}

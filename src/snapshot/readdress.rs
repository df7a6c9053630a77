//! (snapshot, addresses of names) → the same snapshot with other endpoints: what changes when DNS does.
//!
//! It is the same generation of the configuration. Routes, their table, and every upstream whose addresses stay are
//! shared with the previous snapshot, so that a change of DNS costs no more than the upstreams that it is about.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::Snapshot;
use super::carry::Carry;
use super::compile::{Ground, listeners, log_shape, upstream};
use super::endpoints::{are_at, places};
use super::limits::ByName;
use crate::config::{self, Config};
use crate::upstream::names::Addresses;

/// The successor of `previous`, which was compiled from `config`, by what DNS says now; `None` where nothing changes.
#[must_use]
pub fn readdress(
    config: &Config,
    addresses: &Addresses,
    previous: &Snapshot,
    ground: Ground,
) -> Option<Snapshot> {
    // By name: the file in force may list them in another order than the one that was compiled.
    let said: HashMap<&str, &config::Upstream> = config
        .upstreams
        .iter()
        .map(|u| (u.name.as_str(), u))
        .collect();
    let moved: HashSet<&str> = previous
        .upstreams
        .iter()
        .filter_map(|u| said.get(u.name.as_str()).map(|said| (u, *said)))
        .filter(|(u, said)| !are_at(&u.endpoints, &places(said, addresses)))
        .map(|(_, said)| said.name.as_str())
        .collect();
    if moved.is_empty() {
        return None;
    }
    let mut carry = Carry::readdress(&previous.carry, |name| moved.contains(name), ground.now);
    let upstreams = previous.upstreams.iter().map(|before| {
        let said = said.get(before.name.as_str());
        match said.filter(|said| moved.contains(said.name.as_str())) {
            Some(said) => Arc::new(upstream(
                said,
                &config.upstreams,
                addresses,
                &mut carry,
                ground.workers,
            )),
            None => before.clone(),
        }
    });
    let limits = ByName::new(&previous.limits);
    Some(Snapshot {
        generation: previous.generation,
        upstreams: upstreams.collect(),
        listeners: listeners(config, &limits, &mut carry, Some(previous), ground),
        limits: previous.limits.clone(),
        stores: previous.stores.clone(),
        limits_memory: previous.limits_memory,
        table: previous.table.clone(),
        routes: previous.routes.clone(),
        unrouted: previous.unrouted.clone(),
        show_detail: previous.show_detail,
        access_log: config.logging.access.as_ref().map(log_shape),
        carry,
    })
}

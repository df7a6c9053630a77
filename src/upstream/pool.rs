//! One worker's idle connections, newest first, bounded for each endpoint.

use std::collections::VecDeque;

use super::PoolPolicy;
use super::connect::Connection;
use super::endpoint::EndpointState;
use crate::time::Nanos;

/// The idle connections of one worker, by the endpoint's slot.
#[derive(Default)]
pub struct Pool {
    slots: Vec<Slot>,
}

#[derive(Default)]
struct Slot {
    uid: u64,
    idle: VecDeque<Idle>,
}

struct Idle {
    connection: Connection,
    /// After this moment it is not used again.
    until: Nanos,
}

impl Pool {
    /// The connection that was used last, if it still can be.
    pub fn take(
        &mut self,
        endpoint: &EndpointState,
        now: Nanos,
        worker: usize,
    ) -> Option<Connection> {
        let slot = self
            .slots
            .get_mut(endpoint.slot)
            .filter(|slot| slot.uid == endpoint.uid)?;
        while let Some(newest) = slot.idle.pop_back() {
            endpoint.stats.idle.add(worker, -1);
            if newest.until > now && newest.connection.sender.is_ready() {
                return Some(newest.connection);
            }
        }
        None
    }

    /// Keeps a connection for later, or drops it where it is too old or one too many.
    pub fn put(
        &mut self,
        endpoint: &EndpointState,
        connection: Connection,
        policy: &PoolPolicy,
        now: Nanos,
        worker: usize,
    ) {
        let idle_until = policy.idle.map_or(Nanos(u64::MAX), |d| now.plus(d));
        let old_at = policy
            .max_age
            .map_or(Nanos(u64::MAX), |d| connection.born.plus(d));
        if connection.sender.is_closed() || old_at <= now || policy.max_idle == 0 {
            return;
        }
        let slot = self.slot_of(endpoint);
        if slot.idle.len() >= policy.max_idle {
            slot.idle.pop_front();
            endpoint.stats.idle.add(worker, -1);
        }
        endpoint.stats.idle.add(worker, 1);
        slot.idle.push_back(Idle {
            connection,
            until: idle_until.min(old_at),
        });
    }

    /// Drops what is closed or outlived.
    pub fn sweep(&mut self, now: Nanos, endpoints: &[&EndpointState], worker: usize) {
        for (index, slot) in self.slots.iter_mut().enumerate() {
            let owner = endpoints
                .iter()
                .find(|e| e.slot == index && e.uid == slot.uid);
            let before = slot.idle.len();
            match owner {
                Some(_) => slot
                    .idle
                    .retain(|idle| idle.until > now && !idle.connection.sender.is_closed()),
                None => slot.idle.clear(),
            }
            if let Some(endpoint) = owner {
                endpoint
                    .stats
                    .idle
                    .add(worker, slot.idle.len() as i64 - before as i64);
            }
        }
    }

    fn slot_of(&mut self, endpoint: &EndpointState) -> &mut Slot {
        if self.slots.len() <= endpoint.slot {
            self.slots.resize_with(endpoint.slot + 1, Slot::default);
        }
        let slot = &mut self.slots[endpoint.slot];
        if slot.uid != endpoint.uid {
            slot.idle.clear();
            slot.uid = endpoint.uid;
        }
        slot
    }
}

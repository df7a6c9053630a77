//! One worker's idle connections, newest first, bounded for each endpoint.
//!
//! Where an endpoint bears only so many connections, a connection that has no request any more first serves who waits
//! for one: a request of this worker directly, one of another by closing.

mod turn;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;

use super::connect::Connection;
use super::endpoint::EndpointState;
use super::permits::Judgement;
use super::{PoolPolicy, Upstream};
use crate::time::Nanos;
pub use turn::{QueueFull, Turn, await_turn};

/// A connection that has served fewer has not paid for its handshake, and the worker's own requests come first on it: by
/// so many can a request of another worker be overtaken,
const FRESH: u32 = 8;
/// but only while the connection is this young.
const FRESH_FOR: Duration = Duration::from_millis(100);
/// Only who has rested for so long is one too many: requests that come and go together, as streams of HTTP/2 do, would
/// else close and open connections by the hundred each time.
const REST: Duration = Duration::from_millis(250);
/// Most connections that rest beyond the bound.
const RESTING: usize = 1024;

/// The idle connections of one worker, by the endpoint's slot.
#[derive(Default)]
pub struct Pool {
    slots: Vec<Slot>,
    /// The endpoints of the current snapshot: slot → uid, 0 = none.
    current: Vec<u64>,
    /// The youngest endpoint that any sweep has seen.
    newest: u64,
    /// Connections on their way to requests of this worker that wait for them.
    ready: Vec<Ready>,
    /// Rings when another worker wants connections.
    call: Arc<Notify>,
}

#[derive(Default)]
struct Slot {
    owner: Option<Arc<EndpointState>>,
    idle: VecDeque<Idle>,
}

struct Idle {
    connection: Connection,
    since: Nanos,
    /// After this moment it is not used again.
    until: Nanos,
}

/// Lies ready for the request with this number, of those that wait for this endpoint.
struct Ready {
    uid: u64,
    number: u64,
    connection: Connection,
}

impl Pool {
    /// The connection that was used last, if it still can be, and was made with the TLS settings of `lock`.
    pub fn take(
        &mut self,
        endpoint: &EndpointState,
        lock: u64,
        now: Nanos,
        worker: usize,
    ) -> Option<Connection> {
        let slot = self
            .slots
            .get_mut(endpoint.slot)
            .filter(|slot| slot.is_of(endpoint))?;
        while let Some(newest) = slot.idle.pop_back() {
            endpoint.stats.idle.add(worker, -1);
            let fits = newest.until > now && newest.connection.lock == lock;
            if fits && newest.connection.sender.is_ready() {
                return Some(newest.connection);
            }
        }
        None
    }

    /// Keeps a connection for later, passes it on to who waits for one, or drops it: where it is too old or one too
    /// many, or where its endpoint is gone.
    pub fn put(
        &mut self,
        endpoint: &Arc<EndpointState>,
        mut connection: Connection,
        policy: &PoolPolicy,
        now: Nanos,
        worker: usize,
    ) {
        let idle_until = policy.idle.map_or(Nanos(u64::MAX), |d| now.plus(d));
        let old_at = policy
            .max_age
            .map_or(Nanos(u64::MAX), |d| connection.born.plus(d));
        let counted = policy.max_connections.is_none() || connection.hold.is_there();
        if connection.sender.is_closed() || old_at <= now || !counted || self.is_gone(endpoint) {
            return;
        }
        connection.served = connection.served.saturating_add(1);
        let Some(connection) = self.pass_on(endpoint, connection, now, worker) else {
            return;
        };
        if policy.max_idle == 0 {
            return;
        }
        let slot = self.slot_of(endpoint, worker);
        endpoint.stats.idle.add(worker, 1);
        slot.idle.push_back(Idle {
            connection,
            since: now,
            until: idle_until.min(old_at),
        });
        slot.trim(policy, now, worker);
    }

    /// Drops what is closed, outlived, one too many, or of an endpoint that none of `upstreams` has.
    pub fn sweep(&mut self, now: Nanos, upstreams: &[Arc<Upstream>], worker: usize) {
        self.current.iter_mut().for_each(|uid| *uid = 0);
        for upstream in upstreams {
            for endpoint in &upstream.endpoints {
                self.note_current(&endpoint.state);
                if let Some(slot) = self.slots.get_mut(endpoint.state.slot)
                    && slot.is_of(&endpoint.state)
                {
                    slot.sweep(now, &upstream.pool, endpoint.lock(), worker);
                }
            }
        }
        for (slot, uid) in self.slots.iter_mut().zip(&self.current) {
            if slot.owner.as_ref().is_some_and(|owner| owner.uid != *uid) {
                slot.clear(worker);
            }
        }
        for slot in self.slots.iter_mut().skip(self.current.len()) {
            slot.clear(worker);
        }
    }

    /// Rings when another worker wants connections that lie idle here: then [`Pool::give_way`] is due.
    #[must_use]
    pub fn call(&self) -> Arc<Notify> {
        self.call.clone()
    }

    /// Closes idle connections, the oldest first, for as long as others wait for them.
    pub fn give_way(&mut self, now: Nanos, worker: usize) {
        for index in 0..self.slots.len() {
            let Some(owner) = self.slots[index].owner.clone() else {
                continue;
            };
            while let Some(oldest) = self.slots[index].idle.pop_front() {
                owner.stats.idle.add(worker, -1);
                let connection = oldest.connection;
                if let Some(connection) = self.pass_on(&owner, connection, now, worker) {
                    owner.stats.idle.add(worker, 1);
                    let kept = Idle {
                        connection,
                        ..oldest
                    };
                    self.slots[index].idle.push_front(kept);
                    break;
                }
            }
        }
    }

    /// Gives a connection to who waits for it; returns one that nobody needs.
    #[inline]
    fn pass_on(
        &mut self,
        endpoint: &EndpointState,
        connection: Connection,
        now: Nanos,
        worker: usize,
    ) -> Option<Connection> {
        let fresh = connection.served < FRESH && now < connection.born.plus(FRESH_FOR);
        match connection.hold.judge(worker, fresh) {
            Judgement::Keep => return Some(connection),
            Judgement::GiveUp => drop(connection),
            Judgement::Serve(number, waiter) => {
                self.ready.push(Ready {
                    uid: endpoint.uid,
                    number,
                    connection,
                });
                // Wakes it, without a permit: it looks here.
                drop(waiter);
            }
        }
        None
    }

    fn take_ready(&mut self, endpoint: &EndpointState, number: u64) -> Option<Connection> {
        let place = self
            .ready
            .iter()
            .position(|ready| ready.uid == endpoint.uid && ready.number == number)?;
        Some(self.ready.swap_remove(place).connection)
    }

    /// Was it in an earlier snapshot, and is it no more? One that no sweep has seen yet is not gone.
    fn is_gone(&self, endpoint: &EndpointState) -> bool {
        endpoint.uid <= self.newest && self.current.get(endpoint.slot) != Some(&endpoint.uid)
    }

    fn note_current(&mut self, endpoint: &EndpointState) {
        if self.current.len() <= endpoint.slot {
            self.current.resize(endpoint.slot + 1, 0);
        }
        self.current[endpoint.slot] = endpoint.uid;
        self.newest = self.newest.max(endpoint.uid);
    }

    fn slot_of(&mut self, endpoint: &Arc<EndpointState>, worker: usize) -> &mut Slot {
        if self.slots.len() <= endpoint.slot {
            self.slots.resize_with(endpoint.slot + 1, Slot::default);
        }
        let slot = &mut self.slots[endpoint.slot];
        if !slot.is_of(endpoint) {
            slot.clear(worker);
            slot.owner = Some(endpoint.clone());
        }
        slot
    }
}

impl Slot {
    fn is_of(&self, endpoint: &EndpointState) -> bool {
        // It keeps its owner alive, so an address means one endpoint.
        self.owner
            .as_deref()
            .is_some_and(|owner| std::ptr::eq(owner, endpoint))
    }

    fn sweep(&mut self, now: Nanos, policy: &PoolPolicy, lock: u64, worker: usize) {
        let before = self.idle.len();
        self.idle.retain(|idle| {
            let counted = policy.max_connections.is_none() || idle.connection.hold.is_there();
            let fits = counted && idle.connection.lock == lock;
            idle.until > now && fits && !idle.connection.sender.is_closed()
        });
        self.count(before, worker);
        self.trim(policy, now, worker);
    }

    /// Closes what is beyond the bound, as far as it has rested.
    fn trim(&mut self, policy: &PoolPolicy, now: Nanos, worker: usize) {
        let before = self.idle.len();
        let beyond = before.saturating_sub(policy.max_idle);
        if beyond == 0 {
            return;
        }
        let rested = |idle: &&Idle| idle.since.plus(REST) <= now;
        let surplus = self.idle.iter().take(beyond).take_while(rested).count();
        self.idle
            .drain(..surplus.max(beyond.saturating_sub(RESTING)));
        self.count(before, worker);
    }

    /// Its endpoint is gone.
    fn clear(&mut self, worker: usize) {
        let before = self.idle.len();
        self.idle.clear();
        self.count(before, worker);
        self.owner = None;
    }

    fn count(&self, before: usize, worker: usize) {
        if let Some(owner) = &self.owner {
            let gone = before - self.idle.len();
            owner.stats.idle.add(worker, -(gone as i64));
        }
    }
}

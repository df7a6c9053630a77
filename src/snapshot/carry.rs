//! State that outlives a snapshot: identity → state, taken over from the previous one.
//!
//! There is no registry beside the snapshots: the registry is the previous snapshot's `Carry`. The state of a name that
//! is gone is kept for ten minutes, so that removing and restoring a name forgets nothing and counters do not fall.

#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::filter::in_flight::Counts;
use crate::filter::limit::Buckets;
use crate::limit::{Quota, Room, Seed, Share};
use crate::metrics::{LimitStats, ListenerStats, RouteStats};
use crate::store::lease::Leases;
use crate::store::{Address, Link, Names};
use crate::time::Nanos;
use crate::tls::Target;
use crate::upstream::UpstreamState;
use crate::upstream::endpoint::EndpointState;
use crate::upstream::probe::{ProbeState, Question};

/// How long the state of a name that is gone is kept.
pub const KEPT_FOR: Duration = Duration::from_secs(600);

/// Listeners' numbers that are given before one is given again.
const MANY_NUMBERS: usize = 1024;

/// All state by its identity.
pub struct Carry {
    /// By route name.
    pub routes: Kept<String, RouteStats>,
    /// By upstream name.
    pub upstreams: Kept<String, UpstreamState>,
    /// By upstream name and address.
    pub endpoints: Kept<(String, SocketAddr), EndpointState>,
    /// By upstream name, address and what is asked.
    pub probes: Kept<(String, SocketAddr, Question), ProbeState>,
    /// By listener name.
    pub listeners: Kept<String, ListenerState>,
    /// Buckets, by the name of the limit and the definition of its key.
    pub buckets: Kept<(String, String), Buckets>,
    /// Stores, by name and address.
    pub stores: Kept<(String, Address), Link>,
    /// Tokens taken from stores, by the name of the limit, the definition of its key, and the store.
    pub leases: Kept<(String, String, String), Leases>,
    /// Requests under way, by route name and the definition of the key that they are counted by.
    in_flight: Kept<(String, String), Counts>,
    /// Counters of limits, by name.
    pub limits: Kept<String, LimitStats>,
    /// What all buckets and leases together may take.
    room: Arc<Room>,
    /// What keys are hashed with.
    seed: Seed,
    /// By upstream name and TLS settings: with the sessions that can be resumed.
    secure: Kept<(String, u64), Target>,
    now: Nanos,
    next_uid: u64,
    /// Counters of the listener that had each number last.
    numbered: Vec<Arc<ListenerStats>>,
    /// Slots that a living or kept endpoint holds; below `free_from` all are held.
    taken: HashSet<usize>,
    free_from: usize,
}

/// A listener's state: the number that stands for it in packed keys, and its counters.
pub struct ListenerState {
    /// Its place in `Snapshot::listeners`.
    pub number: u16,
    /// Counters.
    pub stats: Arc<ListenerStats>,
}

/// States of one kind. Shared between snapshots until one of them claims something.
pub struct Kept<K, S>(Arc<HashMap<K, Entry<S>>>);

struct Entry<S> {
    state: Arc<S>,
    gone_since: Option<Nanos>,
}

impl<S> Clone for Entry<S> {
    fn clone(&self) -> Self {
        Entry {
            state: self.state.clone(),
            gone_since: self.gone_since,
        }
    }
}

impl<K, S> Clone for Kept<K, S> {
    fn clone(&self) -> Self {
        Kept(self.0.clone())
    }
}

impl<K, S> Default for Kept<K, S> {
    fn default() -> Self {
        Kept(Arc::default())
    }
}

impl<K: Eq + Hash + Clone, S> Kept<K, S> {
    /// The states of this kind at `now`: those in use, and those gone for less than ten minutes.
    pub fn alive(&self, now: Nanos) -> impl Iterator<Item = (&K, &Arc<S>)> {
        self.0
            .iter()
            .filter(move |(_, entry)| is_kept(entry.gone_since, now))
            .map(|(key, entry)| (key, &entry.state))
    }

    /// The successor of `previous`, in which everything counts as gone until it is claimed.
    fn succeed(previous: Option<&Kept<K, S>>, now: Nanos) -> Kept<K, S> {
        previous.map_or_else(Kept::default, |previous| previous.release(now, |_| true))
    }

    /// The successor in which what `is_released` says counts as gone until it is claimed; the rest stays as it is.
    fn release(&self, now: Nanos, is_released: impl Fn(&K) -> bool) -> Kept<K, S> {
        let kept = self.0.iter().filter(|(_, e)| is_kept(e.gone_since, now));
        let entries = kept.map(|(key, e)| {
            let mut entry = e.clone();
            if is_released(key) {
                entry.gone_since = e.gone_since.or(Some(now));
            }
            (key.clone(), entry)
        });
        Kept(Arc::new(entries.collect()))
    }

    /// Since when nobody has claimed it; `None` = it is in use, or not known.
    fn gone_since(&self, key: &K) -> Option<Nanos> {
        self.0.get(key)?.gone_since
    }

    fn claim(&mut self, key: K, make: impl FnOnce() -> S) -> Arc<S> {
        // What is claimed already is left alone, for it may be shared with another snapshot.
        if let Some(entry) = self.0.get(&key).filter(|e| e.gone_since.is_none()) {
            return entry.state.clone();
        }
        let entries = Arc::make_mut(&mut self.0);
        let entry = entries.entry(key).or_insert_with(|| Entry {
            state: Arc::new(make()),
            gone_since: None,
        });
        entry.gone_since = None;
        entry.state.clone()
    }
}

/// The number of a new listener whose counters are `stats`. Counters and connections know listeners by number, so one is
/// given a second time only when many were given, its name is forgotten and its last connection has ended.
fn number(
    numbered: &mut Vec<Arc<ListenerStats>>,
    held: &HashSet<u16>,
    stats: &Arc<ListenerStats>,
) -> u16 {
    let is_free = |(number, before): &(u16, &Arc<ListenerStats>)| {
        !held.contains(number) && before.connections.sum() == 0
    };
    let free = if numbered.len() < MANY_NUMBERS {
        None
    } else {
        (0..).zip(numbered.iter()).find(is_free)
    };
    let number = free.map_or_else(
        || u16::try_from(numbered.len()).unwrap_or(u16::MAX),
        |(number, _)| number,
    );
    match numbered.get_mut(usize::from(number)) {
        Some(before) => *before = stats.clone(),
        None => numbered.push(stats.clone()),
    }
    number
}

fn slots(endpoints: &Kept<(String, SocketAddr), EndpointState>) -> HashSet<usize> {
    endpoints.0.values().map(|e| e.state.slot).collect()
}

fn is_kept(gone_since: Option<Nanos>, now: Nanos) -> bool {
    gone_since.is_none_or(|since| now.since(since) < KEPT_FOR)
}

impl Carry {
    /// Begins the state of a new snapshot from that of the previous one.
    #[must_use]
    pub fn succeed(previous: Option<&Carry>, now: Nanos) -> Carry {
        let endpoints = Kept::succeed(previous.map(|p| &p.endpoints), now);
        Carry {
            taken: slots(&endpoints),
            free_from: 0,
            routes: Kept::succeed(previous.map(|p| &p.routes), now),
            upstreams: Kept::succeed(previous.map(|p| &p.upstreams), now),
            endpoints,
            probes: Kept::succeed(previous.map(|p| &p.probes), now),
            listeners: Kept::succeed(previous.map(|p| &p.listeners), now),
            buckets: Kept::succeed(previous.map(|p| &p.buckets), now),
            in_flight: Kept::succeed(previous.map(|p| &p.in_flight), now),
            limits: Kept::succeed(previous.map(|p| &p.limits), now),
            stores: Kept::succeed(previous.map(|p| &p.stores), now),
            leases: Kept::succeed(previous.map(|p| &p.leases), now),
            room: previous.map_or_else(|| Arc::new(Room::new(0)), |p| p.room.clone()),
            seed: previous.map_or_else(Seed::random, |p| p.seed),
            secure: Kept::succeed(previous.map(|p| &p.secure), now),
            now,
            next_uid: previous.map_or(1, |p| p.next_uid),
            numbered: previous.map(|p| p.numbered.clone()).unwrap_or_default(),
        }
    }

    /// Begins the state of a snapshot that differs from the previous one in the endpoints of some upstreams only:
    /// those of the others, and all state of other kinds, are taken over unclaimed.
    #[must_use]
    pub fn readdress(previous: &Carry, is_moved: impl Fn(&str) -> bool, now: Nanos) -> Carry {
        let endpoints = previous
            .endpoints
            .release(now, |(upstream, _)| is_moved(upstream));
        Carry {
            taken: slots(&endpoints),
            free_from: 0,
            routes: previous.routes.clone(),
            upstreams: previous.upstreams.clone(),
            endpoints,
            probes: previous
                .probes
                .release(now, |(upstream, ..)| is_moved(upstream)),
            listeners: previous.listeners.clone(),
            buckets: previous.buckets.clone(),
            in_flight: previous.in_flight.clone(),
            limits: previous.limits.clone(),
            stores: previous.stores.clone(),
            leases: previous.leases.clone(),
            room: previous.room.clone(),
            seed: previous.seed,
            secure: previous.secure.clone(),
            now,
            next_uid: previous.next_uid,
            numbered: previous.numbered.clone(),
        }
    }

    /// When this snapshot was made.
    #[must_use]
    pub fn now(&self) -> Nanos {
        self.now
    }

    /// The counters of a route.
    pub fn route(&mut self, name: &str, workers: usize) -> Arc<RouteStats> {
        self.routes
            .claim(name.to_owned(), || RouteStats::new(workers))
    }

    /// The state of an upstream.
    pub fn upstream(&mut self, name: &str, workers: usize) -> Arc<UpstreamState> {
        self.upstreams
            .claim(name.to_owned(), || UpstreamState::new(workers))
    }

    /// The buckets of a limit; its key is part of what it is, its quota is not.
    pub fn buckets(
        &mut self,
        limit: &str,
        key: &str,
        quota: Quota,
        max_keys: u64,
        now: Nanos,
    ) -> Arc<Buckets> {
        let (room, seed) = (&self.room, self.seed);
        self.buckets.claim((limit.to_owned(), key.to_owned()), || {
            Buckets::new(quota, max_keys, room.clone(), seed, now)
        })
    }

    /// A store; its thread, its connection and what it counted.
    pub fn store(&mut self, name: &str, address: Address) -> Arc<Link> {
        self.stores.claim((name.to_owned(), address.clone()), || {
            Link::new(name, address)
        })
    }

    /// The leases of a limit.
    pub fn leases(&mut self, limit: &str, key: &str, store: &str, max_keys: u64) -> Arc<Leases> {
        let identity = (limit.to_owned(), key.to_owned(), store.to_owned());
        let most = usize::try_from(max_keys).unwrap_or(usize::MAX);
        let room = &self.room;
        self.leases.claim(identity, || {
            Leases::new(Names::new(limit, key), most, Share::new(room.clone()))
        })
    }

    /// The requests that a route has under way.
    pub fn in_flight(&mut self, route: &str, key: &str) -> Arc<Counts> {
        let seed = self.seed;
        self.in_flight
            .claim((route.to_owned(), key.to_owned()), || Counts::new(seed))
    }

    /// The counters of a limit.
    pub fn limit_stats(&mut self, name: &str, workers: usize) -> Arc<LimitStats> {
        self.limits
            .claim(name.to_owned(), || LimitStats::new(workers))
    }

    /// What all buckets and leases together may take.
    #[must_use]
    pub fn room(&self) -> &Arc<Room> {
        &self.room
    }

    /// The state of a listener; a new one gets the next number.
    pub fn listener(&mut self, name: &str, workers: usize) -> Arc<ListenerState> {
        let (listeners, numbered) = (&mut self.listeners, &mut self.numbered);
        let held: HashSet<u16> = listeners.0.values().map(|e| e.state.number).collect();
        listeners.claim(name.to_owned(), || {
            let stats = Arc::new(ListenerStats::new(workers));
            ListenerState {
                number: number(numbered, &held, &stats),
                stats,
            }
        })
    }

    /// What is known of an endpoint by the answers to one question.
    pub fn probe(
        &mut self,
        upstream: &str,
        address: SocketAddr,
        question: Question,
    ) -> Arc<ProbeState> {
        let (key, now) = ((upstream.to_owned(), address, question), self.now);
        self.probes.claim(key, || ProbeState::new(now))
    }

    /// TLS towards an endpoint of `upstream`, with the sessions of whoever had the same settings before.
    pub fn secure(&mut self, upstream: &str, target: &Target) -> Target {
        let key = (upstream.to_owned(), target.digest);
        let kept = self.secure.claim(key, || target.clone());
        Target {
            config: kept.config.clone(),
            ..target.clone()
        }
    }

    /// The state of an endpoint; a new one gets the lowest slot that no other holds.
    pub fn endpoint(
        &mut self,
        upstream: &str,
        address: SocketAddr,
        workers: usize,
    ) -> Arc<EndpointState> {
        let (taken, free_from, next_uid) =
            (&mut self.taken, &mut self.free_from, &mut self.next_uid);
        let (key, now) = ((upstream.to_owned(), address), self.now);
        // What the previous snapshot had is gone since now.
        let was_away = (self.endpoints.gone_since(&key)).is_some_and(|since| since < now);
        let state = self.endpoints.claim(key, || {
            while !taken.insert(*free_from) {
                *free_from += 1;
            }
            *next_uid += 1;
            let state = EndpointState::new(address, *free_from, *next_uid, workers);
            state.join(now);
            state
        });
        if was_away {
            state.join(now);
        }
        state
    }
}

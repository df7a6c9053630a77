//! The prober: asks every endpoint of an upstream with a `health_check`, beside all traffic, on the control thread.
//!
//! There is one task for each endpoint and question, however many routes and workers use the endpoint. It lives as long
//! as snapshots have the endpoint: a reload that changes nothing of it does not even wake it. Probes are spread over
//! their interval by chance, in [`SLOTS`] that all endpoints share: a thread that wakes for several does each of them
//! for less. At most [`MOST`] are under way at a time.

mod ask;

use std::cell::Cell;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use tokio::sync::Semaphore;
use tokio::task::{JoinHandle, spawn_local};

use crate::snapshot::Snapshot;
use crate::snapshot::shared::Shared;
use crate::time::{self, Nanos};
use crate::tls::Target;
use crate::upstream::endpoint::Endpoint;
use crate::upstream::probe::{Heard, ProbePolicy, ProbeState, Verdict};
use crate::upstream::{Upstream, UpstreamState};
use ask::{Answer, ask};

/// Probes under way at a time; further ones wait, which makes their interval longer.
const MOST: usize = 128;
/// Moments of an interval at which probes begin.
const SLOTS: u32 = 64;
/// Of so many descriptors that the process may open one may be a probe's connection between two probes.
const KEPT_OF: u64 = 16;

/// Probes what the current snapshot says, as it changes.
pub(super) async fn keep_probing(shared: Arc<Shared>) {
    let mut published = shared.subscribe();
    let mut prober = Prober {
        tasks: HashMap::new(),
        ground: Rc::new(Ground {
            places: Semaphore::new(MOST),
            kept: Arc::new(Semaphore::new(most_kept())),
            random: Cell::new(time::wall_nanos()),
        }),
    };
    loop {
        prober.follow(&shared.load());
        if published.changed().await.is_err() {
            return;
        }
    }
}

/// What all probes share.
struct Ground {
    places: Semaphore,
    /// For connections between two probes.
    kept: Arc<Semaphore>,
    random: Cell<u64>,
}

/// What is asked, of whom.
struct Job {
    upstream: String,
    label: String,
    address: SocketAddr,
    authority: HeaderValue,
    secure: Option<Box<Target>>,
    policy: ProbePolicy,
    state: Arc<ProbeState>,
    /// Hears of changed verdicts.
    heeds: Arc<UpstreamState>,
}

impl Job {
    fn of(upstream: &Upstream, endpoint: &Endpoint) -> Option<Job> {
        let (policy, state) = upstream.probe.as_ref().zip(endpoint.probe.as_ref())?;
        Some(Job {
            upstream: upstream.name.clone(),
            label: endpoint.state.label.clone(),
            address: endpoint.state.address,
            authority: endpoint.authority.clone(),
            secure: endpoint.secure.clone(),
            policy: policy.clone(),
            state: state.clone(),
            heeds: upstream.state.clone(),
        })
    }

    /// Is it what is asked already, in the same way? Whom and what the state says, for it belongs to them.
    fn is_like(&self, other: &Job) -> bool {
        Arc::ptr_eq(&self.state, &other.state)
            && Arc::ptr_eq(&self.heeds, &other.heeds)
            && self.policy == other.policy
            && self.secure == other.secure
    }

    fn take_down(&self, answer: Answer) {
        let heard = Heard {
            at: time::now(),
            is_good: answer.is_good,
            what: answer.what,
        };
        let what = heard.what.clone();
        let Some(verdict) = self.state.hear(heard, &self.policy) else {
            return;
        };
        self.heeds.step();
        let Job {
            upstream, label, ..
        } = self;
        let path = &*self.policy.path;
        match verdict {
            Verdict::Unhealthy => tracing::warn!(
                upstream,
                endpoint = label,
                path,
                last = what,
                "{label} of {upstream} is left out: {} probes in a row failed, the last: {what}",
                self.policy.unhealthy,
            ),
            Verdict::Healthy | Verdict::Unknown => tracing::info!(
                upstream,
                endpoint = label,
                path,
                "{label} of {upstream} is healthy: {what}"
            ),
        }
    }
}

struct Task {
    job: Rc<Job>,
    handle: JoinHandle<()>,
}

impl Drop for Task {
    fn drop(&mut self) {
        self.handle.abort();
    }
}

struct Prober {
    /// By the address of the state.
    tasks: HashMap<*const ProbeState, Task>,
    ground: Rc<Ground>,
}

impl Prober {
    /// From now on the endpoints of this snapshot are asked, and no others.
    fn follow(&mut self, snapshot: &Snapshot) {
        let mut before = std::mem::take(&mut self.tasks);
        let upstreams = snapshot.upstreams.iter();
        let jobs = upstreams.flat_map(|u| u.endpoints.iter().filter_map(|e| Job::of(u, e)));
        for job in jobs {
            let key = Arc::as_ptr(&job.state);
            let task = match before.remove(&key).filter(|task| task.job.is_like(&job)) {
                Some(task) => task,
                None => self.start(Rc::new(job)),
            };
            self.tasks.insert(key, task);
        }
    }

    fn start(&self, job: Rc<Job>) -> Task {
        let handle = spawn_local(probe(job.clone(), self.ground.clone()));
        Task { job, handle }
    }
}

/// Asks again and again, until it is aborted.
async fn probe(job: Rc<Job>, ground: Rc<Ground>) {
    let interval = job.policy.interval;
    let mut kept = None;
    let mut due = first_due(&job.state, interval, time::now(), ground.draw());
    loop {
        job.state.plan(due);
        tokio::time::sleep(due.since(time::now())).await;
        let Ok(place) = ground.places.acquire().await else {
            return;
        };
        // Boxed: what waits is small, and there may be thousands.
        let answer = Box::pin(ask(&job, &mut kept, &ground.kept)).await;
        drop(place);
        if let Some(answer) = answer {
            job.take_down(answer);
        }
        due = next_due(due, interval, time::now(), ground.draw());
    }
}

/// A new endpoint is asked at a moment of its first interval; one that is asked in another way, when it was due.
fn first_due(state: &ProbeState, interval: Duration, now: Nanos, random: u64) -> Nanos {
    let planned = state.next();
    if planned > now && planned < now.plus(interval) {
        return planned;
    }
    let slot = interval / SLOTS;
    on_slot(now.plus(part(interval - slot, random)), slot)
}

/// An interval after the last time, a tenth more or less; at once where that is over.
fn next_due(last: Nanos, interval: Duration, now: Nanos, random: u64) -> Nanos {
    let slot = interval / SLOTS;
    let early = last.plus(interval - interval / 10);
    on_slot(early.plus(part(interval / 5 - slot, random)), slot).max(now)
}

/// The first beginning of a slot from `moment` on.
fn on_slot(moment: Nanos, slot: Duration) -> Nanos {
    let slot = u64::try_from(slot.as_nanos()).unwrap_or(u64::MAX).max(1);
    Nanos(moment.0.div_ceil(slot).saturating_mul(slot))
}

/// Connections that are kept between probes, over all endpoints.
fn most_kept() -> usize {
    let most = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    usize::try_from(most.unwrap_or(u64::MAX) / KEPT_OF)
        .unwrap_or(Semaphore::MAX_PERMITS)
        .min(Semaphore::MAX_PERMITS)
}

/// From 0 up to `time`.
fn part(time: Duration, random: u64) -> Duration {
    let nanos = (time.as_nanos() * u128::from(random)) >> 64;
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

impl Ground {
    /// A number that need not be secret (SplitMix64).
    fn draw(&self) -> u64 {
        let state = self.random.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        self.random.set(state);
        let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const INTERVAL: Duration = Duration::from_secs(5);

    proptest! {
        #[test]
        fn probes_are_an_interval_apart_but_for_a_tenth(last in 0..1_u64 << 50, random: u64) {
            let last = Nanos(last);
            let next = next_due(last, INTERVAL, last, random);
            let apart = next.since(last);
            prop_assert!(apart >= INTERVAL * 9 / 10 && apart <= INTERVAL * 11 / 10);
            let late = last.plus(INTERVAL * 3);
            prop_assert_eq!(next_due(last, INTERVAL, late, random), late);
        }

        #[test]
        fn the_first_one_comes_within_an_interval(random: u64, planned in 0..20_u64) {
            let (state, now) = (ProbeState::new(Nanos(0)), Nanos(10_000_000_000));
            state.plan(Nanos(planned * 1_000_000_000));
            let first = first_due(&state, INTERVAL, now, random);
            prop_assert!(first >= now && first < now.plus(INTERVAL));
            if (11..15).contains(&planned) {
                prop_assert_eq!(first, state.next(), "what was planned holds");
            }
        }
    }
}

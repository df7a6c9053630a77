//! Who of an upstream's endpoints may serve, worked out anew only when that changes.
//!
//! Whoever changes what an endpoint may do (an ejection, a verdict of probes) steps the upstream's epoch on;
//! what ends by itself has a time. While everybody serves in full, a pick compares two numbers and looks no further. Else
//! it finds a [`Part`] here: the share of each endpoint, and a draw among those that have one. Laws: an ejection is never
//! what leaves nobody; below `panic_below` all serve again.

use std::sync::Arc;
use std::sync::atomic::{
    AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
};
use std::time::Duration;

use arc_swap::ArcSwapOption;

use super::balance::Draw;
use super::bars::Bars;
use crate::time::Nanos;

/// A whole share.
pub const FULL: u32 = 1 << 16;

/// What an endpoint gets at once when it comes back, of [`FULL`]: less would tell nothing of it.
const LEAST: u32 = FULL / 10;

/// A growing share is looked at so many times until it is whole.
const STEPS: u32 = 50;

/// What decides who may serve, beside the endpoints. Part of a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct ServingPolicy {
    /// Below this share of endpoints that serve, of a million, all do; `None` = off.
    pub panic_below: Option<u32>,
    /// Time over which an endpoint that came back grows to its whole share; `None` = off.
    pub slow_start: Option<Duration>,
}

/// One endpoint as it stands at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its weight in the file.
    pub weight: u32,
    /// What speaks against it.
    pub bars: Bars,
    /// When the first of these ends by itself; `Nanos(u64::MAX)` = never.
    pub until: Nanos,
    /// When it came, or came back; 0 = it was there from the beginning.
    pub came: Nanos,
}

/// Who may serve.
#[derive(Debug)]
pub enum Serving {
    /// Everybody, in full.
    Everybody,
    /// Some, or not all in full.
    Part(Part),
    /// Nobody.
    Nobody,
}

impl Serving {
    /// Does this endpoint serve?
    #[must_use]
    pub fn takes(&self, i: usize) -> bool {
        match self {
            Serving::Everybody => true,
            Serving::Part(part) => part.takes(i),
            Serving::Nobody => false,
        }
    }
}

/// Some of the endpoints, each with its share.
#[derive(Debug)]
pub struct Part {
    /// By their order; 0 = does not serve.
    shares: Box<[Share]>,
    draw: Draw,
    /// Are all used because too few serve?
    pub is_panic: bool,
}

#[derive(Clone, Copy, Debug)]
struct Share {
    weight: u32,
    /// Of [`FULL`].
    part: u32,
}

impl Part {
    /// Does it serve?
    #[must_use]
    pub fn takes(&self, i: usize) -> bool {
        self.shares.get(i).is_some_and(|share| share.weight > 0)
    }

    /// Its weight as it is now, beside that of the others.
    #[must_use]
    pub fn weight(&self, i: usize) -> u32 {
        self.shares.get(i).map_or(0, |share| share.weight)
    }

    /// Does it take a request whose number is `seed`, while its share grows? The higher the share the more numbers it
    /// takes, and none that it took before is refused.
    #[must_use]
    pub fn admits(&self, i: usize, seed: u64) -> bool {
        let part = self.shares.get(i).map_or(0, |share| share.part);
        (seed as u32) >> 16 < part
    }

    /// How much of its whole share it has, from 0 to 1.
    #[must_use]
    pub fn part(&self, i: usize) -> f64 {
        let part = self.shares.get(i).map_or(0, |share| share.part);
        f64::from(part) / f64::from(FULL)
    }

    /// A draw among those that serve, by their shares.
    #[must_use]
    pub fn draw(&self) -> &Draw {
        &self.draw
    }

    /// How many serve.
    #[must_use]
    pub fn count(&self) -> usize {
        self.shares.iter().filter(|share| share.weight > 0).count()
    }
}

/// Who of `entries` serves at `now`, and until when that holds if nothing happens.
#[must_use]
pub fn work_out(entries: &[Entry], policy: ServingPolicy, now: Nanos) -> (Serving, Nanos) {
    let unweighed = entries.iter().all(|entry| entry.weight == 0);
    let weight = |entry: &Entry| if unweighed { 1 } else { entry.weight };
    let counts = |entry: &&Entry| weight(entry) > 0;
    let all = entries.iter().filter(counts).count();
    let free = entries.iter().filter(counts);
    let free = free.filter(|entry| entry.bars.is_empty()).count();
    let is_panic = policy
        .panic_below
        .is_some_and(|share| (free as u64) * MILLION < u64::from(share) * all as u64);
    let ignored = match (is_panic, free) {
        (true, _) => Bars::EJECTED.and(Bars::UNHEALTHY),
        // Whoever is out for nothing else than failures of a while ago may have recovered; the others have not.
        (false, 0) => Bars::EJECTED,
        (false, _) => Bars::NONE,
    };
    let serves = |entry: &Entry| weight(entry) > 0 && entry.bars.is_within(ignored);
    let serving = entries.iter().filter(|entry| serves(entry));
    let ends = entries.iter().map(|entry| entry.until).min();
    let (parts, grown) = match policy.slow_start {
        Some(over) if !is_panic => grow(serving.clone().map(|entry| entry.came), over, now),
        _ => (Vec::new(), NEVER),
    };
    let until = ends.unwrap_or(NEVER).min(grown);
    if serving.clone().count() == 0 {
        return (Serving::Nobody, until);
    }
    if serving.count() == all && parts.is_empty() && !is_panic {
        return (Serving::Everybody, until);
    }
    let mut parts = parts.into_iter();
    let shares: Box<[Share]> = entries
        .iter()
        .map(|entry| match serves(entry) {
            false => Share { weight: 0, part: 0 },
            true => share(weight(entry), parts.next()),
        })
        .collect();
    let weights: Vec<u32> = shares.iter().map(|share| share.weight).collect();
    let draw = Draw::new(&weights);
    let part = Part {
        shares,
        draw,
        is_panic,
    };
    (Serving::Part(part), until)
}

/// `part` is `None` where nobody's share grows, so that weights stay as they are.
fn share(weight: u32, part: Option<u32>) -> Share {
    match part {
        None => Share { weight, part: FULL },
        Some(part) => Share {
            weight: weight.saturating_mul(SCALE * part / FULL).max(1),
            part,
        },
    }
}

/// The shares of those that came at these times, of that of the one with the most; none where all have the same. And
/// when they will have grown.
fn grow(
    came: impl Iterator<Item = Nanos> + Clone,
    over: Duration,
    now: Nanos,
) -> (Vec<u32>, Nanos) {
    let part = |came: Nanos| {
        let grown = now.since(came).as_nanos() * u128::from(FULL) / over.as_nanos().max(1);
        let grown = u32::try_from(grown).unwrap_or(FULL).clamp(LEAST, FULL);
        if came.0 == 0 { FULL } else { grown }
    };
    let Some(most) = came.clone().map(part).max() else {
        return (Vec::new(), NEVER);
    };
    let grows = |came: Nanos| part(came) < FULL;
    let first = came.clone().next();
    let together = came.clone().all(|came| Some(came) == first);
    if together || !came.clone().any(grows) {
        return (Vec::new(), NEVER);
    }
    let of_most = |part: u32| (u64::from(part) * u64::from(FULL) / u64::from(most)) as u32;
    (
        came.map(|came| of_most(part(came))).collect(),
        now.plus((over / STEPS).max(Duration::from_millis(1))),
    )
}

/// How much finer weights are while a share grows.
const SCALE: u32 = 64;
const MILLION: u64 = 1_000_000;
const NEVER: Nanos = Nanos(u64::MAX);

/// What was worked out last for one snapshot of an upstream.
#[derive(Debug)]
pub struct Roster {
    /// The epoch in which everybody serves in full; [`UNKNOWN`] = not known.
    full_in: AtomicU64,
    known: ArcSwapOption<Known>,
}

/// Who serves, and for how long that is known.
#[derive(Debug)]
struct Known {
    epoch: u64,
    until: Nanos,
    serving: Serving,
}

const UNKNOWN: u64 = u64::MAX;

impl Default for Roster {
    fn default() -> Roster {
        Roster {
            full_in: AtomicU64::new(UNKNOWN),
            known: ArcSwapOption::empty(),
        }
    }
}

impl Roster {
    /// Does everybody serve in full, in this epoch?
    #[inline]
    #[must_use]
    pub fn is_full_in(&self, epoch: u64) -> bool {
        self.full_in.load(Relaxed) == epoch
    }

    /// Tells `use_it` who serves in this epoch, at `now`; worked out by `make` if that is not known.
    pub fn look<R>(
        &self,
        epoch: &AtomicU64,
        now: Nanos,
        make: impl FnOnce() -> (Serving, Nanos),
        use_it: impl FnOnce(&Serving) -> R,
    ) -> R {
        // Read before the endpoints are: what changes meanwhile has a later epoch, and is found by the next.
        let epoch = epoch.load(Acquire);
        let known = self.known.load();
        if let Some(known) = known.as_ref()
            && known.epoch == epoch
            && now < known.until
        {
            self.note(known);
            return use_it(&known.serving);
        }
        drop(known);
        let (serving, until) = make();
        let known = Arc::new(Known {
            epoch,
            until,
            serving,
        });
        self.known.store(Some(known.clone()));
        self.note(&known);
        use_it(&known.serving)
    }

    /// From now on nobody needs to look, until something changes.
    fn note(&self, known: &Known) {
        if known.until == NEVER && matches!(known.serving, Serving::Everybody) {
            self.full_in.store(known.epoch, Release);
        }
    }
}

#[cfg(test)]
mod tests;

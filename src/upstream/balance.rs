//! Which endpoint takes the next attempt. Pure: the random number and `now` are arguments.
//!
//! Laws, of every balancer: an endpoint of weight 0 gets nothing (unless all have that weight); one whose last connect
//! failed a moment ago only what no other could take; one that just failed this request only if there is no other; one
//! that is left out nothing at all, and one that came back its growing share. A pick costs the same however many
//! endpoints there are, while those that it comes upon serve.

mod draw;
mod latency;
mod order;
mod rendezvous;
mod sticky;
#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use http::HeaderValue;

use super::endpoint::Endpoint;
use super::serving::Part;
use crate::http::key::{Facts, Key};
use crate::time::Nanos;
pub use draw::Draw;
pub use latency::Latency;
use order::Order;
use rendezvous::Table;
pub use sticky::Sticky;

/// A way to choose, as the file names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Way {
    /// One after the other, over all workers together, in a smooth order.
    RoundRobin,
    /// The one with fewer attempts under way for its weight, of two drawn at random (the power of two choices).
    LeastRequests,
    /// At random.
    Random,
    /// The one that took less time lately, of two drawn at random.
    Latency,
    /// By the hash of a key; a request without the key as [`Way::LeastRequests`].
    Hash(Key),
    /// Where the client's cookie says; a client without a cookie of one that serves as [`Way::LeastRequests`].
    StickyCookie(Sticky),
}

/// What one pick depends on, beside the state of the endpoints.
#[derive(Clone, Copy, Debug)]
pub struct Ask {
    /// The present moment.
    pub now: Nanos,
    /// Decides between equals.
    pub random: u64,
    /// What [`Balancer::hash`] made of the request.
    pub hash: Option<u64>,
    /// The endpoint that just failed this request.
    pub avoid: Option<usize>,
}

/// A balancer, made ready for the endpoints of one upstream.
pub struct Balancer {
    means: Means,
    draw: Draw,
}

/// What each way needs. The set is closed, so it is an enum.
enum Means {
    Order(Order),
    LeastRequests,
    Random,
    /// With the mean weight of an endpoint.
    Latency(f64),
    Hash(Key, Table),
    /// With tokens in rising order, each with the number of its endpoint, and those in the order of the endpoints.
    StickyCookie(Sticky, Box<[(u64, u32)]>, Box<[u64]>),
}

impl Balancer {
    /// For these endpoints, in this order, and no others.
    #[must_use]
    pub fn new(way: &Way, endpoints: &[Endpoint]) -> Balancer {
        let weights: Vec<u32> = endpoints.iter().map(|e| e.weight).collect();
        let means = match way {
            Way::RoundRobin => Means::Order(Order::new(&weights)),
            Way::LeastRequests => Means::LeastRequests,
            Way::Random => Means::Random,
            Way::Latency => Means::Latency(mean(&weights)),
            Way::Hash(key) => {
                let named: Vec<_> = endpoints
                    .iter()
                    .map(|e| (e.state.address, e.weight))
                    .collect();
                Means::Hash(key.clone(), Table::new(&named))
            }
            Way::StickyCookie(sticky) => {
                let tokens: Box<[u64]> = endpoints
                    .iter()
                    .map(|e| sticky::token(e.state.address))
                    .collect();
                let mut known: Box<[(u64, u32)]> = tokens.iter().copied().zip(0..).collect();
                known.sort_unstable();
                Means::StickyCookie(sticky.clone(), known, tokens)
            }
        };
        Balancer {
            means,
            draw: Draw::new(&weights),
        }
    }

    /// The number of the endpoint to use; `None` only if there is none. `endpoints` are those that it was made for, of
    /// which all serve in full, and `turn` is of the upstream, for all workers and snapshots.
    #[must_use]
    #[inline]
    pub fn pick(&self, endpoints: &[Endpoint], turn: &AtomicUsize, ask: &Ask) -> Option<usize> {
        self.pick_of(endpoints, None, turn, ask)
    }

    /// The same where only a `part` of them serves in full; `None` = all do.
    #[must_use]
    pub fn pick_of(
        &self,
        endpoints: &[Endpoint],
        part: Option<&Part>,
        turn: &AtomicUsize,
        ask: &Ask,
    ) -> Option<usize> {
        let field = Field {
            endpoints,
            part,
            ask,
        };
        let draw = part.map_or(&self.draw, Part::draw);
        let (chosen, seed) = match &self.means {
            Means::Order(order) => {
                let turns = (0..TRIES).map(|_| order.at(turn.fetch_add(1, Relaxed)));
                (field.first_in_turn(turns, ask.random), ask.random)
            }
            Means::Random => (field.first_drawn(draw, ask.random), ask.random),
            Means::LeastRequests => return self.least_requests(&field),
            Means::Latency(mean) => {
                let two = draw.two(ask.random);
                (
                    field.better(two, |a, b| field.is_slower(a, b, *mean)),
                    ask.random,
                )
            }
            Means::Hash(_, table) => {
                let Some(hash) = ask.hash else {
                    return self.least_requests(&field);
                };
                let places = (0..TRIES).map(|try_| table.at(mix(hash, try_)));
                (field.first_in_turn(places, mix(hash, GROWTH)), hash)
            }
            Means::StickyCookie(_, known, _) => {
                let own = ask.hash.and_then(|token| find(known, token));
                let serves = |i: &usize| field.serves(*i) && field.weight(*i) > 0;
                match own.filter(serves) {
                    None => return self.least_requests(&field),
                    own => (own, ask.random),
                }
            }
        };
        chosen
            // Where some are left out a draw finds those that are not.
            .or_else(|| field.first_drawn(part?.draw(), seed))
            .or_else(|| field.any(seed))
    }

    /// Does it compare the attempts under way? Only then are they counted.
    #[must_use]
    pub fn counts_in_flight(&self) -> bool {
        !matches!(self.means, Means::Order(_) | Means::Random)
    }

    /// Does it compare how long attempts took? Only then are they observed.
    #[must_use]
    pub fn observes_latency(&self) -> bool {
        matches!(self.means, Means::Latency(_))
    }

    /// Does it look at the request? Only then [`Balancer::hash`] has an answer.
    #[must_use]
    pub fn reads_request(&self) -> bool {
        matches!(self.means, Means::Hash(..) | Means::StickyCookie(..))
    }

    /// What the request says of where it should go, the same in every process and version; `None` if it says nothing.
    /// `scratch` is emptied first.
    #[must_use]
    pub fn hash(&self, facts: &Facts<'_>, scratch: &mut Vec<u8>) -> Option<u64> {
        match &self.means {
            Means::Hash(key, _) => {
                scratch.clear();
                key.append(facts, scratch)
                    .then(|| rendezvous::hash(scratch))
            }
            Means::StickyCookie(sticky, ..) => sticky::read_cookie(facts.headers, &sticky.name),
            _ => None,
        }
    }

    /// The `Set-Cookie` for the answer of an endpoint, if the client does not have it: `hash` is what it came with.
    #[must_use]
    pub fn set_cookie(&self, index: usize, hash: Option<u64>, secure: bool) -> Option<HeaderValue> {
        let Means::StickyCookie(sticky, _, tokens) = &self.means else {
            return None;
        };
        let token = *tokens.get(index)?;
        (hash != Some(token)).then(|| sticky.set_cookie(token, secure))
    }

    fn least_requests(&self, field: &Field<'_>) -> Option<usize> {
        let draw = field.part.map_or(&self.draw, Part::draw);
        let two = draw.two(field.ask.random);
        field
            .better(two, |a, b| field.is_busier(a, b))
            .or_else(|| field.any(field.ask.random))
    }
}

/// How many it comes upon before it looks at all of them.
const TRIES: u64 = 8;

/// Which successor of a key's hash decides whether an endpoint whose share grows takes it.
const GROWTH: u64 = 1 << 32;

/// A slower one is taken for no slower than this part of its time: weight decides before noise does.
const NOISE: f64 = 0.2;

/// The endpoints of one pick.
struct Field<'a> {
    endpoints: &'a [Endpoint],
    /// `None` while all serve in full.
    part: Option<&'a Part>,
    ask: &'a Ask,
}

impl Field<'_> {
    /// Is there nothing to be said against it?
    fn serves(&self, i: usize) -> bool {
        let known = self.endpoints.get(i);
        self.ask.avoid != Some(i)
            && known.is_some_and(|e| !e.state.is_shunned(self.ask.now))
            && self.part.is_none_or(|part| part.takes(i))
    }

    /// Its weight beside that of the others: 0 for one that is left out.
    fn weight(&self, i: usize) -> u32 {
        match self.part {
            None => self.endpoints.get(i).map_or(0, |e| e.weight),
            Some(part) => part.weight(i),
        }
    }

    /// The first of those that serves and takes this request, while its share grows.
    fn first_in_turn(&self, mut those: impl Iterator<Item = usize>, seed: u64) -> Option<usize> {
        let takes = |i: usize| self.part.is_none_or(|part| part.admits(i, seed));
        those.find(|i| self.serves(*i) && takes(*i))
    }

    fn first_drawn(&self, draw: &Draw, seed: u64) -> Option<usize> {
        let mut drawn = (0..TRIES).map(|try_| draw.one(mix(seed, try_)));
        drawn.find(|i| self.serves(*i))
    }

    /// The better of two of which each may not serve.
    fn better(
        &self,
        (a, b): (usize, usize),
        is_worse: impl Fn(usize, usize) -> bool,
    ) -> Option<usize> {
        match (self.serves(a), self.serves(b)) {
            (true, true) => Some(if is_worse(a, b) { b } else { a }),
            (true, false) => Some(a),
            (false, true) => Some(b),
            (false, false) => None,
        }
    }

    /// Has `a` more under way for its weight? Compared without a division.
    fn is_busier(&self, a: usize, b: usize) -> bool {
        let load = |one: usize, other: usize| {
            let in_flight = self.endpoints[one].state.in_flight();
            u64::from(in_flight) * u64::from(self.weight(other).max(1))
        };
        load(a, b) > load(b, a)
    }

    fn is_slower(&self, a: usize, b: usize, mean: f64) -> bool {
        self.cost(a, mean) * (1.0 - NOISE) > self.cost(b, mean)
    }

    /// What one attempt more would take there, in nanoseconds. One that was never tried gets one attempt, and no
    /// second before it is known what became of the first.
    fn cost(&self, i: usize, mean: f64) -> f64 {
        let endpoint = &self.endpoints[i];
        let in_flight = f64::from(endpoint.state.in_flight());
        match endpoint.state.latency.estimate(self.ask.now) {
            Some(estimate) => {
                let part = self.part.map_or(1.0, |part| part.part(i));
                let weight = f64::from(endpoint.weight.max(1)) * part;
                estimate * (1.0 + in_flight * mean / weight.max(f64::MIN_POSITIVE))
            }
            None => in_flight * UNKNOWN,
        }
    }

    /// Looks at all of them: one of those against whom least is to be said, in proportion to weight.
    fn any(&self, seed: u64) -> Option<usize> {
        let unweighed = self.part.is_none() && self.endpoints.iter().all(|e| e.weight == 0);
        let weight = |i: usize| {
            if unweighed {
                1
            } else {
                u64::from(self.weight(i))
            }
        };
        let against = |i: usize| (self.ask.avoid == Some(i), !self.serves(i));
        let all = || (0..self.endpoints.len()).filter(|i| weight(*i) > 0);
        let least = all().map(against).min()?;
        let best = || all().filter(|i| against(*i) == least);
        let sum: u64 = best().map(weight).sum();
        let mut left = ((u128::from(seed) * u128::from(sum)) >> 64) as u64;
        best().find(|i| {
            let passed = left >= weight(*i);
            left = left.saturating_sub(weight(*i));
            !passed
        })
    }
}

/// Longer than anything takes: 1,000 years in nanoseconds.
const UNKNOWN: f64 = 3e19;

fn find(known: &[(u64, u32)], token: u64) -> Option<usize> {
    let at = known
        .binary_search_by_key(&token, |(token, _)| *token)
        .ok()?;
    Some(known[at].1 as usize)
}

fn mean(weights: &[u32]) -> f64 {
    let weighed = weights.iter().filter(|weight| **weight > 0);
    let (sum, count) = weighed.fold((0.0, 0.0), |(sum, count), weight| {
        (sum + f64::from(*weight), count + 1.0)
    });
    if sum > 0.0 { sum / count } else { 1.0 }
}

/// The `step`-th successor of a random number or a hash, itself for 0 (SplitMix64; part of what is fixed for ever).
fn mix(seed: u64, step: u64) -> u64 {
    if step == 0 {
        return seed;
    }
    let mut z = seed.wrapping_add(step.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

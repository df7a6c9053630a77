//! Which endpoint takes the next attempt. Pure: the random number and `now` are arguments.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use super::endpoint::Endpoint;
use crate::time::Nanos;

/// A balancer. The set is closed, so it is an enum.
pub enum Balancer {
    /// One after the other, over all workers together.
    RoundRobin,
    /// The one with fewer attempts under way, of two drawn at random (the power of two choices).
    LeastRequests,
}

impl Balancer {
    /// The index of the endpoint to use; `endpoints` holds at least two, and `turn` is theirs.
    #[must_use]
    pub fn pick(
        &self,
        endpoints: &[Endpoint],
        turn: &AtomicUsize,
        now: Nanos,
        random: u64,
    ) -> usize {
        match self {
            Balancer::RoundRobin => next_in_turn(turn, endpoints, now),
            Balancer::LeastRequests => better_of_two(endpoints, now, random),
        }
    }

    /// Does it compare the attempts under way? Only then are they counted.
    #[must_use]
    pub fn counts_in_flight(&self) -> bool {
        matches!(self, Balancer::LeastRequests)
    }
}

/// One turn each; an endpoint that could just not be connected to is passed over, if there is another.
fn next_in_turn(turn: &AtomicUsize, endpoints: &[Endpoint], now: Nanos) -> usize {
    let n = endpoints.len();
    let first = turn.fetch_add(1, Relaxed) % n;
    (0..n)
        .map(|step| (first + step) % n)
        .find(|i| !endpoints[*i].state.is_shunned(now))
        .unwrap_or(first)
}

fn better_of_two(endpoints: &[Endpoint], now: Nanos, random: u64) -> usize {
    let n = endpoints.len() as u64;
    let first = (((random >> 32) * n) >> 32) as usize;
    // Drawn from the others, so that two endpoints are always compared.
    let offset = 1 + (((random & 0xffff_ffff) * (n - 1)) >> 32) as usize;
    let second = (first + offset) % endpoints.len();
    let load = |i: usize| {
        let state = &endpoints[i].state;
        (state.is_shunned(now), state.in_flight())
    };
    match load(first).cmp(&load(second)) {
        std::cmp::Ordering::Greater => second,
        std::cmp::Ordering::Less | std::cmp::Ordering::Equal => first,
    }
}

//! Rate limits on the way of a request: those of a listener or a route admit it together, or take nothing from it.
//!
//! [`ask`] decides and never waits. What there is to wait for it returns, and [`wait`] is the one place that does.

use std::time::Duration;

use http::header::HeaderValue;
use http::request::Parts;

use super::exchange::Exchange;
use super::tally::{Owner, Taken};
use super::wait::pause;
use crate::error::Reason;
use crate::filter::limit::fields::{Told, retry_after};
use crate::filter::limit::{Cost, Headers, Limit, Whose};
use crate::http::key::Facts;
use crate::http::reply::Refusal;
use crate::limit::{KeyId, Verdict};
use crate::metrics::Decision;
use crate::time::Nanos;

/// What a request must wait for before it goes on.
pub(super) enum Pending {
    /// Its turn, which comes then.
    Turn(Nanos),
}

/// Asks the limits of `owner`, for a request to `host`, which is without its port.
///
/// # Errors
/// 429 `rate_limited`; what other limits had given, the listener's too, is back where it was.
pub(super) fn ask(
    exchange: &mut Exchange,
    parts: &Parts,
    host: &[u8],
    owner: Owner,
) -> Result<Option<Pending>, Refusal> {
    let mut turn = None;
    for index in 0..exchange.limits_of(owner).len() {
        match ask_one(exchange, parts, host, owner, index) {
            Ok(None) => {}
            Ok(Some(at)) => turn = turn.max(Some(at)),
            Err(refusal) => {
                exchange.give_back();
                return Err(*refusal);
            }
        }
    }
    Ok(turn.map(Pending::Turn))
}

/// Waits for what is pending. A client that leaves meanwhile gives back what its request took.
///
/// # Errors
/// None yet: a turn comes.
pub(super) async fn wait(exchange: &mut Exchange, pending: Pending) -> Result<(), Refusal> {
    let Pending::Turn(at) = pending;
    let since = exchange.clock_for_log();
    exchange.set_waiting(true);
    let now = exchange.client.worker.read_clock();
    pause(exchange, at.since(now)).await;
    exchange.client.worker.read_clock();
    exchange.set_waiting(false);
    exchange.waited_since(since);
    Ok(())
}

/// Takes a place among the requests that the route carries at once.
///
/// # Errors
/// 429 `concurrency_limited`; what the rate limits had given is back where it was.
pub(super) fn enter(exchange: &mut Exchange, parts: &Parts, host: &[u8]) -> Result<(), Refusal> {
    let route = exchange.route();
    let Some(bound) = route.and_then(|route| route.max_in_flight.as_ref()) else {
        return Ok(());
    };
    let place = {
        let mut scratch = exchange.client.worker.key.borrow_mut();
        bound.enter(&facts(exchange, parts, host), &mut scratch)
    };
    if place.is_some() {
        exchange.place = place;
        return Ok(());
    }
    let whose = match &bound.key {
        None => "",
        Some(_) => " of one key",
    };
    let name = exchange.route().map_or("", |route| &route.name);
    let detail = format!(
        "route {name} carries {} requests{whose} at once",
        bound.most
    );
    exchange.give_back();
    Err(Refusal::because(Reason::ConcurrencyLimited, detail))
}

/// Asks one limit; tells when the request's turn is, if that is not now.
fn ask_one(
    exchange: &mut Exchange,
    parts: &Parts,
    host: &[u8],
    owner: Owner,
    index: usize,
) -> Result<Option<Nanos>, Box<Refusal>> {
    let used = &exchange.limits_of(owner)[index];
    let limit = &used.limit;
    let cost = match used.cost {
        Cost::Fixed(cost) => cost,
        Cost::Header(_) => 1,
    };
    let worker = &exchange.client.worker;
    let whose = {
        let mut scratch = worker.key.borrow_mut();
        limit.identify(&facts(exchange, parts, host), &mut scratch)
    };
    let key = match whose {
        Whose::Key(key) => key,
        Whose::Exempt => return Ok(None),
        Whose::Allowed => {
            limit.stats.count(worker.index, Decision::Allowed);
            return Ok(None);
        }
        Whose::Denied if !limit.policy.is_enforced => {
            limit.stats.count(worker.index, Decision::Observed);
            return Ok(None);
        }
        Whose::Denied => {
            limit.stats.count(worker.index, Decision::Limited);
            let refusal = refuse_keyless(limit);
            exchange.limited_by(owner, index);
            return Err(Box::new(refusal));
        }
    };
    let now = worker.recent();
    let patience = patience(exchange, now);
    let verdict = limit.take(key, cost, now, patience);
    let candidate = limit.take_from_candidate(key, cost, now);
    if candidate == Some(false) {
        limit.stats.count(worker.index, Decision::CandidateLimited);
    }
    let wait = verdict.admitted && limit.policy.is_enforced && !verdict.wait.is_zero();
    let waits = wait && limit.buckets().begin_to_wait(limit.policy.max_waiting);
    let passes = verdict.admitted && waits == wait;
    let taken = Taken {
        owner,
        index,
        key,
        cost,
        took: verdict.admitted,
        candidate_took: candidate == Some(true),
        waits,
        left: verdict.left,
        full_in: verdict.full_in,
    };
    settle(exchange, taken, passes, &verdict)?;
    Ok(waits.then(|| now.plus(verdict.wait)))
}

/// How long a request can wait: no longer than its route lets it take.
fn patience(exchange: &Exchange, now: Nanos) -> Duration {
    let longest = exchange.route().and_then(|route| route.request_timeout);
    longest.map_or(Duration::MAX, |longest| {
        exchange.started.plus(longest).since(now)
    })
}

/// Counts what a limit said, and keeps what it gave.
fn settle(
    exchange: &mut Exchange,
    taken: Taken,
    passes: bool,
    verdict: &Verdict,
) -> Result<(), Box<Refusal>> {
    let worker = exchange.client.worker.clone();
    let limit = &exchange.limits_of(taken.owner)[taken.index].limit;
    let decision = match (passes, limit.policy.is_enforced) {
        (true, _) => Decision::Allowed,
        (false, true) => Decision::Limited,
        (false, false) => Decision::Observed,
    };
    limit.stats.count(worker.index, decision);
    if !passes {
        note_limited(limit, taken.key, &worker.key.borrow());
    }
    if decision != Decision::Limited {
        exchange.took(taken);
        return Ok(());
    }
    if taken.took {
        // There was a turn for it, and no place to wait for that.
        let now = worker.recent();
        limit.buckets().give_back(taken.key, taken.cost, now);
    }
    let refusal = refuse(limit, verdict);
    exchange.limited_by(taken.owner, taken.index);
    Err(Box::new(refusal))
}

/// What a key may see. Read before anything of the request is changed.
fn facts<'a>(exchange: &'a Exchange, parts: &'a Parts, host: &'a [u8]) -> Facts<'a> {
    Facts {
        client: exchange.client_address,
        host,
        path: parts.uri.path(),
        query: parts.uri.query(),
        method: &parts.method,
        headers: &parts.headers,
        route: exchange.route().map_or("", |route| route.name.as_str()),
        connection: exchange.client.id,
        subject: exchange.client.subject(),
    }
}

#[cold]
fn note_limited(limit: &Limit, key: KeyId, bytes: &[u8]) {
    let limiter = limit.buckets().limiter();
    limiter.note_limited(key, limit.policy.key.show(bytes).as_bytes());
}

#[cold]
fn refuse(limit: &Limit, verdict: &Verdict) -> Refusal {
    let name = &limit.name;
    let mut refusal = Refusal::because(
        Reason::RateLimited,
        format!("the limit {name} admits no more requests for now"),
    );
    refusal.limit = Some(name.as_str().into());
    refusal.fields.extend(retry_after(verdict.wait));
    refusal
        .fields
        .extend(tell(limit, verdict.left, verdict.full_in));
    refusal
}

#[cold]
fn refuse_keyless(limit: &Limit) -> Refusal {
    let (name, key) = (&limit.name, &limit.policy.key);
    let detail = format!("the limit {name} asks for {key}, which is missing");
    let mut refusal = Refusal::because(Reason::RateLimited, detail);
    refusal.limit = Some(name.as_str().into());
    refusal
}

/// The fields that a refusal carries.
fn tell(limit: &Limit, left: u64, full_in: Duration) -> Vec<(http::HeaderName, HeaderValue)> {
    if limit.policy.headers == Headers::Off {
        return Vec::new();
    }
    let mut told = Told::default();
    told.add(&limit.name, &limit.shown, left, full_in);
    told.into_fields().into_iter().flatten().collect()
}

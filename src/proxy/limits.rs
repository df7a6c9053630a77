//! Rate limits on the way of a request: those of a listener or a route admit it together, or take nothing from it.
//!
//! [`ask`] decides and never waits. What there is to wait for it returns, and [`wait`] is the one place that does: a
//! request that need not wait makes no future.

use std::pin::Pin;
use std::time::Duration;

use http::request::Parts;

use super::exchange::Exchange;
use super::limited::{refuse, refuse_keyless};
use super::tally::{Owner, Taken};
use super::wait::pause;
use super::whose::{facts, identify, look};
use crate::error::Reason;
use crate::filter::limit::place::{Question, Said, Source, Use};
use crate::filter::limit::{Cost, Limit, Whose};
use crate::http::reply::Refusal;
use crate::limit::{KeyId, Verdict};
use crate::metrics::Decision;
use crate::time::Nanos;

/// What a request must wait for before it goes on.
enum Pending {
    /// Its turn, which comes then.
    Turn(Nanos),
    /// What the store of a limit says.
    Answer(Box<Asked>),
}

/// A limit whose store was asked.
struct Asked {
    owner: Owner,
    index: usize,
    key: KeyId,
    cost: u64,
    candidate: Option<bool>,
    question: Question,
}

/// The wait for what is pending, and for what comes after it.
pub(super) type Wait<'a> = Pin<Box<dyn Future<Output = Result<(), Refusal>> + 'a>>;

/// How far a request has come with the limits of one owner.
#[derive(Default)]
struct Walk {
    /// The limit that is asked next.
    next: usize,
    /// The latest turn that one of them gave it.
    turn: Option<Nanos>,
}

/// What one limit means for a request.
enum Step {
    /// It goes on, at its turn if it got one.
    On(Option<Nanos>),
    /// It waits for a store.
    Ask(Asked),
}

/// Asks the limits of `owner`, for a request to `host`, which is without its port; returns the wait where they say so.
///
/// # Errors
/// 429 `rate_limited`, 503 `store_unavailable`, of the wait too; what other limits had given, the listener's too, is
/// back where it was.
#[inline(always)]
pub(super) fn pass<'a>(
    exchange: &'a mut Exchange,
    parts: &'a Parts,
    host: &'a [u8],
    owner: Owner,
) -> Result<Option<Wait<'a>>, Refusal> {
    if exchange.limits_of(owner).is_empty() {
        return Ok(None);
    }
    begin(exchange, parts, host, owner)
}

fn begin<'a>(
    exchange: &'a mut Exchange,
    parts: &'a Parts,
    host: &'a [u8],
    owner: Owner,
) -> Result<Option<Wait<'a>>, Refusal> {
    let mut walk = Walk::default();
    let Some(pending) = ask(exchange, parts, host, owner, &mut walk)? else {
        return Ok(None);
    };
    // Boxed: waiting is rare, and its size would be every request's.
    Ok(Some(Box::pin(go_on(
        exchange, parts, host, owner, walk, pending,
    ))))
}

async fn go_on(
    exchange: &mut Exchange,
    parts: &Parts,
    host: &[u8],
    owner: Owner,
    mut walk: Walk,
    mut pending: Pending,
) -> Result<(), Refusal> {
    loop {
        wait(exchange, parts, host, pending, &mut walk).await?;
        match ask(exchange, parts, host, owner, &mut walk)? {
            Some(next) => pending = next,
            None => return Ok(()),
        }
    }
}

/// Asks the limits of `owner` that were not asked yet, up to one that must be waited for.
fn ask(
    exchange: &mut Exchange,
    parts: &Parts,
    host: &[u8],
    owner: Owner,
    walk: &mut Walk,
) -> Result<Option<Pending>, Refusal> {
    while walk.next < exchange.limits_of(owner).len() {
        let index = walk.next;
        walk.next += 1;
        match ask_one(exchange, parts, host, owner, index) {
            Ok(Step::On(turn)) => walk.turn = walk.turn.max(turn),
            Ok(Step::Ask(asked)) => return Ok(Some(Pending::Answer(Box::new(asked)))),
            Err(refusal) => {
                exchange.give_back();
                return Err(*refusal);
            }
        }
    }
    Ok(walk.turn.take().map(Pending::Turn))
}

/// Waits for what is pending. A client that leaves meanwhile gives back what its request took.
async fn wait(
    exchange: &mut Exchange,
    parts: &Parts,
    host: &[u8],
    pending: Pending,
    walk: &mut Walk,
) -> Result<(), Refusal> {
    let since = exchange.clock_for_log();
    let done = match pending {
        Pending::Turn(at) => {
            wait_for_turn(exchange, at).await;
            Ok(None)
        }
        Pending::Answer(asked) => hear(exchange, parts, host, *asked).await,
    };
    exchange.waited_since(since);
    match done {
        Ok(turn) => {
            walk.turn = walk.turn.max(turn);
            Ok(())
        }
        Err(refusal) => {
            exchange.give_back();
            Err(*refusal)
        }
    }
}

async fn wait_for_turn(exchange: &mut Exchange, at: Nanos) {
    exchange.set_waiting(true);
    let now = exchange.client.worker.read_clock();
    pause(exchange, at.since(now)).await;
    exchange.client.worker.read_clock();
    exchange.set_waiting(false);
}

/// Waits for a store, but no longer than its `timeout`: then the limit holds without it.
async fn hear(
    exchange: &mut Exchange,
    parts: &Parts,
    host: &[u8],
    asked: Asked,
) -> Result<Option<Nanos>, Box<Refusal>> {
    let (key, cost) = (asked.key, asked.cost);
    let (asking, reading) = asked.question.part();
    let used = exchange.limits_of(asked.owner).get(asked.index);
    let limit = used.map(|used| used.limit.clone());
    // The snapshot is pinned: the limit is where it was.
    let Some(limit) = limit else {
        return Ok(None);
    };
    exchange.set_pending(true);
    let level = limit.hear(asking).await;
    exchange.set_pending(false);
    let now = exchange.client.worker.read_clock();
    // Another request may have put its own key together meanwhile.
    look(exchange, parts, host, &limit);
    let said = match level {
        Some(level) => {
            let (verdict, source) = reading.read(&level, cost, limit.policy.quota);
            Said::Verdict(verdict, source)
        }
        None => {
            let used = Use {
                key,
                bytes: &[],
                cost,
                patience: patience(exchange, &limit, now),
            };
            limit.take_without_store(used, now)
        }
    };
    let place = (asked.owner, asked.index);
    match conclude(exchange, place, key, cost, said, asked.candidate)? {
        Step::On(turn) => Ok(turn),
        Step::Ask(_) => Ok(None),
    }
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

/// Asks one limit.
fn ask_one(
    exchange: &mut Exchange,
    parts: &Parts,
    host: &[u8],
    owner: Owner,
    index: usize,
) -> Result<Step, Box<Refusal>> {
    let used = &exchange.limits_of(owner)[index];
    let limit = &used.limit;
    let cost = match used.cost {
        Cost::Fixed(cost) => cost,
        Cost::Header(_) => 1,
    };
    let worker = &exchange.client.worker;
    let key = match identify(exchange, parts, host, limit) {
        Whose::Key(key) => key,
        Whose::Exempt => return Ok(Step::On(None)),
        Whose::Allowed => {
            limit.stats.count(worker.index, Decision::Allowed);
            return Ok(Step::On(None));
        }
        Whose::Denied if !limit.policy.is_enforced => {
            limit.stats.count(worker.index, Decision::Observed);
            return Ok(Step::On(None));
        }
        Whose::Denied => {
            limit.stats.count(worker.index, Decision::Limited);
            let refusal = refuse_keyless(limit);
            exchange.limited_by(owner, index);
            return Err(Box::new(refusal));
        }
    };
    let now = worker.recent();
    if limit.is_plain() {
        let verdict = limit.buckets().limiter().check(key, cost, now);
        if verdict.admitted && exchange.is_last_asked(owner, index) {
            limit.stats.count(worker.index, Decision::Allowed);
            return Ok(Step::On(None));
        }
        let said = Said::Verdict(verdict, Source::Local);
        return conclude(exchange, (owner, index), key, cost, said, None);
    }
    let patience = patience(exchange, limit, now);
    let said = {
        let bytes = &worker.key.borrow();
        let used = Use {
            key,
            bytes,
            cost,
            patience,
        };
        limit.take(used, now)
    };
    let candidate = limit.take_from_candidate(key, cost, now);
    if candidate == Some(false) {
        limit.stats.count(worker.index, Decision::CandidateLimited);
    }
    conclude(exchange, (owner, index), key, cost, said, candidate)
}

/// Draws the conclusions from what a limit said.
fn conclude(
    exchange: &mut Exchange,
    (owner, index): (Owner, usize),
    key: KeyId,
    cost: u64,
    said: Said,
    candidate: Option<bool>,
) -> Result<Step, Box<Refusal>> {
    let limit = &exchange.limits_of(owner)[index].limit;
    let (verdict, source) = match said {
        Said::Verdict(verdict, source) => (verdict, source),
        Said::Ask(question) => {
            return Ok(Step::Ask(Asked {
                owner,
                index,
                key,
                cost,
                candidate,
                question,
            }));
        }
        Said::Unavailable => return unavailable(exchange, owner, index),
    };
    let now = exchange.client.worker.recent();
    let wait = verdict.admitted && limit.policy.is_enforced && !verdict.wait.is_zero();
    let waits = wait && limit.buckets().begin_to_wait(limit.policy.max_waiting);
    let passes = verdict.admitted && waits == wait;
    let taken = Taken {
        owner,
        index,
        key,
        cost,
        source: verdict.admitted.then_some(source),
        candidate_took: candidate == Some(true),
        waits,
        left: verdict.left,
        full_in: verdict.full_in,
    };
    settle(exchange, taken, passes, &verdict)?;
    Ok(Step::On(waits.then(|| now.plus(verdict.wait))))
}

/// The store of a limit is away, and its `on_store_failure` is `deny`.
#[cold]
fn unavailable(exchange: &mut Exchange, owner: Owner, index: usize) -> Result<Step, Box<Refusal>> {
    let limit = &exchange.limits_of(owner)[index].limit;
    let worker = exchange.client.worker.index;
    if !limit.policy.is_enforced {
        limit.stats.count(worker, Decision::Observed);
        return Ok(Step::On(None));
    }
    limit.stats.count(worker, Decision::Limited);
    let detail = format!("the store of the limit {} is away", limit.name);
    let mut refusal = Refusal::because(Reason::StoreUnavailable, detail);
    refusal.limit = Some(limit.name.as_str().into());
    exchange.limited_by(owner, index);
    Err(Box::new(refusal))
}

/// How long a request can wait for a limit that lets it: no longer than its route lets it take.
fn patience(exchange: &Exchange, limit: &Limit, now: Nanos) -> Duration {
    if limit.policy.max_wait.is_zero() {
        return Duration::ZERO;
    }
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
    let worker = &exchange.client.worker;
    let limit = &exchange.limits_of(taken.owner)[taken.index].limit;
    let decision = match (passes, limit.policy.is_enforced) {
        (true, _) => Decision::Allowed,
        (false, true) => Decision::Limited,
        (false, false) => Decision::Observed,
    };
    limit.stats.count(worker.index, decision);
    if !passes {
        note_limited(exchange, limit, taken.key);
    }
    if decision != Decision::Limited {
        exchange.took(taken);
        return Ok(());
    }
    if let Some(source) = taken.source {
        // There was a turn for it, and no place to wait for that.
        limit.give_back(taken.key, source, taken.cost, worker.recent());
    }
    let refusal = refuse(limit, verdict);
    exchange.limited_by(taken.owner, taken.index);
    Err(Box::new(refusal))
}

#[cold]
fn note_limited(exchange: &Exchange, limit: &Limit, key: KeyId) {
    let mut bytes = exchange.client.worker.key.borrow_mut();
    if limit.is_by_address() {
        limit.spell(exchange.client_address, &mut bytes);
    }
    let limiter = limit.buckets().limiter();
    limiter.note_limited(key, limit.policy.key.show(&bytes).as_bytes());
}

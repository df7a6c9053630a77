//! After a failed try: whether there is another, with which request, and what becomes of an answer that nobody sees.

use std::rc::Rc;
use std::time::Duration;

use http::{Request, StatusCode};
use hyper::body::Incoming;
use tokio::task::spawn_local;

use super::breaker::{Asker, ask, may_try_again, refusal};
use super::drain_rest::read_out;
use super::exchange::Exchange;
use super::forward::{Plan, is_repeatable};
use super::retry::{Try, Verdict, decide};
use super::wait::pause;
use super::worker::Worker;
use crate::breaker::outcome::Outcome;
use crate::http::reply::Refusal;
use crate::http::upload::RequestBody;
use crate::snapshot::shared::Pin as Pinned;
use crate::upstream::connect::Connection;
use crate::upstream::retry::Cause;

/// Most bytes of an answer that are read for the sake of its connection.
const READ_OUT: u64 = 64 * 1024;
const READ_WITHIN: Duration = Duration::from_secs(1);

/// A try that failed.
pub(super) struct Failure {
    /// `None` where nothing could be tried again.
    cause: Option<Cause>,
    /// What the client hears if there is no other try; `None` while the exchange holds an answer, which it hears then.
    refusal: Option<Refusal>,
    /// May the endpoint have seen any of the request?
    sent: bool,
    /// What it tells of the endpoint.
    outcome: Outcome,
}

impl Failure {
    /// A try that may be followed by another.
    pub(super) fn of(cause: Cause, refusal: Refusal, sent: bool) -> Box<Failure> {
        Box::new(Failure {
            cause: Some(cause),
            outcome: Outcome::of_reason(refusal.reason),
            refusal: Some(refusal),
            sent,
        })
    }

    /// The end of all tries.
    pub(super) fn last(refusal: Refusal) -> Box<Failure> {
        Box::new(Failure {
            cause: None,
            outcome: Outcome::of_reason(refusal.reason),
            refusal: Some(refusal),
            sent: true,
        })
    }

    /// The same, of which the endpoint is innocent.
    pub(super) fn innocently(mut self: Box<Self>) -> Box<Failure> {
        self.outcome = Outcome::Neutral;
        self
    }

    /// An answer whose status may be tried again.
    pub(super) fn answered(status: StatusCode) -> Box<Failure> {
        Box::new(Failure {
            cause: Some(Cause::Status(status.as_u16())),
            outcome: Outcome::Answered(status),
            refusal: None,
            sent: true,
        })
    }
}

/// Waits until the next try is due, with the request back in its place: true. False when the answer that the exchange
/// holds is the one that the client gets.
///
/// # Errors
/// There is no next try, and no answer either.
pub(super) async fn go_on(
    exchange: &mut Exchange,
    request: &mut Option<Request<RequestBody>>,
    plan: &Plan<'_>,
    failure: Failure,
) -> Result<bool, Refusal> {
    exchange.fail(failure.outcome);
    let verdict = match failure.cause {
        Some(cause) => weigh(exchange, request, plan, cause, failure.sent),
        None => Verdict::GiveUp,
    };
    let Verdict::After(delay) = verdict else {
        return give_up(exchange, failure.refusal);
    };
    // A connection that still had to take some of the body ends with this try.
    let keeps_connection = exchange.is_uploaded();
    if request.is_none() && !remake(exchange, request) {
        return give_up(exchange, failure.refusal);
    }
    if let Some(cause) = failure.cause {
        count(exchange, plan, cause);
    }
    throw_away(exchange, keeps_connection);
    if delay > Duration::ZERO {
        exchange.release(exchange.client.worker.read_clock());
        pause(exchange, delay).await;
        exchange.client.worker.read_clock();
    }
    enter_again(exchange, plan)?;
    Ok(true)
}

/// The next attempt passes the breaker of the upstream like the first. The permit of the last one serves, where nothing
/// has moved; a probe's does not: each probe has its own.
fn enter_again(exchange: &mut Exchange, plan: &Plan<'_>) -> Result<(), Refusal> {
    let upstream = &exchange.pin.upstreams[plan.upstream];
    let state = &upstream.state.circuit.state;
    let worker = &exchange.client.worker;
    let last = exchange.last.take();
    if last
        .as_ref()
        .is_some_and(|last| state.still_holds(&last.permit))
    {
        exchange.permit = last.map(|last| last.permit);
        return Ok(());
    }
    let asker = Asker {
        now: worker.recent(),
        worker: worker.index,
    };
    match ask(upstream, asker) {
        Ok(permit) => {
            exchange.permit = permit;
            Ok(())
        }
        Err(refused) => {
            let refusal = refusal(upstream, refused);
            exchange.last = last;
            exchange.settle_last();
            Err(refusal)
        }
    }
}

/// Puts the request that was sent last back in its place, made anew from what is remembered of it.
pub(super) fn remake(exchange: &Exchange, request: &mut Option<Request<RequestBody>>) -> bool {
    let Some(connection) = &exchange.connection else {
        return false;
    };
    if !connection.tap.remembers() {
        return false;
    }
    let body = match &exchange.upload {
        None => Some(RequestBody::Empty),
        Some(upload) => upload.rewind(),
    };
    *request = body.and_then(|body| connection.tap.replay(body));
    request.is_some()
}

/// Could [`remake`] do it?
fn is_remembered(exchange: &Exchange) -> bool {
    let connection = exchange.connection.as_ref();
    let upload = exchange.upload.as_ref();
    connection.is_some_and(|c| c.tap.remembers()) && upload.is_none_or(|u| u.can_rewind())
}

fn weigh(
    exchange: &mut Exchange,
    request: &Option<Request<RequestBody>>,
    plan: &Plan<'_>,
    cause: Cause,
    sent: bool,
) -> Verdict {
    let worker = exchange.client.worker.clone();
    let upstream = &exchange.pin.upstreams[plan.upstream];
    let now = worker.read_clock();
    let tried = Try {
        cause,
        tried: exchange.attempts,
        idempotent: is_repeatable(exchange),
        sent,
        replayable: request.is_some() || is_remembered(exchange),
        answer_begun: began_to_answer(exchange, cause),
        other_endpoint: upstream.count_serving(now) > 1,
        now,
        due: plan.due,
        random: worker.random(),
    };
    let held = exchange.last.as_ref().map(|last| &last.permit);
    if !may_try_again(upstream, held, tried.now) {
        return Verdict::GiveUp;
    }
    decide(plan.retry, &tried, || {
        upstream.budget.as_ref().is_none_or(|policy| {
            // This one is among the requests that the budget is a share of.
            let requests = upstream.state.stats.requests() + 1;
            upstream.state.budget.take(policy, tried.now, requests)
        })
    })
}

/// Did bytes of an answer come, and no whole head? Whoever began to answer has processed the request.
fn began_to_answer(exchange: &Exchange, cause: Cause) -> bool {
    let connection = exchange.connection.as_ref();
    !matches!(cause, Cause::Status(_)) && connection.is_some_and(|c| c.tap.answered())
}

fn count(exchange: &Exchange, plan: &Plan<'_>, cause: Cause) {
    let stats = &exchange.pin.upstreams[plan.upstream].state.stats;
    stats
        .retries
        .add(exchange.client.worker.index, cause.counted() as u32, 1);
}

fn give_up(exchange: &mut Exchange, refusal: Option<Refusal>) -> Result<bool, Refusal> {
    exchange.settle_last();
    match refusal {
        None => Ok(false),
        Some(refusal) => {
            exchange.connection = None;
            Err(refusal)
        }
    }
}

/// The answer of a try that nobody will see is counted; a short one is read, so that its connection can be kept.
fn throw_away(exchange: &mut Exchange, keeps_connection: bool) {
    let (answer, connection) = (exchange.answer.take(), exchange.connection.take());
    let Some(answer) = answer else { return };
    exchange.heard(answer.status());
    if keeps_connection
        && let Some(connection) = connection
        && let Some(place) = exchange.place()
    {
        let (worker, pin) = (exchange.client.worker.clone(), exchange.pin.clone());
        let reading = keep_connection(worker, pin, place, connection, answer.into_body());
        spawn_local(async move {
            let _ = tokio::time::timeout(READ_WITHIN, reading).await;
        });
    }
}

/// Reads `body` to its end and gives its connection back.
async fn keep_connection(
    worker: Rc<Worker>,
    pin: Pinned,
    (upstream, endpoint): (usize, usize),
    connection: Connection,
    body: Incoming,
) {
    if !read_out(body, READ_OUT).await {
        return;
    }
    let upstream = &pin.upstreams[upstream];
    worker.pool.borrow_mut().put(
        &upstream.endpoints[endpoint].state,
        connection,
        &upstream.pool,
        worker.read_clock(),
        worker.index,
    );
}

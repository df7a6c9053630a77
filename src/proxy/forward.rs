//! One request at an upstream, in as many tries as it takes: an endpoint, a connection, the sending, the wait for the
//! answer's head.

use std::io;
use std::rc::Rc;
use std::time::Duration;

use http::{Request, StatusCode, header};
use hyper::client::conn::TrySendError;
use tokio::time::timeout;

use super::again::{Failure, go_on};
use super::answer::accept;
use super::breaker::{Asker, ask_endpoint, refusal};
use super::exchange::Exchange;
use super::open::open;
use super::outcome::is_client_slow;
use super::place::take_place;
use super::retry::is_idempotent;
use super::wait::wait_for_head;
use crate::breaker::Refused;
use crate::breaker::outcome::Outcome;
use crate::error::Reason;
use crate::http::reply::Refusal;
use crate::http::upload::{Progress, RequestBody, Upload};
use crate::time::Nanos;
use crate::upstream::Timeouts;
use crate::upstream::balance::Ask;
use crate::upstream::retry::{Cause, Policy};

/// How long hyper may take to part with the socket of a 101; it has nothing left to do.
const SOCKET_WITHIN: Duration = Duration::from_secs(1);
/// Most bytes of a request's body that are kept for another try.
const MOST_KEPT: u64 = 64 * 1024;

/// What a forward needs to know beside the request.
#[derive(Clone, Copy)]
pub struct Plan<'a> {
    /// Index into `Snapshot::upstreams`.
    pub upstream: usize,
    /// Deadlines of the attempt.
    pub timeouts: Timeouts,
    /// The end of the whole request.
    pub due: Option<Nanos>,
    /// Shall `Host` become the endpoint's own?
    pub endpoints_host: bool,
    /// What the request says of where it should go, for balancers that ask.
    pub hash: Option<u64>,
    /// What is tried again.
    pub retry: &'a Policy,
}

/// Sends the request and waits for the head of its answer, which the exchange then holds together with its connection;
/// of a WebSocket, with the bare socket.
///
/// `request` is a place that the request is taken from: it is large, and moving it from call to call would cost more
/// than most of what happens on the way.
///
/// # Errors
/// The reason of a 408, 413, 502, 503 or 504.
pub async fn forward(
    exchange: &mut Exchange,
    request: &mut Option<Request<RequestBody>>,
    plan: &Plan<'_>,
) -> Result<(), Box<Refusal>> {
    // Whatever the route tries again: the connection that is taken may be dying.
    if let Some(upload) = &exchange.upload
        && is_repeatable(exchange)
    {
        upload.keep_for_replay(MOST_KEPT);
    }
    take_place(exchange, plan).await?;
    let mut avoid = None;
    loop {
        match try_once(exchange, request, plan, &mut avoid).await {
            Ok(()) => break,
            // Boxed: a failure is rare, and what comes of it would be every request's size.
            Err(failure) => {
                let going_on = Box::pin(go_on(exchange, request, plan, *failure)).await?;
                if !going_on {
                    break;
                }
            }
        }
    }
    finish(exchange).await.inspect_err(|refusal| {
        exchange.conclude(Outcome::of_reason(refusal.reason));
    })
}

/// One try; `avoid` is the endpoint of the try before, and becomes that of this one.
async fn try_once(
    exchange: &mut Exchange,
    request: &mut Option<Request<RequestBody>>,
    plan: &Plan<'_>,
    avoid: &mut Option<usize>,
) -> Result<(), Box<Failure>> {
    let (pooled, replayable) = choose(exchange, request, plan, avoid)?;
    let due = match plan.retry.per_try_timeout {
        None => plan.due,
        Some(limit) => {
            let own = exchange.client.worker.read_clock().plus(limit);
            Some(plan.due.map_or(own, |due| due.min(own)))
        }
    };
    let (mut reused, mut turn_due) = (pooled, None);
    loop {
        if !reused {
            // Boxed: dialling is rare, and its size would be every request's.
            reused = Box::pin(open(exchange, plan, due, &mut turn_due)).await?;
            // Another family of the name may have been faster.
            *avoid = exchange.place().map(|(_, endpoint)| endpoint);
            // What comes next is timed from now.
            exchange.client.worker.read_clock();
        }
        let keeps = replayable && (reused || plan.retry.repeats_what_was_sent());
        match attempt(exchange, request, plan, due, keeps).await {
            Heard::Answered => return Ok(()),
            Heard::Failed(failure) => return Err(failure),
            Heard::Stale(unsent) if !reused => return Err(unsent),
            // The endpoint closed it while it lay idle. That is nobody's failure, and no attempt.
            Heard::Stale(_) => {
                exchange.connection = None;
                reused = false;
            }
        }
    }
}

async fn finish(exchange: &mut Exchange) -> Result<(), Box<Refusal>> {
    let switches = accept(exchange)? == StatusCode::SWITCHING_PROTOCOLS;
    if let (true, Some(opening)) = (switches, &mut exchange.opening) {
        let taken = Box::pin(timeout(SOCKET_WITHIN, opening.take_socket())).await;
        return taken.ok().flatten().ok_or_else(|| {
            let detail = "closed the connection with its 101";
            blame(exchange, Reason::UpstreamReset, detail).into()
        });
    }
    Ok(())
}

/// Holds an endpoint, and an idle connection to it if there is one; tells that, and whether the request could be sent
/// twice.
fn choose(
    exchange: &mut Exchange,
    request: &mut Option<Request<RequestBody>>,
    plan: &Plan<'_>,
    avoid: &mut Option<usize>,
) -> Result<(bool, bool), Box<Failure>> {
    let worker = &exchange.client.worker;
    let now = worker.recent();
    let ask = Ask {
        now,
        random: worker.random(),
        hash: plan.hash,
        avoid: *avoid,
    };
    let upstream = &exchange.pin.upstreams[plan.upstream];
    let Some(index) = upstream.pick(&ask) else {
        let detail = match upstream.endpoints.len() {
            0 => format!("upstream {} has no endpoint", upstream.name),
            n => format!(
                "of the {n} endpoints of upstream {} none may serve",
                upstream.name
            ),
        };
        return Err(Failure::last(Refusal::because(
            Reason::NoHealthyEndpoint,
            detail,
        )));
    };
    let index = if upstream.breaking.is_some() {
        pass(exchange, plan.upstream, index, &ask)?
    } else {
        index
    };
    *avoid = Some(index);
    exchange.hold(plan.upstream, index, now);
    let endpoint = &exchange.pin.upstreams[plan.upstream].endpoints[index];
    if plan.endpoints_host
        && let Some(request) = request
    {
        let host = endpoint.authority.clone();
        request.headers_mut().insert(header::HOST, host);
    }
    let worker = &exchange.client.worker;
    let pooled = worker
        .pool
        .borrow_mut()
        .take(&endpoint.state, endpoint.lock(), now, worker.index);
    exchange.connection = pooled;
    let replayable =
        is_repeatable(exchange) && exchange.upload.as_ref().is_none_or(|u| u.can_rewind());
    Ok((exchange.connection.is_some(), replayable))
}

/// Where each endpoint has a breaker: the one to use, with its permit, which is the one that was `picked` unless its
/// breaker is open.
#[cold]
fn pass(
    exchange: &mut Exchange,
    upstream: usize,
    picked: usize,
    ask: &Ask,
) -> Result<usize, Box<Failure>> {
    let pin = exchange.pin.clone();
    let upstream = &pin.upstreams[upstream];
    if upstream.circuit_of_endpoint(picked).is_none() {
        return Ok(picked);
    }
    let asker = Asker {
        now: ask.now,
        worker: exchange.client.worker.index,
    };
    let mut refused = Refused { left: None };
    for index in std::iter::once(picked).chain(upstream.others(picked, ask)) {
        match ask_endpoint(upstream, index, asker) {
            Ok(permit) => {
                exchange.permit = permit;
                return Ok(index);
            }
            Err(why) => refused = why,
        }
    }
    let refused = upstream.look_for_endpoint(ask.now).err().unwrap_or(refused);
    Err(Failure::last(refusal(upstream, refused)))
}

/// May the request reach an endpoint twice? Whoever opens a WebSocket may have been heard, whatever the method says.
pub(super) fn is_repeatable(exchange: &Exchange) -> bool {
    is_idempotent(&exchange.method) && exchange.opening.is_none()
}

/// What came of sending a request on one connection.
enum Heard {
    /// The exchange holds the answer.
    Answered,
    Failed(Box<Failure>),
    /// Not answered, and safe to send again: the request is back in its place. The failure is for a connection that was
    /// new.
    Stale(Box<Failure>),
}

async fn attempt(
    exchange: &mut Exchange,
    request: &mut Option<Request<RequestBody>>,
    plan: &Plan<'_>,
    due: Option<Nanos>,
    keeps: bool,
) -> Heard {
    let (Some(sent), Some(connection)) = (request.take(), &mut exchange.connection) else {
        return Heard::Failed(Failure::last(Refusal::from(Reason::InternalError)));
    };
    if let Some(opening) = &mut exchange.opening {
        opening.heir = Some(connection.heir.claim());
    }
    if keeps {
        connection.tap.arm();
    } else {
        connection.tap.disarm();
    }
    let sending = connection.sender.try_send_request(sent);
    match wait_for_head(exchange, plan, due, sending).await {
        Some(Ok(response)) => {
            let status = response.status();
            exchange.answer = Some(response);
            if status.is_server_error() && plan.retry.repeats_status(status.as_u16()) {
                return Heard::Failed(Failure::answered(status));
            }
            Heard::Answered
        }
        Some(Err(error)) => judge(exchange, request, error, keeps),
        None if stalls(exchange, due) => {
            let detail = "neither took more of the request nor answered";
            let refusal = blame(exchange, Reason::UpstreamTimeout, detail);
            Heard::Failed(Failure::last(refusal))
        }
        None => Heard::Failed(late(exchange, plan, "before an answer came", true)),
    }
}

/// The answer did not come: whose fault is that, and may the request be sent again?
#[cold]
fn judge(
    exchange: &mut Exchange,
    request: &mut Option<Request<RequestBody>>,
    mut error: TrySendError<Request<RequestBody>>,
    keeps: bool,
) -> Heard {
    if let Some(unsent) = error.take_message() {
        *request = Some(unsent);
        exchange.connection = None;
        let detail = "closed a new connection before the request";
        let refusal = blame(exchange, Reason::UpstreamReset, detail);
        return Heard::Stale(Failure::of(Cause::RefusedStream, refusal, false));
    }
    let error = error.into_error();
    if let Some(reason) = exchange
        .upload
        .as_ref()
        .and_then(|u| fault_of(u.progress()))
    {
        exchange.connection = None;
        return Heard::Failed(Failure::last(Refusal::from(reason)));
    }
    let broken = error.is_incomplete_message() || is_io(&error) || error.is_canceled();
    if !broken && !error.is_closed() {
        exchange.connection = None;
        let refusal = blame(exchange, Reason::UpstreamProtocolError, &error.to_string());
        return Heard::Failed(Failure::last(refusal));
    }
    let refusal = blame(exchange, Reason::UpstreamReset, &error.to_string());
    let failure = Failure::of(Cause::Reset, refusal, true);
    let untouched = exchange
        .connection
        .as_ref()
        .is_some_and(|connection| !connection.tap.answered());
    if keeps && untouched && super::again::remake(exchange, request) {
        return Heard::Stale(failure);
    }
    Heard::Failed(failure)
}

/// What a broken upload means for the answer.
pub(super) fn fault_of(progress: Progress) -> Option<Reason> {
    match progress {
        Progress::Streaming | Progress::Done | Progress::Stopped => None,
        Progress::TooLarge => Some(Reason::BodyTooLarge),
        Progress::TooSlow => Some(Reason::RequestTimeout),
        Progress::ClientClosed => Some(Reason::ClientClosed),
        Progress::Malformed => Some(Reason::BadRequest),
    }
}

fn is_io(error: &hyper::Error) -> bool {
    std::error::Error::source(error).is_some_and(|cause| cause.is::<io::Error>())
}

/// Was it `timeouts.body` that passed, before `due` did? That is no reason to try again.
fn stalls(exchange: &Exchange, due: Option<Nanos>) -> bool {
    let streams = |upload: &Rc<Upload>| upload.progress() == Progress::Streaming;
    let now = exchange.client.worker.recent();
    exchange.upload.as_ref().is_some_and(streams) && due.is_none_or(|due| due > now)
}

#[cold]
pub(super) fn late(exchange: &Exchange, plan: &Plan<'_>, stage: &str, sent: bool) -> Box<Failure> {
    let now = exchange.client.worker.read_clock();
    if plan.due.is_some_and(|due| due <= now) {
        let detail = format!("the time for the whole request was over {stage}");
        let refusal = blame(exchange, Reason::UpstreamTimeout, &detail);
        return judge_time(exchange, Failure::last(refusal));
    }
    let detail = format!("the time for one try was over {stage}");
    let refusal = blame(exchange, Reason::UpstreamTimeout, &detail);
    judge_time(exchange, Failure::of(Cause::Timeout, refusal, sent))
}

/// Where the client is waited for, it is the one who takes so long.
fn judge_time(exchange: &Exchange, failure: Box<Failure>) -> Box<Failure> {
    if is_client_slow(exchange.upload.as_ref()) {
        failure.innocently()
    } else {
        failure
    }
}

#[cold]
pub(super) fn blame(exchange: &Exchange, reason: Reason, detail: &str) -> Refusal {
    let name = exchange.held().map_or("", |(upstream, _)| &upstream.name);
    Refusal::because(reason, format!("upstream {name}: {detail}"))
}

//! One request at an upstream: an endpoint, a connection, the sending, the wait for the answer's head.

use std::io;

use http::header;
use http::{Method, Request, StatusCode};
use hyper::client::conn::TrySendError;

use super::answer::accept;
use super::exchange::Exchange;
use super::wait::{wait_for_head, within};
use crate::error::Reason;
use crate::http::reply::Refusal;
use crate::http::upload::{Progress, RequestBody};
use crate::time::Nanos;
use crate::upstream::Timeouts;
use crate::upstream::connect::{Connection, DialError, dial};

/// What a forward needs to know beside the request.
#[derive(Clone, Copy)]
pub struct Plan {
    /// Index into `Snapshot::upstreams`.
    pub upstream: usize,
    /// Deadlines of the attempt.
    pub timeouts: Timeouts,
    /// The end of the whole request.
    pub due: Option<Nanos>,
    /// Shall `Host` become the endpoint's own?
    pub endpoints_host: bool,
}

/// Sends the request and waits for the head of its answer, which the exchange then holds together with its connection;
/// of a WebSocket, with the bare socket.
///
/// `request` is a place that the request is taken from: it is large, and moving it from call to call would cost more
/// than most of what happens on the way.
///
/// # Errors
/// The reason of a 408, 413, 502 or 504.
pub async fn forward(
    exchange: &mut Exchange,
    request: &mut Option<Request<RequestBody>>,
    plan: &Plan,
) -> Result<(), Refusal> {
    let now = exchange.client.worker.recent();
    let (pooled, replayable) = choose(exchange, request, plan, now);
    if pooled {
        match attempt(exchange, request, plan, replayable).await {
            Outcome::Answered => return finish(exchange).await,
            Outcome::Failed(refusal) => return Err(refusal),
            // The endpoint closed it while it lay idle: that is nobody's failure, and no attempt.
            Outcome::Stale => {}
        }
    }
    // Boxed: dialling is rare, and its size would be every request's.
    let began = exchange.clock_for_log();
    let opened = Box::pin(open(exchange, plan)).await;
    exchange.connected_since(began);
    exchange.connection = Some(opened?);
    match attempt(exchange, request, plan, false).await {
        Outcome::Answered => finish(exchange).await,
        Outcome::Failed(refusal) => Err(refusal),
        Outcome::Stale => Err(blame(
            exchange,
            Reason::UpstreamReset,
            "closed a new connection before the request",
        )),
    }
}

async fn finish(exchange: &mut Exchange) -> Result<(), Refusal> {
    let switches = accept(exchange)? == StatusCode::SWITCHING_PROTOCOLS;
    if let (true, Some(opening)) = (switches, &mut exchange.opening) {
        let taken = Box::pin(opening.take_socket()).await;
        return taken.ok_or_else(|| {
            blame(
                exchange,
                Reason::UpstreamReset,
                "closed the connection with its 101",
            )
        });
    }
    Ok(())
}

/// Holds an endpoint, and an idle connection to it if there is one; tells that, and whether the request could be sent
/// twice.
fn choose(
    exchange: &mut Exchange,
    request: &mut Option<Request<RequestBody>>,
    plan: &Plan,
    now: Nanos,
) -> (bool, bool) {
    let random = exchange.client.worker.random();
    let index = exchange.pin.upstreams[plan.upstream].pick(now, random);
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
        .take(&endpoint.state, now, worker.index);
    exchange.connection = pooled;
    let replayable = request.as_ref().is_some_and(|request| {
        matches!(request.body(), RequestBody::Empty) && is_idempotent(request.method())
    });
    (exchange.connection.is_some(), replayable)
}

enum Outcome {
    /// The exchange holds the answer.
    Answered,
    Failed(Refusal),
    /// Not answered, and safe to send again: the request is back in its place.
    Stale,
}

async fn open(exchange: &Exchange, plan: &Plan) -> Result<Connection, Refusal> {
    let worker = &exchange.client.worker;
    let (_, endpoint) = exchange.held().ok_or(Reason::InternalError)?;
    let dialling = dial(endpoint.address, plan.timeouts.connect);
    let error = match within(exchange, plan.due, dialling).await {
        Some(Ok(connection)) => {
            endpoint.connected();
            return Ok(connection);
        }
        Some(Err(error)) => error,
        None => {
            let detail = "the time for the whole request was over while connecting";
            return Err(blame(exchange, Reason::UpstreamTimeout, detail));
        }
    };
    endpoint.connect_failed(worker.read_clock());
    let (reason, detail) = match error {
        DialError::TimedOut => (
            Reason::UpstreamConnectTimeout,
            format!("connecting to {} took too long", endpoint.label),
        ),
        DialError::Failed(error) => (
            Reason::UpstreamConnectFailed,
            format!("connecting to {}: {error}", endpoint.label),
        ),
    };
    Err(blame(exchange, reason, &detail))
}

async fn attempt(
    exchange: &mut Exchange,
    request: &mut Option<Request<RequestBody>>,
    plan: &Plan,
    replayable: bool,
) -> Outcome {
    let (Some(sent), Some(connection)) = (request.take(), &mut exchange.connection) else {
        return Outcome::Failed(Refusal::from(Reason::InternalError));
    };
    if let Some(opening) = &mut exchange.opening {
        opening.heir = Some(connection.heir.claim());
    }
    if replayable {
        connection.tap.arm();
    } else {
        connection.tap.disarm();
    }
    let sending = connection.sender.try_send_request(sent);
    match wait_for_head(exchange, plan, sending).await {
        Some(Ok(response)) => {
            exchange.answer = Some(response);
            Outcome::Answered
        }
        Some(Err(error)) => judge(exchange, request, error, replayable),
        None => Outcome::Failed(late(exchange, plan)),
    }
}

/// The answer did not come: whose fault is that, and may the request be sent again?
#[cold]
fn judge(
    exchange: &mut Exchange,
    request: &mut Option<Request<RequestBody>>,
    mut error: TrySendError<Request<RequestBody>>,
    replayable: bool,
) -> Outcome {
    let tap = exchange.connection.take().map(|connection| connection.tap);
    if let Some(unsent) = error.take_message() {
        *request = Some(unsent);
        return Outcome::Stale;
    }
    let error = error.into_error();
    if let Some(reason) = exchange
        .upload
        .as_ref()
        .and_then(|u| fault_of(u.progress()))
    {
        return Outcome::Failed(Refusal::from(reason));
    }
    let broken = error.is_incomplete_message() || is_io(&error) || error.is_canceled();
    if replayable && broken {
        *request = tap
            .filter(|tap| !tap.answered())
            .and_then(|tap| tap.replay());
        if request.is_some() {
            return Outcome::Stale;
        }
    }
    let reason = if broken || error.is_closed() {
        Reason::UpstreamReset
    } else {
        Reason::UpstreamProtocolError
    };
    Outcome::Failed(blame(exchange, reason, &error.to_string()))
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

#[cold]
fn late(exchange: &mut Exchange, plan: &Plan) -> Refusal {
    exchange.connection = None;
    let now = exchange.client.worker.recent();
    let detail = if plan.due.is_some_and(|due| due <= now) {
        "the time for the whole request was over"
    } else {
        "no answer came in time"
    };
    blame(exchange, Reason::UpstreamTimeout, detail)
}

#[cold]
pub(super) fn blame(exchange: &Exchange, reason: Reason, detail: &str) -> Refusal {
    let name = exchange.held().map_or("", |(upstream, _)| &upstream.name);
    Refusal::because(reason, format!("upstream {name}: {detail}"))
}

fn is_idempotent(method: &Method) -> bool {
    matches!(
        *method,
        Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE | Method::PUT | Method::DELETE
    )
}

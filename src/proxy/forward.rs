//! One request at an upstream: an endpoint, a connection, the sending, the wait for the answer's head.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;
use std::task::Poll;

use http::header::{self, HeaderValue};
use http::{Method, Request, Response, StatusCode, Version};
use http_body::Body;
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;

use super::exchange::Exchange;
use crate::error::Reason;
use crate::http::fields::{self, Coding};
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

/// Sends the request and waits for the head of its answer, which the exchange then holds together with its connection.
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
            Outcome::Answered => return accept(exchange),
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
        Outcome::Answered => accept(exchange),
        Outcome::Failed(refusal) => Err(refusal),
        Outcome::Stale => Err(blame(
            exchange,
            Reason::UpstreamReset,
            "closed a new connection before the request",
        )),
    }
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
        && let Ok(host) = HeaderValue::from_str(&endpoint.label)
    {
        request.headers_mut().insert(header::HOST, host);
    }
    let worker = &exchange.client.worker;
    let pooled = worker.pool.borrow_mut().take(endpoint, now, worker.index);
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

/// Waits for `future` until `due`; `None` when the time is over.
async fn within<F: Future>(
    exchange: &Exchange,
    due: Option<Nanos>,
    future: F,
) -> Option<F::Output> {
    let deadline = &exchange.client.deadline;
    deadline.set_at(exchange.client.worker.recent(), due);
    let mut future = pin!(future);
    poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending if deadline.fired() => Poll::Ready(None),
        Poll::Pending => Poll::Pending,
    })
    .await
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
            .and_then(|tap| tap.replay(RequestBody::Empty));
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
fn blame(exchange: &Exchange, reason: Reason, detail: &str) -> Refusal {
    let name = exchange.held().map_or("", |(upstream, _)| &upstream.name);
    Refusal::because(reason, format!("upstream {name}: {detail}"))
}

/// Waits for the answer's head; `None` when `timeouts.response`, `timeouts.body` or `timeouts.request` is over.
///
/// While the request's body is still on its way only the looser `body` deadline holds. It is found out late whether the
/// upload has ended: so the nearer of the two is set, and looked at again when it falls.
async fn wait_for_head<F: Future>(
    exchange: &Exchange,
    plan: &Plan,
    sending: F,
) -> Option<F::Output> {
    let (worker, deadline) = (&exchange.client.worker, &exchange.client.deadline);
    let sent = worker.recent();
    let nearer = plan
        .timeouts
        .response
        .into_iter()
        .chain(exchange.upload.as_ref().and(plan.timeouts.body))
        .min();
    deadline.set_at(
        sent,
        nearer
            .map(|t| sent.plus(t))
            .into_iter()
            .chain(plan.due)
            .min(),
    );
    let mut sending = pin!(sending);
    poll_fn(|cx| {
        if let Poll::Ready(output) = sending.as_mut().poll(cx) {
            return Poll::Ready(Some(output));
        }
        if !deadline.fired() {
            return Poll::Pending;
        }
        let now = worker.read_clock();
        let due = head_due(exchange, plan, sent)
            .into_iter()
            .chain(plan.due)
            .min();
        if due.is_some_and(|due| due <= now) {
            return Poll::Ready(None);
        }
        let look = nearer.map(|t| now.plus(t));
        deadline.set_at(now, look.into_iter().chain(due).min());
        Poll::Pending
    })
    .await
}

fn head_due(exchange: &Exchange, plan: &Plan, sent: Nanos) -> Option<Nanos> {
    match &exchange.upload {
        Some(upload) if upload.progress() == Progress::Streaming => {
            plan.timeouts.body.map(|t| upload.moved_at().plus(t))
        }
        Some(upload) => plan.timeouts.response.map(|t| upload.moved_at().plus(t)),
        None => plan.timeouts.response.map(|t| sent.plus(t)),
    }
}

fn is_idempotent(method: &Method) -> bool {
    matches!(
        *method,
        Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE | Method::PUT | Method::DELETE
    )
}

/// Checks the head of the answer and cleans it; what lies is a clean 502.
fn accept(exchange: &mut Exchange) -> Result<(), Refusal> {
    let status = exchange
        .answer
        .as_ref()
        .map(Response::status)
        .ok_or(Reason::InternalError)?;
    exchange.answered(status);
    let Some(response) = &mut exchange.answer else {
        return Err(Refusal::from(Reason::InternalError));
    };
    *response.version_mut() = Version::HTTP_11;
    check_answer(response).map_err(|detail| blame(exchange, Reason::UpstreamProtocolError, detail))
}

fn check_answer(response: &mut Response<Incoming>) -> Result<(), &'static str> {
    let status = response.status();
    if status == StatusCode::SWITCHING_PROTOCOLS {
        return Err("101 to a request that asked for no upgrade");
    }
    if status.as_u16() >= 600 {
        return Err("a status code beyond 599");
    }
    let found = fields::scan_answer(response.headers());
    if found.transfer_encoding() && fields::transfer_coding(response.headers()) != Coding::Chunked {
        return Err("a transfer coding other than one chunked");
    }
    if found.odd_length() && !found.transfer_encoding() {
        settle_length(response)?;
    }
    fields::strip_response(response.headers_mut(), found);
    Ok(())
}

/// One line with one number: `5, 5` and doubled lines mean the same, but not to every reader.
#[cold]
fn settle_length(response: &mut Response<Incoming>) -> Result<(), &'static str> {
    let mut numbers = response
        .headers()
        .get_all(header::CONTENT_LENGTH)
        .iter()
        .flat_map(|v| fields::list(v.as_bytes()))
        .map(|n| {
            std::str::from_utf8(n)
                .ok()
                .and_then(|n| n.parse::<u64>().ok())
        });
    let length = numbers
        .next()
        .flatten()
        .ok_or("a Content-Length that is no number")?;
    let differing = numbers.any(|n| n != Some(length));
    drop(numbers);
    if differing {
        return Err("differing Content-Lengths");
    }
    let exact = response.body().size_hint().exact();
    if exact.is_some_and(|exact| exact != length && exact != 0) {
        return Err("a Content-Length that differs from its body");
    }
    response
        .headers_mut()
        .insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    Ok(())
}

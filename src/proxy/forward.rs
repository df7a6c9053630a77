//! One request at an upstream: an endpoint, a connection, the sending, the wait for the answer's head.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;
use std::sync::Arc;
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
use crate::snapshot::Snapshot;
use crate::time::Nanos;
use crate::upstream::connect::{Connection, DialError, dial};
use crate::upstream::{Timeouts, Upstream};

/// An answer whose head has come, and the connection that its body is still on.
pub struct Answer {
    /// Clean of everything that belongs to the upstream's connection alone.
    pub response: Response<Incoming>,
    /// Lent until the body has ended.
    pub connection: Connection,
    /// The end of the whole request.
    pub due: Option<Nanos>,
}

/// What a forward needs to know beside the request.
pub struct Plan {
    /// Index into `Snapshot::upstreams`.
    pub upstream: usize,
    /// Deadlines of the attempt.
    pub timeouts: Timeouts,
    /// The end of the whole request.
    pub due: Option<Nanos>,
}

/// Sends the request and waits for the head of its answer.
///
/// # Errors
/// The reason of a 408, 413, 502 or 504.
pub async fn forward(
    exchange: &mut Exchange,
    request: Request<RequestBody>,
    plan: &Plan,
) -> Result<Answer, Refusal> {
    let pin = exchange.pin.clone();
    let upstream = &pin.upstreams[plan.upstream];
    let worker = exchange.client.worker.clone();
    let now = worker.recent();
    let index = upstream.pick(now, worker.random());
    exchange.hold(plan.upstream, index, now);
    let endpoint = &upstream.endpoints[index];
    let pooled = worker.pool.borrow_mut().take(endpoint, now, worker.index);
    let replayable =
        matches!(request.body(), RequestBody::Empty) && is_idempotent(request.method());
    let mut request = request;
    if let Some(connection) = pooled {
        match attempt(exchange, connection, request, plan, replayable).await {
            Outcome::Answered(answer) => return accept(exchange, answer),
            Outcome::Failed(refusal) => return Err(refusal),
            // The endpoint closed it while it lay idle: that is nobody's failure, and no attempt.
            Outcome::Stale(again) => request = again,
        }
    }
    let connection = open(exchange, &pin, plan, index).await?;
    match attempt(exchange, connection, request, plan, false).await {
        Outcome::Answered(answer) => accept(exchange, answer),
        Outcome::Failed(refusal) => Err(refusal),
        Outcome::Stale(_) => Err(blame(
            upstream,
            Reason::UpstreamReset,
            "closed a new connection before the request",
        )),
    }
}

enum Outcome {
    Answered(Answer),
    Failed(Refusal),
    /// Not answered, and safe to send again.
    Stale(Request<RequestBody>),
}

async fn open(
    exchange: &Exchange,
    pin: &Arc<Snapshot>,
    plan: &Plan,
    index: usize,
) -> Result<Connection, Refusal> {
    let upstream = &pin.upstreams[plan.upstream];
    let endpoint = &upstream.endpoints[index];
    let worker = &exchange.client.worker;
    let dialling = dial(endpoint.address, plan.timeouts.connect);
    match within(exchange, plan.due, dialling).await {
        None => Err(blame(
            upstream,
            Reason::UpstreamTimeout,
            "the time for the whole request was over while connecting",
        )),
        Some(Ok(connection)) => {
            endpoint.connected();
            Ok(connection)
        }
        Some(Err(error)) => {
            endpoint.connect_failed(worker.read_clock());
            Err(match error {
                DialError::TimedOut => blame(
                    upstream,
                    Reason::UpstreamConnectTimeout,
                    &format!("connecting to {} took too long", endpoint.label),
                ),
                DialError::Failed(error) => blame(
                    upstream,
                    Reason::UpstreamConnectFailed,
                    &format!("connecting to {}: {error}", endpoint.label),
                ),
            })
        }
    }
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
    mut connection: Connection,
    request: Request<RequestBody>,
    plan: &Plan,
    replayable: bool,
) -> Outcome {
    if replayable {
        connection.tap.arm();
    } else {
        connection.tap.disarm();
    }
    let sending = connection.sender.try_send_request(request);
    let error = match wait_for_head(exchange, plan, sending).await {
        Some(Ok(response)) => {
            return Outcome::Answered(Answer {
                response,
                connection,
                due: plan.due,
            });
        }
        Some(Err(error)) => error,
        None => return Outcome::Failed(late(exchange, plan)),
    };
    judge(exchange, &connection, error, plan, replayable)
}

/// The answer did not come: whose fault is that, and may the request be sent again?
fn judge(
    exchange: &Exchange,
    connection: &Connection,
    mut error: TrySendError<Request<RequestBody>>,
    plan: &Plan,
    replayable: bool,
) -> Outcome {
    if let Some(request) = error.take_message() {
        return Outcome::Stale(request);
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
    if replayable
        && broken
        && !connection.tap.answered()
        && let Some(request) = connection.tap.replay()
    {
        return Outcome::Stale(request);
    }
    let reason = if broken || error.is_closed() {
        Reason::UpstreamReset
    } else {
        Reason::UpstreamProtocolError
    };
    let upstream = &exchange.pin.upstreams[plan.upstream];
    Outcome::Failed(blame(upstream, reason, &error.to_string()))
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

fn late(exchange: &Exchange, plan: &Plan) -> Refusal {
    let upstream = &exchange.pin.upstreams[plan.upstream];
    let now = exchange.client.worker.recent();
    let detail = if plan.due.is_some_and(|due| due <= now) {
        "the time for the whole request was over"
    } else {
        "no answer came in time"
    };
    blame(upstream, Reason::UpstreamTimeout, detail)
}

fn blame(upstream: &Upstream, reason: Reason, detail: &str) -> Refusal {
    Refusal::because(reason, format!("upstream {}: {detail}", upstream.name))
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

/// Checks the head of an answer and cleans it; what lies is a clean 502.
fn accept(exchange: &mut Exchange, mut answer: Answer) -> Result<Answer, Refusal> {
    let response = &mut answer.response;
    exchange.answered(response.status());
    if let Err(detail) = check_answer(response) {
        let (upstream, _) = exchange.held().ok_or(Reason::InternalError)?;
        return Err(blame(upstream, Reason::UpstreamProtocolError, detail));
    }
    *response.version_mut() = Version::HTTP_11;
    Ok(answer)
}

fn check_answer(response: &mut Response<Incoming>) -> Result<(), &'static str> {
    let status = response.status();
    if status == StatusCode::SWITCHING_PROTOCOLS {
        return Err("101 to a request that asked for no upgrade");
    }
    if status.as_u16() >= 600 {
        return Err("a status code beyond 599");
    }
    let found = fields::scan(response.headers());
    if found.transfer_encoding() && fields::transfer_coding(response.headers()) != Coding::Chunked {
        return Err("a transfer coding other than one chunked");
    }
    if found.content_length() && !found.transfer_encoding() {
        settle_length(response)?;
    }
    fields::strip_response(response.headers_mut(), found);
    Ok(())
}

/// One line with one number: `5, 5` and doubled lines mean the same, but not to every reader.
fn settle_length(response: &mut Response<Incoming>) -> Result<(), &'static str> {
    let mut lines = response.headers().get_all(header::CONTENT_LENGTH).iter();
    let (first, second) = (lines.next(), lines.next());
    let plain = |value: &HeaderValue| value.as_bytes().iter().all(u8::is_ascii_digit);
    if second.is_none() && first.is_some_and(plain) {
        return Ok(());
    }
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
    if response
        .body()
        .size_hint()
        .exact()
        .is_some_and(|exact| exact != length && exact != 0)
    {
        return Err("a Content-Length that differs from its body");
    }
    response
        .headers_mut()
        .insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    Ok(())
}

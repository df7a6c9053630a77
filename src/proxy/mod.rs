//! The life of a request: [`handle`] tells it from top to bottom.

pub mod body;
pub mod client;
mod drain_rest;
pub mod exchange;
pub mod forward;
pub mod head;
pub mod worker;

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;

use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::request::Parts;
use http::{Request, Response, Version};
use http_body::Body as _;
use hyper::body::Incoming;

use crate::drain::Phase;
use crate::error::Reason;
use crate::filter::redirect::Asked;
use crate::http::fields::{self, X_REQUEST_ID};
use crate::http::forwarded::{self, Hop};
use crate::http::reply::{self, Refusal};
use crate::http::upload::{RequestBody, Rules, Upload};
use crate::http::{host, request_id};
use crate::route::Found as Routed;
use crate::snapshot::{Action, Target};
use crate::upstream::Timeouts;
use body::{Body, Relay};
use client::Client;
use exchange::Exchange;
use forward::{Answer, Plan};
use head::Head;

const VIA: HeaderValue = HeaderValue::from_static("1.1 tidegate");

/// Answers one request. Never fails: whatever goes wrong becomes an answer with a reason.
pub async fn handle(
    client: Rc<Client>,
    request: Request<Incoming>,
) -> Result<Response<Body>, Infallible> {
    let (parts, incoming) = request.into_parts();
    let mut exchange = Exchange::open(client, &parts);
    let served = caught(serve(&mut exchange, parts, incoming)).await;
    Ok(match served {
        Ok(Ok(Served::Relayed(answer, timeouts))) => relay(exchange, answer, timeouts),
        Ok(Ok(Served::Own(response))) => finish_own(exchange, response),
        Ok(Err(refusal)) => refuse(exchange, &refusal),
        Err(Panicked) => {
            let worker = &exchange.client.worker;
            worker.gateway.panics.add(worker.index, 1);
            refuse(exchange, &Refusal::from(Reason::InternalError))
        }
    })
}

/// What a route came to.
enum Served {
    Own(Response<Bytes>),
    Relayed(Answer, Timeouts),
}

/// The same life, in which each step may refuse.
async fn serve(
    exchange: &mut Exchange,
    mut parts: Parts,
    incoming: Incoming,
) -> Result<Served, Refusal> {
    let admitted = admit(exchange, &mut parts);
    let (head, target) = match admitted {
        Ok(admitted) => admitted,
        Err(refusal) => {
            leave_body(exchange, incoming, expects(&parts));
            return Err(refusal);
        }
    };
    let pin = exchange.pin.clone();
    let route = &pin.routes[target.route as usize];
    let (upstream, timeouts) = match &route.action {
        Action::Forward(upstream, timeouts) => (*upstream, *timeouts),
        own => {
            let response = answer_own(own, exchange, &parts, target);
            leave_body(exchange, incoming, head.expects_continue);
            return Ok(Served::Own(response));
        }
    };
    if let Some(refusal) = refuse_body(&incoming, route.max_body) {
        leave_body(exchange, incoming, head.expects_continue);
        return Err(refusal);
    }
    let body = take_body(exchange, incoming, &head, route.max_body);
    prepare(exchange, &mut parts, &head)?;
    let due = route.request_timeout.map(|t| exchange.started.plus(t));
    let plan = Plan {
        upstream,
        timeouts,
        due,
    };
    let answer = forward::forward(exchange, Request::from_parts(parts, body), &plan).await?;
    Ok(Served::Relayed(answer, timeouts))
}

/// From the head to the route: everything that is decided before a byte of the body is read.
fn admit(exchange: &mut Exchange, parts: &mut Parts) -> Result<(Head, Target), Refusal> {
    keep_id(exchange, parts);
    let uri_bytes = exchange.listener().limits.uri_bytes;
    let head = head::check(parts, uri_bytes)?;
    exchange.saw_target(parts);
    if exchange.client.worker.drain.phase() >= Phase::Closing {
        let wait = HeaderValue::from_static("1");
        return Err(Refusal::from(Reason::Draining).with(header::RETRY_AFTER, wait));
    }
    let target = find_route(exchange, parts)?;
    exchange.follow(target.route);
    if head.websocket {
        return Err(Refusal::because(
            Reason::NotImplemented,
            "WebSocket tunnels are not available in this version",
        ));
    }
    Ok((head, target))
}

fn keep_id(exchange: &mut Exchange, parts: &Parts) {
    if let Some(id) = parts.headers.get(X_REQUEST_ID)
        && request_id::is_sane(id.as_bytes())
        && parts.headers.get_all(X_REQUEST_ID).iter().count() == 1
    {
        exchange.request_id = Some(id.clone());
    }
}

fn find_route(exchange: &Exchange, parts: &Parts) -> Result<Target, Refusal> {
    let host = host_of(parts);
    match exchange
        .pin
        .table
        .find(host, parts.uri.path(), &parts.method)
    {
        Routed::Match(target) => Ok(*target),
        Routed::MethodNotAllowed(allowed) => {
            let allow = HeaderValue::from_str(&allowed.to_string())
                .unwrap_or_else(|_| HeaderValue::from_static(""));
            Err(Refusal::from(Reason::MethodNotAllowed).with(header::ALLOW, allow))
        }
        Routed::None => Err(Refusal::from(Reason::RouteNotFound)),
    }
}

/// The host without port and dot at its end; it was checked before.
fn host_of(parts: &Parts) -> &[u8] {
    let host = parts
        .headers
        .get(header::HOST)
        .map(HeaderValue::as_bytes)
        .unwrap_or_default();
    host::parse_authority(host)
        .map(|authority| authority.host)
        .unwrap_or_default()
}

fn expects(parts: &Parts) -> bool {
    parts.headers.contains_key(header::EXPECT)
}

fn answer_own(
    action: &Action,
    exchange: &Exchange,
    parts: &Parts,
    target: Target,
) -> Response<Bytes> {
    match action {
        Action::Redirect(redirect) => redirect.answer(&Asked {
            host: std::str::from_utf8(host_of(parts)).unwrap_or_default(),
            path: parts.uri.path(),
            query: parts.uri.query(),
            prefix: target.prefix as usize,
            port: exchange.client.local.port(),
        }),
        Action::Respond(status, headers, body) => {
            let mut response = Response::new(body.clone());
            *response.status_mut() = *status;
            response.headers_mut().clone_from(headers);
            response
        }
        Action::Forward(..) => Response::new(Bytes::new()),
    }
}

/// A body whose length is known to be too much is refused before it is asked for.
fn refuse_body(incoming: &Incoming, max: Option<u64>) -> Option<Refusal> {
    let (length, max) = (incoming.size_hint().exact()?, max?);
    (length > max).then(|| {
        Refusal::because(
            Reason::BodyTooLarge,
            format!("the body is {length} bytes long; {max} are allowed"),
        )
    })
}

/// The answer will come before the body was read.
fn leave_body(exchange: &mut Exchange, incoming: Incoming, expects_continue: bool) {
    if !incoming.is_end_stream() {
        let small = incoming
            .size_hint()
            .exact()
            .is_none_or(|n| n <= drain_rest::KEPT_UP_TO);
        exchange.leave_unread(incoming, small && !expects_continue);
    }
}

fn take_body(
    exchange: &mut Exchange,
    incoming: Incoming,
    head: &Head,
    max: Option<u64>,
) -> RequestBody {
    if incoming.is_end_stream() {
        return RequestBody::Empty;
    }
    let listener = exchange.listener();
    let rules = Rules {
        max,
        gap: listener.timeouts.request_body,
        min_rate: listener.limits.min_body_rate,
    };
    let worker = &exchange.client.worker;
    let upload = Upload::new(
        incoming,
        rules,
        head.expects_continue,
        &worker.timers,
        exchange.started,
    );
    exchange.upload = Some(upload.clone());
    RequestBody::Upload(upload)
}

/// Turns the client's head into the head that the upstream sees.
fn prepare(exchange: &mut Exchange, parts: &mut Parts, head: &Head) -> Result<(), Refusal> {
    let found = head.found;
    fields::strip_request(&mut parts.headers, found);
    if found.transfer_encoding() {
        // Said again on our own account: without a framing hyper would drop the body of a GET.
        parts.headers.insert(
            header::TRANSFER_ENCODING,
            HeaderValue::from_static("chunked"),
        );
    }
    parts.headers.reserve(5);
    let host = match parts.headers.get(header::HOST) {
        Some(host) => host.clone(),
        None => host_for_old_client(exchange, parts)?,
    };
    let client = exchange.client.clone();
    let trusted = found.forwarded() && trust(exchange, parts);
    forwarded::write(
        &mut parts.headers,
        found,
        &Hop {
            peer: &client.peer_text,
            trusted,
            host: &host,
        },
    );
    let id = exchange.id();
    parts.headers.insert(X_REQUEST_ID, id);
    parts.headers.append(header::VIA, VIA);
    parts.version = Version::HTTP_11;
    Ok(())
}

/// HTTP/1.0 knows no Host, HTTP/1.1 insists on one: the address that the client connected to is all that is known.
fn host_for_old_client(exchange: &Exchange, parts: &mut Parts) -> Result<HeaderValue, Refusal> {
    let host = HeaderValue::from_str(&exchange.client.local.to_string())
        .map_err(|_| Reason::InternalError)?;
    parts.headers.insert(header::HOST, host.clone());
    Ok(host)
}

/// Are the forwarded fields of this request to be believed? Warns once of a private proxy that nobody listed.
fn trust(exchange: &mut Exchange, parts: &Parts) -> bool {
    let client = exchange.client.clone();
    let listener = exchange.listener();
    if listener.trusted.contains(client.peer) {
        let address = forwarded::client_behind(&parts.headers, client.peer, &listener.trusted);
        exchange.saw_client(address);
        return true;
    }
    if forwarded::is_private(client.peer) {
        if listener.stats.untrusted_forwarded.sum() == 0 {
            tracing::warn!(
                listener = listener.name, peer = %client.peer,
                "a private peer sends forwarded fields and is not in trusted_proxies; they are dropped"
            );
        }
        listener
            .stats
            .untrusted_forwarded
            .add(client.worker.index, 1);
    }
    false
}

fn relay(exchange: Box<Exchange>, answer: Answer, timeouts: Timeouts) -> Response<Body> {
    let (mut head, incoming) = answer.response.into_parts();
    if must_close(&exchange) {
        head.headers
            .insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    let ended = incoming.is_end_stream();
    exchange.client.deadline.clear();
    let mut relay = Relay::new(
        incoming,
        exchange,
        answer.connection,
        timeouts.body,
        answer.due,
    );
    if ended {
        relay.finish();
        return Response::from_parts(head, Body::Own(Bytes::new()));
    }
    Response::from_parts(head, Body::Relay(Box::new(relay)))
}

fn refuse(mut exchange: Box<Exchange>, refusal: &Refusal) -> Response<Body> {
    exchange.failed(refusal.reason);
    let id = exchange.id();
    let response = reply::problem(refusal, &id, exchange.pin.show_detail);
    finish_own(exchange, response)
}

fn finish_own(mut exchange: Box<Exchange>, response: Response<Bytes>) -> Response<Body> {
    exchange.answers(response.status());
    exchange.bytes_out = response.body().len() as u64;
    let mut response = response.map(Body::Own);
    if must_close(&exchange) || exchange.abandons_body() {
        response
            .headers_mut()
            .insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    exchange.end();
    response
}

/// Is this the last answer on its connection?
fn must_close(exchange: &Exchange) -> bool {
    let most = exchange.listener().limits.requests_per_connection;
    exchange.client.worker.drain.phase() > Phase::Serving
        || most.is_some_and(|most| exchange.client.requests.get() >= most)
}

/// What was awaited panicked.
#[derive(Debug)]
pub struct Panicked;

/// Catches a panic of `future`, so that it becomes an answer.
///
/// # Errors
/// It panicked; what it held is dropped.
pub async fn caught<F: Future>(future: F) -> Result<F::Output, Panicked> {
    let mut future = pin!(future);
    poll_fn(
        |cx| match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx))) {
            Ok(Poll::Ready(output)) => Poll::Ready(Ok(output)),
            Ok(Poll::Pending) => Poll::Pending,
            Err(_) => Poll::Ready(Err(Panicked)),
        },
    )
    .await
}

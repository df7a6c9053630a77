//! The life of a request: [`handle`] tells it from top to bottom.

mod admit;
mod again;
mod answer;
pub mod body;
pub mod breaker;
mod caught;
mod choice;
pub mod client;
mod drain_rest;
pub mod exchange;
pub mod forward;
pub mod head;
mod head_h2;
mod health;
mod lease;
mod limited;
mod limits;
mod mirror;
mod note;
mod open;
mod outcome;
mod place;
pub mod retry;
pub mod secured;
mod tally;
mod trials;
pub mod tunnel;
mod wait;
mod whose;
pub mod worker;

use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderValue};
use http::request::Parts;
use http::{Request, Response, Version};
use http_body::Body as _;
use hyper::body::Incoming;

use crate::drain::Phase;
use crate::error::Reason;
use crate::filter::redirect::Asked;
use crate::filter::rewrite::Host;
use crate::http::fields::{self, X_REQUEST_ID};
use crate::http::forwarded::{self, Hop};
use crate::http::reply::{self, Refusal};
use crate::http::upgrade;
use crate::http::upload::{RequestBody, Rules, Upload};
use crate::snapshot::{Action, Forward, Target};
use body::{Body, Relay};
use caught::poll_caught;
pub use caught::{Panicked, caught};
use client::Client;
use exchange::{Deadlines, Exchange};
use forward::Plan;
use head::Head;
use tally::Owner;
use tunnel::Opening;

/// By the version in which the request was received (RFC 9110, section 7.6.3).
const VIA_HTTP_11: HeaderValue = HeaderValue::from_static("1.1 tidegate");
const VIA_HTTP_2: HeaderValue = HeaderValue::from_static("2.0 tidegate");
const VIA_HTTP_10: HeaderValue = HeaderValue::from_static("1.0 tidegate");

/// Answers one request. Never fails: whatever goes wrong becomes an answer with a reason.
pub async fn handle(
    client: Rc<Client>,
    request: Request<Incoming>,
) -> Result<Response<Body>, Infallible> {
    let (mut parts, incoming) = request.into_parts();
    let mut exchange = Exchange::open(client, &parts);
    let served = {
        // Pinned where it is made: moving the future of a request costs more than much of what it does.
        let mut serving = pin!(serve(&mut exchange, &mut parts, incoming));
        poll_fn(|cx| poll_caught(serving.as_mut(), cx)).await
    };
    Ok(match served {
        Ok(Ok(None)) => relay(exchange),
        Ok(Ok(Some(mut response))) => {
            change_answer(&mut exchange, response.headers_mut());
            finish_own(exchange, *response)
        }
        Ok(Err(refusal)) => refuse(exchange, &refusal),
        Err(Panicked) => {
            let worker = &exchange.client.worker;
            worker.gateway.panics.add(worker.index, 1);
            refuse(exchange, &Refusal::from(Reason::InternalError))
        }
    })
}

/// An answer of our own; `None` while the exchange holds an upstream's.
type Own = Option<Box<Response<Bytes>>>;

/// The same life, in which each step may refuse. Refusals are boxed where a future carries them: what it gives is moved
/// with every request.
async fn serve(
    exchange: &mut Exchange,
    parts: &mut Parts,
    incoming: Incoming,
) -> Result<Own, Box<Refusal>> {
    let (head, target) = match enter(exchange, parts).await {
        Ok(admitted) => admitted,
        Err(refusal) => {
            leave_body(exchange, incoming, refusal.unframed || expects(parts));
            return Err(refusal);
        }
    };
    let pin = exchange.pin.clone();
    let route = &pin.routes[target.route as usize];
    let forward = match &route.action {
        Action::Forward(forward) => forward,
        own => {
            let response = answer_own(own, exchange, parts, &head, target);
            leave_body(exchange, incoming, head.expects_continue);
            return Ok(Some(Box::new(response)));
        }
    };
    if let Some(refusal) = refuse_body(&incoming, route.max_body) {
        leave_body(exchange, incoming, head.expects_continue);
        return Err(refusal.into());
    }
    let body = take_body(exchange, incoming, &head, route.max_body);
    prepare(exchange, parts, head)?;
    let (drawn, timeouts) = forward.pick();
    let upstream = match breaker::enter(exchange, drawn) {
        Ok(upstream) => upstream,
        Err(stopped) => return Ok(Some(breaker::answer(exchange, &stopped)?)),
    };
    let timeouts = if upstream == drawn {
        timeouts
    } else {
        forward.timeouts.over(pin.upstreams[upstream].timeouts)
    };
    let hash = if pin.upstreams[upstream].balancer.reads_request() {
        choice::ask_request(exchange, parts, &pin.upstreams[upstream].balancer)
    } else {
        None
    };
    let endpoints_host = change(forward, parts, target)?;
    let due = route.request_timeout.map(|t| exchange.started.plus(t));
    exchange.deadlines = Deadlines {
        body: timeouts.body,
        due,
    };
    if !forward.mirrors.is_empty() && exchange.opening.is_none() {
        mirror::send_copies(exchange, forward, parts, &body, endpoints_host);
    }
    let mut request = Some(assemble(parts, body));
    let plan = Plan {
        upstream,
        timeouts,
        due,
        endpoints_host,
        hash,
        retry: &forward.retry,
    };
    forward::forward(exchange, &mut request, &plan).await?;
    Ok(None)
}

/// From the head of a request to its route, past the limits of both.
async fn enter(exchange: &mut Exchange, parts: &mut Parts) -> Result<(Head, Target), Box<Refusal>> {
    let head = admit::check_head(exchange, parts)?;
    if let Some(wait) = limits::pass(exchange, parts, head.host_name(), Owner::Listener)? {
        wait.await?;
    }
    let target = admit::find_route(exchange, parts, &head)?;
    if let Some(wait) = limits::pass(exchange, parts, head.host_name(), Owner::Route)? {
        wait.await?;
    }
    limits::enter(exchange, parts, head.host_name())?;
    exchange.settle_limits();
    Ok((head, target))
}

/// What the route changes in the head, last of all, so that the file has the last word; tells whether the host shall
/// become the endpoint's own.
fn change(forward: &Forward, parts: &mut Parts, target: Target) -> Result<bool, Refusal> {
    let mut endpoints_host = false;
    if let Some(rewrite) = &forward.rewrite {
        if let Some(path) = &rewrite.path {
            parts.uri = path
                .apply(&parts.uri, target.prefix as usize)
                .map_err(|error| {
                    Refusal::because(
                        Reason::InternalError,
                        format!("rewrite makes no valid path: {error}"),
                    )
                })?;
        }
        match &rewrite.host {
            Some(Host::Name(host)) => drop(parts.headers.insert(header::HOST, host.clone())),
            Some(Host::Endpoint) => endpoints_host = true,
            None => {}
        }
    }
    if let Some(changes) = &forward.request_fields {
        changes.apply(&mut parts.headers);
    }
    Ok(endpoints_host)
}

/// The request that leaves. The parts are taken from their place one by one, which is less to move than all of them.
fn assemble(parts: &mut Parts, body: RequestBody) -> Request<RequestBody> {
    let mut request = Request::new(body);
    *request.method_mut() = std::mem::take(&mut parts.method);
    *request.uri_mut() = std::mem::take(&mut parts.uri);
    *request.headers_mut() = std::mem::take(&mut parts.headers);
    request
}

fn expects(parts: &Parts) -> bool {
    parts.headers.contains_key(header::EXPECT)
}

fn answer_own(
    action: &Action,
    exchange: &Exchange,
    parts: &Parts,
    head: &Head,
    target: Target,
) -> Response<Bytes> {
    match action {
        Action::Redirect(redirect) => redirect.answer(&Asked {
            host: std::str::from_utf8(head.host_name()).unwrap_or_default(),
            path: parts.uri.path(),
            query: parts.uri.query(),
            prefix: target.prefix as usize,
            port: exchange.client.local.port(),
            scheme: exchange.client.scheme(),
        }),
        Action::Respond(status, headers, body) => {
            let mut response = Response::new(body.clone());
            *response.status_mut() = *status;
            response.headers_mut().clone_from(headers);
            response
        }
        Action::Forward(_) => Response::new(Bytes::new()),
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

/// The answer will come before the body was read; a small rest is read later, unless it must be given up.
fn leave_body(exchange: &mut Exchange, incoming: Incoming, give_up: bool) {
    if !incoming.is_end_stream() {
        let small = incoming
            .size_hint()
            .exact()
            .is_none_or(|n| n <= drain_rest::KEPT_UP_TO);
        exchange.leave_unread(incoming, small && !give_up);
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
        end_is_marked: exchange.is_stream(),
    };
    let worker = &exchange.client.worker;
    let upload = Upload::new(
        incoming,
        rules,
        head.expects_continue,
        &worker.timers,
        exchange.started,
    );
    let body = upload.hand_out();
    exchange.upload = Some(upload);
    body
}

/// Turns the client's head into the head that the upstream sees.
fn prepare(exchange: &mut Exchange, parts: &mut Parts, head: Head) -> Result<(), Refusal> {
    let found = head.found;
    fields::strip_request(&mut parts.headers, found);
    let unknown_length = exchange.is_stream() && exchange.upload.is_some();
    if found.transfer_encoding() || (unknown_length && !found.content_length()) {
        // Said again on our own account: without a framing hyper would drop the body of a GET.
        let chunked = HeaderValue::from_static("chunked");
        parts.headers.insert(header::TRANSFER_ENCODING, chunked);
    }
    if let Some(handshake) = head.handshake {
        upgrade::say_again(&mut parts.headers);
        exchange.opening = Some(Opening::new(*handshake));
    }
    let host = match head.host {
        Some(host) => host,
        None => host_for_old_client(exchange, parts)?,
    };
    let hop = Hop {
        peer: &exchange.client.peer_text,
        trusted: head.trusted,
        host,
        secure: exchange.client.is_secure(),
    };
    forwarded::write(&mut parts.headers, found, hop);
    let secured = exchange.client.secured.as_ref();
    if let Some(client) = secured.and_then(|secured| secured.identity.as_ref()) {
        fields::introduce(&mut parts.headers, &client.subject, client.names.as_ref());
    }
    let id = exchange.id();
    // Appending is cheaper than replacing, where nothing can be there.
    if found.request_id() {
        parts.headers.insert(X_REQUEST_ID, id);
    } else {
        parts.headers.append(X_REQUEST_ID, id);
    }
    let via = match parts.version {
        Version::HTTP_10 => VIA_HTTP_10,
        Version::HTTP_2 => VIA_HTTP_2,
        _ => VIA_HTTP_11,
    };
    parts.headers.append(header::VIA, via);
    Ok(())
}

/// HTTP/1.0 knows no Host, HTTP/1.1 insists on one: the address that the client connected to is all that is known.
fn host_for_old_client(exchange: &Exchange, parts: &mut Parts) -> Result<HeaderValue, Refusal> {
    let host = HeaderValue::from_str(&exchange.client.local.to_string())
        .map_err(|_| Reason::InternalError)?;
    parts.headers.insert(header::HOST, host.clone());
    Ok(host)
}

fn relay(mut exchange: Box<Exchange>) -> Response<Body> {
    let Some(response) = exchange.answer.take() else {
        return refuse(exchange, &Refusal::from(Reason::InternalError));
    };
    let (mut head, incoming) = response.into_parts();
    exchange.charge_limits(&head.headers);
    change_answer(&mut exchange, &mut head.headers);
    let socket = exchange.opening.take().and_then(|opening| opening.socket);
    if let Some(cookie) = choice::sticky_cookie(&exchange) {
        head.headers.append(header::SET_COOKIE, cookie);
    }
    if let Some(socket) = socket {
        tunnel::open(&mut exchange, socket);
    } else if must_close(&exchange) {
        head.headers
            .insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    exchange.client.deadline.clear();
    let ended = incoming.is_end_stream();
    // On HTTP/1 hyper asks for the body at once, and mostly gets all of it; a stream's client has to have room for it.
    if !ended && exchange.is_stream() {
        exchange.watch_trial();
    }
    let mut relay = Relay::new(incoming, exchange);
    if ended {
        relay.finish();
        return Response::from_parts(head, Body::Own(Bytes::new()));
    }
    Response::from_parts(head, Body::Relay(relay))
}

fn change_answer(exchange: &mut Exchange, headers: &mut HeaderMap) {
    exchange.tell_limits(headers);
    if let Some(changes) = exchange
        .route()
        .and_then(|route| route.response_fields.as_ref())
    {
        changes.apply(headers);
    }
}

fn refuse(mut exchange: Box<Exchange>, refusal: &Refusal) -> Response<Body> {
    exchange.failed(refusal.reason);
    let id = exchange.id();
    let mut response = reply::problem(refusal, &id, exchange.pin.show_detail);
    exchange.tell_limits(response.headers_mut());
    if refusal.unframed && !exchange.is_stream() {
        response
            .headers_mut()
            .insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    finish_own(exchange, response)
}

fn finish_own(mut exchange: Box<Exchange>, mut response: Response<Bytes>) -> Response<Body> {
    exchange.answers(response.status());
    if exchange.is_stream() {
        // On HTTP/1 hyper sees to that.
        reply::leave_body_out(&mut response, exchange.is_head());
    }
    exchange.bytes_out = response.body().len() as u64;
    let mut response = response.map(Body::Own);
    if must_close(&exchange) || (exchange.abandons_body() && !exchange.is_stream()) {
        response
            .headers_mut()
            .insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    exchange.end();
    response
}

/// Is this the last answer on its connection? Of a connection with streams that is not told by answers.
fn must_close(exchange: &Exchange) -> bool {
    if exchange.is_stream() {
        return false;
    }
    let most = exchange.listener().limits.requests_per_connection;
    exchange.client.phase() > Phase::Serving
        || most.is_some_and(|most| exchange.client.requests.get() >= most)
}

//! From the head of a request to its route: everything that is decided before a byte of the body is read.

use http::header::{self, HeaderValue};
use http::request::Parts;

use super::exchange::Exchange;
use super::head::{self, Head};
use super::head_h2;
use crate::drain::Phase;
use crate::error::Reason;
use crate::http::reply::Refusal;
use crate::http::{fields, forwarded, origin};
use crate::route::{self, Found as Routed};
use crate::snapshot::{Route, Target};

/// Checks the head, and finds out who the client is.
///
/// # Errors
/// What the head or the drain has against the request.
pub(super) fn check_head(exchange: &mut Exchange, parts: &mut Parts) -> Result<Head, Refusal> {
    let folded = if exchange.is_stream() {
        head_h2::fold(parts, &exchange.listener().limits)
    } else {
        Ok(())
    };
    let mut seen = fields::scan_request(&parts.headers, exchange.is_logged());
    exchange.saw_fields(&mut seen);
    let uri_bytes = exchange.listener().limits.uri_bytes;
    let checked = folded.and_then(|()| head::check(parts, seen, uri_bytes));
    // Also of a head that is refused: its target is what one looks for in the log.
    exchange.saw_target(&parts.uri);
    let mut head = checked?;
    if !exchange.listener().protocols.http1 && !exchange.is_stream() {
        let detail = "HTTP/1 is not spoken on this port";
        return Err(Refusal::because(Reason::BadRequest, detail).unframed());
    }
    exchange.saw_host(head.host.as_ref());
    let drain = &exchange.client.worker.drain;
    if drain.phase() >= Phase::Closing && !drain.is_followed() {
        return Err(draining());
    }
    if let Some(secured) = &exchange.client.secured
        && head.host.is_some()
        && !secured.serves(head.host_name())
    {
        let detail = "the TLS connection was made for another host";
        return Err(Refusal::because(Reason::MisdirectedRequest, detail));
    }
    head.trusted = head.found.forwarded() && trust(exchange, parts);
    Ok(head)
}

/// Finds the route, and follows it.
///
/// # Errors
/// What the table of routes, or the route of a WebSocket, has against the request.
pub(super) fn find_route(
    exchange: &mut Exchange,
    parts: &Parts,
    head: &Head,
) -> Result<Target, Refusal> {
    let target = look_up(exchange, parts, head)?;
    exchange.follow(target.route);
    if head.handshake.is_some() {
        let route = &exchange.pin.routes[target.route as usize];
        admit_websocket(exchange, parts, head, route)?;
    }
    Ok(target)
}

/// What is asked of a handshake beside all that is asked of a request.
#[cold]
fn admit_websocket(
    exchange: &Exchange,
    parts: &Parts,
    head: &Head,
    route: &Route,
) -> Result<(), Refusal> {
    // Who opens a socket now would lose it in a moment.
    if exchange.client.worker.drain.phase() >= Phase::Announced {
        return Err(draining());
    }
    let Some(websocket) = &route.websocket else {
        return Err(Refusal::because(
            Reason::UpgradeRefused,
            format!("route {} takes no WebSocket", route.name),
        ));
    };
    let mut origins = parts.headers.get_all(header::ORIGIN).iter();
    let Some(origin) = origins.next() else {
        return Ok(());
    };
    if origins.next().is_some() || !origin::allows(&websocket.origins, origin, head.host.as_ref()) {
        return Err(Refusal::because(
            Reason::OriginDenied,
            format!("route {} takes no WebSocket from this Origin", route.name),
        ));
    }
    Ok(())
}

fn draining() -> Refusal {
    Refusal::from(Reason::Draining).with(header::RETRY_AFTER, HeaderValue::from_static("1"))
}

fn look_up(exchange: &Exchange, parts: &Parts, head: &Head) -> Result<Target, Refusal> {
    let asked = route::Asked {
        listener: exchange.listener().number,
        host: head.host_name(),
        path: parts.uri.path(),
        query: parts.uri.query(),
        method: &parts.method,
        headers: &parts.headers,
    };
    match exchange.pin.table.find(&asked) {
        Routed::Match(target) => Ok(*target),
        Routed::MethodNotAllowed(allowed) => {
            let allow = HeaderValue::from_str(&allowed.to_string())
                .unwrap_or_else(|_| HeaderValue::from_static(""));
            Err(Refusal::from(Reason::MethodNotAllowed).with(header::ALLOW, allow))
        }
        Routed::None => Err(Refusal::from(Reason::RouteNotFound)),
    }
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

//! What a balancer reads from a request, and says to the client in its answer.

use http::header::{self, HeaderValue};
use http::request::Parts;

use super::exchange::Exchange;
use crate::http::host::parse_authority;
use crate::http::key::Facts;
use crate::upstream::balance::Balancer;

/// What the request says of where it should go: read before the route changes it.
#[cold]
pub(super) fn ask_request(
    exchange: &mut Exchange,
    parts: &Parts,
    balancer: &Balancer,
) -> Option<u64> {
    let host = parts.headers.get(header::HOST);
    let host = host.and_then(|host| parse_authority(host.as_bytes()).ok());
    let client = &exchange.client;
    let facts = Facts {
        client: exchange.client_address,
        host: host.map_or(b"", |host| host.host),
        path: parts.uri.path(),
        query: parts.uri.query(),
        method: &parts.method,
        headers: &parts.headers,
        route: exchange.route().map_or("", |route| route.name.as_str()),
        connection: client.id,
        subject: client.subject(),
    };
    let hash = balancer.hash(&facts, &mut client.worker.key.borrow_mut());
    exchange.asked = Some(hash);
    hash
}

/// The cookie that brings the client back to the endpoint that answered, if it does not have it.
pub(super) fn sticky_cookie(exchange: &Exchange) -> Option<HeaderValue> {
    let hash = exchange.asked?;
    let (upstream, endpoint) = exchange.place()?;
    let balancer = &exchange.pin.upstreams[upstream].balancer;
    balancer.set_cookie(endpoint, hash, exchange.client.is_secure())
}

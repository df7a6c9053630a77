//! Whose bucket of a limit a request is about, found out once for a connection where that is its client's address.

use std::net::IpAddr;

use http::request::Parts;

use super::exchange::Exchange;
use crate::filter::limit::{Limit, Whose};
use crate::http::key::Facts;
use crate::limit::KeyId;

/// The key that the address of a client came to, with as many bits as were looked at; it is the same in every limit.
#[derive(Clone, Copy)]
pub(super) struct Known {
    address: IpAddr,
    prefix: u8,
    key: KeyId,
}

/// Whose bucket of `limit` the request is about. The bytes of its key are in the worker's scratch then, unless
/// [`Limit::is_by_address`]: who wants to see that key says so with [`Limit::spell`].
#[inline]
pub(super) fn identify(exchange: &Exchange, parts: &Parts, host: &[u8], limit: &Limit) -> Whose {
    if !limit.is_by_address() {
        return look(exchange, parts, host, limit);
    }
    let (address, prefix) = (exchange.client_address, limit.policy.ipv6_prefix);
    match exchange.client.known.get() {
        Some(known) if known.address == address && known.prefix == prefix => Whose::Key(known.key),
        _ => learn(exchange, parts, host, limit),
    }
}

#[cold]
fn learn(exchange: &Exchange, parts: &Parts, host: &[u8], limit: &Limit) -> Whose {
    let whose = look(exchange, parts, host, limit);
    if let Whose::Key(key) = whose {
        exchange.client.known.set(Some(Known {
            address: exchange.client_address,
            prefix: limit.policy.ipv6_prefix,
            key,
        }));
    }
    whose
}

/// Puts the key together from what the request has.
pub(super) fn look(exchange: &Exchange, parts: &Parts, host: &[u8], limit: &Limit) -> Whose {
    let mut scratch = exchange.client.worker.key.borrow_mut();
    limit.identify(&facts(exchange, parts, host), &mut scratch)
}

/// What a key may see. Read before anything of the request is changed.
pub(super) fn facts<'a>(exchange: &'a Exchange, parts: &'a Parts, host: &'a [u8]) -> Facts<'a> {
    Facts {
        client: exchange.client_address,
        host,
        path: parts.uri.path(),
        query: parts.uri.query(),
        method: &parts.method,
        headers: &parts.headers,
        route: exchange.route().map_or("", |route| route.name.as_str()),
        connection: exchange.client.id,
        subject: exchange.client.subject(),
    }
}

//! The PROXY protocol: the address of the client, told by a trusted peer before the first byte of HTTP.

use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use ppp::{HeaderResult, PartialResult};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::proxy::worker::Worker;

/// The longest header taken: version 2 with its additions.
const MOST: usize = 4096;
/// Used where `timeouts.first_byte` is off: no wait is without a deadline.
const WITHIN: Duration = Duration::from_secs(10);

/// What a PROXY header told: the client's address, and the bytes of HTTP that came with it.
pub(super) struct Told {
    pub(super) peer: SocketAddr,
    pub(super) rest: Bytes,
}

/// Reads the header; `None` where the connection must be closed.
pub(super) async fn read(
    worker: &Rc<Worker>,
    listener: usize,
    stream: &mut TcpStream,
    peer: SocketAddr,
) -> Option<Told> {
    let (name, trusted, within) = {
        let pin = worker.view.pin();
        let l = &pin.listeners[listener];
        (
            l.name.clone(),
            l.trusted.contains(peer.ip()),
            l.timeouts.first_byte.unwrap_or(WITHIN),
        )
    };
    if !trusted {
        tracing::warn!(listener = name, %peer, "closed: proxy_protocol is on and the peer is not in trusted_proxies");
        return None;
    }
    let (source, rest) = match timeout(within, take_header(stream)).await {
        Ok(Some(taken)) => taken,
        Ok(None) => {
            tracing::warn!(listener = name, %peer, "closed: no valid PROXY header");
            return None;
        }
        Err(_) => return None,
    };
    Some(Told {
        peer: source.unwrap_or(peer),
        rest,
    })
}

/// The source is `None` for a header that names no address (`UNKNOWN`, `LOCAL`).
async fn take_header(stream: &mut TcpStream) -> Option<(Option<SocketAddr>, Bytes)> {
    let mut seen = BytesMut::with_capacity(512);
    loop {
        if stream.read_buf(&mut seen).await.ok()? == 0 {
            return None;
        }
        let header = HeaderResult::parse(&seen);
        if let Some((length, source)) = whole(&header) {
            return Some((source, seen.freeze().slice(length..)));
        }
        if header.is_complete() || seen.len() >= MOST {
            return None;
        }
    }
}

fn whole(header: &HeaderResult<'_>) -> Option<(usize, Option<SocketAddr>)> {
    match header {
        HeaderResult::V1(Ok(v1)) => {
            let source = match &v1.addresses {
                ppp::v1::Addresses::Tcp4(a) => {
                    Some(SocketAddr::new(IpAddr::V4(a.source_address), a.source_port))
                }
                ppp::v1::Addresses::Tcp6(a) => {
                    Some(SocketAddr::new(IpAddr::V6(a.source_address), a.source_port))
                }
                ppp::v1::Addresses::Unknown => None,
            };
            Some((v1.header.len(), source))
        }
        HeaderResult::V2(Ok(v2)) => {
            let source = match (&v2.command, &v2.addresses) {
                (ppp::v2::Command::Local, _) => None,
                (_, ppp::v2::Addresses::IPv4(a)) => {
                    Some(SocketAddr::new(IpAddr::V4(a.source_address), a.source_port))
                }
                (_, ppp::v2::Addresses::IPv6(a)) => {
                    Some(SocketAddr::new(IpAddr::V6(a.source_address), a.source_port))
                }
                _ => None,
            };
            Some((v2.len(), source))
        }
        _ => None,
    }
}

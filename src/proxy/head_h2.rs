//! The head of an HTTP/2 request, folded into the shape of HTTP/1.1, in which it is then checked and sent on.
//!
//! h2 refuses what RFC 9113 calls malformed by resetting the stream; what it lets pass is refused here, with a reason.

use http::Method;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::request::Parts;
use http::uri::Uri;

use crate::error::Reason;
use crate::http::host;
use crate::http::reply::Refusal;
use crate::snapshot::ListenerLimits;

/// What belongs to a connection has no meaning in a stream (RFC 9113, section 8.2.2).
const OF_CONNECTIONS: [HeaderName; 5] = [
    header::CONNECTION,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];
/// `: ` and the line's end, where a field is written out.
const PER_FIELD: usize = 4;

/// Makes `:authority` the Host, the target a path, and one line of all crumbs of `Cookie`.
///
/// # Errors
/// 400 for fields and hosts that two readers could understand in two ways, 431 for heads beyond `limits`.
pub(super) fn fold(parts: &mut Parts, limits: &ListenerLimits) -> Result<(), Refusal> {
    join_cookies(&mut parts.headers);
    let host = fold_target(parts);
    check_size(parts, limits)?;
    check_fields(&parts.headers)?;
    host
}

fn bad(detail: &str) -> Refusal {
    Refusal::because(Reason::BadRequest, detail)
}

/// Crumbs are one list of pairs, which HTTP/1.1 knows in one line only (RFC 9113, section 8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    let mut crumbs = headers.get_all(header::COOKIE).iter();
    let (Some(first), Some(second)) = (crumbs.next(), crumbs.next()) else {
        return;
    };
    let mut joined = first.as_bytes().to_vec();
    for crumb in std::iter::once(second).chain(crumbs) {
        joined.extend_from_slice(b"; ");
        joined.extend_from_slice(crumb.as_bytes());
    }
    // Valid values stay valid when they are joined.
    if let Ok(joined) = HeaderValue::from_maybe_shared(joined) {
        headers.insert(header::COOKIE, joined);
    }
}

/// Takes the authority out of the target (RFC 9113, section 8.3.1). It must name the Host that is also there, or two
/// readers would see two hosts.
fn fold_target(parts: &mut Parts) -> Result<(), Refusal> {
    // Answered by its method alone.
    if parts.method == Method::CONNECT {
        return Ok(());
    }
    let Some(authority) = parts.uri.authority().cloned() else {
        return Ok(());
    };
    let scheme = parts.uri.scheme_str().unwrap_or_default();
    let known = scheme == "http" || scheme == "https";
    if let Some(path) = parts.uri.path_and_query().cloned() {
        parts.uri = Uri::from(path);
    }
    if !known {
        return Err(bad("the target's scheme is neither http nor https"));
    }
    match parts.headers.get(header::HOST) {
        None => {
            let host = HeaderValue::from_str(authority.as_str())
                .map_err(|_| bad("the target's host is malformed"))?;
            parts.headers.insert(header::HOST, host);
            Ok(())
        }
        Some(host) if is_same(host.as_bytes(), authority.as_str().as_bytes()) => Ok(()),
        Some(_) => Err(bad("Host is not what :authority says")),
    }
}

fn is_same(host: &[u8], authority: &[u8]) -> bool {
    match (
        host::parse_authority(host),
        host::parse_authority(authority),
    ) {
        (Ok(a), Ok(b)) => a.host.eq_ignore_ascii_case(b.host) && a.port == b.port,
        _ => false,
    }
}

/// The bounds that hyper holds for HTTP/1.
fn check_size(parts: &Parts, limits: &ListenerLimits) -> Result<(), Refusal> {
    let headers = &parts.headers;
    let size =
        |(name, value): (&HeaderName, &HeaderValue)| name.as_str().len() + value.len() + PER_FIELD;
    let target = parts.uri.path_and_query().map_or(0, |p| p.as_str().len());
    let bytes = target + headers.iter().map(size).sum::<usize>();
    if headers.len() > limits.headers || bytes > limits.head_bytes {
        return Err(Refusal::because(
            Reason::HeadTooLarge,
            "the head is larger than limits.head_bytes or has more fields than limits.headers",
        ));
    }
    Ok(())
}

fn check_fields(headers: &HeaderMap) -> Result<(), Refusal> {
    if OF_CONNECTIONS.iter().any(|name| headers.contains_key(name)) {
        return Err(bad("HTTP/2 knows no fields of a connection"));
    }
    let mut te = headers.get_all(header::TE).iter();
    if te.any(|value| value.as_bytes() != b"trailers") {
        return Err(bad("in HTTP/2, TE may only say trailers"));
    }
    let mut lengths = headers.get_all(header::CONTENT_LENGTH).iter();
    if let Some(length) = lengths.next() {
        let digits = !length.is_empty() && length.as_bytes().iter().all(u8::is_ascii_digit);
        if !digits || lengths.next().is_some() {
            return Err(bad("Content-Length is no number, or there are two"));
        }
    }
    Ok(())
}

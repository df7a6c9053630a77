//! The checks at the door: what no upstream may ever see is refused here, before routing (RFC 9110, 9112).
//!
//! hyper parses strictly but leaves the duties of a proxy to us: which host is meant, which form the target has, how the
//! body is framed. Two readers of one message must never come to two answers.

use std::borrow::Cow;

use http::header::{self, HeaderValue};
use http::request::Parts;
use http::uri::{Authority, PathAndQuery, Uri};
use http::{Method, Version};

use crate::error::Reason;
use crate::http::fields::{self, Coding, Found};
use crate::http::reply::Refusal;
use crate::http::upgrade::{self, Handshake};
use crate::http::{host, target};

/// What the checks found out.
pub struct Head {
    /// The fields that are there.
    pub found: Found,
    /// Whom the request is for; `None` in HTTP/1.0 only.
    pub host: Option<HeaderValue>,
    /// Bytes of `host` before the port, or the dot at its end.
    pub name: usize,
    /// Does the client wait for a 100 before it sends its body?
    pub expects_continue: bool,
    /// May what the peer says of earlier hops be believed?
    pub trusted: bool,
    /// The handshake, where it asks for a WebSocket.
    pub handshake: Option<Box<Handshake>>,
}

impl Head {
    /// The host without port and dot at its end; empty if there is none.
    #[must_use]
    pub fn host_name(&self) -> &[u8] {
        self.host
            .as_ref()
            .map_or(b"", |host| &host.as_bytes()[..self.name])
    }
}

/// Checks the head and brings it into the one form that routing, limits and the upstream see: origin-form, normalised.
///
/// # Errors
/// 400, 403, 414, 417 or 501, as the contract's "Choices" say.
pub fn check(parts: &mut Parts, seen: fields::Request, uri_bytes: usize) -> Result<Head, Refusal> {
    let fields::Request {
        found, host, hosts, ..
    } = seen;
    if parts.method == Method::CONNECT {
        return Err(Refusal::because(
            Reason::NotImplemented,
            "CONNECT is not offered here",
        ));
    }
    check_coding(parts, found)?;
    let target = check_target(parts, uri_bytes)?;
    let name = check_host(parts, host.as_ref(), hosts)?;
    let (host, name) = match target {
        Some((host, name)) => (Some(host), name),
        None => (host, name),
    };
    normalise_path(parts)?;
    let expects_continue = found.expect() && check_expect(parts)?;
    let handshake = if found.upgrade() {
        upgrade::check(parts)?
    } else {
        None
    };
    Ok(Head {
        found,
        host,
        name,
        expects_continue,
        trusted: false,
        handshake,
    })
}

fn bad(detail: impl Into<String>) -> Refusal {
    Refusal::because(Reason::BadRequest, detail)
}

fn check_coding(parts: &Parts, found: Found) -> Result<(), Refusal> {
    if !found.transfer_encoding() {
        return Ok(());
    }
    // What hyper made of the body is one reading of two: nothing of it may be believed.
    match fields::transfer_coding(&parts.headers) {
        Coding::Chunked => Ok(()),
        Coding::Malformed => {
            Err(bad("Transfer-Encoding must be one line that says chunked").unframed())
        }
        Coding::Unknown => {
            let detail = "no transfer coding but chunked is understood";
            Err(Refusal::because(Reason::NotImplemented, detail).unframed())
        }
    }
}

/// Origin-form and absolute-form pass, `*` only with OPTIONS (RFC 9112, section 3.2); absolute-form becomes origin-form.
fn check_target(
    parts: &mut Parts,
    uri_bytes: usize,
) -> Result<Option<(HeaderValue, usize)>, Refusal> {
    let uri = &parts.uri;
    let Some(authority) = uri.authority() else {
        return check_origin_form(parts, uri_bytes).map(|()| None);
    };
    if uri.scheme().is_none() {
        return Err(bad("the target is neither a path nor a URL"));
    }
    let scheme = uri.scheme_str().unwrap_or_default();
    if scheme != "http" && scheme != "https" {
        return Err(bad("the target's scheme is neither http nor https"));
    }
    let length = scheme.len()
        + 3
        + authority.as_str().len()
        + uri.path_and_query().map_or(0, |p| p.as_str().len());
    check_length(length, uri_bytes)?;
    let (host, name) = host_of_target(authority)?;
    // The target's authority overrules Host (RFC 9112, section 3.2.2): route and upstream must agree.
    parts.headers.insert(header::HOST, host.clone());
    let path = uri
        .path_and_query()
        .cloned()
        .unwrap_or_else(|| PathAndQuery::from_static("/"));
    let path = if path.as_str().starts_with('?') {
        joined("/", path.query())
    } else {
        Some(path)
    };
    parts.uri = path
        .map(Uri::from)
        .ok_or_else(|| bad("the target's path is malformed"))?;
    Ok(Some((host, name)))
}

fn check_origin_form(parts: &Parts, uri_bytes: usize) -> Result<(), Refusal> {
    let target = parts.uri.path_and_query().map_or("", PathAndQuery::as_str);
    check_length(target.len(), uri_bytes)?;
    if target.starts_with('/') || (target == "*" && parts.method == Method::OPTIONS) {
        return Ok(());
    }
    Err(bad("the target must begin with a slash"))
}

fn check_length(length: usize, most: usize) -> Result<(), Refusal> {
    if length > most {
        return Err(Refusal::because(
            Reason::UriTooLong,
            format!("the target is {length} bytes long; {most} are allowed"),
        ));
    }
    Ok(())
}

/// The host and the length of its name.
fn host_of_target(authority: &Authority) -> Result<(HeaderValue, usize), Refusal> {
    let text = authority.as_str();
    let name = host::parse_authority(text.as_bytes())
        .map_err(|fault| bad(format!("in the target, {fault}")))?
        .host
        .len();
    let host = HeaderValue::from_str(text).map_err(|_| bad("the target's host is malformed"))?;
    Ok((host, name))
}

/// Exactly one valid Host, HTTP/1.0 may leave it out (RFC 9112, section 3.2); answers the length of its name.
fn check_host(parts: &Parts, host: Option<&HeaderValue>, lines: u32) -> Result<usize, Refusal> {
    if lines > 1 {
        return Err(bad("there is more than one Host"));
    }
    if lines == 0 && parts.version != Version::HTTP_10 {
        return Err(bad("there is no Host"));
    }
    match host {
        Some(host) => host::parse_authority(host.as_bytes())
            .map(|authority| authority.host.len())
            .map_err(|fault| bad(fault.to_string())),
        None => Ok(0),
    }
}

fn normalise_path(parts: &mut Parts) -> Result<(), Refusal> {
    let path = parts.uri.path();
    if path == "*" {
        return Ok(());
    }
    let Cow::Owned(clean) = target::normalise(path).map_err(|fault| bad(fault.to_string()))? else {
        return Ok(());
    };
    let target = joined(&clean, parts.uri.query()).ok_or_else(|| bad("the path is malformed"))?;
    parts.uri = Uri::from(target);
    Ok(())
}

fn joined(path: &str, query: Option<&str>) -> Option<PathAndQuery> {
    let text = match query {
        Some(query) => format!("{path}?{query}"),
        None => path.to_owned(),
    };
    PathAndQuery::try_from(text).ok()
}

/// `100-continue`, once, or nothing (RFC 9110, section 10.1.1).
fn check_expect(parts: &Parts) -> Result<bool, Refusal> {
    let mut lines = parts.headers.get_all(header::EXPECT).iter();
    match (lines.next(), lines.next()) {
        (Some(one), None) if one.as_bytes().eq_ignore_ascii_case(b"100-continue") => {
            Ok(parts.version == Version::HTTP_11)
        }
        _ => Err(Refusal::from(Reason::ExpectationFailed)),
    }
}

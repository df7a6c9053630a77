//! The answers that we give ourselves: problem details (RFC 9457) with the reason in every place where one looks.

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Response, StatusCode};

use super::fields::X_REQUEST_ID;
use crate::error::{Origin, Reason};

/// `X-Gateway-Reason`.
pub const X_GATEWAY_REASON: HeaderName = HeaderName::from_static("x-gateway-reason");
const PROXY_STATUS: HeaderName = HeaderName::from_static("proxy-status");

/// A refusal, on its way to become an answer.
#[derive(Debug)]
pub struct Refusal {
    /// Why.
    pub reason: Reason,
    /// In words, with names; shown where `errors.detail` is `full`.
    pub detail: Option<String>,
    /// The limit that refused it; shown likewise.
    pub limit: Option<Box<str>>,
    /// Fields that belong to the answer, such as `Allow`.
    pub fields: Vec<(HeaderName, HeaderValue)>,
    /// Where the message ends is in doubt: nothing more may be read from its connection.
    pub unframed: bool,
}

impl From<Reason> for Refusal {
    fn from(reason: Reason) -> Self {
        Refusal {
            reason,
            detail: None,
            limit: None,
            fields: Vec::new(),
            unframed: false,
        }
    }
}

impl Refusal {
    /// With words that tell more.
    #[must_use]
    pub fn because(reason: Reason, detail: impl Into<String>) -> Refusal {
        Refusal {
            detail: Some(detail.into()),
            ..Refusal::from(reason)
        }
    }

    /// Of a message whose end is in doubt: the connection closes, and nothing more is read from it.
    #[must_use]
    pub fn unframed(mut self) -> Refusal {
        self.unframed = true;
        self
    }

    /// With one more field.
    #[must_use]
    pub fn with(mut self, name: HeaderName, value: HeaderValue) -> Refusal {
        self.fields.push((name, value));
        self
    }
}

/// The answer to a refused request.
#[must_use]
pub fn problem(refusal: &Refusal, request_id: &HeaderValue, show_detail: bool) -> Response<Bytes> {
    let reason = refusal.reason;
    let body = body_of(refusal, request_id, show_detail);
    let mut response = Response::new(body);
    *response.status_mut() = reason.status();
    let headers = response.headers_mut();
    headers.reserve(6 + refusal.fields.len());
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/problem+json"),
    );
    headers.insert(X_GATEWAY_REASON, HeaderValue::from_static(reason.word()));
    headers.insert(PROXY_STATUS, proxy_status(reason));
    headers.insert(X_REQUEST_ID, request_id.clone());
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    for (name, value) in &refusal.fields {
        headers.append(name, value.clone());
    }
    response
}

/// Written as it is read: a tree of JSON would cost as much as all the rest of a refusal.
fn body_of(refusal: &Refusal, request_id: &HeaderValue, show_detail: bool) -> Bytes {
    let reason = refusal.reason;
    let (detail, limit) = match show_detail {
        true => (refusal.detail.as_deref(), refusal.limit.as_deref()),
        false => (None, None),
    };
    let request_id = String::from_utf8_lossy(request_id.as_bytes());
    let members = [
        ("type", Some("about:blank")),
        ("title", Some(reason.title())),
        ("reason", Some(reason.word())),
        ("request_id", Some(&*request_id)),
        ("detail", detail),
        ("limit", limit),
    ];
    let mut text = Vec::with_capacity(384);
    text.extend_from_slice(b"{\"status\":");
    text.extend_from_slice(reason.status().as_str().as_bytes());
    for (name, value) in members {
        let Some(value) = value else { continue };
        text.extend_from_slice(b",\"");
        text.extend_from_slice(name.as_bytes());
        text.extend_from_slice(b"\":");
        // Nothing that is written to memory fails.
        let _ = serde_json::to_writer(&mut text, value);
    }
    text.extend_from_slice(b"}\n");
    Bytes::from(text)
}

/// `tidegate; error=connection_refused; details="upstream_connect_failed"` (RFC 9209, section 2).
fn proxy_status(reason: Reason) -> HeaderValue {
    let (error, word) = (reason.proxy_error(), reason.word());
    let text = ["tidegate; error=", error, "; details=\"", word, "\""].concat();
    HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static("tidegate"))
}

/// The whole answer as bytes, for a connection on which hyper has given up; it always closes.
#[must_use]
pub fn raw(refusal: &Refusal, request_id: &HeaderValue, show_detail: bool) -> Bytes {
    let response = problem(refusal, request_id, show_detail);
    let status = response.status();
    let mut out = Vec::with_capacity(512);
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(status.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(status.canonical_reason().unwrap_or_default().as_bytes());
    out.extend_from_slice(b"\r\n");
    write_fields(&mut out, response.headers());
    out.extend_from_slice(b"connection: close\r\ncontent-length: ");
    out.extend_from_slice(itoa::Buffer::new().format(response.body().len()).as_bytes());
    out.extend_from_slice(b"\r\n\r\n");
    out.extend_from_slice(response.body());
    Bytes::from(out)
}

fn write_fields(out: &mut Vec<u8>, headers: &HeaderMap) {
    for (name, value) in headers {
        out.extend_from_slice(name.as_str().as_bytes());
        out.extend_from_slice(b": ");
        out.extend_from_slice(value.as_bytes());
        out.extend_from_slice(b"\r\n");
    }
}

/// Whether the fault lies with the upstream, so that an operator knows where to look.
#[must_use]
pub fn blames_upstream(reason: Reason) -> bool {
    reason.origin() == Origin::Upstream
}

/// 204, 304 and answers to HEAD carry no body (RFC 9110, section 6.4.1).
#[must_use]
pub fn may_have_body(status: StatusCode) -> bool {
    !status.is_informational()
        && status != StatusCode::NO_CONTENT
        && status != StatusCode::NOT_MODIFIED
}

/// Takes the body out where none belongs; the answer to HEAD still tells its length.
pub fn leave_body_out(response: &mut Response<Bytes>, is_head: bool) {
    if !is_head && may_have_body(response.status()) {
        return;
    }
    let length = std::mem::take(response.body_mut()).len();
    if is_head && length > 0 {
        let length = HeaderValue::from(length);
        response
            .headers_mut()
            .insert(header::CONTENT_LENGTH, length);
    }
}

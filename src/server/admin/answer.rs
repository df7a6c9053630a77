//! How the operator's port answers: words, JSON, problems (RFC 9457), all of them never stored and never framed.

use bytes::Bytes;
use http::header::{self, HeaderName, HeaderValue};
use http::{Response, StatusCode};
use serde_json::{Value, json};

use crate::proxy::body::Body;

/// Nothing may be loaded, run, framed or sent from an answer that is no page.
const NOTHING: &str =
    "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Why the port does not do what was asked, on its way to become an answer.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) status: StatusCode,
    /// In words, for the operator.
    detail: String,
    fields: Vec<(HeaderName, HeaderValue)>,
    /// Further members of the problem.
    more: Option<Value>,
}

impl Refused {
    pub(super) fn new(status: StatusCode, detail: impl Into<String>) -> Refused {
        Refused {
            status,
            detail: detail.into(),
            fields: Vec::new(),
            more: None,
        }
    }

    /// With one more field.
    pub(super) fn with(mut self, name: HeaderName, value: &str) -> Refused {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.fields.push((name, value));
        }
        self
    }

    /// With the members of `more`, an object.
    pub(super) fn telling(mut self, more: Value) -> Refused {
        self.more = Some(more);
        self
    }
}

impl From<Refused> for Response<Body> {
    fn from(refused: Refused) -> Response<Body> {
        let status = refused.status;
        let mut problem = json!({
            "type": "about:blank",
            "title": status.canonical_reason().unwrap_or_default(),
            "status": status.as_u16(),
            "detail": refused.detail,
        });
        if let (Some(problem), Some(Value::Object(more))) = (problem.as_object_mut(), refused.more)
        {
            problem.extend(more);
        }
        let mut response = whole(
            status,
            "application/problem+json",
            format!("{problem:#}\n").into(),
        );
        response.headers_mut().extend(refused.fields);
        response
    }
}

/// A word or a page of plain text.
pub(super) fn text(
    status: StatusCode,
    kind: &'static str,
    body: impl Into<Bytes>,
) -> Response<Body> {
    whole(status, kind, body.into())
}

/// An object, laid out for the eye: people look at it with curl.
pub(super) fn data(value: &Value) -> Response<Body> {
    whole(
        StatusCode::OK,
        "application/json",
        format!("{value:#}\n").into(),
    )
}

/// An object that belongs to a generation, which is its tag: what `If-Match` of `POST /reload` asks for.
pub(super) fn tagged(generation: u64, value: &Value) -> Response<Body> {
    let mut response = data(value);
    if let Ok(tag) = HeaderValue::from_str(&tag_of(generation)) {
        response.headers_mut().insert(header::ETAG, tag);
    }
    response
}

pub(super) fn tag_of(generation: u64) -> String {
    format!("\"{generation}\"")
}

/// A page for a browser, with the policy that it needs instead of the strictest.
pub(super) fn page(policy: &'static str, body: String) -> Response<Body> {
    let mut response = whole(StatusCode::OK, "text/html; charset=utf-8", body.into());
    response.headers_mut().insert(
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(policy),
    );
    response
}

fn whole(status: StatusCode, kind: &'static str, body: Bytes) -> Response<Body> {
    let mut response = Response::new(Body::Own(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_TYPE, kind),
        (header::CACHE_CONTROL, "no-store"),
        (header::CONTENT_SECURITY_POLICY, NOTHING),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

//! A service that reports what it received: the way to see what the gateway makes of a request.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::pin::Pin;

use http::request::Parts;
use http::{HeaderMap, Request, StatusCode};
use http_body::Body as _;
use hyper::body::Incoming;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::serve::{self, Answer, HangUp};

/// A body of at most so many bytes is shown, a larger one only measured.
const SHOWN_BYTES: usize = 4096;

/// Reads the request to its end and answers with a report in JSON.
pub(super) async fn answer(request: Request<Incoming>) -> Answer {
    let (parts, body) = request.into_parts();
    let received = receive(body).await?;
    Ok(serve::json(StatusCode::OK, &report(&parts, &received)))
}

/// What a body came to; never more than [`SHOWN_BYTES`] of it are kept.
#[derive(Default)]
struct Received {
    bytes: usize,
    beginning: Vec<u8>,
    digest: Sha256,
    trailers: HeaderMap,
}

async fn receive(mut body: Incoming) -> Result<Received, HangUp> {
    let mut received = Received::default();
    while let Some(frame) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        match frame.map_err(|_| HangUp)?.into_data() {
            Ok(data) => {
                let room = SHOWN_BYTES - received.beginning.len();
                received
                    .beginning
                    .extend_from_slice(&data[..data.len().min(room)]);
                received.bytes += data.len();
                received.digest.update(&data);
            }
            Err(frame) => received
                .trailers
                .extend(frame.into_trailers().unwrap_or_default()),
        }
    }
    Ok(received)
}

fn report(parts: &Parts, received: &Received) -> Value {
    let digest = received.digest.clone().finalize();
    let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    let mut report = json!({
        "service": "echo",
        "method": parts.method.as_str(),
        "target": parts.uri.to_string(),
        "version": format!("{:?}", parts.version),
        "headers": describe(&parts.headers),
        "body_bytes": received.bytes,
        "body_sha256": digest,
    });
    let whole = received.bytes == received.beginning.len();
    if let (true, Ok(text)) = (whole, std::str::from_utf8(&received.beginning)) {
        report["body"] = text.into();
    }
    if !received.trailers.is_empty() {
        report["trailers"] = describe(&received.trailers);
    }
    report
}

/// Name to value; to a list of values where there are several lines of one name.
fn describe(fields: &HeaderMap) -> Value {
    let mut by_name: BTreeMap<&str, Vec<Value>> = BTreeMap::new();
    for (name, value) in fields {
        let text = String::from_utf8_lossy(value.as_bytes()).into_owned();
        by_name
            .entry(name.as_str())
            .or_default()
            .push(Value::String(text));
    }
    let entries = by_name.into_iter().map(|(name, mut values)| {
        let value = if values.len() == 1 {
            values.remove(0)
        } else {
            Value::Array(values)
        };
        (name.to_owned(), value)
    });
    Value::Object(entries.collect())
}

//! A route's `retry` and `websocket` in the words of the file.

use serde_json::{Value, json};

use super::effective::{duration, or_off};
use crate::config::{Origin, Retry, RetryOn, WebSocket};

/// `retry`.
pub(super) fn retry(retry: &Retry) -> Value {
    let Retry {
        attempts,
        on,
        per_try_timeout,
        backoff,
    } = retry;
    json!({
        "attempts": attempts,
        "on": on.iter().map(cause).collect::<Vec<_>>(),
        "per_try_timeout": or_off(*per_try_timeout),
        "backoff": { "base": duration(backoff.base), "max": duration(backoff.max) },
    })
}

/// `websocket`.
pub(super) fn websocket(websocket: &WebSocket) -> Value {
    let WebSocket {
        origins,
        idle_timeout,
    } = websocket;
    json!({
        "origins": origins.iter().map(origin).collect::<Vec<_>>(),
        "idle_timeout": or_off(*idle_timeout),
    })
}

fn cause(cause: &RetryOn) -> Value {
    match cause {
        RetryOn::Connect => "connect".into(),
        RetryOn::RefusedStream => "refused_stream".into(),
        RetryOn::Reset => "reset".into(),
        RetryOn::Timeout => "timeout".into(),
        RetryOn::Status(code) => (*code).into(),
    }
}

fn origin(origin: &Origin) -> String {
    let written = |scheme: &Option<String>, host: String, port: Option<u16>| {
        let scheme = scheme.as_ref().map(|scheme| format!("{scheme}://"));
        let port = port.map(|port| format!(":{port}"));
        format!(
            "{}{host}{}",
            scheme.unwrap_or_default(),
            port.unwrap_or_default()
        )
    };
    match origin {
        Origin::Any => "any".into(),
        Origin::SameHost => "same_host".into(),
        Origin::Exact { scheme, host, port } => written(scheme, host.clone(), *port),
        Origin::Subdomains {
            scheme,
            suffix,
            port,
        } => written(scheme, format!("*{suffix}"), *port),
    }
}

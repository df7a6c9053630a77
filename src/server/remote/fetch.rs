//! One GET for a remote configuration: bounded in size and time, over TLS or to this machine.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use http::header::{self, HeaderValue};
use http::{Request, Response, StatusCode};
use http_body::Body as _;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::address::Address;
use crate::tls::why_failed;

/// How long it may take, redirects included.
const WITHIN: Duration = Duration::from_secs(10);
/// Bytes of a body: as many as of a file.
const MOST_BYTES: usize = 8 * 1024 * 1024;
const MOST_REDIRECTS: usize = 5;

/// What a server says.
pub(super) enum Answer {
    /// The body and its `ETag`.
    Body(Vec<u8>, Option<HeaderValue>),
    /// What has this `ETag` is still what it would send.
    NotModified,
}

/// Fetches what `address` names, unless it is what `known` is the `ETag` of.
///
/// # Errors
/// Why it could not be had, in words.
pub(super) async fn fetch(
    address: &Address,
    known: Option<&HeaderValue>,
    tls: &Arc<ClientConfig>,
) -> Result<Answer, String> {
    match tokio::time::timeout(WITHIN, follow(address, known, tls)).await {
        Ok(answer) => answer,
        Err(_) => Err(format!("no whole answer within {WITHIN:?}")),
    }
}

async fn follow(
    address: &Address,
    known: Option<&HeaderValue>,
    tls: &Arc<ClientConfig>,
) -> Result<Answer, String> {
    let mut address = address.clone();
    for _ in 0..=MOST_REDIRECTS {
        let response = get(&address, known, tls).await?;
        let status = response.status();
        if status == StatusCode::NOT_MODIFIED && known.is_some() {
            return Ok(Answer::NotModified);
        }
        if status == StatusCode::OK {
            let tag = response.headers().get(header::ETAG).cloned();
            return Ok(Answer::Body(collect(response.into_body()).await?, tag));
        }
        let location = response.headers().get(header::LOCATION);
        match location.and_then(|location| location.to_str().ok()) {
            Some(location) if status.is_redirection() => address = address.follow(location)?,
            _ => return Err(format!("the server answers {status}")),
        }
    }
    Err(format!("more than {MOST_REDIRECTS} redirects"))
}

async fn get(
    address: &Address,
    known: Option<&HeaderValue>,
    tls: &Arc<ClientConfig>,
) -> Result<Response<Incoming>, String> {
    let mut request = Request::get(address.target())
        .header(header::HOST, address.authority())
        .header(
            header::USER_AGENT,
            concat!("tidegate/", env!("CARGO_PKG_VERSION")),
        )
        .header(header::ACCEPT_ENCODING, "identity")
        .header(header::CONNECTION, "close");
    if let Some(known) = known {
        request = request.header(header::IF_NONE_MATCH, known);
    }
    let request = request.body(String::new()).map_err(|e| e.to_string())?;
    let stream = TcpStream::connect((address.host(), address.port()))
        .await
        .map_err(|error| format!("no connection to {}: {error}", address.authority()))?;
    if !address.is_secure() {
        return exchange(stream, request).await;
    }
    let name = ServerName::try_from(address.host().to_owned()).map_err(|e| e.to_string())?;
    let stream = TlsConnector::from(tls.clone())
        .connect(name, stream)
        .await
        .map_err(|error| {
            format!(
                "no TLS with {}: {}",
                address.authority(),
                why_failed(&error)
            )
        })?;
    exchange(stream, request).await
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin + 'static,
    request: Request<String>,
) -> Result<Response<Incoming>, String> {
    let broken = |error: hyper::Error| format!("the exchange broke: {error}");
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(broken)?;
    // It ends with the answer, or when that is dropped.
    tokio::task::spawn_local(connection);
    sender.send_request(request).await.map_err(broken)
}

async fn collect(mut body: Incoming) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    while let Some(frame) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        let frame = frame.map_err(|error| format!("the answer broke off: {error}"))?;
        if let Some(data) = frame.data_ref() {
            if bytes.len() + data.len() > MOST_BYTES {
                return Err("it is larger than 8 MiB".to_owned());
            }
            bytes.extend_from_slice(data);
        }
    }
    Ok(bytes)
}

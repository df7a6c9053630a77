//! One probe: a connection of its own, one GET, and what came of it in words.
//!
//! A connection is made for each probe: that is what a client needs, and an endpoint that takes none any more is found
//! out though its old connections live. TLS sessions are resumed. What the gateway itself lacks is no answer.

use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};

use http::header::{CONNECTION, HOST, HeaderValue, USER_AGENT};
use http::{Request, StatusCode};
use http_body::Body as _;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::Job;
use crate::http::upload::RequestBody;
use crate::upstream::connect::lacks;

/// What came of a probe.
pub(super) struct Answer {
    pub(super) is_good: bool,
    /// In words.
    pub(super) what: String,
}

/// Asks once; `None` when it was the gateway that could not.
pub(super) async fn ask(job: &Job) -> Option<Answer> {
    let limit = job.policy.timeout;
    let (is_good, what) = match tokio::time::timeout(limit, talk(job)).await {
        Ok(Ok(status)) if job.policy.expect.takes(status.as_u16()) => {
            (true, format!("answered {}", status.as_u16()))
        }
        Ok(Ok(status)) => {
            let (status, expect) = (status.as_u16(), &job.policy.expect);
            (false, format!("answered {status}, expected {expect}"))
        }
        Ok(Err(Failure::Theirs(what))) => (false, what),
        Ok(Err(Failure::Ours(error))) => {
            tracing::warn!(%error, endpoint = job.label, "an endpoint could not be probed");
            return None;
        }
        Err(_) => (false, format!("no whole answer within {limit:?}")),
    };
    Some(Answer { is_good, what })
}

enum Failure {
    /// The endpoint failed.
    Theirs(String),
    /// The gateway lacks descriptors or memory.
    Ours(io::Error),
}

async fn talk(job: &Job) -> Result<StatusCode, Failure> {
    let stream = TcpStream::connect(job.address).await.map_err(judge)?;
    let Some(target) = &job.secure else {
        return get(job, stream).await;
    };
    let handshake = TlsConnector::from(target.config.clone()).connect(target.name.clone(), stream);
    let failed = |error: io::Error| Failure::Theirs(format!("no TLS came to be: {error}"));
    get(job, handshake.await.map_err(failed)?).await
}

fn judge(error: io::Error) -> Failure {
    if lacks(&error) {
        Failure::Ours(error)
    } else {
        Failure::Theirs(format!("connecting failed: {error}"))
    }
}

async fn get<S>(job: &Job, stream: S) -> Result<StatusCode, Failure>
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| broke(&error))?;
    let request = question(job);
    let mut answer = pin!(async move {
        let response = sender.send_request(request).await;
        let (head, body) = response.map_err(|error| broke(&error))?.into_parts();
        read_out(body).await.map_err(|error| broke(&error))?;
        Ok(head.status)
    });
    tokio::select! {
        answer = &mut answer => answer,
        // What it had to say it has said.
        _ = connection => answer.await,
    }
}

fn broke(error: &hyper::Error) -> Failure {
    Failure::Theirs(format!("no whole answer: {error}"))
}

fn question(job: &Job) -> Request<RequestBody> {
    let mut request = Request::new(RequestBody::Empty);
    // A path that was checked is a target.
    *request.uri_mut() = job.policy.path.parse().unwrap_or_default();
    let fields = request.headers_mut();
    fields.insert(HOST, job.authority.clone());
    fields.insert(USER_AGENT, AGENT);
    fields.insert(CONNECTION, HeaderValue::from_static("close"));
    request
}

/// Reads a body, so that the endpoint sees no broken connection; a long one is left at [`MOST`] bytes.
async fn read_out(mut body: Incoming) -> Result<(), hyper::Error> {
    let mut read = 0;
    while let Some(frame) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        read += frame?.data_ref().map_or(0, |data| data.len());
        if read > MOST {
            break;
        }
    }
    Ok(())
}

const AGENT: HeaderValue =
    HeaderValue::from_static(concat!("tidegate-health/", env!("CARGO_PKG_VERSION")));
const MOST: usize = 64 * 1024;

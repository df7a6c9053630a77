//! One probe: one GET on a connection that nobody else uses, and what came of it in words.
//!
//! A connection that did well is kept for the next probe, which makes that one three times cheaper. One in so many
//! probes dials all the same, as a client would: an endpoint that takes no connection any more is found out though its
//! old ones live. What the gateway itself lacks is no answer.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use http::header::{CONNECTION, HOST, HeaderValue, USER_AGENT};
use http::{Request, StatusCode};
use http_body::Body as _;
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
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

/// The connection of an endpoint, between two of its probes.
pub(super) struct Line {
    sender: SendRequest<RequestBody>,
    /// Moves the bytes, while it is polled.
    driver: Pin<Box<dyn Future<Output = hyper::Result<()>>>>,
    /// Probes that it has carried.
    carried: u32,
    /// Of those that may be kept; the first probe does not know yet whether it gets one.
    place: Option<OwnedSemaphorePermit>,
}

/// Asks once, on the `kept` connection if there is one; `None` when it was the gateway that could not. What is kept
/// then for the next time has one of the `places`.
pub(super) async fn ask(
    job: &Job,
    kept: &mut Option<Box<Line>>,
    places: &Arc<Semaphore>,
) -> Option<Answer> {
    let limit = job.policy.timeout;
    let (is_good, what) = match tokio::time::timeout(limit, talk(job, kept, places)).await {
        Ok(Ok(status)) if job.policy.expect.takes(status.as_u16()) => {
            (true, format!("answered {}", status.as_u16()))
        }
        Ok(Ok(status)) => {
            // Whether it is well again is asked as a client would ask.
            *kept = None;
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

async fn talk(
    job: &Job,
    kept: &mut Option<Box<Line>>,
    places: &Arc<Semaphore>,
) -> Result<StatusCode, Failure> {
    if let Some(line) = kept.take()
        && let Ok(status) = get(job, line, kept, places).await
    {
        return Ok(status);
    }
    // There was none, or it broke: an endpoint may close what lies idle.
    let line = dial(job).await?;
    get(job, line, kept, places).await
}

async fn dial(job: &Job) -> Result<Box<Line>, Failure> {
    let stream = TcpStream::connect(job.address).await.map_err(judge)?;
    let Some(target) = &job.secure else {
        return begin(stream).await;
    };
    let handshake = TlsConnector::from(target.config.clone()).connect(target.name.clone(), stream);
    let failed = |error: io::Error| Failure::Theirs(format!("no TLS came to be: {error}"));
    begin(handshake.await.map_err(failed)?).await
}

async fn begin<S>(stream: S) -> Result<Box<Line>, Failure>
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let (sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| broke(&error))?;
    Ok(Box::new(Line {
        sender,
        driver: Box::pin(connection),
        carried: 0,
        place: None,
    }))
}

fn judge(error: io::Error) -> Failure {
    if lacks(&error) {
        Failure::Ours(error)
    } else {
        Failure::Theirs(format!("connecting failed: {error}"))
    }
}

async fn get(
    job: &Job,
    mut line: Box<Line>,
    kept: &mut Option<Box<Line>>,
    places: &Arc<Semaphore>,
) -> Result<StatusCode, Failure> {
    line.carried += 1;
    if line.place.is_none() && job.policy.interval <= KEPT_FOR {
        line.place = places.clone().try_acquire_owned().ok();
    }
    let is_last = line.carried >= MOST_CARRIED || line.place.is_none();
    let carried = line.carry(question(job, is_last)).await;
    let (status, line) = carried.map_err(|error| broke(&error))?;
    *kept = line.filter(|_| !is_last);
    Ok(status)
}

impl Line {
    /// Sends a request: the status of its answer, and the connection if it may carry another.
    async fn carry(
        self: Box<Self>,
        request: Request<RequestBody>,
    ) -> Result<(StatusCode, Option<Box<Line>>), hyper::Error> {
        let mut line = *self;
        let (mut sender, mut driver) = (line.sender, line.driver);
        let mut answer = pin!(async move {
            sender.ready().await?;
            let (head, body) = sender.send_request(request).await?.into_parts();
            Ok((head.status, read_out(body).await?, sender))
        });
        tokio::select! {
            answer = &mut answer => {
                let (status, is_whole, sender) = answer?;
                (line.sender, line.driver) = (sender, driver);
                Ok((status, is_whole.then(|| Box::new(line))))
            }
            _ = &mut driver => {
                // What it had to say it has said; what it took and did not send comes back when it is dropped.
                drop(driver);
                answer.await.map(|(status, ..)| (status, None))
            }
        }
    }
}

fn broke(error: &hyper::Error) -> Failure {
    Failure::Theirs(format!("no whole answer: {error}"))
}

fn question(job: &Job, is_last: bool) -> Request<RequestBody> {
    let mut request = Request::new(RequestBody::Empty);
    // What was checked is a target.
    *request.uri_mut() = job.policy.path.parse().unwrap_or_default();
    let fields = request.headers_mut();
    fields.insert(HOST, job.authority.clone());
    fields.insert(USER_AGENT, AGENT);
    if is_last {
        fields.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    request
}

/// Reads a body to its end, so that the endpoint sees no broken connection; a long one is left at [`MOST`] bytes: false.
async fn read_out(mut body: Incoming) -> Result<bool, hyper::Error> {
    let mut read = 0;
    while let Some(frame) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        read += frame?.data_ref().map_or(0, |data| data.len());
        if read > MOST {
            return Ok(false);
        }
    }
    Ok(true)
}

const AGENT: HeaderValue =
    HeaderValue::from_static(concat!("tidegate-health/", env!("CARGO_PKG_VERSION")));
const MOST: usize = 64 * 1024;
/// Probes on one connection: the next one dials.
const MOST_CARRIED: u32 = 10;
/// A connection that lies idle for longer may be forgotten by what is between, which looks like a silent endpoint.
const KEPT_FOR: Duration = Duration::from_secs(30);

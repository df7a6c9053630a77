//! Dialling an endpoint: TCP, TLS and the HTTP/1 connection over it, under one deadline; and taking the socket back.

use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use rustix::io::Errno;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::spawn_local;
use tokio_rustls::TlsConnector;

use super::doorbell::Doorbell;
use super::permits::{Hold, Permit};
use super::tap::{Tap, TappedStream};
use crate::http::upload::RequestBody;
use crate::time::{self, Nanos};
use crate::tls::{Target, why_failed};

/// Most bytes of an answer's head, and of its trailers.
const MAX_HEAD: usize = 64 * 1024;

/// One connection to an endpoint, idle or lent to one attempt.
pub struct Connection {
    /// hyper's handle; dropping it closes the connection.
    pub sender: SendRequest<RequestBody>,
    /// The last request's head.
    pub tap: Rc<Tap>,
    /// What wakes its task.
    pub bell: Arc<Doorbell>,
    /// Who gets the socket when hyper has done with it.
    pub heir: Rc<Heir>,
    /// The permit that its socket holds, where the endpoint's connections are bounded.
    pub hold: Hold,
    /// The TLS settings that it was made with; 0 = clear text.
    pub lock: u64,
    /// When it was dialled.
    pub born: Nanos,
    /// Requests that it has served to their end.
    pub served: u32,
}

/// A bare socket, and what was read from it too early.
pub struct Socket {
    /// Whatever carries the bytes.
    pub stream: Box<dyn Stream>,
    /// Read already, and still to be taken.
    pub early: Bytes,
    /// To be dropped when the stream is.
    pub permit: Option<Rc<Permit>>,
}

/// Anything that bytes can be read from and written to.
pub trait Stream: AsyncRead + AsyncWrite + Unpin {}

impl<S: AsyncRead + AsyncWrite + Unpin> Stream for S {}

/// Who gets the socket of a connection when hyper has done with it: nobody, but for an upgrade.
#[derive(Default)]
pub struct Heir(RefCell<Option<oneshot::Sender<Socket>>>);

impl Heir {
    /// Asks for the socket; it comes when the connection's task has ended.
    pub fn claim(&self) -> oneshot::Receiver<Socket> {
        let (give, receive) = oneshot::channel();
        *self.0.borrow_mut() = Some(give);
        receive
    }
}

/// Why there is no connection.
#[derive(Debug)]
pub enum DialError {
    /// The deadline passed.
    TimedOut,
    /// The system said no.
    Failed(io::Error),
    /// Somebody is there, and no TLS came to be with him; in words.
    Tls(String),
}

impl DialError {
    /// Was it the gateway that could not: no descriptor or memory left? That tells nothing of the endpoint.
    #[must_use]
    pub fn is_own_lack(&self) -> bool {
        matches!(self, DialError::Failed(error) if lacks(error))
    }
}

/// Is this an error of who connects, and not of whom he connects to?
#[must_use]
pub fn lacks(error: &io::Error) -> bool {
    const OWN: [Errno; 4] = [Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::NOBUFS];
    Errno::from_io_error(error).is_some_and(|errno| OWN.contains(&errno))
}

/// Dials, within `timeout`, and speaks TLS where `secure` says how. The socket holds `permit`, which an endpoint without a bound does not ask for.
///
/// # Errors
/// When the endpoint refuses, cannot be reached, or does not answer in time.
pub async fn dial(
    address: SocketAddr,
    secure: Option<&Target>,
    timeout: Option<Duration>,
    permit: Option<Permit>,
) -> Result<Connection, DialError> {
    let connecting = open(address, secure, permit);
    match timeout {
        Some(limit) => tokio::time::timeout(limit, connecting)
            .await
            .map_err(|_| DialError::TimedOut)?,
        None => connecting.await,
    }
}

async fn open(
    address: SocketAddr,
    secure: Option<&Target>,
    permit: Option<Permit>,
) -> Result<Connection, DialError> {
    // Declared before the stream: should this break off, it is dropped after it.
    let permit = permit.map(Rc::new);
    let stream = TcpStream::connect(address)
        .await
        .map_err(DialError::Failed)?;
    // Heads and small bodies leave in one write: waiting for more would only add latency.
    stream.set_nodelay(true).map_err(DialError::Failed)?;
    let Some(target) = secure else {
        return over(stream, permit).await.map_err(DialError::Failed);
    };
    let handshake = TlsConnector::from(target.config.clone()).connect(target.name.clone(), stream);
    let stream = handshake
        .await
        .map_err(|error| DialError::Tls(why_failed(&error)))?;
    let mut connection = over(stream, permit).await.map_err(DialError::Failed)?;
    connection.lock = target.digest;
    Ok(connection)
}

/// Speaks HTTP/1 over `stream`, whatever it is: the connection's task runs until the sender is dropped.
///
/// # Errors
/// hyper cannot begin.
pub async fn over<S>(stream: S, permit: Option<Rc<Permit>>) -> io::Result<Connection>
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let tap = Rc::new(Tap::default());
    let hold = Hold::of(permit.as_ref());
    let io = TokioIo::new(TappedStream::new(stream, tap.clone(), permit));
    let (sender, mut connection) = http1::Builder::new()
        .max_header_size(MAX_HEAD)
        .handshake(io)
        .await
        .map_err(io::Error::other)?;
    let (bell, heir) = (Arc::new(Doorbell::default()), Rc::new(Heir::default()));
    let (ringing, inherits) = (bell.clone(), heir.clone());
    spawn_local(async move {
        // It ends when the sender is dropped, the endpoint closes, or the connection becomes something else than HTTP;
        // its errors reach whoever waits for an answer.
        ringing.attend(Pin::new(&mut connection)).await;
        if let Some(give) = inherits.0.take() {
            let parts = connection.into_parts();
            let (stream, permit) = parts.io.into_inner().into_parts();
            // Who asked for it may have left.
            drop(give.send(Socket {
                stream: Box::new(stream),
                early: parts.read_buf,
                permit,
            }));
        }
    });
    Ok(Connection {
        sender,
        tap,
        bell,
        heir,
        hold,
        lock: 0,
        born: time::now(),
        served: 0,
    })
}

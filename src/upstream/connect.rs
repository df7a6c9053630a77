//! Dialling an endpoint: TCP and the HTTP/1 connection over it, under one deadline.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::spawn_local;

use super::doorbell::Doorbell;
use super::tap::{Tap, TappedStream};
use crate::http::upload::RequestBody;
use crate::time::{self, Nanos};

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
    /// When it was dialled.
    pub born: Nanos,
}

/// Why there is no connection.
#[derive(Debug)]
pub enum DialError {
    /// The deadline passed.
    TimedOut,
    /// The system said no.
    Failed(io::Error),
}

/// Dials, within `timeout`.
///
/// # Errors
/// When the endpoint refuses, cannot be reached, or does not answer in time.
pub async fn dial(address: SocketAddr, timeout: Option<Duration>) -> Result<Connection, DialError> {
    let connecting = open(address);
    match timeout {
        Some(limit) => tokio::time::timeout(limit, connecting)
            .await
            .map_err(|_| DialError::TimedOut)?,
        None => connecting.await,
    }
}

async fn open(address: SocketAddr) -> Result<Connection, DialError> {
    let stream = TcpStream::connect(address)
        .await
        .map_err(DialError::Failed)?;
    // Heads and small bodies leave in one write: waiting for more would only add latency.
    stream.set_nodelay(true).map_err(DialError::Failed)?;
    over(stream).await.map_err(DialError::Failed)
}

/// Speaks HTTP/1 over `stream`, whatever it is: the connection's task runs until the sender is dropped.
///
/// # Errors
/// hyper cannot begin.
pub async fn over<S>(stream: S) -> io::Result<Connection>
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let tap = Rc::new(Tap::default());
    let io = TokioIo::new(TappedStream::new(stream, tap.clone()));
    let (sender, connection) = http1::Builder::new()
        .max_header_size(MAX_HEAD)
        .handshake(io)
        .await
        .map_err(io::Error::other)?;
    // It ends when the sender is dropped or the endpoint closes; its errors reach whoever waits for an answer.
    let bell = Arc::new(Doorbell::default());
    spawn_local(bell.clone().attend(connection));
    Ok(Connection {
        sender,
        tap,
        bell,
        born: time::now(),
    })
}

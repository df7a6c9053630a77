//! The TLS handshake of a client's connection: bounded in time, counted, and over before the first byte of HTTP.
//!
//! The ClientHello is read first and alone, so that plain HTTP gets an answer that people can read, and a name that
//! nobody has is refused in the words of TLS.

use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use rustls::server::{Accepted, Acceptor};
use rustls::{ServerConfig, ServerConnection};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::StartHandshake;
use tokio_rustls::server::TlsStream;

use super::farewell;
use super::stream::{Below, Spoken, Stream};
use crate::drain::Phase;
use crate::metrics::Handshake;
use crate::proxy::secured::{Secured, Verified};
use crate::proxy::worker::Worker;
use crate::time::{self, Nanos};
use crate::timer::Deadline;
use crate::tls::{Certificate, Identity, Policy, normalise};

/// While the gateway closes, a handshake may take so much longer.
const LAST_WORD: Duration = Duration::from_secs(1);
/// The first byte of every TLS record of a handshake (RFC 8446, section 5.1).
const HANDSHAKE_RECORD: u8 = 22;
/// One record: a fatal alert, `unrecognized_name` (RFC 6066, section 3).
const UNRECOGNIZED_NAME: [u8; 7] = [21, 3, 3, 0, 2, 2, 112];
/// A ClientHello comes in one or two of these.
const READ_BYTES: usize = 4096;

/// What came of a connection to a port that speaks TLS.
pub(super) enum Shaken {
    /// HTTP may begin.
    Secure(Stream, Spoken, Rc<Secured>),
    /// The client speaks HTTP in clear text.
    PlainHttp(Stream),
    /// Nothing more is to be done.
    Over,
}

/// Leads the handshake of `socket`, from which `read` was taken already.
pub(super) async fn shake(
    worker: &Rc<Worker>,
    listener: usize,
    socket: TcpStream,
    read: Bytes,
) -> Shaken {
    let Some(mut shaking) = Shaking::begin(worker, listener) else {
        return Shaken::Over;
    };
    let (shaken, result) = shaking.lead(socket, read).await;
    if let Some(result) = result {
        let pin = worker.view.pin();
        pin.listeners[listener]
            .stats
            .count_handshake(worker.index, result);
    }
    shaken
}

/// How it ended, and what is counted of it.
type End = (Shaken, Option<Handshake>);

/// A handshake under way.
struct Shaking<'w> {
    worker: &'w Rc<Worker>,
    policy: Arc<Policy>,
    server: Arc<ServerConfig>,
    deadline: Deadline,
    /// When the whole handshake must be done.
    due: Option<Nanos>,
    /// When the first byte must be there.
    first_byte_due: Option<Nanos>,
    /// The gateway closes, and this was taken account of.
    hurried: bool,
}

/// A ClientHello, and what was read beyond it.
struct Hello {
    accepted: Accepted,
    beyond: BytesMut,
}

impl<'w> Shaking<'w> {
    /// `None` where the listener speaks no TLS.
    fn begin(worker: &'w Rc<Worker>, listener: usize) -> Option<Shaking<'w>> {
        let pin = worker.view.pin();
        let listener = &pin.listeners[listener];
        let tls = listener.tls.as_ref()?;
        let now = worker.read_clock();
        let due = listener.timeouts.tls_handshake.map(|t| now.plus(t));
        let first = listener.timeouts.first_byte.map(|t| now.plus(t));
        Some(Shaking {
            policy: tls.policy.clone(),
            server: tls.server.clone(),
            deadline: worker.timers.deadline(),
            due,
            first_byte_due: first.into_iter().chain(due).min(),
            hurried: false,
            worker,
        })
    }

    async fn lead(&mut self, mut socket: TcpStream, read: Bytes) -> End {
        let mut buffer = BytesMut::with_capacity(READ_BYTES);
        buffer.extend_from_slice(&read);
        drop(read);
        self.set(self.first_byte_due);
        if buffer.is_empty() {
            match self.within(socket.read_buf(&mut buffer)).await {
                None => return (Shaken::Over, Some(Handshake::Timeout)),
                // Somebody only looked whether the port is open.
                Some(Ok(0) | Err(_)) => return (Shaken::Over, None),
                Some(Ok(_)) => {}
            }
        }
        self.set(self.due);
        match buffer.first() {
            Some(&HANDSHAKE_RECORD) => {}
            Some(first) if first.is_ascii_alphabetic() => {
                let stream = Stream::Plain(socket);
                return (Shaken::PlainHttp(stream), Some(Handshake::Failed));
            }
            _ => return (Shaken::Over, Some(Handshake::Failed)),
        }
        let read = {
            let reading = read_hello(&mut socket, buffer);
            self.within(reading).await
        };
        let hello = match read {
            None => return (Shaken::Over, Some(Handshake::Timeout)),
            Some(Some(hello)) => hello,
            Some(None) => return failed(socket).await,
        };
        if self.policy.refuses(&hello.accepted.client_hello()) {
            let _ = socket.try_write(&UNRECOGNIZED_NAME);
            return failed(socket).await;
        }
        self.answer(hello, socket).await
    }

    async fn answer(&mut self, hello: Hello, socket: TcpStream) -> End {
        let Hello { accepted, beyond } = hello;
        let certificate = {
            let hello = accepted.client_hello();
            self.policy
                .choose(hello.server_name(), hello.signature_schemes())
                .cloned()
        };
        let start = StartHandshake::from_parts(accepted, Below::new(socket));
        let accept = start
            .into_stream_with(self.server.clone(), |session| {
                let mut beyond = &beyond[..];
                // What rustls cannot take it will not miss: the handshake then fails by itself.
                while !beyond.is_empty() && matches!(session.read_tls(&mut beyond), Ok(1..)) {}
            })
            .into_fallible();
        match self.within(accept).await {
            None => (Shaken::Over, Some(Handshake::Timeout)),
            Some(Err((error, below))) => {
                tracing::debug!(%error, "TLS handshake failed");
                failed(below.into_inner()).await
            }
            Some(Ok(stream)) => match certificate.and_then(|c| secured(stream.get_ref().1, c)) {
                Some(secured) => (welcome(stream, secured), Some(Handshake::Ok)),
                None => {
                    Stream::Tls(Box::new(stream)).say_goodbye();
                    (Shaken::Over, Some(Handshake::Failed))
                }
            },
        }
    }

    fn set(&self, due: Option<Nanos>) {
        self.deadline.set_at(self.worker.read_clock(), due);
    }

    /// `None` when there is no time left for it.
    async fn within<F: Future>(&mut self, future: F) -> Option<F::Output> {
        let mut future = pin!(future);
        poll_fn(|cx| match future.as_mut().poll(cx) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending if self.is_over(cx) => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        })
        .await
    }

    fn is_over(&mut self, cx: &Context<'_>) -> bool {
        self.deadline.register(cx.waker());
        let phase = self.worker.drain.phase();
        if phase >= Phase::Closing && !std::mem::replace(&mut self.hurried, true) {
            let now = self.worker.read_clock();
            let last = now.plus(LAST_WORD);
            self.deadline
                .set_at(now, Some(self.due.map_or(last, |due| due.min(last))));
        }
        phase == Phase::Cut || self.deadline.fired()
    }
}

/// Reads until the ClientHello is whole; `None` where it is none, which the client was told then.
async fn read_hello(socket: &mut TcpStream, mut buffer: BytesMut) -> Option<Hello> {
    let mut acceptor = Acceptor::default();
    loop {
        while !buffer.is_empty() {
            let mut bytes = &buffer[..];
            let taken = acceptor.read_tls(&mut bytes).ok()?;
            let _ = buffer.split_to(taken);
            match acceptor.accept() {
                Ok(None) => {}
                Ok(Some(accepted)) => {
                    return Some(Hello {
                        accepted,
                        beyond: buffer,
                    });
                }
                Err((error, mut alert)) => {
                    tracing::debug!(%error, "TLS handshake failed");
                    let mut text = Vec::new();
                    alert.write_all(&mut text).ok()?;
                    let _ = socket.write_all(&text).await;
                    return None;
                }
            }
        }
        buffer.reserve(READ_BYTES);
        if socket.read_buf(&mut buffer).await.ok()? == 0 {
            return None;
        }
    }
}

/// Closes gently, or the reset would overtake the alert that tells the client why.
async fn failed(socket: TcpStream) -> End {
    farewell::linger(Stream::Plain(socket)).await;
    (Shaken::Over, Some(Handshake::Failed))
}

fn welcome(stream: TlsStream<Below>, secured: Secured) -> Shaken {
    let spoken = match stream.get_ref().1.alpn_protocol() {
        Some(b"h2") => Spoken::Http2,
        _ => Spoken::Http1,
    };
    Shaken::Secure(Stream::Tls(Box::new(stream)), spoken, Rc::new(secured))
}

/// What the handshake told. `None` for a client whose certificate has expired since it was verified, which a resumed
/// session does not ask, or cannot be read.
fn secured(session: &ServerConnection, certificate: Arc<Certificate>) -> Option<Secured> {
    let shown = session.peer_certificates().and_then(<[_]>::first);
    let identity = match shown {
        None => None,
        Some(shown) => {
            let identity = Identity::read(shown)?;
            let now = i64::try_from(time::wall_nanos() / 1_000_000_000).unwrap_or(i64::MAX);
            if identity.not_after < now {
                return None;
            }
            Some(Verified::new(&identity)?)
        }
    };
    Some(Secured {
        server_name: session.server_name().map(|name| normalise(name).into()),
        certificate,
        identity,
    })
}

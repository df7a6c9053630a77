//! What a client's bytes come through: a bare socket, or TLS over one.
//!
//! The bare socket pays one branch for the other. TLS keeps what it has encrypted until the socket takes it, so that
//! who has written must flush before it waits for anything else.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncBufRead, AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

/// What is spoken on a connection, as far as that is known before its first byte of HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Spoken {
    /// HTTP/1.1 or 1.0; on clear text also what has yet to show itself.
    Http1,
    /// HTTP/2, chosen by ALPN (RFC 7301).
    Http2,
}

/// A client's connection.
pub(super) enum Stream {
    /// As the kernel gives it.
    Plain(TcpStream),
    /// After a handshake.
    Tls(Box<TlsStream<TcpStream>>),
}

impl Stream {
    /// Tells the peer that this is the end, as far as the socket takes it at once: else TLS clients take what they read
    /// up to a close for cut short. Not to be said where it was.
    pub(super) fn say_goodbye(self) {
        let Stream::Tls(mut tls) = self else { return };
        let (socket, session) = tls.get_mut();
        session.send_close_notify();
        while session.wants_write() && matches!(session.write_tls(&mut AtOnce(socket)), Ok(1..)) {}
    }

    /// Ready when a read would tell something: bytes, the end or an error. Takes nothing away.
    ///
    /// Of TLS only what is left after decryption counts: a connection whose peer only changes keys is silent.
    pub(super) fn poll_speaks(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match self {
            Stream::Plain(socket) => socket.poll_read_ready(cx).map(drop),
            Stream::Tls(tls) => Pin::new(&mut **tls).poll_fill_buf(cx).map(drop),
        }
    }
}

/// Writes what the socket takes without waiting.
struct AtOnce<'a>(&'a TcpStream);

impl io::Write for AtOnce<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(socket) => Pin::new(socket).poll_read(cx, buf),
            Stream::Tls(tls) => Pin::new(&mut **tls).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Stream::Plain(socket) => Pin::new(socket).poll_write(cx, buf),
            Stream::Tls(tls) => Pin::new(&mut **tls).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Stream::Plain(socket) => Pin::new(socket).poll_write_vectored(cx, bufs),
            Stream::Tls(tls) => Pin::new(&mut **tls).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(_) => Poll::Ready(Ok(())),
            Stream::Tls(tls) => Pin::new(&mut **tls).poll_flush(cx),
        }
    }

    /// Of TLS with a `close_notify` before the end (RFC 8446, section 6.1): without one the peer may take it for cut.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(socket) => Pin::new(socket).poll_shutdown(cx),
            Stream::Tls(tls) => Pin::new(&mut **tls).poll_shutdown(cx),
        }
    }
}

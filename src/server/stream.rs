//! What a client's bytes come through: a bare socket, or TLS over one.
//!
//! The bare socket pays one branch for the other. TLS keeps what it has encrypted until the socket takes it, so that
//! who has written must flush before it waits for anything else.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncBufRead, AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use crate::http::guard::Wire;

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
    Tls(Box<TlsStream<Below>>),
}

/// The socket below TLS, which tells what it takes: TLS itself takes up to 64 KiB more, whatever the peer does.
pub(super) struct Below {
    socket: TcpStream,
    told: Option<Arc<Wire>>,
}

impl Below {
    /// Tells nobody yet.
    pub(super) fn new(socket: TcpStream) -> Below {
        Below { socket, told: None }
    }

    /// The bare socket.
    pub(super) fn into_inner(self) -> TcpStream {
        self.socket
    }

    fn note(&self, result: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let (Poll::Ready(Ok(count)), Some(wire)) = (&result, &self.told) {
            wire.note_taken(*count as u64);
        }
        result
    }
}

impl Stream {
    /// Counts on `wire` what the socket below TLS takes.
    pub(super) fn tell(&mut self, wire: &Arc<Wire>) {
        if let Stream::Tls(tls) = self {
            tls.get_mut().0.told = Some(wire.clone());
        }
    }

    /// Tells the peer that this is the end, as far as the socket takes it at once: else TLS clients take what they read
    /// up to a close for cut short. Not to be said where it was.
    pub(super) fn say_goodbye(self) {
        let Stream::Tls(mut tls) = self else { return };
        let (below, session) = tls.get_mut();
        session.send_close_notify();
        let mut socket = AtOnce(&below.socket);
        while session.wants_write() && matches!(session.write_tls(&mut socket), Ok(1..)) {}
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

impl AsyncRead for Below {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_read(cx, buf)
    }
}

impl AsyncWrite for Below {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.socket).poll_write(cx, buf);
        self.note(result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.socket).poll_write_vectored(cx, bufs);
        self.note(result)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
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

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;
    use tokio::runtime::Builder;

    use super::*;

    #[test]
    fn what_the_socket_below_tls_takes_is_told() {
        let runtime = Builder::new_current_thread().enable_io().build().unwrap();
        runtime.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let socket = TcpStream::connect(listener.local_addr().unwrap()).await;
            let wire = Arc::new(Wire::default());
            let mut below = Below::new(socket.unwrap());
            below.write_all(b"handshake").await.unwrap();
            assert_eq!(wire.written(), 0);
            below.told = Some(wire.clone());
            below.write_all(b"word").await.unwrap();
            assert_eq!(wire.written(), 4);
        });
    }
}

//! A client's socket as HTTP/2 sees it: what passes is looked at, and the socket itself outlives the library.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::http::frames::{Conduct, Fault};
use crate::http::guard::write_gathered;
use crate::time;

/// The socket, and what it has seen.
pub(super) struct Seen<S> {
    stream: S,
    rewound: Bytes,
    /// What the peer does with its connection.
    pub(super) conduct: Conduct,
    /// Why the connection was broken off from here.
    pub(super) fault: Option<Fault>,
    /// The peer does not take what we have to write.
    pub(super) blocked: bool,
    /// Bytes written so far.
    pub(super) written: u64,
}

/// One of two handles on it: the library's and the connection's own.
pub(super) struct Socket<S>(Rc<RefCell<Seen<S>>>);

impl<S> Socket<S> {
    /// Both handles; `rewound` is read before anything else.
    pub(super) fn pair(stream: S, rewound: Bytes) -> (Socket<S>, Rc<RefCell<Seen<S>>>) {
        let seen = Rc::new(RefCell::new(Seen {
            stream,
            rewound,
            conduct: Conduct::new(time::now()),
            fault: None,
            blocked: false,
            written: 0,
        }));
        (Socket(seen.clone()), seen)
    }
}

impl<S> Seen<S> {
    /// The bare socket.
    pub(super) fn into_stream(self) -> S {
        self.stream
    }

    fn note_read(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.conduct.receive(bytes, time::now).map_err(|fault| {
            self.fault = Some(fault);
            io::Error::other(fault.words())
        })
    }

    fn note_written(&mut self, bufs: &[io::IoSlice<'_>], result: &Poll<io::Result<usize>>) {
        self.blocked = result.is_pending();
        let Poll::Ready(Ok(count)) = result else {
            return;
        };
        self.written += *count as u64;
        let mut left = *count;
        for buf in bufs {
            let here = left.min(buf.len());
            self.conduct.send(&buf[..here]);
            left -= here;
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Socket<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let seen = &mut *self.0.borrow_mut();
        let before = buf.filled().len();
        if seen.rewound.is_empty() {
            ready!(Pin::new(&mut seen.stream).poll_read(cx, buf))?;
        } else {
            let count = seen.rewound.len().min(buf.remaining());
            buf.put_slice(&seen.rewound[..count]);
            seen.rewound.advance(count);
            if seen.rewound.is_empty() {
                // An empty `Bytes` would go on owning its block.
                seen.rewound = Bytes::new();
            }
        }
        Poll::Ready(seen.note_read(&buf.filled()[before..]))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Socket<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let seen = &mut *self.0.borrow_mut();
        let result = Pin::new(&mut seen.stream).poll_write(cx, buf);
        seen.note_written(&[io::IoSlice::new(buf)], &result);
        result
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let seen = &mut *self.0.borrow_mut();
        let result = write_gathered(Pin::new(&mut seen.stream), cx, bufs);
        seen.note_written(bufs, &result);
        result
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let seen = &mut *self.0.borrow_mut();
        let flushed = Pin::new(&mut seen.stream).poll_flush(cx);
        // TLS may hold what the peer does not take.
        seen.blocked = flushed.is_pending();
        flushed
    }

    /// Closing is the connection's task's: the library would shut the socket before our own last words are said.
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    /// Takes what it is given, as TLS does, and gets it on its way only once `open`.
    struct Sealed {
        open: bool,
    }

    impl AsyncRead for Sealed {
        fn poll_read(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            _: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            Poll::Pending
        }
    }

    impl AsyncWrite for Sealed {
        fn poll_write(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            buf: &[u8],
        ) -> Poll<io::Result<usize>> {
            Poll::Ready(Ok(buf.len()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            if self.open {
                Poll::Ready(Ok(()))
            } else {
                Poll::Pending
            }
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[test]
    fn what_tls_holds_back_is_blocked() {
        let cx = &mut Context::from_waker(Waker::noop());
        let (mut socket, seen) = Socket::pair(Sealed { open: false }, Bytes::new());
        assert!(Pin::new(&mut socket).poll_write(cx, b"word").is_ready());
        assert!(!seen.borrow().blocked);
        assert!(Pin::new(&mut socket).poll_flush(cx).is_pending());
        assert!(seen.borrow().blocked);
        seen.borrow_mut().stream.open = true;
        assert!(Pin::new(&mut socket).poll_flush(cx).is_ready());
        assert!(!seen.borrow().blocked);
    }
}

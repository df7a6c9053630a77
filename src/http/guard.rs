//! The IO wrapper below hyper: notices what hyper does not tell, and keeps its bare answers from the wire.
//!
//! It looks at one word of flags and parses nothing. The connection's task reads the flags after each poll of hyper and
//! moves the one deadline of the connection by them.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// A request is in `handle`, or its answer's body is not yet handed to hyper.
pub const IN_EXCHANGE: u32 = 1;
/// An answer is handed to hyper, and not yet whole on its way.
pub const ANSWERING: u32 = 1 << 1;
/// The rest of a request's body is being read and thrown away.
pub const DRAINING: u32 = 1 << 2;
/// Bytes came in since the last exchange ended: the head of a request has begun.
pub const HEAD_BEGUN: u32 = 1 << 3;
/// The peer does not take what we have to write.
pub const WRITE_BLOCKED: u32 = 1 << 4;
/// A request's body was left unread: closing at once would take our answer from the client.
pub const BODY_UNREAD: u32 = 1 << 5;
/// hyper wrote an answer of its own, which was kept back.
pub const BARE_ANSWER: u32 = 1 << 6;

/// While one of these is set, bytes belong to an exchange that is under way.
pub const BUSY: u32 = IN_EXCHANGE | ANSWERING | DRAINING;

/// The facts about one connection, shared by the guard, the connection's task and its exchange.
///
/// One thread writes; the atomics are only there because hyper asks IO that can be upgraded to be `Send`.
#[derive(Default)]
pub struct Wire {
    flags: AtomicU32,
    read: AtomicU64,
    written: AtomicU64,
}

impl Wire {
    /// All flags.
    #[must_use]
    pub fn flags(&self) -> u32 {
        self.flags.load(Relaxed)
    }

    /// Is any of `flags` set?
    #[must_use]
    pub fn has(&self, flags: u32) -> bool {
        self.flags() & flags != 0
    }

    /// Sets and clears flags.
    pub fn turn(&self, on: u32, off: u32) {
        self.flags.store(self.flags() & !off | on, Relaxed);
    }

    /// `bytes` of an answer were handed to a stream, which has no socket of its own: until it asks for more, it has not
    /// taken them.
    pub fn hand_out(&self, bytes: u64) {
        self.note_taken(bytes);
        self.turn(WRITE_BLOCKED, 0);
    }

    /// `bytes` were taken, by the socket or by TLS above it.
    pub fn note_taken(&self, bytes: u64) {
        self.written.store(self.written() + bytes, Relaxed);
    }

    /// Bytes written so far; over TLS both those that it took and those that it sent on, so that each move shows.
    #[must_use]
    pub fn written(&self) -> u64 {
        self.written.load(Relaxed)
    }

    /// Bytes read so far.
    #[must_use]
    pub fn bytes_read(&self) -> u64 {
        self.read.load(Relaxed)
    }
}

/// A client's socket, as hyper sees it.
///
/// Over anything but a `TcpStream` only to measure or test a connection without a network.
pub struct Guard<S = TcpStream> {
    stream: S,
    wire: Arc<Wire>,
    /// Bytes that an earlier hyper connection on this socket had read already.
    rewound: Bytes,
}

impl<S> Guard<S> {
    /// Wraps a socket; `rewound` is read before anything else.
    #[must_use]
    pub fn new(stream: S, wire: Arc<Wire>, rewound: Bytes) -> Guard<S> {
        Guard {
            stream,
            wire,
            rewound,
        }
    }

    /// The bare socket.
    #[must_use]
    pub fn into_inner(self) -> S {
        self.stream
    }

    fn note_read(&self, n: usize) {
        if n > 0 {
            self.wire
                .read
                .store(self.wire.bytes_read() + n as u64, Relaxed);
            if !self.wire.has(BUSY) {
                self.wire.turn(HEAD_BEGUN, 0);
            }
        }
    }

    fn note_written(&self, result: &Poll<io::Result<usize>>) {
        match result {
            Poll::Ready(Ok(n)) => {
                self.wire.note_taken(*n as u64);
                if self.wire.has(WRITE_BLOCKED) {
                    self.note_blocked(false);
                }
            }
            Poll::Ready(Err(_)) => {}
            Poll::Pending => self.note_blocked(true),
        }
    }

    fn note_blocked(&self, blocked: bool) {
        if blocked {
            self.wire.turn(WRITE_BLOCKED, 0);
        } else {
            self.wire.turn(0, WRITE_BLOCKED);
        }
    }

    /// Outside an exchange hyper only ever writes an answer of its own, which the connection replaces by ours.
    fn keeps_back(&self) -> bool {
        if self.wire.has(BUSY) {
            return false;
        }
        self.wire.turn(BARE_ANSWER, 0);
        true
    }
}

/// Most bytes that are copied together for the sake of a cheaper system call.
const GATHERED: usize = 2048;

thread_local! {
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Writes several buffers at once. A head and a small body are first copied into one: the kernel takes `send` of one
/// buffer noticeably faster than `writev` of two, and large bodies still go out uncopied.
pub fn write_gathered<S: AsyncWrite>(
    stream: Pin<&mut S>,
    cx: &mut Context<'_>,
    bufs: &[io::IoSlice<'_>],
) -> Poll<io::Result<usize>> {
    if let [one] = bufs {
        return stream.poll_write(cx, one);
    }
    if bufs.iter().map(|buf| buf.len()).sum::<usize>() > GATHERED {
        return stream.poll_write_vectored(cx, bufs);
    }
    SCRATCH.with_borrow_mut(|scratch| {
        scratch.clear();
        for buf in bufs {
            scratch.extend_from_slice(buf);
        }
        stream.poll_write(cx, scratch)
    })
}

impl<S: AsyncRead + Unpin> AsyncRead for Guard<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.rewound.is_empty() {
            let n = self.rewound.len().min(buf.remaining());
            buf.put_slice(&self.rewound[..n]);
            self.rewound.advance(n);
            if self.rewound.is_empty() {
                // An empty `Bytes` would go on owning its block.
                self.rewound = Bytes::new();
            }
            self.note_read(n);
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        self.note_read(buf.filled().len() - before);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Guard<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.keeps_back() {
            return Poll::Ready(Ok(buf.len()));
        }
        let result = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.note_written(&result);
        result
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.keeps_back() {
            return Poll::Ready(Ok(bufs.iter().map(|b| b.len()).sum()));
        }
        let result = write_gathered(Pin::new(&mut self.stream), cx, bufs);
        self.note_written(&result);
        result
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// hyper flushes when its buffer is empty: an answer that was handed over whole has now left.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // TLS may hold what it has encrypted; a bare socket holds nothing.
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        if flushed.is_pending() || self.wire.has(WRITE_BLOCKED) {
            self.note_blocked(flushed.is_pending());
        }
        ready!(flushed)?;
        if self.wire.flags() & (ANSWERING | IN_EXCHANGE) == ANSWERING {
            self.wire.turn(0, ANSWERING);
        }
        Poll::Ready(Ok(()))
    }

    /// Closing is the connection's task's: hyper would shut the socket before our own last words are said.
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

//! The bytes of a tunnel: from socket to socket through one buffer of the worker, as fast as the slower side takes them.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::metrics::ClosedBy;
use crate::proxy::worker::Worker;

/// Two sockets, and what is on its way between them.
pub(super) struct Pipe<C, U> {
    pub(super) client: C,
    pub(super) upstream: U,
    /// From the client to the upstream.
    pub(super) up: Flow,
    /// From the upstream to the client.
    pub(super) down: Flow,
}

/// One direction.
pub(super) struct Flow {
    /// Read, and not yet taken by the other side. Nothing more is read while there is something.
    pub(super) rest: Bytes,
    pub(super) stage: Stage,
    /// Bytes written since this was last set to 0.
    pub(super) written: usize,
    /// The other side has all of them: TLS may hold back what it has taken.
    flushed: bool,
    /// Did the last bytes look like a client's Close frame? Whoever sends one sends nothing after it.
    pub(super) said_close: bool,
}

/// How far one direction is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    Open,
    /// The reading side has ended; the writing side is told when it has taken the rest.
    Ended,
    /// Both know.
    Over,
    /// The socket that is read from broke.
    SourceBroke,
    /// The socket that is written to broke.
    SinkBroke,
}

impl<C, U> Pipe<C, U>
where
    C: AsyncRead + AsyncWrite + Unpin,
    U: AsyncRead + AsyncWrite + Unpin,
{
    /// Moves what can be moved; tells whether anything did.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, worker: &Worker) -> bool {
        let mut scratch = worker.scratch();
        let (client, upstream) = (&mut self.client, &mut self.upstream);
        let up = self.up.poll(cx, client, upstream, &mut scratch);
        let down = self.down.poll(cx, upstream, client, &mut scratch);
        up || down
    }
}

impl<C, U> Pipe<C, U> {
    /// Who ended it, if it has ended.
    pub(super) fn ended_by(&self) -> Option<ClosedBy> {
        match (self.up.stage, self.down.stage) {
            (Stage::SourceBroke, _) | (_, Stage::SinkBroke) => Some(ClosedBy::Client),
            (Stage::SinkBroke, _) | (_, Stage::SourceBroke) => Some(ClosedBy::Upstream),
            _ => None,
        }
    }

    pub(super) fn is_over(&self) -> bool {
        self.up.stage == Stage::Over && self.down.stage == Stage::Over
    }
}

impl Flow {
    pub(super) fn beginning_with(early: Bytes) -> Flow {
        Flow {
            // An empty `Bytes` would go on owning its block.
            rest: if early.is_empty() {
                Bytes::new()
            } else {
                early
            },
            stage: Stage::Open,
            written: 0,
            flushed: true,
            said_close: false,
        }
    }

    /// Is there something that the other side has not taken yet?
    pub(super) fn is_blocked(&self) -> bool {
        !self.rest.is_empty() || !self.flushed
    }

    /// Moves what can be moved; tells whether anything did.
    fn poll<R, W>(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut R,
        to: &mut W,
        scratch: &mut [u8],
    ) -> bool
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        let before = (self.written, self.rest.len(), self.stage);
        while let Poll::Ready(true) = self.step(cx, from, to, scratch) {}
        before != (self.written, self.rest.len(), self.stage)
    }

    /// One step; `Ready(false)` when nothing more will ever move.
    fn step<R, W>(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut R,
        to: &mut W,
        scratch: &mut [u8],
    ) -> Poll<bool>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        if !self.rest.is_empty() {
            let written = ready!(Pin::new(to).poll_write(cx, &self.rest));
            return Poll::Ready(self.note_written(written).is_some_and(|n| {
                self.rest.advance(n);
                if self.rest.is_empty() {
                    // An empty `Bytes` would go on owning its block.
                    self.rest = Bytes::new();
                }
                true
            }));
        }
        if !self.flushed {
            if ready!(Pin::new(&mut *to).poll_flush(cx)).is_err() {
                self.stage = Stage::SinkBroke;
            }
            self.flushed = true;
        }
        match self.stage {
            Stage::Open => {}
            Stage::Ended => {
                let told = ready!(Pin::new(to).poll_shutdown(cx));
                self.stage = told.map_or(Stage::SinkBroke, |()| Stage::Over);
                return Poll::Ready(false);
            }
            Stage::Over | Stage::SourceBroke | Stage::SinkBroke => return Poll::Ready(false),
        }
        let mut buf = ReadBuf::new(scratch);
        if ready!(Pin::new(from).poll_read(cx, &mut buf)).is_err() {
            self.stage = Stage::SourceBroke;
            return Poll::Ready(false);
        }
        let read = buf.filled();
        if read.is_empty() {
            self.stage = Stage::Ended;
            return Poll::Ready(true);
        }
        self.said_close = ends_with_close(read);
        let n = match Pin::new(to).poll_write(cx, read) {
            Poll::Pending => 0,
            Poll::Ready(written) => match self.note_written(written) {
                Some(n) => n,
                None => return Poll::Ready(false),
            },
        };
        if n < read.len() {
            self.rest = Bytes::copy_from_slice(&read[n..]);
        }
        Poll::Ready(true)
    }

    /// `None` when the writing side broke; a socket that takes nothing will never take anything.
    fn note_written(&mut self, written: io::Result<usize>) -> Option<usize> {
        match written {
            Ok(n) if n > 0 => {
                self.written = self.written.wrapping_add(n);
                self.flushed = false;
                Some(n)
            }
            Ok(_) | Err(_) => {
                self.stage = Stage::SinkBroke;
                None
            }
        }
    }
}

/// Do these bytes end with a Close frame of a client (RFC 6455, section 5.5.1)? It is masked, and at most 125 bytes long.
fn ends_with_close(bytes: &[u8]) -> bool {
    (0..=MOST_IN_CLOSE).any(|length| {
        let begin = bytes.len().checked_sub(length + CLOSE_HEAD);
        let head = begin.and_then(|at| bytes.get(at..at + 2));
        head == Some(&[CLOSE, MASKED | length as u8])
    })
}

/// Opcode and length, and four bytes of mask.
const CLOSE_HEAD: usize = 6;
/// The last frame of a message, of the opcode 8.
const CLOSE: u8 = 0x88;
const MASKED: u8 = 0x80;
const MOST_IN_CLOSE: usize = 125;

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncWriteExt, duplex};

    #[tokio::test]
    async fn bytes_that_nobody_takes_yet_have_moved() {
        let (mut client, mut from) = duplex(64);
        let (mut to, _upstream) = duplex(4);
        to.write_all(b"full").await.unwrap();
        client.write_all(b"more").await.unwrap();
        let mut flow = Flow::beginning_with(Bytes::new());
        let (mut cx, mut scratch) = (Context::from_waker(std::task::Waker::noop()), [0; 16]);
        assert!(flow.poll(&mut cx, &mut from, &mut to, &mut scratch));
        assert_eq!((&flow.rest[..], flow.written), (&b"more"[..], 0));
        assert!(!flow.poll(&mut cx, &mut from, &mut to, &mut scratch));
    }
}

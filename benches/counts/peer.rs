//! The far ends of a gateway's connections, without a network: each says one fixed message and waits for one.
//!
//! A peer is the stream itself, so it needs no task of its own. What it has to say becomes readable when the other side
//! has written a whole message, and the reader is woken then, as an event of a socket would wake it.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;

/// How often a client may still speak.
#[derive(Default)]
pub(crate) struct Turns {
    left: AtomicU64,
    resting: Mutex<Option<Waker>>,
    over: Notify,
}

impl Turns {
    /// So many turns from the beginning.
    pub(crate) fn with(n: u64) -> Turns {
        Turns {
            left: AtomicU64::new(n),
            ..Turns::default()
        }
    }

    /// Lets the client speak `n` times and waits until it was answered as often.
    pub(crate) async fn take(&self, n: u64) {
        self.left.store(n, Relaxed);
        if let Some(client) = self.rest(None) {
            client.wake();
        }
        self.over.notified().await;
    }

    fn rest(&self, waker: Option<Waker>) -> Option<Waker> {
        let mut resting = self.resting.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *resting, waker)
    }
}

/// One far end.
pub(crate) struct Peer {
    says: Bytes,
    said: usize,
    expects: Expected,
    heard: usize,
    reader: Option<Waker>,
    /// Only a client has turns; a service speaks whenever it was spoken to.
    turns: Option<Arc<Turns>>,
    /// A client out of turns.
    rests: bool,
}

/// What a peer waits for. The first message is looked at, those after it must be as long.
pub(crate) enum Expected {
    /// Begins so and has a body of so many bytes.
    Message(&'static str, usize, Vec<u8>),
    /// So many bytes.
    Bytes(usize),
}

impl Peer {
    /// Sends `says` in each of its turns.
    pub(crate) fn client(says: Bytes, expects: Expected, turns: Arc<Turns>) -> Peer {
        Peer {
            turns: Some(turns),
            rests: true,
            ..Peer::service(says, expects)
        }
    }

    /// Answers each message with `says`.
    pub(crate) fn service(says: Bytes, expects: Expected) -> Peer {
        Peer {
            said: says.len(),
            says,
            expects,
            heard: 0,
            reader: None,
            turns: None,
            rests: false,
        }
    }

    fn hear(&mut self, bytes: &[u8]) {
        self.heard += bytes.len();
        if let Expected::Message(begin, body, so_far) = &mut self.expects {
            so_far.extend_from_slice(bytes);
            if let Some(length) = whole(begin, *body, so_far) {
                self.expects = Expected::Bytes(length);
            }
        }
    }

    /// Has a whole message been heard? Then it is this side's turn.
    fn attend(&mut self) {
        let Expected::Bytes(length) = self.expects else {
            return;
        };
        assert!(
            self.heard <= length,
            "a message is longer than the first one was"
        );
        if self.heard == length {
            self.heard = 0;
            self.speak();
        }
    }

    fn speak(&mut self) {
        if let Some(turns) = &self.turns {
            let left = turns.left.load(Relaxed) - 1;
            turns.left.store(left, Relaxed);
            if left == 0 {
                self.rests = true;
                if let Some(reader) = self.reader.take() {
                    turns.rest(Some(reader));
                }
                return turns.over.notify_one();
            }
        }
        self.said = 0;
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }

    /// Is there anything to say? A client that rests looks whether it has turns again.
    fn has_word(&mut self) -> bool {
        if self.rests
            && self
                .turns
                .as_ref()
                .is_some_and(|t| t.left.load(Relaxed) > 0)
        {
            self.rests = false;
            self.said = 0;
        }
        self.said < self.says.len()
    }

    fn keep(&mut self, waker: &Waker) {
        if let (true, Some(turns)) = (self.rests, &self.turns) {
            turns.rest(Some(waker.clone()));
        } else if !self.reader.as_ref().is_some_and(|w| w.will_wake(waker)) {
            self.reader = Some(waker.clone());
        }
    }
}

/// The length of the message, once it is complete.
fn whole(begin: &str, body: usize, so_far: &[u8]) -> Option<usize> {
    let head = so_far.windows(4).position(|w| w == b"\r\n\r\n")? + 4;
    let text = String::from_utf8_lossy(&so_far[..head]);
    assert!(text.starts_with(begin), "not as expected: {text}");
    (so_far.len() >= head + body).then_some(head + body)
}

impl AsyncRead for Peer {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.has_word() {
            self.keep(cx.waker());
            return Poll::Pending;
        }
        let n = (self.says.len() - self.said).min(buf.remaining());
        buf.put_slice(&self.says[self.said..self.said + n]);
        self.said += n;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Peer {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.hear(bytes);
        self.attend();
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        for part in parts {
            self.hear(part);
        }
        self.attend();
        Poll::Ready(Ok(parts.iter().map(|part| part.len()).sum()))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

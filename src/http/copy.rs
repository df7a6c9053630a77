//! A copy of a request's body for a mirror: filled as the original passes, and given up where it cannot keep up.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http_body::Frame;

use super::kept::share;

/// Most bytes that wait for a mirror: one that is slower than the upstream loses its copy, never the request its pace.
const MOST: usize = 1024 * 1024;

/// One copy, shared by the upload that fills it and the mirror's connection that empties it.
#[derive(Default)]
pub struct BodyCopy {
    frames: RefCell<VecDeque<Frame<Bytes>>>,
    bytes: Cell<usize>,
    ended: Cell<bool>,
    given_up: Cell<bool>,
    poller: RefCell<Option<Waker>>,
}

/// The copy ended before its original did.
pub struct GivenUp;

impl BodyCopy {
    /// An empty copy.
    #[must_use]
    pub fn new() -> Rc<BodyCopy> {
        Rc::default()
    }

    /// Adds a frame; shares its bytes.
    pub fn push(&self, frame: &Frame<Bytes>) {
        if self.given_up.get() {
            return;
        }
        let Some(copy) = share(frame) else {
            return;
        };
        self.bytes
            .set(self.bytes.get() + copy.data_ref().map_or(0, Bytes::len));
        if self.bytes.get() > MOST {
            self.give_up();
            return;
        }
        self.frames.borrow_mut().push_back(copy);
        self.wake();
    }

    /// The original has ended; a body that broke leaves a broken copy.
    pub fn end(&self, whole: bool) {
        if whole {
            self.ended.set(true);
        } else {
            self.given_up.set(true);
        }
        self.wake();
    }

    /// Nobody reads it any more, or it has fallen behind.
    pub fn give_up(&self) {
        self.given_up.set(true);
        self.frames.borrow_mut().clear();
        self.wake();
    }

    /// The next frame for the mirror.
    pub fn poll_frame(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, GivenUp>>> {
        if self.given_up.get() {
            return Poll::Ready(Some(Err(GivenUp)));
        }
        if let Some(frame) = self.frames.borrow_mut().pop_front() {
            let len = frame.data_ref().map_or(0, Bytes::len);
            self.bytes.set(self.bytes.get().saturating_sub(len));
            return Poll::Ready(Some(Ok(frame)));
        }
        if self.ended.get() {
            return Poll::Ready(None);
        }
        *self.poller.borrow_mut() = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Is nothing left to come?
    #[must_use]
    pub fn is_drained(&self) -> bool {
        self.ended.get() && !self.given_up.get() && self.frames.borrow().is_empty()
    }

    fn wake(&self) {
        if let Some(poller) = self.poller.borrow_mut().take() {
            poller.wake();
        }
    }
}

//! A request's body on its way from the client to the upstream: streamed, bounded, and given back when not needed.
//!
//! The upstream connection's task polls it, while the exchange keeps a second handle: to learn how far it came and why
//! it broke, and to take the rest away from the upstream once the answer has ended.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::copy::BodyCopy;
use super::fields;
use super::kept::Kept;
pub use super::request_body::RequestBody;
use crate::time::{self, Nanos};
use crate::timer::{Deadline, Timers};

/// How an upload stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// More is to come.
    Streaming,
    /// The last byte was handed to the upstream's connection.
    Done,
    /// It exceeded `max_body`.
    TooLarge,
    /// The client was too slow: `timeouts.request_body` or `limits.min_body_rate`.
    TooSlow,
    /// The client left.
    ClientClosed,
    /// The client's framing is broken.
    Malformed,
    /// Taken away from the upstream: the answer is already complete.
    Stopped,
}

/// The rules that an upload obeys. `None` = off.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// Most bytes.
    pub max: Option<u64>,
    /// Longest wait for the client between two reads, until the answer's head.
    pub gap: Option<Duration>,
    /// Bytes per second, looked at after this much waiting for the client.
    pub min_rate: Option<(u64, Duration)>,
    /// Is the end of every whole body marked, as on HTTP/2? hyper takes a reset with NO_ERROR for an end, too.
    pub end_is_marked: bool,
}

/// One request's body, shared by the exchange and the upstream connection.
pub struct Upload {
    incoming: RefCell<Option<Incoming>>,
    progress: Cell<Progress>,
    rules: Rules,
    bytes: Cell<u64>,
    /// When a byte last moved, or the body ended.
    moved_at: Cell<Nanos>,
    waited: Cell<Duration>,
    waiting_since: Cell<Option<Nanos>>,
    answered: Cell<bool>,
    expects_continue: bool,
    timers: Rc<Timers>,
    /// Made when the client first has to be waited for: most bodies arrive with their head.
    deadline: RefCell<Option<Deadline>>,
    poller: RefCell<Option<Waker>>,
    /// Filled on the way.
    copies: RefCell<Vec<Rc<BodyCopy>>>,
    /// What was handed out, while it may be wanted once more.
    kept: RefCell<Option<Box<Kept>>>,
    /// Has the client's last byte been read?
    read_whole: Cell<bool>,
    /// Counts rewinds: of all the handles that were given out, only the newest gets frames.
    epoch: Cell<u32>,
}

impl Upload {
    /// A body that nobody has read from yet.
    #[must_use]
    pub fn new(
        incoming: Incoming,
        rules: Rules,
        expects_continue: bool,
        timers: &Rc<Timers>,
        now: Nanos,
    ) -> Rc<Upload> {
        Rc::new(Upload {
            incoming: RefCell::new(Some(incoming)),
            progress: Cell::new(Progress::Streaming),
            rules,
            bytes: Cell::new(0),
            moved_at: Cell::new(now),
            waited: Cell::new(Duration::ZERO),
            waiting_since: Cell::new(None),
            answered: Cell::new(false),
            expects_continue,
            timers: timers.clone(),
            deadline: RefCell::new(None),
            poller: RefCell::new(None),
            copies: RefCell::default(),
            kept: RefCell::default(),
            read_whole: Cell::new(false),
            epoch: Cell::new(0),
        })
    }

    /// The body for the next attempt; any earlier one ends in an error from now on.
    #[must_use]
    pub fn hand_out(self: &Rc<Self>) -> RequestBody {
        RequestBody::Upload(self.clone(), self.epoch.get())
    }

    /// A copy for a mirror, to be asked for before the first byte moves.
    #[must_use]
    pub fn copy(&self) -> Rc<BodyCopy> {
        let copy = BodyCopy::new();
        self.copies.borrow_mut().push(copy.clone());
        copy
    }

    /// Keeps what is handed out, up to `limit` bytes, so that it can be handed out once more; to be asked for before the
    /// first byte moves.
    pub fn keep_for_replay(&self, limit: u64) {
        if self.size_hint(0).lower() > limit {
            return;
        }
        *self.kept.borrow_mut() = Some(Box::new(Kept::new(limit)));
    }

    /// Can it be handed out from its beginning again?
    #[must_use]
    pub fn can_rewind(&self) -> bool {
        matches!(self.progress.get(), Progress::Streaming | Progress::Done)
            && self.kept.borrow().as_ref().is_some_and(|k| k.is_whole())
    }

    /// The body from its beginning: what was kept, then what still comes from the client. The attempt before this one
    /// gets no frame any more. `None`, and nothing changes, unless [`Upload::can_rewind`].
    pub fn rewind(self: &Rc<Self>) -> Option<RequestBody> {
        if !self.can_rewind() || !self.kept.borrow_mut().as_mut()?.rewind() {
            return None;
        }
        self.epoch.set(self.epoch.get().wrapping_add(1));
        self.progress.set(Progress::Streaming);
        // The client is not waited for while nobody reads.
        self.waiting_since.set(None);
        self.deadline.borrow_mut().take();
        self.moved_at.set(time::now());
        self.wake_poller();
        Some(self.hand_out())
    }

    /// Has the attempt of number `epoch` got the last frame?
    pub(super) fn is_over(&self, epoch: u32) -> bool {
        self.progress.get() == Progress::Done && self.epoch.get() == epoch
    }

    /// What is known of its length before anything moved; afterwards the head says it, where it is known.
    pub(super) fn size_hint(&self, epoch: u32) -> SizeHint {
        match (&*self.incoming.borrow(), epoch) {
            (_, 1..) => SizeHint::default(),
            (Some(incoming), 0) => incoming.size_hint(),
            (None, 0) => SizeHint::with_exact(0),
        }
    }

    /// Has the client's last byte been read, whatever became of it?
    #[must_use]
    pub fn is_read_whole(&self) -> bool {
        self.read_whole.get()
    }

    /// How it stands.
    #[must_use]
    pub fn progress(&self) -> Progress {
        self.progress.get()
    }

    /// Bytes of the body handed on.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes.get()
    }

    /// When a byte last moved, or the body ended.
    #[must_use]
    pub fn moved_at(&self) -> Nanos {
        self.moved_at.get()
    }

    /// Is the client's next byte waited for?
    #[must_use]
    pub fn waits_for_client(&self) -> bool {
        self.progress.get() == Progress::Streaming && self.waiting_since.get().is_some()
    }

    /// How long the client was waited for, all in all.
    #[must_use]
    pub fn waited_for_client(&self, now: Nanos) -> Duration {
        let since = self.waiting_since.get().filter(|_| self.waits_for_client());
        self.waited.get() + since.map_or(Duration::ZERO, |since| now.since(since))
    }

    /// The answer's head has come: no attempt follows this one, and from here on the client may pause for as long as the
    /// upstream likes.
    pub fn answer_began(&self) {
        self.answered.set(true);
        let mut kept = self.kept.borrow_mut();
        if let Some(frames) = kept.as_mut() {
            frames.forget();
        }
        kept.take_if(|frames| !frames.has_more());
    }

    /// Takes the unread rest away from whoever polls it; `None` if nothing is left, or if reading on would invite
    /// more of it (a client that waits for its 100).
    pub fn stop(&self) -> Option<Incoming> {
        if self.progress.get() != Progress::Streaming {
            return None;
        }
        self.progress.set(Progress::Stopped);
        self.end_copies(false);
        self.kept.borrow_mut().take();
        self.wake_poller();
        let rest = self.incoming.borrow_mut().take();
        let invited = !self.expects_continue || self.bytes.get() > 0;
        rest.filter(|_| invited)
    }

    fn wake_poller(&self) {
        if let Some(poller) = self.poller.borrow_mut().take() {
            poller.wake();
        }
    }

    /// The next frame for the attempt of number `epoch`.
    pub(super) fn poll_frame(
        &self,
        epoch: u32,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, UploadError>>> {
        if epoch != self.epoch.get() {
            return Poll::Ready(Some(Err(UploadError(Progress::Stopped))));
        }
        if self.progress.get() == Progress::Done {
            return Poll::Ready(None);
        }
        if let Some(frame) = self.frame_again() {
            return Poll::Ready(Some(Ok(frame)));
        }
        let mut incoming = self.incoming.borrow_mut();
        let Some(body) = incoming.as_mut() else {
            drop(incoming);
            return Poll::Ready(self.nothing_comes());
        };
        let polled = Pin::new(&mut *body).poll_frame(cx);
        let marked = body.is_end_stream();
        drop(incoming);
        let over = matches!(polled, Poll::Ready(None));
        if over && self.rules.end_is_marked && !marked {
            return Poll::Ready(Some(Err(self.end(Progress::ClientClosed))));
        }
        match polled {
            Poll::Pending => self.wait_for_client(cx),
            Poll::Ready(Some(Ok(frame))) => {
                let frame = self.pass(frame);
                if marked && frame.is_ok() {
                    self.end(Progress::Done);
                }
                Poll::Ready(Some(frame))
            }
            Poll::Ready(None) => {
                self.end(Progress::Done);
                Poll::Ready(None)
            }
            Poll::Ready(Some(Err(error))) => Poll::Ready(Some(Err(self.end(broken(&error))))),
        }
    }

    /// The next frame that an earlier attempt had before. Rules, counts and mirrors saw it then.
    fn frame_again(&self) -> Option<Frame<Bytes>> {
        let mut kept = self.kept.borrow_mut();
        let frame = kept.as_mut()?.again()?;
        self.moved_at.set(time::now());
        let last = kept.as_ref().is_none_or(|kept| !kept.has_more());
        drop(kept);
        if last && self.read_whole.get() {
            self.end(Progress::Done);
        }
        Some(frame)
    }

    #[cold]
    fn nothing_comes(&self) -> Option<Result<Frame<Bytes>, UploadError>> {
        if self.progress.get() == Progress::Streaming && self.read_whole.get() {
            // Handed out once more, whole, and there was not even one frame.
            self.end(Progress::Done);
            return None;
        }
        Some(Err(UploadError(self.progress.get())))
    }

    fn pass(&self, mut frame: Frame<Bytes>) -> Result<Frame<Bytes>, UploadError> {
        if let Some(trailers) = frame.trailers_mut() {
            fields::strip_trailers(trailers);
        }
        let now = time::now();
        self.moved_at.set(now);
        if let Some(since) = self.waiting_since.take() {
            self.waited.set(self.waited.get() + now.since(since));
            if let Some(deadline) = self.deadline.borrow().as_ref() {
                deadline.clear();
            }
        }
        let bytes = self.bytes.get() + frame.data_ref().map_or(0, |d| d.len() as u64);
        self.bytes.set(bytes);
        if self.rules.max.is_some_and(|max| bytes > max) {
            return Err(self.end(Progress::TooLarge));
        }
        if self
            .rate_broken_at(Duration::ZERO)
            .is_some_and(|allowed| self.waited.get() > allowed)
        {
            return Err(self.end(Progress::TooSlow));
        }
        for copy in self.copies.borrow().iter() {
            copy.push(&frame);
        }
        if let Some(kept) = self.kept.borrow_mut().as_mut() {
            kept.keep(&frame);
        }
        Ok(frame)
    }

    fn end_copies(&self, whole: bool) {
        for copy in self.copies.borrow_mut().drain(..) {
            copy.end(whole);
        }
    }

    /// The waiting time at which so few bytes break the minimum rate.
    fn rate_broken_at(&self, least: Duration) -> Option<Duration> {
        let (rate, after) = self.rules.min_rate?;
        let earned = Duration::from_secs_f64(self.bytes.get() as f64 / rate.max(1) as f64);
        Some(after.max(earned).max(least))
    }

    fn wait_for_client(
        &self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, UploadError>>> {
        let mut slot = self.deadline.borrow_mut();
        let deadline = slot.get_or_insert_with(|| self.timers.deadline());
        if deadline.fired() {
            let still_bound = !self.answered.get() || self.rules.min_rate.is_some();
            drop(slot);
            if still_bound {
                return Poll::Ready(Some(Err(self.end(Progress::TooSlow))));
            }
            return Poll::Pending;
        }
        deadline.register(cx.waker());
        if self.waiting_since.get().is_none() {
            let now = time::now();
            self.waiting_since.set(Some(now));
            let gap = self.rules.gap.filter(|_| !self.answered.get());
            let rate = self
                .rate_broken_at(Duration::ZERO)
                .map(|at| at.saturating_sub(self.waited.get()));
            deadline.set(now, gap.into_iter().chain(rate).min());
        }
        let mut poller = self.poller.borrow_mut();
        if !poller.as_ref().is_some_and(|w| w.will_wake(cx.waker())) {
            *poller = Some(cx.waker().clone());
        }
        Poll::Pending
    }

    /// Ends the upload; whatever was not read is dropped here, which tells hyper that nobody will.
    fn end(&self, progress: Progress) -> UploadError {
        self.progress.set(progress);
        self.read_whole
            .set(self.read_whole.get() || progress == Progress::Done);
        self.end_copies(progress == Progress::Done);
        self.moved_at.set(time::now());
        self.incoming.borrow_mut().take();
        self.deadline.borrow_mut().take();
        UploadError(progress)
    }
}

fn broken(error: &hyper::Error) -> Progress {
    if is_malformed(error) {
        Progress::Malformed
    } else {
        Progress::ClientClosed
    }
}

/// Did a body break by its framing, rather than by its sender's leaving? hyper hides both behind one error; the IO
/// error below tells them apart.
#[must_use]
pub fn is_malformed(error: &hyper::Error) -> bool {
    let mut cause: Option<&dyn std::error::Error> = Some(error);
    while let Some(e) = cause {
        if let Some(io) = e.downcast_ref::<io::Error>() {
            return matches!(
                io.kind(),
                io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput
            );
        }
        cause = e.source();
    }
    false
}

/// Why an upload broke; the upstream's connection is closed by it.
#[derive(Debug)]
pub struct UploadError(pub(super) Progress);

impl fmt::Display for UploadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the request's body ended early: {:?}", self.0)
    }
}

impl std::error::Error for UploadError {}

#[cfg(test)]
mod tests;

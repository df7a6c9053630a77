//! A WebSocket after its 101: two sockets become one pipe, until an end, a silence or the drain.
//!
//! Nothing is looked at. Bytes go through one scratch buffer of the worker: a tunnel that rests holds two sockets, and
//! memory only for what a slow reader has not taken. It pins no snapshot, so that a socket that lives for days keeps
//! nothing old alive.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::oneshot;

use super::worker::Worker;
use crate::drain::Phase;
use crate::http::upgrade::Handshake;
use crate::metrics::{ClosedBy, RouteStats};
use crate::time::Nanos;
use crate::timer::Deadline;
use crate::upstream::connect::Socket;
use crate::upstream::endpoint::EndpointState;

/// A side that has said its last word, and hears nothing more for so long, is closed: no WebSocket speaks with half a
/// connection.
const HALF_CLOSED: Duration = Duration::from_secs(30);

/// A WebSocket that is being opened.
pub struct Opening {
    /// What its answer has to say.
    pub handshake: Handshake,
    /// Where the upstream's socket will come from.
    pub heir: Option<oneshot::Receiver<Socket>>,
    /// The upstream's socket, once the handshake was answered with 101.
    pub socket: Option<Socket>,
}

impl Opening {
    /// Nothing is known but what the client asked for.
    #[must_use]
    pub fn new(handshake: Handshake) -> Box<Opening> {
        Box::new(Opening {
            handshake,
            heir: None,
            socket: None,
        })
    }

    /// Takes the upstream's socket over from hyper, which has done with it when its 101 is here.
    pub async fn take_socket(&mut self) -> Option<()> {
        self.socket = Some(self.heir.take()?.await.ok()?);
        Some(())
    }
}

/// Deadlines of a tunnel; `None` = off.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// No byte either way.
    pub idle: Option<Duration>,
    /// The client takes nothing of what we have for it.
    pub write: Option<Duration>,
}

/// An upstream's socket that waits for the client's.
pub struct Tunnel {
    upstream: Socket,
    limits: Limits,
    session: Session,
}

/// What is counted for as long as a tunnel lives.
pub struct Session {
    worker: Rc<Worker>,
    route: Arc<RouteStats>,
    endpoint: Arc<EndpointState>,
    /// Is it counted among the endpoint's requests in flight?
    counted: bool,
    opened: Nanos,
    closed_by: ClosedBy,
}

impl Session {
    /// Begins at `opened`; takes over what the exchange held of `endpoint`.
    #[must_use]
    pub fn open(
        worker: Rc<Worker>,
        route: Arc<RouteStats>,
        endpoint: Arc<EndpointState>,
        counted: bool,
        opened: Nanos,
    ) -> Session {
        route.sockets().opened(worker.index);
        Session {
            worker,
            route,
            endpoint,
            counted,
            opened,
            // Until the tunnel runs only the client can end it.
            closed_by: ClosedBy::Client,
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let (worker, now) = (self.worker.index, self.worker.read_clock());
        self.endpoint.stats.busy.add(worker, -1);
        if self.counted {
            self.endpoint.leave();
        }
        let nanos = now.0.saturating_sub(self.opened.0);
        self.route.sockets().closed(worker, self.closed_by, nanos);
    }
}

impl Tunnel {
    /// Both ends will be there as soon as the client has its 101.
    #[must_use]
    pub fn new(upstream: Socket, limits: Limits, session: Session) -> Tunnel {
        Tunnel {
            upstream,
            limits,
            session,
        }
    }

    /// Carries bytes both ways until the end; `early` was read from the client already. `deadline` is free for use.
    pub async fn run<C>(self, client: C, early: Bytes, deadline: &Deadline)
    where
        C: AsyncRead + AsyncWrite + Unpin,
    {
        let Tunnel {
            upstream,
            limits,
            mut session,
        } = self;
        let mut pipe = Pipe {
            client,
            upstream: upstream.stream,
            up: Flow::beginning_with(early),
            down: Flow::beginning_with(upstream.early),
        };
        let mut watch = Watch::begin(session.worker.clone(), limits);
        session.closed_by = poll_fn(|cx| {
            deadline.register(cx.waker());
            let moved = pipe.poll(cx, &watch.worker);
            watch.look(&pipe, moved, deadline)
        })
        .await;
    }
}

/// Two sockets, and what is on its way between them.
struct Pipe<C, U> {
    client: C,
    upstream: U,
    /// From the client to the upstream.
    up: Flow,
    /// From the upstream to the client.
    down: Flow,
}

/// One direction.
struct Flow {
    /// Read, and not yet taken by the other side. Nothing more is read while there is something.
    rest: Bytes,
    stage: Stage,
    /// Bytes written since this was last set to 0.
    written: usize,
}

/// How far one direction is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
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
    fn poll(&mut self, cx: &mut Context<'_>, worker: &Worker) -> bool {
        let mut scratch = worker.scratch();
        let (client, upstream) = (&mut self.client, &mut self.upstream);
        let up = self.up.poll(cx, client, upstream, &mut scratch);
        let down = self.down.poll(cx, upstream, client, &mut scratch);
        up || down
    }

    /// Who ended it, if it has ended.
    fn ended_by(&self) -> Option<ClosedBy> {
        match (self.up.stage, self.down.stage) {
            (Stage::SourceBroke, _) | (_, Stage::SinkBroke) => Some(ClosedBy::Client),
            (Stage::SinkBroke, _) | (_, Stage::SourceBroke) => Some(ClosedBy::Upstream),
            _ => None,
        }
    }

    fn is_over(&self) -> bool {
        self.up.stage == Stage::Over && self.down.stage == Stage::Over
    }
}

impl Flow {
    fn beginning_with(early: Bytes) -> Flow {
        Flow {
            // An empty `Bytes` would go on owning its block.
            rest: if early.is_empty() {
                Bytes::new()
            } else {
                early
            },
            stage: Stage::Open,
            written: 0,
        }
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
        let before = (self.written, self.stage);
        while let Poll::Ready(true) = self.step(cx, from, to, scratch) {}
        before != (self.written, self.stage)
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
                Some(n)
            }
            Ok(_) | Err(_) => {
                self.stage = Stage::SinkBroke;
                None
            }
        }
    }
}

/// Looks after the deadlines of a tunnel.
struct Watch {
    worker: Rc<Worker>,
    limits: Limits,
    moved_at: Nanos,
    /// Since when the client takes nothing.
    blocked_since: Option<Nanos>,
    /// What the client had taken then.
    taken: usize,
    /// Who was the first to say its last word.
    first_to_end: Option<ClosedBy>,
    /// When the drain closes it.
    leaves_at: Option<Nanos>,
    /// What the deadline is set to.
    set: Option<Nanos>,
}

impl Watch {
    fn begin(worker: Rc<Worker>, limits: Limits) -> Watch {
        Watch {
            limits,
            moved_at: worker.read_clock(),
            blocked_since: None,
            taken: 0,
            first_to_end: None,
            leaves_at: None,
            set: None,
            worker,
        }
    }

    /// Ready with who closed it.
    fn look<C, U>(&mut self, pipe: &Pipe<C, U>, moved: bool, deadline: &Deadline) -> Poll<ClosedBy>
    where
        C: AsyncRead + AsyncWrite + Unpin,
        U: AsyncRead + AsyncWrite + Unpin,
    {
        let now = if moved || deadline.fired() {
            self.worker.read_clock()
        } else {
            self.worker.recent()
        };
        if moved {
            self.moved_at = now;
        }
        if let Some(by) = pipe.ended_by() {
            return Poll::Ready(self.first_to_end.unwrap_or(by));
        }
        self.note_ends(pipe);
        if pipe.is_over() {
            return Poll::Ready(self.first_to_end.unwrap_or(ClosedBy::Gateway));
        }
        self.note_blocked(&pipe.down, now);
        if self.note_drain() || (deadline.fired() && self.due().is_some_and(|due| due <= now)) {
            return Poll::Ready(self.first_to_end.unwrap_or(ClosedBy::Gateway));
        }
        // A deadline that moves away is found out when it falls, so that a message costs no look at the wheel.
        let due = self.due();
        let nearer = match (due, self.set) {
            (Some(due), Some(set)) => due < set,
            (due, set) => due != set,
        };
        if nearer || deadline.fired() {
            self.set = due;
            deadline.set_at(now, due);
        }
        Poll::Pending
    }

    fn note_ends<C, U>(&mut self, pipe: &Pipe<C, U>) {
        if self.first_to_end.is_none() {
            self.first_to_end = match (pipe.up.stage, pipe.down.stage) {
                (Stage::Open, Stage::Open) => None,
                (_, Stage::Open) => Some(ClosedBy::Client),
                _ => Some(ClosedBy::Upstream),
            };
        }
    }

    fn note_blocked(&mut self, down: &Flow, now: Nanos) {
        if down.rest.is_empty() {
            self.blocked_since = None;
        } else if self.blocked_since.is_none() || self.taken != down.written {
            self.blocked_since = Some(now);
            self.taken = down.written;
        }
    }

    /// True when the time of the drain is over. Tunnels leave one by one, so that their clients do not all come back at
    /// the same moment.
    fn note_drain(&mut self) -> bool {
        match self.worker.drain.phase() {
            Phase::Serving | Phase::Announced => false,
            Phase::Closing => {
                if self.leaves_at.is_none() {
                    let now = self.worker.read_clock();
                    let left = self.worker.drain.cut_at().since(now).mul_f64(SPREAD);
                    let share = (self.worker.random() >> 40) as f64 / (1u64 << 24) as f64;
                    self.leaves_at = Some(now.plus(left.mul_f64(share)));
                }
                false
            }
            Phase::Cut => true,
        }
    }

    fn due(&self) -> Option<Nanos> {
        let silence = match (self.limits.idle, self.first_to_end) {
            (idle, None) => idle,
            (idle, Some(_)) => Some(idle.map_or(HALF_CLOSED, |idle| idle.min(HALF_CLOSED))),
        };
        let silent = silence.map(|t| self.moved_at.plus(t));
        let blocked = self
            .blocked_since
            .zip(self.limits.write)
            .map(|(since, t)| since.plus(t));
        silent
            .into_iter()
            .chain(blocked)
            .chain(self.leaves_at)
            .min()
    }
}

/// The share of the drain's time over which tunnels leave.
const SPREAD: f64 = 0.8;

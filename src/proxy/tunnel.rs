//! A WebSocket after its 101: two sockets become one pipe, until an end, a silence or the drain.
//!
//! Nothing is looked at. Bytes go through one scratch buffer of the worker: a tunnel that rests holds two sockets, and
//! memory only for what a slow reader has not taken. It pins no snapshot, so that a socket that lives for days keeps
//! nothing old alive.

mod pipe;
mod watch;

use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::oneshot;

use pipe::{Flow, Pipe};
use watch::Watch;

use super::exchange::Exchange;
use super::trials::Key;
use super::worker::Worker;
use crate::breaker::outcome::{Fault, Outcome};
use crate::http::upgrade::Handshake;
use crate::metrics::{ClosedBy, RouteStats};
use crate::time::Nanos;
use crate::timer::Deadline;
use crate::upstream::connect::Socket;
use crate::upstream::endpoint::EndpointState;

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
    /// Of the attempt that it goes back to, until it has lived for long enough.
    trial: Option<Key>,
}

impl Session {
    /// Begins at `opened`; takes over what the exchange held of `endpoint`.
    #[must_use]
    pub(super) fn open(
        worker: Rc<Worker>,
        route: Arc<RouteStats>,
        endpoint: Arc<EndpointState>,
        counted: bool,
        opened: Nanos,
        trial: Option<Key>,
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
            trial,
        }
    }
}

impl Session {
    /// One of the two has ended. Who was asked to close may be the first to do so (RFC 6455, section 7.1.1).
    fn note_end(&mut self, by: ClosedBy, client_took_leave: bool) {
        let is_dropped = by == ClosedBy::Upstream && !client_took_leave;
        self.conclude(if is_dropped {
            Outcome::Failed(Fault::Reset)
        } else {
            Outcome::Neutral
        });
    }

    fn conclude(&mut self, outcome: Outcome) {
        if let Some(key) = self.trial.take() {
            self.worker.conclude(key, outcome);
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
        self.conclude(Outcome::Neutral);
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
        // Declared before the pipe: dropped when its sockets are closed.
        let _permit = upstream.permit;
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
            let closed = watch.look(&pipe, moved, deadline);
            if let Some(by) = watch.first_end(&closed) {
                session.note_end(by, pipe.up.said_close);
            }
            closed
        })
        .await;
    }
}

/// Leaves at the connection what it becomes when the 101 has left.
#[cold]
pub(super) fn open(exchange: &mut Exchange, upstream: Socket) {
    let limits = Limits {
        idle: exchange
            .route()
            .and_then(|route| route.websocket.as_ref())
            .and_then(|websocket| websocket.idle),
        write: exchange.listener().timeouts.write,
    };
    if let Some(session) = exchange.hand_over() {
        let tunnel = Tunnel::new(upstream, limits, session);
        exchange.client.tunnel.replace(Some(Box::new(tunnel)));
    }
}

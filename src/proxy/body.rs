//! The one body of answers: nothing, a few bytes of ours, or an upstream's body on its way through.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;

use super::exchange::Exchange;
use crate::breaker::outcome::Outcome;
use crate::error::Reason;
use crate::http::fields;
use crate::http::guard::WRITE_BLOCKED;
use crate::http::upload::is_malformed;

/// An answer's body.
pub enum Body {
    /// Ours; empty or sent at once.
    Own(Bytes),
    /// An upstream's, with everything that must live until its end.
    Relay(Relay),
}

/// An upstream's body. When it has ended, its connection goes back to the pool and the exchange is counted.
pub struct Relay {
    incoming: Incoming,
    exchange: Box<Exchange>,
    /// Is a silence being timed?
    waiting: bool,
    /// The rest of a frame that is handed to a stream in pieces.
    rest: Option<Bytes>,
}

/// Most bytes handed to a stream at once. It holds what its client does not take, so this bounds its memory, and makes
/// "the client takes something" a thing that can be seen.
const PIECE: usize = 16 * 1024;

/// The body broke; hyper closes the client's connection, so that the client can tell.
#[derive(Debug)]
pub struct BrokenBody(Reason);

impl std::fmt::Display for BrokenBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0.word())
    }
}

impl std::error::Error for BrokenBody {}

impl Relay {
    /// Passes on `incoming`.
    #[must_use]
    pub fn new(incoming: Incoming, exchange: Box<Exchange>) -> Relay {
        Relay {
            incoming,
            exchange,
            waiting: false,
            rest: None,
        }
    }

    /// The body has been handed over whole.
    pub fn finish(&mut self) {
        self.exchange.keep_connection();
        self.exchange.conclude_whole();
        self.exchange.end();
    }

    fn poll_upstream(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let Relay {
            incoming, exchange, ..
        } = self;
        let mut take = || {
            let frame = Pin::new(&mut *incoming).poll_frame(cx);
            (frame, incoming.is_end_stream())
        };
        match &exchange.connection {
            Some(connection) => connection.bell.muffle(take),
            None => take().0,
        }
    }

    /// What is handed on of `data`; streams get it in pieces.
    fn hand_on(&mut self, mut data: Bytes) -> Frame<Bytes> {
        if self.exchange.is_stream() {
            if data.len() > PIECE {
                self.rest = Some(data.split_off(PIECE));
            }
            self.exchange.client.wire.hand_out(data.len() as u64);
        }
        self.exchange.bytes_out += data.len() as u64;
        self.finish_at_end();
        Frame::data(data)
    }

    fn finish_at_end(&mut self) {
        if self.rest.is_none() && self.incoming.is_end_stream() {
            self.finish();
        } else {
            self.exchange.watch_trial();
        }
    }

    fn break_off(&mut self, reason: Reason) -> BrokenBody {
        self.exchange.connection = None;
        let reason = self
            .exchange
            .upload
            .as_ref()
            .and_then(|u| super::forward::fault_of(u.progress()))
            .unwrap_or(reason);
        self.exchange.client.worker.read_clock();
        self.exchange.conclude(Outcome::of_reason(reason));
        self.exchange.failed(reason);
        self.exchange.end();
        BrokenBody(reason)
    }

    /// The upstream is silent: time it, from now on.
    fn wait(&mut self) -> Poll<Option<Result<Frame<Bytes>, BrokenBody>>> {
        self.exchange.watch_trial();
        let (client, deadlines) = (&self.exchange.client, self.exchange.deadlines);
        if !self.waiting {
            self.waiting = true;
            let now = client.worker.read_clock();
            let silence = deadlines.body.map(|t| now.plus(t));
            client
                .deadline
                .set_at(now, silence.into_iter().chain(deadlines.due).min());
            return Poll::Pending;
        }
        if !client.deadline.fired() {
            return Poll::Pending;
        }
        let now = client.worker.read_clock();
        // A byte of the upload counts as life, too.
        let moved = self
            .exchange
            .upload
            .as_ref()
            .map(|u| u.moved_at())
            .zip(deadlines.body)
            .map(|(at, t)| at.plus(t));
        match moved.filter(|at| *at > now && deadlines.due.is_none_or(|due| due > now)) {
            Some(at) => {
                client
                    .deadline
                    .set_at(now, Some(at).into_iter().chain(deadlines.due).min());
                Poll::Pending
            }
            None => Poll::Ready(Some(Err(self.break_off(Reason::UpstreamTimeout)))),
        }
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = BrokenBody;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenBody>>> {
        let relay = match &mut *self {
            Body::Own(bytes) if bytes.is_empty() => return Poll::Ready(None),
            Body::Own(bytes) => return Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Body::Relay(relay) => relay,
        };
        if let Some(rest) = relay.rest.take() {
            return Poll::Ready(Some(Ok(relay.hand_on(rest))));
        }
        if relay.exchange.is_stream() {
            relay.exchange.client.wire.turn(0, WRITE_BLOCKED);
        }
        match relay.poll_upstream(cx) {
            Poll::Pending => relay.wait(),
            Poll::Ready(Some(Ok(frame))) => {
                relay.waiting = false;
                Poll::Ready(Some(Ok(match frame.into_data() {
                    Ok(data) => relay.hand_on(data),
                    Err(mut frame) => {
                        if let Some(trailers) = frame.trailers_mut() {
                            fields::strip_trailers(trailers);
                        }
                        relay.finish_at_end();
                        frame
                    }
                })))
            }
            Poll::Ready(Some(Err(error))) => {
                let reason = if is_malformed(&error) {
                    Reason::UpstreamProtocolError
                } else {
                    Reason::UpstreamReset
                };
                Poll::Ready(Some(Err(relay.break_off(reason))))
            }
            Poll::Ready(None) => {
                relay.finish();
                Poll::Ready(None)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Body::Own(bytes) => bytes.is_empty(),
            Body::Relay(relay) => relay.rest.is_none() && relay.incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Body::Own(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Body::Relay(relay) => relay.incoming.size_hint(),
        }
    }
}

//! One HTTP/2 connection (RFC 9113), from its preface to its last word: hyper speaks, this watches over it.
//!
//! hyper times nothing but its own pings. The one deadline of the connection is moved by what passes below hyper: the
//! preface, a header block that was begun, a socket that takes nothing, a connection without streams. Each stream has a
//! deadline of its own.

mod socket;
mod streams;

use std::cell::RefCell;
use std::error::Error as _;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

use super::farewell;
use crate::drain::Phase;
use crate::error::Reason;
use crate::http::frames::{CALM, Fault};
use crate::metrics::Cut;
use crate::proxy::client::Client;
use crate::snapshot::ListenerTimeouts;
use crate::timer::Deadline;
use socket::{Seen, Socket};
use streams::{Spawner, Streams};

const STREAM_WINDOW: u32 = 256 * 1024;
/// hyper's peers may send frames as small as they like for half of it (h2's budget of small frames).
const CONNECTION_WINDOW: u32 = 1024 * 1024;
const SEND_BUFFER: usize = 64 * 1024;
/// Streams reset by the client before anybody looked at them (rapid reset, CVE-2023-44487).
const PENDING_RESETS: usize = 20;
/// Streams reset by us for the client's faults, in the life of a connection (made you reset, CVE-2025-8671).
const LOCAL_RESETS: usize = 1024;
const PING_EVERY: Duration = Duration::from_secs(30);
const PONG_WITHIN: Duration = Duration::from_secs(10);
/// How long a client may take to acknowledge that the connection ends.
const LAST_WORD: Duration = Duration::from_secs(1);

/// Serves a connection to its end. `rewound` was read from `stream` already.
pub(super) async fn serve<S>(client: Rc<Client>, deadline: &Deadline, stream: S, rewound: Bytes)
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let streams = Streams::new(client.clone());
    let mut line = Line {
        client,
        deadline,
        streams: streams.clone(),
        doing: Doing::Preface,
        is_leaving: false,
    };
    let timeouts = line.timeouts();
    let within = if rewound.is_empty() {
        timeouts.first_byte
    } else {
        timeouts.request_head
    };
    deadline.set(line.client.worker.read_clock(), within);
    let (socket, seen) = Socket::pair(stream, rewound);
    let end = line.talk(socket, &seen).await;
    deadline.clear();
    // Their exchanges count and log themselves, and their connections are still counted by then.
    let _ = timeout(LAST_WORD, streams.ended()).await;
    if let Some(seen) = Rc::into_inner(seen) {
        line.leave(end, seen.into_inner()).await;
    }
}

/// One connection with its deadline.
struct Line<'a> {
    client: Rc<Client>,
    deadline: &'a Deadline,
    streams: Rc<Streams>,
    doing: Doing,
    /// GOAWAY has been said.
    is_leaving: bool,
}

/// What a connection is doing.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Doing {
    /// Waiting for the preface and the first frame behind it.
    Preface,
    /// No stream is open.
    Idle,
    /// Reading the header block of this number.
    Head(u64),
    Streams,
    /// Blocked on writing, after so many bytes.
    Blocked(u64),
}

/// How a connection came to its end.
enum End {
    /// hyper has ended.
    Over(hyper::Result<()>),
    /// Nothing happened for too long, or the drain is over.
    Silent,
    HeadTooSlow,
}

/// What follows from a look at the connection.
enum Next {
    Wait,
    /// Say GOAWAY, and take no new stream.
    Leave,
    End(End),
}

impl Line<'_> {
    fn timeouts(&self) -> ListenerTimeouts {
        self.client.worker.view.pin().listeners[self.client.listener].timeouts
    }

    async fn talk<S>(&mut self, socket: Socket<S>, seen: &RefCell<Seen<S>>) -> End
    where
        S: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        let streams = self.streams.clone();
        let service = service_fn(move |request| streams.begin(request));
        let mut talk = Box::pin(
            self.builder()
                .serve_connection(TokioIo::new(socket), service),
        );
        poll_fn(|cx| {
            self.register(cx);
            loop {
                if let Poll::Ready(result) = talk.as_mut().poll(cx) {
                    return Poll::Ready(End::Over(result));
                }
                match self.look(&seen.borrow()) {
                    Next::Wait => return Poll::Pending,
                    Next::End(end) => return Poll::Ready(end),
                    Next::Leave => talk.as_mut().graceful_shutdown(),
                }
            }
        })
        .await
    }

    fn register(&self, cx: &Context<'_>) {
        self.deadline.register(cx.waker());
        self.client.deadline.register(cx.waker());
    }

    fn builder(&self) -> http2::Builder<Spawner> {
        let limits = self.client.worker.view.pin().listeners[self.client.listener].limits;
        let mut builder = http2::Builder::new(Spawner(self.streams.clone()));
        builder
            .timer(TokioTimer::new())
            .max_concurrent_streams(limits.h2_streams)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_send_buf_size(SEND_BUFFER)
            // What is a little too long is refused by `handle`, with a reason; only what is far too long is h2's to refuse.
            .max_header_list_size(u32::try_from(2 * limits.head_bytes).unwrap_or(u32::MAX))
            .max_pending_accept_reset_streams(PENDING_RESETS)
            .max_local_error_reset_streams(LOCAL_RESETS)
            .keep_alive_interval(PING_EVERY)
            .keep_alive_timeout(PONG_WITHIN);
        builder
    }

    /// Looks at what passed below hyper, and moves the one deadline by it.
    fn look<S>(&mut self, seen: &Seen<S>) -> Next {
        let phase = self.client.phase();
        if phase == Phase::Cut {
            return Next::End(End::Silent);
        }
        if !self.is_leaving && self.is_last(phase) {
            self.is_leaving = true;
            // The deadline of an idle connection is another one from here on.
            self.doing = Doing::Streams;
            return Next::Leave;
        }
        let doing = self.doing_now(seen);
        if doing != self.doing {
            self.doing = doing;
            self.begin(doing);
            return Next::Wait;
        }
        if !self.deadline.fired() {
            return Next::Wait;
        }
        match doing {
            Doing::Head(_) => Next::End(End::HeadTooSlow),
            Doing::Idle if !self.is_leaving => {
                self.is_leaving = true;
                self.begin(doing);
                Next::Leave
            }
            _ => Next::End(End::Silent),
        }
    }

    /// Shall it take no more requests? Whoever has just come gets one answer first, as on HTTP/1.
    fn is_last(&self, phase: Phase) -> bool {
        let requests = self.client.requests.get();
        if phase > Phase::Serving {
            return phase == Phase::Closing || requests > 0;
        }
        let limits = &self.client.worker.view.pin().listeners[self.client.listener].limits;
        limits
            .requests_per_connection
            .is_some_and(|most| requests >= most)
    }

    fn doing_now<S>(&self, seen: &Seen<S>) -> Doing {
        if seen.blocked {
            // What the socket below TLS took is counted there.
            Doing::Blocked(seen.written + self.client.wire.written())
        } else if let Some(number) = seen.conduct.open_block() {
            Doing::Head(number)
        } else if self.streams.live() > 0 {
            Doing::Streams
        } else if seen.conduct.has_begun() {
            Doing::Idle
        } else {
            Doing::Preface
        }
    }

    fn begin(&self, doing: Doing) {
        let now = self.client.worker.read_clock();
        let timeouts = self.timeouts();
        match doing {
            Doing::Streams => self.deadline.clear(),
            Doing::Idle if self.is_leaving => self.deadline.set(now, Some(LAST_WORD)),
            Doing::Idle => self.deadline.set(now, timeouts.idle),
            Doing::Preface => self.deadline.set(now, timeouts.first_byte),
            Doing::Head(_) => self.deadline.set(now, timeouts.request_head),
            Doing::Blocked(_) => self.deadline.set(now, timeouts.write),
        }
    }

    /// Counts an end that the client brought about.
    fn count(&self, end: &End, fault: Option<Fault>) {
        let cause = match (fault, end) {
            (Some(Fault::Flood), _) => Some(Cut::Flood),
            (Some(Fault::NoSettings), _) => Some(Cut::Protocol),
            (None, End::Over(Err(error))) => cause_of(error),
            (None, _) => None,
        };
        if let Some(cause) = cause {
            let Client { worker, .. } = &*self.client;
            let listener = &worker.view.pin().listeners[self.client.listener];
            listener.stats.count_cut(worker.index, cause);
        }
    }

    /// The last word, where there is one to say, and a close that does not take back what was said.
    async fn leave<S>(&self, end: End, seen: Seen<S>)
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        self.count(&end, seen.fault);
        let (code, words) = match (&end, seen.fault) {
            (End::Over(_), Some(fault)) => (fault.code(), fault.words()),
            (End::HeadTooSlow, _) => {
                farewell::count(&self.client, Reason::RequestTimeout);
                (CALM, "the head did not come in time")
            }
            (End::Over(Err(error)), None) => {
                tracing::debug!(peer = %self.client.peer, %error, "an HTTP/2 connection broke");
                (0, "")
            }
            (End::Over(Ok(())), None) => (0, ""),
            (End::Silent, _) => return,
        };
        let mut word = None;
        if code > 0 {
            tracing::debug!(peer = %self.client.peer, reason = words, "an HTTP/2 connection was cut");
            word = seen.conduct.go_away(code, words);
        }
        let mut stream = seen.into_stream();
        if let Some(word) = word {
            let _ = timeout(LAST_WORD, stream.write_all(&word)).await;
        }
        farewell::linger(stream).await;
    }
}

/// Why the library cut a connection; `None` where the client left, or the socket broke.
fn cause_of(error: &hyper::Error) -> Option<Cut> {
    let error = error.source()?.downcast_ref::<h2::Error>()?;
    let is_ours = error.is_library() && !error.is_remote() && !error.is_io();
    is_ours.then(|| match error.reason() {
        Some(h2::Reason::ENHANCE_YOUR_CALM) => Cut::Flood,
        _ => Cut::Protocol,
    })
}

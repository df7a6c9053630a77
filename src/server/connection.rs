//! One client connection, from accept to close: hyper while it speaks, a bare socket while it is silent.
//!
//! hyper holds its buffers for as long as it lives, so a connection that has been idle for half a second is parked:
//! hyper is taken apart and built anew at the next byte. A connection that never spoke was never given one.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::handshake::{self, Shaken};
use super::stream::{Spoken, Stream};
use super::{farewell, h2, proxy_header};
use crate::drain::Phase;
use crate::error::Reason;
use crate::http::frames::PREFACE;
use crate::http::guard::{BODY_UNREAD, BUSY, Guard, HEAD_BEGUN, WRITE_BLOCKED};
use crate::proxy;
use crate::proxy::client::Client;
use crate::proxy::tunnel::Tunnel;
use crate::proxy::worker::Worker;
use crate::snapshot::ListenerTimeouts;
use crate::time::Nanos;
use crate::timer::Deadline;

/// Idle for so long, a connection gives its buffers back.
const PARK_AFTER: Duration = Duration::from_millis(500);
/// While the gateway closes, a connection that has just been accepted may still say so much time nothing.
const LAST_WORD: Duration = Duration::from_secs(1);
/// hyper cannot do with less.
const LEAST_BUFFER: usize = 64 * 1024;

/// Serves one connection to its end.
pub(super) async fn serve(
    worker: Rc<Worker>,
    listener: usize,
    mut stream: TcpStream,
    peer: SocketAddr,
) {
    let Ok(local) = stream.local_addr() else {
        return;
    };
    let (mut peer, mut rewound) = (peer, Bytes::new());
    if worker.view.pin().listeners[listener].proxy_protocol {
        match Box::pin(proxy_header::read(&worker, listener, &mut stream, peer)).await {
            Some(told) => (peer, rewound) = (told.peer, told.rest),
            None => return,
        }
    }
    let (mut stream, spoken, secured) = if worker.view.pin().listeners[listener].tls.is_some() {
        let early = std::mem::take(&mut rewound);
        match Box::pin(handshake::shake(&worker, listener, stream, early)).await {
            Shaken::Secure(stream, spoken, secured) => (stream, spoken, Some(secured)),
            Shaken::PlainHttp(stream) => {
                let client = Client::new(worker, listener, peer.ip(), local, None);
                let (reason, detail) = (Reason::BadRequest, "this port speaks TLS: use https");
                return Box::pin(farewell::refuse(&client, stream, reason, detail)).await;
            }
            Shaken::Over => return,
        }
    } else {
        (Stream::Plain(stream), Spoken::Http1, None)
    };
    let client = Client::new(worker, listener, peer.ip(), local, secured);
    stream.tell(&client.wire);
    let mut line = Line {
        deadline: client.worker.timers.deadline(),
        idle_since: None,
        client,
    };
    if spoken == Spoken::Http2 {
        return Box::pin(h2::serve(line.client, &line.deadline, stream, rewound)).await;
    }
    loop {
        if rewound.is_empty() && !line.speaks(&mut stream).await {
            return stream.say_goodbye();
        }
        match line.talk(stream, std::mem::take(&mut rewound)).await {
            Turn::Parked(socket, read) => (stream, rewound) = (socket, read),
            Turn::Over => return,
            Turn::Ended(stream) => return stream.say_goodbye(),
            Turn::Tunnel(socket, read, tunnel) => {
                return Box::pin(tunnel.run(socket, read, &line.deadline)).await;
            }
            Turn::Refused(socket, reason, detail) => {
                return Box::pin(farewell::refuse(&line.client, socket, reason, detail)).await;
            }
            Turn::Http2(socket, read) => {
                return Box::pin(h2::serve(line.client, &line.deadline, socket, read)).await;
            }
            Turn::Lingering(socket) => return Box::pin(farewell::linger(socket)).await,
        }
    }
}

/// One connection with its deadline.
struct Line {
    client: Rc<Client>,
    deadline: Deadline,
    /// When the last exchange ended; `None` before the first.
    idle_since: Option<Nanos>,
}

/// How a stretch of talk came to its end.
enum Turn {
    /// Silent for a while; bytes that hyper had read already come first when it speaks again.
    Parked(Stream, Bytes),
    /// Answered with 101: no HTTP any more. Bytes that hyper had read already belong to what comes.
    Tunnel(Stream, Bytes, Box<Tunnel>),
    /// Closed, or to be closed without a word: what was being said was cut short.
    Over,
    /// All was said.
    Ended(Stream),
    /// A head that cannot be answered by an exchange.
    Refused(Stream, Reason, &'static str),
    /// HTTP/2, which these bytes begin.
    Http2(Stream, Bytes),
    /// Answered, with input unread: closed gently, or the client would lose its answer.
    Lingering(Stream),
}

/// What a connection is doing.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Doing {
    Idle,
    Head,
    Exchange,
    /// Blocked on writing, after so many bytes.
    Blocked(u64),
}

/// Why the connection's own task ends a talk that hyper would go on with.
enum Cut {
    Park,
    Silent,
    HeadTooSlow,
}

impl Line {
    fn timeouts(&self) -> ListenerTimeouts {
        self.client.worker.view.pin().listeners[self.client.listener].timeouts
    }

    fn phase(&self) -> Phase {
        self.client.phase()
    }

    /// Waits for the first byte of a request; false when the connection shall be closed instead.
    async fn speaks(&self, stream: &mut Stream) -> bool {
        let worker = &self.client.worker;
        let timeouts = self.timeouts();
        let now = worker.read_clock();
        let fresh = self.idle_since.is_none();
        let until = match self.idle_since {
            Some(since) => timeouts.idle.map(|t| since.plus(t)),
            None => timeouts.first_byte.map(|t| now.plus(t)),
        };
        self.deadline.set_at(now, until);
        let mut last_word = false;
        poll_fn(|cx| {
            self.register(cx);
            if stream.poll_speaks(cx).is_ready() {
                return Poll::Ready(true);
            }
            let phase = self.phase();
            if self.deadline.fired() || phase == Phase::Cut || (phase == Phase::Closing && !fresh) {
                return Poll::Ready(false);
            }
            if phase == Phase::Closing && !std::mem::replace(&mut last_word, true) {
                self.deadline.set(worker.read_clock(), Some(LAST_WORD));
            }
            Poll::Pending
        })
        .await
    }

    fn register(&self, cx: &Context<'_>) {
        self.deadline.register(cx.waker());
        self.client.deadline.register(cx.waker());
    }

    /// Lets hyper speak until the connection ends or falls silent.
    async fn talk(&mut self, stream: Stream, rewound: Bytes) -> Turn {
        let client = self.client.clone();
        let service = service_fn(move |request: hyper::Request<Incoming>| {
            proxy::handle(client.clone(), request)
        });
        let io = TokioIo::new(Guard::new(stream, self.client.wire.clone(), rewound));
        let mut talk = Box::new(self.builder().serve_connection(io, service));
        // The deadline of the silence before ends with its first byte.
        self.deadline.clear();
        let mut doing = Doing::Exchange;
        let mut closing = false;
        poll_fn(|cx| self.register_now(cx)).await;
        let end = poll_fn(|cx| {
            if let Poll::Ready(result) = Pin::new(&mut *talk).poll(cx) {
                return Poll::Ready(Ok(result));
            }
            if self.phase() >= Phase::Closing && !std::mem::replace(&mut closing, true) {
                Pin::new(&mut *talk).graceful_shutdown();
            }
            self.watch(&mut doing).map(Err)
        })
        .await;
        let parts = talk.into_parts();
        let stream = parts.io.into_inner().into_inner();
        match end {
            Ok(result) => self.after(stream, parts.read_buf, result),
            Err(cut) => Self::cut(stream, parts.read_buf, &cut),
        }
    }

    fn register_now(&self, cx: &Context<'_>) -> Poll<()> {
        self.register(cx);
        Poll::Ready(())
    }

    fn builder(&self) -> http1::Builder {
        let limits = self.client.worker.view.pin().listeners[self.client.listener].limits;
        let mut builder = http1::Builder::new();
        builder
            .header_read_timeout(None)
            .max_header_size(limits.head_bytes)
            .max_buf_size(limits.head_bytes.saturating_mul(2).max(LEAST_BUFFER));
        // hyper keeps up to 100 on the stack and allocates for any number that is set.
        if limits.headers != 100 {
            builder.max_headers(limits.headers);
        }
        builder
    }

    /// Looks at what the guard saw, and moves the one deadline by it.
    fn watch(&mut self, doing: &mut Doing) -> Poll<Cut> {
        let wire = &self.client.wire;
        let flags = wire.flags();
        let now_doing = if flags & WRITE_BLOCKED != 0 {
            Doing::Blocked(wire.written())
        } else if flags & BUSY != 0 {
            Doing::Exchange
        } else if flags & HEAD_BEGUN != 0 {
            Doing::Head
        } else {
            Doing::Idle
        };
        let phase = self.phase();
        if phase == Phase::Cut
            || (phase == Phase::Closing && now_doing == Doing::Idle && self.idle_since.is_some())
        {
            return Poll::Ready(Cut::Silent);
        }
        if now_doing != *doing {
            *doing = now_doing;
            self.begin(now_doing);
            return Poll::Pending;
        }
        if !self.deadline.fired() {
            return Poll::Pending;
        }
        Poll::Ready(match now_doing {
            Doing::Idle => Cut::Park,
            Doing::Head => Cut::HeadTooSlow,
            Doing::Exchange | Doing::Blocked(_) => Cut::Silent,
        })
    }

    fn begin(&mut self, doing: Doing) {
        let worker = &self.client.worker;
        match doing {
            Doing::Exchange => self.deadline.clear(),
            Doing::Idle => {
                let now = worker.recent();
                self.idle_since = Some(now);
                self.deadline.set(now, Some(PARK_AFTER));
            }
            Doing::Head => self
                .deadline
                .set(worker.read_clock(), self.timeouts().request_head),
            Doing::Blocked(_) => self
                .deadline
                .set(worker.read_clock(), self.timeouts().write),
        }
    }

    /// hyper has ended.
    fn after(&self, stream: Stream, unread: Bytes, result: hyper::Result<()>) -> Turn {
        // Dropped with a broken connection, it counts as closed by the client.
        match (result, self.client.tunnel.take()) {
            (Ok(()), Some(tunnel)) => Turn::Tunnel(stream, unread, tunnel),
            (Err(error), _) if error.is_parse() && self.begins_http2(&unread) => {
                Turn::Http2(stream, unread)
            }
            (Err(error), _) if error.is_parse() && !self.client.wire.has(BUSY) => {
                let (reason, detail) = refusal_of(&error);
                Turn::Refused(stream, reason, detail)
            }
            (Ok(()), None) if self.client.wire.has(BODY_UNREAD) || !unread.is_empty() => {
                Turn::Lingering(stream)
            }
            (Ok(()), None) => Turn::Ended(stream),
            _ => Turn::Over,
        }
    }

    /// Was what is no HTTP/1 the preface of HTTP/2, or so much of it that it cannot become anything else? So the first
    /// read of HTTP/1 looks for HTTP/2 at no cost.
    fn begins_http2(&self, unread: &[u8]) -> bool {
        let common = unread.len().min(PREFACE.len());
        self.client.requests.get() == 0
            && common > 0
            && unread[..common] == PREFACE[..common]
            && self.client.worker.view.pin().listeners[self.client.listener]
                .protocols
                .http2
    }

    /// hyper was stopped.
    fn cut(stream: Stream, unread: Bytes, cut: &Cut) -> Turn {
        match cut {
            // An empty `Bytes` would go on owning hyper's buffer.
            Cut::Park if unread.is_empty() => Turn::Parked(stream, Bytes::new()),
            Cut::Park => Turn::Parked(stream, unread),
            Cut::Silent => Turn::Over,
            Cut::HeadTooSlow => Turn::Refused(
                stream,
                Reason::RequestTimeout,
                "the head did not come in time",
            ),
        }
    }
}

/// hyper tells its parse errors apart only in words.
fn refusal_of(error: &hyper::Error) -> (Reason, &'static str) {
    if error.is_parse_too_large() {
        return (
            Reason::HeadTooLarge,
            "the head is larger than limits.head_bytes or has more fields than limits.headers",
        );
    }
    if error.is_parse_version_h2() {
        return (Reason::BadRequest, "HTTP/2 is not spoken on this port");
    }
    match error.to_string().as_str() {
        "URI too long" => (
            Reason::UriTooLong,
            "the target is longer than any server reads",
        ),
        "invalid transfer-encoding parsed" => (
            Reason::NotImplemented,
            "no transfer coding but chunked is understood",
        ),
        "unexpected transfer-encoding parsed" => {
            (Reason::BadRequest, "HTTP/1.0 knows no Transfer-Encoding")
        }
        "invalid content-length parsed" => (
            Reason::BadRequest,
            "Content-Length is no number, or there are two",
        ),
        _ => (Reason::BadRequest, "the head is not valid HTTP/1.1"),
    }
}

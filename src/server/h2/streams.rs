//! The streams of one HTTP/2 connection: each a task with its own deadline, and a count of those that are open.

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use hyper::body::Incoming;
use hyper::rt::Executor;
use hyper::{Request, Response};
use tokio::task::spawn_local;

use crate::http::guard::{ANSWERING, WRITE_BLOCKED};
use crate::proxy;
use crate::proxy::body::Body;
use crate::proxy::client::Client;

/// What the streams of a connection share.
pub(super) struct Streams {
    /// The connection.
    pub(super) client: Rc<Client>,
    live: Cell<usize>,
    /// The stream whose request was just taken, until it has its task: hyper asks for that in the same breath.
    newest: RefCell<Option<Stream>>,
}

/// One open stream; counted until it is dropped.
struct Stream {
    client: Rc<Client>,
    streams: Rc<Streams>,
}

impl Streams {
    pub(super) fn new(client: Rc<Client>) -> Rc<Streams> {
        Rc::new(Streams {
            client,
            live: Cell::new(0),
            newest: RefCell::default(),
        })
    }

    /// Streams that are open now.
    pub(super) fn live(&self) -> usize {
        self.live.get()
    }

    /// Takes a request. What serves it is boxed here, before it is moved into its task, and gone
    /// when the answer's body begins.
    pub(super) fn begin(
        self: &Rc<Self>,
        request: Request<Incoming>,
    ) -> Pin<Box<impl Future<Output = Result<Response<Body>, Infallible>> + use<>>> {
        self.client.requests.set(self.client.requests.get() + 1);
        self.live.set(self.live.get() + 1);
        let client = self.client.stream();
        *self.newest.borrow_mut() = Some(Stream {
            client: client.clone(),
            streams: self.clone(),
        });
        Box::pin(proxy::handle(client, request))
    }

    /// Waits until no stream is open.
    pub(super) async fn ended(&self) {
        poll_fn(|cx| {
            self.client.deadline.register(cx.waker());
            if self.live.get() == 0 {
                return Poll::Ready(());
            }
            Poll::Pending
        })
        .await;
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let live = self.streams.live.get() - 1;
        self.streams.live.set(live);
        if live == 0 {
            self.streams.client.wake();
        }
    }
}

/// Spawns on the worker's own thread.
#[derive(Clone)]
pub(super) struct Spawner(pub(super) Rc<Streams>);

impl<F: Future<Output = ()> + Unpin + 'static> Executor<F> for Spawner {
    fn execute(&self, future: F) {
        let stream = self.0.newest.borrow_mut().take();
        match stream {
            Some(stream) => drop(spawn_local(Task {
                future,
                blocked: None,
                stream,
            })),
            None => drop(spawn_local(future)),
        }
    }
}

/// The task of a stream: hyper's future, and a look at whether the client takes what it is given.
struct Task<F> {
    future: F,
    /// Bytes handed out when the client was found not to take more.
    blocked: Option<u64>,
    /// Declared after the future: dropped when its exchange has been counted.
    stream: Stream,
}

impl<F: Future<Output = ()> + Unpin> Future for Task<F> {
    type Output = ();

    /// Ends also when the client has taken nothing for `timeouts.write`; hyper's future, dropped, resets the stream.
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let task = &mut *self;
        let client = &task.stream.client;
        client.deadline.register(cx.waker());
        if Pin::new(&mut task.future).poll(cx).is_ready() {
            return Poll::Ready(());
        }
        if !client.wire.has(WRITE_BLOCKED | ANSWERING) {
            task.blocked = None;
            return Poll::Pending;
        }
        let handed = client.wire.written();
        if task.blocked.replace(handed) == Some(handed) {
            if client.deadline.fired() {
                return Poll::Ready(());
            }
        } else {
            let within = client.worker.view.pin().listeners[client.listener]
                .timeouts
                .write;
            client.deadline.set(client.worker.read_clock(), within);
        }
        Poll::Pending
    }
}

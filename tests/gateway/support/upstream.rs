//! A scripted upstream: each connection runs a script over raw bytes, and everything received is kept.

use std::collections::HashMap;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::ops::Deref;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use super::wait::{PATIENCE, until};
use super::wire::{Fields, Framing, Head, Wire};

/// Bytes kept of one connection; what comes after them is only counted.
const KEPT: usize = 1 << 20;

/// A request as the upstream sees it. Its body is still on the wire.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    head: Head,
    /// The method.
    pub(crate) method: String,
    /// The target, as it stands in the line.
    pub(crate) target: String,
}

impl Deref for Request {
    type Target = Head;

    fn deref(&self) -> &Head {
        &self.head
    }
}

impl Request {
    /// How the body of this request ends. Fails for a request that two peers could read in two ways.
    pub(crate) fn framing(&self) -> Framing {
        Framing::of(&self.head, Framing::Length(0))
    }
}

/// A whole answer with a `Content-Length`.
pub(crate) fn answer(status: u16, body: &str) -> String {
    format!(
        "HTTP/1.1 {status} Said\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

#[derive(Default)]
struct Seen {
    connections: AtomicUsize,
    open: AtomicUsize,
    heads: Mutex<Vec<Request>>,
    bytes: Mutex<Vec<Vec<u8>>>,
    /// A second handle on the socket of each running script, to end it when the test ends.
    sockets: Mutex<HashMap<usize, TcpStream>>,
    failures: Mutex<Vec<String>>,
    stopped: AtomicUsize,
}

/// One connection of the gateway, seen from the upstream.
pub(crate) struct Peer {
    wire: Wire,
    seen: Arc<Seen>,
    /// The number of this connection, from 0.
    pub(crate) number: usize,
}

impl Peer {
    /// Reads the head of the next request; `None` if the gateway closed or broke the connection.
    pub(crate) fn request(&mut self) -> Option<Request> {
        let head = self.wire.head().ok()??;
        let words: Vec<&str> = head.start.split(' ').collect();
        let [method, target, "HTTP/1.1"] = words[..] else {
            panic!("not a request line: {:?}", head.start)
        };
        let (method, target) = (method.to_owned(), target.to_owned());
        let request = Request {
            head,
            method,
            target,
        };
        self.seen.heads.lock().unwrap().push(request.clone());
        Some(request)
    }

    /// Reads the body of `request`; an error if it breaks off.
    pub(crate) fn body(&mut self, request: &Request) -> io::Result<Vec<u8>> {
        self.body_and_trailers(request).map(|(body, _)| body)
    }

    /// Reads the body of `request` and its trailers; an error if it breaks off.
    pub(crate) fn body_and_trailers(&mut self, request: &Request) -> io::Result<(Vec<u8>, Fields)> {
        let mut body = Vec::new();
        let trailers = self.wire.body(request.framing(), &mut |bytes| {
            body.extend_from_slice(bytes)
        })?;
        Ok((body, trailers))
    }

    /// Reads the body of `request` and gives it to `sink` as it comes.
    pub(crate) fn stream_body(
        &mut self,
        request: &Request,
        sink: &mut dyn FnMut(&[u8]),
    ) -> io::Result<()> {
        self.wire.body(request.framing(), sink).map(|_| ())
    }

    /// Reads a request with its body; `None` if the gateway closed or broke the connection.
    pub(crate) fn whole_request(&mut self) -> Option<(Request, Vec<u8>)> {
        let request = self.request()?;
        let body = self.body(&request).ok()?;
        Some((request, body))
    }

    /// Reads exactly `count` bytes, of whatever protocol.
    pub(crate) fn bytes(&mut self, count: usize) -> io::Result<Vec<u8>> {
        self.wire.bytes(count)
    }

    /// Reads what is there, at least a byte; nothing once the gateway has ended its side.
    pub(crate) fn some_bytes(&mut self) -> io::Result<Vec<u8>> {
        self.wire.some_bytes()
    }

    /// What was read behind the last request.
    pub(crate) fn take_ahead(&mut self) -> Vec<u8> {
        self.wire.take_ahead()
    }

    /// Waits as long as the test lives instead of for the patience: at its end every socket is shut.
    pub(crate) fn be_patient(&self) {
        self.wire.stream().set_read_timeout(None).unwrap();
        self.wire.stream().set_write_timeout(None).unwrap();
    }

    /// Sends `bytes`; an error if the gateway closed.
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.wire.send(bytes.as_ref())
    }

    /// A second handle on the socket, to write while the body is being read.
    pub(crate) fn writer(&self) -> TcpStream {
        self.wire.stream().try_clone().unwrap()
    }

    /// Says that nothing more will come from here.
    pub(crate) fn half_close(&self) {
        self.wire.half_close();
    }

    /// Makes the end of this script a reset instead of an orderly close.
    pub(crate) fn reset(&mut self) {
        let socket = socket2::SockRef::from(self.wire.stream());
        socket.set_linger(Some(Duration::ZERO)).unwrap();
    }

    /// Waits until the gateway closed or broke the connection; false if it did not within the patience.
    pub(crate) fn closed(&mut self) -> bool {
        self.wire.closed()
    }

    /// Answers every request with `answer` until the gateway closes.
    pub(crate) fn serve(&mut self, mut answer: impl FnMut(&Request, &[u8]) -> String) {
        while let Some((request, body)) = self.whole_request() {
            if self.send(answer(&request, &body)).is_err() {
                return;
            }
        }
    }
}

/// An upstream that follows a script.
pub(crate) struct Upstream {
    address: SocketAddr,
    seen: Arc<Seen>,
}

impl Upstream {
    /// Listens on a free port; every connection runs `script` on its own thread and closes when it returns.
    pub(crate) fn start(script: impl Fn(&mut Peer) + Send + Sync + 'static) -> Upstream {
        Upstream::on(TcpListener::bind("127.0.0.1:0").unwrap(), script)
    }

    /// The same on a socket that listens already.
    pub(crate) fn on(
        listener: TcpListener,
        script: impl Fn(&mut Peer) + Send + Sync + 'static,
    ) -> Upstream {
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Seen::default());
        let script = Arc::new(script);
        let shared = Arc::clone(&seen);
        thread::spawn(move || {
            for stream in listener.incoming() {
                if shared.stopped.load(Ordering::SeqCst) > 0 {
                    return;
                }
                let Ok(stream) = stream else { continue };
                let (seen, script) = (Arc::clone(&shared), Arc::clone(&script));
                let number = seen.connections.fetch_add(1, Ordering::SeqCst);
                seen.open.fetch_add(1, Ordering::SeqCst);
                seen.bytes.lock().unwrap().push(Vec::new());
                thread::spawn(move || run(stream, number, &seen, script.as_ref()));
            }
        });
        Upstream { address, seen }
    }

    /// Answers every request with `answer`, whatever it asks.
    pub(crate) fn answering(answer: impl Into<Vec<u8>>) -> Upstream {
        let answer = answer.into();
        Upstream::start(
            move |peer| {
                while peer.whole_request().is_some() && peer.send(&answer).is_ok() {}
            },
        )
    }

    /// Sends `bytes` after the first request of each connection, then closes.
    pub(crate) fn saying_once(bytes: impl Into<Vec<u8>>) -> Upstream {
        let bytes = bytes.into();
        Upstream::start(move |peer| {
            if peer.whole_request().is_some() {
                let _ = peer.send(&bytes);
                peer.half_close();
                peer.closed();
            }
        })
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Connections accepted so far.
    pub(crate) fn connections(&self) -> usize {
        self.seen.connections.load(Ordering::SeqCst)
    }

    /// Connections whose script still runs.
    pub(crate) fn open(&self) -> usize {
        self.seen.open.load(Ordering::SeqCst)
    }

    /// Every request head seen so far.
    pub(crate) fn requests(&self) -> Vec<Request> {
        self.seen.heads.lock().unwrap().clone()
    }

    /// Everything received so far, a text for each connection.
    pub(crate) fn received(&self) -> Vec<String> {
        let bytes = self.seen.bytes.lock().unwrap();
        bytes
            .iter()
            .map(|bytes| String::from_utf8_lossy(bytes).into_owned())
            .collect()
    }

    /// Fails if a single byte of any request came here.
    pub(crate) fn expect_untouched(&self) {
        let received = self.received();
        assert!(
            received.iter().all(String::is_empty),
            "the upstream saw {received:?}"
        );
    }

    /// Waits until this many requests have come.
    pub(crate) fn await_requests(&self, count: usize) {
        until(
            PATIENCE,
            &format!("{count} requests at the upstream"),
            || self.requests().len() >= count,
        );
    }

    /// Waits until no connection is open.
    pub(crate) fn await_all_closed(&self) {
        until(PATIENCE, "all connections to the upstream closed", || {
            self.open() == 0
        });
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.seen.stopped.store(1, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
        for socket in self.seen.sockets.lock().unwrap().values() {
            let _ = socket.shutdown(std::net::Shutdown::Both);
        }
        let failures = self.seen.failures.lock().unwrap().clone();
        if !thread::panicking() {
            assert!(
                failures.is_empty(),
                "the upstream's script failed: {failures:?}"
            );
        }
    }
}

fn run(stream: TcpStream, number: usize, seen: &Arc<Seen>, script: &(impl Fn(&mut Peer) + ?Sized)) {
    seen.sockets
        .lock()
        .unwrap()
        .insert(number, stream.try_clone().unwrap());
    let record = Arc::clone(seen);
    let wire = Wire::new(stream, move |bytes| {
        let kept = &mut record.bytes.lock().unwrap()[number];
        let room = KEPT.saturating_sub(kept.len()).min(bytes.len());
        kept.extend_from_slice(&bytes[..room]);
    });
    let mut peer = Peer {
        wire,
        seen: Arc::clone(seen),
        number,
    };
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| script(&mut peer))) {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|&text| text.to_owned()));
        seen.failures.lock().unwrap().push(text.unwrap_or_default());
    }
    seen.sockets.lock().unwrap().remove(&number);
    drop(peer);
    seen.open.fetch_sub(1, Ordering::SeqCst);
}

//! Accepting: each worker has its own socket on every address (SO_REUSEPORT), and all share one count of connections.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::task::spawn_local;

use super::accept::Entrance;
use super::connection;
use crate::drain::Phase;
use crate::metrics::{ListenerStats, Refusal};
use crate::proxy::worker::Worker;

/// Out of descriptors, the kernel would report the same connection again and again.
const BACK_OFF: Duration = Duration::from_millis(50);

/// The count of client connections, over all workers and listeners.
#[derive(Default)]
pub struct Admission {
    open: AtomicUsize,
    /// Touched only where `connections_per_ip` is on: once for each connection, never for a request.
    per_ip: Mutex<HashMap<IpAddr, usize>>,
}

/// How long handshakes that had begun may take to end, before the listener closes.
const HANDSHAKES: Duration = Duration::from_millis(100);

/// One admitted connection; counted until it is dropped.
struct Admitted {
    admission: Arc<Admission>,
    ip: Option<IpAddr>,
    worker: Rc<Worker>,
    /// Its listener may be another's heir, or gone, when it ends.
    stats: Arc<ListenerStats>,
}

impl Admission {
    /// Client connections that are open now.
    #[must_use]
    pub fn open(&self) -> usize {
        self.open.load(Relaxed)
    }

    fn admit(
        self: &Arc<Self>,
        worker: &Rc<Worker>,
        listener: usize,
        peer: IpAddr,
    ) -> Result<Admitted, Refusal> {
        let pin = worker.view.pin();
        let limits = &pin.listeners[listener].limits;
        if self.open.fetch_add(1, Relaxed) >= limits.connections.unwrap_or(usize::MAX) {
            self.open.fetch_sub(1, Relaxed);
            return Err(Refusal::Limit);
        }
        let ip = limits.connections_per_ip.map(|_| peer.to_canonical());
        if let (Some(ip), Some(most)) = (ip, limits.connections_per_ip) {
            let mut counts = self.per_ip.lock().unwrap_or_else(PoisonError::into_inner);
            let count = counts.entry(ip).or_insert(0);
            if *count >= most {
                self.open.fetch_sub(1, Relaxed);
                return Err(Refusal::PerIp);
            }
            *count += 1;
        }
        let stats = pin.listeners[listener].stats.clone();
        stats.connections.add(worker.index, 1);
        worker.connections.set(worker.connections.get() + 1);
        Ok(Admitted {
            admission: self.clone(),
            ip,
            worker: worker.clone(),
            stats,
        })
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.admission.open.fetch_sub(1, Relaxed);
        if let Some(ip) = self.ip {
            let mut counts = self
                .admission
                .per_ip
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            if let Some(count) = counts.get_mut(&ip) {
                *count -= 1;
                if *count == 0 {
                    counts.remove(&ip);
                }
            }
        }
        let worker = &self.worker;
        self.stats.connections.add(worker.index, -1);
        worker.connections.set(worker.connections.get() - 1);
    }
}

/// Accepts until the drain or an order closes the socket; what is queued by then is accepted still.
pub(super) async fn run(
    worker: Rc<Worker>,
    admission: Arc<Admission>,
    entrance: Rc<Entrance>,
    socket: std::net::TcpListener,
) {
    let Ok(socket) = TcpListener::from_std(socket) else {
        return;
    };
    let drain = worker.drain.clone();
    let mut closing = std::pin::pin!(drain.reached(Phase::Closing));
    loop {
        let accepted = tokio::select! {
            biased;
            () = &mut closing => break,
            () = entrance.close.notified() => break,
            accepted = socket.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => take(&worker, &admission, entrance.listener.get(), stream, peer),
            Err(error) => back_off(&worker, entrance.listener.get(), &error).await,
        }
    }
    if entrance.is_lent.get() {
        // The queue stays for the others who hold it, and a filter would be theirs too.
        return;
    }
    refuse_new(&socket);
    let last = async {
        while let Ok((stream, peer)) = socket.accept().await {
            take(&worker, &admission, entrance.listener.get(), stream, peer);
        }
    };
    let _ = tokio::time::timeout(HANDSHAKES, last).await;
    empty_queue(&worker, &admission, entrance.listener.get(), socket);
}

/// From here on the kernel begins no new handshake on this socket, while those under way still come to their end.
///
/// Closing a listening socket resets every connection that is not accepted yet, also one whose handshake ends in that
/// very moment. A filter that drops a bare SYN (a client tries again, and is then refused by an empty port) lets the
/// queue run empty first.
#[cfg(target_os = "linux")]
fn refuse_new(socket: &TcpListener) {
    use socket2::SockFilter;
    const LOAD_BYTE: u16 = 0x30;
    const AND: u16 = 0x54;
    const JUMP_IF_EQUAL: u16 = 0x15;
    const RETURN: u16 = 0x06;
    const FLAGS: u32 = 13;
    const SYN: u32 = 0x02;
    const SYN_AND_ACK: u32 = 0x12;
    let drop_bare_syn = [
        SockFilter::new(LOAD_BYTE, 0, 0, FLAGS),
        SockFilter::new(AND, 0, 0, SYN_AND_ACK),
        SockFilter::new(JUMP_IF_EQUAL, 0, 1, SYN),
        SockFilter::new(RETURN, 0, 0, 0),
        SockFilter::new(RETURN, 0, 0, u32::MAX),
    ];
    if let Err(error) = socket2::SockRef::from(socket).attach_filter(&drop_bare_syn) {
        tracing::debug!(%error, "no filter for the listener's last moments");
    }
}

#[cfg(not(target_os = "linux"))]
fn refuse_new(_: &TcpListener) {}

fn empty_queue(
    worker: &Rc<Worker>,
    admission: &Arc<Admission>,
    listener: usize,
    socket: TcpListener,
) {
    let Ok(socket) = socket.into_std() else {
        return;
    };
    while let Ok((stream, peer)) = socket.accept() {
        if stream.set_nonblocking(true).is_ok()
            && let Ok(stream) = TcpStream::from_std(stream)
        {
            take(worker, admission, listener, stream, peer);
        }
    }
}

async fn back_off(worker: &Rc<Worker>, listener: usize, error: &io::Error) {
    // A client that left before it was accepted is no reason to wait.
    if matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::Interrupted
    ) {
        return;
    }
    let pin = worker.view.pin();
    pin.listeners[listener]
        .stats
        .count_refusal(worker.index, Refusal::Descriptors);
    tracing::warn!(listener = pin.listeners[listener].name, %error, "cannot accept");
    drop(pin);
    tokio::time::sleep(BACK_OFF).await;
}

fn take(
    worker: &Rc<Worker>,
    admission: &Arc<Admission>,
    listener: usize,
    stream: TcpStream,
    peer: SocketAddr,
) {
    match admission.admit(worker, listener, peer.ip()) {
        Ok(admitted) => {
            // Answers leave in one write: waiting for more would only add latency.
            let _ = stream.set_nodelay(true);
            let worker = worker.clone();
            spawn_local(async move {
                connection::serve(worker, listener, stream, peer).await;
                drop(admitted);
            });
        }
        Err(refusal) => {
            let pin = worker.view.pin();
            pin.listeners[listener]
                .stats
                .count_refusal(worker.index, refusal);
        }
    }
}

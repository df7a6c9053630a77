//! One client connection, or one stream of it, as its requests see it.

use std::cell::{Cell, RefCell};
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;

use http::HeaderValue;

use super::secured::Secured;
use super::tunnel::Tunnel;
use super::whose::Known;
use super::worker::Worker;
use crate::drain::Phase;
use crate::http::guard::Wire;
use crate::snapshot::shared::Pin;
use crate::timer::Deadline;

/// What stays the same from request to request.
pub struct Client {
    /// The worker that serves it.
    pub worker: Rc<Worker>,
    /// Index into `Snapshot::listeners`.
    pub listener: usize,
    /// The client's address, or what a PROXY header said it is. IPv4-mapped IPv6 is folded.
    pub peer: IpAddr,
    /// `peer` as text, for `X-Forwarded-For` and the log.
    pub peer_text: HeaderValue,
    /// The address that the client connected to.
    pub local: SocketAddr,
    /// What its TLS handshake told; `None` on clear text.
    pub secured: Option<Rc<Secured>>,
    /// Facts about the wire.
    pub wire: Arc<Wire>,
    /// The deadline of the exchange under way; kept for all of them, so that none registers a timer.
    pub deadline: Deadline,
    /// Its number, unique in the process.
    pub id: u64,
    /// Requests taken so far.
    pub requests: Cell<u64>,
    /// What the connection becomes when the 101 has left.
    pub tunnel: RefCell<Option<Box<Tunnel>>>,
    /// The key of the address that its requests are from, to limits; of all streams of a connection.
    pub(super) known: Rc<Cell<Option<Known>>>,
}

impl Client {
    /// A connection that was just accepted.
    #[must_use]
    pub fn new(
        worker: Rc<Worker>,
        listener: usize,
        peer: IpAddr,
        local: SocketAddr,
        secured: Option<Rc<Secured>>,
    ) -> Rc<Client> {
        let peer = peer.to_canonical();
        let peer_text = HeaderValue::from_str(&peer.to_string())
            .unwrap_or_else(|_| HeaderValue::from_static("unknown"));
        let deadline = worker.timers.deadline();
        let wire = Arc::new(Wire::default());
        Rc::new(Client {
            id: worker.number_connection(),
            worker,
            listener,
            peer,
            peer_text,
            local,
            secured,
            wire,
            deadline,
            requests: Cell::new(0),
            tunnel: RefCell::default(),
            known: Rc::default(),
        })
    }

    /// Does it speak TLS?
    #[must_use]
    pub fn is_secure(&self) -> bool {
        self.secured.is_some()
    }

    /// The subject of the certificate that it showed; empty if it showed none.
    #[must_use]
    pub fn subject(&self) -> &[u8] {
        let identity = self.secured.as_ref().and_then(|s| s.identity.as_ref());
        identity.map_or(b"", |identity| identity.subject.as_bytes())
    }

    /// The scheme of its requests.
    #[must_use]
    pub fn scheme(&self) -> &'static str {
        if self.is_secure() { "https" } else { "http" }
    }

    /// A stream of this connection, which is a client of its own to its one exchange.
    #[must_use]
    pub fn stream(&self) -> Rc<Client> {
        Rc::new(Client {
            worker: self.worker.clone(),
            listener: self.listener,
            peer: self.peer,
            peer_text: self.peer_text.clone(),
            local: self.local,
            secured: self.secured.clone(),
            wire: Arc::default(),
            deadline: self.worker.timers.deadline(),
            id: self.id,
            requests: Cell::new(0),
            tunnel: RefCell::default(),
            known: self.known.clone(),
        })
    }

    /// How far the shutdown is for this connection: it shall close, as in a drain, once the address that it came through
    /// is none of its listener's any more.
    #[must_use]
    pub fn phase(&self) -> Phase {
        let phase = self.worker.drain.phase();
        let serves = |pin: &Pin| pin.listeners[self.listener].serves(self.local);
        let is_served = || self.worker.view.look(serves);
        if phase < Phase::Closing && !is_served() {
            return Phase::Closing;
        }
        phase
    }

    /// Lets the connection's task look at the state of the world again.
    pub fn wake(&self) {
        self.deadline.wake();
    }
}

//! The connections that an upstream has at once, looked up on its sockets.

use std::io::ErrorKind;
use std::mem::MaybeUninit;
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Mutex};

use super::upstream::{Peer, Upstream};

/// `MSG_PEEK` and `MSG_DONTWAIT` of Linux.
const PEEK_NOW: i32 = 0x02 | 0x40;

/// Counts connections. The threads that serve them may hear of an end later than another of a beginning; so each count
/// asks the sockets.
#[derive(Clone, Default)]
pub(crate) struct Census(Arc<Mutex<Seen>>);

#[derive(Default)]
struct Seen {
    open: Vec<TcpStream>,
    most: usize,
}

impl Census {
    /// An upstream whose connections are counted, and served by `script`.
    pub(crate) fn upstream(&self, script: impl Fn(&mut Peer) + Send + Sync + 'static) -> Upstream {
        let census = self.clone();
        Upstream::start(move |peer| {
            let socket = peer.writer();
            let from = socket.peer_addr().ok();
            census.enter(socket);
            script(peer);
            // A second handle would keep it open.
            census.forget(from);
        })
    }

    fn enter(&self, socket: TcpStream) {
        let mut seen = self.0.lock().unwrap();
        seen.open.push(socket);
        seen.open.retain(is_open);
        seen.most = seen.most.max(seen.open.len());
    }

    fn forget(&self, from: Option<SocketAddr>) {
        let mut seen = self.0.lock().unwrap();
        seen.open.retain(|socket| socket.peer_addr().ok() != from);
    }

    /// The most at once since the last count of this kind began.
    pub(crate) fn most(&self) -> usize {
        self.0.lock().unwrap().most
    }

    /// Those that the gateway has not closed.
    pub(crate) fn now(&self) -> usize {
        let mut seen = self.0.lock().unwrap();
        seen.open.retain(is_open);
        seen.open.len()
    }

    /// Forgets what was the most.
    pub(crate) fn begin_anew(&self) {
        let now = self.now();
        self.0.lock().unwrap().most = now;
    }
}

/// Has the peer not closed? What it sent before has been read.
fn is_open(socket: &TcpStream) -> bool {
    let mut byte = [MaybeUninit::uninit()];
    match socket2::SockRef::from(socket).recv_with_flags(&mut byte, PEEK_NOW) {
        Ok(count) => count > 0,
        Err(error) => error.kind() == ErrorKind::WouldBlock,
    }
}

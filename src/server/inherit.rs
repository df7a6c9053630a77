//! Listening sockets that another process opened for this one: systemd, or the gateway that this one follows.
//!
//! They come as `sd_listen_fds(3)` says, in `LISTEN_FDS`. A gateway that starts its successor also says by
//! `LISTEN_FDNAMES` which listener each belongs to, and adds a line on which it waits for the word that all is well.

use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use listenfd::ListenFd;

/// Says "ready" on the line.
pub(super) const READY: u8 = b'R';
/// What the gateway calls a socket of a listener that nobody else will hold when it has ended.
const OWN: &str = "tidegate.own.";
/// The same, where systemd holds it as well.
const LENT: &str = "tidegate.lent.";
const ADMIN: &str = "tidegate.admin";
const LINE: &str = "tidegate.line";

/// What was inherited and is not in use yet.
#[derive(Default)]
pub struct Inherited {
    sockets: Vec<Heirloom>,
    line: Option<Line>,
}

/// One inherited socket.
struct Heirloom {
    socket: TcpListener,
    local: SocketAddr,
    name: String,
}

/// Where the gateway that started this one waits.
pub(super) struct Line(UnixStream);

/// All inherited sockets of one address; never empty.
pub(super) struct Share {
    pub(super) sockets: Vec<TcpListener>,
    pub(super) local: SocketAddr,
    /// Does somebody else hold them for whoever comes after this process?
    pub(super) is_lent: bool,
}

impl Inherited {
    /// Takes what the environment names; `names` is its `LISTEN_FDNAMES`. What is taken is unset: to be called before
    /// there is a second thread.
    #[must_use]
    pub fn from_env(names: Option<&str>) -> Inherited {
        let mut given = ListenFd::from_env();
        let mut names = names.unwrap_or_default().split(':');
        let mut inherited = Inherited::default();
        for index in 0..given.len() {
            let name = names.next().unwrap_or_default();
            if let Err(error) = inherited.take(&mut given, index, name) {
                tracing::warn!(index, name, %error, "an inherited descriptor is not used");
            }
        }
        inherited
    }

    fn take(&mut self, given: &mut ListenFd, index: usize, name: &str) -> io::Result<()> {
        // What comes as a listener is a stream as well: the socket that it is decides.
        if name == LINE
            && let Some(line) = given.take_unix_listener(index)?
        {
            self.line = Some(Line(UnixStream::from(OwnedFd::from(line))));
            return Ok(());
        }
        let Some(socket) = given.take_tcp_listener(index)? else {
            return Ok(());
        };
        if !socket2::SockRef::from(&socket).is_listener()? {
            return Err(io::Error::other("it does not listen"));
        }
        socket.set_nonblocking(true)?;
        self.sockets.push(Heirloom {
            local: socket.local_addr()?,
            socket,
            name: name.to_owned(),
        });
        Ok(())
    }

    /// The sockets for an address of `listener`: those that have it, or where any port will do those of that name.
    pub(super) fn claim(&mut self, listener: &str, asked: SocketAddr) -> Option<Share> {
        self.claim_if(asked, |name| {
            name.strip_prefix(OWN).or_else(|| name.strip_prefix(LENT)) == Some(listener)
        })
    }

    /// The socket for the operator's port.
    pub(super) fn claim_admin(&mut self, asked: SocketAddr) -> Option<TcpListener> {
        let share = self.claim_if(asked, |name| name == ADMIN)?;
        share.sockets.into_iter().next()
    }

    fn claim_if(&mut self, asked: SocketAddr, is_name: impl Fn(&str) -> bool) -> Option<Share> {
        let fits = |other: &Heirloom| {
            other.local == asked
                || (asked.port() == 0 && other.local.ip() == asked.ip() && is_name(&other.name))
        };
        let first = self.sockets.iter().find(|other| fits(other))?;
        let (local, is_lent) = (first.local, !first.name.starts_with(OWN));
        let all = self.sockets.extract_if(.., |other| other.local == local);
        Some(Share {
            sockets: all.map(|heirloom| heirloom.socket).collect(),
            local,
            is_lent,
        })
    }

    /// Closes what nobody claimed.
    pub(super) fn close_rest(&mut self) {
        for rest in self.sockets.drain(..) {
            tracing::warn!(address = %rest.local, name = rest.name, "an inherited socket has no `bind`: closed");
        }
    }

    /// Where the one waits that this process follows.
    pub(super) fn take_line(&mut self) -> Option<Line> {
        self.line.take()
    }
}

impl Line {
    /// Says that this process accepts on all sockets.
    pub(super) fn say_ready(mut self) {
        // One byte fits into any buffer; the other end may have given up.
        let _ = self.0.set_write_timeout(Some(Duration::from_secs(1)));
        if let Err(error) = self.0.write_all(&[READY]) {
            tracing::warn!(%error, "the process before this one does not listen to it");
        }
    }
}

/// What a descriptor is called that is passed on.
pub(super) enum Passed<'n> {
    /// A socket of this listener.
    Listener(&'n str, bool),
    /// The operator's port.
    Admin,
    /// The line.
    Line,
}

impl Passed<'_> {
    /// The same in `LISTEN_FDNAMES`.
    pub(super) fn name(&self) -> String {
        match self {
            Passed::Listener(name, true) => format!("{LENT}{name}"),
            Passed::Listener(name, false) => format!("{OWN}{name}"),
            Passed::Admin => ADMIN.to_owned(),
            Passed::Line => LINE.to_owned(),
        }
    }
}

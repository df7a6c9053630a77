//! Opening listening sockets, and saying why one cannot be opened.

use std::io;
use std::net::{SocketAddr, TcpListener};

use socket2::{Domain, Protocol, Socket, Type};

const BACKLOG: i32 = 4096;

/// An address that cannot be bound.
pub(super) struct Fault {
    /// The address as the file has it.
    pub(super) address: SocketAddr,
    /// What is wrong, one line.
    pub(super) message: String,
    /// What can be done.
    pub(super) help: String,
}

impl Fault {
    /// Whose `error` it is: `what` is `address` with its owner, `is_ours` says that this process has it itself.
    pub(super) fn new(error: &io::Error, what: &str, address: SocketAddr, is_ours: bool) -> Fault {
        let help = match error.kind() {
            io::ErrorKind::AddrInUse if is_ours => {
                "this gateway has it until the reload is done: make two reloads of it"
            }
            io::ErrorKind::AddrInUse => "another process has it: stop that one or change `bind`",
            io::ErrorKind::PermissionDenied => "ports below 1024 need CAP_NET_BIND_SERVICE",
            io::ErrorKind::AddrNotAvailable => "this machine has no such address",
            _ => "change `bind`",
        };
        Fault {
            address,
            message: format!("{what} cannot be bound: {error}"),
            help: help.to_owned(),
        }
    }
}

impl From<Fault> for io::Error {
    fn from(fault: Fault) -> io::Error {
        io::Error::other(format!("{} ({})", fault.message, fault.help))
    }
}

/// Opens one socket for each of `workers` on an address; port 0 becomes the same free port for all of them.
///
/// `is_ours` says that this process listens there in another way, so that the address may not look free.
///
/// # Errors
/// What the system says: in use, not ours, not permitted.
pub(super) fn open_shared(
    address: SocketAddr,
    workers: usize,
    is_ours: bool,
) -> io::Result<Vec<TcpListener>> {
    if address.port() != 0 && !is_ours {
        expect_free(address)?;
    }
    let mut address = address;
    (0..workers)
        .map(|_| {
            let socket = open(address)?;
            address = socket.local_addr()?;
            Ok(socket)
        })
        .collect()
}

/// Opens another socket on the port of `first`, with a queue of its own.
///
/// # Errors
/// The port cannot be shared, or only by another user.
pub(super) fn open_sibling(first: &TcpListener) -> io::Result<TcpListener> {
    if !socket2::SockRef::from(first).reuse_port()? {
        return Err(io::ErrorKind::AddrInUse.into());
    }
    open(first.local_addr()?)
}

/// Opens a socket that shares its port with nobody.
///
/// # Errors
/// As [`open_shared`].
pub(super) fn open_alone(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = TcpListener::bind(address)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// Would a socket on `a` and one on `b` take connections to the same address?
pub(super) fn overlap(a: SocketAddr, b: SocketAddr) -> bool {
    let (one, other) = (a.ip().to_canonical(), b.ip().to_canonical());
    a.port() == b.port() && (one == other || one.is_unspecified() || other.is_unspecified())
}

fn open(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    if address.is_ipv6() {
        // `[::]` is dual stack, whatever the system's default.
        socket.set_only_v6(false)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// SO_REUSEPORT would share the port even with another gateway of the same user: a plain bind tells.
fn expect_free(address: SocketAddr) -> io::Result<()> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.bind(&address.into())
}

//! One address that was opened, or inherited: which worker accepts on which of its sockets.

use std::io;
use std::net::{SocketAddr, TcpListener};

use super::bind;
use super::inherit::Share;

/// The sockets of one address.
pub(super) struct Opened {
    /// As it is: the port is never 0.
    pub(super) local: SocketAddr,
    /// What each worker accepts on.
    pub(super) by_worker: Vec<Vec<TcpListener>>,
    /// Each socket once more, to be passed on to a process that follows this one.
    pub(super) kept: Vec<TcpListener>,
    /// Does somebody else hold them as well?
    pub(super) is_lent: bool,
}

impl Opened {
    /// Binds `asked` for so many `workers`; see [`bind::open_shared`].
    ///
    /// # Errors
    /// What the system says.
    pub(super) fn bind(asked: SocketAddr, workers: usize, is_ours: bool) -> io::Result<Opened> {
        let sockets = bind::open_shared(asked, workers, is_ours)?;
        Opened::deal(
            Share {
                local: sockets.first().map_or(Ok(asked), TcpListener::local_addr)?,
                sockets,
                is_lent: false,
            },
            workers,
        )
    }

    /// Deals what was opened to `workers`: every socket to one of them, for each has a queue of its own, and at least
    /// one to each. Where they are too few, workers share one, or get another with the same port if that can be shared.
    ///
    /// # Errors
    /// The system has no descriptors left.
    pub(super) fn deal(share: Share, workers: usize) -> io::Result<Opened> {
        let Share {
            mut sockets,
            local,
            is_lent,
        } = share;
        let given = sockets.len();
        let mut by_worker: Vec<Vec<TcpListener>> = (0..workers).map(|_| Vec::new()).collect();
        for (index, socket) in sockets.iter().enumerate() {
            by_worker[index % workers].push(socket.try_clone()?);
        }
        for worker in by_worker.iter_mut().skip(given) {
            match bind::open_sibling(&sockets[0]) {
                Ok(sibling) => {
                    worker.push(sibling.try_clone()?);
                    sockets.push(sibling);
                }
                // It belongs to another user, or was opened for one process alone.
                Err(_) => worker.push(sockets[0].try_clone()?),
            }
        }
        Ok(Opened {
            local,
            by_worker,
            kept: sockets,
            is_lent,
        })
    }
}

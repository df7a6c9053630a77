//! Which sockets one worker accepts on: opened, given to another listener and closed by order of the control thread.

use std::cell::Cell;
use std::collections::HashMap;
use std::net::TcpListener;
use std::rc::{Rc, Weak};
use std::sync::Arc;

use tokio::sync::{Notify, mpsc};

use super::listener::{self, Admission};
use super::thread::vital;
use crate::proxy::worker::Worker;

/// What the control thread wants of a worker's sockets. An address has the same number on all workers.
pub(super) enum Order {
    /// Accept on `socket`, for the listener with this number.
    Accept {
        address: u64,
        listener: usize,
        socket: TcpListener,
        is_lent: bool,
    },
    /// From now on the address belongs to another listener.
    Assign { address: u64, listener: usize },
    /// Take what is queued, then close.
    Close { address: u64 },
    /// Accept no more, on no address: another process does.
    Leave,
}

/// One socket, as the loop that accepts on it sees it.
pub(super) struct Entrance {
    /// The number of its listener.
    pub(super) listener: Cell<usize>,
    /// Told when it shall close.
    pub(super) close: Notify,
    /// Does another process hold the socket as well, and accept what is queued?
    pub(super) is_lent: Cell<bool>,
}

/// Heeds `orders` until nobody gives any; every loop holds `accepting` as long as it accepts.
pub(super) async fn heed(
    worker: Rc<Worker>,
    admission: Arc<Admission>,
    mut orders: mpsc::Receiver<Vec<Order>>,
    accepting: Weak<()>,
) {
    // A worker may have several sockets of an address. Bounded by the addresses of the file.
    let mut open: HashMap<u64, Vec<Rc<Entrance>>> = HashMap::new();
    while let Some(orders) = orders.recv().await {
        let mut somebody_leaves = false;
        for order in orders {
            match order {
                Order::Accept {
                    address,
                    listener,
                    socket,
                    is_lent,
                } => {
                    let Some(guard) = accepting.upgrade() else {
                        return;
                    };
                    let entrance = Rc::new(Entrance {
                        listener: Cell::new(listener),
                        close: Notify::new(),
                        is_lent: Cell::new(is_lent),
                    });
                    open.entry(address).or_default().push(entrance.clone());
                    let accept = listener::run(worker.clone(), admission.clone(), entrance, socket);
                    vital("accepting", async move {
                        accept.await;
                        drop(guard);
                    });
                }
                Order::Assign { address, listener } => {
                    somebody_leaves = true;
                    for entrance in open.get(&address).into_iter().flatten() {
                        entrance.listener.set(listener);
                    }
                }
                Order::Leave => {
                    for entrance in open.drain().flat_map(|(_, entrances)| entrances) {
                        entrance.is_lent.set(true);
                        entrance.close.notify_one();
                    }
                }
                Order::Close { address } => {
                    somebody_leaves = true;
                    for entrance in open.remove(&address).into_iter().flatten() {
                        entrance.close.notify_one();
                    }
                }
            }
        }
        if somebody_leaves {
            // Idle connections find out that their address is gone.
            worker.timers.wake_all();
        }
    }
}

//! What is bound: the one table of listening sockets, and how a new configuration changes it.
//!
//! New sockets are bound before anything else changes ([`Sockets::plan`]); once the new configuration is in force, they
//! are handed to the workers, and those that it does not name any more are closed ([`Sockets::commit`]). An address that
//! stays, be it with another listener, keeps its sockets: no connection to it is refused at any moment.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;

use tokio::sync::mpsc;

use super::accept::Order;
use super::bind::{self, Fault};
use super::inherit::{Inherited, Passed};
use super::opened::Opened;
use crate::config::{self, Config};
use crate::snapshot::Snapshot;

/// Reloads that a worker may lag behind before they wait for it.
const ORDERS: usize = 4;

/// What the operator's port accepts on from now on.
pub(super) enum AdminSocket {
    At(TcpListener),
    Off,
    /// Another process accepts on the same socket.
    Elsewhere,
}

/// What is bound now. Lives on the control thread.
pub(super) struct Sockets {
    workers: Vec<mpsc::Sender<Vec<Order>>>,
    admin_port: mpsc::Sender<AdminSocket>,
    bound: Vec<Bound>,
    admin: Option<BoundAdmin>,
    inherited: Inherited,
    /// The number of the next address.
    next: u64,
}

/// The other ends: where workers and the operator's port hear of sockets.
pub(super) struct Ends {
    /// One for each worker.
    pub(super) workers: Vec<mpsc::Receiver<Vec<Order>>>,
    pub(super) admin: mpsc::Receiver<AdminSocket>,
}

/// What a configuration needs: all of it is bound.
pub(super) struct Plan {
    /// What stays, perhaps with another listener.
    kept: Vec<Kept>,
    fresh: Vec<Fresh>,
    admin: AdminPlan,
}

/// An address that workers accept on.
struct Bound {
    number: u64,
    /// The name of its listener.
    listener: String,
    /// As the file has it.
    asked: SocketAddr,
    /// As it is.
    local: SocketAddr,
    /// Each of its sockets, to be passed on; dropped before a worker closes its own.
    kept: Vec<TcpListener>,
    is_lent: bool,
}

struct BoundAdmin {
    asked: SocketAddr,
    local: SocketAddr,
    has_token: bool,
    kept: TcpListener,
}

struct Kept {
    number: u64,
    listener: String,
    asked: SocketAddr,
}

struct Fresh {
    listener: String,
    asked: SocketAddr,
    opened: Opened,
}

enum AdminPlan {
    Stays,
    Opens(TcpListener, BoundAdmin),
    Closes,
}

impl Sockets {
    /// Nothing is bound yet, but what is `inherited`.
    pub(super) fn new(workers: usize, inherited: Inherited) -> (Sockets, Ends) {
        let (to_workers, at_workers) = (0..workers).map(|_| mpsc::channel(ORDERS)).unzip();
        let (to_admin, at_admin) = mpsc::channel(ORDERS);
        let sockets = Sockets {
            workers: to_workers,
            admin_port: to_admin,
            bound: Vec::new(),
            admin: None,
            inherited,
            next: 0,
        };
        let ends = Ends {
            workers: at_workers,
            admin: at_admin,
        };
        (sockets, ends)
    }

    /// Binds all that `config` needs and is not bound yet. Nothing changes before [`Sockets::commit`].
    ///
    /// # Errors
    /// Every address that cannot be bound.
    pub(super) fn plan(&mut self, config: &Config) -> Result<Plan, Vec<Fault>> {
        let mut faults = Vec::new();
        let (kept, missing) = self.keep(config);
        let mut fresh: Vec<Fresh> = Vec::new();
        for (listener, asked) in missing {
            let others = fresh.iter().map(|fresh| fresh.opened.local);
            let is_ours = self
                .addresses()
                .chain(others)
                .any(|a| bind::overlap(a, asked));
            match self.open(listener, asked, is_ours) {
                Ok(opened) => fresh.push(Fresh {
                    listener: listener.to_owned(),
                    asked,
                    opened,
                }),
                Err(fault) => faults.push(fault),
            }
        }
        match self.plan_admin(config.admin.as_ref()) {
            Ok(admin) if faults.is_empty() => Ok(Plan { kept, fresh, admin }),
            Ok(_) => Err(faults),
            Err(fault) => {
                faults.push(fault);
                Err(faults)
            }
        }
    }

    /// Hands the sockets of `plan` to the workers and closes those that it does not keep; `snapshot` is in force.
    pub(super) async fn commit(&mut self, plan: Plan, snapshot: &Snapshot) {
        let (orders, admin) = self.change(plan, snapshot);
        for (worker, orders) in self.workers.iter().zip(orders) {
            if !orders.is_empty() {
                // It fails when the process ends.
                let _ = worker.send(orders).await;
            }
        }
        if let Some(admin) = admin {
            let _ = self.admin_port.send(admin).await;
        }
    }

    /// As [`Sockets::commit`], for the first plan: no worker runs yet, and their queues are empty.
    pub(super) fn commit_first(&mut self, plan: Plan, snapshot: &Snapshot) {
        let (orders, admin) = self.change(plan, snapshot);
        for (worker, orders) in self.workers.iter().zip(orders) {
            let _ = worker.try_send(orders);
        }
        let _ = self.admin_port.try_send(admin.unwrap_or(AdminSocket::Off));
        self.inherited.close_rest();
    }

    /// Every socket once more, for the process that takes over.
    ///
    /// # Errors
    /// The system has no descriptors left.
    pub(super) fn lend(&self) -> io::Result<Vec<(Passed<'_>, OwnedFd)>> {
        let of_listeners = self.bound.iter().flat_map(|bound| {
            let sockets = bound.kept.iter();
            sockets.map(|socket| (Passed::Listener(&bound.listener, bound.is_lent), socket))
        });
        let of_admin = self.admin.iter().map(|admin| (Passed::Admin, &admin.kept));
        of_listeners
            .chain(of_admin)
            .map(|(what, socket)| Ok((what, socket.try_clone()?.into())))
            .collect()
    }

    /// Accepts no more: another process does, on the same sockets.
    pub(super) async fn leave(self) {
        for worker in &self.workers {
            let _ = worker.send(vec![Order::Leave]).await;
        }
        let _ = self.admin_port.send(AdminSocket::Elsewhere).await;
    }

    /// All that is bound.
    fn addresses(&self) -> impl Iterator<Item = SocketAddr> {
        let admin = self.admin.iter().map(|admin| admin.local);
        self.bound.iter().map(|bound| bound.local).chain(admin)
    }

    /// What `config` can go on with, and what it misses: first what has the same listener, then what has another.
    fn keep<'c>(&self, config: &'c Config) -> (Vec<Kept>, Vec<(&'c str, SocketAddr)>) {
        let mut free: Vec<&Bound> = self.bound.iter().collect();
        let mut kept = Vec::new();
        let mut missing: Vec<(&str, SocketAddr)> = config
            .listeners
            .iter()
            .flat_map(|l| l.bind.iter().map(|bind| (l.name.as_str(), *bind)))
            .collect();
        for fits in [is_same, is_moved] {
            missing.retain(|(name, asked)| {
                let place = free.iter().position(|bound| fits(bound, name, *asked));
                let Some(place) = place else {
                    return true;
                };
                kept.push(Kept {
                    number: free.swap_remove(place).number,
                    listener: (*name).to_owned(),
                    asked: *asked,
                });
                false
            });
        }
        (kept, missing)
    }

    fn open(&mut self, listener: &str, asked: SocketAddr, is_ours: bool) -> Result<Opened, Fault> {
        let workers = self.workers.len();
        let opened = match self.inherited.claim(listener, asked) {
            Some(share) => Opened::deal(share, workers),
            None => Opened::bind(asked, workers, is_ours),
        };
        let what = || format!("{asked} of listener {listener}");
        opened.map_err(|error| Fault::new(&error, &what(), asked, is_ours))
    }

    fn plan_admin(&mut self, wanted: Option<&config::Admin>) -> Result<AdminPlan, Fault> {
        let Some(wanted) = wanted else {
            return Ok(AdminPlan::Closes);
        };
        let asked = wanted.bind;
        if let Some(admin) = &self.admin
            && (admin.asked == asked || admin.local == asked)
        {
            return Ok(AdminPlan::Stays);
        }
        let socket = match self.inherited.claim_admin(asked) {
            Some(socket) => Ok(socket),
            None => bind::open_alone(asked),
        };
        let opened = socket.and_then(|socket| {
            let bound = BoundAdmin {
                asked,
                local: socket.local_addr()?,
                has_token: wanted.token.is_some(),
                kept: socket.try_clone()?,
            };
            Ok(AdminPlan::Opens(socket, bound))
        });
        opened.map_err(|error| {
            let is_ours = self.addresses().any(|a| bind::overlap(a, asked));
            let mut fault = Fault::new(&error, &format!("admin.bind {asked}"), asked, is_ours);
            fault.help.push_str("; or `admin: off`");
            fault
        })
    }

    /// Changes the table; what each worker has to do, and what the operator's port has to know.
    fn change(
        &mut self,
        plan: Plan,
        snapshot: &Snapshot,
    ) -> (Vec<Vec<Order>>, Option<AdminSocket>) {
        let mut orders: Vec<Vec<Order>> = self.workers.iter().map(|_| Vec::new()).collect();
        let mut to_all = |order: &dyn Fn() -> Order| {
            orders.iter_mut().for_each(|orders| orders.push(order()));
        };
        let before = std::mem::take(&mut self.bound);
        for bound in before {
            let address = bound.number;
            let Some(kept) = plan.kept.iter().find(|kept| kept.number == address) else {
                tracing::info!(listener = bound.listener, address = %bound.local, "listens no more");
                to_all(&|| Order::Close { address });
                continue;
            };
            if kept.listener != bound.listener {
                tracing::info!(listener = kept.listener, address = %bound.local, "listens for another");
                let listener = number_of(&kept.listener, snapshot);
                to_all(&|| Order::Assign { address, listener });
            }
            self.bound.push(Bound {
                listener: kept.listener.clone(),
                asked: kept.asked,
                ..bound
            });
        }
        for fresh in plan.fresh {
            let (address, listener) = (self.next, number_of(&fresh.listener, snapshot));
            self.next += 1;
            let Opened {
                local,
                by_worker,
                kept,
                is_lent,
            } = fresh.opened;
            tracing::info!(listener = fresh.listener, address = %local, "listening");
            for (orders, sockets) in orders.iter_mut().zip(by_worker) {
                orders.extend(sockets.into_iter().map(|socket| Order::Accept {
                    address,
                    listener,
                    socket,
                    is_lent,
                }));
            }
            self.bound.push(Bound {
                number: address,
                listener: fresh.listener,
                asked: fresh.asked,
                local,
                kept,
                is_lent,
            });
        }
        (orders, self.change_admin(plan.admin))
    }

    fn change_admin(&mut self, plan: AdminPlan) -> Option<AdminSocket> {
        match plan {
            AdminPlan::Stays => None,
            AdminPlan::Opens(socket, bound) => {
                tracing::info!(address = %bound.local, "admin listening");
                if !bound.has_token && !bound.local.ip().to_canonical().is_loopback() {
                    tracing::warn!(
                        "admin.bind is no loopback address and admin.token is not set: only /healthz, /readyz and /metrics are served"
                    );
                }
                self.admin = Some(bound);
                Some(AdminSocket::At(socket))
            }
            AdminPlan::Closes => {
                let before = self.admin.take()?;
                tracing::info!(address = %before.local, "admin listens no more");
                Some(AdminSocket::Off)
            }
        }
    }
}

/// Goes on as it is.
fn is_same(bound: &Bound, listener: &str, asked: SocketAddr) -> bool {
    bound.listener == listener && (bound.asked == asked || bound.local == asked)
}

/// Passes from one listener to another.
fn is_moved(bound: &Bound, _: &str, asked: SocketAddr) -> bool {
    bound.local == asked
}

/// The listener's place in `snapshot`, which names it.
fn number_of(listener: &str, snapshot: &Snapshot) -> usize {
    let is_it = |l: &std::sync::Arc<crate::snapshot::Listener>| !l.is_gone && l.name == listener;
    snapshot
        .listeners
        .iter()
        .position(is_it)
        .unwrap_or_default()
}

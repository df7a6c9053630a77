//! The resolver: keeps the addresses of host names up to date, beside all traffic.
//!
//! It has a thread of its own, so that neither a reload that compiles ten thousand routes holds it up nor a file of
//! `/etc` on a mount that hangs holds up a reload. No request ever waits for it: what it publishes is compiled into the
//! next snapshot. `ask` puts the questions, `book` decides what the answers change, `room` is the thread.

mod ask;
mod book;
mod news;
mod room;
mod system;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;

use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::{mpsc, oneshot, watch};

use crate::config::Dns;
use crate::upstream::names::{Addresses, Complaints};
pub use book::Standing;
use room::{Ends, run};
use system::Files;

/// Orders that may wait.
const ORDERS: usize = 4;

/// The resolver, as the control thread holds it. Its thread begins with the first name, and ends when this value goes.
pub struct Resolver {
    orders: mpsc::Sender<Order>,
    addresses: watch::Receiver<Addresses>,
    standings: watch::Receiver<Standings>,
    complaints: Complaints,
    /// What the thread will begin with.
    asleep: Option<Box<(Files, Ends)>>,
}

/// How each name that is followed stands.
pub type Standings = BTreeMap<Arc<str>, Standing>;

/// From now on these names are followed.
struct Order {
    policy: Dns,
    names: BTreeSet<Arc<str>>,
    /// Hears the addresses when every name has been asked for once, or the time is up.
    first: oneshot::Sender<Addresses>,
}

impl Default for Resolver {
    fn default() -> Resolver {
        Resolver::new()
    }
}

impl Resolver {
    /// One that follows no name yet.
    #[must_use]
    pub fn new() -> Resolver {
        Resolver::on(Files::default())
    }

    fn on(files: Files) -> Resolver {
        let (orders, ordered) = mpsc::channel(ORDERS);
        let (addresses_in, addresses) = watch::channel(Addresses::default());
        let (standings_in, standings) = watch::channel(Standings::new());
        let (complaints, complained) = Complaints::new();
        let ends = Ends {
            ordered,
            complained,
            addresses: addresses_in,
            standings: standings_in,
        };
        Resolver {
            orders,
            addresses,
            standings,
            complaints,
            asleep: Some(Box::new((files, ends))),
        }
    }

    /// Follows `names`, on a thread that has no runtime yet: see [`Resolver::follow`].
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn begin(&mut self, policy: &Dns, names: BTreeSet<Arc<str>>) -> io::Result<Addresses> {
        if !self.wake(&names)? {
            return Ok(Addresses::default());
        }
        let (order, heard) = Order::new(policy, names);
        // The thread outlives this value.
        let _ = self.orders.blocking_send(order);
        Ok(heard.blocking_recv().unwrap_or_default())
    }

    /// From now on `names` are followed, and no others; those that are gone are forgotten after 10 minutes. Waits until
    /// each new one has been asked for once, but no longer than `policy.timeout`, and returns what is known then.
    pub async fn follow(&mut self, policy: &Dns, names: BTreeSet<Arc<str>>) -> Addresses {
        match self.wake(&names) {
            Ok(true) => {}
            Ok(false) => return Addresses::default(),
            Err(error) => {
                tracing::error!(%error, "names are not resolved until a restart: there is no thread for it");
                return Addresses::default();
            }
        }
        let (order, heard) = Order::new(policy, names);
        let _ = self.orders.send(order).await;
        heard.await.unwrap_or_default()
    }

    /// The same for names that are all followed already: nothing is waited for.
    pub fn keep_only(&self, policy: &Dns, names: BTreeSet<Arc<str>>) {
        // Without room for it some names are followed until the next reload, for nobody.
        drop(self.orders.try_send(Order::new(policy, names).0));
    }

    /// What is known of all names, as it changes.
    #[must_use]
    pub fn addresses(&self) -> watch::Receiver<Addresses> {
        self.addresses.clone()
    }

    /// How each name stands, as it changes.
    #[must_use]
    pub fn standings(&self) -> watch::Receiver<Standings> {
        self.standings.clone()
    }

    /// Where workers tell that an address was not reached.
    #[must_use]
    pub fn complaints(&self) -> Complaints {
        self.complaints.clone()
    }

    /// Begins the thread if there is something to do for it. False while there is none.
    fn wake(&mut self, names: &BTreeSet<Arc<str>>) -> io::Result<bool> {
        if names.is_empty() && self.asleep.is_some() {
            return Ok(false);
        }
        let Some(asleep) = self.asleep.take() else {
            return Ok(true);
        };
        let (files, ends) = *asleep;
        std::thread::Builder::new()
            .name("resolver".into())
            .spawn(move || {
                let runtime = Builder::new_current_thread()
                    .enable_all()
                    .build_local(LocalOptions::default());
                match runtime {
                    Ok(runtime) => runtime.block_on(run(files, ends)),
                    Err(error) => super::die(&format!("the resolver has no runtime: {error}")),
                }
            })?;
        Ok(true)
    }
}

impl Order {
    fn new(policy: &Dns, names: BTreeSet<Arc<str>>) -> (Order, oneshot::Receiver<Addresses>) {
        let (first, heard) = oneshot::channel();
        let order = Order {
            policy: policy.clone(),
            names,
            first,
        };
        (order, heard)
    }
}

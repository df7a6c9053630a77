//! The resolver: keeps the addresses of host names up to date, beside all traffic.
//!
//! It has a thread of its own, so that neither a reload that compiles ten thousand routes holds it up nor a file of
//! `/etc` on a mount that hangs holds up a reload. No request ever waits for it: what it publishes is compiled into the
//! next snapshot. `ask` puts the questions, `book` decides what the answers change, `system` reads the machine's files.

mod ask;
mod book;
mod system;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::spawn_local;

use crate::config::Dns;
use crate::proxy;
use crate::time::{self, Nanos};
use crate::upstream::names::{Addresses, Complaints};
use ask::Servers;
pub use book::Standing;
use book::{Book, Family, Found, Lifetimes, MOST_ADDRESSES, News};
use system::{Files, System};

/// Names that are looked up at once; each is two questions.
const MOST_AT_ONCE: usize = 32;
/// Orders that may wait.
const ORDERS: usize = 4;
/// How often `/etc/hosts` and `/etc/resolv.conf` are looked at.
const LOOK: Duration = Duration::from_secs(1);
/// Changes that come so soon after each other are published together.
const GATHER: Duration = Duration::from_millis(20);
/// Beyond the deadline of the questions, for what comes of the last answers.
const GRACE: Duration = Duration::from_millis(100);
/// Lines of the control log about names, in each [`LINES_PER`].
const MOST_LINES: u32 = 50;
const LINES_PER: Duration = Duration::from_secs(10);

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

/// The whole life of the thread. Should it panic, names would stay as they are for ever: the process ends instead.
async fn run(files: Files, ends: Ends) {
    if proxy::caught(Room::new(files).run(ends)).await.is_err() {
        super::die("the resolver panicked");
    }
}

/// The thread's ends of all channels.
struct Ends {
    ordered: mpsc::Receiver<Order>,
    complained: mpsc::Receiver<Arc<str>>,
    addresses: watch::Sender<Addresses>,
    standings: watch::Sender<Standings>,
}

/// Somebody who waits for the first answers.
struct Waiting {
    names: BTreeSet<Arc<str>>,
    until: Nanos,
    first: oneshot::Sender<Addresses>,
}

type Heard = (Arc<str>, Found);

/// What the thread works with.
struct Room {
    book: Book,
    system: System,
    policy: Dns,
    servers: Rc<Servers>,
    waiting: Vec<Waiting>,
    /// Names that are looked up.
    open: usize,
    published: Addresses,
    publish_at: Option<Nanos>,
    lines: Lines,
}

impl Room {
    fn new(files: Files) -> Room {
        let policy = Dns {
            servers: Vec::new(),
            min_ttl: Duration::ZERO,
            max_ttl: Duration::ZERO,
            timeout: Duration::ZERO,
        };
        let seed = RandomState::new().hash_one(0);
        Room {
            book: Book::new(lifetimes(&policy), seed),
            servers: Rc::new(Servers::new(&[], policy.timeout)),
            system: System::read(files),
            policy,
            waiting: Vec::new(),
            open: 0,
            published: Addresses::default(),
            publish_at: None,
            lines: Lines::default(),
        }
    }

    /// Looks names up until the other end is gone.
    async fn run(mut self, mut ends: Ends) {
        let (tell, mut heard) = mpsc::channel::<Heard>(MOST_AT_ONCE);
        let mut look = tokio::time::interval(LOOK);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            self.begin(&tell);
            let wake = self.wake().map(|at| at.since(time::now()));
            tokio::select! {
                order = ends.ordered.recv() => match order {
                    Some(order) => {
                        self.follow(order);
                        ends.standings.send_replace(self.book.standings());
                    }
                    None => return,
                },
                Some((name, found)) = heard.recv() => {
                    self.hear(&name, found);
                    let standing = self.book.standing(&name);
                    ends.standings.send_modify(|all| {
                        all.insert(name, standing);
                    });
                }
                Some(name) = ends.complained.recv() => self.book.complain(&name, time::now()),
                _ = look.tick(), if !self.book.is_empty() => self.look(),
                () = tokio::time::sleep(wake.unwrap_or_default()), if wake.is_some() => {}
            }
            self.publish(&ends.addresses);
        }
    }

    /// Begins the look-ups that are due, as far as there is room for them.
    fn begin(&mut self, tell: &mpsc::Sender<Heard>) {
        let now = time::now();
        while self.open < MOST_AT_ONCE {
            let Some(name) = self.book.begin(now) else {
                return;
            };
            self.open += 1;
            let tell = tell.clone();
            if let Some(addresses) = self.system.hosts(&name) {
                let found = ask::from_hosts(addresses, self.policy.max_ttl);
                // Told by a task, for the channel may be full.
                spawn_local(async move { drop(tell.send((name, found)).await) });
                continue;
            }
            let (servers, spellings) = (self.servers.clone(), self.system.spellings(&name));
            spawn_local(async move {
                let part = async |found| drop(tell.send((name.clone(), found)).await);
                let found = proxy::caught(servers.look_up(&spellings, part)).await;
                let found = found.unwrap_or_else(|_| ask::failed("the look-up panicked"));
                drop(tell.send((name, found)).await);
            });
        }
    }

    /// The next moment at which something is to be done without being told.
    fn wake(&self) -> Option<Nanos> {
        let next_due = self.book.next_due().filter(|_| self.open < MOST_AT_ONCE);
        let patience = self.waiting.iter().map(|waiting| waiting.until);
        patience.chain(next_due).chain(self.publish_at).min()
    }

    fn follow(&mut self, order: Order) {
        let now = time::now();
        if order.policy != self.policy {
            self.policy = order.policy;
            self.choose_servers();
        }
        self.system.refresh();
        let lifetimes = lifetimes(&self.policy);
        self.book.follow(lifetimes, &order.names, now);
        self.waiting.push(Waiting {
            names: order.names,
            until: now.plus(self.policy.timeout + GRACE),
            first: order.first,
        });
    }

    fn choose_servers(&mut self) {
        let servers = if self.policy.servers.is_empty() {
            &self.system.servers
        } else {
            &self.policy.servers
        };
        // Questions under way keep the servers that they were put to.
        self.servers = Rc::new(Servers::new(servers, self.policy.timeout));
    }

    /// Reads the machine's files again if they have changed.
    fn look(&mut self) {
        if self.system.refresh() {
            tracing::info!("/etc/hosts or /etc/resolv.conf has changed: names are resolved again");
            self.choose_servers();
            self.book.doubt_all(time::now());
        }
    }

    fn hear(&mut self, name: &Arc<str>, found: Found) {
        if found.v4 != Family::Late && found.v6 != Family::Late {
            self.open -= 1;
        }
        tracing::debug!(%name, ?found, "resolved");
        let now = time::now();
        for news in self.book.hear(name, found, now, time::wall_nanos()) {
            self.lines.tell(name, &news, now);
        }
    }

    /// Hands out what has changed, and answers those who have waited for it.
    fn publish(&mut self, addresses: &watch::Sender<Addresses>) {
        let now = time::now();
        let (ready, waiting): (Vec<Waiting>, Vec<Waiting>) = std::mem::take(&mut self.waiting)
            .into_iter()
            .partition(|waiting| {
                now >= waiting.until || !waiting.names.iter().any(|name| self.book.is_awaited(name))
            });
        self.waiting = waiting;
        if self.book.is_changed() && self.publish_at.is_none() {
            self.publish_at = Some(now.plus(GATHER));
        }
        let is_time = self.publish_at.is_some_and(|at| now >= at) || !ready.is_empty();
        if is_time {
            self.publish_at = None;
            if let Some(next) = self.book.publish() {
                self.published = next.clone();
                addresses.send_replace(next);
            }
        }
        for waiting in ready {
            // Who does not wait any more has left.
            let _ = waiting.first.send(self.published.clone());
        }
    }
}

fn lifetimes(policy: &Dns) -> Lifetimes {
    Lifetimes {
        min_ttl: policy.min_ttl,
        max_ttl: policy.max_ttl,
    }
}

/// Tells news of names in the control log, a bounded number of lines.
#[derive(Default)]
struct Lines {
    since: Nanos,
    told: u32,
}

impl Lines {
    fn tell(&mut self, name: &str, news: &News, now: Nanos) {
        if now.since(self.since) >= LINES_PER {
            *self = Lines {
                since: now,
                told: 0,
            };
        }
        self.told = self.told.saturating_add(1);
        if self.told == MOST_LINES {
            tracing::warn!("more names have news; GET /upstreams of the admin port lists them all");
        }
        if self.told < MOST_LINES {
            tell(name, news);
        }
    }
}

fn tell(name: &str, news: &News) {
    match news {
        News::Failing(held, error) => tracing::warn!(
            name,
            error,
            help = "see that the DNS servers (`dns.servers`, else /etc/resolv.conf) can be reached and answer",
            "{} does not resolve: DNS fails; {}",
            name,
            meanwhile(*held)
        ),
        News::Nothing(held, error) => tracing::warn!(
            name,
            error,
            help = "correct the name under `endpoints`, or add it to DNS or /etc/hosts",
            "{} does not resolve: it has no address; {}",
            name,
            meanwhile(*held)
        ),
        News::Mended(addresses) => {
            tracing::info!(name, addresses, "{} resolves again", name);
        }
        News::Cut => tracing::warn!(
            name,
            "{} has more than {MOST_ADDRESSES} addresses: only the first {MOST_ADDRESSES} are used",
            name
        ),
    }
}

fn meanwhile(held: usize) -> String {
    match held {
        0 => "it gives no endpoint until it does".into(),
        1 => "its last address stays in use".into(),
        _ => format!("its last {held} addresses stay in use"),
    }
}

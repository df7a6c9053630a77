//! The resolver's thread: begins look-ups as they fall due, hears their ends, publishes what has changed.

use std::collections::BTreeSet;
use std::hash::{BuildHasher, RandomState};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::spawn_local;

use super::ask::{self, Servers};
use super::book::{Book, Family, Found, Lifetimes};
use super::news::Lines;
use super::system::{Files, System};
use super::{Order, Standings};
use crate::config::Dns;
use crate::proxy;
use crate::time::{self, Nanos};
use crate::upstream::names::Addresses;

/// Names that are looked up at once; each is two questions.
const MOST_AT_ONCE: usize = 32;
/// How often `/etc/hosts` and `/etc/resolv.conf` are looked at.
const LOOK: Duration = Duration::from_secs(1);
/// Changes that come so soon after each other are published together.
const GATHER: Duration = Duration::from_millis(100);
/// Beyond the deadline of the questions, for what comes of the last answers.
const GRACE: Duration = Duration::from_millis(100);

/// The whole life of the thread. Should it panic, names would stay as they are for ever: the process ends instead.
pub(super) async fn run(files: Files, ends: Ends) {
    if proxy::caught(Room::new(files).run(ends)).await.is_err() {
        super::super::die("the resolver panicked");
    }
}

/// The thread's ends of all channels.
pub(super) struct Ends {
    pub(super) ordered: mpsc::Receiver<Order>,
    pub(super) complained: mpsc::Receiver<Arc<str>>,
    pub(super) addresses: watch::Sender<Addresses>,
    pub(super) standings: watch::Sender<Standings>,
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
                        // Of a name that is gone nobody wants to know.
                        if let Some(own) = all.get_mut(&name) {
                            *own = standing;
                        }
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
        let refreshed = self.system.refresh();
        if refreshed || order.policy != self.policy {
            self.policy = order.policy;
            self.choose_servers();
            self.book.doubt_all(now);
        }
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
        let is_ready = |waiting: &mut Waiting| {
            // Each name is left behind once, however many there are.
            while waiting
                .names
                .first()
                .is_some_and(|name| !self.book.is_awaited(name))
            {
                waiting.names.pop_first();
            }
            now >= waiting.until || waiting.names.is_empty()
        };
        let ready: Vec<Waiting> = self.waiting.extract_if(.., is_ready).collect();
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

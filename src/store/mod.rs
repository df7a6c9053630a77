//! Stores: buckets that several gateways share, kept in Redis or Valkey.
//!
//! Each store has a thread of its own with one connection, so that no worker touches a socket: a question goes into a
//! bounded queue, all that wait there leave in one write, and the answers come back by oneshot. What decides is one
//! script on the server (`bucket.lua`), on the server's clock. A store that fails is away: it is asked by nobody until
//! it has proved itself again, and meanwhile `on_store_failure` of each limit holds.
//!
//! `exact` asks for each request ([`Store::ask`]); `leased` takes tokens ahead of need ([`lease::Leases`]).

mod bucket;
mod cause;
mod dial;
pub mod lease;
mod news;
mod question;
mod room;
mod shared;
mod terms;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};

pub use bucket::{Bucket, Names, digest};
pub use cause::Cause;
use lease::Landing;
use question::Question;
pub use question::{Asking, Level, MOST_EXTRA, Wish};
use shared::Shared;
pub use shared::{Presence, Standing};
pub use terms::Terms;

use crate::time;

/// Questions that may wait for the thread.
const MOST_WAITING: usize = 4096;

/// Where a store is, and who the gateway is to it.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Address {
    /// Speaks TLS (`rediss://`), with the authorities of the system.
    pub is_secure: bool,
    /// A name or an address, without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
    /// The number of the database.
    pub database: u32,
    /// The user of the server's ACL.
    pub user: Option<String>,
    /// The password: never shown.
    pub password: Option<String>,
}

impl fmt::Display for Address {
    /// Without user and password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_secure { "rediss" } else { "redis" };
        let (open, close) = if self.host.contains(':') {
            ("[", "]")
        } else {
            ("", "")
        };
        let (host, port, database) = (&self.host, self.port, self.database);
        write!(f, "{scheme}://{open}{host}{close}:{port}/{database}")
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// A store as a snapshot sees it: the policy beside the state.
#[derive(Clone)]
pub struct Store {
    link: Arc<Link>,
    timeout: Duration,
}

/// The state of a store: its thread, its connection, what it counts. A reload takes it over.
pub struct Link {
    shared: Arc<Shared>,
    questions: mpsc::Sender<Question>,
    /// What the thread begins with, until it does.
    asleep: Mutex<Option<mpsc::Receiver<Question>>>,
}

impl Link {
    /// A store of this name, which is not spoken to before [`Link::begin`].
    #[must_use]
    pub fn new(name: &str, address: Address) -> Link {
        let (questions, asked) = mpsc::channel(MOST_WAITING);
        Link {
            shared: Arc::new(Shared::new(name, address)),
            questions,
            asleep: Mutex::new(Some(asked)),
        }
    }

    /// Begins the thread, if it has not begun, and lets it connect. It ends when this value goes.
    pub fn begin(&self) {
        self.shared.want(true);
        let Some(asked) = self.asleep.lock().take() else {
            return;
        };
        let shared = self.shared.clone();
        let begun = std::thread::Builder::new()
            .name("store".into())
            .spawn(move || room::live(&shared, asked));
        if let Err(error) = begun {
            tracing::error!(store = &*self.shared.name, %error, "this store is away until a restart: there is no thread for it");
            self.shared.leave(Cause::Connect, time::now());
        }
    }

    /// The file names it no more: the connection is closed, until [`Link::begin`]. What was counted stays.
    pub fn rest(&self) {
        self.shared.want(false);
    }

    /// The name in the file.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// Where it is.
    #[must_use]
    pub fn address(&self) -> &Address {
        &self.shared.address
    }

    /// How it stands.
    #[must_use]
    pub fn standing(&self) -> Standing {
        self.shared.standing()
    }

    /// Questions that came to nothing for this cause, and connections that were not made.
    #[must_use]
    pub fn errors(&self, cause: Cause) -> u64 {
        self.shared.errors(cause)
    }

    fn ask(&self, bucket: Bucket, terms: Terms, wish: Wish, landing: Option<Landing>) -> Asking {
        let (asker, heard) = oneshot::channel();
        self.send(bucket, terms, wish, Some(asker), landing);
        Asking(heard)
    }

    fn tell(&self, bucket: Bucket, terms: Terms, wish: Wish, landing: Option<Landing>) {
        self.send(bucket, terms, wish, None, landing);
    }

    fn send(
        &self,
        bucket: Bucket,
        terms: Terms,
        wish: Wish,
        asker: Option<oneshot::Sender<Result<Level, Cause>>>,
        landing: Option<Landing>,
    ) {
        let question = Question {
            shared: self.shared.clone(),
            bucket,
            terms,
            wish,
            asker,
            landing,
            is_answered: false,
        };
        match self.questions.try_send(question) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Full(question)) => question.answer(Err(Cause::Queue)),
            Err(mpsc::error::TrySendError::Closed(question)) => question.answer(Err(Cause::Closed)),
        }
    }
}

impl Store {
    /// The store behind `link`, whose answers are waited for no longer than `timeout`.
    #[must_use]
    pub fn new(link: Arc<Link>, timeout: Duration) -> Store {
        link.shared.set_timeout(timeout);
        Store { link, timeout }
    }

    /// Its state.
    #[must_use]
    pub fn link(&self) -> &Arc<Link> {
        &self.link
    }

    /// How long one waits for an answer.
    #[must_use]
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Why it is not to be asked now. One load.
    #[must_use]
    pub fn away(&self) -> Option<Cause> {
        let standing = self.link.standing();
        (standing.presence == Presence::Away).then_some(standing.cause.unwrap_or(Cause::Closed))
    }

    /// Asks what is to be done with a bucket. Who gives the answer up says so by [`Store::missed`].
    ///
    /// # Errors
    /// The store is away.
    pub fn ask(&self, bucket: Bucket, terms: Terms, wish: Wish) -> Result<Asking, Cause> {
        match self.away() {
            Some(cause) => Err(cause),
            None => Ok(self.link.ask(bucket, terms, wish, None)),
        }
    }

    /// Says what is to be done with a bucket, and waits for nothing. Nothing is done while the store is away.
    pub fn tell(&self, bucket: Bucket, terms: Terms, wish: Wish) {
        if self.away().is_none() {
            self.link.tell(bucket, terms, wish, None);
        }
    }

    /// No answer came within `timeout`: counted, and the store is away until it has proved itself again.
    pub fn missed(&self) {
        self.link.shared.count(Cause::Timeout);
        self.link.shared.leave(Cause::Timeout, time::now());
        self.link.shared.doubt.notify_one();
    }

    /// Asks, and waits as long as the store's `timeout` says.
    ///
    /// # Errors
    /// The store is away, fails, or does not answer in time.
    pub async fn check(&self, bucket: Bucket, terms: Terms, wish: Wish) -> Result<Level, Cause> {
        self.wait(self.ask(bucket, terms, wish)?).await
    }

    /// Waits for an answer as long as the store's `timeout` says.
    ///
    /// # Errors
    /// The store fails, or does not answer in time.
    pub async fn wait(&self, asking: Asking) -> Result<Level, Cause> {
        match tokio::time::timeout(self.timeout, asking).await {
            Ok(answer) => answer,
            Err(_) => {
                self.missed();
                Err(Cause::Timeout)
            }
        }
    }
}

//! Taking up a changed file: load, compare, compile, publish; or keep what is in force and say why.
//!
//! Whatever asks for it (a change of a file, SIGHUP, `POST /reload`) goes the same way, one reading at a time. Files
//! are read and parsed on a thread of their own: a mount that hangs must not hold up probes, metrics and the drain.

mod changes;
mod restart;
mod tell;

use std::cell::RefCell;
use std::io;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;

use tokio::signal::unix::Signal;
use tokio::sync::{mpsc, oneshot};

use super::addresses;
use super::bind::Fault;
use super::publish::Publisher;
use super::resolve::Resolver;
use super::sockets::Sockets;
use super::source::{Cause, Source};
use super::upgrade::Relaunch;
use crate::config::{BindPlaces, Config, FilesInForce, Loaded, LogPath, Problem};
use crate::metrics::{GatewayStats, ReloadResult};
use crate::snapshot::compile::{Ground, compile};
use crate::telemetry::access_log::Writer;
use crate::telemetry::control_log::LevelHandle;
use crate::time;
pub use changes::Changes;
use tell::tell;

/// Orders that may wait; who comes later waits before he can order.
const ORDERS: usize = 16;

/// A configuration and its number.
pub struct InForce {
    /// Counts successful loads, from 1.
    pub generation: u64,
    /// What the file says.
    pub config: Config,
}

/// Where everybody on the control thread finds what is in force.
#[derive(Clone)]
pub struct Standing(Rc<RefCell<Rc<InForce>>>);

impl Standing {
    /// Begins with the first generation.
    #[must_use]
    pub fn new(config: Config) -> Standing {
        let first = InForce {
            generation: 1,
            config,
        };
        Standing(Rc::new(RefCell::new(Rc::new(first))))
    }

    /// What is in force now.
    #[must_use]
    pub fn load(&self) -> Rc<InForce> {
        self.0.borrow().clone()
    }

    fn store(&self, generation: u64, config: Config) {
        *self.0.borrow_mut() = Rc::new(InForce { generation, config });
    }
}

/// How a reload ended.
#[derive(Debug)]
pub struct Report {
    /// What is in force now.
    pub generation: u64,
    /// What came of it.
    pub outcome: Outcome,
    /// What is doubtful in a file that was taken up.
    pub warnings: Vec<Problem>,
    /// What was not taken up with it: files of TLS that are broken; what they held before stays in force.
    pub outdated: Vec<Problem>,
}

/// What came of a reload.
#[derive(Debug, PartialEq)]
pub enum Outcome {
    /// A new generation is in force.
    Applied(Changes),
    /// The files mean what they meant before.
    Unchanged,
    /// All that is wrong; the old generation stays.
    Rejected(Vec<Problem>),
}

impl Outcome {
    /// What it is once it is known which files are broken, so that what they held before stays: where nothing else is
    /// new, a refusal of these.
    fn with(self, outdated: Vec<Problem>) -> (Outcome, Vec<Problem>) {
        match self {
            Outcome::Applied(_) => (self, outdated),
            Outcome::Unchanged if outdated.is_empty() => (self, outdated),
            Outcome::Unchanged => (Outcome::Rejected(outdated), Vec::new()),
            Outcome::Rejected(mut problems) => {
                problems.extend(outdated);
                (Outcome::Rejected(problems), Vec::new())
            }
        }
    }

    /// The same as a word for metrics and answers.
    #[must_use]
    pub fn result(&self) -> ReloadResult {
        match self {
            Outcome::Applied(_) => ReloadResult::Applied,
            Outcome::Unchanged => ReloadResult::Unchanged,
            Outcome::Rejected(_) => ReloadResult::Rejected,
        }
    }
}

/// What somebody who ordered a reload hears.
pub enum Answer {
    /// It was done.
    Done(Rc<Report>),
    /// It was not: another generation is in force than the ones that were expected.
    Elsewhere(u64),
}

/// A reload that somebody waits for.
struct Order {
    /// Only while one of these generations is in force; `None` = in any case.
    expected: Option<Vec<u64>>,
    answer: oneshot::Sender<Answer>,
}

/// Where reloads are ordered.
#[derive(Clone)]
pub struct Desk(mpsc::Sender<Order>);

impl Desk {
    /// Orders a reload and waits for its end; `expected` are the generations on which it shall build. `None` when the
    /// gateway is about to end and reloads no more.
    pub async fn reload(&self, expected: Option<Vec<u64>>) -> Option<Answer> {
        let (answer, end) = oneshot::channel();
        self.0.send(Order { expected, answer }).await.ok()?;
        end.await.ok()
    }
}

/// What a reload changes.
pub(super) struct Parts {
    pub(super) standing: Standing,
    pub(super) publisher: Rc<Publisher>,
    pub(super) resolver: Resolver,
    pub(super) gateway: Arc<GatewayStats>,
    pub(super) ground: Ground,
    /// Where the configuration came from; `None` if it cannot change.
    pub(super) source: Option<Source>,
    pub(super) level: LevelHandle,
    pub(super) sockets: Sockets,
    /// How another process takes over; `None` where none can.
    pub(super) relaunch: Option<Relaunch>,
}

/// What the operator's signals ask for.
pub(super) struct Signals {
    /// A reload, and the access log anew.
    pub(super) hangup: Signal,
    /// Another binary.
    pub(super) upgrade: Signal,
}

/// The configuration in force, and how it changes. Lives on the control thread.
pub struct Reloader {
    standing: Standing,
    publisher: Rc<Publisher>,
    resolver: Resolver,
    gateway: Arc<GatewayStats>,
    ground: Ground,
    source: Option<Source>,
    level: LevelHandle,
    sockets: Sockets,
    relaunch: Option<Relaunch>,
    orders: mpsc::Receiver<Order>,
    /// The files that the watch knows.
    watched: Vec<PathBuf>,
}

impl Reloader {
    /// For a gateway that runs on what `parts.standing` says.
    pub(super) fn new(parts: Parts) -> (Reloader, Desk) {
        let (desk, orders) = mpsc::channel(ORDERS);
        let reloader = Reloader {
            standing: parts.standing,
            publisher: parts.publisher,
            resolver: parts.resolver,
            gateway: parts.gateway,
            ground: parts.ground,
            source: parts.source,
            level: parts.level,
            sockets: parts.sockets,
            relaunch: parts.relaunch,
            orders,
            watched: Vec::new(),
        };
        (reloader, Desk(desk))
    }

    /// Takes up changes until another process has taken over.
    pub(super) async fn run(mut self, log: &Writer, mut signals: Signals) {
        loop {
            let mut orders = Vec::new();
            let mut cause = Cause::Asked;
            tokio::select! {
                _ = signals.hangup.recv() => log.reopen(),
                _ = signals.upgrade.recv() => {
                    if self.is_followed().await {
                        return self.sockets.leave().await;
                    }
                    continue;
                }
                reason = next_reason(&mut self.source) => cause = reason,
                Some(order) = self.orders.recv() => {
                    orders.extend(self.admit(order));
                    if orders.is_empty() {
                        continue;
                    }
                }
            }
            // Nothing has been read yet, so one reading answers all who ask by now.
            while let Ok(order) = self.orders.try_recv() {
                orders.extend(self.admit(order));
            }
            if !orders.is_empty() {
                cause = Cause::Asked;
            }
            let Some(report) = self.reload(cause, log).await else {
                continue;
            };
            let report = Rc::new(report);
            for order in orders {
                // Who does not wait any more has left.
                let _ = order.answer.send(Answer::Done(report.clone()));
            }
        }
    }

    /// Starts another process with all sockets; true when it serves. What changes meanwhile waits.
    async fn is_followed(&self) -> bool {
        let Some(relaunch) = &self.relaunch else {
            tracing::warn!("SIGUSR2: no other process can take over from this one");
            return false;
        };
        tracing::info!(program = %relaunch.program.display(), "starting the process that takes over");
        let started = match self.sockets.lend() {
            Ok(sockets) => relaunch.start(sockets).await,
            Err(error) => Err(error),
        };
        match started {
            Ok(pid) => tracing::info!(pid, "another process serves; this one ends"),
            Err(ref error) => {
                tracing::error!(%error, "no other process took over; this one serves on")
            }
        }
        started.is_ok()
    }

    /// The order, unless it was meant for another generation.
    fn admit(&self, order: Order) -> Option<Order> {
        let generation = self.standing.load().generation;
        let expected = order.expected.as_ref();
        if expected.is_none_or(|expected| expected.contains(&generation)) {
            return Some(order);
        }
        let _ = order.answer.send(Answer::Elsewhere(generation));
        None
    }

    /// Loads the files again and takes them up, if all of them are right and they say something new. `None` where nobody
    /// asked and nothing is new.
    async fn reload(&mut self, cause: Cause, log: &Writer) -> Option<Report> {
        let (outcome, warnings, outdated) = match self.read(cause).await {
            None if cause == Cause::Time => return None,
            None => (Outcome::Unchanged, Vec::new(), Vec::new()),
            Some(Err(problems)) => (Outcome::Rejected(problems), Vec::new(), Vec::new()),
            Some(Ok(loaded)) => {
                let outcome = self.take_up(loaded.config, &loaded.binds, log).await;
                (outcome, loaded.warnings, loaded.outdated)
            }
        };
        let (outcome, outdated) = outcome.with(outdated);
        let generation = self.standing.load().generation;
        let is_whole = outdated.is_empty();
        self.gateway
            .reload(outcome.result(), is_whole, generation, time::wall_nanos());
        let report = Report {
            generation,
            outcome,
            warnings,
            outdated,
        };
        tell(&report);
        if !matches!(report.outcome, Outcome::Rejected(_))
            && let Some(source) = &mut self.source
        {
            source.keep().await;
        }
        Some(report)
    }

    /// `None` where there is nothing to read.
    async fn read(&mut self, cause: Cause) -> Option<Result<Loaded, Vec<Problem>>> {
        let source = self.source.as_mut()?;
        let mut more_readings = 2;
        let text = match source.text(cause).await? {
            Ok(text) => Arc::new(text),
            Err(problem) => return Some(Err(vec![problem])),
        };
        loop {
            // Only what changed before this moment is about to be read; later changes announce themselves anew.
            while source.changes.try_recv().is_ok() {}
            let (text, env) = (text.clone(), source.env);
            let in_force = files_of(&self.standing.load().config);
            let begin = time::now();
            let reading = tokio::task::spawn_blocking(move || text.read(&env, &in_force)).await;
            tracing::debug!(took = ?time::now().since(begin), "configuration read");
            let reading = match reading {
                Ok(reading) => reading,
                Err(error) => {
                    let message = format!("reading it failed: {error}");
                    return Some(Err(vec![Problem::of_file(&source.name(), message, None)]));
                }
            };
            let watched = reading.sources == self.watched;
            // Also of a bad configuration: what mends it may be a file that no good one ever had.
            source.watch.set_paths(reading.sources.clone());
            self.watched = reading.sources;
            // A file that was not watched while it was read may have changed since: it is read once more.
            if watched || more_readings == 0 {
                return Some(reading.result);
            }
            more_readings -= 1;
        }
    }

    async fn take_up(&mut self, config: Config, binds: &BindPlaces, log: &Writer) -> Outcome {
        let old = self.standing.load();
        if changes::means_the_same(&old.config, &config) {
            // Lines may have moved, and the pages tell them.
            self.standing.store(old.generation, config);
            return Outcome::Unchanged;
        }
        let file = self.source.as_ref().map(Source::name).unwrap_or_default();
        let refused = restart::refused(&old.config, &config, &file);
        if !refused.is_empty() {
            return Outcome::Rejected(refused);
        }
        // Before anything changes, and dropped again should something else refuse the rest.
        let plan = match self.sockets.plan(&config) {
            Ok(plan) => plan,
            Err(faults) => {
                let problem = |f: Fault| binds.problem(f.address, &file, f.message, f.help);
                return Outcome::Rejected(faults.into_iter().map(problem).collect());
            }
        };
        if let Err(error) = redirect_log(&config, &old.config, log) {
            let message = format!("`logging.access.path` cannot be opened: {error}");
            return Outcome::Rejected(vec![Problem::of_file(&file, message, None)]);
        }
        // The old names are kept until nobody needs them: their addresses may change meanwhile.
        let (before, names) = (addresses::names(&old.config), addresses::names(&config));
        let both = names.union(&before).cloned().collect();
        let addresses = self.resolver.follow(&config.dns, both).await;
        let current = self.publisher.load();
        let ground = Ground {
            now: time::now(),
            ..self.ground
        };
        let next = compile(&config, &addresses, Some(&current), ground);
        tracing::debug!(took = ?time::now().since(ground.now), "configuration compiled");
        drop(current);
        let generation = next.generation;
        // A level that was set by hand stays until the file says another one.
        if config.logging.level != old.config.logging.level {
            self.level.set(config.logging.level);
        }
        let changes = Changes::between(&old.config, &config);
        next.begin_stores(ground.now);
        self.publisher.publish(next);
        self.resolver.keep_only(&config.dns, names);
        self.standing.store(generation, config);
        self.sockets.commit(plan, &self.publisher.load()).await;
        Outcome::Applied(changes)
    }
}

fn files_of(config: &Config) -> FilesInForce {
    let tls = config.listeners.iter().filter_map(|l| l.tls.as_ref());
    let pairs = tls.flat_map(|tls| {
        let files = tls.certificates.iter().cloned();
        files.zip(tls.policy.certificates().iter().cloned())
    });
    FilesInForce {
        pairs: pairs.collect(),
        files: config.files.clone(),
    }
}

async fn next_reason(source: &mut Option<Source>) -> Cause {
    match source {
        Some(source) => source.next().await,
        None => std::future::pending().await,
    }
}

fn redirect_log(new: &Config, old: &Config, log: &Writer) -> io::Result<()> {
    match (&new.logging.access, &old.logging.access) {
        (Some(access), Some(before)) if access.path == before.path => Ok(()),
        (Some(access), _) => log.redirect(access.path.clone()),
        (None, Some(_)) => log.redirect(LogPath::Stdout),
        (None, None) => Ok(()),
    }
}

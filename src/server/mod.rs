//! The process: worker threads that carry traffic, and the control thread that carries everything else.

mod accept;
mod addresses;
pub mod admin;
mod bind;
mod connection;
mod farewell;
mod forgetting;
mod h2;
mod handshake;
pub mod inherit;
pub mod listener;
mod opened;
mod prober;
mod proxy_header;
pub mod publish;
pub mod reload;
pub mod remote;
pub mod resolve;
mod sockets;
pub mod source;
mod stream;
mod thread;
pub mod upgrade;
pub mod watch;

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::runtime::{Builder, LocalOptions};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

use crate::config::{self, Config, LogPath};
use crate::drain::{Drain, Phase};
use crate::metrics::GatewayStats;
use crate::snapshot::compile::{Ground, compile};
use crate::snapshot::shared::Shared;
use crate::telemetry::access_log::Writer;
use crate::telemetry::control_log::LevelHandle;
use crate::time;
use admin::Admin;
use inherit::{Inherited, Line};
use listener::Admission;
use publish::Publisher;
use reload::{Reloader, Standing};
use resolve::Resolver;
use sockets::{AdminSocket, Sockets};
use source::Source;
use upgrade::Relaunch;

/// Descriptors kept for everything but client connections and their upstream side.
const OWN_DESCRIPTORS: u64 = 256;
/// How long the access log may take to write its last lines.
const LAST_LINES: Duration = Duration::from_secs(2);
/// How long clients of a process that another one follows are told so before idle connections close.
const NOTICE: Duration = Duration::from_secs(2);

/// A gateway that is running: its threads serve until the drain has ended.
pub struct Gateway {
    workers: Vec<JoinHandle<()>>,
    shared: Arc<Shared>,
    gateway: Arc<GatewayStats>,
    drain: Drain,
    log: Writer,
    config: Config,
    sockets: Sockets,
    line: Option<Line>,
    admin_sockets: mpsc::Receiver<AdminSocket>,
    ground: Ground,
    resolver: Resolver,
}

impl Gateway {
    /// Resolves every name, for at most `dns.timeout`, binds every address that is not `inherited` and starts every
    /// worker.
    ///
    /// # Errors
    /// An address that cannot be bound, a log file that cannot be opened; the message names it and says what to do.
    pub fn start(config: Config, mut inherited: Inherited) -> io::Result<Gateway> {
        // Whoever asks rustls for a default from here on gets the one of this build.
        drop(crate::tls::provider());
        let line = inherited.take_line();
        let workers = config.workers.map_or_else(available_cores, usize::from);
        let ground = Ground {
            workers,
            connections: default_connections(),
            now: time::now(),
        };
        let mut resolver = Resolver::new();
        let addresses = resolver.begin(&config.dns, addresses::names(&config))?;
        let shared = Shared::new(compile(&config, &addresses, None, ground));
        shared.load().begin_stores(ground.now);
        let gateway = Arc::new(GatewayStats::new(workers));
        let (mut sockets, ends) = Sockets::new(workers, inherited);
        let plan = sockets.plan(&config).map_err(first_of)?;
        let path = config
            .logging
            .access
            .as_ref()
            .map_or(LogPath::Stdout, |access| access.path.clone());
        let log = Writer::start(path, gateway.access_log_dropped.clone())
            .map_err(|e| named(&e, "logging.access.path cannot be opened"))?;
        let drain = Drain::default();
        sockets.commit_first(plan, &shared.load());
        gateway.start(1, time::wall_nanos());
        let admission = Arc::new(Admission::default());
        let workers = ends
            .workers
            .into_iter()
            .enumerate()
            .map(|(index, orders)| {
                thread::start(thread::Parts {
                    index,
                    orders,
                    shared: shared.clone(),
                    admission: admission.clone(),
                    log: log.sender(),
                    drain: drain.clone(),
                    gateway: gateway.clone(),
                    complaints: resolver.complaints(),
                })
            })
            .collect::<io::Result<Vec<_>>>()?;
        Ok(Gateway {
            workers,
            shared,
            gateway,
            drain,
            log,
            config,
            sockets,
            line,
            admin_sockets: ends.admin,
            ground,
            resolver,
        })
    }

    /// Runs the control thread on the calling thread, until SIGTERM or SIGINT has drained the gateway.
    ///
    /// `source` is where the configuration came from; `None` where it cannot change. On SIGUSR2 the process that
    /// `relaunch` describes takes over; `None` where none can.
    ///
    /// # Errors
    /// The system gives no runtime or no signals.
    pub fn control(
        self,
        source: Option<Source>,
        relaunch: Option<Relaunch>,
        level: LevelHandle,
    ) -> io::Result<()> {
        let runtime = Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(4)
            .build_local(LocalOptions::default())?;
        let result = runtime.block_on(self.run(source, relaunch, level));
        // A file that is read from a mount that hangs must not hold up the end.
        runtime.shutdown_background();
        result
    }

    async fn run(
        self,
        source: Option<Source>,
        relaunch: Option<Relaunch>,
        level: LevelHandle,
    ) -> io::Result<()> {
        let mut stop = [
            signal(SignalKind::terminate())?,
            signal(SignalKind::interrupt())?,
        ];
        let signals = reload::Signals {
            hangup: signal(SignalKind::hangup())?,
            upgrade: signal(SignalKind::user_defined2())?,
        };
        let standing = Standing::new(self.config);
        let publisher = Publisher::new(self.shared.clone());
        let (changed, names) = (self.resolver.addresses(), self.resolver.standings());
        let (reloader, desk) = Reloader::new(reload::Parts {
            standing: standing.clone(),
            publisher: publisher.clone(),
            resolver: self.resolver,
            gateway: self.gateway.clone(),
            ground: self.ground,
            source,
            level: level.clone(),
            sockets: self.sockets,
            relaunch,
        });
        thread::vital("probes", prober::keep_probing(self.shared.clone()));
        thread::vital(
            "forgetting",
            forgetting::keep_forgetting(self.shared.clone()),
        );
        let admin = Admin::new(admin::Parts {
            standing: standing.clone(),
            shared: self.shared,
            gateway: self.gateway,
            drain: self.drain.clone(),
            ground: self.ground,
            desk,
            level,
            names,
        });
        tokio::task::spawn_local(admin.serve(self.admin_sockets));
        tracing::info!(generation = 1, workers = self.workers.len(), "ready");
        tell_ready(self.line);
        let is_followed = tokio::select! {
            () = any(&mut stop) => false,
            () = reloader.run(&self.log, signals) => true,
            () = addresses::keep_up(changed, standing.clone(), publisher.clone(), self.ground) => false,
            () = publisher.free_retired() => false,
        };
        let mut drain = standing.load().config.drain.clone();
        if is_followed {
            self.drain.hand_over();
            // Nobody has to find out that this one goes: only those who are connected hear of it.
            drain.delay = NOTICE.min(drain.deadline / 2);
        }
        shut_down(&self.drain, &drain, &mut stop, self.workers).await;
        if !self.log.finish(LAST_LINES) {
            tracing::warn!("the access log did not take its last lines in time");
        }
        Ok(())
    }
}

/// Tells those who wait for this process that it serves: the gateway that started it, and systemd.
fn tell_ready(line: Option<Line>) {
    // Where the unit is of `Type=notify`, also which process is the main one by now.
    let states = [
        sd_notify::NotifyState::MainPid(std::process::id()),
        sd_notify::NotifyState::Ready,
    ];
    if let Err(error) = sd_notify::notify(&states) {
        tracing::warn!(%error, "systemd was not told that this process is ready");
    }
    if let Some(line) = line {
        line.say_ready();
    }
}

async fn any(signals: &mut [Signal; 2]) {
    let [first, second] = signals;
    tokio::select! {
        _ = first.recv() => {}
        _ = second.recv() => {}
    }
}

/// Leads the drain from its first signal to the end of the last worker; a second signal ends at once.
async fn shut_down(
    drain: &Drain,
    policy: &config::Drain,
    stop: &mut [Signal; 2],
    workers: Vec<JoinHandle<()>>,
) {
    drain.enter(Phase::Announced);
    tracing::info!(delay = ?policy.delay, deadline = ?policy.deadline, "draining: a second signal ends at once");
    let joined = tokio::task::spawn_blocking(move || {
        workers.into_iter().for_each(|worker| drop(worker.join()))
    });
    let phases = async {
        tokio::time::sleep(policy.delay).await;
        let left = policy.deadline.saturating_sub(policy.delay);
        drain.close(time::now().plus(left));
        tokio::time::sleep(left).await;
        tracing::warn!("the drain's deadline has passed: what is left is cut");
        drain.enter(Phase::Cut);
        std::future::pending::<()>().await;
    };
    tokio::select! {
        _ = joined => tracing::info!("drained"),
        () = phases => {}
        () = any(stop) => {
            tracing::warn!("ended by a second signal");
            std::process::exit(0);
        }
    }
}

/// Ends the process, for it could only serve by half.
fn die(message: &str) -> ! {
    eprintln!("tidegate: {message}");
    std::process::exit(70);
}

fn available_cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Half of the descriptors that the process may open, for each connection has an upstream side.
fn default_connections() -> usize {
    let most = rustix::process::getrlimit(rustix::process::Resource::Nofile)
        .current
        .unwrap_or(1 << 20);
    usize::try_from(most.saturating_sub(OWN_DESCRIPTORS) / 2)
        .unwrap_or(usize::MAX)
        .max(16)
}

fn first_of(faults: Vec<bind::Fault>) -> io::Error {
    let first = faults.into_iter().next();
    first.map_or_else(|| io::ErrorKind::AddrInUse.into(), io::Error::from)
}

fn named(error: &io::Error, what: &str) -> io::Error {
    io::Error::new(error.kind(), format!("{what}: {error}"))
}

//! The process: worker threads that carry traffic, and the control thread that carries everything else.

mod addresses;
pub mod admin;
mod connection;
mod farewell;
mod handshake;
pub mod listener;
mod proxy_header;
pub mod publish;
pub mod reload;
pub mod resolve;
mod stream;
mod thread;
pub mod watch;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::runtime::{Builder, LocalOptions};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::config::{self, Config, LogPath};
use crate::drain::{Drain, Phase};
use crate::metrics::GatewayStats;
use crate::snapshot::compile::{Ground, compile};
use crate::snapshot::shared::Shared;
use crate::telemetry::access_log::Writer;
use crate::telemetry::control_log::LevelHandle;
use crate::time;
use admin::Admin;
use listener::Admission;
use publish::Publisher;
use reload::{Reloader, Standing};
use resolve::Resolver;

/// Descriptors kept for everything but client connections and their upstream side.
const OWN_DESCRIPTORS: u64 = 256;
/// How long the access log may take to write its last lines.
const LAST_LINES: Duration = Duration::from_secs(2);

/// A gateway that is running: its threads serve until the drain has ended.
pub struct Gateway {
    workers: Vec<JoinHandle<()>>,
    shared: Arc<Shared>,
    gateway: Arc<GatewayStats>,
    drain: Drain,
    log: Writer,
    config: Config,
    admin: Option<std::net::TcpListener>,
    ground: Ground,
    resolver: Resolver,
}

impl Gateway {
    /// Resolves every name, for at most `dns.timeout`, binds every address and starts every worker.
    ///
    /// # Errors
    /// An address that cannot be bound, a log file that cannot be opened; the message names it and says what to do.
    pub fn start(config: Config) -> io::Result<Gateway> {
        // Whoever asks rustls for a default from here on gets the one of this build.
        drop(crate::tls::provider());
        let workers = config.workers.map_or_else(available_cores, usize::from);
        let ground = Ground {
            workers,
            connections: default_connections(),
            now: time::now(),
        };
        let mut resolver = Resolver::new();
        let addresses = resolver.begin(&config.dns, addresses::names(&config))?;
        let shared = Shared::new(compile(&config, &addresses, None, ground));
        let gateway = Arc::new(GatewayStats::new(workers));
        let admin = config.admin.as_ref().map(bind_admin).transpose()?;
        let path = config
            .logging
            .access
            .as_ref()
            .map_or(LogPath::Stdout, |access| access.path.clone());
        let log = Writer::start(path, gateway.access_log_dropped.clone())
            .map_err(|e| named(&e, "logging.access.path cannot be opened"))?;
        let drain = Drain::default();
        let sockets = bind_all(&config, workers)?;
        gateway.start(1, time::wall_nanos());
        let admission = Arc::new(Admission::default());
        let workers = sockets
            .into_iter()
            .enumerate()
            .map(|(index, sockets)| {
                thread::start(thread::Parts {
                    index,
                    sockets,
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
            admin,
            ground,
            resolver,
        })
    }

    /// Runs the control thread on the calling thread, until SIGTERM or SIGINT has drained the gateway.
    ///
    /// `source` is where the configuration came from; `None` where it cannot change.
    ///
    /// # Errors
    /// The system gives no runtime or no signals.
    pub fn control(self, source: Option<Source>, level: LevelHandle) -> io::Result<()> {
        let runtime = Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(4)
            .build_local(LocalOptions::default())?;
        let result = runtime.block_on(self.run(source, level));
        // A file that is read from a mount that hangs must not hold up the end.
        runtime.shutdown_background();
        result
    }

    async fn run(self, source: Option<Source>, level: LevelHandle) -> io::Result<()> {
        let mut stop = [
            signal(SignalKind::terminate())?,
            signal(SignalKind::interrupt())?,
        ];
        let hangup = signal(SignalKind::hangup())?;
        let standing = Standing::new(self.config);
        let publisher = Publisher::new(self.shared.clone());
        let (changed, names) = (self.resolver.addresses(), self.resolver.standings());
        let (reloader, desk) = Reloader::new(
            standing.clone(),
            publisher.clone(),
            self.resolver,
            self.gateway.clone(),
            self.ground,
            source,
            level.clone(),
        );
        if let Some(socket) = self.admin {
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
            tokio::task::spawn_local(admin.serve(socket));
        }
        tracing::info!(generation = 1, workers = self.workers.len(), "ready");
        tokio::select! {
            () = any(&mut stop) => {}
            () = reloader.run(&self.log, hangup) => {}
            () = addresses::keep_up(changed, standing.clone(), publisher.clone(), self.ground) => {}
            () = publisher.free_retired() => {}
        }
        let drain = standing.load().config.drain.clone();
        shut_down(&self.drain, &drain, &mut stop, self.workers).await;
        if !self.log.finish(LAST_LINES) {
            tracing::warn!("the access log did not take its last lines in time");
        }
        Ok(())
    }
}

/// Where a configuration came from.
pub struct Source {
    /// The file.
    pub path: PathBuf,
    /// Told whenever one of the files may have changed. Watching began before they were read.
    pub watch: watch::Watch,
    /// Answers for environment variables.
    pub env: fn(&str) -> Option<String>,
    /// The other end of the watch.
    pub changes: tokio::sync::mpsc::Receiver<()>,
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
    tracing::info!(delay = ?policy.delay, deadline = ?policy.deadline, "draining: a second signal ends at once");
    drain.enter(Phase::Announced);
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

fn named(error: &io::Error, what: &str) -> io::Error {
    io::Error::new(error.kind(), format!("{what}: {error}"))
}

fn bind_admin(admin: &config::Admin) -> io::Result<std::net::TcpListener> {
    let address = admin.bind;
    let socket = std::net::TcpListener::bind(address).map_err(|e| {
        named(
            &e,
            &format!("admin.bind {address} cannot be bound (choose another, or `admin: off`)"),
        )
    })?;
    socket.set_nonblocking(true)?;
    tracing::info!(address = %socket.local_addr()?, "admin listening");
    if admin.token.is_none() && !address.ip().to_canonical().is_loopback() {
        tracing::warn!(
            "admin.bind is no loopback address and admin.token is not set: only /healthz, /readyz and /metrics are served"
        );
    }
    Ok(socket)
}

/// One socket for each worker on each address; port 0 becomes the same free port for all of them.
fn bind_all(
    config: &Config,
    workers: usize,
) -> io::Result<Vec<Vec<(usize, std::net::TcpListener)>>> {
    let mut sockets: Vec<Vec<(usize, std::net::TcpListener)>> =
        (0..workers).map(|_| Vec::new()).collect();
    for (number, listener) in config.listeners.iter().enumerate() {
        for bind in &listener.bind {
            let mut address = *bind;
            taken_by_another(address)?;
            for own in &mut sockets {
                let socket = listener::open(address)
                    .map_err(|e| cannot_bind(&e, &listener.name, address))?;
                address = socket.local_addr()?;
                own.push((number, socket));
            }
            tracing::info!(listener = listener.name, %address, "listening");
        }
    }
    Ok(sockets)
}

/// SO_REUSEPORT would share the port even with another gateway of the same user: a plain bind tells.
fn taken_by_another(address: SocketAddr) -> io::Result<()> {
    if address.port() == 0 {
        return Ok(());
    }
    let socket = socket2::Socket::new(
        socket2::Domain::for_address(address),
        socket2::Type::STREAM,
        None,
    )?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket
        .bind(&address.into())
        .map_err(|e| cannot_bind(&e, "", address))
}

fn cannot_bind(error: &io::Error, listener: &str, address: SocketAddr) -> io::Error {
    let remedy = match error.kind() {
        io::ErrorKind::AddrInUse => "another process has it: stop that one or change `bind`",
        io::ErrorKind::PermissionDenied => "ports below 1024 need CAP_NET_BIND_SERVICE",
        io::ErrorKind::AddrNotAvailable => "this machine has no such address",
        _ => "change `bind`",
    };
    let place = if listener.is_empty() {
        String::new()
    } else {
        format!(" of listener {listener}")
    };
    named(
        error,
        &format!("{address}{place} cannot be bound ({remedy})"),
    )
}

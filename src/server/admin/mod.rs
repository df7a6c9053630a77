//! The operator's port, on the control thread: what the gateway is and does, and the verbs that change it.
//!
//! `pages` is the table of what is served, `gate` says who may ask for it. Everything is bounded: connections, their
//! life, heads and bodies.

mod answer;
mod breaker_json;
mod breakers;
mod effective;
mod gate;
mod health_json;
mod index;
mod limit_json;
mod limits;
mod metrics_page;
mod pages;
mod resilience_json;
mod route_json;
mod state;
mod tls_json;
mod upstream_json;
mod verbs;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::request::Parts as Head;
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::task::spawn_local;

use super::reload::{Desk, InForce, Standing};
use super::resolve::Standings;
use super::sockets::AdminSocket;
use crate::drain::{Drain, Phase};
use crate::metrics::GatewayStats;
use crate::proxy::body::Body;
use crate::snapshot::compile::Ground;
use crate::snapshot::shared::Shared;
use crate::telemetry::control_log::LevelHandle;
use crate::time;
use answer::Refused;
use pages::{Page, Row};

/// Connections served at once; more wait in the backlog.
const CONNECTIONS: usize = 64;
/// The longest life of a connection: nobody needs the operator's port for longer than a scrape and a look.
const LIFE: Duration = Duration::from_secs(300);
const HEAD: Duration = Duration::from_secs(10);
const PLAIN: &str = "text/plain; charset=utf-8";

/// What the port tells about, and what it can change.
pub struct Parts {
    /// The configuration in force.
    pub standing: Standing,
    /// The snapshot in force.
    pub shared: Arc<Shared>,
    /// Counters of the process.
    pub gateway: Arc<GatewayStats>,
    /// The shutdown signal.
    pub drain: Drain,
    /// What fills in the numbers that the file leaves open.
    pub ground: Ground,
    /// Where a reload is ordered.
    pub desk: Desk,
    /// The levels of the control log.
    pub level: LevelHandle,
    /// How the names of endpoints stand.
    pub names: watch::Receiver<Standings>,
}

/// The operator's port.
pub struct Admin(Parts);

impl Admin {
    /// A port of this gateway.
    #[must_use]
    pub fn new(parts: Parts) -> Rc<Admin> {
        Rc::new(Admin(parts))
    }

    /// Serves on the last of `sockets` until the process ends: a draining gateway is still alive and still scraped.
    pub(super) async fn serve(self: Rc<Self>, mut sockets: mpsc::Receiver<AdminSocket>) {
        let places = Arc::new(Semaphore::new(CONNECTIONS));
        let mut socket: Option<TcpListener> = None;
        loop {
            tokio::select! {
                Some(next) = sockets.recv() => {
                    let old = socket.take();
                    if let Some(old) = old.filter(|_| !matches!(next, AdminSocket::Elsewhere)) {
                        self.empty_queue(old, &places);
                    }
                    if let AdminSocket::At(next) = next {
                        socket = TcpListener::from_std(next).ok();
                    }
                }
                (stream, place) = accept(socket.as_ref(), &places) => {
                    spawn_local(self.clone().talk(stream, place));
                }
            }
        }
    }

    /// Takes what came before `socket` closes, as far as there is place.
    fn empty_queue(self: &Rc<Self>, socket: TcpListener, places: &Arc<Semaphore>) {
        let Ok(socket) = socket.into_std() else {
            return;
        };
        while let Ok(place) = places.clone().try_acquire_owned()
            && let Ok((stream, _)) = socket.accept()
        {
            if stream.set_nonblocking(true).is_ok()
                && let Ok(stream) = TcpStream::from_std(stream)
            {
                spawn_local(self.clone().talk(stream, place));
            }
        }
    }

    async fn talk(self: Rc<Self>, stream: TcpStream, place: OwnedSemaphorePermit) {
        let Ok(local) = stream.local_addr() else {
            return;
        };
        let service = service_fn(|request| {
            let admin = self.clone();
            async move { Ok::<_, Infallible>(admin.answer(request, local).await) }
        });
        let serving = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD)
            .serve_connection(TokioIo::new(stream), service);
        let _ = tokio::time::timeout(LIFE, serving).await;
        drop(place);
    }

    async fn answer(&self, request: Request<Incoming>, local: SocketAddr) -> Response<Body> {
        let (head, body) = request.into_parts();
        match self.admit(&head, local) {
            Ok(row) => self
                .serve_row(row, &head, body, local)
                .await
                .unwrap_or_else(Response::from),
            Err(refused) => refused.into(),
        }
    }

    /// Finds what is asked for and asks the gate. Who may not enter is not told what is here.
    fn admit(&self, head: &Head, local: SocketAddr) -> Result<&'static Row, Refused> {
        let found = pages::find(head.uri.path());
        let in_force = self.0.standing.load();
        // Who came before it was switched off may still be connected.
        if let Some(admin) = &in_force.config.admin {
            let ground = gate::Ground {
                admin,
                local: local.ip(),
            };
            gate::may_enter(head, found.as_ref().ok().copied(), &ground)?;
            let row = found?;
            if !row.way.takes(&head.method) {
                return Err(pages::wrong_method(row));
            }
            if row.way.changes(&head.method) {
                gate::may_change(head, &ground)?;
            }
            return Ok(row);
        }
        Err(Refused::new(
            StatusCode::FORBIDDEN,
            "the configuration has no `admin`",
        ))
    }

    async fn serve_row(
        &self,
        row: &Row,
        head: &Head,
        body: Incoming,
        local: SocketAddr,
    ) -> Result<Response<Body>, Refused> {
        let Parts {
            standing,
            shared,
            gateway,
            drain,
            ground,
            desk,
            level,
            names,
        } = &self.0;
        let in_force = standing.load();
        let InForce { generation, config } = &*in_force;
        Ok(match row.page {
            Page::Healthz => answer::text(StatusCode::OK, PLAIN, "ok\n"),
            Page::Readyz if drain.phase() > Phase::Serving => {
                answer::text(StatusCode::SERVICE_UNAVAILABLE, PLAIN, "draining\n")
            }
            Page::Readyz => answer::text(StatusCode::OK, PLAIN, "ready\n"),
            Page::Metrics => metrics_page::answer(gateway, &shared.load(), &head.headers),
            Page::Index => {
                answer::page(index::POLICY, index::render(&self.facts(&in_force, local)))
            }
            Page::Config => answer::tagged(
                *generation,
                &json!({ "generation": generation, "config": effective::config(config, *ground) }),
            ),
            Page::Routes => answer::tagged(*generation, &state::routes(*generation, config)),
            Page::Upstreams => answer::data(&state::upstreams(
                config,
                &shared.load(),
                &names.borrow(),
                time::now(),
            )),
            Page::Limits => answer::data(&limits::all(&shared.load(), time::now())),
            Page::Bucket => {
                // Whatever it says: a body left unread would cost the connection.
                verbs::read(body).await?;
                let (snapshot, now) = (shared.load(), time::now());
                let path = head.uri.path();
                let rest = path.strip_prefix("/limits/").unwrap_or_default();
                let fills = row.way.changes(&head.method);
                answer::data(&limits::bucket(&snapshot, rest, fills, now).await?)
            }
            Page::Reload => {
                // Whatever it says: a body left unread would cost the connection.
                verbs::read(body).await?;
                verbs::reload(desk, &head.headers).await?
            }
            Page::Breakers => {
                let body = verbs::read(body).await?;
                let path = head.uri.path().trim_start_matches("/breakers/");
                let writer = ground.workers;
                answer::data(&breakers::force(
                    &shared.load(),
                    path,
                    &body,
                    time::now(),
                    writer,
                )?)
            }
            Page::LogLevel => verbs::set_level(level, &verbs::read(body).await?)?,
        })
    }

    fn facts(&self, in_force: &InForce, local: SocketAddr) -> index::Facts {
        let config = &in_force.config;
        let levels = self.0.level.levels();
        let others = levels.targets.iter();
        let level = std::iter::once(levels.usual.to_string())
            .chain(others.map(|(target, level)| format!("{target} {level}")))
            .collect::<Vec<_>>();
        index::Facts {
            version: env!("CARGO_PKG_VERSION"),
            generation: in_force.generation,
            phase: if self.0.drain.phase() == Phase::Serving {
                "serving"
            } else {
                "draining"
            },
            listeners: config.listeners.len(),
            routes: config.routes.len(),
            upstreams: config.upstreams.len(),
            level: level.join(", ").to_lowercase(),
            address: local.to_string(),
            token: config.admin.as_ref().is_some_and(|a| a.token.is_some()),
        }
    }
}

/// The next connection, and its place among those that are served.
async fn accept(
    socket: Option<&TcpListener>,
    places: &Arc<Semaphore>,
) -> (TcpStream, OwnedSemaphorePermit) {
    if let Some(socket) = socket {
        while let Ok(place) = places.clone().acquire_owned().await {
            if let Ok((stream, _)) = socket.accept().await {
                return (stream, place);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    std::future::pending().await
}

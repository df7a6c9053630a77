//! The operator's port: `/healthz`, `/readyz` and `/metrics`, on the control thread.

use std::convert::Infallible;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::spawn_local;

use crate::drain::{Drain, Phase};
use crate::metrics::{Format, GatewayStats, NO_ROUTE, Page, process};
use crate::proxy::body::Body;
use crate::snapshot::shared::Shared;
use crate::time;

/// Connections served at once; more wait in the backlog.
const CONNECTIONS: usize = 64;
/// The longest life of a connection: nobody needs the operator's port for longer than a scrape and a look.
const LIFE: Duration = Duration::from_secs(300);
const HEAD: Duration = Duration::from_secs(10);

/// What the pages tell about.
pub struct Admin {
    shared: Arc<Shared>,
    gateway: Arc<GatewayStats>,
    drain: Drain,
}

impl Admin {
    /// Pages about this gateway.
    #[must_use]
    pub fn new(shared: Arc<Shared>, gateway: Arc<GatewayStats>, drain: Drain) -> Rc<Admin> {
        Rc::new(Admin {
            shared,
            gateway,
            drain,
        })
    }

    /// Serves until the process ends: a draining gateway is still alive and still scraped.
    pub async fn serve(self: Rc<Self>, socket: std::net::TcpListener) {
        let Ok(socket) = TcpListener::from_std(socket) else {
            return;
        };
        let places = Arc::new(Semaphore::new(CONNECTIONS));
        while let Ok(place) = places.clone().acquire_owned().await {
            let Ok((stream, _)) = socket.accept().await else {
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            };
            let admin = self.clone();
            spawn_local(async move {
                let service = service_fn(move |request| {
                    let response = admin.answer(&request);
                    async move { Ok::<_, Infallible>(response) }
                });
                let serving = http1::Builder::new()
                    .timer(TokioTimer::new())
                    .header_read_timeout(HEAD)
                    .serve_connection(TokioIo::new(stream), service);
                let _ = tokio::time::timeout(LIFE, serving).await;
                drop(place);
            });
        }
    }

    fn answer(&self, request: &Request<Incoming>) -> Response<Body> {
        let path = request.uri().path();
        if !matches!(path, "/healthz" | "/readyz" | "/metrics") {
            return text(
                StatusCode::NOT_FOUND,
                "not found: try /metrics, /healthz or /readyz\n",
            );
        }
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n");
            response
                .headers_mut()
                .insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
            return response;
        }
        match path {
            "/healthz" => text(StatusCode::OK, "ok\n"),
            "/readyz" if self.drain.phase() > Phase::Serving => {
                text(StatusCode::SERVICE_UNAVAILABLE, "draining\n")
            }
            "/readyz" => text(StatusCode::OK, "ready\n"),
            _ => self.metrics(request),
        }
    }

    fn metrics(&self, request: &Request<Incoming>) -> Response<Body> {
        let accept = request
            .headers()
            .get(header::ACCEPT)
            .and_then(|v| v.to_str().ok())
            .unwrap_or_default();
        let format = Format::negotiate(accept);
        let mut response = text(StatusCode::OK, self.page(format));
        response.headers_mut().insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static(format.content_type()),
        );
        response
    }

    fn page(&self, format: Format) -> String {
        let mut page = Page::new(format);
        let snapshot = self.shared.load();
        let (carry, now) = (&snapshot.carry, time::now());
        let listeners: Vec<(u16, &str)> = carry
            .listeners
            .alive(now)
            .map(|(n, s)| (s.number, n.as_str()))
            .collect();
        let name_of = |number: u16| {
            listeners
                .iter()
                .find(|(n, _)| *n == number)
                .map(|(_, name)| *name)
        };
        self.gateway.write(&mut page, env!("CARGO_PKG_VERSION"));
        for (name, stats) in carry.routes.alive(now) {
            stats.write(
                &mut page,
                if name == NO_ROUTE { NO_ROUTE } else { name },
                name_of,
            );
        }
        for (name, stats) in carry.upstreams.alive(now) {
            stats.write(&mut page, name);
        }
        for ((upstream, _), endpoint) in carry.endpoints.alive(now) {
            endpoint.stats.write(&mut page, upstream, &endpoint.label);
        }
        for (name, state) in carry.listeners.alive(now) {
            state.stats.write(&mut page, name);
        }
        process::write(&mut page);
        page.finish()
    }
}

fn text(status: StatusCode, body: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(Body::Own(body.into()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

//! Copies of requests for other upstreams. Nothing of a copy ever reaches the client: not its answer, not its failure,
//! not its slowness.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use http::header::{self, HeaderMap, HeaderValue};
use http::request::Parts;
use http::{Method, Request, Uri};
use tokio::task::spawn_local;

use super::drain_rest::read_out;
use super::exchange::Exchange;
use super::worker::Worker;
use crate::http::upload::RequestBody;
use crate::snapshot::Forward;
use crate::snapshot::shared::Pin as Pinned;
use crate::upstream::Upstream;
use crate::upstream::balance::Ask;
use crate::upstream::connect::{Connection, dial};
use crate::upstream::endpoint::{Endpoint, EndpointState};
use crate::upstream::pool::{Turn, await_turn};

/// Copies that one worker has under way; beyond it requests are not mirrored.
const MOST: usize = 256;
/// The longest life of a copy.
const LIFE: Duration = Duration::from_secs(30);
const MILLION: u64 = 1_000_000;

thread_local! {
    static UNDER_WAY: Cell<usize> = const { Cell::new(0) };
}

/// One copy under way.
struct Place;

impl Place {
    fn take() -> Option<Place> {
        UNDER_WAY
            .with(|n| (n.get() < MOST).then(|| n.set(n.get() + 1)))
            .map(|()| Place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        UNDER_WAY.with(|n| n.set(n.get() - 1));
    }
}

/// Sends the copies that the route asks for; called when the head is as the upstream will see it.
#[cold]
pub(super) fn send_copies(
    exchange: &Exchange,
    forward: &Forward,
    parts: &Parts,
    body: &RequestBody,
    endpoints_host: bool,
) {
    let worker = &exchange.client.worker;
    for (upstream, per_million) in &forward.mirrors {
        let drawn = (u128::from(worker.random()) * u128::from(MILLION)) >> 64;
        if drawn >= u128::from(*per_million) {
            continue;
        }
        if !exchange.pin.upstreams[*upstream].takes_copies() {
            continue;
        }
        let Some(place) = Place::take() else { return };
        let body = match body {
            RequestBody::Upload(upload, _) => RequestBody::Copy(upload.copy()),
            RequestBody::Empty | RequestBody::Copy(_) => RequestBody::Empty,
        };
        let copy = Copy {
            method: parts.method.clone(),
            uri: parts.uri.clone(),
            headers: parts.headers.clone(),
            body,
            endpoints_host,
        };
        let (worker, pin, upstream) = (worker.clone(), exchange.pin.clone(), *upstream);
        spawn_local(async move {
            let _ = tokio::time::timeout(LIFE, copy.send(&worker, &pin, upstream)).await;
            drop(place);
        });
    }
}

struct Copy {
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: RequestBody,
    endpoints_host: bool,
}

impl Copy {
    /// Sends the copy and reads its answer to the end, for the sake of the connection.
    async fn send(self, worker: &Rc<Worker>, pin: &Pinned, upstream: usize) -> Option<()> {
        let given_up = GiveUp(match &self.body {
            RequestBody::Copy(copy) => Some(copy.clone()),
            RequestBody::Empty | RequestBody::Upload(..) => None,
        });
        let upstream = &pin.upstreams[upstream];
        let now = worker.read_clock();
        let ask = Ask {
            now,
            random: worker.random(),
            hash: None,
            avoid: None,
        };
        let endpoint = upstream.endpoints.get(upstream.pick(&ask)?)?;
        let (chosen, endpoint) = (endpoint, &endpoint.state);
        let _busy = Busy::enter(endpoint, worker);
        let pooled = worker
            .pool
            .borrow_mut()
            .take(endpoint, chosen.lock(), now, worker.index);
        let mut connection: Connection = match pooled {
            Some(connection) => connection,
            None => open(worker, upstream, chosen).await?,
        };
        connection.tap.disarm();
        let sending = connection
            .sender
            .try_send_request(self.into_request(&chosen.authority));
        let response = sending.await.ok()?;
        endpoint
            .stats
            .count_request(worker.index, response.status());
        if !read_out(response.into_body(), u64::MAX).await {
            return None;
        }
        let now = worker.read_clock();
        worker
            .pool
            .borrow_mut()
            .put(endpoint, connection, &upstream.pool, now, worker.index);
        drop(given_up);
        Some(())
    }

    fn into_request(mut self, host: &HeaderValue) -> Request<RequestBody> {
        if self.endpoints_host {
            self.headers.insert(header::HOST, host.clone());
        }
        let mut request = Request::new(self.body);
        *request.method_mut() = self.method;
        *request.uri_mut() = self.uri;
        *request.headers_mut() = self.headers;
        request
    }
}

async fn open(worker: &Worker, upstream: &Upstream, endpoint: &Endpoint) -> Option<Connection> {
    let timeout = upstream.timeouts.connect;
    let permit = match upstream.pool.max_connections {
        None => None,
        Some(_) => {
            let turn = await_turn(&worker.pool, &endpoint.state, worker.index);
            let longest = timeout.unwrap_or(LIFE);
            match tokio::time::timeout(longest, turn).await.ok()?.ok()? {
                Turn::Use(connection) => return Some(connection),
                Turn::Dial(permit) => Some(permit),
            }
        }
    };
    let secure = endpoint.secure.as_deref();
    dial(endpoint.state.address, secure, timeout, permit)
        .await
        .ok()
}

/// The copy's connection, as the gauge counts it.
struct Busy<'a>(&'a EndpointState, &'a Worker);

impl<'a> Busy<'a> {
    fn enter(endpoint: &'a EndpointState, worker: &'a Worker) -> Busy<'a> {
        endpoint.stats.busy.add(worker.index, 1);
        Busy(endpoint, worker)
    }
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.stats.busy.add(self.1.index, -1);
    }
}

/// Whatever ends a copy, its body is no longer filled.
struct GiveUp(Option<Rc<crate::http::copy::BodyCopy>>);

impl Drop for GiveUp {
    fn drop(&mut self) {
        if let Some(copy) = &self.0 {
            copy.give_up();
        }
    }
}

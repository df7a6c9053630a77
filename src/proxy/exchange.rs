//! One request and its answer: exactly one count and one line in the log, however it ends.

use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;

use http::request::Parts;
use http::{HeaderValue, Method, Response, StatusCode, Uri, Version};
use hyper::body::Incoming;

use super::client::Client;
use super::drain_rest::drain_rest;
use super::lease::Lease;
use super::note::Note;
use super::outcome::{Last, Standing};
use super::tally::Tally;
use super::tunnel::Opening;
use crate::breaker::Permit;
use crate::drain::Phase;
use crate::error::Reason;
use crate::filter::in_flight::Place;
use crate::http::fields;
use crate::http::guard::{ANSWERING, BODY_UNREAD, HEAD_BEGUN, IN_EXCHANGE};
use crate::http::request_id;
use crate::http::upload::{Progress, Upload};
use crate::metrics::RouteStats;
use crate::snapshot::shared::Pin;
use crate::snapshot::{Listener, Route};
use crate::time::Nanos;
use crate::upstream::connect::Connection;

/// The facts of one exchange. Dropped early, it counts as "the client left".
pub struct Exchange {
    /// The connection it came on.
    pub client: Rc<Client>,
    /// The snapshot that it walks through.
    pub pin: Pin,
    /// When its head was complete.
    pub started: Nanos,
    /// Kept from the client, or made where it is needed.
    pub request_id: Option<HeaderValue>,
    /// Its body, where it has one.
    pub upload: Option<Rc<Upload>>,
    /// Bytes of the answer's body handed to the client's connection.
    pub bytes_out: u64,
    /// Tries at the upstream.
    pub attempts: u32,
    /// The connection that the attempt under way uses.
    pub connection: Option<Connection>,
    /// The answer, from the arrival of its head until it is passed on.
    pub answer: Option<Response<Incoming>>,
    /// The opening of a WebSocket, where that is what the client asks for.
    pub opening: Option<Box<Opening>>,
    /// Who the client is: the peer, or whom a trusted proxy names.
    pub client_address: IpAddr,
    /// What the balancer read from the request, if it asked.
    pub asked: Option<Option<u64>>,
    /// Deadlines of the attempt's body and of the whole request.
    pub deadlines: Deadlines,
    /// When the last answer's head came.
    pub head_at: Option<Nanos>,
    pub(super) method: Method,
    pub(super) version: Version,
    pub(super) route: Option<u32>,
    pub(super) lease: Option<Lease>,
    /// Of the attempt under way, until it is known what came of it.
    pub(super) trial: Standing,
    /// Of the breaker that the next attempt passed already.
    pub(super) permit: Option<Permit>,
    /// Is a place of the bulkhead of `upstream` held for the next attempt?
    pub(super) in_bulkhead: bool,
    pub(super) upstream: u32,
    /// An attempt that failed, as long as another may follow.
    pub(super) last: Option<Box<Last>>,
    pub(super) status: Option<StatusCode>,
    pub(super) reason: Option<Reason>,
    pub(super) note: Option<Box<Note>>,
    /// What it took from limits, as long as somebody may ask for it.
    pub(super) tally: Option<Box<Tally>>,
    /// Its place among those that the route carries at once.
    pub(super) place: Option<Place>,
    /// A body that was refused before anybody asked for it.
    unread: Option<Incoming>,
    keeps_unread: bool,
    ended: bool,
}

/// What bounds an answer's body; `None` = off.
#[derive(Clone, Copy, Debug, Default)]
pub struct Deadlines {
    /// Longest silence.
    pub body: Option<Duration>,
    /// The end of the whole request.
    pub due: Option<Nanos>,
}

impl Exchange {
    /// Opens an exchange: the head of a request is complete.
    #[must_use]
    pub fn open(client: Rc<Client>, parts: &Parts) -> Box<Exchange> {
        let worker = &client.worker;
        let started = worker.read_clock();
        let pin = worker.view.pin();
        client.wire.turn(IN_EXCHANGE, HEAD_BEGUN | BODY_UNREAD);
        client.requests.set(client.requests.get() + 1);
        let logs = pin.access_log.is_some();
        let note = logs.then(Box::default);
        Box::new(Exchange {
            pin,
            started,
            request_id: None,
            upload: None,
            bytes_out: 0,
            attempts: 0,
            connection: None,
            answer: None,
            opening: None,
            client_address: client.peer,
            asked: None,
            deadlines: Deadlines::default(),
            head_at: None,
            method: parts.method.clone(),
            version: parts.version,
            route: None,
            lease: None,
            trial: Standing::Settled,
            permit: None,
            last: None,
            in_bulkhead: false,
            upstream: 0,
            status: None,
            reason: None,
            note,
            tally: None,
            place: None,
            unread: None,
            keeps_unread: false,
            ended: false,
            client,
        })
    }

    /// Is it a stream of an HTTP/2 connection? Then its end is told by frames, and is not the connection's.
    #[must_use]
    pub fn is_stream(&self) -> bool {
        self.version == Version::HTTP_2
    }

    /// Does the client ask for a head only?
    #[must_use]
    pub fn is_head(&self) -> bool {
        self.method == Method::HEAD
    }

    /// The listener that it came through.
    #[must_use]
    pub fn listener(&self) -> &Listener {
        &self.pin.listeners[self.client.listener]
    }

    /// The route that it follows, once found.
    #[must_use]
    pub fn route(&self) -> Option<&Route> {
        self.route.map(|index| &self.pin.routes[index as usize])
    }

    /// Keeps what the fields of the request tell: its identifier, and what will be logged.
    pub fn saw_fields(&mut self, seen: &mut fields::Request) {
        let id = seen.request_id.take();
        self.request_id = id.filter(|id| request_id::is_sane(id.as_bytes()));
        if let Some(note) = &mut self.note {
            note.host = seen.host.clone();
            note.user_agent = seen.user_agent.take();
            note.referer = seen.referer.take();
        }
    }

    /// The host that the request is routed by: an absolute target overrules the field.
    pub fn saw_host(&mut self, host: Option<&HeaderValue>) {
        if let Some(note) = &mut self.note {
            note.host = host.cloned();
        }
    }

    /// Is there an access log?
    #[must_use]
    pub fn is_logged(&self) -> bool {
        self.note.is_some()
    }

    /// The path as it is routed, for the log.
    pub fn saw_target(&mut self, uri: &Uri) {
        if let Some(note) = &mut self.note {
            note.uri = uri.clone();
        }
    }

    /// The client's address is not the peer's.
    pub fn saw_client(&mut self, address: IpAddr) {
        self.client_address = address;
        if let Some(note) = &mut self.note {
            note.peer = Some(address.to_string());
        }
    }

    /// Follows a route.
    pub fn follow(&mut self, route: u32) {
        self.route = Some(route);
        self.stats().in_flight.add(self.client.worker.index, 1);
    }

    /// Keeps a body that nobody will ask for, so that a small rest can be read when the answer is out.
    pub fn leave_unread(&mut self, body: Incoming, keep: bool) {
        self.unread = Some(body);
        self.keeps_unread = keep;
    }

    /// The gateway answers itself, on purpose.
    pub fn answers(&mut self, status: StatusCode) {
        self.status = Some(status);
    }

    /// Why it failed; the first reason holds.
    pub fn failed(&mut self, reason: Reason) {
        if self.reason.is_none() {
            self.reason = Some(reason);
        }
    }

    /// The identifier of the request; made now if the client brought none.
    pub fn id(&mut self) -> HeaderValue {
        let ids = &self.client.worker.ids;
        self.request_id.get_or_insert_with(|| ids.make()).clone()
    }

    /// Has the connection of the attempt under way got the whole request?
    #[must_use]
    pub fn is_uploaded(&self) -> bool {
        self.upload
            .as_ref()
            .is_none_or(|u| u.progress() == Progress::Done)
    }

    /// The answer has been read whole: its connection can carry the next request, unless this one is still being sent.
    pub fn keep_connection(&mut self) {
        let uploaded = self.is_uploaded();
        if let Some(connection) = self.connection.take()
            && uploaded
            && let Some((upstream, endpoint)) = self.held()
        {
            let worker = &self.client.worker;
            let mut pool = worker.pool.borrow_mut();
            pool.put(
                endpoint,
                connection,
                &upstream.pool,
                worker.recent(),
                worker.index,
            );
        }
    }

    /// Is the rest of the request's body given up, so that the connection cannot be kept?
    #[must_use]
    pub fn abandons_body(&self) -> bool {
        let broken = |p| !matches!(p, Progress::Done | Progress::Streaming);
        self.unread.is_some() && !self.keeps_unread
            || self.upload.as_ref().is_some_and(|u| broken(u.progress()))
    }

    /// The answer is whole: count it, log it, give everything back.
    pub fn end(&mut self) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        let now = self.client.worker.read_clock();
        self.client.deadline.clear();
        self.client.wire.turn(ANSWERING, IN_EXCHANGE);
        self.settle_body();
        self.release(now);
        self.leave_route();
        self.settle_last();
        self.permit = None;
        self.count(now);
        if self.note.is_some() {
            self.id();
            self.log(now);
        }
    }

    /// What is left of the request's body is read if it is small, else the connection will close.
    fn settle_body(&mut self) {
        let rest = match (&self.upload, self.unread.take()) {
            (Some(upload), _) => {
                let unfinished = !upload.is_read_whole();
                let rest = upload.stop();
                if unfinished && rest.is_none() {
                    self.client.wire.turn(BODY_UNREAD, 0);
                }
                rest
            }
            (None, Some(_)) if !self.keeps_unread => {
                self.client.wire.turn(BODY_UNREAD, 0);
                None
            }
            (None, rest) => rest,
        };
        // A stream is reset by dropping it: NO_ERROR after a whole answer (RFC 9113, section 8.1).
        if let Some(rest) = rest.filter(|_| !self.is_stream()) {
            drain_rest(&self.client, rest);
        }
    }

    fn count(&self, now: Nanos) {
        let worker = self.client.worker.index;
        let stats = self.stats();
        let status = self.final_status();
        stats.count_request(worker, self.listener().number, &self.method, status);
        // A WebSocket has a clock of its own.
        if status != StatusCode::SWITCHING_PROTOCOLS {
            stats
                .duration
                .record(worker, now.0.saturating_sub(self.started.0));
        }
        if self.route.is_some() {
            stats.in_flight.add(worker, -1);
        }
        if self.bytes_out > 0 {
            stats.response_bytes.add(worker, self.bytes_out);
        }
        if let Some(upload) = &self.upload {
            stats.request_bytes.add(worker, upload.bytes());
        }
        if let Some(reason) = self.reason {
            stats.count_reason(worker, reason);
        }
    }

    /// Gives back its place among those that the route carries at once.
    fn leave_route(&mut self) {
        if let Some(place) = self.place.take()
            && let Some(bound) = self.route().and_then(|route| route.max_in_flight.as_ref())
        {
            bound.counts.leave(place);
        }
    }

    pub(super) fn final_status(&self) -> StatusCode {
        self.status.unwrap_or_else(|| Reason::ClientClosed.status())
    }

    fn stats(&self) -> &RouteStats {
        self.route()
            .map_or(&self.pin.unrouted, |route| &route.stats)
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        if !self.ended {
            if self.waits_for_turn() {
                self.give_back();
            }
            let cut = self.client.worker.drain.phase() == Phase::Cut;
            self.failed(if cut {
                Reason::Draining
            } else {
                Reason::ClientClosed
            });
            self.end();
        }
    }
}

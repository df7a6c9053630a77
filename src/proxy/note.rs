//! What only the access log wants to know of an exchange, and the line that it becomes.

use std::time::Duration;

use http::{HeaderValue, Uri, Version};

use super::exchange::Exchange;
use super::tally::Owner;
use crate::error::Reason;
use crate::telemetry::access_log::Entry;
use crate::time::{self, Nanos};

/// What only the access log wants to know.
#[derive(Default)]
pub(super) struct Note {
    pub(super) host: Option<HeaderValue>,
    pub(super) uri: Uri,
    pub(super) user_agent: Option<HeaderValue>,
    pub(super) referer: Option<HeaderValue>,
    pub(super) peer: Option<String>,
    pub(super) endpoint: Option<(u32, u32)>,
    /// The limit that refused it.
    pub(super) limit: Option<(Owner, usize)>,
    /// Time spent in queues; `None` where none was met.
    pub(super) wait: Option<Duration>,
    /// Time spent connecting; `None` where a pooled connection was used.
    pub(super) connect: Option<Duration>,
}

impl Exchange {
    /// The clock, where the log wants to know how long something takes; else nobody needs it.
    pub(super) fn clock_for_log(&self) -> Option<Nanos> {
        self.note.is_some().then(|| self.client.worker.read_clock())
    }

    /// A wait in a queue that began at `since` has come to its end, for better or worse.
    pub(super) fn waited_since(&mut self, since: Option<Nanos>) {
        if let (Some(now), Some(since)) = (self.clock_for_log(), since)
            && let Some(note) = &mut self.note
        {
            *note.wait.get_or_insert_default() += now.since(since);
        }
    }

    /// A limit refused it.
    pub(super) fn limited_by(&mut self, owner: Owner, index: usize) {
        if let Some(note) = &mut self.note {
            note.limit = Some((owner, index));
        }
    }

    /// A connect that began at `since` has come to its end, for better or worse.
    pub(super) fn connected_since(&mut self, since: Option<Nanos>) {
        if let (Some(now), Some(since)) = (self.clock_for_log(), since)
            && let Some(note) = &mut self.note
        {
            *note.connect.get_or_insert_default() += now.since(since);
        }
    }

    /// Writes the one line of the exchange, which ended at `now`.
    pub(super) fn log(&self, now: Nanos) {
        let (Some(note), Some(shape)) = (&self.note, &self.pin.access_log) else {
            return;
        };
        let (upstream, endpoint) = match note.endpoint {
            Some((u, e)) => {
                let upstream = &self.pin.upstreams[u as usize];
                (
                    Some(upstream.name.as_str()),
                    Some(upstream.endpoints[e as usize].state.label.as_str()),
                )
            }
            None => (None, None),
        };
        let entry = Entry {
            request_id: self.request_id.as_ref().map(HeaderValue::as_bytes),
            client: Some(
                note.peer
                    .as_deref()
                    .map_or(self.client.peer_text.as_bytes(), str::as_bytes),
            ),
            listener: Some(&self.listener().name),
            protocol: Some(match self.version {
                Version::HTTP_10 => "HTTP/1.0",
                Version::HTTP_2 => "HTTP/2",
                _ => "HTTP/1.1",
            }),
            method: Some(self.method.as_str()),
            host: note.host.as_ref().map(HeaderValue::as_bytes),
            path: Some(note.uri.path().as_bytes()),
            route: self.route().map(|r| r.name.as_str()),
            upstream,
            endpoint,
            attempts: (self.attempts > 0).then_some(self.attempts),
            status: Some(self.final_status().as_u16()),
            reason: self.reason.map(Reason::word),
            limit: note.limit.and_then(|(owner, index)| {
                let used = self.limits_of(owner).get(index)?;
                Some(used.limit.name.as_str())
            }),
            bytes_in: Some(self.upload.as_ref().map_or(0, |u| u.bytes())),
            bytes_out: Some(self.bytes_out),
            duration: Some(now.since(self.started)),
            wait: note.wait,
            connect: note.connect,
            first_byte: self.head_at.map(|at| at.since(self.started)),
            identity: self
                .client
                .secured
                .as_ref()
                .and_then(|secured| secured.identity.as_ref())
                .map(|client| client.subject.as_bytes()),
            user_agent: note.user_agent.as_ref().map(HeaderValue::as_bytes),
            referer: note.referer.as_ref().map(HeaderValue::as_bytes),
        };
        self.client
            .worker
            .log
            .borrow_mut()
            .push(&entry, time::wall_at(self.started), shape);
    }
}

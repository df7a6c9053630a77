//! One JSON line for each exchange, built by hand into a buffer that the worker owns and hands over whole.
//!
//! A worker never waits for the log: a buffer goes through a bounded queue to one writer thread, and where the
//! queue is full its lines are dropped and counted.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use super::json;
use super::log_writer::Batch;
pub use super::log_writer::{LogPath, Sender, Writer};
use super::rfc3339::Stamp;

/// A buffer of this many bytes is handed over at once; a smaller one when its owner says [`Buffer::flush`].
pub const BUFFER_BYTES: usize = 64 * 1024;

/// Most bytes of one value that are logged: what a client sends may be long, a line may not.
pub const VALUE_BYTES: usize = 8 * 1024;

/// Buffers that may travel back and forth between a worker and the writer.
const BUFFERS: usize = 4;

/// What a line tells, in its order. What is `None` is unknown and left out; bytes may be anything a peer sent.
#[derive(Clone, Copy, Debug, Default)]
pub struct Entry<'a> {
    /// `request_id`
    pub request_id: Option<&'a [u8]>,
    /// `client`: its address, as text.
    pub client: Option<&'a [u8]>,
    /// `listener`
    pub listener: Option<&'a str>,
    /// `protocol`
    pub protocol: Option<&'a str>,
    /// `method`
    pub method: Option<&'a str>,
    /// `host`
    pub host: Option<&'a [u8]>,
    /// `path`
    pub path: Option<&'a [u8]>,
    /// `route`
    pub route: Option<&'a str>,
    /// `upstream`
    pub upstream: Option<&'a str>,
    /// `endpoint`
    pub endpoint: Option<&'a str>,
    /// `attempts`
    pub attempts: Option<u32>,
    /// `status`
    pub status: Option<u16>,
    /// `reason`
    pub reason: Option<&'a str>,
    /// `bytes_in`: of the request's body.
    pub bytes_in: Option<u64>,
    /// `bytes_out`: of the answer's body.
    pub bytes_out: Option<u64>,
    /// `duration_ms`: of the whole exchange.
    pub duration: Option<Duration>,
    /// `wait_ms`: in queues of the gateway.
    pub wait: Option<Duration>,
    /// `connect_ms`: for a new connection to the endpoint.
    pub connect: Option<Duration>,
    /// `first_byte_ms`: until the head of the upstream's answer.
    pub first_byte: Option<Duration>,
    /// `user_agent`
    pub user_agent: Option<&'a [u8]>,
    /// `referer`
    pub referer: Option<&'a [u8]>,
}

macro_rules! log_fields {
    ($($variant:ident $key:literal)*) => {
        /// A key of the access log.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum LogField { $(#[doc = $key] $variant,)* }

        impl LogField {
            /// All of them, in the order of a line.
            pub const ALL: &'static [LogField] = &[$(LogField::$variant,)*];

            /// The key's name in the contract.
            #[must_use]
            pub const fn key(self) -> &'static str { match self { $(LogField::$variant => $key,)* } }
        }
    };
}

log_fields! {
    Time "time"
    RequestId "request_id"
    Client "client"
    Listener "listener"
    Protocol "protocol"
    Method "method"
    Host "host"
    Path "path"
    Route "route"
    Upstream "upstream"
    Endpoint "endpoint"
    Attempts "attempts"
    Status "status"
    Reason "reason"
    BytesIn "bytes_in"
    BytesOut "bytes_out"
    Duration "duration_ms"
    Wait "wait_ms"
    Connect "connect_ms"
    FirstByte "first_byte_ms"
    UserAgent "user_agent"
    Referer "referer"
}

/// One worker's lines on their way to the log. Dropping it hands over the rest.
#[derive(Debug)]
pub struct Buffer {
    bytes: Vec<u8>,
    lines: u64,
    stamp: Stamp,
    sender: Sender,
    /// Through these the writer gives emptied buffers back.
    back: SyncSender<Vec<u8>>,
    spare: Receiver<Vec<u8>>,
}

impl Buffer {
    /// An empty buffer that hands its lines to `sender`.
    #[must_use]
    pub fn new(sender: Sender) -> Buffer {
        let (back, spare) = sync_channel(BUFFERS);
        Buffer {
            bytes: Vec::new(),
            lines: 0,
            stamp: Stamp::new(),
            sender,
            back,
            spare,
        }
    }

    /// Adds a line; `wall_nanos` since 1970 become its `time`.
    pub fn push(&mut self, entry: &Entry<'_>, wall_nanos: u64) {
        self.bytes.extend_from_slice(b"{\"time\":\"");
        self.stamp.write(&mut self.bytes, wall_nanos);
        self.bytes.push(b'"');
        write_entry(&mut self.bytes, entry);
        self.bytes.extend_from_slice(b"}\n");
        self.lines += 1;
        if self.bytes.len() >= BUFFER_BYTES {
            self.flush();
        }
    }

    /// Hands over what there is. Never waits. The owner calls it every 100 ms.
    pub fn flush(&mut self) {
        if self.lines == 0 {
            return;
        }
        let next = self.spare.try_recv().unwrap_or_default();
        let bytes = std::mem::replace(&mut self.bytes, next);
        let lines = std::mem::take(&mut self.lines);
        self.sender.send(Batch {
            bytes,
            lines,
            back: self.back.clone(),
        });
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.flush();
    }
}

fn write_entry(out: &mut Vec<u8>, entry: &Entry<'_>) {
    text(out, b",\"request_id\":\"", entry.request_id);
    text(out, b",\"client\":\"", entry.client);
    text(out, b",\"listener\":\"", entry.listener.map(str::as_bytes));
    text(out, b",\"protocol\":\"", entry.protocol.map(str::as_bytes));
    text(out, b",\"method\":\"", entry.method.map(str::as_bytes));
    text(out, b",\"host\":\"", entry.host);
    text(out, b",\"path\":\"", entry.path);
    text(out, b",\"route\":\"", entry.route.map(str::as_bytes));
    text(out, b",\"upstream\":\"", entry.upstream.map(str::as_bytes));
    text(out, b",\"endpoint\":\"", entry.endpoint.map(str::as_bytes));
    number(out, b",\"attempts\":", entry.attempts);
    number(out, b",\"status\":", entry.status);
    text(out, b",\"reason\":\"", entry.reason.map(str::as_bytes));
    number(out, b",\"bytes_in\":", entry.bytes_in);
    number(out, b",\"bytes_out\":", entry.bytes_out);
    millis(out, b",\"duration_ms\":", entry.duration);
    millis(out, b",\"wait_ms\":", entry.wait);
    millis(out, b",\"connect_ms\":", entry.connect);
    millis(out, b",\"first_byte_ms\":", entry.first_byte);
    text(out, b",\"user_agent\":\"", entry.user_agent);
    text(out, b",\"referer\":\"", entry.referer);
}

/// `key` brings the comma before and the quotes around it.
#[inline]
fn text(out: &mut Vec<u8>, key: &[u8], value: Option<&[u8]>) {
    if let Some(value) = value {
        out.extend_from_slice(key);
        json::escape(out, &value[..value.len().min(VALUE_BYTES)]);
        out.push(b'"');
    }
}

#[inline]
fn number(out: &mut Vec<u8>, key: &[u8], value: Option<impl itoa::Integer>) {
    if let Some(value) = value {
        out.extend_from_slice(key);
        out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
    }
}

/// Milliseconds with three decimals: fast answers take less than one.
#[inline]
fn millis(out: &mut Vec<u8>, key: &[u8], value: Option<Duration>) {
    if let Some(value) = value {
        let micros = u64::try_from(value.as_micros()).unwrap_or(u64::MAX);
        number(out, key, Some(micros / 1000));
        let rest = (micros % 1000) as u16;
        out.extend_from_slice(&[
            b'.',
            b'0' + (rest / 100) as u8,
            b'0' + (rest / 10 % 10) as u8,
            b'0' + (rest % 10) as u8,
        ]);
    }
}

#[cfg(test)]
mod tests;

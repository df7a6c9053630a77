//! One line for each exchange, built by hand into a buffer that the worker owns and hands over whole.
//!
//! A worker never waits for the log: a buffer goes through a bounded queue to one writer thread, and where the
//! queue is full its lines are dropped and counted.

mod field;
mod shape;
#[cfg(test)]
mod tests;

use std::hash::{BuildHasher, RandomState};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use super::log_writer::Batch;
pub use super::log_writer::{LogPath, Sender, Writer};
use super::rfc3339::Stamp;
pub use field::LogField;
pub use shape::{Piece, Shape};

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
    /// `limit`
    pub limit: Option<&'a str>,
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
    /// `identity`: the subject of the client's certificate.
    pub identity: Option<&'a [u8]>,
    /// `user_agent`
    pub user_agent: Option<&'a [u8]>,
    /// `referer`
    pub referer: Option<&'a [u8]>,
}

/// One worker's lines on their way to the log. Dropping it hands over the rest.
#[derive(Debug)]
pub struct Buffer {
    bytes: Vec<u8>,
    lines: u64,
    stamp: Stamp,
    /// Decides which lines a sample keeps; never 0.
    random: u64,
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
            random: RandomState::new().hash_one(0) | 1,
            sender,
            back,
            spare,
        }
    }

    /// Adds a line in the form of `shape`, if its sample keeps it; `wall_nanos` since 1970 become its `time`.
    pub fn push(&mut self, entry: &Entry<'_>, wall_nanos: u64, shape: &Shape) {
        if !shape.keeps(entry, &mut self.random) {
            return;
        }
        shape.write(&mut self.bytes, &mut self.stamp, entry, wall_nanos);
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

//! HTTP/2 frames as their bytes pass (RFC 9113, section 4.1), below the library that understands them.
//!
//! Only the nine bytes of each head are looked at; nothing is kept or allocated. It tells two things that the library
//! does not: whether a header block was begun and not ended, and whether a peer makes work without getting on.

use crate::time::Nanos;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const CONTINUATION: u8 = 9;
const ACK: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// Bytes of a frame's head.
const HEAD: usize = 9;
/// Strain that a peer may make within [`WINDOW`].
const MOST: i64 = 1000;
const WINDOW: u64 = 1_000_000_000;
/// What is earned can be saved up to this: a client that was away for a moment acknowledges much at once.
const SAVED: i64 = 8 * MOST;
/// What each frame of ours lets the peer say: a window for the stream and one for the connection, and as much again.
const EARNED: i64 = 4;

/// The beginning of every HTTP/2 connection (RFC 9113, section 3.4).
pub const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// GOAWAY with ENHANCE_YOUR_CALM (RFC 9113, sections 6.8 and 7).
pub const CALM: u32 = 0xb;
const PROTOCOL_ERROR: u32 = 1;

/// Why a connection must end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The first frame is not SETTINGS (RFC 9113, section 3.4), which the library does not mind.
    NoSettings,
    /// Too much work without getting on.
    Flood,
}

impl Fault {
    /// The error code that GOAWAY tells (RFC 9113, section 7).
    #[must_use]
    pub fn code(self) -> u32 {
        match self {
            Fault::NoSettings => PROTOCOL_ERROR,
            Fault::Flood => CALM,
        }
    }

    /// The same in words.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Fault::NoSettings => "the first frame is not SETTINGS",
            Fault::Flood => "too many frames that ask for nothing",
        }
    }
}

/// The head of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Bytes that follow.
    pub length: u32,
    /// What it is.
    pub kind: u8,
    /// How it is meant.
    pub flags: u8,
    /// The stream that it belongs to; 0 is the connection.
    pub stream: u32,
}

/// Where in the frames one direction of a connection is.
pub struct Place {
    head: [u8; HEAD],
    have: usize,
    left: u32,
    kind: u8,
}

impl Place {
    /// Before the first frame, when `skipped` bytes that are no frame have passed.
    #[must_use]
    pub fn after(skipped: u32) -> Place {
        Place {
            head: [0; HEAD],
            have: 0,
            left: skipped,
            kind: DATA,
        }
    }

    /// Lets `bytes` pass, and shows each head that has become whole.
    pub fn pass(&mut self, mut bytes: &[u8], mut see: impl FnMut(Frame)) {
        while !bytes.is_empty() {
            let skipped = bytes
                .len()
                .min(usize::try_from(self.left).unwrap_or(usize::MAX));
            self.left -= skipped as u32;
            bytes = &bytes[skipped..];
            let taken = bytes.len().min(HEAD - self.have);
            self.head[self.have..self.have + taken].copy_from_slice(&bytes[..taken]);
            self.have += taken;
            bytes = &bytes[taken..];
            if self.have == HEAD {
                let frame = read(&self.head);
                (self.have, self.left, self.kind) = (0, frame.length, frame.kind);
                see(frame);
            }
        }
    }

    /// Does nothing of a frame hang over?
    #[must_use]
    pub fn is_between_frames(&self) -> bool {
        self.have == 0 && self.left == 0
    }
}

fn read(head: &[u8; HEAD]) -> Frame {
    let [a, b, c, kind, flags, s0, s1, s2, s3] = *head;
    Frame {
        length: u32::from_be_bytes([0, a, b, c]),
        kind,
        flags,
        stream: u32::from_be_bytes([s0 & 0x7f, s1, s2, s3]),
    }
}

/// What a peer does with its connection.
pub struct Conduct {
    received: Place,
    sent: Place,
    strain: i64,
    since: Nanos,
    blocks: u64,
    in_block: bool,
    frames: u64,
    last_stream: u32,
}

impl Conduct {
    /// Nothing has passed; the preface comes first. `now` begins the first window.
    #[must_use]
    pub fn new(now: Nanos) -> Conduct {
        Conduct {
            received: Place::after(PREFACE.len() as u32),
            sent: Place::after(0),
            strain: 0,
            since: now,
            blocks: 0,
            in_block: false,
            frames: 0,
            last_stream: 0,
        }
    }

    /// `bytes` came from the peer. The clock is read only when it makes much work.
    ///
    /// # Errors
    /// What the library would bear, and the gateway does not.
    pub fn receive(&mut self, bytes: &[u8], now: impl FnOnce() -> Nanos) -> Result<(), Fault> {
        let Conduct {
            received,
            strain,
            blocks,
            in_block,
            frames,
            last_stream,
            ..
        } = self;
        let mut begins_well = true;
        received.pass(bytes, |frame| {
            *frames += 1;
            begins_well &= *frames > 1 || (frame.kind == SETTINGS && frame.flags & ACK == 0);
            *strain += cost(frame);
            if matches!(frame.kind, HEADERS | CONTINUATION) {
                *blocks += u64::from(frame.kind == HEADERS);
                *in_block = frame.flags & END_HEADERS == 0;
                *last_stream = frame.stream.max(*last_stream);
            }
        });
        if !begins_well {
            return Err(Fault::NoSettings);
        }
        if self.strain <= MOST {
            return Ok(());
        }
        let now = now();
        let within = now.0.saturating_sub(self.since.0) < WINDOW;
        (self.since, self.strain) = (now, 0);
        if within { Err(Fault::Flood) } else { Ok(()) }
    }

    /// `bytes` went to the peer.
    pub fn send(&mut self, bytes: &[u8]) {
        let strain = &mut self.strain;
        self.sent.pass(bytes, |frame| *strain += price(frame));
        self.strain = self.strain.max(-SAVED);
    }

    /// The number of the header block that has begun and not ended.
    #[must_use]
    pub fn open_block(&self) -> Option<u64> {
        let in_head =
            matches!(self.received.kind, HEADERS | CONTINUATION) && self.received.left > 0;
        (self.in_block || in_head).then_some(self.blocks)
    }

    /// Has the peer's first frame come whole?
    #[must_use]
    pub fn has_begun(&self) -> bool {
        self.frames > 1 || (self.frames == 1 && self.received.left == 0)
    }

    /// The last word on the connection; `None` in the middle of a frame of ours.
    #[must_use]
    pub fn go_away(&self, code: u32, words: &str) -> Option<Vec<u8>> {
        if !self.sent.is_between_frames() {
            return None;
        }
        let length = 8 + words.len() as u32;
        let mut frame = Vec::with_capacity(HEAD + length as usize);
        frame.extend_from_slice(&length.to_be_bytes()[1..]);
        frame.extend_from_slice(&[7, 0, 0, 0, 0, 0]);
        frame.extend_from_slice(&self.last_stream.to_be_bytes());
        frame.extend_from_slice(&code.to_be_bytes());
        frame.extend_from_slice(words.as_bytes());
        Some(frame)
    }
}

/// What a frame of the peer's costs. Requests and bodies are what a connection is for: they are bounded elsewhere.
fn cost(frame: Frame) -> i64 {
    match frame.kind {
        HEADERS => 0,
        DATA if frame.length > 0 || frame.flags & END_STREAM != 0 => 0,
        // It cancels what a request began, or is answered by a frame.
        RST_STREAM | SETTINGS => 2,
        _ => 1,
    }
}

/// What a frame of ours tells about the peer: an answer is progress, a reset is the other kind of work.
fn price(frame: Frame) -> i64 {
    match frame.kind {
        HEADERS => -EARNED,
        DATA if frame.length > 0 => -EARNED,
        RST_STREAM => 2,
        _ => 0,
    }
}

#[cfg(test)]
mod tests;

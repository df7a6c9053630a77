//! A raw HTTP/2 client: it sends exactly the frames that it is told to, reads every frame strictly and decodes heads.

use std::collections::HashMap;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use loona_hpack::Decoder;
use rustls::ClientConnection;

use super::client::Response;
use super::wait::PATIENCE;
use super::wire::{Fields, Wire, is_timeout};

/// Kinds of frames (RFC 9113, section 6).
pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const PRIORITY: u8 = 2;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PUSH_PROMISE: u8 = 5;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;
/// Flags of frames.
pub(crate) const END_STREAM: u8 = 1;
pub(crate) const ACK: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;
pub(crate) const PADDED: u8 = 8;
pub(crate) const PRIORITISED: u8 = 0x20;
/// The whole of a request without a body.
pub(crate) const WHOLE: u8 = END_STREAM | END_HEADERS;
/// Error codes (RFC 9113, section 7).
pub(crate) const NO_ERROR: u32 = 0;
pub(crate) const PROTOCOL_ERROR: u32 = 1;
pub(crate) const FLOW_CONTROL_ERROR: u32 = 3;
pub(crate) const STREAM_CLOSED: u32 = 5;
pub(crate) const FRAME_SIZE_ERROR: u32 = 6;
pub(crate) const REFUSED_STREAM: u32 = 7;
pub(crate) const CANCEL: u32 = 8;
pub(crate) const COMPRESSION_ERROR: u32 = 9;
pub(crate) const ENHANCE_YOUR_CALM: u32 = 11;
pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// One frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

/// A frame as bytes.
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: impl AsRef<[u8]>) -> Vec<u8> {
    let payload = payload.as_ref();
    let mut bytes = u32::try_from(payload.len()).unwrap().to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// SETTINGS as bytes.
pub(crate) fn settings(pairs: &[(u16, u32)]) -> Vec<u8> {
    let payload: Vec<u8> = pairs
        .iter()
        .flat_map(|(key, value)| [&key.to_be_bytes()[..], &value.to_be_bytes()].concat())
        .collect();
    frame(SETTINGS, 0, 0, payload)
}

/// Fields as a header block: literals, neither indexed nor compressed (RFC 7541, section 6.2.2).
pub(crate) fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, value) in fields {
        bytes.push(0);
        for text in [name, value] {
            match text.len() {
                short @ 0..127 => bytes.push(short as u8),
                long => {
                    bytes.push(127);
                    let mut rest = long - 127;
                    while rest >= 128 {
                        bytes.push((rest % 128 + 128) as u8);
                        rest /= 128;
                    }
                    bytes.push(rest as u8);
                }
            }
            bytes.extend(text.bytes());
        }
    }
    bytes
}

/// The pseudo-fields of an ordinary request, and what else it says.
pub(crate) fn head<'a>(
    method: &'a str,
    path: &'a str,
    more: &[(&'a str, &'a str)],
) -> Vec<(&'a str, &'a str)> {
    let mut fields = vec![
        (":method", method),
        (":scheme", "http"),
        (":authority", "a.test"),
        (":path", path),
    ];
    fields.extend(more);
    fields
}

/// What is known of an answer so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct Answer {
    pub(crate) fields: Fields,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Fields,
    /// It has ended as it should.
    pub(crate) whole: bool,
    /// Reset by the gateway, with this code.
    pub(crate) reset: Option<u32>,
}

/// A client on one connection.
pub(crate) struct H2 {
    wire: Wire,
    ahead: Vec<u8>,
    decoder: Decoder<'static>,
    next: u32,
    answers: HashMap<u32, Answer>,
    block: Vec<u8>,
    /// What the gateway gave and we spent, beyond the first windows.
    windows: HashMap<u32, i64>,
    /// Gives windows for what it reads.
    pub(crate) takes: bool,
    /// What the gateway's SETTINGS said.
    pub(crate) settings: Vec<(u16, u32)>,
    /// Last stream, code and words of every GOAWAY.
    pub(crate) goaways: Vec<(u32, u32, String)>,
    /// Payloads of the PINGs that were answered.
    pub(crate) pongs: Vec<Vec<u8>>,
}

impl H2 {
    /// Connects and says nothing.
    pub(crate) fn silent(address: SocketAddr) -> H2 {
        let stream = TcpStream::connect_timeout(&address, PATIENCE).expect("the gateway accepts");
        H2::over(stream)
    }

    /// Takes over a connected socket.
    pub(crate) fn over(stream: TcpStream) -> H2 {
        H2 {
            wire: Wire::new(stream, |_| {}),
            ahead: Vec::new(),
            decoder: Decoder::new(),
            next: 1,
            answers: HashMap::new(),
            block: Vec::new(),
            windows: HashMap::new(),
            takes: true,
            settings: Vec::new(),
            goaways: Vec::new(),
            pongs: Vec::new(),
        }
    }

    /// Connects, and exchanges prefaces; `pairs` are its settings.
    pub(crate) fn with(address: SocketAddr, pairs: &[(u16, u32)]) -> H2 {
        let mut client = H2::silent(address);
        client.greet(pairs);
        client
    }

    /// Connects over TLS, which must have agreed on HTTP/2, and exchanges prefaces.
    pub(crate) fn secure(address: SocketAddr, session: ClientConnection) -> H2 {
        let mut client = H2::silent(address);
        client.wire.secure(session).expect("a handshake");
        let agreed = client.wire.session().and_then(|tls| tls.alpn_protocol());
        assert_eq!(agreed, Some(&b"h2"[..]));
        client.greet(&[]);
        client
    }

    fn greet(&mut self, pairs: &[(u16, u32)]) {
        self.send([PREFACE, &settings(pairs)].concat());
        self.until("SETTINGS of the gateway", |client| {
            !client.settings.is_empty()
        });
    }

    /// Connects, and exchanges prefaces.
    pub(crate) fn connect(address: SocketAddr) -> H2 {
        H2::with(address, &[])
    }

    /// Sends `bytes`.
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) -> &mut H2 {
        self.wire
            .send(bytes.as_ref())
            .expect("the gateway takes the bytes");
        self
    }

    /// Sends `bytes`; an error if the gateway closed.
    pub(crate) fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.wire.send(bytes.as_ref())
    }

    /// The number of a new stream.
    pub(crate) fn open(&mut self) -> u32 {
        self.next += 2;
        self.next - 2
    }

    /// Sends the head of a request; its body follows unless `flags` ends the stream.
    pub(crate) fn begin(&mut self, fields: &[(&str, &str)], flags: u8) -> u32 {
        let stream = self.open();
        self.send(frame(HEADERS, flags, stream, block(fields)));
        stream
    }

    /// Sends a GET.
    pub(crate) fn send_get(&mut self, path: &str) -> u32 {
        self.begin(&head("GET", path, &[]), WHOLE)
    }

    /// One GET and its answer.
    pub(crate) fn get(&mut self, path: &str) -> Response {
        let stream = self.send_get(path);
        self.response(stream)
    }

    /// One request with its body, in frames of at most 16 KiB and as windows allow, and its answer.
    pub(crate) fn ask(&mut self, fields: &[(&str, &str)], body: &[u8]) -> Response {
        let flags = if body.is_empty() { WHOLE } else { END_HEADERS };
        let stream = self.begin(fields, flags);
        let mut pieces = body.chunks(16 * 1024).peekable();
        while let Some(piece) = pieces.next() {
            self.until("a window", |client| {
                client.room(0).min(client.room(stream)) >= piece.len() as i64
                    || client.is_over(stream)
            });
            if self.is_over(stream) {
                break;
            }
            self.spend(stream, piece.len() as i64);
            let flags = u8::from(pieces.peek().is_none());
            self.send(frame(DATA, flags, stream, piece));
        }
        self.response(stream)
    }

    fn room(&self, stream: u32) -> i64 {
        let first = match stream {
            0 => 65_535,
            _ => self
                .settings
                .iter()
                .rev()
                .find(|(key, _)| *key == 4)
                .map_or(65_535, |(_, size)| i64::from(*size)),
        };
        first + self.windows.get(&stream).copied().unwrap_or_default()
    }

    fn spend(&mut self, stream: u32, bytes: i64) {
        *self.windows.entry(0).or_default() -= bytes;
        *self.windows.entry(stream).or_default() -= bytes;
    }

    fn is_over(&self, stream: u32) -> bool {
        let answer = self.answers.get(&stream);
        answer.is_some_and(|answer| answer.whole || answer.reset.is_some())
    }

    /// Reads the next frame; `None` at the end of the connection.
    pub(crate) fn read(&mut self) -> io::Result<Option<Frame>> {
        while self.ahead.len() < 9 || self.ahead.len() < 9 + length(&self.ahead) {
            let chunk = self.wire.some_bytes()?;
            if chunk.is_empty() {
                assert!(self.ahead.is_empty(), "the gateway closed inside a frame");
                return Ok(None);
            }
            self.ahead.extend(chunk);
        }
        let end = 9 + length(&self.ahead);
        let bytes: Vec<u8> = self.ahead.drain(..end).collect();
        let frame = Frame {
            kind: bytes[3],
            flags: bytes[4],
            stream: u32::from_be_bytes(bytes[5..9].try_into().unwrap()),
            payload: bytes[9..].to_vec(),
        };
        self.take(&frame);
        Ok(Some(frame))
    }

    fn take(&mut self, frame: &Frame) {
        let Frame {
            kind,
            flags,
            stream,
            payload,
        } = frame;
        let word = |at: usize| u32::from_be_bytes(payload[at..at + 4].try_into().unwrap());
        match *kind {
            HEADERS | CONTINUATION => {
                self.block.extend_from_slice(payload);
                if flags & END_HEADERS != 0 {
                    let block = std::mem::take(&mut self.block);
                    self.take_head(*stream, &block);
                }
            }
            DATA => {
                let answer = self.answers.entry(*stream).or_default();
                answer.body.extend_from_slice(payload);
                if self.takes && !payload.is_empty() {
                    let size = u32::try_from(payload.len()).unwrap().to_be_bytes();
                    let windows = [
                        super::h2::frame(WINDOW_UPDATE, 0, 0, size),
                        super::h2::frame(WINDOW_UPDATE, 0, *stream, size),
                    ];
                    let _ = self.try_send(windows.concat());
                }
            }
            WINDOW_UPDATE => *self.windows.entry(*stream).or_default() += i64::from(word(0)),
            RST_STREAM => self.answers.entry(*stream).or_default().reset = Some(word(0)),
            SETTINGS if flags & ACK == 0 => {
                let pairs = payload.chunks(6).map(|pair| {
                    let key = u16::from_be_bytes([pair[0], pair[1]]);
                    (key, u32::from_be_bytes(pair[2..].try_into().unwrap()))
                });
                self.settings.extend(pairs);
                let _ = self.try_send(super::h2::frame(SETTINGS, ACK, 0, []));
            }
            PING if flags & ACK == 0 => {
                let _ = self.try_send(super::h2::frame(PING, ACK, 0, payload));
            }
            PING => self.pongs.push(payload.clone()),
            GOAWAY => {
                let words = String::from_utf8_lossy(&payload[8..]).into_owned();
                self.goaways.push((word(0), word(4), words));
            }
            _ => {}
        }
        if matches!(*kind, HEADERS | DATA) && flags & END_STREAM != 0 {
            self.answers.entry(*stream).or_default().whole = true;
        }
    }

    fn take_head(&mut self, stream: u32, block: &[u8]) {
        let fields = self.decoder.decode(block).expect("a header block");
        let text = |bytes: Vec<u8>| bytes.into_iter().map(char::from).collect::<String>();
        let fields: Fields = fields
            .into_iter()
            .map(|(name, value)| (text(name), text(value)))
            .collect();
        let lower = |(name, _): &(String, String)| *name == name.to_ascii_lowercase();
        assert!(fields.iter().all(lower), "an upper-case name in {fields:?}");
        let answer = self.answers.entry(stream).or_default();
        if answer.fields.is_empty() {
            answer.fields = fields;
        } else {
            answer.trailers = fields;
        }
    }

    /// Reads frames until `done`; fails if that does not come.
    pub(crate) fn until(&mut self, what: &str, mut done: impl FnMut(&H2) -> bool) {
        while !done(self) {
            let frame = self
                .read()
                .unwrap_or_else(|error| panic!("{what}: {error}"));
            assert!(
                frame.is_some(),
                "{what}: closed after {:?}, {:?}",
                self.goaways,
                self.answers
            );
        }
    }

    /// What is known of the answer on `stream`.
    pub(crate) fn so_far(&self, stream: u32) -> Answer {
        self.answers.get(&stream).cloned().unwrap_or_default()
    }

    /// Reads frames until the stream has ended, one way or the other.
    pub(crate) fn answer(&mut self, stream: u32) -> Answer {
        self.until("the end of a stream", |client| client.is_over(stream));
        self.so_far(stream)
    }

    /// Reads a whole answer.
    pub(crate) fn response(&mut self, stream: u32) -> Response {
        let answer = self.answer(stream);
        assert!(answer.whole, "reset instead of answered: {answer:?}");
        Response::of_stream(answer)
    }

    /// Reads until the head of an answer is there.
    pub(crate) fn await_head(&mut self, stream: u32) -> Answer {
        self.until("the head of an answer", |client| {
            !client.so_far(stream).fields.is_empty()
        });
        self.so_far(stream)
    }

    /// Reads to the end of the connection and tells the code of the last GOAWAY; `None` without one.
    pub(crate) fn end(&mut self) -> Option<u32> {
        loop {
            match self.read() {
                Ok(Some(_)) => {}
                Err(error) if is_timeout(&error) => panic!("the connection is still open"),
                Ok(None) | Err(_) => return self.goaways.last().map(|(_, code, _)| *code),
            }
        }
    }

    /// True if the connection is alive: a PING comes back.
    pub(crate) fn is_alive(&mut self) -> bool {
        let mark = (self.pongs.len() as u64 + 77).to_be_bytes().to_vec();
        self.send(frame(PING, 0, 0, &mark));
        while let Ok(Some(_)) = self.read() {
            if self.pongs.contains(&mark) {
                return true;
            }
        }
        false
    }

    /// True if no frame and no end comes for this long.
    pub(crate) fn silent_for(&mut self, time: Duration) -> bool {
        self.wire.stream().set_read_timeout(Some(time)).unwrap();
        let silent = self.read().is_err_and(|error| is_timeout(&error));
        self.wire.stream().set_read_timeout(Some(PATIENCE)).unwrap();
        silent
    }
}

fn length(bytes: &[u8]) -> usize {
    u32::from_be_bytes([0, bytes[0], bytes[1], bytes[2]]) as usize
}

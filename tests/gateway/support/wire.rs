//! HTTP/1.1 as bytes on a socket, read strictly: what a careful peer would refuse fails here too.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use rustls::ClientConnection;

use super::wait::PATIENCE;

/// The start line and the fields of a message, in the order and the spelling of the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    /// The first line, without its end.
    pub(crate) start: String,
    /// Names and values; bytes beyond ASCII are read as Latin-1.
    pub(crate) fields: Fields,
}

impl Head {
    /// The value of the only field `name`; `None` if there is none. Fails if there are two.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        let all = self.all(name);
        assert!(all.len() < 2, "{name} stands twice: {all:?}");
        all.first().copied()
    }

    /// The values of every line of the field `name`, in order.
    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        let same = |field: &&(String, String)| field.0.eq_ignore_ascii_case(name);
        self.fields
            .iter()
            .filter(same)
            .map(|(_, value)| value.as_str())
            .collect()
    }

    /// True if the field `name` holds `token` as an element of its list, in any case of letters.
    pub(crate) fn lists(&self, name: &str, token: &str) -> bool {
        let lines = self.all(name);
        lines
            .iter()
            .flat_map(|line| line.split(','))
            .any(|element| element.trim().eq_ignore_ascii_case(token))
    }
}

/// How the end of a body is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// After this many bytes.
    Length(u64),
    /// By the last chunk.
    Chunked,
    /// By the end of the connection.
    Close,
}

impl Framing {
    /// What `head` says; without a word, `silent`. Fails for a head that says two things.
    pub(crate) fn of(head: &Head, silent: Framing) -> Framing {
        match (
            head.field("transfer-encoding"),
            head.field("content-length"),
        ) {
            (Some(coding), None) => {
                assert_eq!(coding, "chunked", "a coding that nobody asked for");
                Framing::Chunked
            }
            (None, Some(length)) => {
                Framing::Length(length.parse().expect("Content-Length is a number"))
            }
            (None, None) => silent,
            (Some(_), Some(_)) => panic!("both Transfer-Encoding and Content-Length: {head:?}"),
        }
    }
}

/// Fields or trailers: names and values, in the order of the wire.
pub(crate) type Fields = Vec<(String, String)>;

type Tap = Box<dyn FnMut(&[u8]) + Send>;

/// A socket and what was read from it ahead.
pub(crate) struct Wire {
    stream: TcpStream,
    /// What the bytes are sealed by; `None` in clear text.
    tls: Option<Box<ClientConnection>>,
    ahead: Vec<u8>,
    taken: usize,
    /// Called with everything that arrives, before anybody looks at it.
    tap: Tap,
}

impl Wire {
    pub(crate) fn new(stream: TcpStream, tap: impl FnMut(&[u8]) + Send + 'static) -> Wire {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Wire {
            stream,
            tls: None,
            ahead: Vec::new(),
            taken: 0,
            tap: Box::new(tap),
        }
    }

    /// Everything from here on goes through `session`, whose handshake is done at once.
    pub(crate) fn secure(&mut self, session: ClientConnection) -> io::Result<()> {
        let mut session = Box::new(session);
        while session.is_handshaking() {
            session.complete_io(&mut self.stream)?;
        }
        self.tls = Some(session);
        Ok(())
    }

    /// The session, where it is TLS.
    pub(crate) fn session(&self) -> Option<&ClientConnection> {
        self.tls.as_deref()
    }

    pub(crate) fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Writes all of `bytes`.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.tls {
            None => self.stream.write_all(bytes),
            Some(tls) => {
                let mut sealed = rustls::Stream::new(&mut **tls, &mut self.stream);
                sealed.write_all(bytes)?;
                sealed.flush()
            }
        }
    }

    /// Says that nothing more will come from here.
    pub(crate) fn half_close(&self) {
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// Closes with a reset instead of an end.
    pub(crate) fn reset(self) {
        let socket = socket2::SockRef::from(&self.stream);
        socket.set_linger(Some(Duration::ZERO)).unwrap();
    }

    fn ahead(&self) -> &[u8] {
        &self.ahead[self.taken..]
    }

    fn take(&mut self, count: usize) -> Vec<u8> {
        let bytes = self.ahead()[..count].to_vec();
        self.taken += count;
        bytes
    }

    /// Reads once; zero bytes at the end of the stream.
    fn fill(&mut self) -> io::Result<usize> {
        self.ahead.drain(..self.taken);
        self.taken = 0;
        let mut chunk = [0; 64 * 1024];
        let count = match &mut self.tls {
            None => self.stream.read(&mut chunk)?,
            Some(tls) => rustls::Stream::new(&mut **tls, &mut self.stream).read(&mut chunk)?,
        };
        (self.tap)(&chunk[..count]);
        self.ahead.extend_from_slice(&chunk[..count]);
        Ok(count)
    }

    /// Reads once or fails: the peer may not end here.
    fn fill_or_fail(&mut self) -> io::Result<()> {
        match self.fill()? {
            0 => Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the peer closed in the middle of a message",
            )),
            _ => Ok(()),
        }
    }

    /// Reads a head; `None` if the stream ended before its first byte.
    pub(crate) fn head(&mut self) -> io::Result<Option<Head>> {
        let end = loop {
            if let Some(at) = find(self.ahead(), b"\r\n\r\n") {
                break at;
            }
            if self.ahead().is_empty() {
                if self.fill()? == 0 {
                    return Ok(None);
                }
            } else {
                self.fill_or_fail()?;
            }
        };
        let text: String = self.take(end + 4)[..end]
            .iter()
            .map(|&byte| char::from(byte))
            .collect();
        let mut lines = text.split("\r\n");
        let start = lines.next().unwrap_or_default().to_owned();
        Ok(Some(Head {
            start,
            fields: lines.map(field).collect(),
        }))
    }

    fn line(&mut self) -> io::Result<String> {
        let end = loop {
            match find(self.ahead(), b"\r\n") {
                Some(at) => break at,
                None => self.fill_or_fail()?,
            }
        };
        let line = self.take(end + 2);
        Ok(String::from_utf8_lossy(&line[..end]).into_owned())
    }

    /// Reads exactly `count` bytes and gives them to `sink` as they come.
    fn exactly(&mut self, mut count: u64, sink: &mut dyn FnMut(&[u8])) -> io::Result<()> {
        while count > 0 {
            if self.ahead().is_empty() {
                self.fill_or_fail()?;
            }
            let here = self
                .ahead()
                .len()
                .min(usize::try_from(count).unwrap_or(usize::MAX));
            sink(&self.ahead()[..here]);
            self.taken += here;
            count -= here as u64;
        }
        Ok(())
    }

    /// Reads exactly `count` bytes.
    pub(crate) fn bytes(&mut self, count: usize) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::with_capacity(count);
        self.exactly(count as u64, &mut |more| bytes.extend_from_slice(more))?;
        Ok(bytes)
    }

    /// Reads what is there, at least a byte; nothing at the end of the stream.
    pub(crate) fn some_bytes(&mut self) -> io::Result<Vec<u8>> {
        if self.ahead().is_empty() {
            self.fill()?;
        }
        Ok(self.take_ahead())
    }

    /// What was read and not yet looked at.
    pub(crate) fn take_ahead(&mut self) -> Vec<u8> {
        self.take(self.ahead().len())
    }

    /// Reads a body to its end, gives it to `sink` as it comes and returns the trailers.
    pub(crate) fn body(
        &mut self,
        framing: Framing,
        sink: &mut dyn FnMut(&[u8]),
    ) -> io::Result<Fields> {
        match framing {
            Framing::Length(count) => self.exactly(count, sink).map(|()| Vec::new()),
            Framing::Close => self.read_to_end(sink).map(|()| Vec::new()),
            Framing::Chunked => loop {
                let line = self.line()?;
                let size = line.split(';').next().unwrap_or_default();
                let size = u64::from_str_radix(size, 16)
                    .map_err(|_| invalid(&format!("chunk size {line:?}")))?;
                if size == 0 {
                    return self.trailers();
                }
                self.exactly(size, sink)?;
                if !self.line()?.is_empty() {
                    return Err(invalid("a chunk that does not end where it should"));
                }
            },
        }
    }

    fn trailers(&mut self) -> io::Result<Fields> {
        let mut trailers = Vec::new();
        loop {
            match self.line()? {
                line if line.is_empty() => return Ok(trailers),
                line => trailers.push(field(&line)),
            }
        }
    }

    /// Reads until the peer closes and gives it to `sink` as it comes.
    pub(crate) fn read_to_end(&mut self, sink: &mut dyn FnMut(&[u8])) -> io::Result<()> {
        loop {
            sink(self.ahead());
            self.taken = self.ahead.len();
            if self.fill()? == 0 {
                return Ok(());
            }
        }
    }

    /// True if nothing comes, neither a byte nor the end, for this long.
    pub(crate) fn silent_for(&mut self, time: Duration) -> bool {
        if !self.ahead().is_empty() {
            return false;
        }
        let begin = Instant::now();
        self.stream.set_read_timeout(Some(time)).unwrap();
        let silent =
            self.fill().is_err_and(|error| is_timeout(&error)) && begin.elapsed() * 10 >= time * 9;
        self.stream.set_read_timeout(Some(PATIENCE)).unwrap();
        silent
    }

    /// Waits until the peer closed or reset the connection; bytes that come before are dropped.
    pub(crate) fn closed(&mut self) -> bool {
        match self.read_to_end(&mut |_| {}) {
            Ok(()) => true,
            Err(error) => !is_timeout(&error),
        }
    }
}

/// True for the error of a read or write that took too long.
pub(crate) fn is_timeout(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
    )
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack
        .windows(needle.len())
        .position(|window| window == needle)
}

fn field(line: &str) -> (String, String) {
    let (name, value) = line
        .split_once(':')
        .unwrap_or_else(|| panic!("a field without a colon: {line:?}"));
    let is_token = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic());
    assert!(is_token, "not a field name: {name:?}");
    (name.to_owned(), value.trim_matches([' ', '\t']).to_owned())
}

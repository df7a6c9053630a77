//! WebSocket (RFC 6455) on both sides of the gateway: a library's client, an upstream that echoes, and frames as bytes.

use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use tokio_tungstenite::tungstenite::client::{ClientRequestBuilder, client_with_config};
use tokio_tungstenite::tungstenite::handshake::client::Response as Answer;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{self, Error, Message, WebSocket};

use super::client::Client;
use super::upstream::{Peer, Request, Upstream, answer};
use super::wait::PATIENCE;

/// The key of the example in RFC 6455, section 1.3.
pub(crate) const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

/// What that key has to be answered with.
pub(crate) const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// Longer than any frame of a test; the library's own bounds are not what is tested.
const MOST: usize = 256 << 20;

/// The head of a client's opening handshake; a test says what is different in its own.
#[derive(Clone, Debug)]
pub(crate) struct Handshake {
    method: &'static str,
    target: String,
    version: &'static str,
    lines: Vec<(String, String)>,
}

impl Handshake {
    /// A handshake without a fault.
    pub(crate) fn to(target: &str) -> Handshake {
        let lines = [
            ("Host", "a.test"),
            ("Connection", "Upgrade"),
            ("Upgrade", "websocket"),
            ("Sec-WebSocket-Version", "13"),
            ("Sec-WebSocket-Key", KEY),
        ];
        Handshake {
            method: "GET",
            target: target.to_owned(),
            version: "HTTP/1.1",
            lines: lines
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .to_vec(),
        }
    }

    /// Another line.
    pub(crate) fn with(mut self, name: &str, value: &str) -> Handshake {
        self.lines.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Without the lines of this name.
    pub(crate) fn without(mut self, name: &str) -> Handshake {
        self.lines
            .retain(|(other, _)| !other.eq_ignore_ascii_case(name));
        self
    }

    /// Another value for a field.
    pub(crate) fn set(self, name: &str, value: &str) -> Handshake {
        self.without(name).with(name, value)
    }

    /// With another method.
    pub(crate) fn method(mut self, method: &'static str) -> Handshake {
        self.method = method;
        self
    }

    /// In another version of HTTP.
    pub(crate) fn version(mut self, version: &'static str) -> Handshake {
        self.version = version;
        self
    }

    /// The whole head.
    pub(crate) fn text(&self) -> String {
        let mut text = format!("{} {} {}\r\n", self.method, self.target, self.version);
        for (name, value) in &self.lines {
            text += &format!("{name}: {value}\r\n");
        }
        text + "\r\n"
    }
}

impl Client {
    /// Sends the handshake and reads its 101; what follows are frames.
    pub(crate) fn upgrade(&mut self, handshake: &Handshake) -> super::Response {
        self.send(handshake.text());
        self.expect_switch()
    }

    /// Reads the 101 to a handshake that was sent with [`KEY`].
    pub(crate) fn expect_switch(&mut self) -> super::Response {
        let head = self.head();
        assert_eq!(head.status, 101, "{:?}", *head);
        assert_eq!(head.field("sec-websocket-accept"), Some(ACCEPT));
        assert!(head.lists("connection", "upgrade"), "{:?}", *head);
        assert!(head.lists("upgrade", "websocket"), "{:?}", *head);
        assert_eq!(head.field("content-length"), None, "a 101 has no body");
        head
    }

    /// Sends `bytes` through the tunnel and waits until exactly they have come back.
    pub(crate) fn expect_echo(&mut self, bytes: &[u8]) {
        self.send(bytes);
        assert!(self.bytes(bytes.len()) == bytes, "not what was sent");
    }
}

impl Peer {
    /// Reads a handshake and answers it with 101 and further `lines`; `None` if the gateway left.
    pub(crate) fn accept(&mut self, lines: &str) -> Option<Request> {
        let request = self.request()?;
        self.send(switching(&request, lines)).ok()?;
        Some(request)
    }

    /// Sends back every byte as it comes, until the gateway ends its side.
    pub(crate) fn reflect(&mut self) {
        self.be_patient();
        while let Ok(bytes) = self.some_bytes() {
            if bytes.is_empty() || self.send(&bytes).is_err() {
                return;
            }
        }
    }

    /// Sends back every message, as the library understands it, until the gateway ends its side.
    pub(crate) fn echo_messages(&mut self) {
        self.be_patient();
        let ahead = self.take_ahead();
        let config = Some(config());
        let mut socket = WebSocket::from_partially_read(self.writer(), ahead, Role::Server, config);
        while let Ok(message) = socket.read() {
            if (message.is_text() || message.is_binary()) && socket.send(message).is_err() {
                return;
            }
        }
    }
}

/// The 101 to `request`, with further `lines`.
pub(crate) fn switching(request: &Request, lines: &str) -> String {
    let key = request.field("sec-websocket-key").expect("a key");
    let accept = derive_accept_key(key.as_bytes());
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\n{lines}\r\n"
    )
}

/// An upstream whose WebSockets send every message back, and whose other answers are `served`.
pub(crate) fn echoing() -> Upstream {
    Upstream::start(|peer| serve_or(peer, Peer::echo_messages))
}

/// An upstream whose WebSockets send every byte back, and whose other answers are `served`.
pub(crate) fn reflecting() -> Upstream {
    Upstream::start(|peer| serve_or(peer, Peer::reflect))
}

fn serve_or(peer: &mut Peer, converse: impl Fn(&mut Peer)) {
    while let Some(request) = peer.request() {
        if request.lists("upgrade", "websocket") {
            if peer.send(switching(&request, "")).is_ok() {
                converse(peer);
            }
            return;
        }
        if peer.body(&request).is_err() || peer.send(answer(200, "served")).is_err() {
            return;
        }
    }
}

/// A client of a library that reads strictly: it masks, checks the handshake's answer, joins fragments, answers pings.
pub(crate) struct Chat {
    socket: WebSocket<TcpStream>,
    /// The 101.
    pub(crate) answer: Answer,
}

impl Chat {
    /// Opens a WebSocket.
    pub(crate) fn open(address: SocketAddr, target: &str) -> Chat {
        Chat::open_with(address, target, |request| request)
    }

    /// Opens a WebSocket by a handshake that has more to say.
    pub(crate) fn open_with(
        address: SocketAddr,
        target: &str,
        more: impl FnOnce(ClientRequestBuilder) -> ClientRequestBuilder,
    ) -> Chat {
        let stream = TcpStream::connect_timeout(&address, PATIENCE).expect("the gateway accepts");
        stream.set_read_timeout(Some(3 * PATIENCE)).unwrap();
        stream.set_write_timeout(Some(3 * PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        let uri = format!("ws://{address}{target}").parse().unwrap();
        let request = more(ClientRequestBuilder::new(uri));
        let (socket, answer) =
            client_with_config(request, stream, Some(config())).expect("a WebSocket");
        Chat { socket, answer }
    }

    /// Sends `message`.
    pub(crate) fn send(&mut self, message: impl Into<Message>) {
        self.socket.send(message.into()).expect("it is taken");
    }

    /// Reads the next message, pings and pongs too.
    pub(crate) fn read(&mut self) -> Message {
        self.try_read().expect("a message")
    }

    /// Reads the next message; an error when the WebSocket has ended.
    pub(crate) fn try_read(&mut self) -> tungstenite::Result<Message> {
        self.socket.read()
    }

    /// Sends `message` and fails unless the same comes back.
    pub(crate) fn expect_echo(&mut self, message: impl Into<Message>) {
        let message = message.into();
        self.send(message.clone());
        let came = self.read();
        assert!(came == message, "{} bytes came back", came.len());
    }

    /// Closes as the protocol says, and waits until the other side has closed too.
    pub(crate) fn close(mut self) {
        self.socket.close(None).expect("it is taken");
        loop {
            match self.socket.read() {
                Ok(_) => {}
                Err(Error::ConnectionClosed) => return,
                Err(error) => panic!("not an orderly close: {error}"),
            }
        }
    }

    /// The socket below.
    pub(crate) fn stream(&self) -> &TcpStream {
        self.socket.get_ref()
    }

    /// True if neither a message nor the end comes for this long.
    pub(crate) fn silent_for(&mut self, time: Duration) -> bool {
        self.stream().set_read_timeout(Some(time)).unwrap();
        let silent = self
            .try_read()
            .is_err_and(|error| matches!(error, Error::Io(error) if super::is_timeout(&error)));
        self.stream().set_read_timeout(Some(3 * PATIENCE)).unwrap();
        silent
    }
}

fn config() -> WebSocketConfig {
    WebSocketConfig::default()
        .max_message_size(Some(MOST))
        .max_frame_size(Some(MOST))
}

/// What a frame is (RFC 6455, section 11.8).
#[derive(Clone, Copy, Debug)]
pub(crate) enum Opcode {
    /// A further fragment.
    Continuation = 0,
    /// A text, or its first fragment.
    Text = 1,
    /// A binary message, or its first fragment.
    Binary = 2,
    /// The last frame of a side.
    Close = 8,
    /// The question for life.
    Ping = 9,
    /// The answer to it.
    Pong = 10,
}

/// A client's frame, masked by a key of its own.
pub(crate) fn masked(opcode: Opcode, is_last: bool, payload: &[u8]) -> Vec<u8> {
    const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
    let mut bytes = frame_head(opcode, is_last, payload.len(), 0x80);
    bytes.extend_from_slice(&MASK);
    let hidden = payload.iter().zip(MASK.iter().cycle());
    bytes.extend(hidden.map(|(byte, mask)| byte ^ mask));
    bytes
}

/// An upstream's frame.
pub(crate) fn plain(opcode: Opcode, is_last: bool, payload: &[u8]) -> Vec<u8> {
    let mut bytes = frame_head(opcode, is_last, payload.len(), 0);
    bytes.extend_from_slice(payload);
    bytes
}

fn frame_head(opcode: Opcode, is_last: bool, length: usize, masked: u8) -> Vec<u8> {
    let first = opcode as u8 | if is_last { 0x80 } else { 0 };
    match u16::try_from(length) {
        Ok(short @ 0..126) => vec![first, masked | short as u8],
        Ok(middle) => {
            let [high, low] = middle.to_be_bytes();
            vec![first, masked | 126, high, low]
        }
        Err(_) => {
            let mut bytes = vec![first, masked | 127];
            bytes.extend_from_slice(&(length as u64).to_be_bytes());
            bytes
        }
    }
}

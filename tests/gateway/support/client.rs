//! A raw client: it sends exactly the bytes that it is told to, and reads answers strictly.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::ops::Deref;
use std::time::Duration;

use rustls::ClientConnection;

use super::h2::Answer;
use super::wait::PATIENCE;
use super::wire::{Fields, Framing, Head, Wire, is_timeout};

/// An answer, read to its end.
#[derive(Clone, Debug)]
pub(crate) struct Response {
    head: Head,
    /// The status code.
    pub(crate) status: u16,
    /// The body, without its framing.
    pub(crate) body: Vec<u8>,
    /// The trailers of a chunked body.
    pub(crate) trailers: Fields,
}

impl Deref for Response {
    type Target = Head;

    fn deref(&self) -> &Head {
        &self.head
    }
}

impl Response {
    fn new(head: Head) -> Response {
        let mut words = head.start.splitn(3, ' ');
        let version = words.next().unwrap_or_default();
        assert!(
            version == "HTTP/1.1" || version == "HTTP/1.0",
            "not a status line: {:?}",
            head.start
        );
        let status = words
            .next()
            .and_then(|word| word.parse().ok())
            .expect("a status code");
        Response {
            head,
            status,
            body: Vec::new(),
            trailers: Vec::new(),
        }
    }

    /// An answer on a stream of HTTP/2.
    pub(crate) fn of_stream(answer: Answer) -> Response {
        let (pseudo, fields): (Fields, Fields) = answer
            .fields
            .into_iter()
            .partition(|(name, _)| name.starts_with(':'));
        let [(name, status)] = &pseudo[..] else {
            panic!("pseudo-fields of an answer: {pseudo:?}")
        };
        assert_eq!(name, ":status");
        let of_connections = ["connection", "keep-alive", "transfer-encoding", "upgrade"];
        for (name, _) in &fields {
            assert!(!of_connections.contains(&name.as_str()), "{fields:?}");
        }
        Response {
            status: status.parse().expect("a status code"),
            head: Head {
                start: format!("HTTP/2 {status}"),
                fields,
            },
            body: answer.body,
            trailers: answer.trailers,
        }
    }

    /// The body as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error} in {:?}", self.text()))
    }

    /// `X-Gateway-Reason`, empty if there is none.
    pub(crate) fn reason(&self) -> &str {
        self.field("x-gateway-reason").unwrap_or_default()
    }

    /// Fails unless this is the gateway's own answer with this status and reason, told in every place.
    pub(crate) fn expect_refusal(&self, status: u16, reason: &str) {
        assert_eq!(
            (self.status, self.reason()),
            (status, reason),
            "{:?} {}",
            self.head,
            self.text()
        );
        assert_eq!(self.field("content-type"), Some("application/problem+json"));
        assert!(
            self.field("proxy-status").is_some(),
            "no Proxy-Status: {:?}",
            self.head
        );
        let problem = self.json();
        assert_eq!(problem["status"], status);
        assert_eq!(problem["reason"], reason);
        for key in ["type", "title", "request_id"] {
            assert!(
                problem[key].as_str().is_some_and(|text| !text.is_empty()),
                "no {key} in {problem}"
            );
        }
    }

    /// Fails unless the status is 200; returns the answer.
    pub(crate) fn expect_ok(self) -> Response {
        assert_eq!(self.status, 200, "{:?} {}", self.head, self.text());
        self
    }
}

/// A raw client on one connection.
pub(crate) struct Client {
    wire: Wire,
}

impl Client {
    /// Connects.
    pub(crate) fn connect(address: SocketAddr) -> Client {
        let stream = TcpStream::connect_timeout(&address, PATIENCE).expect("the gateway accepts");
        Client {
            wire: Wire::new(stream, |_| {}),
        }
    }

    /// Takes over a connected socket.
    pub(crate) fn over(stream: TcpStream) -> Client {
        Client {
            wire: Wire::new(stream, |_| {}),
        }
    }

    /// Connects from another address of this machine, such as 127.0.0.2.
    pub(crate) fn connect_from(source: IpAddr, address: SocketAddr) -> Client {
        let socket = socket2::Socket::new(
            socket2::Domain::for_address(address),
            socket2::Type::STREAM,
            None,
        )
        .unwrap();
        socket.bind(&SocketAddr::new(source, 0).into()).unwrap();
        socket
            .connect_timeout(&address.into(), PATIENCE)
            .expect("the gateway accepts");
        Client {
            wire: Wire::new(socket.into(), |_| {}),
        }
    }

    /// Connects with a small receive buffer, so that not reading is felt at the other end soon.
    pub(crate) fn connect_narrow(address: SocketAddr) -> Client {
        let socket = socket2::Socket::new(
            socket2::Domain::for_address(address),
            socket2::Type::STREAM,
            None,
        )
        .unwrap();
        socket.set_recv_buffer_size(8 * 1024).unwrap();
        socket
            .connect_timeout(&address.into(), PATIENCE)
            .expect("the gateway accepts");
        Client {
            wire: Wire::new(socket.into(), |_| {}),
        }
    }

    /// Connects and does a TLS handshake; an error if that fails.
    pub(crate) fn secure(address: SocketAddr, session: ClientConnection) -> io::Result<Client> {
        let mut client = Client::connect(address);
        client.wire.secure(session)?;
        Ok(client)
    }

    /// The TLS session.
    pub(crate) fn session(&self) -> &ClientConnection {
        self.wire.session().expect("a connection over TLS")
    }

    /// A second handle on the socket, to write from another thread.
    pub(crate) fn writer(&self) -> TcpStream {
        self.wire.stream().try_clone().unwrap()
    }

    /// Sends `bytes`.
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) -> &mut Client {
        self.wire
            .send(bytes.as_ref())
            .expect("the gateway takes the bytes");
        self
    }

    /// Sends `bytes`; an error if the gateway closed.
    pub(crate) fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.wire.send(bytes.as_ref())
    }

    /// Sends a GET without a body.
    pub(crate) fn send_get(&mut self, target: &str) -> &mut Client {
        self.send(format!("GET {target} HTTP/1.1\r\nHost: a.test\r\n\r\n"))
    }

    /// Sends a GET without a body and reads the answer.
    pub(crate) fn get(&mut self, target: &str) -> Response {
        self.send_get(target).response()
    }

    /// Sends a GET without a body and reads the answer; an error if the connection breaks.
    pub(crate) fn try_get(&mut self, target: &str) -> io::Result<Response> {
        self.try_send(format!("GET {target} HTTP/1.1\r\nHost: a.test\r\n\r\n"))?;
        self.try_response()
    }

    /// Sends `request` and reads the answer.
    pub(crate) fn ask(&mut self, request: impl AsRef<[u8]>) -> Response {
        self.send(request).response()
    }

    /// Reads the next head, 1xx too, and nothing of a body.
    pub(crate) fn head(&mut self) -> Response {
        let head = self.wire.head().expect("a whole head");
        Response::new(head.expect("an answer instead of the end of the connection"))
    }

    /// Reads one answer to anything but HEAD.
    pub(crate) fn response(&mut self) -> Response {
        self.try_response().expect("a whole answer")
    }

    /// Reads one answer to anything but HEAD; an error if it breaks off.
    pub(crate) fn try_response(&mut self) -> io::Result<Response> {
        let head = self.wire.head()?.ok_or(io::ErrorKind::ConnectionAborted)?;
        let mut response = Response::new(head);
        assert!(
            response.status >= 200,
            "an interim answer that nobody asked for: {:?}",
            response.head
        );
        self.rest(&mut response)?;
        Ok(response)
    }

    /// Reads the body that belongs to a head read before.
    pub(crate) fn rest(&mut self, response: &mut Response) -> io::Result<()> {
        if response.status == 204 || response.status == 304 {
            return Ok(());
        }
        let framing = Framing::of(&response.head, Framing::Close);
        let mut body = Vec::new();
        response.trailers = self
            .wire
            .body(framing, &mut |bytes| body.extend_from_slice(bytes))?;
        response.body = body;
        Ok(())
    }

    /// Reads the body that belongs to a head read before, gives it to `sink` as it comes.
    pub(crate) fn stream_rest(
        &mut self,
        head: &Response,
        sink: &mut dyn FnMut(&[u8]),
    ) -> io::Result<()> {
        self.wire
            .body(Framing::of(head, Framing::Close), sink)
            .map(|_| ())
    }

    /// Reads exactly `count` bytes, of whatever protocol.
    pub(crate) fn bytes(&mut self, count: usize) -> Vec<u8> {
        self.wire.bytes(count).expect("so many bytes")
    }

    /// Reads until the gateway closes.
    pub(crate) fn read_to_end(&mut self) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.wire
            .read_to_end(&mut |more| bytes.extend_from_slice(more))?;
        Ok(bytes)
    }

    /// Reads until the gateway closes, gives it to `sink` as it comes.
    pub(crate) fn stream_to_end(&mut self, sink: &mut dyn FnMut(&[u8])) -> io::Result<()> {
        self.wire.read_to_end(sink)
    }

    /// Fails unless the gateway closes the connection without sending anything more.
    pub(crate) fn expect_closed(&mut self) {
        let mut bytes = Vec::new();
        let end = self
            .wire
            .read_to_end(&mut |more| bytes.extend_from_slice(more));
        assert!(
            bytes.is_empty(),
            "more than nothing: {:?}",
            String::from_utf8_lossy(&bytes)
        );
        assert!(
            !end.is_err_and(|error| is_timeout(&error)),
            "the connection is still open"
        );
    }

    /// True if neither a byte nor the end comes for this long.
    pub(crate) fn silent_for(&mut self, time: Duration) -> bool {
        self.wire.silent_for(time)
    }

    /// Says that nothing more will come from here.
    pub(crate) fn half_close(&self) {
        self.wire.half_close();
    }

    /// Leaves with a reset.
    pub(crate) fn reset(self) {
        self.wire.reset();
    }
}

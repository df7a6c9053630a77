//! The IO wrapper below an upstream connection: remembers the head just sent, so that it can be sent once more.
//!
//! An upstream may close a pooled connection at the very moment in which a request leaves on it. hyper consumes the
//! request as it writes it; a copy of the few bytes that went out costs far less than a clone of the fields would, and
//! only the one request in thousands that meets a dying connection pays for reading it back.

use std::cell::{Cell, RefCell};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::{Method, Request, Uri};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::http::guard::write_gathered;
use crate::http::upload::RequestBody;

/// Heads beyond this are not remembered.
const MOST: usize = 64 * 1024;

/// What is remembered of one connection's last request.
#[derive(Default)]
pub struct Tap {
    armed: Cell<bool>,
    head: RefCell<Vec<u8>>,
    answered: Cell<bool>,
}

impl Tap {
    /// The next write carries the whole head of a request without a body.
    pub fn arm(&self) {
        self.armed.set(true);
        self.answered.set(false);
        self.head.borrow_mut().clear();
    }

    /// The next request cannot be replayed.
    pub fn disarm(&self) {
        self.armed.set(false);
        self.answered.set(false);
        self.head.borrow_mut().clear();
    }

    /// Did any byte come back since?
    pub fn answered(&self) -> bool {
        self.answered.get()
    }

    /// Could the last request be rebuilt?
    pub fn remembers(&self) -> bool {
        self.head.borrow().ends_with(b"\r\n\r\n")
    }

    /// The remembered request, rebuilt from its bytes.
    pub fn replay(&self) -> Option<Request<RequestBody>> {
        rebuild(&self.head.borrow())
    }

    fn note(&self, bufs: &[IoSlice<'_>]) {
        if self.armed.replace(false) {
            let mut head = self.head.borrow_mut();
            head.clear();
            if bufs.iter().map(|b| b.len()).sum::<usize>() <= MOST {
                for buf in bufs {
                    head.extend_from_slice(buf);
                }
            }
        }
    }
}

/// Reads back what hyper's own encoder wrote; anything else gives `None`.
fn rebuild(bytes: &[u8]) -> Option<Request<RequestBody>> {
    let text = bytes.strip_suffix(b"\r\n\r\n")?;
    let mut lines = text
        .split(|b| *b == b'\n')
        .map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let mut words = lines.next()?.split(|b| *b == b' ');
    let method = Method::from_bytes(words.next()?).ok()?;
    let uri = Uri::try_from(words.next()?).ok()?;
    let mut headers = HeaderMap::new();
    for line in lines {
        let colon = line.iter().position(|b| *b == b':')?;
        let name = HeaderName::from_bytes(&line[..colon]).ok()?;
        headers.append(
            name,
            HeaderValue::from_bytes(line[colon + 1..].trim_ascii()).ok()?,
        );
    }
    let mut request = Request::new(RequestBody::Empty);
    *request.method_mut() = method;
    *request.uri_mut() = uri;
    *request.headers_mut() = headers;
    Some(request)
}

/// An upstream's socket, as hyper sees it.
pub(super) struct TappedStream<S> {
    stream: S,
    tap: Rc<Tap>,
}

impl<S> TappedStream<S> {
    pub(super) fn new(stream: S, tap: Rc<Tap>) -> TappedStream<S> {
        TappedStream { stream, tap }
    }

    /// The bare stream.
    pub(super) fn into_inner(self) -> S {
        self.stream
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for TappedStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let result = Pin::new(&mut self.stream).poll_read(cx, buf);
        if buf.filled().len() > before {
            self.tap.answered.set(true);
        }
        result
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for TappedStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.tap.note(&[IoSlice::new(buf)]);
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.tap.note(bufs);
        write_gathered(Pin::new(&mut self.stream), cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_read_back_field_for_field() {
        let request = rebuild(
            b"GET /a%20b?x=1 HTTP/1.1\r\nhost: a.test\r\nx-a: 1\r\nx-a: 2:3\r\nx-empty: \r\n\r\n",
        )
        .unwrap();
        assert_eq!(request.method(), Method::GET);
        assert_eq!(request.uri(), "/a%20b?x=1");
        let values: Vec<&str> = request
            .headers()
            .get_all("x-a")
            .iter()
            .map(|v| v.to_str().unwrap())
            .collect();
        assert_eq!(values, ["1", "2:3"]);
        assert_eq!(request.headers()["x-empty"], "");
    }

    #[test]
    fn half_a_head_is_not_replayed() {
        assert!(rebuild(b"").is_none());
        assert!(rebuild(b"GET / HTTP/1.1\r\nhost: a\r\n").is_none());
    }
}

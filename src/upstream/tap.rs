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

use super::permits::Permit;
use crate::http::guard::write_gathered;
use crate::http::upload::RequestBody;

/// Heads beyond this are not remembered.
const MOST: usize = 64 * 1024;
const BLANK_LINE: &[u8] = b"\r\n\r\n";

/// What is remembered of one connection's last request.
#[derive(Default)]
pub struct Tap {
    armed: Cell<bool>,
    head: RefCell<Vec<u8>>,
    answered: Cell<bool>,
    /// Is anything of an earlier request still to be written? Then the next write does not begin with a head.
    unflushed: Cell<bool>,
}

impl Tap {
    /// The head of the next request is remembered.
    pub fn arm(&self) {
        self.expect();
        self.armed.set(true);
    }

    /// The next request cannot be replayed.
    pub fn disarm(&self) {
        self.expect();
        self.armed.set(false);
    }

    /// Did any byte come back since?
    #[must_use]
    pub fn answered(&self) -> bool {
        self.answered.get()
    }

    /// Was the whole head seen?
    #[must_use]
    pub fn remembers(&self) -> bool {
        end_of_head(&self.head.borrow()).is_some()
    }

    /// The remembered request, rebuilt from its bytes, with a body that must be the same as before. `None` unless its
    /// whole head was seen.
    #[must_use]
    pub fn replay(&self, body: RequestBody) -> Option<Request<RequestBody>> {
        rebuild(&self.head.borrow(), body)
    }

    fn expect(&self) {
        self.answered.set(false);
        self.head.borrow_mut().clear();
    }

    /// hyper offers a head whole and in a buffer of its own, with what it has of the body in others behind.
    fn note(&self, bufs: &[IoSlice<'_>]) {
        let unflushed = self.unflushed.replace(true);
        if self.armed.replace(false) && !unflushed {
            let mut head = self.head.borrow_mut();
            for buf in bufs {
                if head.len() + buf.len() > MOST {
                    break;
                }
                head.extend_from_slice(buf);
                if head.ends_with(BLANK_LINE) {
                    break;
                }
            }
        }
    }
}

fn end_of_head(bytes: &[u8]) -> Option<usize> {
    bytes
        .windows(BLANK_LINE.len())
        .position(|four| four == BLANK_LINE)
}

/// Reads back what hyper's own encoder wrote; anything else gives `None`.
fn rebuild(bytes: &[u8], body: RequestBody) -> Option<Request<RequestBody>> {
    let mut lines = bytes[..end_of_head(bytes)?]
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
    let mut request = Request::new(body);
    *request.method_mut() = method;
    *request.uri_mut() = uri;
    *request.headers_mut() = headers;
    Some(request)
}

/// An upstream's socket, as hyper sees it.
pub(super) struct TappedStream<S> {
    stream: S,
    tap: Rc<Tap>,
    /// Below the stream: dropped when that is closed.
    permit: Option<Rc<Permit>>,
}

impl<S> TappedStream<S> {
    pub(super) fn new(stream: S, tap: Rc<Tap>, permit: Option<Rc<Permit>>) -> TappedStream<S> {
        TappedStream {
            stream,
            tap,
            permit,
        }
    }

    /// The bare stream, and its permit.
    pub(super) fn into_parts(self) -> (S, Option<Rc<Permit>>) {
        (self.stream, self.permit)
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

    /// hyper flushes when it has nothing left to write.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.tap.unflushed.set(false);
        // TLS may hold what it has encrypted; a bare socket holds nothing.
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::VecDeque;

    use proptest::prelude::*;

    const HEAD: &[u8] =
        b"PUT /a%20b?x=1 HTTP/1.1\r\nhost: a.test\r\nx-a: 1\r\nx-a: 2:3\r\nx-empty: \r\n\r\n";

    /// Takes so many bytes of each write; then it must be asked again.
    struct Slow(VecDeque<usize>);

    impl AsyncWrite for Slow {
        fn poll_write(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            buf: &[u8],
        ) -> Poll<io::Result<usize>> {
            match self.0.pop_front() {
                Some(most) => Poll::Ready(Ok(most.min(buf.len()))),
                None => Poll::Pending,
            }
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    fn tapped(takes: impl IntoIterator<Item = usize>) -> TappedStream<Slow> {
        let slow = Slow(takes.into_iter().collect());
        TappedStream::new(slow, Rc::default(), None)
    }

    fn write(stream: &mut TappedStream<Slow>, bufs: &[&[u8]]) -> usize {
        let bufs: Vec<IoSlice<'_>> = bufs.iter().map(|buf| IoSlice::new(buf)).collect();
        let mut cx = Context::from_waker(std::task::Waker::noop());
        match Pin::new(stream).poll_write_vectored(&mut cx, &bufs) {
            Poll::Ready(Ok(written)) => written,
            _ => 0,
        }
    }

    fn flush(stream: &mut TappedStream<Slow>) {
        let mut cx = Context::from_waker(std::task::Waker::noop());
        assert!(Pin::new(stream).poll_flush(&mut cx).is_ready());
    }

    fn check(request: &Request<RequestBody>) {
        assert_eq!(request.method(), Method::PUT);
        assert_eq!(request.uri(), "/a%20b?x=1");
        let all = request.headers().get_all("x-a");
        assert_eq!(all.iter().collect::<Vec<_>>(), ["1", "2:3"]);
        assert_eq!(request.headers()["x-empty"], "");
        assert_eq!(request.headers().len(), 4);
    }

    #[test]
    fn a_head_is_read_back_field_for_field() {
        check(&rebuild(HEAD, RequestBody::Empty).unwrap());
        let followed = [HEAD, b"\r\n\r\nGET /other HTTP/1.1\r\n\r\n"].concat();
        check(&rebuild(&followed, RequestBody::Empty).unwrap());
    }

    #[test]
    fn half_a_head_is_not_replayed() {
        for len in 0..HEAD.len() {
            assert!(rebuild(&HEAD[..len], RequestBody::Empty).is_none(), "{len}");
        }
    }

    proptest! {
        /// Wherever hyper's buffers and the socket cut: the whole head or none is remembered, and nothing of the body.
        #[test]
        fn a_head_is_remembered_whole_or_not_at_all(
            cuts in prop::collection::vec(0..HEAD.len() + 40, 0..4),
            takes in prop::collection::vec(0..200_usize, 0..4),
            body in prop::sample::select(vec![&b""[..], b"x\r\n\r\ny", b"\r\n\r\n", &[b'x'; 4000]]),
        ) {
            let sent = [HEAD, body].concat();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(sent.len())).collect();
            cuts.extend([0, sent.len()]);
            cuts.sort_unstable();
            let bufs: Vec<&[u8]> = cuts.windows(2).map(|ends| &sent[ends[0]..ends[1]]).collect();
            let mut stream = tapped(takes);
            let tap = stream.tap.clone();
            tap.arm();
            write(&mut stream, &bufs);
            prop_assert!(tap.remembers());
            check(&tap.replay(RequestBody::Empty).unwrap());
        }
    }

    #[test]
    fn only_the_first_write_is_remembered() {
        let mut stream = tapped([20, 1000]);
        let tap = stream.tap.clone();
        tap.arm();
        let first = write(&mut stream, &[&HEAD[..30]]);
        assert_eq!(first, 20);
        write(&mut stream, &[&HEAD[first..]]);
        assert!(!tap.remembers(), "it came in two pieces");
    }

    #[test]
    fn a_write_that_begins_with_the_rest_of_another_request_is_not_remembered() {
        let mut stream = tapped([10, 1000, 1000]);
        let tap = stream.tap.clone();
        write(
            &mut stream,
            &[
                b"a body that is not yet gone: ",
                b"GET /evil HTTP/1.1\r\n\r\n",
            ],
        );
        tap.arm();
        write(&mut stream, &[b"GET /evil HTTP/1.1\r\n\r\n", HEAD]);
        assert!(!tap.remembers());
        flush(&mut stream);
        tap.arm();
        write(&mut stream, &[HEAD]);
        check(&tap.replay(RequestBody::Empty).unwrap());
    }

    #[test]
    fn a_new_request_forgets_the_last() {
        let mut stream = tapped([1000]);
        let tap = stream.tap.clone();
        tap.arm();
        write(&mut stream, &[HEAD]);
        assert!(tap.remembers());
        tap.disarm();
        assert!(!tap.remembers());
    }

    #[test]
    fn a_head_beyond_the_bound_is_not_remembered() {
        let long = [b"GET /", &vec![b'x'; MOST][..], b" HTTP/1.1\r\n\r\n"].concat();
        let mut stream = tapped([]);
        let tap = stream.tap.clone();
        tap.arm();
        write(&mut stream, &[&long]);
        assert!(!tap.remembers());
    }
}

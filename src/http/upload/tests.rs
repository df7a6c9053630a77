//! Uploads from a real hyper connection whose other end is scripted: what each attempt sees when one begins anew.

use std::convert::Infallible;
use std::future::{Future, pending};

use http::{Request, Response};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use proptest::prelude::*;
use tokio::io::{AsyncWrite, DuplexStream};

use super::*;

/// A client that has sent the head of a request with a chunked body.
struct Client {
    socket: DuplexStream,
    connection: Pin<Box<dyn Future<Output = ()>>>,
    timers: Rc<Timers>,
}

fn cx() -> Context<'static> {
    Context::from_waker(Waker::noop())
}

impl Client {
    fn open(rules: Rules) -> (Client, Rc<Upload>) {
        Client::open_with(rules, "trailer: x-sum\r\ntransfer-encoding: chunked")
    }

    fn open_with(rules: Rules, fields: &str) -> (Client, Rc<Upload>) {
        let (socket, served) = tokio::io::duplex(1 << 20);
        let arrived: Rc<RefCell<Option<Incoming>>> = Rc::default();
        let slot = arrived.clone();
        let service = service_fn(move |request: Request<Incoming>| {
            *slot.borrow_mut() = Some(request.into_body());
            pending::<Result<Response<RequestBody>, Infallible>>()
        });
        let connection = http1::Builder::new().serve_connection(TokioIo::new(served), service);
        let mut client = Client {
            socket,
            connection: Box::pin(async move { drop(connection.await) }),
            timers: Timers::new(),
        };
        client.send(format!("PUT / HTTP/1.1\r\nhost: a\r\n{fields}\r\n\r\n").as_bytes());
        let incoming = arrived.borrow_mut().take().unwrap();
        let upload = Upload::new(incoming, rules, false, &client.timers, time::now());
        (client, upload)
    }

    fn send(&mut self, bytes: &[u8]) {
        let sent = Pin::new(&mut self.socket).poll_write(&mut cx(), bytes);
        assert!(matches!(sent, Poll::Ready(Ok(n)) if n == bytes.len()));
        self.turn();
    }

    fn send_chunk(&mut self, bytes: &[u8]) {
        let framed = [format!("{:x}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat();
        self.send(&framed);
    }

    fn turn(&mut self) {
        let _ = self.connection.as_mut().poll(&mut cx());
    }

    /// The next frame, if one is there.
    fn read(&mut self, body: &mut RequestBody) -> Poll<Option<Result<Frame<Bytes>, UploadError>>> {
        match Pin::new(&mut *body).poll_frame(&mut cx()) {
            Poll::Pending => {
                self.turn();
                Pin::new(body).poll_frame(&mut cx())
            }
            ready @ Poll::Ready(_) => ready,
        }
    }
}

const NO_RULES: Rules = Rules {
    max: None,
    gap: None,
    min_rate: None,
    end_is_marked: false,
};
const LAST_CHUNK: &[u8] = b"0\r\nx-sum: 7\r\n\r\n";

/// What one attempt has seen.
#[derive(Debug, Default, PartialEq)]
struct Seen {
    bytes: Vec<u8>,
    sum: Option<String>,
    ended: bool,
}

impl Seen {
    /// Takes note of what was read; `false` when there is nothing more for now.
    fn note(&mut self, read: Poll<Option<Result<Frame<Bytes>, UploadError>>>) -> bool {
        match read {
            Poll::Pending => return false,
            Poll::Ready(None) => self.ended = true,
            Poll::Ready(Some(Err(error))) => panic!("{error}"),
            Poll::Ready(Some(Ok(frame))) => {
                assert!(!self.ended && self.sum.is_none());
                match frame.data_ref() {
                    Some(data) => self.bytes.extend_from_slice(data),
                    None => {
                        let sum = &frame.trailers_ref().unwrap()["x-sum"];
                        self.sum = Some(sum.to_str().unwrap().to_owned());
                    }
                }
            }
        }
        !self.ended
    }
}

#[derive(Clone, Debug)]
enum Step {
    /// The client sends so many bytes of its body, or its end.
    Send(usize),
    /// The attempt under way reads so many frames.
    Read(usize),
    /// An attempt fails, and the next begins.
    Rewind,
    /// An answer's head came.
    Answer,
    /// Connections of earlier attempts still poll.
    OldOnesRead,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (1..300_usize).prop_map(Step::Send),
        5 => (1..6_usize).prop_map(Step::Read),
        2 => Just(Step::Rewind),
        1 => Just(Step::Answer),
        2 => Just(Step::OldOnesRead),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// However the client's bytes come and whenever an attempt fails: the last attempt that there can be sees the whole
    /// body with its trailers, the others its beginning, and nothing is counted twice.
    #[test]
    fn no_attempt_sees_a_truncated_or_doubled_body(
        len in 0..2000_usize,
        limit in 0..2500_u64,
        copied in any::<bool>(),
        steps in prop::collection::vec(step(), 0..40),
    ) {
        let whole: Vec<u8> = (0..len).map(|i| (i % 251) as u8).collect();
        let rules = Rules { max: Some(len as u64), ..NO_RULES };
        let (mut client, upload) = Client::open(rules);
        let copy = copied.then(|| upload.copy());
        upload.keep_for_replay(limit);
        let mut body = upload.hand_out();
        let (mut old, mut answered) = (Vec::new(), false);
        let (mut seen, mut sent, mut closed) = (Seen::default(), 0, false);
        for step in steps {
            match step {
                Step::Send(count) => {
                    let end = (sent + count).min(len);
                    if sent < end {
                        client.send_chunk(&whole[sent..end]);
                    } else if !std::mem::replace(&mut closed, true) {
                        client.send(LAST_CHUNK);
                    }
                    sent = end;
                }
                Step::Read(count) => for _ in 0..count {
                    if seen.ended || !seen.note(client.read(&mut body)) {
                        break;
                    }
                },
                Step::Rewind => {
                    let fits = upload.bytes() <= limit && !answered;
                    prop_assert_eq!(upload.can_rewind(), fits);
                    let next = upload.rewind();
                    prop_assert_eq!(next.is_some(), fits);
                    if let Some(next) = next {
                        old.push(std::mem::replace(&mut body, next));
                        seen = Seen::default();
                    }
                }
                Step::Answer => {
                    upload.answer_began();
                    answered = true;
                }
                Step::OldOnesRead => for old in &mut old {
                    let read = client.read(old);
                    prop_assert!(matches!(read, Poll::Ready(Some(Err(_)))), "{:?}", read);
                    prop_assert!(!old.is_end_stream());
                },
            }
            prop_assert_eq!(&seen.bytes, &whole[..seen.bytes.len()]);
            prop_assert!(upload.bytes() <= len as u64);
        }
        if sent < len {
            client.send_chunk(&whole[sent..]);
        }
        if !closed {
            client.send(LAST_CHUNK);
        }
        upload.answer_began();
        prop_assert!(upload.rewind().is_none());
        while !seen.ended && seen.note(client.read(&mut body)) {}
        let sum = Some("7".to_owned());
        prop_assert_eq!(&seen, &Seen { bytes: whole.clone(), sum: sum.clone(), ended: true });
        prop_assert_eq!(upload.progress(), Progress::Done);
        prop_assert_eq!(upload.bytes(), len as u64);
        prop_assert!(upload.is_read_whole() && body.is_end_stream());
        if let Some(copy) = copy {
            let (mut copy, mut copied) = (RequestBody::Copy(copy), Seen::default());
            while copied.note(client.read(&mut copy)) {}
            prop_assert_eq!(copied, Seen { bytes: whole, sum, ended: true });
        }
    }
}

#[test]
fn a_body_that_was_sent_whole_is_sent_whole_again() {
    let (mut client, upload) = Client::open(NO_RULES);
    upload.keep_for_replay(100);
    client.send_chunk(b"hello ");
    client.send_chunk(b"world");
    client.send(LAST_CHUNK);
    for _ in 0..3 {
        let mut body = upload.rewind().unwrap();
        assert_eq!(upload.progress(), Progress::Streaming);
        assert!(!body.is_end_stream());
        let mut seen = Seen::default();
        while seen.note(client.read(&mut body)) {}
        assert_eq!(seen.bytes, b"hello world");
        assert_eq!(seen.sum.as_deref(), Some("7"));
        assert_eq!(upload.progress(), Progress::Done);
    }
    assert_eq!(upload.bytes(), 11);
    // What was read from the client to its end leaves nothing unread, even if no attempt got it.
    assert!(upload.rewind().is_some() && upload.is_read_whole());
    assert!(upload.stop().is_none() && upload.rewind().is_none());
}

#[test]
fn an_empty_chunked_body_is_sent_again() {
    let (mut client, upload) = Client::open(NO_RULES);
    upload.keep_for_replay(0);
    client.send(b"0\r\n\r\n");
    let mut body = upload.hand_out();
    for _ in 0..3 {
        assert!(!body.is_end_stream(), "hyper would leave the framing out");
        assert!(matches!(client.read(&mut body), Poll::Ready(None)));
        assert!(body.is_end_stream());
        body = upload.rewind().unwrap();
    }
}

#[test]
fn without_being_asked_for_nothing_is_kept() {
    let (mut client, upload) = Client::open(NO_RULES);
    client.send_chunk(b"hello");
    assert!(!upload.can_rewind() && upload.rewind().is_none());
    let mut body = upload.hand_out();
    assert!(Seen::default().note(client.read(&mut body)));
    assert!(upload.rewind().is_none());
    assert!(
        matches!(client.read(&mut body), Poll::Pending),
        "it goes on"
    );
}

#[test]
fn a_body_that_says_it_is_too_long_is_not_kept() {
    let (_client, upload) = Client::open_with(NO_RULES, "content-length: 101");
    upload.keep_for_replay(100);
    assert!(!upload.can_rewind());
    upload.keep_for_replay(101);
    assert!(upload.can_rewind());
}

#[test]
fn a_broken_upload_is_not_begun_anew() {
    let (mut client, upload) = Client::open(Rules {
        max: Some(4),
        ..NO_RULES
    });
    upload.keep_for_replay(100);
    client.send_chunk(b"hello");
    let mut body = upload.hand_out();
    assert!(matches!(client.read(&mut body), Poll::Ready(Some(Err(_)))));
    assert_eq!(upload.progress(), Progress::TooLarge);
    assert!(!upload.can_rewind() && upload.rewind().is_none());
}

#[test]
fn the_connection_of_the_last_attempt_is_woken_to_its_end() {
    let count = std::sync::Arc::new(Count::default());
    let waker = Waker::from(count.clone());
    let (_client, upload) = Client::open(NO_RULES);
    upload.keep_for_replay(100);
    let mut body = upload.hand_out();
    let mut cx = Context::from_waker(&waker);
    assert!(Pin::new(&mut body).poll_frame(&mut cx).is_pending());
    assert!(upload.rewind().is_some());
    assert_eq!(count.0.load(std::sync::atomic::Ordering::Relaxed), 1);
    assert!(matches!(
        Pin::new(&mut body).poll_frame(&mut cx),
        Poll::Ready(Some(Err(_)))
    ));
}

#[derive(Default)]
struct Count(std::sync::atomic::AtomicUsize);

impl std::task::Wake for Count {
    fn wake(self: std::sync::Arc<Self>) {
        self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    }
}

/// Between two attempts nobody reads: that is no pause of the client, which is measured anew.
#[test]
fn the_clients_pause_is_measured_anew() {
    let hour = Duration::from_secs(3600);
    let rules = Rules {
        gap: Some(hour),
        ..NO_RULES
    };
    let (mut client, upload) = Client::open(rules);
    upload.keep_for_replay(100);
    let mut body = upload.hand_out();
    client.send_chunk(b"hello");
    let mut seen = Seen::default();
    while seen.note(client.read(&mut body)) {}
    let mut body = upload.rewind().unwrap();
    let mut at = time::now().plus(hour * 2);
    client.timers.advance(at);
    let mut seen = Seen::default();
    while seen.note(client.read(&mut body)) {}
    assert_eq!(seen.bytes, b"hello");
    assert_eq!(upload.progress(), Progress::Streaming);
    at = at.plus(hour * 2);
    client.timers.advance(at);
    assert!(matches!(client.read(&mut body), Poll::Ready(Some(Err(_)))));
    assert_eq!(upload.progress(), Progress::TooSlow);
}

/// Bytes that were sent twice were given by the client once: they do not pay for its slowness.
#[test]
fn a_replayed_body_earns_no_time() {
    let rate = (10, Duration::ZERO);
    let rules = Rules {
        min_rate: Some(rate),
        end_is_marked: false,
        ..NO_RULES
    };
    let (mut client, upload) = Client::open(rules);
    upload.keep_for_replay(100);
    client.send_chunk(&[b'x'; 20]);
    let mut body = upload.hand_out();
    for _ in 0..5 {
        let mut seen = Seen::default();
        while seen.note(client.read(&mut body)) {}
        assert_eq!(seen.bytes.len(), 20);
        body = upload.rewind().unwrap();
    }
    assert_eq!(upload.bytes(), 20);
    assert_eq!(
        upload.rate_broken_at(Duration::ZERO),
        Some(Duration::from_secs(2))
    );
}

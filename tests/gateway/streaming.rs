//! Bodies stream: the gateway holds little of them, waits for the slow side, and changes no byte.

use std::io::Write;
use std::net::TcpStream;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use crate::support::{Client, Gate, Gateway, Report, Setup, Upstream, answer, scale, until};

const MIB: u64 = 1 << 20;
/// The gateway may grow by this much, whatever the size of a body.
const GROWTH: u64 = 32 * MIB;

/// A sum over all bytes and their places, so that a lost, doubled or moved piece is noticed.
#[derive(Default)]
struct Digest {
    count: u64,
    sum: u64,
}

impl Digest {
    fn add(&mut self, bytes: &[u8]) {
        for block in bytes {
            self.count += 1;
            self.sum = self.sum.wrapping_mul(31).wrapping_add(u64::from(*block));
        }
    }

    fn text(&self) -> String {
        format!("{} {:x}", self.count, self.sum)
    }
}

/// Piece number `number` of a long body: its length and its content depend on the number.
fn piece(number: u64) -> Vec<u8> {
    let length = 1 + (number * 7919) % 65_536;
    vec![u8::try_from(number % 251).unwrap(); usize::try_from(length).unwrap()]
}

/// Writes pieces until `total` bytes are out, chunked or plain, and returns their digest.
fn write_pieces(
    stream: &mut TcpStream,
    total: u64,
    chunked: bool,
    moved: &AtomicU64,
) -> std::io::Result<String> {
    let mut digest = Digest::default();
    let mut number = 0;
    while digest.count < total {
        let mut bytes = piece(number);
        bytes.truncate(usize::try_from(total - digest.count).unwrap());
        digest.add(&bytes);
        number += 1;
        if chunked {
            let framed = [format!("{:x}\r\n", bytes.len()).as_bytes(), &bytes, b"\r\n"].concat();
            stream.write_all(&framed)?;
        } else {
            stream.write_all(&bytes)?;
        }
        moved.store(digest.count, Ordering::SeqCst);
    }
    if chunked {
        stream.write_all(b"0\r\n\r\n")?;
    }
    Ok(digest.text())
}

/// Waits until a count has not moved for a while: everybody waits for somebody.
fn await_standstill(moved: &AtomicU64) {
    let mut last = (0, std::time::Instant::now());
    until(Duration::from_secs(20), "a standstill", || {
        let now = moved.load(Ordering::SeqCst);
        if now != last.0 {
            last = (now, std::time::Instant::now());
        }
        now > 0 && last.1.elapsed() > Duration::from_millis(300)
    });
}

fn expect_small_growth(gateway: &Gateway, before: u64, when: &str) {
    let grown = gateway.rss().saturating_sub(before);
    assert!(grown < GROWTH, "grown by {} KiB {when}", grown / 1024);
}

fn upload(chunked: bool) {
    let total = scale(64, 1024) * MIB;
    let gate = Gate::default();
    let shut = gate.clone();
    let upstream = Upstream::start(move |peer| {
        while let Some(request) = peer.request() {
            let mut digest = Digest::default();
            if request.method == "POST" {
                shut.pass();
            }
            if peer
                .stream_body(&request, &mut |bytes| digest.add(bytes))
                .is_err()
            {
                return;
            }
            let _ = peer.send(answer(200, &digest.text()));
        }
    });
    let gateway = Setup::to(upstream.address()).route("max_body: off").start();
    gateway.get("/warm").expect_ok();
    let before = gateway.rss();
    let mut client = gateway.client();
    let framing = if chunked {
        "Transfer-Encoding: chunked".into()
    } else {
        format!("Content-Length: {total}")
    };
    client.send(format!(
        "POST /up HTTP/1.1\r\nHost: a.test\r\n{framing}\r\n\r\n"
    ));
    let mut writer = client.writer();
    let moved = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&moved);
    let sending = thread::spawn(move || write_pieces(&mut writer, total, chunked, &counted));
    await_standstill(&moved);
    assert!(
        moved.load(Ordering::SeqCst) < total,
        "nobody holds the client back"
    );
    expect_small_growth(&gateway, before, "while the upstream does not read");
    gate.open();
    let sent = sending.join().unwrap().expect("all of it goes out");
    assert_eq!(client.response().expect_ok().text(), sent);
    expect_small_growth(&gateway, before, "after all of it");
    let line = gateway.await_access("path", "/up");
    assert!(line["bytes_in"].as_u64().unwrap() >= total, "{line}");
}

#[test]
fn a_long_upload_with_a_length() {
    upload(false);
}

#[test]
fn a_long_upload_in_chunks() {
    upload(true);
}

fn download(chunked: bool) {
    let total = scale(64, 1024) * MIB;
    let (say, digest) = mpsc::channel();
    let say = std::sync::Mutex::new(say);
    let moved = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&moved);
    let upstream = Upstream::start(move |peer| {
        while let Some((request, _)) = peer.whole_request() {
            if request.target == "/warm" {
                let _ = peer.send(answer(200, "warm"));
                continue;
            }
            let framing = if chunked {
                "Transfer-Encoding: chunked".into()
            } else {
                format!("Content-Length: {total}")
            };
            let _ = peer.send(format!("HTTP/1.1 200 OK\r\n{framing}\r\n\r\n"));
            let sent = write_pieces(&mut peer.writer(), total, chunked, &counted);
            say.lock()
                .unwrap()
                .send(sent.expect("all of it goes out"))
                .unwrap();
        }
    });
    let gateway = Setup::to(upstream.address()).start();
    gateway.get("/warm").expect_ok();
    let before = gateway.rss();
    let mut client = Client::connect_narrow(gateway.address());
    let head = client.send_get("/down").head();
    await_standstill(&moved);
    assert!(
        moved.load(Ordering::SeqCst) < total,
        "nobody holds the upstream back"
    );
    expect_small_growth(&gateway, before, "while the client does not read");
    let mut got = Digest::default();
    client
        .stream_rest(&head, &mut |bytes| got.add(bytes))
        .expect("all of it comes");
    assert_eq!(got.text(), digest.recv().unwrap());
    expect_small_growth(&gateway, before, "after all of it");
    client.get("/warm").expect_ok();
    let line = gateway.await_access("path", "/down");
    assert!(line["bytes_out"].as_u64().unwrap() >= total, "{line}");
    let counted = gateway
        .metric("tidegate_response_bytes_total", &[("route", "all")])
        .unwrap();
    #[allow(clippy::cast_precision_loss)]
    let total = total as f64;
    assert!(counted >= total, "{counted} of {total}");
}

#[test]
fn a_long_answer_with_a_length() {
    download(false);
}

#[test]
fn a_long_answer_in_chunks() {
    download(true);
}

#[test]
fn both_directions_at_once() {
    let total = scale(8, 256) * MIB;
    let upstream = Upstream::start(|peer| {
        let Some(request) = peer.request() else {
            return;
        };
        let _ = peer.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        let mut writer = peer.writer();
        let echoed = peer.stream_body(&request, &mut |bytes| {
            let framed = [format!("{:x}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat();
            writer
                .write_all(&framed)
                .expect("the gateway takes the echo");
        });
        if echoed.is_ok() {
            let _ = peer.send("0\r\n\r\n");
            peer.closed();
        }
    });
    let gateway = Setup::to(upstream.address()).route("max_body: off").start();
    let before = gateway.rss();
    let mut client = gateway.client();
    client.send("POST /both HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n");
    let mut writer = client.writer();
    let sending = thread::spawn(move || write_pieces(&mut writer, total, true, &AtomicU64::new(0)));
    let head = client.head();
    assert_eq!(
        head.status, 200,
        "the head comes while the body is still going out"
    );
    let mut got = Digest::default();
    client
        .stream_rest(&head, &mut |bytes| got.add(bytes))
        .expect("all of it comes back");
    assert_eq!(got.text(), sending.join().unwrap().unwrap());
    expect_small_growth(&gateway, before, "after both");
}

#[test]
fn each_piece_passes_when_it_comes() {
    let next = Arc::new(std::sync::Barrier::new(2));
    let step = Arc::clone(&next);
    let upstream = Upstream::start(move |peer| {
        if peer.whole_request().is_none() {
            return;
        }
        let _ = peer.send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n");
        for number in 0..5 {
            let _ = peer.send(format!("9\r\ndata: {number}\n\n\r\n"));
            step.wait();
        }
        let _ = peer.send("0\r\n\r\n");
        peer.closed();
    });
    let gateway = Setup::to(upstream.address()).start();
    let mut client = gateway.client();
    let head = client.send_get("/events").head();
    let mut text = String::new();
    client
        .stream_rest(&head, &mut |bytes| {
            text.push_str(std::str::from_utf8(bytes).unwrap());
            // The upstream sends the next event only after this one has come.
            if text.ends_with("\n\n") {
                next.wait();
            }
        })
        .expect("all events come");
    assert_eq!(text.matches("data:").count(), 5);
}

#[test]
fn small_bodies_keep_their_framing() {
    let echo = crate::support::Echo::start("app");
    let gateway = Setup::to(echo.address()).start();
    let mut client = gateway.client();
    let head = "POST / HTTP/1.1\r\nHost: a.test\r\n";
    let report = Report::of(client.ask(format!("{head}Content-Length: 5\r\n\r\nhello")));
    assert_eq!(
        (report.body(), report.field("content-length")),
        ("hello", Some("5"))
    );
    assert_eq!(report.field("transfer-encoding"), None);
    let report = Report::of(client.ask(format!(
        "{head}Transfer-Encoding: chunked\r\n\r\n5;ext=1\r\nhello\r\n0\r\n\r\n"
    )));
    assert_eq!(
        (report.body(), report.field("transfer-encoding")),
        ("hello", Some("chunked"))
    );
    let report = Report::of(client.ask(format!("{head}Content-Length: 0\r\n\r\n")));
    assert_eq!(
        (report.body(), report.field("content-length")),
        ("", Some("0"))
    );
    let get = "GET / HTTP/1.1\r\nHost: a.test\r\n";
    let report = Report::of(client.ask(format!("{get}Content-Length: 5\r\n\r\nhello")));
    assert_eq!((report.method(), report.body()), ("GET", "hello"));
    let report = Report::of(client.ask(format!(
        "{get}Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
    )));
    assert_eq!(
        (report.method(), report.body()),
        ("GET", "hello"),
        "a body of unknown length stays with its GET"
    );
    let report = Report::of(client.ask(format!("{get}\r\n")));
    assert_eq!(
        (
            report.field("content-length"),
            report.field("transfer-encoding")
        ),
        (None, None)
    );
}

//! Who does not read is waited for, not stored for: the other side is slowed down, and a deadline ends it.

use std::io::Write;
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::{
    Client, Gate, Gateway, Handshake, PATIENCE, Setup, Upstream, is_timeout, scale, until,
};

use super::{ALL, CLOSES, OPEN, before};

const MIB: u64 = 1 << 20;

/// What the kernel's buffers of both connections may take, with room.
const IN_SOCKETS: u64 = 24 * MIB;

/// What the gateway may hold for a socket whose reader is slow.
const HELD: u64 = 128 * 1024;

/// Memory that comes with any work at all: the program's own pages at their first use are most of it.
const WORK: u64 = 16 * MIB;

/// A stream of bytes in which every place can be told from its neighbours.
fn block(from: u64, length: usize) -> Vec<u8> {
    (from..)
        .take(length)
        .map(|place| (place % 253) as u8)
        .collect()
}

/// Writes `total` bytes of the stream, counting them in `moved`.
fn pour(stream: &mut TcpStream, total: u64, moved: &AtomicU64) -> std::io::Result<()> {
    let mut at = 0;
    while at < total {
        let length = (total - at).min(64 * 1024);
        stream.write_all(&block(at, length as usize))?;
        at += length;
        moved.store(at, Ordering::SeqCst);
    }
    Ok(())
}

/// Fails unless `bytes` go on with the stream at `at`; moves it on.
fn expect_stream(at: &mut u64, bytes: &[u8]) {
    assert!(bytes == block(*at, bytes.len()), "wrong behind byte {at}");
    *at += bytes.len() as u64;
}

/// Waits until nothing has moved for a while: everybody waits for somebody.
fn await_standstill(moved: impl Fn() -> u64) {
    let mut last = (0, Instant::now());
    until(3 * PATIENCE, "a standstill", || {
        let now = moved();
        if now != last.0 {
            last = (now, Instant::now());
        }
        now > 0 && last.1.elapsed() > Duration::from_millis(400)
    });
}

fn open_narrow(gateway: &Gateway) -> Client {
    let mut client = Client::connect_narrow(gateway.address());
    client.upgrade(&Handshake::to("/"));
    client
}

/// An upstream that pours `total` bytes into every socket, as fast as they are taken.
fn pouring(total: u64, moved: &Arc<AtomicU64>) -> Upstream {
    let moved = Arc::clone(moved);
    Upstream::start(move |peer| {
        if peer.accept("").is_some() {
            peer.be_patient();
            let _ = pour(&mut peer.writer(), total, &moved);
            peer.half_close();
            peer.closed();
        }
    })
}

#[test]
fn a_client_that_does_not_read_slows_the_upstream_down() {
    let total = scale(64 * MIB, 1024 * MIB);
    let moved = Arc::new(AtomicU64::new(0));
    let upstream = pouring(total, &moved);
    let gateway = Setup::to(upstream.address())
        .listener("timeouts: { write: 60s }")
        .start();
    let rss = gateway.rss();
    let mut client = open_narrow(&gateway);
    await_standstill(|| moved.load(Ordering::SeqCst));
    let taken = moved.load(Ordering::SeqCst);
    assert!(taken < IN_SOCKETS, "{taken} bytes went nowhere");
    let grown = gateway.rss().saturating_sub(rss);
    assert!(grown < WORK, "{grown} bytes more");
    let mut at = 0;
    client
        .stream_to_end(&mut |bytes| expect_stream(&mut at, bytes))
        .unwrap();
    assert_eq!(at, total, "nothing is lost, nothing is changed");
    let grown = gateway.rss().saturating_sub(rss);
    assert!(grown < WORK, "{grown} bytes more at the end");
}

#[test]
fn an_upstream_that_does_not_read_slows_the_client_down() {
    let total = scale(64 * MIB, 1024 * MIB);
    let gate = Gate::default();
    let shut = gate.clone();
    let upstream = Upstream::start(move |peer| {
        if peer.accept("").is_none() {
            return;
        }
        shut.pass();
        let mut at = 0;
        loop {
            let bytes = peer.some_bytes().unwrap();
            if bytes.is_empty() {
                break;
            }
            expect_stream(&mut at, &bytes);
        }
        assert_eq!(at, total);
        peer.send("done").unwrap();
    });
    let gateway = before(&upstream);
    let rss = gateway.rss();
    let mut client = gateway.client();
    client.upgrade(&Handshake::to("/"));
    let moved = Arc::new(AtomicU64::new(0));
    let (mut writer, counted) = (client.writer(), Arc::clone(&moved));
    writer.set_write_timeout(None).unwrap();
    let pouring = thread::spawn(move || pour(&mut writer, total, &counted));
    await_standstill(|| moved.load(Ordering::SeqCst));
    let taken = moved.load(Ordering::SeqCst);
    assert!(taken < IN_SOCKETS, "{taken} bytes went nowhere");
    let grown = gateway.rss().saturating_sub(rss);
    assert!(grown < WORK, "{grown} bytes more");
    gate.open();
    pouring.join().unwrap().unwrap();
    client.half_close();
    assert_eq!(client.read_to_end().unwrap(), b"done");
}

#[test]
fn many_slow_readers_take_little_each() {
    let sockets = scale(40, 400);
    let moved = Arc::new(AtomicU64::new(0));
    let upstream = pouring(1024 * MIB, &moved);
    let gateway = Setup::to(upstream.address())
        .listener("timeouts: { write: 60s }")
        .start();
    let first = open_narrow(&gateway);
    await_standstill(|| moved.load(Ordering::SeqCst));
    let rss = gateway.rss();
    let clients: Vec<Client> = (0..sockets).map(|_| open_narrow(&gateway)).collect();
    let mut last = (0, Instant::now());
    until(3 * PATIENCE, "a standstill of the gateway's memory", || {
        let now = gateway.rss();
        if now.abs_diff(last.0) > 64 * 1024 {
            last = (now, Instant::now());
        }
        last.1.elapsed() > Duration::from_millis(600)
    });
    let grown = gateway.rss().saturating_sub(rss);
    eprintln!("{} KiB for each slow reader", (grown / sockets) >> 10);
    assert!(grown < WORK + sockets * HELD, "{grown} for {sockets}");
    drop((clients, first));
    gateway.await_metric(OPEN, &ALL, 0.0);
    upstream.await_all_closed();
}

#[test]
fn a_client_that_reads_nothing_is_given_up() {
    let moved = Arc::new(AtomicU64::new(0));
    let upstream = pouring(1024 * MIB, &moved);
    let gateway = Setup::to(upstream.address())
        .listener("timeouts: { write: 700ms }")
        .start();
    let mut client = open_narrow(&gateway);
    let begin = Instant::now();
    gateway.await_metric(CLOSES, &[("route", "all"), ("by", "gateway")], 1.0);
    assert!(begin.elapsed() >= Duration::from_millis(690));
    upstream.await_all_closed();
    gateway.await_metric(OPEN, &ALL, 0.0);
    // What the kernel has is still read, and then there is an end.
    let end = client.stream_to_end(&mut |_| {});
    assert!(!end.is_err_and(|error| is_timeout(&error)), "still open");
}

/// Slow, but not dead: it takes some in every time that it is given. The kernel tells of room in a full buffer only when
/// a third of it is free, so `some` is more than that.
#[test]
fn a_client_that_reads_slowly_is_kept() {
    let total = 64 * MIB;
    let moved = Arc::new(AtomicU64::new(0));
    let upstream = pouring(total, &moved);
    let gateway = Setup::to(upstream.address())
        .listener("timeouts: { write: 3s }")
        .start();
    let mut client = open_narrow(&gateway);
    let mut at = 0;
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_millis(5_000) && at < total / 2 {
        let bytes = client.bytes(512 * 1024);
        expect_stream(&mut at, &bytes);
        thread::park_timeout(Duration::from_millis(50));
    }
    client
        .stream_to_end(&mut |bytes| expect_stream(&mut at, bytes))
        .unwrap();
    assert_eq!(at, total);
}

/// A flood one way may not hold up the other.
#[test]
fn a_flood_leaves_room_for_the_other_direction() {
    let upstream = Upstream::start(|peer| {
        if peer.accept("").is_none() {
            return;
        }
        let mut drained = peer.writer();
        thread::spawn(move || std::io::copy(&mut drained, &mut std::io::sink()));
        for number in 0..200_u8 {
            if peer.send([number]).is_err() {
                return;
            }
            thread::park_timeout(Duration::from_millis(5));
        }
        peer.half_close();
    });
    let gateway = Setup::to(upstream.address())
        .before("name: ours, match: { path: /ours }, respond: { body: ours }")
        .top("workers: 1")
        .start();
    let mut client = gateway.client();
    client.upgrade(&Handshake::to("/"));
    let mut writer = client.writer();
    let flood = thread::spawn(move || while writer.write_all(&[1; 64 * 1024]).is_ok() {});
    // A neighbour on the same worker, too.
    let mut neighbour = gateway.client();
    let mut worst = Duration::ZERO;
    for number in 0..200_u8 {
        let begin = Instant::now();
        assert_eq!(client.bytes(1), [number]);
        worst = worst.max(begin.elapsed());
        if number % 50 == 0 {
            neighbour.get("/ours").expect_ok();
        }
    }
    eprintln!("the longest wait for a byte: {worst:?}");
    // The machine may be busy with other tests; a flood that is not held up here would not end at all.
    assert!(worst < PATIENCE / 2, "{worst:?}");
    client.writer().shutdown(Shutdown::Both).unwrap();
    flood.join().unwrap();
    gateway.await_metric(OPEN, &ALL, 0.0);
}

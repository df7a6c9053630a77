//! WebSockets for the load test: an echo behind the proxies, a client that plays ping-pong, one that holds sockets.
//!
//! `sockets echo PORT` sends every message back until it is ended. `sockets talk PORT CONNECTIONS SECONDS BYTES` plays
//! ping-pong on all connections at once and prints one line of JSON with what `wrk.lua` prints too. `sockets hold PORT`
//! reads numbers, a line each: it opens sockets until there are so many, plays one message on every one that is open,
//! and prints how many of them answered.
//!
//! They share one core, so they do little: a client's frames are made once, an answer is compared as a whole, and the
//! echo unmasks where the frame lies and writes from there.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::io::{self, BufRead, ErrorKind};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, LocalOptions};
use tokio::task::spawn_local;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

/// The key of the example in RFC 6455: nobody is protected from anybody here.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
/// Longest head of a handshake or its answer, and longest message.
const HEAD: usize = 16 * 1024;
const MESSAGE: usize = 1 << 20;
/// What the echo holds for a socket that has said nothing long: room for its next message.
const AT_REST: usize = 512;
const CLOSE: u8 = 8;
/// How long anything may take that is not the load itself.
const PATIENCE: Duration = Duration::from_secs(5);
/// What `hold` says on each socket.
const WORD: usize = 128;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let done = match words[..] {
        ["echo", port] => number(port).and_then(|port| run(echo(port))),
        ["talk", port, connections, seconds, bytes] => (|| {
            let seconds = Duration::from_secs(number(seconds)?);
            let bytes = number::<usize>(bytes)?.min(MESSAGE);
            run(talk(number(port)?, number(connections)?, seconds, bytes))
        })(),
        ["hold", port] => number(port).and_then(|port| run(hold(port))),
        _ => Err(io::Error::other(
            "usage: sockets echo PORT | talk PORT CONNECTIONS SECONDS BYTES | hold PORT",
        )),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("sockets: {error}");
            ExitCode::FAILURE
        }
    }
}

fn number<T: std::str::FromStr>(word: &str) -> io::Result<T> {
    word.parse()
        .map_err(|_| io::Error::other(format!("not a number: {word}")))
}

fn run(work: impl Future<Output = io::Result<()>>) -> io::Result<()> {
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build_local(LocalOptions::default())?;
    runtime.block_on(work)
}

/// The load is measured by a clock of its own.
#[allow(clippy::disallowed_methods)]
fn now() -> Instant {
    Instant::now()
}

/// Serves until the process is ended.
async fn echo(port: u16) -> io::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
    loop {
        let (stream, _) = listener.accept().await?;
        spawn_local(async move {
            // Whoever breaks off has ended his socket.
            let _ = answer(stream).await;
        });
    }
}

/// Takes a handshake, then sends every message back.
async fn answer(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let (head, mut held) = read_head(&mut stream).await?;
    let key = head
        .lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("sec-websocket-key"));
    let Some((_, key)) = key else {
        let refusal = b"HTTP/1.1 426 Upgrade Required\r\nContent-Length: 0\r\n\r\n";
        return stream.write_all(refusal).await;
    };
    let accept = derive_accept_key(key.trim().as_bytes());
    let switch = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\n\r\n"
    );
    stream.write_all(switch.as_bytes()).await?;
    held.reserve(AT_REST);
    while stream.read_buf(&mut held).await? > 0 {
        if !echo_messages(&mut stream, &mut held).await? {
            break;
        }
    }
    Ok(())
}

/// Sends back what is whole in `buffer` and makes room for the rest; false at a close.
async fn echo_messages(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> io::Result<bool> {
    while let Some(frame) = Frame::read(buffer)? {
        let end = frame.start + frame.length;
        if buffer.len() < end {
            buffer.reserve(end - buffer.len());
            break;
        }
        if frame.opcode == CLOSE {
            return Ok(false);
        }
        unmask(&mut buffer[frame.start..end], frame.mask);
        // The head of the answer is shorter than that of the question, and takes its place.
        let head = write_head(frame.length, 0);
        let begin = frame.start - head.len();
        buffer[begin..frame.start].copy_from_slice(&head);
        buffer[begin] = 0x80 | frame.opcode;
        stream.write_all(&buffer[begin..end]).await?;
        buffer.drain(..end);
    }
    Ok(true)
}

/// A client's frame at the beginning of a buffer.
struct Frame {
    opcode: u8,
    mask: [u8; 4],
    /// Where its payload begins.
    start: usize,
    length: usize,
}

impl Frame {
    /// `None` while its head is not whole.
    fn read(bytes: &[u8]) -> io::Result<Option<Frame>> {
        let [first, second, rest @ ..] = bytes else {
            return Ok(None);
        };
        let (length, size) = match (second & 0x7f, rest) {
            (126, [high, low, ..]) => (usize::from(u16::from_be_bytes([*high, *low])), 2),
            (127, [a, b, c, d, e, f, g, h, ..]) => {
                let length = u64::from_be_bytes([*a, *b, *c, *d, *e, *f, *g, *h]);
                (usize::try_from(length).unwrap_or(usize::MAX), 8)
            }
            (126 | 127, _) => return Ok(None),
            (short, _) => (usize::from(short), 0),
        };
        if second & 0x80 == 0 || length > MESSAGE {
            return Err(io::Error::new(
                ErrorKind::InvalidData,
                "not masked, or too long",
            ));
        }
        let start = 2 + size + 4;
        let Some([a, b, c, d]) = bytes.get(2 + size..start) else {
            return Ok(None);
        };
        Ok(Some(Frame {
            opcode: first & 0x0f,
            mask: [*a, *b, *c, *d],
            start,
            length,
        }))
    }
}

fn unmask(payload: &mut [u8], mask: [u8; 4]) {
    let (blocks, rest) = payload.as_chunks_mut::<4>();
    for block in blocks {
        *block = (u32::from_ne_bytes(*block) ^ u32::from_ne_bytes(mask)).to_ne_bytes();
    }
    for (byte, mask) in rest.iter_mut().zip(mask) {
        *byte ^= mask;
    }
}

/// The head of a binary message; `masked` is 0x80 or 0.
fn write_head(length: usize, masked: u8) -> Vec<u8> {
    match length {
        0..126 => vec![0x82, masked | length as u8],
        126..65_536 => {
            let [high, low] = (length as u16).to_be_bytes();
            vec![0x82, masked | 126, high, low]
        }
        _ => {
            let mut head = vec![0x82, masked | 127];
            head.extend_from_slice(&(length as u64).to_be_bytes());
            head
        }
    }
}

/// What a client sends over and over, and what has to come back.
struct PingPong {
    ping: Vec<u8>,
    pong: Vec<u8>,
}

impl PingPong {
    fn new(length: usize) -> PingPong {
        let payload: Vec<u8> = (0..length).map(|place| (place % 251) as u8).collect();
        let mut hidden = payload.clone();
        unmask(&mut hidden, MASK);
        PingPong {
            ping: [write_head(length, 0x80), MASK.to_vec(), hidden].concat(),
            pong: [write_head(length, 0), payload].concat(),
        }
    }

    /// One message there and back. `buffer` is as long as the pong.
    async fn play(&self, stream: &mut TcpStream, buffer: &mut [u8]) -> Result<(), Fault> {
        stream
            .write_all(&self.ping)
            .await
            .map_err(|_| Fault::Write)?;
        stream.read_exact(buffer).await.map_err(|_| Fault::Read)?;
        // Something else than what was sent.
        (buffer == self.pong).then_some(()).ok_or(Fault::Status)
    }
}

/// How a connection failed, in wrk's words.
#[derive(Clone, Copy)]
enum Fault {
    Connect,
    Read,
    Write,
    Timeout,
    Status,
}

#[derive(Default)]
struct Tally {
    /// Microseconds that each message took.
    latencies: RefCell<Vec<u32>>,
    faults: [Cell<u64>; 5],
}

impl Tally {
    fn note(&self, fault: Fault) {
        let count = &self.faults[fault as usize];
        count.set(count.get() + 1);
    }
}

async fn talk(port: u16, connections: usize, length: Duration, bytes: usize) -> io::Result<()> {
    let (tally, game) = (Rc::new(Tally::default()), Rc::new(PingPong::new(bytes)));
    let mut streams = Vec::new();
    for _ in 0..connections {
        match open(port).await {
            Ok(stream) => streams.push(stream),
            Err(fault) => tally.note(fault),
        }
    }
    let begin = now();
    let end = begin + length;
    let players: Vec<_> = streams
        .into_iter()
        .map(|stream| {
            let (tally, game) = (Rc::clone(&tally), Rc::clone(&game));
            spawn_local(async move {
                let playing = play_until(end, stream, &game, &tally);
                // What stands still is noticed when everybody else has ended.
                match timeout(length + PATIENCE, playing).await {
                    Ok(Ok(())) => {}
                    Ok(Err(fault)) => tally.note(fault),
                    Err(_) => tally.note(Fault::Timeout),
                }
            })
        })
        .collect();
    for player in players {
        player.await.map_err(io::Error::other)?;
    }
    tell(&tally, begin.elapsed(), bytes);
    Ok(())
}

async fn play_until(
    end: Instant,
    mut stream: TcpStream,
    game: &PingPong,
    tally: &Tally,
) -> Result<(), Fault> {
    let mut buffer = vec![0; game.pong.len()];
    let mut begin = now();
    while begin < end {
        game.play(&mut stream, &mut buffer).await?;
        let after = now();
        let micros = (after - begin).as_micros().min(u32::MAX.into()) as u32;
        tally.latencies.borrow_mut().push(micros);
        begin = after;
    }
    Ok(())
}

fn tell(tally: &Tally, took: Duration, bytes: usize) {
    let mut latencies = tally.latencies.take();
    latencies.sort_unstable();
    let count = latencies.len();
    let share = |of: f64| {
        let place = (count as f64 * of) as usize;
        latencies
            .get(place.min(count.saturating_sub(1)))
            .copied()
            .unwrap_or(0)
    };
    let [connect, read, write, stalled, status] = tally.faults.each_ref().map(Cell::get);
    println!(
        "RESULT {{\"requests\": {count}, \"duration_us\": {}, \"bytes\": {}, \"p50_us\": {}, \"p99_us\": {}, \
         \"p999_us\": {}, \"max_us\": {}, \"errors\": {{\"connect\": {connect}, \"read\": {read}, \
         \"write\": {write}, \"timeout\": {stalled}, \"status\": {status}}}}}",
        took.as_micros(),
        count * bytes,
        share(0.5),
        share(0.99),
        share(0.999),
        latencies.last().copied().unwrap_or(0),
    );
}

/// Connects and shakes hands.
async fn open(port: u16) -> Result<TcpStream, Fault> {
    let opening = async {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let mut stream = TcpStream::connect(address)
            .await
            .map_err(|_| Fault::Connect)?;
        stream.set_nodelay(true).map_err(|_| Fault::Connect)?;
        let shake = format!(
            "GET /socket HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n\r\n"
        );
        let written = stream.write_all(shake.as_bytes()).await;
        written.map_err(|_| Fault::Write)?;
        let (head, rest) = read_head(&mut stream).await.map_err(|_| Fault::Read)?;
        let is_open = head.starts_with("HTTP/1.1 101 ") && rest.is_empty();
        is_open.then_some(stream).ok_or(Fault::Status)
    };
    timeout(PATIENCE, opening)
        .await
        .unwrap_or(Err(Fault::Timeout))
}

/// Reads a head, and what came with it.
async fn read_head(stream: &mut TcpStream) -> io::Result<(String, Vec<u8>)> {
    let mut bytes = Vec::with_capacity(1024);
    loop {
        if stream.read_buf(&mut bytes).await? == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            let rest = bytes.split_off(end + 4);
            return Ok((String::from_utf8_lossy(&bytes).into_owned(), rest));
        }
        if bytes.len() > HEAD {
            return Err(io::Error::new(
                ErrorKind::InvalidData,
                "a head without an end",
            ));
        }
    }
}

/// Follows the numbers on the standard input.
async fn hold(port: u16) -> io::Result<()> {
    let game = PingPong::new(WORD);
    let mut buffer = vec![0; game.pong.len()];
    let mut streams = Vec::new();
    // Nothing else has to go on while a number is waited for.
    for line in io::stdin().lock().lines() {
        let wanted: usize = number(line?.trim())?;
        while streams.len() < wanted {
            let stream = open(port).await;
            streams.push(stream.map_err(|_| {
                io::Error::other(format!("socket {} could not be opened", streams.len()))
            })?);
        }
        let mut answered = 0;
        for stream in &mut streams {
            let played = timeout(PATIENCE, game.play(stream, &mut buffer)).await;
            answered += usize::from(matches!(played, Ok(Ok(()))));
        }
        println!("{answered}");
    }
    Ok(())
}

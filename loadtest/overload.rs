//! Both ends of the overload test: an upstream that bears so much and degrades past it, and a sender that does not wait.
//!
//! `overload upstream PORT` serves until it is ended. A request takes [`SERVICE`] while no more are in flight than the
//! upstream has slots; past that each takes longer by the square of the surplus, as where work thrashes, and when
//! [`MOST`] times the slots are in flight it is answered 503 at once. Whoever leaves does not lighten it: the work is
//! done all the same. `PUT /slots/N` sets the slots.
//!
//! `overload send PORT UPSTREAM SECONDS:RATE:SLOTS…` plays phases one after the other, without a pause: it sets the
//! slots, then sends so many requests a second at even intervals whatever comes back, and gives each [`PATIENCE`].
//! Latency counts from the moment when the request was due. It prints a line of JSON for each phase.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::io;
use std::net::Ipv4Addr;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, LocalOptions};
use tokio::task::spawn_local;
use tokio::time::{sleep, sleep_until, timeout};

/// What a request takes while there is a slot for it.
const SERVICE: Duration = Duration::from_millis(20);
/// So many times its slots may be in flight.
const MOST: u32 = 20;
/// After this long an answer is of no use to who asked.
const PATIENCE: Duration = Duration::from_secs(1);
/// An answer within this time is a fast one, even if it is a refusal.
const FAST: Duration = Duration::from_millis(100);
/// Most requests that the sender has open; more count as failed.
const MOST_OPEN: u32 = 6_000;
/// Longest head of a request or an answer, with its body.
const MESSAGE: usize = 16 * 1024;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let done = match words[..] {
        ["upstream", port] => number(port).and_then(|port| run(serve(port))),
        ["send", port, upstream, ref phases @ ..] if !phases.is_empty() => (|| {
            let phases = phases.iter().map(|phase| Phase::read(phase));
            let phases = phases.collect::<io::Result<Vec<_>>>()?;
            run(send(number(port)?, number(upstream)?, phases))
        })(),
        _ => Err(io::Error::other(
            "usage: overload upstream PORT | send PORT UPSTREAM SECONDS:RATE:SLOTS…",
        )),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("overload: {error}");
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

/// How the upstream stands.
struct Capacity {
    slots: Cell<u32>,
    in_flight: Cell<u32>,
}

impl Capacity {
    /// How long a request takes that comes now; `None` = it is too much.
    fn enter(&self) -> Option<Duration> {
        let (slots, n) = (self.slots.get(), self.in_flight.get() + 1);
        if n > slots * MOST {
            return None;
        }
        self.in_flight.set(n);
        let surplus = (f64::from(n) / f64::from(slots)).max(1.0);
        Some(SERVICE.mul_f64(surplus * surplus))
    }

    fn leave(&self) {
        self.in_flight.set(self.in_flight.get() - 1);
    }
}

/// Serves until the process is ended.
async fn serve(port: u16) -> io::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
    let capacity = Rc::new(Capacity {
        slots: Cell::new(1),
        in_flight: Cell::new(0),
    });
    loop {
        let (stream, _) = listener.accept().await?;
        let capacity = capacity.clone();
        spawn_local(async move {
            // Whoever breaks off has ended his connection.
            let _ = answer_all(stream, &capacity).await;
        });
    }
}

async fn answer_all(mut stream: TcpStream, capacity: &Rc<Capacity>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut held = Vec::new();
    loop {
        let Some(end) = read_head(&mut stream, &mut held).await? else {
            return Ok(());
        };
        let head = String::from_utf8_lossy(&held[..end]).into_owned();
        held.drain(..end);
        let slots = head.strip_prefix("PUT /slots/");
        let served = match slots.and_then(|rest| rest.split(' ').next()) {
            Some(slots) => {
                capacity.slots.set(number::<u32>(slots)?.max(1));
                true
            }
            None => work(capacity).await,
        };
        let answer: &[u8] = if served {
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
        } else {
            b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"
        };
        stream.write_all(answer).await?;
    }
}

/// Does the work of a request, in a task of its own: it is done even if nobody waits for it any more.
async fn work(capacity: &Rc<Capacity>) -> bool {
    let Some(takes) = capacity.enter() else {
        return false;
    };
    let capacity = capacity.clone();
    let working = spawn_local(async move {
        sleep(takes).await;
        capacity.leave();
    });
    working.await.is_ok()
}

/// Reads on until a head is whole; its length, or `None` at the end of the stream.
async fn read_head(stream: &mut TcpStream, held: &mut Vec<u8>) -> io::Result<Option<usize>> {
    loop {
        if let Some(at) = held.windows(4).position(|four| four == b"\r\n\r\n") {
            return Ok(Some(at + 4));
        }
        if held.len() > MESSAGE {
            return Err(io::Error::other("this head has no end"));
        }
        if stream.read_buf(held).await? == 0 {
            return Ok(None);
        }
    }
}

/// A stretch of even load.
#[derive(Clone, Copy)]
struct Phase {
    lasts: Duration,
    rate: u32,
    slots: u32,
}

impl Phase {
    fn read(text: &str) -> io::Result<Phase> {
        let [seconds, rate, slots] = text.split(':').collect::<Vec<_>>()[..] else {
            return Err(io::Error::other(format!("not SECONDS:RATE:SLOTS: {text}")));
        };
        Ok(Phase {
            lasts: Duration::from_secs(number(seconds)?),
            rate: number::<u32>(rate)?.max(1),
            slots: number(slots)?,
        })
    }
}

/// What became of the requests of a phase.
#[derive(Default)]
struct Tally {
    /// Microseconds of those answered 200.
    good: RefCell<Vec<u32>>,
    /// Answered otherwise, and soon.
    refused: Cell<u64>,
    /// Answered otherwise, and late.
    failed: Cell<u64>,
    /// Not answered in time, or not at all.
    lost: Cell<u64>,
}

impl Tally {
    fn count(&self, took: Duration, status: Option<u16>) {
        let more = |count: &Cell<u64>| count.set(count.get() + 1);
        match status {
            Some(200) => {
                let micros = u32::try_from(took.as_micros()).unwrap_or(u32::MAX);
                self.good.borrow_mut().push(micros);
            }
            Some(_) if took < FAST => more(&self.refused),
            Some(_) => more(&self.failed),
            None => more(&self.lost),
        }
    }

    fn tell(&self, phase: Phase) -> String {
        let mut good = self.good.borrow_mut();
        good.sort_unstable();
        let part = |per_mille: usize| good.get(good.len() * per_mille / 1000).copied();
        let (p50, p99) = (part(500).unwrap_or_default(), part(990).unwrap_or_default());
        format!(
            "{{\"seconds\":{},\"rate\":{},\"slots\":{},\"good\":{},\"refused\":{},\"failed\":{},\"lost\":{},\
             \"p50_us\":{p50},\"p99_us\":{p99}}}",
            phase.lasts.as_secs(),
            phase.rate,
            phase.slots,
            good.len(),
            self.refused.get(),
            self.failed.get(),
            self.lost.get()
        )
    }
}

/// The sender's connections that lie idle, and how many requests are open.
struct Sender {
    port: u16,
    idle: RefCell<Vec<TcpStream>>,
    open: Cell<u32>,
}

async fn send(port: u16, upstream: u16, phases: Vec<Phase>) -> io::Result<()> {
    let sender = Rc::new(Sender {
        port,
        idle: RefCell::default(),
        open: Cell::new(0),
    });
    let mut tallies = Vec::new();
    for phase in phases {
        set_slots(upstream, phase.slots).await?;
        let tally = Rc::new(Tally::default());
        tallies.push((phase, tally.clone()));
        play(&sender, phase, &tally).await;
    }
    // The last ones have their time too.
    sleep(PATIENCE).await;
    for (phase, tally) in tallies {
        println!("{}", tally.tell(phase));
    }
    Ok(())
}

async fn play(sender: &Rc<Sender>, phase: Phase, tally: &Rc<Tally>) {
    let began = now();
    let pause = Duration::from_secs(1) / phase.rate;
    let mut due = began;
    while due < began + phase.lasts {
        sleep_until(due.into()).await;
        let (sender, tally) = (sender.clone(), tally.clone());
        spawn_local(async move {
            let status = sender.ask(due).await;
            tally.count(now().saturating_duration_since(due), status);
        });
        due += pause;
    }
}

impl Sender {
    /// The status of an answer that came in time.
    async fn ask(&self, due: Instant) -> Option<u16> {
        if self.open.get() >= MOST_OPEN {
            return None;
        }
        self.open.set(self.open.get() + 1);
        let left = PATIENCE.saturating_sub(now().saturating_duration_since(due));
        let answered = timeout(left, self.exchange()).await;
        self.open.set(self.open.get() - 1);
        answered.ok()?.ok()
    }

    async fn exchange(&self) -> io::Result<u16> {
        let idle = self.idle.borrow_mut().pop();
        let mut stream = match idle {
            Some(stream) => stream,
            None => TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).await?,
        };
        stream.set_nodelay(true)?;
        stream
            .write_all(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
            .await?;
        let mut held = Vec::new();
        let Some(end) = read_head(&mut stream, &mut held).await? else {
            return Err(io::ErrorKind::UnexpectedEof.into());
        };
        let head = String::from_utf8_lossy(&held[..end]).to_ascii_lowercase();
        let field = |name: &str| {
            let line = head.lines().find_map(|line| line.strip_prefix(name));
            line.map(str::trim)
        };
        let length: usize = field("content-length:").map_or(Ok(0), number)?;
        while held.len() < end + length.min(MESSAGE) {
            if stream.read_buf(&mut held).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        let status = head.split(' ').nth(1).map_or(Ok(0), number)?;
        if field("connection:") != Some("close") {
            self.idle.borrow_mut().push(stream);
        }
        Ok(status)
    }
}

async fn set_slots(upstream: u16, slots: u32) -> io::Result<()> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, upstream)).await?;
    let request = format!("PUT /slots/{slots} HTTP/1.1\r\nHost: upstream\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut held = Vec::new();
    match read_head(&mut stream, &mut held).await? {
        Some(_) => Ok(()),
        None => Err(io::Error::other("the upstream does not say how it stands")),
    }
}

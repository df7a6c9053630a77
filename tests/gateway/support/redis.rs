//! A redis-server of its own for each test, without persistence.

use std::hash::{BuildHasher, RandomState};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

/// Tries to begin a server again on its port.
const TRIES: usize = 200;

/// A server that dies with this value.
pub(crate) struct Redis {
    process: Child,
    pub(crate) port: u16,
    arguments: Vec<String>,
}

impl Redis {
    pub(crate) fn start(arguments: &[&str]) -> Redis {
        let arguments: Vec<String> = arguments.iter().map(ToString::to_string).collect();
        // Somebody may be faster to bind the port that was free.
        for _ in 0..20 {
            let port = free_port();
            if let Some(process) = begin(port, &arguments) {
                return Redis {
                    process,
                    port,
                    arguments,
                };
            }
        }
        panic!("no redis-server came to serve");
    }

    pub(crate) fn stop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }

    /// Starts it again, without what it knew.
    pub(crate) fn start_again(&mut self) {
        for _ in 0..TRIES {
            if let Some(process) = begin(self.port, &self.arguments) {
                self.process = process;
                return;
            }
            thread::park_timeout(Duration::from_millis(50));
        }
        panic!("it does not start again");
    }

    pub(crate) fn freeze(&self) {
        kill_process(self.pid(), Signal::STOP).unwrap();
    }

    pub(crate) fn thaw(&self) {
        kill_process(self.pid(), Signal::CONT).unwrap();
    }

    /// Says one line, and reads what it answers (one line too, or a bulk string).
    pub(crate) fn say(&self, line: &str) -> String {
        say(self.port, line).unwrap()
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.process.id() as i32).unwrap()
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A port below those that the system gives away: while a server is gone, nobody else comes to its port by chance.
pub(crate) fn free_port() -> u16 {
    loop {
        let port = 20_000 + (RandomState::new().hash_one(0_u8) % 12_000) as u16;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// Begins a server, and waits until it says itself that it serves: somebody else may answer on its port.
fn begin(port: u16, arguments: &[String]) -> Option<Child> {
    let mut process = Command::new("redis-server")
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1"])
        .args(["--save", "", "--appendonly", "no", "--dir", "/"])
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("redis-server is installed (make test does it)");
    let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
    let is_ready = |line: std::io::Result<String>| {
        line.is_ok_and(|line| line.contains("Ready to accept connections"))
    };
    if !lines.any(is_ready) {
        // It has ended: its port was taken.
        let _ = process.wait();
        return None;
    }
    thread::spawn(move || lines.for_each(drop));
    Some(process)
}

fn say(port: u16, line: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(SocketAddr::from(([127, 0, 0, 1], port)))?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    stream.write_all(format!("{line}\r\n").as_bytes())?;
    let mut reader = BufReader::new(stream);
    let mut answer = String::new();
    reader.read_line(&mut answer)?;
    if let Some(length) = answer.strip_prefix('$')
        && let Ok(length) = length.trim().parse::<usize>()
    {
        let mut bulk = vec![0; length];
        reader.read_exact(&mut bulk)?;
        return Ok(String::from_utf8_lossy(&bulk).into_owned());
    }
    Ok(answer.trim().to_owned())
}

/// A proxy that keeps each piece of an answer back for a while.
pub(crate) struct Slow {
    pub(crate) port: u16,
    millis: Arc<AtomicU64>,
}

impl Slow {
    pub(crate) fn before(port: u16) -> Slow {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let own = listener.local_addr().unwrap().port();
        let millis = Arc::new(AtomicU64::new(0));
        let shared = millis.clone();
        thread::spawn(move || {
            for near in listener.incoming() {
                let near = near.unwrap();
                let Ok(far) = TcpStream::connect(("127.0.0.1", port)) else {
                    continue;
                };
                let pairs = [
                    (
                        near.try_clone().unwrap(),
                        far.try_clone().unwrap(),
                        Arc::default(),
                    ),
                    (far, near, shared.clone()),
                ];
                for (from, to, millis) in pairs {
                    thread::spawn(move || carry(from, to, &millis));
                }
            }
        });
        Slow { port: own, millis }
    }

    /// From now on each piece is kept back so long.
    pub(crate) fn delay(&self, millis: u64) {
        self.millis.store(millis, Ordering::SeqCst);
    }
}

fn carry(mut from: TcpStream, mut to: TcpStream, millis: &AtomicU64) {
    let mut bytes = [0; 65536];
    while let Ok(count @ 1..) = from.read(&mut bytes) {
        thread::park_timeout(Duration::from_millis(millis.load(Ordering::SeqCst)));
        if to.write_all(&bytes[..count]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(std::net::Shutdown::Both);
}

//! A redis-server of its own for each test, without persistence.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::super::Address;
use super::PATIENCE;
use crate::time;

/// A server that dies with this value.
pub(super) struct Redis {
    process: Child,
    pub(super) port: u16,
    arguments: Vec<String>,
}

impl Redis {
    pub(super) fn start(arguments: &[&str]) -> Redis {
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

    pub(super) fn address(&self) -> Address {
        Address {
            port: self.port,
            ..Redis::nowhere()
        }
    }

    pub(super) fn nowhere() -> Address {
        Address {
            is_secure: false,
            host: "127.0.0.1".into(),
            port: 1,
            database: 0,
            user: None,
            password: None,
        }
    }

    pub(super) fn stop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }

    /// Starts it again, without what it knew.
    pub(super) fn start_again(&mut self) {
        let begin_at = time::now();
        loop {
            if let Some(process) = begin(self.port, &self.arguments) {
                self.process = process;
                return;
            }
            assert!(
                time::now().since(begin_at) < PATIENCE,
                "it does not start again"
            );
        }
    }

    pub(super) fn freeze(&self) {
        kill_process(self.pid(), Signal::STOP).unwrap();
    }

    pub(super) fn thaw(&self) {
        kill_process(self.pid(), Signal::CONT).unwrap();
    }

    /// Says one line, and reads what it answers (one line too, or a bulk string).
    pub(super) fn say(&self, line: &str) -> String {
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

pub(super) fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

fn begin(port: u16, arguments: &[String]) -> Option<Child> {
    let mut process = Command::new("redis-server")
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1"])
        .args(["--save", "", "--appendonly", "no", "--dir", "/"])
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .expect("redis-server is installed (make test does it)");
    let begin = time::now();
    loop {
        if process.try_wait().unwrap().is_some() {
            return None;
        }
        // Whatever it answers, it serves.
        if say(port, "PING").is_ok() && process.try_wait().unwrap().is_none() {
            return Some(process);
        }
        assert!(
            time::now().since(begin) < PATIENCE,
            "redis-server does not serve"
        );
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

fn say(port: u16, line: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(SocketAddr::from(([127, 0, 0, 1], port)))?;
    stream.set_read_timeout(Some(PATIENCE))?;
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

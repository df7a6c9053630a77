//! The lines that a program writes to a pipe: who looks at them sees all that was written before he looked.
//!
//! A thread that reads beside the test would lag on a busy machine, so everybody who looks reads first.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{OFlags, fcntl_setfl};

/// What was written so far.
pub(crate) struct Lines {
    pipe: File,
    read: Mutex<Text>,
}

#[derive(Default)]
struct Text {
    lines: Vec<String>,
    /// What has no end yet.
    rest: Vec<u8>,
    ended: bool,
}

impl Lines {
    /// Reads `pipe` until its end; the thread keeps it from filling up while nobody looks.
    pub(crate) fn of(pipe: OwnedFd) -> (Arc<Lines>, JoinHandle<()>) {
        fcntl_setfl(&pipe, OFlags::NONBLOCK).unwrap();
        let lines = Arc::new(Lines {
            pipe: pipe.into(),
            read: Mutex::default(),
        });
        let shared = lines.clone();
        let reader = thread::spawn(move || {
            while !shared.look(|text| text.ended) {
                let _ = poll(&mut [PollFd::new(&shared.pipe, PollFlags::IN)], None);
            }
        });
        (lines, reader)
    }

    /// All lines so far.
    pub(crate) fn all(&self) -> Vec<String> {
        self.look(|text| text.lines.clone())
    }

    /// The first line that contains `text`.
    pub(crate) fn find(&self, text: &str) -> Option<String> {
        let has_it = |line: &&String| line.contains(text);
        self.look(|read| read.lines.iter().find(has_it).cloned())
    }

    /// How many lines contain `text`.
    pub(crate) fn count(&self, text: &str) -> usize {
        self.look(|read| read.lines.iter().filter(|line| line.contains(text)).count())
    }

    /// How many lines there are.
    pub(crate) fn len(&self) -> usize {
        self.look(|text| text.lines.len())
    }

    fn look<T>(&self, of: impl FnOnce(&Text) -> T) -> T {
        let mut text = self.read.lock().unwrap();
        let mut buffer = [0; 64 * 1024];
        while !text.ended {
            match (&self.pipe).read(&mut buffer) {
                Ok(0) => text.ended = true,
                Ok(n) => text.take(&buffer[..n]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(_) => text.ended = true,
            }
        }
        of(&text)
    }
}

impl Text {
    fn take(&mut self, bytes: &[u8]) {
        self.rest.extend_from_slice(bytes);
        let Some(end) = self.rest.iter().rposition(|byte| *byte == b'\n') else {
            return;
        };
        let rest = self.rest.split_off(end + 1);
        let whole = std::mem::replace(&mut self.rest, rest);
        let whole = String::from_utf8_lossy(&whole);
        self.lines.extend(whole.lines().map(str::to_owned));
    }
}

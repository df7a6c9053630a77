//! Another binary takes over: it is started with the listening sockets, and this process drains once that one serves.
//!
//! Both accept from the same queues, so no connection is refused at any moment. If the new one does not come to serve,
//! nothing has changed.

use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::time::Duration;

use command_fds::{CommandFdExt, FdMapping};
use tokio::io::AsyncReadExt;

use super::inherit::{Passed, READY};

/// How long a new process may take to serve: it may have to wait for names and files.
const WITHIN: Duration = Duration::from_secs(60);
/// A process that gave up may take so many looks of this length to end.
const LOOKS: u32 = 500;
const LOOK: Duration = Duration::from_millis(10);
/// The first descriptor that is passed on (`sd_listen_fds(3)`).
const FIRST: i32 = 3;

/// How this process was started.
pub struct Relaunch {
    /// The executable by its name: what stands there by then is started.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<OsString>,
}

/// A process that does not serve yet: killed when nobody waits for it any more.
struct Unready(Option<Child>);

impl Relaunch {
    /// Starts the program with `sockets` and waits until it serves, for at most a minute; its process id.
    ///
    /// # Errors
    /// Why it does not serve.
    pub(super) async fn start(&self, sockets: Vec<(Passed<'_>, OwnedFd)>) -> io::Result<u32> {
        let (own, other) = UnixStream::pair()?;
        own.set_nonblocking(true)?;
        let mut line = tokio::net::UnixStream::from_std(own)?;
        let mut child = self.spawn(sockets, other)?;
        let mut said = [0];
        match tokio::time::timeout(WITHIN, line.read(&mut said)).await {
            Ok(Ok(1)) if said == [READY] => Ok(child.disown()),
            Ok(_) => Err(io::Error::other(format!(
                "it gave up before it was ready: {}",
                child.end().await
            ))),
            Err(_) => Err(io::Error::other(format!(
                "it was not ready within {WITHIN:?}"
            ))),
        }
    }

    fn spawn(&self, sockets: Vec<(Passed<'_>, OwnedFd)>, line: UnixStream) -> io::Result<Unready> {
        let passed: Vec<(Passed<'_>, OwnedFd)> = sockets
            .into_iter()
            .chain([(Passed::Line, line.into())])
            .collect();
        let names: Vec<String> = passed.iter().map(|(what, _)| what.name()).collect();
        let mappings: Vec<FdMapping> = (FIRST..)
            .zip(passed)
            .map(|(child_fd, (_, parent_fd))| FdMapping {
                parent_fd,
                child_fd,
            })
            .collect();
        let mut command = Command::new(&self.program);
        command
            .args(&self.arguments)
            .env("LISTEN_FDS", mappings.len().to_string())
            .env("LISTEN_FDNAMES", names.join(":"))
            // Nobody knows it before there is one; without it the descriptors are for whoever sees the variable.
            .env_remove("LISTEN_PID");
        command.fd_mappings(mappings).map_err(io::Error::other)?;
        let child = command.spawn().map_err(|error| {
            io::Error::new(error.kind(), format!("{}: {error}", self.program.display()))
        })?;
        Ok(Unready(Some(child)))
    }
}

impl Unready {
    /// It stands on its own feet from now on; its process id.
    fn disown(&mut self) -> u32 {
        self.0.take().map_or(0, |child| child.id())
    }

    /// How it ended. It has closed the line, which is among the last things it does; it is killed if it lingers.
    async fn end(&mut self) -> String {
        let Some(mut child) = self.0.take() else {
            return String::new();
        };
        for _ in 0..LOOKS {
            match child.try_wait() {
                Ok(Some(status)) => return status.to_string(),
                Ok(None) => tokio::time::sleep(LOOK).await,
                Err(error) => return error.to_string(),
            }
        }
        self.0 = Some(child);
        "it did not even end, and was killed".to_owned()
    }
}

impl Drop for Unready {
    fn drop(&mut self) {
        if let Some(mut child) = self.0.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

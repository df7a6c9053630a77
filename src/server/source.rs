//! Where the configuration comes from, a path or an address, and what makes it worth reading anew.

use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::mpsc;

use super::remote::{Poll, Remote};
use super::watch::Watch;
use crate::config::{self, FilesInForce, Problem, Reading};

/// Where a configuration came from.
pub struct Source {
    /// A path or an address.
    pub origin: Origin,
    /// Told whenever one of the files may have changed. Watching began before they were read.
    pub watch: Watch,
    /// Answers for environment variables.
    pub env: fn(&str) -> Option<String>,
    /// The other end of the watch.
    pub changes: mpsc::Receiver<()>,
}

/// A path or an address.
pub enum Origin {
    /// A file, or a directory whose `*.yaml` are read.
    Disk(PathBuf),
    /// An address that is asked again and again.
    Remote(Box<Remote>),
}

/// Why the configuration shall be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// Somebody wants it.
    Asked,
    /// A file may have changed.
    Files,
    /// It is time to ask its server.
    Time,
}

/// What can be read right now.
pub(super) enum Text {
    Disk(PathBuf),
    Fetched(String, Arc<str>),
}

impl Source {
    /// How messages name it.
    pub(super) fn name(&self) -> String {
        match &self.origin {
            Origin::Disk(path) => path.display().to_string(),
            Origin::Remote(remote) => remote.url().to_owned(),
        }
    }

    /// Waits for a reason to read it.
    pub(super) async fn next(&mut self) -> Cause {
        let time = async {
            match &self.origin {
                Origin::Disk(_) => std::future::pending().await,
                Origin::Remote(remote) => remote.next().await,
            }
        };
        tokio::select! {
            Some(()) = self.changes.recv() => Cause::Files,
            () = time => Cause::Time,
        }
    }

    /// What is to be read for `cause`; `None` where there is nothing to do and nothing to say.
    ///
    /// # Errors
    /// It could not be fetched.
    pub(super) async fn text(&mut self, cause: Cause) -> Option<Result<Text, Problem>> {
        let remote = match &mut self.origin {
            Origin::Disk(path) => return Some(Ok(Text::Disk(path.clone()))),
            Origin::Remote(remote) => remote,
        };
        if cause != Cause::Files {
            match (remote.poll().await, cause) {
                (Poll::Failed(problem), _) | (Poll::StillFailed(problem), Cause::Asked) => {
                    return Some(Err(problem));
                }
                (Poll::StillFailed(_) | Poll::Same, Cause::Time) => return None,
                _ => {}
            }
        }
        let (url, text) = remote.text()?;
        Some(Ok(Text::Fetched(url, text)))
    }

    /// What was read last is good.
    pub(super) async fn keep(&mut self) {
        if let Origin::Remote(remote) = &mut self.origin
            && let Some(keep) = remote.keep()
        {
            // It tells by itself what went wrong.
            let _ = tokio::task::spawn_blocking(keep).await;
        }
    }
}

impl Text {
    /// Reads it, while these pairs are in force. Blocks while a disk does.
    pub(super) fn read(
        &self,
        env: &dyn Fn(&str) -> Option<String>,
        in_force: &FilesInForce,
    ) -> Reading {
        match self {
            Text::Disk(path) => config::read_again(path, env, in_force),
            Text::Fetched(url, text) => config::read_text(url, text, env, in_force),
        }
    }
}

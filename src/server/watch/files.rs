//! One watched file: what it was when last announced, what it is now, and whether somebody is still writing it.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::time::Nanos;

/// A file that stays the same for this long is no longer being written.
const QUIET: Duration = Duration::from_secs(1);

/// All that must stay the same for a file to be unchanged.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Identity {
    /// The file at the end of all links.
    real: PathBuf,
    /// Device and number.
    inode: (u64, u64),
    size: u64,
    /// Seconds and nanoseconds.
    modified: (i64, i64),
    /// Of the inode: mode, owner, name.
    changed: (i64, i64),
    /// What is in a directory is watched for itself: of the directory counts only that it is the same one.
    is_directory: bool,
}

impl Identity {
    /// `None` where there is no such file, or none that may be looked at.
    fn read(path: &Path) -> Option<Identity> {
        let real = fs::canonicalize(path).ok()?;
        let meta = fs::metadata(&real).ok()?;
        if meta.is_dir() {
            return Some(Identity {
                inode: (meta.dev(), meta.ino()),
                size: 0,
                modified: (0, 0),
                changed: (0, 0),
                real,
                is_directory: true,
            });
        }
        Some(Identity {
            inode: (meta.dev(), meta.ino()),
            size: meta.size(),
            modified: (meta.mtime(), meta.mtime_nsec()),
            changed: (meta.ctime(), meta.ctime_nsec()),
            real,
            is_directory: false,
        })
    }

    /// The same content as far as writing goes.
    fn is_written_as(&self, other: &Identity) -> bool {
        (self.inode, self.size, self.modified) == (other.inode, other.size, other.modified)
    }
}

/// A watched file.
#[derive(Clone, Debug)]
pub(super) struct File {
    /// As configured, but absolute.
    pub(super) path: PathBuf,
    /// When it was first heard of.
    pub(super) known: Nanos,
    /// The last event told that its writer had finished.
    pub(super) whole: bool,
    /// `path` with the links of its directory followed; `None` where there is no such directory.
    place: Option<PathBuf>,
    announced: Option<Identity>,
    seen: Option<Identity>,
    /// When `seen` was seen first.
    since: Nanos,
}

impl File {
    /// The file as it is now; this counts as announced.
    pub(super) fn new(path: PathBuf, now: Nanos) -> File {
        let path = std::path::absolute(&path).unwrap_or(path);
        let mut file = File::unseen(path, now);
        file.look(now);
        file.announce();
        file
    }

    /// A file that was not there before; `path` is absolute.
    pub(super) fn unseen(path: PathBuf, now: Nanos) -> File {
        File {
            path,
            known: now,
            whole: false,
            place: None,
            announced: None,
            seen: None,
            since: now,
        }
    }

    /// The directories in which a change of this file shows: its own and that of what it links to, or what it is.
    pub(super) fn directories(&self) -> impl Iterator<Item = &Path> {
        let real = self.seen.as_ref().map(|seen| seen.real.as_path());
        [self.place.as_deref(), real]
            .into_iter()
            .flatten()
            .filter_map(Path::parent)
            .chain(self.as_directory())
    }

    /// Where it really is, if it is a directory.
    pub(super) fn as_directory(&self) -> Option<&Path> {
        let seen = self.seen.as_ref().filter(|seen| seen.is_directory)?;
        Some(&seen.real)
    }

    /// Neither there nor missed.
    pub(super) fn is_nothing(&self) -> bool {
        self.seen.is_none() && self.announced.is_none()
    }

    /// Is an event at `path` one of this file?
    pub(super) fn is_at(&self, path: &Path) -> bool {
        let real = self.seen.as_ref().map(|seen| seen.real.as_path());
        self.place.as_deref() == Some(path) || real == Some(path)
    }

    /// Reads what the file is now.
    pub(super) fn look(&mut self, now: Nanos) {
        let directory = self
            .path
            .parent()
            .and_then(|directory| fs::canonicalize(directory).ok());
        self.place = directory
            .zip(self.path.file_name())
            .map(|(directory, name)| directory.join(name));
        let seen = Identity::read(&self.path);
        if seen != self.seen {
            (self.seen, self.since) = (seen, now);
        }
        if !self.is_changed() {
            // Opened for writing and closed as it was: that tells nothing about the next writer.
            self.whole = false;
        }
    }

    pub(super) fn is_changed(&self) -> bool {
        self.seen != self.announced
    }

    /// Unchanged, or changed and nobody is still at it.
    pub(super) fn is_settled(&self, now: Nanos) -> bool {
        let quiet = now.since(self.since) >= QUIET;
        match (&self.announced, &self.seen) {
            // A file that is gone may be on its way back.
            (was, None) => was.is_none() || quiet,
            // Links are swapped as a whole, and a change of mode or owner is one step.
            (Some(was), Some(is)) if was.real != is.real || was.is_written_as(is) => true,
            _ => self.whole || quiet,
        }
    }

    pub(super) fn announce(&mut self) {
        self.announced.clone_from(&self.seen);
        self.whole = false;
    }
}

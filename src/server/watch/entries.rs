//! The files of watched directories: an `include` with a `*`, or a configuration that is a directory, has files that
//! nobody could name before they came.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::files::File;
use crate::time::Nanos;

/// Most files of one directory that are watched.
const MOST: usize = 1000;

/// A new file that is written for longer does not hold up the others: it is a log, or something like it.
const LONGEST: Duration = Duration::from_secs(30);

/// Watched files that were found and not named. They come and go with their directories.
#[derive(Debug)]
pub(super) struct Entries {
    /// Those of which nobody has said yet whether they matter.
    files: Vec<File>,
    /// Those that were there when the others were named, and were not: their names do not matter, whatever they hold.
    others: HashSet<PathBuf>,
}

/// Files that are named from a moment on.
#[derive(Debug)]
pub(super) struct Naming {
    pub(super) files: Vec<File>,
    /// What else was in the directories among them at that moment.
    pub(super) beside: Vec<PathBuf>,
}

impl Naming {
    /// Names `files` now.
    pub(super) fn of(files: Vec<File>) -> Naming {
        Naming {
            beside: unnamed(&files),
            files,
        }
    }
}

impl Entries {
    /// Those of the directories among `named`; what is there now counts as announced.
    pub(super) fn of(named: &[File], now: Nanos) -> Entries {
        let found = unnamed(named).into_iter();
        Entries {
            files: found.map(|path| File::new(path, now)).collect(),
            others: HashSet::new(),
        }
    }

    /// The same after those of `was`, for names beside which there were these files. What was announced before and is
    /// not named now does not matter; what has come since is found by the next look.
    pub(super) fn renew(&mut self, was: &[File], beside: Vec<PathBuf>, now: Nanos) {
        let heard: HashSet<&Path> = was
            .iter()
            .filter(|file| file.as_directory().is_some())
            .map(|file| file.path.as_path())
            .collect();
        let known = std::mem::take(&mut self.files).into_iter();
        let mut known: HashMap<PathBuf, File> =
            known.map(|file| (file.path.clone(), file)).collect();
        let others = std::mem::take(&mut self.others);
        let named_before = |path: &Path| was.iter().any(|file| file.path == path);
        for path in beside {
            match known.remove(&path) {
                Some(file) if file.is_changed() => self.files.push(file),
                // New in a directory that was watched all the time: nobody has been told of it.
                None if path.parent().is_some_and(|d| heard.contains(d))
                    && !others.contains(&path)
                    && !named_before(&path) =>
                {
                    self.files.push(File::unseen(path, now));
                }
                _ => {
                    self.others.insert(path);
                }
            }
        }
    }

    /// Takes note of what has come, and looks at everything.
    pub(super) fn look(&mut self, named: &[File], now: Nanos) {
        let mut found = unnamed(named);
        if !self.others.is_empty() {
            // A name that comes back is a new one.
            let there: HashSet<&PathBuf> = found.iter().collect();
            self.others.retain(|path| there.contains(path));
        }
        let known: HashSet<&Path> = self.files.iter().map(|file| file.path.as_path()).collect();
        found.retain(|path| !known.contains(path.as_path()) && !self.others.contains(path));
        self.files
            .extend(found.into_iter().map(|path| File::unseen(path, now)));
        self.files.iter_mut().for_each(|file| file.look(now));
        self.files.retain(|file| !file.is_nothing());
    }

    /// An event told of something at `path` that no file here is: if it is in one of the directories, it is one now.
    pub(super) fn hear_of(&mut self, named: &[File], path: &Path, now: Nanos) {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return;
        };
        let directory = named
            .iter()
            .find(|file| file.as_directory() == Some(parent));
        if let Some(directory) = directory.filter(|_| is_meant(path)) {
            let path = directory.path.join(name);
            if self.files.len() < MOST && !self.others.contains(&path) {
                let mut file = File::unseen(path, now);
                file.look(now);
                self.files.push(file);
            }
        }
    }

    /// Is nobody writing here, or somebody who will not come to an end?
    pub(super) fn are_settled(&self, now: Nanos) -> bool {
        self.files
            .iter()
            .all(|file| file.is_settled(now) || now.since(file.known) >= LONGEST)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &File> {
        self.files.iter()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut File> {
        self.files.iter_mut()
    }
}

/// What is in the directories among `named` and not named itself.
fn unnamed(named: &[File]) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = named.iter().flat_map(list).collect();
    if !paths.is_empty() {
        let names: HashSet<&Path> = named.iter().map(|file| file.path.as_path()).collect();
        paths.retain(|path| !names.contains(path.as_path()));
    }
    paths
}

/// What is in it, if it is a directory, by names below the one that it was given.
fn list(file: &File) -> Vec<PathBuf> {
    let entries = file.as_directory().and_then(|real| fs::read_dir(real).ok());
    entries
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| file.path.join(entry.file_name()))
        .filter(|path| is_meant(path))
        .take(MOST)
        .collect()
}

/// Hidden files are those of editors and of Kubernetes, and a `~` at the end means an older one.
fn is_meant(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().as_encoded_bytes();
    !name.starts_with(b".") && !name.ends_with(b"~")
}

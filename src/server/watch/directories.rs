//! The directories that the system sends events for: kept in step with where the files are, and renewed when one
//! is replaced by another of its name.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc::SyncSender;

use notify::event::{AccessKind, AccessMode, ModifyKind, RenameMode};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};

use super::files::File;
use super::{Hint, Message};

/// Sends hints to `outbox` for the directories yet to be named; where they find no place, sets `lost`.
pub(super) fn subscribe(
    outbox: SyncSender<Message>,
    lost: Arc<AtomicBool>,
) -> notify::Result<RecommendedWatcher> {
    notify::recommended_watcher(move |event| {
        if let Some(hint) = hint_of(event) {
            // Never waits: the observer's thread may at this moment wait for this one.
            if outbox.try_send(Message::Hint(hint)).is_err() {
                lost.store(true, Relaxed);
            }
        }
    })
}

/// What an event says; `None` for mere readers, of which we are one.
fn hint_of(event: notify::Result<Event>) -> Option<Hint> {
    let Ok(mut event) = event else {
        return Some(Hint::Lost);
    };
    if event.need_rescan() {
        return Some(Hint::Lost);
    }
    let Some(path) = event.paths.pop() else {
        return Some(Hint::Stirred);
    };
    match event.kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write))
        | EventKind::Modify(ModifyKind::Name(RenameMode::To)) => Some(Hint::Whole(path)),
        // Tells again what the event before it told.
        EventKind::Modify(ModifyKind::Name(RenameMode::Both)) | EventKind::Access(_) => None,
        EventKind::Modify(ModifyKind::Name(_)) | EventKind::Remove(_) => Some(Hint::Gone(path)),
        EventKind::Create(_) | EventKind::Modify(ModifyKind::Data(_)) => Some(Hint::Written(path)),
        _ => Some(Hint::Stirred),
    }
}

/// The directories being watched.
#[derive(Debug)]
pub(super) struct Directories {
    /// `None` where the system has no events left to give.
    watcher: Option<RecommendedWatcher>,
    /// Each with its device and number: a watch stays with the directory, not with its name.
    watched: HashMap<PathBuf, (u64, u64)>,
}

impl Directories {
    pub(super) fn new(watcher: Option<RecommendedWatcher>) -> Directories {
        Directories {
            watcher,
            watched: HashMap::new(),
        }
    }

    /// Watches the directories of `files` and no others. One that cannot be watched is tried again next time.
    pub(super) fn follow<'f>(&mut self, files: impl Iterator<Item = &'f File>) {
        let Some(watcher) = &mut self.watcher else {
            return;
        };
        let wanted: HashSet<&Path> = files.flat_map(File::directories).collect();
        self.watched.retain(|path, inode| {
            let stays = wanted.contains(path.as_path()) && inode_of(path) == Some(*inode);
            if !stays {
                // It may have gone by itself.
                let _ = watcher.unwatch(path);
            }
            stays
        });
        for path in wanted {
            if !self.watched.contains_key(path)
                && let Some(inode) = inode_of(path)
                && watcher.watch(path, RecursiveMode::NonRecursive).is_ok()
            {
                self.watched.insert(path.to_owned(), inode);
            }
        }
    }

    /// The directory `path` was removed or moved: whatever has its name next is another one, even if it should be
    /// given the same number.
    pub(super) fn forget(&mut self, path: &Path) {
        if self.watched.remove(path).is_some()
            && let Some(watcher) = &mut self.watcher
        {
            // It may have gone by itself.
            let _ = watcher.unwatch(path);
        }
    }
}

fn inode_of(path: &Path) -> Option<(u64, u64)> {
    fs::metadata(path).ok().map(|meta| (meta.dev(), meta.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use notify::event::{CreateKind, DataChange, Flag, MetadataKind, RemoveKind};

    #[test]
    fn events_become_hints_and_readers_none() {
        let path = || PathBuf::from("/etc/a");
        for (kind, hint) in [
            (EventKind::Access(AccessKind::Open(AccessMode::Any)), None),
            (
                EventKind::Access(AccessKind::Close(AccessMode::Write)),
                Some(Hint::Whole(path())),
            ),
            (
                EventKind::Modify(ModifyKind::Name(RenameMode::To)),
                Some(Hint::Whole(path())),
            ),
            (
                EventKind::Modify(ModifyKind::Name(RenameMode::From)),
                Some(Hint::Gone(path())),
            ),
            (
                EventKind::Modify(ModifyKind::Data(DataChange::Any)),
                Some(Hint::Written(path())),
            ),
            (
                EventKind::Modify(ModifyKind::Metadata(MetadataKind::Any)),
                Some(Hint::Stirred),
            ),
            (
                EventKind::Create(CreateKind::File),
                Some(Hint::Written(path())),
            ),
            (
                EventKind::Remove(RemoveKind::Folder),
                Some(Hint::Gone(path())),
            ),
        ] {
            assert_eq!(
                hint_of(Ok(Event::new(kind).add_path(path()))),
                hint,
                "{kind:?}"
            );
        }
        assert_eq!(
            hint_of(Ok(Event::new(EventKind::Other).set_flag(Flag::Rescan))),
            Some(Hint::Lost)
        );
        assert_eq!(
            hint_of(Err(notify::Error::generic("queue"))),
            Some(Hint::Lost)
        );
    }
}

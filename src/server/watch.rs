//! Tells when a file may have changed: events of the system are hints, what the files are is the truth. A directory
//! stands for the files in it.
//!
//! The directories of the files and of what they link to are watched, never the files: replaced by a rename, a file
//! would take its watch with it. A look at the files follows when the events have been quiet for a moment, and once
//! a second in any case, since network file systems and some mounts send nothing. What is being written in place is
//! announced when it is closed, or has stayed the same for a second: half a file can be a valid one.

mod directories;
mod entries;
mod files;
#[cfg(test)]
mod tests;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use crate::time::{self, Nanos};
use directories::Directories;
use entries::{Entries, Naming};
use files::File;

/// A look follows the last event after this time,
const DEBOUNCE: Duration = Duration::from_millis(100);

/// and the first event after this one, however many more come.
const LATEST: Duration = Duration::from_millis(500);

/// The files are looked at this often without any event.
const POLL: Duration = Duration::from_secs(1);

/// While a file is being written, it is looked at this often.
const RECHECK: Duration = Duration::from_millis(100);

/// Hints that may wait for the thread; what comes beyond is as good as an overflow of the system's own queue.
const QUEUE: usize = 1024;

/// A thread that watches files until it is dropped.
#[derive(Debug)]
pub struct Watch {
    outbox: SyncSender<Message>,
    wishes: Arc<Mutex<Wishes>>,
}

impl Watch {
    /// Watches `paths` from now on and calls `notify`, on a thread of its own, when one of them may have changed,
    /// come or gone. Begin to watch before reading the files, so that no change falls between.
    ///
    /// A system without events left is no error: the files are then only polled.
    ///
    /// # Errors
    /// No thread can be started.
    pub fn start(paths: Vec<PathBuf>, notify: impl Fn() + Send + 'static) -> io::Result<Watch> {
        let (outbox, inbox) = sync_channel(QUEUE);
        let lost = Arc::<AtomicBool>::default();
        let events = directories::subscribe(outbox.clone(), Arc::clone(&lost));
        if let Err(error) = &events {
            tracing::warn!(%error, "no file events, files are polled every second");
        }
        Watch::start_with(
            paths,
            notify,
            (outbox, inbox),
            Directories::new(events.ok()),
            lost,
        )
    }

    fn start_with(
        paths: Vec<PathBuf>,
        notify: impl Fn() + Send + 'static,
        (outbox, inbox): (SyncSender<Message>, Receiver<Message>),
        directories: Directories,
        lost: Arc<AtomicBool>,
    ) -> io::Result<Watch> {
        let wishes = Arc::<Mutex<Wishes>>::default();
        let now = time::now();
        let files: Vec<File> = paths.into_iter().map(|path| File::new(path, now)).collect();
        let observer = Observer {
            entries: Entries::of(&files, now),
            files,
            directories,
            lost,
            debounce: Debounce::default(),
            next_look: now,
        };
        let theirs = Arc::clone(&wishes);
        thread::Builder::new()
            .name("watch".into())
            .spawn(move || observer.run(&inbox, &theirs, notify))?;
        Ok(Watch { outbox, wishes })
    }

    /// Watches these paths instead. Those watched before keep what is known of them; a new one counts as seen now.
    pub fn set_paths(&self, paths: Vec<PathBuf>) {
        let now = time::now();
        let files = paths.into_iter().map(|path| File::new(path, now)).collect();
        // Listed here and not when the thread comes to it: what comes in between is news.
        let naming = Naming::of(files);
        self.wish(|wishes| wishes.naming = Some(naming));
    }

    fn wish(&self, say: impl FnOnce(&mut Wishes)) {
        say(&mut lock(&self.wishes));
        // A full queue wakes the thread too: it looks here after every message.
        let _ = self.outbox.try_send(Message::Wake);
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.wish(|wishes| wishes.stop = true);
    }
}

#[derive(Debug)]
enum Message {
    Hint(Hint),
    /// There is something new in [`Wishes`].
    Wake,
}

/// What an event says, as far as it matters here.
#[derive(Debug, PartialEq, Eq)]
enum Hint {
    /// Something happened.
    Stirred,
    /// Somebody began or goes on to write this file.
    Written(PathBuf),
    /// This file is whole: closed by who wrote it, or moved here.
    Whole(PathBuf),
    /// This file or directory was removed or moved away.
    Gone(PathBuf),
    /// Events were lost.
    Lost,
}

/// What the owner asks of the thread; kept beside the queue, which may be full.
#[derive(Debug, Default)]
struct Wishes {
    naming: Option<Naming>,
    stop: bool,
}

fn lock(wishes: &Mutex<Wishes>) -> MutexGuard<'_, Wishes> {
    wishes.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the thread owns.
struct Observer {
    /// Those that were named, directories too.
    files: Vec<File>,
    /// What is in the directories among them.
    entries: Entries,
    directories: Directories,
    /// Hints found no place in the queue.
    lost: Arc<AtomicBool>,
    debounce: Debounce,
    /// When to look if no event comes.
    next_look: Nanos,
}

impl Observer {
    fn run(mut self, inbox: &Receiver<Message>, wishes: &Mutex<Wishes>, notify: impl Fn()) {
        loop {
            let next = self.debounce.due().unwrap_or(self.next_look);
            match inbox.recv_timeout(next.since(time::now())) {
                Ok(message) => self.hear_all(message, inbox),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            if self.lost.swap(false, Relaxed) {
                self.hear(Hint::Lost, time::now());
            }
            let wished = std::mem::take(&mut *lock(wishes));
            if wished.stop {
                return;
            }
            if let Some(naming) = wished.naming {
                self.replace(naming);
            }
            let now = time::now();
            if now >= self.debounce.due().unwrap_or(self.next_look) && self.look(now) {
                notify();
            }
        }
    }

    /// Hears `message` and all that is waiting, at most one queue full: so a look is not taken while it is already
    /// known that a writing goes on.
    fn hear_all(&mut self, message: Message, inbox: &Receiver<Message>) {
        for message in std::iter::once(message).chain(inbox.try_iter().take(QUEUE)) {
            if let Message::Hint(hint) = message {
                self.hear(hint, time::now());
            }
        }
    }

    fn hear(&mut self, hint: Hint, now: Nanos) {
        self.debounce.hint(now);
        match hint {
            Hint::Stirred => {}
            Hint::Written(path) => self.mark(&path, false, now),
            Hint::Whole(path) => self.mark(&path, true, now),
            Hint::Gone(path) => {
                self.mark(&path, false, now);
                self.directories.forget(&path);
            }
            Hint::Lost => self.all().for_each(|file| file.whole = false),
        }
    }

    fn all(&mut self) -> impl Iterator<Item = &mut File> {
        self.files.iter_mut().chain(self.entries.iter_mut())
    }

    fn mark(&mut self, path: &Path, whole: bool, now: Nanos) {
        if !self.all().any(|file| file.is_at(path)) {
            self.entries.hear_of(&self.files, path, now);
        }
        for file in self.all().filter(|file| file.is_at(path)) {
            file.whole = whole;
        }
    }

    fn replace(&mut self, naming: Naming) {
        let Naming { files, beside } = naming;
        let now = time::now();
        let old = std::mem::take(&mut self.files);
        let keep = |new: File| {
            let mut known = old.iter().chain(self.entries.iter());
            match known.find(|file| file.path == new.path) {
                Some(found) => found.clone(),
                None => new,
            }
        };
        self.files = files.into_iter().map(keep).collect();
        self.entries.renew(&old, beside, now);
        self.next_look = now;
    }

    /// Looks at all files; true when there is a change to announce. Files that change together are announced
    /// together, so one that is still being written holds up the others.
    fn look(&mut self, now: Nanos) -> bool {
        self.debounce = Debounce::default();
        self.next_look = now.plus(POLL);
        self.directories
            .follow(self.files.iter().chain(self.entries.iter()));
        self.files.iter_mut().for_each(|file| file.look(now));
        self.entries.look(&self.files, now);
        let all = || self.files.iter().chain(self.entries.iter());
        if !all().any(File::is_changed) {
            return false;
        }
        let settled = self.files.iter().all(|file| file.is_settled(now));
        if !settled || !self.entries.are_settled(now) {
            self.next_look = now.plus(RECHECK);
            return false;
        }
        self.all().for_each(File::announce);
        true
    }
}

/// Waits for events to end, but not for ever.
#[derive(Debug, Default)]
struct Debounce {
    /// The first event since the last look, and the last one.
    events: Option<(Nanos, Nanos)>,
}

impl Debounce {
    fn hint(&mut self, now: Nanos) {
        let first = self.events.map_or(now, |(first, _)| first);
        self.events = Some((first, now));
    }

    /// When to look; `None` without events.
    fn due(&self) -> Option<Nanos> {
        self.events
            .map(|(first, last)| last.plus(DEBOUNCE).min(first.plus(LATEST)))
    }
}

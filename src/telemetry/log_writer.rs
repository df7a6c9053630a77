//! The thread that writes the access log: takes whole buffers from a bounded queue and survives every fault of the
//! file it writes to.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use super::access_log::BUFFER_BYTES;
use crate::time::{self, Nanos};

/// Buffers that may wait for the writer; beyond it they are dropped. With [`BUFFER_BYTES`] this bounds the memory
/// of a log that cannot be written to 4 MiB.
const QUEUE: usize = 64;

/// A file that cannot be written to is warned of at most this often.
const WARN_EVERY: Duration = Duration::from_secs(60);

/// A descriptor that somebody made non-blocking is tried again after this pause, this many times.
const RETRY: (Duration, u32) = (Duration::from_millis(10), 100);

/// Where the lines go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogPath {
    /// Standard output.
    Stdout,
    /// A file, appended to; made if missing.
    File(PathBuf),
}

impl LogPath {
    fn open(&self) -> io::Result<File> {
        match self {
            // Our own descriptor: the standard library's would hold lines back and could panic.
            LogPath::Stdout => Ok(io::stdout().as_fd().try_clone_to_owned()?.into()),
            // Lines tell who visited what: no business of other users.
            LogPath::File(path) => OpenOptions::new()
                .append(true)
                .create(true)
                .mode(0o640)
                .open(path),
        }
    }
}

/// Lines on their way to the writer.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) bytes: Vec<u8>,
    pub(super) lines: u64,
    /// Takes the emptied buffer back.
    pub(super) back: SyncSender<Vec<u8>>,
}

#[derive(Debug)]
enum Parcel {
    Lines(Batch),
    /// There is something new in [`Wishes`].
    Wake,
}

/// A worker's end of the queue.
#[derive(Clone, Debug)]
pub struct Sender {
    queue: SyncSender<Parcel>,
    dropped: Arc<AtomicU64>,
}

impl Sender {
    /// Hands a batch over, or drops and counts it. Never waits.
    pub(super) fn send(&self, batch: Batch) {
        let lines = batch.lines;
        if self.queue.try_send(Parcel::Lines(batch)).is_err() {
            self.dropped.fetch_add(lines, Relaxed);
        }
    }
}

/// What the control thread asks of the writer; kept beside the queue, which may be full.
#[derive(Debug, Default)]
struct Wishes {
    reopen: bool,
    redirect: Option<(LogPath, File)>,
    finish: bool,
}

/// The writer thread, as the control thread sees it.
#[derive(Debug)]
pub struct Writer {
    sender: Sender,
    wishes: Arc<Mutex<Wishes>>,
    /// Closed by the thread as it ends.
    ended: Receiver<()>,
}

impl Writer {
    /// Opens the log and starts the thread. Lines that are lost are added to `dropped`.
    ///
    /// # Errors
    /// The file cannot be opened, or no thread be started.
    pub fn start(path: LogPath, dropped: Arc<AtomicU64>) -> io::Result<Writer> {
        let file = path.open()?;
        Writer::start_on(path, file, dropped)
    }

    pub(super) fn start_on(
        path: LogPath,
        file: File,
        dropped: Arc<AtomicU64>,
    ) -> io::Result<Writer> {
        let (queue, parcels) = sync_channel(QUEUE);
        let (end, ended) = sync_channel(0);
        let wishes = Arc::<Mutex<Wishes>>::default();
        let scribe = Scribe {
            parcels,
            wishes: Arc::clone(&wishes),
            path,
            file,
            torn: false,
            dropped: Arc::clone(&dropped),
            warned: None,
        };
        thread::Builder::new()
            .name("access-log".into())
            .spawn(move || {
                scribe.run();
                drop(end);
            })?;
        Ok(Writer {
            sender: Sender { queue, dropped },
            wishes,
            ended,
        })
    }

    /// For one worker's [`Buffer`](super::access_log::Buffer).
    #[must_use]
    pub fn sender(&self) -> Sender {
        self.sender.clone()
    }

    /// Closes the file and opens it by its name again, as after a rotation. The old one stays when that fails.
    pub fn reopen(&self) {
        self.wish(|wishes| wishes.reopen = true);
    }

    /// Writes to another place from now on.
    ///
    /// # Errors
    /// The new place cannot be opened; the old one stays.
    pub fn redirect(&self, path: LogPath) -> io::Result<()> {
        let file = path.open()?;
        self.wish(|wishes| wishes.redirect = Some((path, file)));
        Ok(())
    }

    /// Writes all that was handed over before and ends the thread. False when `deadline` passed before that.
    #[must_use]
    pub fn finish(self, deadline: Duration) -> bool {
        self.wish(|wishes| wishes.finish = true);
        self.ended.recv_timeout(deadline) == Err(RecvTimeoutError::Disconnected)
    }

    fn wish(&self, say: impl FnOnce(&mut Wishes)) {
        say(&mut lock(&self.wishes));
        // A full queue wakes the thread too: it looks here after every parcel.
        let _ = self.sender.queue.try_send(Parcel::Wake);
    }
}

fn lock(wishes: &Mutex<Wishes>) -> MutexGuard<'_, Wishes> {
    wishes.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the thread owns.
struct Scribe {
    parcels: Receiver<Parcel>,
    wishes: Arc<Mutex<Wishes>>,
    path: LogPath,
    file: File,
    /// The file ends in a piece of a line.
    torn: bool,
    dropped: Arc<AtomicU64>,
    warned: Option<Nanos>,
}

impl Scribe {
    fn run(mut self) {
        while let Ok(parcel) = self.parcels.recv() {
            let finish = self.obey();
            self.take(parcel);
            if finish {
                while let Ok(parcel) = self.parcels.try_recv() {
                    self.take(parcel);
                }
                return;
            }
        }
    }

    /// Does what the control thread wished; true when that is to finish.
    fn obey(&mut self) -> bool {
        let wishes = std::mem::take(&mut *lock(&self.wishes));
        if let Some((path, file)) = wishes.redirect {
            (self.path, self.file, self.torn) = (path, file, false);
        } else if wishes.reopen && self.path != LogPath::Stdout {
            match self.path.open() {
                Ok(file) => (self.file, self.torn) = (file, false),
                Err(error) => {
                    tracing::warn!(%error, "cannot reopen the access log, the open file stays in use")
                }
            }
        }
        wishes.finish
    }

    fn take(&mut self, parcel: Parcel) {
        let Parcel::Lines(mut batch) = parcel else {
            return;
        };
        let (written, result) = self.write(&batch.bytes);
        if let Err(error) = result {
            let whole = batch.bytes[..written]
                .iter()
                .filter(|&&byte| byte == b'\n')
                .count() as u64;
            let lost = batch.lines.saturating_sub(whole);
            self.dropped.fetch_add(lost, Relaxed);
            self.warn(&error, lost);
        }
        // One long line must not keep its memory for ever.
        if batch.bytes.capacity() <= 2 * BUFFER_BYTES {
            batch.bytes.clear();
            // The worker has enough buffers, or has ended.
            let _ = batch.back.try_send(batch.bytes);
        }
    }

    /// Writes until all is written or the file refuses; says how many bytes went.
    fn write(&mut self, bytes: &[u8]) -> (usize, io::Result<()>) {
        if self.torn {
            // The line that broke off stays broken, the next one must not.
            if let (_, Err(error)) = write_through(&mut self.file, b"\n") {
                return (0, Err(error));
            }
            self.torn = false;
        }
        let (written, result) = write_through(&mut self.file, bytes);
        if let Some(last) = written.checked_sub(1) {
            self.torn = bytes.get(last) != Some(&b'\n');
        }
        (written, result)
    }

    fn warn(&mut self, error: &io::Error, lost: u64) {
        let now = time::now();
        if self.warned.is_none_or(|last| now.since(last) >= WARN_EVERY) {
            self.warned = Some(now);
            tracing::warn!(%error, lost, "cannot write the access log, its lines are dropped");
        }
    }
}

/// `write_all` that tells how far it came and gives a non-blocking descriptor time.
fn write_through(file: &mut File, bytes: &[u8]) -> (usize, io::Result<()>) {
    let (mut written, mut retries) = (0, 0);
    while written < bytes.len() {
        match file.write(&bytes[written..]) {
            Ok(0) => return (written, Err(ErrorKind::WriteZero.into())),
            Ok(n) => (written, retries) = (written + n, 0),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock && retries < RETRY.1 => {
                retries += 1;
                thread::sleep(RETRY.0);
            }
            Err(error) => return (written, Err(error)),
        }
    }
    (written, Ok(()))
}

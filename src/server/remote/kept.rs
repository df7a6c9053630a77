//! The last configuration that was good, kept on disk for a start while its server cannot be reached.
//!
//! One file for each address: a line with the signature, or `-`, then the text. It is replaced as a whole.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use aws_lc_rs::digest::{SHA256, digest};

/// More than text and signature can have.
const MOST_BYTES: u64 = 9 * 1024 * 1024;

/// Where the last good text of one address is.
#[derive(Clone)]
pub(super) struct Kept {
    file: PathBuf,
}

/// What was kept.
pub(super) struct LastGood {
    pub(super) text: String,
    /// As it was sent.
    pub(super) signature: Option<String>,
}

impl Kept {
    /// In `directory`, for what comes from `url`.
    pub(super) fn new(directory: &Path, url: &str) -> Kept {
        let hash = digest(&SHA256, url.as_bytes());
        let name: String = hash.as_ref()[..8]
            .iter()
            .map(|b| format!("{b:02x}"))
            .collect();
        Kept {
            file: directory.join(format!("config-{name}.yaml")),
        }
    }

    /// The file.
    pub(super) fn path(&self) -> &Path {
        &self.file
    }

    /// What was kept last; `None` where nothing was.
    ///
    /// # Errors
    /// The file cannot be read, or is not one of ours.
    pub(super) fn load(&self) -> io::Result<Option<LastGood>> {
        let file = match File::open(&self.file) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut whole = String::new();
        file.take(MOST_BYTES).read_to_string(&mut whole)?;
        let (head, text) = whole.split_once('\n').ok_or(io::ErrorKind::InvalidData)?;
        let signature = head.strip_prefix(HEAD).ok_or(io::ErrorKind::InvalidData)?;
        Ok(Some(LastGood {
            text: text.to_owned(),
            signature: (signature != NONE).then(|| signature.to_owned()),
        }))
    }

    /// Replaces what was kept; what was there stays if that fails, also by a power cut.
    ///
    /// # Errors
    /// The directory is missing or cannot be written.
    pub(super) fn save(&self, good: &LastGood) -> io::Result<()> {
        let fresh = self.file.with_extension("new");
        // It may hold secrets.
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&fresh)?;
        let signature: String = good
            .signature
            .as_deref()
            .unwrap_or(NONE)
            .split_ascii_whitespace()
            .collect();
        writeln!(file, "{HEAD}{signature}")?;
        file.write_all(good.text.as_bytes())?;
        file.sync_all()?;
        fs::rename(fresh, &self.file)?;
        let directory = self.file.parent().unwrap_or(Path::new("."));
        File::open(directory)?.sync_all()
    }
}

const HEAD: &str = "# tidegate: the last good configuration; signature: ";
const NONE: &str = "-";

//! What is read from the disk, within bounds, and the names that a pattern with `*` and `?` finds.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use super::report::Fault;

/// Largest file, in bytes.
const MOST_BYTES: u64 = 8 * 1024 * 1024;

/// Most files of one directory that are looked at.
const MOST_NAMES: usize = 10_000;

/// The bytes of a file, at most 8 MiB; also of a pipe, for somebody gave its name on the command line.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, Fault> {
    let file = File::open(path).map_err(cannot)?;
    let mut bytes = Vec::new();
    file.take(MOST_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(cannot)?;
    if bytes.len() as u64 > MOST_BYTES {
        return Err(Fault::bare("is larger than 8 MiB"));
    }
    Ok(bytes)
}

/// The same of a regular file only: opening a pipe could wait forever.
pub(super) fn read_regular(path: &Path) -> Result<Vec<u8>, Fault> {
    let meta = fs::metadata(path).map_err(cannot)?;
    if meta.is_dir() {
        return Err(Fault::new("is a directory", "such as `routes.d/*.yaml`"));
    }
    if !meta.is_file() {
        return Err(Fault::bare("is not a regular file"));
    }
    read(path)
}

/// The files of a directory whose names fit `pattern`, by name; directories are left out.
pub(super) fn list(folder: &Path, pattern: &str) -> Result<Vec<PathBuf>, Fault> {
    let listed = if folder.as_os_str().is_empty() {
        Path::new(".")
    } else {
        folder
    };
    let mut files = Vec::new();
    for (count, entry) in fs::read_dir(listed).map_err(cannot)?.enumerate() {
        if count >= MOST_NAMES {
            return Err(Fault::bare("has too many files to be looked through"));
        }
        let name = entry.map_err(cannot)?.file_name();
        let path = folder.join(&name);
        if fits(pattern, &name.to_string_lossy()) && !path.is_dir() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// Is this no file but the address that a configuration was fetched from?
pub(super) fn is_remote(path: &Path) -> bool {
    ["http:", "https:"]
        .iter()
        .any(|scheme| path.starts_with(scheme))
}

fn cannot(error: io::Error) -> Fault {
    Fault::bare(format!("cannot be read: {error}"))
}

/// Whether a name fits a pattern: `*` is any text, `?` one character. Hidden names fit only patterns that begin
/// with a dot: editors keep their own files there.
fn fits(pattern: &str, name: &str) -> bool {
    if name.starts_with('.') && !pattern.starts_with('.') {
        return false;
    }
    let (pattern, name): (Vec<char>, Vec<char>) =
        (pattern.chars().collect(), name.chars().collect());
    let (mut p, mut n) = (0, 0);
    // Where the last star stands, and how much of the name it took.
    let mut star: Option<(usize, usize)> = None;
    while n < name.len() {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p, n));
                p += 1;
            }
            Some(c) if *c == '?' || *c == name[n] => {
                p += 1;
                n += 1;
            }
            _ => {
                let Some((at, taken)) = star else {
                    return false;
                };
                star = Some((at, taken + 1));
                (p, n) = (at + 1, taken + 1);
            }
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_are_any_text() {
        for (pattern, name) in [
            ("*.yaml", "a.yaml"),
            ("*.yaml", "a.b.yaml"),
            ("*", "a"),
            ("a?c*", "abc"),
            ("*a*b", "xxaxxbxb"),
            (".*", ".hidden"),
            ("é*", "éa"),
        ] {
            assert!(fits(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in [
            ("*.yaml", ".a.yaml"),
            ("*.yaml", "a.yml"),
            ("*.yaml", "a.yaml~"),
            ("a?", "a"),
            ("", "a"),
            ("*a*b", "ba"),
        ] {
            assert!(!fits(pattern, name), "{pattern} {name}");
        }
    }
}

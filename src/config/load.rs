//! The doors of this room: from a path or a text to a [`Config`], or to every problem of it.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use super::node::Span;
use super::report::{Fault, Report};
use super::{Config, Problem, check, expand, keys, parse, read};

/// Largest file, in bytes.
const MOST_BYTES: u64 = 8 * 1024 * 1024;

/// A file that is in order.
#[derive(Clone, Debug, PartialEq)]
pub struct Loaded {
    /// What it means.
    pub config: Config,
    /// What is doubtful in it.
    pub warnings: Vec<Problem>,
    /// Every file that was read: the file itself, then those of `${file:…}`.
    pub sources: Vec<PathBuf>,
}

/// Reads the file at `path` (at most 8 MiB). `env` answers for environment variables.
///
/// # Errors
/// Every problem of the file, in file order; one with line 0 when it cannot be read at all.
pub fn load(path: &Path, env: &dyn Fn(&str) -> Option<String>) -> Result<Loaded, Vec<Problem>> {
    let name = path.display().to_string();
    let text = read_file(path)
        .map_err(|fault| vec![Problem::of_file(&name, fault.message, fault.help)])?;
    let text = match String::from_utf8(text) {
        Ok(text) => text,
        Err(error) => {
            return Err(not_utf8(
                &name,
                error.as_bytes(),
                error.utf8_error().valid_up_to(),
            ));
        }
    };
    let mut loaded = parse_text(&name, &text, env)?;
    loaded.sources.insert(0, path.into());
    Ok(loaded)
}

/// Reads a text that stands for the file `file_name`.
///
/// # Errors
/// Every problem of the text, in file order.
pub fn parse_text(
    file_name: &str,
    text: &str,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<Loaded, Vec<Problem>> {
    let mut report = Report::new(file_name, text);
    let mut root = match read::read(text, &mut report) {
        Ok(Some(root)) if root.scalar().is_none_or(|scalar| !scalar.is_null()) => root,
        Ok(_) => {
            let fault = Fault::new("the file is empty", "at least `listeners` must be there");
            report.error(
                Span {
                    line: 1,
                    column: 1,
                    last_line: 1,
                    width: 1,
                },
                fault,
            );
            return Err(report.into_problems());
        }
        Err(read::Broken) => return Err(report.into_problems()),
    };
    let sources = expand::expand(&mut root, env, &mut report);
    check::check_root(&root, keys::ROOT, &mut report);
    let config = parse::parse(&root, &mut report);
    let warnings = report.finish()?;
    Ok(Loaded {
        config,
        warnings,
        sources,
    })
}

fn read_file(path: &Path) -> Result<Vec<u8>, Fault> {
    let cannot = |error: std::io::Error| Fault::bare(format!("cannot be read: {error}"));
    let file = std::fs::File::open(path).map_err(cannot)?;
    if file.metadata().map_err(cannot)?.is_dir() {
        return Err(Fault::bare("cannot be read: it is a directory"));
    }
    let mut bytes = Vec::new();
    file.take(MOST_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(cannot)?;
    if bytes.len() as u64 > MOST_BYTES {
        return Err(Fault::bare("is larger than 8 MiB"));
    }
    Ok(bytes)
}

fn not_utf8(name: &str, bytes: &[u8], valid: usize) -> Vec<Problem> {
    let before = String::from_utf8_lossy(&bytes[..valid]);
    let mut report = Report::new(name, &before);
    let line = before.matches('\n').count() + 1;
    let column = before
        .rsplit('\n')
        .next()
        .unwrap_or_default()
        .chars()
        .count()
        + 1;
    report.error(
        Span {
            line,
            column,
            last_line: line,
            width: 1,
        },
        Fault::bare("this byte is not UTF-8"),
    );
    report.into_problems()
}

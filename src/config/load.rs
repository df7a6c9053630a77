//! The doors of this room: from a path or a text to a [`Config`], or to every problem of it.

use std::path::{Path, PathBuf};

use super::bind_places::BindPlaces;
use super::gather::{Gathered, Gatherer};
use super::node::Span;
use super::report::{Fault, Report};
use super::tls::{FilesInForce, Named};
use super::{Config, Problem, Severity, check, defaults, parse};

/// A configuration that is in order.
#[derive(Clone, Debug, PartialEq)]
pub struct Loaded {
    /// What it means.
    pub config: Config,
    /// What is doubtful in it.
    pub warnings: Vec<Problem>,
    /// Everything whose change may change the configuration: see [`Reading::sources`].
    pub sources: Vec<PathBuf>,
    /// What is wrong with certificates or keys whose pairs in force stay, so that they are behind their files.
    pub outdated: Vec<Problem>,
    /// Where its addresses stand.
    pub binds: BindPlaces,
}

/// What came of a reading, good or bad.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    /// Everything whose change may change the result, also where it could not be read: the file or directory itself
    /// first, then directories whose list of files matters, files of `include` and of `${file:…}`, certificates and keys.
    pub sources: Vec<PathBuf>,
    /// The configuration, or every problem of it.
    pub result: Result<Loaded, Vec<Problem>>,
}

/// Reads the file at `path` (at most 8 MiB), or all `*.yaml` of a directory in the order of their names, and the
/// files that they include. `env` answers for environment variables.
///
/// # Errors
/// Every problem, in the order of files and lines; one with line 0 when `path` cannot be read at all.
pub fn load(path: &Path, env: &dyn Fn(&str) -> Option<String>) -> Result<Loaded, Vec<Problem>> {
    read(path, env).result
}

/// As [`load`], and what to watch even if there are problems: the edit that mends them may be in a file that no
/// good configuration ever had.
#[must_use]
pub fn read(path: &Path, env: &dyn Fn(&str) -> Option<String>) -> Reading {
    read_again(path, env, &FilesInForce::default())
}

/// As [`read`], while these files are in force: a pair of them that has expired since, or whatever is broken now, stays
/// as it is and is no reason to refuse what else is new.
#[must_use]
pub fn read_again(
    path: &Path,
    env: &dyn Fn(&str) -> Option<String>,
    in_force: &FilesInForce,
) -> Reading {
    let mut gatherer = Gatherer::new(env);
    gatherer.read_path(path);
    finish(gatherer, in_force)
}

/// As [`read_again`], for a text that was fetched from `url`: only files of this machine that it names are watched.
#[must_use]
pub fn read_text(
    url: &str,
    text: &str,
    env: &dyn Fn(&str) -> Option<String>,
    in_force: &FilesInForce,
) -> Reading {
    let mut gatherer = Gatherer::new(env);
    gatherer.read_text(url, text);
    finish(gatherer, in_force)
}

/// Reads a text that stands for the file `file_name`; what it includes is looked for beside that.
///
/// # Errors
/// Every problem of the text, in file order.
pub fn parse_text(
    file_name: &str,
    text: &str,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<Loaded, Vec<Problem>> {
    let mut gatherer = Gatherer::new(env);
    gatherer.read_text(file_name, text);
    finish(gatherer, &FilesInForce::default()).result
}

fn finish(mut gatherer: Gatherer<'_>, in_force: &FilesInForce) -> Reading {
    gatherer.include();
    let Gathered {
        root,
        is_whole,
        mut report,
        mut sources,
        paths,
    } = gatherer.finish();
    let mut named = Named {
        paths: &paths,
        in_force,
        read: Vec::new(),
        outdated: Vec::new(),
        taken: Vec::new(),
    };
    let mut binds = BindPlaces::default();
    let config = root.and_then(|mut root| {
        defaults::apply(&mut root, &mut report);
        check::check_root(&root, is_whole, &mut report);
        binds = BindPlaces::find(&root, &report);
        // With a file missing, names would seem to dangle.
        is_whole.then(|| parse::parse(&root, &mut named, &mut report))
    });
    sources.extend(named.read);
    let outdated = tell_outdated(named.outdated, &mut report);
    let result = match config {
        Some(config) => report.finish().map(|warnings| Loaded {
            config,
            warnings,
            outdated,
            binds,
            sources: sources.clone(),
        }),
        None => Err(report.into_problems()),
    };
    Reading { sources, result }
}

/// Nothing stays alone: where something else is refused, so is this, in the same report.
fn tell_outdated(faults: Vec<(Span, Fault)>, report: &mut Report) -> Vec<Problem> {
    let mut told = Vec::new();
    let refused = report.has_errors();
    for (span, fault) in faults {
        if refused {
            report.error(span, fault);
        } else {
            told.extend(report.problem(span, fault, Severity::Error));
        }
    }
    told.dedup();
    told
}

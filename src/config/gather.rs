//! One tree out of all files: those of a directory, and those that they include. Lists add up, maps of names merge;
//! anything else said twice is a problem at its second place.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::check;
use super::disk;
use super::expand;
use super::keys;
use super::merge::refuse_second;
use super::node::{Key as WrittenKey, Kind, Node, Scalar, Span, Style};
use super::read;
use super::report::{Fault, Report, quote};
use super::schema::{Key, Shape, join};

/// Most files that one configuration is read from.
const MOST_FILES: usize = 1000;

/// The only keys that an included file may have.
const INCLUDED: [&str; 4] = ["routes", "upstreams", "rate_limits", "auth"];

/// Reads files and joins what they say.
pub(super) struct Gatherer<'a> {
    env: &'a dyn Fn(&str) -> Option<String>,
    report: Report,
    sources: Vec<PathBuf>,
    /// The path of each file of the report.
    paths: Vec<PathBuf>,
    /// Values so far.
    nodes: usize,
    /// What the files say so far, and where each key was said first.
    root: Option<Node>,
    /// A file could not be read, so what it should have said is not missing.
    broken: bool,
}

/// What all files say together.
pub(super) struct Gathered {
    /// `None` where there is nothing to look at.
    pub(super) root: Option<Node>,
    /// Whether this is all of it; if not, the report says why.
    pub(super) is_whole: bool,
    /// The problems so far.
    pub(super) report: Report,
    /// What was read, and the directories whose list of files mattered.
    pub(super) sources: Vec<PathBuf>,
    /// The path of each file of the report.
    pub(super) paths: Vec<PathBuf>,
}

impl<'a> Gatherer<'a> {
    /// Nothing is read yet.
    pub(super) fn new(env: &'a dyn Fn(&str) -> Option<String>) -> Self {
        Gatherer {
            env,
            report: Report::empty(),
            sources: Vec::new(),
            paths: Vec::new(),
            nodes: 0,
            root: None,
            broken: false,
        }
    }

    /// Reads a file, or every `*.yaml` of a directory.
    pub(super) fn read_path(&mut self, path: &Path) {
        self.sources.push(path.into());
        if !path.is_dir() {
            match disk::read(path) {
                Ok(bytes) => self.read_whole(path, &bytes),
                Err(fault) => self.refuse_file(path, fault),
            }
            return;
        }
        match disk::list(path, "*.yaml") {
            Ok(files) if files.is_empty() => {
                let fault = Fault::bare("cannot be read: it is a directory without `*.yaml`");
                self.refuse_file(path, fault);
            }
            Ok(files) => {
                files.iter().for_each(|file| self.read_part(file));
                if self.root.is_none() && !self.broken {
                    self.refuse_file(path, Fault::bare("has empty files only"));
                }
            }
            Err(fault) => self.refuse_file(path, fault),
        }
    }

    /// Takes a text for the only file.
    pub(super) fn read_text(&mut self, name: &str, text: &str) {
        let file = self.open(Path::new(name), name, text);
        if let Some(root) = self.tree(file) {
            self.root = Some(root);
        } else if !self.broken {
            self.broken = true;
            let fault = Fault::new("the file is empty", "at least `listeners` must be there");
            self.report.error(first_place(file), fault);
        }
    }

    /// Reads what the files so far include.
    pub(super) fn include(&mut self) {
        let entry = self.root.as_ref().and_then(|root| root.find("include"));
        let patterns: Vec<(String, Span)> = entry
            .map(Node::items)
            .unwrap_or_default()
            .iter()
            .filter_map(|item| Some((item.scalar()?.text.clone(), item.span)))
            .filter(|(pattern, _)| !pattern.is_empty())
            .collect();
        for (pattern, span) in patterns {
            let file = self.paths.get(span.file);
            if file.is_some_and(|file| disk::is_remote(file)) && !Path::new(&pattern).is_absolute()
            {
                self.broken = true;
                let message = format!("{} is not beside this configuration", quote(&pattern));
                let help = "a remote configuration is one text; it may include files of this machine by `/…`";
                self.report.error(span, Fault::new(message, help));
                continue;
            }
            let beside = file.and_then(|path| path.parent());
            let pattern = beside.unwrap_or(Path::new("")).join(pattern);
            match self.find(&pattern, span) {
                Ok(files) => files.iter().for_each(|file| self.read_included(file, span)),
                Err(fault) => {
                    self.broken = true;
                    self.report.error(span, fault);
                }
            }
        }
    }

    /// What came of it.
    pub(super) fn finish(self) -> Gathered {
        Gathered {
            root: self.root,
            is_whole: !self.broken,
            report: self.report,
            sources: self.sources,
            paths: self.paths,
        }
    }

    fn refuse_file(&mut self, path: &Path, fault: Fault) {
        self.broken = true;
        self.report.refuse_file(&path.display().to_string(), fault);
    }

    fn read_whole(&mut self, path: &Path, bytes: &[u8]) {
        let name = path.display().to_string();
        match std::str::from_utf8(bytes) {
            Ok(text) => self.read_text(&name, text),
            Err(error) => self.refuse_byte(path, bytes, error.valid_up_to()),
        }
    }

    /// One file of a directory.
    fn read_part(&mut self, path: &Path) {
        self.sources.push(path.into());
        let bytes = match disk::read_regular(path) {
            Ok(bytes) => bytes,
            Err(fault) => return self.refuse_file(path, fault),
        };
        if let Some(root) = self.read_bytes(path, &bytes) {
            self.add(root, |_| true);
        }
    }

    /// One file of an `include` at `span`. A file that was read already is not read again.
    fn read_included(&mut self, path: &Path, span: Span) {
        if self.paths.iter().any(|earlier| earlier == path) {
            return;
        }
        if self.paths.len() >= MOST_FILES {
            self.broken = true;
            let fault = Fault::bare(format!("more than {MOST_FILES} files"));
            return self.report.error(span, fault);
        }
        if !self.sources.iter().any(|source| source == path) {
            self.sources.push(path.into());
        }
        match disk::read_regular(path) {
            Ok(bytes) => {
                if let Some(root) = self.read_bytes(path, &bytes) {
                    self.add(root, |key| INCLUDED.contains(&key));
                }
            }
            Err(fault) => {
                self.broken = true;
                let shown = quote(&path.display().to_string());
                let fault = Fault {
                    message: format!("{shown} {}", fault.message),
                    ..fault
                };
                self.report.error(span, fault);
            }
        }
    }

    /// The files that a pattern names, by name.
    fn find(&mut self, pattern: &Path, span: Span) -> Result<Vec<PathBuf>, Fault> {
        let (folder, name) = (pattern.parent(), pattern.file_name());
        let folder = folder.unwrap_or(Path::new(""));
        if folder.to_string_lossy().contains(['*', '?']) {
            return Err(Fault::new(
                "`*` and `?` may stand in the name of the file only",
                "such as `routes.d/*.yaml`",
            ));
        }
        let name = name.unwrap_or_default().to_string_lossy();
        if !name.contains(['*', '?']) {
            return Ok(vec![pattern.into()]);
        }
        let listed = if folder.as_os_str().is_empty() {
            Path::new(".")
        } else {
            folder
        };
        if !self.sources.iter().any(|source| source == listed) {
            self.sources.push(listed.into());
        }
        let files = disk::list(folder, &name).map_err(|fault| {
            let shown = quote(&listed.display().to_string());
            Fault {
                message: format!("{shown} {}", fault.message),
                ..fault
            }
        })?;
        if files.is_empty() {
            let fault = Fault::bare(format!(
                "no file is called {}",
                quote(&pattern.display().to_string())
            ));
            self.report.warn(span, fault);
        }
        Ok(files)
    }

    fn read_bytes(&mut self, path: &Path, bytes: &[u8]) -> Option<Node> {
        match std::str::from_utf8(bytes) {
            Ok(text) => {
                let file = self.open(path, &path.display().to_string(), text);
                self.tree(file)
            }
            Err(error) => {
                self.refuse_byte(path, bytes, error.valid_up_to());
                None
            }
        }
    }

    fn refuse_byte(&mut self, path: &Path, bytes: &[u8], valid: usize) {
        self.broken = true;
        let before = String::from_utf8_lossy(&bytes[..valid]);
        let file = self.open(path, &path.display().to_string(), &before);
        let line = before.matches('\n').count() + 1;
        let last = before.rsplit('\n').next().unwrap_or_default();
        let column = last.chars().count() + 1;
        let span = Span {
            line,
            column,
            last_line: line,
            ..first_place(file)
        };
        self.report
            .error(span, Fault::bare("this byte is not UTF-8"));
    }

    fn open(&mut self, path: &Path, name: &str, text: &str) -> usize {
        self.paths.push(path.into());
        self.report.open(name, text)
    }

    /// The tree of a file, with every `${…}` filled in; `None` if it says nothing.
    fn tree(&mut self, file: usize) -> Option<Node> {
        let Ok(root) = read::read(file, &mut self.nodes, &mut self.report) else {
            self.broken = true;
            return None;
        };
        let mut root = root.filter(|root| root.scalar().is_none_or(|scalar| !scalar.is_null()))?;
        let read = expand::expand(&mut root, self.env, &mut self.report);
        self.sources.extend(read);
        Some(root)
    }

    /// Joins another file to those before it; it may have the keys that `is_allowed` says.
    fn add(&mut self, more: Node, is_allowed: impl Fn(&str) -> bool) {
        let Kind::Map(entries) = more.kind else {
            let fault = Fault::bare(format!("the file must be a map, this is {}", more.noun()));
            return self.report.error(more.span, fault);
        };
        let span = more.span;
        let root = self.root.get_or_insert_with(|| Node {
            span,
            kind: Kind::Map(Vec::new()),
        });
        let Kind::Map(ours) = &mut root.kind else {
            // What the first file is instead is reported by `check`.
            return;
        };
        // What anchors are kept in belongs to its file.
        for (key, value) in entries
            .into_iter()
            .filter(|(key, _)| !key.text.starts_with("x-"))
        {
            if is_allowed(&key.text) {
                join_entry(ours, key, value, &mut self.report);
            } else {
                let fault = not_included(&key.text, &mut self.report);
                self.report.error(key.span, fault);
            }
        }
    }
}

fn first_place(file: usize) -> Span {
    Span {
        file,
        line: 1,
        column: 1,
        last_line: 1,
        width: 1,
    }
}

fn not_included(key: &str, report: &mut Report) -> Fault {
    let shown = quote(key);
    let message = if keys::ROOT.iter().any(|known| known.name == key) {
        format!("{shown} cannot be set in an included file")
    } else {
        format!("unknown key {shown}")
    };
    let help = match report.nearest(key, INCLUDED.into_iter()) {
        Some(near) => format!("did you mean {}?", quote(near)),
        None => {
            let allowed = INCLUDED.iter().map(|key| quote(key));
            format!("allowed: {}", join(allowed, "and"))
        }
    };
    Fault::new(message, help)
}

fn join_entry(
    ours: &mut Vec<(WrittenKey, Node)>,
    key: WrittenKey,
    value: Node,
    report: &mut Report,
) {
    let Some((first, present)) = ours.iter_mut().find(|(first, _)| first.text == key.text) else {
        ours.push((key, value));
        return;
    };
    let shape = keys::ROOT
        .iter()
        .find(|known| known.name == key.text)
        .map(|known: &Key| &known.shape);
    match (shape, &mut present.kind, value.kind) {
        (Some(Shape::List(_) | Shape::Filled(_) | Shape::OneOrMore(_)), _, kind) => {
            join_lists(
                present,
                Node {
                    span: value.span,
                    kind,
                },
            );
        }
        (Some(Shape::Names(_)), Kind::Map(names), Kind::Map(more)) => {
            join_names(names, more, report)
        }
        // Something is no map: `check` says so of the one that is kept.
        (Some(Shape::Names(_)), Kind::Map(_), kind) => {
            let node = Node {
                span: value.span,
                kind,
            };
            if let Some(shape) = shape {
                check::check(&node, shape, report);
            }
        }
        (Some(Shape::Names(_)), ..) => {}
        _ => {
            let message = format!("{} is said in two files", quote(&key.text));
            let help = format!("it is first set on {}", report.line(first.span, key.span));
            report.error(key.span, Fault::new(message, help));
        }
    }
}

/// What is no list counts as a list of one; `check` says where that is wrong.
fn join_lists(present: &mut Node, more: Node) {
    let into_items = |node: Node| match node.kind {
        Kind::List(items) => items,
        kind => vec![Node {
            span: node.span,
            kind,
        }],
    };
    let empty = Kind::Scalar(Scalar {
        text: String::new(),
        style: Style::Plain,
        written: None,
    });
    let span = present.span;
    let mut items = into_items(Node {
        span,
        kind: std::mem::replace(&mut present.kind, empty),
    });
    items.extend(into_items(more));
    present.kind = Kind::List(items);
}

fn join_names(
    names: &mut Vec<(WrittenKey, Node)>,
    more: Vec<(WrittenKey, Node)>,
    report: &mut Report,
) {
    let mut seen: HashMap<String, Span> = names
        .iter()
        .map(|(key, _)| (key.text.clone(), key.span))
        .collect();
    for (key, value) in more {
        if refuse_second(&mut seen, &key.text, key.span, report) {
            names.push((key, value));
        }
    }
}

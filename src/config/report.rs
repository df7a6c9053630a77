//! Gathers the problems of all files and finds, for each, the line to show.

use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;

use super::nearest::nearest;
use super::node::Span;
use super::problem::{Problem, Severity};
use super::source::Source;

/// What is wrong with a value, before its place is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    /// What is wrong, one line.
    pub(super) message: String,
    /// What is allowed, or what was probably meant.
    pub(super) help: Option<String>,
}

impl Fault {
    /// A fault that says what is allowed.
    pub(super) fn new(message: impl Into<String>, help: impl Into<String>) -> Self {
        Fault {
            message: message.into(),
            help: Some(help.into()),
        }
    }

    /// A fault that needs no more words.
    pub(super) fn bare(message: impl Into<String>) -> Self {
        Fault {
            message: message.into(),
            help: None,
        }
    }
}

/// The problems of all files, so far.
#[derive(Debug)]
pub(super) struct Report {
    files: Vec<Source>,
    /// With the number of their files.
    problems: Vec<(usize, Problem)>,
    /// Files and lines that have an error, so that a follow-up of it can be left unsaid.
    touched: BTreeSet<(usize, usize)>,
    /// Searches for a near word that are still allowed: 10,000 dangling names must not cost 10,000² comparisons.
    searches: usize,
}

impl Report {
    /// An empty report on no file yet.
    pub(super) fn empty() -> Self {
        Report {
            files: Vec::new(),
            problems: Vec::new(),
            touched: BTreeSet::new(),
            searches: 100,
        }
    }

    /// An empty report on one `text`, which is file 0.
    #[cfg(test)]
    pub(super) fn new(file: &str, text: &str) -> Self {
        let mut report = Report::empty();
        report.open(file, text);
        report
    }

    /// Adds a file; its number.
    pub(super) fn open(&mut self, name: &str, text: &str) -> usize {
        self.files.push(Source::new(name, text));
        self.files.len() - 1
    }

    /// The name of a file.
    pub(super) fn name(&self, file: usize) -> Arc<str> {
        let source = self.files.get(file);
        source.map_or_else(|| "".into(), |source| Arc::clone(&source.name))
    }

    /// The text of a file.
    pub(super) fn text(&self, file: usize) -> Rc<str> {
        self.files.get(file).map_or_else(|| "".into(), Source::text)
    }

    /// Adds an error.
    pub(super) fn error(&mut self, span: Span, fault: Fault) {
        self.touched.insert((span.file, span.line));
        self.add(span, fault, Severity::Error);
    }

    /// Adds a warning.
    pub(super) fn warn(&mut self, span: Span, fault: Fault) {
        self.add(span, fault, Severity::Warning);
    }

    /// Adds an error of a file that could not be opened.
    pub(super) fn refuse_file(&mut self, name: &str, fault: Fault) {
        let problem = Problem::of_file(name, fault.message, fault.help);
        self.problems.push((self.files.len(), problem));
    }

    /// Whether an error was found within these lines.
    pub(super) fn has_error_within(&self, span: Span) -> bool {
        self.touched
            .range((span.file, span.line)..=(span.file, span.last_line))
            .next()
            .is_some()
    }

    /// Whether there is an error at all.
    pub(super) fn has_errors(&self) -> bool {
        self.problems
            .iter()
            .any(|(_, problem)| problem.severity == Severity::Error)
    }

    /// How a message at `here` names the line of `place`: with its file, if that is another.
    pub(super) fn line(&self, place: Span, here: Span) -> String {
        match self.files.get(place.file) {
            Some(source) if place.file != here.file => {
                format!("line {} of {}", place.line, quote(&source.name))
            }
            _ => format!("line {}", place.line),
        }
    }

    /// The candidate that was probably meant; gives up after 100 searches.
    pub(super) fn nearest<'b>(
        &mut self,
        word: &str,
        candidates: impl Iterator<Item = &'b str>,
    ) -> Option<&'b str> {
        self.searches = self.searches.checked_sub(1)?;
        nearest(word, candidates)
    }

    /// All problems in file order, each once: `Ok` with the warnings when there is no error.
    pub(super) fn finish(self) -> Result<Vec<Problem>, Vec<Problem>> {
        let refused = self.has_errors();
        let problems = self.into_problems();
        if refused { Err(problems) } else { Ok(problems) }
    }

    /// All problems in file order, each once.
    pub(super) fn into_problems(mut self) -> Vec<Problem> {
        // An alias, and a default of all routes, brings the same problem once for each use.
        self.problems.sort_by(|(f, a), (g, b)| {
            (f, a.line, a.column, &a.message).cmp(&(g, b.line, b.column, &b.message))
        });
        self.problems.dedup();
        self.problems
            .into_iter()
            .map(|(_, problem)| problem)
            .collect()
    }

    fn add(&mut self, span: Span, fault: Fault, severity: Severity) {
        if let Some(problem) = self.problem(span, fault, severity) {
            self.problems.push((span.file, problem));
        }
    }

    /// What is wrong at a place, not added to the report; `None` where no file has such a place.
    pub(super) fn problem(&self, span: Span, fault: Fault, severity: Severity) -> Option<Problem> {
        let source = self.files.get(span.file)?;
        let (source_line, caret) = source.show(span.line, span.column);
        let rest = source_line.chars().count().saturating_sub(caret).max(1);
        Some(Problem {
            file: source.name.to_string(),
            line: span.line,
            column: span.column,
            source_line,
            caret,
            width: span.width.clamp(1, rest),
            message: fault.message,
            help: fault.help,
            severity,
        })
    }
}

/// A text from the file as messages quote it: one line, no control characters, at most 60 characters.
pub(super) fn quote(text: &str) -> String {
    let mut out = String::from("`");
    for c in text.chars().take(60) {
        if c.is_control() {
            out.extend(c.escape_debug());
        } else {
            out.push(c);
        }
    }
    if text.chars().nth(60).is_some() {
        out.push('…');
    }
    out.push('`');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(line: usize, column: usize) -> Span {
        Span {
            file: 0,
            line,
            column,
            last_line: line,
            width: 3,
        }
    }

    #[test]
    fn sorts_by_place_and_says_each_once() {
        let mut report = Report::new("f", "one\ntwo\nthree");
        report.error(at(3, 1), Fault::bare("late"));
        report.error(at(1, 2), Fault::bare("early"));
        report.error(at(3, 1), Fault::bare("late"));
        assert!(report.has_error_within(Span {
            line: 2,
            last_line: 3,
            ..Span::default()
        }));
        assert!(!report.has_error_within(at(2, 1)));
        let problems = report.finish().unwrap_err();
        let seen: Vec<_> = problems
            .iter()
            .map(|p| (p.line, p.message.as_str(), p.source_line.as_str()))
            .collect();
        assert_eq!(seen, [(1, "early", "one"), (3, "late", "three")]);
    }

    #[test]
    fn warnings_alone_refuse_nothing() {
        let mut report = Report::new("f", "one");
        report.warn(at(1, 1), Fault::bare("hm"));
        assert_eq!(report.finish().unwrap().len(), 1);
    }

    #[test]
    fn quotes_are_one_harmless_line() {
        assert_eq!(quote("a\n\u{1b}[31m"), "`a\\n\\u{1b}[31m`");
        assert_eq!(quote(&"x".repeat(100)).chars().count(), 63);
    }

    #[test]
    fn searches_for_a_near_word_are_bounded() {
        let mut report = Report::new("f", "");
        let found = (0..1000)
            .filter(|_| report.nearest("abc", ["abd"].into_iter()).is_some())
            .count();
        assert_eq!(found, 100);
    }
}

//! Gathers the problems of one file and finds, for each, the line to show.

use std::collections::BTreeSet;

use super::nearest::nearest;
use super::node::Span;
use super::problem::{Problem, Severity};
use super::schema;

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

/// The problems of one file, so far.
pub(super) struct Report<'a> {
    file: &'a str,
    /// Lines of the file, split as YAML does: at CR LF, LF or CR.
    lines: Vec<&'a str>,
    problems: Vec<Problem>,
    /// Lines that have an error, so that a follow-up of it can be left unsaid.
    touched: BTreeSet<usize>,
    /// Searches for a near word that are still allowed: 10,000 dangling names must not cost 10,000² comparisons.
    searches: usize,
}

impl<'a> Report<'a> {
    /// An empty report on `text`.
    pub(super) fn new(file: &'a str, text: &'a str) -> Self {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        Report {
            file,
            lines: split_lines(text),
            problems: Vec::new(),
            touched: BTreeSet::new(),
            searches: 100,
        }
    }

    /// Adds an error.
    pub(super) fn error(&mut self, span: Span, fault: Fault) {
        self.touched.insert(span.line);
        self.add(span, fault, Severity::Error);
    }

    /// Adds a warning.
    pub(super) fn warn(&mut self, span: Span, fault: Fault) {
        self.add(span, fault, Severity::Warning);
    }

    /// Whether an error was found within these lines.
    pub(super) fn has_error_within(&self, span: Span) -> bool {
        self.touched
            .range(span.line..=span.last_line)
            .next()
            .is_some()
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
        let problems = self.into_problems();
        let refused = problems
            .iter()
            .any(|problem| problem.severity == Severity::Error);
        if refused { Err(problems) } else { Ok(problems) }
    }

    /// All problems in file order, each once.
    pub(super) fn into_problems(mut self) -> Vec<Problem> {
        // An alias brings the same problem once for each use.
        self.problems
            .sort_by(|a, b| (a.line, a.column, &a.message).cmp(&(b.line, b.column, &b.message)));
        self.problems.dedup();
        self.problems
    }

    fn add(&mut self, span: Span, fault: Fault, severity: Severity) {
        let line = self
            .lines
            .get(span.line.saturating_sub(1))
            .copied()
            .unwrap_or_default();
        let (source_line, caret) = window(line, span.column.saturating_sub(1));
        let rest = source_line.chars().count().saturating_sub(caret).max(1);
        self.problems.push(Problem {
            file: self.file.into(),
            line: span.line,
            column: span.column,
            source_line,
            caret,
            width: span.width.clamp(1, rest),
            message: fault.message,
            help: fault.help,
            severity,
        });
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

fn split_lines(text: &str) -> Vec<&str> {
    text.split_inclusive(['\n', '\r'])
        .scan(false, |after_cr, piece| {
            // The LF of a CR LF comes as a piece of its own.
            let pair = *after_cr && piece == "\n";
            *after_cr = piece.ends_with('\r');
            Some((!pair).then(|| piece.trim_end_matches(['\n', '\r'])))
        })
        .flatten()
        .collect()
}

/// The part of a line that is shown (at most 160 characters around the column), and where the caret stands in it.
/// Control characters become spaces, so that a file cannot drive the terminal.
fn window(line: &str, column: usize) -> (String, usize) {
    let masked = mask(line);
    let start = if column > 120 { column - 80 } else { 0 };
    let mut out = String::new();
    let mut caret = column;
    if start > 0 {
        out.push('…');
        caret = column - start + 1;
    }
    out.extend(
        masked
            .chars()
            .skip(start)
            .take(160)
            .map(|c| if c.is_control() { ' ' } else { c }),
    );
    if masked.chars().nth(start + 160).is_some() {
        out.push('…');
    }
    (out, caret)
}

/// Hides what follows the key of a secret on its line.
fn mask(line: &str) -> String {
    let mut end = line.len();
    for name in schema::SECRETS {
        for (at, _) in line.match_indices(name) {
            let before = line[..at].chars().next_back().is_some_and(is_word);
            let after = &line[at + name.len()..];
            let rest = after.trim_start_matches(['"', '\'']).trim_start();
            let value = rest.strip_prefix(':').map(str::trim);
            if !before && value.is_some_and(|value| !value.is_empty()) {
                end = end.min(line.len() - rest.len() + 1);
            }
        }
    }
    let shown = mask_userinfo(&line[..end]);
    if end == line.len() {
        shown
    } else {
        format!("{shown} ***")
    }
}

/// Stars in place of `user:password` in `http://user:password@host`, as many as there were characters, so that what
/// follows keeps its column.
fn mask_userinfo(line: &str) -> String {
    let mut out = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + 3);
        out.push_str(before);
        let end = after
            .find(|c: char| c.is_whitespace() || "/,]}".contains(c))
            .unwrap_or(after.len());
        let userinfo = after[..end].rfind('@').unwrap_or(0);
        out.extend(after[..userinfo].chars().map(|_| '*'));
        rest = &after[userinfo..];
    }
    out.push_str(rest);
    out
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c == '-'
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(line: usize, column: usize) -> Span {
        Span {
            line,
            column,
            last_line: line,
            width: 3,
        }
    }

    #[test]
    fn lines_end_as_yaml_says() {
        assert_eq!(split_lines("a\r\nb\n\nc\rd"), ["a", "b", "", "c", "d"]);
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
    fn a_secret_is_never_shown() {
        for line in [
            "  token: hunter2",
            "admin: {token: hunter2, bind: 1}",
            "\"token\" : hunter2",
            "token: 'hunter2'",
        ] {
            let shown = mask(line);
            assert!(
                !shown.contains("hunter2") && shown.ends_with("***"),
                "{shown}"
            );
        }
        assert_eq!(mask("[http://u:pw@a/x@y, b]"), "[http://****@a/x@y, b]");
        assert_eq!(mask("  tokens: 3"), "  tokens: 3");
        assert_eq!(mask("  # my_token: 3"), "  # my_token: 3");
        assert_eq!(mask("  token:"), "  token:");
    }

    #[test]
    fn a_long_line_is_cut_around_the_caret() {
        let line = format!("{}X{}", "a".repeat(500), "b".repeat(500));
        let (shown, caret) = window(&line, 500);
        assert_eq!(shown.chars().nth(caret), Some('X'));
        assert!(shown.starts_with('…') && shown.ends_with('…') && shown.chars().count() < 170);
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

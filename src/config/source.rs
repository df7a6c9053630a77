//! The text of one file, line by line, as reports may show it: without secrets and control characters.

use std::rc::Rc;

use super::schema;

/// A file and where its lines are.
#[derive(Debug)]
pub(super) struct Source {
    /// The file, as it is named to people.
    pub(super) name: String,
    text: Rc<str>,
    /// Start and end of each line, split as YAML does: at CR LF, LF or CR.
    lines: Vec<(usize, usize)>,
}

impl Source {
    /// The text of the file `name`; a byte order mark is no part of it.
    pub(super) fn new(name: &str, text: &str) -> Self {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        Source {
            name: name.into(),
            text: text.into(),
            lines: split_lines(text),
        }
    }

    /// The whole text.
    pub(super) fn text(&self) -> Rc<str> {
        Rc::clone(&self.text)
    }

    /// The part of a line that is shown around a column (both from 1), and where the caret stands in it.
    pub(super) fn show(&self, line: usize, column: usize) -> (String, usize) {
        let place = self.lines.get(line.saturating_sub(1));
        let line = place.and_then(|(start, end)| self.text.get(*start..*end));
        window(line.unwrap_or_default(), column.saturating_sub(1))
    }
}

fn split_lines(text: &str) -> Vec<(usize, usize)> {
    let mut lines = Vec::new();
    let mut start = 0;
    for piece in text.split_inclusive(['\n', '\r']) {
        let after_cr = text[..start].ends_with('\r');
        // The LF of a CR LF comes as a piece of its own.
        if !(after_cr && piece == "\n") {
            lines.push((start, start + piece.trim_end_matches(['\n', '\r']).len()));
        }
        start += piece.len();
    }
    lines
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

    #[test]
    fn lines_end_as_yaml_says() {
        let source = Source::new("f", "\u{feff}a\r\nb\n\nc\rd");
        let shown: Vec<_> = (1..=6).map(|line| source.show(line, 1).0).collect();
        assert_eq!(shown, ["a", "b", "", "c", "d", ""]);
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
}

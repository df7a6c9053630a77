//! A problem of a file: where it is, what is wrong, what is allowed.

use std::fmt::Write as _;

/// How bad a [`Problem`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The file is refused.
    Error,
    /// The file is accepted, but probably does not do what was meant.
    Warning,
}

impl Severity {
    fn word(self) -> &'static str {
        match self {
            Severity::Error => "error",
            Severity::Warning => "warning",
        }
    }
}

/// One thing that is wrong in a file, or doubtful.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The file, as it was named by the caller.
    pub file: String,
    /// Line from 1; 0 when the file as a whole is meant (it could not be read).
    pub line: usize,
    /// Column from 1, in characters; 0 when the file as a whole is meant.
    pub column: usize,
    /// The line as written, without secrets and control characters; of a very long line the part around the column.
    pub source_line: String,
    /// Where the caret stands in `source_line`, in characters from 0.
    pub caret: usize,
    /// How many characters are underlined, at least 1.
    pub width: usize,
    /// What is wrong, one line.
    pub message: String,
    /// What is allowed, or what was probably meant.
    pub help: Option<String>,
    /// Whether the file is refused for it.
    pub severity: Severity,
}

impl Problem {
    /// A problem of a file as a whole, such as one that cannot be read.
    #[must_use]
    pub fn of_file(file: &str, message: String, help: Option<String>) -> Self {
        Problem {
            file: file.into(),
            line: 0,
            column: 0,
            source_line: String::new(),
            caret: 0,
            width: 1,
            message,
            help,
            severity: Severity::Error,
        }
    }

    /// The form of `check --format json` and of `POST /reload`: `{file, line, column, message, help, severity}`, the
    /// last `error` or `warning`.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        serde_json::json!({
            "file": self.file,
            "line": self.line,
            "column": self.column,
            "message": self.message,
            "help": self.help,
            "severity": self.severity.word(),
        })
    }

    fn write(&self, out: &mut String) {
        let word = self.severity.word();
        // Writing to a String cannot fail.
        if self.line == 0 {
            let _ = writeln!(out, "{word}: {}: {}", self.file, self.message);
            if let Some(help) = &self.help {
                let _ = writeln!(out, "  = help: {help}");
            }
            return;
        }
        let gutter = self.line.to_string();
        let blank = " ".repeat(gutter.len());
        let _ = writeln!(out, "{word}: {}", self.message);
        let _ = writeln!(
            out,
            "{blank}--> {}:{}:{}",
            self.file, self.line, self.column
        );
        let _ = writeln!(out, "{blank} |");
        let _ = writeln!(out, "{gutter} | {}", self.source_line);
        let _ = writeln!(
            out,
            "{blank} | {}{}",
            " ".repeat(self.caret),
            "^".repeat(self.width)
        );
        if let Some(help) = &self.help {
            let _ = writeln!(out, "{blank} = help: {help}");
        }
    }
}

/// All problems as text for a terminal, in the order given, with a blank line between two.
#[must_use]
pub fn render(problems: &[Problem]) -> String {
    let mut out = String::new();
    for (index, problem) in problems.iter().enumerate() {
        if index > 0 {
            out.push('\n');
        }
        problem.write(&mut out);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Problem {
        Problem {
            file: "gateway.yaml".into(),
            line: 12,
            column: 5,
            source_line: "    upsteam: app".into(),
            caret: 4,
            width: 7,
            message: "unknown key `upsteam`".into(),
            help: Some("did you mean `upstream`?".into()),
            severity: Severity::Error,
        }
    }

    #[test]
    fn text_shows_place_line_and_caret() {
        let expected = "error: unknown key `upsteam`\n  --> gateway.yaml:12:5\n   |\n12 |     upsteam: app\n   |     ^^^^^^^\n   = help: did you mean `upstream`?\n";
        assert_eq!(render(&[sample()]), expected);
    }

    #[test]
    fn two_are_parted_by_a_blank_line() {
        let mut warning = sample();
        warning.severity = Severity::Warning;
        warning.help = None;
        let text = render(&[sample(), warning]);
        assert!(text.contains("`upstream`?\n\nwarning: unknown"), "{text}");
    }

    #[test]
    fn a_whole_file_has_no_place() {
        let problem = Problem::of_file("x.yaml", "cannot be read".into(), None);
        assert_eq!(render(&[problem]), "error: x.yaml: cannot be read\n");
    }

    #[test]
    fn json_has_the_six_keys() {
        assert_eq!(
            sample().to_json(),
            serde_json::json!({"file": "gateway.yaml", "line": 12, "column": 5,
                "message": "unknown key `upsteam`", "help": "did you mean `upstream`?", "severity": "error"})
        );
    }
}

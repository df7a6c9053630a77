//! `${NAME}`, `${NAME:-default}` and `${file:/path}` in scalars, after parsing: what is filled in is never YAML.

use std::collections::HashMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use super::merge::refuse_second;
use super::node::{Key, Kind, Node, Span, Style};
use super::report::{Fault, Report, quote};

/// Largest file that `${file:…}` reads, in bytes.
const MOST_FILE_BYTES: u64 = 64 * 1024;

/// Fills in every `${…}` below `root` but in top-level keys that begin with `x-`; returns the files that it asked for.
pub(super) fn expand(
    root: &mut Node,
    env: &dyn Fn(&str) -> Option<String>,
    report: &mut Report,
) -> Vec<PathBuf> {
    let mut expansion = Expansion {
        env,
        report,
        files: Vec::new(),
    };
    match &mut root.kind {
        // What is ignored may not fail; what an alias took from there is looked at where it is used.
        Kind::Map(entries) => {
            for (_, value) in entries
                .iter_mut()
                .filter(|(key, _)| !key.text.starts_with("x-"))
            {
                expansion.visit(value);
            }
        }
        Kind::Scalar(_) | Kind::List(_) => expansion.visit(root),
    }
    expansion.files
}

struct Expansion<'a, 'r> {
    env: &'a dyn Fn(&str) -> Option<String>,
    report: &'r mut Report,
    files: Vec<PathBuf>,
}

impl Expansion<'_, '_> {
    fn visit(&mut self, node: &mut Node) {
        match &mut node.kind {
            Kind::List(items) => items.iter_mut().for_each(|item| self.visit(item)),
            Kind::Map(entries) => {
                self.visit_keys(entries);
                entries.iter_mut().for_each(|(_, value)| self.visit(value));
            }
            Kind::Scalar(scalar) if scalar.text.contains("${") => {
                let filled = self.fill(&scalar.text, node.span);
                scalar.style = match &filled {
                    None => Style::Broken,
                    Some(_) if is_one_reference(&scalar.text) => Style::Expanded,
                    Some(_) => scalar.style,
                };
                scalar.written = Some(std::mem::replace(
                    &mut scalar.text,
                    filled.unwrap_or_default(),
                ));
            }
            Kind::Scalar(_) => {}
        }
    }

    fn visit_keys(&mut self, entries: &mut [(Key, Node)]) {
        let mut changed = false;
        for (key, _) in entries
            .iter_mut()
            .filter(|(key, _)| key.text.contains("${"))
        {
            key.text = self.fill(&key.text, key.span).unwrap_or_default();
            changed = true;
        }
        if changed {
            let mut seen = HashMap::new();
            for (key, _) in entries.iter() {
                refuse_second(&mut seen, &key.text, key.span, self.report);
            }
        }
    }

    /// The text with every `${…}` filled in; `None` when one cannot be (reported).
    fn fill(&mut self, text: &str, span: Span) -> Option<String> {
        let mut whole = true;
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = rest.find("${") {
            let inside = &rest[at + 2..];
            if rest[..at].ends_with('$') {
                out.push_str(&rest[..at]);
                out.push('{');
                rest = inside;
                continue;
            }
            out.push_str(&rest[..at]);
            let Some(end) = inside.find('}') else {
                let fault = Fault::new("`${` without `}`", "`$${` stands for a literal `${`");
                self.report.error(span, fault);
                return None;
            };
            match self.look_up(&inside[..end]) {
                Ok(value) => out.push_str(&value),
                Err(fault) => {
                    self.report.error(span, fault);
                    whole = false;
                }
            }
            rest = &inside[end + 1..];
        }
        out.push_str(rest);
        whole.then_some(out)
    }

    fn look_up(&mut self, reference: &str) -> Result<String, Fault> {
        if let Some(path) = reference.strip_prefix("file:") {
            return self.read_file(path);
        }
        let (name, default) = match reference.split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (reference, None),
        };
        if !is_variable(name) {
            let message = format!("{} is not the name of a variable", quote(name));
            let help = "write `${NAME}`, `${NAME:-default}` or `${file:/path}`; `$${` stands for a literal `${`";
            return Err(Fault::new(message, help));
        }
        // As in a shell, `:-` also stands in for a variable that is empty.
        let value = (self.env)(name).filter(|value| default.is_none() || !value.is_empty());
        value.or_else(|| default.map(String::from)).ok_or_else(|| {
            let message = format!("the environment variable {} is not set", quote(name));
            Fault::new(
                message,
                format!("set it, or give a default: `${{{name}:-default}}`"),
            )
        })
    }

    fn read_file(&mut self, path: &str) -> Result<String, Fault> {
        if !path.starts_with('/') {
            let message = format!("{} is not an absolute path", quote(path));
            return Err(Fault::new(message, "write `${file:/run/secrets/name}`"));
        }
        self.files.push(PathBuf::from(path));
        let text = read_small(Path::new(path))
            .map_err(|why| Fault::bare(format!("{} {why}", quote(path))))?;
        // The line end that every editor puts at the end of a file is no part of a secret.
        let text = text.strip_suffix('\n').unwrap_or(&text);
        Ok(text.strip_suffix('\r').unwrap_or(text).into())
    }
}

fn read_small(path: &Path) -> Result<String, String> {
    let cannot = |error: std::io::Error| format!("cannot be read: {error}");
    // Opening a pipe could wait forever, so what it is comes first.
    if !std::fs::metadata(path).map_err(cannot)?.is_file() {
        return Err("is not a regular file".into());
    }
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(cannot)?;
    file.take(MOST_FILE_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(cannot)?;
    if bytes.len() as u64 > MOST_FILE_BYTES {
        return Err("is larger than 64KiB".into());
    }
    String::from_utf8(bytes).map_err(|_| "is not UTF-8".into())
}

fn is_one_reference(text: &str) -> bool {
    text.starts_with("${") && text.find('}') == Some(text.len() - 1)
}

fn is_variable(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

#[cfg(test)]
mod tests {
    use super::super::read::read;
    use super::*;

    fn env(name: &str) -> Option<String> {
        match name {
            "PORT" => Some("8080".into()),
            "EMPTY" => Some(String::new()),
            "TRICK" => Some("a: {b: *c}".into()),
            _ => None,
        }
    }

    fn expanded(text: &str) -> Result<Node, Vec<String>> {
        let mut report = Report::new("f", text);
        let mut root = read(0, &mut 0, &mut report).unwrap().unwrap();
        expand(&mut root, &env, &mut report);
        match report.finish() {
            Ok(_) => Ok(root),
            Err(problems) => Err(problems
                .into_iter()
                .map(|p| format!("{}:{} {}", p.line, p.column, p.message))
                .collect()),
        }
    }

    fn text_of(text: &str) -> String {
        expanded(text)
            .unwrap()
            .find("a")
            .unwrap()
            .scalar()
            .unwrap()
            .text
            .clone()
    }

    #[test]
    fn fills_in_variables_and_defaults() {
        assert_eq!(text_of("a: ${PORT}"), "8080");
        assert_eq!(
            text_of("a: \"127.0.0.1:${PORT}/${NONE:-x}\""),
            "127.0.0.1:8080/x"
        );
        assert_eq!(text_of("a: ${EMPTY:-x}"), "x");
        assert_eq!(text_of("a: ${EMPTY}"), "");
        assert_eq!(text_of("a: ${NONE:-}"), "");
    }

    #[test]
    fn a_doubled_dollar_is_a_literal() {
        assert_eq!(text_of("a: $${PORT}"), "${PORT}");
        assert_eq!(text_of("a: $5 $$ ${PORT}$${x}"), "$5 $$ 8080${x}");
    }

    #[test]
    fn what_is_filled_in_is_never_yaml() {
        assert_eq!(text_of("a: ${TRICK}"), "a: {b: *c}");
    }

    #[test]
    fn a_scalar_that_is_wholly_a_reference_is_typed_by_its_key() {
        let root = expanded("a: \"${PORT}\"\nb: \"${PORT}0\"").unwrap();
        assert_eq!(
            root.find("a").unwrap().scalar().unwrap().style,
            Style::Expanded
        );
        assert_eq!(
            root.find("b").unwrap().scalar().unwrap().style,
            Style::Quoted
        );
        assert_eq!(root.find("a").unwrap().scalar().unwrap().shown(), "${PORT}");
    }

    #[test]
    fn faults_stand_at_their_place() {
        let found =
            expanded("a: ${NONE}\nb: [x, \"${file:rel}\"]\nc: ${1x}\nd: ${PORT").unwrap_err();
        assert_eq!(
            found,
            [
                "1:4 the environment variable `NONE` is not set",
                "2:8 `rel` is not an absolute path",
                "3:4 `1x` is not the name of a variable",
                "4:4 `${` without `}`",
            ]
        );
    }

    #[test]
    fn what_is_ignored_needs_no_variable() {
        assert!(expanded("x-a: ${NONE}\nb: 1").is_ok());
        assert_eq!(expanded("x-a: &a ${NONE}\nb: *a").unwrap_err().len(), 1);
    }

    #[test]
    fn keys_are_filled_in_and_stay_unique() {
        assert!(
            expanded("a: {\"k${PORT}\": 1}")
                .unwrap()
                .find("a")
                .unwrap()
                .find("k8080")
                .is_some()
        );
        assert_eq!(
            expanded("a: {\"${PORT}\": 1, \"8080\": 2}").unwrap_err(),
            ["1:19 the key `8080` stands here twice"]
        );
    }

    #[test]
    fn a_file_loses_only_its_last_line_end() {
        let path = std::env::temp_dir().join(format!("tidegate-expand-{}", std::process::id()));
        std::fs::write(&path, "s3cret\n\r\n").unwrap();
        assert_eq!(
            text_of(&format!("a: ${{file:{}}}", path.display())),
            "s3cret\n"
        );
        std::fs::remove_file(&path).unwrap();
        assert!(expanded("a: ${file:/}").unwrap_err()[0].ends_with("`/` is not a regular file"));
        assert!(expanded("a: ${file:/no/such/file}").unwrap_err()[0].contains("cannot be read"));
    }
}

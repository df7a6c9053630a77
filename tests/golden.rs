//! What people read about a broken file: each `tests/golden/*.yaml` beside the exact text that it earns.
//!
//! `GOLDEN=write cargo test --test golden` writes the texts anew; read the difference before you keep it.

#![allow(clippy::expect_used)]

use std::path::{Path, PathBuf};

use tidegate::config::{self, Problem};

fn env(name: &str) -> Option<String> {
    match name {
        "PORT" => Some("8080".into()),
        "WORD" => Some("hunter2".into()),
        _ => None,
    }
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

fn files() -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder()).expect("the folder is there");
    let paths = entries.map(|entry| entry.expect("it can be listed").path());
    let mut files: Vec<PathBuf> = paths
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "yaml")
        })
        .collect();
    files.sort();
    files
}

fn problems(path: &Path) -> Vec<Problem> {
    let name = path
        .file_name()
        .expect("it has a name")
        .to_string_lossy()
        .into_owned();
    let text = std::fs::read_to_string(path).expect("it can be read");
    match config::parse_text(&name, &text, &env) {
        Ok(loaded) => loaded.warnings,
        Err(problems) => problems,
    }
}

#[test]
fn every_broken_file_earns_its_text() {
    let files = files();
    assert!(files.len() >= 25, "only {} files", files.len());
    let write = std::env::var("GOLDEN").is_ok_and(|value| value == "write");
    let mut differing = Vec::new();
    for path in files {
        let found = config::render(&problems(&path));
        assert!(!found.is_empty(), "{} has no problem", path.display());
        let golden = path.with_extension("txt");
        if write {
            std::fs::write(&golden, &found).expect("it can be written");
        }
        let expected = std::fs::read_to_string(&golden).unwrap_or_default();
        if expected != found {
            differing.push(format!(
                "{}\n--- expected\n{expected}--- found\n{found}",
                golden.display()
            ));
        }
    }
    assert!(differing.is_empty(), "{}", differing.join("\n"));
}

/// A file marks each line that has problems with `# !` and their columns: this holds the places apart from the text.
#[test]
fn every_problem_stands_where_the_file_says() {
    let mut differing = Vec::new();
    for path in files() {
        let text = std::fs::read_to_string(&path).expect("it can be read");
        let mut marked = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let columns = line
                .rsplit_once("# !")
                .map(|(_, columns)| columns)
                .unwrap_or_default();
            marked.extend(
                columns
                    .split_whitespace()
                    .map(|column| (index + 1, column.parse::<usize>().expect("a column"))),
            );
        }
        if marked.is_empty() {
            continue;
        }
        let found: Vec<_> = problems(&path)
            .iter()
            .map(|problem| (problem.line, problem.column))
            .collect();
        if found != marked {
            differing.push(format!(
                "{}\n  marked {marked:?}\n  found  {found:?}",
                path.display()
            ));
        }
    }
    assert!(differing.is_empty(), "{}", differing.join("\n"));
}

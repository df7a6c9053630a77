//! What people and programs read about a broken configuration: each file `tests/golden/*.yaml` and each directory
//! `tests/golden/*.d` beside the exact text and JSON that it earns. What they include is in `tests/golden/parts`.
//!
//! `GOLDEN=write cargo test --test golden` writes the texts anew; read the difference before you keep it.

#![allow(clippy::expect_used)]

use std::path::{Path, PathBuf};

use tidegate::config::{self, Problem};

fn env(name: &str) -> Option<String> {
    match name {
        "PORT" => Some("8080".into()),
        "WORD" => Some("hunter2".into()),
        "LINES" => Some("one\r\nx-evil: two".into()),
        _ => None,
    }
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

fn list(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).expect("the folder is there");
    let paths = entries.map(|entry| entry.expect("it can be listed").path());
    let mut files: Vec<PathBuf> = paths
        .filter(|path| path.extension().is_some_and(|found| found == extension))
        .collect();
    files.sort();
    files
}

/// Every case: a file, or a directory.
fn cases() -> Vec<PathBuf> {
    let mut cases = list(&folder(), "yaml");
    cases.extend(list(&folder(), "d"));
    cases
}

fn problems(path: &Path) -> Vec<Problem> {
    match config::load(path, &env) {
        Ok(loaded) => loaded.warnings,
        Err(problems) => problems,
    }
}

/// Without the place of the repository, which differs from machine to machine.
fn without_folder(text: &str) -> String {
    text.replace(&format!("{}/", folder().display()), "")
}

fn text(path: &Path) -> String {
    without_folder(&config::render(&problems(path)))
}

fn json(path: &Path) -> String {
    let list: Vec<serde_json::Value> = problems(path).iter().map(Problem::to_json).collect();
    let json = serde_json::to_string_pretty(&serde_json::json!({ "problems": list }));
    without_folder(&format!("{}\n", json.expect("it is JSON")))
}

/// The difference between a case and what is kept for it.
fn compare(path: &Path, extension: &str, found: &str) -> Option<String> {
    let golden = path.with_extension(extension);
    if std::env::var("GOLDEN").is_ok_and(|value| value == "write") {
        std::fs::write(&golden, found).expect("it can be written");
    }
    let expected = std::fs::read_to_string(&golden).unwrap_or_default();
    let name = golden.display();
    (expected != found).then(|| format!("{name}\n--- expected\n{expected}--- found\n{found}"))
}

#[test]
fn every_broken_file_earns_its_text() {
    let cases = cases();
    assert!(cases.len() >= 39, "only {} cases", cases.len());
    let mut differing = Vec::new();
    for path in cases {
        let found = text(&path);
        assert!(!found.is_empty(), "{} has no problem", path.display());
        differing.extend(compare(&path, "txt", &found));
    }
    assert!(differing.is_empty(), "{}", differing.join("\n"));
}

#[test]
fn every_broken_file_earns_its_json() {
    let differing: Vec<String> = cases()
        .iter()
        .filter_map(|path| compare(path, "json", &json(path)))
        .collect();
    assert!(differing.is_empty(), "{}", differing.join("\n"));
}

/// `name.txt` and `name.json` of a case that is gone would be kept for ever.
#[test]
fn nothing_is_kept_for_cases_that_are_gone() {
    let known: Vec<PathBuf> = cases().iter().map(|path| path.with_extension("")).collect();
    for kept in list(&folder(), "txt")
        .iter()
        .chain(&list(&folder(), "json"))
    {
        let case = kept.with_extension("");
        assert!(known.contains(&case), "{} has no case", kept.display());
    }
}

/// Line and column of each mark of a file.
fn marks(path: &Path) -> Vec<(PathBuf, usize, usize)> {
    let bytes = std::fs::read(path).expect("it can be read");
    let text = String::from_utf8_lossy(&bytes);
    let mut marks = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let columns = line.rsplit_once("# !").map(|(_, columns)| columns);
        for column in columns.unwrap_or_default().split_whitespace() {
            let column = column.parse().expect("a column");
            marks.push((path.to_owned(), index + 1, column));
        }
    }
    marks
}

/// A file marks each line that has problems with `# !` and their columns: this holds the places apart from the text.
#[test]
fn every_problem_stands_where_the_file_says() {
    let mut unmarked = Vec::new();
    let mut differing = Vec::new();
    for path in cases() {
        let found: Vec<_> = problems(&path)
            .iter()
            .map(|problem| (PathBuf::from(&problem.file), problem.line, problem.column))
            .collect();
        let mut files: Vec<&PathBuf> = found.iter().map(|(file, ..)| file).collect();
        files.dedup();
        let files = files.into_iter().filter(|file| file.is_file());
        let marked: Vec<_> = files.flat_map(|file| marks(file)).collect();
        if marked.is_empty() {
            unmarked.push(path);
        } else if found != marked {
            let path = path.display();
            differing.push(format!("{path}\n  marked {marked:?}\n  found  {found:?}"));
        }
    }
    assert!(differing.is_empty(), "{}", differing.join("\n"));
    // Where YAML leaves no place for a comment.
    let most = 10;
    assert!(unmarked.len() <= most, "without marks: {unmarked:?}");
}

//! The house keeps its own rules: floors, heads, sizes, words, and documents that say what the code does.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use tidegate::error::Reason;
use tidegate::metrics::Metric;

/// Which module stands on which floor. A module imports only from floors below its own.
const FLOORS: [(&str, u8); 21] = [
    ("drain", 0),
    ("error", 0),
    ("sync", 0),
    ("time", 0),
    ("timer", 0),
    ("breaker", 1),
    ("http", 1),
    ("limit", 1),
    ("metrics", 1),
    ("route", 1),
    ("telemetry", 1),
    ("tls", 1),
    ("config", 2),
    ("filter", 2),
    ("store", 2),
    ("upstream", 2),
    ("snapshot", 3),
    ("proxy", 4),
    ("server", 5),
    ("demo", 6),
    ("main", 6),
];

/// Who may import from its own floor: who, from whom, and why there is no way around it.
const NEIGHBOURS: [(&str, &str, &str); 4] = [
    (
        "filter",
        "store",
        "a limit holds what its buckets are in, and asks it",
    ),
    (
        "timer",
        "time",
        "a deadline is a moment, in the unit of `time`",
    ),
    (
        "drain",
        "time",
        "the end of a drain is a moment, in the unit of `time`",
    ),
    (
        "route",
        "http",
        "a parameter of the query is the same to a match and to a key",
    ),
];

/// The one file below that holds a socket: hyper reads and writes through it, and all it decides is HTTP.
const WRAPS_A_SOCKET: &str = "src/http/guard.rs";

const MOST_LINES: usize = 450;

/// Words that hide what a thing does, or a second name for a thing that has one.
const BARRED_WORDS: [&str; 8] = [
    "backend",
    "cluster",
    "middleware",
    "util",
    "utils",
    "helper",
    "helpers",
    "manager",
];

/// A file of this repository.
struct Source {
    /// From the root of the repository.
    path: String,
    text: String,
}

impl Source {
    /// `src/server/watch.rs` → `server`; `src/timer.rs` → `timer`.
    fn module(&self) -> &str {
        let below = self.path.strip_prefix("src/").unwrap_or(&self.path);
        below.split(['/', '.']).next().unwrap_or_default()
    }

    /// Numbered lines without comments.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let lines = self.text.lines().enumerate();
        lines.map(|(number, line)| (number + 1, line.split("//").next().unwrap_or_default()))
    }

    /// The same, without the unit tests.
    fn product(&self) -> impl Iterator<Item = (usize, &str)> {
        let is_tests = self.path.ends_with("tests.rs") || self.path.contains("/tests/");
        self.code()
            .take_while(move |(_, line)| !is_tests && !line.starts_with("#[cfg(test)]"))
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Every Rust file below `folders`.
fn sources(folders: &[&str]) -> Vec<Source> {
    let mut waiting: Vec<PathBuf> = folders.iter().map(|f| root().join(f)).collect();
    let mut found = Vec::new();
    while let Some(folder) = waiting.pop() {
        // A folder may come later than this test.
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                waiting.push(path);
            } else if path.extension().is_some_and(|kind| kind == "rs") {
                let name = path.strip_prefix(root()).unwrap().display().to_string();
                found.push(Source {
                    text: fs::read_to_string(&path).unwrap(),
                    path: name,
                });
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    assert!(found.len() > 5, "no sources in {folders:?}");
    found
}

fn floor(module: &str) -> Option<u8> {
    let row = FLOORS.iter().find(|(name, _)| *name == module);
    row.map(|(_, floor)| *floor)
}

/// The modules that `text` names by `crate::…`, alone or in braces.
fn imports(text: &str) -> BTreeSet<String> {
    let pieces = text.split("crate::").skip(1);
    pieces.flat_map(first_names).collect()
}

/// `a::b` → a; `{a::{b, c}, d}` → a, d.
fn first_names(path: &str) -> Vec<String> {
    let Some(group) = path.strip_prefix('{') else {
        return vec![name_at_start(path)];
    };
    let mut names = Vec::new();
    let (mut depth, mut at_start) = (0_usize, true);
    for (place, letter) in group.char_indices() {
        match letter {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => at_start = true,
            _ if at_start && letter.is_alphabetic() => {
                names.push(name_at_start(&group[place..]));
                at_start = false;
            }
            _ => {}
        }
    }
    names
}

fn name_at_start(text: &str) -> String {
    let is_name = |c: &char| c.is_alphanumeric() || *c == '_';
    text.chars().take_while(is_name).collect()
}

fn assert_none(what: &str, faults: &[String]) {
    assert!(faults.is_empty(), "{what}:\n  {}", faults.join("\n  "));
}

#[test]
fn names_are_read_from_paths_and_groups() {
    let text =
        "use crate::a::{b, c};\nuse crate::{\n d::{self, e},\n f,\n};\nlet x = crate::g_h::i();";
    let names: Vec<String> = imports(text).into_iter().collect();
    assert_eq!(names, ["a", "d", "f", "g_h"]);
}

#[test]
fn every_module_stands_on_a_floor() {
    let declared: BTreeSet<String> = read("src/lib.rs")
        .lines()
        .map(|line| line.strip_prefix("pub ").unwrap_or(line))
        .filter_map(|line| line.strip_prefix("mod ")?.strip_suffix(';'))
        .map(str::to_owned)
        .collect();
    let placed: BTreeSet<String> = FLOORS
        .iter()
        .filter(|(_, floor)| *floor < 6)
        .map(|(name, _)| (*name).to_owned())
        .collect();
    assert_eq!(
        declared, placed,
        "lib.rs and the floors of this test differ"
    );
}

#[test]
fn imports_go_down() {
    let mut faults = Vec::new();
    let mut used: BTreeSet<&(&str, &str, &str)> = BTreeSet::new();
    for source in sources(&["src"]).iter().filter(|s| s.module() != "lib") {
        let own = source.module();
        let code: Vec<&str> = source.code().map(|(_, line)| line).collect();
        for other in imports(&code.join("\n")) {
            let neighbour = NEIGHBOURS
                .iter()
                .find(|(a, b, _)| (*a, *b) == (own, &other));
            used.extend(neighbour);
            let goes_down = floor(own)
                .zip(floor(&other))
                .is_some_and(|(own, other)| other < own);
            if other != own && !goes_down && neighbour.is_none() {
                faults.push(format!("{}: {own} imports {other}", source.path));
            }
        }
    }
    assert_none("imports that do not go down", &faults);
    assert_eq!(used.len(), NEIGHBOURS.len(), "an exception is not needed");
}

/// Deciding is synchronous; what waits or holds a socket is on a higher floor.
#[test]
fn the_lowest_floors_neither_wait_nor_hold_sockets() {
    let mut faults = Vec::new();
    for source in sources(&["src"]) {
        if floor(source.module()).is_none_or(|floor| floor > 1) || source.module() == "drain" {
            continue;
        }
        for (number, line) in source.product() {
            let waits = line.contains("async fn") && source.module() != "timer";
            let holds = line.contains("net::Tcp") || line.contains("tokio::net");
            if waits || (holds && source.path != WRAPS_A_SOCKET) {
                faults.push(format!("{}:{number}: {}", source.path, line.trim()));
            }
        }
    }
    assert_none("waiting or sockets on floors 0 and 1", &faults);
}

#[test]
fn every_file_begins_with_its_idea() {
    let faults: Vec<String> = sources(&["src", "tests", "benches"])
        .iter()
        .filter(|source| {
            let head: Vec<&str> = source
                .text
                .lines()
                .map_while(|line| line.strip_prefix("//!"))
                .take_while(|line| !line.trim().is_empty())
                .collect();
            !head.join("").trim_end().ends_with(['.', '`'])
        })
        .map(|source| source.path.clone())
        .collect();
    assert_none("files without a head sentence", &faults);
}

#[test]
fn files_hold_one_idea() {
    let faults: Vec<String> = sources(&["src", "tests", "benches"])
        .iter()
        .map(|source| (source, source.text.lines().count()))
        .filter(|(_, lines)| *lines > MOST_LINES)
        .map(|(source, lines)| format!("{}: {lines} lines", source.path))
        .collect();
    assert_none("files with more than 450 lines", &faults);
}

#[test]
fn nothing_is_left_unfinished() {
    let needles = ["todo", "unimplemented", "dbg"].map(|name| format!("{name}!("));
    let mut faults = Vec::new();
    for source in sources(&["src", "tests", "benches"]) {
        for (number, line) in source.code() {
            if needles.iter().any(|needle| line.contains(needle)) {
                faults.push(format!("{}:{number}: {}", source.path, line.trim()));
            }
        }
    }
    assert_none("unfinished work", &faults);
}

/// Rows B29 and L13: setting the clock opens no breaker and fills no bucket. The wall clock has one door, `time`.
#[test]
fn b29_l13_nothing_that_decides_reads_the_wall_clock() {
    let mut faults = Vec::new();
    for module in [
        "breaker", "limit", "upstream", "filter", "store", "snapshot",
    ] {
        for source in sources(&["src"]).iter().filter(|s| s.module() == module) {
            for (number, line) in source.product() {
                if line.contains("wall_") || line.contains("SystemTime") {
                    faults.push(format!("{}:{number}: {}", source.path, line.trim()));
                }
            }
        }
    }
    assert_none("readings of the wall clock where it decides", &faults);
}

#[test]
fn metric_names_stand_in_one_file() {
    let mut faults = Vec::new();
    for source in sources(&["src"]) {
        if source.path == "src/metrics/names.rs" {
            continue;
        }
        for (number, line) in source.product() {
            if line.contains("\"tidegate_") || line.contains("\"process_") {
                faults.push(format!("{}:{number}: {}", source.path, line.trim()));
            }
        }
    }
    assert_none("metric names outside metrics/names.rs", &faults);
}

#[test]
fn one_word_for_one_thing() {
    let mut faults = Vec::new();
    for source in sources(&["src"]) {
        for (number, line) in source.text.lines().enumerate() {
            let line = line.replace("hyper_util", "").replace("futures_util", "");
            let line = line.replace("governor::middleware", "");
            let words = line.split(|c: char| !c.is_alphanumeric());
            let barred = words
                .map(str::to_lowercase)
                .find(|word| BARRED_WORDS.contains(&word.as_str()));
            if let Some(word) = barred {
                faults.push(format!("{}:{}: {word}", source.path, number + 1));
            }
            if line.contains("fn get_") {
                faults.push(format!("{}:{}: get_", source.path, number + 1));
            }
        }
    }
    assert_none("words that the house does not use", &faults);
}

#[test]
fn the_map_names_every_module() {
    let map = read("src/lib.rs");
    let missing: Vec<String> = FLOORS
        .iter()
        .map(|(name, _)| (*name).to_owned())
        .filter(|name| !map.contains(&format!("`{name}`")) && !map.contains(&format!("[`{name}`")))
        .collect();
    assert_none("modules that the map in lib.rs leaves out", &missing);
}

#[test]
fn the_readme_lists_every_reason() {
    let readme = read("README.md");
    let section = readme.split("\n## Reasons\n").nth(1).unwrap_or_default();
    let section = section.split("\n## ").next().unwrap_or_default();
    let said: BTreeSet<(String, u16)> = rows(section)
        .filter_map(|cells| Some((cells.first()?.clone(), cells.get(1)?.parse().ok()?)))
        .collect();
    let known: BTreeSet<(String, u16)> = Reason::ALL
        .iter()
        .map(|reason| (reason.word().to_owned(), reason.status().as_u16()))
        .collect();
    assert_eq!(said, known, "README.md and error.rs differ");
}

#[test]
fn the_page_of_metrics_lists_every_metric_with_its_labels() {
    let page = read("docs/metrics.md");
    let said: BTreeSet<(String, String)> = rows(&page)
        .filter(|cells| cells[0].starts_with("tidegate_") || cells[0].starts_with("process_"))
        .map(|cells| (cells[0].clone(), cells[1].clone()))
        .collect();
    let known: BTreeSet<(String, String)> = Metric::ALL
        .iter()
        .map(|metric| (metric.name().to_owned(), metric.labels().join(", ")))
        .collect();
    assert_eq!(said, known, "docs/metrics.md and metrics/names.rs differ");
}

/// The cells of every table row of a page, without code marks.
fn rows(page: &str) -> impl Iterator<Item = Vec<String>> {
    page.lines()
        .filter_map(|line| line.strip_prefix('|')?.strip_suffix('|'))
        .map(|row| {
            row.split('|')
                .map(|cell| cell.trim().replace('`', ""))
                .collect()
        })
}

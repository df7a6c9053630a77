//! The table holds what it promises, and `gateway.yaml` shows all of it.

use super::super::node::{Kind, Node, Scalar, Style};
use super::super::report::Report;
use super::super::schema::{Effect, Key, Preset, Shape, Stage, check_scalar, root};
use super::super::{load, parse_text, read, render};

/// Every key with its dotted path; `[]` and `*` left out.
fn walk(
    keys: &'static [Key],
    above: &str,
    depth: usize,
    visit: &mut dyn FnMut(&str, &'static Key),
) {
    assert!(depth < 10, "{above}");
    for key in keys {
        let path = if above.is_empty() {
            key.name.to_owned()
        } else {
            format!("{above}.{}", key.name)
        };
        visit(&path, key);
        // The defaults of routes are the table of routes once more.
        if path == "route_defaults" {
            continue;
        }
        walk(key.shape.keys(), &path, depth + 1, visit);
    }
}

fn example() -> String {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("gateway.yaml");
    std::fs::read_to_string(path).unwrap()
}

#[test]
fn every_default_fits_its_own_shape() {
    let mut seen = 0;
    walk(root(), "", 0, &mut |path, key| {
        let Preset::Value(text) = key.preset else {
            return;
        };
        // Lists are written as in the file.
        if text.starts_with('[') {
            return;
        }
        let scalar = Scalar {
            text: text.into(),
            style: Style::Expanded,
            written: None,
        };
        let shape = match &key.shape {
            Shape::AnyOf(all) => &all[0],
            Shape::Many(of) | Shape::OneOrMore(of) => of,
            shape => shape,
        };
        assert_eq!(check_scalar(shape, &scalar), Ok(()), "{path}");
        seen += 1;
    });
    assert!(seen > 80, "{seen}");
}

#[test]
fn keys_are_unique_and_said_in_a_sentence() {
    let mut paths = std::collections::HashSet::new();
    walk(root(), "", 0, &mut |path, key| {
        assert!(paths.insert(path.to_owned()), "{path} twice");
        assert!(key.doc.ends_with('.') && key.doc.len() > 3, "{path}");
    });
}

#[test]
fn nearly_everything_is_live() {
    let (mut live, mut restart) = (0, Vec::new());
    walk(root(), "", 0, &mut |path, key| match key.effect {
        Effect::Live => live += 1,
        Effect::Restart => restart.push(path.to_owned()),
    });
    assert_eq!(restart, ["workers"]);
    assert!(restart.len() * 100 <= live * 8);
}

#[test]
fn the_example_has_no_problem() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("gateway.yaml");
    match load(&path, &|_| None) {
        Ok(loaded) => assert!(loaded.warnings.is_empty(), "{}", render(&loaded.warnings)),
        Err(problems) => panic!("{}", render(&problems)),
    }
}

/// `#key: value` is a key that the example does not use.
fn uncommented(text: &str) -> String {
    let mut out = String::new();
    for line in text.lines() {
        let body = line.trim_start();
        match body.strip_prefix('#') {
            Some(key) if key.starts_with(|c: char| c.is_ascii_lowercase()) => {
                out.push_str(&line[..line.len() - body.len()]);
                out.push_str(key);
            }
            _ => out.push_str(line),
        }
        out.push('\n');
    }
    out
}

/// Maps whose keys are names of the file's own, or of header fields.
const FREE: [&str; 11] = [
    "stores",
    "rate_limits",
    "upstreams",
    "routes.upstream",
    "routes.match.headers",
    "routes.match.query",
    "routes.respond.headers",
    "routes.request_headers.set",
    "routes.request_headers.add",
    "routes.response_headers.set",
    "routes.response_headers.add",
];

fn written_paths(node: &Node, above: &str, out: &mut Vec<String>) {
    match &node.kind {
        Kind::Scalar(_) => {}
        Kind::List(items) => items
            .iter()
            .for_each(|item| written_paths(item, above, out)),
        Kind::Map(entries) => {
            for (key, value) in entries {
                let path = match above {
                    "" => key.text.clone(),
                    above
                        if FREE.contains(&above.replace(".*", "").as_str())
                            && !above.ends_with('*') =>
                    {
                        format!("{above}.*")
                    }
                    above => format!("{above}.{}", key.text),
                };
                written_paths(value, &path, out);
                out.push(path.replace(".*", ""));
            }
        }
    }
}

#[test]
fn the_example_shows_every_key_in_force() {
    let text = uncommented(&example());
    let mut report = Report::new("gateway.yaml", &text);
    let tree = read::read(0, &mut 0, &mut report).unwrap().unwrap();
    assert!(report.finish().is_ok());
    let mut written = Vec::new();
    written_paths(&tree, "", &mut written);
    let mut later = Vec::new();
    walk(root(), "", 0, &mut |path, key| {
        // A policy has the same keys wherever it is written.
        if path.contains("s.rate_limits.") {
            return;
        }
        // What hangs below a key that comes later, comes later.
        if key.stage == Stage::Later
            || later
                .iter()
                .any(|above: &String| path.starts_with(above.as_str()))
        {
            later.push(format!("{path}."));
            assert!(
                !written.iter().any(|shown| shown == path),
                "{path} is not in force"
            );
        } else {
            assert!(
                written.iter().any(|shown| shown == path),
                "{path} is not in gateway.yaml"
            );
        }
    });
}

#[test]
fn ten_thousand_routes_are_read_in_a_moment() {
    let mut text = String::from("listeners: [{ bind: \"127.0.0.1:80\" }]\nupstreams:\n");
    for n in 0..10_000 {
        text.push_str(&format!(
            "  u{n}: {{ endpoints: [\"http://127.0.0.1:9000\"] }}\n"
        ));
    }
    text.push_str("routes:\n");
    for n in 0..10_000 {
        text.push_str(&format!(
            "  - match: {{ hosts: [h{n}.example], path_prefix: /r/{n} }}\n    upstream: u{n}\n"
        ));
    }
    let before = crate::time::now();
    let loaded = parse_text("f", &text, &|_| None).unwrap();
    let taken = crate::time::now().since(before);
    assert_eq!(loaded.config.routes.len(), 10_000);
    // A debug build is about twenty times slower than a release build; a quadratic pass would take minutes.
    assert!(taken.as_secs() < 10, "{taken:?}");
    let dangling = text.replace("upstream: u", "upstream: v");
    assert_eq!(
        parse_text("f", &dangling, &|_| None).unwrap_err().len(),
        10_000
    );
    println!("{taken:?}");
}

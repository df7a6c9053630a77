//! `docs/configuration.md` is made from the table of keys, so it cannot say anything else than the gateway does.
//!
//! `DOCS=write cargo test --test configuration` writes it anew.

#![allow(clippy::unwrap_used)]

use std::fmt::Write as _;
use std::path::Path;

use tidegate::config::schema::{Effect, Key, Preset, Shape, Stage, root};

const HEAD: &str = r#"# Configuration

Made from the table of keys by `DOCS=write cargo test --test configuration`; edit `src/config/keys.rs` instead. The commented example is
[`gateway.yaml`](../gateway.yaml). `tidegate check` tells every problem of a file at once, `tidegate schema` prints a JSON Schema: put it beside the
file and begin that with `# yaml-language-server: $schema=tidegate.schema.json`, and an editor completes keys and underlines faults.

## Rules for the whole file

- **YAML 1.2**, one document. Unknown keys, duplicate keys and names that dangle are errors. Anchors, aliases and `<<` work within one file; top-level
  keys that begin with `x-` are ignored, a place for anchors.
- **Units** are written: durations `250ms` `5s` `2m` `24h`, sizes `512B` `16KiB` `10MiB`, percentages `20%` `0.5%`, networks `10.0.0.0/8`. A bare
  number where a unit belongs is an error. Booleans are `true` and `false`.
- **`off`** switches off what the table says may be off.
- **`${NAME}`**, `${NAME:-default}` and `${file:/run/secrets/x}` may stand in any value. They are filled in after the YAML is read, so that nothing in
  them is YAML; `$${` is a literal `${`. In a `replace` that names a group write `$1`, `$name` or `$${name}`.
- **Names** are lower-case letters, digits, `_` and `-`, at most 63: they become labels of metrics.
- **`include: routes.d/*.yaml`** adds the `routes` and `upstreams` of other files, in the order of their names. `*` and `?` may stand in the name of the
  file, which is looked for beside the file that includes it; an included file has no `include` of its own. A problem in one of them refuses all.
- **`--config DIR`** reads every `*.yaml` of a directory in the order of their names as if they were one: lists add up, maps of names merge, anything
  else said twice is an error at the second place. Names that begin with a dot are left out.
- **`route_defaults`** is merged under every route, key by key, through all maps; lists are not merged. A route that says one of `upstream`, `respond`,
  `redirect`, or one of `path`, `path_prefix`, `path_regex`, takes none of the others from the defaults.
- **Regular expressions** have the syntax of the [`regex`](https://docs.rs/regex/latest/regex/#syntax) crate, without look-around and back-references, so
  that a request costs time in proportion to its length. In a match the whole value must match; compiled, one has at most 1 MiB.
- **Which route:** the most specific host that matches; then an exact path, a regular expression in file order, the longest prefix; then a named method,
  the most headers, the most query parameters; then the order of the file. A match that is written twice is an error; a route that earlier ones leave
  nothing to is a warning of `check`.

## Keys

*live*: a change holds from the next reload on. *restart*: a reload that changes it is refused and says so.
"#;

/// A table of keys, as it is called in headings.
struct Section {
    path: String,
    /// Where else the same keys stand.
    again: Vec<String>,
    keys: &'static [Key],
}

/// All tables in force, in the order of the file.
fn sections(keys: &'static [Key], path: &str, out: &mut Vec<Section>) {
    let now = || keys.iter().filter(|key| key.stage == Stage::Now);
    if now().next().is_none() {
        return;
    }
    if let Some(told) = out.iter_mut().find(|told| are_alike(told.keys, keys)) {
        return told.again.push(path.to_owned());
    }
    out.push(Section {
        path: path.to_owned(),
        again: Vec::new(),
        keys,
    });
    // The defaults of routes are the table of routes once more.
    for key in now().filter(|key| key.name != "route_defaults") {
        let below = key.shape.keys();
        if !below.is_empty() {
            let dot = if path.is_empty() { "" } else { "." };
            let suffix = suffix(&key.shape);
            sections(below, &format!("{path}{dot}{}{suffix}", key.name), out);
        }
    }
}

fn are_alike(one: &[Key], other: &[Key]) -> bool {
    let said = |keys: &[Key]| -> Vec<_> { keys.iter().map(|key| (key.name, key.doc)).collect() };
    said(one) == said(other)
}

fn suffix(shape: &Shape) -> &'static str {
    match shape {
        Shape::List(_) | Shape::Filled(_) => "[]",
        Shape::Names(_) | Shape::Fields(_) | Shape::AnyFields(_) | Shape::Map(_) => ".*",
        Shape::OrOff(of) | Shape::OrAuto(of) => suffix(of),
        _ => "",
    }
}

/// What a value looks like.
fn describe(shape: &Shape) -> String {
    match shape {
        Shape::List(of) | Shape::Filled(of) => format!("list: {}", describe(of)),
        Shape::Many(of) | Shape::OneOrMore(of) => format!("{}, or a list", describe(of)),
        Shape::OrOff(of) => format!("{}, or `off`", describe(of)),
        Shape::OrAuto(of) => format!("{}, or `auto`", describe(of)),
        Shape::Names(of) => format!("map from names: {}", describe(of)),
        Shape::Fields(of) | Shape::AnyFields(of) => format!("map from headers: {}", describe(of)),
        Shape::Map(of) => format!("map: {}", describe(of)),
        Shape::Table(_) => "keys below".into(),
        Shape::AnyOf(all) => {
            let now = all.iter().filter(|one| !matches!(one, Shape::Later(..)));
            now.map(describe).collect::<Vec<_>>().join("; or ")
        }
        one => one.noun(),
    }
}

fn default(preset: Preset) -> String {
    match preset {
        Preset::Required => "**required**".into(),
        Preset::Absent => "–".into(),
        Preset::Value("") => "empty".into(),
        Preset::Value(text) => format!("`{text}`"),
        Preset::Derived(words) => words.into(),
    }
}

fn word(effect: Effect) -> &'static str {
    match effect {
        Effect::Live => "live",
        Effect::Restart => "restart",
    }
}

fn page() -> String {
    let mut all = Vec::new();
    sections(root(), "", &mut all);
    let mut out = String::from(HEAD);
    let mut restart = Vec::new();
    let mut count = 0;
    for section in &all {
        let title = match section.path.as_str() {
            "" => "the file".into(),
            path => {
                let again = section.again.iter().map(|path| format!(", `{path}`"));
                format!("`{path}`{}", again.collect::<String>())
            }
        };
        let _ = write!(
            out,
            "\n### {title}\n\n| key | value | default | change | meaning |\n|---|---|---|---|---|\n"
        );
        for key in section.keys.iter().filter(|key| key.stage == Stage::Now) {
            let cells = [
                format!("`{}`", key.name),
                describe(&key.shape),
                default(key.preset),
                word(key.effect).into(),
                key.doc.into(),
            ];
            let cells = cells.map(|cell| cell.replace('|', "\\|"));
            let _ = writeln!(out, "| {} |", cells.join(" | "));
            count += 1;
            if key.effect == Effect::Restart {
                let dot = if section.path.is_empty() { "" } else { "." };
                restart.push(format!("`{}{dot}{}`", section.path, key.name));
            }
        }
    }
    let live = count - restart.len();
    let _ = write!(
        out,
        "\n## Live or restart\n\n{live} of {count} keys are live. These need a restart: {}.\n",
        restart.join(", ")
    );
    out.push_str(&later());
    out
}

/// Keys that are refused by name.
fn later() -> String {
    let mut all = Vec::new();
    sections(root(), "", &mut all);
    let mut out = String::from(
        "\n## Not in this version\n\nThese keys are known, and refused as \"not available in this version\":\n\n",
    );
    for section in all {
        let later = section.keys.iter().filter(|key| key.stage == Stage::Later);
        let names: Vec<String> = later.map(|key| format!("`{}`", key.name)).collect();
        if !names.is_empty() {
            let title = match section.path.as_str() {
                "" => "at the top".into(),
                path => format!("in `{path}`"),
            };
            let _ = writeln!(out, "- {title}: {}", names.join(", "));
        }
    }
    out
}

#[test]
fn the_page_is_what_the_table_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/configuration.md");
    let made = page();
    if std::env::var("DOCS").is_ok_and(|value| value == "write") {
        std::fs::write(&path, &made).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        kept == made,
        "docs/configuration.md differs from the table of keys: DOCS=write cargo test --test configuration"
    );
}

#[test]
fn nearly_everything_is_live() {
    let mut all = Vec::new();
    sections(root(), "", &mut all);
    let keys = all.iter().flat_map(|section| section.keys);
    let now: Vec<&Key> = keys.filter(|key| key.stage == Stage::Now).collect();
    let live = now.iter().filter(|key| key.effect == Effect::Live).count();
    assert!(now.len() > 80, "{}", now.len());
    assert!(live * 100 >= now.len() * 92, "{live} of {}", now.len());
}

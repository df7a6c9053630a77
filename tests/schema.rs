//! What `tidegate schema` prints is a JSON Schema that a validator of somebody else can use, and it agrees with
//! `tidegate check`.

#![allow(clippy::unwrap_used)]

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use boon::{Compiler, SchemaIndex, Schemas};
use granit_parser::{Event, Parser, ScalarStyle};
use serde_json::{Map, Number, Value, json};
use tidegate::config::{self, Severity};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The schema that the command prints.
fn printed() -> Value {
    let output = Command::new(env!("CARGO_BIN_EXE_tidegate"))
        .arg("schema")
        .output()
        .unwrap();
    assert!(output.status.success());
    serde_json::from_slice(&output.stdout).unwrap()
}

struct Validator {
    schemas: Schemas,
    index: SchemaIndex,
}

impl Validator {
    fn new() -> Validator {
        let mut compiler = Compiler::new();
        let mut schemas = Schemas::new();
        compiler.add_resource("tidegate.json", printed()).unwrap();
        let index = compiler.compile("tidegate.json", &mut schemas).unwrap();
        Validator { schemas, index }
    }

    fn accepts(&self, value: &Value) -> Result<(), String> {
        let result = self.schemas.validate(value, self.index);
        result.map_err(|error| format!("{error:#}"))
    }
}

/// A YAML text as JSON, as an editor sees it: plain scalars typed by the core schema of YAML 1.2, merge keys merged.
struct Reader<'a> {
    events: Box<dyn Iterator<Item = Event<'a>> + 'a>,
    anchors: HashMap<usize, Value>,
}

impl<'a> Reader<'a> {
    fn read(text: &'a str) -> Option<Value> {
        let events: Option<Vec<Event<'a>>> = Parser::new_from_str(text)
            .map(|next| next.ok().map(|(event, _)| event))
            .collect();
        let mut reader = Reader {
            events: Box::new(events?.into_iter()),
            anchors: HashMap::new(),
        };
        loop {
            if let Event::DocumentStart(..) = reader.events.next()? {
                return reader.next();
            }
        }
    }

    /// The next value; `None` at the end of a collection.
    fn next(&mut self) -> Option<Value> {
        let (value, anchor) = match self.events.next()? {
            Event::Alias(id) => return self.anchors.get(&id).cloned(),
            Event::Scalar(text, style, anchor, _) => (scalar(&text, style), anchor),
            Event::SequenceStart(_, anchor, _) => {
                let mut items = Vec::new();
                while let Some(item) = self.next() {
                    items.push(item);
                }
                (Value::Array(items), anchor)
            }
            Event::MappingStart(_, anchor, _) => (self.map(), anchor),
            _ => return None,
        };
        self.anchors.insert(anchor, value.clone());
        Some(value)
    }

    fn map(&mut self) -> Value {
        let mut entries = Map::new();
        let mut merged = Vec::new();
        while let Some(key) = self.next() {
            let value = self.next().unwrap_or_default();
            match (key, value) {
                (Value::String(key), Value::Object(more)) if key == "<<" => merged.push(more),
                (Value::String(key), value) => drop(entries.insert(key, value)),
                (key, value) => drop(entries.insert(key.to_string(), value)),
            }
        }
        for (key, value) in merged.into_iter().flatten() {
            entries.entry(key).or_insert(value);
        }
        Value::Object(entries)
    }
}

fn scalar(text: &str, style: ScalarStyle) -> Value {
    match text {
        _ if style != ScalarStyle::Plain => json!(text),
        "" | "~" | "null" => Value::Null,
        "true" => json!(true),
        "false" => json!(false),
        _ => match (text.parse::<u64>(), text.parse::<f64>()) {
            (Ok(whole), _) => json!(whole),
            (_, Ok(number)) => Number::from_f64(number).map_or(json!(text), Value::Number),
            _ => json!(text),
        },
    }
}

fn read(path: &Path) -> Option<Value> {
    Reader::read(&std::fs::read_to_string(path).unwrap())
}

fn golden() -> Vec<PathBuf> {
    let entries = std::fs::read_dir(root().join("tests/golden")).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    paths
        .filter(|path| path.extension().is_some_and(|kind| kind == "yaml"))
        .collect()
}

#[test]
fn the_command_prints_what_the_library_makes() {
    assert_eq!(printed(), config::json_schema());
}

#[test]
fn it_is_a_schema_of_the_draft_that_it_names() {
    let mut compiler = Compiler::new();
    let mut schemas = Schemas::new();
    let draft = "https://json-schema.org/draft/2020-12/schema";
    let index = compiler.compile(draft, &mut schemas).unwrap();
    let schema = printed();
    assert_eq!(schema["$schema"], draft);
    schemas.validate(&schema, index).unwrap();
}

#[test]
fn the_example_fits() {
    let example = read(&root().join("gateway.yaml")).unwrap();
    assert_eq!(example["workers"], "auto");
    assert_eq!(Validator::new().accepts(&example), Ok(()));
}

/// One of each shape, and whatever may be filled in later.
#[test]
fn what_check_accepts_fits() {
    let text = r#"
x-any: { thing: [1] }
include: [routes.d/*.yaml]
listeners:
  - { name: in, bind: ["[::]:8080", "${ADDRESS:-127.0.0.1:81}"], trusted_proxies: private, limits: { headers: "${N:-5}" } }
  - { bind: "127.0.0.1:82", trusted_proxies: [10.0.0.0/8, "fd00::/8", any], limits: { connections: off, min_body_rate: off } }
admin: off
dns: { servers: [10.0.0.2, "10.0.0.2:5353", "::1", "[::2]", "[fe80::1%2]:53"], min_ttl: 0s, timeout: "${T:-2s}" }
workers: "${N:-1}"
upstreams:
  app: { endpoints: ["http://127.0.0.1", { url: "http://[::1]:1/" }], timeouts: { body: off } }
  7: { endpoints: ["http://127.0.0.1:2"], pool: { max_age: 1h, max_connections_per_endpoint: 500 }, balance: { hash: [client_ip, "header:X-A", "query:a b"] } }
  names: { endpoints: ["http://App_1.internal.:81/", { url: "http://localhost", weight: 0 }], balance: { sticky_cookie: { name: __Host-sid, ttl: 1h } }, retry_budget: off }
route_defaults: { timeouts: { request: 1m }, max_body: 1KB }
routes:
  - match: [{ hosts: "*.example.com", path: /a%20b, methods: GET }, { path_regex: "/(a|b)", headers: { x-a: 1, x-b: { present: true } }, query: { q: { regex: "." } } }]
    listeners: in
    upstream: { app: 95, "7": 5 }
    rewrite: { host: upstream, path_regex: { pattern: a, replace: "" } }
    request_headers: { remove: x-c, set: { x-d: 1 }, add: { x-e: [a, b] } }
    mirror: { upstream: app, percent: 0.25% }
  - { match: { path: /b }, respond: { headers: { x-f: [true, 2.5] }, body: 3 }, mirror: [{ upstream: app }] }
  - { match: { path: /d }, upstream: app, retry: { attempts: 0, on: [reset, 502, "503", "${CODE:-504}"], per_try_timeout: 1s, backoff: { base: 0s } }, websocket: { origins: any, idle_timeout: off } }
  - { match: { path: /e }, upstream: app, retry: off, websocket: { origins: ["https://*.example.com:8443", example.com] } }
  - { match: { path: /f }, upstream: app, retry: { backoff: off }, websocket: false }
  - { match: { path: /c }, redirect: { host: example.com, status: 301 } }
logging: { level: warn, access: { format: "{method} {path}", sample: 10% } }
errors: reason
"#;
    let env = |_: &str| None;
    let file = root().join("sample.yaml").display().to_string();
    let text_alone = text.replace("include: [routes.d/*.yaml]", "");
    let problems = config::parse_text(&file, &text_alone, &env).map(drop);
    assert!(problems.is_ok(), "{problems:?}");
    let value = Reader::read(text).unwrap();
    assert_eq!(Validator::new().accepts(&value), Ok(()));
}

/// Faults that lie in a single value, which an editor can underline.
const SEEN: [&str; 18] = [
    "balance-forms",
    "bind-forms",
    "dns-forms",
    "empty-lists",
    "endpoint-forms",
    "endpoint-weights",
    "errors-as-a-word",
    "hosts-paths-methods",
    "later-keys",
    "missing-keys",
    "no-unit",
    "out-of-range",
    "pool-and-budget-forms",
    "quoted-boolean",
    "retry-forms",
    "unknown-key",
    "websocket-forms",
    "wrong-type",
];

#[test]
fn broken_files_do_not_fit() {
    let validator = Validator::new();
    for name in SEEN {
        let value = read(&root().join(format!("tests/golden/{name}.yaml"))).unwrap();
        assert!(validator.accepts(&value).is_err(), "{name}");
    }
}

/// The schema knows less than `check`, never something else.
#[test]
fn what_the_schema_refuses_check_refuses() {
    let validator = Validator::new();
    let mut accepted = 0;
    for path in golden() {
        let has_errors = match config::load(&path, &|_| Some("8080".into())) {
            Ok(loaded) => loaded
                .warnings
                .iter()
                .any(|p| p.severity == Severity::Error),
            Err(_) => true,
        };
        if let (false, Some(value)) = (has_errors, read(&path)) {
            assert_eq!(validator.accepts(&value), Ok(()), "{}", path.display());
            accepted += 1;
        }
    }
    assert!(accepted > 0);
}

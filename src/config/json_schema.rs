//! The table of keys as a JSON Schema (draft 2020-12), so that an editor knows what `check` knows of a single value.
//!
//! It promises less than `check`: names are not resolved, and wherever `${…}` stands anything may come of it. Law: a
//! file that it refuses is refused by `check` too.

use serde_json::{Map, Value, json};

use super::LogField;
use super::breakers;
use super::retries;
use super::schema::{Effect, Key, Preset, Shape, Stage, root};
use crate::http::key;

/// The schema of one whole file.
#[must_use]
pub fn json_schema() -> Value {
    let mut schema = table(root());
    let fields = [
        (
            "$schema",
            json!("https://json-schema.org/draft/2020-12/schema"),
        ),
        ("title", json!("The configuration of Tidegate")),
        (
            "description",
            json!("gateway.yaml, key by key. `${…}` may stand in any value."),
        ),
        (
            "patternProperties",
            json!({ "^x-": { "description": "Ignored: a place for anchors." } }),
        ),
        ("$defs", Value::Object(definitions())),
    ];
    if let Value::Object(entries) = &mut schema {
        entries.extend(fields.map(|(name, value)| (name.to_owned(), value)));
    }
    schema
}

fn table(keys: &'static [Key]) -> Value {
    let now = || keys.iter().filter(|key| key.stage == Stage::Now);
    let properties: Map<String, Value> = now()
        .map(|key| (key.name.to_owned(), property(key)))
        .collect();
    let required: Vec<&str> = now()
        .filter(|key| key.preset == Preset::Required)
        .map(|key| key.name)
        .collect();
    let mut schema =
        json!({ "type": "object", "additionalProperties": false, "properties": properties });
    if !required.is_empty() {
        schema["required"] = json!(required);
    }
    schema
}

fn property(key: &'static Key) -> Value {
    let mut schema = value(&key.shape);
    let mut description = key.doc.to_owned();
    match key.preset {
        Preset::Value(text) => schema["default"] = preset(&key.shape, text),
        Preset::Derived(words) => description.push_str(&format!(" Default: {words}.")),
        Preset::Required | Preset::Absent => {}
    }
    if key.effect == Effect::Restart {
        description.push_str(" A change needs a restart.");
    }
    schema["description"] = json!(description);
    schema
}

/// A default as JSON: a number or a boolean where the shape takes one, a list where it is written as one.
fn preset(shape: &Shape, text: &str) -> Value {
    if let Some(items) = text
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'))
    {
        let items = items.split(',').map(str::trim);
        return items.filter(|item| !item.is_empty()).collect();
    }
    match shape {
        Shape::OrOff(of) | Shape::OrAuto(of) => preset(of, text),
        Shape::Bool => json!(text == "true"),
        Shape::Integer(..) | Shape::Numbers(_) | Shape::Cost => text
            .parse::<u64>()
            .map_or_else(|_| json!(text), |number| json!(number)),
        _ => json!(text),
    }
}

fn value(shape: &'static Shape) -> Value {
    match shape {
        Shape::Bool => or_reference(json!({ "type": "boolean" })),
        Shape::Integer(min, max) => or_reference(integer(*min, *max)),
        Shape::Cost => either(vec![integer(1, u64::MAX), define("cost")]),
        Shape::Numbers(all) => or_reference(json!({ "enum": all })),
        Shape::Words(now, _) => or_reference(json!({ "enum": now })),
        Shape::LogKey => {
            let keys: Vec<&str> = LogField::ALL.iter().map(|field| field.key()).collect();
            or_reference(json!({ "enum": keys }))
        }
        Shape::RetryCause => {
            let words = retries::CAUSES.iter().map(|(word, _)| *word);
            let numbers = words.clone().filter_map(|word| word.parse::<u64>().ok());
            let all: Vec<Value> = words
                .map(Value::from)
                .chain(numbers.map(Value::from))
                .collect();
            or_reference(json!({ "enum": all }))
        }
        Shape::FailureKind => {
            let words: Vec<&str> = breakers::WORDS.iter().map(|(word, _)| *word).collect();
            let status =
                json!({ "type": "string", "pattern": "^(4([013-9][0-9]|2[0-8])|5[0-9]{2})$" });
            let number = json!({ "type": "integer", "minimum": 400, "maximum": 599, "not": { "const": 429 } });
            or_reference(json!({ "anyOf": [{ "enum": words }, status, number] }))
        }
        Shape::Duration(least) => define(if *least == 0 {
            "duration"
        } else {
            "positiveDuration"
        }),
        Shape::OrOff(of) => either(vec![value(of), json!({ "enum": ["off", false] })]),
        Shape::OrAuto(of) => either(vec![value(of), json!({ "const": "auto" })]),
        Shape::List(of) => json!({ "type": "array", "items": value(of) }),
        Shape::Filled(of) => json!({ "type": "array", "items": value(of), "minItems": 1 }),
        Shape::Many(of) => either(vec![
            value(of),
            json!({ "type": "array", "items": value(of) }),
        ]),
        Shape::OneOrMore(of) => either(vec![
            value(of),
            json!({ "type": "array", "items": value(of), "minItems": 1 }),
        ]),
        Shape::Table(keys) => table(keys),
        Shape::Names(of) => entries("nameKey", of),
        Shape::Fields(of) | Shape::AnyFields(of) => entries("fieldKey", of),
        Shape::Map(of) => json!({ "type": "object", "additionalProperties": value(of) }),
        Shape::AnyOf(all) => {
            let now = all
                .iter()
                .filter(|shape| !matches!(shape, Shape::Later(..)));
            either(now.map(value).collect())
        }
        Shape::Later(..) => json!(false),
        _ => define(definition(shape)),
    }
}

/// The definition of a scalar that needs no numbers of its own.
fn definition(shape: &Shape) -> &'static str {
    match shape {
        Shape::Size(..) => "size",
        Shape::Rate => "rate",
        Shape::Percent => "percent",
        Shape::Name => "name",
        Shape::Bind => "bind",
        Shape::Network => "network",
        Shape::Endpoint => "endpoint",
        Shape::Resolver => "resolver",
        Shape::CookieName => "cookie",
        Shape::KeyPart => "keyPart",
        Shape::Host => "host",
        Shape::PlainHost => "plainHost",
        Shape::Authority => "authority",
        Shape::Path => "path",
        Shape::Target => "target",
        Shape::Method => "method",
        Shape::Statuses => "statuses",
        Shape::FieldName => "field",
        Shape::HeaderValue => "line",
        Shape::LogFormat => "logFormat",
        Shape::Body | Shape::Regex => "text",
        _ => "filledText",
    }
}

const TOKEN: &str = "[!#$%&'*+.^_`|~0-9A-Za-z-]+";
const NAME: &str = "[a-z0-9][a-z0-9_-]{0,62}";
const PORT: &str = "[0-9]{1,5}";
const V6: &str = r"\[[0-9A-Fa-f:.]+\]";
const HOST: &str = r"([A-Za-z0-9_-]+\.)*[A-Za-z0-9_-]+\.?";

fn definitions() -> Map<String, Value> {
    let texts = [
        (
            "duration",
            "A duration: 250ms 5s 2m 24h.",
            "(0|[1-9][0-9]*)(ms|s|m|h)".to_owned(),
        ),
        (
            "positiveDuration",
            "A duration, not 0: 250ms 5s 2m 24h.",
            "[1-9][0-9]*(ms|s|m|h)".into(),
        ),
        (
            "size",
            "A size: 512B 16KiB 10MiB.",
            "(0|[1-9][0-9]*)(B|KiB|MiB|GiB|KB|MB|GB)".into(),
        ),
        (
            "rate",
            "A rate: 100/s 6000/m 50/10s.",
            "[1-9][0-9]*/([1-9][0-9]*)?(ms|s|m|h)".into(),
        ),
        (
            "percent",
            "A share: 20% 0.5%.",
            r"(100(\.0{1,2})?|[1-9]?[0-9](\.[0-9]{1,2})?)%".into(),
        ),
        (
            "bind",
            "Address and port: 0.0.0.0:8080 [::]:8080.",
            format!("([0-9.]+|{V6}):{PORT}"),
        ),
        (
            "network",
            "A network: 10.0.0.0/8 fd00::/8 private any.",
            network(),
        ),
        (
            "endpoint",
            "http://host:port.",
            format!("http://({HOST}|{V6})(:{PORT})?/?"),
        ),
        (
            "resolver",
            "An address, perhaps with a port: 10.0.0.2 10.0.0.2:5353.",
            format!(r"[0-9.]+(:{PORT})?|[0-9A-Fa-f:.]+|\[[0-9A-Fa-f:.%]+\](:{PORT})?"),
        ),
        ("cookie", "The name of a cookie.", TOKEN.into()),
        ("cost", "header:NAME.", format!("header:{TOKEN}")),
        ("keyPart", "Who shares: client_ip header:NAME.", key_part()),
        (
            "host",
            "example.com or *.example.com.",
            format!(r"(\*\.)?{HOST}|{V6}"),
        ),
        ("plainHost", "A host: example.com.", format!("{HOST}|{V6}")),
        (
            "authority",
            "A host, perhaps with a port.",
            format!("({HOST}|{V6})(:{PORT})?"),
        ),
        (
            "path",
            "A path: /a/b.",
            "/[!$%&'()*+,./:;=@_~0-9A-Za-z\\[\\]-]*".into(),
        ),
        (
            "target",
            "A path, perhaps with a query: /a?b=c.",
            "/[!$%&'()*+,./:;=@_~0-9A-Za-z\\[\\]-]*(\\?[!$%&'()*+,./:;=?@_~0-9A-Za-z\\[\\]-]*)?"
                .into(),
        ),
        (
            "method",
            "A method: GET.",
            "[!#$%&'*+.^_`|~0-9A-Z-]+".into(),
        ),
        ("nameKey", "A name.", NAME.into()),
        ("fieldKey", "The name of a header.", TOKEN.into()),
        ("field", "The name of a header.", TOKEN.into()),
        (
            "logFormat",
            "`json`, or a text with {key}.",
            r"json|.*\{[a-z_]+\}.*".into(),
        ),
    ];
    let mut all: Map<String, Value> = texts
        .into_iter()
        .map(|(name, about, pattern)| {
            let pattern = format!(r"^({pattern})$|\$\{{");
            let schema = json!({ "type": "string", "pattern": pattern, "description": about });
            (name.to_owned(), schema)
        })
        .collect();
    // What YAML takes for a number or a boolean is a text where a text belongs.
    let scalar = json!(["string", "number", "boolean"]);
    let name = format!(r"^({NAME})$|\$\{{");
    let statuses = r"^[1-5][0-9]{2}(-[1-5][0-9]{2})?$|\$\{";
    all.extend([
        ("statuses".to_owned(), json!({ "type": ["string", "integer"], "pattern": statuses, "minimum": 100, "maximum": 599, "description": "A status code, or a range of them: 204 200-299." })),
        ("name".to_owned(), json!({ "type": scalar, "pattern": name, "description": "A name: lower-case letters, digits, `_` and `-`." })),
        ("line".into(), json!({ "type": scalar, "pattern": r"^[^\r\n]*$", "description": "One line." })),
        ("text".into(), json!({ "type": scalar })),
        ("filledText".into(), json!({ "type": scalar, "minLength": 1 })),
        ("reference".into(), json!({ "type": "string", "pattern": r"\$\{", "description": "${NAME}, ${NAME:-default} or ${file:/path}." })),
    ]);
    all
}

fn network() -> String {
    let v4 = r"[0-9]{1,3}(\.[0-9]{1,3}){3}(/[0-9]{1,2})?";
    let v6 = "[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*(/[0-9]{1,3})?";
    format!("private|any|{v4}|{v6}")
}

fn key_part() -> String {
    let words = key::WORDS.iter().map(|word| match word.strip_suffix(':') {
        Some(kind) => format!("{kind}:.+"),
        None => (*word).to_owned(),
    });
    words.collect::<Vec<_>>().join("|")
}

fn integer(min: u64, max: u64) -> Value {
    if max == u64::MAX {
        json!({ "type": "integer", "minimum": min })
    } else {
        json!({ "type": "integer", "minimum": min, "maximum": max })
    }
}

fn entries(key: &str, of: &'static Shape) -> Value {
    json!({ "type": "object", "propertyNames": define(key), "additionalProperties": value(of) })
}

fn define(name: &str) -> Value {
    json!({ "$ref": format!("#/$defs/{name}") })
}

fn or_reference(schema: Value) -> Value {
    either(vec![schema, define("reference")])
}

/// Any of them; nested choices become one.
fn either(all: Vec<Value>) -> Value {
    let mut flat: Vec<Value> = Vec::new();
    for schema in all {
        let inner = match schema.get("anyOf") {
            Some(Value::Array(inner)) => inner.clone(),
            _ => vec![schema],
        };
        for one in inner {
            if !flat.contains(&one) {
                flat.push(one);
            }
        }
    }
    match flat.len() {
        1 => flat.remove(0),
        _ => json!({ "anyOf": flat }),
    }
}

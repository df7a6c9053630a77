//! What a key of the file can be: shape, default, meaning, and whether this version has it.

use super::address;
use super::balances;
use super::breakers;
use super::endpoints;
use super::health;
use super::log_line;
use super::node::{Scalar, Style};
use super::origin;
use super::path;
use super::pattern;
use super::rate_limits;
use super::report::{Fault, quote};
use super::retries;
use super::scalar;
use super::word;

/// The keys at the top of the file; all others hang below them.
#[must_use]
pub fn root() -> &'static [Key] {
    super::keys::ROOT
}

/// One key of the contract.
#[derive(Debug)]
pub struct Key {
    /// As it is written.
    pub name: &'static str,
    /// What its value looks like.
    pub shape: Shape,
    /// What holds when it is not written.
    pub preset: Preset,
    /// When a change of it takes effect.
    pub effect: Effect,
    /// Whether this version has it.
    pub stage: Stage,
    /// One sentence for people.
    pub doc: &'static str,
}

/// What holds when a key is not written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preset {
    /// It must be written.
    Required,
    /// Nothing: the key adds something, or its parts have defaults of their own.
    Absent,
    /// This value, as one would write it.
    Value(&'static str),
    /// Something that is computed, in words.
    Derived(&'static str),
}

/// When a change takes effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// At the next reload.
    Live,
    /// At the next start; a reload that changes it is refused.
    Restart,
}

/// Whether this version has a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// In force.
    Now,
    /// Refused: "not available in this version".
    Later,
}

/// What a value looks like.
#[derive(Debug)]
pub enum Shape {
    /// `true` or `false`.
    Bool,
    /// A whole number within bounds, both included.
    Integer(u64, u64),
    /// A duration of at least so many milliseconds.
    Duration(u64),
    /// A size within bounds in bytes, both included.
    Size(u64, u64),
    /// `100/s`.
    Rate,
    /// `20%`.
    Percent,
    /// Any text that is not empty.
    Text,
    /// Any text, also an empty one.
    Body,
    /// A text that is never shown.
    Secret,
    /// A name of ours.
    Name,
    /// An address to listen on.
    Bind,
    /// A network, or a word for several.
    Network,
    /// The URL of an endpoint.
    Endpoint,
    /// The address of a resolver, perhaps with a port.
    Resolver,
    /// What a client is known by, or a part of it.
    KeyPart,
    /// What a request takes from a bucket.
    Cost,
    /// The name of a cookie.
    CookieName,
    /// Something that is tried again.
    RetryCause,
    /// A status code, or a range of them.
    Statuses,
    /// Something that counts as a failure of an upstream.
    FailureKind,
    /// The origin of a page, or a word for some.
    Origin,
    /// A host or a wildcard host.
    Host,
    /// A host without wildcard.
    PlainHost,
    /// A path that a request can have.
    Path,
    /// A path with a query, or without.
    Target,
    /// A request method.
    Method,
    /// A host, perhaps with a port, or `upstream`.
    Authority,
    /// The name of a header field that is ours to change.
    FieldName,
    /// A value of a header field.
    HeaderValue,
    /// A regular expression.
    Regex,
    /// `json`, or a text with `{key}`.
    LogFormat,
    /// A key of the access log.
    LogKey,
    /// One of these numbers, written as they are.
    Numbers(&'static [u64]),
    /// One of these words; those of the second list come later.
    Words(&'static [&'static str], &'static [&'static str]),
    /// `auto`, or else.
    OrAuto(&'static Shape),
    /// `off` (or `false`), or else.
    OrOff(&'static Shape),
    /// A list, may be empty.
    List(&'static Shape),
    /// A list with at least one item.
    Filled(&'static Shape),
    /// One value, or a list of them that may be empty.
    Many(&'static Shape),
    /// One value, or a list with at least one.
    OneOrMore(&'static Shape),
    /// A map with these keys.
    Table(&'static [Key]),
    /// A map from names of ours.
    Names(&'static Shape),
    /// A map from names of header fields that are ours to change.
    Fields(&'static Shape),
    /// A map from names of header fields.
    AnyFields(&'static Shape),
    /// A map from texts.
    Map(&'static Shape),
    /// The first of these that fits the kind of what is written.
    AnyOf(&'static [Shape]),
    /// A form of a value that comes later, and what messages call it.
    Later(&'static str, &'static Shape),
}

impl Shape {
    /// The keys of the table that this shape is, or wraps.
    #[must_use]
    pub fn keys(&self) -> &'static [Key] {
        match self {
            Shape::Table(keys) => keys,
            Shape::OrOff(of) | Shape::OrAuto(of) => of.keys(),
            Shape::List(of) | Shape::Filled(of) | Shape::Many(of) | Shape::OneOrMore(of) => {
                of.keys()
            }
            Shape::Names(of) | Shape::Fields(of) | Shape::AnyFields(of) | Shape::Map(of) => {
                of.keys()
            }
            Shape::Later(_, of) => of.keys(),
            Shape::AnyOf(all) => all
                .iter()
                .map(Shape::keys)
                .find(|keys| !keys.is_empty())
                .unwrap_or_default(),
            _ => &[],
        }
    }

    /// What a message calls a value of this shape.
    #[must_use]
    pub fn noun(&self) -> String {
        match self {
            Shape::Bool => "`true` or `false`".into(),
            Shape::Integer(min, max) if *max == u64::MAX => {
                format!("a whole number, at least {min}")
            }
            Shape::Integer(min, max) => format!("a whole number from {min} to {max}"),
            Shape::Duration(_) => "a duration such as `5s`".into(),
            Shape::Size(..) => "a size such as `16KiB`".into(),
            Shape::Rate => "a rate such as `100/s`".into(),
            Shape::Percent => "a percentage such as `20%`".into(),
            Shape::Text | Shape::Secret | Shape::Body => "a text".into(),
            Shape::HeaderValue => "one line of visible ASCII characters".into(),
            Shape::Authority => {
                "a host such as `example.com` or `example.com:8080`, or `upstream`".into()
            }
            Shape::FieldName => "the name of a header such as `X-Robots-Tag`".into(),
            Shape::Regex => "a regular expression such as `/v[0-9]+/.*`".into(),
            Shape::LogFormat => "`json`, or a text such as `{method} {path} {status}`".into(),
            Shape::LogKey => "a key of the access log such as `status`".into(),
            Shape::Name => "a name".into(),
            Shape::Bind => "an address such as `0.0.0.0:8080`".into(),
            Shape::Network => "a network such as `10.0.0.0/8`".into(),
            Shape::Endpoint => "a URL such as `http://127.0.0.1:9000`".into(),
            Shape::Resolver => "an address such as `10.0.0.2` or `10.0.0.2:5353`".into(),
            Shape::KeyPart => "a key such as `client_ip` or `header:X-User`".into(),
            Shape::Cost => "a whole number, at least 1, or `header:NAME`".into(),
            Shape::CookieName => "the name of a cookie such as `session`".into(),
            Shape::Statuses => "a status code such as `200`, or a range such as `200-299`".into(),
            Shape::RetryCause => join(retries::CAUSES.iter().map(|(word, _)| quote(word)), "or"),
            Shape::FailureKind => {
                "`connect`, `timeout`, `reset`, `5xx` or a status such as `503`".into()
            }
            Shape::Origin => "an origin such as `https://example.com`, `same_host` or `any`".into(),
            Shape::Host | Shape::PlainHost => "a host such as `example.com`".into(),
            Shape::Path => "a path such as `/a`".into(),
            Shape::Target => "a path such as `/a` or `/a?b=c`".into(),
            Shape::Method => "a method such as `GET`".into(),
            Shape::Numbers(all) => join(all.iter().map(u64::to_string), "or"),
            Shape::Words(now, _) => join(now.iter().map(|word| format!("`{word}`")), "or"),
            Shape::OrAuto(of) => format!("{}, or `auto`", of.noun()),
            Shape::OrOff(of) => format!("{}, or `off`", of.noun()),
            Shape::List(_) | Shape::Filled(_) => "a list".into(),
            Shape::Many(of) | Shape::OneOrMore(of) => format!("{}, or a list of such", of.noun()),
            Shape::Table(keys) => name_table(keys),
            Shape::Names(_) => "a map from names".into(),
            Shape::Fields(_) | Shape::AnyFields(_) => "a map from names of headers".into(),
            Shape::Map(_) => "a map".into(),
            Shape::AnyOf(all) => join(
                all.iter()
                    .filter(|shape| !matches!(shape, Shape::Later(..)))
                    .map(Shape::noun),
                "or",
            ),
            Shape::Later(word, _) => (*word).into(),
        }
    }
}

/// A small table names all of its keys, a larger one those that are needed.
fn name_table(keys: &[Key]) -> String {
    let now = keys.iter().filter(|key| key.stage == Stage::Now);
    let shown: Vec<&Key> = if now.clone().count() <= 4 {
        now.collect()
    } else {
        now.filter(|key| key.preset == Preset::Required).collect()
    };
    if shown.is_empty() {
        return "a map".into();
    }
    let names = join(shown.iter().map(|key| quote(key.name)), "and");
    format!("a map with {names}")
}

/// `a`, `b` or `c`.
pub(super) fn join(words: impl Iterator<Item = String>, last: &str) -> String {
    let words: Vec<String> = words.collect();
    match words.split_last() {
        Some((end, rest)) if !rest.is_empty() => format!("{} {last} {end}", rest.join(", ")),
        _ => words.concat(),
    }
}

/// Whether a scalar has this shape, which is one of a single value.
pub(super) fn check_scalar(shape: &Shape, value: &Scalar) -> Result<(), Fault> {
    let text = value.text.as_str();
    match shape {
        Shape::OrOff(_) if value.is_off() => Ok(()),
        Shape::OrAuto(_) if text == "auto" => Ok(()),
        Shape::OrOff(of) | Shape::OrAuto(of) => {
            check_scalar(of, value).map_err(|fault| add_wrapper(shape, fault))
        }
        Shape::Bool => check_bool(value),
        Shape::Integer(min, max) => check_integer(value, *min, *max),
        Shape::Numbers(all) => check_number(value, all),
        Shape::Duration(least) => scalar::duration(text).and_then(|duration| {
            let long_enough = duration.as_millis() >= u128::from(*least);
            let fault = || {
                Fault::new(
                    format!("{} is too short", quote(text)),
                    format!("at least `{least}ms`"),
                )
            };
            if long_enough { Ok(()) } else { Err(fault()) }
        }),
        Shape::Size(min, max) => {
            scalar::size(text).and_then(|size| check_size(text, size, *min, *max))
        }
        Shape::Rate => scalar::rate(text).map(drop),
        Shape::Percent => scalar::percent(text).map(drop),
        Shape::Words(now, later) => check_word(text, now, later),
        Shape::Text if text.is_empty() => Err(Fault::bare("this is empty")),
        Shape::Secret => word::check_token(text),
        Shape::Name => word::check_name(text),
        Shape::Bind => address::bind(text).map(drop),
        Shape::Network => address::networks(text).map(drop),
        Shape::Endpoint => endpoints::url(text).map(drop),
        Shape::Resolver => address::resolver(text).map(drop),
        Shape::KeyPart => balances::key_part(text).map(drop),
        Shape::Cost => rate_limits::cost(value).map(drop),
        Shape::CookieName => word::cookie_name(text),
        Shape::RetryCause => retries::cause(text).map(drop),
        Shape::Statuses => health::statuses(text).map(drop),
        Shape::FailureKind => breakers::failure(text).map(drop),
        Shape::Origin => origin::parse(text).map(drop),
        Shape::Host => word::host(text).map(drop),
        Shape::PlainHost => word::plain_host(text).map(drop),
        Shape::Path => path::check(text),
        Shape::Target => path::check_target(text),
        Shape::Method => word::method(text).map(drop),
        Shape::Authority => word::authority(text).map(drop),
        Shape::FieldName => word::header_name(text).map(drop),
        Shape::HeaderValue => word::header_value(text).map(drop),
        Shape::Regex => pattern::check(text),
        Shape::LogFormat => log_line::format(text).map(drop),
        Shape::LogKey => log_line::key(text).map(drop),
        Shape::Text | Shape::Body => Ok(()),
        Shape::AnyOf(all) if let Some(of) = all.iter().find(|one| one.keys().is_empty()) => {
            check_scalar(of, value)
        }
        // `OrOff` of a map: `off` was not what is written.
        _ => Err(Fault::new(
            format!("{} does not fit here", quote(value.shown())),
            shape.noun(),
        )),
    }
}

fn add_wrapper(shape: &Shape, mut fault: Fault) -> Fault {
    let word = if matches!(shape, Shape::OrOff(_)) {
        "`off` switches it off"
    } else {
        "`auto` is allowed too"
    };
    fault.help = Some(match fault.help {
        Some(help) if help.ends_with('?') => format!("{help} {word}"),
        Some(help) => format!("{help}; {word}"),
        None => word.into(),
    });
    fault
}

fn check_bool(value: &Scalar) -> Result<(), Fault> {
    match value.text.as_str() {
        "true" | "false" if value.style != Style::Quoted => Ok(()),
        "true" | "false" => Err(Fault::new(
            "a text in quotes is no boolean",
            "leave the quotes out",
        )),
        text => {
            let help = match text.to_ascii_lowercase().as_str() {
                "yes" | "on" | "true" => "did you mean `true`?",
                "no" | "off" | "false" => "did you mean `false`?",
                _ => "`true` or `false`",
            };
            Err(Fault::new(
                format!("{} is not a boolean", quote(value.shown())),
                help,
            ))
        }
    }
}

fn check_integer(value: &Scalar, min: u64, max: u64) -> Result<(), Fault> {
    let shown = quote(value.shown());
    let allowed = Shape::Integer(min, max).noun();
    match scalar::whole(&value.text) {
        Some(_) if value.style == Style::Quoted => Err(Fault::new(
            "a text in quotes is no number",
            "leave the quotes out",
        )),
        Some(number) if (min..=max).contains(&number) => Ok(()),
        Some(_) => Err(Fault::new(format!("{shown} is out of range"), allowed)),
        None => Err(Fault::new(
            format!("{shown} is not a whole number"),
            allowed,
        )),
    }
}

fn check_number(value: &Scalar, all: &'static [u64]) -> Result<(), Fault> {
    match scalar::whole(&value.text) {
        Some(number) if all.contains(&number) && value.style != Style::Quoted => Ok(()),
        _ => Err(Fault::new(
            format!("{} is not allowed here", quote(value.shown())),
            Shape::Numbers(all).noun(),
        )),
    }
}

fn check_size(text: &str, size: u64, min: u64, max: u64) -> Result<(), Fault> {
    if (min..=max).contains(&size) {
        return Ok(());
    }
    let allowed = format!("from {} to {}", binary(min), binary(max));
    Err(Fault::new(
        format!("{} is out of range", quote(text)),
        allowed,
    ))
}

fn binary(bytes: u64) -> String {
    match bytes {
        b if b >= 1 << 20 && b.is_multiple_of(1 << 20) => format!("`{}MiB`", b >> 20),
        b if b >= 1 << 10 && b.is_multiple_of(1 << 10) => format!("`{}KiB`", b >> 10),
        b => format!("`{b}B`"),
    }
}

fn check_word(text: &str, now: &[&str], later: &[&str]) -> Result<(), Fault> {
    if now.contains(&text) {
        return Ok(());
    }
    if later.contains(&text) {
        return Err(address::later(format!("{} is", quote(text))));
    }
    let allowed = join(now.iter().map(|word| format!("`{word}`")), "or");
    let help = match super::nearest::nearest(text, now.iter().copied()) {
        Some(near) if now.len() > 1 => format!("did you mean `{near}`? allowed: {allowed}"),
        _ => format!("allowed: {allowed}"),
    };
    Err(Fault::new(
        format!("{} is not allowed here", quote(text)),
        help,
    ))
}

/// Keys whose value is never shown, wherever they stand.
pub(super) const SECRETS: &[&str] = &["token", "secret", "password"];

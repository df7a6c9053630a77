//! What is measured with: requests as browsers and load generators send them, and tables of rules.

use bytes::Bytes;
use http::Method;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use tidegate::route::{Asked, PathPattern, Pattern, Table, ValueMatch};

/// What a browser sends to a site that it has been to; with `Host`, twelve.
pub(crate) const BROWSER: [(&str, &str); 11] = [
    (
        "User-Agent",
        "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36",
    ),
    (
        "Accept",
        "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8",
    ),
    ("Accept-Language", "en-GB,en;q=0.9,de;q=0.7"),
    ("Accept-Encoding", "gzip, deflate, br, zstd"),
    ("Referer", "https://shop.example.com/catalogue/lamps?page=2"),
    (
        "Cookie",
        "session=3f9d1c0a7be64c02a1f0; theme=dark; consent=necessary.statistics; basket=81723",
    ),
    ("Cache-Control", "max-age=0"),
    ("Upgrade-Insecure-Requests", "1"),
    ("Sec-Fetch-Dest", "document"),
    ("Sec-Fetch-Mode", "navigate"),
    ("Sec-Fetch-Site", "same-origin"),
];

const HOST: (&str, &str) = ("Host", "127.0.0.1:8080");

/// The bytes of a request for `path`.
pub(crate) fn request(method: &str, path: &str, fields: &[(&str, &str)], body: usize) -> Bytes {
    let mut text = format!("{method} {path} HTTP/1.1\r\n");
    for (name, value) in std::iter::once(&HOST).chain(fields) {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    if body > 0 {
        text.push_str(&format!("Content-Length: {body}\r\n"));
        text.push_str("Content-Type: application/octet-stream\r\n");
    }
    text.push_str("\r\n");
    let mut bytes = text.into_bytes();
    bytes.resize(bytes.len() + body, b'b');
    bytes.into()
}

/// The bytes of an answer as upstreams write them, with `body` bytes.
pub(crate) fn answer(body: usize) -> Bytes {
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-length: {body}\r\ncontent-type: text/plain\r\n\
         date: Fri, 01 Mar 2024 12:00:00 GMT\r\nserver: upstream\r\n\r\n"
    );
    let mut bytes = head.into_bytes();
    bytes.resize(bytes.len() + body, b'a');
    bytes.into()
}

/// `Host` and these fields.
pub(crate) fn fields(more: &[(&'static str, &'static str)]) -> HeaderMap {
    std::iter::once(&HOST)
        .chain(more)
        .map(|(name, value)| {
            let name: HeaderName = name.parse().unwrap();
            (name, HeaderValue::from_static(value))
        })
        .collect()
}

/// Which kind of rule a request is to find.
#[derive(Clone, Copy)]
pub(crate) enum Kind {
    /// The whole path, on a named host.
    Exact,
    /// The path's beginning, on a named host.
    Prefix,
    /// The path's beginning, on any name below a domain.
    Wildcard,
    /// The same as a prefix, with a field.
    Field,
    /// The same as a prefix, with a parameter of the query.
    Query,
    /// An expression, on a named host.
    Regex,
    /// None.
    Miss,
}

/// A table and a request for it.
pub(crate) struct Question {
    pub(crate) table: Table<usize>,
    host: String,
    path: String,
    headers: HeaderMap,
}

impl Question {
    /// The request.
    pub(crate) fn asked(&self) -> Asked<'_> {
        Asked {
            listener: 0,
            host: self.host.as_bytes(),
            path: &self.path,
            query: Some("page=2&colour=blue"),
            method: &Method::GET,
            headers: &self.headers,
        }
    }
}

/// A table of `rules` rules over a hundredth as many hosts, with the request that finds one of the middle. Boxed, for
/// the harness moves it within the count.
pub(crate) fn question(rules: usize, kind: Kind) -> Box<Question> {
    let patterns = (0..rules).map(|i| (rule(i, rules, kind).0, i));
    let (_, host, path) = rule(rules / 2, rules, kind);
    let question = Box::new(Question {
        table: Table::new(patterns),
        host,
        path,
        headers: fields(&BROWSER),
    });
    // An expression builds what it runs on as it runs: the first time is not what a request costs.
    question.table.find(&question.asked());
    question
}

fn rule(i: usize, rules: usize, kind: Kind) -> (Pattern, String, String) {
    let domain = format!("site{}.example.com", i % (rules / 100).max(1));
    let base = format!("/api/service{i}");
    let wanted = if i == rules / 2 { kind } else { of_turn(i) };
    let (mut host, mut asked_host) = (domain.clone(), domain.clone());
    let mut asked_path = format!("{base}/items/42");
    let mut pattern = Pattern::default();
    let mut path = PathPattern::Prefix(base.clone());
    match wanted {
        Kind::Exact => {
            asked_path = format!("{base}/status");
            path = PathPattern::Exact(asked_path.clone());
        }
        Kind::Prefix => {}
        Kind::Wildcard => (host, asked_host) = (format!("*.{domain}"), format!("shop.{domain}")),
        Kind::Field => {
            let value = ValueMatch::Exact("max-age=0".to_owned());
            pattern.headers = vec![(header::CACHE_CONTROL, value)];
        }
        Kind::Query => {
            let value = ValueMatch::Exact("blue".to_owned());
            pattern.query = vec![("colour".to_owned(), value)];
        }
        Kind::Regex => path = PathPattern::Regex(format!("{base}/items/[0-9]+")),
        Kind::Miss => asked_path = format!("{base}x/items/42"),
    }
    (pattern.hosts, pattern.path) = (vec![host], path);
    (pattern, asked_host, asked_path)
}

fn of_turn(i: usize) -> Kind {
    [Kind::Exact, Kind::Prefix, Kind::Wildcard][i % 3]
}

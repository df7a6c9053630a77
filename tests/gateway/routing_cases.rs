//! The routing expectations R1 to R182 as tables, asked of a running gateway: rules, requests, who answers and what it saw.
//!
//! A row reads `R31 GET a.test/path?query ; name: value => v1 other.test/path ; name: value`. On the left the request:
//! method `GET` and host `a.test` unless said. On the right either an upstream and what it sees, where all that is not
//! said is as it was sent, or a status and fields of the answer. `-name` is a field that is not there; lines of one
//! name may be joined. `PORT` stands for the listener's port as a URL has it, empty for 80.

mod matching;
mod refusals;
mod retrying;
mod rewriting;
mod sharing;

use std::collections::BTreeSet;
use std::net::SocketAddr;

use crate::support::{Client, Echo, Gateway, Report, Response};

/// Three upstreams that tell what they saw.
struct Three([Echo; 3]);

impl Three {
    fn start() -> Three {
        Three(["v1", "v2", "v3"].map(Echo::start))
    }

    /// A file with these routes, on a listener at `bind`.
    fn file(&self, bind: &str, routes: &str) -> String {
        let mut text = format!(
            "workers: 2\nadmin: {{ bind: \"127.0.0.1:0\" }}\nlisteners: [{{ name: main, bind: \"{bind}\" }}]\n\
             routes:\n{routes}\nupstreams:\n"
        );
        for (echo, name) in self.0.iter().zip(["v1", "v2", "v3"]) {
            text += &format!(
                "  {name}: {{ endpoints: [\"http://{}\"] }}\n",
                echo.address()
            );
        }
        text
    }
}

/// Asks every row of a gateway with these routes; fails with all rows that went wrong.
fn expect(routes: &str, rows: &str) {
    let three = Three::start();
    let gateway = Gateway::start(&three.file("127.0.0.1:0", routes));
    expect_of(&gateway, gateway.address(), rows);
}

fn expect_of(gateway: &Gateway, address: SocketAddr, rows: &str) {
    let port = match address.port() {
        80 => String::new(),
        other => format!(":{other}"),
    };
    let mut wrong = Vec::new();
    for text in rows.lines().map(str::trim).filter(|row| !row.is_empty()) {
        let row = Row::parse(&text.replace("PORT", &port));
        // A connection each: what one row leaves behind must not help the next.
        let answer = row.ask(&mut Client::connect(address));
        if let Err(why) = row.judge(answer) {
            wrong.push(format!("{text}\n    {why}"));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} rows went wrong:\n  {}\n{:#?}",
        wrong.len(),
        wrong.join("\n  "),
        gateway.stderr_lines()
    );
}

/// One side of a row.
#[derive(Debug, Default)]
struct Side {
    /// A method, an upstream or a status.
    word: Option<String>,
    host: Option<String>,
    target: Option<String>,
    fields: Vec<(String, String)>,
    absent: Vec<String>,
}

impl Side {
    fn parse(text: &str) -> Side {
        let mut parts = text.split(" ;").map(str::trim);
        let mut side = Side::default();
        for word in parts.next().unwrap_or_default().split_whitespace() {
            match word.find('/') {
                Some(at) => {
                    side.host = Some(word[..at].to_owned()).filter(|host| !host.is_empty());
                    side.target = Some(word[at..].to_owned());
                }
                None => side.word = Some(word.to_owned()),
            }
        }
        for part in parts {
            match part.split_once(": ") {
                Some((name, value)) => side.fields.push((name.to_owned(), value.to_owned())),
                None => {
                    let name = part.strip_prefix('-').expect("a field or its absence");
                    side.absent.push(name.to_owned());
                }
            }
        }
        side
    }

    fn says_of(&self, name: &str) -> bool {
        let named = self.fields.iter().map(|(name, _)| name);
        named
            .chain(&self.absent)
            .any(|other| other.eq_ignore_ascii_case(name))
    }

    /// Compares with what was found, by name.
    fn compare<'a>(&self, found: impl Fn(&str) -> Vec<&'a str>) -> Result<(), String> {
        for (name, value) in &self.fields {
            let lines = joined(&found(name));
            if lines != joined(&[value]) {
                return Err(format!("{name} is {lines:?}"));
            }
        }
        match self.absent.iter().find(|name| !found(name).is_empty()) {
            Some(name) => Err(format!("{name} is there: {:?}", found(name))),
            None => Ok(()),
        }
    }
}

/// Lines of one name as one, without the spaces around commas.
fn joined(lines: &[&str]) -> String {
    let elements = lines.iter().flat_map(|line| line.split(','));
    elements.map(str::trim).collect::<Vec<_>>().join(",")
}

/// A request and what comes of it.
struct Row {
    sent: Side,
    wanted: Side,
}

impl Row {
    fn parse(text: &str) -> Row {
        let (_name, row) = text.split_once(' ').expect("a name in front");
        let (sent, wanted) = row.split_once("=>").expect("two sides");
        Row {
            sent: Side::parse(sent),
            wanted: Side::parse(wanted),
        }
    }

    fn method(&self) -> &str {
        self.sent.word.as_deref().unwrap_or("GET")
    }

    fn host(&self) -> &str {
        self.sent.host.as_deref().unwrap_or("a.test")
    }

    fn target(&self) -> &str {
        self.sent.target.as_deref().expect("a target")
    }

    fn ask(&self, client: &mut Client) -> Response {
        let mut text = format!(
            "{} {} HTTP/1.1\r\nHost: {}\r\n",
            self.method(),
            self.target(),
            self.host()
        );
        for (name, value) in &self.sent.fields {
            text += &format!("{name}: {value}\r\n");
        }
        client.send(text + "\r\n");
        if self.method() == "HEAD" {
            client.head()
        } else {
            client.response()
        }
    }

    fn judge(&self, answer: Response) -> Result<(), String> {
        let wanted = self.wanted.word.as_deref().expect("who answers");
        if wanted.starts_with('v') {
            if answer.status != 200 {
                return Err(format!("{} {}", answer.status, answer.text()));
            }
            return self.judge_report(wanted, &Report::of(answer));
        }
        if answer.status.to_string() != wanted {
            return Err(format!("{} {}", answer.status, answer.text()));
        }
        self.wanted.compare(|name| answer.all(name))
    }

    fn judge_report(&self, wanted: &str, report: &Report) -> Result<(), String> {
        let host = self.wanted.host.as_deref().unwrap_or(self.host());
        let target = self.wanted.target.as_deref().unwrap_or(self.target());
        let found = (report.upstream(), report.method(), report.target());
        if found != (wanted, self.method(), target) {
            return Err(format!("{found:?}"));
        }
        if report.all("host") != [host] {
            return Err(format!("host is {:?}", report.all("host")));
        }
        let unsaid = self.sent.fields.iter();
        for (name, _) in unsaid.filter(|(name, _)| !self.wanted.says_of(name)) {
            let sent: Vec<&str> = self.sent.values(name).collect();
            if joined(&report.all(name)) != joined(&sent) {
                return Err(format!("{name} is {:?}", report.all(name)));
            }
        }
        self.wanted.compare(|name| report.all(name))
    }
}

impl Side {
    fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let lines = self.fields.iter();
        let same = lines.filter(move |(other, _)| other.eq_ignore_ascii_case(name));
        same.map(|(_, value)| value.as_str())
    }
}

/// No row of the page is left out. TLS, WebSocket and CORS have their own tests.
#[test]
fn every_row_is_here() {
    let sources = [
        include_str!("routing_cases/matching.rs"),
        include_str!("routing_cases/refusals.rs"),
        include_str!("routing_cases/retrying.rs"),
        include_str!("routing_cases/rewriting.rs"),
        include_str!("routing_cases/sharing.rs"),
    ];
    let named: BTreeSet<u32> = sources
        .iter()
        .flat_map(|source| source.split(|letter: char| !letter.is_ascii_alphanumeric()))
        .filter_map(|word| word.strip_prefix('R')?.parse().ok())
        .collect();
    let ranges = [1..=95, 97..=129, 136..=175, 182..=182];
    let missing: Vec<u32> = ranges
        .into_iter()
        .flatten()
        .filter(|row| !named.contains(row))
        .collect();
    assert!(missing.is_empty(), "rows without a test: {missing:?}");
}

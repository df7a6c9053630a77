//! An upstream that answers with what it received, as JSON.

use std::net::SocketAddr;

use serde_json::{Value, json};

use super::client::Response;
use super::upstream::{Upstream, answer};

/// A running echo upstream.
pub(crate) struct Echo(Upstream);

impl Echo {
    /// Starts one; `name` stands in every report.
    pub(crate) fn start(name: &'static str) -> Echo {
        Echo(Upstream::start(move |peer| {
            let connection = peer.number;
            while let Some(request) = peer.request() {
                let Ok((body, trailers)) = peer.body_and_trailers(&request) else {
                    return;
                };
                let report = json!({
                    "upstream": name,
                    "connection": connection,
                    "method": request.method,
                    "target": request.target,
                    "fields": request.fields,
                    "body": String::from_utf8_lossy(&body),
                    "trailers": trailers,
                });
                let text = answer(200, &report.to_string());
                let text = if request.method == "HEAD" {
                    text.split_inclusive("\r\n\r\n").next().unwrap()
                } else {
                    &text
                };
                if peer.send(text).is_err() {
                    return;
                }
            }
        }))
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.0.address()
    }

    /// The upstream that records what comes.
    pub(crate) fn upstream(&self) -> &Upstream {
        &self.0
    }
}

/// What an echo upstream received.
#[derive(Debug)]
pub(crate) struct Report(Value);

impl Report {
    /// Reads the report out of a 200.
    pub(crate) fn of(response: Response) -> Report {
        Report(response.expect_ok().json())
    }

    /// The name of the upstream.
    pub(crate) fn upstream(&self) -> &str {
        self.0["upstream"].as_str().unwrap()
    }

    /// The method.
    pub(crate) fn method(&self) -> &str {
        self.0["method"].as_str().unwrap()
    }

    /// The target.
    pub(crate) fn target(&self) -> &str {
        self.0["target"].as_str().unwrap()
    }

    /// The body.
    pub(crate) fn body(&self) -> &str {
        self.0["body"].as_str().unwrap()
    }

    /// The number of the upstream's connection.
    pub(crate) fn connection(&self) -> u64 {
        self.0["connection"].as_u64().unwrap()
    }

    /// The values of every line of the field `name`.
    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        pairs(&self.0["fields"], name)
    }

    /// The value of the only line of the field `name`.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        let all = self.all(name);
        assert!(all.len() < 2, "{name} stands twice: {all:?}");
        all.first().copied()
    }

    /// The values of the trailers `name`.
    pub(crate) fn trailers(&self, name: &str) -> Vec<&str> {
        pairs(&self.0["trailers"], name)
    }
}

fn pairs<'a>(list: &'a Value, name: &str) -> Vec<&'a str> {
    let list = list.as_array().unwrap();
    let same = |pair: &&Value| {
        pair[0]
            .as_str()
            .is_some_and(|other| other.eq_ignore_ascii_case(name))
    };
    list.iter()
        .filter(same)
        .map(|pair| pair[1].as_str().unwrap())
        .collect()
}

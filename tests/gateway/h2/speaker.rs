//! A client of one of the protocols that a conversation is held over, and the gateway that it speaks to.

use std::fs;
use std::sync::OnceLock;

use crate::support::h2::head;
use crate::support::{
    Authority, Client, Gateway, H2, Pair, Response, Setup, Visitor, tls_file, unique_directory,
};

/// A protocol.
#[derive(Clone, Copy, Debug)]
pub(super) enum Speaker {
    One,
    /// By prior knowledge.
    Two,
    SecureOne,
    /// By ALPN.
    SecureTwo,
}

pub(super) const SPEAKERS: [Speaker; 4] = [
    Speaker::One,
    Speaker::Two,
    Speaker::SecureOne,
    Speaker::SecureTwo,
];

/// The authority of this process, and a pair of `a.test`.
fn house() -> &'static (Authority, Pair) {
    static HOUSE: OnceLock<(Authority, Pair)> = OnceLock::new();
    HOUSE.get_or_init(|| {
        let authority = Authority::new("root");
        let pair = authority.issue(&["a.test"]);
        (authority, pair)
    })
}

impl Speaker {
    /// As the access log says it.
    pub(super) fn protocol(self) -> &'static str {
        match self {
            Speaker::One | Speaker::SecureOne => "HTTP/1.1",
            Speaker::Two | Speaker::SecureTwo => "HTTP/2",
        }
    }

    pub(super) fn scheme(self) -> &'static str {
        if self.is_secure() { "https" } else { "http" }
    }

    fn is_secure(self) -> bool {
        matches!(self, Speaker::SecureOne | Speaker::SecureTwo)
    }

    /// The file of a gateway that understands it.
    pub(super) fn text(self, setup: Setup) -> String {
        match self.is_secure() {
            true => setup.listener(&tls_file(&["a"], "")).text(),
            false => setup.text(),
        }
    }

    /// Starts that gateway.
    pub(super) fn start(self, setup: Setup) -> Gateway {
        let directory = unique_directory();
        house().1.write(&directory, "a");
        fs::write(directory.join("gateway.yaml"), self.text(setup)).unwrap();
        Gateway::start_in(directory, "gateway.yaml")
    }

    /// One request on a connection of its own. A body goes with its length unless `fields` say something else.
    pub(super) fn ask(
        self,
        gateway: &Gateway,
        (method, path): (&str, &str),
        fields: &[(&str, &str)],
        body: &str,
    ) -> Response {
        let length = body.len().to_string();
        let mut fields = fields.to_vec();
        if !body.is_empty() {
            fields.push(("content-length", &length));
        }
        let visitor = Visitor::trusting(&house().0);
        let session = |protocol: &str| visitor.clone().asking(&[protocol]).session("a.test");
        let address = gateway.address();
        match self {
            Speaker::One => ask_one(gateway.client(), (method, path), &fields, body),
            Speaker::SecureOne => {
                let client = Client::secure(address, session("http/1.1")).expect("a handshake");
                ask_one(client, (method, path), &fields, body)
            }
            Speaker::Two => H2::connect(address).ask(&head(method, path, &fields), body.as_bytes()),
            Speaker::SecureTwo => {
                let mut head = head(method, path, &fields);
                head[1] = (":scheme", "https");
                H2::secure(address, session("h2")).ask(&head, body.as_bytes())
            }
        }
    }

    pub(super) fn get(self, gateway: &Gateway, path: &str) -> Response {
        self.ask(gateway, ("GET", path), &[], "")
    }
}

fn ask_one(
    mut client: Client,
    (method, path): (&str, &str),
    fields: &[(&str, &str)],
    body: &str,
) -> Response {
    let lines: String = fields
        .iter()
        .map(|(name, value)| format!("{name}: {value}\r\n"))
        .collect();
    client.send(format!(
        "{method} {path} HTTP/1.1\r\nHost: a.test\r\n{lines}\r\n{body}"
    ));
    if method == "HEAD" {
        client.head()
    } else {
        client.response()
    }
}

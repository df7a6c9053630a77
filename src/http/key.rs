//! Who shares a bucket or an endpoint: the parts of a request that a `key` names, and the bytes that stand for them.
//!
//! Law: two requests have the same bytes if, and only if, every part has the same value. So that a client cannot make
//! them long, a value counts with its first [`LONGEST_VALUE`] bytes and its length: longer ones that begin alike and
//! are of one length are taken for the same. A part that is not there, or is empty, leaves the request without a key:
//! what happens then is for the owner of the key to say, so that nobody shares one bucket by accident.
//!
//! The encoding is a contract between processes and versions: `balance: {hash: KEY}` must send one key to one endpoint
//! whichever gateway it came to.

mod client;
mod fault;
#[cfg(test)]
mod tests;
mod text;

use std::net::{IpAddr, Ipv6Addr};

use http::Method;
use http::header::{GetAll, HeaderMap, HeaderName, HeaderValue};

use super::{cookie, query};
pub use client::network;
pub use fault::KeyFault;

/// Most bytes of one value that count, beside its length.
pub const LONGEST_VALUE: usize = 1024;

/// The words of a key as a file writes them; those before a `:` want a name after it.
pub const WORDS: [&str; 13] = [
    "client_ip",
    "header:",
    "cookie:",
    "query:",
    "claim:",
    "api_key",
    "client_cert",
    "host",
    "path",
    "method",
    "route",
    "connection",
    "global",
];

/// One thing about a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// The client's address; an IPv4 address in IPv6 dress is the IPv4 address.
    ClientIp,
    /// All lines of this field, joined with `,` (RFC 9110, section 5.3).
    Header(HeaderName),
    /// The first cookie of this name.
    Cookie(String),
    /// The first parameter of this name, percent-decoded.
    Query(String),
    /// The subject of the certificate that the client showed.
    ClientCert,
    /// In lower case. Always there, if only as nothing.
    Host,
    /// As it was normalised for the routes.
    Path,
    /// As the client wrote it.
    Method,
    /// The name of the route.
    Route,
    /// The client's connection.
    Connection,
    /// Nothing: all requests are one.
    Global,
}

/// Parts that are looked at together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    parts: Vec<Part>,
}

/// What a key may look at.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// Whom the request is from. Who wants to see networks instead of addresses masks it first.
    pub client: IpAddr,
    /// In any case, without port; empty if there is none.
    pub host: &'a [u8],
    /// Normalised, without the query.
    pub path: &'a str,
    /// What follows the question mark.
    pub query: Option<&'a str>,
    /// As the client wrote it.
    pub method: &'a Method,
    /// As the client sent them.
    pub headers: &'a HeaderMap,
    /// The name of the route; empty before it is found.
    pub route: &'a str,
    /// The number of the client's connection in this process.
    pub connection: u64,
    /// The subject of the client's certificate; empty if it showed none.
    pub subject: &'a [u8],
}

impl Key {
    /// Of these parts, in this order. None at all is as [`Part::Global`].
    #[must_use]
    pub fn new(parts: Vec<Part>) -> Key {
        Key { parts }
    }

    /// The client's address alone.
    #[must_use]
    pub fn client_ip() -> Key {
        Key::new(vec![Part::ClientIp])
    }

    /// Its parts in the order of the file.
    #[must_use]
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// Reads one part as a file writes it: `client_ip`, `header:X-Tenant`.
    ///
    /// # Errors
    /// [`KeyFault`] for an unknown word, a name that is missing, needless or impossible, and for the words that this
    /// version does not serve.
    pub fn parse_part(text: &str) -> Result<Part, KeyFault> {
        let (word, name) = match text.split_once(':') {
            Some((word, name)) => (word, Some(name)),
            None => (text, None),
        };
        let Some(known) = WORDS
            .iter()
            .find(|known| known.trim_end_matches(':') == word)
        else {
            return Err(KeyFault::Unknown(text.to_owned()));
        };
        match (known.ends_with(':'), name) {
            (true, None | Some("")) => return Err(KeyFault::Nameless(known)),
            (false, Some(_)) => return Err(KeyFault::NeedlessName(known)),
            _ => {}
        }
        let name = name.unwrap_or_default();
        let impossible = || KeyFault::ImpossibleName(known, name.to_owned());
        match word {
            "client_ip" => Ok(Part::ClientIp),
            "header" => HeaderName::from_bytes(name.as_bytes())
                .map(Part::Header)
                .map_err(|_| impossible()),
            "cookie" if cookie::is_name(name) => Ok(Part::Cookie(name.to_owned())),
            "cookie" => Err(impossible()),
            "query" => Ok(Part::Query(name.to_owned())),
            "client_cert" => Ok(Part::ClientCert),
            "host" => Ok(Part::Host),
            "path" => Ok(Part::Path),
            "method" => Ok(Part::Method),
            "route" => Ok(Part::Route),
            "connection" => Ok(Part::Connection),
            "global" => Ok(Part::Global),
            _ => Err(KeyFault::NotAvailable(known)),
        }
    }

    /// Appends the bytes that stand for this key's value to `out`: at most 1029 for each part. `false` when a part is
    /// missing or empty; `out` is then as it was. Allocates only what `out` grows by.
    pub fn append(&self, facts: &Facts<'_>, out: &mut Vec<u8>) -> bool {
        self.append_as(facts, Repeated::Counts, out)
    }

    /// As [`Key::append`], but a field, cookie or parameter that is there more than once is taken for missing: who could
    /// choose which of them counts had a way round a limit.
    pub fn append_single(&self, facts: &Facts<'_>, out: &mut Vec<u8>) -> bool {
        self.append_as(facts, Repeated::IsMissing, out)
    }

    /// Appends the bytes of a client's address: the key of a request that has none.
    pub fn append_client(client: IpAddr, out: &mut Vec<u8>) {
        let mut bytes = [Part::ClientIp.mark(); 17];
        bytes[1..].copy_from_slice(&folded(client).octets());
        out.extend_from_slice(&bytes);
    }

    #[inline]
    fn append_as(&self, facts: &Facts<'_>, repeated: Repeated, out: &mut Vec<u8>) -> bool {
        // What most keys are, without all that goes before the first part of others.
        if let [Part::ClientIp] = self.parts[..] {
            Key::append_client(facts.client, out);
            return true;
        }
        self.append_parts(facts, repeated, out)
    }

    fn append_parts(&self, facts: &Facts<'_>, repeated: Repeated, out: &mut Vec<u8>) -> bool {
        let before = out.len();
        let mut parts = self.parts.iter();
        let whole = parts.all(|part| part.append(facts, repeated, out));
        if !whole {
            out.truncate(before);
        }
        whole
    }
}

/// What becomes of a part that a request has several times.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Repeated {
    /// All lines of a field count, of all else the first.
    Counts,
    IsMissing,
}

impl Part {
    /// A byte for the kind, then a fixed number of bytes or a length and what it is the length of: no value can end
    /// where another would go on, and none of one kind be taken for one of another.
    fn append(&self, facts: &Facts<'_>, repeated: Repeated, out: &mut Vec<u8>) -> bool {
        if repeated == Repeated::IsMissing && self.is_repeated(facts) {
            return false;
        }
        out.push(self.mark());
        match self {
            Part::ClientIp => out.extend_from_slice(&folded(facts.client).octets()),
            Part::Header(name) => return append_lines(&facts.headers.get_all(name), out),
            Part::Cookie(name) => {
                return cookie::first(facts.headers, name)
                    .is_some_and(|value| append_text(value, out));
            }
            Part::Query(name) => {
                let written = facts
                    .query
                    .and_then(|query| query::first(query, name.as_bytes()));
                return written.is_some_and(|written| append_decoded(written, out));
            }
            Part::ClientCert => return append_text(facts.subject, out),
            Part::Host => append_host(facts.host, out),
            Part::Path => _ = append_text(facts.path.as_bytes(), out),
            Part::Method => _ = append_text(facts.method.as_str().as_bytes(), out),
            Part::Route => _ = append_text(facts.route.as_bytes(), out),
            Part::Connection => out.extend_from_slice(&facts.connection.to_le_bytes()),
            Part::Global => {}
        }
        true
    }

    fn is_repeated(&self, facts: &Facts<'_>) -> bool {
        match self {
            Part::Header(name) => facts.headers.get_all(name).iter().nth(1).is_some(),
            Part::Cookie(name) => cookie::all(facts.headers, name).nth(1).is_some(),
            Part::Query(name) => facts
                .query
                .is_some_and(|query| query::all(query, name.as_bytes()).nth(1).is_some()),
            _ => false,
        }
    }

    fn mark(&self) -> u8 {
        match self {
            Part::ClientIp => 1,
            Part::Header(_) => 2,
            Part::Cookie(_) => 3,
            Part::Query(_) => 4,
            Part::Host => 5,
            Part::Path => 6,
            Part::Method => 7,
            Part::Route => 8,
            Part::Connection => 9,
            Part::Global => 10,
            Part::ClientCert => 11,
        }
    }
}

/// One width for both families, and one spelling for an IPv4 address.
fn folded(client: IpAddr) -> Ipv6Addr {
    match client {
        IpAddr::V4(v4) => v4.to_ipv6_mapped(),
        IpAddr::V6(v6) => v6,
    }
}

fn append_text(text: &[u8], out: &mut Vec<u8>) -> bool {
    let mut value = Value::begin(out);
    value.add(text);
    value.end()
}

fn append_lines(lines: &GetAll<'_, HeaderValue>, out: &mut Vec<u8>) -> bool {
    let mut value = Value::begin(out);
    for (number, line) in lines.iter().enumerate() {
        if number > 0 {
            value.add(b",");
        }
        value.add(line.as_bytes());
    }
    value.end()
}

fn append_decoded(written: &[u8], out: &mut Vec<u8>) -> bool {
    if !written.contains(&b'%') {
        return append_text(written, out);
    }
    let mut value = Value::begin(out);
    for byte in query::decode(written) {
        value.add(&[byte]);
    }
    value.end()
}

fn append_host(host: &[u8], out: &mut Vec<u8>) {
    append_text(host, out);
    let letters = host.len().min(LONGEST_VALUE);
    let start = out.len() - letters;
    if let Some(letters) = out.get_mut(start..) {
        letters.make_ascii_lowercase();
    }
}

/// A value under way into `out`: its length, then as much of it as counts.
struct Value<'o> {
    out: &'o mut Vec<u8>,
    /// Where its length will stand.
    start: usize,
    length: usize,
}

impl Value<'_> {
    fn begin(out: &mut Vec<u8>) -> Value<'_> {
        let start = out.len();
        out.extend_from_slice(&[0; 4]);
        Value {
            out,
            start,
            length: 0,
        }
    }

    fn add(&mut self, bytes: &[u8]) {
        let room = LONGEST_VALUE.saturating_sub(self.length);
        self.out.extend_from_slice(&bytes[..bytes.len().min(room)]);
        self.length += bytes.len();
    }

    /// Is there anything of it?
    fn end(self) -> bool {
        let length = u32::try_from(self.length).unwrap_or(u32::MAX).to_le_bytes();
        if let Some(place) = self.out.get_mut(self.start..self.start + length.len()) {
            place.copy_from_slice(&length);
        }
        self.length > 0
    }
}

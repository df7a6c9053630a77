//! Field hygiene: one pass over the names of a head tells what is there; only what is there is dealt with.
//!
//! Hop-by-hop fields (RFC 9110, section 7.6.1) and those that any `Connection` line nominates never pass on, in either
//! direction. Fields by which this gateway speaks to an upstream are taken away from clients first.

use http::header::{self, HeaderMap, HeaderName, HeaderValue};

/// What one pass over the names found. A set of bits.
#[derive(Clone, Copy, Default)]
pub struct Found(u32);

macro_rules! bits {
    ($($name:ident $bit:literal;)*) => { $(pub(super) const $name: u32 = 1 << $bit;)* };
}

bits! {
    CONNECTION 0; KEEP_ALIVE 1; PROXY_CONNECTION 2; TE 3; TRANSFER_ENCODING 4; UPGRADE 5; HTTP2_SETTINGS 6;
    EXPECT 7; FORWARDED_FOR 8; FORWARDED_HOST 9; FORWARDED_PROTO 10; FORWARDED 11; REQUEST_ID 12; VIA 13;
    CONTENT_LENGTH 14; IDENTITY 15; HOST 16; DISGUISED 17; ODD_LENGTH 18;
}

const HOP_BY_HOP: u32 = CONNECTION
    | KEEP_ALIVE
    | PROXY_CONNECTION
    | TE
    | TRANSFER_ENCODING
    | UPGRADE
    | HTTP2_SETTINGS
    | DISGUISED;

/// `X-Forwarded-For`.
pub const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// `X-Forwarded-Host`.
pub const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
/// `X-Forwarded-Proto`.
pub const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
/// `X-Request-Id`.
pub const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const KEEP_ALIVE_NAME: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION_NAME: HeaderName = HeaderName::from_static("proxy-connection");
const HTTP2_SETTINGS_NAME: HeaderName = HeaderName::from_static("http2-settings");
/// What only this gateway may tell an upstream about who is asking.
const IDENTITY_NAMES: [HeaderName; 3] = [
    HeaderName::from_static("x-authenticated-subject"),
    HeaderName::from_static("x-client-cert-subject"),
    HeaderName::from_static("x-client-cert-san"),
];
/// A nomination in `Connection` takes these away from nobody: they are ours, or frame the message.
const NOT_FOR_NOMINATION: [HeaderName; 9] = [
    header::HOST,
    header::CONTENT_LENGTH,
    header::VIA,
    header::TRAILER,
    X_FORWARDED_FOR,
    X_FORWARDED_HOST,
    X_FORWARDED_PROTO,
    X_REQUEST_ID,
    header::FORWARDED,
];

/// What one pass over a request's fields found, with the values that every request is asked for.
#[derive(Default)]
pub struct Request {
    /// Which fields are there.
    pub found: Found,
    /// The first `Host`.
    pub host: Option<HeaderValue>,
    /// How many lines of `Host` there are.
    pub hosts: u32,
    /// `X-Request-Id`, if there is exactly one.
    pub request_id: Option<HeaderValue>,
    /// The first `User-Agent`; looked for where it will be logged.
    pub user_agent: Option<HeaderValue>,
    /// The first `Referer`; looked for where it will be logged.
    pub referer: Option<HeaderValue>,
}

/// Looks once at every field of a request; `logged` asks for what only a log wants to know.
#[must_use]
pub fn scan_request(headers: &HeaderMap, logged: bool) -> Request {
    let mut request = Request::default();
    for (name, value) in headers {
        let bit = bit_of(name.as_str().as_bytes());
        if bit & (HOST | REQUEST_ID) != 0 {
            request.note(bit, value);
        } else if logged && bit == 0 {
            request.note_for_log(name, value);
        }
        request.found.0 |= bit;
    }
    request
}

/// Looks once at every field of an answer.
#[must_use]
pub fn scan_answer(headers: &HeaderMap) -> Found {
    let mut found = 0;
    for (name, value) in headers {
        let bit = bit_of(name.as_str().as_bytes());
        if bit == CONTENT_LENGTH {
            let doubled = found & CONTENT_LENGTH != 0;
            if doubled || !value.as_bytes().iter().all(u8::is_ascii_digit) {
                found |= ODD_LENGTH;
            }
        }
        found |= bit;
    }
    Found(found)
}

impl Request {
    fn note_for_log(&mut self, name: &HeaderName, value: &HeaderValue) {
        let place = match name.as_str().len() {
            10 if name == header::USER_AGENT => &mut self.user_agent,
            7 if name == header::REFERER => &mut self.referer,
            _ => return,
        };
        place.get_or_insert_with(|| value.clone());
    }

    fn note(&mut self, bit: u32, value: &HeaderValue) {
        if bit == HOST {
            self.hosts += 1;
            self.host.get_or_insert_with(|| value.clone());
        } else if self.found.has(REQUEST_ID) {
            self.request_id = None;
        } else {
            self.request_id = Some(value.clone());
        }
    }
}

/// Sorted by length, so that most names cost one comparison of a number.
fn bit_of(name: &[u8]) -> u32 {
    match name.len() {
        2 if name == b"te" => TE,
        3 if name == b"via" => VIA,
        4 if name == b"host" => HOST,
        6 if name == b"expect" => EXPECT,
        7 if name == b"upgrade" => UPGRADE,
        9 if name == b"forwarded" => FORWARDED,
        10 if name == b"connection" => CONNECTION,
        10 => folded(name, &[(b"keep-alive", KEEP_ALIVE)]),
        12 => folded(name, &[(b"x-request-id", REQUEST_ID)]),
        14 => folded(
            name,
            &[
                (b"content-length", CONTENT_LENGTH),
                (b"http2-settings", HTTP2_SETTINGS),
            ],
        ),
        15 => folded(name, &[(b"x-forwarded-for", FORWARDED_FOR)]),
        16 => folded(
            name,
            &[
                (b"x-forwarded-host", FORWARDED_HOST),
                (b"proxy-connection", PROXY_CONNECTION),
            ],
        ),
        17 => folded(
            name,
            &[
                (b"x-forwarded-proto", FORWARDED_PROTO),
                (b"transfer-encoding", TRANSFER_ENCODING),
                (b"x-client-cert-san", IDENTITY),
            ],
        ),
        21 => folded(name, &[(b"x-client-cert-subject", IDENTITY)]),
        23 => folded(name, &[(b"x-authenticated-subject", IDENTITY)]),
        _ => 0,
    }
}

/// `x_forwarded_for` reaches a CGI-like application as the same variable as `x-forwarded-for`, so the underscored
/// spelling of a field that we own is removed.
fn folded(name: &[u8], known: &[(&[u8], u32)]) -> u32 {
    for (spelling, bit) in known {
        if name == *spelling {
            return *bit;
        }
    }
    if name.contains(&b'_')
        && known
            .iter()
            .any(|(spelling, _)| same_folded(name, spelling))
    {
        return DISGUISED;
    }
    0
}

fn same_folded(name: &[u8], spelling: &[u8]) -> bool {
    name.iter()
        .zip(spelling)
        .all(|(a, b)| a == b || (*a == b'_' && *b == b'-'))
}

impl Found {
    pub(super) fn has(self, bits: u32) -> bool {
        self.0 & bits != 0
    }

    /// Is there an `Expect`?
    #[must_use]
    pub fn expect(self) -> bool {
        self.has(EXPECT)
    }

    /// Is there an `Upgrade`?
    #[must_use]
    pub fn upgrade(self) -> bool {
        self.has(UPGRADE)
    }

    /// Is there a `Transfer-Encoding`?
    #[must_use]
    pub fn transfer_encoding(self) -> bool {
        self.has(TRANSFER_ENCODING)
    }

    /// Is there a `Content-Length`?
    #[must_use]
    pub fn content_length(self) -> bool {
        self.has(CONTENT_LENGTH)
    }

    /// Is there a `Content-Length` that is not one line with one number?
    #[must_use]
    pub fn odd_length(self) -> bool {
        self.has(ODD_LENGTH)
    }

    /// Is there an `X-Request-Id`?
    #[must_use]
    pub fn request_id(self) -> bool {
        self.has(REQUEST_ID)
    }

    /// Is there any field by which proxies tell who the client is?
    #[must_use]
    pub fn forwarded(self) -> bool {
        self.has(FORWARDED_FOR | FORWARDED_HOST | FORWARDED_PROTO | FORWARDED)
    }
}

/// Tells an upstream who the client is, by its certificate. What the client said of that itself is gone by now.
pub fn introduce(headers: &mut HeaderMap, subject: &HeaderValue, names: Option<&HeaderValue>) {
    headers.insert(&IDENTITY_NAMES[1], subject.clone());
    if let Some(names) = names {
        headers.insert(&IDENTITY_NAMES[2], names.clone());
    }
}

/// Takes the hop-by-hop fields out of a request; `TE` stays where it says `trailers`.
pub fn strip_request(headers: &mut HeaderMap, found: Found) {
    if found.has(EXPECT) {
        // The 100 is ours to send; an upstream's would be swallowed.
        headers.remove(header::EXPECT);
    }
    if found.has(IDENTITY) {
        for name in &IDENTITY_NAMES {
            headers.remove(name);
        }
    }
    if !found.has(HOP_BY_HOP) {
        return;
    }
    let trailers = found.has(TE) && accepts_trailers(headers);
    strip_hop_by_hop(headers, found);
    if trailers {
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
        headers.insert(header::CONNECTION, HeaderValue::from_static("te"));
    }
}

/// Takes the hop-by-hop fields out of an answer, and a length that `Transfer-Encoding` overrules.
pub fn strip_response(headers: &mut HeaderMap, found: Found) {
    if found.has(TRANSFER_ENCODING) && found.has(CONTENT_LENGTH) {
        headers.remove(header::CONTENT_LENGTH);
    }
    if found.has(HOP_BY_HOP) {
        strip_hop_by_hop(headers, found);
    }
}

/// Takes out of trailers whatever a head would be cleaned of: a recipient may merge them into it.
pub fn strip_trailers(trailers: &mut HeaderMap) {
    let names: Vec<HeaderName> = trailers
        .keys()
        .filter(|name| bit_of(name.as_str().as_bytes()) != 0)
        .cloned()
        .collect();
    for name in names {
        trailers.remove(name);
    }
}

fn strip_hop_by_hop(headers: &mut HeaderMap, found: Found) {
    if found.has(CONNECTION) {
        strip_nominated(headers);
    }
    for (bit, name) in [
        (CONNECTION, header::CONNECTION),
        (KEEP_ALIVE, KEEP_ALIVE_NAME),
        (PROXY_CONNECTION, PROXY_CONNECTION_NAME),
        (TE, header::TE),
        (TRANSFER_ENCODING, header::TRANSFER_ENCODING),
        (UPGRADE, header::UPGRADE),
        (HTTP2_SETTINGS, HTTP2_SETTINGS_NAME),
    ] {
        if found.has(bit) {
            headers.remove(name);
        }
    }
    if found.has(DISGUISED) {
        let names: Vec<HeaderName> = headers
            .keys()
            .filter(|n| bit_of(n.as_str().as_bytes()) == DISGUISED)
            .cloned()
            .collect();
        for name in names {
            headers.remove(name);
        }
    }
}

fn strip_nominated(headers: &mut HeaderMap) {
    let plain = |value: &HeaderValue| {
        let v = value.as_bytes();
        v.eq_ignore_ascii_case(b"keep-alive") || v.eq_ignore_ascii_case(b"close")
    };
    if headers.get_all(header::CONNECTION).iter().all(plain) {
        return;
    }
    let nominated: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .flat_map(|value| list(value.as_bytes()))
        .filter_map(|token| HeaderName::from_bytes(token).ok())
        .filter(|name| !NOT_FOR_NOMINATION.contains(name))
        .collect();
    for name in nominated {
        headers.remove(name);
    }
}

fn accepts_trailers(headers: &HeaderMap) -> bool {
    headers
        .get_all(header::TE)
        .iter()
        .flat_map(|v| list(v.as_bytes()))
        .any(|t| t.eq_ignore_ascii_case(b"trailers"))
}

/// The elements of a comma-separated list (RFC 9110, section 5.6.1), without white space; empty ones are left out.
pub fn list(value: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> {
    value
        .split(|b| *b == b',')
        .map(<[u8]>::trim_ascii)
        .filter(|t| !t.is_empty())
}

/// How the body of a message with `Transfer-Encoding` is coded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coding {
    /// Exactly one line that says `chunked`.
    Chunked,
    /// `chunked` doubled, in a list or on two lines: what one reader takes for the frame another does not.
    Malformed,
    /// A coding that nobody here can undo.
    Unknown,
}

/// Reads `Transfer-Encoding` (RFC 9112, section 6.1) as narrowly as a smuggler could not like.
#[must_use]
pub fn transfer_coding(headers: &HeaderMap) -> Coding {
    let mut lines = headers.get_all(header::TRANSFER_ENCODING).iter();
    if let (Some(one), None) = (lines.next(), lines.next())
        && one.as_bytes().eq_ignore_ascii_case(b"chunked")
    {
        return Coding::Chunked;
    }
    let foreign = headers
        .get_all(header::TRANSFER_ENCODING)
        .iter()
        .flat_map(|v| list(v.as_bytes()))
        .any(|coding| !coding.eq_ignore_ascii_case(b"chunked"));
    if foreign {
        Coding::Unknown
    } else {
        Coding::Malformed
    }
}

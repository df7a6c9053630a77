//! Keys: what they are read from, and that different requests never share one by accident.

use std::net::{IpAddr, Ipv4Addr};

use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use proptest::prelude::*;

use super::*;

mod texts;

const TENANT: HeaderName = HeaderName::from_static("x-tenant");

/// A request as a key sees it, with places of its own for what [`Facts`] borrows.
#[derive(Clone, Debug)]
struct Request {
    client: IpAddr,
    host: String,
    path: String,
    query: Option<String>,
    method: Method,
    headers: HeaderMap,
    route: String,
    connection: u64,
}

impl Request {
    fn plain() -> Request {
        Request {
            client: Ipv4Addr::new(192, 0, 2, 1).into(),
            host: "example.com".into(),
            path: "/a".into(),
            query: None,
            method: Method::GET,
            headers: HeaderMap::new(),
            route: "shop".into(),
            connection: 7,
        }
    }

    fn with(field: HeaderName, lines: &[&str]) -> Request {
        let mut request = Request::plain();
        for line in lines {
            let line = HeaderValue::from_str(line).unwrap();
            request.headers.append(field.clone(), line);
        }
        request
    }

    fn asking(query: &str) -> Request {
        Request {
            query: Some(query.into()),
            ..Request::plain()
        }
    }

    fn of(&self, parts: &[Part]) -> Option<Vec<u8>> {
        let facts = Facts {
            client: self.client,
            host: self.host.as_bytes(),
            path: &self.path,
            query: self.query.as_deref(),
            method: &self.method,
            headers: &self.headers,
            route: &self.route,
            connection: self.connection,
            subject: b"",
        };
        let mut out = b"before".to_vec();
        let whole = Key::new(parts.to_vec()).append(&facts, &mut out);
        let after = out.strip_prefix(b"before").unwrap().to_vec();
        assert!(whole || after.is_empty(), "left something of no key");
        whole.then_some(after)
    }
}

fn part(text: &str) -> Part {
    Key::parse_part(text).unwrap()
}

#[test]
fn every_word_of_the_contract_is_known() {
    assert_eq!(part("client_ip"), Part::ClientIp);
    assert_eq!(part("header:X-Tenant"), Part::Header(TENANT));
    assert_eq!(part("cookie:sid"), Part::Cookie("sid".into()));
    assert_eq!(part("query:a:b"), Part::Query("a:b".into()));
    assert_eq!(part("client_cert"), Part::ClientCert);
    assert_eq!(part("host"), Part::Host);
    assert_eq!(part("path"), Part::Path);
    assert_eq!(part("method"), Part::Method);
    assert_eq!(part("route"), Part::Route);
    assert_eq!(part("connection"), Part::Connection);
    assert_eq!(part("global"), Part::Global);
}

#[test]
fn what_is_no_part_is_said_with_what_is_allowed() {
    let said = |text: &str| {
        let fault = Key::parse_part(text).unwrap_err();
        (fault.message(), fault.help())
    };
    let all = "one of `client_ip`, `header:NAME`, `cookie:NAME`, `query:NAME`, `client_cert`, `host`, `path`, `method`, `route`, `connection`, `global`";
    for (text, message, help) in [
        (
            "claim:sub",
            "`claim:NAME` is not available in this version",
            all,
        ),
        ("api_key", "`api_key` is not available in this version", all),
        ("heder:x", "`heder:x` is not a key", all),
        ("", "`` is not a key", all),
        ("a\nb", "`a\\nb` is not a key", all),
        ("header", "`header:` has no name", "write `header:NAME`"),
        ("cookie:", "`cookie:` has no name", "write `cookie:NAME`"),
        ("host:a", "`host` takes no name", "write `host`"),
        (
            "header:a b",
            "`a b` is not the name of a header",
            "letters, digits and `-`, such as `X-Tenant`",
        ),
        (
            "cookie:a=b",
            "`a=b` is not the name of a cookie",
            "letters, digits and `-`, such as `X-Tenant`",
        ),
    ] {
        assert_eq!(said(text), (message.into(), help.into()), "{text}");
    }
    let unknown = |text| {
        Key::parse_part(text)
            .unwrap_err()
            .unknown_word()
            .map(str::to_owned)
    };
    assert_eq!(unknown("heder:x").as_deref(), Some("heder"));
    assert_eq!(unknown("ip").as_deref(), Some("ip"));
    assert_eq!(unknown("host:x"), None);
    let (long, _) = said(&"x".repeat(1000));
    assert_eq!(long.chars().count(), 76, "{long}");
}

#[test]
fn an_address_has_one_spelling() {
    let from = |client: &str| {
        let client = client.parse().unwrap();
        Request {
            client,
            ..Request::plain()
        }
        .of(&[Part::ClientIp])
    };
    assert_eq!(from("192.0.2.1"), from("::ffff:192.0.2.1"));
    assert_ne!(from("192.0.2.1"), from("192.0.2.2"));
    assert_ne!(from("192.0.2.1"), from("::192.0.2.1"));
}

#[test]
fn lines_of_a_field_are_one_value() {
    let of = |lines: &[&str]| Request::with(TENANT, lines).of(&[Part::Header(TENANT)]);
    assert_eq!(of(&["a", "b"]), of(&["a,b"]));
    assert_ne!(of(&["a", "b"]), of(&["a"]));
    assert_ne!(of(&["a", "b"]), of(&["b", "a"]));
    assert_ne!(of(&["a", ""]), of(&["a"]));
}

#[test]
fn cookies_and_parameters_count_once() {
    let cookie = |line: &str| Request::with(header::COOKIE, &[line]).of(&[part("cookie:a")]);
    assert_eq!(cookie("a=1; a=2"), cookie("x=9; a=1"));
    assert_ne!(cookie("a=1"), cookie("a=2"));
    let query = |text: &str| Request::asking(text).of(&[part("query:a")]);
    assert_eq!(query("a=1&a=2"), query("%61=%31"));
    assert_ne!(query("a=+"), query("a=%20"));
    assert_ne!(cookie("a=1"), query("a=1"), "one kind taken for another");
}

#[test]
fn a_host_is_in_lower_case_and_may_be_absent() {
    let of = |host: &str| {
        let host = host.into();
        Request {
            host,
            ..Request::plain()
        }
        .of(&[Part::Host])
    };
    assert_eq!(of("Example.COM"), of("example.com"));
    assert!(of("").is_some());
    assert_ne!(of(""), of("a"));
    let long = "X".repeat(2000);
    assert_eq!(of(&long), of(&long.to_lowercase()));
}

#[test]
fn what_is_missing_or_empty_leaves_no_key() {
    let all = [Part::ClientIp, Part::Header(TENANT), Part::Host];
    assert_eq!(Request::plain().of(&all), None);
    assert_eq!(Request::with(TENANT, &[""]).of(&all), None);
    assert!(Request::with(TENANT, &["a"]).of(&all).is_some());
    for query in ["b=1", "a", "a=", "a=&a=1", ""] {
        assert_eq!(
            Request::asking(query).of(&[part("query:a")]),
            None,
            "{query}"
        );
    }
    for line in ["b=1", "a=", "a"] {
        let request = Request::with(header::COOKIE, &[line]);
        assert_eq!(request.of(&[part("cookie:a")]), None, "{line}");
    }
}

#[test]
fn a_long_value_counts_with_its_beginning_and_its_length() {
    let of = |length: usize, end: &str| {
        let value = format!("{}{end}", "x".repeat(length));
        Request::with(TENANT, &[&value])
            .of(&[Part::Header(TENANT)])
            .unwrap()
    };
    assert_eq!(of(64 * 1024, "").len(), 1 + 4 + LONGEST_VALUE);
    assert_ne!(of(64 * 1024, ""), of(64 * 1024 + 1, ""));
    assert_ne!(of(1023, "a"), of(1023, "b"));
    assert_eq!(of(1024, "a"), of(1024, "b"));
    let escaped = Request::asking(&format!("a={}", "%78".repeat(3000)));
    let plain = Request::asking(&format!("a={}", "x".repeat(3000)));
    assert_eq!(escaped.of(&[part("query:a")]), plain.of(&[part("query:a")]));
}

/// Gateways of two versions stand side by side: a key must mean the same endpoint to both.
#[test]
fn the_encoding_is_fixed() {
    let mut request = Request::with(TENANT, &["acme"]);
    request.query = Some("q=%C3%A9".into());
    let parts = [
        "client_ip",
        "header:x-tenant",
        "query:q",
        "host",
        "connection",
        "global",
    ];
    let bytes = request.of(&parts.map(part)).unwrap();
    let expected = [
        &b"\x01\0\0\0\0\0\0\0\0\0\0\xff\xff\xc0\0\x02\x01"[..],
        b"\x02\x04\0\0\0acme",
        b"\x04\x02\0\0\0\xc3\xa9",
        b"\x05\x0b\0\0\0example.com",
        b"\x09\x07\0\0\0\0\0\0\0",
        b"\x0a",
    ];
    assert_eq!(bytes, expected.concat());
}

/// What a request says of every part, before it is spelled: texts that are made to run into each other.
#[derive(Clone, Debug, PartialEq)]
struct Meaning {
    client: IpAddr,
    header: Option<String>,
    cookie: Option<String>,
    query: Option<String>,
    host: String,
    path: String,
    connection: u64,
}

impl Meaning {
    /// With those parts of `other` whose bits are set.
    fn with(&self, bits: u8, other: &Meaning) -> Meaning {
        let of = |bit: u8| if bits >> bit & 1 == 1 { other } else { self };
        Meaning {
            client: of(0).client,
            header: of(1).header.clone(),
            cookie: of(2).cookie.clone(),
            query: of(3).query.clone(),
            host: of(4).host.clone(),
            path: of(5).path.clone(),
            connection: of(6).connection,
        }
    }

    /// Spelled in one of its ways.
    fn request(&self, odd: bool) -> Request {
        let mut request = Request::plain();
        request.client = match self.client {
            IpAddr::V4(v4) if odd => v4.to_ipv6_mapped().into(),
            other => other,
        };
        if let Some(value) = &self.header {
            let several: Vec<&str> = value.split(',').collect();
            let lines = if odd { &several[..] } else { &[value.as_str()] };
            for line in lines {
                let line = HeaderValue::from_str(line).unwrap();
                request.headers.append(TENANT, line);
            }
        }
        if let Some(value) = &self.cookie {
            let line = HeaderValue::from_str(&format!("x=1;c={value}")).unwrap();
            request.headers.append(header::COOKIE, line);
        }
        request.query = self.query.as_ref().map(|value| {
            let escape = |byte: u8| format!("%{byte:02x}");
            let escaped: String = value.bytes().map(escape).collect();
            format!("q={}&q=2", if odd { &escaped } else { value })
        });
        request.host = if odd {
            self.host.to_uppercase()
        } else {
            self.host.clone()
        };
        request.path = self.path.clone();
        request.connection = self.connection;
        request
    }
}

fn meaning() -> impl Strategy<Value = Meaning> {
    let client = prop_oneof![
        (0..4_u8).prop_map(|last| IpAddr::from([0, 0, 0, last])),
        (0..4_u16).prop_map(|last| IpAddr::from([0, 0, 0, 0, 0, 0, 0, last])),
    ];
    let header = proptest::option::of("[ab,]{1,4}");
    let cookie = proptest::option::of("[ab=]{1,4}");
    let query = proptest::option::of("[ab,=]{1,4}");
    (
        client,
        header,
        cookie,
        query,
        "[ab]{0,2}",
        "/[ab]{0,2}",
        0..3_u64,
    )
        .prop_map(
            |(client, header, cookie, query, host, path, connection)| Meaning {
                client,
                header,
                cookie,
                query,
                host,
                path,
                connection,
            },
        )
}

proptest! {
    /// Equal bytes mean equal values, whatever parts are asked for, and however a request is spelled.
    #[test]
    fn different_requests_have_different_bytes(
        one in meaning(), drawn in meaning(), drawn_of in 0..128_u8, odd: bool, asked in 0..128_u8,
    ) {
        // Two that differ in a few things only.
        let other = one.with(drawn_of, &drawn);
        let parts = ["client_ip", "header:x-tenant", "cookie:c", "query:q", "host", "path", "connection"];
        let chosen: Vec<Part> = (0..7)
            .filter(|bit| asked >> bit & 1 == 1)
            .map(|bit| part(parts[bit]))
            .collect();
        let nothing = Meaning {
            client: Ipv4Addr::UNSPECIFIED.into(),
            header: None,
            cookie: None,
            query: None,
            host: String::new(),
            path: String::new(),
            connection: 0,
        };
        let said = |of: &Meaning| nothing.with(asked, of);
        let bytes = (one.request(false).of(&chosen), other.request(odd).of(&chosen));
        match bytes {
            (Some(a), Some(b)) => prop_assert_eq!(a == b, said(&one) == said(&other)),
            (a, b) => {
                let whole = |of: &Meaning| {
                    (asked & 2 == 0 || of.header.is_some())
                        && (asked & 4 == 0 || of.cookie.is_some())
                        && (asked & 8 == 0 || of.query.is_some())
                };
                prop_assert_eq!((a.is_some(), b.is_some()), (whole(&one), whole(&other)));
            }
        }
        prop_assert_eq!(one.request(false).of(&chosen), one.request(true).of(&chosen));
    }
}

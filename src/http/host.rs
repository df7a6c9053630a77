//! Who the request is for: `uri-host [ ":" port ]` of Host, `:authority` or an absolute target (RFC 9110, section 7.2).
//!
//! Two readers must never see two hosts: userinfo, lists, spaces and paths are refused, and so are names of which
//! the generic grammar (RFC 3986, section 3.2.2) would allow a second spelling: a comma, an empty label, an escape
//! of an ASCII character. IP literals are IPv6 addresses without zone; no version of IPvFuture exists.

use std::fmt;
use std::net::Ipv6Addr;

/// A host that one reader and the next understand alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Authority<'a> {
    /// As sent, in any case, never empty: a name or IPv4 address without dot at its end, or an IPv6 address in brackets. ASCII.
    pub host: &'a [u8],
    /// What stands after the colon; `None` also for `host:`.
    pub port: Option<u16>,
}

/// Why an authority is refused; the answer is 400.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// No host at all.
    Empty,
    /// A character that no host holds; lists, userinfo, spaces and paths end here.
    Character,
    /// Two dots in a row, or one at the beginning.
    EmptyLabel,
    /// A `%` without two hexadecimal digits, or for an ASCII character.
    Escape,
    /// Brackets around something that is no IPv6 address.
    Literal,
    /// Not digits, or more than 65535.
    Port,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Fault::Empty => "the host is empty",
            Fault::Character => "the host holds a character that no host name has",
            Fault::EmptyLabel => "the host has an empty label",
            Fault::Escape => "the host holds an escape that is broken or for an ASCII character",
            Fault::Literal => "the host has brackets around something that is no IPv6 address",
            Fault::Port => "the port is not a number up to 65535",
        })
    }
}

/// Host and port, in one pass and without allocation.
///
/// # Errors
/// [`Fault`] for everything but one host with at most one port.
pub fn parse_authority(bytes: &[u8]) -> Result<Authority<'_>, Fault> {
    let end = if bytes.first() == Some(&b'[') {
        literal_end(bytes)?
    } else {
        name_end(bytes)?
    };
    let (host, rest) = bytes.split_at(end);
    let host = host.strip_suffix(b".").unwrap_or(host);
    if host.is_empty() {
        return Err(Fault::Empty);
    }
    let port = match rest {
        [] => None,
        [b':', digits @ ..] => port(digits)?,
        _ => return Err(Fault::Character),
    };
    Ok(Authority { host, port })
}

/// Length of the registered name or IPv4 address at the beginning.
fn name_end(bytes: &[u8]) -> Result<usize, Fault> {
    let mut label = 0;
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let class = CLASSES[usize::from(byte)];
        if class != Class::Name {
            match class {
                Class::Dot if at > label => label = at + 1,
                Class::Dot => return Err(Fault::EmptyLabel),
                Class::Percent => check_escape(&bytes[at..])?,
                Class::Colon => return Ok(at),
                Class::Name | Class::Refused => return Err(Fault::Character),
            }
        }
        at += 1;
    }
    Ok(at)
}

/// Length of the IP literal at the beginning, with its brackets.
fn literal_end(bytes: &[u8]) -> Result<usize, Fault> {
    let close = bytes
        .iter()
        .position(|&byte| byte == b']')
        .ok_or(Fault::Literal)?;
    let address = std::str::from_utf8(&bytes[1..close]).map_err(|_| Fault::Literal)?;
    address.parse::<Ipv6Addr>().map_err(|_| Fault::Literal)?;
    Ok(close + 1)
}

/// Internationalised names may come as escaped UTF-8; an escaped ASCII character is another spelling of a plain name.
fn check_escape(bytes: &[u8]) -> Result<(), Fault> {
    match bytes {
        [b'%', b'8' | b'9' | b'a'..=b'f' | b'A'..=b'F', low, ..] if low.is_ascii_hexdigit() => {
            Ok(())
        }
        _ => Err(Fault::Escape),
    }
}

/// Any number of digits, as the grammar has it; the value is what is bounded.
fn port(digits: &[u8]) -> Result<Option<u16>, Fault> {
    let mut value: u32 = 0;
    for digit in digits {
        if !digit.is_ascii_digit() {
            return Err(Fault::Port);
        }
        value = value * 10 + u32::from(digit - b'0');
        if value > u32::from(u16::MAX) {
            return Err(Fault::Port);
        }
    }
    match u16::try_from(value) {
        Ok(port) if !digits.is_empty() => Ok(Some(port)),
        _ => Ok(None),
    }
}

/// What a byte may be in a registered name.
#[derive(Clone, Copy, PartialEq)]
enum Class {
    Refused,
    Name,
    Dot,
    Percent,
    Colon,
}

/// Unreserved and sub-delims of RFC 3986 without the comma.
static CLASSES: [Class; 256] = classes(b"-_~!$&'()*+;=");

const fn classes(marks: &[u8]) -> [Class; 256] {
    let mut classes = [Class::Refused; 256];
    let mut byte: u8 = 0;
    while byte < 128 {
        if byte.is_ascii_alphanumeric() {
            classes[byte as usize] = Class::Name;
        }
        byte += 1;
    }
    let mut mark = 0;
    while mark < marks.len() {
        classes[marks[mark] as usize] = Class::Name;
        mark += 1;
    }
    classes[b'.' as usize] = Class::Dot;
    classes[b'%' as usize] = Class::Percent;
    classes[b':' as usize] = Class::Colon;
    classes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn reads(text: &str, host: &str, port: Option<u16>) {
        assert_eq!(
            parse_authority(text.as_bytes()),
            Ok(Authority {
                host: host.as_bytes(),
                port
            }),
            "{text}"
        );
    }

    #[track_caller]
    fn refuses(fault: Fault, texts: &[&str]) {
        for text in texts {
            assert_eq!(parse_authority(text.as_bytes()), Err(fault), "{text:?}");
        }
    }

    #[test]
    fn names_and_addresses() {
        reads("example.com", "example.com", None);
        reads("Example.COM:8080", "Example.COM", Some(8080));
        reads("localhost", "localhost", None);
        reads("127.0.0.1:80", "127.0.0.1", Some(80));
        reads("a", "a", None);
        reads("my_host-1.internal", "my_host-1.internal", None);
        reads("*.example.com", "*.example.com", None);
        reads("a!$&'()*+;=~b", "a!$&'()*+;=~b", None);
        reads("xn--bcher-kva.example", "xn--bcher-kva.example", None);
        reads("b%C3%bccher.example", "b%C3%bccher.example", None);
    }

    #[test]
    fn one_dot_at_the_end_is_dropped() {
        reads("first.com.", "first.com", None);
        reads("first.com.:443", "first.com", Some(443));
        refuses(
            Fault::EmptyLabel,
            &[
                "first.com..",
                "first.com..:80",
                "..",
                ".",
                ".:80",
                ".com",
                "a..b",
                ".a.b:1",
            ],
        );
    }

    #[test]
    fn ipv6_keeps_its_brackets() {
        reads("[::1]", "[::1]", None);
        reads("[::1]:8443", "[::1]", Some(8443));
        reads("[2001:db8::ABCD]:", "[2001:db8::ABCD]", None);
        reads("[::ffff:192.0.2.1]:1", "[::ffff:192.0.2.1]", Some(1));
        let broken = [
            "[",
            "[]",
            "[::1",
            "[:::1]",
            "[::g]",
            "[1.2.3.4]",
            "[a.example]",
            "[fe80::1%25eth0]",
            "[fe80::1%eth0]",
        ];
        refuses(Fault::Literal, &broken);
        refuses(
            Fault::Literal,
            &[
                "[ ::1]",
                "[::1 ]",
                "[v1.fe80::a]",
                "[[::1]]",
                "[::1,::2]",
                "[::\u{e9}]",
                "[1:2:3:4:5:6:7:8:9]",
            ],
        );
        refuses(
            Fault::Character,
            &[
                "[::1]8080",
                "[::1]x",
                "[::1].example.com",
                "[::1]/",
                "[::1] ",
                "[::1]]",
                "[::1]@h",
            ],
        );
        refuses(Fault::Port, &["[::1]:x", "[::1]::1"]);
    }

    #[test]
    fn ports_are_numbers_up_to_65535() {
        reads("h:", "h", None);
        reads("h:0", "h", Some(0));
        reads("h:65535", "h", Some(65535));
        reads("h:0000000000000000000080", "h", Some(80));
        refuses(
            Fault::Port,
            &[
                "h:65536",
                "h:99999999999999999999",
                "h:-1",
                "h:+1",
                "h:8a",
                "h: 80",
                "h:80 ",
                "h:80:80",
            ],
        );
        refuses(
            Fault::Port,
            &[
                "a::1",
                "a:b",
                "h:80,g:80",
                "h:80/",
                "h:\u{0663}",
                "h:80@evil",
                "user:pw@h",
                "http://h",
            ],
        );
    }

    #[test]
    fn nothing_is_no_host() {
        refuses(Fault::Empty, &["", ":", ":80", "::1"]);
    }

    #[test]
    fn what_is_not_one_host_is_refused() {
        refuses(
            Fault::Character,
            &[
                "a, b", "a,b", ",", "a,", "u@h", "@h", "h@", "a b", " a", "a ", "\ta", "a\t",
            ],
        );
        refuses(
            Fault::Character,
            &[
                "/",
                "a/b",
                "a/",
                "a?b",
                "a#b",
                "a\\b",
                "a\0b",
                "a\r\nX: y",
                "a\nb",
                "a\x7f",
            ],
        );
        refuses(
            Fault::Character,
            &[
                "<h>",
                "\"h\"",
                "{h}",
                "h|g",
                "h^",
                "h`",
                "a]",
                "a[::1]",
                "b\u{fc}cher.example",
            ],
        );
        assert_eq!(parse_authority(b"h\xff"), Err(Fault::Character));
    }

    #[test]
    fn escapes_offer_no_second_spelling() {
        refuses(
            Fault::Escape,
            &[
                "ex%61mple.com",
                "a%2eb",
                "a%00",
                "a%2Cb",
                "a%40b",
                "%",
                "a%",
                "a%8",
                "a%zz",
                "a%C",
                "a%Cg",
            ],
        );
        refuses(Fault::Escape, &["%7f", "a%+9", "%e.com", "a%%C3"]);
    }
}

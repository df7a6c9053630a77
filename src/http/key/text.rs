//! Keys as people write them: the definition as in a file, and the value of one request's key, there and back.
//!
//! A value is its parts in the order of the definition, joined with `,`. In a part everything but letters, digits and
//! `-._~:/@` is percent-encoded; one of more than [`LONGEST_VALUE`] bytes is shown with those, `*` and its length. The key
//! of a request that had none is `client_ip=` and its address.

use std::fmt::{self, Display, Write as _};
use std::net::{IpAddr, Ipv6Addr};

use super::{Key, LONGEST_VALUE, Part, Value, folded};
use crate::http::query;

impl Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (word, name) = match self {
            Part::ClientIp => ("client_ip", ""),
            Part::Header(name) => ("header:", name.as_str()),
            Part::Cookie(name) => ("cookie:", name.as_str()),
            Part::Query(name) => ("query:", name.as_str()),
            Part::ClientCert => ("client_cert", ""),
            Part::Host => ("host", ""),
            Part::Path => ("path", ""),
            Part::Method => ("method", ""),
            Part::Route => ("route", ""),
            Part::Connection => ("connection", ""),
            Part::Global => ("global", ""),
        };
        write!(f, "{word}{name}")
    }
}

/// Its parts, joined with `,`: what makes two definitions the same.
impl Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, part) in self.parts.iter().enumerate() {
            let comma = if number > 0 { "," } else { "" };
            write!(f, "{comma}{part}")?;
        }
        Ok(())
    }
}

impl Key {
    /// The text of a value that [`Key::append`], [`Key::append_single`] or [`Key::append_client`] made.
    #[must_use]
    pub fn show(&self, value: &[u8]) -> String {
        let mut out = String::new();
        let is_fallback = value.len() == 17
            && value.first() == Some(&Part::ClientIp.mark())
            && self.parts != [Part::ClientIp];
        if is_fallback {
            out.push_str(FALLBACK);
        }
        let mut rest = value;
        for number in 0.. {
            let Some((mark, after)) = rest.split_first() else {
                break;
            };
            if number > 0 {
                out.push(',');
            }
            rest = show_part(*mark, after, &mut out);
        }
        out
    }

    /// Appends the bytes that a text stands for to `out`; `mask` says which network an address belongs to. `None` when
    /// it is no value of this key.
    pub fn read(
        &self,
        text: &str,
        mask: impl Fn(IpAddr) -> IpAddr,
        out: &mut Vec<u8>,
    ) -> Option<()> {
        if let Some(address) = text.strip_prefix(FALLBACK) {
            Key::append_client(mask(address.parse().ok()?), out);
            return Some(());
        }
        let mut texts = text.split(',');
        for part in &self.parts {
            read_part(part, texts.next()?, &mask, out)?;
        }
        texts.next().is_none().then_some(())
    }
}

const FALLBACK: &str = "client_ip=";

/// Shows one part; what follows it.
fn show_part<'v>(mark: u8, value: &'v [u8], out: &mut String) -> &'v [u8] {
    if mark == Part::ClientIp.mark() {
        let Some((octets, rest)) = value.split_first_chunk::<16>() else {
            return &[];
        };
        let address = IpAddr::V6(Ipv6Addr::from(*octets)).to_canonical();
        // Writing to a String cannot fail.
        let _ = write!(out, "{address}");
        return rest;
    }
    if mark == Part::Connection.mark() {
        let Some((number, rest)) = value.split_first_chunk::<8>() else {
            return &[];
        };
        let _ = write!(out, "{}", u64::from_le_bytes(*number));
        return rest;
    }
    if mark == Part::Global.mark() {
        out.push_str("global");
        return value;
    }
    let Some((length, rest)) = value.split_first_chunk::<4>() else {
        return &[];
    };
    let length = u32::from_le_bytes(*length) as usize;
    let (seen, rest) = rest.split_at(length.min(LONGEST_VALUE).min(rest.len()));
    for byte in seen {
        escape(*byte, out);
    }
    if length > LONGEST_VALUE {
        let _ = write!(out, "*{length}");
    }
    rest
}

fn escape(byte: u8, out: &mut String) {
    if byte.is_ascii_alphanumeric() || b"-._~:/@".contains(&byte) {
        out.push(char::from(byte));
    } else {
        let _ = write!(out, "%{byte:02X}");
    }
}

fn read_part(
    part: &Part,
    text: &str,
    mask: &impl Fn(IpAddr) -> IpAddr,
    out: &mut Vec<u8>,
) -> Option<()> {
    out.push(part.mark());
    match part {
        Part::ClientIp => {
            let address = mask(text.parse().ok()?);
            out.extend_from_slice(&folded(address).octets());
        }
        Part::Connection => out.extend_from_slice(&text.parse::<u64>().ok()?.to_le_bytes()),
        Part::Global => return (text == "global").then_some(()),
        _ => {
            let (text, length) = match text.split_once('*') {
                Some((text, length)) => (text, Some(length.parse().ok()?)),
                None => (text, None),
            };
            let mut value = Value::begin(out);
            for byte in query::decode(text.as_bytes()) {
                let byte = match part {
                    Part::Host => byte.to_ascii_lowercase(),
                    _ => byte,
                };
                value.add(&[byte]);
            }
            value.length = length.unwrap_or(value.length);
            value.end();
        }
    }
    Some(())
}

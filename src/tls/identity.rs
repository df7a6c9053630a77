//! Who a client's certificate says it is: its subject in the form of RFC 2253, and its alternative names.
//!
//! Both become header fields, so whatever is not plain ASCII is escaped, and a name cannot pretend to be two.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, Ipv6Addr};

use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;
use x509_parser::x509::{AttributeTypeAndValue, X509Name};

/// What a verified certificate of a client says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Such as `CN=billing,O=Example`; ASCII without control characters.
    pub subject: String,
    /// DNS names, addresses, URIs and mail addresses, joined by commas; a comma in one of them is `%2C`.
    pub names: String,
    /// Good until then, in seconds since 1970.
    pub not_after: i64,
}

impl Identity {
    /// Reads a certificate; `None` where it cannot be read.
    #[must_use]
    pub fn read(certificate: &[u8]) -> Option<Identity> {
        let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
        Some(Identity {
            subject: subject(certificate.subject()),
            names: names(&certificate),
            not_after: certificate.validity().not_after.timestamp(),
        })
    }
}

/// The last part comes first (RFC 2253, section 2.1).
fn subject(name: &X509Name<'_>) -> String {
    let parts: Vec<_> = name.iter_rdn().collect();
    let mut out = String::new();
    for (number, part) in parts.into_iter().rev().enumerate() {
        for (nth, attribute) in part.iter().enumerate() {
            match (number, nth) {
                (0, 0) => {}
                (_, 0) => out.push(','),
                _ => out.push('+'),
            }
            push_attribute(&mut out, attribute);
        }
    }
    out
}

fn push_attribute(out: &mut String, attribute: &AttributeTypeAndValue<'_>) {
    let oid = attribute.attr_type().to_id_string();
    let known = KEYWORDS.iter().find(|(number, _)| *number == oid);
    out.push_str(known.map_or(&oid, |(_, word)| word));
    out.push('=');
    match attribute.as_str() {
        Ok(text) => push_value(out, text),
        // Text in an encoding of old, or no text at all: its bytes (section 2.4).
        Err(_) => {
            out.push('#');
            for byte in attribute.as_slice() {
                // Writing to a String cannot fail.
                let _ = write!(out, "{byte:02x}");
            }
        }
    }
}

fn push_value(out: &mut String, text: &str) {
    let last = text.len().saturating_sub(1);
    for (at, byte) in text.bytes().enumerate() {
        let at_edge = (at == 0 && matches!(byte, b' ' | b'#')) || (at == last && byte == b' ');
        match byte {
            b',' | b'+' | b'"' | b'\\' | b'<' | b'>' | b';' => {
                out.push('\\');
                out.push(char::from(byte));
            }
            b' ' | b'#' if at_edge => {
                out.push('\\');
                out.push(char::from(byte));
            }
            b' '..=b'~' => out.push(char::from(byte)),
            _ => {
                // Writing to a String cannot fail.
                let _ = write!(out, "\\{byte:02X}");
            }
        }
    }
}

fn names(certificate: &X509Certificate<'_>) -> String {
    let Ok(Some(extension)) = certificate.subject_alternative_name() else {
        return String::new();
    };
    let names: Vec<String> = extension
        .value
        .general_names
        .iter()
        .filter_map(|name| match name {
            GeneralName::DNSName(text) | GeneralName::URI(text) | GeneralName::RFC822Name(text) => {
                Some(plain(text))
            }
            GeneralName::IPAddress(bytes) => address(bytes),
            _ => None,
        })
        .collect();
    names.join(",")
}

fn address(bytes: &[u8]) -> Option<String> {
    let v4 = <[u8; 4]>::try_from(bytes).map(|bytes| Ipv4Addr::from(bytes).to_string());
    let v6 = <[u8; 16]>::try_from(bytes).map(|bytes| Ipv6Addr::from(bytes).to_string());
    v4.or(v6).ok()
}

fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b',' | 0..=b' ' | 0x7f.. => {
                // Writing to a String cannot fail.
                let _ = write!(out, "%{byte:02X}");
            }
            _ => out.push(char::from(byte)),
        }
    }
    out
}

/// The keywords of RFC 2253 (section 2.3), and those that everybody else writes too.
const KEYWORDS: [(&str, &str); 13] = [
    ("2.5.4.3", "CN"),
    ("2.5.4.7", "L"),
    ("2.5.4.8", "ST"),
    ("2.5.4.10", "O"),
    ("2.5.4.11", "OU"),
    ("2.5.4.6", "C"),
    ("2.5.4.9", "STREET"),
    ("0.9.2342.19200300.100.1.25", "DC"),
    ("0.9.2342.19200300.100.1.1", "UID"),
    ("1.2.840.113549.1.9.1", "emailAddress"),
    ("2.5.4.5", "serialNumber"),
    ("2.5.4.4", "SN"),
    ("2.5.4.42", "GN"),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn escaped(text: &str) -> String {
        let mut out = String::new();
        push_value(&mut out, text);
        out
    }

    #[test]
    fn a_value_is_escaped_so_that_it_stays_one() {
        for (text, value) in [
            ("billing", "billing"),
            ("Example, Inc.", "Example\\, Inc."),
            (" a b ", "\\ a b\\ "),
            (" ", "\\ "),
            ("#1#", "\\#1#"),
            ("a\r\nX: y", "a\\0D\\0AX: y"),
            ("\u{fc}", "\\C3\\BC"),
            ("a+b\"<>;\\", "a\\+b\\\"\\<\\>\\;\\\\"),
        ] {
            assert_eq!(escaped(text), value, "{text:?}");
        }
    }

    #[test]
    fn a_name_is_never_two() {
        assert_eq!(plain("a.test,root.test"), "a.test%2Croot.test");
        assert_eq!(plain("spiffe://a/b c\r"), "spiffe://a/b%20c%0D");
    }

    #[test]
    fn what_is_no_certificate_is_nobody() {
        assert_eq!(Identity::read(b""), None);
        assert_eq!(Identity::read(&[0x30, 0x82, 0xff, 0xff]), None);
    }
}

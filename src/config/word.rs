//! Words that name things: our own names, hosts, methods, header fields.

use http::{HeaderName, HeaderValue, Method};

use super::report::{Fault, quote};
use super::scalar;
use crate::http::cookie;

/// Longest name, in characters.
pub(super) const LONGEST_NAME: usize = 63;

/// A name of ours: `[a-z0-9][a-z0-9_-]*`, at most 63 characters, because it becomes a metric label.
pub(super) fn check_name(text: &str) -> Result<(), Fault> {
    let begins = text.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
    if begins && text.len() <= LONGEST_NAME && text.chars().all(is_name_char) {
        return Ok(());
    }
    let allowed = "lower-case letters, digits, `_` and `-`, beginning with a letter or digit, at most 63 characters";
    let near = slug(&text.to_lowercase());
    let help = if near.is_empty() || near.len() > LONGEST_NAME || near == text {
        allowed.into()
    } else {
        format!("such as `{near}`: {allowed}")
    };
    Err(Fault::new(format!("{} is not a name", quote(text)), help))
}

/// A text in the alphabet of names: each run of other characters becomes one `-`, ends trimmed.
pub(super) fn slug(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if is_name_char(c) && c != '-' {
            out.push(c);
        } else if !out.ends_with('-') {
            out.push('-');
        }
    }
    out.trim_matches(['-', '_']).into()
}

fn is_name_char(c: char) -> bool {
    c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == '-'
}

/// FNV-1a, 64 bits: the names that it makes must never change.
pub(super) fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// A host to match, in the form in which it is compared: lower case, without trailing dot; `*.example.com` stands
/// for any subdomain.
pub(super) fn host(text: &str) -> Result<String, Fault> {
    let lower = text.to_ascii_lowercase();
    if lower == "*" {
        return Err(Fault::new(
            "`*` is not a host",
            "leave `hosts` out to match any host",
        ));
    }
    let name = lower.strip_prefix("*.").unwrap_or(&lower);
    let name = name.strip_suffix('.').unwrap_or(name);
    check_host(text, name)?;
    if lower.starts_with("*.") {
        Ok(format!("*.{name}"))
    } else {
        Ok(name.into())
    }
}

/// A host to send somebody to: as [`host`], without wildcard.
pub(super) fn plain_host(text: &str) -> Result<String, Fault> {
    if text.contains('*') {
        return Err(Fault::bare(format!(
            "{} is a pattern, not a host",
            quote(text)
        )));
    }
    host(text)
}

/// A host that an upstream sees, perhaps with a port, in lower case. Not for `upstream`, which is a word of its own.
pub(super) fn authority(text: &str) -> Result<String, Fault> {
    let (name, port) = match text.rsplit_once(':') {
        Some((name, port)) if !port.contains([']', '/']) => (name, Some(port)),
        _ => (text, None),
    };
    let Some(port) = port else {
        return plain_host(text);
    };
    match scalar::whole(port).and_then(|port| u16::try_from(port).ok()) {
        Some(port) if port > 0 => Ok(format!("{}:{port}", plain_host(name)?)),
        _ => Err(Fault::new(
            format!("{} has no valid port", quote(text)),
            "a number from 1 to 65535",
        )),
    }
}

fn check_host(text: &str, name: &str) -> Result<(), Fault> {
    let shown = quote(text);
    if let Some(v6) = name
        .strip_prefix('[')
        .and_then(|name| name.strip_suffix(']'))
    {
        let valid = v6.parse::<std::net::Ipv6Addr>().is_ok();
        return if valid {
            Ok(())
        } else {
            Err(Fault::bare(format!("{shown} is not an address")))
        };
    }
    if name.contains("://") || name.contains('/') {
        return Err(Fault::new(
            format!("{shown} is more than a host"),
            "write the name alone, such as `example.com`",
        ));
    }
    if let Some((bare, _)) = name.split_once(':') {
        return Err(Fault::new(
            format!("{shown} is more than a host"),
            format!("write `{bare}`, without a port"),
        ));
    }
    if !name.is_ascii() {
        return Err(Fault::new(
            format!("{shown} is not ASCII"),
            "write it as browsers send it: `xn--…`",
        ));
    }
    if name.contains('*') {
        return Err(Fault::new(
            format!("{shown} is not a pattern"),
            "`*.` may stand at its beginning only",
        ));
    }
    let label = |label: &str| {
        let chars = label
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
        (1..=63).contains(&label.len()) && chars
    };
    if name.len() <= 253 && name.split('.').all(label) {
        return Ok(());
    }
    Err(Fault::new(
        format!("{shown} is not a host"),
        "such as `example.com` or `*.example.com`",
    ))
}

/// A method: a token (RFC 9110, section 9.1), in upper case, for methods are compared as they are.
pub(super) fn method(text: &str) -> Result<Method, Fault> {
    let upper = text.to_ascii_uppercase();
    if upper != text {
        return Err(Fault::new(
            format!("the method {} is not in upper case", quote(text)),
            format!("write `{upper}`"),
        ));
    }
    Method::from_bytes(text.as_bytes()).map_err(|_| {
        Fault::new(
            format!("{} is not a method", quote(text)),
            "such as `GET` or `POST`",
        )
    })
}

/// The name of a header field.
pub(super) fn field_name(text: &str) -> Result<HeaderName, Fault> {
    HeaderName::from_bytes(text.as_bytes()).map_err(|_| {
        Fault::new(
            format!("{} is not the name of a header", quote(text)),
            "letters, digits and `-`, such as `X-Robots-Tag`",
        )
    })
}

/// The name of a field that a file may set, add or remove.
pub(super) fn header_name(text: &str) -> Result<HeaderName, Fault> {
    // What frames the message or belongs to one connection is ours to write (RFC 9110, section 7.6.1).
    const OURS: [&str; 9] = [
        "connection",
        "content-length",
        "host",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    ];
    let name = field_name(text)?;
    if OURS.contains(&name.as_str()) {
        let why = match name.as_str() {
            "host" => "`rewrite: {host: …}` changes the host that the upstream sees",
            "content-length" | "transfer-encoding" | "trailer" => {
                "it says where a message ends, so the gateway writes it itself"
            }
            _ => "it belongs to one connection, so the gateway writes it itself",
        };
        return Err(Fault::new(
            format!("the header {} cannot be changed", quote(text)),
            why,
        ));
    }
    Ok(name)
}

/// The value of a field: visible ASCII, spaces and tabs within (RFC 9110, section 5.5).
pub(super) fn header_value(text: &str) -> Result<HeaderValue, Fault> {
    let trimmed = text.trim_matches([' ', '\t']);
    if text.contains(['\r', '\n']) {
        // The end of a line would begin another field, of somebody else's making.
        let message = format!("{} has a line end", quote(text));
        return Err(Fault::new(message, "the value of a header is one line"));
    }
    let value = HeaderValue::from_str(trimmed)
        .ok()
        .filter(|_| trimmed.is_ascii());
    value.ok_or_else(|| {
        let message = format!("{} is not the value of a header", quote(text));
        Fault::new(message, "one line of visible ASCII characters")
    })
}

/// The name of a cookie: a token (RFC 6265, section 4.1.1).
pub(super) fn cookie_name(text: &str) -> Result<(), Fault> {
    if cookie::is_name(text) {
        return Ok(());
    }
    let message = format!("{} is not the name of a cookie", quote(text));
    Err(Fault::new(
        message,
        "letters, digits, `-`, `_` and `.`, such as `session`",
    ))
}

/// A bearer token (RFC 6750, section 2.1 asks for less). The faults never show it.
pub(super) fn check_token(text: &str) -> Result<(), Fault> {
    if text.is_empty() {
        return Err(Fault::bare("the token is empty"));
    }
    if text.chars().all(|c| c.is_ascii_graphic()) {
        return Ok(());
    }
    Err(Fault::new(
        "the token has characters that no client can send",
        "visible ASCII characters without spaces",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_a_metric_label() {
        for good in ["a", "0", "app-1_x", &"a".repeat(63)] {
            assert_eq!(check_name(good), Ok(()), "{good}");
        }
        for bad in ["", "-a", "_a", "A", "a b", "é", &"a".repeat(64)] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
        assert!(
            check_name("My App")
                .unwrap_err()
                .help
                .unwrap()
                .starts_with("such as `my-app`")
        );
    }

    #[test]
    fn slugs_have_single_dashes_within() {
        assert_eq!(slug("0.0.0.0:8080"), "0-0-0-0-8080");
        assert_eq!(slug("[::]:8080"), "8080");
        assert_eq!(slug("--a--b--"), "a-b");
        assert_eq!(slug("/"), "");
    }

    #[test]
    fn hosts_are_compared_in_one_form() {
        for (written, normal) in [
            ("Example.COM", "example.com"),
            ("example.com.", "example.com"),
            ("*.Example.com", "*.example.com"),
            ("*.example.com.", "*.example.com"),
            ("127.0.0.1", "127.0.0.1"),
            ("[::1]", "[::1]"),
            ("my_host", "my_host"),
        ] {
            assert_eq!(host(written).unwrap(), normal);
        }
        for bad in [
            "",
            "*",
            "*.",
            ".",
            "a..b",
            "example.com:80",
            "http://a",
            "a/b",
            "a b",
            "é.com",
            "a.*.b",
            "*a.com",
            "[x]",
        ] {
            assert!(host(bad).is_err(), "{bad}");
        }
        assert!(plain_host("*.example.com").is_err());
    }

    #[test]
    fn methods_are_upper_case_tokens() {
        assert_eq!(method("GET").unwrap(), Method::GET);
        assert_eq!(method("PURGE").unwrap().as_str(), "PURGE");
        assert_eq!(method("get").unwrap_err().help.unwrap(), "write `GET`");
        assert!(method("").is_err() && method("G T").is_err());
    }

    #[test]
    fn headers_are_valid_and_not_ours() {
        assert_eq!(
            header_name("X-Robots-Tag").unwrap().as_str(),
            "x-robots-tag"
        );
        for bad in [
            "",
            "a b",
            "Connection",
            "content-length",
            "Transfer-Encoding",
            "HOST",
            "é",
        ] {
            assert!(header_name(bad).is_err(), "{bad}");
        }
        assert_eq!(header_value(" a b ").unwrap(), "a b");
        assert!(header_value("a\r\nb: c").is_err() && header_value("é").is_err());
        assert_eq!(field_name("Host").unwrap(), "host");
        assert!(field_name("a b").is_err());
    }

    #[test]
    fn an_authority_may_have_a_port() {
        for (written, normal) in [
            ("A.example:8080", "a.example:8080"),
            ("a.example.", "a.example"),
            ("[::1]:1", "[::1]:1"),
            ("[::1]", "[::1]"),
            ("upstream", "upstream"),
        ] {
            assert_eq!(authority(written).unwrap(), normal);
        }
        for bad in ["", "a:0", "a:b", "a:65536", ":1", "http://a", "*.a", "::1"] {
            assert!(authority(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_bad_token_is_not_told() {
        assert_eq!(check_token("abc.DEF-123~+/="), Ok(()));
        assert!(check_token("").is_err());
        assert!(
            !check_token("s3cret word")
                .unwrap_err()
                .message
                .contains("s3cret")
        );
    }
}

//! Web origins (RFC 6454) as a file names them: exactly, all below a name, or by what they have in common.

use super::EndpointHost;
use super::address;
use super::nearest::nearest;
use super::report::{Fault, quote};

pub use crate::http::origin::Allowed as Origin;

/// An origin.
pub(super) fn parse(text: &str) -> Result<Origin, Fault> {
    match text {
        "any" => return Ok(Origin::Any),
        "same_host" => return Ok(Origin::SameHost),
        "*" | "all" | "none" | "off" | "false" | "self" => {
            let message = format!("{} is not an origin", quote(text));
            let help = "`same_host`, `any`, or pages such as `https://example.com`";
            return Err(Fault::new(message, help));
        }
        "null" => {
            let message = "`null` is the origin of every page that hides its own";
            return Err(Fault::new(message, "name the pages, or `any`"));
        }
        _ => {}
    }
    if nearest(text, ["same_host"].into_iter()).is_some() {
        let message = format!("{} is taken for a slip of the finger", quote(text));
        let help = format!("did you mean `same_host`? The host would be `https://{text}`");
        return Err(Fault::new(message, help));
    }
    let (scheme, rest) = match text.split_once("://") {
        Some((scheme, rest)) => (Some(check_scheme(scheme, rest)?), rest),
        None => (None, text),
    };
    if let Some(at) = rest.find(['/', '?', '#']) {
        let kept = &text[..text.len() - rest.len() + at];
        let message = format!("the origin {} has a path or a query", quote(text));
        return Err(Fault::new(message, format!("write `{kept}`")));
    }
    let (name, port) = address::host_and_port(rest)?;
    let port = port.filter(|port| Some(*port) != default_port(scheme.as_deref()));
    match name.strip_prefix("*.") {
        None => Ok(Origin::Exact {
            scheme,
            host: check_host(text, name)?.to_string(),
            port,
        }),
        Some(parent) => match check_host(text, parent)? {
            EndpointHost::Name(parent) => Ok(Origin::Subdomains {
                scheme,
                suffix: format!(".{parent}"),
                port,
            }),
            EndpointHost::Ip(_) => {
                let message = format!("{} has no subdomains", quote(parent));
                Err(Fault::new(message, ORIGIN))
            }
        },
    }
}

fn check_scheme(scheme: &str, rest: &str) -> Result<String, Fault> {
    let lower = scheme.to_ascii_lowercase();
    let secure = match lower.as_str() {
        "http" | "https" => return Ok(lower),
        "ws" => "http",
        "wss" => "https",
        _ => {
            let message = format!("{} is not the scheme of a page", quote(scheme));
            return Err(Fault::new(message, ORIGIN));
        }
    };
    let message = format!(
        "an origin is that of the page, and {} of none",
        quote(scheme)
    );
    Err(Fault::new(message, format!("write `{secure}://{rest}`")))
}

fn default_port(scheme: Option<&str>) -> Option<u16> {
    match scheme {
        Some("http") => Some(80),
        Some("https") => Some(443),
        _ => None,
    }
}

fn check_host(text: &str, host: &str) -> Result<EndpointHost, Fault> {
    if host.contains('*') {
        let message = format!("{} is not a pattern", quote(text));
        let help = "`*.` may stand at the beginning of the host only; `any` is every origin";
        return Err(Fault::new(message, help));
    }
    address::plain_host(host)
}

const ORIGIN: &str = "such as `https://example.com`, `https://*.example.com`, `same_host` or `any`";

#[cfg(test)]
mod tests {
    use super::*;

    fn exact(scheme: Option<&str>, host: &str, port: Option<u16>) -> Origin {
        Origin::Exact {
            scheme: scheme.map(Into::into),
            host: host.into(),
            port,
        }
    }

    fn below(scheme: Option<&str>, suffix: &str, port: Option<u16>) -> Origin {
        Origin::Subdomains {
            scheme: scheme.map(Into::into),
            suffix: suffix.into(),
            port,
        }
    }

    #[test]
    fn origins_are_compared_in_one_form() {
        let (http, https) = (Some("http"), Some("https"));
        for (written, origin) in [
            ("any", Origin::Any),
            ("same_host", Origin::SameHost),
            ("https://Example.com", exact(https, "example.com", None)),
            ("HTTPS://example.com.", exact(https, "example.com", None)),
            ("https://example.com:443", exact(https, "example.com", None)),
            (
                "https://example.com:80",
                exact(https, "example.com", Some(80)),
            ),
            ("http://example.com:80", exact(http, "example.com", None)),
            (
                "http://localhost:3000",
                exact(http, "localhost", Some(3000)),
            ),
            ("example.com", exact(None, "example.com", None)),
            ("example.com:443", exact(None, "example.com", Some(443))),
            ("http://127.0.0.1:1", exact(http, "127.0.0.1", Some(1))),
            ("http://[::0:1]:1", exact(http, "[::1]", Some(1))),
            ("https://*.Example.com", below(https, ".example.com", None)),
            (
                "https://*.example.com:443",
                below(https, ".example.com", None),
            ),
            ("*.example.com", below(None, ".example.com", None)),
            (
                "*.example.com:8443",
                below(None, ".example.com", Some(8443)),
            ),
        ] {
            assert_eq!(parse(written), Ok(origin), "{written}");
        }
    }

    #[test]
    fn other_origins_say_why_not() {
        for (written, message, help) in [
            ("", "the host is missing", "such as"),
            ("*", "is not an origin", "`any`"),
            ("off", "is not an origin", "`any`"),
            ("null", "hides its own", "`any`"),
            (
                "samehost",
                "slip of the finger",
                "did you mean `same_host`?",
            ),
            ("same-host", "slip of the finger", "https://same-host"),
            ("https://", "the host is missing", "such as"),
            (
                "https://example.com/",
                "has a path",
                "write `https://example.com`",
            ),
            ("example.com/chat", "has a path", "write `example.com`"),
            (
                "https://example.com?a",
                "has a path",
                "write `https://example.com`",
            ),
            (
                "wss://example.com",
                "that of the page",
                "write `https://example.com`",
            ),
            (
                "ws://example.com",
                "that of the page",
                "write `http://example.com`",
            ),
            ("file://example.com", "is not the scheme", "such as"),
            ("chrome-extension://abc", "is not the scheme", "such as"),
            ("https://a.*.com", "is not a pattern", "`any`"),
            ("https://*", "is not a pattern", "`any`"),
            ("https://*.*.com", "is not a pattern", "`any`"),
            ("https://*example.com", "is not a pattern", "`any`"),
            ("https://*.10.0.0.1", "has no subdomains", "such as"),
            ("https://example.com:0", "no valid port", "1 to 65535"),
            ("https://example.com:https", "no valid port", "1 to 65535"),
            ("https://u@example.com", "is not a host name", "such as"),
            ("https://b\u{fc}cher.example", "is not ASCII", "xn--"),
            ("::1", "is not a host name", "`[::1]`"),
        ] {
            let fault = parse(written).unwrap_err();
            assert!(fault.message.contains(message), "{written}: {fault:?}");
            assert!(
                fault.help.clone().unwrap().contains(help),
                "{written}: {fault:?}"
            );
        }
    }
}

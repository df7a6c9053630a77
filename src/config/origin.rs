//! Web origins (RFC 6454) as a file names them: exactly, all below a name, or by what they have in common.

use super::EndpointHost;
use super::address;
use super::report::{Fault, quote};

pub use crate::http::origin::Allowed as Origin;

/// An origin.
pub(super) fn parse(text: &str) -> Result<Origin, Fault> {
    match text {
        "any" => return Ok(Origin::Any),
        "same_host" => return Ok(Origin::SameHost),
        "*" => {
            let help = "`any` lets every page connect";
            return Err(Fault::new("`*` is not an origin", help));
        }
        "null" => {
            let message = "`null` is the origin of every page that hides its own";
            return Err(Fault::new(message, "name the pages, or `any`"));
        }
        _ => {}
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
    address::plain_host(host).map_err(|fault| Fault {
        help: fault.help.or_else(|| Some(ORIGIN.into())),
        ..fault
    })
}

const ORIGIN: &str = "such as `https://example.com`, `https://*.example.com`, `same_host` or `any`";

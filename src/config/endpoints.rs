//! `upstreams.*.endpoints`: where requests are sent, by address or by name, each with its share.

use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use super::address::{self, later};
use super::fields::Fields;
use super::keys;
use super::node::{Node, Span};
use super::report::{Fault, Report, quote};
use crate::tls::Target;

/// One entry of `upstreams.*.endpoints`.
#[derive(Clone, Debug, PartialEq)]
pub struct Endpoint {
    /// Address or name.
    pub host: EndpointHost,
    /// 1 to 65535; 80 if none is written, 443 for `https`.
    pub port: u16,
    /// Is TLS spoken with it (`https://`)?
    pub is_secure: bool,
    /// What a handshake with it needs; there wherever TLS is spoken.
    pub secure: Option<Target>,
    /// Its share beside the others', 0 to 1000. Not 0 for all of one upstream.
    pub weight: u32,
    /// What stands after `http://` or `https://`, as it is written, without a slash at its end.
    pub authority: String,
}

/// The host of an endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum EndpointHost {
    /// An address; IPv4-mapped IPv6 is folded to IPv4.
    Ip(IpAddr),
    /// A name to resolve, in lower case, without a dot at its end.
    Name(Arc<str>),
}

impl Endpoint {
    /// Where to connect to, if its host is an address.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        match self.host {
            EndpointHost::Ip(ip) => Some(SocketAddr::new(ip, self.port)),
            EndpointHost::Name(_) => None,
        }
    }
}

impl fmt::Display for EndpointHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            EndpointHost::Ip(IpAddr::V4(ip)) => write!(f, "{ip}"),
            EndpointHost::Ip(IpAddr::V6(ip)) => write!(f, "[{ip}]"),
            EndpointHost::Name(name) => f.write_str(name),
        }
    }
}

/// All endpoints of an upstream, in file order.
pub(super) fn parse(upstream: &Fields<'_>, report: &mut Report) -> Vec<Endpoint> {
    let mut seen: HashMap<(EndpointHost, u16), Span> = HashMap::new();
    let mut endpoints = Vec::new();
    let written = upstream.node("endpoints");
    let items = written.map(Node::items).unwrap_or_default();
    for item in items {
        let Some((url, endpoint)) = parse_one(item) else {
            continue;
        };
        let place = (endpoint.host.clone(), endpoint.port);
        if let Some(first) = seen.insert(place, url) {
            let Endpoint { host, port, .. } = &endpoint;
            let message = format!("the endpoint `{host}:{port}` is listed twice");
            let help = format!("it is first listed on {}", report.line(first, url));
            report.error(url, Fault::new(message, help));
        }
        endpoints.push(endpoint);
    }
    let is_whole = endpoints.len() == items.len() && !endpoints.is_empty();
    if is_whole && endpoints.iter().all(|endpoint| endpoint.weight == 0) {
        let help = "at least one endpoint with a weight that is not; 1 is the default";
        report.error(
            upstream.span("endpoints"),
            Fault::new("all weights are 0", help),
        );
    }
    endpoints
}

fn parse_one(item: &Node) -> Option<(Span, Endpoint)> {
    let fields = Fields::new(Some(item), keys::ENDPOINT);
    let written = item.find("url").unwrap_or(item);
    let mut endpoint = url(&written.scalar()?.text).ok()?;
    let weight = fields.number("weight");
    endpoint.weight = weight.and_then(|weight| u32::try_from(weight).ok())?;
    Some((written.span, endpoint))
}

/// `http://host`, `http://host:port` or `http://[v6]:port`, or the same with `https`; the weight is 1.
pub(super) fn url(text: &str) -> Result<Endpoint, Fault> {
    let Some((scheme, rest)) = text.split_once("://") else {
        return Err(Fault::new(
            format!("{} has no scheme", quote(text)),
            format!("write `http://{text}`"),
        ));
    };
    match scheme {
        "http" | "https" => {}
        "h2c" => return Err(later(format!("`{scheme}://` endpoints are"))),
        _ => {
            let message = format!("{} is not the scheme of an endpoint", quote(scheme));
            return Err(Fault::new(message, ENDPOINT));
        }
    }
    if rest.contains('@') {
        let help = "a name and password belong to no endpoint: leave them out";
        return Err(Fault::new(
            format!("{} has user information", quote("http://…@…")),
            help,
        ));
    }
    let authority = rest.strip_suffix('/').unwrap_or(rest);
    if let Some(at) = authority.find(['/', '?', '#']) {
        let help = format!(
            "requests keep their own path: write `{scheme}://{}`",
            &authority[..at]
        );
        return Err(Fault::new(
            format!("the endpoint {} has a path or a query", quote(text)),
            help,
        ));
    }
    let (host, port) = address::host_and_port(authority)?;
    let is_secure = scheme == "https";
    Ok(Endpoint {
        host: address::plain_host(host)?,
        port: port.unwrap_or(if is_secure { 443 } else { 80 }),
        is_secure,
        secure: None,
        weight: 1,
        authority: authority.into(),
    })
}

const ENDPOINT: &str = "write `http://host:port` or `https://host:port`, such as `http://127.0.0.1:9000` or `http://app.internal:9000`";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_plain_http_to_an_address_or_a_name() {
        for (written, host, port) in [
            ("http://127.0.0.1:9000", "127.0.0.1", 9000),
            ("http://127.0.0.1:9000/", "127.0.0.1", 9000),
            ("http://127.0.0.1", "127.0.0.1", 80),
            ("http://[::1]:9000", "[::1]", 9000),
            ("http://[::1]", "[::1]", 80),
            ("http://[::ffff:1.2.3.4]:1", "1.2.3.4", 1),
            ("http://localhost", "localhost", 80),
            ("http://App.Internal.:65535", "app.internal", 65535),
            ("http://my_app-1", "my_app-1", 80),
            ("http://3com.example", "3com.example", 80),
            ("http://xn--bcher-kva.example", "xn--bcher-kva.example", 80),
        ] {
            let endpoint = url(written).unwrap();
            let found = (endpoint.host.to_string(), endpoint.port, endpoint.weight);
            assert_eq!(found, (host.to_owned(), port, 1), "{written}");
            let authority = written.trim_start_matches("http://").trim_end_matches('/');
            assert_eq!(endpoint.authority, authority);
            let is_name = host.contains(|c: char| c.is_ascii_alphabetic());
            assert_eq!(endpoint.address().is_none(), is_name, "{written}");
        }
    }

    #[test]
    fn other_endpoints_say_why_not() {
        let long = format!("http://{}a", "a.".repeat(127));
        let label = format!("http://{}.test", "a".repeat(64));
        for (written, part) in [
            ("127.0.0.1:9000", "has no scheme"),
            ("h2c://app", "not available in this version"),
            ("ftp://127.0.0.1", "is not the scheme"),
            ("http://127.0.0.1/x", "has a path or a query"),
            ("http://127.0.0.1?x", "has a path or a query"),
            ("http://u:p@127.0.0.1", "has user information"),
            ("http://127.0.0.1:0", "has no valid port"),
            ("http://127.0.0.1:65536", "has no valid port"),
            ("http://app:", "has no valid port"),
            ("http://app:x", "has no valid port"),
            ("http://::1:80", "is not a host name"),
            ("http://", "the host is missing"),
            ("http://:80", "the host is missing"),
            ("http://1.2.3.4.5", "neither a host name nor an address"),
            ("http://1.2.3.256", "neither a host name nor an address"),
            ("http://app.1", "neither a host name nor an address"),
            ("http://2130706433", "neither a host name nor an address"),
            ("http://[x]", "is not an address"),
            ("http://a..b", "is not a host name"),
            ("http://.", "is not a host name"),
            ("http://app..", "is not a host name"),
            ("http://-app", "is not a host name"),
            ("http://app-.test", "is not a host name"),
            ("http://a b", "is not a host name"),
            ("http://a*", "is not a host name"),
            ("http://bücher.example", "is not ASCII"),
            (&long, "is not a host name"),
            (&label, "is not a host name"),
        ] {
            let fault = url(written).unwrap_err();
            assert!(fault.message.contains(part), "{written}: {}", fault.message);
            assert!(!fault.message.contains("u:p"));
        }
    }
}

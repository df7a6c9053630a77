//! Who the client is: the socket's peer, or what trusted proxies say of it; and what we tell the upstream.
//!
//! `X-Forwarded-For` and `Forwarded` (RFC 7239) are walked from the right, hop by hop, for as long as each hop is
//! trusted. From anybody else they are dropped: a client could write what it likes.

use std::net::{IpAddr, SocketAddr};

use http::header::{self, HeaderMap, HeaderValue};

use super::fields::{self, Found, X_FORWARDED_FOR, X_FORWARDED_HOST, X_FORWARDED_PROTO};

/// A set of networks. Short lists, so a walk beats a tree.
#[derive(Clone, Debug, Default)]
pub struct Networks(Vec<(u128, u128)>);

impl Networks {
    /// Networks from (address, prefix length); IPv4 lengths count within IPv4.
    #[must_use]
    pub fn new(list: &[(IpAddr, u8)]) -> Networks {
        Networks(
            list.iter()
                .map(|(ip, len)| {
                    let len = u32::from(*len) + if ip.is_ipv4() { 96 } else { 0 };
                    let mask = if len == 0 {
                        0
                    } else {
                        u128::MAX << (128 - len.min(128))
                    };
                    (number(*ip) & mask, mask)
                })
                .collect(),
        )
    }

    /// Is nobody in it?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Is this address in one of them? IPv4-mapped IPv6 counts as IPv4.
    #[must_use]
    pub fn contains(&self, ip: IpAddr) -> bool {
        let ip = number(ip);
        self.0.iter().any(|(network, mask)| ip & mask == *network)
    }
}

fn number(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V4(v4) => u128::from(v4.to_ipv6_mapped()),
        IpAddr::V6(v6) => u128::from(v6),
    }
}

/// An address of which the world at large has no use: loopback, RFC 1918, ULA.
#[must_use]
pub fn is_private(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(v4) => v4.is_private() || v4.is_loopback(),
        IpAddr::V6(v6) => v6.is_unique_local() || v6.is_loopback(),
    }
}

/// The client behind a trusted peer: the rightmost address that is not itself a trusted proxy.
///
/// An entry that is no address ends the walk at the last hop that was one.
#[must_use]
pub fn client_behind(headers: &HeaderMap, peer: IpAddr, trusted: &Networks) -> IpAddr {
    let mut client = peer;
    let lines: Vec<&HeaderValue> = headers.get_all(X_FORWARDED_FOR).iter().collect();
    if lines.is_empty() {
        let lines: Vec<&HeaderValue> = headers.get_all(header::FORWARDED).iter().collect();
        let hops = lines
            .iter()
            .rev()
            .flat_map(|line| fields::list(line.as_bytes()).rev())
            .map(node_of_forwarded);
        walk(&mut client, hops, trusted);
    } else {
        let hops = lines
            .iter()
            .rev()
            .flat_map(|line| fields::list(line.as_bytes()).rev())
            .map(address);
        walk(&mut client, hops, trusted);
    }
    client
}

fn walk(client: &mut IpAddr, hops: impl Iterator<Item = Option<IpAddr>>, trusted: &Networks) {
    for hop in hops {
        let Some(ip) = hop else { return };
        *client = ip;
        if !trusted.contains(ip) {
            return;
        }
    }
}

/// `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]:80`.
fn address(text: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(text).ok()?;
    let ip = text
        .parse::<IpAddr>()
        .or_else(|_| text.parse::<SocketAddr>().map(|a| a.ip()))
        .or_else(|_| {
            text.trim_start_matches('[')
                .trim_end_matches(']')
                .parse::<IpAddr>()
        })
        .ok()?;
    Some(ip.to_canonical())
}

/// The `for` of one element of `Forwarded`: `for="[2001:db8::1]:80";proto=http`.
fn node_of_forwarded(element: &[u8]) -> Option<IpAddr> {
    element.split(|b| *b == b';').find_map(|pair| {
        let pair = pair.trim_ascii();
        let (name, value) = pair.split_at_checked(4)?;
        name.eq_ignore_ascii_case(b"for=").then(|| {
            address(
                value
                    .strip_prefix(b"\"")
                    .map_or(value, |v| v.strip_suffix(b"\"").unwrap_or(v)),
            )
        })?
    })
}

/// What the upstream is told of the way that the request came.
pub struct Hop<'a> {
    /// The peer's address as text, made once for each connection.
    pub peer: &'a HeaderValue,
    /// May what the peer says of earlier hops be believed?
    pub trusted: bool,
    /// The host that the client asked for.
    pub host: HeaderValue,
    /// Did it come over TLS?
    pub secure: bool,
}

/// Writes `X-Forwarded-For`, `-Host` and `-Proto`; appends to what a trusted peer said, replaces all else.
pub fn write(headers: &mut HeaderMap, found: Found, hop: Hop<'_>) {
    let proto = HeaderValue::from_static(if hop.secure { "https" } else { "http" });
    if !found.forwarded() {
        // Appending is cheaper than replacing, where nothing can be there.
        headers.append(X_FORWARDED_FOR, hop.peer.clone());
        headers.append(X_FORWARDED_HOST, hop.host);
        headers.append(X_FORWARDED_PROTO, proto);
        return;
    }
    if !hop.trusted {
        headers.remove(header::FORWARDED);
    }
    let earlier = if hop.trusted { joined(headers) } else { None };
    let chain = earlier.and_then(|mut earlier| {
        earlier.extend_from_slice(b", ");
        earlier.extend_from_slice(hop.peer.as_bytes());
        HeaderValue::from_bytes(&earlier).ok()
    });
    headers.insert(X_FORWARDED_FOR, chain.unwrap_or_else(|| hop.peer.clone()));
    if !(hop.trusted && headers.contains_key(X_FORWARDED_HOST)) {
        headers.insert(X_FORWARDED_HOST, hop.host);
    }
    if !(hop.trusted && headers.contains_key(X_FORWARDED_PROTO)) {
        headers.insert(X_FORWARDED_PROTO, proto);
    }
}

fn joined(headers: &HeaderMap) -> Option<Vec<u8>> {
    let lines: Vec<&[u8]> = headers
        .get_all(X_FORWARDED_FOR)
        .iter()
        .map(HeaderValue::as_bytes)
        .collect();
    (!lines.is_empty()).then(|| lines.join(&b", "[..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(lines: &[(&'static str, &str)], trusted: &[(&str, u8)]) -> String {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_str(value).unwrap());
        }
        let list: Vec<(IpAddr, u8)> = trusted
            .iter()
            .map(|(ip, len)| (ip.parse().unwrap(), *len))
            .collect();
        client_behind(&headers, "10.0.0.1".parse().unwrap(), &Networks::new(&list)).to_string()
    }

    #[test]
    fn walks_from_the_right_past_trusted_hops_only() {
        let trusted = &[("10.0.0.0", 8)];
        assert_eq!(
            client(&[("x-forwarded-for", "6.6.6.6, 1.2.3.4")], trusted),
            "1.2.3.4"
        );
        assert_eq!(
            client(&[("x-forwarded-for", "1.2.3.4, 10.0.0.7")], trusted),
            "1.2.3.4"
        );
        assert_eq!(
            client(
                &[
                    ("x-forwarded-for", "6.6.6.6"),
                    ("x-forwarded-for", "1.2.3.4, 10.1.1.1")
                ],
                trusted
            ),
            "1.2.3.4"
        );
        assert_eq!(
            client(&[("x-forwarded-for", "10.0.0.9, 10.0.0.7")], trusted),
            "10.0.0.9"
        );
        assert_eq!(
            client(&[("x-forwarded-for", "1.2.3.4, unknown")], trusted),
            "10.0.0.1"
        );
        assert_eq!(
            client(&[("x-forwarded-for", "[2001:db8::1]:99")], trusted),
            "2001:db8::1"
        );
        assert_eq!(
            client(&[("x-forwarded-for", "::ffff:1.2.3.4")], trusted),
            "1.2.3.4"
        );
        assert_eq!(client(&[], trusted), "10.0.0.1");
    }

    #[test]
    fn reads_rfc_7239_where_there_is_no_x_forwarded_for() {
        let trusted = &[("10.0.0.0", 8)];
        assert_eq!(
            client(
                &[(
                    "forwarded",
                    "for=6.6.6.6, proto=http;For=\"[2001:db8::7]:4711\""
                )],
                trusted
            ),
            "2001:db8::7"
        );
        assert_eq!(
            client(&[("forwarded", "for=1.2.3.4, for=10.3.2.1")], trusted),
            "1.2.3.4"
        );
        assert_eq!(client(&[("forwarded", "for=_hidden")], trusted), "10.0.0.1");
    }

    #[test]
    fn networks_know_their_edges() {
        let any = Networks::new(&[("0.0.0.0".parse().unwrap(), 0), ("::".parse().unwrap(), 0)]);
        assert!(
            any.contains("203.0.113.9".parse().unwrap())
                && any.contains("2001:db8::1".parse().unwrap())
        );
        let ten = Networks::new(&[("10.1.0.0".parse().unwrap(), 16)]);
        assert!(
            ten.contains("10.1.255.255".parse().unwrap())
                && ten.contains("::ffff:10.1.2.3".parse().unwrap())
        );
        assert!(
            !ten.contains("10.2.0.0".parse().unwrap())
                && !ten.contains("2001:db8::1".parse().unwrap())
        );
    }
}

//! Addresses as they are written: binds, networks, resolvers, hosts.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use super::EndpointHost;
use super::fields::Fields;
use super::node::Node;
use super::report::{Fault, quote};
use super::scalar::whole;

/// `addr:port`; port 0 asks the system for a free one.
pub(super) fn bind(text: &str) -> Result<SocketAddr, Fault> {
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Ok(address);
    }
    let port = text.strip_prefix(':').unwrap_or(text);
    if whole(port).is_some_and(|port| port <= 65_535) {
        let help = format!(
            "`0.0.0.0:{port}` for every IPv4 address, `[::]:{port}` for IPv6 too, `127.0.0.1:{port}` for this machine only"
        );
        return Err(Fault::new(format!("{} has no address", quote(text)), help));
    }
    if let Ok(ip) = text.trim_matches(['[', ']']).parse::<IpAddr>() {
        let help = format!("such as `{}`", SocketAddr::new(ip, 8080));
        return Err(Fault::new(format!("{} has no port", quote(text)), help));
    }
    let help = match text.strip_prefix("localhost:") {
        Some(port) => format!("`127.0.0.1:{port}`"),
        None => {
            "an IP address and a port from 0 to 65535, such as `0.0.0.0:8080` or `[::]:8080`".into()
        }
    };
    Err(Fault::new(
        format!("{} is not an address to listen on", quote(text)),
        help,
    ))
}

/// A resolver: `addr:port`, or an address alone, whose port is 53.
pub(super) fn resolver(text: &str) -> Result<SocketAddr, Fault> {
    let alone = text
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'));
    let address = match alone.unwrap_or(text).parse::<IpAddr>() {
        Ok(ip) => Some(SocketAddr::new(ip.to_canonical(), 53)),
        Err(_) => text.parse().ok(),
    };
    let address = address.filter(|address| address.port() != 0);
    address.ok_or_else(|| {
        let message = format!("{} is not the address of a resolver", quote(text));
        Fault::new(message, RESOLVER)
    })
}

/// A network as (address, prefix length): `10.0.0.0/8`, a single address, `private` (loopback, RFC 1918, ULA of
/// RFC 4193) or `any`. Masked; IPv4-mapped IPv6 is folded to IPv4.
pub(super) fn networks(text: &str) -> Result<Vec<(IpAddr, u8)>, Fault> {
    match text {
        "private" => Ok(PRIVATE.to_vec()),
        "any" => Ok(vec![
            (IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0),
            (IpAddr::V6(Ipv6Addr::UNSPECIFIED), 0),
        ]),
        _ => Ok(vec![network(text)?]),
    }
}

/// All networks that a key lists, each once.
pub(super) fn written(fields: &Fields<'_>, name: &str) -> Vec<(IpAddr, u8)> {
    let items = fields.node(name).map(Node::items).unwrap_or_default();
    let texts = items.iter().filter_map(Node::scalar);
    let mut all = Vec::new();
    for network in texts
        .filter_map(|scalar| networks(&scalar.text).ok())
        .flatten()
    {
        if !all.contains(&network) {
            all.push(network);
        }
    }
    all
}

const PRIVATE: [(IpAddr, u8); 6] = [
    (IpAddr::V4(Ipv4Addr::new(127, 0, 0, 0)), 8),
    (IpAddr::V4(Ipv4Addr::new(10, 0, 0, 0)), 8),
    (IpAddr::V4(Ipv4Addr::new(172, 16, 0, 0)), 12),
    (IpAddr::V4(Ipv4Addr::new(192, 168, 0, 0)), 16),
    (IpAddr::V6(Ipv6Addr::LOCALHOST), 128),
    (IpAddr::V6(Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 0)), 7),
];

fn network(text: &str) -> Result<(IpAddr, u8), Fault> {
    let (address, length) = match text.split_once('/') {
        Some((address, length)) => (address, Some(length)),
        None => (text, None),
    };
    let Ok(ip) = address.parse::<IpAddr>() else {
        return Err(Fault::new(
            format!("{} is not a network", quote(text)),
            NETWORK,
        ));
    };
    let most = if ip.is_ipv4() { 32 } else { 128 };
    let Some(length) = length.map_or(Some(most), |length| {
        whole(length).and_then(|length| u8::try_from(length).ok())
    }) else {
        return Err(Fault::new(
            format!("{} is not a network", quote(text)),
            NETWORK,
        ));
    };
    if length > most {
        let help = format!("a prefix of {address} has at most {most} bits");
        return Err(Fault::new(
            format!("{} is not a network", quote(text)),
            help,
        ));
    }
    Ok(mask(ip, length))
}

fn mask(ip: IpAddr, length: u8) -> (IpAddr, u8) {
    match ip {
        IpAddr::V4(ip) => {
            let bits = u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0);
            (IpAddr::V4(Ipv4Addr::from_bits(ip.to_bits() & bits)), length)
        }
        IpAddr::V6(ip) => match ip.to_ipv4_mapped() {
            Some(mapped) if length >= 96 => mask(IpAddr::V4(mapped), length - 96),
            _ => {
                let bits = u128::MAX.checked_shl(128 - u32::from(length)).unwrap_or(0);
                (IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() & bits)), length)
            }
        },
    }
}

/// A host and, perhaps, a port that is written after it: `host`, `host:80`, `[::1]:80`.
pub(super) fn host_and_port(text: &str) -> Result<(&str, Option<u16>), Fault> {
    if text.parse::<Ipv6Addr>().is_ok() {
        return Err(without_brackets(text));
    }
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if host.starts_with('[') == host.ends_with(']') => (host, port),
        _ => return Ok((text, None)),
    };
    match whole(port).and_then(|port| u16::try_from(port).ok()) {
        Some(port) if port > 0 => Ok((host, Some(port))),
        _ => Err(Fault::new(
            format!("{} has no valid port", quote(text)),
            "a number from 1 to 65535",
        )),
    }
}

/// An address (IPv6 in brackets, IPv4-mapped folded to IPv4) or a name, in lower case and without a dot at its end.
pub(super) fn plain_host(text: &str) -> Result<EndpointHost, Fault> {
    if let Some(rest) = text.strip_prefix('[') {
        let inner = rest.strip_suffix(']');
        let Some(Ok(ip)) = inner.map(str::parse::<Ipv6Addr>) else {
            let message = format!("{} is not an address", quote(text));
            let help = "an IPv6 address in brackets, such as `[::1]`";
            return Err(Fault::new(message, help));
        };
        return Ok(EndpointHost::Ip(IpAddr::V6(ip).to_canonical()));
    }
    match text.parse::<Ipv4Addr>() {
        Ok(ip) => Ok(EndpointHost::Ip(IpAddr::V4(ip))),
        Err(_) => host_name(text).map(EndpointHost::Name),
    }
}

/// A host name: labels of RFC 1123, section 2.1, in which `_` may stand too, at most 253 bytes in all. One whose
/// last label is a number would be an address to some readers, and is none here.
fn host_name(text: &str) -> Result<Arc<str>, Fault> {
    if text.is_empty() {
        return Err(Fault::new("the host is missing", HOST));
    }
    let shown = quote(text);
    if text.parse::<Ipv6Addr>().is_ok() {
        return Err(without_brackets(text));
    }
    if !text.is_ascii() {
        let help = "write it as resolvers are asked: `xn--…`";
        return Err(Fault::new(format!("{shown} is not ASCII"), help));
    }
    let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
    let is_label = |label: &str| {
        let is_inner = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
        let ends = label.starts_with('-') || label.ends_with('-');
        (1..=63).contains(&label.len()) && label.bytes().all(is_inner) && !ends
    };
    let last = name.rsplit('.').next().unwrap_or_default();
    if !last.is_empty() && last.bytes().all(|b| b.is_ascii_digit()) {
        let help = "a name does not end in a number, and an address has four: `10.0.0.1`";
        return Err(Fault::new(
            format!("{shown} is neither a host name nor an address"),
            help,
        ));
    }
    if name.len() <= 253 && name.split('.').all(is_label) {
        return Ok(name.into());
    }
    Err(Fault::new(format!("{shown} is not a host name"), HOST))
}

fn without_brackets(text: &str) -> Fault {
    let message = format!("{} is not a host name", quote(text));
    Fault::new(
        message,
        format!("an IPv6 address stands in brackets: `[{text}]`"),
    )
}

/// The contract has it, this version not yet. `what` ends in "is" or "are".
pub(super) fn later(what: String) -> Fault {
    Fault::bare(format!("{what} not available in this version"))
}

const NETWORK: &str =
    "a network such as `10.0.0.0/8` or `fd00::/8`, an address, `private` or `any`";
const HOST: &str =
    "an address, or letters, digits, `-` and `_` between dots, such as `app.internal`";
const RESOLVER: &str = "an IP address, or one with a port, such as `10.0.0.2` or `10.0.0.2:5353`";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn binds_are_addresses_with_a_port() {
        for good in [
            "0.0.0.0:8080",
            "[::]:8080",
            "127.0.0.1:0",
            "[2001:db8::1]:443",
        ] {
            assert_eq!(bind(good).unwrap().to_string(), good);
        }
        for bad in [
            "",
            "8080",
            ":8080",
            "0.0.0.0",
            "::",
            "localhost:80",
            "example.com:80",
            "1.2.3.4:65536",
            "*:80",
        ] {
            assert!(bind(bad).is_err(), "{bad}");
        }
        assert!(
            bind("8080")
                .unwrap_err()
                .help
                .unwrap()
                .starts_with("`0.0.0.0:8080`")
        );
        assert_eq!(
            bind("localhost:80").unwrap_err().help.unwrap(),
            "`127.0.0.1:80`"
        );
        assert_eq!(bind("::").unwrap_err().help.unwrap(), "such as `[::]:8080`");
    }

    #[test]
    fn resolvers_have_port_53_unless_they_say_another() {
        for (written, address) in [
            ("10.0.0.2", "10.0.0.2:53"),
            ("10.0.0.2:5353", "10.0.0.2:5353"),
            ("::1", "[::1]:53"),
            ("[::1]", "[::1]:53"),
            ("[::1]:5353", "[::1]:5353"),
            ("[fe80::1%2]:53", "[fe80::1%2]:53"),
        ] {
            assert_eq!(resolver(written).unwrap().to_string(), address);
        }
        for bad in [
            "",
            "53",
            "10.0.0.2:",
            "10.0.0.2:0",
            "10.0.0.2:65536",
            "[10.0.0.2",
            "10.0.0.2]",
            "dns.example",
            "dns.example:53",
            "udp://10.0.0.2",
        ] {
            assert!(resolver(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_host_may_have_a_port() {
        assert_eq!(host_and_port("a").unwrap(), ("a", None));
        assert_eq!(host_and_port("a:1").unwrap(), ("a", Some(1)));
        assert_eq!(host_and_port("[::1]").unwrap(), ("[::1]", None));
        assert_eq!(
            host_and_port("[::1]:65535").unwrap(),
            ("[::1]", Some(65535))
        );
        for bad in ["a:", "a:0", "a:65536", "a:080", "a:+1", "a:b"] {
            assert!(host_and_port(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn networks_are_masked_and_folded() {
        for (written, address, length) in [
            ("10.1.2.3/8", "10.0.0.0", 8),
            ("10.1.2.3", "10.1.2.3", 32),
            ("0.0.0.0/0", "0.0.0.0", 0),
            ("fd12::1/8", "fd00::", 8),
            ("::1", "::1", 128),
            ("::ffff:10.1.2.3/104", "10.0.0.0", 8),
            ("::ffff:10.1.2.3", "10.1.2.3", 32),
            ("::/0", "::", 0),
        ] {
            assert_eq!(
                networks(written).unwrap(),
                [(address.parse().unwrap(), length)],
                "{written}"
            );
        }
        assert_eq!(networks("private").unwrap().len(), 6);
        assert_eq!(networks("any").unwrap().len(), 2);
        for bad in [
            "",
            "10.0.0.0/33",
            "10.0.0/8",
            "10.0.0.0/",
            "::/129",
            "10.0.0.0/8/8",
            "public",
            "10.0.0.0/-1",
        ] {
            assert!(networks(bad).is_err(), "{bad}");
        }
    }
}

//! Addresses as they are written: binds, networks, endpoints.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

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

/// `http://IP:port` or `http://[v6]:port`, port 80 if none is written.
pub(super) fn endpoint(text: &str) -> Result<SocketAddr, Fault> {
    let Some((scheme, rest)) = text.split_once("://") else {
        return Err(Fault::new(
            format!("{} has no scheme", quote(text)),
            format!("write `http://{text}`"),
        ));
    };
    match scheme {
        "http" => {}
        "https" | "h2c" => return Err(later(format!("`{scheme}://` endpoints are"))),
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
            "requests keep their own path: write `http://{}`",
            &authority[..at]
        );
        return Err(Fault::new(
            format!("the endpoint {} has a path or a query", quote(text)),
            help,
        ));
    }
    authority_address(text, authority)
}

fn authority_address(text: &str, authority: &str) -> Result<SocketAddr, Fault> {
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (authority, None),
    };
    let port = match port.map(|port| whole(port).and_then(|port| u16::try_from(port).ok())) {
        None => 80,
        Some(Some(port)) if port > 0 => port,
        Some(_) => {
            return Err(Fault::new(
                format!("{} has no valid port", quote(text)),
                "a number from 1 to 65535",
            ));
        }
    };
    let v6 = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    let ip = match v6 {
        Some(v6) => v6
            .parse::<Ipv6Addr>()
            .ok()
            .map(|ip| IpAddr::V6(ip).to_canonical()),
        None => host.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
    };
    ip.map(|ip| SocketAddr::new(ip, port))
        .ok_or_else(|| not_an_ip(text, host, port))
}

fn not_an_ip(text: &str, host: &str, port: u16) -> Fault {
    if host == "localhost" {
        let mut fault = later("host names in endpoints are".into());
        fault.help = Some(format!("write `http://127.0.0.1:{port}`"));
        return fault;
    }
    let is_name = host.chars().any(|c| c.is_ascii_alphabetic())
        && host
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_'));
    if is_name {
        let mut fault = later("host names in endpoints are".into());
        fault.help = Some(format!("write the IP address of {}", quote(host)));
        return fault;
    }
    Fault::new(format!("{} is not an endpoint", quote(text)), ENDPOINT)
}

/// The contract has it, this version not yet. `what` ends in "is" or "are".
pub(super) fn later(what: String) -> Fault {
    Fault::bare(format!("{what} not available in this version"))
}

const NETWORK: &str =
    "a network such as `10.0.0.0/8` or `fd00::/8`, an address, `private` or `any`";
const ENDPOINT: &str =
    "write `http://IP:port`, such as `http://127.0.0.1:9000` or `http://[::1]:9000`";

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

    #[test]
    fn endpoints_are_plain_http_to_an_address() {
        for (written, address) in [
            ("http://127.0.0.1:9000", "127.0.0.1:9000"),
            ("http://127.0.0.1:9000/", "127.0.0.1:9000"),
            ("http://127.0.0.1", "127.0.0.1:80"),
            ("http://[::1]:9000", "[::1]:9000"),
            ("http://[::1]", "[::1]:80"),
            ("http://[::ffff:1.2.3.4]:1", "1.2.3.4:1"),
        ] {
            assert_eq!(endpoint(written).unwrap().to_string(), address, "{written}");
        }
    }

    #[test]
    fn other_endpoints_say_why_not() {
        for (written, part) in [
            ("127.0.0.1:9000", "has no scheme"),
            ("https://127.0.0.1", "not available in this version"),
            ("h2c://127.0.0.1", "not available in this version"),
            (
                "http://app:9000",
                "host names in endpoints are not available in this version",
            ),
            ("http://localhost", "not available in this version"),
            ("ftp://127.0.0.1", "is not the scheme"),
            ("http://127.0.0.1/x", "has a path or a query"),
            ("http://127.0.0.1?x", "has a path or a query"),
            ("http://u:p@127.0.0.1", "has user information"),
            ("http://127.0.0.1:0", "has no valid port"),
            ("http://127.0.0.1:65536", "has no valid port"),
            ("http://127.0.0.1:", "has no valid port"),
            ("http://::1:80", "is not an endpoint"),
            ("http://", "is not an endpoint"),
            ("http://1.2.3.4.5", "is not an endpoint"),
        ] {
            let fault = endpoint(written).unwrap_err();
            assert!(fault.message.contains(part), "{written}: {}", fault.message);
            assert!(!fault.message.contains("u:p"));
        }
    }
}

//! Which addresses are one client: IPv6 by its prefix, IPv4 in whatever dress as IPv4.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The network of `prefix` bits (at most 128) that stands for a client at `address`.
///
/// An IPv4 address is a client of its own, whether it comes as such, mapped into IPv6 (RFC 4291, section 2.5.5.2) or
/// through a translator at `64:ff9b::/96` (RFC 6052, section 2.1): a prefix that holds all of those would make the whole
/// of IPv4 one client.
#[must_use]
pub fn network(address: IpAddr, prefix: u8) -> IpAddr {
    let IpAddr::V6(v6) = address.to_canonical() else {
        return address.to_canonical();
    };
    let bits = v6.to_bits();
    if bits >> 32 == NAT64 {
        // The lower half is the embedded address.
        return IpAddr::V4(Ipv4Addr::from_bits(bits as u32));
    }
    let mask = match prefix {
        0 => 0,
        _ => u128::MAX << (128 - u32::from(prefix.min(128))),
    };
    IpAddr::V6(Ipv6Addr::from_bits(bits & mask))
}

/// The upper 96 bits of `64:ff9b::`.
const NAT64: u128 = 0x0064_ff9b << 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn of(address: &str, prefix: u8) -> String {
        network(address.parse().unwrap(), prefix).to_string()
    }

    #[test]
    fn an_ipv6_client_is_its_network() {
        assert_eq!(of("2001:db8:1:2:3:4:5:6", 64), "2001:db8:1:2::");
        assert_eq!(of("2001:db8:1:2ff:3:4:5:6", 56), "2001:db8:1:200::");
        assert_eq!(of("2001:db8:1:2:3:4:5:6", 128), "2001:db8:1:2:3:4:5:6");
        assert_eq!(of("2001:db8::1", 0), "::");
    }

    #[test]
    fn an_ipv4_client_is_itself_in_any_dress() {
        for prefix in [0, 24, 64, 96, 128] {
            assert_eq!(of("192.0.2.1", prefix), "192.0.2.1");
            assert_eq!(of("::ffff:192.0.2.1", prefix), "192.0.2.1");
            assert_eq!(of("64:ff9b::192.0.2.1", prefix), "192.0.2.1");
        }
        assert_eq!(of("64:ff9b:1::192.0.2.1", 64), "64:ff9b:1::");
    }
}

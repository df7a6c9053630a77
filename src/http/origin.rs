//! Which pages may open a WebSocket: `Origin` (RFC 6454) against a list.
//!
//! Browsers send cookies along with a handshake from any page and hide no answer from it, so the gateway asks where the
//! page came from. What sends no `Origin` is no browser, and is not kept out by one.

use http::HeaderValue;

use super::host::parse_authority;

/// An origin, or a set of them, that may connect. Names are in lower case.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Allowed {
    /// Everybody.
    Any,
    /// The host that the request is for; schemes do not count, and default ports are the same as none.
    SameHost,
    /// One host.
    Exact {
        /// `None` = any scheme.
        scheme: Option<String>,
        /// The host.
        host: String,
        /// `None` = the scheme's own port.
        port: Option<u16>,
    },
    /// Every name that ends so.
    Subdomains {
        /// `None` = any scheme.
        scheme: Option<String>,
        /// With its dot in front.
        suffix: String,
        /// `None` = the scheme's own port.
        port: Option<u16>,
    },
}

/// May a page of `origin` connect to `host`, the request's own `Host`?
#[must_use]
pub fn allows(list: &[Allowed], origin: &HeaderValue, host: Option<&HeaderValue>) -> bool {
    list.contains(&Allowed::Any)
        || Origin::parse(origin.as_bytes())
            .is_some_and(|origin| list.iter().any(|one| origin.is_in(one, host)))
}

/// `scheme://host[:port]`, and nothing else: `null` is no origin.
struct Origin {
    scheme: String,
    host: String,
    /// `None` = the scheme's own.
    port: Option<u16>,
}

impl Origin {
    fn parse(bytes: &[u8]) -> Option<Origin> {
        let text = std::str::from_utf8(bytes).ok()?;
        let (scheme, authority) = text.split_once("://")?;
        let authority = parse_authority(authority.as_bytes()).ok()?;
        let scheme = scheme.to_ascii_lowercase();
        let own = match scheme.as_str() {
            "http" | "ws" => Some(80),
            "https" | "wss" => Some(443),
            _ => None,
        };
        Some(Origin {
            host: lower(authority.host),
            port: authority.port.filter(|port| Some(*port) != own),
            scheme,
        })
    }

    fn is_in(&self, one: &Allowed, asked: Option<&HeaderValue>) -> bool {
        match one {
            Allowed::Any => true,
            Allowed::SameHost => asked
                .and_then(|host| parse_authority(host.as_bytes()).ok())
                .is_some_and(|asked| {
                    let port = asked.port.filter(|port| !matches!(port, 80 | 443));
                    lower(asked.host) == self.host && port == self.port
                }),
            Allowed::Exact { scheme, host, port } => {
                self.has(scheme.as_ref()) && *host == self.host && *port == self.port
            }
            Allowed::Subdomains {
                scheme,
                suffix,
                port,
            } => {
                self.has(scheme.as_ref())
                    && self.host.len() > suffix.len()
                    && self.host.ends_with(suffix.as_str())
                    && *port == self.port
            }
        }
    }

    fn has(&self, scheme: Option<&String>) -> bool {
        scheme.is_none_or(|scheme| *scheme == self.scheme)
    }
}

fn lower(host: &[u8]) -> String {
    String::from_utf8_lossy(host).to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(list: &[Allowed], origin: &'static str, host: &'static str) -> bool {
        allows(
            list,
            &HeaderValue::from_static(origin),
            Some(&HeaderValue::from_static(host)),
        )
    }

    #[test]
    fn the_same_host_is_told_by_name_and_port() {
        let same = [Allowed::SameHost];
        for (origin, host) in [
            ("https://a.test", "a.test"),
            ("http://a.test", "a.test:80"),
            ("https://a.test:443", "a.test"),
            ("https://A.test", "a.TEST:443"),
            ("http://a.test:8080", "a.test:8080"),
            ("http://[::1]:8080", "[::1]:8080"),
        ] {
            assert!(ask(&same, origin, host), "{origin} {host}");
        }
        for (origin, host) in [
            ("https://b.test", "a.test"),
            ("https://a.test:8443", "a.test"),
            ("https://a.test", "a.test:8443"),
            ("https://evil-a.test", "a.test"),
            ("https://a.test.evil", "a.test"),
            ("null", "a.test"),
            ("a.test", "a.test"),
            ("https://a.test/x", "a.test"),
            ("https://u@a.test", "a.test"),
        ] {
            assert!(!ask(&same, origin, host), "{origin} {host}");
        }
    }

    #[test]
    fn named_origins_may_leave_the_scheme_open() {
        let exact = |scheme: Option<&str>, port| Allowed::Exact {
            scheme: scheme.map(String::from),
            host: "a.test".into(),
            port,
        };
        let host = "api.test";
        assert!(ask(&[exact(Some("https"), None)], "https://a.test", host));
        assert!(!ask(&[exact(Some("https"), None)], "http://a.test", host));
        assert!(ask(&[exact(None, None)], "http://a.test:80", host));
        assert!(ask(&[exact(None, Some(81))], "http://a.test:81", host));
        assert!(!ask(&[exact(None, Some(81))], "http://a.test", host));
        let below = [Allowed::Subdomains {
            scheme: Some("https".into()),
            suffix: ".a.test".into(),
            port: None,
        }];
        assert!(ask(&below, "https://x.y.a.test", host));
        assert!(!ask(&below, "https://a.test", host));
        assert!(!ask(&below, "https://.a.test", host));
        assert!(!ask(&below, "https://xa.test", host));
        assert!(ask(&[Allowed::Any], "null", host));
        assert!(!ask(&[], "https://a.test", host));
    }
}

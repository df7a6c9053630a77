//! The cookie that keeps a client at its endpoint: a hash of the endpoint's address, which tells nobody by eye what the
//! address is. It is no secret: who knows the addresses can work it out, and a client may send whichever it likes.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::Duration;

use http::{HeaderMap, HeaderValue};
use twox_hash::XxHash3_64;

use crate::http::cookie;

/// The cookie of an upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sticky {
    /// A token (RFC 6265, section 4.1.1).
    pub name: String,
    /// How long a client keeps it; `None` = until its session ends. It begins with a choice and is not renewed by use.
    pub ttl: Option<Duration>,
}

/// Seed of XXH3.
const TOKEN: u64 = 3;

/// What stands for an endpoint, in every process and version.
#[must_use]
pub(super) fn token(address: SocketAddr) -> u64 {
    XxHash3_64::oneshot_with_seed(TOKEN, address.to_string().as_bytes())
}

/// The token that a client sends: of the first cookie of this name, if it is 16 lower-case hexadecimal digits.
#[must_use]
pub(super) fn read_cookie(headers: &HeaderMap, name: &str) -> Option<u64> {
    let digits: &[u8; 16] = cookie::first(headers, name)?.try_into().ok()?;
    digits.iter().try_fold(0, |token, digit| {
        let value = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(token << 4 | u64::from(value))
    })
}

impl Sticky {
    /// The `Set-Cookie` of a token: for the whole host, out of reach of scripts, not sent from other sites' forms, and
    /// on TLS never in the clear. A part of a second of the ttl counts as a whole one.
    #[must_use]
    pub fn set_cookie(&self, token: u64, secure: bool) -> HeaderValue {
        let mut text = format!("{}={token:016x}; Path=/; HttpOnly; SameSite=Lax", self.name);
        if let Some(ttl) = self.ttl {
            let seconds = ttl.as_secs() + u64::from(ttl.subsec_nanos() > 0);
            // Writing into a string cannot fail.
            let _ = write!(text, "; Max-Age={seconds}");
        }
        if secure {
            text.push_str("; Secure");
        }
        // A token of letters makes a valid value; an empty one sets nothing.
        HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static(""))
    }
}

#[cfg(test)]
mod tests {
    use http::header::COOKIE;

    use super::*;

    fn sent(value: &str) -> Option<u64> {
        let mut headers = HeaderMap::new();
        headers.insert(COOKIE, HeaderValue::from_str(value).unwrap());
        read_cookie(&headers, "gate")
    }

    #[test]
    fn a_token_is_sixteen_digits() {
        assert_eq!(sent("gate=00000000000000ff"), Some(255));
        assert_eq!(sent("a=b; gate=ffffffffffffffff"), Some(u64::MAX));
        for bad in [
            "gate=",
            "gate=ff",
            "gate=00000000000000FF",
            "gate=+0000000000000ff",
            "gate=00000000000000ff0",
            "gate=\"00000000000000ff\"",
            "other=00000000000000ff",
        ] {
            assert_eq!(sent(bad), None, "{bad}");
        }
    }

    #[test]
    fn the_cookie_is_set_as_narrowly_as_it_can_be() {
        let sticky = |ttl| Sticky {
            name: "gate".into(),
            ttl,
        };
        let text = |ttl, secure| {
            let value = sticky(ttl).set_cookie(0xab, secure);
            value.to_str().unwrap().to_owned()
        };
        let plain = "gate=00000000000000ab; Path=/; HttpOnly; SameSite=Lax";
        assert_eq!(text(None, false), plain);
        assert_eq!(text(None, true), format!("{plain}; Secure"));
        let hour = Some(Duration::from_secs(3600));
        assert_eq!(text(hour, true), format!("{plain}; Max-Age=3600; Secure"));
        assert_eq!(
            text(Some(Duration::from_millis(1500)), false),
            format!("{plain}; Max-Age=2")
        );
    }

    #[test]
    fn what_is_set_is_read_again() {
        let token = token("127.0.0.1:9000".parse().unwrap());
        let sticky = Sticky {
            name: "gate".into(),
            ttl: None,
        };
        let set = sticky.set_cookie(token, false);
        let pair = set.to_str().unwrap().split(';').next().unwrap();
        assert_eq!(sent(pair), Some(token));
    }
}

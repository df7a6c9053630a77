//! Cookies, as far as a gateway needs them: one that a client sends, by its name (RFC 6265, section 5.4).

use http::HeaderMap;
use http::header::COOKIE;

/// The value of the first cookie of this name, over all lines of `Cookie`; in any case that it is written, with the
/// quotes that it is written with. Names are compared byte for byte.
#[must_use]
pub fn first<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h [u8]> {
    all(headers, name).next()
}

/// The values of all cookies of this name, likewise.
pub fn all<'h>(headers: &'h HeaderMap, name: &str) -> impl Iterator<Item = &'h [u8]> {
    // HTTP/2 may send each pair as a line of its own (RFC 9113, section 8.2.3).
    let lines = headers.get_all(COOKIE).iter();
    lines
        .flat_map(|line| line.as_bytes().split(|&byte| byte == b';'))
        .filter_map(move |pair| {
            let pair = pair.trim_ascii();
            let value = pair.strip_prefix(name.as_bytes())?.trim_ascii_start();
            Some(value.strip_prefix(b"=")?.trim_ascii_start())
        })
}

/// Is this the name of a cookie: a token (RFC 6265, section 4.1.1; RFC 9110, section 5.6.2)?
#[must_use]
pub fn is_name(text: &str) -> bool {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(is_token)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn of(lines: &[&'static str], name: &str) -> Option<String> {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(COOKIE, HeaderValue::from_static(line));
        }
        first(&headers, name).map(|value| String::from_utf8(value.to_vec()).unwrap())
    }

    #[test]
    fn the_first_of_a_name_counts_over_all_lines() {
        assert_eq!(of(&["a=1; b=2; a=3"], "a").as_deref(), Some("1"));
        assert_eq!(of(&["a=1; b=2"], "b").as_deref(), Some("2"));
        assert_eq!(of(&["a=1", "b=2; a=3"], "b").as_deref(), Some("2"));
        assert_eq!(of(&["x=0", "a=1", "a=2"], "a").as_deref(), Some("1"));
        assert_eq!(of(&["aa=1; xa=2"], "a"), None);
        assert_eq!(of(&["A=1"], "a"), None);
        assert_eq!(of(&["a"], "a"), None);
        assert_eq!(of(&[], "a"), None);
    }

    #[test]
    fn values_are_taken_as_they_are() {
        assert_eq!(of(&["a=b=c"], "a").as_deref(), Some("b=c"));
        assert_eq!(of(&["a=\"b c\""], "a").as_deref(), Some("\"b c\""));
        assert_eq!(of(&[" a = b ;c=d"], "a").as_deref(), Some("b"));
        assert_eq!(of(&["a=%61"], "a").as_deref(), Some("%61"));
        assert_eq!(of(&["a=; b=1"], "a").as_deref(), Some(""));
    }

    #[test]
    fn names_are_tokens() {
        for good in ["a", "__Host-sid", "!#$%&'*+-.^_`|~", "A9"] {
            assert!(is_name(good), "{good}");
        }
        for bad in ["", "a b", "a=b", "a;b", "a,b", "a\"", "é", "a\n", "a(b)"] {
            assert!(!is_name(bad), "{bad}");
        }
    }
}

//! Paths in one form: the same normalisation that requests go through before they are routed.

use super::report::{Fault, quote};

/// The normal form of a path: escaped unreserved characters are decoded (RFC 3986, section 6.2.2.2), `//` is
/// folded, dot segments are removed (section 5.2.4). Decoding comes first, so `%2e%2e` is a dot segment too.
/// The result begins with `/`; a trailing slash stays. Running it twice changes nothing, if each `%` is
/// followed by two hexadecimal digits.
#[must_use]
pub fn normalise(path: &str) -> String {
    let path = decode_unreserved(path);
    let mut segments: Vec<&str> = Vec::new();
    let mut open = true;
    for segment in path.split('/') {
        open = matches!(segment, "" | "." | "..");
        match segment {
            "" | "." => {}
            ".." => {
                segments.pop();
            }
            _ => segments.push(segment),
        }
    }
    let mut out = String::with_capacity(path.len() + 1);
    for segment in &segments {
        out.push('/');
        out.push_str(segment);
    }
    if open || segments.is_empty() {
        out.push('/');
    }
    out
}

/// The normal form of a prefix: as [`normalise`], and without a trailing slash (`/` itself stays).
#[must_use]
pub fn normalise_prefix(path: &str) -> String {
    let mut path = normalise(path);
    if path.len() > 1 && path.ends_with('/') {
        path.pop();
    }
    path
}

/// Whether a path can be matched by a request at all.
pub(super) fn check(text: &str) -> Result<(), Fault> {
    let shown = quote(text);
    if !text.starts_with('/') {
        return Err(Fault::new(
            format!("the path {shown} does not begin with `/`"),
            format!("write `/{text}`"),
        ));
    }
    if text.contains(['?', '#']) {
        return Err(Fault::new(
            format!("{shown} is more than a path"),
            "a path ends before `?` and `#`",
        ));
    }
    if text.contains(['{', '}']) {
        let help = "there are no patterns in a path: `path_prefix` matches all that is below it";
        return Err(Fault::new(format!("no request has the path {shown}"), help));
    }
    if let Some(c) = text
        .chars()
        .find(|c| !c.is_ascii_graphic() || "\"<>\\^`|".contains(*c))
    {
        let help = format!("write {} as `{}`", quote(&c.to_string()), escape(c));
        return Err(Fault::new(format!("no request has the path {shown}"), help));
    }
    check_escapes(text)
}

fn check_escapes(text: &str) -> Result<(), Fault> {
    for (at, _) in text.match_indices('%') {
        match text.as_bytes().get(at + 1..at + 3).and_then(hex_pair) {
            None => {
                let message = format!("`%` without two hexadecimal digits in {}", quote(text));
                return Err(Fault::new(message, "`%25` stands for a literal `%`"));
            }
            // Some upstreams end a path at NUL, some read a backslash as `/`.
            Some(0 | b'\\') => {
                let message = format!("{} has `%00` or `%5C`", quote(text));
                return Err(Fault::new(
                    message,
                    "the gateway refuses requests with such a path",
                ));
            }
            Some(_) => {}
        }
    }
    Ok(())
}

fn escape(c: char) -> String {
    let mut bytes = [0; 4];
    c.encode_utf8(&mut bytes)
        .bytes()
        .map(|byte| format!("%{byte:02X}"))
        .collect()
}

fn decode_unreserved(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    let mut rest = path;
    while let Some(at) = rest.find('%') {
        out.push_str(&rest[..at]);
        match rest
            .as_bytes()
            .get(at + 1..at + 3)
            .and_then(hex_pair)
            .filter(|byte| is_unreserved(*byte))
        {
            Some(byte) => {
                out.push(char::from(byte));
                rest = &rest[at + 3..];
            }
            None => {
                out.push('%');
                rest = &rest[at + 1..];
            }
        }
    }
    out.push_str(rest);
    out
}

fn hex_pair(pair: &[u8]) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let value = digit(*pair.first()?)? * 16 + digit(*pair.get(1)?)?;
    u8::try_from(value).ok()
}

/// RFC 3986, section 2.3.
fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn one_form_for_many_spellings() {
        for (written, normal) in [
            ("/", "/"),
            ("", "/"),
            ("//", "/"),
            ("/a", "/a"),
            ("/a/", "/a/"),
            ("/a//b", "/a/b"),
            ("/a/./b", "/a/b"),
            ("/a/../b", "/b"),
            ("/a/b/..", "/a/"),
            ("/a/b/.", "/a/b/"),
            ("/../../a", "/a"),
            ("/%61%2e%2E/b", "/a../b"),
            ("/a/%2e%2e/b", "/b"),
            ("/a%2Fb", "/a%2Fb"),
            ("/a%2fb", "/a%2fb"),
            ("/%7Ejoe", "/~joe"),
            ("/a/..b", "/a/..b"),
            ("/%", "/%"),
        ] {
            assert_eq!(normalise(written), normal, "{written}");
        }
    }

    #[test]
    fn a_prefix_has_no_trailing_slash() {
        assert_eq!(normalise_prefix("/a/"), "/a");
        assert_eq!(normalise_prefix("/a//"), "/a");
        assert_eq!(normalise_prefix("/"), "/");
        assert_eq!(normalise_prefix("/a/b"), "/a/b");
    }

    #[test]
    fn what_no_request_can_have_is_refused() {
        for good in ["/", "/a-b_c~d.e", "/a%20b", "/a:b@c!$&'()*+,;=", "/%C3%A9"] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        for bad in [
            "", "a", "/a?b", "/a#b", "/a b", "/é", "/a\\b", "/%", "/%4", "/%zz", "/%00", "/%5c",
            "/u/{id}", "/\n",
        ] {
            assert!(check(bad).is_err(), "{bad}");
        }
        assert_eq!(
            check("/é").unwrap_err().help.unwrap(),
            "write `é` as `%C3%A9`"
        );
    }

    proptest! {
        #[test]
        fn twice_changes_nothing(path in "(/|[.]{1,2}|%2[eEfF5]|%6[1-9]|[a-c])*") {
            let once = normalise(&path);
            prop_assert!(once.starts_with('/'));
            prop_assert!(!once.contains("//"));
            let again = normalise(&once);

            prop_assert_eq!(again, once);
        }
    }
}

//! Paths in one form: the same normalisation that requests go through before they are routed.

use std::borrow::Cow;

use super::report::{Fault, quote};
use crate::http::target;

/// The normal form of a path that [`check`] lets through; any other text stays as it is.
pub(super) fn normalise(path: &str) -> String {
    target::normalise(path).map_or_else(|_| path.into(), Cow::into_owned)
}

/// The normal form of a prefix: as [`normalise`], and without a trailing slash (`/` itself stays).
pub(super) fn normalise_prefix(path: &str) -> String {
    let mut path = normalise(path);
    if path.len() > 1 && path.ends_with('/') {
        path.pop();
    }
    path
}

/// The normal form of a path that may have a query, which stays as it is.
pub(super) fn normalise_target(target: &str) -> String {
    match target.split_once('?') {
        Some((path, query)) => format!("{}?{query}", normalise(path)),
        None => normalise(target),
    }
}

/// Whether a request can have this path, and this query after it.
pub(super) fn check_target(text: &str) -> Result<(), Fault> {
    let (path, query) = text.split_once('?').unwrap_or((text, ""));
    check(path)?;
    let unfit = |c: &char| !c.is_ascii_graphic() || "\"<>\\^`{|}#".contains(*c);
    match query.chars().find(unfit) {
        None => Ok(()),
        Some(c) => {
            let message = format!("no request has the query {}", quote(query));
            let help = format!("write {} as `{}`", quote(&c.to_string()), escape(c));
            Err(Fault::new(message, help))
        }
    }
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

fn hex_pair(pair: &[u8]) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let value = digit(*pair.first()?)? * 16 + digit(*pair.get(1)?)?;
    u8::try_from(value).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_has_no_trailing_slash() {
        assert_eq!(normalise_prefix("/a/"), "/a");
        assert_eq!(normalise_prefix("/a//"), "/a");
        assert_eq!(normalise_prefix("/"), "/");
        assert_eq!(normalise_prefix("/a/b"), "/a/b");
    }

    #[test]
    fn a_target_may_have_a_query() {
        for good in ["/", "/a", "/a?", "/health?ready=1&a=%20/?", "/?b"] {
            assert_eq!(check_target(good), Ok(()), "{good}");
        }
        for bad in [
            "", "?a", "a?b", "/a b?c", "/a?b c", "/a?b#c", "/a?é", "/a#b",
        ] {
            assert!(check_target(bad).is_err(), "{bad}");
        }
        assert_eq!(normalise_target("/a/../b?c=/../d"), "/b?c=/../d");
        assert_eq!(normalise_target("/a/./b"), "/a/b");
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
}

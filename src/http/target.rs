//! One spelling for each path: what routes, limits and upstreams see is the same text (RFC 3986, section 6.2.2).
//!
//! Escapes of unreserved characters are decoded, runs of `/` folded, then dot segments removed (section 5.2.4):
//! `/a//../b` is `/b`, as `/a/../b` is. Every other escape stays byte for byte, so `%2F` never becomes a slash.
//! Law: normalising twice changes nothing more, and no answer holds `//` or a dot segment.

use std::borrow::Cow;
use std::fmt;

/// Why a path cannot be given one meaning; the answer is 400.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It does not begin with `/`.
    NotAbsolute,
    /// A `%` without two hexadecimal digits.
    Escape,
    /// NUL, raw or escaped: some upstreams end the path there.
    Nul,
    /// A backslash, raw or escaped: some upstreams read it as `/`.
    Backslash,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Fault::NotAbsolute => "the path does not begin with a slash",
            Fault::Escape => "the path holds a percent sign without two hexadecimal digits",
            Fault::Nul => "the path holds a NUL character",
            Fault::Backslash => "the path holds a backslash",
        })
    }
}

/// The normal form of a path (without query): borrowed, and nothing allocated, if there is nothing to do.
///
/// # Errors
/// [`Fault`] for what peers would read in different ways.
pub fn normalise(path: &str) -> Result<Cow<'_, str>, Fault> {
    if path.as_bytes().first() != Some(&b'/') {
        return Err(Fault::NotAbsolute);
    }
    if is_clean(path.as_bytes()) {
        return Ok(Cow::Borrowed(path));
    }
    let normal = rewrite(path)?;
    // `/.well-known/x` and `/a%20b` only looked suspicious.
    Ok(if normal == path {
        Cow::Borrowed(path)
    } else {
        Cow::Owned(normal)
    })
}

/// True only for a path that is its own normal form. Looks at eight pairs of neighbours at a time, of which most
/// paths have two or three; `path` begins with `/`.
fn is_clean(path: &[u8]) -> bool {
    let mut rest = path;
    while let Some(window) = rest.first_chunk::<9>() {
        if suspicious(word(&window[..8]), word(&window[1..])) {
            return false;
        }
        rest = &rest[8..];
    }
    // What is left is less than a window: look at the end once more rather than at single bytes.
    if let Some(window) = path.last_chunk::<9>() {
        return !suspicious(word(&window[..8]), word(&window[1..]));
    }
    if let (Some(first), Some(last)) = (path.first_chunk::<5>(), path.last_chunk::<5>()) {
        let bytes = half(&first[..4]) << 32 | half(&last[..4]);
        return !suspicious(bytes, half(&first[1..]) << 32 | half(&last[1..]));
    }
    path.windows(2)
        .all(|pair| !matches!(pair, [_, b'%' | b'\\' | 0] | [b'/', b'/' | b'.']))
}

/// Whether one of eight bytes begins `//` or `/.` with its neighbour, or one of the neighbours is `%`, `\` or NUL.
fn suspicious(bytes: u64, neighbours: u64) -> bool {
    // Each term has a zero byte where its condition holds. `.` and `/` differ in their lowest bit only.
    let pairs = (bytes ^ repeat(b'/')) | ((neighbours | repeat(1)) ^ repeat(b'/'));
    let zeros = |word: u64| word.wrapping_sub(repeat(1)) & !word;
    let escapes =
        zeros(neighbours ^ repeat(b'%')) | zeros(neighbours ^ repeat(b'\\')) | zeros(neighbours);
    (zeros(pairs) | escapes) & repeat(0x80) != 0
}

const fn repeat(byte: u8) -> u64 {
    u64::from_ne_bytes([byte; 8])
}

/// The first eight bytes as a number.
fn word(bytes: &[u8]) -> u64 {
    bytes
        .first_chunk()
        .map_or(0, |chunk| u64::from_ne_bytes(*chunk))
}

/// The first four bytes as a number.
fn half(bytes: &[u8]) -> u64 {
    bytes
        .first_chunk()
        .map_or(0, |chunk| u64::from(u32::from_ne_bytes(*chunk)))
}

/// Segment by segment; what is written so far always ends with the slash before the next segment.
fn rewrite(path: &str) -> Result<String, Fault> {
    let mut normal = String::with_capacity(path.len());
    normal.push('/');
    let mut segments = path[1..].split('/').peekable();
    while let Some(segment) = segments.next() {
        let start = normal.len();
        decode(segment, &mut normal)?;
        match &normal[start..] {
            "" => {}
            "." => normal.truncate(start),
            ".." => normal.truncate(parent(&normal[..start])),
            _ if segments.peek().is_some() => normal.push('/'),
            _ => {}
        }
    }
    Ok(normal)
}

/// Length of `directory` without its last segment; never above the root.
fn parent(directory: &str) -> usize {
    directory[..directory.len() - 1]
        .rfind('/')
        .map_or(1, |slash| slash + 1)
}

/// Appends `segment` with its unreserved characters decoded.
fn decode(segment: &str, normal: &mut String) -> Result<(), Fault> {
    let mut pieces = segment.split('%');
    let raw = pieces.next().unwrap_or_default();
    refuse_raw(raw)?;
    normal.push_str(raw);
    for piece in pieces {
        let (digits, raw) = piece.split_at_checked(2).ok_or(Fault::Escape)?;
        match value(digits).ok_or(Fault::Escape)? {
            0 => return Err(Fault::Nul),
            b'\\' => return Err(Fault::Backslash),
            byte @ (b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~') => {
                normal.push(char::from(byte))
            }
            _ => {
                normal.push('%');
                normal.push_str(digits);
            }
        }
        refuse_raw(raw)?;
        normal.push_str(raw);
    }
    Ok(())
}

fn refuse_raw(text: &str) -> Result<(), Fault> {
    match text.bytes().find(|byte| matches!(byte, 0 | b'\\')) {
        Some(0) => Err(Fault::Nul),
        Some(_) => Err(Fault::Backslash),
        None => Ok(()),
    }
}

/// What two hexadecimal digits say; no sign, which `from_str_radix` would take.
fn value(digits: &str) -> Option<u8> {
    let mut value = 0;
    for digit in digits.chars() {
        value = value * 16 + digit.to_digit(16)?;
    }
    u8::try_from(value).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn becomes(path: &str, expected: &str) {
        assert_eq!(normalise(path).as_deref(), Ok(expected), "{path}");
    }

    #[test]
    fn clean_paths_are_borrowed() {
        for path in [
            "/",
            "/a",
            "/a/",
            "/a.b/c..d/e.",
            "/a/b-c_d~e",
            "/caf\u{e9}/x",
            "/a;v=1/b,c",
            "/0123456/8",
            "/a:b@c",
        ] {
            assert!(is_clean(path.as_bytes()), "{path}");
            assert!(
                matches!(normalise(path), Ok(Cow::Borrowed(same)) if same == path),
                "{path}"
            );
        }
        for path in [
            "/.well-known/acme",
            "/a%20b",
            "/a%2Fb",
            "/..a/.b",
            "/a/...",
            "/%E2%82%AC",
        ] {
            assert!(
                matches!(normalise(path), Ok(Cow::Borrowed(same)) if same == path),
                "{path}"
            );
        }
    }

    #[test]
    fn dot_segments_go_and_never_leave_the_root() {
        becomes("/a/b/c/./../../g", "/a/g");
        becomes("/.", "/");
        becomes("/..", "/");
        becomes("/../../etc/passwd", "/etc/passwd");
        becomes("/a/.", "/a/");
        becomes("/a/..", "/");
        becomes("/a/b/..", "/a/");
        becomes("/a/../", "/");
        becomes("/a/./b/", "/a/b/");
        becomes("/a/../../b", "/b");
        becomes("/a/...", "/a/...");
    }

    #[test]
    fn escaped_dots_are_dots() {
        becomes("/a/%2e%2e/c", "/c");
        becomes("/a/%2E./c", "/c");
        becomes("/a/.%2e", "/");
        becomes("/%2e", "/");
        becomes("/a%2eb", "/a.b");
    }

    #[test]
    fn unreserved_escapes_are_decoded_once_and_others_kept() {
        becomes("/%61%2D%7e%5F%41%30", "/a-~_A0");
        becomes("/a%2Fb", "/a%2Fb");
        becomes("/a%2fb", "/a%2fb");
        becomes("/a%2f%2e%2e%2fb", "/a%2f..%2fb");
        becomes("/%2541", "/%2541");
        becomes("/%25%34%31", "/%2541");
        becomes("/%3F%23%3b%20%0d%0a", "/%3F%23%3b%20%0d%0a");
        becomes("/%C3%A9", "/%C3%A9");
    }

    #[test]
    fn runs_of_slashes_fold_before_dots_count() {
        becomes("//a", "/a");
        becomes("/a///b//", "/a/b/");
        becomes("//", "/");
        becomes("/a//../b", "/b");
        becomes("/a/.//b", "/a/b");
        becomes("/%2e//..//x", "/x");
    }

    #[test]
    fn a_flaw_is_seen_at_every_place() {
        for length in 1..40 {
            let clean = format!("/{}", "x".repeat(length));
            for place in 1..clean.len() {
                let put = |text: &str| format!("{}{text}{}", &clean[..place], &clean[place..]);
                for flaw in ["//", "/./", "/../", "%61"] {
                    let path = put(flaw);
                    let normal = normalise(&path).unwrap();
                    assert!(
                        normal != path && !normal.contains("//") && !normal.contains("/."),
                        "{path} {normal}"
                    );
                }
                assert_eq!(normalise(&put("%")), Err(Fault::Escape));
                assert_eq!(normalise(&put("\\")), Err(Fault::Backslash));
                assert_eq!(normalise(&put("\0")), Err(Fault::Nul));
                assert!(matches!(normalise(&put("x/")), Ok(Cow::Borrowed(_))));
            }
        }
    }

    #[test]
    fn what_has_no_single_meaning_is_refused() {
        for path in ["", "*", "a/b", "%2Fa", "http://h/"] {
            assert_eq!(normalise(path), Err(Fault::NotAbsolute), "{path}");
        }
        for path in [
            "/%", "/%4", "/%zz", "/a%2", "/%+1", "/%4g/x", "/%-1x", "/% 41", "/%\u{e9}", "/%%41",
            "/a%/41",
        ] {
            assert_eq!(normalise(path), Err(Fault::Escape), "{path}");
        }
        for path in ["/%00", "/a\0", "/a/../%00", "/x/..\0/"] {
            assert_eq!(normalise(path), Err(Fault::Nul), "{path}");
        }
        for path in ["/%5c", "/%5C..%5C", "/\\", "/a\\..\\b", "/a/%41\\"] {
            assert_eq!(normalise(path), Err(Fault::Backslash), "{path}");
        }
    }
}

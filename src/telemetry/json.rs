//! Any bytes as the inside of a JSON string (RFC 8259, section 7) that is safe to show on a terminal.

/// Appends `bytes`. Quotes, backslashes and all control characters, C1 and line separators too, are escaped; what is
/// not UTF-8 becomes `\xHH` (written `\\xHH`), so that it can still be told.
pub(super) fn escape(out: &mut Vec<u8>, mut bytes: &[u8]) {
    loop {
        let (run, rest) = bytes.split_at(plain_length(bytes));
        out.extend_from_slice(run);
        let Some(&byte) = rest.first() else { return };
        bytes = &rest[escape_one(out, byte, rest)..];
    }
}

/// How many bytes of the beginning stand for themselves. Looks at eight at a time without a branch between them, as
/// nearly all values are plain to their end.
#[inline]
fn plain_length(bytes: &[u8]) -> usize {
    let (chunks, _) = bytes.as_chunks::<8>();
    let whole = chunks
        .iter()
        .take_while(|chunk| chunk.iter().fold(true, |all, &byte| all & is_plain(byte)))
        .count()
        * 8;
    whole
        + bytes[whole..]
            .iter()
            .take_while(|&&byte| is_plain(byte))
            .count()
}

/// Printable ASCII but the quote and the backslash.
#[inline]
const fn is_plain(byte: u8) -> bool {
    (byte >= b' ') & (byte < 0x7f) & (byte != b'"') & (byte != b'\\')
}

/// Appends the character that `rest` begins with, by `first`, and says how many bytes it takes.
fn escape_one(out: &mut Vec<u8>, first: u8, rest: &[u8]) -> usize {
    match first {
        b'"' | b'\\' => out.extend_from_slice(&[b'\\', first]),
        b'\n' => out.extend_from_slice(b"\\n"),
        b'\r' => out.extend_from_slice(b"\\r"),
        b'\t' => out.extend_from_slice(b"\\t"),
        0..0x80 => code_point(out, u32::from(first)),
        _ => return beyond_ascii(out, first, rest),
    }
    1
}

#[cold]
fn beyond_ascii(out: &mut Vec<u8>, first: u8, rest: &[u8]) -> usize {
    let length = match first {
        0xc2..=0xdf => 2,
        0xe0..=0xef => 3,
        0xf0..=0xf4 => 4,
        _ => 0,
    };
    let text = rest
        .get(..length)
        .and_then(|bytes| std::str::from_utf8(bytes).ok());
    match text.and_then(|text| text.chars().next()) {
        Some(c @ ('\u{80}'..='\u{9f}' | '\u{2028}' | '\u{2029}')) => code_point(out, u32::from(c)),
        Some(_) => out.extend_from_slice(&rest[..length]),
        None => {
            out.extend_from_slice(&[b'\\', b'\\', b'x', hex(first >> 4), hex(first)]);
            return 1;
        }
    }
    length
}

/// `\uHHHH`, for what needs no more than four digits.
fn code_point(out: &mut Vec<u8>, code: u32) {
    let [_, _, high, low] = code.to_be_bytes();
    out.extend_from_slice(&[
        b'\\',
        b'u',
        hex(high >> 4),
        hex(high),
        hex(low >> 4),
        hex(low),
    ]);
}

fn hex(nibble: u8) -> u8 {
    b"0123456789abcdef"[usize::from(nibble & 0xf)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn escaped(bytes: &[u8]) -> String {
        let mut out = Vec::new();
        escape(&mut out, bytes);
        String::from_utf8(out).unwrap()
    }

    fn decoded(bytes: &[u8]) -> String {
        serde_json::from_str(&format!("\"{}\"", escaped(bytes))).unwrap()
    }

    proptest! {
        #[test]
        fn any_bytes_are_one_valid_string_without_controls(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            decoded(&bytes);
            prop_assert!(!escaped(&bytes).chars().any(char::is_control));
        }

        #[test]
        fn text_comes_back_as_it_was(text in any::<String>()) {
            prop_assert_eq!(decoded(text.as_bytes()), text);
        }
    }

    #[test]
    fn known_bytes() {
        for (bytes, expected) in [
            (&b"plain/path?x=1"[..], "plain/path?x=1"),
            (b"a\"b\\c", "a\\\"b\\\\c"),
            (b"\r\n\t\0\x1b\x7f", "\\r\\n\\t\\u0000\\u001b\\u007f"),
            ("\u{9b}é\u{2028}😀".as_bytes(), "\\u009bé\\u2028😀"),
            (b"\xff\xc3", "\\\\xff\\\\xc3"),
            // An overlong slash and half of a surrogate pair are no UTF-8.
            (
                b"\xc0\xaf\xed\xa0\x80",
                "\\\\xc0\\\\xaf\\\\xed\\\\xa0\\\\x80",
            ),
            (b"\xe2\x82", "\\\\xe2\\\\x82"),
        ] {
            assert_eq!(escaped(bytes), expected);
        }
    }
}

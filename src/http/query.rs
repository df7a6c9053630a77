//! The query of a request as names and values: the first value of a name counts, and both are percent-decoded.
//!
//! A plus sign is a plus sign: what it means is between a form and its upstream (RFC 3986 gives it no meaning).

/// The value of `name` as it is written: of the first pair with this name; empty where no `=` follows it.
pub(crate) fn first<'q>(query: &'q str, name: &[u8]) -> Option<&'q [u8]> {
    all(query, name).next()
}

/// The values of all pairs with this name, likewise.
pub(crate) fn all<'q>(query: &'q str, name: &[u8]) -> impl Iterator<Item = &'q [u8]> {
    query
        .as_bytes()
        .split(|&byte| byte == b'&')
        .map(|pair| {
            let end = pair.iter().position(|&byte| byte == b'=');
            end.map_or((pair, &[][..]), |end| (&pair[..end], &pair[end + 1..]))
        })
        .filter_map(move |(written, value)| is(written, name).then_some(value))
}

/// Does `written` stand for these bytes?
pub(crate) fn is(written: &[u8], bytes: &[u8]) -> bool {
    written.len() >= bytes.len() && decode(written).eq(bytes.iter().copied())
}

/// The bytes that `written` stands for. A `%` without two hexadecimal digits stands for itself.
pub(crate) fn decode(written: &[u8]) -> impl Iterator<Item = u8> {
    let mut rest = written;
    std::iter::from_fn(move || {
        let (&byte, after) = rest.split_first()?;
        if byte == b'%'
            && let Some((pair, behind)) = after.split_first_chunk()
            && let Some(decoded) = hexadecimal(*pair)
        {
            rest = behind;
            return Some(decoded);
        }
        rest = after;
        Some(byte)
    })
}

fn hexadecimal([high, low]: [u8; 2]) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    u8::try_from(digit(high)? * 16 + digit(low)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(query: &str, name: &str) -> Option<String> {
        let written = first(query, name.as_bytes())?;
        Some(String::from_utf8(decode(written).collect()).unwrap())
    }

    #[test]
    fn the_first_of_a_name_counts() {
        assert_eq!(value("a=1&b=2&a=3", "a").as_deref(), Some("1"));
        assert_eq!(value("aa=1&b=2&a=3", "a").as_deref(), Some("3"));
        assert_eq!(value("a&a=3", "a").as_deref(), Some(""));
        assert_eq!(value("a=1", "A"), None);
        assert_eq!(value("", "a"), None);
    }

    #[test]
    fn both_are_decoded_after_they_are_told_apart() {
        assert_eq!(value("%61=%62%2B+c", "a").as_deref(), Some("b++c"));
        assert_eq!(value("a%3D=1&b=2%263", "a=").as_deref(), Some("1"));
        assert_eq!(value("a%3D=1&b=2%263=4", "b").as_deref(), Some("2&3=4"));
        assert_eq!(value("a=%c3%A9", "a").as_deref(), Some("é"));
    }

    #[test]
    fn what_is_no_escape_stands_for_itself() {
        assert_eq!(value("a=%&%4=%zz%+1%4", "a").as_deref(), Some("%"));
        assert_eq!(value("a=%&%4=%zz%+1%4", "%4").as_deref(), Some("%zz%+1%4"));
    }
}

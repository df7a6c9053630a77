//! The names of a certificate (RFC 6125): exact ones, and wildcards that stand for one label.

use std::borrow::Cow;

/// What a certificate is good for. Names are in lower case, without dot at the end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// Host names, and IP addresses as a Host field has them.
    pub exact: Vec<String>,
    /// What stands after `*.` of a wildcard.
    pub parents: Vec<String>,
}

impl Names {
    /// Sorts names as a certificate has them; what is empty or has a star elsewhere is good for nothing.
    #[must_use]
    pub fn new<'n>(names: impl Iterator<Item = &'n str>) -> Names {
        let mut sorted = Names::default();
        for name in names {
            let name = normalise(name).into_owned();
            match name.strip_prefix("*.") {
                Some(parent) if !parent.is_empty() && !parent.contains('*') => {
                    sorted.parents.push(parent.to_owned());
                }
                None if !name.is_empty() && !name.contains('*') => sorted.exact.push(name),
                _ => {}
            }
        }
        sorted
    }

    /// Is `host`, in any case and without dot at its end, one of them?
    #[must_use]
    pub fn cover(&self, host: &[u8]) -> bool {
        let is = |name: &String| name.as_bytes().eq_ignore_ascii_case(host);
        if self.exact.iter().any(is) {
            return true;
        }
        parent(host).is_some_and(|parent| {
            let is = |name: &String| name.as_bytes().eq_ignore_ascii_case(parent);
            self.parents.iter().any(is)
        })
    }

    /// Is there none?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.exact.is_empty() && self.parents.is_empty()
    }
}

/// Lower case, no dot at the end.
#[must_use]
pub fn normalise(name: &str) -> Cow<'_, str> {
    let name = name.strip_suffix('.').unwrap_or(name);
    if name.bytes().any(|b| b.is_ascii_uppercase()) {
        Cow::Owned(name.to_ascii_lowercase())
    } else {
        Cow::Borrowed(name)
    }
}

/// What stands after the first label, which a wildcard stands for; a label is never empty.
pub(super) fn parent(name: &[u8]) -> Option<&[u8]> {
    let dot = name.iter().position(|b| *b == b'.')?;
    (dot > 0).then(|| &name[dot + 1..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wildcard_is_one_label() {
        let names = Names::new(["A.example.", "*.b.example", "*", "x*.c", "*.*.d", ""].into_iter());
        assert_eq!(names.exact, ["a.example"]);
        assert_eq!(names.parents, ["b.example"]);
        for covered in ["a.example", "A.EXAMPLE", "x.b.example", "X.B.example"] {
            assert!(names.cover(covered.as_bytes()), "{covered}");
        }
        for other in ["b.example", "y.x.b.example", ".b.example", "xa.example", ""] {
            assert!(!names.cover(other.as_bytes()), "{other}");
        }
    }
}

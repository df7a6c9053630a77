//! Regular expressions that a whole text must match: bounded when compiled, linear when run.
//!
//! Law: [`Whole::accepts`] answers what the expression alone would. The bytes that each matching text must begin with
//! are read off first: a path that begins otherwise costs a comparison and not a run.

use regex::bytes::{Regex, RegexBuilder};
use regex_syntax::ParserBuilder;
use regex_syntax::hir::Hir;
use regex_syntax::hir::literal::Extractor;

/// Bytes that a compiled expression may take: what `(a{1000}){1000}` would ask for is refused.
const MOST_BYTES: usize = 1 << 20;

/// Bytes that an expression may keep between two runs on one thread. Clients choose what is kept, so it is small; an
/// expression that would need more runs slower.
const MOST_KEPT: usize = 256 << 10;

/// An expression ready to run.
#[derive(Debug)]
pub(super) struct Whole {
    beginning: Box<[u8]>,
    /// None for a text that is no expression: it matches nothing.
    regex: Option<Regex>,
}

impl Whole {
    /// Cannot fail: whoever reads the file asks [`compile`] first.
    pub(super) fn new(text: &str) -> Whole {
        let beginning = parse(text).map(|syntax| beginning(&syntax));
        Whole {
            beginning: beginning.unwrap_or_default(),
            regex: compile(text).ok(),
        }
    }

    /// Does it match the text from its first byte to its last?
    pub(super) fn accepts(&self, text: &[u8]) -> bool {
        text.starts_with(&self.beginning)
            && self
                .regex
                .as_ref()
                .is_some_and(|regex| regex.is_match(text))
    }
}

/// Compiles an expression in such a way that it matches whole texts only.
///
/// # Errors
/// It is none, or takes more than 1 MiB.
pub fn compile(text: &str) -> Result<Regex, regex::Error> {
    // Alone first: `a)|(b` is an expression only between the brackets below.
    parse(text)?;
    let build = |text: &str| {
        RegexBuilder::new(text)
            .size_limit(MOST_BYTES)
            .dfa_size_limit(MOST_KEPT)
            .build()
    };
    // In `(?x)` a comment at the end would swallow the bracket; there the end of the line means nothing else.
    build(&format!("^(?:{text})$")).or_else(|fault| match fault {
        regex::Error::Syntax(_) => build(&format!("^(?:{text}\n)$")),
        other => Err(other),
    })
}

fn parse(text: &str) -> Result<Hir, regex::Error> {
    let mut parser = ParserBuilder::new().utf8(false).build();
    parser
        .parse(text)
        .map_err(|fault| regex::Error::Syntax(fault.to_string()))
}

/// What every text that matches begins with; a text that is too short for it never matches.
fn beginning(syntax: &Hir) -> Box<[u8]> {
    let beginnings = Extractor::new().extract(syntax);
    let shared = beginnings.longest_common_prefix();
    shared.unwrap_or_default().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_whole_text_matches() {
        for expression in ["v[0-9]+", "^v[0-9]+$", "^v[0-9]+", "(?x) v [0-9]+ # digits"] {
            let whole = Whole::new(expression);
            assert!(whole.accepts(b"v12"), "{expression}");
            for text in ["xv12", "v12x", "v12\n", "v", "V12", ""] {
                assert!(!whole.accepts(text.as_bytes()), "{expression} {text:?}");
            }
        }
    }

    #[test]
    fn an_alternative_is_held_together() {
        let whole = Whole::new("/a|/b");
        let accepted =
            ["/a", "/b", "/ab", "/a/b", "x/b"].map(|text| whole.accepts(text.as_bytes()));
        assert_eq!(accepted, [true, true, false, false, false]);
    }

    #[test]
    fn bytes_that_are_no_text_are_only_another_value() {
        assert!(!Whole::new("a.b").accepts(b"a\xffb"));
        assert!(Whole::new("a(?s-u:.)b").accepts(b"a\xffb"));
    }

    #[test]
    fn what_is_too_large_or_no_expression_is_refused_and_matches_nothing() {
        for text in ["(", "a)(b", "a)|(?:b", "[", "(?:a{1000}){1000}"] {
            assert!(compile(text).is_err(), "{text}");
            assert!(!Whole::new(text).accepts(b"a"), "{text}");
        }
    }

    #[test]
    fn the_beginning_is_what_no_text_can_do_without() {
        for (expression, expected) in [
            ("/api/v[0-9]+", "/api/v"),
            ("^/api$", "/api"),
            ("/apis?/x", "/api"),
            (r"/v1\.0", "/v1.0"),
            ("/a{0}b", "/b"),
            ("/a|/b", "/"),
            ("/a|b", ""),
            ("(?i)/a", "/"),
            (".*/a", ""),
            ("", ""),
        ] {
            let read = beginning(&parse(expression).unwrap());
            assert_eq!(&*read, expected.as_bytes(), "{expression}");
        }
    }
}

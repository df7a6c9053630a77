//! Regular expressions: valid, bounded in size, and what a replacement takes from them.
//!
//! A value must match as a whole, so a pattern is used as `^(?:…)$`; it must be valid alone too, or `a)|(b` would
//! step out of the group.

use regex::{Regex, RegexBuilder};

use super::report::{Fault, quote};

/// Most bytes of a compiled pattern: `(a{1000}){1000}` is a few characters.
const MOST_BYTES: usize = 1 << 20;

/// Whether a text is a regular expression, alone and around a whole value.
pub(super) fn check(text: &str) -> Result<(), Fault> {
    compile(text)?;
    compile(&format!("^(?:{text})$")).map(drop)
}

/// Whether each group that a replacement names is one of the pattern. A pattern that is none was reported.
pub(super) fn check_replacement(pattern: &str, replacement: &str) -> Result<(), Fault> {
    let Ok(pattern) = compile(pattern) else {
        return Ok(());
    };
    for group in groups(replacement) {
        let known = match group.parse::<usize>() {
            Ok(number) => number < pattern.captures_len(),
            Err(_) => pattern.capture_names().flatten().any(|name| name == group),
        };
        if !known {
            return Err(Fault::new(
                format!("the pattern has no group {}", quote(group)),
                "a group ends where its name does: `$${1}x` for group 1 and `x`; `$$` is a literal `$`",
            ));
        }
    }
    Ok(())
}

fn compile(text: &str) -> Result<Regex, Fault> {
    RegexBuilder::new(text)
        .size_limit(MOST_BYTES)
        .build()
        .map_err(|error| match error {
            regex::Error::CompiledTooBig(_) => Fault::new(
                format!("the regular expression {} is too large", quote(text)),
                "compiled it has more than 1 MiB: repeat less",
            ),
            error => {
                let told = error.to_string();
                // The last line says what is wrong; those before it draw the pattern.
                let why = told.lines().last().unwrap_or_default();
                let why = why.trim_start_matches("error: ");
                Fault::new(format!("{} is not a regular expression", quote(text)), why)
            }
        })
}

/// The names after each `$`, as the replacement will read them: `$name`, or `${name}` with anything within.
fn groups(replacement: &str) -> impl Iterator<Item = &str> {
    let mut rest = replacement;
    std::iter::from_fn(move || {
        loop {
            let after = &rest[rest.find('$')? + 1..];
            if let Some(literal) = after.strip_prefix('$') {
                rest = literal;
                continue;
            }
            if let Some((name, next)) = after.strip_prefix('{').and_then(|a| a.split_once('}')) {
                rest = next;
                return Some(name);
            }
            let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
            let end = after.find(|c| !is_name(c)).unwrap_or(after.len());
            rest = &after[end..];
            if end > 0 {
                return Some(&after[..end]);
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_is_valid_alone_and_in_its_group() {
        for good in ["", "/v[0-9]+/.*", "^/a$", "a|b", "(?i)x", r"\d+\w"] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        for bad in ["(", "a)|(b", "[z-a]", "*", r"\1", "(?=a)", "(?x)a # b"] {
            assert!(check(bad).is_err(), "{bad}");
        }
        let fault = check("(a{1000}){1000}").unwrap_err();
        assert!(fault.message.contains("too large"), "{}", fault.message);
    }

    #[test]
    fn a_replacement_names_groups_that_exist() {
        let named = "/(?P<id>[0-9]+)/(x)";
        for good in ["", "/$1/$id", "${1}a${2}", "$0", "$$9 $", "$/"] {
            assert_eq!(check_replacement(named, good), Ok(()), "{good}");
        }
        for bad in ["$3", "$1x", "${no}", "$$$no"] {
            assert!(check_replacement(named, bad).is_err(), "{bad}");
        }
    }
}

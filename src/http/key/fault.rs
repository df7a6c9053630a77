//! What is wrong with a part of a key, in words for who wrote it.

use super::WORDS;

/// Why a text is no part of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyFault {
    /// Begins with none of [`WORDS`]; the whole text.
    Unknown(String),
    /// One of [`WORDS`] that this version does not serve.
    NotAvailable(&'static str),
    /// One of [`WORDS`] that wants a name, without one.
    Nameless(&'static str),
    /// One of [`WORDS`] that takes no name, with one.
    NeedlessName(&'static str),
    /// One of [`WORDS`] with a name that nothing of its kind can have.
    ImpossibleName(&'static str, String),
}

impl KeyFault {
    /// What is wrong, in one line.
    #[must_use]
    pub fn message(&self) -> String {
        match self {
            KeyFault::Unknown(text) => format!("{} is not a key", quote(text)),
            KeyFault::NotAvailable(word) => {
                format!("`{}` is not available in this version", written(word))
            }
            KeyFault::Nameless(word) => format!("`{word}` has no name"),
            KeyFault::NeedlessName(word) => format!("`{word}` takes no name"),
            KeyFault::ImpossibleName(word, name) => {
                let kind = match *word {
                    "header:" => "a header",
                    _ => "a cookie",
                };
                format!("{} is not the name of {kind}", quote(name))
            }
        }
    }

    /// What is allowed.
    #[must_use]
    pub fn help(&self) -> String {
        match self {
            KeyFault::Unknown(_) | KeyFault::NotAvailable(_) => {
                let served = WORDS.iter().filter(|word| !LATER.contains(word));
                let words: Vec<String> =
                    served.map(|word| format!("`{}`", written(word))).collect();
                format!("one of {}", words.join(", "))
            }
            KeyFault::Nameless(word) => format!("write `{}`", written(word)),
            KeyFault::NeedlessName(word) => format!("write `{word}`"),
            KeyFault::ImpossibleName(..) => {
                String::from("letters, digits and `-`, such as `X-Tenant`")
            }
        }
    }

    /// What stands where one of [`WORDS`] should, for the search of the one that was meant.
    #[must_use]
    pub fn unknown_word(&self) -> Option<&str> {
        match self {
            KeyFault::Unknown(text) => Some(text.split(':').next().unwrap_or(text)),
            _ => None,
        }
    }
}

/// Words of the contract whose parts no request has yet.
const LATER: [&str; 2] = ["claim:", "api_key"];

/// `header:` as a page on keys writes it.
fn written(word: &str) -> String {
    let name = if word.ends_with(':') { "NAME" } else { "" };
    format!("{word}{name}")
}

/// One line without control characters, at most 60 characters of it.
fn quote(text: &str) -> String {
    let shown: String = text.chars().take(60).collect();
    let more = if shown.len() < text.len() { "…" } else { "" };
    format!("`{}{more}`", shown.escape_debug())
}

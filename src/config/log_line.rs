//! How a line of the access log looks: `json`, or a text in which `{key}` stands for a key of the contract.

use super::address::later;
use super::fields::Fields;
use super::nearest::nearest;
use super::node::Scalar;
use super::report::{Fault, Report, quote};
use super::schema::join;
use super::{LogField, LogFormat, LogPiece};

/// Keys of the contract whose values no part of this version knows.
const KEYS_LATER: [&str; 1] = ["trace_id"];

/// `logging.access.format` together with `fields`.
pub(super) fn parse(access: &Fields<'_>, report: &mut Report) -> LogFormat {
    let written = access.text("format").unwrap_or_default();
    let format = format(written).unwrap_or(LogFormat::Json(LogField::ALL.to_vec()));
    let Some(list) = access.node("fields") else {
        return format;
    };
    if let LogFormat::Text(_) = format {
        let fault = Fault::new(
            "a text has its keys in `format`",
            "`fields` is for `format: json`",
        );
        report.error(list.span, fault);
    }
    let mut fields = Vec::new();
    for item in list.items() {
        let Some(field) = item.scalar().and_then(|scalar| key(&scalar.text).ok()) else {
            continue;
        };
        if fields.contains(&field) {
            let shown = quote(item.scalar().map_or("", Scalar::shown));
            report.error(item.span, Fault::bare(format!("{shown} is listed twice")));
        }
        fields.push(field);
    }
    LogFormat::Json(fields)
}

/// A format; `{{` and `}}` stand for braces.
pub(super) fn format(text: &str) -> Result<LogFormat, Fault> {
    if text == "json" {
        return Ok(LogFormat::Json(LogField::ALL.to_vec()));
    }
    if text.contains(char::is_control) {
        let message = format!("{} has a control character", quote(text));
        return Err(Fault::new(message, "a line of the log is one line of text"));
    }
    let pieces = pieces(text)?;
    if pieces
        .iter()
        .any(|piece| matches!(piece, LogPiece::Field(_)))
    {
        return Ok(LogFormat::Text(pieces));
    }
    Err(Fault::new(
        format!("{} is not a format", quote(text)),
        "`json`, or a text with `{key}`, such as `{client} {method} {path} {status}`",
    ))
}

/// A key of the access log.
pub(super) fn key(text: &str) -> Result<LogField, Fault> {
    if let Some(field) = LogField::ALL.iter().find(|field| field.key() == text) {
        return Ok(*field);
    }
    if KEYS_LATER.contains(&text) {
        return Err(later(format!("the key {} is", quote(text))));
    }
    let known = || LogField::ALL.iter().map(|field| field.key());
    let help = match nearest(text, known()) {
        Some(near) => format!("did you mean {}?", quote(near)),
        None => format!("allowed: {}", join(known().map(quote), "and")),
    };
    let message = format!("{} is not a key of the access log", quote(text));
    Err(Fault::new(message, help))
}

fn pieces(text: &str) -> Result<Vec<LogPiece>, Fault> {
    let mut pieces = Vec::new();
    let mut literal = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(['{', '}']) {
        literal.push_str(&rest[..at]);
        let (brace, after) = rest[at..].split_at(1);
        if let Some(next) = after.strip_prefix(brace) {
            literal.push_str(brace);
            rest = next;
            continue;
        }
        let inside = after.split_once('}').filter(|_| brace == "{");
        let (name, next) = inside.ok_or_else(|| lone(brace, text))?;
        if !literal.is_empty() {
            pieces.push(LogPiece::Literal(std::mem::take(&mut literal)));
        }
        pieces.push(LogPiece::Field(key(name)?));
        rest = next;
    }
    literal.push_str(rest);
    if !literal.is_empty() {
        pieces.push(LogPiece::Literal(literal));
    }
    Ok(pieces)
}

fn lone(brace: &str, text: &str) -> Fault {
    Fault::new(
        format!("a lone `{brace}` in {}", quote(text)),
        format!("`{{key}}` stands for a value, `{brace}{brace}` for the brace itself"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Vec<LogPiece> {
        match format(text) {
            Ok(LogFormat::Text(pieces)) => pieces,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_text_is_cut_at_its_keys() {
        let literal = |text: &str| LogPiece::Literal(text.into());
        assert_eq!(
            text("a {{{method}}} {status}"),
            [
                literal("a {"),
                LogPiece::Field(LogField::Method),
                literal("} "),
                LogPiece::Field(LogField::Status),
            ]
        );
        assert_eq!(text("{path}"), [LogPiece::Field(LogField::Path)]);
    }

    #[test]
    fn what_says_nothing_is_no_format() {
        for bad in [
            "", "text", "combined", "{", "{path", "path}", "{}", "{nope}", "{path}\n", "{{path}}",
        ] {
            assert!(format(bad).is_err(), "{bad}");
        }
        assert_eq!(
            key("stauts").unwrap_err().help.unwrap(),
            "did you mean `status`?"
        );
    }
}

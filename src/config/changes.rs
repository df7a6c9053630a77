//! `request_headers` and `response_headers`: what is removed, then set, then added. What frames a message or belongs
//! to one connection cannot be touched (`word::header_name` says why).

use http::{HeaderName, HeaderValue};

use super::FieldChanges;
use super::fields::Fields;
use super::node::{Node, Scalar};
use super::report::{Fault, Report, quote};
use super::word;

/// One of the two maps.
pub(super) fn parse(fields: &Fields<'_>, report: &mut Report) -> FieldChanges {
    FieldChanges {
        remove: names(fields, report),
        set: lines(fields, "set", "a second value belongs in `add`", report),
        add: lines(fields, "add", "a list adds several values", report),
    }
}

fn names(fields: &Fields<'_>, report: &mut Report) -> Vec<HeaderName> {
    let mut names = Vec::new();
    for item in fields.node("remove").map(Node::items).unwrap_or_default() {
        let Some(name) = item
            .scalar()
            .and_then(|scalar| word::header_name(&scalar.text).ok())
        else {
            continue;
        };
        if names.contains(&name) {
            let shown = quote(item.scalar().map_or("", Scalar::shown));
            report.error(item.span, Fault::bare(format!("{shown} is listed twice")));
        }
        names.push(name);
    }
    names
}

/// The fields of a map from names to values or lists of them; a name that stands there in two spellings is reported.
pub(super) fn lines(
    fields: &Fields<'_>,
    key: &str,
    help: &str,
    report: &mut Report,
) -> Vec<(HeaderName, HeaderValue)> {
    let mut lines = Vec::new();
    for (key, value) in fields.node(key).and_then(Node::map).unwrap_or_default() {
        let Ok(name) = word::header_name(&key.text) else {
            continue;
        };
        if lines.iter().any(|(earlier, _)| *earlier == name) {
            let message = format!("the header {} stands here twice", quote(&key.text));
            report.error(key.span, Fault::new(message, help));
        }
        let texts = value.items().iter().filter_map(Node::scalar);
        let values = texts.filter_map(|scalar| word::header_value(&scalar.text).ok());
        lines.extend(values.map(|value| (name.clone(), value)));
    }
    lines
}

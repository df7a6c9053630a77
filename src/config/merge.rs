//! The entries of one map while it is read: duplicate keys, and `<<`.

use std::collections::HashMap;

use super::node::{Key, Kind, Node, Span};
use super::report::{Fault, Report, quote};

/// A map that is being read.
#[derive(Default)]
pub(super) struct Draft {
    entries: Vec<(Key, Node)>,
    seen: HashMap<String, Span>,
    merged: Option<Node>,
}

impl Draft {
    /// Adds an entry; one that cannot be added is reported.
    pub(super) fn add(&mut self, key: Node, quoted: bool, value: Node, report: &mut Report) {
        let Some(text) = key
            .scalar()
            .filter(|scalar| !scalar.is_null())
            .map(|scalar| scalar.text.clone())
        else {
            let fault = Fault::bare(format!("a key must be a text, this is {}", key.noun()));
            report.error(key.span, fault);
            return;
        };
        if text == "<<" && !quoted {
            self.merge(key.span, value, report);
        } else if refuse_second(&mut self.seen, &text, key.span, report) {
            self.entries.push((
                Key {
                    span: key.span,
                    text,
                },
                value,
            ));
        }
    }

    fn merge(&mut self, span: Span, value: Node, report: &mut Report) {
        if self.merged.is_some() {
            report.error(
                span,
                Fault::new("`<<` twice in one map", "write `<<: [*first, *second]`"),
            );
        } else if value.items().iter().all(|item| item.map().is_some()) {
            self.merged = Some(value);
        } else {
            let fault = Fault::new(
                "`<<` takes a map or a list of maps",
                "such as `<<: *name` with `x-name: &name {…}`",
            );
            report.error(value.span, fault);
        }
    }

    /// The entries: a key of the map itself wins over a merged one, an earlier map of `<<` over a later one
    /// (<https://yaml.org/type/merge.html>).
    pub(super) fn finish(mut self) -> Vec<(Key, Node)> {
        let sources = match self.merged.take() {
            None => return self.entries,
            Some(Node {
                kind: Kind::List(items),
                ..
            }) => items,
            Some(node) => vec![node],
        };
        for source in sources {
            let Kind::Map(entries) = source.kind else {
                continue;
            };
            for (key, value) in entries {
                if !self.seen.contains_key(&key.text) {
                    self.seen.insert(key.text.clone(), key.span);
                    self.entries.push((key, value));
                }
            }
        }
        self.entries
    }
}

/// Notes a key; `false`, and a problem, when it was there before.
pub(super) fn refuse_second(
    seen: &mut HashMap<String, Span>,
    key: &str,
    span: Span,
    report: &mut Report,
) -> bool {
    if let Some(first) = seen.get(key) {
        let message = format!("the key {} stands here twice", quote(key));
        report.error(
            span,
            Fault::new(
                message,
                format!("it is first set on {}", report.line(*first, span)),
            ),
        );
        return false;
    }
    seen.insert(key.into(), span);
    true
}

//! What a rule asks of the fields and the query of a request; all of it must hold.
//!
//! Several lines of one field count as one line, joined with a comma (RFC 9110, section 5.3).

use std::collections::HashMap;
use std::sync::Arc;

use http::header::{GetAll, HeaderMap, HeaderName, HeaderValue};

use super::whole::Whole;
use super::{Pattern, ValueMatch};
use crate::http::query;

/// The conditions of one rule.
#[derive(Debug)]
pub(super) struct Conditions {
    headers: Box<[(HeaderName, Test)]>,
    query: Box<[(Box<[u8]>, Test)]>,
}

/// A [`ValueMatch`] ready to be asked.
#[derive(Debug)]
enum Test {
    Exact(Box<[u8]>),
    Whole(Arc<Whole>),
    Present(bool),
}

/// Expressions by their text: many rules may have the same.
pub(super) type Expressions = HashMap<String, Arc<Whole>>;

/// The expression of this text, compiled once.
pub(super) fn express(text: &str, known: &mut Expressions) -> Arc<Whole> {
    if let Some(whole) = known.get(text) {
        return whole.clone();
    }
    let whole = Arc::new(Whole::new(text));
    known.insert(text.to_owned(), whole.clone());
    whole
}

impl Conditions {
    /// Of a pattern; `None` if it asks nothing of fields and query.
    pub(super) fn new(pattern: &Pattern, known: &mut Expressions) -> Option<Conditions> {
        if pattern.headers.is_empty() && pattern.query.is_empty() {
            return None;
        }
        let mut test = |value: &ValueMatch| Test::new(value, known);
        let headers = pattern.headers.iter();
        let parameters = pattern.query.iter();
        Some(Conditions {
            headers: headers.map(|(name, v)| (name.clone(), test(v))).collect(),
            query: parameters
                .map(|(name, v)| (name.as_bytes().into(), test(v)))
                .collect(),
        })
    }

    /// How many of fields and how many of the query: more go before fewer.
    pub(super) fn counts(&self) -> (usize, usize) {
        (self.headers.len(), self.query.len())
    }

    /// Do all of them hold?
    pub(super) fn hold(&self, headers: &HeaderMap, query: Option<&str>) -> bool {
        let mut fields = self.headers.iter();
        let mut parameters = self.query.iter();
        fields.all(|(name, test)| test.accepts_field(&headers.get_all(name)))
            && parameters.all(|(name, test)| {
                test.accepts_parameter(query.and_then(|query| query::first(query, name)))
            })
    }
}

impl Test {
    fn new(value: &ValueMatch, known: &mut Expressions) -> Test {
        match value {
            ValueMatch::Exact(value) => Test::Exact(value.as_bytes().into()),
            ValueMatch::Regex(text) => Test::Whole(express(text, known)),
            ValueMatch::Present(wanted) => Test::Present(*wanted),
        }
    }

    fn accepts_field(&self, lines: &GetAll<'_, HeaderValue>) -> bool {
        let mut others = lines.iter();
        let Some(first) = others.next() else {
            return matches!(self, Test::Present(false));
        };
        match self {
            Test::Present(wanted) => *wanted,
            Test::Exact(value) => value
                .strip_prefix(first.as_bytes())
                .and_then(|rest| {
                    others.try_fold(rest, |rest, line| {
                        rest.strip_prefix(b",")?.strip_prefix(line.as_bytes())
                    })
                })
                .is_some_and(<[u8]>::is_empty),
            Test::Whole(whole) => match others.next() {
                None => whole.accepts(first.as_bytes()),
                Some(_) => {
                    let lines: Vec<&[u8]> = lines.iter().map(HeaderValue::as_bytes).collect();
                    whole.accepts(&lines.join(&b','))
                }
            },
        }
    }

    /// `written` is the value as it is written.
    fn accepts_parameter(&self, written: Option<&[u8]>) -> bool {
        let Some(written) = written else {
            return matches!(self, Test::Present(false));
        };
        match self {
            Test::Present(wanted) => *wanted,
            Test::Exact(value) => query::is(written, value),
            Test::Whole(whole) if !written.contains(&b'%') => whole.accepts(written),
            Test::Whole(whole) => whole.accepts(&query::decode(written).collect::<Vec<u8>>()),
        }
    }
}

//! `routes[].max_in_flight`: how many requests a route carries at once, of all or of each key.

use super::fields::Fields;
use super::rate_limits;
use super::report::Report;
use crate::http::key::Key;

/// `routes[].max_in_flight`.
#[derive(Clone, Debug, PartialEq)]
pub struct InFlight {
    /// Who shares the limit; `None` = all.
    pub key: Option<Key>,
    /// Most requests at once; at least 1.
    pub limit: u64,
}

/// The `max_in_flight` of a route; `None` = off.
pub(super) fn parse(route: &Fields<'_>, report: &mut Report) -> Option<InFlight> {
    let node = route.node("max_in_flight")?;
    if node.map().is_none() {
        let limit = route.number("max_in_flight")?;
        return Some(InFlight { key: None, limit });
    }
    let fields = route.section("max_in_flight");
    Some(InFlight {
        key: Some(rate_limits::parse_key(&fields, report)),
        limit: fields.number("limit")?,
    })
}

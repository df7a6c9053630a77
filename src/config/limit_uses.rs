//! `rate_limits` of listeners and routes: names of limits, or policies that are written where they are used.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use super::fields::Fields;
use super::keys_limits::{RATE_LIMIT, USED_LIMIT};
use super::names::Names;
use super::node::{Node, Span};
use super::rate_limits::{self, Cost, RateLimit};
use super::report::{Fault, Report, quote};
use super::{Store, word};
use crate::http::key::Key;

/// One entry of `rate_limits` of a listener or a route.
#[derive(Clone, Debug, PartialEq)]
pub struct UsedLimit {
    /// Index into `Config::rate_limits`.
    pub limit: usize,
    /// What a request takes here; `None` = what the limit itself says.
    pub cost: Option<Cost>,
}

/// All limits while the file is read.
pub(super) struct Limits<'a> {
    all: Vec<RateLimit>,
    /// Where they can have their buckets.
    stores: Names<'a>,
    /// The entries of `rate_limits`, which alone can be named.
    shared: Names<'a>,
    /// Every limit and its place, by its name.
    taken: HashMap<String, (usize, Span)>,
}

impl<'a> Limits<'a> {
    /// The entries of `rate_limits`.
    pub(super) fn parse(root: &Fields<'a>, stores: &'a [Store], report: &mut Report) -> Self {
        let mut limits = Limits {
            all: Vec::new(),
            stores: Names::of_stores(root, stores),
            shared: Names::of_limits(root),
            taken: HashMap::new(),
        };
        let entries = root.node("rate_limits").and_then(Node::map);
        for (key, node) in entries.unwrap_or_default() {
            let fields = Fields::new(Some(node), RATE_LIMIT);
            let place = (limits.all.len(), key.span);
            limits.taken.insert(key.text.clone(), place);
            let limit = rate_limits::parse(&key.text, &fields, &limits.stores, report);
            limits.all.push(limit);
        }
        limits
    }

    /// The limits that `owner`, a listener or a route, uses; policies of its own are added.
    pub(super) fn uses(
        &mut self,
        owner: &str,
        fields: &Fields<'_>,
        report: &mut Report,
    ) -> Vec<UsedLimit> {
        let mut uses: Vec<UsedLimit> = Vec::new();
        for item in items(fields) {
            let Some(used) = self.parse_use(owner, item, report) else {
                continue;
            };
            if uses.iter().any(|earlier| earlier.limit == used.limit) {
                let name = &self.all[used.limit].name;
                let message = format!("the limit {} is listed twice", quote(name));
                report.error(item.span, Fault::bare(message));
            }
            uses.push(used);
        }
        uses
    }

    /// Reports names that dangle, where nothing is used yet.
    pub(super) fn check_names(&self, fields: &Fields<'_>, report: &mut Report) {
        for item in items(fields) {
            if let Some(name) = name_of(item) {
                self.find(name, report);
            }
        }
    }

    /// All of them, in the order of their numbers.
    pub(super) fn finish(self) -> Vec<RateLimit> {
        self.all
    }

    fn parse_use(&mut self, owner: &str, item: &Node, report: &mut Report) -> Option<UsedLimit> {
        let Some(name) = name_of(item) else {
            item.map()?;
            return self.add(owner, item, report);
        };
        let limit = self.find(name, report)?;
        let fields = Fields::new(Some(item), USED_LIMIT);
        for (key, _) in item.map().unwrap_or_default() {
            let is_policy = USED_LIMIT.iter().any(|known| known.name == key.text)
                && !["limit", "cost"].contains(&key.text.as_str());
            if is_policy {
                let message = format!("{} beside `limit`", quote(&key.text));
                let help =
                    "`limit` names a limit that says this itself; only `cost` may stand beside it";
                report.error(key.span, Fault::new(message, help));
            }
        }
        let cost = rate_limits::parse_use(&fields, self.all[limit].rate, report);
        Some(UsedLimit { limit, cost })
    }

    /// A policy that is written where it is used. What came through an alias, or from `route_defaults`, has one place:
    /// with a name of its own it is one limit.
    fn add(&mut self, owner: &str, item: &Node, report: &mut Report) -> Option<UsedLimit> {
        let fields = Fields::new(Some(item), USED_LIMIT);
        if fields.node("rate").is_none() {
            if !report.has_error_within(item.span) {
                let help = "a policy such as `{rate: 100/s}`, or `{limit: NAME}`";
                report.error(item.span, Fault::new("`rate` is missing", help));
            }
            return None;
        }
        let written = fields.written("name");
        let key = rate_limits::parse_key(&fields, report);
        let name = written.map_or_else(|| made_name(owner, &key), String::from);
        let place = if written.is_some() {
            fields.span("name")
        } else {
            item.span
        };
        let limit = match self.taken.entry(name.clone()) {
            // A name that is none was reported.
            _ if word::check_name(&name).is_err() => return None,
            Entry::Occupied(earlier) if earlier.get().1 == place => earlier.get().0,
            Entry::Occupied(earlier) => {
                let message = format!("a second limit called {}", quote(&name));
                let first = report.line(earlier.get().1, place);
                let help = format!("the first is on {first}; give one another `name`");
                report.error(place, Fault::new(message, help));
                return None;
            }
            Entry::Vacant(free) => {
                free.insert((self.all.len(), place));
                let limit = rate_limits::parse(&name, &fields, &self.stores, report);
                self.all.push(limit);
                self.all.len() - 1
            }
        };
        Some(UsedLimit { limit, cost: None })
    }

    fn find(&self, name: &Node, report: &mut Report) -> Option<usize> {
        let scalar = name.scalar()?;
        self.shared.find(name, &scalar.text, scalar.shown(), report)
    }
}

fn items<'n>(fields: &Fields<'n>) -> &'n [Node] {
    if fields.is_off("rate_limits") {
        return &[];
    }
    fields
        .node("rate_limits")
        .map(Node::items)
        .unwrap_or_default()
}

/// The name of a limit, alone or as `{limit: NAME}`.
fn name_of(item: &Node) -> Option<&Node> {
    match item.scalar() {
        Some(_) => Some(item),
        None => item.find("limit"),
    }
}

/// The name of a policy that has none: its owner's, `-`, and six hexadecimal digits of a hash of its key. At most 63
/// characters.
fn made_name(owner: &str, key: &Key) -> String {
    let base: String = owner.chars().take(word::LONGEST_NAME - 7).collect();
    let hash = word::fnv1a(key.to_string().as_bytes()) & 0xff_ffff;
    format!("{base}-{hash:06x}")
}

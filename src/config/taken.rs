//! What earlier routes take: no match is written twice, and a route that nothing is left for is doubtful.

use std::collections::{HashMap, HashSet};

use http::Method;

use super::matches::{canonical, conditions};
use super::node::Span;
use super::report::{Fault, Report};
use super::{Match, PathMatch};

/// The matches of earlier routes, by listener.
pub(super) struct Taken {
    listeners: usize,
    /// Listener and canonical text → place.
    equal: HashMap<(usize, String), Span>,
    cells: HashMap<CellKey, Cell>,
}

/// Matches that differ in their methods only. Any other two are told apart by a request, or by precedence.
#[derive(Clone, PartialEq, Eq, Hash)]
struct CellKey {
    listener: usize,
    /// Empty is "any".
    host: String,
    path: PathMatch,
    conditions: String,
}

/// Which methods earlier routes take there.
#[derive(Default)]
struct Cell {
    any: bool,
    named: HashSet<Method>,
}

impl Cell {
    /// Nothing is left. A route that names its method goes before one that does not, wherever they stand.
    fn leaves_nothing(&self, methods: &[Method]) -> bool {
        if methods.is_empty() {
            self.any
        } else {
            methods.iter().all(|method| self.named.contains(method))
        }
    }

    fn take(&mut self, methods: &[Method]) {
        self.any |= methods.is_empty();
        self.named.extend(methods.iter().cloned());
    }
}

impl Taken {
    /// Nothing is taken on so many listeners.
    pub(super) fn new(listeners: usize) -> Self {
        Taken {
            listeners,
            equal: HashMap::new(),
            cells: HashMap::new(),
        }
    }

    /// Adds a route's matches on `listeners` (empty = all); `false` if one of them equals an earlier one on each
    /// (reported). A route that can never be chosen otherwise is warned of.
    pub(super) fn add(
        &mut self,
        matches: &[(Match, Span)],
        listeners: &[usize],
        route: Span,
        report: &mut Report,
    ) -> bool {
        let all: Vec<usize> = match listeners {
            // A file without a listener has worse problems.
            [] => (0..self.listeners.max(1)).collect(),
            some => some.to_vec(),
        };
        let mut is_new = true;
        for (one, span) in matches {
            if let Some(first) = self.refuse_equal(canonical(one), *span, &all) {
                is_new = false;
                let line = report.line(first, *span);
                let help = format!("the same match is on {line}, and the earlier one wins");
                report.error(*span, Fault::new("this match is written twice", help));
            }
        }
        let cells = matches.iter().map(|(one, _)| (one, keys(one, &all)));
        if is_new
            && !matches.is_empty()
            && cells
                .clone()
                .all(|(one, keys)| self.is_shadowed(one, &keys))
        {
            let help = "earlier routes with the same path take all of its hosts and methods";
            report.warn(route, Fault::new("this route is never chosen", help));
        }
        for (one, keys) in cells {
            for key in keys {
                self.cells.entry(key).or_default().take(&one.methods);
            }
        }
        is_new
    }

    /// Notes a match; the place of the first one like it, if there is one on each of these listeners.
    fn refuse_equal(&mut self, text: String, span: Span, listeners: &[usize]) -> Option<Span> {
        let mut first = None;
        let mut is_everywhere = true;
        for listener in listeners {
            match self.equal.entry((*listener, text.clone())) {
                std::collections::hash_map::Entry::Occupied(there) => {
                    first.get_or_insert(*there.get());
                }
                std::collections::hash_map::Entry::Vacant(free) => {
                    is_everywhere = false;
                    free.insert(span);
                }
            }
        }
        first.filter(|_| is_everywhere)
    }

    fn is_shadowed(&self, one: &Match, keys: &[CellKey]) -> bool {
        keys.iter().all(|key| {
            let cell = self.cells.get(key);
            cell.is_some_and(|cell| cell.leaves_nothing(&one.methods))
        })
    }
}

fn keys(one: &Match, listeners: &[usize]) -> Vec<CellKey> {
    let hosts = if one.hosts.is_empty() {
        vec![String::new()]
    } else {
        one.hosts.clone()
    };
    let conditions = conditions(one);
    let on = |listener: usize| {
        let conditions = &conditions;
        hosts.iter().map(move |host| CellKey {
            listener,
            host: host.clone(),
            path: one.path.clone(),
            conditions: conditions.clone(),
        })
    };
    listeners.iter().copied().flat_map(on).collect()
}

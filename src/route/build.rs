//! From rules in the order of the file to the arrays of a table.
//!
//! A listener that rules name gets hosts of its own, so that a request finds the rules of its listener and no others
//! at no more cost; all other listeners share one set.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use super::conditions::{Conditions, Expressions, express};
use super::host::Hosts;
use super::method::Methods;
use super::path::{self, Paths};
use super::regexes::Regexes;
use super::trie::{NOWHERE, index};
use super::{Candidate, PathPattern, Pattern, Place, Table};

/// The rules of one host: candidates by path, in the order of the file.
type Rules<'p> = BTreeMap<&'p PathPattern, Vec<Candidate>>;

/// A table under construction.
pub(super) struct Draft<T> {
    table: Table<T>,
    rules: Vec<(Pattern, Candidate)>,
    expressions: Expressions,
}

impl<T> Draft<T> {
    /// Without rules yet.
    pub(super) fn new() -> Draft<T> {
        Draft {
            table: Table {
                values: Vec::new(),
                hosts: Hosts::new(std::iter::empty()),
                own_hosts: Vec::new(),
                paths: Paths::new(),
                regexes: Regexes::default(),
                places: Vec::new(),
                candidates: Vec::new(),
                conditions: Vec::new(),
            },
            rules: Vec::new(),
            expressions: Expressions::new(),
        }
    }

    /// Takes the next rule of the file.
    pub(super) fn add(&mut self, mut pattern: Pattern, value: T) {
        let conditions = match Conditions::new(&pattern, &mut self.expressions) {
            Some(conditions) => {
                self.table.conditions.push(conditions);
                index(self.table.conditions.len() - 1)
            }
            None => NOWHERE,
        };
        let candidate = Candidate {
            methods: Methods::new(&pattern.methods),
            value: index(self.table.values.len()),
            conditions,
        };
        self.table.values.push(value);
        for name in &mut pattern.hosts {
            name.make_ascii_lowercase();
        }
        if let PathPattern::Prefix(prefix) = &mut pattern.path {
            prefix.truncate(prefix.trim_end_matches('/').len());
        }
        self.rules.push((pattern, candidate));
    }

    /// The table of all rules.
    pub(super) fn finish(mut self) -> Table<T> {
        let rules = std::mem::take(&mut self.rules);
        let listeners = rules.iter().flat_map(|(pattern, _)| &pattern.listeners);
        let named: BTreeSet<u16> = listeners.copied().collect();
        self.table.hosts = self.settle_listener(&rules, |_| false);
        for number in named {
            let hosts = self.settle_listener(&rules, |pattern| pattern.listeners.contains(&number));
            let own = &mut self.table.own_hosts;
            own.resize_with(usize::from(number), || None);
            own.push(Some(hosts));
        }
        self.table
    }

    /// The hosts of the rules that name no listener or are `chosen`.
    fn settle_listener(
        &mut self,
        rules: &[(Pattern, Candidate)],
        chosen: impl Fn(&Pattern) -> bool,
    ) -> Hosts {
        let mut by_host: BTreeMap<Option<&str>, Rules<'_>> = BTreeMap::new();
        for (pattern, candidate) in rules {
            if !pattern.listeners.is_empty() && !chosen(pattern) {
                continue;
            }
            let any = pattern.hosts.is_empty().then_some(None);
            for name in pattern.hosts.iter().map(|name| Some(&**name)).chain(any) {
                let candidates = by_host.entry(name).or_default().entry(&pattern.path);
                candidates.or_default().push(candidate.clone());
            }
        }
        let roots: Vec<(Option<&str>, u32)> = by_host
            .into_iter()
            .map(|(name, rules)| (name, self.settle_host(rules)))
            .collect();
        Hosts::new(roots.into_iter())
    }

    /// Takes over the rules of one host and answers their root.
    fn settle_host(&mut self, rules: Rules<'_>) -> u32 {
        let mut numbered = Vec::with_capacity(rules.len());
        let mut regexes = Vec::new();
        for (pattern, candidates) in rules {
            let first_of_file = candidates.first().map(|candidate| candidate.value);
            let place = self.settle_place(candidates, path::is_exact(pattern));
            match pattern {
                PathPattern::Regex(text) => regexes.push((first_of_file, text, place)),
                _ => numbered.push((pattern, place)),
            }
        }
        for (place, next) in path::links(&mut numbered) {
            self.table.places[place as usize].next = next;
        }
        let root = self.table.paths.plant(numbered.into_iter());
        regexes.sort_unstable();
        let regexes = regexes
            .into_iter()
            .map(|(_, text, place)| (express(text, &mut self.expressions), place));
        self.table.regexes.add(root, regexes.collect());
        root
    }

    /// Takes over the rules of one path and answers their place.
    fn settle_place(&mut self, mut candidates: Vec<Candidate>, exact: bool) -> u32 {
        let Table {
            places,
            conditions,
            candidates: all,
            ..
        } = &mut self.table;
        let asked = |candidate: &Candidate| conditions.get(candidate.conditions as usize);
        // Stable, so that the order of the file decides the rest.
        candidates.sort_by_key(|candidate| {
            let counts = asked(candidate).map_or((0, 0), Conditions::counts);
            (candidate.methods.is_any(), Reverse(counts))
        });
        let first = index(all.len());
        all.append(&mut candidates);
        places.push(Place {
            first,
            end: index(all.len()),
            next: NOWHERE,
            exact,
        });
        index(places.len() - 1)
    }
}

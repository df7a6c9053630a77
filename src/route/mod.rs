//! Which rule does a request belong to: host, then path, then method, from one immutable table.
//!
//! Law: [`Table::find`] answers what a linear matcher over the file would, for every input, and allocates nothing
//! on the way to a match. The order: the most specific host alone; exact path, then prefixes from the longest;
//! rules that name the method before those that take any; then the order of the file. A rule with a less
//! specific path is tried when a more specific one does not fit; a less specific host never is.

mod host;
mod method;
mod path;
#[cfg(test)]
mod tests;
mod trie;

use std::collections::BTreeMap;

use http::Method;

use host::Hosts;
pub use method::Allowed;
use method::{Asked, Methods};
use path::{Paths, Places};
use trie::{NOWHERE, index};

/// What a request must look like; all of its parts hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    /// Names in lower case without port or dot at the end, or `*.example.com` for every name below; empty = any host.
    pub hosts: Vec<String>,
    /// The path, normalised as requests are.
    pub path: PathPattern,
    /// Empty = any method.
    pub methods: Vec<Method>,
}

/// What a field or a parameter of the query must be.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ValueMatch {
    /// This value, byte for byte.
    Exact(String),
    /// A regular expression that the whole value matches. Valid.
    Regex(String),
    /// There, or not there.
    Present(bool),
}

/// What the path of a request must be.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PathPattern {
    /// The whole path, byte for byte.
    Exact(String),
    /// Whole segments of its beginning; a slash at the end makes no difference.
    Prefix(String),
}

/// The answer of [`Table::find`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found<'t, T> {
    /// The value of the rule that the request belongs to.
    Match(&'t T),
    /// Rules fit its host and path, none its method: 405.
    MethodNotAllowed(Allowed),
    /// No rule fits its host and path: 404.
    None,
}

/// Rules made ready to be searched; immutable.
#[derive(Debug)]
pub struct Table<T> {
    values: Vec<T>,
    hosts: Hosts,
    paths: Paths,
    /// By place; those of one place differ in their methods only.
    places: Vec<Place>,
    candidates: Vec<Candidate>,
}

impl<T> Table<T> {
    /// From rules in the order of the file. Cannot fail: of two equal patterns the first wins.
    pub fn new(rules: impl IntoIterator<Item = (Pattern, T)>) -> Table<T> {
        let mut values = Vec::new();
        let mut hosts: BTreeMap<Option<String>, Rules> = BTreeMap::new();
        for (pattern, value) in rules {
            let candidate = Candidate {
                methods: Methods::new(&pattern.methods),
                value: index(values.len()),
            };
            values.push(value);
            let path = match pattern.path {
                PathPattern::Prefix(_) => PathPattern::Prefix(path::key(&pattern.path).to_owned()),
                exact @ PathPattern::Exact(_) => exact,
            };
            let mut names: Vec<Option<String>> = pattern
                .hosts
                .iter()
                .map(|name| Some(name.to_ascii_lowercase()))
                .collect();
            if names.is_empty() {
                names.push(None);
            }
            for name in names {
                hosts
                    .entry(name)
                    .or_default()
                    .entry(path.clone())
                    .or_default()
                    .push(candidate.clone());
            }
        }
        let mut table = Table {
            values,
            hosts: Hosts::new(std::iter::empty()),
            paths: Paths::new(),
            places: Vec::new(),
            candidates: Vec::new(),
        };
        let roots: Vec<(Option<String>, u32)> = hosts
            .into_iter()
            .map(|(name, rules)| (name, table.settle(rules)))
            .collect();
        table.hosts = Hosts::new(roots.iter().map(|(name, root)| (name.as_deref(), *root)));
        table
    }

    /// The rule of a request: `host` in any case without port and dot at its end (empty if there is none), `path` normalised.
    pub fn find(&self, host: &[u8], path: &str, method: &Method) -> Found<'_, T> {
        let places = self.paths.find(self.hosts.find(host), path);
        let asked = Asked::new(method);
        if let Some(value) = self.choose(places.exact, asked) {
            return Found::Match(value);
        }
        let mut at = places.prefix;
        while let Some(place) = self.places.get(at as usize) {
            if let Some(value) = self.choose(at, asked) {
                return Found::Match(value);
            }
            at = place.shorter;
        }
        self.refuse(places)
    }

    /// The first candidate of one place that takes the method.
    fn choose(&self, place: u32, asked: Asked<'_>) -> Option<&T> {
        let candidate = self
            .candidates(place)
            .iter()
            .find(|candidate| candidate.methods.accept(asked))?;
        self.values.get(candidate.value as usize)
    }

    /// Nothing fits: is it for the method alone?
    #[cold]
    fn refuse(&self, places: Places) -> Found<'_, T> {
        if places.exact == NOWHERE && places.prefix == NOWHERE {
            return Found::None;
        }
        let mut allowed = Allowed::default();
        let mut at = places.prefix;
        self.candidates(places.exact)
            .iter()
            .for_each(|candidate| allowed.add(&candidate.methods));
        while let Some(place) = self.places.get(at as usize) {
            self.candidates(at)
                .iter()
                .for_each(|candidate| allowed.add(&candidate.methods));
            at = place.shorter;
        }
        Found::MethodNotAllowed(allowed)
    }

    fn candidates(&self, place: u32) -> &[Candidate] {
        match self.places.get(place as usize) {
            Some(place) => &self.candidates[place.first as usize..place.end as usize],
            None => &[],
        }
    }

    /// Takes over the rules of one host and answers their root.
    fn settle(&mut self, rules: Rules) -> u32 {
        let mut numbered = Vec::with_capacity(rules.len());
        for (pattern, mut candidates) in rules {
            // Stable, so that what names its methods goes first and the order of the file decides the rest.
            candidates.sort_by_key(|candidate| candidate.methods.is_any());
            let first = index(self.candidates.len());
            self.candidates.append(&mut candidates);
            numbered.push((pattern, index(self.places.len())));
            self.places.push(Place {
                first,
                end: index(self.candidates.len()),
                shorter: NOWHERE,
            });
        }
        for (place, shorter) in
            path::shorter(numbered.iter().map(|(pattern, place)| (pattern, *place)))
        {
            self.places[place as usize].shorter = shorter;
        }
        self.paths
            .plant(numbered.iter().map(|(pattern, place)| (pattern, *place)))
    }
}

/// The rules of one host, while the table is built.
type Rules = BTreeMap<PathPattern, Vec<Candidate>>;

/// One host and path: which candidates, and where to go on if none fits.
#[derive(Clone, Copy, Debug)]
struct Place {
    first: u32,
    end: u32,
    shorter: u32,
}

/// What a rule asks beyond host and path.
#[derive(Clone, Debug)]
struct Candidate {
    methods: Methods,
    value: u32,
}

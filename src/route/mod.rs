//! Which rule does a request belong to: host, path, method, fields, query, from one immutable table.
//!
//! Law: [`Table::find`] answers what a linear matcher over the file would, for every input, and allocates nothing
//! on the way to a match, but where an expression is asked about a value that must first be put together. The order:
//! the most specific host of the listener alone; exact path, then regular expressions in the order of the file, then
//! prefixes from the longest; rules that name the method before those that take any; more fields; more of the query;
//! then the order of the file. A rule with a less specific path is tried when a more specific one does not fit; a
//! less specific host never is.

mod build;
mod conditions;
mod host;
mod method;
mod path;
mod regexes;
#[cfg(test)]
mod tests;
mod trie;
mod whole;

use std::iter;

use http::{HeaderMap, HeaderName, Method};

use build::Draft;
use conditions::Conditions;
use host::Hosts;
pub use method::Allowed;
use method::{Classified, Methods};
use path::Paths;
use regexes::Regexes;
use trie::NOWHERE;
pub use whole::compile as compile_regex;

/// What a request must look like; all of its parts hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pattern {
    /// Numbers of the listeners that the rule is served on; empty = all.
    pub listeners: Vec<u16>,
    /// Names in lower case without port or dot at the end, or `*.example.com` for every name below; empty = any host.
    pub hosts: Vec<String>,
    /// The path, normalised as requests are.
    pub path: PathPattern,
    /// Empty = any method.
    pub methods: Vec<Method>,
    /// Several lines of one field count as one, joined with `,`.
    pub headers: Vec<(HeaderName, ValueMatch)>,
    /// The first value of each name counts, both percent-decoded; `+` is a plus sign.
    pub query: Vec<(String, ValueMatch)>,
}

/// What a field or a parameter of the query must be.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ValueMatch {
    /// This value, byte for byte.
    Exact(String),
    /// A regular expression that the whole value matches, as [`compile_regex`] takes it; any other text matches nothing.
    Regex(String),
    /// There, or not there.
    Present(bool),
}

/// What the path of a request must be.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PathPattern {
    /// The whole path, byte for byte.
    Exact(String),
    /// A regular expression that the whole path matches, as [`compile_regex`] takes it; any other text matches nothing.
    Regex(String),
    /// Whole segments of its beginning; a slash at the end makes no difference.
    Prefix(String),
}

impl Default for PathPattern {
    /// Every path.
    fn default() -> Self {
        PathPattern::Prefix("/".into())
    }
}

/// What the table needs to know of a request.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'r> {
    /// The number of the listener that it came in by.
    pub listener: u16,
    /// In any case, without port and dot at its end; empty if there is none.
    pub host: &'r [u8],
    /// Normalised, without the query.
    pub path: &'r str,
    /// What follows the question mark.
    pub query: Option<&'r str>,
    /// As the client wrote it.
    pub method: &'r Method,
    /// As the client sent them.
    pub headers: &'r HeaderMap,
}

/// The answer of [`Table::find`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found<'t, T> {
    /// The value of the rule that the request belongs to.
    Match(&'t T),
    /// Rules fit all of it but its method: 405.
    MethodNotAllowed(Allowed),
    /// No rule fits it, whatever its method: 404.
    None,
}

/// Rules made ready to be searched; immutable.
#[derive(Debug)]
pub struct Table<T> {
    values: Vec<T>,
    /// For every listener that no rule names.
    hosts: Hosts,
    /// By the number of the listener, for those that a rule names.
    own_hosts: Vec<Option<Hosts>>,
    paths: Paths,
    regexes: Regexes,
    /// Those of one place have host and path in common.
    places: Vec<Place>,
    candidates: Vec<Candidate>,
    conditions: Vec<Conditions>,
}

impl<T> Table<T> {
    /// From rules in the order of the file. Cannot fail: of two equal patterns the first wins.
    pub fn new(rules: impl IntoIterator<Item = (Pattern, T)>) -> Table<T> {
        let mut draft = Draft::new();
        for (pattern, value) in rules {
            draft.add(pattern, value);
        }
        draft.finish()
    }

    /// The rule of a request.
    pub fn find(&self, asked: &Asked<'_>) -> Found<'_, T> {
        let root = self.hosts(asked.listener).find(asked.host);
        let first = self.paths.find(root, asked.path);
        if !self.regexes.is_empty() {
            return self.find_among_regexes(root, first, asked);
        }
        let method = Classified::new(asked.method);
        let mut at = first;
        while let Some(place) = self.places.get(at as usize) {
            if let Some(value) = self.choose(place, method, asked) {
                return Found::Match(value);
            }
            at = place.next;
        }
        if first == NOWHERE {
            return Found::None;
        }
        self.refuse(root, first, asked)
    }

    /// The same for a table with expressions; apart, so that others do not carry it along.
    #[inline(never)]
    fn find_among_regexes(&self, root: u32, first: u32, asked: &Asked<'_>) -> Found<'_, T> {
        let method = Classified::new(asked.method);
        let found = self
            .fitting(root, first, asked.path)
            .find_map(|place| self.choose(place, method, asked));
        found.map_or_else(|| self.refuse(root, first, asked), Found::Match)
    }

    fn hosts(&self, listener: u16) -> &Hosts {
        match self.own_hosts.get(usize::from(listener)) {
            Some(Some(own)) => own,
            _ => &self.hosts,
        }
    }

    /// The first candidate of one place that takes the request.
    #[inline]
    fn choose(&self, place: &Place, method: Classified<'_>, asked: &Asked<'_>) -> Option<&T> {
        let candidate = self.candidates(place).iter().find(|candidate| {
            candidate.methods.accept(method) && self.conditions_hold(candidate, asked)
        })?;
        self.values.get(candidate.value as usize)
    }

    #[inline]
    fn conditions_hold(&self, candidate: &Candidate, asked: &Asked<'_>) -> bool {
        let conditions = self.conditions.get(candidate.conditions as usize);
        conditions.is_none_or(|conditions| conditions.hold(asked.headers, asked.query))
    }

    /// All places that fit a path, in their order; `first` is what [`Paths::find`] answered.
    fn fitting<'t>(
        &'t self,
        root: u32,
        first: u32,
        path: &'t str,
    ) -> impl Iterator<Item = &'t Place> {
        let first = self.places.get(first as usize);
        let exact = first.filter(|place| place.exact);
        let longest = match exact {
            Some(place) => self.places.get(place.next as usize),
            None => first,
        };
        let prefixes = iter::successors(longest, |place| self.places.get(place.next as usize));
        let regexes = self.regexes.find(root, path);
        let by_regex = regexes.filter_map(|place| self.places.get(place as usize));
        exact.into_iter().chain(by_regex).chain(prefixes)
    }

    /// Nothing fits: is it for the method alone?
    #[cold]
    fn refuse(&self, root: u32, first: u32, asked: &Asked<'_>) -> Found<'_, T> {
        let mut allowed = Allowed::default();
        self.fitting(root, first, asked.path)
            .flat_map(|place| self.candidates(place))
            .filter(|candidate| self.conditions_hold(candidate, asked))
            .for_each(|candidate| allowed.add(&candidate.methods));
        if allowed.iter().next().is_none() {
            return Found::None;
        }
        Found::MethodNotAllowed(allowed)
    }

    fn candidates(&self, place: &Place) -> &[Candidate] {
        &self.candidates[place.first as usize..place.end as usize]
    }
}

/// One host and path: which candidates, and where to go on if none fits.
#[derive(Clone, Copy, Debug)]
struct Place {
    first: u32,
    end: u32,
    /// The longest prefix that fits whatever this place fits, and is not this place.
    next: u32,
    exact: bool,
}

/// What a rule asks beyond host and path.
#[derive(Clone, Debug)]
struct Candidate {
    methods: Methods,
    value: u32,
    /// Of fields and query; [`NOWHERE`] if it asks nothing of them.
    conditions: u32,
}

//! From a path to the places of the table that fit it: the exact one, then prefixes, the longest first.
//!
//! A prefix counts whole segments: `/a` fits `/a`, `/a/` and `/a/b`, not `/ab`; `/a/` says the same as `/a`.

use std::collections::BTreeMap;

use super::PathPattern;
use super::trie::{Ends, NOWHERE, Reading, Trie};

/// The paths of every host, one tree each. Places are numbers given by the owner, each used once.
#[derive(Debug)]
pub(super) struct Paths {
    trie: Trie,
}

/// Where the candidates for a path stand; [`NOWHERE`] if nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Places {
    /// The pattern that is the path.
    pub(super) exact: u32,
    /// The longest prefix; the next ones are found by [`shorter`].
    pub(super) prefix: u32,
}

impl Paths {
    /// No host yet.
    pub(super) fn new() -> Paths {
        Paths {
            trie: Trie::new(Reading::Forward),
        }
    }

    /// Adds the patterns of one host and answers the root to find them by.
    pub(super) fn plant<'p>(
        &mut self,
        places: impl Iterator<Item = (&'p PathPattern, u32)>,
    ) -> u32 {
        let mut keys: BTreeMap<Vec<u8>, Ends> = BTreeMap::new();
        for (pattern, place) in places {
            let ends = keys
                .entry(key(pattern).as_bytes().to_vec())
                .or_insert(Ends::NONE);
            match pattern {
                PathPattern::Exact(_) => ends.whole = place,
                PathPattern::Prefix(_) => ends.part = place,
                // Found by `regexes`.
                PathPattern::Regex(_) => {}
            }
        }
        self.trie.plant(&keys)
    }

    /// One pass over `path`, under a root that [`plant`](Self::plant) answered.
    pub(super) fn find(&self, root: u32, path: &str) -> Places {
        let mut places = Places {
            exact: NOWHERE,
            prefix: NOWHERE,
        };
        let Some(mut node) = self.trie.root(root) else {
            return places;
        };
        let mut rest = path.as_bytes();
        loop {
            let label = self.trie.label(node);
            // Most places of a bushy tree have none, and then even an empty comparison would cost a call.
            if !label.is_empty() {
                let Some(after) = rest.strip_prefix(label) else {
                    return places;
                };
                rest = after;
            }
            let Some((&door, behind)) = rest.split_first() else {
                // The text has ended: the pattern may be it, and a prefix ends with a whole segment too.
                places.exact = node.ends.whole;
                if node.ends.part != NOWHERE {
                    places.prefix = node.ends.part;
                }
                return places;
            };
            if door == b'/' && node.ends.part != NOWHERE {
                places.prefix = node.ends.part;
            }
            let Some(child) = self.trie.child(node, door) else {
                return places;
            };
            (node, rest) = (child, behind);
        }
    }
}

/// For each prefix of one host the place of the next shorter prefix that fits whatever it fits. Takes them in order.
pub(super) fn shorter<'p>(sorted: impl Iterator<Item = (&'p PathPattern, u32)>) -> Vec<(u32, u32)> {
    let mut links = Vec::new();
    // In order, all beginnings of a prefix stand before it: those of the last one are kept, each beginning the next.
    let mut beginnings: Vec<(&str, u32)> = Vec::new();
    for (pattern, place) in sorted.filter(|(pattern, _)| matches!(pattern, PathPattern::Prefix(_)))
    {
        let prefix = key(pattern);
        while beginnings
            .pop_if(|(beginning, _)| !prefix.starts_with(*beginning))
            .is_some()
        {}
        let whole_segments =
            |(beginning, _): &&(&str, u32)| prefix.as_bytes().get(beginning.len()) == Some(&b'/');
        links.push((
            place,
            beginnings
                .iter()
                .rev()
                .find(whole_segments)
                .map_or(NOWHERE, |(_, place)| *place),
        ));
        beginnings.push((prefix, place));
    }
    links
}

/// The bytes that a pattern is found by: a prefix without slash at its end, so that `/` becomes nothing.
fn key(pattern: &PathPattern) -> &str {
    match pattern {
        PathPattern::Exact(path) | PathPattern::Regex(path) => path,
        PathPattern::Prefix(path) => path.trim_end_matches('/'),
    }
}

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

    /// The place of the pattern that is `path`, else of the longest prefix that fits, else [`NOWHERE`]; the others that
    /// fit are found by [`links`]. One pass, under a root that [`plant`](Self::plant) answered.
    pub(super) fn find(&self, root: u32, path: &str) -> u32 {
        let mut longest = NOWHERE;
        let Some(mut node) = self.trie.root(root) else {
            return longest;
        };
        let mut rest = path.as_bytes();
        loop {
            let label = self.trie.label(node);
            // Most places of a bushy tree have none, and then even an empty comparison would cost a call.
            if !label.is_empty() {
                let Some(after) = rest.strip_prefix(label) else {
                    return longest;
                };
                rest = after;
            }
            let Some((&door, behind)) = rest.split_first() else {
                // The text has ended: the pattern may be it, and a prefix ends with a whole segment too.
                return [node.ends.whole, node.ends.part]
                    .into_iter()
                    .find(|&place| place != NOWHERE)
                    .unwrap_or(longest);
            };
            if door == b'/' && node.ends.part != NOWHERE {
                longest = node.ends.part;
            }
            let Some(child) = self.trie.child(node, door) else {
                return longest;
            };
            (node, rest) = (child, behind);
        }
    }
}

/// For each pattern of one host the place of the longest other prefix that fits whatever it fits.
pub(super) fn links(patterns: &mut [(&PathPattern, u32)]) -> Vec<(u32, u32)> {
    // In this order all beginnings of a path stand before it, and a prefix before the exact path that it equals.
    patterns.sort_unstable_by_key(|(pattern, _)| (key(pattern), is_exact(pattern)));
    let mut links = Vec::with_capacity(patterns.len());
    // The prefixes that the last path begins with, each a beginning of the next.
    let mut beginnings: Vec<(&str, u32)> = Vec::new();
    for (pattern, place) in patterns {
        let path = key(pattern);
        while beginnings
            .pop_if(|(beginning, _)| !path.starts_with(*beginning))
            .is_some()
        {}
        let whole_segments = |(beginning, _): &&(&str, u32)| {
            matches!(path.as_bytes().get(beginning.len()), None | Some(b'/'))
        };
        let longest = beginnings.iter().rev().find(whole_segments);
        links.push((*place, longest.map_or(NOWHERE, |(_, place)| *place)));
        if !is_exact(pattern) {
            beginnings.push((path, *place));
        }
    }
    links
}

/// Is it one path alone?
pub(super) fn is_exact(pattern: &PathPattern) -> bool {
    matches!(pattern, PathPattern::Exact(_))
}

/// The bytes that a pattern is found by: a prefix without slash at its end, so that `/` becomes nothing.
fn key(pattern: &PathPattern) -> &str {
    match pattern {
        PathPattern::Exact(path) | PathPattern::Regex(path) => path,
        PathPattern::Prefix(path) => path.trim_end_matches('/'),
    }
}

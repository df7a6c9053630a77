//! From a host to the one set of rules that it chooses: exact name, else longest wildcard, else any host.
//!
//! Names are read from their end, where the wildcards `*.example.com` differ from each other; one pass finds the
//! exact name and the longest wildcard. Letters match in either case (RFC 9110, section 4.2.3).

use std::collections::BTreeMap;

use super::trie::{Ends, NOWHERE, Reading, Trie};

/// Every host of the table. Roots are numbers given by the owner.
#[derive(Debug)]
pub(super) struct Hosts {
    trie: Trie,
    root: u32,
    any: u32,
    /// Whether a rule names a host; many a file names none.
    named: bool,
}

impl Hosts {
    /// From names as the file writes them and their roots; `None` is the rules for any host.
    pub(super) fn new<'h>(hosts: impl Iterator<Item = (Option<&'h str>, u32)>) -> Hosts {
        let mut any = NOWHERE;
        let mut keys: BTreeMap<Vec<u8>, Ends> = BTreeMap::new();
        for (host, root) in hosts {
            let Some(name) = host else {
                any = root;
                continue;
            };
            let suffix = name
                .strip_prefix('*')
                .filter(|suffix| suffix.starts_with('.'));
            let key = suffix
                .unwrap_or(name)
                .bytes()
                .rev()
                .map(|byte| byte.to_ascii_lowercase())
                .collect();
            let ends = keys.entry(key).or_insert(Ends::NONE);
            match suffix {
                Some(_) => ends.part = root,
                None => ends.whole = root,
            }
        }
        let mut trie = Trie::new(Reading::Backward);
        let root = trie.plant(&keys);
        Hosts {
            trie,
            root,
            any,
            named: !keys.is_empty(),
        }
    }

    /// The root of the most specific host that matches, or [`NOWHERE`]. `host` in any case, without port and dot at its end.
    pub(super) fn find(&self, host: &[u8]) -> u32 {
        let mut best = self.any;
        if !self.named {
            return best;
        }
        let Some(mut node) = self.trie.root(self.root) else {
            return best;
        };
        let mut rest = host;
        loop {
            let label = self.trie.label(node);
            let Some((before, shown)) = rest.split_at_checked(rest.len().wrapping_sub(label.len()))
            else {
                return best;
            };
            // Nearly all clients send lower case: bytes first, letters only if they differ.
            if !label.is_empty() && shown != label && !shown.eq_ignore_ascii_case(label) {
                return best;
            }
            let Some((&door, before)) = before.split_last() else {
                return if node.ends.whole == NOWHERE {
                    best
                } else {
                    node.ends.whole
                };
            };
            // Something is left before the dot: the label that a wildcard asks for.
            if node.ends.part != NOWHERE {
                best = node.ends.part;
            }
            let Some(child) = self.trie.child(node, door.to_ascii_lowercase()) else {
                return best;
            };
            (node, rest) = (child, before);
        }
    }
}

//! From a path to the places whose regular expression it matches, in the order of the file.

use std::sync::Arc;

use super::whole::Whole;

/// The expressions of every host. Most tables have none, and then nothing here is asked.
#[derive(Debug, Default)]
pub(super) struct Regexes {
    /// By root, from the lowest.
    hosts: Vec<(u32, Vec<Entry>)>,
}

/// An expression and its place.
#[derive(Debug)]
pub(super) struct Entry {
    /// Shared by all hosts that it is written for.
    pub(super) whole: Arc<Whole>,
    /// A number given by the owner.
    pub(super) place: u32,
}

impl Regexes {
    /// Adds those of one root, in the order of the file. Roots come from the lowest.
    pub(super) fn add(&mut self, root: u32, entries: Vec<Entry>) {
        if !entries.is_empty() {
            self.hosts.push((root, entries));
        }
    }

    /// Is there none at all?
    pub(super) fn is_empty(&self) -> bool {
        self.hosts.is_empty()
    }

    /// The places under `root` that `path` matches.
    pub(super) fn find(&self, root: u32, path: &str) -> impl Iterator<Item = u32> {
        let at = self.hosts.binary_search_by_key(&root, |(root, _)| *root);
        let host = at.ok().and_then(|at| self.hosts.get(at));
        let entries = host.map_or(&[][..], |(_, entries)| entries);
        entries
            .iter()
            .filter(|entry| entry.whole.accepts(path.as_bytes()))
            .map(|entry| entry.place)
    }
}

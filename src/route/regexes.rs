//! From a path to the places whose regular expression it matches, in the order of the file.

use std::sync::Arc;

use super::whole::Whole;

/// The expressions of every host. Most tables have none, and then nothing here is asked.
#[derive(Debug, Default)]
pub(super) struct Regexes {
    /// By root, from the lowest.
    of_roots: Vec<(u32, Vec<(Arc<Whole>, u32)>)>,
}

impl Regexes {
    /// Adds those of one root, in the order of the file, with their places. Roots come from the lowest.
    pub(super) fn add(&mut self, root: u32, regexes: Vec<(Arc<Whole>, u32)>) {
        if !regexes.is_empty() {
            self.of_roots.push((root, regexes));
        }
    }

    /// Is there none at all?
    pub(super) fn is_empty(&self) -> bool {
        self.of_roots.is_empty()
    }

    /// The places under `root` that `path` matches.
    pub(super) fn find(&self, root: u32, path: &str) -> impl Iterator<Item = u32> {
        let at = self.of_roots.binary_search_by_key(&root, |(root, _)| *root);
        let found = at.ok().and_then(|at| self.of_roots.get(at));
        let regexes = found.map_or(&[][..], |(_, regexes)| regexes);
        regexes
            .iter()
            .filter(|(whole, _)| whole.accepts(path.as_bytes()))
            .map(|(_, place)| *place)
    }
}

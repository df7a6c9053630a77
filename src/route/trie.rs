//! Byte strings as one compressed tree: frozen into flat arrays, walked without allocation.
//!
//! Law: a walk visits exactly the keys that the text begins with, from the shortest to the longest, in one pass
//! over the text. Clients choose the text but cannot make a walk longer than it, so nothing here needs a keyed hash.

use std::collections::{BTreeMap, VecDeque};

/// Leads nowhere: larger than the index of anything, so that `slice::get` answers `None`.
pub(super) const NOWHERE: u32 = u32::MAX;

/// What stands at the end of a key, as numbers of the owner's; [`NOWHERE`] where nothing does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ends {
    /// For a text that is the key.
    pub(super) whole: u32,
    /// For a text that goes on after the key.
    pub(super) part: u32,
}

impl Ends {
    /// Nothing stands here.
    pub(super) const NONE: Ends = Ends {
        whole: NOWHERE,
        part: NOWHERE,
    };
}

/// From which end a text is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reading {
    /// From its first byte.
    Forward,
    /// From its last byte.
    Backward,
}

/// One place of the tree: reached by one byte from its parent, then by its label.
#[derive(Clone, Copy, Debug)]
pub(super) struct Node {
    /// What stands here, once the label is matched.
    pub(super) ends: Ends,
    label: u32,
    label_length: u32,
    children: u32,
    child_count: u32,
}

/// Many trees in the same three arrays; each is known by the number of its root.
#[derive(Debug)]
pub(super) struct Trie {
    reading: Reading,
    nodes: Vec<Node>,
    /// The byte that leads to the node of the same index; siblings stand together, so a search reads few lines.
    doors: Vec<u8>,
    labels: Vec<u8>,
}

impl Trie {
    /// Holds no tree yet.
    pub(super) fn new(reading: Reading) -> Trie {
        Trie {
            reading,
            nodes: Vec::new(),
            doors: Vec::new(),
            labels: Vec::new(),
        }
    }

    /// Adds a tree of `keys` and answers its root. Keys of a backward trie are given reversed.
    pub(super) fn plant(&mut self, keys: &BTreeMap<Vec<u8>, Ends>) -> u32 {
        let sorted: Vec<(&[u8], Ends)> = keys
            .iter()
            .map(|(key, ends)| (key.as_slice(), *ends))
            .collect();
        let root = self.reserve(0);
        // A queue and not recursion: the depth of a tree is as large as the longest key of the file.
        let mut waiting = VecDeque::from([Bud {
            node: root,
            depth: 0,
            keys: &sorted,
        }]);
        while let Some(bud) = waiting.pop_front() {
            self.grow(bud, &mut waiting);
        }
        root
    }

    /// The node of a root that [`plant`](Self::plant) answered.
    pub(super) fn root(&self, root: u32) -> Option<&Node> {
        self.nodes.get(root as usize)
    }

    /// The bytes that the text must show after the one that led to `node`, in the order of the text.
    pub(super) fn label(&self, node: &Node) -> &[u8] {
        let first = node.label as usize;
        self.labels
            .get(first..first + node.label_length as usize)
            .unwrap_or_default()
    }

    /// The node behind the byte `door`.
    pub(super) fn child(&self, node: &Node, door: u8) -> Option<&Node> {
        let first = node.children as usize;
        let end = first + node.child_count as usize;
        let behind = (first..end).find(|&at| self.doors.get(at) == Some(&door))?;
        self.nodes.get(behind)
    }

    /// Fills the node of a bud, and leaves its children as new ones.
    fn grow<'k>(&mut self, Bud { node, depth, keys }: Bud<'k>, waiting: &mut VecDeque<Bud<'k>>) {
        let (Some((first, first_ends)), Some((last, _))) = (keys.first(), keys.last()) else {
            return;
        };
        let shared = first[depth..]
            .iter()
            .zip(&last[depth..])
            .take_while(|(a, b)| a == b)
            .count();
        let end = depth + shared;
        let label = index(self.labels.len());
        match self.reading {
            Reading::Forward => self.labels.extend_from_slice(&first[depth..end]),
            Reading::Backward => self.labels.extend(first[depth..end].iter().rev()),
        }
        // Sorted and different from each other: only the first can end here.
        let (ends, longer) = if first.len() == end {
            (*first_ends, &keys[1..])
        } else {
            (Ends::NONE, keys)
        };
        let children = index(self.nodes.len());
        let mut child_count = 0;
        for group in longer.chunk_by(|(a, _), (b, _)| a[end] == b[end]) {
            let child = self.reserve(group[0].0[end]);
            waiting.push_back(Bud {
                node: child,
                depth: end + 1,
                keys: group,
            });
            child_count += 1;
        }
        self.nodes[node as usize] = Node {
            ends,
            label,
            label_length: index(shared),
            children,
            child_count,
        };
    }

    /// A node still to be filled, behind the byte `door`.
    fn reserve(&mut self, door: u8) -> u32 {
        let node = index(self.nodes.len());
        self.nodes.push(Node {
            ends: Ends::NONE,
            label: 0,
            label_length: 0,
            children: 0,
            child_count: 0,
        });
        self.doors.push(door);
        node
    }
}

/// A node still to be filled from `keys`, which are in order and agree in their first `depth` bytes.
struct Bud<'k> {
    node: u32,
    depth: usize,
    keys: &'k [(&'k [u8], Ends)],
}

/// Indices are kept small for the cache's sake; four thousand million of anything do not fit a file.
pub(super) fn index(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(NOWHERE)
}

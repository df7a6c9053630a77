//! Names of things that are defined elsewhere in the file: what each stands for, and what to say when one dangles.

use std::collections::HashMap;

use super::fields::Fields;
use super::node::Node;
use super::report::{Fault, Report, quote};
use super::{Listener, Store, Upstream, word};

/// All things of one kind.
pub(super) struct Names<'a> {
    /// One of them, and all of them, in words.
    kind: &'static str,
    section: &'static str,
    indices: HashMap<&'a str, usize>,
    /// Some could not be read, so nobody knows what they are called.
    incomplete: bool,
}

impl<'a> Names<'a> {
    /// The upstreams.
    pub(super) fn of_upstreams(upstreams: &'a [Upstream]) -> Self {
        Names {
            kind: "upstream",
            section: "upstreams",
            indices: index(upstreams.iter().map(|upstream| upstream.name.as_str())),
            incomplete: false,
        }
    }

    /// The listeners.
    pub(super) fn of_listeners(root: &Fields<'_>, listeners: &'a [Listener]) -> Self {
        let written = root.node("listeners").map(Node::items).unwrap_or_default();
        Names {
            kind: "listener",
            section: "listeners",
            indices: index(listeners.iter().map(|listener| listener.name.as_str())),
            incomplete: written.len() != listeners.len(),
        }
    }

    /// The entries of `rate_limits`; what each stands for is its place in the file.
    pub(super) fn of_limits(root: &Fields<'a>) -> Self {
        let entries = root.node("rate_limits").and_then(Node::map);
        let names = entries.unwrap_or_default().iter();
        Names {
            kind: "limit",
            section: "rate_limits",
            indices: index(names.map(|(key, _)| key.text.as_str())),
            incomplete: false,
        }
    }

    /// The stores.
    pub(super) fn of_stores(root: &Fields<'_>, stores: &'a [Store]) -> Self {
        let written = root.node("stores").and_then(Node::map).unwrap_or_default();
        Names {
            kind: "store",
            section: "stores",
            indices: index(stores.iter().map(|store| store.name.as_str())),
            incomplete: written.len() != stores.len(),
        }
    }

    /// What a name at `node` stands for; `None` if it dangles, which is reported.
    pub(super) fn find(
        &self,
        node: &Node,
        name: &str,
        shown: &str,
        report: &mut Report,
    ) -> Option<usize> {
        if let Some(index) = self.indices.get(name) {
            return Some(*index);
        }
        // A value that is no name was reported.
        word::check_name(name).ok()?;
        if self.incomplete {
            return None;
        }
        let near = report.nearest(name, self.indices.keys().copied());
        let help = match near {
            Some(near) => format!("did you mean {}?", quote(near)),
            None if self.indices.is_empty() => format!("there are no {}", quote(self.section)),
            None if self.section == "listeners" => {
                "it must be the `name` of one of `listeners`".into()
            }
            None => format!("it must be a key of {}", quote(self.section)),
        };
        let message = format!("no {} is called {}", self.kind, quote(shown));
        report.error(node.span, Fault::new(message, help));
        None
    }
}

fn index<'a>(names: impl Iterator<Item = &'a str>) -> HashMap<&'a str, usize> {
    names
        .enumerate()
        .map(|(index, name)| (name, index))
        .collect()
}

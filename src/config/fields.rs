//! Typed reading of a checked map: what is written, else the default of the table.
//!
//! A value that does not fit was reported by `check`; it reads as its default here, and the result is thrown away.

use std::time::Duration;

use super::node::{Node, Scalar, Span, Style};
use super::scalar;
use super::schema::{Key, Preset};

/// A map of the file and the keys that it may have.
#[derive(Clone, Copy)]
pub(super) struct Fields<'a> {
    node: Option<&'a Node>,
    keys: &'static [Key],
}

impl<'a> Fields<'a> {
    /// The map `node`, or an empty one.
    pub(super) fn new(node: Option<&'a Node>, keys: &'static [Key]) -> Self {
        Fields { node, keys }
    }

    /// The value of a key, as it is written.
    pub(super) fn node(&self, name: &str) -> Option<&'a Node> {
        self.node.and_then(|node| node.find(name))
    }

    /// The map below a key; empty when it is not written.
    pub(super) fn section(&self, name: &str) -> Fields<'a> {
        let keys = self
            .keys
            .iter()
            .find(|key| key.name == name)
            .map(|key| key.shape.keys())
            .unwrap_or_default();
        Fields::new(self.node(name), keys)
    }

    /// Whether a key is written as `off`.
    pub(super) fn is_off(&self, name: &str) -> bool {
        self.node(name)
            .and_then(Node::scalar)
            .is_some_and(Scalar::is_off)
    }

    /// Where a key's value stands, or else the map itself.
    pub(super) fn span(&self, name: &str) -> Span {
        self.node(name)
            .or(self.node)
            .map(|node| node.span)
            .unwrap_or_default()
    }

    /// Where the map itself stands.
    pub(super) fn place(&self) -> Span {
        self.node.map(|node| node.span).unwrap_or_default()
    }

    /// A text; `None` when it is neither written nor has a default.
    pub(super) fn text(&self, name: &str) -> Option<&'a str> {
        self.written(name).or_else(|| self.preset(name))
    }

    /// A text that is written.
    pub(super) fn written(&self, name: &str) -> Option<&'a str> {
        self.node(name)?.scalar().map(|scalar| scalar.text.as_str())
    }

    /// Whether this is written as `true`.
    pub(super) fn is_true(&self, name: &str) -> bool {
        let scalar = self.node(name).and_then(Node::scalar);
        scalar.is_some_and(|scalar| scalar.text == "true" && scalar.style != Style::Quoted)
    }

    /// A duration; `None` = off.
    pub(super) fn duration(&self, name: &str) -> Option<Duration> {
        self.read(name, |text| scalar::duration(text).ok())
    }

    /// A size in bytes; `None` = off.
    pub(super) fn size(&self, name: &str) -> Option<u64> {
        self.read(name, |text| scalar::size(text).ok())
    }

    /// A whole number; `None` = off.
    pub(super) fn number(&self, name: &str) -> Option<u64> {
        self.read(name, scalar::whole)
    }

    /// A percentage, of a million.
    pub(super) fn share(&self, name: &str) -> Option<u32> {
        self.read(name, |text| scalar::percent(text).ok())
            .map(|hundredths| hundredths * 100)
    }

    fn read<T>(&self, name: &str, parse: impl Fn(&str) -> Option<T>) -> Option<T> {
        if self.is_off(name) {
            return None;
        }
        self.written(name)
            .and_then(&parse)
            .or_else(|| self.preset(name).and_then(&parse))
    }

    fn preset(&self, name: &str) -> Option<&'static str> {
        self.keys
            .iter()
            .find(|key| key.name == name)
            .and_then(|key| match key.preset {
                Preset::Value(text) => Some(text),
                Preset::Required | Preset::Absent | Preset::Derived(_) => None,
            })
    }
}

//! The tree of a YAML document in which every value knows its place.

/// Where a value stands in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(super) struct Span {
    /// Which of the files of the report, from 0.
    pub(super) file: usize,
    /// Line from 1.
    pub(super) line: usize,
    /// Column from 1, in characters.
    pub(super) column: usize,
    /// Line on which it ends.
    pub(super) last_line: usize,
    /// Characters to underline on the first line, at least 1.
    pub(super) width: usize,
}

/// How a scalar was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    /// Without quotes: typed by its look.
    Plain,
    /// In quotes or as a block: always a text.
    Quoted,
    /// Wholly `${…}`: typed by its key.
    Expanded,
    /// With a `${…}` that could not be filled in, which was reported: nothing more is said about it.
    Broken,
}

/// A leaf of the tree.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Scalar {
    /// The text, after escapes and after `${…}`.
    pub(super) text: String,
    /// How it was written.
    pub(super) style: Style,
    /// The text before `${…}` was filled in: messages show this, for what was filled in may be secret.
    pub(super) written: Option<String>,
}

/// What a value is.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Kind {
    /// One value.
    Scalar(Scalar),
    /// `[a, b]`
    List(Vec<Node>),
    /// `{a: b}`, without duplicate keys, in file order.
    Map(Vec<(Key, Node)>),
}

/// A value and its place.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Node {
    /// Its place; of a value that came through an alias or a merge key, the place where it is written.
    pub(super) span: Span,
    /// What it is.
    pub(super) kind: Kind,
}

/// The key of an entry of a map.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Key {
    /// Its place.
    pub(super) span: Span,
    /// Its text.
    pub(super) text: String,
}

impl Scalar {
    /// Whether this is YAML's null (core schema of YAML 1.2, section 10.3.2).
    pub(super) fn is_null(&self) -> bool {
        self.style == Style::Plain
            && matches!(self.text.as_str(), "" | "~" | "null" | "Null" | "NULL")
    }

    /// Whether this switches something off: `off`, or `false`, which YAML 1.1 writers make of it.
    pub(super) fn is_off(&self) -> bool {
        self.text == "off" || (self.text == "false" && self.style != Style::Quoted)
    }

    /// The text as messages may show it.
    pub(super) fn shown(&self) -> &str {
        self.written.as_deref().unwrap_or(&self.text)
    }
}

impl Node {
    /// The scalar, if this is one.
    pub(super) fn scalar(&self) -> Option<&Scalar> {
        match &self.kind {
            Kind::Scalar(scalar) => Some(scalar),
            Kind::List(_) | Kind::Map(_) => None,
        }
    }

    /// The entries, if this is a map.
    pub(super) fn map(&self) -> Option<&[(Key, Node)]> {
        match &self.kind {
            Kind::Map(entries) => Some(entries),
            Kind::Scalar(_) | Kind::List(_) => None,
        }
    }

    /// The items of a list; any other value counts as the only item.
    pub(super) fn items(&self) -> &[Node] {
        match &self.kind {
            Kind::List(items) => items,
            Kind::Scalar(_) | Kind::Map(_) => std::slice::from_ref(self),
        }
    }

    /// The value of a key, if this is a map that has it.
    pub(super) fn find(&self, key: &str) -> Option<&Node> {
        self.map()?
            .iter()
            .find(|(name, _)| name.text == key)
            .map(|(_, value)| value)
    }

    /// What a message calls this value.
    pub(super) fn noun(&self) -> &'static str {
        match &self.kind {
            Kind::Scalar(scalar) if scalar.is_null() => "nothing",
            Kind::Scalar(_) => "a single value",
            Kind::List(_) => "a list",
            Kind::Map(_) => "a map",
        }
    }
}

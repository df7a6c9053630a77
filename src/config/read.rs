//! YAML events become a tree: one document, no duplicate keys, aliases and merge keys within a budget.

use std::borrow::Cow;
use std::collections::HashMap;

use granit_parser::{Event, Marker, Parser, ScalarStyle, ScanError, StrInput, Tag};

use super::merge::Draft;
use super::node::{Kind, Node, Scalar, Span, Style};
use super::report::{Fault, Report, quote};

/// Most values of all files together, copies made by aliases included.
pub(super) const MOST_NODES: usize = 500_000;
/// Deepest nesting.
pub(super) const MOST_DEPTH: usize = 32;

/// Reading ended early, and the report says why.
#[derive(Debug)]
pub(super) struct Broken;

/// Reads the one document of a file of the report; `None` when there is none. `nodes` are the values of the files
/// before it.
pub(super) fn read(
    file: usize,
    nodes: &mut usize,
    report: &mut Report,
) -> Result<Option<Node>, Broken> {
    let text = report.text(file);
    let parser = Parser::new_from_str(&text);
    let mut reader = Reader {
        file,
        parser,
        report,
        anchors: HashMap::new(),
        nodes: *nodes,
    };
    let document = reader.document();
    *nodes = reader.nodes;
    document.map_err(|stop| {
        if let Stop::Syntax(error) = stop {
            let (span, fault) = syntax_fault(file, &text, &error);
            report.error(span, fault);
        }
        Broken
    })
}

/// Why reading ended early.
enum Stop {
    /// The text is not YAML.
    Syntax(ScanError),
    /// A bound of ours, already reported.
    Reported,
}

impl From<ScanError> for Stop {
    fn from(error: ScanError) -> Self {
        Stop::Syntax(error)
    }
}

/// What an alias copies.
struct Anchored {
    node: Node,
    nodes: usize,
    depth: usize,
}

/// A finished value and how much of the budget a copy of it takes.
struct Built {
    node: Node,
    nodes: usize,
    depth: usize,
}

struct Reader<'a, 'r> {
    file: usize,
    parser: Parser<'a, StrInput<'a>>,
    report: &'r mut Report,
    anchors: HashMap<usize, Anchored>,
    nodes: usize,
}

impl<'a> Reader<'a, '_> {
    fn next(&mut self) -> Result<(Event<'a>, granit_parser::Span), Stop> {
        match self.parser.next_event() {
            Some(next) => Ok(next?),
            None => Ok((Event::StreamEnd, granit_parser::Span::default())),
        }
    }

    fn document(&mut self) -> Result<Option<Node>, Stop> {
        let mut root = None;
        loop {
            let (event, span) = self.next()?;
            match event {
                Event::StreamEnd => return Ok(root),
                Event::DocumentStart(..) if root.is_some() => {
                    let fault = Fault::new(
                        "a second document",
                        "keep one document, without another `---`, in a file",
                    );
                    self.report.error(place(self.file, span), fault);
                    return Ok(root);
                }
                Event::DocumentStart(..) => {
                    let (event, span) = self.next()?;
                    root = Some(self.node(event, span, 1)?.node);
                }
                _ => {}
            }
        }
    }

    fn node(
        &mut self,
        event: Event<'a>,
        span: granit_parser::Span,
        depth: usize,
    ) -> Result<Built, Stop> {
        self.spend(1, span)?;
        if depth > MOST_DEPTH {
            let fault = Fault::bare(format!("nested deeper than {MOST_DEPTH} levels"));
            self.report.error(place(self.file, span), fault);
            return Err(Stop::Reported);
        }
        let (built, anchor) = match event {
            Event::Alias(id) => return self.alias(id, span, depth),
            Event::Scalar(text, style, anchor, tag) => {
                self.refuse_tag(tag.as_deref(), span);
                (scalar(text, style, place(self.file, span)), anchor)
            }
            Event::SequenceStart(_, anchor, tag) => {
                self.refuse_tag(tag.as_deref(), span);
                (self.list(span, depth)?, anchor)
            }
            Event::MappingStart(_, anchor, tag) => {
                self.refuse_tag(tag.as_deref(), span);
                (self.map(span, depth)?, anchor)
            }
            // The grammar puts a node here; an event that is none ends the reading.
            _ => return Err(Stop::Reported),
        };
        if anchor != 0 {
            let copy = Anchored {
                node: built.node.clone(),
                nodes: built.nodes,
                depth: built.depth,
            };
            self.spend(built.nodes, span)?;
            self.anchors.insert(anchor, copy);
        }
        Ok(built)
    }

    fn spend(&mut self, nodes: usize, span: granit_parser::Span) -> Result<(), Stop> {
        self.nodes = self.nodes.saturating_add(nodes);
        if self.nodes <= MOST_NODES {
            return Ok(());
        }
        let fault = Fault::new(
            format!("more than {MOST_NODES} values"),
            "a value that an alias (`*name`) repeats counts each time",
        );
        self.report.error(place(self.file, span), fault);
        Err(Stop::Reported)
    }

    fn refuse_tag(&mut self, tag: Option<&Tag>, span: granit_parser::Span) {
        if let Some(tag) = tag {
            let at = span.tag_start.map_or(place(self.file, span), |start| {
                place(self.file, granit_parser::Span::new(start, start))
            });
            let fault = Fault::new(
                format!("tags such as {} are not used here", quote(&tag.original())),
                "leave it out: each key knows its type",
            );
            self.report.error(at, fault);
        }
    }

    fn alias(&mut self, id: usize, span: granit_parser::Span, depth: usize) -> Result<Built, Stop> {
        let Some(anchored) = self.anchors.get(&id) else {
            self.report.error(
                place(self.file, span),
                Fault::bare("this alias names a value of which it is a part"),
            );
            return Err(Stop::Reported);
        };
        let (nodes, deep) = (anchored.nodes, anchored.depth);
        self.spend(nodes, span)?;
        if depth + deep - 1 > MOST_DEPTH {
            let fault = Fault::bare(format!(
                "nested deeper than {MOST_DEPTH} levels through this alias"
            ));
            self.report.error(place(self.file, span), fault);
            return Err(Stop::Reported);
        }
        let node = self
            .anchors
            .get(&id)
            .map(|anchored| anchored.node.clone())
            .ok_or(Stop::Reported)?;
        Ok(Built {
            node,
            nodes,
            depth: deep,
        })
    }

    fn list(&mut self, start: granit_parser::Span, depth: usize) -> Result<Built, Stop> {
        let mut items = Vec::new();
        let (mut nodes, mut deepest) = (1, 0);
        loop {
            let (event, span) = self.next()?;
            if event == Event::SequenceEnd {
                let span = enclose(place(self.file, start), items.last());
                return Ok(Built {
                    node: Node {
                        span,
                        kind: Kind::List(items),
                    },
                    nodes,
                    depth: deepest + 1,
                });
            }
            let item = self.node(event, span, depth + 1)?;
            nodes += item.nodes;
            deepest = deepest.max(item.depth);
            items.push(item.node);
        }
    }

    fn map(&mut self, start: granit_parser::Span, depth: usize) -> Result<Built, Stop> {
        let mut draft = Draft::default();
        let (mut nodes, mut deepest) = (1, 0);
        loop {
            let (event, span) = self.next()?;
            if event == Event::MappingEnd {
                let entries = draft.finish();
                let span = enclose(
                    place(self.file, start),
                    entries.last().map(|(_, value)| value),
                );
                return Ok(Built {
                    node: Node {
                        span,
                        kind: Kind::Map(entries),
                    },
                    nodes,
                    depth: deepest + 1,
                });
            }
            let quoted =
                matches!(&event, Event::Scalar(_, style, ..) if *style != ScalarStyle::Plain);
            let key = self.node(event, span, depth + 1)?;
            let (event, span) = self.next()?;
            let value = self.node(event, span, depth + 1)?;
            // Keys are part of the budget of what is read, but a copy is counted by its values.
            nodes += value.nodes;
            deepest = deepest.max(value.depth);
            draft.add(key.node, quoted, value.node, self.report);
            self.nodes -= key.nodes;
        }
    }
}

fn scalar(text: Cow<'_, str>, style: ScalarStyle, span: Span) -> Built {
    let style = if style == ScalarStyle::Plain {
        Style::Plain
    } else {
        Style::Quoted
    };
    let kind = Kind::Scalar(Scalar {
        text: text.into_owned(),
        style,
        written: None,
    });
    Built {
        node: Node { span, kind },
        nodes: 1,
        depth: 1,
    }
}

fn place(file: usize, span: granit_parser::Span) -> Span {
    let (start, end) = (span.start, span.end);
    let width = if start.line() == end.line() {
        end.col().saturating_sub(start.col())
    } else {
        1
    };
    Span {
        file,
        line: start.line(),
        column: start.col() + 1,
        last_line: end.line().max(start.line()),
        width: width.max(1),
    }
}

/// The place of a collection: from its start to the end of its last value. (The parser's own end of a block
/// collection is where the next thing begins, after blank lines and comments.)
fn enclose(start: Span, last: Option<&Node>) -> Span {
    let last_line = last.map_or(start.line, |node| node.span.last_line.max(start.line));
    Span {
        last_line,
        width: 1,
        ..start
    }
}

fn syntax_fault(file: usize, text: &str, error: &ScanError) -> (Span, Fault) {
    let marker: &Marker = error.marker();
    let line = text
        .lines()
        .nth(marker.line().saturating_sub(1))
        .unwrap_or_default();
    let help = if line.contains("${") {
        Some("inside of `{ }` and `[ ]` a `${…}` needs quotes: `\"${NAME}\"`".into())
    } else if line.contains('\t') {
        Some("YAML is indented with spaces, not with tabs".into())
    } else {
        None
    };
    let span = Span {
        file,
        line: marker.line().max(1),
        column: marker.col() + 1,
        last_line: marker.line(),
        width: 1,
    };
    (
        span,
        Fault {
            message: format!("not YAML: {}", error.info()),
            help,
        },
    )
}

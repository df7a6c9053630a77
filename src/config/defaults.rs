//! `route_defaults`: merged under every route, key by key. What a route says itself wins.

use super::keys;
use super::node::{Key as WrittenKey, Kind, Node};
use super::read::MOST_NODES;
use super::report::{Fault, Report, quote};
use super::schema::Shape;

/// Keys of which one map has one: a route that says one of them takes none of the others from the defaults.
const RIVALS: [&[&str]; 3] = [
    &["upstream", "respond", "redirect"],
    &["path", "path_prefix", "path_regex"],
    &["regex", "present"],
];

/// Fills in what routes do not say.
pub(super) fn apply(root: &mut Node, report: &mut Report) {
    let Some(mut defaults) = root.find("route_defaults").cloned() else {
        return;
    };
    if let Kind::Map(entries) = &mut defaults.kind {
        refuse_name(entries, report);
    }
    let Kind::Map(entries) = &mut root.kind else {
        return;
    };
    let routes = entries.iter_mut().find(|(key, _)| key.text == "routes");
    let Some(Kind::List(routes)) = routes.map(|(_, node)| &mut node.kind) else {
        return;
    };
    if count(&defaults).saturating_mul(routes.len()) > MOST_NODES {
        let message = format!("more than {MOST_NODES} values in all routes together");
        return report.error(defaults.span, Fault::bare(message));
    }
    let shape = Shape::Table(keys::ROUTE);
    for route in routes.iter_mut().filter(|route| route.map().is_some()) {
        merge(&defaults, route, &shape);
    }
}

fn refuse_name(entries: &mut Vec<(WrittenKey, Node)>, report: &mut Report) {
    entries.retain(|(key, _)| {
        if key.text == "name" {
            let message = format!("{} cannot be a default", quote(&key.text));
            report.error(key.span, Fault::new(message, "each route has its own"));
        }
        key.text != "name"
    });
}

fn count(node: &Node) -> usize {
    match &node.kind {
        Kind::Scalar(_) => 1,
        Kind::List(items) => 1 + items.iter().map(count).sum::<usize>(),
        Kind::Map(entries) => 1 + entries.iter().map(|(_, value)| count(value)).sum::<usize>(),
    }
}

/// Puts a default under what is written; both have this shape.
fn merge(default: &Node, written: &mut Node, shape: &Shape) {
    match (shape, &default.kind, &mut written.kind) {
        (Shape::OrOff(of), Kind::Map(_), Kind::Map(_)) => merge(default, written, of),
        (Shape::OneOrMore(of) | Shape::Many(of), Kind::Map(_), Kind::Map(_)) => {
            merge(default, written, of);
        }
        (Shape::OneOrMore(of) | Shape::Many(of), Kind::Map(_), Kind::List(items)) => {
            for item in items.iter_mut().filter(|item| item.map().is_some()) {
                merge(default, item, of);
            }
        }
        (Shape::Table(_), Kind::Map(defaults), Kind::Map(entries)) => {
            for (key, value) in defaults {
                merge_entry(key, value, entries, shape);
            }
        }
        (Shape::Fields(_) | Shape::AnyFields(_), Kind::Map(defaults), Kind::Map(entries)) => {
            let is_there = |entries: &[(WrittenKey, Node)], name: &str| {
                entries
                    .iter()
                    .any(|(key, _)| key.text.eq_ignore_ascii_case(name))
            };
            for entry in defaults {
                if !is_there(entries, &entry.0.text) {
                    entries.push(entry.clone());
                }
            }
        }
        (Shape::Map(_), Kind::Map(defaults), Kind::Map(entries)) => {
            for entry in defaults {
                if !entries.iter().any(|(key, _)| key.text == entry.0.text) {
                    entries.push(entry.clone());
                }
            }
        }
        _ => {}
    }
}

fn merge_entry(
    key: &WrittenKey,
    value: &Node,
    entries: &mut Vec<(WrittenKey, Node)>,
    table: &Shape,
) {
    if let Some((_, written)) = entries.iter_mut().find(|(known, _)| known.text == key.text) {
        if let Some(known) = table.keys().iter().find(|known| known.name == key.text) {
            merge(value, written, &known.shape);
        }
        return;
    }
    let rivals = RIVALS
        .iter()
        .find(|names| names.contains(&key.text.as_str()));
    let has_rival = entries
        .iter()
        .any(|(known, _)| rivals.is_some_and(|names| names.contains(&known.text.as_str())));
    if !has_rival {
        entries.push((key.clone(), value.clone()));
    }
}

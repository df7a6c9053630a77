//! Holds a tree against the table of keys and reports everything that does not fit.

use super::address::later;
use super::keys;
use super::node::{Key as WrittenKey, Kind, Node, Scalar, Span, Style};
use super::report::{Fault, Report, quote};
use super::schema::{Key, Preset, Shape, Stage, check_scalar, join};
use super::word;

/// Checks all that was read; if it `is_whole`, nothing may be missing at the top.
pub(super) fn check_root(root: &Node, is_whole: bool, report: &mut Report) {
    let keys = keys::ROOT;
    let Some(entries) = root.map() else {
        let fault = Fault::new(
            format!("the file must be a map, this is {}", root.noun()),
            allowed_keys(keys),
        );
        report.error(root.span, fault);
        return;
    };
    // Top-level keys that begin with `x-` are a place for anchors.
    let ours = entries
        .iter()
        .filter(|(key, _)| !key.text.starts_with("x-"));
    let written = check_keys(ours, keys, report);
    if is_whole {
        refuse_missing(root.span, &written, keys, report);
    }
}

/// Checks a value.
pub(super) fn check(node: &Node, shape: &'static Shape, report: &mut Report) {
    if node
        .scalar()
        .is_some_and(|scalar| scalar.style == Style::Broken)
    {
        return;
    }
    match shape {
        Shape::OrOff(_) if node.scalar().is_some_and(Scalar::is_off) => {}
        Shape::OrOff(of) if node.scalar().is_none() => check(node, of, report),
        Shape::Later(what, _) => report.error(node.span, later(format!("{what} is"))),
        Shape::AnyOf(all) => match all.iter().find(|shape| fits_kind(shape, node)) {
            Some(of) if node.scalar().is_some() => check_word_or_map(node, of, shape, report),
            Some(of) => check(node, of, report),
            None => report.error(node.span, wrong_kind(node, shape)),
        },
        Shape::List(of) | Shape::Filled(of) => match &node.kind {
            Kind::List(items) => check_items(node.span, items, shape, of, report),
            Kind::Scalar(_) | Kind::Map(_) => report.error(node.span, wrong_kind(node, shape)),
        },
        Shape::Many(of) | Shape::OneOrMore(of) => match &node.kind {
            Kind::List(items) => check_items(node.span, items, shape, of, report),
            Kind::Scalar(_) | Kind::Map(_) if fits_kind(of, node) => check(node, of, report),
            Kind::Scalar(_) | Kind::Map(_) => report.error(node.span, wrong_kind(node, shape)),
        },
        Shape::Table(keys) => match node.map() {
            Some(entries) => check_entries(node.span, entries.iter(), keys, report),
            None => report.error(node.span, wrong_kind(node, shape)),
        },
        Shape::Names(of) | Shape::Fields(of) | Shape::AnyFields(of) | Shape::Map(of) => {
            match node.map() {
                Some(entries) => check_free_entries(entries, shape, of, report),
                None => report.error(node.span, wrong_kind(node, shape)),
            }
        }
        _ => check_leaf(node, shape, report),
    }
}

/// A single value where a map could stand too: the key of that map is not a value of its own.
fn check_word_or_map(node: &Node, of: &'static Shape, all: &'static Shape, report: &mut Report) {
    let word = node.scalar().filter(|scalar| {
        let is_key = |key: &Key| key.name == scalar.text && key.stage == Stage::Now;
        all.keys().iter().any(is_key) && check_scalar(of, scalar).is_err()
    });
    match word {
        Some(word) => {
            let message = format!("{} alone says too little", quote(word.shown()));
            let help = format!("write `{{{}: …}}`", word.shown());
            report.error(node.span, Fault::new(message, help));
        }
        None => check(node, of, report),
    }
}

fn check_leaf(node: &Node, shape: &'static Shape, report: &mut Report) {
    let fault = match &node.kind {
        Kind::Scalar(scalar) if !scalar.is_null() => check_scalar(shape, scalar)
            .err()
            .map(|fault| hide(fault, scalar, shape)),
        _ => Some(wrong_kind(node, shape)),
    };
    if let Some(fault) = fault {
        report.error(node.span, fault);
    }
}

/// A value that came from the environment or a file may be secret, so a message says where it came from instead.
fn hide(fault: Fault, scalar: &Scalar, shape: &Shape) -> Fault {
    match &scalar.written {
        None => fault,
        Some(written) => Fault::new(
            format!("what {} stands for does not fit here", quote(written)),
            shape.noun(),
        ),
    }
}

fn check_items(span: Span, items: &[Node], shape: &Shape, of: &'static Shape, report: &mut Report) {
    if items.is_empty() && matches!(shape, Shape::Filled(_) | Shape::OneOrMore(_)) {
        report.error(
            span,
            Fault::new("this list is empty", "at least one is needed"),
        );
    }
    for item in items {
        check(item, of, report);
    }
}

fn check_free_entries(
    entries: &[(WrittenKey, Node)],
    shape: &Shape,
    of: &'static Shape,
    report: &mut Report,
) {
    for (key, value) in entries {
        let valid = match shape {
            Shape::Names(_) => word::check_name(&key.text),
            Shape::Fields(_) => word::header_name(&key.text).map(drop),
            Shape::AnyFields(_) => word::field_name(&key.text).map(drop),
            _ => Ok(()),
        };
        if let Err(fault) = valid {
            report.error(key.span, fault);
        }
        check(value, of, report);
    }
}

fn check_entries<'n>(
    span: Span,
    entries: impl Iterator<Item = &'n (WrittenKey, Node)>,
    keys: &'static [Key],
    report: &mut Report,
) {
    let written = check_keys(entries, keys, report);
    refuse_missing(span, &written, keys, report);
}

/// The keys that are written, or were meant.
fn check_keys<'n>(
    entries: impl Iterator<Item = &'n (WrittenKey, Node)>,
    keys: &'static [Key],
    report: &mut Report,
) -> Vec<&'static str> {
    let mut written: Vec<&str> = Vec::with_capacity(keys.len());
    for (key, value) in entries {
        match keys.iter().find(|known| known.name == key.text) {
            Some(known) if known.stage == Stage::Later => {
                report.error(key.span, later(format!("{} is", quote(&key.text))));
            }
            Some(known) => {
                written.push(known.name);
                check(value, &known.shape, report);
            }
            None => written.extend(refuse_unknown(key, keys, report)),
        }
    }
    written
}

fn refuse_missing(span: Span, written: &[&str], keys: &'static [Key], report: &mut Report) {
    let missing = keys
        .iter()
        .filter(|key| key.preset == Preset::Required && !written.contains(&key.name));
    for key in missing {
        let fault = Fault::new(
            format!("{} is missing", quote(key.name)),
            format!("it is {}: {}", key.shape.noun(), key.doc),
        );
        report.error(span, fault);
    }
}

/// Reports an unknown key; the key that was probably meant, which is then not missing too.
fn refuse_unknown(
    key: &WrittenKey,
    keys: &'static [Key],
    report: &mut Report,
) -> Option<&'static str> {
    let now = || keys.iter().filter(|key| key.stage == Stage::Now);
    let near = report.nearest(&key.text, now().map(|key| key.name));
    let deeper = || {
        now().find(|outer| {
            outer
                .shape
                .keys()
                .iter()
                .any(|inner| inner.name == key.text)
        })
    };
    let help = match (near, deeper()) {
        (_, Some(outer)) => format!("it belongs in {}", quote(outer.name)),
        (Some(near), None) => format!("did you mean {}?", quote(near)),
        (None, None) => allowed_keys(keys),
    };
    report.error(
        key.span,
        Fault::new(format!("unknown key {}", quote(&key.text)), help),
    );
    near
}

fn allowed_keys(keys: &'static [Key]) -> String {
    let now = keys.iter().filter(|key| key.stage == Stage::Now);
    format!("allowed: {}", join(now.map(|key| quote(key.name)), "and"))
}

fn wrong_kind(node: &Node, shape: &Shape) -> Fault {
    match &node.kind {
        Kind::Scalar(scalar) if scalar.is_null() => Fault::new(
            "the value is missing",
            format!("write {}, or leave the key out", shape.noun()),
        ),
        Kind::Scalar(scalar) => Fault::new(
            format!("{} does not fit here", quote(scalar.shown())),
            shape.noun(),
        ),
        Kind::List(_) | Kind::Map(_) => {
            Fault::new(format!("{} does not fit here", node.noun()), shape.noun())
        }
    }
}

fn fits_kind(shape: &Shape, node: &Node) -> bool {
    let is_map = matches!(node.kind, Kind::Map(_));
    let is_list = matches!(node.kind, Kind::List(_));
    match shape {
        Shape::Later(_, of) => fits_kind(of, node),
        Shape::Table(_)
        | Shape::Names(_)
        | Shape::Fields(_)
        | Shape::AnyFields(_)
        | Shape::Map(_) => is_map,
        Shape::List(_) | Shape::Filled(_) => is_list,
        Shape::AnyOf(all) => all.iter().any(|shape| fits_kind(shape, node)),
        _ => !is_map && !is_list,
    }
}

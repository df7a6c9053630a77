//! Where a route is served and where it goes: its listeners, its upstream or weighted upstreams, its mirrors.

use super::fields::Fields;
use super::keys;
use super::names::Names;
use super::node::{Key, Kind, Node};
use super::report::{Fault, Report, quote};
use super::scalar;
use super::{Action, Mirror};

/// `listeners`: their indices; empty = all.
pub(super) fn listeners(route: &Fields<'_>, names: &Names<'_>, report: &mut Report) -> Vec<usize> {
    let mut indices = Vec::new();
    for item in route.node("listeners").map(Node::items).unwrap_or_default() {
        let Some(index) = find(item, names, report) else {
            continue;
        };
        if indices.contains(&index) {
            let shown = quote(item.scalar().map_or("", |scalar| scalar.shown()));
            report.error(item.span, Fault::bare(format!("{shown} is listed twice")));
        }
        indices.push(index);
    }
    indices
}

/// `upstream`: a name, or a map from names to weights.
pub(super) fn upstream(
    route: &Fields<'_>,
    names: &Names<'_>,
    report: &mut Report,
) -> Option<Action> {
    let node = route.node("upstream")?;
    match &node.kind {
        Kind::Map(entries) => weighted(node, entries, names, report),
        Kind::Scalar(_) | Kind::List(_) => find(node, names, report).map(Action::Upstream),
    }
}

fn weighted(
    node: &Node,
    entries: &[(Key, Node)],
    names: &Names<'_>,
    report: &mut Report,
) -> Option<Action> {
    let mut shares = Vec::with_capacity(entries.len());
    let mut is_whole = true;
    for (key, value) in entries {
        let place = Node {
            span: key.span,
            kind: value.kind.clone(),
        };
        let index = names.find(&place, &key.text, &key.text, report);
        let weight = value
            .scalar()
            .and_then(|scalar| scalar::whole(&scalar.text))
            .and_then(|weight| u32::try_from(weight).ok());
        match index.zip(weight) {
            Some(share) => shares.push(share),
            None => is_whole = false,
        }
    }
    if is_whole && shares.iter().all(|(_, weight)| *weight == 0) {
        let message = if shares.is_empty() {
            "no upstream is named here"
        } else {
            "all weights are 0"
        };
        let help =
            "at least one upstream with a weight that is not, such as `{stable: 95, canary: 5}`";
        report.error(node.span, Fault::new(message, help));
        return None;
    }
    Some(Action::Weighted(shares))
}

/// `mirror`: one, or a list of them.
pub(super) fn mirrors(route: &Fields<'_>, names: &Names<'_>, report: &mut Report) -> Vec<Mirror> {
    let items = route.node("mirror").map(Node::items).unwrap_or_default();
    items
        .iter()
        .filter_map(|item| {
            let fields = Fields::new(Some(item), keys::MIRROR);
            Some(Mirror {
                upstream: find(fields.node("upstream")?, names, report)?,
                per_million: fields.share("percent").unwrap_or_default(),
            })
        })
        .collect()
}

fn find(node: &Node, names: &Names<'_>, report: &mut Report) -> Option<usize> {
    let scalar = node.scalar()?;
    names.find(node, &scalar.text, scalar.shown(), report)
}

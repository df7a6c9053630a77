//! `routes[].websocket`: who may upgrade, and how long a tunnel may be silent.

use std::time::Duration;

use super::fields::Fields;
use super::origin::{self, Origin};
use super::report::{Fault, Report, quote};

/// `routes[].websocket`.
#[derive(Clone, Debug, PartialEq)]
pub struct WebSocket {
    /// Pages that may connect, any of them; never empty. A handshake without `Origin` is no page's.
    pub origins: Vec<Origin>,
    /// No byte either way; `None` = off.
    pub idle_timeout: Option<Duration>,
}

/// The `websocket` of a route; `None` = off.
pub(super) fn parse(route: &Fields<'_>, report: &mut Report) -> Option<WebSocket> {
    if route.is_off("websocket") {
        return None;
    }
    let fields = route.section("websocket");
    Some(WebSocket {
        origins: parse_origins(&fields, report),
        idle_timeout: fields.duration("idle_timeout"),
    })
}

fn parse_origins(fields: &Fields<'_>, report: &mut Report) -> Vec<Origin> {
    let Some(node) = fields.node("origins") else {
        return vec![Origin::SameHost];
    };
    let mut all = Vec::new();
    for item in node.items() {
        let Some(scalar) = item.scalar() else {
            continue;
        };
        let Ok(origin) = origin::parse(&scalar.text) else {
            continue;
        };
        if all.contains(&origin) {
            let message = format!("{} is listed twice", quote(scalar.shown()));
            report.error(item.span, Fault::bare(message));
        }
        all.push(origin);
    }
    all
}

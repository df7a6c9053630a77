//! `listeners`: names and binds are unique, and none takes the operator's port.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::fields::Fields;
use super::keys;
use super::limit_uses::Limits;
use super::node::{Node, Span};
use super::report::{Fault, Report, quote};
use super::tls::{self, Named};
use super::{
    Admin, Listener, ListenerLimits, ListenerTimeouts, MinRate, Protocols, Trust, address, word,
};

/// All listeners; one without a valid bind is left out (it was reported).
pub(super) fn parse(
    root: &Fields<'_>,
    admin: Option<&Admin>,
    named: &mut Named<'_>,
    limits: &mut Limits<'_>,
    report: &mut Report,
) -> Vec<Listener> {
    let admin = admin.map(|admin| {
        (
            admin.bind,
            root.section("admin").node("bind").map(|node| node.span),
        )
    });
    let mut taken = Taken {
        names: HashMap::new(),
        binds: HashMap::new(),
        admin,
    };
    let items = root.node("listeners").map(Node::items).unwrap_or_default();
    items
        .iter()
        .filter_map(|node| parse_listener(node, &mut taken, named, limits, report))
        .collect()
}

/// What earlier listeners have, and on which line.
struct Taken {
    names: HashMap<String, Span>,
    binds: HashMap<SocketAddr, Span>,
    admin: Option<(SocketAddr, Option<Span>)>,
}

fn parse_listener(
    node: &Node,
    taken: &mut Taken,
    named: &mut Named<'_>,
    limits: &mut Limits<'_>,
    report: &mut Report,
) -> Option<Listener> {
    let fields = Fields::new(Some(node), keys::LISTENER);
    // Also where the listener has no address: its files are to be watched.
    let tls = tls::parse(&fields, named, report);
    let bind = parse_binds(&fields, taken, report);
    let first = bind.first()?;
    let name = match fields.written("name") {
        Some(name) => name.to_owned(),
        None => word::slug(&first.to_string()),
    };
    let span = if fields.node("name").is_some() {
        fields.span("name")
    } else {
        fields.span("bind")
    };
    match taken.names.get(&name) {
        // A name that is none was reported.
        _ if word::check_name(&name).is_err() => {}
        // Two listeners with one bind were reported for their bind.
        Some(_) if report.has_error_within(fields.span("bind")) => {}
        Some(earlier) => {
            let message = format!("a second listener called {}", quote(&name));
            report.error(
                span,
                Fault::new(
                    message,
                    format!(
                        "the first is on {}; give one a `name`",
                        report.line(*earlier, span)
                    ),
                ),
            );
        }
        None => {
            taken.names.insert(name.clone(), span);
        }
    }
    let trusted_proxies = Trust {
        networks: address::written(&fields, "trusted_proxies"),
    };
    let rate_limits = limits.uses(&name, &fields, report);
    if fields.is_true("proxy_protocol") && trusted_proxies.networks.is_empty() {
        let fault = Fault::new(
            "no peer may send a PROXY protocol header",
            "it is taken from `trusted_proxies` only, and that list is empty",
        );
        report.warn(fields.span("proxy_protocol"), fault);
    }
    Some(Listener {
        name,
        bind,
        trusted_proxies,
        proxy_protocol: fields.is_true("proxy_protocol"),
        tls,
        protocols: parse_protocols(&fields),
        timeouts: parse_timeouts(&fields.section("timeouts")),
        limits: parse_limits(&fields.section("limits")),
        rate_limits,
    })
}

fn parse_binds(fields: &Fields<'_>, taken: &mut Taken, report: &mut Report) -> Vec<SocketAddr> {
    let mut binds = Vec::new();
    for item in fields.node("bind").map(Node::items).unwrap_or_default() {
        let Some(bind) = item
            .scalar()
            .and_then(|scalar| address::bind(&scalar.text).ok())
        else {
            continue;
        };
        binds.push(bind);
        // Port 0 asks for a free port each time.
        if bind.port() == 0 {
            continue;
        }
        if let Some(earlier) = taken.binds.insert(identity(bind), item.span) {
            let fault = Fault::new(
                format!("`{bind}` is bound twice"),
                format!("first on {}", report.line(earlier, item.span)),
            );
            report.error(item.span, fault);
        }
        if let Some((admin, place)) = taken.admin.filter(|(admin, _)| overlaps(*admin, bind)) {
            let place = place.map_or("by default".into(), |span| {
                format!("on {}", report.line(span, item.span))
            });
            let help = format!(
                "`admin` listens on `{admin}` ({place}); move one of them, or write `admin: off`"
            );
            report.error(
                item.span,
                Fault::new(format!("`{bind}` is the operator's port"), help),
            );
        }
    }
    binds
}

/// `[::]` is dual stack, so it takes the same port as `0.0.0.0`.
fn identity(bind: SocketAddr) -> SocketAddr {
    let ip = bind.ip().to_canonical();
    let ip = if ip.is_unspecified() {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED)
    } else {
        ip
    };
    SocketAddr::new(ip, bind.port())
}

/// The operator's port is not shared: an address for all interfaces takes it on each of them.
fn overlaps(admin: SocketAddr, bind: SocketAddr) -> bool {
    let (admin, bind) = (identity(admin), identity(bind));
    admin.port() != 0
        && admin.port() == bind.port()
        && (admin.ip() == bind.ip() || admin.ip().is_unspecified() || bind.ip().is_unspecified())
}

fn parse_protocols(fields: &Fields<'_>) -> Protocols {
    let written = fields.node("protocols").map(Node::items);
    let speaks = |protocol: &str| {
        written.is_none_or(|items| {
            let words = items.iter().filter_map(Node::scalar);
            words.into_iter().any(|scalar| scalar.text == protocol)
        })
    };
    Protocols {
        http1: speaks("http1"),
        http2: speaks("http2"),
    }
}

fn parse_timeouts(fields: &Fields<'_>) -> ListenerTimeouts {
    ListenerTimeouts {
        first_byte: fields.duration("first_byte"),
        request_head: fields.duration("request_head"),
        request_body: fields.duration("request_body"),
        write: fields.duration("write"),
        idle: fields.duration("idle"),
        tls_handshake: fields.duration("tls_handshake"),
    }
}

fn parse_limits(fields: &Fields<'_>) -> ListenerLimits {
    let count = |name| fields.number(name).map(to_usize);
    let rate = fields.section("min_body_rate");
    let min_body_rate = MinRate {
        bytes_per_second: rate.number("bytes_per_second").unwrap_or_default(),
        after: rate.duration("after").unwrap_or_default(),
    };
    ListenerLimits {
        min_body_rate: (!fields.is_off("min_body_rate")).then_some(min_body_rate),
        connections: fields.node("connections").map(|_| count("connections")),
        connections_per_ip: count("connections_per_ip"),
        head_bytes: fields.size("head_bytes").map(to_usize).unwrap_or_default(),
        headers: count("headers").unwrap_or_default(),
        uri_bytes: fields.size("uri_bytes").map(to_usize).unwrap_or_default(),
        requests_per_connection: fields.number("requests_per_connection"),
        h2_streams: fields
            .number("h2_streams")
            .and_then(|n| u32::try_from(n).ok())
            .unwrap_or_default(),
    }
}

fn to_usize(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

//! A checked tree becomes a [`Config`]; what only several keys together can tell is checked here and below.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use super::fields::Fields;
use super::keys;
use super::limit_uses::Limits;
use super::node::Node;
use super::report::{Fault, Report};
use super::tls::Named;
use super::{
    AccessLog, Admin, Config, Drain, ErrorDetail, LogPath, Logging, Secret, address, dns, doubts,
};
use super::{listeners, log_line, routes, stores, upstreams};

/// Builds the meaning of the file. Only worth something if no error was reported, here or before.
pub(super) fn parse(root: &Node, named: &mut Named<'_>, report: &mut Report) -> Config {
    let fields = Fields::new(Some(root), keys::ROOT);
    let admin = parse_admin(&fields);
    let upstreams = upstreams::parse(&fields, named, report);
    let stores = stores::parse(&fields, report);
    let mut limits = Limits::parse(&fields, &stores, report);
    let listeners = listeners::parse(&fields, admin.as_ref(), named, &mut limits, report);
    let routes = routes::parse(&fields, &upstreams, &listeners, &mut limits, report);
    let workers = fields
        .number("workers")
        .and_then(|n| usize::try_from(n).ok())
        .and_then(NonZeroUsize::new);
    doubts::warn_of_small_caps(&fields, workers, report);
    Config {
        workers,
        dns: dns::parse(&fields.section("dns"), report),
        routes,
        listeners,
        admin,
        upstreams,
        drain: parse_drain(&fields.section("drain"), report),
        logging: parse_logging(&fields.section("logging"), report),
        errors: parse_errors(&fields),
        rate_limits: limits.finish(),
        stores,
        limits_memory: fields.size("limits_memory").unwrap_or_default(),
        files: std::mem::take(&mut named.taken),
    }
}

fn parse_admin(root: &Fields<'_>) -> Option<Admin> {
    if root.is_off("admin") {
        return None;
    }
    let fields = root.section("admin");
    let bind = fields
        .text("bind")
        .and_then(|text| address::bind(text).ok())?;
    let token = if fields.is_off("token") {
        None
    } else {
        fields.written("token")
    };
    Some(Admin {
        bind,
        token: token.map(|token| Secret(token.into())),
    })
}

fn parse_drain(fields: &Fields<'_>, report: &mut Report) -> Drain {
    let delay = fields.duration("delay").unwrap_or_default();
    let deadline = fields.duration("deadline").unwrap_or_default();
    if deadline < delay {
        let key = if fields.node("deadline").is_some() {
            "deadline"
        } else {
            "delay"
        };
        let help = "both are counted from SIGTERM: a `deadline` of at least `delay`";
        let fault = Fault::new(
            format!("the deadline ({deadline:?}) comes before the end of the delay ({delay:?})"),
            help,
        );
        report.error(fields.span(key), fault);
    }
    Drain { delay, deadline }
}

fn parse_logging(fields: &Fields<'_>, report: &mut Report) -> Logging {
    let level = fields
        .text("level")
        .and_then(|level| level.parse().ok())
        .unwrap_or(tracing::Level::INFO);
    if fields.is_off("access") {
        return Logging {
            level,
            access: None,
        };
    }
    let access = fields.section("access");
    let path = match access.text("path") {
        None | Some("stdout") => LogPath::Stdout,
        Some("stderr") => {
            let fault = Fault::new(
                "the access log cannot go to stderr",
                "`stdout`, or the path of a file",
            );
            report.error(access.span("path"), fault);
            LogPath::Stdout
        }
        Some(path) => LogPath::File(PathBuf::from(path)),
    };
    Logging {
        level,
        access: Some(AccessLog {
            path,
            format: log_line::parse(&access, report),
            sample_per_million: access.share("sample").unwrap_or_default(),
        }),
    }
}

/// `errors: reason` is short for `errors: {detail: reason}`.
fn parse_errors(root: &Fields<'_>) -> ErrorDetail {
    let section = root.section("errors");
    match root.written("errors").or_else(|| section.text("detail")) {
        Some("reason") => ErrorDetail::Reason,
        _ => ErrorDetail::Full,
    }
}

//! The one table of what the operator's port serves: path, methods, and a sentence about each.

use http::header;
use http::{Method, StatusCode};

use super::answer::Refused;

/// Something that can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Page {
    Index,
    Healthz,
    Readyz,
    Metrics,
    Config,
    Routes,
    Upstreams,
    Limits,
    Bucket,
    Reload,
    LogLevel,
    Breakers,
}

/// A row of the table.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) page: Page,
    pub(super) path: &'static str,
    pub(super) way: Way,
    /// One sentence for people.
    pub(super) what: &'static str,
}

/// How a row may be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// Read, by anybody: probes and scrapers have no token.
    Open,
    /// Read.
    Read,
    /// Changes something.
    Verb(&'static str),
    /// Read, or changed by this method.
    ReadOr(&'static str),
}

impl Way {
    /// For `Allow`.
    pub(super) fn methods(self) -> String {
        match self {
            Way::Open | Way::Read => "GET, HEAD".to_owned(),
            Way::Verb(method) => method.to_owned(),
            Way::ReadOr(method) => format!("GET, HEAD, {method}"),
        }
    }

    /// Is this one of its methods?
    pub(super) fn takes(self, method: &Method) -> bool {
        self.changes(method)
            || !matches!(self, Way::Verb(_)) && matches!(*method, Method::GET | Method::HEAD)
    }

    /// Does this method change something?
    pub(super) fn changes(self, method: &Method) -> bool {
        match self {
            Way::Open | Way::Read => false,
            Way::Verb(verb) | Way::ReadOr(verb) => method == verb,
        }
    }
}

/// Everything that is served.
pub(super) const ROWS: [Row; 12] = [
    row(Page::Index, "/", Way::Read, "This list."),
    row(
        Page::Healthz,
        "/healthz",
        Way::Open,
        "200 while the process is alive, also while it drains.",
    ),
    row(
        Page::Readyz,
        "/readyz",
        Way::Open,
        "200 while it wants traffic, 503 while it drains.",
    ),
    row(
        Page::Metrics,
        "/metrics",
        Way::Open,
        "Everything that is counted, for Prometheus.",
    ),
    row(
        Page::Config,
        "/config",
        Way::Read,
        "The configuration in force, defaults filled in, secrets masked.",
    ),
    row(
        Page::Routes,
        "/routes",
        Way::Read,
        "Every route: its place in the file, what it matches, what it does.",
    ),
    row(
        Page::Upstreams,
        "/upstreams",
        Way::Read,
        "Every upstream and endpoint: breakers, connections, load, who is avoided.",
    ),
    row(
        Page::Limits,
        "/limits",
        Way::Read,
        "Every rate limit: what it said, the buckets it holds, the keys it refuses most.",
    ),
    row(
        Page::Bucket,
        "/limits/{limit}/{key}",
        Way::ReadOr("DELETE"),
        "The bucket of one key; DELETE fills it. Each part of the key is percent-encoded, several are joined with `,`.",
    ),
    row(
        Page::Reload,
        "/reload",
        Way::Verb("POST"),
        "Takes the files up at once; If-Match: \"GENERATION\" only while that one is in force.",
    ),
    row(
        Page::LogLevel,
        "/loglevel",
        Way::Verb("PUT"),
        "Sets the level of the control log, of all or of one part, until the gateway ends.",
    ),
    row(
        Page::Breakers,
        "/breakers/{upstream}",
        Way::Verb("PUT"),
        "Forces circuit breakers open or closed, or lets them go: /breakers/{upstream}/{endpoint} one endpoint's.",
    ),
];

const fn row(page: Page, path: &'static str, way: Way, what: &'static str) -> Row {
    Row {
        page,
        path,
        way,
        what,
    }
}

/// The row of a path.
///
/// # Errors
/// 404.
pub(super) fn find(path: &str) -> Result<&'static Row, Refused> {
    if let Some(row) = ROWS.iter().find(|row| fits(row.path, path)) {
        return Ok(row);
    }
    let detail = "nothing is here: / lists what is".to_owned();
    Err(Refused::new(StatusCode::NOT_FOUND, detail))
}

/// Is this a path of the form? Each `{…}` stands for a part that is not empty, the last for all that is left.
fn fits(form: &str, path: &str) -> bool {
    let Some((fixed, parts)) = form.split_once("/{") else {
        return form == path;
    };
    let wanted = 1 + parts.matches('{').count();
    let rest = path.strip_prefix(fixed).and_then(|p| p.strip_prefix('/'));
    rest.is_some_and(|rest| {
        let found = rest.splitn(wanted, '/').filter(|part| !part.is_empty());
        found.count() == wanted
    })
}

/// 405 for this row.
pub(super) fn wrong_method(row: &Row) -> Refused {
    let methods = row.way.methods();
    Refused::new(
        StatusCode::METHOD_NOT_ALLOWED,
        format!("{} takes {methods}", row.path),
    )
    .with(header::ALLOW, &methods)
}

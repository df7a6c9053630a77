//! What the demo says when it starts: where everything is, and five commands that work with the file it runs on.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use tidegate::config::{Action, Config, Loaded, PathMatch, Route};

use super::Service;

/// Nobody waits longer than this for a timeout to be shown.
const PATIENCE: Duration = Duration::from_secs(10);

/// The guide to the gateway on `loaded` and to the services at `places`.
pub(super) fn write(loaded: &Loaded, places: &[(Service, SocketAddr)]) -> String {
    let file = loaded
        .sources
        .first()
        .map_or_else(|| "the file".into(), |path| path.display().to_string());
    let mut out =
        format!("\nTidegate demo: the gateway on {file}, and services for it to point to.\n\n");
    write_addresses(&mut out, &loaded.config, places);
    let Some(base) = find_base(&loaded.config) else {
        out.push_str("\nThe gateway's port is chosen by the system: see `listening` below.\n\n");
        return out;
    };
    out.push_str("\nTo paste into another terminal:\n");
    for (comment, command) in commands(&loaded.config, &base) {
        let _ = write!(out, "\n  # {comment}\n  {command}\n");
    }
    let _ = write!(
        out,
        "\n{file} is live: edit it, save, ask again. A mistake in it changes nothing; the log below tells where it is.\n"
    );
    if let Some(welcome) = find(&loaded.config, |action| {
        matches!(action, Action::Respond(_))
    }) {
        let (name, path) = (&welcome.route.name, &welcome.path);
        let _ = writeln!(
            out,
            "For example the text of route `{name}`, which you get by: curl -s {base}{path}"
        );
    }
    out.push_str("Ctrl-C drains and ends; a second one ends at once.\n\n");
    out
}

fn write_addresses(out: &mut String, config: &Config, places: &[(Service, SocketAddr)]) {
    let binds = config.listeners.iter().flat_map(|l| &l.bind);
    for address in binds {
        let _ = writeln!(out, "  gateway  http://{}", reachable(*address));
    }
    if let Some(admin) = &config.admin {
        let _ = writeln!(out, "  admin    http://{}", reachable(admin.bind));
    }
    for (service, address) in places {
        let _ = writeln!(
            out,
            "  {:<8} http://{address}  {}",
            service.name(),
            describe(*service)
        );
    }
    if places.is_empty() {
        out.push_str("  None of the demo's services runs: the file names no upstream echo, slow, flaky or chat on a loopback address.\n");
    }
}

fn describe(service: Service) -> &'static str {
    match service {
        Service::Echo => "reports what it received",
        Service::Slow => "answers after ?ms=1000",
        Service::Flaky => {
            "fails when told: ?status=503, ?reset=1, ?hang=1; ?every=3 each third time only"
        }
        Service::Chat => "a WebSocket echo",
    }
}

/// Comment and command; those whose service has no simple route are left out.
fn commands(config: &Config, base: &str) -> Vec<(String, String)> {
    let found = [
        find_service(config, Service::Echo).map(|echo| {
            (
                "What an upstream receives: the fields that the gateway adds".to_owned(),
                format!(
                    "curl -s '{base}{}?a=1' -H 'X-Colour: blue' -d 'a body'",
                    echo.below("hello")
                ),
            )
        }),
        find(config, |action| matches!(action, Action::Redirect(_))).map(|redirect| {
            (
                "An answer that needs no upstream".to_owned(),
                format!("curl -si '{base}{}'", redirect.below("things?a=1")),
            )
        }),
        find_service(config, Service::Slow).map(|slow| leave_or_wait(config, base, &slow)),
        find_service(config, Service::Flaky).map(|flaky| {
            (
                "An upstream that breaks the connection: see X-Gateway-Reason".to_owned(),
                format!("curl -si '{base}{}?reset=1'", flaky.path),
            )
        }),
        config.admin.as_ref().map(|admin| {
            (
                "What was counted".to_owned(),
                format!(
                    "curl -s http://{}/metrics | grep -E '^tidegate_(requests|gateway)'",
                    reachable(admin.bind)
                ),
            )
        }),
    ];
    found.into_iter().flatten().collect()
}

/// Shows the gateway's own timeout if it is short, else a client that gives up.
fn leave_or_wait(config: &Config, base: &str, slow: &Place<'_>) -> (String, String) {
    let path = &slow.path;
    match timeout_of(config, slow.route).filter(|timeout| *timeout <= PATIENCE) {
        Some(timeout) => (
            format!(
                "An upstream that takes a second more than its {timeout:?}: see X-Gateway-Reason"
            ),
            format!("curl -si '{base}{path}?ms={}'", timeout.as_millis() + 1000),
        ),
        None => (
            "A client that leaves before the answer: the access log says 499 client_closed"
                .to_owned(),
            format!("curl -s -m 1 '{base}{path}?ms=3000'"),
        ),
    }
}

/// The time after which the gateway gives up waiting for an answer's head on this route.
fn timeout_of(config: &Config, route: &Route) -> Option<Duration> {
    let Action::Upstream(index) = route.action else {
        return None;
    };
    let own = route.timeouts.response;
    let response = own.unwrap_or_else(|| config.upstreams.get(index)?.timeouts.response);
    [response, route.timeouts.request]
        .into_iter()
        .flatten()
        .min()
}

/// A route that a plain GET reaches, and a path to it.
struct Place<'c> {
    route: &'c Route,
    path: String,
    is_prefix: bool,
}

impl Place<'_> {
    /// A path below the route's, where it takes more than one.
    fn below(&self, rest: &str) -> String {
        if self.is_prefix {
            format!("{}/{rest}", self.path.trim_end_matches('/'))
        } else {
            self.path.clone()
        }
    }
}

fn find_service<'c>(config: &'c Config, service: Service) -> Option<Place<'c>> {
    let wanted = config
        .upstreams
        .iter()
        .position(|u| u.name == service.name())?;
    find(
        config,
        |action| matches!(action, Action::Upstream(index) if *index == wanted),
    )
}

fn find(config: &Config, wanted: impl Fn(&Action) -> bool) -> Option<Place<'_>> {
    let routes = config.routes.iter().filter(|route| wanted(&route.action));
    routes.into_iter().find_map(|route| {
        let simple = route.matches.iter().find(|m| {
            m.hosts.is_empty()
                && !matches!(m.path, PathMatch::Regex(_))
                && (m.methods.is_empty() || m.methods.contains(&http::Method::GET))
        })?;
        let (path, is_prefix) = match &simple.path {
            PathMatch::Exact(path) | PathMatch::Regex(path) => (path, false),
            PathMatch::Prefix(path) => (path, true),
        };
        Some(Place {
            route,
            path: path.clone(),
            is_prefix,
        })
    })
}

/// The URL of the first listener, unless its port is yet to be chosen.
fn find_base(config: &Config) -> Option<String> {
    let address = config.listeners.first()?.bind.first()?;
    (address.port() != 0).then(|| format!("http://{}", reachable(*address)))
}

/// Where a client on this machine finds what listens on `address`.
fn reachable(address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), address.port())
    } else {
        address
    }
}

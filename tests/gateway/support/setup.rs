//! The configuration of a conversation: the smallest useful file, and what the test adds to it.

use std::fmt::Display;

use super::gateway::Gateway;

/// One listener, one route `all`, one upstream `app`; each takes further keys in YAML's flow form.
#[derive(Clone, Debug, Default)]
pub(crate) struct Setup {
    listener: Vec<String>,
    routes: Vec<String>,
    route: Vec<String>,
    upstream: Vec<String>,
    endpoints: Vec<String>,
    top: Vec<String>,
}

impl Setup {
    /// Everything goes to one endpoint, by its address or by a name with a port.
    pub(crate) fn to(endpoint: impl Display) -> Setup {
        Setup {
            endpoints: vec![endpoint.to_string()],
            ..Setup::default()
        }
    }

    /// Another endpoint of the upstream `app`.
    pub(crate) fn endpoint(mut self, endpoint: impl Display) -> Setup {
        self.endpoints.push(endpoint.to_string());
        self
    }

    /// Keys of the listener, such as `timeouts: { idle: 1s }`.
    pub(crate) fn listener(mut self, keys: &str) -> Setup {
        self.listener.push(keys.to_owned());
        self
    }

    /// Keys of the route `all`.
    pub(crate) fn route(mut self, keys: &str) -> Setup {
        self.route.push(keys.to_owned());
        self
    }

    /// A whole route, in front of `all`.
    pub(crate) fn before(mut self, route: &str) -> Setup {
        self.routes.push(route.to_owned());
        self
    }

    /// Keys of the upstream `app`.
    pub(crate) fn upstream(mut self, keys: &str) -> Setup {
        self.upstream.push(keys.to_owned());
        self
    }

    /// A key of the file, such as `workers: 1`.
    pub(crate) fn top(mut self, key: &str) -> Setup {
        self.top.push(key.to_owned());
        self
    }

    /// The file.
    pub(crate) fn text(&self) -> String {
        let endpoints: Vec<String> = self
            .endpoints
            .iter()
            .map(|address| format!("\"http://{address}\""))
            .collect();
        let listener = flow("name: main, bind: \"127.0.0.1:0\"", &self.listener);
        let upstream = flow(
            &format!("endpoints: [{}]", endpoints.join(", ")),
            &self.upstream,
        );
        let mut text = String::new();
        let given = |key: &str| self.top.iter().any(|line| line.starts_with(key));
        if !given("workers:") {
            text += "workers: 2\n";
        }
        if !given("admin:") {
            text += "admin: { bind: \"127.0.0.1:0\" }\n";
        }
        for line in &self.top {
            text += &format!("{line}\n");
        }
        text += &format!("listeners:\n  - {listener}\nroutes:\n");
        for route in &self.routes {
            text += &format!("  - {{ {route} }}\n");
        }
        text += &format!("  - {}\n", flow("name: all, upstream: app", &self.route));
        text += &format!("upstreams:\n  app: {upstream}\n");
        text
    }

    /// Starts a gateway on the file.
    pub(crate) fn start(&self) -> Gateway {
        Gateway::start(&self.text())
    }
}

fn flow(first: &str, more: &[String]) -> String {
    let mut keys = vec![first];
    keys.extend(more.iter().map(String::as_str));
    format!("{{ {} }}", keys.join(", "))
}

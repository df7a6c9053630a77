//! Sends the client elsewhere: an absolute `Location` built from the request and the rule (RFC 9110, section 10.2.2).

use http::header::{self, HeaderValue};
use http::{Response, StatusCode};

use bytes::Bytes;

use super::rewrite::joined;

/// What is not said comes from the request.
#[derive(Clone, Debug)]
pub struct Redirect {
    /// `http` or `https`.
    pub scheme: Option<String>,
    /// Host without port.
    pub host: Option<String>,
    /// Port.
    pub port: Option<u16>,
    /// The new path.
    pub path: Path,
    /// 301, 302, 303, 307 or 308.
    pub status: StatusCode,
}

/// The path of the new location.
#[derive(Clone, Debug)]
pub enum Path {
    /// As asked for, with its query.
    Kept,
    /// This one, without a query.
    Full(String),
    /// This in place of what the route's prefix matched; the query stays.
    Prefix(String),
}

/// What a redirect takes from the request.
pub struct Asked<'a> {
    /// Host without port.
    pub host: &'a str,
    /// The normalised path.
    pub path: &'a str,
    /// The query, without `?`.
    pub query: Option<&'a str>,
    /// Bytes of `path` that the route's prefix stands for.
    pub prefix: usize,
    /// The listener's port.
    pub port: u16,
    /// The scheme of the request.
    pub scheme: &'a str,
}

impl Redirect {
    /// The answer for this request.
    #[must_use]
    pub fn answer(&self, asked: &Asked<'_>) -> Response<Bytes> {
        let location = self.location(asked);
        let mut response = Response::new(Bytes::new());
        *response.status_mut() = self.status;
        // Paths and hosts were checked character by character, so the value is always valid.
        if let Ok(value) = HeaderValue::from_str(&location) {
            response.headers_mut().insert(header::LOCATION, value);
        }
        response
    }

    fn location(&self, asked: &Asked<'_>) -> String {
        let scheme = self.scheme.as_deref().unwrap_or(asked.scheme);
        // The listener's port is kept only where the rule names neither scheme nor port.
        let port = self
            .port
            .or_else(|| self.scheme.is_none().then_some(asked.port));
        let mut location = format!("{scheme}://{}", self.host.as_deref().unwrap_or(asked.host));
        let default_port = if scheme == "https" { 443 } else { 80 };
        if let Some(port) = port.filter(|port| *port != default_port) {
            location.push(':');
            location.push_str(&port.to_string());
        }
        match &self.path {
            Path::Full(path) => location.push_str(path),
            Path::Kept => location.push_str(asked.path),
            Path::Prefix(prefix) => {
                let rest = asked.path.get(asked.prefix..).unwrap_or_default();
                location.push_str(&joined(prefix, rest));
            }
        }
        if let Some(query) = asked.query.filter(|_| !matches!(self.path, Path::Full(_))) {
            location.push('?');
            location.push_str(query);
        }
        location
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(scheme: Option<&str>, host: Option<&str>, port: Option<u16>, path: Path) -> Redirect {
        let own = |s: Option<&str>| s.map(str::to_owned);
        Redirect {
            scheme: own(scheme),
            host: own(host),
            port,
            path,
            status: StatusCode::FOUND,
        }
    }

    fn location(rule: &Redirect, port: u16, path: &str, prefix: usize) -> String {
        rule.location(&Asked {
            host: "a.test",
            path,
            query: Some("q=1"),
            prefix,
            port,
            scheme: "http",
        })
    }

    #[test]
    fn ports_follow_the_listener_only_when_nothing_is_named() {
        let kept = |scheme, port| rule(scheme, None, port, Path::Kept);
        assert_eq!(
            location(&kept(None, None), 80, "/x", 0),
            "http://a.test/x?q=1"
        );
        assert_eq!(
            location(&kept(None, None), 8080, "/x", 0),
            "http://a.test:8080/x?q=1"
        );
        assert_eq!(
            location(&kept(None, Some(80)), 8080, "/x", 0),
            "http://a.test/x?q=1"
        );
        assert_eq!(
            location(&kept(Some("https"), None), 8080, "/x", 0),
            "https://a.test/x?q=1"
        );
        assert_eq!(
            location(&kept(Some("https"), Some(8443)), 80, "/x", 0),
            "https://a.test:8443/x?q=1"
        );
        assert_eq!(
            location(&rule(None, Some("b.test"), None, Path::Kept), 8080, "/x", 0),
            "http://b.test:8080/x?q=1"
        );
    }

    #[test]
    fn prefixes_are_replaced_by_whole_segments() {
        let to = |p: &str| rule(None, None, None, Path::Prefix(p.into()));
        assert_eq!(
            location(&to("/new"), 80, "/old/lemon", 4),
            "http://a.test/new/lemon?q=1"
        );
        assert_eq!(
            location(&to("/"), 80, "/old/lemon", 4),
            "http://a.test/lemon?q=1"
        );
        assert_eq!(location(&to("/"), 80, "/old", 4), "http://a.test/?q=1");
        assert_eq!(
            location(&to("/new"), 80, "/old/", 4),
            "http://a.test/new/?q=1"
        );
        let full = rule(None, None, None, Path::Full("/all".into()));
        assert_eq!(location(&full, 80, "/old/lemon", 0), "http://a.test/all");
    }
}

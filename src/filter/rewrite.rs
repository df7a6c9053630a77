//! The path and host that the upstream sees in place of what the client asked for.

use std::borrow::Cow;

use http::HeaderValue;
use http::uri::{PathAndQuery, Uri};
use regex::Regex;

/// What is `None` stays.
#[derive(Clone, Debug, Default)]
pub struct Rewrite {
    /// The new path; the query always stays.
    pub path: Option<Path>,
    /// The new host.
    pub host: Option<Host>,
}

/// A new path.
#[derive(Clone, Debug)]
pub enum Path {
    /// This one.
    Full(String),
    /// This in place of what the route's prefix matched.
    Prefix(String),
    /// Every match of the pattern replaced; `$1` and `${name}` stand for groups.
    Regex(Regex, String),
}

/// A new host.
#[derive(Clone, Debug)]
pub enum Host {
    /// This one.
    Name(HeaderValue),
    /// The endpoint's own, known once it is chosen.
    Endpoint,
}

impl Path {
    /// The target with its path replaced; `prefix` bytes of the path are what the route's prefix stands for.
    ///
    /// # Errors
    /// The result is no path; only a regular expression can bring that about.
    pub fn apply(&self, uri: &Uri, prefix: usize) -> Result<Uri, http::Error> {
        let path = uri.path();
        let new: Cow<'_, str> = match self {
            Path::Full(full) => full.as_str().into(),
            Path::Prefix(new) => joined(new, path.get(prefix..).unwrap_or_default()).into(),
            Path::Regex(pattern, replace) => pattern.replace_all(path, replace.as_str()),
        };
        let slash = if new.starts_with('/') { "" } else { "/" };
        let target = match uri.query() {
            Some(query) => format!("{slash}{new}?{query}"),
            None => format!("{slash}{new}"),
        };
        Ok(Uri::from(PathAndQuery::try_from(target)?))
    }
}

/// A prefix and the rest of a path, joined with exactly one slash and never empty; a slash at the end stays one.
#[must_use]
pub fn joined(prefix: &str, rest: &str) -> String {
    let mut path = prefix.strip_suffix('/').unwrap_or(prefix).to_owned();
    if !rest.is_empty() && !rest.starts_with('/') || rest.is_empty() && prefix.ends_with('/') {
        path.push('/');
    }
    path.push_str(rest);
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rewritten(path: &Path, target: &'static str, prefix: usize) -> String {
        path.apply(&Uri::from_static(target), prefix)
            .unwrap()
            .to_string()
    }

    #[test]
    fn prefixes_are_replaced_by_whole_segments() {
        let to = |new: &str| Path::Prefix(new.into());
        assert_eq!(rewritten(&to("/one"), "/prefix/one/two", 11), "/one/two");
        assert_eq!(rewritten(&to("/"), "/strip-prefix/three", 13), "/three");
        assert_eq!(rewritten(&to("/"), "/strip-prefix", 13), "/");
        assert_eq!(
            rewritten(&to("/one"), "/prefix/one/a%2Fb?x=%20", 11),
            "/one/a%2Fb?x=%20"
        );
        assert_eq!(rewritten(&to("/a/"), "/b/c", 2), "/a/c");
        assert_eq!(rewritten(&to("/a"), "/x/y", 0), "/a/x/y");
    }

    #[test]
    fn patterns_replace_with_their_groups() {
        let path = Path::Regex(Regex::new("^/v([0-9]+)/").unwrap(), "/api/${1}/".into());
        assert_eq!(rewritten(&path, "/v12/users?q=1", 0), "/api/12/users?q=1");
        assert_eq!(rewritten(&path, "/users", 0), "/users");
        let bare = Path::Regex(Regex::new("^/x").unwrap(), String::new());
        assert_eq!(rewritten(&bare, "/xyz", 0), "/yz");
        assert_eq!(
            rewritten(&Path::Full("/all".into()), "/one/two?q", 0),
            "/all?q"
        );
    }
}

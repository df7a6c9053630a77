//! The address of a remote configuration: `https:` anywhere, `http:` on this machine only.

use std::net::IpAddr;

use http::Uri;
use http::uri::{PathAndQuery, Scheme};

/// Where something is fetched from.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Address {
    uri: Uri,
}

impl Address {
    /// The address that `url` says.
    ///
    /// # Errors
    /// Why nothing is fetched from there.
    pub(super) fn parse(url: &str) -> Result<Address, String> {
        let uri: Uri = url.parse().map_err(|error| format!("no URL: {error}"))?;
        let address = Address { uri };
        let authority = address.uri.authority().ok_or("a host is missing")?;
        if authority.as_str().contains('@') {
            return Err("a name and a password in a URL end up in logs".to_owned());
        }
        if address.is_secure() {
            return Ok(address);
        }
        if address.uri.scheme() != Some(&Scheme::HTTP) {
            return Err("`https://` is wanted".to_owned());
        }
        if !is_loopback(address.host()) {
            return Err(
                "anybody on the way could change it: `http:` is for this machine only".to_owned(),
            );
        }
        Ok(address)
    }

    /// Is it fetched by TLS?
    pub(super) fn is_secure(&self) -> bool {
        self.uri.scheme() == Some(&Scheme::HTTPS)
    }

    /// The host, an IPv6 address without brackets.
    pub(super) fn host(&self) -> &str {
        let host = self.uri.host().unwrap_or_default();
        host.trim_start_matches('[').trim_end_matches(']')
    }

    pub(super) fn port(&self) -> u16 {
        let default = if self.is_secure() { 443 } else { 80 };
        self.uri.port_u16().unwrap_or(default)
    }

    /// What the `Host` field says.
    pub(super) fn authority(&self) -> &str {
        self.uri
            .authority()
            .map_or("", |authority| authority.as_str())
    }

    /// Path and query.
    pub(super) fn target(&self) -> &str {
        self.uri.path_and_query().map_or("/", PathAndQuery::as_str)
    }

    /// Where the signature is: `.sig` follows the path.
    pub(super) fn signature(&self) -> Option<Address> {
        let query = self
            .uri
            .query()
            .map_or(String::new(), |query| format!("?{query}"));
        self.at(&format!("{}.sig{query}", self.uri.path()))
    }

    /// Where a redirect leads.
    ///
    /// # Errors
    /// It is another host, another port or another scheme.
    pub(super) fn follow(&self, location: &str) -> Result<Address, String> {
        let elsewhere =
            || format!("it redirects to {location}: only redirects within one host are followed");
        if location.starts_with('/') && !location.starts_with("//") {
            return self.at(location).ok_or_else(elsewhere);
        }
        let to = Address::parse(location).map_err(|_| elsewhere())?;
        let is_same = to.is_secure() == self.is_secure()
            && to.host().eq_ignore_ascii_case(self.host())
            && to.port() == self.port();
        if is_same { Ok(to) } else { Err(elsewhere()) }
    }

    fn at(&self, target: &str) -> Option<Address> {
        let mut parts = self.uri.clone().into_parts();
        parts.path_and_query = Some(target.parse().ok()?);
        let uri = Uri::from_parts(parts).ok()?;
        Some(Address { uri })
    }
}

fn is_loopback(host: &str) -> bool {
    let ip: Result<IpAddr, _> = host.parse();
    host.eq_ignore_ascii_case("localhost") || ip.is_ok_and(|ip| ip.to_canonical().is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_https_or_this_machine() {
        for url in [
            "https://a.test/x",
            "http://127.0.0.1:1/x",
            "http://[::1]/x",
            "http://localhost",
        ] {
            assert!(Address::parse(url).is_ok(), "{url}");
        }
        for (url, why) in [
            ("http://a.test/x", "this machine only"),
            ("http://127.0.0.1.a.test/x", "this machine only"),
            ("ftp://a.test/x", "https"),
            ("https://me:secret@a.test/x", "logs"),
            ("https:///x", ""),
        ] {
            assert!(Address::parse(url).unwrap_err().contains(why), "{url}");
        }
    }

    #[test]
    fn the_signature_is_beside_it() {
        for (url, target) in [
            ("https://a.test/g.yaml", "/g.yaml.sig"),
            ("https://a.test/g.yaml?v=1", "/g.yaml.sig?v=1"),
        ] {
            let signature = Address::parse(url).unwrap().signature().unwrap();
            assert_eq!(
                (signature.target(), signature.authority()),
                (target, "a.test")
            );
        }
    }

    #[test]
    fn redirects_stay_within_the_host() {
        let from = Address::parse("https://a.test/g.yaml").unwrap();
        for (location, target) in [
            ("/other", "/other"),
            ("https://A.test:443/other?x", "/other?x"),
        ] {
            assert_eq!(from.follow(location).unwrap().target(), target);
        }
        for location in [
            "https://b.test/g.yaml",
            "//b.test/x",
            "https://a.test:8443/",
            "http://a.test/",
            "other",
        ] {
            let why = from.follow(location).unwrap_err();
            assert!(why.contains("within one host"), "{location}: {why}");
        }
    }
}

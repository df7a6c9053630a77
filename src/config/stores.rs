//! `stores`: where limits that several gateways share have their buckets, and who the gateway is there.

use std::time::Duration;

use redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo};

use super::Secret;
use super::fields::Fields;
use super::keys_limits::STORE;
use super::node::Node;
use super::report::{Fault, Report, quote};

/// One entry of `stores`.
#[derive(Clone, Debug, PartialEq)]
pub struct Store {
    /// Its key in the map.
    pub name: String,
    /// Where it is.
    pub redis: RedisUrl,
    /// How long an answer may take.
    pub timeout: Duration,
}

/// What a URL `redis://user:password@host:port/database` says.
#[derive(Clone, Debug, PartialEq)]
pub struct RedisUrl {
    /// `rediss`: TLS, with the authorities of the system.
    pub is_secure: bool,
    /// A name or an address, without brackets.
    pub host: String,
    /// 6379 unless it is written.
    pub port: u16,
    /// 0 unless it is written.
    pub database: u32,
    /// The user.
    pub user: Option<String>,
    /// The password.
    pub password: Option<Secret>,
}

/// All stores, in file order.
pub(super) fn parse(root: &Fields<'_>, report: &mut Report) -> Vec<Store> {
    let entries = root.node("stores").and_then(Node::map).unwrap_or_default();
    let stores = entries.iter().filter_map(|(key, node)| {
        let fields = Fields::new(Some(node), STORE);
        // One that is missing was reported.
        let written = fields.written("redis")?;
        match url(written) {
            Ok(redis) => Some(Store {
                name: key.text.clone(),
                redis,
                timeout: fields.duration("timeout").unwrap_or_default(),
            }),
            Err(fault) => {
                report.error(fields.span("redis"), fault);
                None
            }
        }
    });
    stores.collect()
}

/// Reads the URL of a store. No word of it is repeated: it may hold a password.
fn url(text: &str) -> Result<RedisUrl, Fault> {
    let help = "`redis://host:6379` or `rediss://user:password@host:6379/0`";
    let (scheme, rest) = text.split_once("://").unwrap_or(("", text));
    if !["redis", "rediss"].contains(&scheme) {
        return Err(Fault::new("this is not the URL of a Redis", help));
    }
    if let Some(mark) = rest.chars().find(|c| "?#".contains(*c)) {
        let message = format!("a URL of a store has no {}", quote(&mark.to_string()));
        let help = "percent-encode what belongs to the password";
        return Err(Fault::new(message, help));
    }
    // TLS is ours: to the library it is the same place.
    let read = format!("redis://{rest}").into_connection_info();
    let info = read.map_err(|_| Fault::new("this URL cannot be read", help))?;
    read_url(&info, scheme == "rediss").ok_or_else(|| Fault::new("this URL cannot be read", help))
}

fn read_url(info: &ConnectionInfo, is_secure: bool) -> Option<RedisUrl> {
    let ConnectionAddr::Tcp(host, port) = info.addr() else {
        return None;
    };
    let settings = info.redis_settings();
    Some(RedisUrl {
        is_secure,
        host: host.clone(),
        port: *port,
        database: u32::try_from(settings.db()).ok()?,
        user: settings.username().map(String::from),
        password: settings.password().map(|text| Secret(text.into())),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_says_where_and_who() {
        let read = url("rediss://me:p%40ss@[::1]:7000/3").unwrap();
        assert!(read.is_secure);
        assert_eq!(
            (read.host.as_str(), read.port, read.database),
            ("::1", 7000, 3)
        );
        assert_eq!(read.user.as_deref(), Some("me"));
        assert_eq!(read.password, Some(Secret("p@ss".into())));
        let read = url("redis://cache").unwrap();
        assert_eq!(
            (read.host.as_str(), read.port, read.database),
            ("cache", 6379, 0)
        );
        assert_eq!((read.user, read.password), (None, None));
        assert_eq!(
            url("redis://:secret@h").unwrap().password,
            Some(Secret("secret".into()))
        );
    }

    #[test]
    fn what_is_no_url_is_refused_and_not_repeated() {
        for bad in [
            "http://:secret@h",
            "secret",
            "redis://:secret@h:99999",
            "redis://:secret@h/x",
            "redis://:secret@h/-1",
            "redis://:secret@h?protocol=resp3",
            "redis://:secret@h#insecure",
            "unix:///secret",
            "redis://",
        ] {
            let fault = url(bad).unwrap_err();
            assert!(!format!("{fault:?}").contains("secret"), "{bad}");
        }
    }
}

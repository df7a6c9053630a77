//! Who may ask for what: the token, the address that is listened on, and the guards against other people's web pages.
//!
//! A browser on the operator's machine reaches loopback too, and does so for any page that it shows. A form of such a
//! page can send a POST (cross-site request forgery), but no field of its own choice: so verbs want one. A page whose
//! name was made to point here (DNS rebinding) could send that, but cannot hide its name: so verbs want a known Host.

use std::net::IpAddr;

use http::StatusCode;
use http::header::{self, HeaderMap, HeaderName};
use http::request::Parts;

use super::answer::Refused;
use super::pages::{Row, Way};
use crate::config;
use crate::http::host::parse_authority;

/// The field that no form can send.
const X_TIDEGATE_ADMIN: HeaderName = HeaderName::from_static("x-tidegate-admin");

/// What the decision rests on beside the request.
pub(super) struct Ground<'a> {
    /// The section of the file, as it is now.
    pub(super) admin: &'a config::Admin,
    /// The address that this connection came to.
    pub(super) local: IpAddr,
}

/// May this request know what is here?
///
/// # Errors
/// 401 without the token, 403 where none protects the rest, or where another site reads by the operator's browser.
pub(super) fn may_enter(
    parts: &Parts,
    row: Option<&Row>,
    ground: &Ground<'_>,
) -> Result<(), Refused> {
    if row.is_some_and(|row| row.way == Way::Open) {
        return Ok(());
    }
    match &ground.admin.token {
        Some(token) if bears(&parts.headers, &token.0) => Ok(()),
        Some(_) => Err(Refused::new(
            StatusCode::UNAUTHORIZED,
            "this wants `Authorization: Bearer TOKEN` with `admin.token` of the configuration",
        )
        .with(header::WWW_AUTHENTICATE, "Bearer realm=\"tidegate admin\"")),
        None if !ground.admin.bind.ip().to_canonical().is_loopback() => Err(Refused::new(
            StatusCode::FORBIDDEN,
            "`admin.bind` is not a loopback address and `admin.token` is not set: only /healthz, /readyz and /metrics are served",
        )),
        None if is_foreign_browser(parts, ground) => Err(Refused::new(
            StatusCode::FORBIDDEN,
            "a browser shall open this as localhost or by the address of `admin.bind`, or with a token",
        )),
        None => Ok(()),
    }
}

/// May this request change something?
///
/// # Errors
/// 403 without the field that no form can send, or under a name that is not known.
pub(super) fn may_change(parts: &Parts, ground: &Ground<'_>) -> Result<(), Refused> {
    if only(&parts.headers, &X_TIDEGATE_ADMIN) != Some(b"1") {
        return Err(Refused::new(
            StatusCode::FORBIDDEN,
            "what changes something wants the field `X-Tidegate-Admin: 1`",
        ));
    }
    if !is_addressed_to_us(parts, ground) {
        return Err(Refused::new(
            StatusCode::FORBIDDEN,
            "what changes something wants a Host that is localhost, a loopback address or the address of `admin.bind`",
        ));
    }
    Ok(())
}

/// Reading without a token under an unknown name: tools may call the port what they like, but a browser (which always
/// says its language) was led here by another site.
fn is_foreign_browser(parts: &Parts, ground: &Ground<'_>) -> bool {
    parts.headers.contains_key(header::ACCEPT_LANGUAGE) && !is_addressed_to_us(parts, ground)
}

fn is_addressed_to_us(parts: &Parts, ground: &Ground<'_>) -> bool {
    let target = parts.uri.authority().map(|a| a.as_str().as_bytes());
    only(&parts.headers, &header::HOST).is_some_and(|host| is_known(host, ground))
        && target.is_none_or(|target| is_known(target, ground))
}

fn is_known(authority: &[u8], ground: &Ground<'_>) -> bool {
    let Ok(authority) = parse_authority(authority) else {
        return false;
    };
    let host = String::from_utf8_lossy(authority.host).to_ascii_lowercase();
    // Names below localhost are loopback too (RFC 6761, section 6.3).
    if host == "localhost" || host.ends_with(".localhost") {
        return true;
    }
    let host = host.trim_matches(['[', ']']);
    let ours = [ground.admin.bind.ip(), ground.local].map(|ip| ip.to_canonical());
    host.parse::<IpAddr>().is_ok_and(|ip| {
        let ip = ip.to_canonical();
        ip.is_loopback() || ours.contains(&ip)
    })
}

/// The value of a field that is there exactly once.
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a [u8]> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?;
    values.next().is_none().then_some(value.as_bytes())
}

/// Does `Authorization` bear this token (RFC 6750, section 2.1)?
fn bears(headers: &HeaderMap, token: &str) -> bool {
    let Some(value) = only(headers, &header::AUTHORIZATION) else {
        return false;
    };
    let Some((scheme, rest)) = value.split_at_checked("Bearer ".len()) else {
        return false;
    };
    scheme.eq_ignore_ascii_case(b"Bearer ") && is_same(rest.trim_ascii(), token.as_bytes())
}

/// Compares in a time that depends on the lengths alone, so that nobody can guess a token byte by byte.
fn is_same(said: &[u8], token: &[u8]) -> bool {
    let differing = said.iter().zip(token).fold(0, |differing, (a, b)| {
        std::hint::black_box(differing | (a ^ b))
    });
    said.len() == token.len() && differing == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Secret;
    use crate::server::admin::pages::find;
    use http::Request;

    fn admin(bind: &str, token: Option<&str>) -> config::Admin {
        config::Admin {
            bind: bind.parse().unwrap(),
            token: token.map(|token| Secret(token.into())),
        }
    }

    fn parts(target: &str, fields: &[(&str, &str)]) -> Parts {
        let mut request = Request::get(target);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    fn entered(path: &str, admin: &config::Admin, fields: &[(&str, &str)]) -> u16 {
        let ground = Ground {
            admin,
            local: admin.bind.ip(),
        };
        match may_enter(&parts(path, fields), find(path).ok(), &ground) {
            Ok(()) => 200,
            Err(refused) => refused.status.as_u16(),
        }
    }

    fn changed(admin: &config::Admin, local: &str, target: &str, fields: &[(&str, &str)]) -> bool {
        let ground = Ground {
            admin,
            local: local.parse().unwrap(),
        };
        may_change(&parts(target, fields), &ground).is_ok()
    }

    #[test]
    fn three_pages_are_open_and_the_rest_wants_loopback_or_a_token() {
        for path in ["/healthz", "/readyz", "/metrics"] {
            assert_eq!(entered(path, &admin("0.0.0.0:1", None), &[]), 200);
            assert_eq!(entered(path, &admin("0.0.0.0:1", Some("x")), &[]), 200);
        }
        for path in [
            "/",
            "/config",
            "/routes",
            "/upstreams",
            "/reload",
            "/nothing",
        ] {
            assert_eq!(
                entered(path, &admin("127.0.0.1:1", None), &[]),
                200,
                "{path}"
            );
            assert_eq!(entered(path, &admin("[::1]:1", None), &[]), 200, "{path}");
            for bind in ["0.0.0.0:1", "[::]:1", "192.0.2.1:1", "[::ffff:192.0.2.1]:1"] {
                assert_eq!(entered(path, &admin(bind, None), &[]), 403, "{path}");
            }
            assert_eq!(
                entered(path, &admin("127.0.0.1:1", Some("x")), &[]),
                401,
                "{path}"
            );
        }
    }

    #[test]
    fn the_token_is_borne_as_rfc_6750_says() {
        let admin = admin("0.0.0.0:1", Some("s3cret"));
        for value in ["Bearer s3cret", "bearer s3cret", "BEARER  s3cret "] {
            assert_eq!(
                entered("/config", &admin, &[("authorization", value)]),
                200,
                "{value:?}"
            );
        }
        for value in [
            "",
            "Bearer",
            "Bearer ",
            "Bearer s3cre",
            "Bearer s3crets",
            "Bearer S3cret",
            "Basic s3cret",
            "s3cret",
        ] {
            assert_eq!(
                entered("/config", &admin, &[("authorization", value)]),
                401,
                "{value:?}"
            );
        }
        let twice = [
            ("authorization", "Bearer s3cret"),
            ("authorization", "Bearer s3cret"),
        ];
        assert_eq!(entered("/config", &admin, &twice), 401);
    }

    #[test]
    fn a_verb_wants_a_known_host_and_its_field() {
        let admin = admin("192.0.2.1:9901", None);
        let local = "192.0.2.1";
        let known = [
            "localhost",
            "LOCALHOST:9901",
            "localhost.",
            "a.localhost:1",
            "127.0.0.1:9901",
            "127.9.9.9",
            "[::1]:9901",
            "[::ffff:127.0.0.1]",
            "192.0.2.1:9901",
            "192.0.2.1",
        ];
        for host in known {
            let fields = [("host", host), ("x-tidegate-admin", "1")];
            assert!(changed(&admin, local, "/reload", &fields), "{host}");
            assert!(!changed(&admin, local, "/reload", &fields[..1]), "{host}");
        }
        for host in [
            "evil.test",
            "localhost.evil.test",
            "notlocalhost",
            "192.0.2.2",
            "0.0.0.0",
            "",
            "127.0.0.1.evil.test",
            "a@localhost",
            "[::2]",
        ] {
            let fields = [("host", host), ("x-tidegate-admin", "1")];
            assert!(!changed(&admin, local, "/reload", &fields), "{host}");
        }
        assert!(
            !changed(&admin, local, "/reload", &[("x-tidegate-admin", "1")]),
            "no host"
        );
        let other = [("host", "localhost"), ("x-tidegate-admin", "yes")];
        assert!(!changed(&admin, local, "/reload", &other));
        let two = [
            ("host", "localhost"),
            ("host", "localhost"),
            ("x-tidegate-admin", "1"),
        ];
        assert!(!changed(&admin, local, "/reload", &two), "two hosts");
        let fields = [("host", "localhost"), ("x-tidegate-admin", "1")];
        assert!(
            !changed(&admin, local, "http://evil.test/reload", &fields),
            "an absolute target"
        );
        assert!(changed(&admin, local, "http://localhost/reload", &fields));
    }

    #[test]
    fn bound_to_all_addresses_the_one_that_was_dialled_is_known() {
        let admin = admin("0.0.0.0:9901", Some("x"));
        let fields = |host| [("host", host), ("x-tidegate-admin", "1")];
        assert!(changed(
            &admin,
            "192.0.2.7",
            "/reload",
            &fields("192.0.2.7:9901")
        ));
        assert!(!changed(
            &admin,
            "192.0.2.7",
            "/reload",
            &fields("192.0.2.8:9901")
        ));
    }

    #[test]
    fn a_browser_that_was_led_here_reads_nothing() {
        let open = admin("127.0.0.1:9901", None);
        let browser = |host| [("host", host), ("accept-language", "en")];
        assert_eq!(entered("/config", &open, &browser("evil.test:9901")), 403);
        assert_eq!(entered("/config", &open, &browser("localhost:9901")), 200);
        assert_eq!(
            entered("/config", &open, &[("host", "gateway-1.test")]),
            200
        );
        let closed = admin("127.0.0.1:9901", Some("x"));
        let fields = [
            ("host", "gateway-1.test"),
            ("accept-language", "en"),
            ("authorization", "Bearer x"),
        ];
        assert_eq!(entered("/config", &closed, &fields), 200);
    }
}

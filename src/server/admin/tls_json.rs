//! `listeners[].tls` in the words of the file: names of files, never what is in them.

use serde_json::{Value, json};

use crate::config::Tls;
use crate::tls::{Floor, Mode};

/// The whole section.
pub(super) fn whole(tls: &Tls) -> Value {
    let Tls {
        certificates,
        client_ca,
        policy,
    } = tls;
    let files = certificates.iter();
    json!({
        "certificates": files
            .map(|files| json!({ "cert": files.cert.display().to_string(), "key": files.key.display().to_string() }))
            .collect::<Vec<_>>(),
        "strict_sni": policy.is_strict(),
        "min_version": match policy.floor() {
            Floor::Tls12 => "1.2",
            Floor::Tls13 => "1.3",
        },
        "client_auth": policy.client_auth().zip(client_ca.as_ref()).map_or_else(
            || json!("off"),
            |(auth, ca)| json!({
                "ca": ca.display().to_string(),
                "mode": match auth.mode() {
                    Mode::Require => "require",
                    Mode::Optional => "optional",
                },
            }),
        ),
    })
}

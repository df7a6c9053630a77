//! `upstreams.*.tls`: whom the gateway believes, and what it shows of itself; its files are read with the configuration.

use std::sync::Arc;

use super::endpoints::Endpoint;
use super::fields::Fields;
use super::node::Span;
use super::report::{Fault, Report, quote};
use super::tls::Named;
use crate::tls::{self, Certificate, Place, Said, Towards};

/// Gives each `https://` endpoint what its handshake needs. The `tls` of an upstream without one does nothing.
pub(super) fn apply(
    upstream: &Fields<'_>,
    endpoints: &mut [Endpoint],
    named: &mut Named<'_>,
    report: &mut Report,
) {
    let fields = upstream.section("tls");
    if !endpoints.iter().any(|endpoint| endpoint.is_secure) {
        if upstream.node("tls").is_some() {
            let help = "write `https://` in front of the endpoints that speak TLS";
            let fault = Fault::new("`tls` does nothing: no endpoint is https", help);
            report.warn(upstream.span("tls"), fault);
        }
        return;
    }
    let Some(said) = read(&fields, named, report) else {
        return;
    };
    match Towards::new(&said) {
        Ok(towards) => aim(&towards, endpoints, upstream.span("endpoints"), report),
        Err((place, fault)) => {
            let key = key_of(place);
            let message = match fields.written(key) {
                Some(name) => format!("{} {}", quote(name), fault.message),
                None => fault.message,
            };
            let span = if fields.written(key).is_some() {
                fields.span(key)
            } else {
                upstream.span("endpoints")
            };
            report.error(span, Fault::new(message, fault.help));
        }
    }
}

/// What the keys and their files say; `None` where that was reported.
fn read(fields: &Fields<'_>, named: &mut Named<'_>, report: &mut Report) -> Option<Said> {
    let authorities = match fields.written("ca") {
        Some(_) => Some(named.make(fields, &["ca"], report, |texts| {
            tls::check_authorities(&texts[0]).map_err(|fault| ("ca", fault))?;
            Ok(texts[0].clone())
        })?),
        None => None,
    };
    let own = match (fields.written("client_cert"), fields.written("client_key")) {
        (None, None) => None,
        (Some(_), Some(_)) => {
            Some(named.make(fields, &["client_cert", "client_key"], report, read_own)?)
        }
        (cert, _) => {
            let (has, lacks) = if cert.is_some() {
                ("client_cert", "client_key")
            } else {
                ("client_key", "client_cert")
            };
            let message = format!("`{has}` without `{lacks}`");
            let help = "a certificate is shown with its key: name both files, or neither";
            report.error(fields.span(has), Fault::new(message, help));
            return None;
        }
    };
    Some(Said {
        authorities,
        own,
        server_name: fields.written("server_name").map(String::from),
        skips_verification: fields.is_true("insecure_skip_verify"),
    })
}

fn key_of(place: Place) -> &'static str {
    match place {
        Place::Authorities => "ca",
        Place::Certificate => "client_cert",
        Place::Key => "client_key",
        Place::Name => "server_name",
    }
}

/// The pair that the gateway shows, if it is one.
fn read_own(texts: &[Arc<[u8]>]) -> Result<(Arc<[u8]>, Arc<[u8]>), (&'static str, tls::Fault)> {
    let (chain, key) = (&texts[0], &texts[1]);
    match Certificate::parse(chain, key) {
        Ok(_) => Ok((chain.clone(), key.clone())),
        Err(fault) => Err((key_of(fault.part.into()), fault)),
    }
}

fn aim(towards: &Towards, endpoints: &mut [Endpoint], place: Span, report: &mut Report) {
    for endpoint in endpoints.iter_mut().filter(|endpoint| endpoint.is_secure) {
        endpoint.secure = towards.to(&endpoint.host.to_string());
        if endpoint.secure.is_none() {
            let message = format!("no certificate can be for {}", quote(&endpoint.authority));
            let help = "say by `tls.server_name` which name its certificate has";
            report.error(place, Fault::new(message, help));
        }
    }
}

//! `listeners[].tls`: the files that it names are read with the configuration, and held to be a pair that is good today.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::disk;
use super::fields::Fields;
use super::keys;
use super::node::{Node, Span};
use super::report::{Fault, Report, quote};
use crate::time;
use crate::tls::{self, Certificate, ClientAuth, Floor, Mode, Part, Policy};

/// `listeners[].tls`, with what its files held when they were read.
#[derive(Clone, Debug, PartialEq)]
pub struct Tls {
    /// In file order; never empty.
    pub certificates: Vec<CertificateFiles>,
    /// `client_auth.ca`.
    pub client_ca: Option<PathBuf>,
    /// What came of all of it.
    pub policy: Arc<Policy>,
}

/// One entry of `certificates`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The chain.
    pub cert: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

/// The files that a configuration names beside its own.
pub(super) struct Named<'a> {
    /// The path of each file of the report: relative paths begin beside the file that they stand in.
    pub(super) paths: &'a [PathBuf],
    /// Certificates in force: one that is past its time is better than none, where it serves already.
    pub(super) in_force: &'a [Arc<Certificate>],
    /// Whatever was read, or should have been.
    pub(super) read: Vec<PathBuf>,
}

impl Named<'_> {
    fn locate(&self, name: &str, span: Span) -> Result<PathBuf, Fault> {
        let file = self.paths.get(span.file);
        if !Path::new(name).is_absolute() && file.is_some_and(|file| disk::is_remote(file)) {
            let message = format!("{} is not beside this configuration", quote(name));
            let help = "certificates and keys are not fetched: name a file of this machine by `/…`";
            return Err(Fault::new(message, help));
        }
        let beside = file.and_then(|path| path.parent());
        Ok(beside.unwrap_or(Path::new("")).join(name))
    }

    /// The path and the bytes of the file that a key names; reported where it cannot be read.
    pub(super) fn read(
        &mut self,
        fields: &Fields<'_>,
        key: &str,
        report: &mut Report,
    ) -> Option<(PathBuf, Vec<u8>)> {
        let name = fields.written(key)?;
        let span = fields.span(key);
        let path = match self.locate(name, span) {
            Ok(path) => path,
            Err(fault) => {
                report.error(span, fault);
                return None;
            }
        };
        if !self.read.contains(&path) {
            self.read.push(path.clone());
        }
        match disk::read_regular(&path) {
            Ok(bytes) => Some((path, bytes)),
            Err(fault) => {
                let message = format!("{} {}", quote(name), fault.message);
                let help =
                    "a PEM file that the gateway may read; a relative path begins beside this file";
                report.error(span, Fault::new(message, help));
                None
            }
        }
    }
}

/// The TLS of a listener; `None` where there is none, or it was reported.
pub(super) fn parse(
    listener: &Fields<'_>,
    named: &mut Named<'_>,
    report: &mut Report,
) -> Option<Tls> {
    listener.node("tls")?.map()?;
    let fields = listener.section("tls");
    let items = fields.node("certificates").map(Node::items);
    let items = items.unwrap_or_default();
    let pairs: Vec<_> = items
        .iter()
        .filter_map(|item| parse_pair(item, named, report))
        .collect();
    let (client_ca, client_auth) = parse_client_auth(&fields, named, report)?;
    if pairs.len() < items.len() || pairs.is_empty() {
        return None;
    }
    let (certificates, parsed) = pairs.into_iter().unzip();
    let floor = match fields.text("min_version") {
        Some("1.3") => Floor::Tls13,
        _ => Floor::Tls12,
    };
    match Policy::new(parsed, fields.is_true("strict_sni"), floor, client_auth) {
        Ok(policy) => Some(Tls {
            certificates,
            client_ca,
            policy: Arc::new(policy),
        }),
        Err(why) => {
            report.error(listener.span("tls"), Fault::bare(format!("no TLS: {why}")));
            None
        }
    }
}

fn parse_pair(
    item: &Node,
    named: &mut Named<'_>,
    report: &mut Report,
) -> Option<(CertificateFiles, Arc<Certificate>)> {
    item.map()?;
    let fields = Fields::new(Some(item), keys::CERTIFICATE);
    // Both, so that both are reported.
    let (chain, key) = (
        named.read(&fields, "cert", report),
        named.read(&fields, "key", report),
    );
    let ((cert, chain), (key, secret)) = (chain?, key?);
    let certificate = match Certificate::parse(&chain, &secret) {
        Ok(certificate) => Arc::new(certificate),
        Err(fault) => {
            let key = match fault.part {
                Part::Certificate => "cert",
                Part::Key => "key",
            };
            refuse(&fields, key, &fault, report);
            return None;
        }
    };
    check_time(&fields, &certificate, named, report);
    Some((CertificateFiles { cert, key }, certificate))
}

fn check_time(
    fields: &Fields<'_>,
    certificate: &Arc<Certificate>,
    named: &Named<'_>,
    report: &mut Report,
) {
    let now = i64::try_from(time::wall_nanos() / 1_000_000_000).unwrap_or(i64::MAX);
    let (span, name) = (
        fields.span("cert"),
        quote(fields.written("cert").unwrap_or_default()),
    );
    if certificate.is_expired(now) {
        let days = (now - certificate.not_after) / 86_400;
        let fault = Fault::new(
            format!("{name} holds a certificate that expired {days} days ago"),
            "clients refuse it: renew it",
        );
        if named.in_force.contains(certificate) {
            report.warn(span, fault);
        } else {
            report.error(span, fault);
        }
    } else if certificate.not_before > now {
        let message = format!("{name} holds a certificate that is not good yet");
        let help = "clients refuse it until then: is the clock right?";
        report.warn(span, Fault::new(message, help));
    }
}

/// Outer `None`: reported.
#[allow(clippy::type_complexity)]
fn parse_client_auth(
    tls: &Fields<'_>,
    named: &mut Named<'_>,
    report: &mut Report,
) -> Option<(Option<PathBuf>, Option<ClientAuth>)> {
    if tls.is_off("client_auth") || tls.node("client_auth").is_none() {
        return Some((None, None));
    }
    let fields = tls.section("client_auth");
    let mode = match fields.text("mode") {
        Some("optional") => Mode::Optional,
        _ => Mode::Require,
    };
    let (path, bytes) = named.read(&fields, "ca", report)?;
    match ClientAuth::parse(&bytes, mode) {
        Ok(auth) => Some((Some(path), Some(auth))),
        Err(fault) => {
            refuse(&fields, "ca", &fault, report);
            None
        }
    }
}

fn refuse(fields: &Fields<'_>, key: &str, fault: &tls::Fault, report: &mut Report) {
    let name = quote(fields.written(key).unwrap_or_default());
    let message = format!("{name} {}", fault.message);
    report.error(fields.span(key), Fault::new(message, fault.help));
}

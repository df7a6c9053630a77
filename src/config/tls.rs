//! `listeners[].tls`: the files that it names are read with the configuration, and held to be a pair that is good today.

use std::fmt;
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

/// A pair in force, and the files that it came from.
pub type PairInForce = (CertificateFiles, Arc<Certificate>);

/// A file of authorities, or of an upstream's pair, with what it held when it was taken up.
#[derive(Clone, PartialEq, Eq)]
pub struct FileInForce {
    /// Where it is.
    pub path: PathBuf,
    /// May be a key.
    pub bytes: Arc<[u8]>,
}

impl fmt::Debug for FileInForce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.path.fmt(f)
    }
}

/// What is in force of the files that a configuration named.
#[derive(Clone, Debug, Default)]
pub struct FilesInForce {
    /// Of listeners. One that is past its time, or older than its files, is better than none.
    pub pairs: Vec<PairInForce>,
    /// Of authorities, and of pairs that upstreams are shown.
    pub files: Vec<FileInForce>,
}

/// The files that a configuration names beside its own.
pub(super) struct Named<'a> {
    /// The path of each file of the report: relative paths begin beside the file that they stand in.
    pub(super) paths: &'a [PathBuf],
    /// What serves already.
    pub(super) in_force: &'a FilesInForce,
    /// Whatever was read, or should have been.
    pub(super) read: Vec<PathBuf>,
    /// What is wrong with files of which that stays which is in force.
    pub(super) outdated: Vec<(Span, Fault)>,
    /// What is taken up of authorities, and of pairs that upstreams are shown.
    pub(super) taken: Vec<FileInForce>,
}

impl Named<'_> {
    /// What `make` makes of the files that `keys` name, all of them together. Where they are broken, of what they held
    /// before; without that it is reported.
    pub(super) fn make<T>(
        &mut self,
        fields: &Fields<'_>,
        keys: &[&'static str],
        report: &mut Report,
        make: impl Fn(&[Arc<[u8]>]) -> Result<T, (&'static str, tls::Fault)>,
    ) -> Option<T> {
        // All, so that all are reported.
        let paths: Vec<_> = keys
            .iter()
            .map(|key| self.locate(fields, key, report))
            .collect();
        let paths: Vec<PathBuf> = paths.into_iter().collect::<Option<_>>()?;
        let made = open_all(fields, keys, &paths).and_then(|texts| match make(&texts) {
            Ok(made) => Ok((made, texts)),
            Err((key, fault)) => Err(vec![placed(fields, key, &fault)]),
        });
        let faults = match made {
            Ok((made, texts)) => {
                self.take(paths, texts);
                return Some(made);
            }
            Err(faults) => faults,
        };
        if let Some(texts) = self.texts_before(&paths)
            && let Ok(made) = make(&texts)
        {
            self.outdated.extend(faults);
            self.take(paths, texts);
            return Some(made);
        }
        for (span, fault) in faults {
            report.error(span, fault);
        }
        None
    }

    fn take(&mut self, paths: Vec<PathBuf>, texts: Vec<Arc<[u8]>>) {
        let files = paths.into_iter().zip(texts);
        let files = files.map(|(path, bytes)| FileInForce { path, bytes });
        self.taken.extend(files);
    }

    fn texts_before(&self, paths: &[PathBuf]) -> Option<Vec<Arc<[u8]>>> {
        let before = |path: &PathBuf| {
            let found = self.in_force.files.iter().find(|file| file.path == *path);
            found.map(|file| file.bytes.clone())
        };
        paths.iter().map(before).collect()
    }

    /// The path that a key names; `None` where there is none, or it was reported.
    fn locate(&mut self, fields: &Fields<'_>, key: &str, report: &mut Report) -> Option<PathBuf> {
        let (name, span) = (fields.written(key)?, fields.span(key));
        let file = self.paths.get(span.file);
        if !Path::new(name).is_absolute() && file.is_some_and(|file| disk::is_remote(file)) {
            let message = format!("{} is not beside this configuration", quote(name));
            let help = "certificates and keys are not fetched: name a file of this machine by `/…`";
            report.error(span, Fault::new(message, help));
            return None;
        }
        let beside = file.and_then(|path| path.parent());
        let path = beside.unwrap_or(Path::new("")).join(name);
        if !self.read.contains(&path) {
            self.read.push(path.clone());
        }
        Some(path)
    }

    /// The pair in force that came from these files.
    fn before(&self, files: &CertificateFiles) -> Option<Arc<Certificate>> {
        let mut pairs = self.in_force.pairs.iter();
        let found = pairs.find(|(theirs, _)| theirs == files);
        found.map(|(_, certificate)| certificate.clone())
    }
}

/// All of them, or what is wrong with each that cannot be read.
fn open_all(
    fields: &Fields<'_>,
    keys: &[&str],
    paths: &[PathBuf],
) -> Result<Vec<Arc<[u8]>>, Vec<(Span, Fault)>> {
    let (mut texts, mut faults) = (Vec::new(), Vec::new());
    for (key, path) in keys.iter().zip(paths) {
        match open(fields, key, path) {
            Ok(bytes) => texts.push(bytes.into()),
            Err(fault) => faults.push(fault),
        }
    }
    if faults.is_empty() {
        Ok(texts)
    } else {
        Err(faults)
    }
}

fn open(fields: &Fields<'_>, key: &str, path: &Path) -> Result<Vec<u8>, (Span, Fault)> {
    disk::read_regular(path).map_err(|fault| {
        let name = quote(fields.written(key).unwrap_or_default());
        let message = format!("{name} {}", fault.message);
        let help = "a PEM file that the gateway may read; a relative path begins beside this file";
        (fields.span(key), Fault::new(message, help))
    })
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

/// The pair of an entry. Where its files are broken, the one that they held before stays; without one it is reported.
fn parse_pair(
    item: &Node,
    named: &mut Named<'_>,
    report: &mut Report,
) -> Option<(CertificateFiles, Arc<Certificate>)> {
    item.map()?;
    let fields = Fields::new(Some(item), keys::CERTIFICATE);
    // Both, so that both are reported.
    let (cert, key) = (
        named.locate(&fields, "cert", report),
        named.locate(&fields, "key", report),
    );
    let (cert, key) = (cert?, key?);
    let files = CertificateFiles { cert, key };
    let faults = match read_pair(&fields, &files, named, report) {
        Ok(certificate) => return Some((files, certificate)),
        Err(faults) => faults,
    };
    if let Some(before) = named.before(&files) {
        named.outdated.extend(faults);
        return Some((files, before));
    }
    for (span, fault) in faults {
        report.error(span, fault);
    }
    None
}

fn read_pair(
    fields: &Fields<'_>,
    files: &CertificateFiles,
    named: &Named<'_>,
    report: &mut Report,
) -> Result<Arc<Certificate>, Vec<(Span, Fault)>> {
    let paths = [files.cert.clone(), files.key.clone()];
    let texts = open_all(fields, &["cert", "key"], &paths)?;
    let certificate = Certificate::parse(&texts[0], &texts[1]).map_err(|fault| {
        let key = match fault.part {
            Part::Certificate => "cert",
            Part::Key => "key",
        };
        vec![placed(fields, key, &fault)]
    })?;
    let certificate = Arc::new(certificate);
    check_time(fields, &certificate, named, report).map_err(|fault| vec![fault])?;
    Ok(certificate)
}

/// An error for one that expired and does not serve yet.
fn check_time(
    fields: &Fields<'_>,
    certificate: &Arc<Certificate>,
    named: &Named<'_>,
    report: &mut Report,
) -> Result<(), (Span, Fault)> {
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
        if !named
            .in_force
            .pairs
            .iter()
            .any(|(_, serves)| serves == certificate)
        {
            return Err((span, fault));
        }
        report.warn(span, fault);
    } else if certificate.not_before > now {
        let message = format!("{name} holds a certificate that is not good yet");
        let help = "clients refuse it until then: is the clock right?";
        report.warn(span, Fault::new(message, help));
    }
    Ok(())
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
    let auth = named.make(&fields, &["ca"], report, |texts| {
        ClientAuth::parse(&texts[0], mode).map_err(|fault| ("ca", fault))
    })?;
    Some((named.locate(&fields, "ca", report), Some(auth)))
}

fn placed(fields: &Fields<'_>, key: &str, fault: &tls::Fault) -> (Span, Fault) {
    let name = quote(fields.written(key).unwrap_or_default());
    let message = format!("{name} {}", fault.message);
    (fields.span(key), Fault::new(message, fault.help))
}

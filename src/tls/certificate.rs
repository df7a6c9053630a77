//! A certificate with its chain and the key that belongs to it: read from PEM, and held to match.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;

use super::names::Names;
use super::provider;

/// What a file held; it may be a key.
pub type Text = Arc<[u8]>;

/// Which of the two files is at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The chain.
    Certificate,
    /// The key.
    Key,
}

/// What is wrong with a file, in words for whoever has to mend it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The file.
    pub part: Part,
    /// What is wrong, without the name of the file.
    pub message: String,
    /// What to do.
    pub help: &'static str,
}

impl Fault {
    pub(super) fn new(part: Part, message: impl Into<String>, help: &'static str) -> Fault {
        Fault {
            part,
            message: message.into(),
            help,
        }
    }
}

/// A pair that matches.
pub struct Certificate {
    /// What it is good for.
    pub names: Names,
    /// Its first name, for metrics and logs: of the alternative names, else the common name; else empty.
    pub label: String,
    /// Good from then, in seconds since 1970.
    pub not_before: i64,
    /// Good until then, in seconds since 1970.
    pub not_after: i64,
    pub(super) key: Arc<CertifiedKey>,
}

impl Certificate {
    /// Reads a chain, the leaf first, and the key of the leaf. Whether it is good today is not asked.
    ///
    /// # Errors
    /// No PEM, no certificate, a key of a kind that is not known or that is encrypted, a key of another certificate.
    pub fn parse(chain: &[u8], key: &[u8]) -> Result<Certificate, Fault> {
        let chain = parse_chain(chain)?;
        let key = parse_key(key)?;
        let signing = provider().key_provider.load_private_key(key);
        let signing = signing
            .map_err(|_| Fault::new(Part::Key, "holds a key of a kind that is not known", KINDS))?;
        let pair = CertifiedKey::new(chain, signing);
        match pair.keys_match() {
            Ok(()) => {}
            Err(rustls::Error::InconsistentKeys(_)) => {
                let message = "holds the key of another certificate";
                return Err(Fault::new(Part::Key, message, PAIR));
            }
            Err(error) => {
                let message = format!("holds a first certificate that cannot be used: {error}");
                return Err(Fault::new(Part::Certificate, message, CHAIN));
            }
        }
        describe(Arc::new(pair))
    }

    /// Is it past its time, at `now` seconds since 1970?
    #[must_use]
    pub fn is_expired(&self, now: i64) -> bool {
        now > self.not_after
    }
}

impl PartialEq for Certificate {
    /// The key belongs to the chain, so the chain says it all.
    fn eq(&self, other: &Certificate) -> bool {
        self.key.cert == other.key.cert
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificate")
            .field("names", &self.names)
            .field("not_after", &self.not_after)
            .finish_non_exhaustive()
    }
}

/// All certificates of a PEM file, of which there is at least one.
pub(super) fn parse_chain(text: &[u8]) -> Result<Vec<CertificateDer<'static>>, Fault> {
    let chain = CertificateDer::pem_slice_iter(text).collect::<Result<Vec<_>, _>>();
    let chain = chain.map_err(|error| broken(Part::Certificate, &error, CHAIN))?;
    if chain.is_empty() {
        return Err(Fault::new(Part::Certificate, "holds no certificate", CHAIN));
    }
    Ok(chain)
}

pub(super) fn parse_key(text: &[u8]) -> Result<PrivateKeyDer<'static>, Fault> {
    match PrivateKeyDer::from_pem_slice(text) {
        Ok(key) => Ok(key),
        Err(pem::Error::NoItemsFound) if find(text, b"BEGIN ENCRYPTED PRIVATE KEY") => {
            let help = "`openssl pkey -in FILE -out PLAIN` takes the passphrase off";
            Err(Fault::new(Part::Key, "holds an encrypted key", help))
        }
        Err(pem::Error::NoItemsFound) => Err(Fault::new(Part::Key, "holds no private key", KINDS)),
        Err(error) => Err(broken(Part::Key, &error, KINDS)),
    }
}

/// The words of the library show bytes of the file, which may be those of a key.
fn broken(part: Part, error: &pem::Error, help: &'static str) -> Fault {
    let message = match error {
        pem::Error::MissingSectionEnd { .. } => "is cut off: a section of its PEM has no end",
        pem::Error::Base64Decode(_) => "is no valid PEM: its base64 is broken",
        _ => "is no valid PEM",
    };
    Fault::new(part, message, help)
}

fn find(text: &[u8], word: &[u8]) -> bool {
    text.windows(word.len()).any(|window| window == word)
}

fn describe(key: Arc<CertifiedKey>) -> Result<Certificate, Fault> {
    let leaf = key.cert.first().map_or(&[][..], |leaf| leaf.as_ref());
    let Ok((_, leaf)) = X509Certificate::from_der(leaf) else {
        let message = "holds a first certificate that cannot be read";
        return Err(Fault::new(Part::Certificate, message, CHAIN));
    };
    let mut names = alternative_names(&leaf);
    if names.is_empty() {
        let common = leaf.subject().iter_common_name();
        names.extend(common.filter_map(|name| name.as_str().ok().map(str::to_owned)));
    }
    Ok(Certificate {
        names: Names::new(names.iter().map(String::as_str)),
        label: names.into_iter().next().unwrap_or_default(),
        not_before: leaf.validity().not_before.timestamp(),
        not_after: leaf.validity().not_after.timestamp(),
        key: key.clone(),
    })
}

/// DNS names, and addresses as a Host field has them.
fn alternative_names(leaf: &X509Certificate<'_>) -> Vec<String> {
    let Ok(Some(extension)) = leaf.subject_alternative_name() else {
        return Vec::new();
    };
    let names = extension.value.general_names.iter();
    names
        .filter_map(|name| match name {
            GeneralName::DNSName(name) => Some((*name).to_owned()),
            GeneralName::IPAddress(bytes) => match bytes.len() {
                4 => <[u8; 4]>::try_from(*bytes)
                    .ok()
                    .map(|bytes| Ipv4Addr::from(bytes).to_string()),
                _ => <[u8; 16]>::try_from(*bytes)
                    .ok()
                    .map(|bytes| format!("[{}]", Ipv6Addr::from(bytes))),
            },
            _ => None,
        })
        .collect()
}

const CHAIN: &str =
    "a PEM file of `BEGIN CERTIFICATE` sections: the server's own first, then those that signed it";
const KINDS: &str = "a PEM file with one private key: RSA, ECDSA (P-256, P-384, P-521) or Ed25519";
const PAIR: &str =
    "`cert` and `key` must belong together; the server's own certificate comes first in its file";

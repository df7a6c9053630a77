//! Authorities that sign what a test asks for, and clients that speak TLS as they are told.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    PKCS_ECDSA_P256_SHA256, PKCS_RSA_SHA256, RsaKeySize,
};
use rustls::client::{ClientConfig, Resumption};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConnection, RootCertStore, SupportedProtocolVersion};

use super::client::Client;

/// The kind of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Ecdsa,
    Rsa,
}

/// A chain and its key, as PEM.
#[derive(Clone, Debug)]
pub(crate) struct Pair {
    pub(crate) cert: String,
    pub(crate) key: String,
}

impl Pair {
    /// Writes `NAME.pem` and `NAME.key`, each as a new file that is renamed.
    pub(crate) fn write(&self, directory: &Path, name: &str) {
        replace(directory, &format!("{name}.pem"), &self.cert);
        replace(directory, &format!("{name}.key"), &self.key);
    }

    /// The certificate as it is shown in a handshake.
    pub(crate) fn leaf(&self) -> CertificateDer<'static> {
        CertificateDer::from_pem_slice(self.cert.as_bytes()).unwrap()
    }
}

/// Replaces a file as a whole.
fn replace(directory: &Path, name: &str, text: &str) {
    let fresh = directory.join(format!(".{name}.new"));
    fs::write(&fresh, text).unwrap();
    fs::rename(fresh, directory.join(name)).unwrap();
}

/// Who signs.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// Its own certificate, as PEM.
    pub(crate) cert: String,
}

impl Authority {
    pub(crate) fn new(name: &str) -> Authority {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let cert = params.self_signed(&key).unwrap().pem();
        Authority {
            issuer: Issuer::new(params, key),
            cert,
        }
    }

    /// A pair for these names, good from 2020 to 2100.
    pub(crate) fn issue(&self, names: &[&str]) -> Pair {
        self.issue_with(names, Kind::Ecdsa, |_| {})
    }

    /// The same with another kind of key and further changes.
    pub(crate) fn issue_with(
        &self,
        names: &[&str],
        kind: Kind,
        change: impl FnOnce(&mut CertificateParams),
    ) -> Pair {
        let key = match kind {
            Kind::Ecdsa => KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap(),
            Kind::Rsa => KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).unwrap(),
        };
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(2100, 1, 1);
        change(&mut params);
        Pair {
            cert: params.signed_by(&key, &self.issuer).unwrap().pem(),
            key: key.serialize_pem(),
        }
    }

    /// A pair for a client called `common_name`.
    pub(crate) fn client(&self, common_name: &str, names: &[&str]) -> Pair {
        self.issue_with(names, Kind::Ecdsa, |params| {
            let name = &mut params.distinguished_name;
            name.push(DnType::OrganizationName, "Example, Inc.");
            name.push(DnType::CommonName, common_name);
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        })
    }
}

/// A client's side of TLS. Clones share what they remember of sessions.
#[derive(Clone)]
pub(crate) struct Visitor {
    config: ClientConfig,
}

impl Visitor {
    /// Trusts this authority, speaks everything, and remembers sessions.
    pub(crate) fn trusting(authority: &Authority) -> Visitor {
        Visitor::build(
            authority,
            aws_lc_rs::default_provider(),
            rustls::ALL_VERSIONS,
            None,
        )
    }

    /// Shows a certificate.
    pub(crate) fn showing(authority: &Authority, pair: &Pair) -> Visitor {
        let provider = aws_lc_rs::default_provider();
        Visitor::build(authority, provider, rustls::ALL_VERSIONS, Some(pair))
    }

    /// Speaks one version only.
    pub(crate) fn speaking(
        authority: &Authority,
        version: &'static SupportedProtocolVersion,
    ) -> Visitor {
        Visitor::build(authority, aws_lc_rs::default_provider(), &[version], None)
    }

    pub(crate) fn build(
        authority: &Authority,
        provider: CryptoProvider,
        versions: &[&'static SupportedProtocolVersion],
        pair: Option<&Pair>,
    ) -> Visitor {
        let mut roots = RootCertStore::empty();
        let root = CertificateDer::from_pem_slice(authority.cert.as_bytes()).unwrap();
        roots.add(root).unwrap();
        let builder = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(roots);
        let mut config = match pair {
            None => builder.with_no_client_auth(),
            Some(pair) => {
                let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).unwrap();
                builder
                    .with_client_auth_cert(vec![pair.leaf()], key)
                    .unwrap()
            }
        };
        config.resumption = Resumption::in_memory_sessions(32);
        Visitor { config }
    }

    /// Asks for these protocols.
    pub(crate) fn asking(mut self, protocols: &[&str]) -> Visitor {
        self.config.alpn_protocols = protocols.iter().map(|p| p.as_bytes().to_vec()).collect();
        self
    }

    /// Changes what is asked.
    pub(crate) fn with(mut self, change: impl FnOnce(&mut ClientConfig)) -> Visitor {
        change(&mut self.config);
        self
    }

    /// A session for `name` that has not begun.
    pub(crate) fn session(&self, name: &str) -> ClientConnection {
        let name = ServerName::try_from(name.to_owned()).unwrap();
        ClientConnection::new(Arc::new(self.config.clone()), name).unwrap()
    }

    /// A connection for `name`; an error if the handshake fails.
    pub(crate) fn try_visit(&self, address: SocketAddr, name: &str) -> io::Result<Client> {
        Client::secure(address, self.session(name))
    }

    /// A connection for `name`.
    pub(crate) fn visit(&self, address: SocketAddr, name: &str) -> Client {
        self.try_visit(address, name).expect("a handshake")
    }
}

/// Keys of a listener: `tls` with these certificates, beside the file, and further keys of `tls`.
pub(crate) fn tls_file(names: &[&str], more: &str) -> String {
    let certificates: Vec<String> = names
        .iter()
        .map(|name| format!("{{ cert: {name}.pem, key: {name}.key }}"))
        .collect();
    format!(
        "tls: {{ certificates: [{}]{more} }}",
        certificates.join(", ")
    )
}

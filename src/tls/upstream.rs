//! TLS towards the endpoints of an upstream: whom the gateway believes, and what it shows of itself.

use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

use super::certificate::{Certificate, Fault, Part, parse_chain};
use super::provider;

/// What the file says of an upstream's TLS, with what its files held when they were read.
#[derive(Default)]
pub struct Said {
    /// PEM of the authorities that are believed; `None` = those of the system.
    pub authorities: Option<Arc<[u8]>>,
    /// PEM of the gateway's own chain and key.
    pub own: Option<(Arc<[u8]>, Arc<[u8]>)>,
    /// The name that is verified and sent as SNI; `None` = the endpoint's own.
    pub server_name: Option<String>,
    /// Believes everybody.
    pub skips_verification: bool,
}

/// TLS towards one upstream, ready for handshakes. Its sessions are resumed for as long as its `config` lives.
pub struct Towards {
    config: Arc<ClientConfig>,
    server_name: Option<ServerName<'static>>,
    digest: u64,
}

/// Of what a file is wrong with, and in which of the keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// `ca`.
    Authorities,
    /// `client_cert`.
    Certificate,
    /// `client_key`.
    Key,
    /// `server_name`.
    Name,
}

impl From<Part> for Place {
    fn from(part: Part) -> Place {
        match part {
            Part::Certificate => Place::Certificate,
            Part::Key => Place::Key,
        }
    }
}

impl Towards {
    /// Makes of what was said what handshakes need.
    ///
    /// # Errors
    /// Files that hold no authority, or no certificate with its key; a system without authorities where none are named.
    pub fn new(said: &Said) -> Result<Towards, (Place, Fault)> {
        let server_name = said.server_name.as_deref().map(parse_name).transpose();
        let server_name = server_name.map_err(|fault| (Place::Name, fault))?;
        let builder = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(|error| unusable(&error))?;
        let builder = if said.skips_verification {
            builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(Believer))
        } else {
            let roots = match &said.authorities {
                Some(pem) => parse_roots(pem).map_err(|fault| (Place::Authorities, fault))?,
                None => system_roots().map_err(|fault| (Place::Authorities, fault))?,
            };
            let verifier = WebPkiServerVerifier::builder_with_provider(roots, provider())
                .build()
                .map_err(|error| (Place::Authorities, no_authority(&error.to_string())))?;
            builder.with_webpki_verifier(verifier)
        };
        let mut config = match &said.own {
            None => builder.with_no_client_auth(),
            Some((chain, key)) => {
                // The pair is held to match before rustls sees it, for its words are for programmers.
                Certificate::parse(chain, key).map_err(|fault| (fault.part.into(), fault))?;
                let (chain, key) = own(chain, key).map_err(|fault| (Place::Key, fault))?;
                builder
                    .with_client_auth_cert(chain, key)
                    .map_err(|error| unusable(&error))?
            }
        };
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Towards {
            config: Arc::new(config),
            server_name,
            digest: digest(said),
        })
    }

    /// What a handshake with an endpoint of this host needs; `None` where the host cannot be a name of a certificate.
    #[must_use]
    pub fn to(&self, host: &str) -> Option<Target> {
        let name = match &self.server_name {
            Some(name) => name.clone(),
            None => parse_name(host).ok()?,
        };
        Some(Target {
            config: self.config.clone(),
            name,
            digest: self.digest,
        })
    }
}

/// TLS towards one endpoint.
#[derive(Clone)]
pub struct Target {
    /// How.
    pub config: Arc<ClientConfig>,
    /// Who has to be there.
    pub name: ServerName<'static>,
    /// Tells settings apart: connections made by others are not used.
    pub digest: u64,
}

impl PartialEq for Target {
    /// What was said decides; the rest is made of it.
    fn eq(&self, other: &Target) -> bool {
        self.digest == other.digest && self.name == other.name
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Target")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// Can these authorities be believed?
///
/// # Errors
/// No PEM, no certificate in it, or one that cannot be an authority.
pub fn check_authorities(pem: &[u8]) -> Result<(), Fault> {
    parse_roots(pem).map(drop)
}

/// Why a handshake with a server failed, with what to do where many meet it and the library's words do not tell.
#[must_use]
pub fn why_failed(error: &impl fmt::Display) -> String {
    let words = error.to_string();
    // What `openssl req -x509` makes unless it is told otherwise; rustls has no name for it.
    if words.contains("CaUsedAsEndEntity") {
        return "its certificate is that of an authority (CA:TRUE) and not a server's own; \
                openssl makes one by `-addext basicConstraints=critical,CA:FALSE`"
            .to_owned();
    }
    words
}

/// A name, or an address with or without brackets.
fn parse_name(text: &str) -> Result<ServerName<'static>, Fault> {
    let bare = text.trim_start_matches('[').trim_end_matches(']');
    if let Ok(ip) = bare.parse::<IpAddr>() {
        return Ok(ServerName::IpAddress(ip.into()));
    }
    ServerName::try_from(text.to_owned()).map_err(|_| {
        let help = "a DNS name or an address, as the endpoint's certificate has it";
        Fault::new(Part::Certificate, "is no name of a server", help)
    })
}

fn parse_roots(pem: &[u8]) -> Result<Arc<RootCertStore>, Fault> {
    let mut roots = RootCertStore::empty();
    for certificate in parse_chain(pem)? {
        roots
            .add(certificate)
            .map_err(|error| no_authority(&error.to_string()))?;
    }
    Ok(Arc::new(roots))
}

/// The authorities of the system; read once, for they change with its packages.
fn system_roots() -> Result<Arc<RootCertStore>, Fault> {
    static ROOTS: OnceLock<Arc<RootCertStore>> = OnceLock::new();
    let roots = ROOTS.get_or_init(|| {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        Arc::new(roots)
    });
    if roots.is_empty() {
        let help = "install the system's authorities (Debian: ca-certificates), or name a file by `tls.ca`";
        return Err(Fault::new(
            Part::Certificate,
            "this system has no certificate authorities",
            help,
        ));
    }
    Ok(roots.clone())
}

fn own(
    chain: &[u8],
    key: &[u8],
) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), Fault> {
    Ok((parse_chain(chain)?, super::certificate::parse_key(key)?))
}

fn no_authority(error: &str) -> Fault {
    let help = "a PEM file of the authorities that signed the endpoints' certificates";
    Fault::new(
        Part::Certificate,
        format!("holds no authority that can be used: {error}"),
        help,
    )
}

fn unusable(error: &rustls::Error) -> (Place, Fault) {
    let help = "a certificate and key that TLS 1.2 or 1.3 can use";
    let message = format!("cannot be used: {error}");
    (
        Place::Certificate,
        Fault::new(Part::Certificate, message, help),
    )
}

/// Compared within one process only.
fn digest(said: &Said) -> u64 {
    let mut hasher = DefaultHasher::new();
    said.authorities.hash(&mut hasher);
    said.own.hash(&mut hasher);
    said.server_name.hash(&mut hasher);
    said.skips_verification.hash(&mut hasher);
    // 0 is the digest of no TLS.
    hasher.finish() | 1
}

/// `insecure_skip_verify`: whoever is there is believed, if only he holds the key of what he shows.
#[derive(Debug)]
struct Believer;

impl ServerCertVerifier for Believer {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &provider().signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &provider().signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider()
            .signature_verification_algorithms
            .supported_schemes()
    }
}

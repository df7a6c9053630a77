//! Whose certificates of clients are believed, and whether a client must show one.

use std::sync::Arc;

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;

use super::certificate::{Fault, Part, parse_chain};
use super::provider;

/// Whether a certificate must be shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Without one there is no connection.
    Require,
    /// A client may have none; one that it shows must be good.
    Optional,
}

/// Authorities, and what is asked of clients.
#[derive(Clone, Debug)]
pub struct ClientAuth {
    mode: Mode,
    authorities: Vec<CertificateDer<'static>>,
    verifier: Arc<dyn ClientCertVerifier>,
}

impl ClientAuth {
    /// Believes the authorities of a PEM file.
    ///
    /// # Errors
    /// No PEM, no certificate in it, or one that cannot be an authority.
    pub fn parse(text: &[u8], mode: Mode) -> Result<ClientAuth, Fault> {
        let authorities = parse_chain(text)?;
        let refused = |message: String| Fault::new(Part::Certificate, message, AUTHORITIES);
        let mut roots = RootCertStore::empty();
        for authority in &authorities {
            roots.add(authority.clone()).map_err(|error| {
                refused(format!("holds a certificate that cannot be used: {error}"))
            })?;
        }
        let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider());
        let builder = match mode {
            Mode::Require => builder,
            Mode::Optional => builder.allow_unauthenticated(),
        };
        let verifier = builder
            .build()
            .map_err(|error| refused(format!("cannot be used: {error}")))?;
        Ok(ClientAuth {
            mode,
            authorities,
            verifier,
        })
    }

    /// Whether a certificate must be shown.
    #[must_use]
    pub fn mode(&self) -> Mode {
        self.mode
    }

    pub(super) fn verifier(&self) -> Arc<dyn ClientCertVerifier> {
        self.verifier.clone()
    }
}

impl PartialEq for ClientAuth {
    fn eq(&self, other: &ClientAuth) -> bool {
        (self.mode, &self.authorities) == (other.mode, &other.authorities)
    }
}

const AUTHORITIES: &str = "a PEM file with the certificates of the authorities that sign clients";

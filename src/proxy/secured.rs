//! What a TLS handshake told of a client's connection, as its requests need it.

use std::sync::Arc;

use http::HeaderValue;

use crate::tls::{Certificate, Identity};

/// The facts of one handshake.
pub struct Secured {
    /// The name that the client asked for (SNI), in lower case.
    pub server_name: Option<Box<str>>,
    /// The certificate that is shown for this name.
    pub certificate: Arc<Certificate>,
    /// Who the client is, where it showed a certificate.
    pub identity: Option<Verified>,
}

/// A client whose certificate was verified.
pub struct Verified {
    /// For `X-Client-Cert-Subject` and the log.
    pub subject: HeaderValue,
    /// For `X-Client-Cert-San`; `None` where the certificate has no alternative names.
    pub names: Option<HeaderValue>,
}

impl Verified {
    /// Both are ASCII without control characters, so that this never fails in earnest.
    #[must_use]
    pub fn new(identity: &Identity) -> Option<Verified> {
        let names = HeaderValue::from_str(&identity.names).ok()?;
        Some(Verified {
            subject: HeaderValue::from_str(&identity.subject).ok()?,
            names: (!names.is_empty()).then_some(names),
        })
    }
}

impl Secured {
    /// May a request for `host` come on this connection? Without SNI any may; else it is for the name that was asked
    /// for, or for another that the same certificate shows.
    #[must_use]
    pub fn serves(&self, host: &[u8]) -> bool {
        self.server_name.as_ref().is_none_or(|name| {
            name.as_bytes().eq_ignore_ascii_case(host) || self.certificate.names.cover(host)
        })
    }
}

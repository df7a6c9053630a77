//! TLS as far as it decides and does not wait: certificates and who gets which, what a listener asks of its clients,
//! what a client's certificate says of it, and whom the gateway believes itself. The handshakes are in `server` and
//! `upstream`.
//!
//! All of rustls is built here, on one provider that is named and never guessed: AWS-LC, whose hybrid X25519MLKEM768
//! comes first.

mod certificate;
mod client_auth;
mod identity;
mod names;
mod policy;
mod shelf;
mod upstream;

pub use certificate::{Certificate, Fault, Part};
pub use client_auth::{ClientAuth, Mode};
pub use identity::Identity;
pub use names::{Names, normalise};
pub use policy::{Floor, Policy, Tickets};
pub use upstream::{Place, Said, Target, Towards, check_authorities, why_failed};

use std::sync::{Arc, OnceLock};

use rustls::crypto::{CryptoProvider, aws_lc_rs};

/// The one provider of this process; also made the default for whoever asks rustls for one.
#[must_use]
pub fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    let provider = PROVIDER.get_or_init(|| {
        // Fails where somebody was faster, with the same provider: there is no other in this build.
        let _ = aws_lc_rs::default_provider().install_default();
        Arc::new(aws_lc_rs::default_provider())
    });
    provider.clone()
}

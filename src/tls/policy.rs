//! What one listener shows and asks, put together once: whatever could fail has failed when a policy exists.

use std::fmt;
use std::sync::Arc;

use rustls::server::{ClientHello, NoServerSessionStorage, ProducesTickets, WebPkiClientVerifier};
use rustls::version::{TLS12, TLS13};
use rustls::{ServerConfig, SignatureScheme};

use super::certificate::Certificate;
use super::client_auth::ClientAuth;
use super::provider;
use super::shelf::Shelf;

/// The oldest version that is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Floor {
    /// TLS 1.2 and 1.3.
    Tls12,
    /// TLS 1.3 only.
    Tls13,
}

/// The keys that session tickets are sealed with: they change every 6 hours, and a ticket lives 12.
///
/// A resumed session is not verified anew, so they are only ever shared by policies that ask the same of clients.
#[derive(Clone)]
pub struct Tickets(Option<Arc<dyn ProducesTickets>>);

impl Tickets {
    /// New keys. Where the system has no randomness for them, no session is resumed.
    #[must_use]
    pub fn new() -> Tickets {
        Tickets(rustls::crypto::aws_lc_rs::Ticketer::new().ok())
    }
}

impl Default for Tickets {
    fn default() -> Self {
        Tickets::new()
    }
}

/// The TLS of a listener.
pub struct Policy {
    shelf: Arc<Shelf>,
    strict: bool,
    floor: Floor,
    client_auth: Option<ClientAuth>,
    base: ServerConfig,
}

impl Policy {
    /// Shows these certificates, of which there is at least one; `strict` refuses names that none of them has.
    ///
    /// # Errors
    /// There is no certificate, or the provider cannot do what is asked; in words.
    pub fn new(
        certificates: Vec<Arc<Certificate>>,
        strict: bool,
        floor: Floor,
        client_auth: Option<ClientAuth>,
    ) -> Result<Policy, String> {
        if certificates.is_empty() {
            return Err("there is no certificate".to_owned());
        }
        let versions: &[_] = match floor {
            Floor::Tls12 => &[&TLS13, &TLS12],
            Floor::Tls13 => &[&TLS13],
        };
        let shelf = Arc::new(Shelf::new(certificates));
        let verifier = client_auth
            .as_ref()
            .map_or_else(WebPkiClientVerifier::no_client_auth, ClientAuth::verifier);
        let mut base = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(versions)
            .map_err(|error| error.to_string())?
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(shelf.clone());
        base.ignore_client_order = true;
        // Sessions live in tickets only: a store would be a lock of all workers.
        base.session_storage = Arc::new(NoServerSessionStorage {});
        base.max_early_data_size = 0;
        Ok(Policy {
            shelf,
            strict,
            floor,
            client_auth,
            base,
        })
    }

    /// What rustls serves by, offering `protocols` in this order (RFC 7301).
    #[must_use]
    pub fn serve(&self, tickets: &Tickets, protocols: &[&[u8]]) -> Arc<ServerConfig> {
        let mut config = self.base.clone();
        if let Tickets(Some(tickets)) = tickets {
            config.ticketer = tickets.clone();
        }
        config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
        Arc::new(config)
    }

    /// Does it ask the same of clients, so that what one has verified is good for the other?
    #[must_use]
    pub fn trusts_as(&self, other: &Policy) -> bool {
        self.client_auth == other.client_auth
    }

    /// Must this client be refused for the name that it asks for, or for asking for none?
    #[must_use]
    pub fn refuses(&self, hello: &ClientHello<'_>) -> bool {
        self.strict
            && !hello
                .server_name()
                .is_some_and(|name| self.shelf.knows(name))
    }

    /// The certificate that this client gets.
    #[must_use]
    pub fn choose(
        &self,
        name: Option<&str>,
        schemes: &[SignatureScheme],
    ) -> Option<&Arc<Certificate>> {
        self.shelf.choose(name, schemes)
    }

    /// The certificates, in the order of the file.
    #[must_use]
    pub fn certificates(&self) -> &[Arc<Certificate>] {
        self.shelf.all()
    }

    /// Are unknown names refused?
    #[must_use]
    pub fn is_strict(&self) -> bool {
        self.strict
    }

    /// The oldest version that is spoken.
    #[must_use]
    pub fn floor(&self) -> Floor {
        self.floor
    }

    /// What is asked of clients.
    #[must_use]
    pub fn client_auth(&self) -> Option<&ClientAuth> {
        self.client_auth.as_ref()
    }
}

impl PartialEq for Policy {
    fn eq(&self, other: &Policy) -> bool {
        self.shelf.all() == other.shelf.all()
            && (self.strict, self.floor) == (other.strict, other.floor)
            && self.client_auth == other.client_auth
    }
}

impl fmt::Debug for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Policy")
            .field("certificates", &self.shelf.all())
            .field("strict", &self.strict)
            .field("floor", &self.floor)
            .finish_non_exhaustive()
    }
}

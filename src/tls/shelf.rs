//! Which certificate a client gets: found by the name that it asks for, without a search.

use std::collections::HashMap;
use std::sync::Arc;

use rustls::SignatureScheme;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::certificate::Certificate;
use super::names::{normalise, parent};

/// The certificates of one listener, never none.
#[derive(Debug)]
pub(super) struct Shelf {
    certificates: Vec<Arc<Certificate>>,
    exact: HashMap<String, Vec<usize>>,
    /// By what stands after `*.`.
    parents: HashMap<String, Vec<usize>>,
    /// The first, and those that share a name with it: a client without a name may not know its kind of key.
    first: Vec<usize>,
}

impl Shelf {
    pub(super) fn new(certificates: Vec<Arc<Certificate>>) -> Shelf {
        let (mut exact, mut parents) = (HashMap::new(), HashMap::new());
        for (index, certificate) in certificates.iter().enumerate() {
            put(&mut exact, &certificate.names.exact, index);
            put(&mut parents, &certificate.names.parents, index);
        }
        let same = |index: &usize| {
            let (first, other) = (&certificates[0].names, &certificates[*index].names);
            first.exact.first() == other.exact.first()
                && first.parents.first() == other.parents.first()
        };
        Shelf {
            first: (0..certificates.len()).filter(same).collect(),
            certificates,
            exact,
            parents,
        }
    }

    pub(super) fn all(&self) -> &[Arc<Certificate>] {
        &self.certificates
    }

    /// Is there one for this name?
    pub(super) fn knows(&self, name: &str) -> bool {
        self.lists(name).into_iter().flatten().next().is_some()
    }

    /// The one for this name (the first if it is unknown or absent) whose key can sign as the client understands; in
    /// the order of the file, the exact name before the wildcard.
    pub(super) fn choose(
        &self,
        name: Option<&str>,
        schemes: &[SignatureScheme],
    ) -> Option<&Arc<Certificate>> {
        let lists = name.map(|name| self.lists(name));
        let known = lists.filter(|lists| lists.iter().any(Option::is_some));
        let mut indices = known
            .unwrap_or([Some(&self.first[..]), None])
            .into_iter()
            .flatten()
            .flatten();
        let mut any = None;
        let fitting = indices.find(|index| {
            any.get_or_insert(**index);
            let key = &self.certificates[**index].key.key;
            key.choose_scheme(schemes).is_some()
        });
        // None fits: the handshake fails by the words of the library.
        self.certificates.get(fitting.copied().or(any)?)
    }

    fn lists(&self, name: &str) -> [Option<&[usize]>; 2] {
        let name = normalise(name);
        let parent = parent(name.as_bytes()).and_then(|parent| std::str::from_utf8(parent).ok());
        [
            self.exact.get(&*name).map(Vec::as_slice),
            parent.and_then(|parent| self.parents.get(parent).map(Vec::as_slice)),
        ]
    }
}

fn put(map: &mut HashMap<String, Vec<usize>>, names: &[String], index: usize) {
    for name in names {
        let list = map.entry(name.clone()).or_default();
        // A name that stands twice in one certificate.
        if list.last() != Some(&index) {
            list.push(index);
        }
    }
}

impl ResolvesServerCert for Shelf {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.choose(hello.server_name(), hello.signature_schemes())
            .map(|certificate| certificate.key.clone())
    }
}

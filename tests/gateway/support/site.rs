//! An endpoint whose health and whose work the test decides at any time, each for itself.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use super::upstream::{Peer, Request, Upstream, answer};

/// Answers `/healthz` with one status and all else with another and its name; 0 breaks the connection.
pub(crate) struct Site {
    upstream: Upstream,
    health: Arc<AtomicU16>,
    work: Arc<AtomicU16>,
}

/// What a health check asks for.
pub(crate) const HEALTHZ: &str = "/healthz";

impl Site {
    /// Is well.
    pub(crate) fn start(name: &str) -> Site {
        Site::on(TcpListener::bind("127.0.0.1:0").unwrap(), name)
    }

    /// The same on a socket that listens already.
    pub(crate) fn on(listener: TcpListener, name: &str) -> Site {
        let (health, work) = (Arc::new(AtomicU16::new(200)), Arc::new(AtomicU16::new(200)));
        let (of_health, of_work, name) = (health.clone(), work.clone(), name.to_owned());
        let script = move |peer: &mut Peer| {
            while let Some((request, _)) = peer.whole_request() {
                let status = match is_probe(&request) {
                    true => of_health.load(Ordering::SeqCst),
                    false => of_work.load(Ordering::SeqCst),
                };
                if status == 0 || peer.send(answer(status, &name)).is_err() {
                    return;
                }
            }
        };
        Site {
            upstream: Upstream::on(listener, script),
            health,
            work,
        }
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.upstream.address()
    }

    /// From now on probes hear this status; 0 = none.
    pub(crate) fn set_health(&self, status: u16) {
        self.health.store(status, Ordering::SeqCst);
    }

    /// From now on all other requests hear this status; 0 = none.
    pub(crate) fn set_work(&self, status: u16) {
        self.work.store(status, Ordering::SeqCst);
    }

    /// Connections that were accepted.
    pub(crate) fn connections(&self) -> usize {
        self.upstream.connections()
    }

    /// Probes that came.
    pub(crate) fn probes(&self) -> Vec<Request> {
        let all = self.upstream.requests();
        all.into_iter().filter(is_probe).collect()
    }

    /// Other requests that came.
    pub(crate) fn worked(&self) -> usize {
        let all = self.upstream.requests();
        all.iter().filter(|request| !is_probe(request)).count()
    }
}

fn is_probe(request: &Request) -> bool {
    let agent = request.field("user-agent");
    agent.is_some_and(|agent| agent.starts_with("tidegate-health/"))
}

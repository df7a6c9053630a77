//! Circuit breakers over real sockets: what opens them, what passes meanwhile, how they probe, and who may steer them.

mod open;
mod opening;
mod outage;
mod probing;
mod scopes;
mod steering;
mod streams;

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::support::{Gate, Gateway, PATIENCE, Peer, Request, Setup, Upstream, answer};

/// What an upstream does with requests, until it is told otherwise.
#[derive(Clone)]
pub(super) enum Mood {
    /// Answers with this status.
    Answer(u16),
    /// Answers 200 with these bytes and closes.
    Say(&'static str),
    /// Resets the connection.
    Reset,
    /// Answers 200 when the gate is open.
    Wait(Gate),
    /// Answers 200 after this time.
    Slow(Duration),
}

/// An upstream with a mood, which counts what it does.
pub(super) struct Moody {
    upstream: Upstream,
    state: Arc<State>,
}

struct State {
    mood: Mutex<Mood>,
    under_way: AtomicUsize,
    most: AtomicUsize,
}

impl Moody {
    pub(super) fn start(mood: Mood) -> Moody {
        let state = Arc::new(State {
            mood: Mutex::new(mood),
            under_way: AtomicUsize::new(0),
            most: AtomicUsize::new(0),
        });
        let own = state.clone();
        let upstream = Upstream::start(move |peer| {
            while let Some(request) = peer.request() {
                if peer.body(&request).is_err() || !own.act(peer, &request) {
                    return;
                }
            }
        });
        Moody { upstream, state }
    }

    pub(super) fn become_(&self, mood: Mood) {
        *self.state.mood.lock().unwrap() = mood;
    }

    /// Requests that arrived so far.
    pub(super) fn seen(&self) -> usize {
        self.upstream.requests().len()
    }

    /// The most that it had under way at once.
    pub(super) fn most(&self) -> usize {
        self.state.most.load(SeqCst)
    }

    pub(super) fn upstream(&self) -> &Upstream {
        &self.upstream
    }

    /// A gateway before it with this breaker.
    pub(super) fn behind(&self, breaker: &str) -> Setup {
        Setup::to(self.upstream.address())
            .upstream(&format!("circuit_breaker: {breaker}"))
            .route("retry: off")
    }
}

impl State {
    /// True if the connection stays.
    fn act(&self, peer: &mut Peer, _request: &Request) -> bool {
        let mood = self.mood.lock().unwrap().clone();
        let under_way = self.under_way.fetch_add(1, SeqCst) + 1;
        self.most.fetch_max(under_way, SeqCst);
        let stays = match mood {
            Mood::Answer(status) => peer.send(answer(status, "said")).is_ok(),
            Mood::Say(text) => {
                let _ = peer.send(text);
                false
            }
            Mood::Reset => {
                peer.reset();
                false
            }
            Mood::Wait(gate) => {
                gate.pass();
                peer.send(answer(200, "late")).is_ok()
            }
            Mood::Slow(time) => {
                std::thread::park_timeout(time);
                peer.send(answer(200, "slow")).is_ok()
            }
        };
        self.under_way.fetch_sub(1, SeqCst);
        stays
    }
}

/// Three failures in a row open it for a minute.
pub(super) const THREE: &str = "{ consecutive_failures: 3 }";

/// The gauge of the breaker of the upstream `app`.
pub(super) fn gauge(gateway: &Gateway) -> f64 {
    let labels = [("upstream", "app"), ("endpoint", "")];
    gateway
        .metric("tidegate_breaker_state", &labels)
        .expect("a breaker shows its state")
}

pub(super) const CLOSED: f64 = 0.0;
pub(super) const OPEN: f64 = 1.0;
pub(super) const HALF_OPEN: f64 = 2.0;

/// How often the breaker of the upstream `app` moved there for this cause.
pub(super) fn moves(gateway: &Gateway, to: &str, cause: &str) -> f64 {
    let labels = [("upstream", "app"), ("to", to), ("cause", cause)];
    gateway
        .metric("tidegate_breaker_transitions_total", &labels)
        .unwrap_or(0.0)
}

/// Sends requests until one is refused; tells how many passed.
pub(super) fn trip(gateway: &Gateway) -> usize {
    for passed in 0..100 {
        if gateway.get("/").reason() == "breaker_open" {
            return passed;
        }
    }
    panic!("100 requests did not open the breaker");
}

/// Sends requests until one passes; returns the status of that.
pub(super) fn await_probe(gateway: &Gateway) -> u16 {
    crate::support::until_some(PATIENCE, "a probe passed", || {
        let answer = gateway.get("/");
        (answer.reason() != "breaker_open").then_some(answer.status)
    })
}

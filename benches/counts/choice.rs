//! What picks are measured with: an upstream of so many endpoints, all in use.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use tidegate::http::key::{Facts, Key};
use tidegate::time::Nanos;
use tidegate::upstream::balance::{Ask, Balancer, Sticky, Way};
use tidegate::upstream::endpoint::{Endpoint, EndpointState};

use super::inputs;

/// A moment after the last answer of each.
const NOW: Nanos = Nanos(60_000_000_000);

/// One pick, ready to be made.
pub(crate) struct Choice {
    balancer: Balancer,
    endpoints: Vec<Endpoint>,
    turn: AtomicUsize,
    ask: Ask,
}

impl Choice {
    pub(crate) fn pick(&self) -> Option<usize> {
        self.balancer.pick(&self.endpoints, &self.turn, &self.ask)
    }
}

/// Among `count` endpoints of as many different weights as `weights` says.
pub(crate) fn choice(way: Way, count: u16, weights: u16) -> Choice {
    let endpoints: Vec<Endpoint> = (0..count).map(|n| endpoint(n, weights)).collect();
    let hash = Some(0x1234_5678_9abc_def0);
    Choice {
        balancer: Balancer::new(&way, &endpoints),
        endpoints,
        turn: AtomicUsize::new(4711),
        ask: Ask {
            now: NOW,
            random: 0x9e37_79b9_7f4a_7c15,
            hash,
            avoid: None,
        },
    }
}

fn endpoint(n: u16, weights: u16) -> Endpoint {
    let address = SocketAddr::from(([192, 0, 2, 1], 1 + n));
    let state = EndpointState::new(address, usize::from(n), n.into(), 1);
    for _ in 0..n % 7 {
        state.enter();
    }
    let took = Duration::from_micros(500 + u64::from(n % 100));
    state.latency.observe(Nanos(NOW.0 - 1_000_000), took);
    Endpoint {
        state: Arc::new(state),
        name: None,
        sibling: None,
        probe: None,
        secure: None,
        weight: u32::from(1 + n % weights),
        authority: HeaderValue::from_static("app.internal:9000"),
    }
}

/// A way that reads the request, with a request of a browser.
pub(crate) struct Reading {
    balancer: Balancer,
    headers: HeaderMap,
    scratch: Vec<u8>,
}

impl Reading {
    pub(crate) fn hash(&mut self) -> Option<u64> {
        let facts = Facts {
            client: [192, 0, 2, 7].into(),
            host: b"shop.example.com",
            path: "/catalogue/lamps/standing/4711.html",
            query: Some("colour=red&page=2"),
            method: &Method::GET,
            headers: &self.headers,
            route: "shop",
            connection: 7,
            subject: b"",
        };
        self.balancer.hash(&facts, &mut self.scratch)
    }
}

/// By a key of one part, or by the cookie where none is named.
pub(crate) fn reading(part: &str) -> Reading {
    let mut headers = inputs::fields(&inputs::BROWSER);
    headers.insert(
        HeaderName::from_static("x-tenant"),
        HeaderValue::from_static("3f9d1c0a-7be6-4c02-a1f0-93b1c2d3e4f5"),
    );
    let way = match part {
        "" => sticky(),
        part => by(part),
    };
    Reading {
        balancer: Balancer::new(&way, &[endpoint(0, 1)]),
        headers,
        scratch: Vec::with_capacity(64),
    }
}

pub(crate) fn by(part: &str) -> Way {
    Way::Hash(Key::new(vec![Key::parse_part(part).unwrap()]))
}

pub(crate) fn sticky() -> Way {
    Way::StickyCookie(Sticky {
        name: "basket".into(),
        ttl: None,
    })
}

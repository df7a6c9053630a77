//! `pool.max_connections_per_endpoint`: never more connections than that, and every worker gets its share of them.

use std::net::TcpStream;
use std::sync::{Arc, Mutex};
use std::thread;

use crate::support::{Gateway, PATIENCE, Peer, Setup, Upstream, answer, scale, until};

/// The connections that an upstream has at once.
#[derive(Clone, Default)]
struct Census(Arc<Mutex<Seen>>);

#[derive(Default)]
struct Seen {
    open: Vec<TcpStream>,
    most: usize,
}

impl Census {
    /// Counts a new connection beside those that the gateway has not closed yet. Looked up on the sockets: the threads
    /// that serve them may hear of an end later than of a beginning.
    fn enter(&self, socket: TcpStream) {
        let mut seen = self.0.lock().unwrap();
        seen.open.push(socket);
        seen.open.retain(is_open);
        seen.most = seen.most.max(seen.open.len());
    }

    /// The most at once.
    fn most(&self) -> usize {
        self.0.lock().unwrap().most
    }

    /// Those that are open now.
    fn now(&self) -> usize {
        let mut seen = self.0.lock().unwrap();
        seen.open.retain(is_open);
        seen.open.len()
    }

    /// Forgets what was the most.
    fn begin_anew(&self) {
        let now = self.now();
        self.0.lock().unwrap().most = now;
    }
}

/// Has the peer not closed? What it sent before has been read.
fn is_open(socket: &TcpStream) -> bool {
    let flags = libc_flags::PEEK | libc_flags::DONT_WAIT;
    let mut byte = [std::mem::MaybeUninit::uninit()];
    match socket2::SockRef::from(socket).recv_with_flags(&mut byte, flags) {
        Ok(count) => count > 0,
        Err(error) => error.kind() == std::io::ErrorKind::WouldBlock,
    }
}

/// `MSG_PEEK` and `MSG_DONTWAIT` of Linux.
mod libc_flags {
    pub(super) const PEEK: i32 = 0x02;
    pub(super) const DONT_WAIT: i32 = 0x40;
}

/// An upstream whose connections are counted and served by `serve`.
fn counting(census: &Census, serve: impl Fn(&mut Peer) + Send + Sync + 'static) -> Upstream {
    let census = census.clone();
    Upstream::start(move |peer| {
        census.enter(peer.writer());
        serve(peer);
    })
}

fn bounded(upstream: &Upstream, bound: &str, workers: usize) -> Setup {
    Setup::to(upstream.address())
        .upstream(&format!(
            "pool: {{ max_connections_per_endpoint: {bound} }}"
        ))
        .top(&format!("workers: {workers}"))
}

/// `clients` at once, each with a connection of its own, `count` requests each.
fn expect_all_served(gateway: &Gateway, clients: usize, count: usize) {
    thread::scope(|scope| {
        for _ in 0..clients {
            scope.spawn(|| {
                let mut client = gateway.client();
                for _ in 0..count {
                    client.get("/").expect_ok();
                }
            });
        }
    });
}

fn expect_at_rest(gateway: &Gateway, idle: std::ops::RangeInclusive<usize>) {
    gateway.await_metric("tidegate_upstream_connections", &[("state", "busy")], 0.0);
    #[allow(clippy::cast_precision_loss)]
    let (least, most) = (*idle.start() as f64, *idle.end() as f64);
    until(PATIENCE, "the idle connections", || {
        let now = gateway.metric("tidegate_upstream_connections", &[("state", "idle")]);
        now.is_some_and(|now| now >= least && now <= most)
    });
}

#[test]
fn never_more_than_the_bound_and_everybody_is_served() {
    for (bound, workers) in [(2, 2), (1, 2), (3, 4), (2, 1)] {
        let census = Census::default();
        let upstream = counting(&census, |peer| peer.serve(|_, _| answer(200, "ok")));
        let gateway = bounded(&upstream, &bound.to_string(), workers).start();
        expect_all_served(&gateway, 64, scale(20, 300));
        assert!(
            census.most() <= bound,
            "{} at once, of {bound}",
            census.most()
        );
        expect_at_rest(&gateway, 1..=bound);
    }
}

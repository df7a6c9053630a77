//! A worker with one client connection and one pooled upstream connection, all in memory, ready to be counted.
//!
//! It is put together as `server::connection` does it: hyper over the guard, `proxy::handle` as its service, and the
//! connection's task registered with its deadlines.

use std::future::poll_fn;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use bytes::Bytes;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tidegate::config;
use tidegate::drain::Drain;
use tidegate::http::guard::Guard;
use tidegate::metrics::GatewayStats;
use tidegate::proxy::client::Client;
use tidegate::proxy::{self, worker::Worker};
use tidegate::snapshot::compile::{Ground, compile};
use tidegate::snapshot::shared::{Shared, View};
use tidegate::telemetry::access_log::{Buffer, LogPath, Writer};
use tidegate::time;
use tidegate::upstream::connect;
use tidegate::upstream::names::{Addresses, Complaints};
use tokio::runtime::{Builder, LocalOptions, LocalRuntime};
use tokio::task::spawn_local;

use crate::inputs;
use crate::peer::{Expected, Peer, Turns};

/// Requests before anything is counted: the peers learn, buffers and heaps find their size.
const WARM_UP: u64 = 200;

/// It lets all pass, and its one bucket is never full again.
const LIMITS: &str = "[{ name: each, key: client_ip, rate: 1/s, burst: 1000000 }]";

const CONFIG: &str = r#"
workers: 1
admin: off
logging: { access: LOG }
listeners:
  - bind: 127.0.0.1:8080
    limits: { requests_per_connection: off }
upstreams:
  upstream:
    <<: GUARDS
    endpoints: ["http://127.0.0.1:8081"]
routes:
  - name: everything
    match: { path_prefix: / }
    upstream: upstream
    rate_limits: LIMITS
"#;

/// One kind of exchange.
pub(crate) struct Scenario {
    /// What the client sends.
    pub(crate) request: Bytes,
    /// How the upstream sees it begin, and how long its body is.
    pub(crate) forwarded: (&'static str, usize),
    /// Bytes of the answer's body.
    pub(crate) answer: usize,
    /// Is it logged?
    pub(crate) logged: bool,
    /// Is it limited, by its client's address?
    pub(crate) limited: bool,
    /// What stands between it and a failing upstream.
    pub(crate) guards: Guards,
}

/// What stands between a request and a failing upstream.
#[derive(Clone, Copy)]
pub(crate) enum Guards {
    /// Nothing: no ejection, no bulkhead, no budget of retries.
    None,
    /// What is there where the file says nothing.
    Default,
    /// That, and a circuit breaker.
    All,
}

impl Guards {
    fn text(self) -> &'static str {
        match self {
            Guards::None => "{ ejection: off, max_in_flight: off, retry_budget: off }",
            Guards::Default => "{}",
            Guards::All => "{ circuit_breaker: {} }",
        }
    }
}

/// A gateway of one worker that waits for its client to speak.
pub(crate) struct Gateway {
    runtime: LocalRuntime,
    turns: Arc<Turns>,
    _log: Writer,
}

impl Gateway {
    /// Puts it together and warms it up.
    pub(crate) fn new(scenario: Scenario) -> Gateway {
        let runtime = Builder::new_current_thread()
            .enable_all()
            .build_local(LocalOptions::default())
            .unwrap();
        let log = Writer::start(
            LogPath::File("/dev/null".into()),
            Arc::new(AtomicU64::new(0)),
        )
        .unwrap();
        let turns = Arc::new(Turns::default());
        let buffer = Buffer::new(log.sender());
        let worker = worker(buffer, &scenario);
        runtime.block_on(connect(worker, scenario, turns.clone()));
        let gateway = Gateway {
            runtime,
            turns,
            _log: log,
        };
        gateway.exchange(WARM_UP);
        gateway
    }

    /// Carries `n` requests and their answers, one after the other.
    pub(crate) fn exchange(&self, n: u64) {
        self.runtime.block_on(self.turns.take(n));
    }
}

fn worker(log: Buffer, scenario: &Scenario) -> Rc<Worker> {
    let (log_text, limits) = (
        if scenario.logged {
            "{ path: /dev/null }"
        } else {
            "off"
        },
        if scenario.limited { LIMITS } else { "[]" },
    );
    let config = CONFIG
        .replace("LOG", log_text)
        .replace("GUARDS", scenario.guards.text())
        .replace("LIMITS", limits);
    let loaded = config::parse_text("counts.yaml", &config, &|_| None).unwrap_or_else(|problems| {
        panic!("{}", config::render(&problems));
    });
    let ground = Ground {
        workers: 1,
        connections: 1024,
        now: time::now(),
    };
    let shared = Shared::new(compile(&loaded.config, &Addresses::default(), None, ground));
    let gateway = Arc::new(GatewayStats::new(1));
    let (complaints, _) = Complaints::new();
    let view = View::new(shared);
    Worker::new(0, view, log, Drain::default(), gateway, complaints)
}

async fn connect(worker: Rc<Worker>, scenario: Scenario, turns: Arc<Turns>) {
    let (begin, body) = scenario.forwarded;
    let service = Peer::service(
        inputs::answer(scenario.answer),
        Expected::Message(begin, body, Vec::new()),
    );
    let connection = connect::over(service, None).await.unwrap();
    let pin = worker.view.pin();
    let upstream = &pin.upstreams[0];
    worker.pool.borrow_mut().put(
        &upstream.endpoints[0].state,
        connection,
        &upstream.pool,
        time::now(),
        worker.index,
    );
    let answered = Expected::Message("HTTP/1.1 200 OK", scenario.answer, Vec::new());
    spawn_local(talk(
        worker,
        Peer::client(scenario.request, answered, turns),
    ));
}

async fn talk(worker: Rc<Worker>, stream: Peer) {
    let peer = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let deadline = worker.timers.deadline();
    let client = Client::new(worker, 0, peer, SocketAddr::new(peer, 8080), None);
    let io = TokioIo::new(Guard::new(stream, client.wire.clone(), Bytes::new()));
    let limits = client.worker.view.pin().listeners[0].limits;
    let service = service_fn({
        let client = client.clone();
        move |request| proxy::handle(client.clone(), request)
    });
    let mut talk = Box::new(
        http1::Builder::new()
            .header_read_timeout(None)
            .max_header_size(limits.head_bytes)
            .max_buf_size(limits.head_bytes.saturating_mul(2).max(64 * 1024))
            .serve_connection(io, service),
    );
    let ended = poll_fn(|cx| {
        deadline.register(cx.waker());
        client.deadline.register(cx.waker());
        Pin::new(&mut *talk).poll(cx)
    })
    .await;
    panic!("the client's connection ended: {ended:?}");
}

//! `pool.max_connections_per_endpoint`: never more connections than that, and everybody gets a fair share of them.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::{
    Census, Client, Gate, Gateway, PATIENCE, Peer, Setup, Upstream, answer, scale, until,
};

/// The handshake of RFC 6455, section 1.3.
const HANDSHAKE: &str = "GET /socket HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
const SWITCHING: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

fn serve(peer: &mut Peer) {
    peer.serve(|_, _| answer(200, "ok"));
}

/// Answers when the gate is open.
fn gated(census: &Census, gate: &Gate) -> Upstream {
    let gate = gate.clone();
    census.upstream(move |peer| {
        while peer.whole_request().is_some() {
            gate.pass();
            if peer.send(answer(200, "ok")).is_err() {
                return;
            }
        }
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
        // There is no gauge before there was an idle connection.
        let now = now.unwrap_or(0.0);
        now >= least && now <= most
    });
}

#[test]
fn never_more_than_the_bound_and_everybody_is_served() {
    for (bound, workers) in [(2, 2), (1, 2), (3, 4), (2, 1)] {
        let census = Census::default();
        let upstream = census.upstream(serve);
        let gateway = bounded(&upstream, &bound.to_string(), workers).start();
        expect_all_served(&gateway, 64, scale(20, 300));
        let most = census.most();
        assert!(most <= bound, "{most} at once, of {bound}");
        expect_at_rest(&gateway, 1..=bound);
    }
}

#[test]
fn upstreams_that_close_after_each_answer_see_no_more_either() {
    let census = Census::default();
    let upstream = census.upstream(|peer| {
        if peer.whole_request().is_some() {
            let _ =
                peer.send("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok");
            peer.half_close();
            peer.closed();
        }
    });
    let gateway = bounded(&upstream, "2", 2).start();
    expect_all_served(&gateway, 16, scale(20, 300));
    assert!(census.most() <= 2, "{} at once", census.most());
    expect_at_rest(&gateway, 0..=0);
}

#[test]
fn every_client_gets_about_the_same_share() {
    let census = Census::default();
    let upstream = census.upstream(serve);
    let gateway = bounded(&upstream, "1", 2).start();
    let clients = 16;
    let left = AtomicUsize::new(scale(4_000, 40_000));
    let take = || left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1));
    let shares: Vec<usize> = thread::scope(|scope| {
        let all: Vec<_> = (0..clients)
            .map(|_| {
                scope.spawn(|| {
                    let mut client = gateway.client();
                    let mut served = 0;
                    while take().is_ok() {
                        client.get("/").expect_ok();
                        served += 1;
                    }
                    served
                })
            })
            .collect();
        all.into_iter().map(|one| one.join().unwrap()).collect()
    });
    let (least, most) = (shares.iter().min().unwrap(), shares.iter().max().unwrap());
    // Of sixteen clients few may be one worker's, and a new connection serves some of its worker's requests first.
    assert!(least * 8 > *most, "unfair: {shares:?}");
    assert_eq!(census.most(), 1);
}

#[test]
fn the_idle_connection_of_one_worker_makes_room_for_another() {
    let census = Census::default();
    let upstream = census.upstream(serve);
    let gateway = bounded(&upstream, "1", 4).start();
    // Each client is another worker's sooner or later, and no request waits for more than a moment.
    let begin = Instant::now();
    let requests = 40;
    for _ in 0..requests {
        gateway.get("/").expect_ok();
    }
    assert!(begin.elapsed() < PATIENCE / 2, "{:?}", begin.elapsed());
    let connections = upstream.connections();
    assert!(
        connections > 1 && connections <= requests,
        "{connections} connections for {requests} requests"
    );
    assert_eq!(census.most(), 1);
    expect_at_rest(&gateway, 1..=1);
}

#[test]
fn who_waits_too_long_is_refused_and_keeps_nothing_busy() {
    let (census, gate) = (Census::default(), Gate::default());
    let upstream = gated(&census, &gate);
    let gateway = bounded(&upstream, "1", 2)
        .upstream("timeouts: { connect: 400ms, response: 20s }")
        .top("logging: { access: { path: stdout } }")
        .start();
    let mut stuck = gateway.client();
    stuck.send_get("/stuck");
    upstream.await_requests(1);
    let begin = Instant::now();
    let mut others: Vec<Client> = (0..6).map(|_| gateway.client()).collect();
    for other in &mut others {
        other.send_get("/other");
    }
    gateway.await_metric("tidegate_requests_in_flight", &[("route", "all")], 7.0);
    let busy = [("upstream", "app"), ("state", "busy")];
    gateway.await_metric("tidegate_upstream_connections", &busy, 1.0);
    for other in &mut others {
        other.response().expect_refusal(503, "upstream_overloaded");
    }
    let took = begin.elapsed();
    assert!(took >= Duration::from_millis(380), "too early: {took:?}");
    let labels = [("route", "all"), ("reason", "upstream_overloaded")];
    gateway.await_metric("tidegate_gateway_responses_total", &labels, 6.0);
    let line = gateway.await_access("reason", "upstream_overloaded");
    assert!(line["wait_ms"].as_f64().unwrap() >= 380.0, "{line}");
    gate.open();
    stuck.response().expect_ok();
    others[0].get("/").expect_ok();
    assert_eq!((upstream.requests().len(), census.most()), (2, 1));
    expect_at_rest(&gateway, 1..=1);
}

#[test]
fn the_end_of_the_whole_request_ends_the_wait_too() {
    let (census, gate) = (Census::default(), Gate::default());
    let upstream = gated(&census, &gate);
    let gateway = bounded(&upstream, "1", 1)
        .before(
            "name: hurried, match: { path: /hurried }, upstream: app, timeouts: { request: 200ms }",
        )
        .start();
    let mut stuck = gateway.client();
    stuck.send_get("/stuck");
    upstream.await_requests(1);
    gateway
        .get("/hurried")
        .expect_refusal(504, "upstream_timeout");
    gate.open();
    stuck.response().expect_ok();
    assert_eq!(upstream.requests().len(), 1);
}

#[test]
fn who_has_waited_too_long_tries_another_endpoint() {
    let (census, gate) = (Census::default(), Gate::default());
    let stuck = gated(&census, &gate);
    let other = Upstream::answering(answer(200, "other"));
    let gateway = bounded(&stuck, "1", 1)
        .endpoint(other.address())
        .upstream("balance: round_robin, timeouts: { connect: 300ms, response: 20s }")
        .start();
    let mut first = gateway.client();
    let mut client = gateway.client();
    until(PATIENCE, "one request is stuck", || {
        let before = other.requests().len();
        first.send_get("/");
        let is_stuck = || stuck.requests().len() == 1;
        until(PATIENCE, "it has come to one of them", || {
            is_stuck() || other.requests().len() > before
        });
        if !is_stuck() {
            first.response().expect_ok();
        }
        is_stuck()
    });
    for _ in 0..4 {
        assert_eq!(client.get("/").expect_ok().text(), "other");
    }
    let labels = [("upstream", "app"), ("cause", "connect")];
    let retries = gateway.metric("tidegate_upstream_retries_total", &labels);
    assert!(retries.is_some_and(|count| count >= 2.0), "{retries:?}");
    gate.open();
    first.response().expect_ok();
}

#[test]
fn a_client_that_leaves_gives_its_place_up() {
    for workers in [1, 2] {
        let (census, gate) = (Census::default(), Gate::default());
        let upstream = gated(&census, &gate);
        let gateway = bounded(&upstream, "1", workers)
            .upstream("timeouts: { connect: 20s }")
            .start();
        let mut stuck = gateway.client();
        stuck.send_get("/stuck");
        upstream.await_requests(1);
        let mut leavers: Vec<Client> = (0..8).map(|_| gateway.client()).collect();
        for leaver in &mut leavers {
            leaver.send_get("/leaver");
        }
        let waiting = [("route", "all")];
        gateway.await_metric("tidegate_requests_in_flight", &waiting, 9.0);
        leavers.into_iter().for_each(Client::reset);
        gateway.await_metric("tidegate_requests_in_flight", &waiting, 1.0);
        let mut stayer = gateway.client();
        stayer.send_get("/stayer");
        gateway.await_metric("tidegate_requests_in_flight", &waiting, 2.0);
        gate.open();
        stuck.response().expect_ok();
        stayer.response().expect_ok();
        let targets: Vec<String> = upstream
            .requests()
            .into_iter()
            .map(|request| request.target)
            .collect();
        assert_eq!(targets, ["/stuck", "/stayer"]);
        expect_at_rest(&gateway, 1..=1);
    }
}

#[test]
fn nothing_leaks_when_clients_leave_at_any_moment() {
    let census = Census::default();
    let upstream = census.upstream(serve);
    let gateway = bounded(&upstream, "2", 2).start();
    thread::scope(|scope| {
        for number in 0..8 {
            let gateway = &gateway;
            scope.spawn(move || {
                for turn in 0..scale(60, 1_000) {
                    let mut client = gateway.client();
                    client.send_get("/");
                    if (turn + number) % 3 == 0 {
                        client.reset();
                    } else {
                        client.response().expect_ok();
                    }
                }
            });
        }
    });
    assert!(census.most() <= 2, "{} at once", census.most());
    expect_at_rest(&gateway, 0..=2);
    // All permits are still there.
    census.begin_anew();
    expect_all_served(&gateway, 16, 10);
    assert!((1..=2).contains(&census.most()));
}

#[test]
fn no_more_than_so_many_wait() {
    let (census, gate) = (Census::default(), Gate::default());
    let upstream = gated(&census, &gate);
    let gateway = bounded(&upstream, "1", 1)
        .upstream("timeouts: { connect: 20s, response: 20s }, max_in_flight: off")
        .start();
    let mut stuck = gateway.client();
    stuck.send_get("/");
    upstream.await_requests(1);
    let mut waiting: Vec<Client> = (0..1024)
        .map(|_| {
            let mut client = gateway.client();
            client.send_get("/");
            client
        })
        .collect();
    gateway.await_metric("tidegate_requests_in_flight", &[("route", "all")], 1025.0);
    gateway.get("/").expect_refusal(503, "upstream_overloaded");
    gate.open();
    stuck.response().expect_ok();
    for client in &mut waiting {
        client.response().expect_ok();
    }
    assert_eq!(census.most(), 1);
}

#[test]
fn a_websocket_holds_its_permit_to_its_end() {
    let census = Census::default();
    let upstream = census.upstream(|peer| {
        while let Some((request, _)) = peer.whole_request() {
            if request.target == "/socket" {
                peer.send(SWITCHING).unwrap();
                peer.closed();
                return;
            }
            let _ = peer.send(answer(200, "ok"));
        }
    });
    let gateway = bounded(&upstream, "1", 2)
        .route("websocket: {}")
        .upstream("timeouts: { connect: 300ms }")
        .start();
    gateway.get("/").expect_ok();
    let mut socket = gateway.client();
    socket.send(HANDSHAKE);
    assert_eq!(socket.head().status, 101);
    gateway.get("/").expect_refusal(503, "upstream_overloaded");
    socket.half_close();
    drop(socket);
    upstream.await_all_closed();
    until(PATIENCE, "its permit comes back", || {
        gateway.get("/").status == 200
    });
    assert_eq!(census.most(), 1);
    expect_at_rest(&gateway, 1..=1);
}

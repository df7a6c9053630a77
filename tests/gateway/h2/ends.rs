//! How HTTP/2 connections end: drain, bounds, deadlines; streams that stall are cut alone.

use std::time::{Duration, Instant};

use crate::support::h2::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, ENHANCE_YOUR_CALM, HEADERS, NO_ERROR,
    REFUSED_STREAM, WHOLE, block, frame, head,
};
use crate::support::{Echo, Gate, H2, PATIENCE, Setup, Upstream, answer};

const SLOW: &str = "timeouts: { first_byte: 400ms, request_head: 400ms, request_body: 400ms, \
                    write: 400ms, idle: 400ms }";

fn waits(gate: &Gate) -> Upstream {
    let gate = gate.clone();
    Upstream::start(move |peer| {
        while let Some((request, _)) = peer.whole_request() {
            if request.target.starts_with("/wait") {
                gate.pass();
            }
            if peer.send(answer(200, "late")).is_err() {
                return;
            }
        }
    })
}

#[test]
fn a_drain_says_goaway_and_loses_nothing() {
    let gate = Gate::default();
    let upstream = waits(&gate);
    let mut gateway = Setup::to(upstream.address())
        .top("drain: { delay: 3s, deadline: 20s }")
        .start();
    let mut busy = H2::connect(gateway.address());
    let mut idle = H2::connect(gateway.address());
    let mut unused = H2::connect(gateway.address());
    idle.get("/").expect_ok();
    let stream = busy.send_get("/wait");
    upstream.await_requests(2);
    let begin = Instant::now();
    gateway.sigterm();
    assert_eq!(idle.end(), Some(NO_ERROR));
    assert!(
        begin.elapsed() < Duration::from_millis(2900),
        "announced, not closed"
    );
    busy.until("GOAWAY", |client| !client.goaways.is_empty());
    // Who has just come is answered once, as on HTTP/1.
    let mut late = H2::connect(gateway.address());
    late.get("/").expect_ok();
    assert_eq!(late.end(), Some(NO_ERROR));
    assert_eq!(unused.end(), Some(NO_ERROR));
    assert!(
        begin.elapsed() >= Duration::from_millis(2900),
        "{:?}",
        begin.elapsed()
    );
    gate.open();
    assert_eq!(busy.response(stream).text(), "late");
    assert_eq!(busy.end(), Some(NO_ERROR));
    assert!(gateway.wait_exit(PATIENCE).success());
}

#[test]
fn what_is_left_at_the_deadline_of_a_drain_is_cut_and_logged() {
    let gate = Gate::default();
    let upstream = waits(&gate);
    let mut gateway = Setup::to(upstream.address())
        .top("drain: { delay: 0s, deadline: 500ms }")
        .start();
    let mut client = H2::connect(gateway.address());
    client.send_get("/wait");
    upstream.await_requests(1);
    gateway.sigterm();
    client.end();
    assert!(gateway.wait_exit(PATIENCE).success());
    assert_eq!(gateway.access_log()[0]["reason"], "draining");
    gate.open();
}

#[test]
fn after_so_many_requests_a_connection_ends_in_good_order() {
    let echo = Echo::start("app");
    let gateway = Setup::to(echo.address())
        .listener("limits: { requests_per_connection: 3 }")
        .start();
    let mut client = H2::connect(gateway.address());
    for number in 1..=3 {
        let answer = client.get("/");
        assert_eq!(
            (answer.status, answer.field("connection")),
            (200, None),
            "{number}"
        );
    }
    assert_eq!(client.end(), Some(NO_ERROR));
    assert_eq!(
        client.goaways.last().map(|last| last.0),
        Some(5),
        "the last stream taken"
    );
}

#[test]
fn streams_beyond_the_bound_are_refused_and_others_go_on() {
    let gate = Gate::default();
    let upstream = waits(&gate);
    let gateway = Setup::to(upstream.address())
        .listener("limits: { h2_streams: 4 }")
        .start();
    let mut client = H2::connect(gateway.address());
    let streams: Vec<u32> = (0..4).map(|_| client.send_get("/wait")).collect();
    let beyond = client.send_get("/");
    assert_eq!(client.answer(beyond).reset, Some(REFUSED_STREAM));
    gate.open();
    for stream in streams {
        client.response(stream).expect_ok();
    }
    client.get("/").expect_ok();
    assert_eq!(upstream.requests().len(), 5);
}

#[test]
fn an_idle_connection_ends_with_goaway() {
    let echo = Echo::start("app");
    let gateway = Setup::to(echo.address()).listener(SLOW).start();
    for requests in [0, 2] {
        let begin = Instant::now();
        let mut client = H2::connect(gateway.address());
        for _ in 0..requests {
            client.get("/").expect_ok();
        }
        assert_eq!(client.end(), Some(NO_ERROR));
        let range = Duration::from_millis(350)..Duration::from_secs(4);
        assert!(range.contains(&begin.elapsed()), "{:?}", begin.elapsed());
    }
}

#[test]
fn a_header_block_that_never_ends_is_cut() {
    let echo = Echo::start("app");
    let gateway = Setup::to(echo.address()).listener(SLOW).start();
    let parts = block(&head("GET", "/x", &[]));
    let rows = [
        frame(HEADERS, END_STREAM, 1, &parts),
        [
            frame(HEADERS, END_STREAM, 1, &parts),
            frame(CONTINUATION, 0, 1, []),
        ]
        .concat(),
        frame(HEADERS, WHOLE, 1, &parts)[..20].to_vec(),
    ];
    for (number, bytes) in rows.into_iter().enumerate() {
        let mut client = H2::connect(gateway.address());
        client.send(bytes);
        assert_eq!(client.end(), Some(ENHANCE_YOUR_CALM), "row {number}");
        let lines = gateway.await_access_lines(number + 1);
        assert_eq!(
            (&lines[number]["reason"], &lines[number]["status"]),
            (&"request_timeout".into(), &408.into())
        );
    }
    echo.upstream().expect_untouched();
}

#[test]
fn a_busy_connection_has_the_same_deadline_for_heads() {
    let gate = Gate::default();
    let upstream = waits(&gate);
    let gateway = Setup::to(upstream.address()).listener(SLOW).start();
    let mut client = H2::connect(gateway.address());
    client.send_get("/wait");
    upstream.await_requests(1);
    let stream = client.open();
    client.send(frame(HEADERS, 0, stream, block(&head("GET", "/", &[]))));
    assert_eq!(client.end(), Some(ENHANCE_YOUR_CALM));
    gate.open();
}

#[test]
fn a_stream_may_wait_longer_than_an_idle_connection() {
    let gate = Gate::default();
    let upstream = waits(&gate);
    let gateway = Setup::to(upstream.address()).listener(SLOW).start();
    let mut client = H2::connect(gateway.address());
    let stream = client.send_get("/wait");
    assert!(client.is_alive());
    assert!(client.silent_for(Duration::from_millis(1200)));
    gate.open();
    client.response(stream).expect_ok();
}

#[test]
fn a_stalled_upload_is_408_and_the_connection_lives() {
    let echo = Echo::start("app");
    let gateway = Setup::to(echo.address())
        .listener("timeouts: { request_body: 400ms }")
        .start();
    let mut client = H2::connect(gateway.address());
    let stream = client.begin(&head("POST", "/", &[]), END_HEADERS);
    client.send(frame(DATA, 0, stream, b"x"));
    client
        .response(stream)
        .expect_refusal(408, "request_timeout");
    client.get("/").expect_ok();
}

#[test]
fn a_stream_without_window_is_cut_alone() {
    let large = Upstream::answering(answer(200, &"y".repeat(300_000)));
    let gateway = Setup::to(large.address())
        .listener("timeouts: { write: 400ms }")
        .before("match: { path: /own }, respond: { status: 200, body: hello }")
        .start();
    let mut client = H2::with(gateway.address(), &[(4, 0)]);
    client.takes = false;
    for path in ["/", "/own"] {
        let begin = Instant::now();
        let stream = client.send_get(path);
        let answer = client.answer(stream);
        assert!(
            !answer.whole && answer.body.is_empty(),
            "{path}: {answer:?}"
        );
        let range = Duration::from_millis(350)..Duration::from_secs(4);
        assert!(
            range.contains(&begin.elapsed()),
            "{path}: {:?}",
            begin.elapsed()
        );
        assert!(client.is_alive());
    }
    assert_eq!(gateway.await_access("path", "/")["reason"], "client_closed");
    let busy = [("upstream", "app"), ("state", "busy")];
    gateway.await_metric("tidegate_upstream_connections", &busy, 0.0);
}

#[test]
fn a_client_that_reads_nothing_is_cut() {
    let large = Upstream::answering(answer(200, &"y".repeat(30_000_000)));
    let gateway = Setup::to(large.address())
        .listener("timeouts: { write: 400ms }")
        .start();
    let mut client = H2::with(gateway.address(), &[(4, 0x7fff_ffff)]);
    client.send(frame(8, 0, 0, 0x7000_0000u32.to_be_bytes()));
    client.send_get("/");
    assert_eq!(gateway.await_access("path", "/")["reason"], "client_closed");
    gateway.await_metric("tidegate_connections", &[], 0.0);
}

#[test]
fn a_client_that_leaves_ends_its_streams() {
    let gate = Gate::default();
    let upstream = waits(&gate);
    let gateway = Setup::to(upstream.address()).start();
    let mut client = H2::connect(gateway.address());
    for _ in 0..5 {
        client.send_get("/wait");
    }
    upstream.await_requests(5);
    drop(client);
    let lines = gateway.await_access_lines(5);
    assert!(
        lines.iter().all(|line| line["reason"] == "client_closed"),
        "{lines:?}"
    );
    gateway.await_metric("tidegate_connections", &[], 0.0);
    gate.open();
    upstream.await_all_closed();
}

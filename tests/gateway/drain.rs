//! The end: SIGTERM loses no request, and a second one does not wait.

use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::{Client, Gate, Gateway, PATIENCE, Setup, Upstream, answer, until};

/// An upstream that answers `/slow` when the gate opens and everything else at once.
fn gated(gate: &Gate) -> Upstream {
    let gate = gate.clone();
    Upstream::start(move |peer| {
        while let Some((request, _)) = peer.whole_request() {
            if request.target == "/slow" {
                gate.pass();
            }
            if peer.send(answer(200, "served")).is_err() {
                return;
            }
        }
    })
}

fn with_drain(upstream: &Upstream, delay: &str, deadline: &str) -> Gateway {
    Setup::to(upstream.address())
        .top(&format!(
            "drain: {{ delay: {delay}, deadline: {deadline} }}"
        ))
        .start()
}

fn await_draining(gateway: &Gateway) {
    until(PATIENCE, "/readyz turns 503", || {
        gateway.admin_get("/readyz", "").status == 503
    });
}

#[test]
fn during_the_delay_requests_are_served_and_connections_closed() {
    let upstream = gated(&Gate::default());
    let mut gateway = with_drain(&upstream, "2s", "9s");
    let mut kept = gateway.client();
    assert!(!kept.get("/before").expect_ok().lists("connection", "close"));
    let begin = Instant::now();
    gateway.sigterm();
    await_draining(&gateway);
    assert_eq!(
        gateway.admin_get("/healthz", "").status,
        200,
        "alive while draining"
    );
    let answer = kept.get("/on-a-kept-connection").expect_ok();
    assert!(answer.lists("connection", "close"), "{answer:?}");
    kept.expect_closed();
    let mut fresh = gateway.client();
    assert!(
        fresh
            .get("/on-a-fresh-connection")
            .expect_ok()
            .lists("connection", "close")
    );
    fresh.expect_closed();
    let status = gateway.wait_exit(PATIENCE);
    assert_eq!(status.code(), Some(0));
    assert!(
        begin.elapsed() >= Duration::from_millis(990),
        "before the delay: {:?}",
        begin.elapsed()
    );
    assert!(
        begin.elapsed() < Duration::from_secs(8),
        "nothing was left to wait for: {:?}",
        begin.elapsed()
    );
}

#[test]
fn a_request_in_flight_is_finished() {
    let gate = Gate::default();
    let upstream = gated(&gate);
    let mut gateway = with_drain(&upstream, "200ms", "9s");
    let mut slow = gateway.client();
    slow.send_get("/slow");
    upstream.await_requests(1);
    gateway.sigterm();
    until(PATIENCE, "the listener closes", || {
        TcpStream::connect(gateway.address()).is_err()
    });
    assert!(gateway.is_alive(), "a request is still in flight");
    gate.open();
    let answer = slow.response().expect_ok();
    assert_eq!(answer.text(), "served");
    assert!(answer.lists("connection", "close"));
    slow.expect_closed();
    assert_eq!(gateway.wait_exit(PATIENCE).code(), Some(0));
    assert_eq!(
        gateway.await_access("path", "/slow")["status"],
        200,
        "the last line is written too"
    );
}

#[test]
fn an_upload_in_flight_is_finished() {
    let upstream =
        Upstream::start(|peer| peer.serve(|_, body| answer(200, &body.len().to_string())));
    let mut gateway = with_drain(&upstream, "200ms", "9s");
    let mut client = gateway.client();
    client.send("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 10\r\n\r\nhello");
    upstream.await_requests(1);
    gateway.sigterm();
    until(PATIENCE, "the listener closes", || {
        TcpStream::connect(gateway.address()).is_err()
    });
    client.send("world");
    assert_eq!(client.response().expect_ok().text(), "10");
    assert_eq!(gateway.wait_exit(PATIENCE).code(), Some(0));
}

#[test]
fn idle_connections_are_closed_after_the_delay() {
    let upstream = gated(&Gate::default());
    let mut gateway = with_drain(&upstream, "300ms", "9s");
    let mut idle = gateway.client();
    idle.get("/").expect_ok();
    let mut untouched = gateway.client();
    let mut parked = gateway.client();
    parked.get("/").expect_ok();
    assert!(parked.silent_for(Duration::from_millis(800)));
    gateway.sigterm();
    for client in [&mut idle, &mut untouched, &mut parked] {
        client.expect_closed();
    }
    assert_eq!(gateway.wait_exit(PATIENCE).code(), Some(0));
    upstream.await_all_closed();
}

#[test]
fn a_second_sigterm_ends_at_once() {
    let gate = Gate::default();
    let upstream = gated(&gate);
    let mut gateway = with_drain(&upstream, "30s", "60s");
    let mut slow = gateway.client();
    slow.send_get("/slow");
    upstream.await_requests(1);
    gateway.sigterm();
    await_draining(&gateway);
    let begin = Instant::now();
    gateway.sigterm();
    gateway.wait_exit(PATIENCE);
    assert!(begin.elapsed() < PATIENCE / 2, "{:?}", begin.elapsed());
    gate.open();
}

#[test]
fn what_is_left_at_the_deadline_is_cut_and_told() {
    let gate = Gate::default();
    let upstream = gated(&gate);
    let mut gateway = with_drain(&upstream, "100ms", "700ms");
    let mut slow = gateway.client();
    slow.send_get("/slow");
    upstream.await_requests(1);
    let begin = Instant::now();
    gateway.sigterm();
    let status = gateway.wait_exit(PATIENCE);
    assert!(
        begin.elapsed() >= Duration::from_millis(690),
        "too early: {:?}",
        begin.elapsed()
    );
    assert!(
        begin.elapsed() < Duration::from_secs(4),
        "too late: {:?}",
        begin.elapsed()
    );
    assert_eq!(status.code(), Some(0));
    assert!(
        gateway
            .stderr_lines()
            .iter()
            .any(|line| line.contains("cut")),
        "what was cut is logged"
    );
    gate.open();
}

#[test]
fn after_the_delay_a_late_request_gets_503() {
    let gate = Gate::default();
    let upstream = gated(&gate);
    let mut gateway = with_drain(&upstream, "500ms", "9s");
    // The head has begun, so the connection is not idle; it becomes a request after the delay.
    let mut late = gateway.client();
    late.send("GET /late HTTP/1.1\r\nHost: a.test\r\n");
    let mut slow = gateway.client();
    slow.send_get("/slow");
    upstream.await_requests(1);
    gateway.sigterm();
    until(PATIENCE, "the listener closes", || {
        TcpStream::connect(gateway.address()).is_err()
    });
    late.send("\r\n");
    let answer = late.response();
    answer.expect_refusal(503, "draining");
    assert!(answer.field("retry-after").is_some(), "{answer:?}");
    assert!(answer.lists("connection", "close"));
    gate.open();
    slow.response().expect_ok();
    assert_eq!(gateway.wait_exit(PATIENCE).code(), Some(0));
}

#[test]
fn sigint_drains_too() {
    let upstream = gated(&Gate::default());
    let mut gateway = with_drain(&upstream, "100ms", "5s");
    gateway.sigint();
    assert_eq!(gateway.wait_exit(PATIENCE).code(), Some(0));
}

#[test]
fn under_load_no_accepted_connection_is_without_its_answer() {
    let upstream = Upstream::answering(answer(200, "served"));
    let mut gateway = with_drain(&upstream, "500ms", "9s");
    let address = gateway.address();
    let (ended, served) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        for number in 0..6 {
            let (ended, served) = (&ended, &served);
            scope.spawn(move || {
                while !ended.load(Ordering::SeqCst) {
                    let Ok(stream) = TcpStream::connect(address) else {
                        return;
                    };
                    let mut client = Client::over(stream);
                    // The first half opens a connection for each request, the others keep theirs as long as they may.
                    loop {
                        match client.try_get("/load") {
                            Ok(answer) => {
                                // After the delay what still arrives is told to try elsewhere.
                                if answer.status != 200 {
                                    answer.expect_refusal(503, "draining");
                                }
                                served.fetch_add(1, Ordering::SeqCst);
                                if number < 3 || answer.lists("connection", "close") {
                                    break;
                                }
                            }
                            Err(error) => panic!("no complete answer: {error}"),
                        }
                    }
                }
            });
        }
        until(PATIENCE, "load", || served.load(Ordering::SeqCst) > 100);
        gateway.sigterm();
        let status = gateway.wait_exit(PATIENCE);
        ended.store(true, Ordering::SeqCst);
        assert_eq!(status.code(), Some(0));
    });
}

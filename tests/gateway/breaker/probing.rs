//! Half-open: rows B31 to B40.

use std::thread;
use std::time::{Duration, Instant};

use super::*;
use crate::support::{Client, scale, until};

const QUICK: &str =
    "{ consecutive_failures: 3, open_for: 100ms, half_open_probes: 3, half_open_successes: 3 }";

/// Waits until the time of an open breaker is over, without a request.
fn await_due(gateway: &Gateway) {
    until(PATIENCE, "a probe is due", || {
        let page = gateway.admin_get("/upstreams", "").json();
        page["upstreams"][0]["breaker"]["next_probe_ms"] == 0
    });
}

/// B31.
#[test]
fn b31_exactly_as_many_probes_as_the_file_allows() {
    let gate = Gate::default();
    let moody = Moody::start(Mood::Answer(500));
    let gateway = moody.behind(QUICK).start();
    assert_eq!(trip(&gateway), 3);
    moody.become_(Mood::Wait(gate.clone()));
    await_due(&gateway);
    let mut clients: Vec<Client> = (0..50).map(|_| gateway.client()).collect();
    for client in &mut clients {
        client.send_get("/");
    }
    moody.upstream().await_requests(3 + 3);
    // The 47 others are answered while the three hang.
    until(PATIENCE, "all others were refused", || {
        let labels = [("reason", "breaker_open")];
        let told = gateway.metric("tidegate_gateway_responses_total", &labels);
        told == Some(1.0 + 47.0)
    });
    assert_eq!(gauge(&gateway), HALF_OPEN);
    gate.open();
    let statuses: Vec<u16> = clients.iter_mut().map(|c| c.response().status).collect();
    assert_eq!(statuses.iter().filter(|s| **s == 200).count(), 3);
    assert_eq!(moody.seen(), 6);
    assert_eq!(gauge(&gateway), CLOSED);
}

/// B33, B34, B38.
#[test]
fn b33_b34_b38_a_failed_probe_opens_it_and_the_next_time_all_probes_are_there() {
    let moody = Moody::start(Mood::Answer(500));
    let gateway = moody.behind(QUICK).start();
    assert_eq!(trip(&gateway), 3);
    for _ in 0..2 {
        moody.become_(Mood::Answer(200));
        await_due(&gateway);
        gateway.get("/").expect_ok();
        gateway.get("/").expect_ok();
        assert_eq!(gauge(&gateway), HALF_OPEN);
        moody.become_(Mood::Answer(500));
        assert_eq!(gateway.get("/").status, 500);
        assert_eq!(gauge(&gateway), OPEN);
    }
    assert_eq!(moves(&gateway, "open", "probe_failed"), 2.0);
    moody.become_(Mood::Answer(200));
    await_due(&gateway);
    for _ in 0..3 {
        gateway.get("/").expect_ok();
    }
    assert_eq!(gauge(&gateway), CLOSED);
}

/// B35.
#[test]
fn b35_a_probe_that_hangs_fails_and_blocks_nobody() {
    let moody = Moody::start(Mood::Answer(500));
    let gateway = moody
        .behind("{ consecutive_failures: 3, open_for: 50ms, half_open_timeout: 100ms, half_open_successes: 1 }")
        .start();
    assert_eq!(trip(&gateway), 3);
    let gate = Gate::default();
    moody.become_(Mood::Wait(gate.clone()));
    await_due(&gateway);
    let mut hangs = gateway.client();
    hangs.send_get("/hangs");
    until(PATIENCE, "the probe has failed", || {
        moves(&gateway, "open", "probe_failed") == 1.0
    });
    moody.become_(Mood::Answer(200));
    assert_eq!(await_probe(&gateway), 200);
    assert_eq!(gauge(&gateway), CLOSED);
    // It still gets its answer, and that says nothing any more.
    gate.open();
    hangs.response().expect_ok();
    assert_eq!(gauge(&gateway), CLOSED);
}

/// B36.
#[test]
fn b36_the_place_of_a_client_that_leaves_goes_to_another() {
    let moody = Moody::start(Mood::Answer(500));
    let gateway = moody
        .behind("{ consecutive_failures: 3, open_for: 50ms, half_open_successes: 1 }")
        .start();
    assert_eq!(trip(&gateway), 3);
    let gate = Gate::default();
    moody.become_(Mood::Wait(gate.clone()));
    await_due(&gateway);
    let mut client = gateway.client();
    client.send_get("/leaves");
    moody.upstream().await_requests(4);
    gateway.get("/").expect_refusal(503, "breaker_open");
    client.reset();
    moody.become_(Mood::Answer(200));
    assert_eq!(await_probe(&gateway), 200);
    assert_eq!(gauge(&gateway), CLOSED);
    assert_eq!(moves(&gateway, "open", "probe_failed"), 0.0);
    gate.open();
}

/// B37.
#[test]
fn b37_a_slow_probe_has_failed() {
    let moody = Moody::start(Mood::Answer(500));
    let gateway = moody
        .behind("{ consecutive_failures: 3, open_for: 50ms, slow_rate: { slower_than: 50ms, min_requests: 1000 } }")
        .start();
    assert_eq!(trip(&gateway), 3);
    moody.become_(Mood::Slow(Duration::from_millis(60)));
    assert_eq!(await_probe(&gateway), 200);
    assert_eq!(gauge(&gateway), OPEN);
    assert_eq!(moves(&gateway, "open", "probe_failed"), 1.0);
}

/// B39: many clients at a breaker that opens and probes over and over.
#[test]
fn b39_never_more_probes_than_allowed_and_no_place_is_lost() {
    let moody = Moody::start(Mood::Answer(500));
    let gateway = moody
        .behind("{ consecutive_failures: 1, open_for: 5ms, half_open_probes: 3, half_open_successes: 1000 }")
        .start();
    assert_eq!(gateway.get("/").status, 500);
    moody.become_(Mood::Slow(Duration::from_millis(2)));
    let (rounds, clients, each) = scale((10, 16, 10), (1000, 64, 3));
    for _ in 0..rounds {
        thread::scope(|scope| {
            for _ in 0..clients {
                scope.spawn(|| {
                    let mut client = gateway.client();
                    for _ in 0..each {
                        let answer = client.get("/");
                        assert!(matches!(answer.status, 200 | 503));
                    }
                });
            }
        });
        // One fails, and it all begins anew.
        moody.become_(Mood::Answer(500));
        until(PATIENCE, "a probe failed", || {
            gateway.get("/").status == 500
        });
        moody.become_(Mood::Slow(Duration::from_millis(2)));
    }
    assert!(moody.most() <= 3, "{} at once", moody.most());
    assert!(moves(&gateway, "open", "probe_failed") >= f64::from(rounds));
    assert_eq!(await_probe(&gateway), 200);
}

/// B40: a retry is a probe of its own.
#[test]
fn b40_a_probe_is_tried_again_only_by_another_probe() {
    for (probes, tries) in [(1, 1), (2, 2)] {
        let moody = Moody::start(Mood::Answer(503));
        let gateway = Setup::to(moody.upstream().address())
            .upstream(&format!(
                "retry_budget: off, circuit_breaker: {{ consecutive_failures: 1, open_for: 100ms, half_open_probes: {probes} }}"
            ))
            .route("retry: { attempts: 1, on: [503], backoff: off }")
            .start();
        assert_eq!(gateway.get("/").status, 503);
        let seen = moody.seen();
        await_due(&gateway);
        assert_eq!(gateway.get("/").status, 503);
        assert_eq!(moody.seen() - seen, tries, "with {probes} probes");
        assert_eq!(moves(&gateway, "open", "probe_failed"), 1.0);
    }
}

#[test]
fn no_retry_while_it_is_open() {
    let gate = Gate::default();
    let moody = Moody::start(Mood::Answer(503));
    let held = gate.clone();
    let waits = Upstream::start(move |peer| {
        while let Some(request) = peer.request() {
            if request.target == "/held" {
                held.pass();
            }
            if peer.send(answer(503, "no")).is_err() {
                return;
            }
        }
    });
    let gateway = Setup::to(waits.address())
        .upstream("retry_budget: off, circuit_breaker: { consecutive_failures: 1 }")
        .route("retry: { attempts: 3, on: [503], backoff: off }")
        .start();
    drop(moody);
    let mut client = gateway.client();
    client.send_get("/held");
    waits.await_requests(1);
    assert_eq!(gateway.get("/").status, 503);
    assert_eq!(gauge(&gateway), OPEN);
    let seen = waits.requests().len();
    gate.open();
    let last = client.response();
    assert_eq!(
        (last.status, last.reason()),
        (503, ""),
        "the endpoint's own answer"
    );
    assert_eq!(waits.requests().len(), seen);
}

/// The time of a re-opened breaker doubles.
#[test]
fn b28_each_failed_probe_doubles_the_time() {
    let moody = Moody::start(Mood::Answer(500));
    let gateway = moody
        .behind("{ consecutive_failures: 1, open_for: 100ms, max_open_for: 400ms }")
        .start();
    assert_eq!(gateway.get("/").status, 500);
    for least in [100, 200, 400, 400] {
        let begin = Instant::now();
        assert_eq!(await_probe(&gateway), 500);
        // From the answer before to the probe; the clock began a little earlier.
        assert!(begin.elapsed() + Duration::from_millis(60) > Duration::from_millis(least));
    }
}

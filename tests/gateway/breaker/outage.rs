//! A scripted outage: requests flow evenly, the upstream dies and comes back.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

use super::*;
use crate::support::scale;

/// While the upstream is dead it sees probes only; it is well again at the first probe after it returned.
#[test]
fn while_open_the_upstream_sees_probes_only_and_recovers_by_them() {
    let (clients, outage) = scale(
        (4, Duration::from_millis(900)),
        (16, Duration::from_secs(10)),
    );
    let rate = scale(200, 2000);
    let open_for = scale(200, 2000);
    let moody = Moody::start(Mood::Answer(200));
    let gateway = moody
        .behind(&format!("{{ open_for: {open_for}ms }}"))
        .start();
    let (sent, done) = (AtomicUsize::new(0), Gate::default());
    let begin = Instant::now();
    thread::scope(|scope| {
        for _ in 0..clients {
            scope.spawn(|| {
                let mut client = gateway.client();
                while !done.is_open() {
                    // Paced: the n-th request is due at n / rate.
                    let n = sent.fetch_add(1, SeqCst) as u64;
                    let due = Duration::from_micros(n * 1_000_000 / rate);
                    thread::park_timeout(due.saturating_sub(begin.elapsed()));
                    let answer = client.get("/");
                    match answer.status {
                        200 | 500 => {}
                        503 => assert_eq!(answer.reason(), "breaker_open"),
                        other => panic!("{other}"),
                    }
                    if answer.status == 503 {
                        assert!(answer.field("retry-after").is_some());
                    }
                }
            });
        }
        moody.upstream().await_requests(20);
        moody.become_(Mood::Answer(500));
        crate::support::until(PATIENCE, "it opened", || gauge(&gateway) == OPEN);
        // What was on its way when it opened has arrived when nothing is under way any more.
        thread::park_timeout(Duration::from_millis(50));
        let (seen, probes) = (moody.seen(), moves(&gateway, "half_open", "timer"));
        let dead = Instant::now();
        while dead.elapsed() < outage {
            thread::park_timeout(Duration::from_millis(10));
        }
        let more = moody.seen() - seen;
        let probes = moves(&gateway, "half_open", "timer") - probes + 1.0;
        assert!(
            more as f64 <= probes,
            "{more} requests with {probes} probes"
        );
        moody.become_(Mood::Answer(200));
        crate::support::until(2 * PATIENCE, "it closed", || gauge(&gateway) == CLOSED);
        done.open();
    });
    // Each probe of the outage failed, and the first one after it did not.
    let failed = moves(&gateway, "open", "probe_failed");
    let timer = moves(&gateway, "half_open", "timer");
    assert_eq!(moves(&gateway, "closed", "probes_succeeded"), 1.0);
    assert_eq!(timer, failed + 1.0);
}

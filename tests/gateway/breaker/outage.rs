//! A scripted outage: requests flow evenly, the upstream dies and comes back.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

use super::*;
use crate::support::{scale, until};

/// What everybody would wait for at a dead upstream if there were no breaker.
const DELAY: Duration = Duration::from_secs(2);

/// The load: clients that send at an even rate together, and what they heard.
struct Load {
    begin: Instant,
    rate: u64,
    sent: AtomicUsize,
    done: AtomicBool,
    /// For each client: was it refused lately?
    refused: Vec<AtomicBool>,
    /// The longest time of a refusal.
    slowest: Mutex<Duration>,
}

impl Load {
    /// One client, until all is done.
    fn play(&self, client: usize, gateway: &Gateway) {
        let mut own = gateway.client();
        while !self.done.load(SeqCst) {
            // Paced: the n-th request is due at n / rate.
            let n = self.sent.fetch_add(1, SeqCst) as u64;
            let due = Duration::from_micros(n * 1_000_000 / self.rate);
            thread::park_timeout(due.saturating_sub(self.begin.elapsed()));
            let asked = Instant::now();
            let answer = own.get("/");
            match answer.status {
                200 => {}
                504 => assert_eq!(answer.reason(), "upstream_timeout"),
                503 => {
                    answer.expect_refusal(503, "breaker_open");
                    let seconds = answer
                        .field("retry-after")
                        .and_then(|s| s.parse::<u32>().ok());
                    assert!(seconds.is_some_and(|s| (1..=2).contains(&s)), "{seconds:?}");
                    let mut slowest = self.slowest.lock().unwrap();
                    *slowest = slowest.max(asked.elapsed());
                    self.refused[client].store(true, SeqCst);
                }
                other => panic!("{other}"),
            }
        }
    }

    /// Waits until nothing is under way any more that was sent before the breaker opened.
    fn await_refusals(&self) {
        self.refused.iter().for_each(|it| it.store(false, SeqCst));
        until(PATIENCE, "everybody was refused", || {
            self.refused.iter().all(|it| it.load(SeqCst))
        });
    }
}

/// While the upstream is dead it sees probes only, and nobody waits for it; it is well again by the first probe after it
/// returned.
#[test]
fn while_open_the_upstream_sees_probes_only_and_recovers_by_them() {
    let (clients, rate) = scale((8, 200), (32, 2000));
    let outage = scale(Duration::from_millis(900), Duration::from_secs(10));
    let breaker = scale(
        "{ open_for: 200ms, half_open_timeout: 100ms }",
        "{ open_for: 2s }",
    );
    let moody = Moody::start(Mood::Answer(200));
    let timeouts = format!("timeouts: {{ response: {}s }}", DELAY.as_secs());
    let gateway = moody.behind(breaker).upstream(&timeouts).start();
    let load = Load {
        begin: Instant::now(),
        rate,
        sent: AtomicUsize::new(0),
        done: AtomicBool::new(false),
        refused: (0..clients).map(|_| AtomicBool::new(false)).collect(),
        slowest: Mutex::default(),
    };
    thread::scope(|scope| {
        for client in 0..clients {
            let (load, gateway) = (&load, &gateway);
            scope.spawn(move || load.play(client, gateway));
        }
        moody.upstream().await_requests(20);
        let gate = Gate::default();
        moody.become_(Mood::Wait(gate.clone()));
        until(2 * PATIENCE, "it opened", || gauge(&gateway) == OPEN);
        load.await_refusals();
        let probes = moves(&gateway, "half_open", "timer");
        let (seen, sent) = (moody.seen(), load.sent.load(SeqCst));
        let dead = Instant::now();
        while dead.elapsed() < outage {
            thread::park_timeout(Duration::from_millis(10));
        }
        let more = moody.seen() - seen;
        let sent = load.sent.load(SeqCst) - sent;
        // One may have been on its way when the counting began.
        let probes = moves(&gateway, "half_open", "timer") - probes + 1.0;
        assert!(more as f64 <= probes, "{more} with {probes} probes");
        moody.become_(Mood::Answer(200));
        gate.open();
        let returned = Instant::now();
        until(2 * PATIENCE, "it closed", || gauge(&gateway) == CLOSED);
        load.done.store(true, SeqCst);
        let slowest = *load.slowest.lock().unwrap();
        println!(
            "dead for {outage:?}: {sent} requests, of which the upstream saw {more}; refused within {slowest:?}; \
             closed {:?} after its return",
            returned.elapsed()
        );
        assert!(slowest < DELAY, "{slowest:?}");
    });
    // Each probe of the outage failed, and the first one after it did not.
    let failed = moves(&gateway, "open", "probe_failed");
    let timer = moves(&gateway, "half_open", "timer");
    assert_eq!(moves(&gateway, "closed", "probes_succeeded"), 1.0);
    assert_eq!(timer, failed + 1.0);
}

//! What passes, from first to last: every window of a trace, and all of it to a token. Nothing here depends on how fast
//! requests go: each is held between the moment before it was sent and the moment when its answer was there.

use std::time::{Duration, Instant};

use super::{is_admitted, limiting};
use crate::support::scale;

/// One request.
struct Asked {
    sent: Duration,
    answered: Duration,
    passed: bool,
}

/// As many requests on `/own` as one client makes in a time, and on until one is refused: by one key, one after the other.
fn overload(policy: &str, lasts: Duration) -> Vec<Asked> {
    let gateway = limiting(policy)
        .listener("limits: { requests_per_connection: off }")
        .start();
    let (mut client, since) = (gateway.client(), Instant::now());
    let mut trace = Vec::new();
    let is_over = |last: &Asked| last.sent >= lasts && !last.passed;
    while !trace.last().is_some_and(is_over) {
        let sent = since.elapsed();
        let passed = is_admitted(&client.get("/own"));
        trace.push(Asked {
            sent,
            answered: since.elapsed(),
            passed,
        });
    }
    trace
}

/// L9, L10: there are no windows of the clock, at whose border twice the burst would pass. In none at all more passes
/// than the burst and what came in it.
#[test]
fn in_no_window_more_passes_than_the_burst_and_the_rate() {
    let (rate, burst) = (50.0, 20.0);
    let trace = overload("rate: 50/s, burst: 20", Duration::from_secs(scale(3, 10)));
    let passed: Vec<&Asked> = trace.iter().filter(|asked| asked.passed).collect();
    for (first, begins) in passed.iter().enumerate() {
        for (last, ends) in passed.iter().enumerate().skip(first) {
            let (many, took) = (last - first + 1, ends.answered - begins.sent);
            let most = burst + rate * took.as_secs_f64();
            assert!(many as f64 <= most, "{many} of {most} in {took:?}");
        }
    }
}

/// Between two refusals, at which less than a token is there, passes what came in between; what came while the bucket was
/// full is lost, and then nobody asked for a whole burst's time.
#[test]
fn what_passes_is_what_came_to_a_token() {
    let (rate, burst) = (200.0, 100.0);
    let trace = overload("rate: 200/s, burst: 100", Duration::from_secs(scale(3, 30)));
    let refused: Vec<usize> = (0..trace.len()).filter(|at| !trace[*at].passed).collect();
    let (first, last) = (refused[0], refused[refused.len() - 1]);
    let passed = (first..last).filter(|at| trace[*at].passed).count() as f64;
    let came = |time: Duration| rate * time.as_secs_f64();
    let lost: f64 = refused
        .windows(2)
        .map(|two| came(trace[two[1]].answered - trace[two[0]].sent) - burst)
        .filter(|beyond| *beyond > 0.0)
        .sum();
    let most = came(trace[last].answered - trace[first].sent) + 1.0;
    let least = came(trace[last].sent - trace[first].answered) - 1.0 - lost;
    assert!(least <= passed && passed <= most, "{least} {passed} {most}");
    assert!(first as f64 >= burst, "the burst passed first: {first}");
}

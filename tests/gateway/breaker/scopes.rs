//! One breaker for each endpoint: rows B16 and B19.

use super::*;
use crate::support::Echo;

fn of_endpoint(gateway: &Gateway, endpoint: &Upstream) -> Option<f64> {
    let address = endpoint.address().to_string();
    let labels = [("upstream", "app"), ("endpoint", address.as_str())];
    gateway.metric("tidegate_breaker_state", &labels)
}

/// B19.
#[test]
fn b19_the_others_serve() {
    let bad = Moody::start(Mood::Answer(500));
    let (second, third) = (Echo::start("second"), Echo::start("third"));
    for balance in ["round_robin", "least_requests", "random", "{ hash: path }"] {
        let gateway = bad
            .behind("{ scope: endpoint, consecutive_failures: 2 }")
            .endpoint(second.address())
            .endpoint(third.address())
            .upstream(&format!("balance: {balance}"))
            .start();
        let mut failed = 0;
        for n in 0..200 {
            match gateway.get(&format!("/{n}")).status {
                200 => {}
                500 => failed += 1,
                other => panic!("{other} by {balance}"),
            }
        }
        assert_eq!(failed, 2, "{balance}");
        assert_eq!(of_endpoint(&gateway, bad.upstream()), Some(OPEN));
        assert_eq!(of_endpoint(&gateway, second.upstream()), Some(CLOSED));
        let whole = [("upstream", "app"), ("endpoint", "")];
        assert_eq!(gateway.metric("tidegate_breaker_state", &whole), None);
    }
}

/// B16: each attempt counts, with the endpoint that it was at.
#[test]
fn b16_each_attempt_counts_where_it_was() {
    let bad = Moody::start(Mood::Answer(503));
    let good = Echo::start("good");
    let gateway = Setup::to(bad.upstream().address())
        .endpoint(good.address())
        .upstream("retry_budget: off, balance: round_robin, circuit_breaker: { scope: endpoint, consecutive_failures: 2 }")
        .route("retry: { attempts: 1, on: [503], backoff: off }")
        .start();
    for _ in 0..20 {
        gateway.get("/").expect_ok();
    }
    assert_eq!(bad.seen(), 2);
    assert_eq!(of_endpoint(&gateway, bad.upstream()), Some(OPEN));
}

#[test]
fn all_open_is_breaker_open() {
    let (one, two) = (
        Moody::start(Mood::Answer(500)),
        Moody::start(Mood::Answer(500)),
    );
    let gateway = one
        .behind(
            "{ scope: endpoint, consecutive_failures: 2, open_for: 300ms, half_open_successes: 1 }",
        )
        .endpoint(two.upstream().address())
        .start();
    assert_eq!(trip(&gateway), 4);
    let refused = gateway.get("/");
    assert_eq!(refused.field("retry-after"), Some("1"));
    assert_eq!(one.seen() + two.seen(), 4);
    two.become_(Mood::Answer(200));
    one.become_(Mood::Answer(200));
    crate::support::until(PATIENCE, "both are closed again", || {
        gateway.get("/");
        let state = |of: &Moody| of_endpoint(&gateway, of.upstream());
        state(&one) == Some(CLOSED) && state(&two) == Some(CLOSED)
    });
}

#[test]
fn a_fallback_waits_for_the_last_endpoint() {
    let (one, two) = (
        Moody::start(Mood::Answer(500)),
        Moody::start(Mood::Answer(500)),
    );
    let gateway = one
        .behind("{ scope: endpoint, consecutive_failures: 1, fallback: { status: 203 } }")
        .endpoint(two.upstream().address())
        .start();
    let statuses: Vec<u16> = (0..4).map(|_| gateway.get("/").status).collect();
    assert_eq!(statuses, [500, 500, 203, 203]);
}

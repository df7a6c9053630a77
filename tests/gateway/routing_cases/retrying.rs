//! R160 to R175: which failures are tried again, how often, and what the client gets in the end.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::retry::{ALL, Deed, doing, retrying};
use crate::support::{Gateway, Upstream, answer};

/// Asks once; fails unless the answer has this status after so many requests.
fn expect(name: &str, retry: &str, deeds: &'static [Deed], status: u16, requests: usize) {
    let upstream = doing(deeds);
    let gateway = retrying(&upstream, retry).start();
    let answer = gateway.get("/");
    assert_eq!(answer.status, status, "{name}: {}", answer.text());
    assert_eq!(upstream.requests().len(), requests, "{name}");
    let passed_on = answer.reason().is_empty();
    assert_eq!(
        passed_on,
        !matches!(deeds[0], Deed::Close | Deed::Reset) || status == 200,
        "{name}"
    );
}

#[test]
fn a_500_is_tried_again_and_a_503_is_not() {
    let retry = "attempts: 3, on: [500]";
    expect("R160", retry, &[Deed::Answer(500); 2], 200, 3);
    expect("R161", retry, &[Deed::Answer(500); 4], 500, 4);
    expect("R162", retry, &[Deed::Answer(503); 2], 503, 1);
}

#[test]
fn every_5xx_that_is_listed_is_tried_again() {
    let retry = "attempts: 2, on: [500, 502, 503, 504]";
    expect("R163", retry, &[Deed::Answer(500)], 200, 2);
    expect("R164", retry, &[Deed::Answer(502)], 200, 2);
    expect("R165", retry, &[Deed::Answer(503)], 200, 2);
    expect("R166", retry, &[Deed::Answer(504)], 200, 2);
    expect("R167", retry, &[Deed::Answer(500); 3], 500, 3);
    expect("R167", retry, &[Deed::Answer(502); 3], 502, 3);
    expect("R168", retry, &[Deed::Answer(503); 3], 503, 3);
    expect("R168", retry, &[Deed::Answer(504); 3], 504, 3);
    let mixed = &[Deed::Answer(500), Deed::Answer(504), Deed::Answer(502)];
    expect("R168", retry, mixed, 502, 3);
}

#[test]
fn a_connection_that_breaks_before_the_answer_is_tried_again() {
    for (twice, often) in [
        (&[Deed::Close; 2], &[Deed::Close; 4]),
        (&[Deed::Reset; 2], &[Deed::Reset; 4]),
    ] {
        expect("R169", "attempts: 3, on: [reset]", twice, 200, 3);
        expect("R170", "attempts: 3, on: [reset]", often, 502, 4);
    }
}

/// Waits as a slow upstream does.
fn take(time: Duration) {
    let begin = Instant::now();
    while begin.elapsed() < time {
        thread::park_timeout(time);
    }
}

#[test]
fn the_time_of_the_request_holds_over_all_tries() {
    for (name, delay, most) in [("R171", 200, 3), ("R172", 2_000, 1)] {
        let upstream = Upstream::start(move |peer| {
            peer.serve(|_, _| {
                take(Duration::from_millis(delay));
                answer(503, "slow")
            });
        });
        let gateway = retrying(&upstream, &format!("attempts: 9, {ALL}"))
            .route("timeouts: { request: 500ms }")
            .start();
        let begin = Instant::now();
        gateway.get("/").expect_refusal(504, "upstream_timeout");
        let took = begin.elapsed();
        assert!(took >= Duration::from_millis(495), "{name}: {took:?}");
        let attempts = gateway.await_access("path", "/")["attempts"].as_u64();
        let tries = attempts.unwrap() as usize;
        assert!((1..=most).contains(&tries), "{name}: {tries}");
        upstream.await_requests(tries);
        upstream.await_all_closed();
        assert_eq!(upstream.requests().len(), tries, "{name}");
    }
}

#[test]
fn what_cannot_be_sent_twice_is_sent_once() {
    let body = "0123456789".repeat(20_000);
    for method in ["POST", "PUT"] {
        let whole = AtomicUsize::new(0);
        let sent = body.clone();
        let upstream = Upstream::start(move |peer| {
            peer.serve(|_, body| {
                assert!(body == sent.as_bytes(), "R173: {} bytes", body.len());
                whole.fetch_add(1, Ordering::SeqCst);
                answer(503, &format!("whole {}", whole.load(Ordering::SeqCst)))
            });
        });
        let gateway = retrying(&upstream, "attempts: 3, on: [503]").start();
        let answer = gateway.client().ask(format!(
            "{method} / HTTP/1.1\r\nHost: a.test\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        ));
        assert_eq!(
            (answer.status, answer.text()),
            (503, "whole 1".to_owned()),
            "R173 {method}"
        );
        assert_eq!(upstream.requests().len(), 1, "R173 {method}");
    }
}

#[test]
fn an_answer_that_began_is_the_last() {
    let upstream = Upstream::saying_once("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello");
    let gateway = retrying(&upstream, &format!("attempts: 3, {ALL}")).start();
    let mut client = gateway.client();
    let mut head = client.send_get("/").head();
    assert_eq!(head.status, 200, "R174");
    assert!(
        client.rest(&mut head).is_err(),
        "R174: half a body looks whole"
    );
    gateway.await_access("path", "/");
    assert_eq!(upstream.requests().len(), 1, "R174");
}

#[test]
fn a_name_that_nobody_knows_is_503() {
    let gateway = Gateway::start(
        "admin: { bind: \"127.0.0.1:0\" }\nlisteners: [{ name: main, bind: \"127.0.0.1:0\" }]\n\
         routes: [{ upstream: app, retry: { attempts: 3 } }]\n\
         upstreams: { app: { endpoints: [\"http://nobody.invalid:80\"] } }\n",
    );
    gateway.get("/").expect_refusal(503, "no_healthy_endpoint");
}

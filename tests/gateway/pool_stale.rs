//! Upstreams that close pooled connections whenever they like: no client ever hears of it.

use std::thread;
use std::time::Duration;

use crate::support::{Peer, Setup, Upstream, answer, scale};

const CLIENTS: usize = 16;
/// Far shorter than the pause between two requests of a client may be.
const IDLE: Duration = Duration::from_millis(3);

/// Sends GETs over 16 connections; each has to be answered by the upstream.
fn expect_all_served(setup: &Setup) {
    let gateway = setup.start();
    thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                let mut client = gateway.client();
                for _ in 0..scale(640, 10_000) / CLIENTS {
                    client.get("/").expect_ok();
                }
            });
        }
    });
    let ours = gateway.metric("tidegate_gateway_responses_total", &[]);
    assert_eq!(ours, None, "no answer was ours");
    gateway.await_metric("tidegate_upstream_connections", &[("state", "busy")], 0.0);
}

/// What the contract calls replayable: an idempotent method, a body that is small.
#[test]
fn a_small_body_of_an_idempotent_request_is_sent_once_more() {
    let upstream = Upstream::start(|peer| serve_some(peer, 1, false));
    let gateway = Setup::to(upstream.address()).start();
    let mut client = gateway.client();
    let body = "x".repeat(2000);
    for _ in 0..scale(200, 5_000) {
        client.send(format!(
            "PUT /p HTTP/1.1\r\nHost: a.test\r\nContent-Length: 2000\r\n\r\n{body}"
        ));
        client.response().expect_ok();
    }
    let requests = upstream.requests();
    assert!(requests.iter().all(|request| request.method == "PUT"));
    assert_eq!(requests.len(), scale(200, 5_000), "each was answered once");
}

/// Answers this many requests, then closes: with a word or without.
fn serve_some(peer: &mut Peer, most: usize, tells: bool) {
    for left in (0..most).rev() {
        if peer.whole_request().is_none() {
            return;
        }
        let said = if left == 0 && tells {
            "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok".to_owned()
        } else {
            answer(200, "ok")
        };
        if peer.send(said).is_err() {
            return;
        }
    }
}

#[test]
fn connections_that_close_after_so_many_answers() {
    for most in 1..=5 {
        for tells in [true, false] {
            let upstream = Upstream::start(move |peer| serve_some(peer, most, tells));
            expect_all_served(&Setup::to(upstream.address()));
        }
    }
}

#[test]
fn connections_that_close_after_so_many_answers_where_only_some_may_be_open() {
    for (most, tells) in [(1, true), (1, false), (3, false)] {
        let upstream = Upstream::start(move |peer| serve_some(peer, most, tells));
        let bound = "pool: { max_connections_per_endpoint: 4 }";
        expect_all_served(&Setup::to(upstream.address()).upstream(bound));
    }
}

#[test]
fn connections_that_close_when_they_were_idle_for_a_moment() {
    let upstream = Upstream::start(|peer| {
        // The first request may take its time; whoever pauses after an answer finds the door closed.
        while peer.whole_request().is_some() {
            if peer.send(answer(200, "ok")).is_err() {
                return;
            }
            let _ = peer.writer().set_read_timeout(Some(IDLE));
        }
    });
    let gateway = Setup::to(upstream.address()).start();
    thread::scope(|scope| {
        for number in 0..CLIENTS {
            let gateway = &gateway;
            scope.spawn(move || {
                let mut client = gateway.client();
                for turn in 0..scale(640, 10_000) / CLIENTS {
                    client.get("/").expect_ok();
                    // From nothing to twice the idle time, so that many requests meet a connection as it closes.
                    let pause = IDLE * ((number * 7 + turn * 3) % 17) as u32 / 8;
                    client.silent_for(pause.max(Duration::from_micros(1)));
                }
            });
        }
    });
    let ours = gateway.metric("tidegate_gateway_responses_total", &[]);
    assert_eq!(ours, None, "no answer was ours");
    assert!(upstream.connections() > CLIENTS, "none was closed");
}

//! WebSockets and the endpoints of an upstream: who gets the next one, and what happens when an endpoint does not answer.

use crate::support::{Client, Handshake, Opcode, Setup, Upstream, masked, reflecting, vacant};

use super::{ALL, OPEN};

fn open(setup: &Setup, count: usize) -> (crate::support::Gateway, Vec<Client>) {
    let gateway = setup.start();
    let clients = (0..count).map(|_| {
        let mut client = gateway.client();
        client.upgrade(&Handshake::to("/"));
        client
    });
    let clients = clients.collect();
    (gateway, clients)
}

/// A socket is load for as long as it lives.
#[test]
fn open_sockets_count_as_load() {
    let (one, two) = (reflecting(), reflecting());
    let setup = Setup::to(one.address())
        .endpoint(two.address())
        .upstream("balance: least_requests");
    let (gateway, clients) = open(&setup, 20);
    for upstream in [&one, &two] {
        let share = upstream.open();
        assert!((8..=12).contains(&share), "{share} of 20");
    }
    drop(clients);
    gateway.await_metric(OPEN, &ALL, 0.0);
}

#[test]
fn an_endpoint_that_refuses_is_passed_over() {
    let [address] = vacant();
    let upstream = reflecting();
    let setup = Setup::to(address).endpoint(upstream.address());
    let (_gateway, mut clients) = open(&setup, 12);
    for client in &mut clients {
        client.expect_echo(&masked(Opcode::Text, true, b"found"));
    }
    assert_eq!(upstream.open(), 12);
}

/// What an upstream has begun to do for a handshake nobody knows: it is not said twice.
#[test]
fn a_handshake_that_was_sent_is_not_sent_again() {
    let upstream = Upstream::start(|peer| {
        peer.request();
    });
    let gateway = Setup::to(upstream.address())
        .route("retry: { attempts: 3, on: [connect, reset] }")
        .start();
    let refusal = gateway.client().ask(Handshake::to("/").text());
    refusal.expect_refusal(502, "upstream_reset");
    assert_eq!(upstream.requests().len(), 1);
}

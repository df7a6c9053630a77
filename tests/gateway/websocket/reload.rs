//! Sockets through reloads: none is closed, none keeps an old generation alive.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::support::{
    Client, Gateway, Handshake, Opcode, Setup, Upstream, masked, reflecting, scale, until,
};

use super::{ALL, CLOSES, OPEN};

/// Routes that come and go, so that a generation weighs something.
const ROUTES: usize = 300;

/// What the allocator may take later than at first; less than the snapshots of a third of the reloads take.
const GROWTH: u64 = 12 << 20;

/// Generation `number`: other routes around `all`, whose own rules change every second time, as its upstream's do.
fn generation(number: usize, upstream: &Upstream) -> String {
    let (even, third) = (number % 2, number % 3);
    let mut setup = Setup::to(upstream.address())
        .top("logging: { access: off }")
        .listener("limits: { requests_per_connection: off }")
        .route(&format!(
            "timeouts: {{ request: {}s }}, response_headers: {{ set: {{ x-generation: \"{number}\" }} }}",
            20 + even
        ))
        .upstream(&format!("timeouts: {{ connect: {}s }}", 2 + even));
    for route in (0..ROUTES).filter(|route| route % 3 != third) {
        setup = setup.before(&format!(
            "name: route-{route}, match: {{ path: /{route} }}, respond: {{ body: \"{number}\" }}"
        ));
    }
    setup.text()
}

/// Room for the test's own ends of so many sockets.
fn make_room() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    setrlimit(Resource::Nofile, raised).unwrap();
}

#[test]
fn a_thousand_sockets_live_through_a_thousand_reloads() {
    make_room();
    let (sockets, reloads) = (scale(100, 1_000), scale(100, 1_000));
    let upstream = reflecting();
    let gateway = Gateway::start(&generation(0, &upstream));
    let frame = masked(Opcode::Text, true, b"of an old generation");
    let mut clients: Vec<Client> = Vec::new();
    for number in 0..sockets {
        let mut client = gateway.client();
        client.upgrade(&Handshake::to(&format!("/{number}/socket")));
        clients.push(client);
    }
    gateway.await_metric(OPEN, &ALL, sockets as f64);
    let mut memory = Vec::new();
    let mut last = gateway.metrics();
    for number in 1..=reloads {
        gateway.apply(&generation(number, &upstream));
        let fresh = gateway.get("/elsewhere").expect_ok();
        let wanted = number.to_string();
        assert_eq!(fresh.field("x-generation"), Some(wanted.as_str()));
        clients[number % sockets].expect_echo(&frame);
        if number % 4 == 0 {
            // Opened under every kind of generation, not under the first alone.
            let mut client = gateway.client();
            client.upgrade(&Handshake::to("/later/socket"));
            clients.push(client);
        }
        if number % 25 == 0 {
            let now = gateway.metrics();
            now.expect_not_below(&last);
            last = now;
        }
        memory.push(gateway.rss());
    }
    for client in &mut clients {
        client.expect_echo(&frame);
    }
    gateway.await_metric(OPEN, &ALL, clients.len() as f64);
    assert_eq!(gateway.metric(CLOSES, &ALL).unwrap_or_default(), 0.0);
    // As in `reload_load`: the most of the beginning and the least of the end.
    let early = memory[..reloads / 2].iter().max().unwrap();
    let late = memory[reloads * 4 / 5..].iter().min().unwrap();
    eprintln!(
        "memory: {} KiB at first, {} KiB at last",
        early >> 10,
        late >> 10
    );
    let grown = late.saturating_sub(*early);
    assert!(grown < GROWTH, "{} KiB more", grown >> 10);
    drop(clients);
    gateway.await_metric(OPEN, &ALL, 0.0);
    let busy = [("upstream", "app"), ("state", "busy")];
    gateway.await_metric("tidegate_upstream_connections", &busy, 0.0);
}

/// A generation of 20,000 bytes of text for each of 300 routes, and one without them: what the first weighs must go,
/// although a socket was opened under it.
#[test]
fn a_socket_keeps_no_generation_alive() {
    let upstream = reflecting();
    let heavy = |number: usize| {
        let mut setup = Setup::to(upstream.address());
        for route in 0..300 {
            let body = format!("{number}").repeat(20_000);
            setup = setup.before(&format!(
                "name: route-{route}, match: {{ path: /{route} }}, respond: {{ body: \"{body}\" }}"
            ));
        }
        setup.text()
    };
    let gateway = Setup::to(upstream.address()).start();
    let mut clients = Vec::new();
    let (mut early, mut late) = (0, 0);
    for number in 0..scale(12, 40) {
        gateway.apply(&heavy(number % 10));
        let mut client = gateway.client();
        client.upgrade(&Handshake::to("/"));
        clients.push(client);
        late = gateway.rss();
        if number == 3 {
            early = late;
        }
    }
    eprintln!("memory: {} KiB, then {} KiB", early >> 10, late >> 10);
    // Each generation weighs 6 MB; eight more of them would be 48.
    let grown = late.saturating_sub(early);
    assert!(grown < 24 << 20, "{} KiB more", grown >> 10);
    let frame = masked(Opcode::Text, true, b"alive");
    clients
        .iter_mut()
        .for_each(|client| client.expect_echo(&frame));
}

#[test]
fn a_socket_outlives_its_route_and_its_upstream() {
    let upstream = reflecting();
    let gateway = Setup::to(upstream.address()).start();
    let mut client = gateway.client();
    client.upgrade(&Handshake::to("/"));
    let bare = "workers: 2\nadmin: { bind: \"127.0.0.1:0\" }\nlisteners: [{ name: main, bind: \"127.0.0.1:0\" }]\n\
                routes: [{ name: other, match: { path: /other }, respond: { status: 204 } }]\n";
    gateway.apply(bare);
    let refusal = gateway.client().ask(Handshake::to("/").text());
    refusal.expect_refusal(404, "route_not_found");
    let frame = masked(Opcode::Text, true, b"of a route that is gone");
    client.expect_echo(&frame);
    gateway.apply(&Setup::to(upstream.address()).text());
    client.expect_echo(&frame);
    gateway.await_metric(OPEN, &ALL, 1.0);
    drop(client);
    until(crate::support::PATIENCE, "it is counted", || {
        gateway.metric(CLOSES, &ALL) == Some(1.0)
    });
    gateway.await_metric(OPEN, &ALL, 0.0);
}

#[test]
fn a_reload_switches_it_off_for_new_sockets() {
    let upstream = reflecting();
    let gateway = Setup::to(upstream.address()).start();
    let mut old = gateway.client();
    old.upgrade(&Handshake::to("/"));
    gateway.apply(&Setup::to(upstream.address()).route("websocket: off").text());
    let refusal = gateway.client().ask(Handshake::to("/").text());
    refusal.expect_refusal(403, "upgrade_refused");
    old.expect_echo(&masked(Opcode::Text, true, b"I was here before"));
}

//! Connections of clients: how many, from whom, for how long, and how little each costs.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use crate::support::{Client, Echo, Gateway, PATIENCE, Report, Setup, scale, until};

#[test]
fn beyond_the_limit_a_connection_is_refused_at_once() {
    let echo = Echo::start("app");
    let gateway = Setup::to(echo.address())
        .listener("limits: { connections: 3 }")
        .start();
    let mut held: Vec<Client> = (0..3).map(|_| gateway.client()).collect();
    for client in &mut held {
        client.get("/").expect_ok();
    }
    for _ in 0..2 {
        let mut refused = gateway.client();
        let _ = refused.try_send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n");
        refused.expect_closed();
    }
    let labels = [("listener", "main"), ("cause", "limit")];
    gateway.await_metric("tidegate_connections_refused_total", &labels, 2.0);
    gateway.await_metric("tidegate_connections", &[("listener", "main")], 3.0);
    held.pop();
    gateway.await_metric("tidegate_connections", &[("listener", "main")], 2.0);
    gateway.get("/").expect_ok();
    held[0].get("/").expect_ok();
}

#[test]
fn one_address_cannot_take_all_connections() {
    let echo = Echo::start("app");
    let gateway = Setup::to(echo.address())
        .listener("limits: { connections_per_ip: 2 }")
        .start();
    let from = |last: u8| {
        Client::connect_from(
            IpAddr::V4(Ipv4Addr::new(127, 0, 0, last)),
            gateway.address(),
        )
    };
    let mut held = [from(7), from(7)];
    for client in &mut held {
        client.get("/").expect_ok();
    }
    let mut refused = from(7);
    let _ = refused.try_send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n");
    refused.expect_closed();
    from(8).get("/").expect_ok();
    let labels = [("listener", "main"), ("cause", "per_ip")];
    gateway.await_metric("tidegate_connections_refused_total", &labels, 1.0);
    drop(held);
    gateway.await_metric("tidegate_connections", &[("listener", "main")], 0.0);
    from(7).get("/").expect_ok();
}

#[test]
fn after_its_last_request_a_connection_is_closed() {
    let echo = Echo::start("app");
    let gateway = Setup::to(echo.address())
        .listener("limits: { requests_per_connection: 3 }")
        .start();
    for _ in 0..2 {
        let mut client = gateway.client();
        for number in 1..=3 {
            let answer = client.get("/").expect_ok();
            assert_eq!(
                answer.lists("connection", "close"),
                number == 3,
                "request {number}"
            );
        }
        client.expect_closed();
    }
}

#[test]
fn a_parked_connection_wakes_with_its_next_request() {
    let echo = Echo::start("app");
    let gateway = Setup::to(echo.address()).start();
    let mut client = gateway.client();
    for number in 0..3 {
        assert_eq!(
            Report::of(client.get(&format!("/{number}"))).target(),
            format!("/{number}")
        );
        assert!(
            client.silent_for(Duration::from_millis(800)),
            "a kept connection is silent"
        );
    }
    client.send("GET /in HTTP/1.1\r\n");
    assert!(
        client.silent_for(Duration::from_millis(800)),
        "a head that has begun is no idle connection"
    );
    client.send("Host: a.test\r\n\r\n");
    assert_eq!(Report::of(client.response()).target(), "/in");
    gateway.await_metric("tidegate_connections", &[("listener", "main")], 1.0);
}

#[test]
fn a_parked_connection_counts_its_requests_on() {
    let echo = Echo::start("app");
    let gateway = Setup::to(echo.address())
        .listener("limits: { requests_per_connection: 2 }")
        .start();
    let mut client = gateway.client();
    assert!(!client.get("/").expect_ok().lists("connection", "close"));
    assert!(client.silent_for(Duration::from_millis(800)));
    assert!(client.get("/").expect_ok().lists("connection", "close"));
    client.expect_closed();
}

#[test]
fn a_parked_connection_is_closed_when_it_stays_idle() {
    let echo = Echo::start("app");
    let gateway = Setup::to(echo.address())
        .listener("timeouts: { idle: 1500ms }")
        .start();
    let mut client = gateway.client();
    client.get("/").expect_ok();
    assert!(
        client.silent_for(Duration::from_millis(1200)),
        "parked, but not yet old"
    );
    client.expect_closed();
    gateway.await_metric("tidegate_connections", &[("listener", "main")], 0.0);
}

#[test]
fn an_idle_connection_costs_little() {
    let echo = Echo::start("app");
    let gateway = Setup::to(echo.address()).start();
    let count = scale(1_000, 4_000);
    let mut warm: Vec<Client> = (0..50).map(|_| asked(gateway.client())).collect();
    let before = gateway.rss();
    let mut held: Vec<Client> = (0..count).map(|_| asked(gateway.client())).collect();
    assert!(
        held[count - 1].silent_for(Duration::from_millis(1_500)),
        "all of them are parked by now"
    );
    // The allocator gives memory back while it works, so somebody works.
    until(PATIENCE, "an idle connection costs less than 8 KiB", || {
        warm[0].get("/").expect_ok();
        gateway.rss().saturating_sub(before) / (count as u64) < 8 * 1024
    });
    #[allow(clippy::cast_precision_loss)]
    gateway.await_metric(
        "tidegate_connections",
        &[("listener", "main")],
        (count + warm.len()) as f64,
    );
    for client in held.iter_mut().step_by(97) {
        client.get("/").expect_ok();
    }
}

fn asked(mut client: Client) -> Client {
    client.get("/").expect_ok();
    client
}

#[test]
fn two_listeners_have_their_own_rules() {
    let echo = Echo::start("app");
    let main = "  - { name: main, bind: \"127.0.0.1:0\" }\n";
    let second = "  - { name: second, bind: [\"127.0.0.1:0\", \"127.0.0.2:0\"], limits: { requests_per_connection: 1 } }\n";
    let text = Setup::to(echo.address())
        .text()
        .replace(main, &format!("{main}{second}"));
    let gateway = Gateway::start(&text);
    let answer = Client::connect(gateway.listener("second"))
        .get("/")
        .expect_ok();
    assert!(answer.lists("connection", "close"));
    let answer = Client::connect(gateway.listener("main"))
        .get("/")
        .expect_ok();
    assert!(!answer.lists("connection", "close"));
    for listener in ["main", "second"] {
        gateway.await_metric(
            "tidegate_requests_total",
            &[("listener", listener), ("route", "all")],
            1.0,
        );
    }
    assert_eq!(
        gateway.count_stderr("listening listener=second"),
        2,
        "a listener may have many addresses"
    );
}

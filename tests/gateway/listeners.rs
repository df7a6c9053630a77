//! Listeners that come, go and move with a reload: nothing that stays is felt, nothing that goes is lost.

use std::fmt::Write as _;
use std::net::{Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use crate::support::h2::NO_ERROR;
use crate::support::{
    Client, Gate, Gateway, H2, Handshake, PATIENCE, Setup, Upstream, answer, reflecting, scale,
    until, vacant,
};

/// A file with these listeners (name and bind), each with a route that says its name and one for `/any` on all.
fn saying(listeners: &[(&str, SocketAddr)]) -> String {
    let mut text = String::from(
        "workers: 2\nadmin: { bind: \"127.0.0.1:0\" }\ndrain: { delay: 0s, deadline: 5s }\nlisteners:\n",
    );
    for (name, bind) in listeners {
        writeln!(text, "  - {{ name: {name}, bind: \"{bind}\" }}").unwrap();
    }
    text += "routes:\n  - { name: any, match: { path: /any }, respond: { body: any } }\n";
    for (name, _) in listeners {
        writeln!(
            text,
            "  - {{ name: on-{name}, listeners: [{name}], match: {{ path: / }}, respond: {{ body: {name} }} }}"
        )
        .unwrap();
    }
    text
}

fn says(address: SocketAddr) -> String {
    Client::connect(address).get("/").expect_ok().text()
}

fn await_refused(address: SocketAddr) {
    until(PATIENCE, "nobody listens there", || {
        TcpStream::connect(address).is_err()
    });
}

#[test]
fn a_listener_is_added_and_removed() {
    let [a, b] = vacant();
    let mut gateway = Gateway::start(&saying(&[("a", a)]));
    assert!(TcpStream::connect(b).is_err());
    gateway.apply(&saying(&[("a", a), ("b", b)]));
    until(PATIENCE, "b serves", || TcpStream::connect(b).is_ok());
    assert_eq!([says(a), says(b)], ["a", "b"]);
    gateway.await_stderr(&format!("listening listener=b address={b}"));
    gateway.apply(&saying(&[("a", a)]));
    await_refused(b);
    gateway.await_stderr(&format!("listens no more listener=b address={b}"));
    assert_eq!(says(a), "a");
    assert!(gateway.metric("tidegate_requests_total", &[("listener", "b")]) > Some(0.0));
    // Within ten minutes it goes on where it was.
    gateway.apply(&saying(&[("b", b), ("a", a)]));
    until(PATIENCE, "b is back", || TcpStream::connect(b).is_ok());
    assert_eq!(says(b), "b");
    gateway.await_metric("tidegate_requests_total", &[("listener", "b")], 2.0);
}

#[test]
fn a_listener_that_moves_keeps_its_counters_and_its_connections_end_gently() {
    let [old, new] = vacant();
    let gateway = Gateway::start(&saying(&[("a", old)]));
    let (mut idle, mut parked) = (Client::connect(old), Client::connect(old));
    idle.get("/").expect_ok();
    parked.get("/").expect_ok();
    assert!(parked.silent_for(Duration::from_millis(700)));
    gateway.apply(&saying(&[("a", new)]));
    idle.expect_closed();
    parked.expect_closed();
    await_refused(old);
    assert_eq!(says(new), "a");
    gateway.await_metric("tidegate_requests_total", &[("listener", "a")], 3.0);
    gateway.await_metric("tidegate_connections", &[("listener", "a")], 0.0);
}

#[test]
fn a_request_in_flight_on_a_removed_listener_is_answered_and_its_connection_closed() {
    let [a, b] = vacant();
    let gate = Gate::default();
    let shut = gate.clone();
    let upstream = Upstream::start(move |peer| {
        peer.serve(|_, _| {
            shut.pass();
            answer(200, "served")
        });
    });
    let file = |listeners: &str| {
        format!(
            "workers: 2\nadmin: {{ bind: \"127.0.0.1:0\" }}\nlisteners: [{listeners}]\nroutes: [{{ upstream: app }}]\n\
             upstreams: {{ app: {{ endpoints: [\"http://{}\"] }} }}\n",
            upstream.address()
        )
    };
    let (first, second) = (
        format!("{{ name: a, bind: \"{a}\" }}"),
        format!("{{ name: b, bind: \"{b}\" }}"),
    );
    let gateway = Gateway::start(&file(&format!("{first}, {second}")));
    let mut client = Client::connect(b);
    client.send_get("/slow");
    upstream.await_requests(1);
    gateway.apply(&file(&first));
    await_refused(b);
    gate.open();
    let answer = client.response().expect_ok();
    assert_eq!(answer.text(), "served");
    assert!(answer.lists("connection", "close"), "{answer:?}");
    client.expect_closed();
    gateway.await_metric("tidegate_connections", &[("listener", "b")], 0.0);
}

/// Both of a removed listener: one that rests, one with a stream under way.
#[test]
fn connections_of_http_2_end_with_their_listener() {
    let [a, b] = vacant();
    let gate = Gate::default();
    let shut = gate.clone();
    let upstream = Upstream::start(move |peer| {
        peer.serve(|_, _| {
            shut.pass();
            answer(200, "served")
        });
    });
    let more = format!(
        "  - {{ name: slow, match: {{ path: /slow }}, upstream: app }}\n\
         upstreams: {{ app: {{ endpoints: [\"http://{}\"] }} }}\n",
        upstream.address()
    );
    let gateway = Gateway::start(&format!("{}{more}", saying(&[("a", a), ("b", b)])));
    let [mut stays, mut rests, mut busy] = [a, b, b].map(H2::connect);
    for client in [&mut stays, &mut rests] {
        client.get("/any").expect_ok();
    }
    let stream = busy.send_get("/slow");
    upstream.await_requests(1);
    gateway.apply(&format!("{}{more}", saying(&[("a", a)])));
    assert_eq!(rests.end(), Some(NO_ERROR));
    // It is told, too, and yet its stream is served to the end.
    busy.until("GOAWAY", |client| !client.goaways.is_empty());
    gate.open();
    assert_eq!(busy.response(stream).expect_ok().text(), "served");
    assert_eq!(busy.end(), Some(NO_ERROR));
    let told: Vec<u32> = busy.goaways.iter().map(|(last, ..)| *last).collect();
    assert!(told.iter().all(|last| *last >= stream), "{told:?}");
    gateway.await_metric("tidegate_connections", &[("listener", "b")], 0.0);
    assert_eq!(stays.get("/").expect_ok().text(), "a");
    assert!(stays.goaways.is_empty());
}

#[test]
fn two_listeners_swap_their_addresses() {
    let [one, other] = vacant();
    let gateway = Gateway::start(&saying(&[("a", one), ("b", other)]));
    assert_eq!([says(one), says(other)], ["a", "b"]);
    let mut kept = Client::connect(one);
    kept.get("/").expect_ok();
    gateway.apply(&saying(&[("a", other), ("b", one)]));
    until(PATIENCE, "the order has reached all workers", || {
        (0..8).all(|_| says(one) == "b" && says(other) == "a")
    });
    kept.expect_closed();
    assert_eq!(gateway.count_stderr("listens no more"), 0);
}

#[test]
fn an_address_that_is_taken_refuses_the_reload_with_its_line() {
    let [a] = vacant();
    let mut gateway = Gateway::start(&saying(&[("a", a)]));
    let held = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = held.local_addr().unwrap();
    let [b] = vacant();
    gateway.write_config(&saying(&[("a", a), ("b", b), ("c", taken)]));
    gateway.sighup();
    let said = gateway.await_stderr(&format!("{taken} of listener c cannot be bound"));
    assert!(said.contains("gateway.yaml:7:22"), "{said}");
    assert!(said.contains("another process has it"), "{said}");
    assert_eq!(says(a), "a");
    assert!(TcpStream::connect(b).is_err(), "all or nothing");
    assert_eq!(
        gateway.metric("tidegate_config_last_reload_success", &[]),
        Some(0.0)
    );
    drop(held);
    gateway.sighup();
    until(PATIENCE, "all three serve", || {
        TcpStream::connect(taken).is_ok()
    });
    assert_eq!([says(a), says(b), says(taken)], ["a", "b", "c"]);
}

#[test]
fn port_0_keeps_the_port_that_it_got() {
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let gateway = Gateway::start(&saying(&[("a", any), ("b", any)]));
    let (a, b) = (gateway.listener("a"), gateway.listener("b"));
    let mut kept = Client::connect(a);
    kept.get("/").expect_ok();
    gateway.apply(&saying(&[("b", any), ("a", any), ("c", any)]));
    assert_eq!([says(a), says(b)], ["a", "b"]);
    assert!(!kept.get("/").expect_ok().lists("connection", "close"));
    // Written out, it is the same address, and its connections stay too.
    gateway.apply(&saying(&[("a", a), ("b", any)]));
    assert!(!kept.get("/").expect_ok().lists("connection", "close"));
    assert_eq!(
        gateway.count_stderr(&format!("listens no more listener=a address={a}")),
        0
    );
}

#[test]
fn ipv6_comes_and_goes() {
    let [v4, other] = vacant();
    let v6 = SocketAddr::from((Ipv6Addr::LOCALHOST, other.port()));
    let gateway = Gateway::start(&saying(&[("a", v4)]));
    gateway.apply(&saying(&[("a", v4), ("six", v6)]));
    until(PATIENCE, "IPv6 serves", || TcpStream::connect(v6).is_ok());
    assert_eq!(says(v6), "six");
    // From one interface to all of them: the sockets overlap for a moment.
    let all: SocketAddr = format!("[::]:{}", v6.port()).parse().unwrap();
    let as_v4 = SocketAddr::from(([127, 0, 0, 1], v6.port()));
    gateway.apply(&saying(&[("a", v4), ("six", all)]));
    until(PATIENCE, "dual stack", || TcpStream::connect(as_v4).is_ok());
    assert_eq!([says(v6), says(as_v4)], ["six", "six"]);
    gateway.apply(&saying(&[("a", v4)]));
    await_refused(v6);
    await_refused(as_v4);
}

#[test]
fn the_port_of_the_operator_moves_and_is_switched_off_and_on() {
    let [a, first, second] = vacant();
    let file = |admin: &str| saying(&[("a", a)]).replace("{ bind: \"127.0.0.1:0\" }", admin);
    let at = |address: SocketAddr| format!("{{ bind: \"{address}\" }}");
    let gateway = Gateway::start(&file(&at(first)));
    let ready = |address: SocketAddr| {
        TcpStream::connect(address).is_ok_and(|stream| {
            let ask = format!("GET /readyz HTTP/1.1\r\nHost: {address}\r\n\r\n");
            Client::over(stream).ask(ask).status == 200
        })
    };
    // The verb that moves the port is answered on the old one.
    let mut operator = Client::connect(first);
    gateway.write_config(&file(&at(second)));
    let verb = format!(
        "POST /reload HTTP/1.1\r\nHost: {first}\r\nX-Tidegate-Admin: 1\r\nContent-Length: 0\r\n\r\n"
    );
    assert_eq!(operator.ask(verb).status, 200);
    until(PATIENCE, "the port has moved", || ready(second));
    await_refused(first);
    gateway.write_config(&file("off"));
    gateway.sighup();
    await_refused(second);
    assert_eq!(says(a), "a");
    gateway.write_config(&file(&at(first)));
    gateway.sighup();
    until(PATIENCE, "the port is on again", || ready(first));
}

#[test]
fn who_reached_a_listener_that_goes_is_answered() {
    let [a, b] = vacant();
    let gateway = Gateway::start(&saying(&[("a", a), ("b", b)]));
    let (done, answered, refused) = (
        AtomicBool::new(false),
        AtomicUsize::new(0),
        AtomicUsize::new(0),
    );
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while !done.load(Ordering::SeqCst) {
                    let Ok(stream) = TcpStream::connect_timeout(&b, PATIENCE) else {
                        refused.fetch_add(1, Ordering::SeqCst);
                        thread::park_timeout(Duration::from_millis(1));
                        continue;
                    };
                    let ask = "GET /any HTTP/1.1\r\nHost: a.test\r\n\r\n";
                    Client::over(stream).ask(ask).expect_ok();
                    answered.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        let _ends = Ends(&done);
        for _ in 0..scale(10, 100) {
            gateway.apply(&saying(&[("a", a)]));
            let before = refused.load(Ordering::SeqCst);
            until(PATIENCE, "it is closed", || {
                refused.load(Ordering::SeqCst) > before
            });
            gateway.apply(&saying(&[("a", a), ("b", b)]));
            let before = answered.load(Ordering::SeqCst);
            until(PATIENCE, "it is back", || {
                answered.load(Ordering::SeqCst) > before + 4
            });
        }
    });
}

#[test]
fn a_renamed_listener_serves_whoever_is_connected() {
    let [a] = vacant();
    let gateway = Gateway::start(&saying(&[("old", a)]));
    // It has spoken half a head when its listener gets another name.
    let mut client = Client::connect(a);
    client.send("GET / HTTP/1.1\r\nHost: a.t");
    gateway.apply(&saying(&[("new", a)]));
    let answer = client.ask("est\r\n\r\n").expect_ok();
    assert_eq!(answer.text(), "new");
    assert!(answer.lists("connection", "close"));
    gateway.await_metric("tidegate_requests_total", &[("listener", "new")], 1.0);
    gateway.await_metric("tidegate_connections", &[("listener", "old")], 0.0);
}

#[test]
fn fifty_reloads_of_listeners_are_not_felt_where_nothing_changes() {
    let upstream = reflecting();
    let reloads = scale(50, 500);
    let setup = Setup::to(upstream.address())
        .before("name: ping, match: { path: /ping }, respond: { body: pong }")
        .top("logging: { access: off }")
        .route("websocket: {}")
        .listener("limits: { requests_per_connection: off }");
    let text = setup.text();
    let gateway = Gateway::start(&text);
    let stays = gateway.address();
    let [x, y, z] = vacant();
    let file = |number: usize| {
        let others = match number % 4 {
            0 => String::new(),
            1 => format!("  - {{ name: x, bind: [\"{x}\", \"{y}\"] }}\n"),
            2 => format!("  - {{ name: x, bind: \"{z}\" }}\n  - {{ name: y, bind: \"{y}\" }}\n"),
            _ => format!(
                "  - {{ name: y, bind: \"{z}\" }}\n  - {{ name: x{number}, bind: \"{y}\" }}\n"
            ),
        };
        text.replace("routes:\n", &format!("{others}routes:\n"))
    };
    let mut chats = vec![gateway.client()];
    chats[0].upgrade(&Handshake::to("/chat"));
    let (done, served) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        let clients: Vec<_> = (0..3)
            .map(|number| {
                let (done, served) = (&done, &served);
                scope.spawn(move || {
                    let mut client = Client::connect(stays);
                    while !done.load(Ordering::SeqCst) {
                        if number == 0 {
                            client = Client::connect(stays);
                        }
                        let answer = client.get("/ping").expect_ok();
                        assert!(!answer.lists("connection", "close"), "{answer:?}");
                        served.fetch_add(1, Ordering::SeqCst);
                        thread::park_timeout(Duration::from_micros(300));
                    }
                })
            })
            .collect();
        let ends = Ends(&done);
        for number in 1..=reloads {
            gateway.apply(&file(number));
            assert!(!clients.iter().any(|c| c.is_finished()), "a client failed");
            if number == 1 {
                // Its listener goes, comes back and is another one's meanwhile.
                until(PATIENCE, "x serves", || TcpStream::connect(x).is_ok());
                let mut chat = Client::connect(x);
                chat.upgrade(&Handshake::to("/chat"));
                chats.push(chat);
            }
            for chat in &mut chats {
                chat.expect_echo(number.to_string().as_bytes());
            }
        }
        drop(ends);
    });
    assert!(served.load(Ordering::SeqCst) > reloads);
    drop(chats);
    gateway.await_metric("tidegate_connections", &[("listener", "x")], 0.0);
}

/// Ends the load however the test ends.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

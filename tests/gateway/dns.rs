//! Endpoints by name: each address is an endpoint, and traffic follows what DNS says, as long as it says it.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use hickory_resolver::proto::rr::RecordType::{A, AAAA};
use serde_json::Value;

use crate::support::{
    Dns, Gateway, PATIENCE, Say, Setup, Upstream, addresses, answer, mounted, unique_directory,
    until, until_some,
};

/// Upstreams on one port of several addresses; each answers with its own address.
pub(crate) struct Town {
    pub(crate) port: u16,
    pub(crate) upstreams: Vec<Upstream>,
}

impl Town {
    pub(crate) fn at(ips: &[&str]) -> Town {
        let listeners = one_port(ips);
        let port = listeners[0].local_addr().unwrap().port();
        let upstreams = listeners.into_iter().zip(ips).map(|(listener, ip)| {
            let answer = answer(200, ip);
            Upstream::on(listener, move |peer| peer.serve(|_, _| answer.clone()))
        });
        Town {
            port,
            upstreams: upstreams.collect(),
        }
    }
}

/// Sockets on one port of several addresses.
pub(crate) fn one_port(ips: &[&str]) -> Vec<TcpListener> {
    until_some(PATIENCE, "a port that is free on all addresses", || {
        let first = TcpListener::bind((ips[0], 0)).ok()?;
        let port = first.local_addr().ok()?.port();
        let rest = ips[1..]
            .iter()
            .map(|ip| TcpListener::bind((*ip, port)).ok());
        std::iter::once(Some(first))
            .chain(rest)
            .collect::<Option<Vec<_>>>()
    })
}

/// Everything goes to `app.test`; names are looked up again after at most 150 ms. A client may ask for as long as DNS
/// takes: on a slow machine it sends more requests than one connection carries by default.
pub(crate) fn setup(dns: &Dns, port: u16) -> Setup {
    Setup::to(format!("app.test:{port}"))
        .top(&servers(dns))
        .listener("limits: { requests_per_connection: off }")
}

pub(crate) fn servers(dns: &Dns) -> String {
    format!(
        "dns: {{ servers: [\"{}\"], min_ttl: 50ms, max_ttl: 150ms, timeout: 1s }}",
        dns.address()
    )
}

/// What `/upstreams` says of the first upstream.
pub(crate) fn told(gateway: &Gateway) -> Value {
    gateway.admin_get("/upstreams", "").expect_ok().json()["upstreams"][0].clone()
}

/// Waits until the endpoints of the first upstream are at exactly these addresses.
pub(crate) fn await_endpoints(gateway: &Gateway, port: u16, ips: &[&str]) {
    let wanted: Vec<String> = ips
        .iter()
        .map(|ip| SocketAddr::new(ip.parse().unwrap(), port).to_string())
        .collect();
    until(PATIENCE, &format!("endpoints {wanted:?}"), || {
        let told = told(gateway);
        let rows = told["endpoints"].as_array().unwrap();
        let found: Vec<&str> = rows
            .iter()
            .map(|row| row["endpoint"].as_str().unwrap())
            .collect();
        found == wanted
    });
}

/// Clients that go on asking, and count what they get.
struct Load {
    ended: Arc<AtomicBool>,
    asked: Arc<AtomicUsize>,
    clients: Vec<thread::JoinHandle<()>>,
}

impl Load {
    /// Every answer must be 200.
    fn on(gateway: &Gateway) -> Load {
        let (ended, asked) = (
            Arc::new(AtomicBool::new(false)),
            Arc::new(AtomicUsize::new(0)),
        );
        let clients = (0..4).map(|_| {
            let (mut client, ended, asked) = (gateway.client(), ended.clone(), asked.clone());
            thread::spawn(move || {
                while !ended.load(Ordering::SeqCst) {
                    client.get("/").expect_ok();
                    asked.fetch_add(1, Ordering::SeqCst);
                    // Other tests run beside this one.
                    thread::park_timeout(Duration::from_micros(300));
                }
            })
        });
        Load {
            clients: clients.collect(),
            ended,
            asked,
        }
    }

    /// Waits for so many requests more; fails as soon as one of the clients has.
    fn go_on(&self, more: usize) {
        let wanted = self.asked.load(Ordering::SeqCst) + more;
        until(PATIENCE, "the load goes on", || {
            let failed = self.clients.iter().any(thread::JoinHandle::is_finished);
            assert!(!failed, "a client failed");
            self.asked.load(Ordering::SeqCst) >= wanted
        });
    }

    fn end(self) {
        self.ended.store(true, Ordering::SeqCst);
        for client in self.clients {
            client.join().expect("every request was answered");
        }
    }
}

#[test]
fn traffic_follows_a_changed_answer_and_no_request_fails() {
    let town = Town::at(&["127.0.0.1", "127.0.0.2", "127.0.0.3"]);
    let dns = Dns::start();
    dns.say("app.test", addresses(&["127.0.0.1"], 0));
    let gateway = setup(&dns, town.port).start();
    let load = Load::on(&gateway);
    for round in 0..5 {
        for ips in [
            ["127.0.0.2"].as_slice(),
            &["127.0.0.1", "127.0.0.3"],
            &["127.0.0.1"],
        ] {
            dns.say("app.test", addresses(ips, 0));
            await_endpoints(&gateway, town.port, ips);
            load.go_on(20 + round);
        }
    }
    load.end();
    assert!(
        town.upstreams
            .iter()
            .all(|upstream| !upstream.requests().is_empty())
    );
    // Connections to addresses that are gone close as soon as they are idle, and it was all one generation.
    town.upstreams[1].await_all_closed();
    town.upstreams[2].await_all_closed();
    assert_eq!(gateway.metric("tidegate_config_generation", &[]), Some(1.0));
}

#[test]
fn an_endpoint_that_stays_keeps_its_counters_and_connections() {
    let town = Town::at(&["127.0.0.1", "127.0.0.2"]);
    let dns = Dns::start();
    dns.say("app.test", addresses(&["127.0.0.1"], 0));
    let gateway = setup(&dns, town.port).start();
    let mut client = gateway.client();
    let count = |ip: &str| {
        let endpoint = format!("{ip}:{}", town.port);
        let labels = [("upstream", "app"), ("endpoint", endpoint.as_str())];
        gateway.metric("tidegate_upstream_requests_total", &labels)
    };
    for _ in 0..10 {
        client.get("/").expect_ok();
    }
    assert_eq!(count("127.0.0.1"), Some(10.0));
    dns.say("app.test", addresses(&["127.0.0.2", "127.0.0.1"], 0));
    await_endpoints(&gateway, town.port, &["127.0.0.1", "127.0.0.2"]);
    for _ in 0..40 {
        client.get("/").expect_ok();
    }
    let (first, second) = (count("127.0.0.1").unwrap(), count("127.0.0.2").unwrap());
    assert!(first > 10.0 && second > 0.0, "{first} {second}");
    assert_eq!(first + second, 50.0);
    dns.say("app.test", addresses(&["127.0.0.2"], 0));
    await_endpoints(&gateway, town.port, &["127.0.0.2"]);
    client.get("/").expect_ok();
    // Who is gone is counted on for ten minutes, and back in time goes on where it was.
    assert_eq!(count("127.0.0.1"), Some(first));
    dns.say("app.test", addresses(&["127.0.0.1"], 0));
    await_endpoints(&gateway, town.port, &["127.0.0.1"]);
    client.get("/").expect_ok();
    assert_eq!(count("127.0.0.1"), Some(first + 1.0));
    assert_eq!(town.upstreams[0].connections(), 2);
    assert_eq!(town.upstreams[1].connections(), 1);
}

#[test]
fn both_families_take_traffic() {
    let town = Town::at(&["127.0.0.1", "::1"]);
    let dns = Dns::start();
    dns.say("app.test", addresses(&["::1", "127.0.0.1"], 60));
    let gateway = setup(&dns, town.port)
        .upstream("balance: round_robin")
        .start();
    await_endpoints(&gateway, town.port, &["::1", "127.0.0.1"]);
    let said: Vec<String> = (0..10)
        .map(|_| gateway.get("/").expect_ok().text())
        .collect();
    for ip in ["::1", "127.0.0.1"] {
        assert_eq!(
            said.iter().filter(|said| *said == ip).count(),
            5,
            "{said:?}"
        );
    }
    let told = told(&gateway);
    for row in told["endpoints"].as_array().unwrap() {
        assert_eq!(row["name"], "app.test");
    }
    let name = &told["names"][0];
    assert_eq!(
        (&name["name"], &name["addresses"]),
        (&"app.test".into(), &2.into())
    );
    assert_eq!(name["error"], Value::Null);
    let at = name["resolved_at"].as_str().unwrap();
    assert!(at.starts_with("20") && at.ends_with('Z'), "{at}");
}

#[test]
fn the_host_of_the_file_is_sent_and_not_the_address() {
    let town = Town::at(&["127.0.0.1"]);
    let dns = Dns::start();
    dns.say("app.test", addresses(&["127.0.0.1"], 60));
    let gateway = setup(&dns, town.port)
        .route("rewrite: { host: upstream }")
        .start();
    gateway.get("/").expect_ok();
    let request = town.upstreams[0].requests().remove(0);
    assert_eq!(
        request.field("host"),
        Some(format!("app.test:{}", town.port).as_str())
    );
}

#[test]
fn a_dead_address_costs_no_request() {
    let town = Town::at(&["127.0.0.1"]);
    let dns = Dns::start();
    // Nobody listens on the second: it refuses.
    dns.say("app.test", addresses(&["127.0.0.1", "127.0.0.2"], 60));
    let gateway = setup(&dns, town.port)
        .upstream("balance: round_robin")
        .start();
    await_endpoints(&gateway, town.port, &["127.0.0.1", "127.0.0.2"]);
    for _ in 0..20 {
        assert_eq!(gateway.get("/").expect_ok().text(), "127.0.0.1");
    }
}

#[test]
fn a_failed_connect_has_the_name_looked_up_at_once() {
    let mut town = Town::at(&["127.0.0.1", "127.0.0.2"]);
    let dns = Dns::start();
    dns.say("app.test", addresses(&["127.0.0.1"], 3600));
    let dns_section = format!("dns: {{ servers: [\"{}\"], max_ttl: 1h }}", dns.address());
    let gateway = Setup::to(format!("app.test:{}", town.port))
        .top(&dns_section)
        .start();
    gateway.get("/").expect_ok();
    dns.say("app.test", addresses(&["127.0.0.2"], 3600));
    let dead = town.upstreams.remove(0);
    let address = dead.address();
    drop(dead);
    until(PATIENCE, "nobody listens there any more", || {
        std::net::TcpStream::connect(address).is_err()
    });
    let begin = Instant::now();
    until(PATIENCE, "traffic moves", || {
        let answer = gateway.get("/");
        answer.status == 200 && answer.text() == "127.0.0.2"
    });
    assert!(
        begin.elapsed() < Duration::from_secs(5),
        "{:?}",
        begin.elapsed()
    );
    // Not for each of them.
    assert_eq!(
        (dns.asked("app.test", A), dns.asked("app.test", AAAA)),
        (2, 2)
    );
}

#[test]
fn a_time_to_live_is_honoured_between_its_bounds() {
    let town = Town::at(&["127.0.0.1"]);
    let dns = Dns::start();
    dns.say("app.test", addresses(&["127.0.0.1"], 0));
    dns.say("hour.test", addresses(&["127.0.0.1"], 3600));
    let text = Setup::to(format!("app.test:{}", town.port))
        .endpoint(format!("hour.test:{}", town.port))
        .top(&format!(
            "dns: {{ servers: [\"{}\"], min_ttl: 500ms, max_ttl: 1s }}",
            dns.address()
        ));
    let _gateway = text.start();
    for (name, least) in [("app.test", 500), ("hour.test", 1000)] {
        until(PATIENCE, "three look-ups", || dns.asked(name, A) >= 3);
        let mut questions = dns.questions(name);
        questions.retain(|question| question.kind == A);
        for pair in questions.windows(2) {
            let pause = pair[1].at.duration_since(pair[0].at);
            assert!(
                pause >= Duration::from_millis(least - 20),
                "{name}: {pause:?}"
            );
        }
    }
}

#[test]
fn the_hosts_file_comes_first() {
    let town = Town::at(&["127.0.0.1"]);
    let dns = Dns::start();
    dns.say("localhost", addresses(&["127.0.0.9"], 60));
    let gateway = Setup::to(format!("localhost:{}", town.port))
        .top(&servers(&dns))
        .start();
    for _ in 0..5 {
        gateway.get("/").expect_ok();
    }
    assert!(dns.questions("localhost").is_empty());
}

#[test]
fn a_changed_hosts_file_moves_traffic() {
    let town = Town::at(&["127.0.0.1", "127.0.0.2"]);
    let dns = Dns::start();
    let directory = unique_directory();
    let hosts = directory.join("hosts");
    std::fs::write(&hosts, "127.0.0.1 app.test\n").unwrap();
    let Some(command) = mounted(&hosts, "/etc/hosts".as_ref()) else {
        return;
    };
    let path = directory.join("gateway.yaml");
    std::fs::write(&path, setup(&dns, town.port).text()).unwrap();
    let gateway = Gateway::spawn_by(command, directory, &path).ready();
    assert_eq!(gateway.get("/").expect_ok().text(), "127.0.0.1");
    // In place, as who edits a mounted file must.
    std::fs::write(&hosts, "# moved\n127.0.0.2 app.test\n").unwrap();
    until(PATIENCE, "the file is read again", || {
        gateway.get("/").text() == "127.0.0.2"
    });
    std::fs::write(&hosts, "# nothing\n").unwrap();
    dns.say("app.test", addresses(&["127.0.0.1"], 60));
    until(PATIENCE, "DNS is asked", || {
        gateway.get("/").text() == "127.0.0.1"
    });
}

#[test]
fn fifty_names_are_there_at_the_start() {
    let town = Town::at(&["127.0.0.1"]);
    let dns = Dns::start();
    let mut text = Setup::to(format!("app.test:{}", town.port)).top(&servers(&dns));
    dns.say("app.test", addresses(&["127.0.0.1"], 60));
    for n in 0..50 {
        let say = Box::new(addresses(&["127.0.0.1"], 60));
        dns.say(
            &format!("n{n}.test"),
            Say::Late(Duration::from_millis(50), say),
        );
        text = text.before(&format!(
            "name: r{n}, match: {{ path: /r{n} }}, upstream: u{n}"
        ));
    }
    let mut text = text.text();
    for n in 0..50 {
        text += &format!(
            "  u{n}: {{ endpoints: [\"http://n{n}.test:{}\"] }}\n",
            town.port
        );
    }
    let gateway = Gateway::start(&text);
    let mut client = gateway.client();
    for n in 0..50 {
        client.get(&format!("/r{n}")).expect_ok();
    }
}

#[test]
fn a_reload_resolves_new_names_before_they_are_used() {
    let town = Town::at(&["127.0.0.1", "127.0.0.2"]);
    let dns = Dns::start();
    dns.say("app.test", addresses(&["127.0.0.1"], 60));
    let say = Box::new(addresses(&["127.0.0.2"], 60));
    dns.say("new.test", Say::Late(Duration::from_millis(300), say));
    let gateway = setup(&dns, town.port).start();
    let load = Load::on(&gateway);
    load.go_on(10);
    let text = setup(&dns, town.port).text();
    gateway.apply(&text.replace("app.test", "new.test"));
    assert_eq!(gateway.get("/").expect_ok().text(), "127.0.0.2");
    gateway.apply(&setup(&dns, town.port).text());
    assert_eq!(gateway.get("/").expect_ok().text(), "127.0.0.1");
    load.go_on(10);
    load.end();
    until(PATIENCE, "nobody follows the other name", || {
        let before = dns.asked("new.test", A);
        let others = dns.asked("app.test", A);
        until(PATIENCE, "time passes", || {
            dns.asked("app.test", A) > others + 2
        });
        dns.asked("new.test", A) == before
    });
}

#[test]
fn the_first_name_may_come_with_a_reload_and_the_last_may_go() {
    let town = Town::at(&["127.0.0.1"]);
    let dns = Dns::start();
    dns.say("app.test", addresses(&["127.0.0.1"], 60));
    let by_address = Setup::to(format!("127.0.0.1:{}", town.port)).top(&servers(&dns));
    let gateway = by_address.start();
    let mut client = gateway.client();
    client.get("/").expect_ok();
    gateway.apply(&setup(&dns, town.port).text());
    client.get("/").expect_ok();
    assert_eq!(told(&gateway)["endpoints"][0]["name"], "app.test");
    gateway.apply(&by_address.text());
    client.get("/").expect_ok();
    assert_eq!(told(&gateway)["endpoints"][0]["name"], Value::Null);
    assert_eq!(told(&gateway)["names"], Value::Array(Vec::new()));
    // It is one endpoint all the time: known by its address.
    assert_eq!(town.upstreams[0].connections(), 1);
}

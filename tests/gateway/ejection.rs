//! Ejection: who fails several times in a row is left out for a while, and everybody can see who and why.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::{Client, Gateway, PATIENCE, Setup, Site, Upstream, answer, until};

/// Two endpoints that take turns.
fn turns(first: &Site, second: &Site, keys: &str) -> Setup {
    let setup = Setup::to(first.address()).endpoint(second.address());
    setup.upstream("balance: round_robin").upstream(keys)
}

fn ejections(gateway: &Gateway, site: &Site) -> f64 {
    let labels = [
        ("upstream", "app"),
        ("endpoint", &*site.address().to_string()),
    ];
    gateway
        .metric("tidegate_endpoint_ejections_total", &labels)
        .unwrap_or(0.0)
}

fn is_healthy(gateway: &Gateway, site: &Site) -> bool {
    let labels = [
        ("upstream", "app"),
        ("endpoint", &*site.address().to_string()),
    ];
    gateway.metric("tidegate_endpoint_healthy", &labels) == Some(1.0)
}

/// What `/upstreams` says of an endpoint's health.
fn told(gateway: &Gateway, site: &Site) -> Value {
    let said = gateway.admin_get("/upstreams", "").expect_ok().json();
    let rows = said["upstreams"][0]["endpoints"]
        .as_array()
        .unwrap()
        .clone();
    let label = site.address().to_string();
    let row = rows
        .into_iter()
        .find(|row| row["endpoint"] == label.as_str());
    row.unwrap()["health"].clone()
}

#[test]
fn by_default_the_third_failure_in_a_row_leaves_an_endpoint_out() {
    let (bad, good) = (Site::start("bad"), Site::start("good"));
    bad.set_work(503);
    let mut gateway = turns(&bad, &good, "pool: {}").start();
    let mut client = gateway.client();
    assert!(is_healthy(&gateway, &bad));
    let statuses: Vec<u16> = (0..60).map(|_| client.get("/").status).collect();
    let failed = statuses.iter().filter(|status| **status == 503).count();
    assert_eq!((failed, bad.worked(), good.worked()), (3, 3, 57));
    assert_eq!(
        (ejections(&gateway, &bad), ejections(&gateway, &good)),
        (1.0, 0.0)
    );
    assert_eq!(
        (is_healthy(&gateway, &bad), is_healthy(&gateway, &good)),
        (false, true)
    );
    let line = gateway.await_stderr("is left out for 30s");
    for word in [
        &*bad.address().to_string(),
        "app",
        "3 failures in a row",
        "status 503",
    ] {
        assert!(line.contains(word), "{word} in {line}");
    }
    let said = told(&gateway, &bad);
    assert_eq!(said["serves"], false);
    assert_eq!(said["why_not"], serde_json::json!(["ejected"]));
    assert_eq!(said["ejection"]["times"], 1);
    let moments = ["since", "until"].map(|key| said["ejection"][key].as_str().unwrap().to_owned());
    assert!(moments[0] < moments[1], "{moments:?}");
    let said = told(&gateway, &good);
    assert_eq!(
        (&said["serves"], &said["ejection"]["until"]),
        (&Value::Bool(true), &Value::Null)
    );
}

#[test]
fn successes_between_failures_keep_an_endpoint() {
    let (bad, good) = (Site::start("bad"), Site::start("good"));
    let gateway = turns(&bad, &good, "pool: {}").start();
    let mut client = gateway.client();
    for _ in 0..5 {
        bad.set_work(500);
        let asked = bad.worked();
        until(PATIENCE, "two failures", || {
            client.get("/");
            bad.worked() == asked + 2
        });
        bad.set_work(200);
        until(PATIENCE, "a success", || {
            client.get("/");
            bad.worked() == asked + 3
        });
    }
    assert_eq!(ejections(&gateway, &bad), 0.0);
}

/// What an endpoint does wrong, each in its own way.
#[test]
fn no_connection_a_break_silence_and_5xx_are_failures() {
    let refuses = {
        // A port that is taken and on which nobody listens.
        let socket =
            socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        socket
            .bind(
                &"127.0.0.1:0"
                    .parse::<std::net::SocketAddr>()
                    .unwrap()
                    .into(),
            )
            .unwrap();
        socket
    };
    let refusing = refuses.local_addr().unwrap().as_socket().unwrap();
    let breaks = Upstream::start(|peer| drop(peer.request()));
    let resets = Upstream::start(|peer| {
        peer.request();
        peer.reset();
    });
    let silent = Upstream::start(|peer| {
        peer.request();
        peer.closed();
    });
    let ends_early = Upstream::saying_once("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf");
    let lies = Upstream::saying_once("HTTP/9 what\r\n\r\n");
    let fails = Upstream::answering(answer(599, "no"));
    for (address, what) in [
        (refusing, "no connection"),
        (breaks.address(), "a broken connection"),
        (resets.address(), "a broken connection"),
        (silent.address(), "no answer in time"),
        (ends_early.address(), "a broken connection"),
        (lies.address(), "a broken connection"),
        (fails.address(), "status 599"),
    ] {
        let good = Site::start("good");
        let mut gateway = Setup::to(address)
            .endpoint(good.address())
            .upstream("balance: round_robin, timeouts: { response: 2s }")
            .route("retry: off")
            .start();
        let labels = [("endpoint", &*address.to_string())];
        until(PATIENCE, "it is left out", || {
            // Some of the answers break off: each is asked for on a connection of its own, and all at once.
            let mut clients: Vec<Client> = (0..6).map(|_| gateway.client()).collect();
            for client in &mut clients {
                client.send("GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n");
            }
            for client in &mut clients {
                let _ = client.read_to_end();
            }
            gateway.metric("tidegate_endpoint_ejections_total", &labels) == Some(1.0)
        });
        let line = gateway.await_stderr("is left out for");
        assert!(line.contains(what), "{what} in {line}");
        let asked = good.worked();
        for _ in 0..10 {
            gateway.get("/").expect_ok();
        }
        assert_eq!(good.worked(), asked + 10);
    }
}

/// 429 is neutral, the gateway's own answers are nobody's, and a client that leaves says nothing.
#[test]
fn what_is_not_the_endpoints_fault_leaves_nobody_out() {
    let (busy, other) = (Site::start("busy"), Site::start("other"));
    for status in [429, 404, 400, 499] {
        busy.set_work(status);
        other.set_work(status);
        let gateway = turns(&busy, &other, "pool: {}").start();
        let mut client = gateway.client();
        for _ in 0..20 {
            assert_eq!(client.get("/").status, status);
        }
        assert_eq!(
            ejections(&gateway, &busy) + ejections(&gateway, &other),
            0.0
        );
    }
    let silent = [0, 1].map(|_| {
        Upstream::start(|peer| {
            peer.request();
            peer.closed();
        })
    });
    let gateway = Setup::to(silent[0].address())
        .endpoint(silent[1].address())
        .route("max_body: 10B")
        .start();
    const GET: &str = "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n";
    const POST: &str =
        "POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n";
    for n in 1..=16 {
        let mut client = gateway.client();
        // Half of them leave, half send more than is allowed.
        let leaves = n % 2 == 0;
        client.send(if leaves { GET } else { POST });
        until(PATIENCE, "the request is at an endpoint", || {
            silent.iter().map(|s| s.requests().len()).sum::<usize>() == n
        });
        if !leaves {
            client.send("a\r\n0123456789\r\n");
            client.response().expect_refusal(413, "body_too_large");
        }
    }
    let lines = gateway.await_access_lines(16);
    let reasons: Vec<&str> = lines
        .iter()
        .filter_map(|line| line["reason"].as_str())
        .collect();
    assert!(
        reasons
            .iter()
            .all(|r| ["client_closed", "body_too_large"].contains(r)),
        "{reasons:?}"
    );
    assert_eq!(
        gateway.metric("tidegate_endpoint_ejections_total", &[]),
        None
    );
}

/// "Consecutive" after 429 is still in a row: it is neither good nor bad.
#[test]
fn a_429_neither_counts_nor_forgives() {
    let (bad, good) = (Site::start("bad"), Site::start("good"));
    let gateway = turns(&bad, &good, "pool: {}").start();
    let mut client = gateway.client();
    for status in [500, 500, 429, 500] {
        assert_eq!(ejections(&gateway, &bad), 0.0);
        bad.set_work(status);
        let asked = bad.worked();
        until(PATIENCE, "one request more", || {
            client.get("/");
            bad.worked() == asked + 1
        });
    }
    assert_eq!(ejections(&gateway, &bad), 1.0);
}

#[test]
fn off_is_off() {
    let (bad, good) = (Site::start("bad"), Site::start("good"));
    bad.set_work(500);
    let gateway = turns(&bad, &good, "ejection: off").start();
    let mut client = gateway.client();
    for _ in 0..40 {
        client.get("/");
    }
    assert_eq!((bad.worked(), good.worked()), (20, 20));
    assert_eq!(
        gateway.metric("tidegate_endpoint_ejections_total", &[]),
        None
    );
    assert_eq!(gateway.metric("tidegate_endpoint_healthy", &[]), None);
}

/// B20.
#[test]
fn b20_the_last_endpoint_stays_however_many_fail() {
    let sites = [0, 1, 2].map(|n| Site::start(&n.to_string()));
    sites.iter().for_each(|site| site.set_work(500));
    let setup = turns(&sites[0], &sites[1], "ejection: { max_percent: 100 }");
    let gateway = setup.endpoint(sites[2].address()).start();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut client = gateway.client();
                for _ in 0..50 {
                    // Never one of our own: there is always somebody.
                    assert_eq!(client.get("/").status, 500);
                }
            });
        }
    });
    let out: f64 = sites.iter().map(|site| ejections(&gateway, site)).sum();
    assert_eq!(out, 2.0);
    let only = Site::start("only");
    only.set_work(500);
    let gateway = Setup::to(only.address()).start();
    let mut client = gateway.client();
    for _ in 0..20 {
        assert_eq!(client.get("/").status, 500);
    }
    assert_eq!(ejections(&gateway, &only), 0.0);
    assert!(is_healthy(&gateway, &only));
}

#[test]
fn no_more_than_max_percent_are_out() {
    let sites: Vec<Site> = (0..5).map(|n| Site::start(&n.to_string())).collect();
    sites.iter().for_each(|site| site.set_work(500));
    let setup = turns(&sites[0], &sites[1], "ejection: { max_percent: 50 }");
    let setup = sites[2..]
        .iter()
        .fold(setup, |setup, site| setup.endpoint(site.address()));
    let gateway = setup.start();
    let mut client = gateway.client();
    for _ in 0..60 {
        client.get("/");
    }
    let out: f64 = sites.iter().map(|site| ejections(&gateway, site)).sum();
    assert_eq!(out, 2.0, "half of five, rounded down");
}

#[test]
fn an_endpoint_comes_back_and_the_next_time_is_longer() {
    let (bad, good) = (Site::start("bad"), Site::start("good"));
    bad.set_work(500);
    let mut gateway = turns(
        &bad,
        &good,
        "ejection: { consecutive_failures: 2, base: 300ms }",
    )
    .start();
    let mut client = gateway.client();
    let begin = Instant::now();
    until(PATIENCE, "it was left out a second time", || {
        client.get("/");
        ejections(&gateway, &bad) == 2.0
    });
    assert!(begin.elapsed() >= Duration::from_millis(300));
    gateway.await_stderr("is left out for 300ms");
    until(PATIENCE, "both are told", || {
        gateway.count_stderr("is left out for") == 2
    });
    // On a machine that is held up for long it may have served well enough to be forgiven.
    let lines = gateway.stderr_lines();
    let mut told = lines.iter().filter(|line| line.contains("is left out for"));
    let again = told.nth(1).unwrap();
    let is_longer = again.contains("for 600ms");
    assert!(
        is_longer || begin.elapsed() > Duration::from_millis(900),
        "{again}"
    );
    bad.set_work(200);
    let asked = bad.worked();
    until(PATIENCE, "it is used again", || {
        client.get("/");
        bad.worked() > asked + 3
    });
    gateway.await_stderr("is used again");
    assert!(is_healthy(&gateway, &bad));
}

/// Istio's push every few seconds that forgave everybody: here a reload forgives nobody.
#[test]
fn reloads_keep_ejections_and_failures_in_a_row() {
    let (bad, good) = (Site::start("bad"), Site::start("good"));
    bad.set_work(500);
    let gateway = turns(&bad, &good, "pool: {}").start();
    let mut client = gateway.client();
    until(PATIENCE, "two failures", || {
        client.get("/");
        bad.worked() == 2
    });
    let reload = |n: u64| {
        let text =
            turns(&bad, &good, "pool: {}").top(&format!("drain: {{ delay: {n}s, deadline: 60s }}"));
        gateway.apply(&text.text());
    };
    reload(1);
    until(PATIENCE, "the third failure", || {
        client.get("/");
        bad.worked() == 3
    });
    assert_eq!(ejections(&gateway, &bad), 1.0);
    for n in 2..12 {
        reload(n);
        client.get("/").expect_ok();
        client.get("/").expect_ok();
    }
    assert_eq!((bad.worked(), ejections(&gateway, &bad)), (3, 1.0));
    assert!(!is_healthy(&gateway, &bad));
    // Who switches it off means it at once.
    gateway.apply(&turns(&bad, &good, "ejection: off").text());
    client.get("/");
    client.get("/");
    assert_eq!(bad.worked(), 4);
}

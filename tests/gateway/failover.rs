//! Failover: while no endpoint of an upstream may serve, others do its work, and give it back.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::health::await_verdict;
use crate::support::{Gateway, PATIENCE, Site, scale, until, until_some};

/// One upstream for each: its name, address and further keys. All requests go to the first.
fn file(upstreams: &[(&str, SocketAddr, &str)]) -> String {
    let mut text = format!(
        "workers: 2\nadmin: {{ bind: \"127.0.0.1:0\" }}\nlisteners: [{{ bind: \"127.0.0.1:0\" }}]\n\
         routes: [{{ name: all, upstream: {} }}]\nupstreams:\n",
        upstreams[0].0
    );
    for (name, address, keys) in upstreams {
        text += &format!("  {name}: {{ endpoints: [\"http://{address}\"], {keys} }}\n");
    }
    text
}

const OFTEN: &str = "health_check: { interval: 60ms, timeout: 5s }";

#[test]
fn another_upstream_does_the_work_until_the_first_is_back() {
    let sites = ["a", "b", "c"].map(Site::start);
    let address = |n: usize| sites[n].address();
    let keys = |failover: &str| format!("{OFTEN}, failover: [{failover}]");
    let gateway = Gateway::start(&file(&[
        ("a", address(0), &keys("b, c")),
        ("b", address(1), OFTEN),
        ("c", address(2), OFTEN),
    ]));
    let served_by = || gateway.get("/").expect_ok().text();
    let turn = |n: usize, health: u16, verdict: &str| {
        sites[n].set_health(health);
        await_verdict(&gateway, address(n), verdict);
    };
    assert_eq!(served_by(), "a");
    turn(0, 503, "unhealthy");
    assert_eq!(served_by(), "b");
    let line = gateway.await_access("upstream", "b");
    assert_eq!(
        (&line["route"], &line["endpoint"]),
        (&"all".into(), &address(1).to_string().into())
    );
    turn(1, 0, "unhealthy");
    assert_eq!(served_by(), "c");
    turn(2, 404, "unhealthy");
    // Whoever was meant says so.
    let refused = gateway.get("/");
    refused.expect_refusal(503, "no_healthy_endpoint");
    assert!(refused.text().contains("upstream a"), "{}", refused.text());
    turn(1, 200, "healthy");
    assert_eq!(served_by(), "b");
    turn(0, 200, "healthy");
    assert_eq!(served_by(), "a");
}

#[test]
fn those_that_stand_in_have_others_that_stand_in_for_them() {
    let sites = ["a", "b", "c"].map(Site::start);
    sites[0].set_health(500);
    sites[1].set_health(500);
    let next = |name: &str| format!("{OFTEN}, failover: [{name}]");
    let gateway = Gateway::start(&file(&[
        ("a", sites[0].address(), &next("b")),
        ("b", sites[1].address(), &next("c")),
        ("c", sites[2].address(), "pool: {}"),
    ]));
    until(PATIENCE, "the last one serves", || {
        gateway.get("/").text() == "c"
    });
}

/// What fails at a site that is well is no reason to leave it.
#[test]
fn failures_alone_move_nothing() {
    let (a, b) = (Site::start("a"), Site::start("b"));
    a.set_work(500);
    let gateway = Gateway::start(&file(&[
        ("a", a.address(), &format!("{OFTEN}, failover: [b]")),
        ("b", b.address(), "pool: {}"),
    ]));
    for _ in 0..20 {
        assert_eq!(gateway.get("/").status, 500);
    }
    assert_eq!(b.worked(), 0);
}

/// Another process, which is killed as by a power cut and started again at the same place.
fn site(at: Option<SocketAddr>) -> Gateway {
    let bind = at.map_or("127.0.0.1:0".into(), |at| at.to_string());
    let text = format!(
        "workers: 1\nadmin: off\nlogging: {{ access: off }}\nlisteners: [{{ bind: \"{bind}\" }}]\n\
         routes: [{{ name: all, respond: {{ status: 200, body: site }} }}]\n"
    );
    Gateway::start(&text)
}

/// A dead site under load: from the moment at which probes have found it out, nobody is refused; and it gets its work
/// back when it lives.
#[test]
fn a_site_that_is_killed_is_left_and_returned_to_under_load() {
    let mut site_a = site(None);
    let (address, b) = (site_a.address(), Site::start("b"));
    let keys = format!("{OFTEN}, failover: [b], timeouts: {{ connect: 1s }}");
    let mut gateway = Gateway::start(&file(&[("a", address, &keys), ("b", b.address(), OFTEN)]));
    await_verdict(&gateway, address, "healthy");
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let gateway_address = gateway.address();
        let loads: Vec<_> = (0..scale(2, 8))
            .map(|_| {
                let done = &done;
                scope.spawn(move || {
                    let mut answers = Vec::new();
                    while !done.load(Ordering::SeqCst) {
                        let answer = crate::support::Client::connect(gateway_address).get("/");
                        answers.push((Instant::now(), answer.status, answer.text()));
                    }
                    answers
                })
            })
            .collect();
        let killed = Instant::now();
        site_a.kill();
        gateway.await_stderr("is left out: 3 probes in a row failed");
        let found_out = Instant::now();
        until(PATIENCE, "the other one serves", || b.worked() > 20);
        let again = until_some(PATIENCE, "the port is free again", || {
            let is_free = std::net::TcpListener::bind(address).is_ok();
            is_free.then(|| site(Some(address)))
        });
        await_verdict(&gateway, address, "healthy");
        until(PATIENCE, "it is returned to", || {
            gateway.get("/").text() == "site"
        });
        let stays = b.worked();
        for _ in 0..20 {
            assert_eq!(gateway.get("/").expect_ok().text(), "site");
        }
        done.store(true, Ordering::SeqCst);
        let answers = loads.into_iter().flat_map(|load| load.join().unwrap());
        // A request that was under way when it was found out may still tell of its dead endpoint.
        let late = found_out + Duration::from_secs(2);
        for (at, status, text) in answers.filter(|(at, ..)| *at < killed || *at > late) {
            assert_eq!(
                status,
                200,
                "{:?} after the kill: {text}",
                at.saturating_duration_since(killed)
            );
        }
        assert!(b.worked() <= stays + 8, "those that were under way");
        drop(again);
    });
}

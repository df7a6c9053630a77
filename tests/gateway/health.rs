//! Active probes: who answers badly is left out until it answers well again, whatever its clients see of it.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::{Gateway, HEALTHZ, PATIENCE, Setup, Site, Upstream, answer, until};

/// Probes that a test can wait for. What requests meet is another matter.
pub(crate) const OFTEN: &str = "health_check: { interval: 60ms, timeout: 5s }, ejection: off";

/// What `/upstreams` says of the endpoint at this address.
pub(crate) fn told(gateway: &Gateway, address: impl ToString) -> Value {
    let said = gateway.admin_get("/upstreams", "").expect_ok().json();
    let upstreams = said["upstreams"].as_array().unwrap().clone();
    let rows = upstreams
        .iter()
        .flat_map(|u| u["endpoints"].as_array().unwrap().clone());
    let label = address.to_string();
    let row = { rows }.find(|row| row["endpoint"] == label.as_str());
    row.unwrap_or_else(|| panic!("{label} in {said}"))["health"].clone()
}

pub(crate) fn verdict(gateway: &Gateway, address: impl ToString) -> String {
    let said = told(gateway, address);
    said["probe"]["verdict"]
        .as_str()
        .unwrap_or("none")
        .to_owned()
}

pub(crate) fn await_verdict(gateway: &Gateway, address: impl ToString, wanted: &str) {
    let address = address.to_string();
    until(PATIENCE, &format!("{address} is {wanted}"), || {
        verdict(gateway, &address) == wanted
    });
}

fn is_healthy(gateway: &Gateway, site: &Site) -> Option<f64> {
    let labels = [
        ("upstream", "app"),
        ("endpoint", &*site.address().to_string()),
    ];
    gateway.metric("tidegate_endpoint_healthy", &labels)
}

/// U1.
#[test]
fn who_fails_three_probes_is_out_and_back_after_two_good_ones() {
    let (a, b) = (Site::start("a"), Site::start("b"));
    let setup = Setup::to(a.address()).endpoint(b.address());
    let mut gateway = setup
        .upstream("balance: round_robin")
        .upstream(OFTEN)
        .start();
    await_verdict(&gateway, a.address(), "healthy");
    await_verdict(&gateway, b.address(), "healthy");
    assert_eq!(is_healthy(&gateway, &a), Some(1.0));
    a.set_health(503);
    let line = gateway.await_stderr("is left out");
    for word in [
        &*a.address().to_string(),
        "app",
        "3 probes in a row",
        "answered 503, expected 200-299",
    ] {
        assert!(line.contains(word), "{word} in {line}");
    }
    assert_eq!(is_healthy(&gateway, &a), Some(0.0));
    assert_eq!(is_healthy(&gateway, &b), Some(1.0));
    let said = told(&gateway, a.address());
    assert_eq!(
        (&said["serves"], &said["why_not"]),
        (&false.into(), &serde_json::json!(["unhealthy"]))
    );
    assert_eq!(said["probe"]["last"], "answered 503, expected 200-299");
    for moment in ["since", "last_at", "next_at"] {
        assert!(said["probe"][moment].is_string(), "{said}");
    }
    // It would work, but for what its probes say.
    let (mut client, before) = (gateway.client(), (a.worked(), b.worked()));
    for _ in 0..20 {
        assert_eq!(client.get("/").expect_ok().text(), "b");
    }
    assert_eq!((a.worked(), b.worked()), (before.0, before.1 + 20));
    a.set_health(204);
    gateway.await_stderr("is healthy: answered 204");
    for _ in 0..20 {
        client.get("/").expect_ok();
    }
    assert_eq!((a.worked(), b.worked()), (before.0 + 10, before.1 + 30));
}

/// U2.
#[test]
fn where_all_are_out_the_answer_is_503_at_once() {
    let sites = [Site::start("a"), Site::start("b")];
    let setup = Setup::to(sites[0].address()).endpoint(sites[1].address());
    let gateway = setup.upstream(OFTEN).start();
    gateway.get("/").expect_ok();
    for site in &sites {
        site.set_health(0);
        await_verdict(&gateway, site.address(), "unhealthy");
    }
    let asked: usize = sites.iter().map(Site::worked).sum();
    for _ in 0..10 {
        gateway.get("/").expect_refusal(503, "no_healthy_endpoint");
    }
    assert_eq!(sites.iter().map(Site::worked).sum::<usize>(), asked);
    let line = gateway.await_access("reason", "no_healthy_endpoint");
    assert_eq!(
        (&line["status"], &line["endpoint"]),
        (&503.into(), &Value::Null)
    );
    let said = gateway.admin_get("/upstreams", "").json();
    assert_eq!(said["upstreams"][0]["serving"]["endpoints"], 0);
    sites[1].set_health(200);
    until(PATIENCE, "one is back", || gateway.get("/").status == 200);
    assert_eq!(gateway.get("/").text(), "b");
}

/// The only endpoint as well: probes know better than a bound on ejections.
#[test]
fn the_only_endpoint_can_be_unhealthy() {
    let site = Site::start("a");
    site.set_health(500);
    let gateway = Setup::to(site.address()).upstream(OFTEN).start();
    await_verdict(&gateway, site.address(), "unhealthy");
    gateway.get("/").expect_refusal(503, "no_healthy_endpoint");
}

#[test]
fn a_new_endpoint_is_unknown_and_serves_until_it_fails() {
    let site = Site::start("a");
    site.set_health(500);
    let setup = Setup::to(site.address()).upstream("health_check: { interval: 24h }");
    let gateway = setup.start();
    gateway.get("/").expect_ok();
    let said = told(&gateway, site.address());
    assert_eq!(
        (&said["serves"], &said["probe"]["verdict"]),
        (&true.into(), &"unknown".into())
    );
    assert_eq!(is_healthy(&gateway, &site), Some(1.0));
}

/// Five routes and four workers, and yet each endpoint is asked once per interval.
#[test]
fn an_endpoint_is_probed_once_however_many_routes_and_workers_use_it() {
    let site = Site::start("a");
    let begin = Instant::now();
    let mut setup = Setup::to(site.address())
        .top("workers: 4")
        .upstream("health_check: { interval: 200ms, timeout: 200ms }");
    for n in 0..5 {
        setup = setup.before(&format!(
            "name: r{n}, match: {{ path: /{n} }}, upstream: app"
        ));
    }
    let gateway = setup.start();
    until(PATIENCE, "ten probes", || {
        for n in 0..5 {
            gateway.get(&format!("/{n}")).expect_ok();
        }
        site.probes().len() >= 10
    });
    let (probes, most) = (
        site.probes().len() as u128,
        begin.elapsed().as_millis() / 180 + 2,
    );
    assert!(probes <= most, "{probes} probes, at most {most}");
}

#[test]
fn a_probe_asks_for_the_path_of_the_endpoint_as_nobody_else_does() {
    let site = Site::start("a");
    let check = "health_check: { path: \"/a%20b/./ready?of=/./b\", interval: 50ms, timeout: 5s }";
    let gateway = Setup::to(site.address()).upstream(check).start();
    await_verdict(&gateway, site.address(), "healthy");
    let probe = site.probes().remove(0);
    assert_eq!(
        (&*probe.method, &*probe.target),
        ("GET", "/a%20b/ready?of=/./b")
    );
    assert_eq!(probe.all("host"), [site.address().to_string()]);
    assert_eq!(probe.field("connection"), None);
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(
        probe.field("user-agent"),
        Some(&*format!("tidegate-health/{version}"))
    );
    // Nobody's traffic: neither counted nor logged.
    assert_eq!(
        gateway.metric("tidegate_upstream_requests_total", &[]),
        None
    );
    assert_eq!(gateway.access_log().len(), 0);
}

/// Ten probes on a connection, then the next; one that was closed while it lay idle is nobody's failure.
#[test]
fn a_probe_uses_the_connection_of_the_last_one() {
    let site = Site::start("a");
    let gateway = Setup::to(site.address()).upstream(OFTEN).start();
    until(PATIENCE, "25 probes", || site.probes().len() >= 25);
    let (probes, connections) = (site.probes(), site.connections());
    assert!((3..=4).contains(&connections), "{connections}");
    let said: Vec<_> = probes
        .iter()
        .map(|probe| probe.field("connection"))
        .collect();
    assert_eq!(said[..10].last(), Some(&Some("close")));
    assert!(said[..9].iter().all(Option::is_none), "{said:?}");
    drop(gateway);

    let closes = Upstream::start(|peer| {
        if peer.request().is_some() {
            let _ = peer.send(answer(200, "ok"));
        }
    });
    let gateway = Setup::to(closes.address())
        .upstream("health_check: { interval: 50ms, timeout: 5s, unhealthy: 1 }")
        .start();
    await_verdict(&gateway, closes.address(), "healthy");
    closes.await_requests(20);
    assert_eq!(verdict(&gateway, closes.address()), "healthy");
    assert_eq!(told(&gateway, closes.address())["probe"]["against"], 0);
}

#[test]
fn only_what_is_expected_is_good() {
    let site = Site::start("a");
    site.set_health(302);
    let check =
        |expect: &str| format!("health_check: {{ interval: 50ms, timeout: 5s, expect: {expect} }}");
    let setup = |expect: &str| Setup::to(site.address()).upstream(&check(expect));
    let gateway = setup("200-299").start();
    await_verdict(&gateway, site.address(), "unhealthy");
    gateway.apply(&setup("[200, 300-303]").text());
    await_verdict(&gateway, site.address(), "healthy");
    gateway.get("/").expect_ok();
}

/// Silence, a half answer and a closed port, each found out.
#[test]
fn whoever_gives_no_whole_answer_in_time_is_unhealthy() {
    let silent = Upstream::start(|peer| {
        peer.request();
        peer.closed();
    });
    let half = Upstream::saying_once("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf");
    let trickle = Upstream::start(|peer| {
        peer.request();
        let _ = peer.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf");
        peer.closed();
    });
    let gone = {
        let site = Site::start("gone");
        site.address()
    };
    for (address, why) in [
        (silent.address(), "no whole answer within 100ms"),
        (half.address(), "no whole answer"),
        (trickle.address(), "no whole answer within 100ms"),
        (gone, "connecting failed"),
    ] {
        let check = "health_check: { interval: 50ms, timeout: 100ms }";
        let gateway = Setup::to(address).upstream(check).start();
        await_verdict(&gateway, address, "unhealthy");
        let last = told(&gateway, address)["probe"]["last"].clone();
        assert!(last.as_str().unwrap().contains(why), "{last}");
        gateway.get("/").expect_refusal(503, "no_healthy_endpoint");
    }
}

#[test]
fn a_long_answer_is_good() {
    let long = Upstream::answering(answer(200, &"x".repeat(300_000)));
    let gateway = Setup::to(long.address()).upstream(OFTEN).start();
    await_verdict(&gateway, long.address(), "healthy");
}

#[test]
fn below_panic_all_are_used_again() {
    let sites: Vec<Site> = (0..4).map(|n| Site::start(&n.to_string())).collect();
    let setup = Setup::to(sites[0].address()).upstream("balance: round_robin, panic_below: 50%");
    let setup = sites[1..]
        .iter()
        .fold(setup, |setup, site| setup.endpoint(site.address()));
    let gateway = setup.upstream(OFTEN).start();
    let shares = || {
        let before: Vec<usize> = sites.iter().map(Site::worked).collect();
        let mut client = gateway.client();
        for _ in 0..40 {
            client.get("/").expect_ok();
        }
        let after = sites.iter().map(Site::worked);
        after
            .zip(before)
            .map(|(after, before)| after - before)
            .collect::<Vec<_>>()
    };
    for site in &sites[..2] {
        site.set_health(500);
        await_verdict(&gateway, site.address(), "unhealthy");
    }
    assert_eq!(
        shares(),
        [0, 0, 20, 20],
        "half of them serve, which is not below half"
    );
    sites[2].set_health(500);
    await_verdict(&gateway, sites[2].address(), "unhealthy");
    assert_eq!(shares(), [10, 10, 10, 10]);
    let said = gateway.admin_get("/upstreams", "").json();
    let serving = &said["upstreams"][0]["serving"];
    assert_eq!(
        (&serving["endpoints"], &serving["panic"]),
        (&4.into(), &true.into())
    );
    sites[2].set_health(200);
    await_verdict(&gateway, sites[2].address(), "healthy");
    assert_eq!(shares(), [0, 0, 20, 20]);
}

#[test]
fn an_endpoint_that_came_back_begins_with_a_small_share() {
    let (a, b) = (Site::start("a"), Site::start("b"));
    let setup = Setup::to(a.address()).endpoint(b.address());
    let setup = setup
        .upstream("balance: random, slow_start: 1h")
        .upstream(OFTEN);
    let gateway = setup.start();
    let share = |of: &Site| {
        let before = of.worked();
        let mut client = gateway.client();
        for _ in 0..400 {
            client.get("/").expect_ok();
        }
        of.worked() - before
    };
    // At the start all are new alike. Ten standard deviations.
    assert!((100..300).contains(&share(&a)));
    a.set_health(500);
    await_verdict(&gateway, a.address(), "unhealthy");
    assert_eq!(share(&a), 0);
    a.set_health(200);
    await_verdict(&gateway, a.address(), "healthy");
    // A tenth of a whole share beside a whole one: 36 of 400, and chance.
    let taken = share(&a);
    assert!((1..110).contains(&taken), "{taken}");
    assert!(a.probes().iter().all(|probe| probe.target == HEALTHZ));
}

/// Where each endpoint has a breaker, who is open is stood in for by those that serve, and by no others.
#[test]
fn who_is_unhealthy_stands_in_for_nobody() {
    let (ill, well) = (Site::start("ill"), Site::start("well"));
    let breaker = "circuit_breaker: { scope: endpoint, consecutive_failures: 2 }";
    let setup = Setup::to(ill.address()).endpoint(well.address());
    let gateway = setup.upstream(OFTEN).upstream(breaker).start();
    ill.set_health(500);
    await_verdict(&gateway, ill.address(), "unhealthy");
    well.set_work(500);
    let (mut client, worked) = (gateway.client(), ill.worked());
    let statuses: Vec<u16> = (0..5).map(|_| client.get("/").status).collect();
    assert_eq!(statuses, [500, 500, 503, 503, 503]);
    client.get("/").expect_refusal(503, "breaker_open");
    assert_eq!((ill.worked(), well.worked()), (worked, 2));
}

/// Detached from the drain: whoever is asked is asked until the end.
#[test]
fn probes_do_not_hold_up_the_end() {
    let site = Site::start("a");
    let setup = Setup::to(site.address()).upstream(OFTEN);
    let mut gateway = setup.top("drain: { delay: 0s, deadline: 5s }").start();
    await_verdict(&gateway, site.address(), "healthy");
    gateway.sigterm();
    assert!(gateway.wait_exit(Duration::from_secs(20)).success());
}

//! Probes and reloads: verdicts stay with what they are about, and who is gone is asked no more.

use crate::dns;
use crate::health::{OFTEN, await_verdict, told, verdict};
use crate::support::{Dns, PATIENCE, Setup, Site, addresses, until};

fn setup(site: &Site, check: &str) -> Setup {
    Setup::to(site.address())
        .upstream("ejection: off")
        .upstream(check)
}

#[test]
fn reloads_keep_verdicts_and_a_changed_question_begins_anew() {
    let site = Site::start("a");
    site.set_health(500);
    let often = "health_check: { interval: 60ms, timeout: 5s }";
    let gateway = setup(&site, often).start();
    await_verdict(&gateway, site.address(), "unhealthy");
    let since = told(&gateway, site.address())["probe"]["since"].clone();
    // Other sections, other numbers, other thresholds: what is known stays known, and nobody slips through.
    for (n, check) in [
        often,
        "health_check: { interval: 1h }",
        "health_check: { interval: 1h, timeout: 1s, unhealthy: 9, healthy: 9 }",
    ]
    .into_iter()
    .enumerate()
    {
        let text = setup(&site, check).top(&format!("drain: {{ delay: {}s }}", n + 1));
        gateway.apply(&text.text());
        gateway.get("/").expect_refusal(503, "no_healthy_endpoint");
        assert_eq!(told(&gateway, site.address())["probe"]["since"], since);
    }
    gateway.apply(&setup(&site, "health_check: { path: /other, interval: 1h }").text());
    assert_eq!(verdict(&gateway, site.address()), "unknown");
    gateway.get("/").expect_ok();
    // The old question was not forgotten either.
    gateway.apply(&setup(&site, "health_check: { interval: 1h }").text());
    gateway.get("/").expect_refusal(503, "no_healthy_endpoint");
    gateway.apply(&setup(&site, "health_check: off").text());
    gateway.get("/").expect_ok();
    assert_eq!(verdict(&gateway, site.address()), "none");
}

#[test]
fn reloads_do_not_ask_more_often() {
    let site = Site::start("a");
    let gateway = setup(&site, "health_check: { interval: 24h }").start();
    for n in 1..=20 {
        let text = setup(&site, "health_check: { interval: 24h }");
        gateway.apply(
            &text
                .top(&format!("drain: {{ delay: {n}s, deadline: 60s }}"))
                .text(),
        );
    }
    let probes = site.probes().len();
    assert!(probes <= 1, "{probes} probes of one a day");
}

#[test]
fn whoever_is_gone_is_asked_no_more() {
    let (stays, goes) = (Site::start("stays"), Site::start("goes"));
    let both = setup(&stays, OFTEN_CHECK).endpoint(goes.address());
    let gateway = both.start();
    await_verdict(&gateway, stays.address(), "healthy");
    await_verdict(&gateway, goes.address(), "healthy");
    gateway.apply(&setup(&stays, OFTEN_CHECK).text());
    // One that was under way may still come.
    let (seen, asked) = (stays.probes().len(), goes.probes().len() + 1);
    until(PATIENCE, "ten probes of the one that stays", || {
        stays.probes().len() >= seen + 10
    });
    assert!(
        goes.probes().len() <= asked,
        "{} {asked}",
        goes.probes().len()
    );
    gateway.apply(&both.text());
    until(PATIENCE, "it is asked again", || {
        goes.probes().len() > asked
    });
}

const OFTEN_CHECK: &str = "health_check: { interval: 60ms, timeout: 5s }";

#[test]
fn an_endpoint_added_by_a_reload_begins_with_a_small_share() {
    let (old, new) = (Site::start("old"), Site::start("new"));
    let keys = "balance: random, slow_start: 1h";
    let gateway = Setup::to(old.address()).upstream(keys).start();
    gateway.get("/").expect_ok();
    gateway.apply(
        &Setup::to(old.address())
            .endpoint(new.address())
            .upstream(keys)
            .text(),
    );
    let mut client = gateway.client();
    for _ in 0..400 {
        client.get("/").expect_ok();
    }
    // 36 of 400, and chance.
    assert!((1..110).contains(&new.worked()), "{}", new.worked());
    // A reload that changes nothing of them does not make anybody new, nor whole.
    let text = Setup::to(old.address())
        .endpoint(new.address())
        .upstream(keys);
    gateway.apply(&text.top("drain: { delay: 1s }").text());
    let before = new.worked();
    for _ in 0..400 {
        client.get("/").expect_ok();
    }
    let taken = new.worked() - before;
    assert!((1..110).contains(&taken), "{taken}");
}

/// A change of DNS is about those who come and go; the others keep what is known of them.
#[test]
fn a_change_of_dns_keeps_the_verdicts_of_those_that_stay() {
    let ips = ["127.0.4.1", "127.0.4.2", "127.0.4.3"];
    let sockets = dns::one_port(&ips).into_iter().zip(ips);
    let sites: Vec<Site> = sockets.map(|(socket, ip)| Site::on(socket, ip)).collect();
    sites[0].set_health(500);
    let port = sites[0].address().port();
    let names = Dns::start();
    names.say("app.test", addresses(&ips[..2], 0));
    let gateway = dns::setup(&names, port).upstream(OFTEN).start();
    await_verdict(&gateway, sites[0].address(), "unhealthy");
    let since = told(&gateway, sites[0].address())["probe"]["since"].clone();
    for now in [&[ips[0], ips[2]][..], &ips, &[ips[0], ips[1]]] {
        names.say("app.test", addresses(now, 0));
        dns::await_endpoints(&gateway, port, now);
        let said = told(&gateway, sites[0].address());
        assert_eq!(
            (&said["serves"], &said["probe"]["since"]),
            (&false.into(), &since)
        );
        for _ in 0..10 {
            gateway.get("/").expect_ok();
        }
    }
    assert_eq!(sites[0].worked(), 0, "it never served");
    let probe = sites[0].probes().remove(0);
    assert_eq!(probe.field("host"), Some(&*format!("app.test:{port}")));
}

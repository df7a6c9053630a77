//! DNS that fails: what was known goes on, what is not known is said, and nobody has to restart anything.

use std::net::{Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::RecordType::A;

use crate::dns::{Town, await_endpoints, servers, setup, told};
use crate::support::{Dns, PATIENCE, Say, Setup, addresses, until};
use crate::unreachable::deaf_at;

#[test]
fn the_last_good_addresses_are_used_whatever_dns_says() {
    let town = Town::at(&["127.0.0.1", "127.0.0.2"]);
    let mut dns = Dns::start();
    dns.say("app.test", addresses(&["127.0.0.1"], 0));
    let gateway = setup(&dns, town.port).start();
    let mut client = gateway.client();
    client.get("/").expect_ok();
    for (say, told) in [
        (Say::Code(ResponseCode::ServFail), "Server Failure"),
        (Say::Silence, "no answer within 1s"),
        (Say::Code(ResponseCode::NXDomain), "does not exist"),
        (addresses(&[], 0), "has no address"),
    ] {
        dns.say("app.test", say);
        until(PATIENCE, told, || {
            client.get("/").expect_ok();
            let name = &crate::dns::told(&gateway)["names"][0];
            name["error"]
                .as_str()
                .is_some_and(|error| error.contains(told))
        });
    }
    dns.stop();
    until(PATIENCE, "nobody answers any more", || {
        client.get("/").expect_ok();
        let error = told(&gateway)["names"][0]["error"].clone();
        error
            .as_str()
            .is_some_and(|error| error.contains("no answer"))
    });
    assert_eq!(town.upstreams[0].connections(), 1);
    dns.say("app.test", addresses(&["127.0.0.2"], 0));
    dns.restart();
    await_endpoints(&gateway, town.port, &["127.0.0.2"]);
    assert_eq!(client.get("/").expect_ok().text(), "127.0.0.2");
    // Once for each change of state, with the name and what to do: it fails, has no address, fails, is well.
    assert_eq!(
        gateway.count_stderr("app.test does not resolve: DNS fails; its last address stays"),
        2
    );
    let lost = "app.test does not resolve: it has no address; its last address stays";
    assert_eq!(gateway.count_stderr(lost), 1);
    assert_eq!(gateway.count_stderr("help=\"see that the DNS servers"), 2);
    assert_eq!(gateway.count_stderr("app.test resolves again"), 1);
}

#[test]
fn a_name_unknown_at_the_start_is_503_until_dns_knows_it() {
    for say in [Say::Silence, Say::Code(ResponseCode::NXDomain)] {
        let town = Town::at(&["127.0.0.1"]);
        let dns = Dns::start();
        dns.say("app.test", say);
        let begin = Instant::now();
        let mut gateway = setup(&dns, town.port).start();
        // The start waits for `dns.timeout`, and no longer.
        assert!(
            begin.elapsed() < Duration::from_secs(5),
            "{:?}",
            begin.elapsed()
        );
        gateway.await_stderr("app.test does not resolve");
        gateway.await_stderr("it gives no endpoint until it does");
        let answer = gateway.get("/");
        answer.expect_refusal(503, "no_healthy_endpoint");
        assert_eq!(told(&gateway)["endpoints"], serde_json::json!([]));
        dns.say("app.test", addresses(&["127.0.0.1"], 0));
        until(PATIENCE, "it serves", || gateway.get("/").status == 200);
        gateway.await_stderr("app.test resolves again");
    }
}

#[test]
fn what_does_not_answer_the_question_is_not_believed() {
    let town = Town::at(&["127.0.0.1", "127.0.0.2"]);
    let dns = Dns::start();
    dns.say("app.test", addresses(&["127.0.0.1"], 0));
    let gateway = setup(&dns, town.port).start();
    for say in [
        Say::Garbage,
        Say::WrongId(vec!["127.0.0.2".parse().unwrap()]),
        Say::Records(vec![("other.test", "127.0.0.2".parse().unwrap(), 60)]),
        addresses(&["0.0.0.0", "255.255.255.255"], 60),
    ] {
        dns.say("app.test", say);
        let before = dns.asked("app.test", A);
        until(PATIENCE, "asked twice more", || {
            assert_eq!(gateway.get("/").expect_ok().text(), "127.0.0.1");
            dns.asked("app.test", A) >= before + 2
        });
    }
    town.upstreams[1].expect_untouched();
    assert_eq!(gateway.count_stderr("wrong message id"), 0);
}

#[test]
fn a_second_server_answers_for_the_first() {
    let town = Town::at(&["127.0.0.1"]);
    let (mut first, second) = (Dns::start(), Dns::start());
    second.say("app.test", addresses(&["127.0.0.1"], 0));
    first.stop();
    let section = format!(
        "dns: {{ servers: [\"{}\", \"{}\"], timeout: 2s }}",
        first.address(),
        second.address()
    );
    let gateway = Setup::to(format!("app.test:{}", town.port))
        .top(&section)
        .start();
    gateway.get("/").expect_ok();
}

#[test]
fn a_silent_address_costs_a_request_no_more_than_the_connect_timeout() {
    let town = Town::at(&["127.0.0.1"]);
    let deaf = SocketAddr::from(([127, 0, 0, 2], town.port));
    let (_listener, _waiting, _) = deaf_at(deaf);
    let dns = Dns::start();
    dns.say("app.test", addresses(&["127.0.0.1", "127.0.0.2"], 60));
    let gateway = setup(&dns, town.port)
        .upstream("balance: round_robin, timeouts: { connect: 500ms }")
        .start();
    await_endpoints(&gateway, town.port, &["127.0.0.1", "127.0.0.2"]);
    let mut longest = Duration::ZERO;
    for _ in 0..10 {
        let begin = Instant::now();
        assert_eq!(gateway.get("/").expect_ok().text(), "127.0.0.1");
        longest = longest.max(begin.elapsed());
    }
    assert!(
        longest >= Duration::from_millis(450),
        "nobody tried the other: {longest:?}"
    );
    assert!(longest < Duration::from_secs(5), "{longest:?}");
}

#[test]
fn a_silent_family_is_overtaken_by_the_other() {
    let town = Town::at(&["127.0.0.1"]);
    let (_listener, _waiting, _) = deaf_at(SocketAddr::from((Ipv6Addr::LOCALHOST, town.port)));
    let (_dns, setup) = with_both_families(&town);
    let gateway = setup.start();
    let begin = Instant::now();
    for _ in 0..10 {
        assert_eq!(gateway.get("/").expect_ok().text(), "127.0.0.1");
    }
    // Ten connects that waited for the silent one would take 50 s; those that follow the first know better.
    let took = begin.elapsed();
    assert!(took < Duration::from_secs(10), "{took:?}");
    let rows = &told(&gateway)["endpoints"];
    let busy: i64 = rows
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["connections"]["busy"].as_i64().unwrap())
        .sum();
    assert_eq!(busy, 0, "{rows}");
}

#[test]
fn a_family_that_refuses_costs_no_try() {
    let town = Town::at(&["127.0.0.1"]);
    let (_dns, setup) = with_both_families(&town);
    let gateway = setup.start();
    for _ in 0..10 {
        assert_eq!(gateway.get("/").expect_ok().text(), "127.0.0.1");
    }
    let lines = gateway.await_access_lines(10);
    assert!(lines.iter().all(|line| line["attempts"] == 1), "{lines:?}");
}

/// The name has both families, its service one, and no request may be tried again.
fn with_both_families(town: &Town) -> (Dns, Setup) {
    let dns = Dns::start();
    dns.say("app.test", addresses(&["::1", "127.0.0.1"], 60));
    let setup = setup(&dns, town.port)
        .upstream("balance: round_robin, timeouts: { connect: 5s }")
        .route("retry: off");
    (dns, setup)
}

#[test]
fn a_reload_waits_for_no_name_that_is_known() {
    let town = Town::at(&["127.0.0.1"]);
    let dns = Dns::start();
    dns.say("app.test", addresses(&["127.0.0.1"], 0));
    let patient = servers(&dns).replace("timeout: 1s", "timeout: 60s");
    let file = |path: &str| {
        Setup::to(format!("app.test:{}", town.port))
            .top(&patient)
            .before(&format!(
                "name: new, match: {{ path: {path} }}, respond: {{ status: 204 }}"
            ))
    };
    let gateway = file("/one").start();
    dns.say("app.test", Say::Silence);
    let before = dns.asked("app.test", A);
    until(PATIENCE, "the next look-up hangs", || {
        dns.asked("app.test", A) > before
    });
    // `apply` waits for ten seconds.
    gateway.apply(&file("/two").text());
    assert_eq!(gateway.get("/two").status, 204);
    gateway.get("/").expect_ok();
}

//! Three gateways on one Redis together admit what one limit says.

use std::fs;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::{errors, patient, shared, until_state};
use crate::limits::{decisions, get_with, is_admitted, limiting, passing};
use crate::support::{
    Authority, Gateway, Redis, Setup, TIDEGATE, Upstream, free_port, unique_directory,
};

const EXACT: &str = "store: { redis: main, mode: exact }";
const LEASED: &str = "store: { redis: main, mode: leased }";

fn three(redis: &Redis, policy: &str) -> [Gateway; 3] {
    [(); 3].map(|()| patient(redis, policy).start())
}

/// All that many clients get through `gateways` at once.
fn passing_all(gateways: &[Gateway], each: usize) -> usize {
    let passed = AtomicUsize::new(0);
    thread::scope(|scope| {
        for gateway in gateways {
            for _ in 0..2 {
                scope.spawn(|| {
                    let count = passing(&mut gateway.client(), "/own", each);
                    passed.fetch_add(count, Ordering::SeqCst);
                });
            }
        }
    });
    passed.into_inner()
}

#[test]
fn exactly_the_burst_passes_three_gateways() {
    let redis = Redis::start(&[]);
    let gateways = three(&redis, &format!("rate: 1/h, burst: 100, {EXACT}"));
    assert_eq!(passing_all(&gateways, 60), 100);
    let limited: f64 = gateways
        .iter()
        .map(|g| decisions(g, "one", "limited"))
        .sum();
    assert_eq!(limited, 260.0);
}

#[test]
fn in_exact_mode_no_more_than_burst_and_rate_pass_however_long_it_takes() {
    let redis = Redis::start(&[]);
    let gateways = three(&redis, &format!("rate: 50/s, burst: 20, {EXACT}"));
    let begin = Instant::now();
    let passed = passing_all(&gateways, 300) as f64;
    let most = 20.0 + 50.0 * begin.elapsed().as_secs_f64();
    assert!(passed <= most, "{passed} of {most}");
    assert!(passed >= 20.0);
}

#[test]
fn in_leased_mode_three_gateways_stay_within_a_tenth_of_the_burst_each() {
    let redis = Redis::start(&[]);
    let gateways = three(&redis, &format!("rate: 200/s, burst: 100, {LEASED}"));
    let begin = Instant::now();
    let passed = passing_all(&gateways, 400) as f64;
    let most = 100.0 + 200.0 * begin.elapsed().as_secs_f64() + 3.0 * 10.0;
    assert!(passed <= most, "{passed} of {most}");
    // Nobody waits for a token that another gateway only holds.
    assert!(passed >= 70.0, "{passed}");
}

#[test]
fn a_limit_without_a_mode_is_leased() {
    let redis = Redis::start(&[]);
    let gateway = patient(&redis, "rate: 1/h, burst: 5, store: { redis: main }").start();
    assert_eq!(passing(&mut gateway.client(), "/own", 8), 5);
    let limits = gateway.admin_get("/limits", "").json();
    assert_eq!(limits["limits"][0]["store"]["mode"], "leased");
}

#[test]
fn keys_are_the_same_in_every_gateway_and_costs_add_up() {
    let redis = Redis::start(&[]);
    let policy = format!("rate: 1/h, burst: 6, cost: 2, key: [header:x-k, method], {EXACT}");
    let gateways = three(&redis, &policy);
    for key in ["a", "b"] {
        let mut passed = 0;
        for turn in 0..9 {
            let request = get_with("/own", &format!("x-k: {key}\r\n"));
            let answer = gateways[turn % 3].client().ask(request);
            passed += usize::from(is_admitted(&answer));
        }
        assert_eq!(passed, 3, "{key}");
    }
    let names = redis.say("EVAL \"return table.concat(redis.call('KEYS','*'),' ')\" 0");
    assert!(names.contains("tidegate:one:"), "{names}");
    assert!(!names.contains("x-k"), "{names}");
}

#[test]
fn what_a_refusal_tells_holds_for_all_gateways() {
    let redis = Redis::start(&[]);
    let gateways = three(&redis, &format!("rate: 1/m, burst: 2, {EXACT}"));
    for gateway in &gateways[..2] {
        assert_eq!(gateway.get("/own").status, 200);
    }
    let refused = gateways[2].get("/own");
    refused.expect_refusal(429, "rate_limited");
    let after: u64 = refused.field("retry-after").unwrap().parse().unwrap();
    assert!((1..=60).contains(&after), "{after}");
    let told = refused.field("ratelimit").unwrap();
    assert!(told.starts_with("\"one\";r=0;t="), "{told}");
}

#[test]
fn a_limit_that_refuses_gives_the_stores_tokens_back() {
    let redis = Redis::start(&[]);
    for mode in [EXACT, LEASED] {
        let two =
            "name: two, match: { path: /two }, respond: { body: two }, rate_limits: [one, narrow]";
        let name = if mode == EXACT { "exact" } else { "leased" };
        let limits = format!(
            "one: {{ rate: 1/h, burst: 5, key: [client_ip, header:x-{name}], on_missing_key: client_ip, {mode} }}, narrow: {{ rate: 1/h, burst: 1 }}"
        );
        let gateway = Setup::to("127.0.0.1:9")
            .top(&format!("stores: {{ main: {{ redis: \"redis://127.0.0.1:{}\", timeout: 8s }} }}", redis.port))
            .top(&format!("rate_limits: {{ {limits} }}"))
            .before("name: own, match: { path_prefix: /own }, respond: { body: own }, rate_limits: [one]")
            .before(two)
            .start();
        let mut client = gateway.client();
        assert_eq!(passing(&mut client, "/two", 20), 1, "{mode}");
        // 19 refusals took nothing: four of five tokens are left.
        assert_eq!(passing(&mut client, "/own", 20), 4, "{mode}");
    }
}

#[test]
fn a_cost_that_the_upstream_tells_is_charged_in_the_store() {
    let redis = Redis::start(&[]);
    let upstream = Upstream::answering(
        "HTTP/1.1 200 OK\r\nx-cost: 8\r\ncontent-length: 2\r\n\r\nok".to_owned(),
    );
    let limits =
        "one: { rate: 1/h, burst: 10, cost: header:x-cost, store: { redis: main, mode: exact } }";
    let gateway = Setup::to(upstream.address())
        .top(&format!(
            "stores: {{ main: {{ redis: \"redis://127.0.0.1:{}\", timeout: 8s }} }}",
            redis.port
        ))
        .top(&format!("rate_limits: {{ {limits} }}"))
        .route("rate_limits: [one]")
        .start();
    let mut client = gateway.client();
    assert_eq!(client.get("/").status, 200);
    // Two are left: one more passes, and is charged beyond what is there.
    assert_eq!(client.get("/").status, 200);
    client.get("/").expect_refusal(429, "rate_limited");
}

#[test]
fn a_request_waits_for_its_turn_at_the_store() {
    let redis = Redis::start(&[]);
    for mode in [EXACT, LEASED] {
        let key = if mode == EXACT { "method" } else { "host" };
        let policy = format!("rate: 5/s, burst: 1, max_wait: 20s, key: {key}, {mode}");
        let gateway = patient(&redis, &policy).start();
        let begin = Instant::now();
        assert_eq!(passing(&mut gateway.client(), "/own", 6), 6);
        assert!(begin.elapsed() >= Duration::from_millis(990), "{mode}");
    }
}

#[test]
fn a_reload_keeps_the_connection_and_the_leases() {
    let redis = Redis::start(&[]);
    let policy = format!("rate: 1/h, burst: 50, {LEASED}");
    let gateway = patient(&redis, &policy).start();
    assert_eq!(passing(&mut gateway.client(), "/own", 40), 40);
    let before = redis.say("INFO stats");
    for turn in 0..5 {
        let other = format!(
            "rate: 1/h, burst: 50, max_waiting: {}, {LEASED}",
            100 + turn
        );
        gateway.apply(&patient(&redis, &other).text());
    }
    assert_eq!(passing(&mut gateway.client(), "/own", 40), 10);
    let connections = |info: &str| -> u64 {
        let line = info
            .lines()
            .find_map(|l| l.strip_prefix("total_connections_received:"));
        line.unwrap().trim().parse().unwrap()
    };
    let after = redis.say("INFO stats");
    // Each look is one itself.
    assert_eq!(connections(&after), connections(&before) + 1);
}

#[test]
fn a_changed_limit_keeps_how_full_its_buckets_are() {
    let redis = Redis::start(&[]);
    let gateway = patient(&redis, &format!("rate: 1/h, burst: 100, {EXACT}")).start();
    assert_eq!(passing(&mut gateway.client(), "/own", 75), 75);
    let wider = format!("rate: 2/h, burst: 1000, {EXACT}");
    gateway.apply(&patient(&redis, &wider).text());
    let passed = passing(&mut gateway.client(), "/own", 300);
    assert!((249..=251).contains(&passed), "{passed}");
}

#[test]
fn a_store_takes_the_place_of_local_buckets_and_back() {
    let redis = Redis::start(&[]);
    let local = limiting("rate: 1/h, burst: 3");
    let gateway = local.start();
    assert_eq!(passing(&mut gateway.client(), "/own", 5), 3);
    gateway.apply(&patient(&redis, &format!("rate: 1/h, burst: 3, {EXACT}")).text());
    until_state(&gateway, "here");
    assert_eq!(passing(&mut gateway.client(), "/own", 5), 3);
    gateway.apply(&local.text());
    assert_eq!(
        passing(&mut gateway.client(), "/own", 5),
        0,
        "it was not forgotten"
    );
}

/// `rediss://`: the authorities of the system, which the environment can name, and nobody else.
#[test]
fn a_store_behind_tls_is_believed_if_the_system_believes_it() {
    let (authority, stranger) = (Authority::new("ours"), Authority::new("theirs"));
    let pair = authority.issue(&["localhost", "127.0.0.1"]);
    let directory = unique_directory();
    pair.write(&directory, "redis");
    let file = |name: &str| directory.join(name).display().to_string();
    let port = free_port();
    let _redis = Redis::start(&[
        "--tls-port",
        &port.to_string(),
        "--tls-cert-file",
        &file("redis.pem"),
        "--tls-key-file",
        &file("redis.key"),
        "--tls-ca-cert-file",
        &file("redis.pem"),
        "--tls-auth-clients",
        "no",
    ]);
    let policy = format!("rate: 1/h, burst: 3, {EXACT}");
    let text = shared(port, "8s", &policy).text();
    let text = text.replace("redis://127.0.0.1", "rediss://localhost");
    for (believed, state) in [(&authority, "here"), (&stranger, "away")] {
        let own = unique_directory();
        fs::write(own.join("roots.pem"), &believed.cert).unwrap();
        fs::write(own.join("gateway.yaml"), &text).unwrap();
        let mut command = Command::new(TIDEGATE);
        command.env("SSL_CERT_FILE", own.join("roots.pem"));
        let path = own.join("gateway.yaml");
        let gateway = Gateway::spawn_by(command, own, &path).ready();
        until_state(&gateway, state);
        if state == "here" {
            assert_eq!(passing(&mut gateway.client(), "/own", 5), 3);
        } else {
            assert!(errors(&gateway, "tls") > 0.0);
        }
    }
    fs::remove_dir_all(directory).unwrap();
}

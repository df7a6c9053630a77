//! A reload forgets no debt, gives no credit, and holds at once for everybody.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::{decisions, is_admitted, limiting, passing};
use crate::support::{Client, Gateway, scale};

fn left(gateway: &Gateway, limit: &str) -> u64 {
    let bucket = gateway
        .admin_get(&format!("/limits/{limit}/global"), "")
        .json();
    bucket["left"].as_u64().unwrap()
}

/// H2: an unrelated change leaves every bucket as it is.
#[test]
fn an_unrelated_change_fills_no_bucket() {
    let setup = limiting("rate: 1/h, burst: 5, key: global");
    let gateway = setup.start();
    let mut client = gateway.client();
    assert_eq!(passing(&mut client, "/own", 9), 5);
    for bytes in 2000..2005 {
        gateway.apply(
            &setup
                .clone()
                .listener(&format!("limits: {{ uri_bytes: {bytes}B }}"))
                .text(),
        );
        assert_eq!(passing(&mut client, "/own", 2), 0);
    }
    assert_eq!(
        decisions(&gateway, "one", "limited"),
        14.0,
        "counters go on"
    );
}

/// H3: another rate or burst keeps each key's share of a full bucket, and holds for connections that are open.
#[test]
fn a_changed_limit_keeps_the_share_of_a_bucket() {
    let gateway = limiting("rate: 1/h, burst: 10, key: global").start();
    let mut client = gateway.client();
    assert_eq!(passing(&mut client, "/own", 5), 5);
    gateway.apply(&limiting("rate: 2/h, burst: 20, key: global").text());
    assert_eq!(left(&gateway, "one"), 10);
    gateway.apply(&limiting("rate: 2/h, burst: 4, key: global").text());
    assert_eq!(left(&gateway, "one"), 2);
    assert_eq!(passing(&mut client, "/own", 9), 2);
    gateway.apply(&limiting("rate: 1000/h, burst: 1000, key: global").text());
    assert!(left(&gateway, "one") < 1000, "the debt is a share too");
}

/// What makes a bucket mean the same is the limit's name and its key.
#[test]
fn another_key_is_another_limit_and_another_policy_is_not() {
    let gateway = limiting("rate: 1/h, key: global").start();
    let mut client = gateway.client();
    assert_eq!(passing(&mut client, "/own", 2), 1);
    gateway.apply(&limiting("rate: 1/h, key: global, mode: observe, headers: always").text());
    assert_eq!(left(&gateway, "one"), 0);
    gateway.apply(&limiting("rate: 1/h, key: [global]").text());
    assert_eq!(passing(&mut client, "/own", 2), 0);
    gateway.apply(&limiting("rate: 1/h, key: host").text());
    assert_eq!(passing(&mut client, "/own", 2), 1);
    gateway.apply(&limiting("rate: 1/h, key: global").text());
    assert_eq!(
        passing(&mut client, "/own", 2),
        0,
        "the old one is not forgotten"
    );
}

/// Removed and restored, a limit has forgotten nothing.
#[test]
fn what_is_removed_and_restored_forgives_no_debt() {
    let setup = limiting("rate: 1/h, burst: 3, key: global");
    let gateway = setup.start();
    let mut client = gateway.client();
    assert_eq!(passing(&mut client, "/own", 5), 3);
    let without = setup
        .text()
        .replace("rate_limits: [one]", "rate_limits: []")
        .replace("rate_limits: { one", "x-limits: { one");
    gateway.apply(&without);
    assert_eq!(passing(&mut client, "/own", 5), 5);
    gateway.apply(&setup.text());
    assert_eq!(passing(&mut client, "/own", 5), 0);
    assert_eq!(decisions(&gateway, "one", "allowed"), 3.0);
}

/// Overloads one key while a changed file is applied every 50 ms; how many passed, and in which time.
fn overload(gateway: &Gateway, file: impl Fn(usize) -> String) -> (usize, f64) {
    let lasts = Duration::from_secs(scale(2, 20));
    let (done, passed) = (AtomicBool::new(false), AtomicUsize::new(0));
    let since = Instant::now();
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut client = gateway.client();
                while !done.load(Ordering::SeqCst) {
                    if is_admitted(&client.get("/own")) {
                        passed.fetch_add(1, Ordering::SeqCst);
                    }
                }
            });
        }
        for number in 0.. {
            let turn = Instant::now();
            gateway.write_config(&file(number));
            reload(gateway);
            if since.elapsed() >= lasts {
                break;
            }
            thread::park_timeout(Duration::from_millis(50).saturating_sub(turn.elapsed()));
        }
        done.store(true, Ordering::SeqCst);
    });
    (passed.into_inner(), since.elapsed().as_secs_f64())
}

fn reload(gateway: &Gateway) {
    let address = gateway.admin().unwrap();
    let head = format!("POST /reload HTTP/1.1\r\nHost: {address}\r\nX-Tidegate-Admin: 1\r\n\r\n");
    Client::connect(address).ask(head).expect_ok();
}

/// The reload property: not one request more than rate · t + burst.
#[test]
fn reloads_under_overload_admit_nobody_more() {
    let setup = limiting("rate: 100/s, burst: 50, key: global")
        .listener("limits: { requests_per_connection: off }");
    let gateway = setup.start();
    let file = |number: usize| {
        setup
            .clone()
            .top(&format!("drain: {{ delay: {}ms }}", 1000 + number))
            .text()
    };
    let (passed, seconds) = overload(&gateway, file);
    let most = 50.0 + 100.0 * seconds;
    assert!(passed as f64 <= most, "{passed} of at most {most}");
    assert!(
        passed as f64 >= 50.0 + 5.0 * (seconds - 1.0),
        "{passed} of {most}: too few"
    );
}

/// The same where each reload changes the limit itself: never more than the larger of the two would admit.
#[test]
fn a_limit_that_changes_under_overload_gives_no_credit() {
    let policy = |number: usize| match number % 2 {
        0 => "rate: 100/s, burst: 50, key: global",
        _ => "rate: 50/s, burst: 10, key: global",
    };
    let file = |number| {
        limiting(policy(number))
            .listener("limits: { requests_per_connection: off }")
            .text()
    };
    let gateway = Gateway::start(&file(0));
    let (passed, seconds) = overload(&gateway, file);
    let most = 50.0 + 100.0 * seconds;
    assert!(passed as f64 <= most, "{passed} of at most {most}");
    assert!(
        passed as f64 >= 5.0 * (seconds - 1.0),
        "{passed}: locked out"
    );
}

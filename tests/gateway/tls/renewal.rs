//! Certificates that change while the gateway runs: swapped as pairs, kept while they do not match, under load too.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use super::*;
use crate::support::{TIDEGATE, scale};

fn shown(house: &House) -> Vec<u8> {
    let client = house.visit("a.test");
    client.session().peer_certificates().unwrap()[0].to_vec()
}

fn await_shown(house: &House, pair: &Pair) {
    let leaf = pair.leaf();
    let begin = Instant::now();
    until(PATIENCE, "the new certificate", || {
        shown(house) == leaf.as_ref()
    });
    // Two seconds are promised; a machine that is busy with other tests may hold it up.
    assert!(begin.elapsed() < PATIENCE / 2, "{:?}", begin.elapsed());
}

#[test]
fn a_renewed_pair_is_live_and_sessions_and_connections_go_on() {
    let house = House::start("");
    let visitor = house.visitor();
    let mut old = visitor.visit(house.gateway.address(), "a.test");
    old.get("/").expect_ok();
    let renewed = house.authority.issue(&["a.test"]);
    renewed.write(house.gateway.directory(), "a");
    await_shown(&house, &renewed);
    old.get("/").expect_ok();
    let mut again = visitor.visit(house.gateway.address(), "a.test");
    again.get("/").expect_ok();
    assert_eq!(
        again.session().handshake_kind(),
        Some(HandshakeKind::Resumed)
    );
    // So they do over a reload that changes something else.
    let text = std::fs::read_to_string(house.gateway.config_path()).unwrap();
    house
        .gateway
        .apply(&text.replace("workers: 2", "workers: 2\nerrors: reason"));
    let mut third = visitor.visit(house.gateway.address(), "a.test");
    third.get("/").expect_ok();
    assert_eq!(
        third.session().handshake_kind(),
        Some(HandshakeKind::Resumed)
    );
}

#[test]
fn a_pair_that_does_not_match_keeps_the_old_one() {
    let mut house = House::start("");
    let before = shown(&house);
    let renewed = house.authority.issue(&["a.test"]);
    let directory = house.gateway.directory().to_owned();
    std::fs::write(directory.join("a.pem"), &renewed.cert).unwrap();
    let line = house
        .gateway
        .await_stderr("holds the key of another certificate");
    assert!(line.contains("gateway.yaml:"), "{line}");
    house
        .gateway
        .await_metric("tidegate_config_last_reload_success", &[], 0.0);
    assert_eq!(shown(&house), before);
    // `check` says the same, at the place of the key.
    let output = Command::new(TIDEGATE)
        .arg("check")
        .arg(house.gateway.config_path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.contains("`a.key` holds the key of another certificate"),
        "{said}"
    );
    assert!(said.contains("gateway.yaml:"), "{said}");
    std::fs::write(directory.join("a.key"), &renewed.key).unwrap();
    await_shown(&house, &renewed);
    house
        .gateway
        .await_metric("tidegate_config_last_reload_success", &[], 1.0);
}

#[test]
fn a_broken_pair_stays_and_all_else_goes_on() {
    let mut house = House::build(&[("a", &["a.test"]), ("b", &["b.test"])], "", |setup| setup);
    let before = shown(&house);
    let text = std::fs::read_to_string(house.gateway.config_path()).unwrap();
    let directory = house.gateway.directory().to_owned();
    std::fs::write(directory.join("a.pem"), "nothing").unwrap();
    house
        .gateway
        .await_metric("tidegate_config_last_reload_success", &[], 0.0);
    // The other pair is renewed, and the file says something else.
    let renewed = house.authority.issue(&["b.test"]);
    renewed.write(&directory, "b");
    until(PATIENCE, "the other pair", || {
        let client = house.visit("b.test");
        client.session().peer_certificates().unwrap()[0] == renewed.leaf()
    });
    std::fs::remove_file(directory.join("a.key")).unwrap();
    house
        .gateway
        .apply(&text.replace("workers: 2", "workers: 2\nerrors: reason"));
    assert_eq!(shown(&house), before);
    let line = house
        .gateway
        .await_stderr("what it held before stays in force");
    assert!(line.contains("gateway.yaml:"), "{line}");
    assert_eq!(
        house
            .gateway
            .metric("tidegate_config_last_reload_success", &[]),
        Some(0.0)
    );
    // Asked when nothing else is new, it says why.
    let refused = house.gateway.admin_post("/reload");
    assert_eq!(refused.status, 422);
    let problems = refused.json()["problems"].to_string();
    assert!(problems.contains("`a.key` cannot be read"), "{problems}");
    // A name under which nothing is in force has nothing that could stay.
    house.gateway.write_config(&text.replace("a.pem", "c.pem"));
    house.gateway.await_stderr("`c.pem` cannot be read");
    assert_eq!(shown(&house), before);
    house.gateway.write_config(&text);
    let mended = house.authority.issue(&["a.test"]);
    mended.write(&directory, "a");
    await_shown(&house, &mended);
    house
        .gateway
        .await_metric("tidegate_config_last_reload_success", &[], 1.0);
}

#[test]
fn broken_files_are_problems_with_their_places() {
    let authority = Authority::new("root");
    let good = authority.issue(&["a.test"]);
    let expired = authority.issue_with(&["a.test"], Kind::Ecdsa, |params| {
        params.not_after = rcgen::date_time_ymd(2024, 1, 1);
    });
    let cut = good.cert[..good.cert.len() / 2].to_owned();
    for (cert, key, said) in [
        (Some(&*good.cert), None, "`a.key` cannot be read"),
        (None, Some(&*good.key), "`a.pem` cannot be read"),
        (Some(""), Some(&*good.key), "`a.pem` holds no certificate"),
        (Some(&*cut), Some(&*good.key), "is cut off"),
        (Some(&*good.cert), Some(&*good.cert), "holds no private key"),
        (
            Some(&*good.cert),
            Some(
                "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAA==\n-----END ENCRYPTED PRIVATE KEY-----\n",
            ),
            "encrypted",
        ),
        (
            Some(&*good.cert),
            Some("-----BEGIN PRIVATE KEY-----\nAA==\n-----END PRIVATE KEY-----\n"),
            "kind that is not known",
        ),
        (Some(&*expired.cert), Some(&*expired.key), "expired"),
        (
            Some(&*good.cert),
            Some(&*expired.key),
            "another certificate",
        ),
    ] {
        let directory = unique_directory();
        for (name, text) in [("a.pem", cert), ("a.key", key)] {
            if let Some(text) = text {
                std::fs::write(directory.join(name), text).unwrap();
            }
        }
        let text = Setup::to("127.0.0.1:1")
            .listener(&tls_file(&["a"], ""))
            .text();
        std::fs::write(directory.join("gateway.yaml"), text).unwrap();
        let output = Command::new(TIDEGATE)
            .arg("check")
            .arg(directory.join("gateway.yaml"))
            .output()
            .unwrap();
        let report = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{said}: {report}");
        assert!(
            report.contains(said) && report.contains("gateway.yaml:4:"),
            "{said}: {report}"
        );
        assert!(report.contains("= help:"), "{said}: {report}");
        std::fs::remove_dir_all(directory).unwrap();
    }
}

#[test]
fn no_handshake_fails_while_certificates_are_swapped() {
    let house = House::start("");
    let (stop, done) = (AtomicBool::new(false), AtomicUsize::new(0));
    let pairs: Vec<Pair> = (0..4).map(|_| house.authority.issue(&["a.test"])).collect();
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    // A visitor each time: every handshake is a full one.
                    house.visit("a.test").get("/").expect_ok();
                    done.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let begin = Instant::now();
        let (length, tick) = (
            Duration::from_secs(scale(4, 30)),
            Duration::from_millis(100),
        );
        for (number, pair) in pairs.iter().cycle().enumerate() {
            let due = tick * u32::try_from(number).unwrap();
            if due > length {
                break;
            }
            until(PATIENCE, "the next swap", || begin.elapsed() >= due);
            pair.write(house.gateway.directory(), "a");
        }
        stop.store(true, Ordering::Relaxed);
    });
    let done = done.load(Ordering::Relaxed);
    assert!(done > 10, "only {done} handshakes");
    let failed = house
        .gateway
        .metric("tidegate_tls_handshakes_total", &[("result", "failed")]);
    assert_eq!(failed, None, "of {done}");
    assert!(
        house
            .gateway
            .metric("tidegate_config_generation", &[])
            .unwrap()
            > 2.0
    );
}

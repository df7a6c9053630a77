//! The first words of a gateway: what it needs to start, and what it says when it cannot.

use std::net::TcpListener;

use crate::support::{Echo, Gateway, PATIENCE, Setup, vacant};

/// Starts on `yaml`, expects it to give up, and returns what it said.
fn expect_refused(yaml: &str) -> String {
    let mut gateway = Gateway::spawn(yaml);
    let status = gateway.wait_exit(PATIENCE);
    assert!(status.code().is_some_and(|code| code != 0), "{status}");
    gateway.stderr_lines().join("\n")
}

#[test]
fn the_smallest_useful_file_is_enough() {
    let echo = Echo::start("app");
    let endpoint = echo.address();
    let gateway = Gateway::start(&format!(
        "listeners:\n  - bind: 127.0.0.1:0\nadmin: off\nroutes:\n  - match: {{ path_prefix: / }}\n    upstream: app\n\
         upstreams:\n  app: {{ endpoints: [\"http://{endpoint}\"] }}\n"
    ));
    gateway.get("/").expect_ok();
    assert_eq!(gateway.listener("127-0-0-1-0"), gateway.address());
}

#[test]
fn every_problem_is_told_with_its_place() {
    let said = expect_refused(
        "listners: []\nlisteners:\n  - bind: nowhere\nroutes:\n  - upstream: gone\nupstreams: {}\n",
    );
    for part in [
        "gateway.yaml:1:1",
        "did you mean",
        "gateway.yaml:3:11",
        "gateway.yaml:5:15",
        "gone",
        "^",
    ] {
        assert!(said.contains(part), "no {part} in:\n{said}");
    }
}

#[test]
fn a_key_of_a_later_version_is_refused_not_ignored() {
    let echo = Echo::start("app");
    for (setup, key) in [
        (
            Setup::to(echo.address()).route("cors: { origins: any }"),
            "cors",
        ),
        (
            Setup::to(echo.address()).route("websocket: { max_message: 1MiB }"),
            "max_message",
        ),
        (Setup::to(echo.address()).top("auth: {}"), "auth"),
    ] {
        let said = expect_refused(&setup.text());
        assert!(
            said.contains(key) && said.contains("not available in this version"),
            "{key}:\n{said}"
        );
    }
}

#[test]
fn an_address_that_is_taken_is_named() {
    let echo = Echo::start("app");
    let held = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = held.local_addr().unwrap().to_string();
    let said = expect_refused(&Setup::to(echo.address()).text().replacen(
        "main, bind: \"127.0.0.1:0\"",
        &format!("main, bind: \"{address}\""),
        1,
    ));
    assert!(said.contains(&address), "{said}");
    let said = expect_refused(
        &Setup::to(echo.address())
            .top(&format!("admin: {{ bind: \"{address}\" }}"))
            .text(),
    );
    assert!(said.contains(&address), "{said}");
}

#[test]
fn what_is_not_yet_in_force_is_told() {
    let echo = Echo::start("app");
    let gateway = Setup::to(echo.address()).start();
    assert!(gateway.count_stderr("ping_interval") > 0);
}

#[test]
fn an_edge_may_hide_its_names() {
    let [dead] = vacant();
    let full = Setup::to(dead).start();
    let told = full.get("/");
    told.expect_refusal(502, "upstream_connect_failed");
    assert!(told.text().contains("app"), "{}", told.text());
    let hiding = Setup::to(dead).top("errors: { detail: reason }").start();
    let told = hiding.get("/");
    told.expect_refusal(502, "upstream_connect_failed");
    let said = format!("{told:?} {}", told.text());
    assert!(
        !said.contains(&dead.to_string()) && !told.text().contains("app:"),
        "{said}"
    );
}

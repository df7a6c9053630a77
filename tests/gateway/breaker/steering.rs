//! Seeing and steering: `/upstreams`, `PUT /breakers`, and what a reload leaves alone.

use serde_json::{Value, json};

use super::*;
use crate::operator::{HANDS, refused};
use crate::support::{Client, Echo, Response, scale, until};

fn put(gateway: &Gateway, target: &str, body: &str) -> Response {
    let address = gateway.admin().expect("admin is on");
    Client::connect(address).ask(format!(
        "PUT {target} HTTP/1.1\r\nHost: {address}\r\n{HANDS}Content-Length: {}\r\n\r\n{body}",
        body.len()
    ))
}

fn force(gateway: &Gateway, what: &str) {
    let body = format!("{{\"force\": \"{what}\"}}");
    let told = put(gateway, "/breakers/app", &body).expect_ok().json();
    assert_eq!(
        (&told["upstream"], &told["force"]),
        (&json!("app"), &json!(what))
    );
}

fn shown(gateway: &Gateway) -> Value {
    gateway.admin_get("/upstreams", "").json()["upstreams"][0]["breaker"].clone()
}

#[test]
fn a_forced_breaker_stays_as_it_is_over_reloads_until_it_is_let_go() {
    let echo = Echo::start("app");
    let setup = Setup::to(echo.address()).upstream("circuit_breaker: {}");
    let gateway = setup.start();
    gateway.get("/").expect_ok();
    assert_eq!(gauge(&gateway), CLOSED);
    force(&gateway, "open");
    let refused = gateway.get("/");
    refused.expect_refusal(503, "breaker_open");
    assert_eq!(refused.field("retry-after"), Some("1"));
    assert_eq!(gauge(&gateway), OPEN);
    assert_eq!(shown(&gateway)["forced"], "open");
    for note in ["a", "b", "c"] {
        gateway.apply(
            &setup
                .clone()
                .top(&format!("x-note: {note}"))
                .route("max_body: 1MiB")
                .text(),
        );
        gateway.apply(&setup.text());
        gateway.get("/").expect_refusal(503, "breaker_open");
    }
    force(&gateway, "closed");
    assert_eq!(shown(&gateway)["forced"], "closed");
    gateway.get("/").expect_ok();
    force(&gateway, "auto");
    assert_eq!(shown(&gateway)["forced"], Value::Null);
    gateway.get("/").expect_ok();
    assert_eq!(gauge(&gateway), CLOSED);
    assert_eq!(moves(&gateway, "open", "forced"), 1.0);
    assert_eq!(moves(&gateway, "closed", "forced"), 1.0);
    let all = gateway.metric("tidegate_breaker_transitions_total", &[]);
    assert_eq!(all, Some(2.0));
}

#[test]
fn a_breaker_forced_closed_does_not_open() {
    let moody = Moody::start(Mood::Answer(500));
    let gateway = moody.behind(THREE).start();
    force(&gateway, "closed");
    for _ in 0..10 {
        assert_eq!(gateway.get("/").status, 500);
    }
    force(&gateway, "auto");
    assert_eq!(trip(&gateway), 3);
}

#[test]
fn what_is_not_there_is_404_and_what_is_no_wish_400() {
    let echo = Echo::start("app");
    let text = Setup::to(echo.address())
        .upstream("circuit_breaker: {}")
        .text()
        + &format!(
            "  bare: {{ endpoints: [\"http://{0}\"] }}\n  each: {{ endpoints: [\"http://{0}\"], circuit_breaker: {{ scope: endpoint }} }}\n",
            echo.address()
        );
    let gateway = Gateway::start(&text);
    let open = "{\"force\": \"open\"}";
    for target in [
        "/breakers/nobody",
        "/breakers/bare",
        "/breakers/each/10.0.0.1:1",
    ] {
        refused(&put(&gateway, target, open), 404);
    }
    refused(
        &put(&gateway, &format!("/breakers/app/{}", echo.address()), open),
        404,
    );
    refused(&put(&gateway, "/breakers/", open), 404);
    for body in [
        "",
        "{}",
        "{\"force\": \"half_open\"}",
        "{\"force\": \"open\", \"why\": 1}",
    ] {
        refused(&put(&gateway, "/breakers/app", body), 400);
    }
    refused(&gateway.admin_get("/breakers/app", ""), 405);
    gateway.get("/").expect_ok();
    let each = format!("/breakers/each/{}", echo.address());
    put(&gateway, &each, open).expect_ok();
    let address = echo.address().to_string();
    let labels = [("upstream", "each"), ("endpoint", address.as_str())];
    assert_eq!(
        gateway.metric("tidegate_breaker_state", &labels),
        Some(OPEN)
    );
    let escaped = each.replace(':', "%3A");
    put(&gateway, &escaped, "{\"force\":\"auto\"}").expect_ok();
    assert_eq!(
        gateway.metric("tidegate_breaker_state", &labels),
        Some(CLOSED)
    );
}

#[test]
fn the_page_shows_state_window_and_next_probe() {
    let moody = Moody::start(Mood::Answer(200));
    let gateway = moody
        .behind("{ failure_rate: { window: 60s, min_requests: 4 } }")
        .start();
    for status in [200, 500, 200] {
        moody.become_(Mood::Answer(status));
        assert_eq!(gateway.get("/").status, status);
    }
    let seen = shown(&gateway);
    assert_eq!(seen["state"], "closed");
    assert_eq!(
        seen["failures"],
        json!({ "over": "1m", "requests": 3, "failed": 1 })
    );
    assert_eq!(seen["next_probe_ms"], Value::Null);
    moody.become_(Mood::Answer(500));
    assert_eq!(gateway.get("/").status, 500);
    let seen = shown(&gateway);
    assert_eq!(seen["state"], "open");
    let left = seen["next_probe_ms"].as_u64().unwrap();
    assert!((1..=60_004).contains(&left));
    let config = gateway.admin_get("/config", "").json();
    let said = &config["config"]["upstreams"]["app"]["circuit_breaker"];
    assert_eq!(said["failure_rate"]["percent"], "50%");
    assert_eq!(said["max_open_for"], "60s".replace("60s", "1m"));
}

/// H1: 100 reloads while it is open, and no request more reaches the upstream.
#[test]
fn h1_reloads_leave_an_open_breaker_open_with_its_time() {
    let moody = Moody::start(Mood::Answer(500));
    let setup = moody.behind("{ consecutive_failures: 3, open_for: 1h }");
    let gateway = setup.start();
    assert_eq!(trip(&gateway), 3);
    let left = || shown(&gateway)["next_probe_ms"].as_u64().unwrap();
    let before = left();
    for n in 0..scale(20, 100) {
        gateway.apply(
            &setup
                .clone()
                .route(&format!("max_body: {}KiB", n + 1))
                .text(),
        );
        gateway.get("/").expect_refusal(503, "breaker_open");
    }
    assert!(left() <= before && left() > before - 600_000);
    assert_eq!(moody.seen(), 3);
    assert_eq!(moves(&gateway, "open", "consecutive_failures"), 1.0);
}

#[test]
fn a_changed_threshold_holds_for_what_was_counted() {
    let moody = Moody::start(Mood::Answer(500));
    let gateway = moody.behind("{ consecutive_failures: 100 }").start();
    for _ in 0..5 {
        assert_eq!(gateway.get("/").status, 500);
    }
    assert_eq!(shown(&gateway)["consecutive_failures"], 5);
    gateway.apply(&moody.behind("{ consecutive_failures: 6 }").text());
    assert_eq!(trip(&gateway), 1);
}

#[test]
fn an_upstream_that_is_gone_and_comes_back_is_still_open() {
    let moody = Moody::start(Mood::Answer(500));
    let setup = moody.behind("{ consecutive_failures: 1, open_for: 1h }");
    let gateway = setup.start();
    assert_eq!(gateway.get("/").status, 500);
    gateway.apply("workers: 2\nadmin: { bind: \"127.0.0.1:0\" }\nlisteners: [{ name: main, bind: \"127.0.0.1:0\" }]\nroutes: [{ name: all, respond: { status: 204 } }]\n");
    until(PATIENCE, "the route is another", || {
        gateway.get("/").status == 204
    });
    gateway.apply(&setup.text());
    until(PATIENCE, "the route is back", || {
        gateway.get("/").status != 204
    });
    gateway.get("/").expect_refusal(503, "breaker_open");
    assert_eq!(moody.seen(), 1);
}

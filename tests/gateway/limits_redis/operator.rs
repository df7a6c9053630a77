//! Stores as their operator sees them: the pages of the admin port, one bucket looked at and filled, and wrong files.

use super::{patient, until_state};
use crate::limits::passing;
use crate::support::{Client, Gateway, Redis, Response};

fn ask_admin(gateway: &Gateway, method: &str, target: &str) -> Response {
    let address = gateway.admin().unwrap();
    Client::connect(address).ask(format!(
        "{method} {target} HTTP/1.1\r\nHost: {address}\r\nX-Tidegate-Admin: 1\r\n\r\n"
    ))
}

#[test]
fn a_bucket_in_the_store_is_looked_at_and_filled_by_any_gateway() {
    for mode in ["exact", "leased"] {
        let redis = Redis::start(&[]);
        let policy = format!("rate: 1/h, burst: 4, store: {{ redis: main, mode: {mode} }}");
        let gateways = [(); 2].map(|()| patient(&redis, &policy).start());
        assert_eq!(passing(&mut gateways[0].client(), "/own", 3), 3);
        let told = gateways[1].admin_get("/limits/one/127.0.0.1", "").json();
        assert_eq!(told["left"], 1, "{told}");
        assert_eq!(passing(&mut gateways[0].client(), "/own", 3), 1);
        let filled = ask_admin(&gateways[0], "DELETE", "/limits/one/127.0.0.1").json();
        assert_eq!(filled["left"], 4, "{filled}");
        assert_eq!(passing(&mut gateways[0].client(), "/own", 3), 3);
        assert_eq!(passing(&mut gateways[1].client(), "/own", 3), 1);
    }
}

#[test]
fn the_page_of_limits_tells_how_stores_stand() {
    let mut redis = Redis::start(&[]);
    let policy = "rate: 1/h, burst: 50, store: { redis: main }";
    let gateway = patient(&redis, policy).start();
    until_state(&gateway, "here");
    assert_eq!(passing(&mut gateway.client(), "/own", 3), 3);
    let told = gateway.admin_get("/limits", "").json();
    let store = &told["stores"][0];
    assert_eq!(store["name"], "main");
    assert_eq!(
        store["address"],
        format!("redis://127.0.0.1:{}/0", redis.port)
    );
    let limit = &told["limits"][0];
    assert_eq!(limit["store"]["redis"], "main");
    assert_eq!(limit["store"]["leases"], 1);
    redis.stop();
    until_state(&gateway, "away");
    let store = &gateway.admin_get("/limits", "").json()["stores"][0];
    assert!(
        store["last_cause"] == "closed" || store["last_cause"] == "connect",
        "{store}"
    );
    let bucket = gateway.admin_get("/limits/one/127.0.0.1", "");
    assert_eq!(bucket.status, 503);
}

#[test]
fn the_effective_configuration_names_stores_and_hides_who_the_gateway_is() {
    let redis = Redis::start(&[]);
    let text = patient(
        &redis,
        "rate: 1/h, store: { redis: main, mode: exact }, on_store_failure: deny",
    )
    .text();
    let gateway = Gateway::start(&text.replace("redis://", "redis://me:secret@"));
    let config = &gateway.admin_get("/config", "").json()["config"];
    let url = format!("redis://***@127.0.0.1:{}/0", redis.port);
    assert_eq!(config["stores"]["main"]["redis"], url);
    assert_eq!(config["stores"]["main"]["timeout"], "8s");
    let limit = &config["rate_limits"]["one"];
    assert_eq!(limit["store"]["mode"], "exact");
    assert_eq!(limit["on_store_failure"], "deny");
}

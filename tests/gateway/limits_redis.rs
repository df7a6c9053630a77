//! Limits in Redis from outside: several gateways share one limit, and a Redis that is hurt costs no request.

mod failing;
mod operator;
mod sharing;

use crate::support::{Gateway, PATIENCE, Redis, Setup, until};

/// A gateway whose route `/own` answers itself under the limit `one` of this policy, in the store `main`.
fn shared(port: u16, timeout: &str, policy: &str) -> Setup {
    let store = format!("redis: \"redis://127.0.0.1:{port}\", timeout: {timeout}");
    Setup::to("127.0.0.1:9")
        .top(&format!("stores: {{ main: {{ {store} }} }}"))
        .top(&format!("rate_limits: {{ one: {{ {policy} }} }}"))
        .before(
            "name: own, match: { path_prefix: /own }, respond: { body: own }, rate_limits: [one]",
        )
}

/// A store that answers as long as it lives, however busy the machine is.
fn patient(redis: &Redis, policy: &str) -> Setup {
    shared(redis.port, "8s", policy)
}

/// How the store stands.
fn state(gateway: &Gateway) -> String {
    let limits = gateway.admin_get("/limits", "").json();
    limits["stores"][0]["state"].as_str().unwrap().to_owned()
}

fn until_state(gateway: &Gateway, wanted: &str) {
    let what = format!("the store is {wanted}");
    until(3 * PATIENCE, &what, || state(gateway) == wanted);
}

/// Questions to the store that came to nothing for this cause.
fn errors(gateway: &Gateway, cause: &str) -> f64 {
    let labels = [("store", "main"), ("cause", cause)];
    let count = gateway.metric("tidegate_store_errors_total", &labels);
    count.unwrap_or_default()
}

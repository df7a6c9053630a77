//! What the contract promises by default and this version does not do yet: said at start-up, so nobody counts on it.

use super::Config;

/// One sentence for each default of the contract that is not in force for this file.
#[must_use]
pub fn not_yet_in_force(config: &Config) -> Vec<String> {
    let mut pending = vec![String::from(
        "listeners speak http1 only: the default `protocols: [http1, http2]` comes later",
    )];
    if !config.upstreams.is_empty() {
        pending.extend(UPSTREAMS.map(String::from));
    }
    pending
}

const UPSTREAMS: [&str; 3] = [
    "upstreams have no bulkhead: the default `max_in_flight: 1024` comes later",
    "endpoints that fail are not left out: the default `ejection` comes later",
    "WebSockets are relayed as bytes: the defaults `ping_interval: 30s`, `max_lifetime: 24h` and `max_message` come later, and `idle_timeout: 300s` holds",
];

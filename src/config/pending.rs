//! What the contract promises by default and this version does not do yet: said at start-up, so nobody counts on it.

use super::Config;

/// One sentence for each default of the contract that is not in force for this file.
#[must_use]
pub fn not_yet_in_force(config: &Config) -> Vec<String> {
    if config.upstreams.is_empty() {
        return Vec::new();
    }
    UPSTREAMS.map(String::from).to_vec()
}

const UPSTREAMS: [&str; 1] = [
    "WebSockets are relayed as bytes: the defaults `ping_interval: 30s`, `max_lifetime: 24h` and `max_message` come later, and `idle_timeout: 300s` holds",
];

//! `RateLimit-Policy` and `RateLimit`, as structured fields (draft-ietf-httpapi-ratelimit-headers-10; RFC 9651), and
//! `Retry-After` (RFC 9110, section 10.2.3).

use std::fmt::Write as _;
use std::time::Duration;

use http::header::{self, HeaderMap, HeaderName, HeaderValue};

/// What a limit is.
pub const RATELIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
/// How it stands.
pub const RATELIMIT: HeaderName = HeaderName::from_static("ratelimit");

/// `"name";q=20;w=2`: a bucket of `burst` tokens, and the whole seconds in which an empty one fills.
#[must_use]
pub fn policy(name: &str, tokens: u64, per: Duration, burst: u64) -> String {
    let nanos = per.as_nanos().saturating_mul(u128::from(burst));
    let second = u128::from(tokens.max(1)).saturating_mul(1_000_000_000);
    let window = nanos.div_ceil(second);
    format!("\"{name}\";q={burst};w={window}")
}

/// The two fields under way, one item for each limit.
#[derive(Default)]
pub struct Told {
    policies: String,
    states: String,
}

impl Told {
    /// Adds a limit: its policy, the tokens left to the key, and the time in which its bucket is full again.
    pub fn add(&mut self, name: &str, policy: &str, left: u64, full_in: Duration) {
        let comma = if self.policies.is_empty() { "" } else { ", " };
        let (_, seconds) = (self.policies.push_str(comma), seconds(full_in));
        self.policies.push_str(policy);
        // Writing to a String cannot fail.
        let _ = write!(self.states, "{comma}\"{name}\";r={left};t={seconds}");
    }

    /// The fields; `None` where no limit was added.
    #[must_use]
    pub fn into_fields(self) -> Option<[(HeaderName, HeaderValue); 2]> {
        if self.policies.is_empty() {
            return None;
        }
        Some([
            (RATELIMIT_POLICY, HeaderValue::try_from(self.policies).ok()?),
            (RATELIMIT, HeaderValue::try_from(self.states).ok()?),
        ])
    }

    /// Puts the fields into an answer, in the place of the upstream's own.
    pub fn write(self, headers: &mut HeaderMap) {
        for (name, value) in self.into_fields().into_iter().flatten() {
            headers.insert(name, value);
        }
    }
}

/// `Retry-After` for a wait, in whole seconds rounded up: who waits as long is admitted. `None` where no wait helps.
#[must_use]
pub fn retry_after(wait: Duration) -> Option<(HeaderName, HeaderValue)> {
    let value = HeaderValue::from(seconds(wait));
    (wait < Duration::MAX).then_some((header::RETRY_AFTER, value))
}

fn seconds(time: Duration) -> u64 {
    let begun = u64::from(time.subsec_nanos() > 0);
    time.as_secs().saturating_add(begun)
}

//! What a request hears that a limit refuses.

use std::time::Duration;

use http::header::{HeaderName, HeaderValue};

use crate::error::Reason;
use crate::filter::limit::fields::{Told, retry_after};
use crate::filter::limit::{Headers, Limit};
use crate::http::reply::Refusal;
use crate::limit::Verdict;

/// 429: it asks for more than is left.
#[cold]
pub(super) fn refuse(limit: &Limit, verdict: &Verdict) -> Refusal {
    let name = &limit.name;
    let mut refusal = Refusal::because(
        Reason::RateLimited,
        format!("the limit {name} admits no more requests for now"),
    );
    refusal.limit = Some(name.as_str().into());
    refusal.fields.extend(retry_after(verdict.wait));
    refusal
        .fields
        .extend(tell(limit, verdict.left, verdict.full_in));
    refusal
}

/// 429: it has no key, and may not do without.
#[cold]
pub(super) fn refuse_keyless(limit: &Limit) -> Refusal {
    let (name, key) = (&limit.name, &limit.policy.key);
    let detail = format!("the limit {name} asks for {key}, which is missing");
    let mut refusal = Refusal::because(Reason::RateLimited, detail);
    refusal.limit = Some(name.as_str().into());
    refusal
}

/// The fields that a refusal carries.
fn tell(limit: &Limit, left: u64, full_in: Duration) -> Vec<(HeaderName, HeaderValue)> {
    if limit.policy.headers == Headers::Off {
        return Vec::new();
    }
    let mut told = Told::default();
    told.add(&limit.name, &limit.shown, left, full_in);
    told.into_fields().into_iter().flatten().collect()
}

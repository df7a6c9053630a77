//! Rate limits from outside: who is refused, who is not, and what both are told. The numbers L1 to L32 are those of the
//! list of behaviours; those of arithmetic in virtual time stand beside the engine.

mod arithmetic;
mod clock;
mod in_flight;
mod keys;
mod order;
mod reloading;
mod shaping;
mod telling;
mod trace;
mod watching;

use crate::support::{Client, Gateway, Response, Setup};

/// A gateway whose route `/own` answers itself, under the limit `one` of this policy; everything else goes to `endpoint`.
pub(crate) fn limiting(policy: &str) -> Setup {
    Setup::to("127.0.0.1:9")
        .top(&format!("rate_limits: {{ one: {{ {policy} }} }}"))
        .before(
            "name: own, match: { path_prefix: /own }, respond: { body: own }, rate_limits: [one]",
        )
}

/// How many of `count` requests pass, when the others are refused by a limit.
pub(crate) fn passing(client: &mut Client, target: &str, count: usize) -> usize {
    let answers = (0..count).map(|_| client.get(target));
    answers.filter(is_admitted).count()
}

/// 200, or 429 `rate_limited`.
pub(crate) fn is_admitted(answer: &Response) -> bool {
    if answer.status != 200 {
        answer.expect_refusal(429, "rate_limited");
    }
    answer.status == 200
}

/// What a limit said so often.
pub(crate) fn decisions(gateway: &Gateway, limit: &str, decision: &str) -> f64 {
    let labels = [("limit", limit), ("decision", decision)];
    let count = gateway.metric("tidegate_rate_limit_decisions_total", &labels);
    count.unwrap_or_default()
}

/// A GET with these fields.
pub(crate) fn get_with(target: &str, fields: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: a.test\r\n{fields}\r\n")
}

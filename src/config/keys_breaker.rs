//! The keys of circuit breakers.

use super::keys::tables;
use super::schema::Preset::{Absent, Derived, Value};
use super::schema::Shape::{
    Body, Duration, FailureKind, Fields, HeaderValue, Integer, Many, Name, OneOrMore, OrOff,
    Percent, Table, Words,
};
use super::schema::{Effect::Live, Key, Stage::Now};
use crate::breaker::machine::{MOST_FAILURES, MOST_PROBES};
use crate::breaker::windows::SURE_TO_REACH;

const FAILURES: u64 = MOST_FAILURES as u64;
const PROBES: u64 = MOST_PROBES as u64;
const REQUESTS: u64 = SURE_TO_REACH as u64;

tables! {
    #[doc = "`upstreams.*.circuit_breaker`."]
    CIRCUIT_BREAKER {
        "scope" Words(&["upstream", "endpoint"], &[]), Value("upstream"), Live, Now, "One breaker for the whole upstream, which hears of each request once, by its last attempt; or one for each endpoint, which hears of each attempt.";
        "consecutive_failures" OrOff(&Integer(1, FAILURES)), Value("5"), Live, Now, "So many failures in a row open it, beside the rates.";
        "failure_rate" OrOff(&Table(FAILURE_RATE)), Value("off"), Live, Now, "Opens it by the share of failures.";
        "slow_rate" OrOff(&Table(SLOW_RATE)), Value("off"), Live, Now, "Opens it by the share of slow answers; a slow probe is a failed one.";
        "open_for" Duration(1), Value("60s"), Live, Now, "How long it stays open before it probes.";
        "max_open_for" Duration(1), Derived("`open_for`"), Live, Now, "Lets `open_for` double each time that a probe fails, up to this.";
        "half_open_successes" Integer(1, PROBES), Value("2"), Live, Now, "So many probes that succeed close it.";
        "half_open_probes" Integer(1, PROBES), Value("1"), Live, Now, "Most probes under way at once, over all workers; one that fails opens it again.";
        "half_open_timeout" Duration(1), Value("10s"), Live, Now, "A probe whose answer's head takes longer has failed.";
        "failures" Many(&FailureKind), Value("[connect, timeout, reset, 5xx]"), Live, Now, "What counts as a failure: these words, or statuses such as 503. Never 429, nor what the gateway answers itself, nor a client that leaves.";
        "stream_stable_after" Duration(1), Value("1s"), Live, Now, "A WebSocket, or a body that still streams so long after its head, is a success; one that breaks before is a failure.";
        "fallback" Table(FALLBACK), Absent, Live, Now, "What is done with requests while it is open, instead of the 503.";
        "mode" Words(&["enforce", "observe"], &[]), Value("enforce"), Live, Now, "`observe` computes, counts and logs everything and refuses nothing.";
    }
    #[doc = "`circuit_breaker.failure_rate`."]
    FAILURE_RATE {
        "percent" Percent, Value("50%"), Live, Now, "The share at or above which it opens.";
        "window" Duration(1), Value("10s"), Live, Now, "Over which time.";
        "min_requests" Integer(1, REQUESTS), Value("20"), Live, Now, "Fewer requests say nothing.";
    }
    #[doc = "`circuit_breaker.slow_rate`."]
    SLOW_RATE {
        "percent" Percent, Value("80%"), Live, Now, "The share at or above which it opens.";
        "slower_than" Duration(1), Value("2s"), Live, Now, "An answer whose head takes longer is slow.";
        "window" Duration(1), Value("10s"), Live, Now, "Over which time.";
        "min_requests" Integer(1, REQUESTS), Value("20"), Live, Now, "Fewer requests say nothing.";
    }
    #[doc = "`circuit_breaker.fallback`: a fixed answer, or another upstream."]
    FALLBACK {
        "status" Integer(200, 599), Value("503"), Live, Now, "Status code of the answer, 200 to 599.";
        "headers" Fields(&OneOrMore(&HeaderValue)), Absent, Live, Now, "Header fields: a value, or a list of them, for each name.";
        "body" Body, Value(""), Live, Now, "Sent as it is.";
        "upstream" Name, Absent, Live, Now, "Sends the request there instead. That upstream may have a breaker and a fallback of its own, but no circle of them.";
    }
}

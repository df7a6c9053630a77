//! The keys of who serves: probes and ejection.

use super::keys::tables;
use super::schema::Preset::Value;
use super::schema::Shape::{Duration, Integer, OneOrMore, Statuses, Target};
use super::schema::{Effect::Live, Key, Stage::Now};

const MANY: u64 = u32::MAX as u64;

tables! {
    #[doc = "`upstreams.*.health_check`."]
    HEALTH_CHECK {
        "path" Target, Value("/healthz"), Live, Now, "What each endpoint is asked for, by GET; a query may follow.";
        "interval" Duration(1), Value("5s"), Live, Now, "How often, a tenth more or less.";
        "timeout" Duration(1), Value("2s"), Live, Now, "How long a probe may take, from connecting to the end of the answer.";
        "healthy" Integer(1, 1000), Value("2"), Live, Now, "Good answers in a row until an endpoint that was left out serves again.";
        "unhealthy" Integer(1, 1000), Value("3"), Live, Now, "Bad answers in a row until it is left out; until then a new one serves.";
        "expect" OneOrMore(&Statuses), Value("200-299"), Live, Now, "Status codes of a good answer: `204`, `200-299`, or a list of such.";
    }
    #[doc = "`upstreams.*.ejection`."]
    EJECTION {
        "consecutive_failures" Integer(1, MANY), Value("3"), Live, Now, "Failures in a row until an endpoint is left out: no connection, a reset, no answer in time, a 5xx of its own.";
        "base" Duration(1), Value("30s"), Live, Now, "For how long, the first time; the n-th time n times as long, at most 10 times.";
        "max_percent" Integer(0, 100), Value("50"), Live, Now, "Most endpoints left out at once, of a hundred.";
    }
}

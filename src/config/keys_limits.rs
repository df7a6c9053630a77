//! The keys of rate limits: policies, where they are used, and the requests of one key at a time.

use super::keys::tables;
use super::schema::Preset::{Absent, Derived, Required, Value};
use super::schema::Shape::{
    AnyOf, Cost, Duration, Integer, KeyPart, Many, Name, Network, OneOrMore, OrOff, Rate, Secret,
    Table, Words,
};
use super::schema::{Effect::Live, Key, Stage::Now};

const MANY: u64 = u64::MAX;
/// Most buckets that one limit may ask for: 32 GiB of them.
const MOST_KEYS: u64 = 1 << 30;

tables! {
    #[doc = "One entry of `rate_limits`."]
    RATE_LIMIT {
        "key" OneOrMore(&KeyPart), Value("client_ip"), Live, Now, "Who shares a bucket: `client_ip`, `header:NAME`, `cookie:NAME`, `query:NAME`, `client_cert`, `host`, `path`, `method`, `route`, `connection` or `global`, or a list of them, which is one key.";
        "rate" Rate, Required, Live, Now, "How fast a bucket fills: so many tokens in that time.";
        "burst" Integer(1, MANY), Derived("the number in `rate`"), Live, Now, "Size of a bucket, which is full when its key is first seen.";
        "cost" Cost, Value("1"), Live, Now, "Tokens that a request takes: a number, or `header:NAME`, which the upstream's answer sets and which is charged afterwards.";
        "on_missing_key" Words(&["client_ip", "allow", "deny"], &[]), Value("client_ip"), Live, Now, "A request without the key is limited by its address, let through, or refused.";
        "ipv6_prefix" Integer(0, 128), Value("64"), Live, Now, "Bits of an IPv6 address that are one client.";
        "exempt" Many(&Network), Value("[]"), Live, Now, "Clients that are not limited: networks, `private` or `any`.";
        "max_wait" Duration(0), Value("0s"), Live, Now, "A request that comes too early waits for its turn, at most this long, instead of being refused at once.";
        "max_waiting" Integer(1, 1_000_000), Value("1000"), Live, Now, "Most requests that wait at once.";
        "max_keys" Integer(1, MOST_KEYS), Value("1000000"), Live, Now, "Most buckets; a full one is forgotten first, for that loses nothing.";
        "store" AnyOf(&[Words(&["local"], &[]), Table(LIMIT_STORE)]), Value("local"), Live, Now, "Where the buckets are: with this process, or `{redis: NAME}`.";
        "on_store_failure" Words(&["local", "allow", "deny"], &[]), Value("local"), Live, Now, "What holds while the store is away: buckets of this process, no limit, or 503.";
        "mode" Words(&["enforce", "observe"], &[]), Value("enforce"), Live, Now, "`observe` refuses nothing: what it would refuse is counted.";
        "candidate" Table(CANDIDATE), Absent, Live, Now, "A second rate that is computed beside the first, and only counted.";
        "headers" OrOff(&Words(&["refused", "always"], &[])), Value("refused"), Live, Now, "Which answers carry the fields RateLimit-Policy and RateLimit.";
    }
    #[doc = "`rate_limits.*.candidate`."]
    CANDIDATE {
        "rate" Rate, Required, Live, Now, "How fast a bucket would fill.";
        "burst" Integer(1, MANY), Derived("the number in `rate`"), Live, Now, "Size of a bucket.";
    }
    #[doc = "`rate_limits.*.store` as a map."]
    LIMIT_STORE {
        "redis" Name, Required, Live, Now, "One of `stores`.";
        "mode" Words(&["leased", "exact"], &[]), Value("leased"), Live, Now, "`exact` asks Redis for each request, `leased` takes tokens in batches.";
    }
    #[doc = "One entry of `rate_limits` of a listener or a route: `{limit: NAME}`, or a policy of its own."]
    USED_LIMIT {
        "limit" Name, Absent, Live, Now, "One of `rate_limits`; beside it only `cost`.";
        "name" Name, Derived("made from the owner's name and a hash of the key"), Live, Now, "What a policy of its own is called.";
        "key" OneOrMore(&KeyPart), Value("client_ip"), Live, Now, "This and all below as in `rate_limits`.";
        "rate" Rate, Absent, Live, Now, "How fast a bucket fills; needed without `limit`.";
        "burst" Integer(1, MANY), Derived("the number in `rate`"), Live, Now, "Size of a bucket.";
        "cost" Cost, Value("1"), Live, Now, "Tokens that a request takes here; beside `limit` it takes the place of the limit's own.";
        "on_missing_key" Words(&["client_ip", "allow", "deny"], &[]), Value("client_ip"), Live, Now, "What a request without the key is.";
        "ipv6_prefix" Integer(0, 128), Value("64"), Live, Now, "Bits of an IPv6 address that are one client.";
        "exempt" Many(&Network), Value("[]"), Live, Now, "Clients that are not limited.";
        "max_wait" Duration(0), Value("0s"), Live, Now, "Delays instead of refusing.";
        "max_waiting" Integer(1, 1_000_000), Value("1000"), Live, Now, "Most requests that wait at once.";
        "max_keys" Integer(1, MOST_KEYS), Value("1000000"), Live, Now, "Most buckets.";
        "store" AnyOf(&[Words(&["local"], &[]), Table(LIMIT_STORE)]), Value("local"), Live, Now, "Where the buckets are.";
        "on_store_failure" Words(&["local", "allow", "deny"], &[]), Value("local"), Live, Now, "What holds while the store is away.";
        "mode" Words(&["enforce", "observe"], &[]), Value("enforce"), Live, Now, "`observe` refuses nothing.";
        "candidate" Table(CANDIDATE), Absent, Live, Now, "A second rate that is only counted.";
        "headers" OrOff(&Words(&["refused", "always"], &[])), Value("refused"), Live, Now, "Which answers carry the fields RateLimit-Policy and RateLimit.";
    }
    #[doc = "One entry of `stores`."]
    STORE {
        "redis" Secret, Required, Live, Now, "`redis://host:6379`, or `rediss://` with TLS; `redis://user:password@host:port/database` in full.";
        "timeout" Duration(1), Value("20ms"), Live, Now, "How long an answer may take; who waits in vain falls back on `on_store_failure`.";
    }
    #[doc = "`routes[].max_in_flight` by key."]
    IN_FLIGHT {
        "key" OneOrMore(&KeyPart), Required, Live, Now, "Who shares the limit, as in `rate_limits`.";
        "limit" Integer(1, MANY), Required, Live, Now, "The limit.";
    }
}

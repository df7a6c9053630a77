//! The tables of the contract of which this version has nothing yet: they are known, so that they can be refused by name.

use super::keys::tables;
use super::schema::Preset::{Absent, Derived, Required, Value};
use super::schema::Shape::{
    AnyOf, Bind, Bool, Duration, Filled, Integer, List, Many, Map, Method, Name, Network,
    OneOrMore, OrOff, Percent, Rate, Secret, Size, Table, Text, Words,
};
use super::schema::{Effect::Live, Key, Stage::Later};

const MANY: u64 = u64::MAX;

tables! {
    #[doc = "`tracing`."]
    TRACING {
        "otlp" Text, Absent, Live, Later, "Where spans are sent.";
        "sample" Percent, Value("1%"), Live, Later, "The share of requests that is traced.";
        "propagate" List(&Words(&["w3c", "b3"], &[])), Value("[w3c, b3]"), Live, Later, "Header fields that carry the trace.";
    }
    #[doc = "`dns`."]
    DNS {
        "servers" List(&Bind), Derived("those of /etc/resolv.conf"), Live, Later, "Resolvers.";
        "min_ttl" Duration(0), Value("1s"), Live, Later, "Shorter times to live are raised to this.";
        "max_ttl" Duration(1), Value("5m"), Live, Later, "Longer ones are lowered to this.";
        "timeout" Duration(1), Value("2s"), Live, Later, "How long an answer may take.";
    }
    #[doc = "One entry of `rate_limits`."]
    RATE_LIMIT {
        "key" OneOrMore(&Text), Value("client_ip"), Live, Later, "Who shares a bucket.";
        "rate" Rate, Required, Live, Later, "How fast the bucket fills.";
        "burst" Integer(1, MANY), Derived("the number in `rate`"), Live, Later, "Size of the bucket.";
        "cost" AnyOf(&[Text]), Value("1"), Live, Later, "Tokens that a request takes.";
        "on_missing_key" Words(&["client_ip", "allow", "deny"], &[]), Value("client_ip"), Live, Later, "What a request without the key is.";
        "ipv6_prefix" Integer(0, 128), Value("64"), Live, Later, "Bits of an IPv6 address that are one client.";
        "exempt" Many(&Network), Value("[]"), Live, Later, "Networks that are not limited.";
        "max_wait" Duration(0), Value("0s"), Live, Later, "Delays instead of refusing.";
        "max_waiting" Integer(1, MANY), Value("1000"), Live, Later, "Most requests that are delayed at once.";
        "max_keys" Integer(1, MANY), Value("1000000"), Live, Later, "Most buckets.";
        "store" AnyOf(&[Words(&["local"], &[]), Map(&Text)]), Value("local"), Live, Later, "Where buckets are.";
        "on_store_failure" Words(&["local", "allow", "deny"], &[]), Value("local"), Live, Later, "What holds while the store is away.";
        "mode" Words(&["enforce", "observe"], &[]), Value("enforce"), Live, Later, "`observe` refuses nothing.";
        "candidate" Table(CANDIDATE), Absent, Live, Later, "A second limit that is only counted.";
        "headers" OrOff(&Words(&["refused", "always"], &[])), Value("refused"), Live, Later, "Which answers carry RateLimit fields.";
    }
    #[doc = "`rate_limits.*.candidate`."]
    CANDIDATE {
        "rate" Rate, Required, Live, Later, "How fast the bucket would fill.";
        "burst" Integer(1, MANY), Derived("the number in `rate`"), Live, Later, "Size of the bucket.";
    }
    #[doc = "One entry of `stores`."]
    STORE {
        "redis" Secret, Required, Live, Later, "URL of the store.";
        "timeout" Duration(1), Value("20ms"), Live, Later, "How long an answer may take.";
    }
    #[doc = "One entry of `auth`: exactly one of them."]
    AUTH {
        "jwt" Table(JWT), Absent, Live, Later, "JSON web tokens.";
        "api_key" Table(API_KEY), Absent, Live, Later, "Keys from a file.";
        "basic" Table(BASIC), Absent, Live, Later, "Names and passwords from a file.";
        "forward" Table(FORWARD), Absent, Live, Later, "Another server decides.";
        "client_cert" Table(&[]), Absent, Live, Later, "The certificate that the client showed.";
    }
    #[doc = "`auth.*.jwt`."]
    JWT {
        "jwks_url" Text, Absent, Live, Later, "URL of the keys.";
        "jwks_file" Text, Absent, Live, Later, "File of the keys.";
        "secret" Secret, Absent, Live, Later, "The shared key.";
        "issuer" Text, Absent, Live, Later, "Who must have issued it.";
        "audience" OneOrMore(&Text), Absent, Live, Later, "For whom it must be.";
        "algorithms" Filled(&Text), Absent, Live, Later, "Algorithms that are accepted.";
        "leeway" Duration(0), Value("60s"), Live, Later, "Clocks may differ by this.";
        "from" OneOrMore(&Text), Value("header"), Live, Later, "Where it is looked for.";
        "forward_claims" Map(&Text), Absent, Live, Later, "Claims that the upstream sees, by header field.";
    }
    #[doc = "`auth.*.api_key`."]
    API_KEY {
        "from" OneOrMore(&Text), Value("header:X-Api-Key"), Live, Later, "Where it is looked for.";
        "keys_file" Text, Required, Live, Later, "Map from consumer to hash.";
    }
    #[doc = "`auth.*.basic`."]
    BASIC {
        "users_file" Text, Required, Live, Later, "Map from user to hash.";
    }
    #[doc = "`auth.*.forward`."]
    FORWARD {
        "url" Text, Required, Live, Later, "Who is asked.";
        "timeout" Duration(1), Absent, Live, Later, "How long an answer may take.";
        "copy_headers" List(&Text), Value("[]"), Live, Later, "Fields of its answer that the upstream sees.";
        "on_failure" Words(&["deny", "allow"], &[]), Value("deny"), Live, Later, "What holds while it is away.";
    }
    #[doc = "`routes[].retry`."]
    RETRY {
        "attempts" Integer(0, 100), Value("1"), Live, Later, "Tries after the first.";
        "on" List(&Text), Value("[connect, refused_stream]"), Live, Later, "What is tried again.";
        "per_try_timeout" Duration(1), Absent, Live, Later, "How long one try may take.";
        "backoff" Table(BACKOFF), Absent, Live, Later, "Time between tries.";
    }
    #[doc = "`routes[].retry.backoff`."]
    BACKOFF {
        "base" Duration(0), Value("25ms"), Live, Later, "Before the second try.";
        "max" Duration(0), Value("1s"), Live, Later, "Never longer.";
    }
    #[doc = "`max_in_flight` and `max_per_key` by key."]
    PER_KEY {
        "key" OneOrMore(&Text), Required, Live, Later, "Who shares the limit.";
        "limit" Integer(1, MANY), Required, Live, Later, "The limit.";
    }
    #[doc = "`routes[].ip`."]
    IP {
        "allow" Many(&Network), Value("[]"), Live, Later, "Networks that are let in.";
        "deny" Many(&Network), Value("[]"), Live, Later, "Networks that are not.";
    }
    #[doc = "`routes[].cors`."]
    CORS {
        "origins" OneOrMore(&Text), Required, Live, Later, "Origins that may ask.";
        "methods" List(&Method), Absent, Live, Later, "Methods that they may use.";
        "headers" List(&Text), Absent, Live, Later, "Fields that they may send.";
        "expose" List(&Text), Absent, Live, Later, "Fields that they may read.";
        "credentials" Bool, Value("false"), Live, Later, "Whether cookies are sent.";
        "max_age" Duration(0), Absent, Live, Later, "How long the answer holds.";
    }
    #[doc = "`routes[].websocket`."]
    WEBSOCKET {
        "origins" OneOrMore(&Text), Value("same_host"), Live, Later, "Pages that may connect.";
        "ping_interval" OrOff(&Duration(1)), Value("30s"), Live, Later, "How often the client is pinged.";
        "ping_timeout" Duration(1), Value("10s"), Live, Later, "How long it may stay silent then.";
        "idle_timeout" OrOff(&Duration(1)), Derived("off while pings are on, else 300s"), Live, Later, "No byte either way.";
        "max_lifetime" OrOff(&Duration(1)), Value("24h"), Live, Later, "Then it is closed; 1012.";
        "max_message" OrOff(&AnyOf(&[Size(1, MANY), Table(MAX_MESSAGE)])), Absent, Live, Later, "Size of a message; 1009.";
        "message_rate" OrOff(&AnyOf(&[Name, Table(RATE_LIMIT)])), Value("off"), Live, Later, "How many messages; 1008.";
        "max_per_key" OrOff(&Table(PER_KEY)), Value("off"), Live, Later, "Most open sockets.";
        "on_reload" Words(&["keep", "drain"], &[]), Value("keep"), Live, Later, "What a reload does that takes its route away.";
        "drain_window" Duration(0), Value("30s"), Live, Later, "Over which closes are spread.";
        "compression" Words(&["pass", "strip"], &[]), Value("pass"), Live, Later, "Whether permessage-deflate is offered.";
    }
    #[doc = "`routes[].websocket.max_message`."]
    MAX_MESSAGE {
        "client" Size(1, MANY), Value("1MiB"), Live, Later, "From the client.";
        "upstream" Size(1, MANY), Value("16MiB"), Live, Later, "From the upstream.";
    }
    #[doc = "`routes[].fault`."]
    FAULT {
        "delay" Table(FAULT_DELAY), Absent, Live, Later, "Makes requests slow.";
        "abort" Table(FAULT_ABORT), Absent, Live, Later, "Makes requests fail.";
    }
    #[doc = "`routes[].fault.delay`."]
    FAULT_DELAY {
        "percent" Percent, Required, Live, Later, "The share of requests.";
        "for" Duration(1), Required, Live, Later, "How long.";
    }
    #[doc = "`routes[].fault.abort`."]
    FAULT_ABORT {
        "percent" Percent, Required, Live, Later, "The share of requests.";
        "status" Integer(400, 599), Required, Live, Later, "The answer.";
    }
    #[doc = "`routes[].compress`."]
    COMPRESS {
        "encodings" List(&Text), Absent, Live, Later, "Encodings, best first.";
        "min_bytes" Size(0, MANY), Absent, Live, Later, "Smaller answers stay as they are.";
    }
}

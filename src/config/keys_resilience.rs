//! The keys of resolving names, trying again and upgrading to WebSocket.

use super::keys::tables;
use super::keys_later::{MAX_MESSAGE, PER_KEY};
use super::keys_limits::RATE_LIMIT;
use super::schema::Preset::{Absent, Derived, Value};
use super::schema::Shape::{
    AnyOf, Duration, Integer, Many, Name, OneOrMore, OrOff, Origin, Resolver, RetryCause, Size,
    Table, Words,
};
use super::schema::{Effect::Live, Key, Stage::Later, Stage::Now};

const MANY: u64 = u64::MAX;

tables! {
    #[doc = "`dns`."]
    DNS {
        "servers" Many(&Resolver), Derived("those of /etc/resolv.conf"), Live, Now, "Resolvers, in the order in which they are asked: addresses, with their port where it is not 53.";
        "min_ttl" Duration(0), Value("1s"), Live, Now, "Shorter times to live are raised to this.";
        "max_ttl" Duration(1), Value("5m"), Live, Now, "Longer ones are lowered to this.";
        "timeout" Duration(1), Value("2s"), Live, Now, "How long an answer may take.";
    }
    #[doc = "`routes[].retry`."]
    RETRY {
        "attempts" Integer(0, 100), Value("1"), Live, Now, "Tries after the first, on another endpoint where there is one.";
        "on" Many(&RetryCause), Value("[connect, refused_stream]"), Live, Now, "What is tried again; for idempotent methods also `reset`, `timeout`, 500, 502, 503 and 504.";
        "per_try_timeout" OrOff(&Duration(1)), Value("off"), Live, Now, "How long one try may take, until its answer's head; 504.";
        "backoff" OrOff(&Table(BACKOFF)), Absent, Live, Now, "Time between tries, drawn at random from 0 up to it.";
    }
    #[doc = "`routes[].retry.backoff`."]
    BACKOFF {
        "base" Duration(0), Value("25ms"), Live, Now, "Most before the first retry; it doubles from one to the next.";
        "max" Duration(0), Value("1s"), Live, Now, "Most before any retry; not below `base`.";
    }
    #[doc = "`routes[].websocket`."]
    WEBSOCKET {
        "origins" OneOrMore(&Origin), Value("same_host"), Live, Now, "Pages that may connect: `same_host`, `any`, `https://example.com`, `https://*.example.com`; others get 403.";
        "ping_interval" OrOff(&Duration(1)), Value("30s"), Live, Later, "How often the client is pinged.";
        "ping_timeout" Duration(1), Value("10s"), Live, Later, "How long it may stay silent then.";
        "idle_timeout" OrOff(&Duration(1)), Value("300s"), Live, Now, "No byte either way.";
        "max_lifetime" OrOff(&Duration(1)), Value("24h"), Live, Later, "Then it is closed; 1012.";
        "max_message" OrOff(&AnyOf(&[Size(1, MANY), Table(MAX_MESSAGE)])), Absent, Live, Later, "Size of a message; 1009.";
        "message_rate" OrOff(&AnyOf(&[Name, Table(RATE_LIMIT)])), Value("off"), Live, Later, "How many messages; 1008.";
        "max_per_key" OrOff(&Table(PER_KEY)), Value("off"), Live, Later, "Most open sockets.";
        "on_reload" Words(&["keep", "drain"], &[]), Value("keep"), Live, Later, "What a reload does that takes its route away.";
        "drain_window" Duration(0), Value("30s"), Live, Later, "Over which closes are spread.";
        "compression" Words(&["pass", "strip"], &[]), Value("pass"), Live, Later, "Whether permessage-deflate is offered.";
    }
}

//! The tables of the contract of which this version has nothing yet: they are known, so that they can be refused by name.

use super::keys::tables;
use super::schema::Preset::{Absent, Required, Value};
use super::schema::Shape::{
    Bool, Duration, Filled, Integer, List, Many, Map, Method, Network, OneOrMore, Percent, Secret,
    Size, Table, Text, Words,
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
    #[doc = "`max_per_key`."]
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

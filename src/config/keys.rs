//! Every key of the contract: the one table from which files are checked, defaults taken and documentation made.
//! It begins at `ROOT`; tables of which this version has nothing yet are in `keys_later`.

use super::keys_breaker::*;
use super::keys_health::*;
use super::keys_later::*;
use super::keys_limits::*;
use super::keys_resilience::*;
use super::schema::Preset::{Absent, Derived, Required, Value};
use super::schema::Shape::{
    AnyFields, AnyOf, Authority, Bind, Body, Bool, CookieName, Duration, Endpoint, FieldName,
    Fields, Filled, HeaderValue, Host, Integer, KeyPart, List, LogFormat, LogKey, Many, Map,
    Method, Name, Names, Network, Numbers, OneOrMore, OrAuto, OrOff, Path, Percent, PlainHost,
    Regex, Secret, Size, Table, Text, Words,
};
use super::schema::{Effect::Live, Effect::Restart, Key, Stage::Later, Stage::Now};

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const MANY: u64 = u64::MAX;

macro_rules! tables {
    ($(#[doc = $about:literal] $table:ident { $($name:literal $shape:expr, $preset:expr, $effect:ident, $stage:ident, $doc:literal;)* })*) => {
        $(#[doc = $about] pub(super) const $table: &[Key] = &[
            $(Key { name: $name, shape: $shape, preset: $preset, effect: $effect, stage: $stage, doc: $doc }),*
        ];)*
    };
}

pub(super) use tables;

tables! {
    #[doc = "The file itself."]
    ROOT {
        "include" OneOrMore(&Text), Absent, Live, Now, "More files with routes and upstreams, such as `routes.d/*.yaml`; beside this file.";
        "listeners" Filled(&Table(LISTENER)), Required, Live, Now, "Where requests come in.";
        "admin" OrOff(&Table(ADMIN)), Absent, Live, Now, "The operator's port: health, metrics, the state of everything.";
        "workers" OrAuto(&Integer(1, 256)), Value("auto"), Restart, Now, "Worker threads; `auto` is one per core that the process may use.";
        "dns" Table(DNS), Absent, Live, Now, "How host names of endpoints are resolved.";
        "upstreams" Names(&Table(UPSTREAM)), Absent, Live, Now, "Named groups of endpoints that requests are sent to.";
        "route_defaults" Table(ROUTE), Absent, Live, Now, "Merged under every route, key by key: what a route says itself wins.";
        "routes" List(&Table(ROUTE)), Absent, Live, Now, "Which request goes where; the most specific match wins, then the earlier one.";
        "drain" Table(DRAIN), Absent, Live, Now, "What SIGTERM does.";
        "logging" Table(LOGGING), Absent, Live, Now, "The control log and the access log.";
        "errors" AnyOf(&[Words(&["full", "reason"], &[]), Table(ERRORS)]), Absent, Live, Now, "Answers that the gateway makes itself.";
        "limits_memory" Size(MIB, MANY), Value("256MiB"), Live, Now, "Bounds all limiter state together.";
        "rate_limits" Names(&Table(RATE_LIMIT)), Absent, Live, Now, "Named limits, shared by all that name them.";
        "stores" Names(&Table(STORE)), Absent, Live, Now, "Where limits that several gateways share are kept.";
        "auth" Names(&Table(AUTH)), Absent, Live, Later, "Named providers that say who a client is.";
        "tracing" Table(TRACING), Absent, Live, Later, "Spans for a collector.";
    }
    #[doc = "One entry of `listeners`."]
    LISTENER {
        "name" Name, Derived("made from the first bind"), Live, Now, "The listener's name in metrics and logs.";
        "bind" OneOrMore(&Bind), Required, Live, Now, "Address and port, or a list; `[::]:8080` takes IPv4 too.";
        "protocols" Filled(&Words(&["http1", "http2"], &[])), Value("[http1, http2]"), Live, Now, "What is spoken; http2 on clear text by prior knowledge.";
        "trusted_proxies" Many(&Network), Value("[]"), Live, Now, "Whose X-Forwarded-* and Forwarded are believed: networks, `private` or `any`.";
        "proxy_protocol" Bool, Value("false"), Live, Now, "A PROXY protocol header, v1 or v2, is required from trusted proxies.";
        "timeouts" Table(LISTENER_TIMEOUTS), Absent, Live, Now, "Deadlines of client connections.";
        "limits" Table(LISTENER_LIMITS), Absent, Live, Now, "Bounds of client connections.";
        "tls" Table(TLS), Absent, Live, Now, "Serves HTTPS, and nothing else; without it clear text.";
        "rate_limits" OrOff(&List(&AnyOf(&[Name, Table(USED_LIMIT)]))), Value("[]"), Live, Now, "Limits applied before routing: names, `{limit: NAME, cost: 5}`, or policies written here. All must admit.";
    }
    #[doc = "`listeners[].tls`."]
    TLS {
        "certificates" Filled(&Table(CERTIFICATE)), Required, Live, Now, "Certificates, chosen by the name that a client asks for (SNI), and by the kinds of keys that it knows where several have that name; the first is for all others.";
        "strict_sni" Bool, Value("false"), Live, Now, "Refuses clients that ask for a name that no certificate has, or for none.";
        "min_version" Words(&["1.2", "1.3"], &[]), Value("1.2"), Live, Now, "The oldest TLS version that is spoken.";
        "client_auth" OrOff(&Table(CLIENT_AUTH)), Value("off"), Live, Now, "Asks clients for a certificate.";
    }
    #[doc = "`listeners[].tls.certificates[]`."]
    CERTIFICATE {
        "cert" Text, Required, Live, Now, "PEM file: the server's own certificate first, then those that signed it. Relative to this file; a change is live within 2 s.";
        "key" Text, Required, Live, Now, "PEM file with its key: RSA, ECDSA or Ed25519.";
    }
    #[doc = "`listeners[].tls.client_auth`."]
    CLIENT_AUTH {
        "ca" Text, Required, Live, Now, "PEM file with the authorities that are believed; a change ends the resumption of sessions.";
        "mode" Words(&["require", "optional"], &[]), Value("require"), Live, Now, "Whether a certificate must be shown.";
    }
    #[doc = "`listeners[].timeouts`."]
    LISTENER_TIMEOUTS {
        "first_byte" OrOff(&Duration(1)), Value("10s"), Live, Now, "A new connection that says nothing is closed.";
        "request_head" OrOff(&Duration(1)), Value("10s"), Live, Now, "The whole head, from its first byte; 408.";
        "request_body" OrOff(&Duration(1)), Value("30s"), Live, Now, "Longest gap between two reads of the body, until the answer's head; 408.";
        "write" OrOff(&Duration(1)), Value("30s"), Live, Now, "Longest time without progress while there is something to write.";
        "idle" OrOff(&Duration(1)), Value("60s"), Live, Now, "A kept-alive connection without a request.";
        "tls_handshake" OrOff(&Duration(1)), Value("5s"), Live, Now, "The whole TLS handshake.";
    }
    #[doc = "`listeners[].limits`."]
    LISTENER_LIMITS {
        "min_body_rate" OrOff(&Table(MIN_BODY_RATE)), Absent, Live, Now, "Slower uploads are cut; 408.";
        "connections" OrOff(&Integer(1, MANY)), Derived("(open-file limit - 256) / 2, shared by all listeners"), Live, Now, "Beyond it new connections are refused at once.";
        "connections_per_ip" OrOff(&Integer(1, MANY)), Value("off"), Live, Now, "The same for one client address.";
        "head_bytes" Size(KIB, MIB), Value("32KiB"), Live, Now, "Size of a request head; 431.";
        "headers" Integer(1, 1000), Value("100"), Live, Now, "Fields of a request head; 431.";
        "uri_bytes" Size(64, 64 * KIB), Value("8KiB"), Live, Now, "Size of a request target; 414.";
        "requests_per_connection" OrOff(&Integer(1, MANY)), Value("10000"), Live, Now, "Then the connection is closed in good order.";
        "h2_streams" Integer(1, 10_000), Value("100"), Live, Now, "Concurrent HTTP/2 streams of a connection.";
    }
    #[doc = "`listeners[].limits.min_body_rate`."]
    MIN_BODY_RATE {
        "bytes_per_second" Integer(1, MANY), Value("500"), Live, Now, "What an upload must reach.";
        "after" Duration(0), Value("10s"), Live, Now, "Time waited for the client before the rate is looked at.";
    }
    #[doc = "`admin`."]
    ADMIN {
        "bind" Bind, Value("127.0.0.1:9901"), Live, Now, "Its address and port.";
        "token" OrOff(&Secret), Value("off"), Live, Now, "Bearer token, asked for by all but /healthz, /readyz and /metrics.";
    }
    #[doc = "One entry of `upstreams`."]
    UPSTREAM {
        "endpoints" Filled(&AnyOf(&[Endpoint, Table(ENDPOINT)])), Required, Live, Now, "`http://host:port` by address or name, or `{url: …, weight: …}`; a name gives one endpoint for each of its addresses.";
        "balance" AnyOf(&[Words(&["least_requests", "round_robin", "random", "latency"], &[]), Table(BALANCE)]), Value("least_requests"), Live, Now, "How an endpoint is chosen: a word, `{hash: …}` or `{sticky_cookie: …}`.";
        "timeouts" Table(UPSTREAM_TIMEOUTS), Absent, Live, Now, "Deadlines towards the endpoints.";
        "pool" Table(POOL), Absent, Live, Now, "Connections to the endpoints.";
        "max_in_flight" OrOff(&Integer(1, 1_000_000)), Value("1024"), Live, Now, "Bulkhead: most requests at once whose answer's head has not come, or whose answer is younger than `stream_stable_after`; 503 beyond. Uploads of slow clients leave it.";
        "queue" Table(QUEUE), Absent, Live, Now, "Where requests beyond `max_in_flight` wait.";
        "tls" Table(UPSTREAM_TLS), Absent, Live, Now, "How endpoints are verified.";
        "health_check" OrOff(&Table(HEALTH_CHECK)), Value("off"), Live, Now, "Active probes of each endpoint, beside all requests; `{}` means all defaults.";
        "ejection" OrOff(&Table(EJECTION)), Absent, Live, Now, "An endpoint that fails several times in a row is left out for a while; at least one stays.";
        "circuit_breaker" OrOff(&Table(CIRCUIT_BREAKER)), Value("off"), Live, Now, "Leaves an upstream that fails alone, and tries it again with care; `{}` means all its defaults. While it is open: 503 with `Retry-After`.";
        "retry_budget" OrOff(&Table(RETRY_BUDGET)), Absent, Live, Now, "Bounds retries to this upstream, of all routes together.";
        "panic_below" OrOff(&Percent), Value("off"), Live, Now, "Below this share of endpoints that serve all are used again, whatever probes and failures say of them.";
        "slow_start" OrOff(&Duration(1)), Value("off"), Live, Now, "Time over which an endpoint that came, or came back, grows from a tenth to its full share.";
        "failover" List(&Name), Absent, Live, Now, "Upstreams that take over, in this order, while no endpoint may serve; needs a `health_check`.";
    }
    #[doc = "One entry of `upstreams.*.endpoints`."]
    ENDPOINT {
        "url" Endpoint, Required, Live, Now, "`http://host:port`, by address or name; without a port 80.";
        "weight" Integer(0, 1000), Value("1"), Live, Now, "Its share beside the others'; 0 takes no request. Not 0 for all.";
        "zone" Text, Absent, Live, Later, "Where it stands.";
    }
    #[doc = "`upstreams.*.balance` as a map."]
    BALANCE {
        "hash" OneOrMore(&KeyPart), Absent, Live, Now, "One endpoint for one key: `client_ip`, `header:NAME`, `cookie:NAME`, `query:NAME`, `client_cert`, `host`, `path`, `method`, `route`, `connection` or `global`, or a list of them. Where endpoints change, only their keys move; a request without the key goes as by `least_requests`.";
        "sticky_cookie" Table(STICKY), Absent, Live, Now, "A cookie of the gateway's own names the endpoint; without one of an endpoint that serves, a request goes as by `least_requests`.";
    }
    #[doc = "`upstreams.*.balance.sticky_cookie`."]
    STICKY {
        "name" CookieName, Required, Live, Now, "What the gateway's cookie is called.";
        "ttl" OrOff(&Duration(1)), Value("off"), Live, Now, "How long the client keeps it; `off` is as long as its session.";
    }
    #[doc = "`upstreams.*.timeouts`."]
    UPSTREAM_TIMEOUTS {
        "connect" OrOff(&Duration(1)), Value("2s"), Live, Now, "Connecting; 504.";
        "response" OrOff(&Duration(1)), Value("30s"), Live, Now, "From the last request byte sent to the answer's head; 504.";
        "body" OrOff(&Duration(1)), Value("300s"), Live, Now, "No byte in either direction after the head.";
        "idle" OrOff(&Duration(1)), Value("30s"), Live, Now, "A kept connection without a request.";
    }
    #[doc = "`upstreams.*.pool`."]
    POOL {
        "max_idle_per_endpoint" Integer(1, 1_000_000), Value("100"), Live, Now, "Idle connections kept beyond a moment's rest, divided over the workers, at least 4 each.";
        "max_age" OrOff(&Duration(1)), Value("10m"), Live, Now, "An older connection takes no further request.";
        "max_connections_per_endpoint" OrOff(&Integer(1, MANY)), Value("off"), Live, Now, "Most connections to one endpoint, shared by the workers; not below one for each.";
    }
    #[doc = "`upstreams.*.queue`."]
    QUEUE {
        "size" Integer(0, 1_000_000), Value("0"), Live, Now, "Most requests that wait.";
        "timeout" Duration(1), Value("1s"), Live, Now, "How long one waits; 503.";
    }
    #[doc = "`upstreams.*.tls`."]
    UPSTREAM_TLS {
        "ca" Text, Absent, Live, Now, "PEM file with the authorities that are believed.";
        "server_name" PlainHost, Derived("the endpoint's host name"), Live, Now, "The name that is verified and sent as SNI.";
        "client_cert" Text, Absent, Live, Now, "PEM file with the gateway's own certificate.";
        "client_key" Text, Absent, Live, Now, "PEM file with its key.";
        "insecure_skip_verify" Bool, Value("false"), Live, Now, "Believes everybody.";
    }
    #[doc = "`upstreams.*.retry_budget`."]
    RETRY_BUDGET {
        "percent" Percent, Value("20%"), Live, Now, "Retries as a share of requests.";
        "min_per_second" Integer(0, 1_000_000), Value("3"), Live, Now, "Retries that are always allowed, however few the requests.";
    }
    #[doc = "One entry of `routes`."]
    ROUTE {
        "name" Name, Derived("made from host, path, method and a hash of the match"), Live, Now, "The route's name in metrics and logs.";
        "listeners" OneOrMore(&Name), Derived("all"), Live, Now, "The listeners that the route is served on.";
        "match" OneOrMore(&Table(MATCH)), Derived("every request"), Live, Now, "One match, or a list of which any suffices.";
        "upstream" AnyOf(&[Name, Names(&Integer(0, 1_000_000))]), Absent, Live, Now, "Sends the request there: a name, or names with weights. One of upstream, respond, redirect is needed.";
        "respond" Table(RESPOND), Absent, Live, Now, "Answers with a fixed answer.";
        "redirect" Table(REDIRECT), Absent, Live, Now, "Sends the client elsewhere; what is not said comes from the request.";
        "rewrite" Table(REWRITE), Absent, Live, Now, "Changes path and host on the way to the upstream.";
        "request_headers" Table(CHANGES), Absent, Live, Now, "Changes header fields of the request: remove, then set, then add.";
        "response_headers" Table(CHANGES), Absent, Live, Now, "Changes header fields of the answer: remove, then set, then add.";
        "timeouts" Table(ROUTE_TIMEOUTS), Absent, Live, Now, "Deadlines of this route.";
        "retry" OrOff(&Table(RETRY)), Absent, Live, Now, "When a request is tried again.";
        "rate_limits" OrOff(&List(&AnyOf(&[Name, Table(USED_LIMIT)]))), Value("[]"), Live, Now, "Limits, all of which must admit: names, `{limit: NAME, cost: 5}`, or policies written here; 429.";
        "max_in_flight" OrOff(&AnyOf(&[Integer(1, MANY), Table(IN_FLIGHT)])), Value("off"), Live, Now, "Most requests at once, of all or `{key, limit}` of one key; 429 beyond.";
        "auth" List(&Text), Value("[]"), Live, Later, "Providers, any of which suffices.";
        "ip" Table(IP), Absent, Live, Later, "Which clients are let in.";
        "cors" Table(CORS), Absent, Live, Later, "Cross-origin requests of browsers.";
        "max_body" OrOff(&Size(0, MANY)), Value("10MiB"), Live, Now, "Size of a request body; 413.";
        "mirror" OneOrMore(&Table(MIRROR)), Absent, Live, Now, "Sends copies elsewhere; their answers are thrown away.";
        "websocket" OrOff(&Table(WEBSOCKET)), Absent, Live, Now, "Upgrades to WebSocket are let through; `off` refuses them, 403.";
        "priority" Words(&["critical", "normal", "sheddable"], &[]), Value("normal"), Live, Later, "What is kept under overload.";
        "fault" Table(FAULT), Absent, Live, Later, "Breaks requests on purpose.";
        "compress" Table(COMPRESS), Absent, Live, Later, "Compresses answers.";
    }
    #[doc = "`routes[].match`: all of its parts hold."]
    MATCH {
        "hosts" OneOrMore(&Host), Derived("any"), Live, Now, "Names, or `*.example.com`; the port is ignored.";
        "path" Path, Absent, Live, Now, "The whole path.";
        "path_prefix" Path, Value("/"), Live, Now, "Whole segments of its beginning: `/a` matches `/a` and `/a/b`, not `/ab`.";
        "path_regex" Regex, Absent, Live, Now, "A regular expression that the whole path matches.";
        "methods" OneOrMore(&Method), Derived("any"), Live, Now, "Methods, in upper case.";
        "headers" AnyFields(&AnyOf(&[Body, Table(VALUE)])), Absent, Live, Now, "Header fields: an exact value, `{regex: …}` or `{present: true}`.";
        "query" Map(&AnyOf(&[Body, Table(VALUE)])), Absent, Live, Now, "Query parameters, likewise; the first of a name counts.";
    }
    #[doc = "A value of `match.headers` or `match.query`: exactly one of them."]
    VALUE {
        "regex" Regex, Absent, Live, Now, "A regular expression that the whole value matches.";
        "present" Bool, Absent, Live, Now, "Whether it is there at all.";
    }
    #[doc = "`routes[].rewrite`."]
    REWRITE {
        "path_prefix" Path, Absent, Live, Now, "Takes the place of what the route's own path_prefix matched.";
        "path" Path, Absent, Live, Now, "The whole new path; the query stays.";
        "path_regex" Table(REPLACE), Absent, Live, Now, "Replaces what a pattern finds.";
        "host" Authority, Derived("the client's"), Live, Now, "The Host that the upstream sees; `upstream` is the endpoint's own.";
    }
    #[doc = "`routes[].rewrite.path_regex`."]
    REPLACE {
        "pattern" Regex, Required, Live, Now, "What is looked for, anywhere in the path.";
        "replace" Body, Required, Live, Now, "What takes its place; `$1` and `$name` stand for groups.";
    }
    #[doc = "`routes[].request_headers` and `routes[].response_headers`, in this order."]
    CHANGES {
        "remove" Many(&FieldName), Value("[]"), Live, Now, "Fields that are taken away.";
        "set" Fields(&HeaderValue), Absent, Live, Now, "Fields that have this value, whatever was there.";
        "add" Fields(&OneOrMore(&HeaderValue)), Absent, Live, Now, "Fields that are added to those there are.";
    }
    #[doc = "`routes[].mirror`, or one entry of it."]
    MIRROR {
        "upstream" Name, Required, Live, Now, "Where copies go.";
        "percent" Percent, Value("100%"), Live, Now, "The share of requests that is copied.";
    }
    #[doc = "`routes[].respond`."]
    RESPOND {
        "status" Integer(200, 599), Value("200"), Live, Now, "Status code, 200 to 599.";
        "headers" Fields(&OneOrMore(&HeaderValue)), Absent, Live, Now, "Header fields: a value, or a list of them, for each name.";
        "body" Body, Value(""), Live, Now, "Sent as it is.";
    }
    #[doc = "`routes[].redirect`."]
    REDIRECT {
        "scheme" Words(&["http", "https"], &[]), Derived("the request's"), Live, Now, "`http` or `https`.";
        "host" PlainHost, Derived("the request's"), Live, Now, "Host, without port.";
        "port" Integer(1, 65_535), Derived("the listener's, if no scheme is set"), Live, Now, "Port.";
        "path" Path, Derived("the request's"), Live, Now, "The whole new path; the query is dropped.";
        "path_prefix" Path, Absent, Live, Now, "Takes the place of what the route's own path_prefix matched.";
        "status" Numbers(&[301, 302, 303, 307, 308]), Value("302"), Live, Now, "301, 302, 303, 307 or 308.";
    }
    #[doc = "`routes[].timeouts`."]
    ROUTE_TIMEOUTS {
        "request" OrOff(&Duration(1)), Value("off"), Live, Now, "The whole exchange, from head to last byte; 504.";
        "response" OrOff(&Duration(1)), Derived("the upstream's"), Live, Now, "Overrides the upstream's.";
        "body" OrOff(&Duration(1)), Derived("the upstream's"), Live, Now, "Overrides the upstream's.";
    }
    #[doc = "`drain`, both counted from SIGTERM."]
    DRAIN {
        "delay" Duration(0), Value("5s"), Live, Now, "How long connections are still accepted.";
        "deadline" Duration(0), Value("25s"), Live, Now, "When what is left is cut; not before `delay`.";
    }
    #[doc = "`logging`."]
    LOGGING {
        "level" Words(&["error", "warn", "info", "debug", "trace"], &[]), Value("info"), Live, Now, "Of the control log: error, warn, info, debug or trace.";
        "access" OrOff(&Table(ACCESS)), Absent, Live, Now, "One line for each request.";
    }
    #[doc = "`logging.access`."]
    ACCESS {
        "format" LogFormat, Value("json"), Live, Now, "`json`, or a text such as `{method} {path} {status}`.";
        "path" Text, Value("stdout"), Live, Now, "`stdout`, or a file that is appended to.";
        "sample" Percent, Value("100%"), Live, Now, "The share of requests that is logged; failed ones always are.";
        "fields" Filled(&LogKey), Derived("all"), Live, Now, "Which keys a line of JSON has, in this order.";
    }
    #[doc = "`errors` as a map."]
    ERRORS {
        "detail" Words(&["full", "reason"], &[]), Value("full"), Live, Now, "`full` names upstreams and limits, `reason` hides them.";
    }
}

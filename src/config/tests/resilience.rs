//! Endpoints by name and weight, resolvers, balances, retries, WebSocket.

use super::*;
use crate::http::key::{Key, Part};

/// A file with this upstream and, for the only route, these keys.
fn file(upstream: &str, route: &str) -> String {
    format!(
        "{LISTENER}upstreams: {{ app: {{ {upstream} }} }}\nroutes: [{{ name: one, upstream: app{route} }}]\n"
    )
}

const ENDPOINTS: &str = "endpoints: [\"http://app\"]";

fn upstream(text: &str) -> Upstream {
    meaning(&file(text, "")).upstreams.remove(0)
}

fn balance(text: &str) -> Balance {
    upstream(&format!("{ENDPOINTS}, balance: {text}")).balance
}

fn route(text: &str) -> Route {
    let text = file(ENDPOINTS, &format!(", {text}"));
    meaning(&text).routes.remove(0)
}

/// Messages about a route with these keys.
fn of_route(text: &str) -> Vec<String> {
    problems(&file(ENDPOINTS, &format!(", {text}")))
}

fn of_upstream(text: &str) -> Vec<String> {
    problems(&file(text, ""))
}

fn millis(n: u64) -> Duration {
    Duration::from_millis(n)
}

#[test]
fn endpoints_have_names_and_weights() {
    let upstream = upstream(
        "endpoints: [\"http://App.Internal.:81/\", { url: \"http://10.0.0.1\", weight: 0 }, { url: \"http://localhost\", weight: 1000 }]",
    );
    let found: Vec<_> = upstream
        .endpoints
        .iter()
        .map(|e| (e.host.to_string(), e.port, e.weight, e.authority.as_str()))
        .collect();
    let expected = [
        ("app.internal".to_owned(), 81, 1, "App.Internal.:81"),
        ("10.0.0.1".into(), 80, 0, "10.0.0.1"),
        ("localhost".into(), 80, 1000, "localhost"),
    ];
    assert_eq!(found, expected);
    assert_eq!(
        upstream.endpoints[0].host,
        EndpointHost::Name("app.internal".into())
    );
}

#[test]
fn one_endpoint_stands_once() {
    for (first, second) in [
        ("http://app", "http://APP.:80/"),
        ("http://10.0.0.1", "http://10.0.0.1:80"),
        ("http://[::ffff:10.0.0.1]", "http://10.0.0.1"),
    ] {
        let found = of_upstream(&format!("endpoints: [\"{first}\", \"{second}\"]"));
        assert_eq!(found.len(), 1, "{first} {second}: {found:?}");
        assert!(found[0].ends_with("is listed twice"), "{found:?}");
    }
    let apart = "endpoints: [\"http://app\", \"http://app:81\", \"http://app.test\", \"http://127.0.0.1\", \"http://localhost\"]";
    assert_eq!(of_upstream(apart), [""; 0]);
}

#[test]
fn somebody_takes_the_requests() {
    let none = "endpoints: [{ url: \"http://a\", weight: 0 }, { url: \"http://b\", weight: 0 }]";
    assert_eq!(of_upstream(none), ["2:32 all weights are 0"]);
    // What is wrong beside it may be the endpoint that was meant to take them.
    let broken = "endpoints: [{ url: \"http://a\", weight: 0 }, { url: \"b\" }]";
    assert_eq!(of_upstream(broken), ["2:72 `b` has no scheme"]);
}

#[test]
fn all_balances_are_read() {
    for (word, balance) in [
        ("round_robin", Balance::RoundRobin),
        ("least_requests", Balance::LeastRequests),
        ("random", Balance::Random),
        ("latency", Balance::Latency),
    ] {
        assert_eq!(self::balance(word), balance);
    }
    let key = |parts: &[Part]| Balance::Hash(Key::new(parts.to_vec()));
    assert_eq!(balance("{ hash: client_ip }"), key(&[Part::ClientIp]));
    let tenant = Part::Header(http::HeaderName::from_static("x-tenant"));
    assert_eq!(
        balance("{ hash: [host, header:X-Tenant] }"),
        key(&[Part::Host, tenant])
    );
    let cookie = |ttl| Balance::StickyCookie {
        name: "sid".into(),
        ttl,
    };
    let hour = Some(Duration::from_secs(3600));
    assert_eq!(
        balance("{ sticky_cookie: { name: sid, ttl: 1h } }"),
        cookie(hour)
    );
    assert_eq!(balance("{ sticky_cookie: { name: sid } }"), cookie(None));
    assert_eq!(
        balance("{ sticky_cookie: { name: sid, ttl: off } }"),
        cookie(None)
    );
}

#[test]
fn the_names_of_the_system_are_resolved_as_the_file_says() {
    let text = format!(
        "{LISTENER}dns: {{ servers: [10.0.0.2, \"[::1]:5353\"], min_ttl: 0s, max_ttl: 1ms, timeout: 250ms }}"
    );
    let expected = Dns {
        servers: vec![
            "10.0.0.2:53".parse().unwrap(),
            "[::1]:5353".parse().unwrap(),
        ],
        min_ttl: Duration::ZERO,
        max_ttl: millis(1),
        timeout: millis(250),
    };
    assert_eq!(meaning(&text).dns, expected);
    let one = meaning(&format!("{LISTENER}dns: {{ servers: 10.0.0.2 }}")).dns;
    assert_eq!(one.servers, expected.servers[..1]);
}

#[test]
fn connections_and_budgets_can_be_bounded_or_not() {
    let full = upstream(&format!(
        "{ENDPOINTS}, pool: {{ max_connections_per_endpoint: 500 }}, retry_budget: {{ percent: 0.5%, min_per_second: 0 }}"
    ));
    assert_eq!(full.pool.max_connections_per_endpoint, Some(500));
    let budget = RetryBudget {
        per_million: 5_000,
        min_per_second: 0,
    };
    assert_eq!(full.retry_budget, Some(budget));
    let none = upstream(&format!(
        "{ENDPOINTS}, pool: {{ max_connections_per_endpoint: off }}, retry_budget: off"
    ));
    assert_eq!(none.pool.max_connections_per_endpoint, None);
    assert_eq!(none.retry_budget, None);
}

#[test]
fn retries_are_read() {
    let found = route(
        "retry: { attempts: 3, on: [reset, 503, \"504\", timeout], per_try_timeout: 2s, backoff: { base: 10ms, max: 10ms } }",
    );
    let expected = Retry {
        attempts: 3,
        on: vec![
            RetryOn::Reset,
            RetryOn::Status(503),
            RetryOn::Status(504),
            RetryOn::Timeout,
        ],
        per_try_timeout: Some(Duration::from_secs(2)),
        backoff: Backoff {
            base: millis(10),
            max: millis(10),
        },
    };
    assert_eq!(found.retry, expected);
    for off in ["retry: off", "retry: false", "retry: { attempts: 0 }"] {
        assert_eq!(route(off).retry.attempts, 0, "{off}");
    }
    let zero = Backoff {
        base: Duration::ZERO,
        max: Duration::ZERO,
    };
    assert_eq!(route("retry: { backoff: off }").retry.backoff, zero);
    assert_eq!(route("retry: { on: connect }").retry.on, [RetryOn::Connect]);
    assert_eq!(route("retry: { on: [] }").retry.on, []);
}

#[test]
fn websockets_are_read() {
    for off in ["websocket: off", "websocket: false"] {
        assert_eq!(route(off).websocket, None);
    }
    let found = route("websocket: { origins: [same_host, \"*.example.com\"], idle_timeout: off }");
    let below = Origin::Subdomains {
        scheme: None,
        suffix: ".example.com".into(),
        port: None,
    };
    let expected = WebSocket {
        origins: vec![Origin::SameHost, below],
        idle_timeout: None,
    };
    assert_eq!(found.websocket, Some(expected));
    let empty = route("websocket: {}").websocket;
    assert_eq!(empty, route("max_body: 1B").websocket);
    let any = route("websocket: { origins: any }").websocket;
    assert_eq!(any.unwrap().origins, [Origin::Any]);
}

#[test]
fn defaults_lie_under_retries_and_websockets() {
    let text = format!(
        "{LISTENER}upstreams: {{ app: {{ {ENDPOINTS} }} }}
route_defaults:
  upstream: app
  retry: {{ attempts: 2, on: [reset], backoff: {{ max: 2s }} }}
  websocket: {{ origins: any, idle_timeout: 1m }}
routes:
- {{ match: {{ path: /a }} }}
- {{ match: {{ path: /b }}, retry: {{ on: [502], backoff: {{ base: 1s }} }}, websocket: {{ origins: a.test }} }}
- {{ match: {{ path: /c }}, retry: off, websocket: off }}
"
    );
    let [a, b, c] = meaning(&text).routes.try_into().unwrap();
    assert_eq!((a.retry.attempts, b.retry.attempts), (2, 2));
    assert_eq!(c.retry.attempts, 0);
    assert_eq!(a.retry.on, [RetryOn::Reset]);
    assert_eq!(b.retry.on, [RetryOn::Status(502)]);
    let times = |route: &Route| (route.retry.backoff.base, route.retry.backoff.max);
    assert_eq!(times(&a), (millis(25), millis(2000)));
    assert_eq!(times(&b), (millis(1000), millis(2000)));
    let minute = Some(Duration::from_secs(60));
    let (a, b) = (a.websocket.unwrap(), b.websocket.unwrap());
    assert_eq!((a.idle_timeout, b.idle_timeout), (minute, minute));
    assert_eq!(a.origins, [Origin::Any]);
    assert!(matches!(b.origins[..], [Origin::Exact { .. }]));
    assert_eq!(c.websocket, None);
    assert_eq!(problems(&text), [""; 0]);
}

#[test]
fn a_try_that_outlives_its_request_is_doubtful() {
    let text = |each, all| {
        of_route(&format!(
            "timeouts: {{ request: {all} }}, retry: {{ per_try_timeout: {each} }}"
        ))
    };
    let found = text("2s", "1s");
    assert_eq!(found.len(), 1);
    assert!(
        found[0].contains("`per_try_timeout` (2s) is longer"),
        "{found:?}"
    );
    assert_eq!(text("1s", "1s"), [""; 0]);
    assert_eq!(text("1h", "off"), [""; 0]);
}

#[test]
fn retries_of_what_is_not_idempotent_are_doubtful() {
    let text = |methods, on| {
        of_route(&format!(
            "match: {{ methods: {methods} }}, retry: {{ on: {on} }}"
        ))
    };
    for (methods, on) in [
        ("[GET, POST]", "[reset]"),
        ("[PUT]", "[503]"),
        ("POST", "[connect, refused_stream]"),
        ("POST", "[]"),
    ] {
        assert_eq!(text(methods, on), [""; 0], "{methods} {on}");
    }
    let found = text("[POST, PATCH]", "[connect, 503, reset]");
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].ends_with("this is never tried again here"));
    assert_eq!(of_route("retry: { on: [reset] }"), [""; 0]);
}

#[test]
fn what_answers_itself_tries_nothing_again() {
    let text = format!(
        "{LISTENER}routes: [{{ respond: {{}}, retry: {{ attempts: 2 }}, websocket: {{}}, name: x }}, {{ match: {{ path: /a }}, respond: {{}}, retry: off, websocket: off }}]"
    );
    assert_eq!(
        problems(&text),
        [
            "2:32 `retry` does nothing here",
            "2:60 `websocket` does nothing here"
        ]
    );
}

//! What a file means, key by key. What a broken file says is held by the golden tests.

use std::time::Duration;

mod files;
mod grammar;
mod health;
mod hostile;
mod resilience;
mod rules;
mod table;

use super::*;

fn no_env(_: &str) -> Option<String> {
    None
}

fn meaning(text: &str) -> Config {
    match parse_text("gateway.yaml", text, &no_env) {
        Ok(loaded) => loaded.config,
        Err(problems) => panic!("{}", render(&problems)),
    }
}

/// Line, column and message of each problem.
fn problems(text: &str) -> Vec<String> {
    let problems = match parse_text("gateway.yaml", text, &no_env) {
        Ok(loaded) => loaded.warnings,
        Err(problems) => problems,
    };
    problems
        .iter()
        .map(|p| format!("{}:{} {}", p.line, p.column, p.message))
        .collect()
}

const SMALLEST: &str = r#"
listeners:
  - bind: 0.0.0.0:8080
routes:
  - match: { path_prefix: / }
    upstream: app
upstreams:
  app: { endpoints: ["http://127.0.0.1:9000"] }
"#;

#[test]
fn the_smallest_file_has_the_defaults_of_the_contract() {
    let seconds = |n| Some(Duration::from_secs(n));
    let config = meaning(SMALLEST);
    let expected = Config {
        workers: None,
        dns: Dns {
            servers: Vec::new(),
            min_ttl: Duration::from_secs(1),
            max_ttl: Duration::from_secs(300),
            timeout: Duration::from_secs(2),
        },
        listeners: vec![Listener {
            name: "0-0-0-0-8080".into(),
            bind: vec!["0.0.0.0:8080".parse().unwrap()],
            trusted_proxies: Trust::default(),
            proxy_protocol: false,
            tls: None,
            protocols: Protocols {
                http1: true,
                http2: true,
            },
            timeouts: ListenerTimeouts {
                first_byte: seconds(10),
                request_head: seconds(10),
                request_body: seconds(30),
                write: seconds(30),
                idle: seconds(60),
                tls_handshake: seconds(5),
            },
            limits: ListenerLimits {
                min_body_rate: Some(MinRate {
                    bytes_per_second: 500,
                    after: Duration::from_secs(10),
                }),
                connections: None,
                connections_per_ip: None,
                head_bytes: 32 << 10,
                headers: 100,
                uri_bytes: 8 << 10,
                requests_per_connection: Some(10_000),
                h2_streams: 100,
            },
            rate_limits: Vec::new(),
        }],
        admin: Some(Admin {
            bind: "127.0.0.1:9901".parse().unwrap(),
            token: None,
        }),
        upstreams: vec![Upstream {
            name: "app".into(),
            endpoints: vec![Endpoint {
                host: EndpointHost::Ip("127.0.0.1".parse().unwrap()),
                port: 9000,
                is_secure: false,
                secure: None,
                weight: 1,
                authority: "127.0.0.1:9000".into(),
            }],
            balance: Balance::LeastRequests,
            timeouts: UpstreamTimeouts {
                connect: seconds(2),
                response: seconds(30),
                body: seconds(300),
                idle: seconds(30),
            },
            pool: PoolPolicy {
                max_idle_per_endpoint: 100,
                max_age: seconds(600),
                max_connections_per_endpoint: None,
            },
            retry_budget: Some(RetryBudget {
                per_million: 200_000,
                min_per_second: 3,
            }),
            max_in_flight: Some(1024),
            queue: Queue {
                size: 0,
                timeout: Duration::from_secs(1),
            },
            circuit_breaker: None,
            health: Health {
                check: None,
                ejection: Some(Ejection {
                    consecutive_failures: 3,
                    base: Duration::from_secs(30),
                    max_percent: 50,
                }),
                panic_below: None,
                slow_start: None,
                failover: Vec::new(),
            },
        }],
        routes: vec![Route {
            listeners: Vec::new(),
            rewrite: Rewrite::default(),
            request_headers: FieldChanges::default(),
            response_headers: FieldChanges::default(),
            mirrors: Vec::new(),
            name: config.routes[0].name.clone(),
            file: "gateway.yaml".into(),
            line: 5,
            matches: vec![Match::default()],
            action: Action::Upstream(0),
            timeouts: RouteTimeouts::default(),
            retry: Retry {
                attempts: 1,
                on: vec![RetryOn::Connect, RetryOn::RefusedStream],
                per_try_timeout: None,
                backoff: Backoff {
                    base: Duration::from_millis(25),
                    max: Duration::from_secs(1),
                },
            },
            websocket: Some(WebSocket {
                origins: vec![Origin::SameHost],
                idle_timeout: seconds(300),
            }),
            rate_limits: Vec::new(),
            max_in_flight: None,
            max_body: Some(10 << 20),
        }],
        drain: Drain {
            delay: Duration::from_secs(5),
            deadline: Duration::from_secs(25),
        },
        logging: Logging {
            level: tracing::Level::INFO,
            access: Some(AccessLog {
                format: LogFormat::Json(LogField::ALL.to_vec()),
                sample_per_million: 1_000_000,
                path: LogPath::Stdout,
            }),
        },
        errors: ErrorDetail::Full,
        rate_limits: Vec::new(),
        stores: Vec::new(),
        limits_memory: 256 << 20,
        files: Vec::new(),
    };
    assert_eq!(config, expected);
    assert_eq!(problems(SMALLEST), [""; 0]);
}

/// Every key in force, none with its default.
const FULL: &str = r#"
workers: 3
admin: { bind: "[::1]:9000", token: abc }
listeners:
  - name: web
    bind: ["[::]:8080", "127.0.0.1:0"]
    protocols: [http1]
    trusted_proxies: [10.1.2.3/8, any]
    proxy_protocol: true
    timeouts: { first_byte: 1s, request_head: 2s, request_body: 3s, write: 4s, idle: off }
    limits:
      min_body_rate: { bytes_per_second: 7 }
      connections: off
      connections_per_ip: 5
      head_bytes: 1KiB
      headers: 6
      uri_bytes: 1KB
      requests_per_connection: false
      h2_streams: 8
upstreams:
  app:
    endpoints: [{ url: "http://127.0.0.1" }, "http://[::1]:81/"]
    balance: round_robin
    timeouts: { connect: 1ms, response: off, body: 1m, idle: 1h }
    pool: { max_idle_per_endpoint: 9, max_age: off }
routes:
  - name: one
    match: { hosts: A.example., path: /a/../b, methods: PUT }
    upstream: app
    timeouts: { request: 1s, response: off, body: 2s }
    max_body: off
  - name: two
    match: [{ path_prefix: /c/ }, { hosts: ["*.b.example"] }]
    respond: { status: 404, headers: { x-a: [one, two], x-b: 3 }, body: "no\n" }
  - name: three
    match: { path_prefix: /old }
    redirect: { scheme: https, host: New.example, port: 8443, path_prefix: /new/, status: 308 }
drain: { delay: 0s, deadline: 1s }
logging: { level: debug, access: { format: json, path: /var/log/access } }
errors: reason
"#;

#[test]
fn the_top_is_read() {
    let config = meaning(FULL);
    assert_eq!(config.workers.map(NonZeroUsize::get), Some(3));
    let admin = config.admin.unwrap();
    assert_eq!(
        (admin.bind.to_string().as_str(), admin.token),
        ("[::1]:9000", Some(Secret("abc".into())))
    );

    assert_eq!(
        config.drain,
        Drain {
            delay: Duration::ZERO,
            deadline: Duration::from_secs(1)
        }
    );
    assert_eq!(config.logging.level, tracing::Level::DEBUG);
    assert_eq!(
        config.logging.access.unwrap().path,
        LogPath::File("/var/log/access".into())
    );
    assert_eq!(config.errors, ErrorDetail::Reason);
}

#[test]
fn listeners_are_read() {
    let config = meaning(FULL);
    let seconds = |n| Some(Duration::from_secs(n));
    let listener = &config.listeners[0];
    assert_eq!(
        (
            listener.name.as_str(),
            listener.bind.len(),
            listener.proxy_protocol
        ),
        ("web", 2, true)
    );
    let only_http1 = Protocols {
        http1: true,
        http2: false,
    };
    assert_eq!(listener.protocols, only_http1);
    assert_eq!(listener.trusted_proxies.networks.len(), 3);
    assert_eq!(
        listener.trusted_proxies.networks[0],
        ("10.0.0.0".parse().unwrap(), 8)
    );
    let timeouts = &listener.timeouts;
    assert_eq!(
        [
            timeouts.first_byte,
            timeouts.request_head,
            timeouts.request_body
        ],
        [seconds(1), seconds(2), seconds(3)]
    );
    assert_eq!([timeouts.write, timeouts.idle], [seconds(4), None]);
    let expected = ListenerLimits {
        min_body_rate: Some(MinRate {
            bytes_per_second: 7,
            after: Duration::from_secs(10),
        }),
        connections: Some(None),
        connections_per_ip: Some(5),
        head_bytes: 1024,
        headers: 6,
        uri_bytes: 1000,
        requests_per_connection: None,
        h2_streams: 8,
    };
    assert_eq!(listener.limits, expected);
}

#[test]
fn upstreams_are_read() {
    let config = meaning(FULL);
    let seconds = |n| Some(Duration::from_secs(n));
    let upstream = &config.upstreams[0];
    let addresses: Vec<_> = upstream.endpoints.iter().map(Endpoint::address).collect();
    let expected = ["127.0.0.1:80", "[::1]:81"].map(|address| address.parse().ok());
    assert_eq!(addresses, expected);
    assert_eq!(upstream.balance, Balance::RoundRobin);
    let millisecond = Some(Duration::from_millis(1));
    let expected = UpstreamTimeouts {
        connect: millisecond,
        response: None,
        body: seconds(60),
        idle: seconds(3600),
    };
    assert_eq!(upstream.timeouts, expected);
    assert_eq!(
        upstream.pool,
        PoolPolicy {
            max_idle_per_endpoint: 9,
            max_age: None,
            max_connections_per_endpoint: None,
        }
    );
}

#[test]
fn routes_are_read() {
    let config = meaning(FULL);
    let seconds = |n| Some(Duration::from_secs(n));
    let [one, two, _] = config.routes.as_slice() else {
        panic!("three routes")
    };
    let expected = Match {
        headers: Vec::new(),
        query: Vec::new(),
        hosts: vec!["a.example".into()],
        path: PathMatch::Exact("/b".into()),
        methods: vec![http::Method::PUT],
    };
    assert_eq!(one.matches, [expected]);
    assert_eq!(
        one.timeouts,
        RouteTimeouts {
            request: seconds(1),
            response: Some(None),
            body: Some(seconds(2))
        }
    );
    assert_eq!(one.max_body, None);
    assert_eq!(two.matches[0].path, PathMatch::Prefix("/c".into()));
    assert_eq!(two.matches[1].hosts, ["*.b.example"]);
}

#[test]
fn actions_are_read() {
    let config = meaning(FULL);
    let [_, two, three] = config.routes.as_slice() else {
        panic!("three routes")
    };
    let Action::Respond(respond) = &two.action else {
        panic!("a fixed answer")
    };
    assert_eq!(
        (respond.status.as_u16(), respond.body.as_ref()),
        (404, b"no\n".as_slice())
    );
    let fields: Vec<_> = respond
        .headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.to_str().unwrap()))
        .collect();
    assert_eq!(fields, [("x-a", "one"), ("x-a", "two"), ("x-b", "3")]);
    let expected = Redirect {
        scheme: Some("https".into()),
        host: Some("new.example".into()),
        port: Some(8443),
        path: Some(RedirectPath::Prefix("/new".into())),
        status: http::StatusCode::PERMANENT_REDIRECT,
    };
    assert_eq!(three.action, Action::Redirect(expected));
}

const LISTENER: &str = "listeners: [{ bind: \"127.0.0.1:8080\" }]\n";

#[test]
fn what_can_be_off_is_off() {
    let config = meaning(&format!(
        "{LISTENER}admin: off\nlogging: {{ access: false }}\nerrors: {{ detail: reason }}"
    ));
    assert_eq!(config.admin, None);
    assert_eq!(config.logging.access, None);
    assert_eq!(config.errors, ErrorDetail::Reason);
    let config = meaning(
        "listeners: [{ bind: \"127.0.0.1:80\", limits: { min_body_rate: off } }]\nworkers: auto",
    );
    assert_eq!(config.listeners[0].limits.min_body_rate, None);
    assert_eq!(config.workers, None);
}

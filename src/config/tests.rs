//! What a file means, key by key. What a broken file says is held by the golden tests.

use std::time::Duration;

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
        listeners: vec![Listener {
            name: "0-0-0-0-8080".into(),
            bind: vec!["0.0.0.0:8080".parse().unwrap()],
            trusted_proxies: Trust::default(),
            proxy_protocol: false,
            timeouts: ListenerTimeouts {
                first_byte: seconds(10),
                request_head: seconds(10),
                request_body: seconds(30),
                write: seconds(30),
                idle: seconds(60),
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
            },
        }],
        admin: Some(Admin {
            bind: "127.0.0.1:9901".parse().unwrap(),
            token: None,
        }),
        upstreams: vec![Upstream {
            name: "app".into(),
            endpoints: vec!["127.0.0.1:9000".parse().unwrap()],
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
            },
        }],
        routes: vec![Route {
            name: config.routes[0].name.clone(),
            line: 5,
            matches: vec![Match::default()],
            action: Action::Upstream(0),
            timeouts: RouteTimeouts::default(),
            max_body: Some(10 << 20),
        }],
        drain: Drain {
            delay: Duration::from_secs(5),
            deadline: Duration::from_secs(25),
        },
        logging: Logging {
            level: tracing::Level::INFO,
            access: Some(AccessLog {
                path: LogPath::Stdout,
            }),
        },
        errors: ErrorDetail::Full,
    };
    assert_eq!(config, expected);
    assert_eq!(problems(SMALLEST), [""; 0]);
}

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

#[test]
fn every_key_is_read() {
    let config = meaning(
        r#"
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
"#,
    );
    let seconds = |n| Some(Duration::from_secs(n));
    assert_eq!(config.workers.map(NonZeroUsize::get), Some(3));
    let admin = config.admin.unwrap();
    assert_eq!(
        (admin.bind.to_string().as_str(), admin.token),
        ("[::1]:9000", Some(Secret("abc".into())))
    );

    let listener = &config.listeners[0];
    assert_eq!(
        (
            listener.name.as_str(),
            listener.bind.len(),
            listener.proxy_protocol
        ),
        ("web", 2, true)
    );
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
    };
    assert_eq!(listener.limits, expected);

    let upstream = &config.upstreams[0];
    assert_eq!(
        upstream.endpoints,
        ["127.0.0.1:80".parse().unwrap(), "[::1]:81".parse().unwrap()]
    );
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
            max_age: None
        }
    );

    let [one, two, three] = config.routes.as_slice() else {
        panic!("three routes")
    };
    let expected = Match {
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

#[test]
fn anchors_and_merge_keys_work() {
    let text = format!(
        "{LISTENER}x-base: &base {{ balance: round_robin, timeouts: &t {{ connect: 1s }} }}
upstreams:
  one: {{ <<: *base, endpoints: [\"http://127.0.0.1:1\"] }}
  two: {{ endpoints: [\"http://127.0.0.1:2\"], balance: least_requests, <<: [*base] }}
  three: {{ endpoints: [\"http://127.0.0.1:3\"], timeouts: {{ <<: *t, body: 2s }} }}"
    );
    let upstreams = meaning(&text).upstreams;
    assert_eq!(upstreams[0].balance, Balance::RoundRobin);
    assert_eq!(upstreams[1].balance, Balance::LeastRequests);
    for upstream in &upstreams {
        assert_eq!(upstream.timeouts.connect, Some(Duration::from_secs(1)));
    }
    assert_eq!(upstreams[2].timeouts.body, Some(Duration::from_secs(2)));
}

fn route_names(routes: &[&str]) -> Vec<String> {
    let list: String = routes
        .iter()
        .map(|one| format!("  - {{ match: {one}, respond: {{}} }}\n"))
        .collect();
    meaning(&format!("{LISTENER}routes:\n{list}"))
        .routes
        .into_iter()
        .map(|route| route.name)
        .collect()
}

#[test]
fn a_route_without_a_name_is_called_by_its_match() {
    let matches = [
        "{ hosts: [api.example.com, b.example], path_prefix: /v1/Users, methods: [GET] }",
        "{ path: / }",
        "[{ path: /a }, { path: /b }]",
    ];
    let names = route_names(&matches);
    // These names are in people's dashboards: they may not change.
    assert_eq!(
        names,
        [
            "api-example-com-v1-users-get-d4e845",
            "any-af1d2d",
            "a-62f25c"
        ]
    );
    let mut moved = route_names(&[matches[2], matches[0], matches[1]]);
    moved.rotate_left(1);
    assert_eq!(moved, names);
    let same = "{ methods: [GET], path_prefix: /v1//Users/, hosts: [b.example, API.example.com] }";
    assert!(route_names(&[same])[0].ends_with("-v1-users-get-d4e845"));
    for name in route_names(&[
        &format!("{{ path: /{} }}", "a.b".repeat(90)),
        "{ path: /%20- }",
    ]) {
        assert_eq!(word::check_name(&name), Ok(()));
    }
}

#[test]
fn a_listener_without_a_name_is_called_by_its_first_bind() {
    let config = meaning(
        "listeners: [{ bind: [\"[::]:8080\", \"0.0.0.0:1\"] }, { bind: \"[2001:DB8::1]:443\" }]",
    );
    let names: Vec<_> = config
        .listeners
        .iter()
        .map(|listener| listener.name.as_str())
        .collect();
    assert_eq!(names, ["8080", "2001-db8-1-443"]);
}

#[test]
fn keys_at_the_top_that_begin_with_x_are_ignored() {
    assert_eq!(
        problems(&format!("{LISTENER}x-any: {{ thing: [1, ${{X}}] }}").replace("${X}", "\"${X}\"")),
        [""; 0]
    );
    assert_eq!(
        problems("listeners: [{ bind: \"127.0.0.1:80\", x-a: 1 }]"),
        ["1:37 unknown key `x-a`"]
    );
}

#[test]
fn a_star_in_a_path_is_doubtful() {
    let text = format!("{LISTENER}routes: [{{ match: {{ path_prefix: /a/* }}, respond: {{}} }}]");
    assert_eq!(
        problems(&text),
        ["2:34 `*` is an ordinary character in a path"]
    );
}

#[test]
fn a_byte_order_mark_and_any_line_end_are_fine() {
    let text = format!("\u{feff}{}", SMALLEST.trim_start().replace('\n', "\r\n"));
    assert_eq!(problems(&text), [""; 0]);
    assert_eq!(
        problems(&format!("{text}nonsense: 1\r\n")),
        ["8:1 unknown key `nonsense`"]
    );
}

#[test]
fn messages_never_hold_what_was_filled_in() {
    let env = |_: &str| Some(String::from("hunter2"));
    let text = "listeners: [{ bind: \"${A}\", protocols: \"${A}\", limits: { headers: \"${A}\" } }]
admin: { token: \"${A} x\" }
routes: [{ upstream: \"${A}\", match: { path: \"${A}\", hosts: [\"${A}:1\"], methods: [\"${A}\"] } }]";
    let problems = parse_text("f", text, &env).unwrap_err();
    assert!(problems.len() >= 8, "{}", render(&problems));
    assert!(
        !render(&problems).contains("hunter2"),
        "{}",
        render(&problems)
    );
}

#[test]
fn files_that_cannot_be_read_are_problems() {
    let folder = std::env::temp_dir().join(format!("tidegate-load-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let read = |name: &str, bytes: &[u8]| {
        let path = folder.join(name);
        std::fs::write(&path, bytes).unwrap();
        load(&path, &no_env)
    };
    let loaded = read("good", SMALLEST.as_bytes()).unwrap();
    assert_eq!(loaded.sources, [folder.join("good")]);
    let message = |result: Result<Loaded, Vec<Problem>>| result.unwrap_err().remove(0).message;
    assert_eq!(message(read("empty", b"")), "the file is empty");
    assert_eq!(
        message(read("large", &vec![b'#'; (8 << 20) + 1])),
        "is larger than 8 MiB"
    );
    assert_eq!(
        message(load(&folder, &no_env)),
        "cannot be read: it is a directory"
    );
    assert!(
        message(load(&folder.join("none"), &no_env)).starts_with("cannot be read: No such file")
    );
    let problem = read("latin1", b"a: 1\nb: \xe9\n").unwrap_err().remove(0);
    assert_eq!(
        (problem.line, problem.column, problem.message.as_str()),
        (2, 4, "this byte is not UTF-8")
    );
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn start_up_says_what_is_not_in_force() {
    let all = not_yet_in_force(&meaning(SMALLEST)).join("\n");
    for word in ["http2", "max_in_flight", "ejection", "retry", "websocket"] {
        assert!(all.contains(word), "{word}");
    }
    assert_eq!(not_yet_in_force(&meaning(LISTENER)).len(), 1);
}

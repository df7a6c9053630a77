//! The operator's port: alive, ready, metrics.

use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::support::{
    Client, Echo, Gateway, Setup, Upstream, answer, unique_directory, until_some, vacant,
};

fn busy() -> (Gateway, Echo) {
    let echo = Echo::start("app");
    let gateway = Setup::to(echo.address()).start();
    let mut client = gateway.client();
    for _ in 0..10 {
        client.get("/").expect_ok();
    }
    client
        .ask("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n")
        .expect_refusal(400, "bad_request");
    (gateway, echo)
}

#[test]
fn alive_and_ready() {
    let (gateway, _echo) = busy();
    for target in ["/healthz", "/readyz"] {
        let answer = gateway.admin_get(target, "").expect_ok();
        assert!(
            answer.body.len() < 100,
            "{target} is a word: {}",
            answer.text()
        );
    }
    assert_eq!(gateway.admin_get("/nothing-here", "").status, 404);
}

#[test]
fn metrics_come_in_both_formats() {
    let (gateway, _echo) = busy();
    let answer = gateway.admin_get("/metrics", "").expect_ok();
    let kind = answer.field("content-type").unwrap();
    assert!(kind.starts_with("text/plain; version=0.0.4"), "{kind}");
    assert!(!answer.text().contains("# EOF"));
    let accept = "Accept: application/openmetrics-text; version=1.0.0,text/plain;q=0.5\r\n";
    let answer = gateway.admin_get("/metrics", accept).expect_ok();
    let kind = answer.field("content-type").unwrap();
    assert!(
        kind.starts_with("application/openmetrics-text; version=1.0.0"),
        "{kind}"
    );
    assert!(answer.text().ends_with("# EOF\n"));
}

#[test]
fn the_names_of_the_contract_are_there() {
    let (gateway, echo) = busy();
    gateway.await_metric(
        "tidegate_requests_total",
        &[
            ("listener", "main"),
            ("route", "all"),
            ("method", "GET"),
            ("status", "200"),
        ],
        10.0,
    );
    let samples = gateway.metrics();
    let endpoint = echo.address().to_string();
    for (name, labels) in [
        (
            "tidegate_requests_total",
            vec![("route", "_none"), ("status", "400")],
        ),
        ("tidegate_requests_in_flight", vec![("route", "all")]),
        (
            "tidegate_request_duration_seconds_count",
            vec![("route", "all")],
        ),
        (
            "tidegate_request_duration_seconds_sum",
            vec![("route", "all")],
        ),
        (
            "tidegate_request_duration_seconds_bucket",
            vec![("route", "all"), ("le", "+Inf")],
        ),
        (
            "tidegate_gateway_responses_total",
            vec![("route", "_none"), ("reason", "bad_request")],
        ),
        ("tidegate_response_bytes_total", vec![("route", "all")]),
        ("tidegate_connections", vec![("listener", "main")]),
        (
            "tidegate_upstream_requests_total",
            vec![
                ("upstream", "app"),
                ("endpoint", &endpoint),
                ("status", "200"),
            ],
        ),
        (
            "tidegate_upstream_duration_seconds_count",
            vec![("upstream", "app")],
        ),
        (
            "tidegate_upstream_connections",
            vec![
                ("upstream", "app"),
                ("endpoint", &endpoint),
                ("state", "idle"),
            ],
        ),
        ("tidegate_config_generation", vec![]),
        ("tidegate_config_last_reload_success", vec![]),
        ("tidegate_config_last_success_timestamp_seconds", vec![]),
        (
            "tidegate_build_info",
            vec![("version", env!("CARGO_PKG_VERSION"))],
        ),
        ("process_resident_memory_bytes", vec![]),
        ("process_open_fds", vec![]),
        ("process_start_time_seconds", vec![]),
        ("process_cpu_seconds_total", vec![]),
    ] {
        assert!(samples.sum(name, &labels).is_some(), "no {name} {labels:?}");
    }
    let count = [("route", "all")];
    assert_eq!(
        samples.sum("tidegate_request_duration_seconds_count", &count),
        Some(10.0)
    );
    assert_eq!(
        samples.sum("tidegate_requests_in_flight", &count),
        Some(0.0)
    );
    for sample in samples.all() {
        assert!(
            sample.name.starts_with("tidegate_") || sample.name.starts_with("process_"),
            "{sample:?}"
        );
    }
}

#[test]
fn a_histogram_is_cumulative() {
    let (gateway, _echo) = busy();
    gateway.await_metric(
        "tidegate_request_duration_seconds_count",
        &[("route", "all")],
        10.0,
    );
    let samples = gateway.metrics();
    let buckets = samples.all().iter().filter(|sample| {
        sample.name == "tidegate_request_duration_seconds_bucket" && sample.labels["route"] == "all"
    });
    let values: Vec<f64> = buckets.map(|sample| sample.value).collect();
    assert!(
        values.len() > 5 && values.is_sorted() && values.last() == Some(&10.0),
        "{values:?}"
    );
}

#[test]
fn the_page_of_this_moment_never_names_a_client_or_a_path() {
    let (gateway, _echo) = busy();
    let mut client = gateway.client();
    client.get("/secret-path?secret-query").expect_ok();
    client
        .send("STRANGE /x HTTP/1.1\r\nHost: secret-host.test\r\n\r\n")
        .response();
    let page = gateway.admin_get("/metrics", "").text();
    for word in ["secret", "STRANGE"] {
        assert!(!page.contains(word), "{word} is a label");
    }
}

#[test]
fn a_token_is_not_asked_for_where_probes_look() {
    let echo = Echo::start("app");
    let gateway = Setup::to(echo.address())
        .top("admin: { bind: \"127.0.0.1:0\", token: s3cret }")
        .start();
    for target in ["/healthz", "/readyz", "/metrics"] {
        gateway.admin_get(target, "").expect_ok();
    }
    let said = gateway.stderr_lines().join("\n");
    assert!(!said.contains("s3cret"), "the token is in the log");
}

#[test]
fn off_is_off() {
    let echo = Echo::start("app");
    let gateway = Setup::to(echo.address()).top("admin: off").start();
    assert_eq!(gateway.admin(), None);
    gateway.get("/").expect_ok();
}

#[test]
fn the_admin_port_stays_usable_with_odd_clients() {
    let (gateway, _echo) = busy();
    let address: SocketAddr = gateway.admin().unwrap();
    let _idle = Client::connect(address);
    let mut garbage = Client::connect(address);
    garbage.send("GARBAGE\r\n\r\n");
    let _ = garbage.read_to_end();
    let mut client = Client::connect(address);
    let posted = client.ask("POST /metrics HTTP/1.1\r\nHost: a.test\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(posted.status, 405);
    gateway.admin_get("/healthz", "").expect_ok();
}

#[test]
fn promtool_finds_nothing_to_blame() {
    if !Path::new("/usr/bin/promtool").exists() {
        eprintln!("promtool is not installed: `make test` installs it");
        return;
    }
    let (gateway, _echo) = busy();
    gateway.await_metric("tidegate_requests_total", &[("route", "all")], 10.0);
    let page = gateway.admin_get("/metrics", "").body;
    let mut promtool = Command::new("/usr/bin/promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    promtool.stdin.take().unwrap().write_all(&page).unwrap();
    let output = promtool.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    assert!(
        output.status.success() && said.is_empty(),
        "{}",
        String::from_utf8_lossy(&said)
    );
}

#[test]
fn a_real_prometheus_scrapes_it() {
    if !Path::new("/usr/bin/prometheus").exists() {
        eprintln!("prometheus is not installed: `make test` installs it");
        return;
    }
    let (gateway, _echo) = busy();
    gateway.await_metric("tidegate_requests_total", &[("route", "all")], 10.0);
    let directory = unique_directory();
    let target = gateway.admin().unwrap();
    let file = format!(
        "scrape_configs:\n  - job_name: tidegate\n    scrape_interval: 200ms\n    scrape_timeout: 200ms\n    static_configs: [{{ targets: [\"{target}\"] }}]\n"
    );
    std::fs::write(directory.join("prometheus.yml"), file).unwrap();
    let address = free_address();
    let mut prometheus = Command::new("/usr/bin/prometheus")
        .arg(format!(
            "--config.file={}",
            directory.join("prometheus.yml").display()
        ))
        .arg(format!(
            "--storage.tsdb.path={}",
            directory.join("data").display()
        ))
        .arg(format!("--web.listen-address={address}"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let scraped = std::panic::catch_unwind(|| {
        let patience = std::time::Duration::from_secs(30);
        until_some(patience, "prometheus has our counter", || {
            let stream = std::net::TcpStream::connect(address).ok()?;
            let query = "/api/v1/query?query=sum(tidegate_requests_total)by(route)";
            // Before it is ready it answers with 503.
            let answer = Client::over(stream)
                .try_get(query)
                .ok()
                .filter(|answer| answer.status == 200)?;
            let result = answer.json()["data"]["result"].as_array()?.clone();
            (!result.is_empty()).then_some(result)
        })
    });
    let _ = prometheus.kill();
    let _ = prometheus.wait();
    let _ = std::fs::remove_dir_all(directory);
    let result = scraped.expect("a scrape");
    let all = result
        .iter()
        .find(|sample| sample["metric"]["route"] == "all")
        .expect("the route");
    assert_eq!(all["value"][1], "10", "{result:?}");
}

/// A free address: Prometheus cannot tell which one it took.
fn free_address() -> SocketAddr {
    let [address] = vacant();
    address
}

#[test]
fn log_metric_and_header_tell_the_same_reason() {
    let upstream = Upstream::answering(answer(200, "ok"));
    let gateway = Setup::to(upstream.address())
        .before("name: one, match: { path: /one, methods: [GET] }, upstream: app")
        .route("match: { path: /all }, max_body: 1KiB")
        .start();
    let asks: [(&str, &str); 4] = [
        (
            "GET /nowhere HTTP/1.1\r\nHost: a\r\n\r\n",
            "route_not_found",
        ),
        ("PUT /one HTTP/1.1\r\nHost: a\r\n\r\n", "method_not_allowed"),
        (
            "PUT /all HTTP/1.1\r\nHost: a\r\nContent-Length: 1025\r\n\r\n",
            "body_too_large",
        ),
        ("GET /all HTTP/1.1\r\nHost: a b\r\n\r\n", "bad_request"),
    ];
    for (request, reason) in asks {
        let answer = gateway.client().ask(request);
        answer.expect_refusal(answer.status, reason);
        let problem = answer.json();
        let line = gateway.await_access("request_id", problem["request_id"].as_str().unwrap());
        assert_eq!(
            (&line["reason"], &line["status"]),
            (&reason.into(), &answer.status.into()),
            "{line}"
        );
        gateway.await_metric(
            "tidegate_gateway_responses_total",
            &[("reason", reason)],
            1.0,
        );
    }
}

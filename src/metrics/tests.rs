//! The stats from counting to page.

use std::io::Write;
use std::process::{Command, Stdio};

use http::{Method, StatusCode};

use super::*;

fn page_of_everything(format: Format) -> String {
    let mut page = Page::new(format);
    for (route, status) in [
        ("orders", StatusCode::OK),
        ("odd\"\\\nname", StatusCode::IM_A_TEAPOT),
    ] {
        let stats = RouteStats::new(2);
        stats.count_request(0, 0, &Method::GET, status);
        stats.count_request(1, 0, &Method::GET, status);
        stats.count_request(
            1,
            1,
            &Method::from_bytes(b"BREW").unwrap(),
            StatusCode::from_u16(599).unwrap(),
        );
        stats.count_reason(0, Reason::RouteNotFound);
        stats.in_flight.add(0, 2);
        stats.in_flight.add(1, -1);
        stats.duration.record(0, 700_000);
        stats.duration.record(1, 90_000_000_000);
        stats.request_bytes.add(1, 10);
        stats.response_bytes.add(1, 20);
        stats.sockets().opened(0);
        stats.sockets().closed(1, ClosedBy::Upstream, 5_000_000_000);
        stats.write(&mut page, route, |number| {
            ["web", "api"].get(usize::from(number)).copied()
        });
    }
    let endpoint = EndpointStats::new(2);
    endpoint.count_request(1, StatusCode::BAD_GATEWAY);
    endpoint.idle.add(0, 3);
    endpoint.busy.add(0, 1);
    endpoint.ejections.add(1, 1);
    page.value(Metric::BreakerState, &["app", ""], 1.0);
    let opened = ["app", "", "open", "failure_rate"];
    page.count(Metric::BreakerTransitions, &opened, 1);
    EndpointStats::write_health(&mut page, "app", "http://127.0.0.1:9000", false);
    endpoint.write(&mut page, "app", "http://127.0.0.1:9000");
    let upstream = UpstreamStats::new(2);
    upstream.duration.record(0, 1);
    upstream.retries.add(1, RetryCause::Reset as u32, 2);
    upstream.write(&mut page, "app");
    let limit = LimitStats::new(2);
    limit.count(0, Decision::Allowed);
    limit.count(1, Decision::Allowed);
    limit.count(1, Decision::CandidateLimited);
    limit.write(&mut page, "per-client", Some(3), 4);
    page.count(Metric::StoreErrors, &["shared", "timeout"], 5);
    let listener = ListenerStats::new(2);
    listener.connections.add(1, 1);
    listener.count_refusal(2, Refusal::PerIp);
    listener.count_handshake(1, Handshake::Timeout);
    listener.count_cut(0, Cut::Flood);
    listener.untrusted_forwarded.add(0, 4);
    listener.write(&mut page, "web");
    page.value(Metric::CertificateExpiry, &["web", "a.test"], 4e9);
    let gateway = GatewayStats::new(2);
    gateway.start(1, 1_700_000_000_500_000_000);
    gateway.reload(ReloadResult::Applied, true, 2, 1_700_000_001_500_000_000);
    gateway.reload(ReloadResult::Rejected, true, 2, 1_700_000_002_500_000_000);
    gateway.write(&mut page, "0.1.0");
    process::write(&mut page);
    page.finish()
}

#[track_caller]
fn assert_lines(page: &str, lines: &[&str]) {
    for line in lines {
        assert!(
            page.lines().any(|l| l == *line),
            "no line {line} in\n{page}"
        );
    }
}

#[test]
fn a_page_says_what_was_counted() {
    let page = page_of_everything(Format::Text);
    assert_lines(
        &page,
        &[
            "# TYPE tidegate_requests_total counter",
            "tidegate_requests_total{listener=\"web\",route=\"orders\",method=\"GET\",status=\"200\"} 2",
            "tidegate_requests_total{listener=\"api\",route=\"orders\",method=\"OTHER\",status=\"5xx\"} 1",
            "tidegate_requests_total{listener=\"web\",route=\"odd\\\"\\\\\\nname\",method=\"GET\",status=\"418\"} 2",
            "tidegate_gateway_responses_total{route=\"orders\",reason=\"route_not_found\"} 1",
            "tidegate_requests_in_flight{route=\"orders\"} 1",
            "tidegate_request_duration_seconds_bucket{route=\"orders\",le=\"0.0005\"} 0",
            "tidegate_request_duration_seconds_bucket{route=\"orders\",le=\"0.001\"} 1",
            "tidegate_request_duration_seconds_bucket{route=\"orders\",le=\"60\"} 1",
            "tidegate_request_duration_seconds_bucket{route=\"orders\",le=\"+Inf\"} 2",
            "tidegate_request_duration_seconds_sum{route=\"orders\"} 90.0007",
            "tidegate_request_duration_seconds_count{route=\"orders\"} 2",
            "tidegate_upstream_requests_total{upstream=\"app\",endpoint=\"http://127.0.0.1:9000\",status=\"502\"} 1",
            "tidegate_upstream_connections{upstream=\"app\",endpoint=\"http://127.0.0.1:9000\",state=\"idle\"} 3",
            "tidegate_connections_refused_total{listener=\"web\",cause=\"per_ip\"} 1",
            "tidegate_connections_cut_total{listener=\"web\",cause=\"flood\"} 1",
            "tidegate_rate_limit_decisions_total{limit=\"per-client\",decision=\"allowed\"} 2",
            "tidegate_rate_limit_decisions_total{limit=\"per-client\",decision=\"candidate_limited\"} 1",
            "tidegate_rate_limit_keys{limit=\"per-client\"} 3",
            "tidegate_rate_limit_evictions_total{limit=\"per-client\"} 4",
            "tidegate_config_reloads_total{result=\"applied\"} 1",
            "tidegate_config_reloads_total{result=\"unchanged\"} 0",
            "tidegate_config_last_reload_success 0",
            "tidegate_config_generation 2",
            "tidegate_config_last_success_timestamp_seconds 1700000001.5",
            "# TYPE tidegate_build_info gauge",
            "tidegate_build_info{version=\"0.1.0\"} 1",
        ],
    );
}

#[test]
fn open_metrics_names_families_without_their_ending() {
    let page = page_of_everything(Format::OpenMetrics);
    assert_lines(
        &page,
        &[
            "# TYPE tidegate_requests counter",
            "tidegate_requests_total{listener=\"web\",route=\"orders\",method=\"GET\",status=\"200\"} 2",
            "# TYPE tidegate_build info",
            "tidegate_build_info{version=\"0.1.0\"} 1",
            "tidegate_request_duration_seconds_bucket{route=\"orders\",le=\"60.0\"} 1",
            "# TYPE process_cpu_seconds counter",
        ],
    );
    assert!(page.ends_with("\n# EOF\n"));
}

#[test]
fn each_metric_stands_in_one_group_and_all_appear() {
    for format in [Format::Text, Format::OpenMetrics] {
        let page = page_of_everything(format);
        for metric in Metric::ALL {
            let name = metric
                .name()
                .trim_end_matches("_total")
                .trim_end_matches("_info");
            let types = page
                .lines()
                .filter(|line| line.starts_with("# TYPE ") && line.contains(name));
            assert!(types.count() >= 1, "{metric:?} is not on the page");
        }
        let types: Vec<&str> = page
            .lines()
            .filter(|line| line.starts_with("# TYPE "))
            .collect();
        assert_eq!(types.len(), Metric::ALL.len());
    }
}

#[test]
fn promtool_finds_no_fault() {
    let child = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = match child {
        Ok(child) => child,
        Err(error) => {
            eprintln!("promtool is not installed ({error}): its check is left out");
            return;
        }
    };
    let page = page_of_everything(Format::Text);
    child
        .stdin
        .take()
        .unwrap()
        .write_all(page.as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\n{page}");
}

#[test]
fn nothing_counted_writes_no_series() {
    let mut page = Page::new(Format::Text);
    RouteStats::new(4).write(&mut page, "orders", |_| Some("web"));
    EndpointStats::new(4).write(&mut page, "app", "http://127.0.0.1:9000");
    UpstreamStats::new(4).write(&mut page, "app");
    ListenerStats::new(4).write(&mut page, "web");
    assert_eq!(page.finish(), "");
}

#[test]
fn a_status_is_exact_when_usual_else_its_class() {
    for code in 100..1000 {
        let label = status_label(status_index(StatusCode::from_u16(code).unwrap()));
        let class = format!("{}xx", code / 100);
        assert!(
            label == code.to_string() || label == class,
            "{code}: {label}"
        );
    }
    for (code, expected) in [
        (200, "200"),
        (499, "499"),
        (418, "418"),
        (470, "4xx"),
        (599, "5xx"),
        (299, "2xx"),
    ] {
        assert_eq!(
            status_label(status_index(StatusCode::from_u16(code).unwrap())),
            expected
        );
    }
    for reason in Reason::ALL {
        assert_eq!(
            status_label(status_index(reason.status())),
            reason.status().as_str()
        );
    }
}

#[test]
fn the_known_nine_methods_keep_their_names() {
    for name in [
        "GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH",
    ] {
        assert_eq!(
            method_label(method_index(&Method::from_bytes(name.as_bytes()).unwrap())),
            name
        );
    }
    for name in ["get", "PROPFIND", "OTHER"] {
        assert_eq!(
            method_label(method_index(&Method::from_bytes(name.as_bytes()).unwrap())),
            "OTHER"
        );
    }
}

#[test]
fn a_request_key_gives_its_parts_back() {
    for parts in [(0, 0, 0), (7, 9, 78), (u16::MAX, 9, u8::MAX)] {
        assert_eq!(
            split_request_key(request_key(parts.0, parts.1, parts.2)),
            parts
        );
        assert_ne!(request_key(parts.0, parts.1, parts.2), u32::MAX);
    }
}

#[test]
fn the_reader_of_accept_is_given_what_it_ranks_highest() {
    let prometheus = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
                      application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
    for (accept, format) in [
        (prometheus, Format::OpenMetrics),
        ("application/openmetrics-text", Format::OpenMetrics),
        ("application/openmetrics-text; version=0.0.1", Format::Text),
        ("application/openmetrics-text; q=0", Format::Text),
        (
            "text/plain, application/openmetrics-text; q=0.5",
            Format::Text,
        ),
        ("*/*", Format::Text),
        ("", Format::Text),
    ] {
        assert_eq!(Format::negotiate(accept), format, "{accept}");
    }
}

#[test]
fn gauges_add_up_over_workers_and_below_zero() {
    let gauge = Gauge::new(1);
    assert!(!gauge.is_used());
    gauge.add(0, 5);
    gauge.add(1, -7);
    assert_eq!(gauge.sum(), -2);
}

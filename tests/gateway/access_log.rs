//! The access log: one JSON line for each request, written off the request path.

use crate::support::{Echo, Report, Setup, vacant};

#[test]
fn a_line_tells_what_happened() {
    let echo = Echo::start("app");
    let gateway = Setup::to(echo.address()).start();
    let report = Report::of(gateway.client().ask(
        "POST /p?q=1 HTTP/1.1\r\nHost: a.test:80\r\nUser-Agent: me/1 \"quoted\"\r\nReferer: http://b.test/\r\nContent-Length: 5\r\n\r\nhello",
    ));
    let line = gateway.await_access("request_id", report.field("x-request-id").unwrap());
    for (key, value) in [
        ("client", "127.0.0.1"),
        ("listener", "main"),
        ("method", "POST"),
        ("path", "/p"),
        ("route", "all"),
        ("upstream", "app"),
        ("endpoint", &echo.address().to_string()),
        ("user_agent", "me/1 \"quoted\""),
        ("referer", "http://b.test/"),
    ] {
        assert_eq!(line[key], value, "{key} of {line}");
    }
    assert!(
        line["host"].as_str().unwrap().starts_with("a.test"),
        "{line}"
    );
    assert!(line["protocol"].as_str().unwrap().contains("1.1"), "{line}");
    assert_eq!(
        (&line["status"], &line["attempts"], &line["bytes_in"]),
        (&200.into(), &1.into(), &5.into()),
        "{line}"
    );
    assert!(line["bytes_out"].as_u64().unwrap() > 100, "{line}");
    assert!(
        line["duration_ms"].as_f64().is_some_and(|time| time > 0.0),
        "{line}"
    );
    assert!(line["first_byte_ms"].as_f64().is_some(), "{line}");
    let time = line["time"].as_str().unwrap();
    assert!(
        time.len() == 24 && time.as_bytes()[10] == b'T' && time.ends_with('Z'),
        "{time}"
    );
    for key in ["reason", "identity", "trace_id"] {
        assert!(
            line.get(key).is_none(),
            "{key} is unknown, so it is left out: {line}"
        );
    }
}

#[test]
fn connecting_is_timed_for_a_new_connection_only() {
    let echo = Echo::start("app");
    let gateway = Setup::to(echo.address()).top("workers: 1").start();
    let mut client = gateway.client();
    client.get("/first").expect_ok();
    client.get("/second").expect_ok();
    let first = gateway.await_access("path", "/first");
    let second = gateway.await_access("path", "/second");
    let time = |line: &serde_json::Value, key: &str| line[key].as_f64().unwrap();
    assert!(time(&first, "connect_ms") > 0.0, "{first}");
    assert!(
        time(&first, "connect_ms") <= time(&first, "first_byte_ms"),
        "{first}"
    );
    assert!(
        time(&first, "first_byte_ms") <= time(&first, "duration_ms"),
        "{first}"
    );
    assert!(second.get("connect_ms").is_none(), "{second}");
}

#[test]
fn a_connect_that_fails_is_timed_too() {
    let [closed] = vacant();
    let gateway = Setup::to(closed).start();
    assert_eq!(gateway.get("/refused").status, 502);
    let line = gateway.await_access("path", "/refused");
    assert!(line["connect_ms"].as_f64().is_some(), "{line}");
    assert_eq!(line["reason"], "upstream_connect_failed");
}

#[test]
fn a_hostile_field_cannot_break_a_line() {
    let echo = Echo::start("app");
    let gateway = Setup::to(echo.address()).start();
    let mut request =
        b"GET /%22%0A%7B HTTP/1.1\r\nHost: a.test\r\nUser-Agent: \"}\\ \t\xff\xfe".to_vec();
    request.extend_from_slice(b"\r\n\r\n");
    gateway.client().ask(request).expect_ok();
    gateway.get("/next").expect_ok();
    // Reading it fails the test if a line is no JSON.
    let lines = gateway.await_access_lines(2);
    assert_eq!(lines.len(), 2);
    let odd = lines.iter().find(|line| line["path"] != "/next");
    let agent = odd.and_then(|line| line["user_agent"].as_str());
    assert!(
        agent.is_some_and(|agent| agent.starts_with("\"}\\")),
        "{lines:?}"
    );
}

#[test]
fn a_request_has_one_line() {
    let echo = Echo::start("app");
    let gateway = Setup::to(echo.address()).start();
    let mut client = gateway.client();
    for number in 0..500 {
        client.get(&format!("/{number}")).expect_ok();
    }
    let mut paths: Vec<String> = gateway
        .await_access_lines(500)
        .iter()
        .map(|line| line["path"].as_str().unwrap().to_owned())
        .collect();
    paths.sort();
    paths.dedup();
    assert_eq!(paths.len(), 500);
    assert_eq!(
        gateway
            .metric("tidegate_access_log_dropped_total", &[])
            .unwrap_or(0.0),
        0.0
    );
}

#[test]
fn it_can_be_a_file_or_off() {
    let echo = Echo::start("app");
    let file = crate::support::unique_directory().join("access.log");
    let gateway = Setup::to(echo.address())
        .top(&format!(
            "logging: {{ access: {{ path: \"{}\" }} }}",
            file.display()
        ))
        .start();
    gateway.get("/in-the-file").expect_ok();
    crate::support::until(crate::support::PATIENCE, "a line in the file", || {
        std::fs::read_to_string(&file).is_ok_and(|text| text.contains("/in-the-file"))
    });
    assert_eq!(gateway.access_log().len(), 0);
    std::fs::remove_dir_all(file.parent().unwrap()).unwrap();
    let mut gateway = Setup::to(echo.address())
        .top("logging: { access: off }")
        .top("drain: { delay: 10ms, deadline: 1s }")
        .start();
    gateway.get("/nowhere-logged").expect_ok();
    gateway.sigterm();
    gateway.wait_exit(crate::support::PATIENCE);
    assert_eq!(gateway.access_log().len(), 0);
}

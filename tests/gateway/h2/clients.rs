//! Clients of other people speak HTTP/2 with the gateway: curl, nghttp, h2load; `.ci/need` installs them.

use std::process::{Command, Stdio};

use crate::support::{Echo, Setup};

/// Runs `program`; `None` where it is not installed, which the checks of a submission do not allow.
fn run(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .output();
    let output = match output {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let strict = std::env::var_os("CI").is_some_and(|value| value == "true");
            assert!(!strict, "{program} is missing: `make test` installs it");
            eprintln!("{program} is missing: not checked");
            return None;
        }
        output => output.unwrap(),
    };
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let complained = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program}: {said} {complained}");
    Some(said)
}

#[test]
fn curl_speaks_http2() {
    let echo = Echo::start("app");
    let gateway = Setup::to(echo.address()).start();
    let url = format!("http://{}/curl", gateway.address());
    let asked = [
        "--silent",
        "--fail",
        "--max-time",
        "10",
        "--http2-prior-knowledge",
    ];
    let with = |more: &[&str]| {
        let arguments = [&asked[..], more, &[&url]].concat();
        run("curl", &arguments)
    };
    let written = [
        "--output",
        "/dev/null",
        "--write-out",
        "%{http_version} %{http_code}",
    ];
    let Some(said) = with(&written) else { return };
    assert_eq!(said, "2 200");
    let body = "b".repeat(300_000);
    let file = gateway.directory().join("body");
    std::fs::write(&file, &body).unwrap();
    let data = format!("@{}", file.display());
    let report: serde_json::Value =
        serde_json::from_str(&with(&["--data-binary", &data]).unwrap()).unwrap();
    assert_eq!(report["body"], body);
    // An upgrade from HTTP/1.1 is not offered.
    let upgrade = [
        "--silent",
        "--max-time",
        "10",
        "--http2",
        "--output",
        "/dev/null",
        "--write-out",
        "%{http_version} %{http_code}",
        &url,
    ];
    assert_eq!(run("curl", &upgrade).unwrap(), "1.1 403");
}

#[test]
fn nghttp_speaks_http2() {
    let echo = Echo::start("app");
    let gateway = Setup::to(echo.address()).start();
    let url = format!("http://{}/nghttp", gateway.address());
    let Some(said) = run("nghttp", &["--timeout=10", "--multiply=20", "--stat", &url]) else {
        return;
    };
    assert_eq!(said.matches("\"target\":\"/nghttp\"").count(), 20, "{said}");
    assert_eq!(echo.upstream().requests().len(), 20);
}

#[test]
fn h2load_fails_nothing() {
    let echo = Echo::start("app");
    let gateway = Setup::to(echo.address())
        .top("logging: { access: off }")
        .before("match: { path_prefix: /own }, respond: { status: 200, body: hello }")
        .start();
    for (path, requests) in [("/own", "5000"), ("/app", "500")] {
        let url = format!("http://{}{path}", gateway.address());
        let arguments = [
            "--requests",
            requests,
            "--clients",
            "8",
            "--max-concurrent-streams",
            "20",
            &url,
        ];
        let Some(said) = run("h2load", &arguments) else {
            return;
        };
        let expected =
            format!("{requests} done, {requests} succeeded, 0 failed, 0 errored, 0 timeout");
        assert!(said.contains(&expected), "{said}");
    }
    gateway.await_metric("tidegate_connections", &[], 0.0);
}

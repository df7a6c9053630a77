//! R108, R109, R147 and parts of R154 to R159: what is an error of the file, with its line, before anything runs.

use std::fs;
use std::process::Command;

use crate::support::unique_directory;

/// What `check` says about a file with this route, which begins on line 3; `None` if it is fine.
fn complaint(route: &str) -> Option<String> {
    let text = format!(
        "listeners: [{{ bind: \"127.0.0.1:0\" }}]\nroutes:\n  - {route}\nupstreams:\n  \
         v1: {{ endpoints: [\"http://127.0.0.1:9\"] }}\n  v2: {{ endpoints: [\"http://127.0.0.1:9\"] }}\n"
    );
    let directory = unique_directory();
    let path = directory.join("gateway.yaml");
    fs::write(&path, text).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_tidegate"))
        .arg("check")
        .arg(&path)
        .output()
        .unwrap();
    fs::remove_dir_all(directory).unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    match output.status.code() {
        Some(0) => None,
        Some(1) => Some(said),
        other => panic!("check ended with {other:?}: {said}"),
    }
}

/// Fails unless the route is refused, on its line, for what it says and not for being too new, in all of these words.
fn expect_refused(name: &str, route: &str, words: &[&str]) {
    let said = complaint(route).unwrap_or_else(|| panic!("{name}: {route} is taken"));
    assert!(said.contains("gateway.yaml:3:"), "{name}: {said}");
    assert!(!said.contains("not available"), "{name}: {said}");
    // The source line stands in the report too, and names everything.
    let source = said
        .lines()
        .find(|line| line.contains(route))
        .unwrap_or_else(|| panic!("{name}: no source line in {said}"));
    let told = said.replace(source, "").to_lowercase();
    for word in words {
        assert!(
            told.contains(&word.to_lowercase()),
            "{name}: no {word} in {said}"
        );
    }
}

#[test]
fn changes_of_fields_belong_to_the_route() {
    assert_eq!(
        complaint("{ upstream: { v1: 1, v2: 1 }, request_headers: { set: { X-A: a } } }"),
        None
    );
    expect_refused(
        "R108",
        "{ upstream: { v1: { weight: 1, request_headers: { set: { X-A: a } } }, v2: 1 } }",
        &[],
    );
}

#[test]
fn fields_that_frame_a_message_cannot_be_set() {
    for verb in ["set", "add"] {
        for name in [
            "Host",
            "Connection",
            "Content-Length",
            "Transfer-Encoding",
            "transfer-ENCODING",
        ] {
            let route =
                format!("{{ upstream: v1, request_headers: {{ {verb}: {{ {name}: x }} }} }}");
            expect_refused("R109", &route, &[name]);
        }
        for name in ["Connection", "Content-Length", "Transfer-Encoding"] {
            let route =
                format!("{{ upstream: v1, response_headers: {{ {verb}: {{ {name}: x }} }} }}");
            expect_refused("R109", &route, &[name]);
        }
    }
    for keys in ["request_headers", "response_headers"] {
        for value in ["a\\r\\nX-Evil: 1", "a\\nb", "a\\rb", "a\\0b"] {
            let route = format!("{{ upstream: v1, {keys}: {{ set: {{ X-A: \"{value}\" }} }} }}");
            expect_refused("R109", &route, &[]);
        }
        let route = format!("{{ upstream: v1, {keys}: {{ set: {{ \"X A\": a }} }} }}");
        expect_refused("R109", &route, &[]);
    }
}

#[test]
fn weights_that_choose_nobody() {
    expect_refused("R147", "{ upstream: { v1: 0, v2: 0 } }", &["weight"]);
    assert_eq!(complaint("{ upstream: { v1: 0, v2: 1 } }"), None);
}

#[test]
fn a_time_of_nothing() {
    for (name, key) in [("R154", "request"), ("R157", "response")] {
        expect_refused(
            name,
            &format!("{{ upstream: v1, timeouts: {{ {key}: 0s }} }}"),
            &["0s"],
        );
    }
    assert_eq!(
        complaint("{ upstream: v1, timeouts: { request: off, response: off } }"),
        None
    );
}

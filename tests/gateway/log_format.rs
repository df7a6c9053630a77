//! The access log in the form that the file asks for: chosen keys, a text, a sample; all of it live.

use serde_json::Value;

use crate::support::{Client, Echo, Gateway, PATIENCE, Setup, unique_directory, until, until_some};

/// A log file of its own, and the lines in it.
struct Log(std::path::PathBuf);

impl Log {
    fn new() -> Log {
        Log(unique_directory().join("access.log"))
    }

    /// `logging` with further keys of `access`.
    fn keys(&self, keys: &str) -> String {
        format!(
            "logging: {{ access: {{ path: \"{}\", {keys} }} }}",
            self.0.display()
        )
    }

    fn lines(&self) -> Vec<String> {
        let text = std::fs::read_to_string(&self.0).unwrap_or_default();
        text.split_inclusive('\n')
            .filter_map(|line| line.strip_suffix('\n'))
            .map(str::to_owned)
            .collect()
    }

    fn await_line(&self, part: &str) -> String {
        until_some(PATIENCE, &format!("a line with {part:?}"), || {
            self.lines().into_iter().find(|line| line.contains(part))
        })
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(self.0.parent().unwrap());
    }
}

fn served(keys: &str) -> (Gateway, Echo, Log, Setup) {
    let (echo, log) = (Echo::start("app"), Log::new());
    let setup = Setup::to(echo.address());
    let gateway = setup.clone().top(&log.keys(keys)).start();
    (gateway, echo, log, setup)
}

#[test]
fn chosen_keys_in_the_chosen_order() {
    let (gateway, _echo, log, _) = served("fields: [status, path, time, reason, method]");
    gateway.get("/chosen").expect_ok();
    gateway
        .client()
        .ask("GET /chosen HTTP/1.1\r\nHost: a b\r\n\r\n");
    let line = log.await_line("\"status\":200");
    let (head, time) = line.split_once(",\"time\":\"").unwrap();
    assert_eq!(head, "{\"status\":200,\"path\":\"/chosen\"");
    let (time, rest) = time.split_once('"').unwrap();
    assert_eq!((time.len(), rest), (24, ",\"method\":\"GET\"}"));
    let refused: Value = serde_json::from_str(&log.await_line("bad_request")).unwrap();
    let keys: Vec<&String> = refused.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["method", "path", "reason", "status", "time"]);
}

#[test]
fn a_text_has_the_values_in_their_places() {
    let (gateway, echo, log, _) = served(
        "format: '{client} {{{route}}} \"{method} {path}\" {status} {reason} {endpoint} {wait_ms} \"{user_agent}\" {bytes_out}'",
    );
    let answer = gateway
        .client()
        .ask("GET /text HTTP/1.1\r\nHost: a.test\r\nUser-Agent: me \"1\"\\\r\n\r\n");
    assert_eq!(
        log.await_line("/text"),
        format!(
            "127.0.0.1 {{all}} \"GET /text\" 200 - {} - \"me \\\"1\\\"\\\\\" {}",
            echo.address(),
            answer.body.len()
        )
    );
    // A head that never became whole has no route, no path, no agent.
    gateway.client().ask("GET / HTTP/1.1\r\nno colon\r\n\r\n");
    let line = log.await_line("bad_request");
    assert!(
        line.starts_with("127.0.0.1 {-} \"- -\" 400 bad_request - - \"-\" "),
        "{line}"
    );
}

#[test]
fn what_a_client_sends_is_one_line_of_text() {
    let (gateway, _echo, log, _) = served("format: '{path} {user_agent} end'");
    let mut request =
        b"GET /%0A%0D%1B HTTP/1.1\r\nHost: a.test\r\nUser-Agent: a\tb\xff\xc2\x9b\xe2\x80\xa8"
            .to_vec();
    request.extend_from_slice(b"\r\n\r\n");
    gateway.client().ask(request);
    gateway.get("/last").expect_ok();
    // Each worker writes what it has in its own time: the later one may be first.
    until(PATIENCE, "both lines", || log.lines().len() >= 2);
    let lines = log.lines();
    assert!(
        lines.len() == 2 && lines.iter().all(|line| line.ends_with(" end")),
        "{lines:?}"
    );
    for line in lines {
        assert!(
            !line.contains(|c: char| c.is_control() || c == '\u{2028}'),
            "{line:?}"
        );
    }
}

#[test]
fn a_sample_keeps_failures_and_its_share_of_the_rest() {
    let (gateway, _echo, log, setup) = served("sample: 0%");
    let mut client = gateway.client();
    for number in 0..200 {
        client.get(&format!("/left-out/{number}")).expect_ok();
    }
    client
        .ask("PUT /kept HTTP/1.1\r\nHost: a.test\r\nExpect: nonsense\r\nContent-Length: 0\r\n\r\n");
    assert!(
        log.await_line("expectation_failed")
            .contains("\"status\":417")
    );
    assert_eq!(log.lines().len(), 1, "{:?}", log.lines());
    gateway.apply(&setup.top(&log.keys("sample: 20%")).text());
    let mut client = gateway.client();
    for number in 0..2000 {
        client.get(&format!("/sampled/{number}")).expect_ok();
    }
    client
        .ask("PUT /end HTTP/1.1\r\nHost: a.test\r\nExpect: nonsense\r\nContent-Length: 0\r\n\r\n");
    until(PATIENCE, "both ends", || {
        log.lines()
            .iter()
            .filter(|line| line.contains("expectation_failed"))
            .count()
            == 2
    });
    let sampled = log
        .lines()
        .iter()
        .filter(|line| line.contains("/sampled/"))
        .count();
    assert!((300..500).contains(&sampled), "{sampled} of 2000 at 20%");
}

#[test]
fn the_form_is_live_and_so_is_off() {
    let (gateway, _echo, log, setup) = served("format: 'one {path}'");
    let mut client = gateway.client();
    client.get("/a").expect_ok();
    assert_eq!(log.await_line("/a"), "one /a");
    gateway.apply(
        &setup
            .clone()
            .top(&log.keys("format: 'two {path} {status}'"))
            .text(),
    );
    client.get("/b").expect_ok();
    assert_eq!(log.await_line("/b"), "two /b 200");
    gateway.apply(&setup.clone().top(&log.keys("fields: [path]")).text());
    client.get("/c").expect_ok();
    assert_eq!(log.await_line("/c"), "{\"path\":\"/c\"}");
    gateway.apply(&setup.clone().top("logging: { access: off }").text());
    client.get("/nowhere").expect_ok();
    gateway.apply(&setup.top(&log.keys("fields: [path]")).text());
    client.get("/d").expect_ok();
    log.await_line("/d");
    assert!(!log.lines().iter().any(|line| line.contains("/nowhere")));
}

#[test]
fn a_rotated_file_is_left_at_a_signal_and_no_line_is_lost() {
    let (gateway, _echo, log, _) = served("fields: [path]");
    let old = log.0.with_extension("1");
    let mut client = Client::connect(gateway.address());
    let mut asked = 0;
    for round in 0..5 {
        for _ in 0..20 {
            client.get(&format!("/{asked}")).expect_ok();
            asked += 1;
        }
        let rotated = log.0.with_extension(format!("{round}"));
        std::fs::rename(&log.0, &rotated).unwrap();
        gateway.sighup();
        until(PATIENCE, "the new file", || log.0.exists());
    }
    let count = || {
        let files = std::fs::read_dir(old.parent().unwrap()).unwrap().flatten();
        files
            .map(|file| {
                std::fs::read_to_string(file.path())
                    .unwrap()
                    .lines()
                    .count()
            })
            .sum::<usize>()
    };
    until(PATIENCE, "all lines in all files", || count() == asked);
}

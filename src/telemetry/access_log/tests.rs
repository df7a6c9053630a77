//! The access log from entry to file.

use std::fs::{self, File};
use std::io::{PipeReader, Read};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::time;

const WALL: u64 = 1_795_224_153_123_000_000;
const SOON: Duration = Duration::from_secs(20);

fn full_entry<'a>() -> Entry<'a> {
    Entry {
        request_id: Some(b"01"),
        client: Some(b"192.0.2.1"),
        listener: Some("web"),
        protocol: Some("HTTP/1.1"),
        method: Some("GET"),
        host: Some(b"example.com"),
        path: Some(b"/a?b=\"c\""),
        route: Some("orders"),
        upstream: Some("app"),
        endpoint: Some("http://127.0.0.1:9000"),
        attempts: Some(1),
        status: Some(504),
        reason: Some("upstream_timeout"),
        limit: Some("all"),
        bytes_in: Some(0),
        bytes_out: Some(u64::MAX),
        duration: Some(Duration::from_micros(12_045)),
        wait: Some(Duration::ZERO),
        connect: Some(Duration::from_micros(999)),
        first_byte: Some(Duration::from_secs(2)),
        identity: Some(b"CN=billing"),
        user_agent: Some(b"curl\x1b[31m"),
        referer: Some(b"\xff"),
    }
}

/// The line in this shape, without its end.
fn shaped(shape: &Shape, entry: &Entry<'_>) -> String {
    let mut out = Vec::new();
    shape.write(&mut out, &mut Stamp::new(), entry, WALL);
    assert_eq!(out.pop(), Some(b'\n'));
    String::from_utf8(out).unwrap()
}

fn usual() -> Shape {
    Shape::json(LogField::ALL, 1_000_000)
}

/// The usual line after its time.
fn line_of(entry: &Entry<'_>) -> String {
    let line = shaped(&usual(), entry);
    let rest = line
        .strip_prefix("{\"time\":\"2026-11-21T01:22:33.123Z\"")
        .unwrap();
    rest.strip_suffix('}').unwrap().to_owned()
}

/// A directory of its own for one test.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Scratch {
        let unique = format!(
            "tidegate-log-{name}-{}-{}",
            std::process::id(),
            time::wall_nanos()
        );
        let path = std::env::temp_dir().join(unique);
        fs::create_dir(&path).unwrap();
        Scratch(path)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[track_caller]
fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let begin = time::now();
    while !holds() {
        assert!(
            time::now().since(begin) < SOON,
            "{what} did not happen in time"
        );
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn a_line_has_the_keys_of_the_contract_in_their_order() {
    let expected = concat!(
        r#","request_id":"01","client":"192.0.2.1","listener":"web","protocol":"HTTP/1.1","method":"GET""#,
        r#","host":"example.com","path":"/a?b=\"c\"","route":"orders","upstream":"app""#,
        r#","endpoint":"http://127.0.0.1:9000","attempts":1,"status":504,"reason":"upstream_timeout","limit":"all","bytes_in":0"#,
        r#","bytes_out":18446744073709551615,"duration_ms":12.045,"wait_ms":0.000,"connect_ms":0.999"#,
        r#","first_byte_ms":2000.000,"identity":"CN=billing","user_agent":"curl\u001b[31m","referer":"\\xff""#,
    );
    assert_eq!(line_of(&full_entry()), expected);
}

#[test]
fn what_is_unknown_is_left_out() {
    assert_eq!(line_of(&Entry::default()), "");
    assert_eq!(
        line_of(&Entry {
            status: Some(408),
            ..Entry::default()
        }),
        r#","status":408"#
    );
}

#[test]
fn a_long_value_is_cut() {
    let long = vec![b'a'; VALUE_BYTES + 1];
    let line = line_of(&Entry {
        user_agent: Some(&long),
        ..Entry::default()
    });
    assert_eq!(line.len(), r#","user_agent":"""#.len() + VALUE_BYTES);
}

proptest! {
    #[test]
    fn every_line_is_one_valid_object_whatever_a_client_sends(
        path in prop::collection::vec(any::<u8>(), 0..100), agent in prop::collection::vec(any::<u8>(), 0..100),
    ) {
        let entry = Entry { path: Some(&path), user_agent: Some(&agent), host: Some(&agent), ..full_entry() };
        let line = shaped(&usual(), &entry);
        let value: serde_json::Value = serde_json::from_str(&line).unwrap();
        prop_assert_eq!(value.as_object().unwrap().len(), 24);
        prop_assert!(!line.contains('\n'));
    }
}

#[test]
fn lines_reach_the_file_and_a_rotated_file_is_left() {
    let scratch = Scratch::new("rotate");
    let (log, old) = (scratch.path("access.log"), scratch.path("access.log.1"));
    fs::write(&log, "kept\n").unwrap();
    let dropped = Arc::<AtomicU64>::default();
    let writer = Writer::start(LogPath::File(log.clone()), Arc::clone(&dropped)).unwrap();
    let mut buffer = Buffer::new(writer.sender());

    buffer.push(
        &Entry {
            status: Some(200),
            ..Entry::default()
        },
        WALL,
        &usual(),
    );
    buffer.flush();
    let first = "kept\n{\"time\":\"2026-11-21T01:22:33.123Z\",\"status\":200}\n";
    until("the first line", || {
        fs::read_to_string(&log).unwrap() == first
    });

    fs::rename(&log, &old).unwrap();
    writer.reopen();
    until("the new file", || log.exists());
    buffer.push(
        &Entry {
            status: Some(201),
            ..Entry::default()
        },
        WALL + 1_000_000,
        &usual(),
    );
    drop(buffer);
    assert!(writer.finish(SOON));
    assert_eq!(fs::read_to_string(&old).unwrap(), first);
    assert_eq!(
        fs::read_to_string(&log).unwrap(),
        "{\"time\":\"2026-11-21T01:22:33.124Z\",\"status\":201}\n"
    );
    assert_eq!(dropped.load(Relaxed), 0);
}

#[test]
fn lines_go_elsewhere_after_a_redirect_but_not_to_where_nothing_can_be_opened() {
    let scratch = Scratch::new("redirect");
    let (one, two) = (scratch.path("one.log"), scratch.path("two.log"));
    let writer = Writer::start(LogPath::File(one.clone()), Arc::default()).unwrap();
    assert!(
        writer
            .redirect(LogPath::File(scratch.path("missing/x.log")))
            .is_err()
    );
    writer.redirect(LogPath::File(two.clone())).unwrap();
    let mut buffer = Buffer::new(writer.sender());
    buffer.push(&Entry::default(), WALL, &usual());
    drop(buffer);
    assert!(writer.finish(SOON));
    assert_eq!(fs::read_to_string(&one).unwrap(), "");
    assert_eq!(
        fs::read_to_string(&two).unwrap(),
        "{\"time\":\"2026-11-21T01:22:33.123Z\"}\n"
    );
}

#[test]
fn a_file_that_cannot_be_opened_is_an_error_at_the_start() {
    let scratch = Scratch::new("missing");
    assert!(
        Writer::start(
            LogPath::File(scratch.path("no/such/dir.log")),
            Arc::default()
        )
        .is_err()
    );
}

#[test]
fn a_full_disk_costs_lines_and_nothing_else() {
    let dropped = Arc::<AtomicU64>::default();
    let writer = Writer::start(LogPath::File("/dev/full".into()), Arc::clone(&dropped)).unwrap();
    let mut buffer = Buffer::new(writer.sender());
    for round in 1..=3 {
        buffer.push(&Entry::default(), WALL, &usual());
        buffer.push(&Entry::default(), WALL, &usual());
        buffer.flush();
        until("the count", || dropped.load(Relaxed) == 2 * round);
    }
    let scratch = Scratch::new("full");
    writer.redirect(LogPath::File(scratch.path("log"))).unwrap();
    buffer.push(&Entry::default(), WALL, &usual());
    drop(buffer);
    assert!(writer.finish(SOON));
    assert_eq!(
        fs::read_to_string(scratch.path("log"))
            .unwrap()
            .lines()
            .count(),
        1
    );
    assert_eq!(dropped.load(Relaxed), 6);
}

fn start_on_pipe(dropped: &Arc<AtomicU64>) -> (PipeReader, Writer) {
    let (reader, pipe) = std::io::pipe().unwrap();
    let file = File::from(OwnedFd::from(pipe));
    (
        reader,
        Writer::start_on(LogPath::Stdout, file, Arc::clone(dropped)).unwrap(),
    )
}

#[test]
fn a_reader_that_left_costs_lines_and_nothing_else() {
    let dropped = Arc::<AtomicU64>::default();
    let (reader, writer) = start_on_pipe(&dropped);
    drop(reader);
    let mut buffer = Buffer::new(writer.sender());
    buffer.push(&Entry::default(), WALL, &usual());
    drop(buffer);
    assert!(writer.finish(SOON));
    assert_eq!(dropped.load(Relaxed), 1);
}

#[test]
fn a_reader_that_stalls_never_stops_a_worker_and_every_line_is_written_or_counted() {
    let dropped = Arc::<AtomicU64>::default();
    let (mut reader, writer) = start_on_pipe(&dropped);
    let mut buffer = Buffer::new(writer.sender());
    let path = vec![b'x'; 4096];
    let mut pushed = 0;
    // Nobody reads, so the pipe, then the queue fill up, and this loop ends only if pushing does not wait.
    while dropped.load(Relaxed) == 0 {
        buffer.push(
            &Entry {
                path: Some(&path),
                ..Entry::default()
            },
            WALL,
            &usual(),
        );
        pushed += 1;
    }
    let read = std::thread::spawn(move || {
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        text
    });
    // Until the last lines found a place in the queue again.
    let before = dropped.load(Relaxed);
    drop(buffer);
    assert!(writer.finish(SOON));
    let text = read.join().unwrap();
    assert!(
        text.lines()
            .all(|line| line.starts_with('{') && line.ends_with('}'))
    );
    assert_eq!(text.lines().count() as u64 + dropped.load(Relaxed), pushed);
    assert!(before > 0);
}

#[test]
fn a_stalled_log_does_not_hold_up_the_end() {
    let (reader, writer) = start_on_pipe(&Arc::default());
    let mut buffer = Buffer::new(writer.sender());
    let path = vec![b'x'; 4096];
    for _ in 0..100 {
        buffer.push(
            &Entry {
                path: Some(&path),
                ..Entry::default()
            },
            WALL,
            &usual(),
        );
    }
    drop(buffer);
    assert!(!writer.finish(Duration::from_millis(50)));
    drop(reader);
}

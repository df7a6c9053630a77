//! A clock of the machine that is set gives nobody tokens and takes none from anybody.

use std::fs;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use super::{get_with, is_admitted, limiting};
use crate::support::{Client, Gateway, TIDEGATE, unique_directory};

/// What the gateway under test takes for the wall clock's reading of libc, in the place of libc's own.
const SOURCE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/gateway/limits/clock.c");

const HOUR: i64 = 3600;

fn passing(client: &mut Client, key: &str, count: usize) -> usize {
    let asked = (0..count).map(|_| client.ask(get_with("/own", &format!("x-k: {key}\r\n"))));
    asked.filter(is_admitted).count()
}

/// L13: an hour forward, and two back.
#[test]
fn a_clock_that_is_set_changes_no_bucket() {
    let directory = unique_directory();
    let (library, off_by) = (directory.join("clock.so"), directory.join("off-by"));
    let made = Command::new("cc")
        .args(["-shared", "-fPIC", "-o"])
        .arg(&library)
        .args([SOURCE, "-ldl"])
        .status();
    assert!(made.unwrap().success());
    let set = |seconds: i64| fs::write(&off_by, seconds.to_string()).unwrap();
    set(0);
    let setup = limiting("rate: 1/h, burst: 3, key: header:x-k");
    let path = directory.join("gateway.yaml");
    fs::write(&path, setup.text()).unwrap();
    let mut command = Command::new(TIDEGATE);
    command.env("LD_PRELOAD", library);
    command.env("WALL_CLOCK_OFF_BY", &off_by);
    let gateway = Gateway::spawn_by(command, directory, &path).ready();
    let mut client = gateway.client();
    assert_eq!(passing(&mut client, "a", 5), 3);
    for (turn, seconds) in [HOUR, -HOUR].into_iter().enumerate() {
        set(seconds);
        let bytes = 2000 + turn;
        let file = setup
            .clone()
            .listener(&format!("limits: {{ uri_bytes: {bytes}B }}"));
        gateway.apply(&file.text());
        // The gateway does see the clock that was set.
        let reloaded = gateway.metric("tidegate_config_last_success_timestamp_seconds", &[]);
        let real = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let seen = reloaded.unwrap() - real.as_secs_f64();
        assert!((seen - seconds as f64).abs() < 600.0, "off by {seen}");
        assert_eq!(passing(&mut client, "a", 3), 0, "off by {seconds} s");
        assert_eq!(passing(&mut client, &format!("new-{turn}"), 5), 3);
        let bucket = gateway.admin_get("/limits/one/a", "").json();
        let full_in = bucket["full_in_seconds"].as_f64().unwrap();
        assert!((9600.0..=10800.0).contains(&full_in), "{full_in}");
    }
}

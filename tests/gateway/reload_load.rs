//! Reloads in great number under load, and the end of the process in the middle of a writing: nothing is lost by either.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use crate::support::{Gateway, PATIENCE, Upstream, answer, scale, until};

/// Routes that come and go; each generation has another third of them, in two alternating spellings.
const ROUTES: usize = 300;

/// What the allocator may take later than at first; less than the snapshots of a third of the reloads take.
const GROWTH: u64 = 12 << 20;

/// A file whose route `load` is always the same, with other routes and upstreams than `number - 1` had.
fn generation(number: usize, upstream: &Upstream) -> String {
    let mut text = String::from(
        "workers: 2\nadmin: { bind: \"127.0.0.1:0\" }\nlogging: { access: off }\n\
         listeners: [{ name: main, bind: \"127.0.0.1:0\", limits: { requests_per_connection: off } }]\nroutes:\n",
    );
    for route in (0..ROUTES).filter(|route| route % 3 != number % 3) {
        text += &format!(
            "  - {{ name: route-{route}, match: {{ path: /{route} }}, respond: {{ status: 200, body: \"{number}\" }} }}\n"
        );
    }
    let address = upstream.address();
    text += "  - { name: load, match: { path_prefix: /load }, upstream: stays }\n";
    text += &format!("  - {{ name: other, upstream: other-{} }}\n", number % 2);
    text += &format!("upstreams:\n  stays: {{ endpoints: [\"http://{address}\"] }}\n");
    text + &format!(
        "  other-{}: {{ endpoints: [\"http://{address}\"] }}\n",
        number % 2
    )
}

#[test]
fn a_thousand_reloads_are_not_felt_by_a_route_that_stays() {
    let upstream = Upstream::answering(answer(200, "served"));
    let gateway = Gateway::start(&generation(0, &upstream));
    let reloads = scale(300, 1_000);
    let (done, served) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        let clients: Vec<_> = (0..3)
            .map(|number| {
                let (gateway, done, served) = (&gateway, &done, &served);
                scope.spawn(move || {
                    let mut client = gateway.client();
                    while !done.load(Ordering::SeqCst) {
                        if number == 0 {
                            client = gateway.client();
                        }
                        let answer = client.get("/load/x");
                        assert_eq!((answer.status, answer.text().as_str()), (200, "served"));
                        served.fetch_add(1, Ordering::SeqCst);
                        // Load, and yet time for what is measured on a small machine.
                        thread::park_timeout(Duration::from_micros(300));
                    }
                })
            })
            .collect();
        let _ends = Ends(&done);
        let mut last = gateway.metrics();
        let mut memory = Vec::new();
        for number in 1..=reloads {
            gateway.apply(&generation(number, &upstream));
            assert!(
                !clients.iter().any(|client| client.is_finished()),
                "a client failed"
            );
            let route = (number + 1) % 3;
            let said = gateway.get(&format!("/{route}")).expect_ok().text();
            assert_eq!(said, number.to_string(), "the new generation, wholly");
            gateway.get("/elsewhere").expect_ok();
            let now = gateway.metrics();
            now.expect_not_below(&last);
            last = now;
            memory.push(gateway.rss());
        }
        // The most of the beginning and the least of the end: what comes and goes between is no growth.
        let early = memory[..reloads / 2].iter().max().unwrap();
        let late = memory[reloads * 4 / 5..].iter().min().unwrap();
        let grown = late.saturating_sub(*early);
        eprintln!(
            "memory: {} KiB at first, {} KiB at last",
            early >> 10,
            late >> 10
        );
        assert!(grown < GROWTH, "{} KiB more", grown >> 10);
    });
    let served = served.load(Ordering::SeqCst);
    assert!(served > reloads, "hardly any load: {served}");
    #[allow(clippy::cast_precision_loss)]
    let served = served as f64;
    let labels = [("route", "load"), ("status", "200")];
    gateway.await_metric("tidegate_requests_total", &labels, served);
    assert_eq!(
        gateway.metric("tidegate_gateway_responses_total", &[]),
        None,
        "no answer was ours"
    );
}

/// Ends the load however the test ends.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// A file that no beginning of it can stand for: what must be there stands in its last line.
fn saying(word: &str) -> String {
    let mut text = format!(
        "workers: 1\nadmin: off\nroutes:\n  - {{ match: {{ path: /word }}, respond: {{ body: \"{word}\" }} }}\n"
    );
    for line in 0..200 {
        text += &format!("# Line {line} of what makes the file longer than one write.\n");
    }
    text + "listeners: [{ name: main, bind: \"127.0.0.1:0\" }]\n"
}

/// What a start on the file comes to: a word that is served, or a refusal.
#[derive(Debug, PartialEq)]
enum Start {
    Serves(String),
    Refuses,
}

/// Starts on the file of `before`, which has ended; fails unless it serves, or refuses with words about this file.
fn start_again(before: &Gateway) -> (Gateway, Start) {
    let mut gateway = Gateway::spawn_in(before.directory().to_owned(), "gateway.yaml");
    let begun = |gateway: &Gateway| gateway.count_stderr("ready generation=1") > 0;
    until(PATIENCE, "it serves or ends", || {
        begun(&gateway) || !gateway.is_alive()
    });
    if begun(&gateway) {
        let gateway = gateway.ready();
        let word = gateway.get("/word").expect_ok().text();
        return (gateway, Start::Serves(word));
    }
    let status = gateway.wait_exit(PATIENCE);
    assert!(matches!(status.code(), Some(1 | 2)), "{status:?}");
    let said = gateway.stderr_lines().join("\n");
    let problem = said.contains("error:") && said.contains("gateway.yaml");
    assert!(problem && !said.contains("panicked"), "{said}");
    (gateway, Start::Refuses)
}

#[test]
fn killed_at_every_stage_of_a_writing() {
    const PIECES: usize = 10;
    // All are kept to the end: the directory goes with the first of them that goes.
    let mut gateways = vec![Gateway::start(&saying("0"))];
    for stage in 0..=PIECES {
        let gateway = gateways.last_mut().unwrap();
        let (word, mut writer) = (stage + 1, File::create(gateway.config_path()).unwrap());
        let text = saying(&word.to_string());
        let pieces: Vec<&[u8]> = text
            .as_bytes()
            .chunks(text.len().div_ceil(PIECES))
            .collect();
        for piece in &pieces[..stage] {
            writer.write_all(piece).unwrap();
        }
        gateway.kill();
        let whole = Start::Serves(word.to_string());
        let (next, start) = start_again(gateway);
        gateways.push(next);
        if stage < PIECES {
            assert_eq!(start, Start::Refuses, "stage {stage}");
            for piece in &pieces[stage..] {
                writer.write_all(piece).unwrap();
            }
            let (next, start) = start_again(&gateways[0]);
            assert_eq!(start, whole, "after stage {stage}");
            gateways.push(next);
        } else {
            assert_eq!(start, whole);
        }
    }
}

#[test]
fn killed_and_started_while_somebody_writes() {
    let mut gateways = vec![Gateway::start(&saying("0"))];
    let file = gateways[0].config_path();
    let (done, written) = (AtomicBool::new(false), AtomicUsize::new(0));
    let (mut serves, mut refuses) = (0, 0);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::SeqCst) {
                let number = written.fetch_add(1, Ordering::SeqCst) + 1;
                write_somehow(&file, number);
            }
        });
        let _ends = Ends(&done);
        for _ in 0..scale(20, 200) {
            let gateway = gateways.last_mut().unwrap();
            let before = written.load(Ordering::SeqCst);
            if gateway.is_alive() {
                gateway.kill();
            }
            let (next, start) = start_again(gateway);
            match start {
                Start::Serves(word) => {
                    let word: usize = word.parse().expect("one of the words that were written");
                    let now = written.load(Ordering::SeqCst);
                    assert!((before.saturating_sub(1)..=now).contains(&word), "{word}");
                    serves += 1;
                }
                Start::Refuses => refuses += 1,
            }
            gateways.push(next);
        }
    });
    assert!(serves > 0, "refused {refuses} times");
}

/// By a rename, in place, or in place with a rest in the middle.
fn write_somehow(file: &Path, number: usize) {
    let text = saying(&number.to_string());
    let (first, second) = text.split_at(text.len() / 2);
    match number % 3 {
        0 => {
            fs::write(file.with_extension("new"), &text).unwrap();
            fs::rename(file.with_extension("new"), file).unwrap();
        }
        1 => fs::write(file, &text).unwrap(),
        _ => {
            let mut writer = File::create(file).unwrap();
            writer.write_all(first.as_bytes()).unwrap();
            thread::park_timeout(Duration::from_millis(20));
            writer.write_all(second.as_bytes()).unwrap();
        }
    }
    // Time in which the file is whole.
    thread::park_timeout(Duration::from_millis(20));
}

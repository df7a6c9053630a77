//! The ways in which a file changes, many times each: no content is missed, none is served in part, and none comes late.
//!
//! Every beginning of the file that ends with a line is a valid file too, which says `half` where the whole one says
//! a word: a gateway that takes up what is still being written is caught, not saved by the grammar.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::operator;
use crate::support::{
    Client, Gateway, PATIENCE, TIDEGATE, mounted, scale, unique_directory, until, without_events,
};

const SOON: Duration = Duration::from_secs(1);
const SOON_WITHOUT_EVENTS: Duration = Duration::from_secs(3);

/// A writer that rests longer than this may be taken for one that has finished: that is what the watch promises.
const LONGEST_REST: Duration = Duration::from_millis(700);

/// A file that answers `/word` with `word`, if it is whole.
fn saying(word: usize) -> String {
    let mut text = String::from(
        "workers: 1\nadmin: { bind: \"127.0.0.1:0\" }\nlogging: { access: off }\n\
         listeners: [{ name: main, bind: \"127.0.0.1:0\", limits: { requests_per_connection: off } }]\n\
         routes:\n  - { match: { path_prefix: / }, respond: { body: half } }\n",
    );
    for line in 0..100 {
        text += &format!("  # Line {line} of what makes the file longer than one write.\n");
    }
    text + &format!("  - {{ match: {{ path: /word }}, respond: {{ body: \"{word}\" }} }}\n")
}

/// One gateway and the file that it runs on.
struct Lane {
    gateway: Gateway,
    /// The file, as those see it who write it.
    file: PathBuf,
    /// The writer was held up for so long that what it had written could be taken for all.
    held_up: bool,
}

impl Lane {
    fn new() -> Lane {
        Lane::by(Command::new(TIDEGATE))
    }

    fn by(command: Command) -> Lane {
        let directory = unique_directory();
        let file = directory.join("gateway.yaml");
        fs::write(&file, saying(0)).unwrap();
        Lane::on(Gateway::spawn_by(command, directory, &file).ready(), file)
    }

    fn on(gateway: Gateway, file: PathBuf) -> Lane {
        Lane {
            gateway,
            file,
            held_up: false,
        }
    }

    fn word(&self) -> String {
        self.gateway.get("/word").expect_ok().text()
    }

    fn reloads(&self, result: &str) -> f64 {
        let name = "tidegate_config_reloads_total";
        let count = self.gateway.metric(name, &[("result", result)]);
        count.unwrap_or(0.0)
    }

    /// Writes `text` in place in pieces, with a rest before each.
    fn write_slowly(&mut self, text: &str, pieces: usize, rest: Duration) {
        let mut file = File::create(&self.file).unwrap();
        for piece in text.as_bytes().chunks(text.len().div_ceil(pieces)) {
            let begin = Instant::now();
            thread::park_timeout(rest);
            file.write_all(piece).unwrap();
            self.held_up |= begin.elapsed() > LONGEST_REST;
        }
    }
}

/// Makes `scale(20, 1000)` changes, spread over `lanes` gateways that `start` makes: each is served within `limit`
/// (the middle one: a machine that is busy with other tests may hold up some), wholly, and makes one generation.
fn change_often(
    lanes: usize,
    limit: Duration,
    start: impl Fn() -> Lane + Sync,
    change: impl Fn(&mut Lane, usize) + Sync,
) {
    let rounds = scale(20, 1_000) / lanes;
    thread::scope(|scope| {
        for _ in 0..lanes {
            scope.spawn(|| {
                let mut lane = start();
                let mut took = change_one_lane(&mut lane, rounds, &change);
                took.sort();
                let middle = took[took.len() / 2];
                assert!(middle < limit, "too late: {took:?}");
            });
        }
    });
}

fn change_one_lane(
    lane: &mut Lane,
    rounds: usize,
    change: &(impl Fn(&mut Lane, usize) + Sync),
) -> Vec<Duration> {
    let done = AtomicBool::new(false);
    let address = lane.gateway.address();
    thread::scope(|scope| {
        let witness = scope.spawn(|| {
            let (mut client, mut heard) = (Client::connect(address), Vec::new());
            while !done.load(Ordering::SeqCst) {
                let word = client.get("/word").expect_ok().text();
                if heard.last() != Some(&word) {
                    heard.push(word);
                }
                thread::park_timeout(Duration::from_millis(2));
            }
            heard
        });
        let took = (1..=rounds)
            .map(|round| {
                change(lane, round);
                let begin = Instant::now();
                until(PATIENCE, &format!("change {round} is served"), || {
                    done.store(witness.is_finished(), Ordering::SeqCst);
                    lane.word() == round.to_string()
                });
                begin.elapsed()
            })
            .collect();
        done.store(true, Ordering::SeqCst);
        let heard = witness.join().expect("every answer is whole");
        if !lane.held_up {
            expect_whole(&heard, rounds);
            // A file that came as it was is no change; whatever was applied was one of ours.
            #[allow(clippy::cast_precision_loss)]
            let wanted = rounds as f64;
            assert_eq!(lane.reloads("applied"), wanted, "one generation each");
        }
        took
    })
}

/// Only words that were written, in the order in which they were written.
fn expect_whole(heard: &[String], rounds: usize) {
    let numbers: Vec<usize> = heard
        .iter()
        .map(|word| {
            word.parse()
                .unwrap_or_else(|_| panic!("{word:?} in {heard:?}"))
        })
        .collect();
    assert!(numbers.is_sorted(), "back to an older content: {numbers:?}");
    assert!(
        numbers.last().is_some_and(|last| *last <= rounds),
        "{numbers:?}"
    );
}

fn replace(file: &Path, text: &str) {
    let fresh = file.with_extension("new");
    fs::write(&fresh, text).unwrap();
    fs::rename(fresh, file).unwrap();
}

#[test]
fn another_file_renamed_over_it() {
    assert!(hears_events(&Lane::new().gateway));
    change_often(2, SOON, Lane::new, |lane, round| {
        replace(&lane.file, &saying(round));
    });
}

/// As some editors do: the old file is kept under another name first.
#[test]
fn the_old_file_kept_and_a_new_one_in_its_place() {
    change_often(2, SOON, Lane::new, |lane, round| {
        fs::rename(&lane.file, lane.file.with_extension("yaml~")).unwrap();
        fs::write(&lane.file, saying(round)).unwrap();
    });
}

#[test]
fn written_in_place() {
    change_often(2, SOON, Lane::new, |lane, round| {
        fs::write(&lane.file, saying(round)).unwrap();
    });
}

#[test]
fn written_in_place_slowly() {
    change_often(4, SOON, Lane::new, |lane, round| {
        lane.write_slowly(&saying(round), 12, Duration::from_millis(60));
    });
}

#[test]
fn truncated_and_then_written() {
    change_often(4, SOON, Lane::new, |lane, round| {
        let rest = Duration::from_millis(150 * (round as u64 % 4));
        lane.write_slowly(&saying(round), 1, rest);
    });
}

/// As Kubernetes mounts a ConfigMap: a link to a directory is swapped, and the directory before it removed.
#[test]
fn the_link_to_its_directory_swapped() {
    let version = |directory: &Path, round: usize| directory.join(format!("..{round}"));
    let start = || {
        let directory = unique_directory();
        fs::create_dir(version(&directory, 0)).unwrap();
        fs::write(version(&directory, 0).join("gateway.yaml"), saying(0)).unwrap();
        symlink("..0", directory.join("..data")).unwrap();
        symlink("..data/gateway.yaml", directory.join("gateway.yaml")).unwrap();
        let file = directory.join("gateway.yaml");
        Lane::on(Gateway::start_in(directory, "gateway.yaml"), file)
    };
    change_often(2, SOON, start, |lane, round| {
        let directory = lane.gateway.directory();
        let fresh = version(directory, round);
        fs::create_dir(&fresh).unwrap();
        fs::write(fresh.join("gateway.yaml"), saying(round)).unwrap();
        symlink(fresh.file_name().unwrap(), directory.join("..data_tmp")).unwrap();
        fs::rename(directory.join("..data_tmp"), directory.join("..data")).unwrap();
        fs::remove_dir_all(version(directory, round - 1)).unwrap();
    });
}

/// As a container sees a directory of its host. Where mounts are not permitted, a link stands for the mount.
#[test]
fn written_on_the_other_side_of_a_mount() {
    let start = || {
        let directory = unique_directory();
        let (host, inside) = (directory.join("host"), directory.join("inside"));
        fs::create_dir(&host).unwrap();
        fs::create_dir(&inside).unwrap();
        let file = host.join("gateway.yaml");
        fs::write(&file, saying(0)).unwrap();
        let command = mounted(&host, &inside).unwrap_or_else(|| {
            fs::remove_dir(&inside).unwrap();
            symlink(&host, &inside).unwrap();
            Command::new(TIDEGATE)
        });
        let gateway = Gateway::spawn_by(command, directory, &inside.join("gateway.yaml"));
        Lane::on(gateway.ready(), file)
    };
    change_often(2, SOON, start, |lane, round| {
        if round % 2 == 0 {
            replace(&lane.file, &saying(round));
        } else {
            fs::write(&lane.file, saying(round)).unwrap();
        }
    });
}

/// The directory itself is another one each time. No event tells whether a file that came with it is whole: only rest does.
#[test]
fn in_another_directory_of_the_same_name() {
    let start = || {
        let directory = unique_directory();
        let file = directory.join("conf/gateway.yaml");
        fs::create_dir(directory.join("conf")).unwrap();
        fs::write(&file, saying(0)).unwrap();
        Lane::on(Gateway::start_in(directory, "conf/gateway.yaml"), file)
    };
    change_often(4, SOON_WITHOUT_EVENTS, start, |lane, round| {
        let directory = lane.gateway.directory();
        let fresh = directory.join("fresh");
        fs::create_dir(&fresh).unwrap();
        fs::write(fresh.join("gateway.yaml"), saying(round)).unwrap();
        fs::rename(
            directory.join("conf"),
            directory.join(format!("old-{round}")),
        )
        .unwrap();
        fs::rename(fresh, directory.join("conf")).unwrap();
    });
}

/// Gone for a moment, or for so long that its absence is noticed: what was in force stays in force.
#[test]
fn removed_and_back() {
    change_often(5, SOON, Lane::new, |lane, round| {
        let refused = lane.reloads("rejected");
        fs::remove_file(&lane.file).unwrap();
        if round % 2 == 0 {
            until(PATIENCE, "the absence is noticed", || {
                lane.reloads("rejected") > refused
            });
            assert_eq!(lane.word(), (round - 1).to_string());
        }
        fs::write(&lane.file, saying(round)).unwrap();
    });
}

/// Network file systems send no events. Where a system without events cannot be made, the tests of the watch hold it.
#[test]
fn on_a_system_without_events() {
    if without_events().is_none() {
        return;
    }
    let start = || {
        let lane = Lane::by(without_events().unwrap());
        assert!(!hears_events(&lane.gateway), "there are events after all");
        lane
    };
    change_often(5, SOON_WITHOUT_EVENTS, start, |lane, round| {
        if round % 2 == 0 {
            replace(&lane.file, &saying(round));
        } else {
            fs::write(&lane.file, saying(round)).unwrap();
        }
    });
}

/// Does the process hold a subscription to file events?
fn hears_events(gateway: &Gateway) -> bool {
    let open = fs::read_dir(format!("/proc/{}/fd", gateway.pid())).unwrap();
    let mut targets = open.filter_map(|entry| fs::read_link(entry.unwrap().path()).ok());
    targets.any(|target| target.to_string_lossy().contains("inotify"))
}

/// Without events, where that is possible, so that nothing but the signal can be what was heard.
fn deaf_lane() -> Lane {
    Lane::by(without_events().unwrap_or_else(|| Command::new(TIDEGATE)))
}

#[test]
fn told_by_a_signal() {
    change_often(2, SOON, deaf_lane, |lane, round| {
        replace(&lane.file, &saying(round));
        lane.gateway.sighup();
    });
}

/// The answer comes when the new content is served, and tells what it was.
#[test]
fn told_by_a_request() {
    change_often(2, SOON, deaf_lane, |lane, round| {
        replace(&lane.file, &saying(round));
        let report = operator::reload(&lane.gateway, "").expect_ok().json();
        assert_eq!(report["result"], "applied", "{report}");
        assert_eq!(report["generation"], round + 1, "{report}");
        assert_eq!(lane.word(), round.to_string());
    });
}

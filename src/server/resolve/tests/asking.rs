//! One look-up: which questions are put, which answers are believed, and how long one waits for the rest.

use std::time::Duration;

use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::RecordType::{A, AAAA};

use super::dns::{Dns, Say, addresses};
use super::{Room, ips};
use crate::time;

#[tokio::test]
async fn both_families_are_asked_for_and_sorted() {
    let dns = Dns::start();
    let list = ["10.0.0.2", "fd00::2", "10.0.0.1", "fd00::1", "10.0.0.2"];
    dns.say("app.test", addresses(&list, 60));
    let mut room = Room::new(&[&dns]);
    room.policy.max_ttl = Duration::from_secs(300);
    let first = room.follow(&["app.test"]).await;
    let sorted = ips(&["10.0.0.1", "10.0.0.2", "fd00::1", "fd00::2"]);
    assert_eq!(first.of("app.test"), sorted);
    assert_eq!(
        (dns.asked("app.test", A), dns.asked("app.test", AAAA)),
        (1, 1)
    );
    // A second order does not ask again.
    assert_eq!(room.follow(&["app.test"]).await.of("app.test"), sorted);
    assert_eq!(dns.questions("app.test").len(), 2);
}

#[tokio::test]
async fn the_hosts_file_is_read_first_and_again_when_it_changes() {
    let dns = Dns::start();
    dns.say("app.test", addresses(&["10.0.0.9"], 60));
    let hosts = "127.0.0.1 localhost\n10.0.0.1 app.test\n0.0.0.0 blocked.test\n";
    let mut room = Room::with(&[&dns], hosts, "");
    let first = room
        .follow(&["app.test", "localhost", "blocked.test"])
        .await;
    assert_eq!(first.of("localhost"), ips(&["127.0.0.1"]));
    assert_eq!(first.of("app.test"), ips(&["10.0.0.1"]));
    assert!(first.of("blocked.test").is_empty());
    assert!(dns.questions("app.test").is_empty());
    std::fs::write(room.directory.join("hosts"), "10.0.0.2 app.test\n").unwrap();
    room.await_addresses("app.test", &["10.0.0.2"]).await;
    // A name that left the file is asked for; localhost is known without it (RFC 6761, section 6.3).
    std::fs::write(room.directory.join("hosts"), "").unwrap();
    room.await_addresses("app.test", &["10.0.0.9"]).await;
    room.await_addresses("localhost", &["127.0.0.1", "::1"])
        .await;
    assert!(dns.questions("localhost").is_empty());
}

#[tokio::test]
async fn a_late_family_is_waited_for_a_moment_and_added_when_it_comes() {
    let dns = Dns::start();
    for (name, late, other) in [("four.test", AAAA, A), ("six.test", A, AAAA)] {
        dns.say_of(name, other, addresses(&["10.0.0.1", "fd00::1"], 60));
        let say = Box::new(addresses(&["10.0.0.2", "fd00::2"], 60));
        dns.say_of(name, late, Say::Late(Duration::from_millis(900), say));
    }
    // Here the delay is short enough for both to be there at first.
    dns.say_of("both.test", A, addresses(&["10.0.0.1"], 60));
    let say = Box::new(addresses(&["fd00::1"], 60));
    dns.say_of("both.test", AAAA, Say::Late(Duration::from_millis(10), say));
    let mut room = Room::new(&[&dns]);
    room.policy.max_ttl = Duration::from_secs(300);
    let begin = time::now();
    let first = room.follow(&["four.test", "six.test", "both.test"]).await;
    assert!(
        time::now().since(begin) < Duration::from_millis(800),
        "{:?}",
        time::now().since(begin)
    );
    assert_eq!(first.of("four.test"), ips(&["10.0.0.1"]));
    assert_eq!(first.of("six.test"), ips(&["fd00::1"]));
    assert_eq!(first.of("both.test"), ips(&["10.0.0.1", "fd00::1"]));
    room.await_addresses("four.test", &["10.0.0.1", "fd00::2"])
        .await;
    room.await_addresses("six.test", &["10.0.0.2", "fd00::1"])
        .await;
}

#[tokio::test]
async fn a_family_that_never_answers_costs_nobody_the_other() {
    let dns = Dns::start();
    dns.say_of("app.test", A, addresses(&["10.0.0.1"], 60));
    dns.say_of("app.test", AAAA, Say::Silence);
    let mut room = Room::new(&[&dns]);
    room.policy.timeout = Duration::from_millis(1200);
    let begin = time::now();
    assert_eq!(
        room.follow(&["app.test"]).await.of("app.test"),
        ips(&["10.0.0.1"])
    );
    assert!(time::now().since(begin) < Duration::from_secs(1));
    let standing = room.await_standing("app.test", |s| s.error.is_some()).await;
    assert_eq!(standing.addresses, 1);
    assert!(standing.error.unwrap().contains("no answer within 1.2s"));
}

#[tokio::test]
async fn a_silent_server_bounds_the_first_look_up() {
    let dns = Dns::start();
    dns.say("app.test", Say::Silence);
    dns.say("other.test", addresses(&["10.0.0.1"], 60));
    let mut room = Room::new(&[&dns]);
    room.policy.timeout = Duration::from_millis(400);
    let begin = time::now();
    let first = room.follow(&["app.test", "other.test"]).await;
    let took = time::now().since(begin);
    assert!(
        took >= Duration::from_millis(400) && took < Duration::from_secs(2),
        "{took:?}"
    );
    assert!(first.of("app.test").is_empty());
    assert_eq!(first.of("other.test"), ips(&["10.0.0.1"]));
    dns.say("app.test", addresses(&["10.0.0.2"], 60));
    room.await_addresses("app.test", &["10.0.0.2"]).await;
}

#[tokio::test]
async fn aliases_are_followed_and_their_time_to_live_counts() {
    let dns = Dns::start();
    dns.say("app.test", Say::Alias("one.test", 60));
    dns.say("one.test", Say::Alias("two.test", 0));
    dns.say("two.test", addresses(&["10.0.0.1"], 3600));
    dns.say("loop.test", Say::Alias("loop.test", 60));
    let mut room = Room::new(&[&dns]);
    room.policy.max_ttl = Duration::from_secs(300);
    let first = room.follow(&["app.test", "loop.test"]).await;
    assert_eq!(first.of("app.test"), ips(&["10.0.0.1"]));
    assert!(first.of("loop.test").is_empty());
    // Not an hour: one of the aliases holds for no time.
    dns.say("two.test", addresses(&["10.0.0.2"], 3600));
    room.await_addresses("app.test", &["10.0.0.2"]).await;
}

#[tokio::test]
async fn a_truncated_answer_is_asked_for_again_over_tcp() {
    let dns = Dns::start();
    let many: Vec<String> = (0..200).map(|n| format!("10.0.1.{n}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let say = Box::new(addresses(&many, 60));
    dns.say("app.test", Say::Truncated(say));
    let mut room = Room::new(&[&dns]);
    assert_eq!(room.follow(&["app.test"]).await.of("app.test").len(), 200);
    let questions = dns.questions("app.test");
    assert!(questions.iter().any(|question| question.over_tcp));
    assert!(questions.iter().any(|question| !question.over_tcp));
}

#[tokio::test]
async fn what_does_not_answer_the_question_is_not_believed() {
    let dns = Dns::start();
    dns.say("garbage.test", Say::Garbage);
    dns.say("forged.test", Say::WrongId(ips(&["6.6.6.6"])));
    let ip = |text: &str| text.parse().unwrap();
    dns.say(
        "foreign.test",
        Say::Records(vec![
            ("foreign.test", ip("10.0.0.1"), 60),
            ("other.test", ip("6.6.6.6"), 60),
        ]),
    );
    let nowhere = [
        "0.0.0.0",
        "::",
        "255.255.255.255",
        "224.0.0.1",
        "ff02::1",
        "fe80::1",
    ];
    dns.say("nowhere.test", addresses(&nowhere, 60));
    let mut room = Room::new(&[&dns]);
    room.policy.timeout = Duration::from_millis(700);
    let names = [
        "garbage.test",
        "forged.test",
        "foreign.test",
        "nowhere.test",
        "a..b",
    ];
    let first = room.follow(&names).await;
    assert_eq!(first.of("foreign.test"), ips(&["10.0.0.1"]));
    for name in ["garbage.test", "forged.test", "nowhere.test", "a..b"] {
        assert!(first.of(name).is_empty(), "{name}");
        room.await_standing(name, |s| s.error.is_some()).await;
    }
    // They are asked for again, and believed when they are right.
    for name in ["garbage.test", "forged.test", "nowhere.test"] {
        dns.say(name, addresses(&["10.0.0.2"], 60));
        room.await_addresses(name, &["10.0.0.2"]).await;
    }
}

#[tokio::test]
async fn another_server_is_asked_when_one_fails_or_is_slow() {
    let (broken, silent, good) = (Dns::start(), Dns::start(), Dns::start());
    broken.say("app.test", Say::Code(ResponseCode::Refused));
    broken.say("other.test", Say::Code(ResponseCode::ServFail));
    for name in ["app.test", "other.test"] {
        silent.say(name, Say::Silence);
        good.say(name, addresses(&["10.0.0.1"], 60));
    }
    let mut room = Room::new(&[&broken, &silent, &good]);
    let first = room.follow(&["app.test", "other.test"]).await;
    for name in ["app.test", "other.test"] {
        assert_eq!(first.of(name), ips(&["10.0.0.1"]), "{name}");
        assert!(!broken.questions(name).is_empty());
    }
    // From then on the good one is asked first.
    let before = silent.questions("app.test").len();
    let asked = good.asked("app.test", A);
    super::until("two more rounds", || good.asked("app.test", A) >= asked + 2).await;
    assert_eq!(silent.questions("app.test").len(), before);
}

#[tokio::test]
async fn a_negative_answer_is_an_answer_and_the_next_server_is_not_asked() {
    let (first, second) = (Dns::start(), Dns::start());
    second.say("app.test", addresses(&["10.0.0.1"], 60));
    let mut room = Room::new(&[&first, &second]);
    assert!(room.follow(&["app.test"]).await.of("app.test").is_empty());
    let standing = room.await_standing("app.test", |s| s.error.is_some()).await;
    assert_eq!(standing.error.as_deref(), Some("app.test. does not exist"));
    assert!(second.questions("app.test").is_empty());
}

#[tokio::test]
async fn a_short_name_is_found_below_a_search_domain() {
    let dns = Dns::start();
    dns.say("app.b.test", addresses(&["10.0.0.1"], 60));
    dns.say("web", addresses(&["10.0.0.2"], 60));
    dns.say("failing.a.test", Say::Code(ResponseCode::ServFail));
    dns.say("failing.b.test", addresses(&["6.6.6.6"], 60));
    let mut room = Room::with(&[&dns], "", "search a.test b.test\n");
    let first = room
        .follow(&["app", "web", "failing", "app.internal"])
        .await;
    assert_eq!(first.of("app"), ips(&["10.0.0.1"]));
    assert_eq!(first.of("web"), ips(&["10.0.0.2"]));
    // A failure is no reason to take another name for this one.
    assert!(first.of("failing").is_empty());
    assert!(dns.questions("failing.b.test").is_empty());
    assert!(dns.questions("app.internal.a.test").is_empty());
}

#[tokio::test]
async fn many_names_are_not_asked_for_at_once() {
    let dns = Dns::start();
    let names: Vec<String> = (0..200).map(|n| format!("n{n}.test")).collect();
    for name in &names {
        let say = Box::new(addresses(&["10.0.0.1"], 60));
        dns.say(name, Say::Late(Duration::from_millis(150), say));
    }
    let mut room = Room::new(&[&dns]);
    room.policy.max_ttl = Duration::from_secs(300);
    room.policy.timeout = Duration::from_secs(10);
    let followed: Vec<&str> = names.iter().map(String::as_str).collect();
    let first = room.follow(&followed).await;
    assert!(names.iter().all(|name| first.of(name).len() == 1));
    // Two questions for each of the names that are looked up at once.
    assert_eq!(dns.most_open(), 64);
}

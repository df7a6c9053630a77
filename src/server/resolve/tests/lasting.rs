//! A name over time: when it is looked up again, what it keeps when DNS fails, and when it is forgotten.

use std::sync::Arc;
use std::time::Duration;

use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::RecordType::A;

use super::dns::{Dns, Say, addresses};
use super::{Room, ips, until};

fn pauses(dns: &Dns, name: &str) -> Vec<Duration> {
    let mut questions = dns.questions(name);
    questions.retain(|question| question.kind == A);
    let pairs = questions.windows(2);
    pairs
        .map(|pair| pair[1].at.duration_since(pair[0].at))
        .collect()
}

#[tokio::test]
async fn a_time_to_live_is_honoured_between_its_bounds() {
    let dns = Dns::start();
    dns.say("zero.test", addresses(&["10.0.0.1"], 0));
    dns.say("hour.test", addresses(&["10.0.0.1"], 3600));
    dns.say("one.test", addresses(&["10.0.0.1"], 1));
    let mut room = Room::new(&[&dns]);
    room.policy.min_ttl = Duration::from_millis(300);
    room.policy.max_ttl = Duration::from_millis(1500);
    room.follow(&["zero.test", "hour.test", "one.test"]).await;
    until("four questions each", || {
        ["zero.test", "hour.test", "one.test"]
            .iter()
            .all(|name| dns.asked(name, A) >= 4)
    })
    .await;
    for (name, ttl) in [("zero.test", 300), ("one.test", 1000), ("hour.test", 1500)] {
        let ttl = Duration::from_millis(ttl);
        for pause in pauses(&dns, name).iter().take(3) {
            let early = ttl - Duration::from_millis(20);
            assert!(*pause >= early && *pause < 2 * ttl, "{name}: {pause:?}");
        }
    }
}

#[tokio::test]
async fn a_changed_answer_is_published_and_a_rotated_one_is_not() {
    let dns = Dns::start();
    dns.say("app.test", addresses(&["10.0.0.1", "10.0.0.2"], 0));
    let mut room = Room::new(&[&dns]);
    room.follow(&["app.test"]).await;
    room.await_addresses("app.test", &["10.0.0.1", "10.0.0.2"])
        .await;
    dns.say("app.test", addresses(&["10.0.0.2", "10.0.0.1"], 0));
    let asked = dns.asked("app.test", A);
    until("asked twice more", || dns.asked("app.test", A) >= asked + 2).await;
    assert!(!room.resolver.addresses.has_changed().unwrap());
    dns.say("app.test", addresses(&["10.0.0.3"], 0));
    room.await_addresses("app.test", &["10.0.0.3"]).await;
}

#[tokio::test]
async fn the_last_good_addresses_are_kept_whatever_dns_says() {
    let mut dns = Dns::start();
    dns.say("app.test", addresses(&["10.0.0.1", "fd00::1"], 0));
    let mut room = Room::new(&[&dns]);
    room.policy.timeout = Duration::from_millis(400);
    room.follow(&["app.test"]).await;
    for (say, told) in [
        (Say::Code(ResponseCode::ServFail), "Server Failure"),
        (Say::Silence, "no answer within 400ms"),
        (Say::Code(ResponseCode::NXDomain), "does not exist"),
        (addresses(&[], 0), "has no address"),
        (addresses(&["0.0.0.0", "::"], 0), "has no usable address"),
        (Say::Code(ResponseCode::Refused), "Refused"),
        (Say::Garbage, ""),
    ] {
        dns.say("app.test", say.clone());
        let of_this = |error: &Option<String>| error.as_ref().is_some_and(|e| e.contains(told));
        let standing = room.await_standing("app.test", |s| of_this(&s.error)).await;
        assert_eq!(standing.addresses, 2, "{say:?}");
        assert!(standing.resolved_at.is_some());
        assert_eq!(
            room.of("app.test"),
            ips(&["10.0.0.1", "fd00::1"]),
            "{say:?}"
        );
    }
    dns.stop();
    room.await_standing("app.test", |s| {
        s.error.as_ref().is_some_and(|e| e.contains("no answer"))
    })
    .await;
    assert_eq!(room.of("app.test"), ips(&["10.0.0.1", "fd00::1"]));
    dns.say("app.test", addresses(&["10.0.0.2"], 0));
    dns.restart();
    // The name has no IPv6 address any more: the other family's answer says so.
    room.await_addresses("app.test", &["10.0.0.2"]).await;
    room.await_standing("app.test", |s| s.error.is_none()).await;
}

#[tokio::test]
async fn a_family_that_fails_is_kept_beside_the_other() {
    let dns = Dns::start();
    dns.say("app.test", addresses(&["10.0.0.1", "fd00::1"], 0));
    let mut room = Room::new(&[&dns]);
    room.policy.timeout = Duration::from_millis(300);
    room.follow(&["app.test"]).await;
    dns.say_of("app.test", A, Say::Code(ResponseCode::ServFail));
    dns.say("other.test", addresses(&["10.0.0.9"], 0));
    room.await_standing("app.test", |s| s.error.is_some()).await;
    assert_eq!(room.of("app.test"), ips(&["10.0.0.1", "fd00::1"]));
    dns.say_of("app.test", A, addresses(&["10.0.0.2"], 0));
    room.await_addresses("app.test", &["10.0.0.2", "fd00::1"])
        .await;
}

#[tokio::test]
async fn a_complaint_has_the_name_looked_up_at_once_but_not_for_each() {
    let dns = Dns::start();
    dns.say("app.test", addresses(&["10.0.0.1"], 3600));
    let mut room = Room::new(&[&dns]);
    room.policy.max_ttl = Duration::from_secs(3600);
    room.follow(&["app.test"]).await;
    dns.say("app.test", addresses(&["10.0.0.2"], 3600));
    let name: Arc<str> = Arc::from("app.test");
    let complaints = room.resolver.complaints();
    for _ in 0..100 {
        complaints.unreached(&name);
    }
    complaints.unreached(&Arc::from("unknown.test"));
    room.await_addresses("app.test", &["10.0.0.2"]).await;
    let pauses = pauses(&dns, "app.test");
    assert_eq!(pauses.len(), 1);
    // A second by the rule; the first question may have been seen late.
    assert!(pauses[0] >= Duration::from_millis(500), "{pauses:?}");
}

#[tokio::test]
async fn a_name_that_is_gone_is_not_asked_for_and_has_its_addresses_when_it_is_back() {
    let dns = Dns::start();
    dns.say("app.test", addresses(&["10.0.0.1"], 0));
    dns.say("other.test", addresses(&["10.0.0.2"], 0));
    let mut room = Room::new(&[&dns]);
    room.follow(&["app.test", "other.test"]).await;
    let without = room.follow(&["other.test"]).await;
    assert!(without.of("app.test").is_empty());
    assert!(!room.resolver.standings().borrow().contains_key("app.test"));
    let (gone, other) = (dns.asked("app.test", A), dns.asked("other.test", A));
    until("other.test is followed", || {
        dns.asked("other.test", A) >= other + 3
    })
    .await;
    // One question may have been on its way.
    assert!(dns.asked("app.test", A) <= gone + 1);
    dns.say("app.test", Say::Silence);
    let back = room.follow(&["app.test", "other.test"]).await;
    assert_eq!(back.of("app.test"), ips(&["10.0.0.1"]));
}

#[tokio::test]
async fn another_policy_holds_at_once() {
    let (old, new) = (Dns::start(), Dns::start());
    old.say("app.test", addresses(&["10.0.0.1"], 3600));
    for name in ["app.test", "other.test"] {
        new.say(name, addresses(&["10.0.0.2"], 0));
    }
    let mut room = Room::new(&[&old]);
    room.policy.max_ttl = Duration::from_secs(3600);
    room.follow(&["app.test"]).await;
    room.policy.servers = vec![new.address()];
    let first = room.follow(&["app.test", "other.test"]).await;
    assert_eq!(first.of("other.test"), ips(&["10.0.0.2"]));
    room.await_addresses("app.test", &["10.0.0.2"]).await;
    assert!(old.questions("other.test").is_empty());
}

#[test]
fn a_thread_without_a_runtime_can_wait_for_the_first_answers() {
    let dns = Dns::start();
    dns.say("app.test", addresses(&["10.0.0.1"], 0));
    let mut room = Room::new(&[&dns]);
    let names = [Arc::from("app.test")].into();
    let first = room.resolver.begin(&room.policy, names).unwrap();
    assert_eq!(first.of("app.test"), ips(&["10.0.0.1"]));
}

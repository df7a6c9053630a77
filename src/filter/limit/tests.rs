//! What limits tell, and whose bucket a request is about.

use http::{HeaderMap, HeaderValue, Method};

use super::fields::{Told, policy, retry_after};
use super::*;
use crate::http::key::Part;

fn limit(change: impl FnOnce(&mut Policy)) -> Limit {
    let quota = Quota::new(1, Duration::from_secs(60), 2).unwrap();
    let mut policy = Policy {
        key: Key::client_ip(),
        quota,
        candidate: None,
        max_keys: 1000,
        cost: Cost::Fixed(1),
        on_missing_key: Missing::Client,
        ipv6_prefix: 64,
        exempt: Networks::default(),
        max_wait: Duration::ZERO,
        max_waiting: 2,
        is_enforced: true,
        headers: Headers::Refused,
    };
    change(&mut policy);
    let room = Arc::new(Room::new(1 << 20));
    let buckets = Buckets::new(policy.quota, 1000, room, Seed::random(), Nanos(0));
    Limit {
        name: "one".into(),
        policy,
        place: Place::Local,
        buckets: Arc::new(buckets),
        stats: Arc::new(LimitStats::new(1)),
        shown: String::new(),
    }
}

fn whose(limit: &Limit, client: &str, headers: &HeaderMap) -> Whose {
    let facts = Facts {
        client: client.parse().unwrap(),
        host: b"a.test",
        path: "/a",
        query: None,
        method: &Method::GET,
        headers,
        route: "",
        connection: 1,
        subject: b"",
    };
    limit.identify(&facts, &mut vec![7; 99])
}

#[test]
fn a_bucket_is_found_by_the_text_of_its_key() {
    let headers = HeaderMap::new();
    let plain = limit(|_| {});
    let Whose::Key(key) = whose(&plain, "2001:db8::1", &headers) else {
        panic!("it has a key")
    };
    assert_eq!(plain.find("2001:db8::ffff"), Some(key));
    assert_ne!(plain.find("2001:db8:0:1::"), Some(key));
    assert_eq!(plain.find("nowhere"), None);
    let tenant =
        limit(|policy| policy.key = Key::new(vec![Key::parse_part("header:x-k").unwrap()]));
    let Whose::Key(key) = whose(&tenant, "192.0.2.1", &headers) else {
        panic!("the address is its key")
    };
    assert_eq!(tenant.find("client_ip=192.0.2.1"), Some(key));
    assert_ne!(tenant.find("192.0.2.1"), Some(key));
    let mut named = HeaderMap::new();
    named.append("x-k", HeaderValue::from_static("192.0.2.1"));
    let Whose::Key(key) = whose(&tenant, "192.0.2.9", &named) else {
        panic!("it has a key")
    };
    assert_eq!(tenant.find("192.0.2.1"), Some(key));
}

#[test]
fn who_is_exempt_or_has_no_key_has_no_bucket() {
    let headers = HeaderMap::new();
    let exempt = limit(|policy| policy.exempt = Networks::new(&[([192, 0, 2, 0].into(), 24)]));
    assert_eq!(whose(&exempt, "192.0.2.77", &headers), Whose::Exempt);
    assert!(matches!(
        whose(&exempt, "192.0.3.77", &headers),
        Whose::Key(_)
    ));
    for (missing, expected) in [
        (Missing::Allowed, Whose::Allowed),
        (Missing::Denied, Whose::Denied),
    ] {
        let limit = limit(|policy| {
            policy.key = Key::new(vec![Part::Path, Part::ClientCert]);
            policy.on_missing_key = missing;
        });
        assert_eq!(whose(&limit, "192.0.2.1", &headers), expected);
    }
}

#[test]
fn places_to_wait_are_counted() {
    let limit = limit(|_| {});
    let buckets = limit.buckets();
    assert!(buckets.begin_to_wait(2) && buckets.begin_to_wait(2) && !buckets.begin_to_wait(2));
    buckets.end_to_wait();
    assert!(buckets.begin_to_wait(2) && buckets.waiting() == 2);
}

#[test]
fn a_candidate_begins_when_it_is_enforced_and_is_a_bucket_of_its_own() {
    let quota = Quota::new(1, Duration::from_secs(60), 1).unwrap();
    let limit = limit(|policy| policy.candidate = Some(quota));
    let key = limit.find("192.0.2.1").unwrap();
    let now = Nanos(1_000_000_000);
    assert_eq!(limit.take_from_candidate(key, 1, now), None);
    limit.enforce(now);
    assert_eq!(limit.take_from_candidate(key, 1, now), Some(true));
    assert_eq!(limit.take_from_candidate(key, 1, now), Some(false));
    let used = Use {
        key,
        bytes: b"",
        cost: 2,
        patience: Duration::ZERO,
    };
    let said = limit.take(used, now);
    assert!(matches!(said, Said::Verdict(verdict, Source::Local) if verdict.admitted));
    limit.buckets().give_back_to_candidate(key, 1, now);
    assert_eq!(limit.take_from_candidate(key, 1, now), Some(true));
}

#[test]
fn a_window_is_how_long_an_empty_bucket_takes_rounded_up() {
    let said = |tokens, seconds, burst| policy("a", tokens, Duration::from_secs(seconds), burst);
    assert_eq!(said(10, 1, 20), "\"a\";q=20;w=2");
    assert_eq!(said(3, 1, 3), "\"a\";q=3;w=1");
    assert_eq!(said(3, 1, 4), "\"a\";q=4;w=2");
    assert_eq!(said(1, 3600, 5), "\"a\";q=5;w=18000");
    assert_eq!(said(1_000_000, 1, 1), "\"a\";q=1;w=1");
}

#[test]
fn several_limits_are_items_of_one_list() {
    let mut told = Told::default();
    told.add("a", "\"a\";q=2;w=1", 1, Duration::from_millis(1500));
    told.add("b", "\"b\";q=9;w=9", 0, Duration::from_secs(9));
    let mut headers = HeaderMap::new();
    headers.append("ratelimit", HeaderValue::from_static("theirs"));
    told.write(&mut headers);
    assert_eq!(headers["ratelimit"], "\"a\";r=1;t=2, \"b\";r=0;t=9");
    assert_eq!(headers["ratelimit-policy"], "\"a\";q=2;w=1, \"b\";q=9;w=9");
    assert_eq!(headers.len(), 2);
    Told::default().write(&mut headers);
    assert_eq!(headers.len(), 2, "nothing is told of nothing");
}

#[test]
fn a_wait_is_told_in_whole_seconds_and_never_too_short() {
    let said = |wait| retry_after(wait).map(|(_, value)| value.to_str().unwrap().to_owned());
    assert_eq!(said(Duration::from_nanos(1)).as_deref(), Some("1"));
    assert_eq!(said(Duration::from_secs(1)).as_deref(), Some("1"));
    assert_eq!(said(Duration::new(1, 1)).as_deref(), Some("2"));
    assert_eq!(said(Duration::MAX), None);
}

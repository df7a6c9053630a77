//! State that stays, comes back in time, or is forgotten.

use super::*;

fn at(seconds: u64) -> Nanos {
    Nanos(seconds * 1_000_000_000)
}

fn address(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

#[test]
fn a_name_that_stays_or_comes_back_within_ten_minutes_keeps_its_state() {
    let mut first = Carry::succeed(None, at(0));
    let (route, endpoint) = (first.route("a", 1), first.endpoint("u", address(1), 1));
    let mut second = Carry::succeed(Some(&first), at(10));
    assert!(Arc::ptr_eq(&second.endpoint("u", address(1), 1), &endpoint));
    // The route is gone in the second, and back in the third.
    let mut third = Carry::succeed(Some(&second), at(609));
    assert!(Arc::ptr_eq(&third.route("a", 1), &route));
    assert!(third.endpoints.alive(at(609)).next().is_some());
}

#[test]
fn who_was_away_comes_anew_and_what_was_asked_is_known_still() {
    let question = |path: &str| Question {
        path: path.into(),
        authority: http::HeaderValue::from_static("app"),
        lock: 0,
        expect: crate::upstream::probe::Expect([(200, 299)].into()),
    };
    let mut first = Carry::succeed(None, at(1));
    let endpoint = first.endpoint("u", address(1), 1);
    let probe = first.probe("u", address(1), question("/a"));
    let mut second = Carry::succeed(Some(&first), at(2));
    let again = second.endpoint("u", address(1), 1);
    assert_eq!(again.joined(), at(1), "it was there all the time");
    assert!(Arc::ptr_eq(
        &second.probe("u", address(1), question("/a")),
        &probe
    ));
    assert!(!Arc::ptr_eq(
        &second.probe("u", address(1), question("/b")),
        &probe
    ));
    assert!(!Arc::ptr_eq(
        &second.probe("u", address(2), question("/a")),
        &probe
    ));
    let third = Carry::succeed(Some(&second), at(3));
    let mut fourth = Carry::succeed(Some(&third), at(4));
    assert!(Arc::ptr_eq(&fourth.endpoint("u", address(1), 1), &endpoint));
    assert_eq!(endpoint.joined(), at(4));
    assert!(Arc::ptr_eq(
        &fourth.probe("u", address(1), question("/a")),
        &probe
    ));
}

#[test]
fn a_name_gone_for_ten_minutes_is_forgotten() {
    let mut first = Carry::succeed(None, at(0));
    let route = first.route("a", 1);
    let second = Carry::succeed(Some(&first), at(10));
    assert_eq!(second.routes.alive(at(609)).count(), 1);
    assert_eq!(second.routes.alive(at(610)).count(), 0);
    let mut third = Carry::succeed(Some(&second), at(700));
    assert!(!Arc::ptr_eq(&third.route("a", 1), &route));
}

#[test]
fn a_number_is_given_again_only_when_nobody_knows_its_listener_any_more() {
    let mut carry = Carry::succeed(None, at(0));
    for turn in 0..MANY_NUMBERS {
        let state = carry.listener(&format!("l{turn}"), 1);
        assert_eq!(usize::from(state.number), turn);
    }
    carry.listener("l0", 1).stats.connections.add(0, 1);
    let mut soon = Carry::succeed(Some(&carry), at(1));
    let more = soon.listener("more", 1);
    assert_eq!(usize::from(more.number), MANY_NUMBERS, "all names are kept");
    // Two steps: the first notes that they are gone, the second that they are forgotten.
    let gone = Carry::succeed(Some(&soon), at(2));
    let mut late = Carry::succeed(Some(&gone), at(700));
    assert_eq!(late.listener("late", 1).number, 1, "0 has a connection");
    assert_eq!(late.listener("later", 1).number, 2);
}

#[test]
fn living_endpoints_never_share_a_slot_and_free_slots_are_used_again() {
    let mut carry = Carry::succeed(None, at(0));
    for port in 0..50 {
        carry.endpoint("u", address(port), 1);
    }
    let mut next = Carry::succeed(Some(&carry), at(1));
    for port in 25..75 {
        next.endpoint("u", address(port), 1);
    }
    let slots = |carry: &Carry, now| {
        let slots: Vec<usize> = carry.endpoints.alive(now).map(|(_, e)| e.slot).collect();
        let distinct: HashSet<usize> = slots.iter().copied().collect();
        assert_eq!(slots.len(), distinct.len());
        slots.into_iter().max().unwrap_or_default()
    };
    assert_eq!(slots(&next, at(1)), 74);
    let mut last = Carry::succeed(Some(&next), at(2000));
    for port in 100..120 {
        last.endpoint("u", address(port), 1);
    }
    assert!(slots(&last, at(2000)) < 75);
}

//! Probes, ejection, panic, slow start, failover.

use super::*;

/// A file with these upstreams, of which the first takes all requests.
fn file(upstreams: &str) -> String {
    format!("{LISTENER}upstreams: {{ {upstreams} }}\nroutes: [{{ name: one, upstream: a }}]\n")
}

fn health(keys: &str) -> Health {
    let text = file(&format!("a: {{ endpoints: [\"http://a\"]{keys} }}"));
    meaning(&text).upstreams.remove(0).health
}

fn faults(upstreams: &str) -> Vec<String> {
    problems(&file(upstreams))
}

#[test]
fn a_health_check_has_the_defaults_of_the_contract() {
    let default = HealthCheck {
        path: "/healthz".into(),
        interval: Duration::from_secs(5),
        timeout: Duration::from_secs(2),
        healthy: 2,
        unhealthy: 3,
        expect: vec![(200, 299)],
    };
    assert_eq!(health("").check, None);
    assert_eq!(health(", health_check: off").check, None);
    assert_eq!(health(", health_check: {}").check, Some(default.clone()));
    let said = health(
        ", health_check: { path: /a/../b, interval: 1s, timeout: 500ms, healthy: 1, unhealthy: 7, expect: [200, 300-399] }",
    );
    let expected = HealthCheck {
        path: "/b".into(),
        interval: Duration::from_secs(1),
        timeout: Duration::from_millis(500),
        healthy: 1,
        unhealthy: 7,
        expect: vec![(200, 200), (300, 399)],
    };
    assert_eq!(said.check, Some(expected));
    assert_eq!(
        health(", health_check: { expect: 204 }")
            .check
            .unwrap()
            .expect,
        [(204, 204)]
    );
}

#[test]
fn ejection_is_on_and_can_be_switched_off() {
    let default = Ejection {
        consecutive_failures: 3,
        base: Duration::from_secs(30),
        max_percent: 50,
    };
    assert_eq!(health("").ejection, Some(default));
    assert_eq!(health(", ejection: {}").ejection, Some(default));
    assert_eq!(health(", ejection: off").ejection, None);
    let said = health(", ejection: { consecutive_failures: 5, base: 1s, max_percent: 100 }");
    let expected = Ejection {
        consecutive_failures: 5,
        base: Duration::from_secs(1),
        max_percent: 100,
    };
    assert_eq!(said.ejection, Some(expected));
}

#[test]
fn panic_and_slow_start_are_off_unless_said() {
    let said = health(", panic_below: 25%, slow_start: 30s");
    assert_eq!(
        (said.panic_below, said.slow_start),
        (Some(250_000), Some(Duration::from_secs(30)))
    );
    let default = health("");
    assert_eq!((default.panic_below, default.slow_start), (None, None));
}

#[test]
fn impossible_numbers_are_refused() {
    for keys in [
        "health_check: { interval: 0s }",
        "health_check: { healthy: 0 }",
        "health_check: { path: healthz }",
        "health_check: { expect: [] }",
        "health_check: { expect: 2xx }",
        "health_check: { expect: 299-200 }",
        "ejection: { consecutive_failures: 0 }",
        "ejection: { base: 30 }",
        "ejection: { max_percent: 101 }",
        "panic_below: 50",
        "slow_start: 0s",
        "health_check: { port: 80 }",
    ] {
        let found = faults(&format!("a: {{ endpoints: [\"http://a\"], {keys} }}"));
        assert_eq!(found.len(), 1, "{keys}: {found:?}");
    }
}

#[test]
fn a_probe_that_outlives_its_interval_is_doubtful() {
    let text = file("a: { endpoints: [\"http://a\"], health_check: { interval: 1s } }");
    let found = problems(&text);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(
        found[0].ends_with("`timeout` is longer than `interval`"),
        "{found:?}"
    );
}

const B: &str = "b: { endpoints: [\"http://b\"], health_check: {}";
const A: &str = "a: { endpoints: [\"http://a\"], health_check: {}";

#[test]
fn who_stands_in_is_named_in_order() {
    let text = file(&format!(
        "{A}, failover: [c, b] }}, {B}, failover: [c] }}, c: {{ endpoints: [\"http://c\"] }}"
    ));
    let failover = |index: usize| meaning(&text).upstreams[index].health.failover.clone();
    assert_eq!(
        [failover(0), failover(1), failover(2)],
        [vec![2, 1], vec![2], vec![]]
    );
}

#[test]
fn failover_that_cannot_work_is_refused() {
    let messages = |upstreams: &str| -> Vec<String> {
        let found = faults(upstreams);
        let message = |text: &String| text.split_once(' ').unwrap().1.to_owned();
        found.iter().map(message).collect()
    };
    let b = format!("{B} }}");
    assert_eq!(
        messages(&format!(
            "a: {{ endpoints: [\"http://a\"], failover: [b] }}, {b}"
        )),
        ["`failover` needs a `health_check`"]
    );
    assert_eq!(
        messages(&format!("{A}, failover: [x] }}, {b}")),
        ["no upstream is called `x`"]
    );
    assert_eq!(
        messages(&format!("{A}, failover: [b, b] }}, {b}")),
        ["`b` is listed twice"]
    );
    assert_eq!(
        messages(&format!("{A}, failover: [a] }}, {b}")),
        ["this leads back: `a` → `a`"]
    );
    let both = messages(&format!("{A}, failover: [b] }}, {B}, failover: [a] }}"));
    assert_eq!(
        both,
        [
            "this leads back: `a` → `b` → `a`",
            "this leads back: `b` → `a` → `b`"
        ]
    );
    // Whoever only leads into a loop is not part of it.
    let into = messages(&format!(
        "{A}, failover: [b] }}, {B}, failover: [c] }}, c: {{ endpoints: [\"http://c\"], health_check: {{}}, failover: [b] }}"
    ));
    assert_eq!(into.len(), 2, "{into:?}");
}

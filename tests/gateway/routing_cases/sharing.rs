//! R146 to R159 and R182: weights, mirrors, deadlines of a route, and the name of a route as a label.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::{
    Echo, Gate, Gateway, PATIENCE, Report, Upstream, answer, is_timeout, scale, until, vacant,
};

use super::Three;

/// `count` of `of`, in percent.
fn percent(count: usize, of: usize) -> f64 {
    #[allow(clippy::cast_precision_loss)]
    let share = 100.0 * count as f64 / of as f64;
    share
}

fn expect_share(row: &str, count: usize, of: usize, wanted: f64) {
    let share = percent(count, of);
    assert!(
        (share - wanted).abs() <= 5.0,
        "{row}: {count} of {of} are {share} %, not {wanted} %"
    );
}

#[test]
fn weights_are_kept() {
    for (requests, connections) in [(500, 1), (500, 50), (100, 100)] {
        let three = Three::start();
        let routes = "  - { upstream: { v1: 70, v2: 30, v3: 0 } }";
        let gateway = Gateway::start(&three.file("127.0.0.1:0", routes));
        let mut clients: Vec<_> = (0..connections).map(|_| gateway.client()).collect();
        let mut counts = [0; 3];
        for number in 0..requests {
            let report = Report::of(clients[number % connections].get("/"));
            counts[["v1", "v2", "v3"]
                .iter()
                .position(|name| *name == report.upstream())
                .unwrap()] += 1;
        }
        expect_share("R146", counts[0], requests, 70.0);
        expect_share("R146", counts[1], requests, 30.0);
        assert_eq!(counts[2], 0, "R146: weight 0 is exactly none");
        three.0[2].upstream().expect_untouched();
    }
}

/// A route to `v1` with these further keys, an upstream `v1` and further ones at these addresses.
fn mirrored(keys: &str, v1: SocketAddr, others: &[(&str, SocketAddr)]) -> Gateway {
    let mut text = format!(
        "workers: 2\nadmin: {{ bind: \"127.0.0.1:0\" }}\nlisteners: [{{ name: main, bind: \"127.0.0.1:0\" }}]\n\
         routes: [{{ name: all, upstream: v1, {keys} }}]\nupstreams:\n  v1: {{ endpoints: [\"http://{v1}\"] }}\n"
    );
    for (name, address) in others {
        text += &format!("  {name}: {{ endpoints: [\"http://{address}\"] }}\n");
    }
    Gateway::start(&text)
}

const POST: &str = "POST /a%2Fb?x=%20 HTTP/1.1\r\nHost: b.test\r\nContent-Length: 11\r\nX-Own: one\r\nX-Own: two\r\n\
                    Content-Type: text/plain\r\n\r\nhello there";

#[test]
fn a_mirror_gets_the_same_and_is_not_heard() {
    let v1 = Echo::start("v1");
    let bodies = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let theirs = bodies.clone();
    let v2 = Upstream::start(move |peer| {
        peer.serve(|_, body| {
            theirs.lock().unwrap().push(body.to_vec());
            "HTTP/1.1 500 No\r\nX-Mirror: heard\r\nContent-Length: 6\r\n\r\nmirror".to_owned()
        });
    });
    let gateway = mirrored(
        "mirror: { upstream: v2 }",
        v1.address(),
        &[("v2", v2.address())],
    );
    let mut client = gateway.client();
    for round in 1..=3 {
        let answer = client.ask(POST).expect_ok();
        assert_eq!(answer.field("x-mirror"), None, "R148");
        let report = Report::of(answer);
        assert_eq!(
            (report.upstream(), report.body()),
            ("v1", "hello there"),
            "R148"
        );
        v2.await_requests(round);
        until(PATIENCE, "the body of the copy", || {
            bodies.lock().unwrap().len() == round
        });
        let copy = v2.requests().pop().unwrap();
        assert_eq!(
            (copy.method.as_str(), copy.target.as_str()),
            ("POST", report.target()),
            "R148"
        );
        for name in [
            "host",
            "x-own",
            "content-type",
            "x-forwarded-for",
            "x-request-id",
        ] {
            assert_eq!(copy.all(name), report.all(name), "R148: {name}");
        }
    }
    assert!(
        bodies
            .lock()
            .unwrap()
            .iter()
            .all(|body| body == b"hello there"),
        "R148"
    );
    assert_eq!(v2.requests().len(), 3, "R148: one copy each");
    assert_eq!(v1.upstream().requests().len(), 3);
}

#[test]
fn two_mirrors_get_a_copy_each() {
    let v1 = Echo::start("v1");
    let [v2, v3] = ["v2", "v3"].map(Echo::start);
    let gateway = mirrored(
        "mirror: [{ upstream: v2 }, { upstream: v3, percent: 100% }]",
        v1.address(),
        &[("v2", v2.address()), ("v3", v3.address())],
    );
    for round in 1..=5 {
        assert_eq!(
            Report::of(gateway.client().ask(POST)).upstream(),
            "v1",
            "R149"
        );
        for mirror in [&v2, &v3] {
            mirror.upstream().await_requests(round);
            assert_eq!(mirror.upstream().requests().len(), round, "R149");
        }
    }
}

#[test]
fn a_mirror_gets_its_share() {
    for (row, share, wanted, keys) in [
        ("R150", "20%", 20.0, ""),
        ("R151", "50%", 50.0, ""),
        (
            "R152",
            "35%",
            35.0,
            "request_headers: { set: { X-Header-Set: s }, add: { X-Header-Add: a }, remove: [X-Header-Remove] }, ",
        ),
        ("R150-none", "0%", 0.0, ""),
    ] {
        let (v1, v2) = (Echo::start("v1"), Echo::start("v2"));
        let gateway = mirrored(
            &format!("{keys}mirror: {{ upstream: v2, percent: {share} }}"),
            v1.address(),
            &[("v2", v2.address())],
        );
        let mut client = gateway.client();
        for _ in 0..500 {
            let answer = client.ask(
                "GET /x HTTP/1.1\r\nHost: b.test\r\nX-Header-Add: old\r\nX-Header-Remove: old\r\n\r\n",
            );
            assert_eq!(Report::of(answer).upstream(), "v1", "{row}");
        }
        expect_share(row, settled(&v2), 500, wanted);
        for copy in v2.upstream().requests() {
            if keys.is_empty() {
                assert_eq!(copy.all("x-header-remove"), ["old"], "{row}");
            } else {
                assert_eq!(copy.all("x-header-set"), ["s"], "{row}");
                assert_eq!(copy.all("x-header-add").join(","), "old,a", "{row}");
                assert!(copy.all("x-header-remove").is_empty(), "{row}");
            }
        }
    }
}

/// How many requests came, once no more come.
fn settled(echo: &Echo) -> usize {
    let (mut count, mut since) = (0, Instant::now());
    until(PATIENCE, "no more copies come", || {
        let now = echo.upstream().requests().len();
        if now != count {
            (count, since) = (now, Instant::now());
        }
        since.elapsed() > Duration::from_millis(300)
    });
    count
}

/// A port at which nobody listens.
fn nobody() -> SocketAddr {
    let [address] = vacant();
    address
}

#[test]
fn a_mirror_that_is_down_or_silent_or_rude_is_not_noticed() {
    let v1 = Echo::start("v1");
    let gate = Gate::default();
    let shut = gate.clone();
    let silent = Upstream::start(move |peer| {
        if peer.whole_request().is_some() {
            shut.pass();
        }
    });
    let rude = Upstream::saying_once("HTTP/9 nonsense\r\n\r\n");
    let resets = Upstream::start(|peer| {
        let _ = peer.request();
        peer.reset();
    });
    for (what, address) in [
        ("down", nobody()),
        ("silent", silent.address()),
        ("rude", rude.address()),
        ("resets", resets.address()),
    ] {
        let gateway = mirrored("mirror: { upstream: v2 }", v1.address(), &[("v2", address)]);
        let mut client = gateway.client();
        let mut took: Vec<Duration> = (0..200)
            .map(|_| {
                let begin = Instant::now();
                assert_eq!(Report::of(client.ask(POST)).upstream(), "v1", "R153 {what}");
                begin.elapsed()
            })
            .collect();
        took.sort();
        assert!(
            took[197] < Duration::from_secs(5),
            "R153 {what}: {:?}",
            took[197]
        );
        assert_eq!(
            gateway.metric("tidegate_gateway_responses_total", &[]),
            None,
            "R153 {what}: no answer was ours"
        );
    }
    gate.open();
}

#[test]
fn the_memory_of_a_mirror_is_bounded() {
    let v1 = Upstream::answering(answer(200, "v1"));
    let gate = Gate::default();
    let shut = gate.clone();
    // Takes the head and never the body, for longer than the test.
    let stuck = Upstream::start(move |peer| {
        if peer.request().is_some() {
            shut.pass();
        }
    });
    let gateway = mirrored(
        "max_body: 64MiB, mirror: { upstream: v2 }",
        v1.address(),
        &[("v2", stuck.address())],
    );
    let body = vec![b'x'; 4 << 20];
    let post = |client: &mut crate::support::Client| {
        client.send(format!(
            "POST /big HTTP/1.1\r\nHost: b.test\r\nContent-Length: {}\r\n\r\n",
            body.len()
        ));
        client.send(&body);
        assert_eq!(client.response().expect_ok().text(), "v1", "R153");
    };
    post(&mut gateway.client());
    let before = gateway.rss();
    let served = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut client = gateway.client();
                while served.fetch_add(1, Ordering::SeqCst) < scale(60, 600) {
                    post(&mut client);
                }
            });
        }
    });
    let grown = gateway.rss().saturating_sub(before);
    assert!(
        grown < 64 << 20,
        "R153: {} MiB more after 240 MiB of bodies that the mirror does not take",
        grown >> 20
    );
    gate.open();
}

/// An upstream that answers `/fast` at once, and all else when the gate opens.
fn hesitant(gate: &Gate) -> Upstream {
    let gate = gate.clone();
    Upstream::start(move |peer| {
        peer.serve(|request, _| {
            if request.target != "/fast" {
                gate.pass();
            }
            answer(200, "late")
        });
    })
}

#[test]
fn deadlines_of_a_route() {
    for (rows, key) in [
        (["R154", "R155", "R156"], "request"),
        (["R157", "R158", "R159"], "response"),
    ] {
        let gate = Gate::default();
        let upstream = hesitant(&gate);
        let gateway = Gateway::start(&format!(
            "workers: 1\nadmin: {{ bind: \"127.0.0.1:0\" }}\nlisteners: [{{ name: main, bind: \"127.0.0.1:0\" }}]\n\
             routes:\n  - {{ match: {{ path: /off }}, upstream: v1, timeouts: {{ {key}: off }} }}\n  \
             - {{ upstream: v1, timeouts: {{ {key}: 500ms }} }}\n\
             upstreams:\n  v1: {{ endpoints: [\"http://{}\"], timeouts: {{ response: 60s }} }}\n",
            upstream.address()
        ));
        assert_eq!(
            gateway.get("/fast").expect_ok().text(),
            "late",
            "{}",
            rows[0]
        );

        let begin = Instant::now();
        let answer = gateway.get("/slow");
        answer.expect_refusal(504, "upstream_timeout");
        let took = begin.elapsed();
        assert!(
            took >= Duration::from_millis(500),
            "{}: after {took:?}",
            rows[1]
        );

        let mut patient = gateway.client();
        patient.send_get("/off");
        assert!(
            patient.silent_for(Duration::from_secs(1)),
            "{}: an answer came",
            rows[2]
        );
        gate.open();
        match patient.try_response() {
            Ok(answer) => assert_eq!(answer.expect_ok().text(), "late", "{}", rows[2]),
            Err(error) => panic!("{}: {error}, timeout {}", rows[2], is_timeout(&error)),
        }
    }
}

#[test]
fn the_name_of_a_route_is_a_label() {
    let three = Three::start();
    let routes = "  - { name: my-rule_1, match: { path_prefix: /named }, upstream: v1 }\n  - { match: { path_prefix: /other }, upstream: v2 }";
    let gateway = Gateway::start(&three.file("127.0.0.1:0", routes));
    gateway.get("/named").expect_ok();
    gateway.get("/named/more").expect_ok();
    gateway.get("/other").expect_ok();
    let labels = [("route", "my-rule_1"), ("method", "GET"), ("status", "200")];
    gateway.await_metric("tidegate_requests_total", &labels, 2.0);
    gateway.await_metric(
        "tidegate_request_duration_seconds_count",
        &[("route", "my-rule_1")],
        2.0,
    );
    gateway.await_access("route", "my-rule_1");
    assert_eq!(
        gateway.await_access("path", "/other")["upstream"],
        "v2",
        "R182"
    );
}

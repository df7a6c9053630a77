//! Failed tries are followed by others: which, at whom, how often, how late, and never twice what may have been done.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::support::{
    Echo, Gateway, PATIENCE, Peer, Report, Request, Setup, Upstream, answer, until, until_some,
};
use crate::unreachable::refusing;

/// What an upstream does with a request.
#[derive(Clone, Copy, Debug)]
pub(super) enum Deed {
    /// Reads it whole and answers with this status.
    Answer(u16),
    /// Reads it whole and closes.
    Close,
    /// Reads it whole and resets the connection.
    Reset,
    /// Reads its head and resets the connection.
    ResetEarly,
}

impl Deed {
    /// Does it; true if the connection stays.
    fn act(self, peer: &mut Peer, request: &Request, number: usize) -> bool {
        let reads = !matches!(self, Deed::ResetEarly);
        if reads && peer.body(request).is_err() {
            return false;
        }
        match self {
            Deed::Answer(status) => {
                let body = format!("request {number}");
                return peer.send(answer(status, &body)).is_ok();
            }
            Deed::Close => {}
            Deed::Reset | Deed::ResetEarly => peer.reset(),
        }
        false
    }
}

/// An upstream that treats its requests like this, in the order of their arrival, and answers 200 to all others.
pub(super) fn doing(deeds: &'static [Deed]) -> Upstream {
    let arrived = AtomicUsize::new(0);
    Upstream::start(move |peer| {
        while let Some(request) = peer.request() {
            let number = arrived.fetch_add(1, Ordering::SeqCst);
            let deed = deeds.get(number).copied().unwrap_or(Deed::Answer(200));
            if !deed.act(peer, &request, number) {
                return;
            }
        }
    })
}

/// Everything that can be tried again.
pub(super) const ALL: &str = "on: [connect, refused_stream, reset, timeout, 500, 502, 503, 504]";

/// A route that tries again like this, as often as its upstream's budget never forbids.
pub(super) fn retrying(upstream: &Upstream, retry: &str) -> Setup {
    Setup::to(upstream.address())
        .route(&format!(
            "retry: {{ backoff: {{ base: 1ms, max: 5ms }}, {retry} }}"
        ))
        .upstream("retry_budget: { percent: 100%, min_per_second: 100 }")
}

/// Retries of the upstream that were counted for this cause.
pub(super) fn retries(gateway: &Gateway, cause: &str) -> f64 {
    let labels = [("upstream", "app"), ("cause", cause)];
    gateway
        .metric("tidegate_upstream_retries_total", &labels)
        .unwrap_or(0.0)
}

#[test]
fn by_default_a_connect_that_fails_is_followed_by_another_endpoint() {
    let (_held, refuses) = refusing();
    let echo = Echo::start("app");
    let gateway = Setup::to(refuses).endpoint(echo.address()).start();
    let mut client = gateway.client();
    let post = "POST /p HTTP/1.1\r\nHost: a.test\r\nContent-Length: 5\r\n\r\nhello";
    until(PATIENCE, "a connect failed", || {
        assert_eq!(Report::of(client.ask(post)).body(), "hello");
        retries(&gateway, "connect") > 0.0
    });
    let line = until_some(PATIENCE, "a line with two attempts", || {
        let lines = gateway.access_log();
        lines.into_iter().find(|line| line["attempts"] == 2)
    });
    assert_eq!(line["endpoint"], echo.address().to_string());
    assert_eq!(line["status"], 200);
}

#[test]
fn by_default_the_only_endpoint_is_dialled_once_more() {
    let (_held, refuses) = refusing();
    let gateway = Setup::to(refuses).start();
    gateway
        .get("/")
        .expect_refusal(502, "upstream_connect_failed");
    let line = gateway.await_access("path", "/");
    assert_eq!(line["attempts"], 2);
    assert!(retries(&gateway, "connect") == 1.0);
}

#[test]
fn by_default_nothing_is_sent_twice() {
    const DEEDS: &[Deed] = &[
        Deed::Close,
        Deed::Reset,
        Deed::Answer(503),
        Deed::Answer(500),
    ];
    let upstream = doing(DEEDS);
    let gateway = Setup::to(upstream.address()).start();
    let statuses: Vec<u16> = (0..4).map(|_| gateway.get("/").status).collect();
    assert_eq!(statuses, [502, 502, 503, 500]);
    assert_eq!(upstream.requests().len(), 4);
    assert_eq!(gateway.metric("tidegate_upstream_retries_total", &[]), None);
}

#[test]
fn off_is_off() {
    let (_held, refuses) = refusing();
    let gateway = Setup::to(refuses).route("retry: off").start();
    gateway
        .get("/")
        .expect_refusal(502, "upstream_connect_failed");
    assert_eq!(gateway.await_access("path", "/")["attempts"], 1);
}

/// B45, and RFC 9110, section 9.2.2: what may have been processed is not done twice.
#[test]
fn only_idempotent_methods_are_sent_twice() {
    const DEEDS: &[Deed] = &[Deed::Answer(503)];
    for method in [
        "GET", "OPTIONS", "TRACE", "PUT", "DELETE", "POST", "PATCH", "PURGE",
    ] {
        let idempotent = !["POST", "PATCH", "PURGE"].contains(&method);
        for (deed, cause) in [
            (DEEDS, "status"),
            (&[Deed::Close], "reset"),
            (&[Deed::Reset], "reset"),
        ] {
            let upstream = doing(deed);
            let gateway = retrying(&upstream, &format!("attempts: 3, {ALL}")).start();
            let request = format!("{method} / HTTP/1.1\r\nHost: a.test\r\n\r\n");
            let answer = gateway.client().ask(request);
            let seen = (answer.status == 200, upstream.requests().len());
            let wanted = if idempotent { (true, 2) } else { (false, 1) };
            assert_eq!(seen, wanted, "{method} after {deed:?}");
            assert!(retries(&gateway, cause) == f64::from(u8::from(idempotent)));
        }
    }
}

#[test]
fn a_head_is_tried_again_on_the_same_connection() {
    let asked = AtomicUsize::new(0);
    let upstream = Upstream::start(move |peer| {
        while peer.request().is_some() {
            let status = if asked.fetch_add(1, Ordering::SeqCst) < 2 {
                503
            } else {
                200
            };
            let head = format!("HTTP/1.1 {status} Said\r\nContent-Length: 1000\r\n\r\n");
            if peer.send(head).is_err() {
                return;
            }
        }
    });
    let gateway = retrying(&upstream, "attempts: 3, on: [503]").start();
    let head = gateway
        .client()
        .send("HEAD / HTTP/1.1\r\nHost: a.test\r\n\r\n")
        .head();
    assert_eq!(
        (head.status, head.field("content-length")),
        (200, Some("1000"))
    );
    assert_eq!(upstream.requests().len(), 3);
}

/// B46.
#[test]
fn another_endpoint_is_tried_where_there_is_one() {
    let bad = Upstream::answering(answer(503, "not me"));
    let good = Upstream::answering(answer(200, "me"));
    let gateway = retrying(&bad, "attempts: 1, on: [503]")
        .endpoint(good.address())
        .start();
    let mut client = gateway.client();
    for _ in 0..60 {
        assert_eq!(client.get("/").expect_ok().text(), "me");
    }
    let tried = bad.requests().len();
    assert!(tried > 0, "the bad endpoint was never chosen");
    assert_eq!(good.requests().len(), 60);
    assert!(retries(&gateway, "status") == tried as f64);
}

#[test]
fn the_host_is_that_of_the_endpoint_that_is_tried() {
    let reset = doing(&[Deed::Reset; 100]);
    let echo = Echo::start("app");
    let gateway = retrying(&reset, "attempts: 1, on: [reset]")
        .endpoint(echo.address())
        .route("rewrite: { host: upstream }")
        .start();
    let mut client = gateway.client();
    until(PATIENCE, "a retry", || {
        let report = Report::of(client.get("/path?query"));
        assert_eq!(report.field("host"), Some(&*echo.address().to_string()));
        assert_eq!(report.target(), "/path?query");
        !reset.requests().is_empty()
    });
    for request in reset.requests() {
        assert_eq!(request.field("host"), Some(&*reset.address().to_string()));
    }
}

/// The same fields each time, once each, and one identifier for all tries.
#[test]
fn each_try_sends_the_same_request() {
    let upstream = doing(&[Deed::Answer(503), Deed::Reset]);
    let gateway = retrying(&upstream, "attempts: 3, on: [503, reset]").start();
    let fields = "X-A: 1\r\nX-A: 2\r\nX-Empty:\r\nCookie: a=b; c=d\r\nX-Latin: \u{e9}\r\n";
    let request = format!("GET /a%20b?x=1&y HTTP/1.1\r\nHost: a.test\r\n{fields}\r\n");
    gateway.client().ask(request).expect_ok();
    let seen = upstream.requests();
    assert_eq!(seen.len(), 3);
    assert_eq!(seen[0].all("x-a"), ["1", "2"]);
    for request in &seen[1..] {
        assert_eq!(request.start, seen[0].start);
        let sorted = |fields: &[(String, String)]| {
            let mut lines: Vec<String> = fields
                .iter()
                .map(|(name, value)| format!("{}: {}", name.to_lowercase(), value.trim()))
                .collect();
            lines.sort();
            lines
        };
        assert_eq!(sorted(&request.fields), sorted(&seen[0].fields));
    }
}

#[test]
fn the_last_answer_is_the_clients() {
    const BUSY: &str =
        "HTTP/1.1 503 Busy\r\nRetry-After: 7\r\nX-Own: yes\r\nContent-Length: 4\r\n\r\nbusy";
    let upstream = Upstream::answering(BUSY);
    let gateway = retrying(&upstream, "attempts: 2, on: [503]").start();
    let begin = Instant::now();
    let answer = gateway.get("/");
    assert_eq!((answer.status, answer.text()), (503, "busy".to_owned()));
    assert_eq!(answer.field("x-own"), Some("yes"));
    assert_eq!(answer.field("retry-after"), Some("7"));
    assert_eq!(answer.reason(), "");
    // B48: it is passed on, not waited for.
    assert!(begin.elapsed() < Duration::from_secs(7));
    assert_eq!(upstream.requests().len(), 3);
    let line = gateway.await_access("path", "/");
    assert_eq!(
        (&line["attempts"], &line["status"]),
        (&3.into(), &503.into())
    );
    assert!(retries(&gateway, "status") == 2.0);
    let answered = [("upstream", "app"), ("status", "503")];
    gateway.await_metric("tidegate_upstream_requests_total", &answered, 3.0);
}

#[test]
fn short_answers_that_nobody_sees_keep_their_connections() {
    let asked = AtomicUsize::new(0);
    let upstream = Upstream::start(move |peer| {
        peer.serve(|_, _| {
            let even = asked.fetch_add(1, Ordering::SeqCst).is_multiple_of(2);
            answer(if even { 503 } else { 200 }, &"x".repeat(1000))
        });
    });
    let gateway = retrying(&upstream, "attempts: 1, on: [503]")
        .top("workers: 1")
        .start();
    let mut client = gateway.client();
    for _ in 0..100 {
        client.get("/").expect_ok();
    }
    assert_eq!(upstream.requests().len(), 200);
    // While the first is being read out the second may be needed.
    assert!(upstream.connections() <= 3, "{}", upstream.connections());
    let busy = [("upstream", "app"), ("state", "busy")];
    gateway.await_metric("tidegate_upstream_connections", &busy, 0.0);
}

#[test]
fn endless_answers_that_nobody_sees_are_cut() {
    let asked = AtomicUsize::new(0);
    let upstream = Upstream::start(move |peer| {
        while peer.whole_request().is_some() {
            if !asked.fetch_add(1, Ordering::SeqCst).is_multiple_of(2) {
                let _ = peer.send(answer(200, "ok"));
                continue;
            }
            let _ = peer.send("HTTP/1.1 503 Busy\r\nContent-Length: 1000000000\r\n\r\n");
            while peer.send([b'x'; 10_000]).is_ok() {}
            return;
        }
    });
    let gateway = retrying(&upstream, "attempts: 1, on: [503]").start();
    let mut client = gateway.client();
    for _ in 0..10 {
        client.get("/").expect_ok();
    }
    until(PATIENCE, "the endless answers are cut", || {
        upstream.open() <= 2
    });
}

/// R174, B14.
#[test]
fn an_answer_that_began_is_not_asked_for_again() {
    const BROKEN: [&str; 3] = [
        "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello",
        "HTTP/1.1 503 Busy\r\nX-",
        "HTTP/1.1 200 O",
    ];
    for broken in BROKEN {
        let upstream = Upstream::saying_once(broken);
        let gateway = retrying(&upstream, &format!("attempts: 3, {ALL}")).start();
        let mut client = gateway.client();
        match client.send_get("/").try_response() {
            Err(error) => assert!(!crate::support::is_timeout(&error), "{broken}"),
            Ok(answer) => answer.expect_refusal(502, "upstream_reset"),
        }
        assert_eq!(upstream.requests().len(), 1, "{broken}");
    }
}

#[test]
fn an_answer_that_is_no_http_is_not_asked_for_again() {
    let upstream = Upstream::saying_once("SSH-2.0-server\r\n\r\n");
    let gateway = retrying(&upstream, &format!("attempts: 3, {ALL}")).start();
    gateway
        .get("/")
        .expect_refusal(502, "upstream_protocol_error");
    assert_eq!(upstream.requests().len(), 1);
}

#[test]
fn a_mirror_gets_one_copy_however_often_is_tried() {
    let upstream = doing(&[Deed::Answer(503), Deed::Reset]);
    let copies = Echo::start("copies");
    let setup =
        retrying(&upstream, "attempts: 3, on: [503, reset]").route("mirror: { upstream: copies }");
    let copy = format!(
        "  copies: {{ endpoints: [\"http://{}\"] }}\n",
        copies.address()
    );
    let gateway = Gateway::start(&(setup.text() + &copy));
    let mut client = gateway.client();
    let put = "PUT / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 5\r\n\r\nhello";
    client.ask(put).expect_ok();
    assert_eq!(upstream.requests().len(), 3);
    // The second request's copy comes after all of the first's.
    client.get("/last").expect_ok();
    until(PATIENCE, "the copy of the last request", || {
        copies
            .upstream()
            .requests()
            .iter()
            .any(|request| request.target == "/last")
    });
    let targets: Vec<String> = copies
        .upstream()
        .requests()
        .into_iter()
        .map(|r| r.target)
        .collect();
    assert_eq!(targets, ["/", "/last"]);
    assert!(
        copies
            .upstream()
            .received()
            .concat()
            .contains("\r\n\r\nhello")
    );
}

//! One table of conversations, spoken over HTTP/1.1 and HTTP/2, in clear text and over TLS: the same answers, reasons
//! and requests upstream.

use std::time::Duration;

use super::speaker::{SPEAKERS, Speaker};
use crate::support::{Echo, Gate, Gateway, Report, Setup, Upstream, answer, until, vacant};

/// `conversation` is held over each protocol.
fn over_all(setup: impl Fn() -> Setup, conversation: impl Fn(&Speaker, &Gateway)) {
    for speaker in SPEAKERS {
        eprintln!("over {speaker:?}");
        conversation(&speaker, &speaker.start(setup()));
    }
}

#[test]
fn requests_reach_the_upstream_alike() {
    let rows = [
        ("GET", "/plain", vec![], ""),
        ("HEAD", "/head", vec![], ""),
        ("POST", "/post?q=1", vec![("x-a", "b")], "hello"),
        (
            "PUT",
            "/a/../put%41",
            vec![("content-type", "text/plain")],
            "x",
        ),
        ("DELETE", "/d", vec![("x-forwarded-for", "9.9.9.9")], ""),
        (
            "OPTIONS",
            "/o",
            vec![("x-authenticated-subject", "root")],
            "",
        ),
        ("REPORT", "/odd", vec![("x_forwarded_for", "1")], ""),
    ];
    for (method, path, fields, body) in rows {
        let seen = SPEAKERS.map(|speaker| {
            let echo = Echo::start("app");
            let gateway = speaker.start(Setup::to(echo.address()));
            let answer = speaker.ask(&gateway, (method, path), &fields, body);
            assert_eq!(answer.status, 200, "{method} over {speaker:?}");
            assert_eq!(
                gateway.await_access_lines(1)[0]["protocol"],
                speaker.protocol()
            );
            let request = echo.upstream().requests()[0].clone();
            assert_eq!(request.field("x-forwarded-proto"), Some(speaker.scheme()));
            let differ = ["x-request-id", "via", "x-forwarded-proto"];
            let mut fields: Vec<(String, String)> = request
                .fields
                .iter()
                .map(|(name, value)| (name.to_ascii_lowercase(), value.clone()))
                .filter(|(name, _)| !differ.contains(&name.as_str()))
                .collect();
            fields.sort();
            (request.method.clone(), request.target.clone(), fields)
        });
        for other in &seen[1..] {
            assert_eq!(&seen[0], other, "{method} {path}");
        }
    }
}

#[test]
fn answers_are_framed_and_whole() {
    let rows = [
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
            200,
            "hello",
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
            200,
            "hello",
        ),
        (
            "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhello",
            200,
            "hello",
        ),
        ("HTTP/1.0 200 OK\r\n\r\nhello", 200, "hello"),
        ("HTTP/1.1 404 No\r\nContent-Length: 2\r\n\r\nno", 404, "no"),
        (
            "HTTP/1.1 500 Oh\r\nContent-Length: 2\r\nX-Gateway: 1\r\n\r\noh",
            500,
            "oh",
        ),
        ("HTTP/1.1 204 No\r\n\r\n", 204, ""),
        ("HTTP/1.1 304 No\r\n\r\n", 304, ""),
        ("HTTP/1.1 299 Odd\r\nContent-Length: 0\r\n\r\n", 299, ""),
        ("HTTP/1.1 200 OK\r\nContent-Length: 1, 1\r\n\r\nx", 200, "x"),
        (
            "HTTP/1.1 200 OK\r\nConnection: x-hop\r\nX-Hop: 1\r\nKeep-Alive: 1\r\nContent-Length: 0\r\n\r\n",
            200,
            "",
        ),
        (
            "HTTP/1.1 103 Early\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
            200,
            "",
        ),
    ];
    for (says, status, body) in rows {
        let upstream = Upstream::saying_once(says);
        over_all(
            || Setup::to(upstream.address()),
            |speaker, gateway| {
                let answer = speaker.get(gateway, "/");
                assert_eq!(
                    (answer.status, answer.text().as_str()),
                    (status, body),
                    "{says}"
                );
                assert_eq!(answer.reason(), "");
                assert!(answer.field("x-hop").is_none() && answer.field("keep-alive").is_none());
            },
        );
    }
}

#[test]
fn lies_of_an_upstream_are_one_clean_502() {
    let rows = [
        "garbage\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
        "HTTP/1.1 700 Odd\r\nContent-Length: 0\r\n\r\n",
    ];
    for says in rows {
        let upstream = Upstream::saying_once(says);
        over_all(
            || Setup::to(upstream.address()),
            |speaker, gateway| {
                let answer = speaker.get(gateway, "/");
                answer.expect_refusal(502, "upstream_protocol_error");
                gateway.await_access("reason", "upstream_protocol_error");
            },
        );
    }
}

#[test]
fn the_gateways_own_answers() {
    let echo = Echo::start("app");
    let setup = || {
        Setup::to(echo.address())
            .route("match: { path_prefix: /app }, max_body: 10B")
            .before(
                "match: { path: /own }, respond: { status: 418, headers: { x-a: b }, body: tea }",
            )
            .before("match: { path: /empty }, respond: { status: 204 }")
            .before("match: { path_prefix: /old }, redirect: { path_prefix: /new, status: 308 }")
            .before("match: { path: /get, methods: GET }, upstream: app")
    };
    over_all(setup, |speaker, gateway| {
        let own = speaker.get(gateway, "/own");
        assert_eq!((own.status, own.text().as_str()), (418, "tea"));
        assert_eq!(own.field("x-a"), Some("b"));
        let moved = speaker.get(gateway, "/old/x?y=1");
        assert_eq!(moved.status, 308);
        let location = moved.field("location").unwrap();
        let own = format!("{}://a.test", speaker.scheme());
        assert!(location.starts_with(&own), "{location}");
        assert!(location.ends_with("/new/x?y=1"), "{location}");
        speaker
            .get(gateway, "/none")
            .expect_refusal(404, "route_not_found");
        let not = speaker.ask(gateway, ("POST", "/get"), &[], "");
        not.expect_refusal(405, "method_not_allowed");
        assert_eq!(not.field("allow"), Some("GET"));
        let large = speaker.ask(gateway, ("POST", "/app"), &[], "more than ten bytes");
        large.expect_refusal(413, "body_too_large");
        speaker
            .get(gateway, "/app/%00")
            .expect_refusal(400, "bad_request");
        let expects = [("expect", "something")];
        speaker
            .ask(gateway, ("POST", "/app"), &expects, "")
            .expect_refusal(417, "expectation_failed");
        let own = speaker.ask(gateway, ("HEAD", "/own"), &[], "");
        assert_eq!(
            (own.field("content-length"), own.body.len()),
            (Some("3"), 0)
        );
        let empty = speaker.get(gateway, "/empty");
        assert_eq!((empty.status, empty.body.len()), (204, 0));
        for reason in [
            "route_not_found",
            "method_not_allowed",
            "body_too_large",
            "bad_request",
        ] {
            let line = gateway.await_access("reason", reason);
            assert_eq!(line["protocol"], speaker.protocol());
            let labels = [("reason", reason)];
            gateway.await_metric("tidegate_gateway_responses_total", &labels, 1.0);
        }
    });
}

#[test]
fn a_refused_head_has_no_body() {
    let echo = Echo::start("app");
    over_all(
        || Setup::to(echo.address()).route("match: { path: /a }"),
        |speaker, gateway| {
            let none = speaker.ask(gateway, ("HEAD", "/none"), &[], "");
            let told = (none.status, none.reason(), none.body.len());
            assert_eq!(told, (404, "route_not_found", 0));
            assert!(none.field("content-length").is_some());
        },
    );
}

#[test]
fn failures_of_an_upstream_have_the_same_reasons() {
    let [dead] = vacant();
    over_all(
        || Setup::to(dead),
        |speaker, gateway| {
            speaker
                .get(gateway, "/")
                .expect_refusal(502, "upstream_connect_failed");
        },
    );
    let leaves = Upstream::start(|peer| drop(peer.whole_request()));
    over_all(
        || Setup::to(leaves.address()),
        |speaker, gateway| {
            let post = speaker.ask(gateway, ("POST", "/"), &[], "x");
            post.expect_refusal(502, "upstream_reset");
        },
    );
    let silent = Upstream::start(|peer| {
        peer.whole_request();
        peer.closed();
    });
    over_all(
        || Setup::to(silent.address()).upstream("timeouts: { response: 300ms }"),
        |speaker, gateway| {
            speaker
                .get(gateway, "/")
                .expect_refusal(504, "upstream_timeout");
            silent.await_all_closed();
        },
    );
    over_all(
        || Setup::to(silent.address()).route("timeouts: { request: 300ms }"),
        |speaker, gateway| {
            speaker
                .get(gateway, "/")
                .expect_refusal(504, "upstream_timeout");
        },
    );
}

#[test]
fn retries_go_on_alike() {
    over_all(
        || Setup::to("127.0.0.1:1"),
        |speaker, _| {
            let flaky = Upstream::start(|peer| {
                let says = if peer.number == 0 { 503 } else { 200 };
                while peer.whole_request().is_some() {
                    if peer.send(answer(says, "again")).is_err() || says == 503 {
                        return;
                    }
                }
            });
            let gateway =
                speaker.start(Setup::to(flaky.address()).route(
                    "retry: { attempts: 2, on: [connect, \"503\"], backoff: { base: 1ms } }",
                ));
            let answer = speaker.ask(&gateway, ("PUT", "/r"), &[], "kept");
            assert_eq!((answer.status, answer.text().as_str()), (200, "again"));
            assert_eq!(flaky.requests().len(), 2);
            assert!(
                flaky
                    .received()
                    .iter()
                    .all(|request| request.ends_with("kept"))
            );
            assert_eq!(gateway.await_access("path", "/r")["attempts"], 2);
        },
    );
}

#[test]
fn large_bodies_pass_both_ways() {
    let echo = Echo::start("app");
    let body = "0123456789abcdef".repeat(40_000);
    over_all(
        || Setup::to(echo.address()),
        |speaker, gateway| {
            let report = Report::of(speaker.ask(gateway, ("POST", "/big"), &[], &body));
            assert_eq!(report.body(), body);
            let line = gateway.await_access("path", "/big");
            assert_eq!(line["bytes_in"], body.len());
            assert!(line["bytes_out"].as_u64().unwrap() > body.len() as u64);
        },
    );
}

#[test]
fn a_rewrite_and_changes_of_fields_are_the_same() {
    let echo = Echo::start("app");
    let setup = || {
        Setup::to(echo.address()).route(
            "match: { path_prefix: /a }, rewrite: { path_prefix: /b, host: up.test }, \
             request_headers: { remove: [x-out], set: { x-in: new } }, \
             response_headers: { set: { x-answer: yes } }",
        )
    };
    over_all(setup, |speaker, gateway| {
        let fields = [("x-out", "1"), ("x-in", "old")];
        let answer = speaker.ask(gateway, ("GET", "/a/c?d"), &fields, "");
        assert_eq!(answer.field("x-answer"), Some("yes"));
        let report = Report::of(answer);
        assert_eq!(
            (report.target(), report.field("host")),
            ("/b/c?d", Some("up.test"))
        );
        assert_eq!(
            (report.field("x-out"), report.field("x-in")),
            (None, Some("new"))
        );
        assert_eq!(report.field("x-forwarded-host"), Some("a.test"));
    });
}

#[test]
fn a_reload_keeps_what_is_under_way() {
    for speaker in SPEAKERS {
        let gate = Gate::default();
        let shut = gate.clone();
        let upstream = Upstream::start(move |peer| {
            while peer.whole_request().is_some() {
                shut.pass();
                if peer.send(answer(200, "old")).is_err() {
                    return;
                }
            }
        });
        let gateway = speaker.start(Setup::to(upstream.address()));
        std::thread::scope(|scope| {
            let asked = scope.spawn(|| speaker.get(&gateway, "/"));
            upstream.await_requests(1);
            let own = Setup::to(upstream.address())
                .before("respond: { status: 200, body: new }, match: { path: / }");
            gateway.apply(&speaker.text(own));
            until(Duration::from_secs(5), "the new generation", || {
                speaker.get(&gateway, "/").text() == "new"
            });
            gate.open();
            assert_eq!(asked.join().unwrap().text(), "old");
        });
    }
}

//! What the upstream sees in place of what was asked for: edges of paths, escapes and hosts.

use crate::support::{Client, Echo, Gateway, Report, Setup, Upstream, answer};

/// What the upstream sees as target, for each route and each target asked for, whatever the rest of the file is.
fn expect_seen(rows: &[(&str, &[(&str, &str)])]) {
    for (route, asked) in rows {
        let echo = Echo::start("app");
        let gateway = Setup::to(echo.address()).route(route).start();
        let mut client = gateway.client();
        for (target, seen) in *asked {
            let report = Report::of(client.get(target));
            assert_eq!(report.target(), *seen, "{route}: {target}");
            assert_eq!(report.field("host"), Some("a.test"), "{route}: {target}");
        }
    }
}

#[test]
fn a_stripped_prefix_leaves_one_slash() {
    expect_seen(&[
        (
            "match: { path_prefix: /strip }, rewrite: { path_prefix: / }",
            &[
                ("/strip", "/"),
                ("/strip/", "/"),
                ("/strip/a", "/a"),
                ("/strip/a/", "/a/"),
                ("/strip//a", "/a"),
                ("/strip///", "/"),
                ("/strip?", "/?"),
                ("/strip?x=/strip", "/?x=/strip"),
                ("/strip/strip/a", "/strip/a"),
                ("/strip/../strip/a", "/a"),
                ("/strip/%2Fa", "/%2Fa"),
            ],
        ),
        (
            "match: { path_prefix: /strip/ }, rewrite: { path_prefix: / }",
            &[
                ("/strip/", "/"),
                ("/strip/a", "/a"),
                ("/strip/a/b/", "/a/b/"),
            ],
        ),
        (
            "match: { path_prefix: /a/b }, rewrite: { path_prefix: /x/ }",
            &[("/a/b/c", "/x/c"), ("/a/b/", "/x/")],
        ),
        (
            "match: { path_prefix: / }, rewrite: { path_prefix: /under }",
            &[
                ("/", "/under/"),
                ("/a", "/under/a"),
                ("/a/?q", "/under/a/?q"),
            ],
        ),
        (
            "match: { path_prefix: / }, rewrite: { path_prefix: / }",
            &[("/", "/"), ("/a//b", "/a/b")],
        ),
    ]);
}

#[test]
fn escapes_and_the_query_are_kept_byte_for_byte() {
    let tails = [
        "/a%2Fb",
        "/%C3%A9%20%3F",
        "/a;p=1/b,c=(d)!$&'*+:@",
        "/x?y=%7e%41+&z=/../b//c#".trim_end_matches('#'),
        "/x??",
        "/x?u=http://x.test/%2e%2e?v",
        "/...",
        "/%7B%22%7D",
    ];
    let echo = Echo::start("app");
    for (keys, before, after) in [
        (
            "match: { path_prefix: /old }, rewrite: { path_prefix: /new/er }",
            "/old",
            "/new/er",
        ),
        (
            "match: { path_prefix: /old }, rewrite: { path_prefix: / }",
            "/old",
            "",
        ),
        (
            "rewrite: { path_regex: { pattern: \"^/old/\", replace: \"/n/\" } }",
            "/old",
            "/n",
        ),
    ] {
        let gateway = Setup::to(echo.address()).route(keys).start();
        let mut client = gateway.client();
        for tail in tails {
            let seen = Report::of(client.get(&format!("{before}{tail}")));
            assert_eq!(seen.target(), format!("{after}{tail}"), "{keys}");
        }
    }
}

#[test]
fn a_whole_path_keeps_the_query() {
    expect_seen(&[(
        "rewrite: { path: /one }",
        &[
            ("/", "/one"),
            ("/x/y?q=%20&/", "/one?q=%20&/"),
            ("/x?", "/one?"),
        ],
    )]);
}

#[test]
fn groups_of_a_pattern_stand_in_its_replacement() {
    expect_seen(&[
        (
            "rewrite: { path_regex: { pattern: \"^/v([0-9]+)/users/([^/]+)$\", replace: \"/users/$2/v/$1\" } }",
            &[
                ("/v12/users/ann%2Fb", "/users/ann%2Fb/v/12"),
                ("/v12/users/ann?v1=/users/", "/users/ann/v/12?v1=/users/"),
                ("/other", "/other"),
            ],
        ),
        (
            "rewrite: { path_regex: { pattern: \"/(?<name>[a-z]+)_old\", replace: \"/$${name}_new\" } }",
            &[("/a_old/b_old/c", "/a_new/b_new/c"), ("/none", "/none")],
        ),
        (
            "rewrite: { path_regex: { pattern: \"^/gone\", replace: \"\" } }",
            &[("/gone", "/"), ("/gone/", "/"), ("/gone/x", "/x")],
        ),
        (
            "match: { path_regex: \"/([a-z]+)/.*\" }, rewrite: { path_regex: { pattern: \"^/[a-z]+\", replace: \"/all\" } }",
            &[("/a/b", "/all/b"), ("/bcd/?x", "/all/?x")],
        ),
    ]);
}

fn ask_host(client: &mut Client, target: &str) -> Report {
    Report::of(client.ask(format!(
        "GET {target} HTTP/1.1\r\nHost: asked.test:81\r\n\r\n"
    )))
}

#[test]
fn the_host_that_the_upstream_sees() {
    let echo = Echo::start("app");
    let endpoint = echo.address().to_string();
    for (host, seen) in [
        ("other.test", "other.test"),
        ("other.test:8080", "other.test:8080"),
        ("upstream", endpoint.as_str()),
    ] {
        let gateway = Setup::to(echo.address())
            .before("match: { path: /plain }, upstream: app")
            .route(&format!("rewrite: {{ host: \"{host}\" }}"))
            .start();
        let mut client = gateway.client();
        let report = ask_host(&mut client, "/a//b?c");
        assert_eq!(report.all("host"), [seen]);
        assert_eq!(report.target(), "/a/b?c", "the path is another matter");
        assert_eq!(report.field("x-forwarded-host"), Some("asked.test:81"));
        // A pooled connection carries both.
        assert_eq!(
            ask_host(&mut client, "/plain").all("host"),
            ["asked.test:81"]
        );
        assert_eq!(ask_host(&mut client, "/x").all("host"), [seen]);
        let entry = gateway.await_access("path", "/x");
        assert_eq!(
            entry["host"], "asked.test:81",
            "the log names what was asked for"
        );
    }
}

/// Each endpoint sees its own name, a weight or a mirror its own too.
#[test]
fn the_host_of_each_endpoint() {
    let (first, second, copy) = (
        Echo::start("1"),
        Echo::start("2"),
        Upstream::answering(answer(204, "")),
    );
    let gateway = Gateway::start(&format!(
        "workers: 1\nadmin: {{ bind: \"127.0.0.1:0\" }}\nlisteners: [{{ name: main, bind: \"127.0.0.1:0\" }}]\n\
         routes: [{{ upstream: two, rewrite: {{ host: upstream }}, mirror: {{ upstream: copy }} }}]\nupstreams:\n  \
         two: {{ balance: round_robin, endpoints: [\"http://{}\", \"http://{}\"] }}\n  copy: {{ endpoints: [\"http://{}\"] }}\n",
        first.address(),
        second.address(),
        copy.address()
    ));
    let mut client = gateway.client();
    for round in 1..=4 {
        let report = ask_host(&mut client, "/");
        let own = if report.upstream() == "1" {
            &first
        } else {
            &second
        };
        assert_eq!(report.all("host"), [own.address().to_string()]);
        copy.await_requests(round);
    }
    assert!(!first.upstream().requests().is_empty() && !second.upstream().requests().is_empty());
    for request in copy.requests() {
        assert_eq!(request.all("host"), [copy.address().to_string()]);
    }
}

/// A rewritten path is neither matched nor rewritten again, and the client learns nothing of it.
#[test]
fn it_is_done_once() {
    let echo = Echo::start("app");
    let gateway = Setup::to(echo.address())
        .before("match: { path: /secret }, respond: { status: 403 }")
        .before("match: { path_prefix: /a }, upstream: app, rewrite: { path_prefix: /a/a }")
        .before("match: { path_prefix: /b }, upstream: app, rewrite: { path: /secret }")
        .start();
    assert_eq!(Report::of(gateway.get("/a/x")).target(), "/a/a/x");
    assert_eq!(Report::of(gateway.get("/b")).target(), "/secret");
    assert_eq!(gateway.get("/secret").status, 403);
    assert_eq!(gateway.await_access("path", "/b")["status"], 200);
}

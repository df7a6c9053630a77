//! Which route serves a request: the rows of the Gateway API's conformance tests that concern hosts, paths, methods, redirects.

use crate::support::{Client, Gateway, Response};

/// A gateway with these routes, each a line in flow form. A route that only names itself in `respond` is a stand-in for a service.
fn routes(lines: &[&str]) -> Gateway {
    let mut text = String::from("workers: 1\nadmin: { bind: \"127.0.0.1:0\" }\n");
    text += "listeners: [{ name: main, bind: \"127.0.0.1:0\" }]\nroutes:\n";
    for line in lines {
        text += &format!("  - {{ {line} }}\n");
    }
    Gateway::start(&text)
}

fn ask(client: &mut Client, method: &str, host: &str, target: &str) -> Response {
    client.ask(format!(
        "{method} {target} HTTP/1.1\r\nHost: {host}\r\n\r\n"
    ))
}

/// What came: the body of a route's answer, or the status of a refusal.
fn outcome(answer: &Response) -> String {
    if answer.status == 200 {
        answer.text()
    } else {
        answer.status.to_string()
    }
}

fn expect_all(gateway: &Gateway, rows: &[(&str, &str, &str, &str)]) {
    let mut client = gateway.client();
    for (method, host, target, expected) in rows {
        let answer = ask(&mut client, method, host, target);
        assert_eq!(outcome(&answer), *expected, "{method} {host} {target}");
    }
}

#[test]
fn an_exact_path_is_exact() {
    let gateway = routes(&[
        "match: { path: /one }, respond: { status: 200, body: v1 }",
        "match: { path: /two }, respond: { status: 200, body: v2 }",
    ]);
    let rows = [
        ("/one", "v1"),
        ("/two", "v2"),
        ("/", "404"),
        ("/one/example", "404"),
        ("/two/", "404"),
        ("/ONE", "404"),
        ("/one/", "404"),
        ("/one?x=1", "v1"),
    ];
    expect_all(
        &gateway,
        &rows.map(|(target, expected)| ("GET", "a.test", target, expected)),
    );
}

#[test]
fn exact_beats_prefix_and_long_beats_short() {
    let gateway = routes(&[
        "match: { path: /match }, respond: { status: 200, body: v1 }",
        "match: { path: /match/exact }, respond: { status: 200, body: v2 }",
        "match: { path: /match/exact/one }, respond: { status: 200, body: v3 }",
        "match: { path_prefix: /match/ }, respond: { status: 200, body: v3 }",
        "match: { path_prefix: /match/prefix/ }, respond: { status: 200, body: v1 }",
        "match: { path_prefix: /match/prefix/one }, respond: { status: 200, body: v2 }",
    ]);
    let rows = [
        ("/match/exact/one", "v3"),
        ("/match/exact", "v2"),
        ("/match", "v1"),
        ("/match/prefix/one/any", "v2"),
        ("/match/prefix/any", "v1"),
        ("/match/any", "v3"),
        ("/matchless", "404"),
    ];
    expect_all(
        &gateway,
        &rows.map(|(target, expected)| ("GET", "a.test", target, expected)),
    );
}

#[test]
fn a_prefix_counts_whole_segments() {
    let gateway = routes(&["match: { path_prefix: /v2 }, respond: { status: 200, body: v }"]);
    let rows = [
        ("/v2", "v"),
        ("/v2/", "v"),
        ("/v2/x", "v"),
        ("/v2example", "404"),
        ("/V2", "404"),
        ("/x/v2", "404"),
    ];
    expect_all(
        &gateway,
        &rows.map(|(target, expected)| ("GET", "a.test", target, expected)),
    );
}

#[test]
fn a_method_alone_refused_is_405_with_allow() {
    let gateway = routes(&[
        "match: { methods: [POST] }, respond: { status: 200, body: v1 }",
        "match: { methods: [GET] }, respond: { status: 200, body: v2 }",
        "match: { path_prefix: /any }, respond: { status: 200, body: v3 }",
    ]);
    expect_all(
        &gateway,
        &[
            ("POST", "a.test", "/", "v1"),
            ("GET", "a.test", "/", "v2"),
            ("DELETE", "a.test", "/any", "v3"),
            ("PURGE", "a.test", "/any", "v3"),
        ],
    );
    let answer = ask(&mut gateway.client(), "DELETE", "a.test", "/");
    answer.expect_refusal(405, "method_not_allowed");
    assert!(
        answer.lists("allow", "POST") && answer.lists("allow", "GET"),
        "{answer:?}"
    );
    let mut client = gateway.client();
    let head = client
        .send("HEAD / HTTP/1.1\r\nHost: a.test\r\n\r\n")
        .head();
    assert_eq!(
        (head.status, head.reason()),
        (405, "method_not_allowed"),
        "HEAD is not GET"
    );
    assert_eq!(
        outcome(&client.get("/any")),
        "v3",
        "an answer to HEAD has no body"
    );
}

#[test]
fn nothing_matches_is_404() {
    let gateway = routes(&["match: { hosts: [a.test], path: /x }, respond: { status: 200 }"]);
    gateway.get("/y").expect_refusal(404, "route_not_found");
    let route = [("route", "_none"), ("reason", "route_not_found")];
    gateway.await_metric("tidegate_gateway_responses_total", &route, 1.0);
}

#[test]
fn the_most_specific_host_is_chosen() {
    let gateway = routes(&[
        "match: { hosts: [bar.com] }, respond: { status: 200, body: v1 }",
        "match: { hosts: [foo.bar.com] }, respond: { status: 200, body: v2 }",
        "match: { hosts: [\"*.bar.com\", \"*.foo.com\"] }, respond: { status: 200, body: v3 }",
    ]);
    let rows = [
        ("bar.com", "v1"),
        ("foo.bar.com", "v2"),
        ("baz.bar.com", "v3"),
        ("multiple.prefixes.bar.com", "v3"),
        ("multiple.prefixes.foo.com", "v3"),
        ("foo.com", "404"),
        ("no.matching.host", "404"),
        ("BAR.com", "v1"),
        ("Foo.Bar.COM:1234", "v2"),
        ("bar.com.", "v1"),
        ("xbar.com", "404"),
    ];
    expect_all(
        &gateway,
        &rows.map(|(host, expected)| ("GET", host, "/", expected)),
    );
}

#[test]
fn the_port_is_no_part_of_the_host_and_a_wildcard_needs_a_label() {
    let gateway = routes(&[
        "match: { hosts: [very.specific.com] }, respond: { status: 200, body: v1 }",
        "match: { hosts: [\"*.wildcard.io\"] }, respond: { status: 200, body: v2 }",
        "match: { hosts: [first.com, \"*.second.com\"] }, respond: { status: 200, body: v3 }",
    ]);
    let rows = [
        ("very.specific.com", "v1"),
        ("very.specific.com:1234", "v1"),
        ("non.matching.com", "404"),
        ("foo.wildcard.io", "v2"),
        ("foo.bar.wildcard.io", "v2"),
        ("wildcard.io", "404"),
        ("WILD.Wildcard.IO", "v2"),
        ("first.com", "v3"),
        ("sub.second.com", "v3"),
        ("third.com", "404"),
        ("second.com", "404"),
        ("[::1]:80", "404"),
    ];
    expect_all(
        &gateway,
        &rows.map(|(host, expected)| ("GET", host, "/", expected)),
    );
}

#[test]
fn a_chosen_host_does_not_fall_back() {
    let gateway = routes(&[
        "match: { hosts: [a.com], path_prefix: /only }, respond: { status: 200, body: v1 }",
        "match: { hosts: [\"*.com\"] }, respond: { status: 200, body: v2 }",
        "respond: { status: 200, body: v3 }",
    ]);
    let rows = [
        ("a.com", "/only/x", "v1"),
        ("a.com", "/else", "404"),
        ("b.com", "/else", "v2"),
        ("b.org", "/else", "v3"),
    ];
    expect_all(
        &gateway,
        &rows.map(|(host, target, expected)| ("GET", host, target, expected)),
    );
}

#[test]
fn any_match_of_a_list_suffices_and_all_parts_of_one_hold() {
    let gateway = routes(&[
        "name: both, match: [{ path: /p1, methods: [GET] }, { path: /p2, hosts: [x.test] }], respond: { status: 200, body: v }",
    ]);
    expect_all(
        &gateway,
        &[
            ("GET", "a.test", "/p1", "v"),
            ("POST", "a.test", "/p1", "405"),
            ("POST", "x.test", "/p2", "v"),
            ("GET", "a.test", "/p2", "404"),
        ],
    );
    let served = [("route", "both"), ("status", "200")];
    gateway.await_metric("tidegate_requests_total", &served, 2.0);
}

#[test]
fn the_absolute_form_chooses_the_route() {
    let gateway = routes(&["match: { hosts: [right.test] }, respond: { status: 200, body: v }"]);
    let mut client = gateway.client();
    assert_eq!(
        outcome(&ask(&mut client, "GET", "wrong.test", "http://right.test/")),
        "v"
    );
    assert_eq!(
        outcome(&ask(&mut client, "GET", "right.test", "http://wrong.test/")),
        "404"
    );
}

#[test]
fn a_fixed_answer_is_what_the_file_says() {
    let gateway = routes(&[
        "match: { path: /teapot }, respond: { status: 418, headers: { X-Kind: tea, Content-Type: text/plain }, body: short }",
        "match: { path: /empty }, respond: { status: 204 }",
    ]);
    let mut client = gateway.client();
    let answer = client.get("/teapot");
    assert_eq!((answer.status, answer.text().as_str()), (418, "short"));
    assert_eq!(
        (answer.field("x-kind"), answer.field("content-type")),
        (Some("tea"), Some("text/plain"))
    );
    assert_eq!(answer.reason(), "", "what the file says is no refusal");
    let head = client
        .send("HEAD /teapot HTTP/1.1\r\nHost: a.test\r\n\r\n")
        .head();
    assert_eq!(
        (head.status, head.field("content-length")),
        (418, Some("5"))
    );
    let empty = client.get("/empty");
    assert_eq!((empty.status, empty.body.len()), (204, 0));
}

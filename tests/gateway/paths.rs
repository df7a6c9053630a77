//! The path is normalised once; routing and the upstream see the same form, and the query is left alone.

use crate::support::{Echo, Report, Setup};

#[test]
fn the_upstream_sees_the_normalised_path() {
    let echo = Echo::start("app");
    let gateway = Setup::to(echo.address()).start();
    let mut client = gateway.client();
    for (sent, seen) in [
        ("/", "/"),
        ("/a/b", "/a/b"),
        ("/a/b/", "/a/b/"),
        ("/a/./b", "/a/b"),
        ("/a/../b", "/b"),
        ("/a/b/..", "/a/"),
        ("/a/b/.", "/a/b/"),
        ("/..", "/"),
        ("/../../a", "/a"),
        ("/a/%2e%2E/b", "/b"),
        ("/%2E/a", "/a"),
        ("//a", "/a"),
        ("/a//b///c", "/a/b/c"),
        ("/a/..//../b", "/b"),
        ("/%61%2D%5f%7E", "/a-_~"),
        ("/a%2Fb", "/a%2Fb"),
        ("/a%20b%3Fc", "/a%20b%3Fc"),
        ("/%C3%A9", "/%C3%A9"),
        ("/a;p=1/b,c=(d)!$&'*+:@", "/a;p=1/b,c=(d)!$&'*+:@"),
        ("/...", "/..."),
        ("/a/.b/..c", "/a/.b/..c"),
    ] {
        assert_eq!(Report::of(client.get(sent)).target(), seen, "{sent}");
    }
}

#[test]
fn the_query_is_left_alone() {
    let echo = Echo::start("app");
    let gateway = Setup::to(echo.address()).start();
    let mut client = gateway.client();
    for query in [
        "",
        "a=1",
        "x=%7e&y=/../b//c&z=%61+b",
        "?",
        "a=/./",
        "u=http://x.test/%2e%2e",
    ] {
        assert_eq!(
            Report::of(client.get(&format!("/a/../b?{query}"))).target(),
            format!("/b?{query}")
        );
    }
    let long = format!("/q?{}", "v".repeat(4000));
    assert_eq!(Report::of(client.get(&long)).target(), long);
}

#[test]
fn no_spelling_gets_around_a_route() {
    let echo = Echo::start("app");
    let shut = "name: shut, match: { path_prefix: /admin }, respond: { status: 403, body: shut }";
    let gateway = Setup::to(echo.address()).before(shut).start();
    let mut client = gateway.client();
    for spelling in [
        "/admin",
        "/admin/x",
        "//admin",
        "/%61dmin",
        "/a/../admin",
        "/./admin",
        "/x/%2e%2e/admin/y",
        "/a/..//admin",
    ] {
        let answer = client.get(spelling);
        assert_eq!(
            (answer.status, answer.text().as_str()),
            (403, "shut"),
            "{spelling}"
        );
    }
    for other in ["/admin/../x", "/administrator", "/admin%2Fx"] {
        assert_eq!(client.get(other).status, 200, "{other}");
    }
    assert_eq!(echo.upstream().requests().len(), 3);
}

#[test]
fn the_access_log_names_the_normalised_path() {
    let echo = Echo::start("app");
    let gateway = Setup::to(echo.address()).start();
    let report = Report::of(gateway.get("/x/../%61?secret=1"));
    let entry = gateway.await_access("request_id", report.field("x-request-id").unwrap());
    assert_eq!(entry["path"], "/a");
}

//! Redirects: what the file does not say comes from the request, and a port that the scheme implies is left out.

use crate::support::{Gateway, Response};

fn redirect(redirect: &str) -> Gateway {
    let text = format!(
        "workers: 1\nadmin: {{ bind: \"127.0.0.1:0\" }}\nlisteners: [{{ name: main, bind: \"127.0.0.1:0\" }}]\nroutes:\n  \
         - {{ match: {{ path_prefix: /original-prefix }}, redirect: {{ {redirect} }} }}\n"
    );
    Gateway::start(&text)
}

fn ask(gateway: &Gateway, target: &str) -> Response {
    let address = gateway.address();
    gateway.client().ask(format!(
        "GET {target} HTTP/1.1\r\nHost: old.test:{}\r\n\r\n",
        address.port()
    ))
}

#[test]
fn each_part_is_replaced_alone() {
    for (keys, status, location) in [
        (
            "host: example.org",
            302,
            "http://example.org:PORT/original-prefix/lemon?q=1",
        ),
        (
            "host: example.org, port: 80",
            302,
            "http://example.org/original-prefix/lemon?q=1",
        ),
        (
            "host: example.org, port: 80, status: 301",
            301,
            "http://example.org/original-prefix/lemon?q=1",
        ),
        (
            "path_prefix: /replacement-prefix, status: 303",
            303,
            "http://old.test:PORT/replacement-prefix/lemon?q=1",
        ),
        (
            "path_prefix: /, status: 307",
            307,
            "http://old.test:PORT/lemon?q=1",
        ),
        (
            "path: /full-path-replacement, status: 308",
            308,
            "http://old.test:PORT/full-path-replacement",
        ),
        (
            "path: /full, host: example.org, port: 8080",
            302,
            "http://example.org:8080/full",
        ),
        (
            "scheme: https",
            302,
            "https://old.test/original-prefix/lemon?q=1",
        ),
        (
            "scheme: https, port: 443",
            302,
            "https://old.test/original-prefix/lemon?q=1",
        ),
        (
            "scheme: https, port: 8443",
            302,
            "https://old.test:8443/original-prefix/lemon?q=1",
        ),
        ("port: 80", 302, "http://old.test/original-prefix/lemon?q=1"),
        (
            "port: 8080",
            302,
            "http://old.test:8080/original-prefix/lemon?q=1",
        ),
    ] {
        let gateway = redirect(keys);
        let answer = ask(&gateway, "/original-prefix/lemon?q=1");
        let location = location.replace("PORT", &gateway.address().port().to_string());
        assert_eq!(
            (answer.status, answer.field("location")),
            (status, Some(location.as_str())),
            "{keys}"
        );
        assert_eq!(answer.reason(), "", "a redirect is no refusal");
    }
}

#[test]
fn a_prefix_is_replaced_once_and_whole() {
    let gateway = redirect("path_prefix: /new, host: h.test, port: 80");
    for (target, path) in [
        ("/original-prefix", "/new"),
        ("/original-prefix/", "/new/"),
        ("/original-prefix/original-prefix", "/new/original-prefix"),
        ("/original-prefix/a%2Fb?x=%20", "/new/a%2Fb?x=%20"),
        ("/original-prefix/../original-prefix/x", "/new/x"),
    ] {
        let answer = ask(&gateway, target);
        assert_eq!(
            answer.field("location"),
            Some(format!("http://h.test{path}").as_str()),
            "{target}"
        );
    }
}

#[test]
fn a_stripped_prefix_never_leaves_two_slashes() {
    let gateway = redirect("path_prefix: /, host: h.test, port: 80");
    for (target, path) in [
        ("/original-prefix", "/"),
        ("/original-prefix/", "/"),
        ("/original-prefix/x", "/x"),
        ("/original-prefix//evil.test", "/evil.test"),
    ] {
        let answer = ask(&gateway, target);
        assert_eq!(
            answer.field("location"),
            Some(format!("http://h.test{path}").as_str()),
            "{target}"
        );
    }
}

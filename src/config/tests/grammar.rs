//! What routes can say: matches, weights, rewrites, header changes, mirrors, the form of the access log.

use super::*;

const ROUTES: &str = r#"
listeners: [{ name: in, bind: "127.0.0.1:80" }, { name: out, bind: "127.0.0.1:81" }]
upstreams:
  one: { endpoints: ["http://127.0.0.1:1"] }
  two: { endpoints: ["http://127.0.0.1:2"] }
routes:
  - name: a
    listeners: out
    match:
      path_regex: /v\d+/.*
      headers: { X-A: "1", x-b: { regex: "a|b" }, x-c: { present: false } }
      query: { q: exact, r: { present: true } }
    upstream: { one: 95, two: 5 }
    rewrite: { path_regex: { pattern: "^/v(\\d+)", replace: "/$1" }, host: A.example:81 }
    request_headers: { remove: X-Old, set: { X-New: 1 }, add: { via: [x, y] } }
    response_headers: { remove: [server] }
    mirror: { upstream: two, percent: 0.5% }
  - name: b
    listeners: [in, out]
    match: { path_prefix: /b }
    upstream: two
    rewrite: { path_prefix: /c/, host: upstream }
    mirror: [{ upstream: one }, { upstream: two, percent: 35% }]
  - name: c
    match: { path: /c }
    upstream: two
    rewrite: { path: /d }
"#;

#[test]
fn matches_have_patterns_fields_and_parameters() {
    let config = meaning(ROUTES);
    let one = &config.routes[0].matches[0];
    assert_eq!(one.path, PathMatch::Regex(r"/v\d+/.*".into()));
    let headers: Vec<_> = one
        .headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.clone()))
        .collect();
    assert_eq!(
        headers,
        [
            ("x-a", ValueMatch::Exact("1".into())),
            ("x-b", ValueMatch::Regex("a|b".into())),
            ("x-c", ValueMatch::Present(false)),
        ]
    );
    assert_eq!(
        one.query,
        [
            ("q".into(), ValueMatch::Exact("exact".into())),
            ("r".into(), ValueMatch::Present(true)),
        ]
    );
}

#[test]
fn targets_are_resolved() {
    let [a, b, c] = meaning(ROUTES).routes.try_into().unwrap();
    assert_eq!(a.listeners, [1]);
    assert_eq!(b.listeners, [0, 1]);
    assert_eq!(c.listeners, [0_usize; 0]);
    assert_eq!(a.action, Action::Weighted(vec![(0, 95), (1, 5)]));
    let mirror = |upstream, per_million| Mirror {
        upstream,
        per_million,
    };
    assert_eq!(a.mirrors, [mirror(1, 5_000)]);
    assert_eq!(b.mirrors, [mirror(0, 1_000_000), mirror(1, 350_000)]);
}

#[test]
fn rewrites_and_changes_are_read() {
    let [a, b, c] = meaning(ROUTES).routes.try_into().unwrap();
    let regex = RewritePath::Regex {
        pattern: r"^/v(\d+)".into(),
        replace: "/$1".into(),
    };
    assert_eq!(a.rewrite.path, Some(regex));
    assert_eq!(
        a.rewrite.host,
        Some(RewriteHost::Name("a.example:81".into()))
    );
    assert_eq!(b.rewrite.path, Some(RewritePath::Prefix("/c".into())));
    assert_eq!(b.rewrite.host, Some(RewriteHost::Endpoint));
    assert_eq!(c.rewrite.path, Some(RewritePath::Full("/d".into())));
    let changes = a.request_headers;
    assert_eq!(changes.remove, ["x-old"]);
    let lines = |lines: &[(http::HeaderName, http::HeaderValue)]| -> String {
        let lines = lines.iter();
        lines
            .map(|(name, value)| format!("{name}={} ", value.to_str().unwrap()))
            .collect()
    };
    assert_eq!(lines(&changes.set), "x-new=1 ");
    assert_eq!(lines(&changes.add), "via=x via=y ");
    assert_eq!(a.response_headers.remove, ["server"]);
    assert_eq!(b.request_headers, FieldChanges::default());
}

#[test]
fn equal_matches_on_other_listeners_are_others() {
    let routes = |first: &str, second: &str| {
        problems(&format!(
            "listeners: [{{ name: in, bind: \"127.0.0.1:80\" }}, {{ name: out, bind: \"127.0.0.1:81\" }}]
routes:
- {{ name: a, {first} respond: {{}} }}
- {{ name: b, {second} respond: {{}} }}"
        ))
    };
    assert_eq!(routes("listeners: in,", "listeners: out,"), [""; 0]);
    assert_eq!(routes("listeners: in,", ""), [""; 0]);
    for (first, second) in [
        ("", ""),
        ("", "listeners: in,"),
        ("listeners: in,", "listeners: in,"),
    ] {
        assert_eq!(routes(first, second), ["4:3 this match is written twice"]);
    }
}

#[test]
fn conditions_tell_matches_apart() {
    let routes = |first: &str, second: &str| {
        problems(&format!(
            "{LISTENER}routes:
- {{ name: a, match: {{ {first} }}, respond: {{}} }}
- {{ name: b, match: {{ {second} }}, respond: {{}} }}"
        ))
    };
    assert_eq!(routes("headers: { a: x }", "headers: { a: y }"), [""; 0]);
    assert_eq!(routes("headers: { a: x }", "query: { a: x }"), [""; 0]);
    assert_eq!(routes("path_regex: /a", "path: /a"), [""; 0]);
    let twice = ["4:21 this match is written twice"];
    assert_eq!(
        routes("headers: { a: x, b: y }", "headers: { B: y, A: x }").len(),
        twice.len()
    );
    let shadowed = routes("query: { a: x }", "query: { a: x }, methods: [GET]");
    assert_eq!(shadowed, [""; 0]);
    let shadowed = routes(
        "path_regex: /a, methods: [GET, PUT]",
        "path_regex: /a, methods: [GET]",
    );
    assert_eq!(shadowed, ["4:3 this route is never chosen"]);
}

#[test]
fn the_access_log_has_the_form_that_is_asked_for() {
    let access = |text: &str| {
        let config = meaning(&format!("{LISTENER}logging: {{ access: {{ {text} }} }}"));
        config.logging.access.unwrap()
    };
    let chosen = access("fields: [status, route], sample: 0.01%");
    assert_eq!(
        chosen.format,
        LogFormat::Json(vec![LogField::Status, LogField::Route])
    );
    assert_eq!(chosen.sample_per_million, 100);
    let text = access("format: \"{method} {path}\"").format;
    assert_eq!(
        text,
        LogFormat::Text(vec![
            LogPiece::Field(LogField::Method),
            LogPiece::Literal(" ".into()),
            LogPiece::Field(LogField::Path),
        ])
    );
}

#[test]
fn defaults_lie_under_every_route() {
    let text = format!(
        "{LISTENER}upstreams: {{ app: {{ endpoints: [\"http://127.0.0.1:1\"] }} }}
route_defaults:
  upstream: app
  timeouts: {{ request: 9s, response: 8s }}
  match: {{ hosts: a.example, path_prefix: /p }}
  response_headers: {{ set: {{ X-One: 1, X-Two: 2 }}, remove: [a, b] }}
  max_body: 1KiB
routes:
- {{ name: a }}
- {{ name: b, match: {{ path: /b }}, timeouts: {{ response: off }}, max_body: off }}
- {{ name: c, match: [{{ path: /c }}, {{ hosts: c.example }}], respond: {{}} }}
- {{ name: d, match: {{ path: /d }}, response_headers: {{ set: {{ x-two: 3 }}, remove: c }} }}
"
    );
    let [a, b, c, d] = meaning(&text).routes.try_into().unwrap();
    assert_eq!((a.action, a.max_body), (Action::Upstream(0), Some(1024)));
    assert_eq!(b.timeouts.request, Some(Duration::from_secs(9)));
    assert_eq!((b.timeouts.response, b.max_body), (Some(None), None));
    assert_eq!(b.matches[0].path, PathMatch::Exact("/b".into()));
    assert_eq!(b.matches[0].hosts, ["a.example"]);
    assert!(matches!(c.action, Action::Respond(_)));
    assert_eq!(c.matches[0].hosts, ["a.example"]);
    assert_eq!(c.matches[1].path, PathMatch::Prefix("/p".into()));
    let set: Vec<_> = d
        .response_headers
        .set
        .iter()
        .map(|(n, v)| (n.as_str(), v.to_str().unwrap()))
        .collect();
    assert_eq!(set, [("x-two", "3"), ("x-one", "1")]);
    assert_eq!(d.response_headers.remove, ["c"]);
}

#[test]
fn what_is_no_default_is_refused_once() {
    let routes = "- { name: a, match: { path: /a }, respond: {} }\n- { name: b, match: { path: /b }, respond: {} }\n";
    let text = format!(
        "{LISTENER}route_defaults: {{ name: x, max_body: 1, mirror: {{ upstream: none }}, upstream: no, listeners: [l] }}\nroutes:\n{routes}"
    );
    assert_eq!(
        problems(&text),
        [
            "2:19 `name` cannot be a default",
            "2:38 `1` has no unit",
            "2:61 no upstream is called `none`",
            "2:79 no upstream is called `no`",
            "2:95 no listener is called `l`",
        ]
    );
}

#[test]
fn a_word_that_is_a_key_of_the_map_beside_it_says_so() {
    assert_eq!(
        problems(&format!("{LISTENER}errors: detail")),
        ["2:9 `detail` alone says too little"]
    );
    // A value of a header may be any text.
    let text = format!(
        "{LISTENER}routes: [{{ match: {{ headers: {{ a: regex, b: present }} }}, respond: {{}} }}]"
    );
    let one = &meaning(&text).routes[0].matches[0];
    assert_eq!(one.headers[0].1, ValueMatch::Exact("regex".into()));
}

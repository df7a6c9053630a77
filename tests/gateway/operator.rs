//! The operator's port: what it tells, what it changes, and whom it refuses.

use serde_json::{Value, json};

use crate::support::{Client, Echo, Gateway, PATIENCE, Response, Setup, until, vacant};

/// The field that every verb wants.
pub(crate) const HANDS: &str = "X-Tidegate-Admin: 1\r\n";

/// One request to the operator's port, under the name that it is reached by.
fn ask(gateway: &Gateway, method: &str, target: &str, fields: &str, body: &str) -> Response {
    let address = gateway.admin().expect("admin is on");
    Client::connect(address).ask(format!(
        "{method} {target} HTTP/1.1\r\nHost: {address}\r\n{fields}Content-Length: {}\r\n\r\n{body}",
        body.len()
    ))
}

/// `POST /reload`.
pub(crate) fn reload(gateway: &Gateway, fields: &str) -> Response {
    ask(gateway, "POST", "/reload", &format!("{HANDS}{fields}"), "")
}

/// `PUT /loglevel`.
pub(crate) fn set_level(gateway: &Gateway, body: &str) -> Response {
    ask(gateway, "PUT", "/loglevel", HANDS, body)
}

/// Fails unless this is a problem with this status; returns it.
#[track_caller]
pub(crate) fn refused(answer: &Response, status: u16) -> Value {
    assert_eq!(answer.status, status, "{}", answer.text());
    assert_eq!(
        answer.field("content-type"),
        Some("application/problem+json")
    );
    let problem = answer.json();
    assert_eq!(problem["status"], status);
    for key in ["type", "title", "detail"] {
        assert!(
            problem[key].as_str().is_some_and(|text| !text.is_empty()),
            "{problem}"
        );
    }
    problem
}

fn names(value: &Value) -> Vec<&str> {
    let items = value.as_array().expect("a list");
    items
        .iter()
        .map(|item| item.as_str().expect("a text"))
        .collect()
}

#[test]
fn the_index_lists_every_page_and_loads_nothing() {
    let echo = Echo::start("app");
    let gateway = Setup::to(echo.address()).start();
    let index = gateway.admin_get("/", "").expect_ok();
    assert!(
        index
            .field("content-type")
            .unwrap()
            .starts_with("text/html")
    );
    let policy = index.field("content-security-policy").unwrap();
    assert!(policy.starts_with("default-src 'none';"), "{policy}");
    for target in [
        "/healthz",
        "/readyz",
        "/metrics",
        "/config",
        "/routes",
        "/upstreams",
        "/limits",
    ] {
        assert!(
            index.text().contains(&format!("href=\"{target}\"")),
            "{target}"
        );
        let page = gateway.admin_get(target, "").expect_ok();
        assert_eq!(page.field("cache-control"), Some("no-store"), "{target}");
        assert_eq!(
            page.field("x-content-type-options"),
            Some("nosniff"),
            "{target}"
        );
        let head = Client::connect(gateway.admin().unwrap())
            .send(format!("HEAD {target} HTTP/1.1\r\nHost: localhost\r\n\r\n"))
            .head();
        assert_eq!(head.status, 200, "{target}");
    }
    for target in [
        "/limits/a/b",
        "/limits/",
        "/limits/a",
        "/breakers",
        "/config/",
        "/%2e/config",
        "/favicon.ico",
    ] {
        refused(&gateway.admin_get(target, ""), 404);
    }
    for (method, target, allow) in [
        ("POST", "/config", "GET, HEAD"),
        ("DELETE", "/", "GET, HEAD"),
        ("GET", "/reload", "POST"),
        ("POST", "/loglevel", "PUT"),
    ] {
        let answer = ask(&gateway, method, target, HANDS, "");
        refused(&answer, 405);
        assert_eq!(answer.field("allow"), Some(allow), "{method} {target}");
    }
}

#[test]
fn the_configuration_is_told_with_its_generation_and_without_its_secrets() {
    let echo = Echo::start("app");
    let setup = Setup::to(echo.address())
        .top("admin: { bind: \"127.0.0.1:0\", token: s3cret }")
        .before("name: fixed, match: { path: /fixed }, respond: { status: 200, headers: { authorization: s3cret } }");
    let gateway = setup.start();
    let bearer = "Authorization: Bearer s3cret\r\n";
    refused(&gateway.admin_get("/config", ""), 401);
    let page = gateway.admin_get("/config", bearer).expect_ok();
    let told = page.json();
    assert!(!page.text().contains("s3cret"), "{}", page.text());
    assert_eq!(
        (&told["generation"], page.field("etag")),
        (&json!(1), Some("\"1\""))
    );
    let config = &told["config"];
    assert_eq!(config["admin"]["token"], "***");
    assert_eq!(config["workers"], 2);
    assert_eq!(config["drain"]["deadline"], "25s", "a default is told too");
    assert_eq!(
        config["upstreams"]["app"]["endpoints"],
        json!([format!("http://{}", echo.address())])
    );
    assert_eq!(config["routes"][1]["upstream"], "app");
    gateway.apply(&setup.clone().top("drain: { deadline: 7s }").text());
    let told = gateway.admin_get("/config", bearer).expect_ok().json();
    assert_eq!(
        (&told["generation"], &told["config"]["drain"]["deadline"]),
        (&json!(2), &json!("7s"))
    );
}

#[test]
fn routes_stand_in_the_order_of_the_file_with_their_lines() {
    let echo = Echo::start("app");
    let setup = Setup::to(echo.address())
        .before("name: one, match: { hosts: a.test, path: /one, methods: [GET] }, respond: { status: 204 }")
        .before("match: { path_prefix: /two }, redirect: { host: b.test }");
    let gateway = setup.start();
    let told = gateway.admin_get("/routes", "").expect_ok().json();
    let routes = told["routes"].as_array().unwrap();
    assert_eq!(routes.len(), 3);
    let text = setup.text();
    for (order, (route, key)) in routes
        .iter()
        .zip(["respond", "redirect", "upstream"])
        .enumerate()
    {
        assert_eq!(route["order"], order);
        assert!(route["action"].get(key).is_some(), "{route}");
        let line = usize::try_from(route["line"].as_u64().unwrap()).unwrap();
        assert!(text.lines().nth(line - 1).unwrap().contains(key), "{route}");
        assert!(!route["name"].as_str().unwrap().is_empty());
    }
    assert_eq!(
        routes[0]["match"],
        json!([{ "hosts": ["a.test"], "path": "/one", "methods": ["GET"] }])
    );
    // A line more moves them, and is no new generation.
    gateway.write_config(&format!("# a comment\n{text}"));
    assert_eq!(
        reload(&gateway, "").expect_ok().json()["result"],
        "unchanged"
    );
    let moved = gateway.admin_get("/routes", "").expect_ok().json();
    assert_eq!(moved["generation"], 1);
    assert_eq!(
        moved["routes"][0]["line"].as_u64(),
        routes[0]["line"].as_u64().map(|line| line + 1)
    );
}

#[test]
fn endpoints_tell_their_connections_and_who_is_avoided() {
    let echo = Echo::start("app");
    let [closed] = vacant();
    let text = Setup::to(echo.address())
        .before("name: lost, match: { path: /lost }, upstream: lost")
        .text();
    let gateway = Gateway::start(&format!(
        "{text}  lost: {{ endpoints: [\"http://{closed}\"] }}\n"
    ));
    gateway.get("/").expect_ok();
    assert_eq!(gateway.get("/lost").status, 502);
    let look = |name: &str| {
        let told = gateway.admin_get("/upstreams", "").expect_ok().json();
        let rows = told["upstreams"].as_array().unwrap().clone();
        rows.into_iter().find(|row| row["name"] == name).unwrap()["endpoints"][0].clone()
    };
    assert_eq!(look("lost")["shunned"], true);
    until(PATIENCE, "the connection lies idle", || {
        look("app")["connections"] == json!({ "idle": 1, "busy": 0 })
    });
    let app = look("app");
    assert_eq!(app["endpoint"], echo.address().to_string());
    assert_eq!(
        (&app["in_flight"], &app["shunned"]),
        (&json!(0), &json!(false))
    );
}

#[test]
fn a_reload_answers_with_what_it_did() {
    let echo = Echo::start("app");
    let setup = Setup::to(echo.address())
        .before("name: old, match: { path: /old }, respond: { status: 200 }");
    let gateway = setup.start();
    let answer = reload(&gateway, "").expect_ok();
    let told = answer.json();
    assert_eq!(
        (&told["generation"], &told["result"]),
        (&json!(1), &json!("unchanged"))
    );
    assert_eq!(answer.field("etag"), Some("\"1\""));
    for key in ["added", "changed", "removed"] {
        assert_eq!(names(&told[key]), [""; 0], "{key}");
    }
    for round in 1..20 {
        let next = Setup::to(echo.address())
            .before("name: new, match: { path: /new }, respond: { status: 201 }")
            .route("max_body: 1KiB")
            .top("drain: { deadline: 9s }");
        gateway.write_config(&next.text());
        let told = reload(&gateway, "").expect_ok().json();
        assert_eq!(told["generation"], 2 * round);
        assert_eq!(
            gateway.get("/new").status,
            201,
            "in force as soon as it is answered"
        );
        // The watch may have been first: then there was nothing new, and the next round will tell.
        if told["result"] == "applied" {
            assert_eq!(names(&told["added"]), ["route new"]);
            assert_eq!(names(&told["changed"]), ["drain", "route all"]);
            assert_eq!(names(&told["removed"]), ["route old"]);
            return;
        }
        gateway.write_config(&setup.text());
        reload(&gateway, "").expect_ok();
    }
    panic!("the watch was first in every round");
}

#[test]
fn a_reload_that_is_refused_tells_every_problem_with_its_place() {
    let echo = Echo::start("app");
    let setup = Setup::to(echo.address());
    let gateway = setup.start();
    gateway.write_config(
        &setup
            .clone()
            .route("timeouts: { request: 5 }, max_bdy: 1")
            .text(),
    );
    let problem = refused(&reload(&gateway, ""), 422);
    let problems = problem["problems"].as_array().unwrap();
    assert_eq!(problems.len(), 2, "{problem}");
    for one in problems {
        assert!(
            one["file"].as_str().unwrap().ends_with("gateway.yaml"),
            "{one}"
        );
        assert!(
            one["line"].as_u64().unwrap() > 1 && one["column"].as_u64().unwrap() > 1,
            "{one}"
        );
        assert!(
            one["message"].is_string() && one["help"].is_string(),
            "{one}"
        );
    }
    gateway.write_config(&setup.text().replace("workers: 2", "workers: 3"));
    let problem = refused(&reload(&gateway, ""), 422);
    assert!(
        problem["problems"][0]["message"]
            .as_str()
            .unwrap()
            .contains("workers"),
        "{problem}"
    );
    assert_eq!(
        gateway.metric("tidegate_config_last_reload_success", &[]),
        Some(0.0)
    );
    assert_eq!(gateway.metric("tidegate_config_generation", &[]), Some(1.0));
    gateway.write_config(&setup.text());
    reload(&gateway, "").expect_ok();
    assert_eq!(
        gateway.metric("tidegate_config_last_reload_success", &[]),
        Some(1.0)
    );
}

#[test]
fn a_reload_can_be_bound_to_a_generation() {
    let echo = Echo::start("app");
    let setup = Setup::to(echo.address());
    let gateway = setup.start();
    reload(&gateway, "If-Match: \"1\"\r\n").expect_ok();
    gateway.apply(&setup.clone().route("max_body: 1KiB").text());
    gateway.write_config(&setup.clone().route("max_body: 2KiB").text());
    let stale = reload(&gateway, "If-Match: \"1\"\r\n");
    refused(&stale, 412);
    reload(&gateway, "If-Match: \"1\", \"2\", \"3\"\r\n").expect_ok();
    gateway.await_metric("tidegate_config_generation", &[], 3.0);
    reload(&gateway, "If-Match: *\r\n").expect_ok();
}

#[test]
fn many_who_reload_at_once_are_all_answered() {
    let echo = Echo::start("app");
    let setup = Setup::to(echo.address());
    let gateway = setup.start();
    gateway.write_config(&setup.clone().route("max_body: 1KiB").text());
    std::thread::scope(|scope| {
        let asked: Vec<_> = (0..40)
            .map(|_| scope.spawn(|| reload(&gateway, "")))
            .collect();
        for answer in asked {
            assert_eq!(answer.join().unwrap().expect_ok().json()["generation"], 2);
        }
    });
}

#[test]
fn a_level_is_set_for_everything_or_for_one_part() {
    let echo = Echo::start("app");
    let setup = Setup::to(echo.address());
    let mut gateway = setup.start();
    let told = set_level(&gateway, "{\"level\":\"error\"}")
        .expect_ok()
        .json();
    assert_eq!(told, json!({ "level": "error", "targets": {} }));
    reload(&gateway, "").expect_ok();
    assert_eq!(gateway.count_stderr("reload unchanged"), 0);
    let told = set_level(
        &gateway,
        "{\"level\":\"info\",\"target\":\"tidegate::server::reload\"}",
    )
    .expect_ok()
    .json();
    assert_eq!(
        told["targets"],
        json!({ "tidegate::server::reload": "info" })
    );
    reload(&gateway, "").expect_ok();
    gateway.await_stderr("reload unchanged");
    // A reload that says nothing about the level leaves it; one that does sets it.
    gateway.write_config(&setup.clone().route("max_body: 1KiB").text());
    reload(&gateway, "").expect_ok();
    assert!(gateway.admin_get("/", "").text().contains("error"));
    gateway.write_config(&setup.clone().top("logging: { level: warn }").text());
    reload(&gateway, "").expect_ok();
    let told = set_level(&gateway, "{\"level\":\"trace\",\"target\":\"tidegate\"}")
        .expect_ok()
        .json();
    assert_eq!(told["level"], "warn");
    set_level(&gateway, "{\"level\":\"debug\",\"target\":\"h2::codec\"}").expect_ok();
    for body in [
        "",
        "{}",
        "{\"level\":\"loud\"}",
        "[\"debug\"]",
        "{\"level\":\"debug\",\"x\":1}",
    ] {
        refused(&set_level(&gateway, body), 400);
    }
    refused(
        &set_level(
            &gateway,
            "{\"level\":\"debug\",\"target\":\"tidegate::nobody\"}",
        ),
        404,
    );
}

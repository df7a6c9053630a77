//! Whom the operator's port refuses: other names, other people's pages, wrong tokens, bodies without end.

use crate::operator::{HANDS, refused, reload, set_level};
use crate::support::{Client, Echo, PATIENCE, Setup, until};

#[test]
fn a_verb_wants_its_field_and_a_known_host() {
    let echo = Echo::start("app");
    let gateway = Setup::to(echo.address()).start();
    let address = gateway.admin().unwrap();
    let post = |host: &str, fields: &str| {
        Client::connect(address)
            .ask(format!(
                "POST /reload HTTP/1.1\r\n{host}{fields}Content-Length: 0\r\n\r\n"
            ))
            .status
    };
    let port = address.port();
    for host in [
        format!("localhost:{port}"),
        "127.0.0.1".into(),
        "[::1]:1".into(),
        "LOCALHOST".into(),
    ] {
        assert_eq!(post(&format!("Host: {host}\r\n"), HANDS), 200, "{host}");
        assert_eq!(
            post(&format!("Host: {host}\r\n"), ""),
            403,
            "{host} without the field"
        );
        assert_eq!(
            post(&format!("Host: {host}\r\n"), "X-Tidegate-Admin: 0\r\n"),
            403,
            "{host}"
        );
    }
    for host in ["evil.test", "localhost.evil.test", "192.0.2.1", ""] {
        assert_eq!(post(&format!("Host: {host}\r\n"), HANDS), 403, "{host:?}");
    }
    assert_eq!(
        post(&format!("Host: {address}\r\nHost: evil.test\r\n"), HANDS),
        403
    );
    // A page of the same name reads nothing either.
    let fields = "Accept-Language: en\r\n";
    let rebound = format!("GET /config HTTP/1.1\r\nHost: evil.test:{port}\r\n{fields}\r\n");
    assert_eq!(Client::connect(address).ask(rebound).status, 403);
    assert_eq!(gateway.admin_get("/config", fields).status, 200);
}

#[test]
fn without_a_token_only_loopback_tells_more_than_its_health() {
    let echo = Echo::start("app");
    let setup = Setup::to(echo.address());
    let mut gateway = setup.clone().top("admin: { bind: \"0.0.0.0:0\" }").start();
    gateway.await_stderr("admin.token is not set");
    let port = gateway.admin().unwrap().port();
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], port));
    let get = |target: &str, fields: &str| {
        Client::connect(address).ask(format!(
            "GET {target} HTTP/1.1\r\nHost: {address}\r\n{fields}\r\n"
        ))
    };
    for target in ["/healthz", "/readyz", "/metrics"] {
        get(target, "").expect_ok();
    }
    for target in [
        "/",
        "/config",
        "/routes",
        "/upstreams",
        "/reload",
        "/nothing",
    ] {
        let problem = refused(&get(target, ""), 403);
        assert!(
            problem["detail"].as_str().unwrap().contains("admin.token"),
            "{problem}"
        );
    }
    // The token is live: with it the rest is there, without it no more.
    let tokens = setup
        .clone()
        .top("admin: { bind: \"0.0.0.0:0\", token: first }")
        .text();
    gateway.write_config(&tokens);
    gateway.sighup();
    until(PATIENCE, "the token holds", || {
        get("/config", "").status == 401
    });
    get("/config", "Authorization: Bearer first\r\n").expect_ok();
    assert_eq!(
        get("/config", "")
            .field("www-authenticate")
            .map(|value| &value[..6]),
        Some("Bearer")
    );
    gateway.write_config(&tokens.replace("token: first", "token: second"));
    let reload = format!(
        "POST /reload HTTP/1.1\r\nHost: {address}\r\n{HANDS}Authorization: Bearer first\r\n\r\n"
    );
    assert!(matches!(
        Client::connect(address).ask(&reload).status,
        200 | 401
    ));
    until(PATIENCE, "the new token holds", || {
        get("/config", "Authorization: Bearer second\r\n").status == 200
    });
    assert_eq!(
        get("/config", "Authorization: Bearer first\r\n").status,
        401
    );
    assert_eq!(Client::connect(address).ask(reload).status, 401);
}

#[test]
fn bodies_are_bounded() {
    let echo = Echo::start("app");
    let gateway = Setup::to(echo.address()).start();
    let address = gateway.admin().unwrap();
    let announced = format!(
        "PUT /loglevel HTTP/1.1\r\nHost: {address}\r\n{HANDS}Content-Length: 65537\r\n\r\n"
    );
    assert_eq!(Client::connect(address).ask(announced).status, 413);
    let mut chunked = format!(
        "PUT /loglevel HTTP/1.1\r\nHost: {address}\r\n{HANDS}Transfer-Encoding: chunked\r\n\r\n"
    );
    chunked += &format!("{:x}\r\n{}\r\n0\r\n\r\n", 65537, " ".repeat(65537));
    assert_eq!(Client::connect(address).ask(chunked).status, 413);
    let padded = format!("{{\"level\":\"info\"}}{}", " ".repeat(60_000));
    set_level(&gateway, &padded).expect_ok();
    // One that never sends its body holds up nobody.
    let mut silent = Client::connect(address);
    silent.send(format!(
        "PUT /loglevel HTTP/1.1\r\nHost: {address}\r\n{HANDS}Content-Length: 10\r\n\r\n"
    ));
    reload(&gateway, "").expect_ok();
}

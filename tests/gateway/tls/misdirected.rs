//! 421: a request for a host that its TLS connection was not made for (R96), and redirects on HTTPS (R130 to R135).

use super::*;

fn ask(client: &mut Client, host: &str) -> u16 {
    let answer = client.ask(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"));
    if answer.status == 421 {
        answer.expect_refusal(421, "misdirected_request");
    }
    answer.status
}

#[test]
fn r96_a_host_of_another_certificate_is_misdirected() {
    let house = House::build(
        &[
            ("a", &["a.test", "also.test", "*.w.test"]),
            ("b", &["b.test"]),
        ],
        "",
        |setup| setup,
    );
    let mut client = house.visit("a.test");
    for (host, status) in [
        ("a.test", 200),
        ("A.test.", 200),
        ("a.test:8443", 200),
        ("b.test", 421),
        ("b.test:443", 421),
        ("also.test", 200),
        ("x.w.test", 200),
        ("x.x.w.test", 421),
        ("w.test", 421),
        ("127.0.0.1", 421),
        ("a.test", 200),
    ] {
        assert_eq!(ask(&mut client, host), status, "{host}");
    }
    // An absolute target overrules the field.
    let answer = client.ask("GET https://b.test/ HTTP/1.1\r\nHost: a.test\r\n\r\n");
    answer.expect_refusal(421, "misdirected_request");
    client.ask("GET / HTTP/1.0\r\n\r\n").expect_ok();
    // What the upstream saw was never misdirected.
    assert_eq!(house.echo.upstream().requests().len(), 7);
}

#[test]
fn an_unknown_name_may_be_asked_for_by_the_name_it_gave() {
    let house = House::build(&[("a", &["a.test"])], "", |setup| setup);
    let visitor = house.visitor().with(|config| config.enable_sni = false);
    let mut client = visitor.visit(house.gateway.address(), "a.test");
    for host in ["a.test", "b.test", "127.0.0.1"] {
        assert_eq!(ask(&mut client, host), 200, "{host}: without SNI never");
    }
}

#[test]
fn r130_to_r135_a_redirect_has_the_scheme_and_the_port_of_its_listener() {
    let rules = [
        ("r130", "", "https://x.test:PORT/n"),
        ("r131", ", port: 443", "https://x.test/n"),
        ("r132", ", port: 8443", "https://x.test:8443/n"),
        ("r133", ", scheme: http", "http://x.test/n"),
        ("r134", ", scheme: http, port: 80", "http://x.test/n"),
        ("r135", ", scheme: http, port: 8080", "http://x.test:8080/n"),
    ];
    let house = House::build(&[("a", &["a.test"])], "", |setup| {
        rules.iter().fold(setup, |setup, (name, keys, _)| {
            setup.before(&format!(
                "name: {name}, match: {{ path: /{name} }}, redirect: {{ host: x.test, path: /n{keys} }}"
            ))
        })
    });
    let mut client = house.visit("a.test");
    let port = house.gateway.address().port().to_string();
    for (name, _, location) in rules {
        let answer = client.get(&format!("/{name}"));
        let expected = location.replace("PORT", &port);
        assert_eq!(answer.field("location"), Some(&*expected), "{name}");
    }
}

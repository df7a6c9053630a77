//! What belongs to one hop stays on it (RFC 9110, section 7.6.1), in both directions; everything else passes untouched.

use crate::support::{Client, Echo, Gateway, Report, Setup, Upstream};

fn behind_echo() -> (Gateway, Echo) {
    let echo = Echo::start("app");
    (Setup::to(echo.address()).start(), echo)
}

#[test]
fn fields_of_the_client_hop_stay_here() {
    let (gateway, _echo) = behind_echo();
    let request = "GET / HTTP/1.1\r\nHost: a.test\r\n\
        Connection: keep-alive, X-One,,  x-TWO\r\nX-One: 1\r\nConnection: X-Three\r\nX-Two: 2\r\nx-three: 3\r\n\
        Keep-Alive: timeout=5\r\nProxy-Connection: keep-alive\r\nX-Kept: yes\r\nCookie: a=b\r\n\r\n";
    let report = Report::of(gateway.client().ask(request));
    for gone in [
        "x-one",
        "x-two",
        "x-three",
        "keep-alive",
        "proxy-connection",
        "http2-settings",
    ] {
        assert_eq!(report.all(gone), Vec::<&str>::new(), "{gone}");
    }
    let connection = report.all("connection").join(",").to_ascii_lowercase();
    assert!(!connection.contains("x-"), "Connection: {connection}");
    assert_eq!(
        (report.field("x-kept"), report.field("cookie")),
        (Some("yes"), Some("a=b"))
    );
}

#[test]
fn fields_of_the_upstream_hop_stay_there() {
    let upstream = Upstream::answering(
        "HTTP/1.1 200 OK\r\nConnection: close, X-One\r\nX-One: 1\r\nConnection: x-two\r\nX-Two: 2\r\n\
         Keep-Alive: timeout=5\r\nProxy-Connection: close\r\nX-Kept: yes\r\nContent-Length: 2\r\n\r\nok",
    );
    let gateway = Setup::to(upstream.address()).start();
    let mut client = gateway.client();
    for _ in 0..2 {
        let answer = client.get("/").expect_ok();
        for gone in ["x-one", "x-two", "keep-alive", "proxy-connection"] {
            assert_eq!(answer.all(gone), Vec::<&str>::new(), "{gone}");
        }
        assert!(
            !answer.lists("connection", "close"),
            "the upstream's close closed the client"
        );
        assert_eq!(
            (answer.field("x-kept"), answer.text().as_str()),
            (Some("yes"), "ok")
        );
    }
}

#[test]
fn nominating_a_field_that_the_message_needs_does_not_remove_it() {
    let (gateway, _echo) = behind_echo();
    let request = "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 4\r\n\
        Connection: Host, Content-Length, X-Forwarded-For, X-Forwarded-Proto, X-Forwarded-Host, X-Request-Id, Via\r\n\
        X-Request-Id: mine-1\r\n\r\nbody";
    let report = Report::of(gateway.client().ask(request));
    assert_eq!(
        (report.field("host"), report.body()),
        (Some("a.test"), "body")
    );
    assert_eq!(report.field("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(report.field("x-forwarded-proto"), Some("http"));
    assert_eq!(report.field("x-forwarded-host"), Some("a.test"));
    assert_eq!(report.field("x-request-id"), Some("mine-1"));
    assert!(report.field("via").is_some());
}

#[test]
fn an_upstream_that_nominates_its_framing_keeps_it() {
    let upstream = Upstream::answering(
        "HTTP/1.1 200 OK\r\nConnection: Content-Length\r\nContent-Length: 5\r\n\r\nwhole",
    );
    let gateway = Setup::to(upstream.address()).start();
    assert_eq!(gateway.get("/").expect_ok().text(), "whole");
}

#[test]
fn of_te_only_trailers_passes() {
    let (gateway, _echo) = behind_echo();
    let ask = |te: &str| {
        let request = format!("GET / HTTP/1.1\r\nHost: a.test\r\nConnection: TE\r\n{te}\r\n");
        let report = Report::of(gateway.client().ask(request));
        report.all("te").join(", ").to_ascii_lowercase()
    };
    assert_eq!(ask("TE: gzip\r\n"), "");
    assert_eq!(ask("TE: trailers\r\n"), "trailers");
    assert_eq!(ask("TE: gzip, trailers\r\n"), "trailers");
    assert_eq!(ask("TE: deflate;q=0.5\r\nTE: Trailers\r\n"), "trailers");
}

#[test]
fn cookie_lines_are_never_joined() {
    let upstream = Upstream::answering(
        "HTTP/1.1 200 OK\r\nSet-Cookie: a=1; Expires=Wed, 21 Oct 2037 07:28:00 GMT\r\nX-Between: x\r\n\
         Set-Cookie: b=2\r\nContent-Length: 0\r\n\r\n",
    );
    let gateway = Setup::to(upstream.address()).start();
    let answer = gateway.get("/").expect_ok();
    assert_eq!(
        answer.all("set-cookie"),
        ["a=1; Expires=Wed, 21 Oct 2037 07:28:00 GMT", "b=2"]
    );
}

#[test]
fn lines_of_one_name_keep_their_order_and_bytes() {
    let (gateway, _echo) = behind_echo();
    let mut request =
        b"GET / HTTP/1.1\r\nHost: a.test\r\nX-Many: 1\r\nX-Many: 2, 3\r\nX-Many:\r\n".to_vec();
    request.extend_from_slice(b"X-Latin: caf\xe9\r\n\r\n");
    let report = Report::of(gateway.client().ask(request));
    assert_eq!(report.all("x-many"), ["1", "2, 3", ""]);
    assert_eq!(report.field("x-latin"), Some("caf\u{e9}"));
}

#[test]
fn a_sane_request_id_is_kept_and_any_other_replaced() {
    let (gateway, _echo) = behind_echo();
    let seen = |fields: &str| {
        let request = format!("GET / HTTP/1.1\r\nHost: a.test\r\n{fields}\r\n");
        Report::of(gateway.client().ask(request))
            .field("x-request-id")
            .expect("an id")
            .to_owned()
    };
    for sane in ["abc", "4bf92f35-77b3-4da6-a3ce-929d0e0e4736", "A_b.C-9"] {
        assert_eq!(seen(&format!("X-Request-Id: {sane}\r\n")), sane);
    }
    let long = "x".repeat(1000);
    for odd in ["", "two words", "quote\"", "<script>", "caf\u{e9}", &long] {
        let id = seen(&format!("X-Request-Id: {odd}\r\n"));
        assert!(
            id != odd && (8..=128).contains(&id.len()),
            "{odd:?} became {id:?}"
        );
    }
    let made = seen("X-Request-Id: one\r\nX-Request-Id: two\r\n");
    assert!(made != "one" && made != "two", "two ids became {made:?}");
    assert_ne!(seen(""), seen(""), "every request has its own");
}

#[test]
fn the_request_id_is_the_same_in_upstream_and_access_log() {
    let (gateway, _echo) = behind_echo();
    let report = Report::of(gateway.get("/logged"));
    let id = report.field("x-request-id").unwrap();
    assert_eq!(gateway.await_access("request_id", id)["path"], "/logged");
}

#[test]
fn via_names_the_protocol_that_was_received() {
    let (gateway, _echo) = behind_echo();
    let report = Report::of(gateway.get("/"));
    let ours = report.field("via").expect("Via").to_owned();
    assert!(ours.starts_with("1.1 "), "{ours}");
    let old = "GET / HTTP/1.0\r\nHost: a.test\r\nVia: 1.1 first\r\n\r\n";
    let report = Report::of(gateway.client().ask(old));
    let via = report.all("via").join(", ");
    assert_eq!(
        via,
        format!("1.1 first, {}", ours.replacen("1.1", "1.0", 1))
    );
}

#[test]
fn the_absolute_form_decides_about_the_host() {
    let (gateway, _echo) = behind_echo();
    let request = "GET http://right.test/p?q=1 HTTP/1.1\r\nHost: wrong.test\r\n\r\n";
    let report = Report::of(gateway.client().ask(request));
    assert_eq!(
        (report.field("host"), report.target()),
        (Some("right.test"), "/p?q=1")
    );
    let request = "GET http://right.test?q=1 HTTP/1.1\r\nHost: right.test\r\n\r\n";
    assert_eq!(Report::of(gateway.client().ask(request)).target(), "/?q=1");
}

#[test]
fn an_upstream_answer_keeps_its_date_and_server() {
    let date = "Tue, 15 Nov 1994 08:12:31 GMT";
    let upstream = Upstream::answering(format!(
        "HTTP/1.1 200 OK\r\nDate: {date}\r\nServer: app/1\r\nContent-Length: 0\r\n\r\n"
    ));
    let gateway = Setup::to(upstream.address()).start();
    let answer = Client::connect(gateway.address()).get("/").expect_ok();
    assert_eq!(
        (answer.field("date"), answer.field("server")),
        (Some(date), Some("app/1"))
    );
}

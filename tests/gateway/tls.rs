//! TLS towards clients: handshakes, names, versions and protocols, as clients of several makes see them.

mod client_certs;
mod hostile;
mod misdirected;
mod names;
mod renewal;

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustls::HandshakeKind;
use rustls::crypto::aws_lc_rs;
use rustls::version::{TLS12, TLS13};

use crate::support::{
    Authority, Client, Echo, Gateway, Handshake, Kind, PATIENCE, Pair, Report, Setup, Visitor,
    reflecting, tls_file, unique_directory, until,
};

/// A gateway with TLS: its authority, and an upstream that echoes.
struct House {
    authority: Authority,
    echo: Echo,
    gateway: Gateway,
}

impl House {
    /// With one certificate, for `a.test`, and further keys of `tls`.
    fn start(more: &str) -> House {
        House::build(&[("a", &["a.test"])], more, |setup| setup)
    }

    /// With these certificates: the name of the file, the names in it.
    fn build(
        certificates: &[(&str, &[&str])],
        more: &str,
        change: impl FnOnce(Setup) -> Setup,
    ) -> House {
        let authority = Authority::new("root");
        let pairs: Vec<(&str, Pair)> = certificates
            .iter()
            .map(|(file, names)| (*file, authority.issue(names)))
            .collect();
        House::furnish(authority, &pairs, more, change)
    }

    fn furnish(
        authority: Authority,
        pairs: &[(&str, Pair)],
        more: &str,
        change: impl FnOnce(Setup) -> Setup,
    ) -> House {
        let echo = Echo::start("app");
        let directory = unique_directory();
        for (file, pair) in pairs {
            pair.write(&directory, file);
        }
        let files: Vec<&str> = pairs.iter().map(|(file, _)| *file).collect();
        let setup = Setup::to(echo.address()).listener(&tls_file(&files, more));
        std::fs::write(directory.join("gateway.yaml"), change(setup).text()).unwrap();
        House {
            gateway: Gateway::start_in(directory, "gateway.yaml"),
            authority,
            echo,
        }
    }

    fn visitor(&self) -> Visitor {
        Visitor::trusting(&self.authority)
    }

    fn visit(&self, name: &str) -> Client {
        self.visitor().visit(self.gateway.address(), name)
    }

    /// Waits until so many handshakes ended like this.
    fn await_handshakes(&self, result: &str, count: f64) {
        let labels = [("listener", "main"), ("result", result)];
        self.gateway
            .await_metric("tidegate_tls_handshakes_total", &labels, count);
    }

    /// What `openssl s_client` says after a handshake with these arguments.
    fn openssl(&self, arguments: &[&str]) -> String {
        let ca = self.gateway.directory().join("ca.pem");
        std::fs::write(&ca, &self.authority.cert).unwrap();
        let mut child = Command::new("openssl")
            .args(["s_client", "-connect", &self.gateway.address().to_string()])
            .args(["-servername", "a.test", "-CAfile"])
            .arg(&ca)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("openssl is installed");
        let request = b"GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n";
        // Where the handshake fails nobody reads it.
        let _ = child.stdin.take().unwrap().write_all(request);
        let output = child.wait_with_output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
            + &String::from_utf8_lossy(&output.stderr)
    }
}

#[test]
fn a_request_over_tls_is_served_and_counted() {
    let house = House::start("");
    let mut client = house.visit("a.test");
    let report = Report::of(client.get("/x"));
    assert_eq!(report.field("x-forwarded-proto"), Some("https"));
    assert_eq!(report.field("host"), Some("a.test"));
    // The connection is kept, and what is large comes whole.
    let body = "x".repeat(300_000);
    let answer = client.ask(format!(
        "POST /y HTTP/1.1\r\nHost: a.test\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    ));
    assert_eq!(Report::of(answer).body().len(), body.len());
    client.send("GET /z HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n");
    client.response().expect_ok();
    // With a close_notify: without one this would be an error.
    assert_eq!(client.read_to_end().expect("a proper end"), b"");
    house.await_handshakes("ok", 1.0);
    let expiry = house.gateway.metric(
        "tidegate_certificate_expiry_timestamp_seconds",
        &[("listener", "main"), ("name", "a.test")],
    );
    assert_eq!(expiry, Some(4_102_444_800.0));
    let line = house.gateway.await_access("path", "/x");
    assert_eq!(
        (line["protocol"].as_str(), line["identity"].as_str()),
        (Some("HTTP/1.1"), None)
    );
    assert_eq!(house.echo.upstream().connections(), 1);
}

#[test]
fn the_floor_of_versions_holds() {
    for (more, old_works) in [("", true), (", min_version: \"1.3\"", false)] {
        let house = House::start(more);
        let old = Visitor::speaking(&house.authority, &TLS12);
        let new = Visitor::speaking(&house.authority, &TLS13);
        let address = house.gateway.address();
        assert_eq!(old.try_visit(address, "a.test").is_ok(), old_works);
        new.visit(address, "a.test").get("/").expect_ok();
        let said = house.openssl(&["-tls1_2", "-ign_eof"]);
        assert_eq!(said.contains("HTTP/1.1 200"), old_works, "{said}");
        let said = house.openssl(&["-tls1_3", "-ign_eof"]);
        assert!(
            said.contains("HTTP/1.1 200") && said.contains("Verify return code: 0"),
            "{said}"
        );
        let said = house.openssl(&["-tls1_1", "-cipher", "DEFAULT:@SECLEVEL=0", "-ign_eof"]);
        assert!(!said.contains("HTTP/1.1 200"), "{said}");
    }
}

#[test]
fn protocols_are_agreed_on() {
    let house = House::start("");
    let address = house.gateway.address();
    let ask = |protocols: &[&str]| {
        let client = house
            .visitor()
            .asking(protocols)
            .try_visit(address, "a.test");
        client.map(|client| client.session().alpn_protocol().map(<[u8]>::to_vec))
    };
    assert_eq!(ask(&["http/1.1"]).unwrap(), Some(b"http/1.1".to_vec()));
    assert_eq!(ask(&["http/1.0"]).unwrap(), Some(b"http/1.0".to_vec()));
    assert_eq!(ask(&[]).unwrap(), None);
    assert!(ask(&["spdy/3"]).is_err());
}

#[test]
fn the_key_exchange_is_hybrid_where_both_sides_can() {
    let house = House::start("");
    let group = |visitor: Visitor| {
        let mut client = visitor.visit(house.gateway.address(), "a.test");
        client.get("/").expect_ok();
        let group = client.session().negotiated_key_exchange_group();
        group.expect("a handshake").name()
    };
    assert_eq!(group(house.visitor()), rustls::NamedGroup::X25519MLKEM768);
    let mut classic = aws_lc_rs::default_provider();
    classic.kx_groups = vec![aws_lc_rs::kx_group::X25519];
    let classic = Visitor::build(&house.authority, classic, &[&TLS13], None);
    assert_eq!(group(classic), rustls::NamedGroup::X25519);
}

#[test]
fn sessions_are_resumed_and_early_data_is_not_offered() {
    let house = House::start("");
    for version in [&TLS12, &TLS13] {
        let visitor = Visitor::speaking(&house.authority, version)
            .with(|config| config.enable_early_data = true);
        let kind = || {
            let mut client = visitor.visit(house.gateway.address(), "a.test");
            client.get("/").expect_ok();
            client.session().handshake_kind()
        };
        let first = kind();
        assert!(matches!(
            first,
            Some(HandshakeKind::Full | HandshakeKind::FullWithHelloRetryRequest)
        ));
        let mut session = visitor.session("a.test");
        assert!(session.early_data().is_none(), "early data is offered");
        assert_eq!(kind(), Some(HandshakeKind::Resumed));
    }
}

#[test]
fn a_websocket_passes_and_an_idle_connection_is_parked() {
    let (chat, seen) = (reflecting(), Duration::from_millis(900));
    let authority = Authority::new("root");
    let directory = unique_directory();
    authority.issue(&["a.test"]).write(&directory, "a");
    let setup = Setup::to(chat.address())
        .listener(&tls_file(&["a"], ""))
        .route("websocket: {}");
    std::fs::write(directory.join("gateway.yaml"), setup.text()).unwrap();
    let gateway = Gateway::start_in(directory, "gateway.yaml");
    let visitor = Visitor::trusting(&authority);
    let mut client = visitor.visit(gateway.address(), "a.test");
    // Longer than it takes to be parked.
    assert!(client.silent_for(seen));
    client.upgrade(&Handshake::to("/"));
    for size in [1, 1000, 200_000] {
        client.expect_echo(&vec![b'x'; size]);
    }
}

#[test]
fn a_parked_connection_goes_on() {
    let house = House::start("");
    let mut client = house.visit("a.test");
    for path in ["/1", "/2", "/3"] {
        client.get(path).expect_ok();
        assert!(client.silent_for(Duration::from_millis(700)));
    }
    // Two requests in one record: the second waits where no socket tells of it.
    let twice = "GET /4 HTTP/1.1\r\nHost: a.test\r\n\r\n".repeat(2);
    client.send(twice);
    client.response().expect_ok();
    client.response().expect_ok();
}

#[test]
fn curl_is_content() {
    let house = House::start("");
    let ca = house.gateway.directory().join("ca.pem");
    std::fs::write(&ca, &house.authority.cert).unwrap();
    let port = house.gateway.address().port();
    let output = Command::new("curl")
        .args(["-sS", "-w", "%{http_code} %{ssl_verify_result}", "--cacert"])
        .arg(&ca)
        .args(["--resolve", &format!("a.test:{port}:127.0.0.1")])
        .arg(format!("https://a.test:{port}/x"))
        .output()
        .expect("curl is installed");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success() && said.ends_with("200 0"),
        "{output:?}"
    );
}

#[test]
fn a_sticky_cookie_is_secure_and_a_redirect_stays_on_https() {
    let house = House::build(&[("a", &["a.test"])], "", |setup| {
        setup
            .before("name: to, match: { path: /old }, redirect: { path: /new }")
            .upstream("balance: { sticky_cookie: { name: at } }")
    });
    let mut client = house.visit("a.test");
    let cookie = client
        .get("/")
        .expect_ok()
        .field("set-cookie")
        .map(str::to_owned);
    assert!(
        cookie.as_deref().is_some_and(|c| c.contains("Secure")),
        "{cookie:?}"
    );
    let port = house.gateway.address().port();
    let moved = client.get("/old");
    assert_eq!(
        moved.field("location"),
        Some(&*format!("https://a.test:{port}/new"))
    );
}

#[test]
fn a_proxy_header_may_come_in_one_piece_with_the_hello() {
    let house = House::build(&[("a", &["a.test"])], "", |setup| {
        setup.listener("proxy_protocol: true, trusted_proxies: private")
    });
    let mut session = house.visitor().session("a.test");
    let mut first = b"PROXY TCP4 192.0.2.7 192.0.2.1 4711 443\r\n".to_vec();
    session.write_tls(&mut first).unwrap();
    let mut socket = std::net::TcpStream::connect(house.gateway.address()).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.write_all(&first).unwrap();
    while session.is_handshaking() {
        session.complete_io(&mut socket).unwrap();
    }
    let mut sealed = rustls::Stream::new(&mut session, &mut socket);
    sealed
        .write_all(b"GET /p HTTP/1.1\r\nHost: a.test\r\n\r\n")
        .unwrap();
    let line = house.gateway.await_access("path", "/p");
    assert_eq!(
        (line["client"].as_str(), line["status"].as_u64()),
        (Some("192.0.2.7"), Some(200))
    );
}

//! mTLS: who is let in, what the upstream and the log are told, and that resumption never outlives the trust.

use super::*;

/// A gateway that believes the clients of `clients`.
fn guarded(clients: &Authority, mode: &str) -> House {
    let more = format!(", client_auth: {{ ca: clients.crt, mode: {mode} }}");
    let authority = Authority::new("root");
    let echo = Echo::start("app");
    let directory = unique_directory();
    authority.issue(&["a.test"]).write(&directory, "a");
    std::fs::write(directory.join("clients.crt"), &clients.cert).unwrap();
    let setup = Setup::to(echo.address()).listener(&tls_file(&["a"], &more));
    std::fs::write(directory.join("gateway.yaml"), setup.text()).unwrap();
    House {
        gateway: Gateway::start_in(directory, "gateway.yaml"),
        authority,
        echo,
    }
}

/// Asks once on a connection of its own; an error if the client is not let in. With TLS 1.3 a client learns that with
/// its first read.
fn ask(house: &House, visitor: &Visitor) -> std::io::Result<(Report, Option<HandshakeKind>)> {
    let mut client = visitor.try_visit(house.gateway.address(), "a.test")?;
    let answer = client.try_get("/")?;
    Ok((Report::of(answer), client.session().handshake_kind()))
}

const SPOOFED: &str = "GET / HTTP/1.1\r\nHost: a.test\r\nX-Client-Cert-Subject: CN=root\r\n\
    X-Client-Cert-San: root.test\r\nX_Client_Cert_Subject: CN=root\r\n\r\n";

#[test]
fn only_clients_of_the_authority_are_let_in() {
    let clients = Authority::new("clients");
    let house = guarded(&clients, "require");
    let good = clients.client("billing", &["billing.test", "10.0.0.1"]);
    let (report, _) = ask(&house, &Visitor::showing(&house.authority, &good)).unwrap();
    assert_eq!(
        report.field("x-client-cert-subject"),
        Some("CN=billing,O=Example\\, Inc.")
    );
    assert_eq!(
        report.field("x-client-cert-san"),
        Some("billing.test,10.0.0.1")
    );
    let line = house
        .gateway
        .await_access("identity", "CN=billing,O=Example\\, Inc.");
    assert_eq!(line["status"], 200);
    // Nobody, a client of somebody else, and one of an authority that has only the same name.
    let visitor = house.visitor();
    assert!(ask(&house, &visitor).is_err());
    for stranger in ["others", "clients"] {
        let other = Authority::new(stranger).client("billing", &["billing.test"]);
        assert!(ask(&house, &Visitor::showing(&house.authority, &other)).is_err());
    }
    // A server's certificate is none of a client.
    let server = clients.issue_with(&["billing.test"], Kind::Ecdsa, |params| {
        params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
    });
    assert!(ask(&house, &Visitor::showing(&house.authority, &server)).is_err());
    let expired = clients.issue_with(&[], Kind::Ecdsa, |params| {
        params.not_after = rcgen::date_time_ymd(2021, 1, 1);
    });
    assert!(ask(&house, &Visitor::showing(&house.authority, &expired)).is_err());
    house.await_handshakes("failed", 5.0);
    assert_eq!(house.echo.upstream().requests().len(), 1);
}

#[test]
fn an_optional_certificate_is_told_only_where_it_was_shown() {
    let clients = Authority::new("clients");
    let house = guarded(&clients, "optional");
    let mut nobody = house.visit("a.test");
    let report = Report::of(nobody.ask(SPOOFED));
    for name in [
        "x-client-cert-subject",
        "x-client-cert-san",
        "x_client_cert_subject",
    ] {
        assert_eq!(report.field(name), None, "{name}");
    }
    let shown = clients.client("shop", &[]);
    let visitor = Visitor::showing(&house.authority, &shown);
    let mut somebody = visitor.visit(house.gateway.address(), "a.test");
    let report = Report::of(somebody.ask(SPOOFED));
    assert_eq!(
        report.field("x-client-cert-subject"),
        Some("CN=shop,O=Example\\, Inc.")
    );
    assert_eq!(report.field("x-client-cert-san"), None);
    let other = Authority::new("others").client("shop", &[]);
    assert!(ask(&house, &Visitor::showing(&house.authority, &other)).is_err());
}

#[test]
fn a_session_resumes_with_its_identity_and_not_past_a_change_of_the_authority() {
    for version in [&TLS12, &TLS13] {
        let clients = Authority::new("clients");
        let house = guarded(&clients, "require");
        let shown = clients.client("billing", &[]);
        let provider = aws_lc_rs::default_provider();
        let visitor = Visitor::build(&house.authority, provider, &[version], Some(&shown));
        let kind = || {
            ask(&house, &visitor).map(|(report, kind)| {
                let subject = report.field("x-client-cert-subject").map(str::to_owned);
                (subject, kind)
            })
        };
        let subject = Some("CN=billing,O=Example\\, Inc.".to_owned());
        assert!(
            matches!(kind(), Ok((ref s, Some(HandshakeKind::Full | HandshakeKind::FullWithHelloRetryRequest))) if *s == subject)
        );
        assert_eq!(
            kind().unwrap(),
            (subject.clone(), Some(HandshakeKind::Resumed))
        );
        // A certificate that is renewed leaves the sessions alone.
        let generation = house
            .gateway
            .metric("tidegate_config_generation", &[])
            .unwrap();
        let directory = house.gateway.directory();
        house.authority.issue(&["a.test"]).write(directory, "a");
        house
            .gateway
            .await_metric("tidegate_config_generation", &[], generation + 1.0);
        assert_eq!(
            kind().unwrap(),
            (subject.clone(), Some(HandshakeKind::Resumed))
        );
        // Another authority: the old client is a stranger now, whatever it remembers.
        let others = Authority::new("others");
        std::fs::write(directory.join("new"), &others.cert).unwrap();
        std::fs::rename(directory.join("new"), directory.join("clients.crt")).unwrap();
        house
            .gateway
            .await_metric("tidegate_config_generation", &[], generation + 2.0);
        assert!(kind().is_err(), "an old client comes in by an old session");
        let new = others.client("new", &[]);
        ask(&house, &Visitor::showing(&house.authority, &new)).unwrap();
    }
}

#[test]
fn a_session_without_a_certificate_is_worth_nothing_when_one_is_required() {
    let clients = Authority::new("clients");
    let house = guarded(&clients, "optional");
    let visitor = house.visitor();
    ask(&house, &visitor).unwrap();
    assert_eq!(
        ask(&house, &visitor).unwrap().1,
        Some(HandshakeKind::Resumed)
    );
    let text = std::fs::read_to_string(house.gateway.config_path()).unwrap();
    house
        .gateway
        .apply(&text.replace("mode: optional", "mode: require"));
    assert!(ask(&house, &visitor).is_err());
}

#[test]
fn a_broken_file_of_authorities_stays_and_all_else_goes_on() {
    let clients = Authority::new("clients");
    let mut house = guarded(&clients, "require");
    let visitor = Visitor::showing(&house.authority, &clients.client("billing", &[]));
    let text = std::fs::read_to_string(house.gateway.config_path()).unwrap();
    let file = house.gateway.directory().join("clients.crt");
    std::fs::write(&file, "nothing").unwrap();
    let success = "tidegate_config_last_reload_success";
    house.gateway.await_metric(success, &[], 0.0);
    // What else is new is taken up, and the same clients are let in, and nobody else.
    house
        .gateway
        .apply(&text.replace("workers: 2", "workers: 2\nerrors: reason"));
    ask(&house, &visitor).unwrap();
    assert!(ask(&house, &house.visitor()).is_err());
    let line = house
        .gateway
        .await_stderr("what it held before stays in force");
    assert!(line.contains("`clients.crt` holds no"), "{line}");
    assert_eq!(house.gateway.metric(success, &[]), Some(0.0));
    // Asked when nothing else is new, it says why; also when the file is gone.
    std::fs::remove_file(&file).unwrap();
    let refused = house.gateway.admin_post("/reload");
    assert_eq!(refused.status, 422);
    let problems = refused.json()["problems"].to_string();
    assert!(
        problems.contains("`clients.crt` cannot be read"),
        "{problems}"
    );
    ask(&house, &visitor).unwrap();
    std::fs::write(&file, &clients.cert).unwrap();
    house.gateway.await_metric(success, &[], 1.0);
    ask(&house, &visitor).unwrap();
}

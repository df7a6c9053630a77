//! The PROXY protocol, both versions: taken from trusted peers, and then required.

use crate::support::{Client, Echo, Gateway, Report, Setup};

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
const GET: &str = "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n";

fn gateway(echo: &Echo, trust: &str) -> Gateway {
    Setup::to(echo.address())
        .listener(&format!("proxy_protocol: true, trusted_proxies: {trust}"))
        .start()
}

/// A header of version 2: command, family and the block of addresses.
fn v2(command: u8, family: u8, block: &[u8]) -> Vec<u8> {
    let mut header = SIGNATURE.to_vec();
    header.extend_from_slice(&[0x20 | command, family]);
    header.extend_from_slice(&u16::try_from(block.len()).unwrap().to_be_bytes());
    header.extend_from_slice(block);
    header
}

/// The client that the upstream is told of after `header`.
fn told(gateway: &Gateway, header: &[u8]) -> String {
    let mut client = gateway.client();
    let report = Report::of(client.send(header).ask(GET));
    let first = report.field("x-forwarded-for").unwrap().to_owned();
    let again = Report::of(client.ask(GET));
    assert_eq!(
        again.field("x-forwarded-for"),
        Some(first.as_str()),
        "the header holds for the whole connection"
    );
    first
}

#[test]
fn version_1_tells_the_client() {
    let echo = Echo::start("app");
    let gateway = gateway(&echo, "[127.0.0.0/8]");
    assert_eq!(
        told(&gateway, b"PROXY TCP4 203.0.113.7 192.0.2.1 4444 80\r\n"),
        "203.0.113.7"
    );
    assert_eq!(
        told(&gateway, b"PROXY TCP6 2001:db8::7 2001:db8::1 4444 80\r\n"),
        "2001:db8::7"
    );
    assert_eq!(told(&gateway, b"PROXY UNKNOWN\r\n"), "127.0.0.1");
    assert_eq!(
        told(&gateway, b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n"),
        "127.0.0.1"
    );
    assert_eq!(gateway.await_access("client", "203.0.113.7")["status"], 200);
}

#[test]
fn version_2_tells_the_client() {
    let echo = Echo::start("app");
    let gateway = gateway(&echo, "[127.0.0.0/8]");
    let four = [203, 0, 113, 8, 192, 0, 2, 1, 0x11, 0x5c, 0, 80];
    assert_eq!(told(&gateway, &v2(1, 0x11, &four)), "203.0.113.8");
    let mut with_tlv = four.to_vec();
    with_tlv.extend_from_slice(&[0x04, 0, 3, 1, 2, 3]);
    assert_eq!(told(&gateway, &v2(1, 0x11, &with_tlv)), "203.0.113.8");
    let mut six = [0; 36];
    six[..4].copy_from_slice(&[0x20, 0x01, 0x0d, 0xb8]);
    six[15] = 9;
    assert_eq!(told(&gateway, &v2(1, 0x21, &six)), "2001:db8::9");
    assert_eq!(
        told(&gateway, &v2(0, 0, &[])),
        "127.0.0.1",
        "LOCAL is the proxy itself"
    );
}

#[test]
fn a_header_may_come_in_pieces() {
    let echo = Echo::start("app");
    let gateway = gateway(&echo, "[127.0.0.0/8]");
    let mut whole = b"PROXY TCP4 203.0.113.7 192.0.2.1 4444 80\r\n".to_vec();
    whole.extend_from_slice(GET.as_bytes());
    let mut client = gateway.client();
    for piece in whole.chunks(7) {
        client.send(piece);
    }
    assert_eq!(
        Report::of(client.response()).field("x-forwarded-for"),
        Some("203.0.113.7")
    );
}

#[test]
fn without_its_header_a_trusted_peer_is_not_served() {
    let echo = Echo::start("app");
    let gateway = gateway(&echo, "[127.0.0.0/8]");
    let bad_version = v2(1, 0x11, &[203, 0, 113, 8, 192, 0, 2, 1, 0x11, 0x5c, 0, 80]);
    let bad_version = bad_version
        .iter()
        .enumerate()
        .map(|(at, &byte)| if at == 12 { 0x31 } else { byte })
        .collect();
    let endless = format!("PROXY TCP4 {}", "1".repeat(300)).into_bytes();
    let cases: Vec<Vec<u8>> = vec![
        Vec::new(),
        b"PROXY TCP4 203.0.113.7\r\n".to_vec(),
        b"PROXY TCP4 203.0.113.700 192.0.2.1 4444 80\r\n".to_vec(),
        b"PROXY TCP9 203.0.113.7 192.0.2.1 4444 80\r\n".to_vec(),
        b"proxy TCP4 203.0.113.7 192.0.2.1 4444 80\r\n".to_vec(),
        v2(1, 0x11, &[203, 0, 113]),
        v2(7, 0x11, &[203, 0, 113, 8, 192, 0, 2, 1, 0x11, 0x5c, 0, 80]),
        bad_version,
        endless,
    ];
    for case in cases {
        let mut client = gateway.client();
        let _ = client.try_send([&case, GET.as_bytes()].concat());
        let answer = client.read_to_end().unwrap_or_default();
        let text = String::from_utf8_lossy(&answer);
        assert!(
            text.is_empty() || text.starts_with("HTTP/1.1 400 "),
            "{case:?} got {text}"
        );
    }
    echo.upstream().expect_untouched();
}

#[test]
fn a_stranger_cannot_use_it() {
    let echo = Echo::start("app");
    let gateway = gateway(&echo, "[10.0.0.0/8]");
    let mut client = gateway.client();
    let _ = client.try_send(format!("PROXY TCP4 203.0.113.7 192.0.2.1 4444 80\r\n{GET}"));
    let answer = client.read_to_end().unwrap_or_default();
    assert!(!answer.starts_with(b"HTTP/1.1 200"));
    echo.upstream().expect_untouched();
}

#[test]
fn off_by_default() {
    let echo = Echo::start("app");
    let gateway = Setup::to(echo.address())
        .listener("trusted_proxies: any")
        .start();
    let mut client = Client::connect(gateway.address());
    client.send(format!("PROXY TCP4 203.0.113.7 192.0.2.1 4444 80\r\n{GET}"));
    client.response().expect_refusal(400, "bad_request");
    echo.upstream().expect_untouched();
}

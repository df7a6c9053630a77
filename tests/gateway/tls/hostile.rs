//! Clients that stall, speak something else or speak it badly: bounded in time, answered where people may read it.

use std::io::Read as _;
use std::net::TcpStream;
use std::time::Instant;

use super::*;

fn hurried() -> House {
    House::build(&[("a", &["a.test"])], "", |setup| {
        setup.listener("timeouts: { tls_handshake: 500ms, first_byte: 1s }")
    })
}

/// The bytes of a ClientHello for `a.test`.
fn hello(house: &House) -> Vec<u8> {
    let mut bytes = Vec::new();
    house
        .visitor()
        .session("a.test")
        .write_tls(&mut bytes)
        .unwrap();
    bytes
}

#[test]
fn plain_http_gets_an_answer_in_clear_text() {
    let house = House::start("");
    for request in [
        "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ] {
        let mut client = house.gateway.client();
        client.send(request);
        let answer = client.response();
        answer.expect_refusal(400, "bad_request");
        assert!(answer.text().contains("TLS"), "{}", answer.text());
        client.half_close();
        client.expect_closed();
    }
    house.await_handshakes("failed", 2.0);
    let line = house.gateway.await_access("reason", "bad_request");
    assert_eq!(line["listener"], "main");
    assert!(house.echo.upstream().requests().is_empty());
}

#[test]
fn a_handshake_has_a_deadline_wherever_it_stalls() {
    let house = hurried();
    let whole = hello(&house);
    // Silence, half a record, half a hello, and a hello that is never followed by anything.
    for (number, sent) in [0, 3, whole.len() / 2, whole.len()].into_iter().enumerate() {
        let begin = Instant::now();
        let mut socket = TcpStream::connect(house.gateway.address()).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.write_all(&whole[..sent]).unwrap();
        let mut answer = Vec::new();
        // A reset is an end too.
        let _ = socket.read_to_end(&mut answer);
        let took = begin.elapsed();
        assert!(
            took >= Duration::from_millis(450) && took < Duration::from_millis(4500),
            "{sent}: {took:?}"
        );
        assert_eq!(answer.is_empty(), sent < whole.len(), "{sent}");
        house.await_handshakes("timeout", number as f64 + 1.0);
    }
    // After the handshake the first byte has its own time.
    let begin = Instant::now();
    house.visit("a.test").expect_closed();
    let took = begin.elapsed();
    assert!(
        took >= Duration::from_millis(900) && took < Duration::from_millis(4500),
        "{took:?}"
    );
    house.await_handshakes("ok", 1.0);
}

#[test]
fn a_slow_hello_is_still_one() {
    let house = House::start("");
    let mut session = house.visitor().session("a.test");
    let mut bytes = Vec::new();
    session.write_tls(&mut bytes).unwrap();
    let mut socket = TcpStream::connect(house.gateway.address()).unwrap();
    socket.set_nodelay(true).unwrap();
    for piece in bytes.chunks(97) {
        socket.write_all(piece).unwrap();
    }
    while session.is_handshaking() {
        session.complete_io(&mut socket).unwrap();
    }
    house.await_handshakes("ok", 1.0);
}

#[test]
fn garbage_is_refused_and_others_are_served() {
    let house = House::start("");
    let mut neighbour = house.visit("a.test");
    let whole = hello(&house);
    let mut flipped = whole.clone();
    flipped[40] ^= 0xff;
    flipped[60] ^= 0xff;
    let huge = [&[22, 3, 1, 0xff, 0xff][..], &[0; 1000]].concat();
    let many = [22, 3, 1, 0, 1, 1].repeat(20_000);
    let wrong_version = [&[22, 9, 9][..], &whole[3..]].concat();
    let sslv2 = vec![0x80, 0x2e, 1, 3, 1, 0, 0x15, 0, 0, 0, 0x10];
    let alert = vec![21, 3, 3, 0, 2, 2, 40];
    for (name, bytes) in [
        ("zeros", vec![0; 100]),
        ("a record that is too large", huge),
        ("a hello in records of one byte", many),
        ("a version of nowhere", wrong_version),
        ("SSLv2", sslv2),
        ("an alert", alert),
        ("an empty record", vec![22, 3, 1, 0, 0]),
    ] {
        let mut socket = TcpStream::connect(house.gateway.address()).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        // It may be closed before it has all.
        let _ = socket.write_all(&bytes);
        let _ = socket.shutdown(std::net::Shutdown::Write);
        let mut answer = Vec::new();
        if let Err(error) = socket.read_to_end(&mut answer) {
            assert!(!crate::support::is_timeout(&error), "{name}: still open");
        }
        neighbour.get("/").expect_ok();
    }
    house.await_handshakes("failed", 7.0);
}

#[test]
fn a_record_that_was_tampered_with_ends_its_connection_only() {
    let house = House::start("");
    let mut neighbour = house.visit("a.test");
    let mut client = house.visit("a.test");
    client.get("/").expect_ok();
    let mut raw = client.writer();
    raw.write_all(&[&[23, 3, 3, 0, 64][..], &[7; 64]].concat())
        .unwrap();
    assert!(client.try_response().is_err());
    neighbour.get("/").expect_ok();
    assert_eq!(house.echo.upstream().requests().len(), 2);
}

#[test]
fn who_only_looks_whether_the_port_is_open_is_not_counted() {
    let house = House::start("");
    for _ in 0..3 {
        drop(TcpStream::connect(house.gateway.address()).unwrap());
    }
    house.visit("a.test").get("/").expect_ok();
    let all = house.gateway.metric("tidegate_tls_handshakes_total", &[]);
    assert_eq!(all, Some(1.0));
}

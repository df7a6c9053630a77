//! Clients that take their time: each deadline of a listener ends them, with 408 where an answer can still be read.

use std::time::{Duration, Instant};

use crate::support::{Client, Echo, Gate, Gateway, Response, Setup, Upstream, answer};

fn with_timeouts(echo: &Echo, timeouts: &str) -> Gateway {
    Setup::to(echo.address())
        .listener(&format!("timeouts: {{ {timeouts} }}"))
        .start()
}

/// Sends `piece` whenever the gateway has been silent for `pause`, until it answers.
fn drip(client: &mut Client, pause: Duration, piece: &str) -> Response {
    let begin = Instant::now();
    while client.silent_for(pause) {
        assert!(begin.elapsed() < Duration::from_secs(8), "still dripping");
        if client.try_send(piece).is_err() {
            break;
        }
    }
    client.response()
}

#[test]
fn a_connection_that_says_nothing_is_closed_silently() {
    let echo = Echo::start("app");
    let gateway = with_timeouts(&echo, "first_byte: 1s, request_head: 20s, idle: 20s");
    let mut client = gateway.client();
    assert!(client.silent_for(Duration::from_millis(150)), "too early");
    client.expect_closed();
    assert_eq!(gateway.access_log().len(), 0);
}

#[test]
fn a_head_that_stalls_gets_408() {
    let echo = Echo::start("app");
    let gateway = with_timeouts(&echo, "request_head: 1s, first_byte: 20s, idle: 20s");
    for beginning in [
        "G",
        "GET / HTTP/1.1\r\n",
        "GET / HTTP/1.1\r\nHost: a.test\r\nX-A: b\r\n",
        "\r\n",
    ] {
        let mut client = gateway.client();
        client.send(beginning);
        assert!(client.silent_for(Duration::from_millis(150)), "too early");
        client.response().expect_refusal(408, "request_timeout");
        client.expect_closed();
    }
    for line in gateway.await_access_lines(4) {
        assert_eq!(
            (&line["status"], &line["reason"]),
            (&408.into(), &"request_timeout".into())
        );
    }
    let labels = [("route", "_none"), ("reason", "request_timeout")];
    gateway.await_metric("tidegate_gateway_responses_total", &labels, 4.0);
    echo.upstream().expect_untouched();
}

#[test]
fn a_head_that_drips_has_the_same_deadline() {
    let echo = Echo::start("app");
    let gateway = with_timeouts(&echo, "request_head: 500ms");
    let mut client = gateway.client();
    client.send("GET / HTTP/1.1\r\nHost: a.test\r\n");
    let begin = Instant::now();
    let answer = drip(&mut client, Duration::from_millis(100), "X-A: b\r\n");
    answer.expect_refusal(408, "request_timeout");
    assert!(begin.elapsed() >= Duration::from_millis(450), "too early");
    assert!(
        begin.elapsed() < Duration::from_secs(4),
        "each byte moved the deadline"
    );
}

#[test]
fn a_second_head_that_stalls_gets_408_too() {
    let echo = Echo::start("app");
    let gateway = with_timeouts(&echo, "request_head: 300ms, idle: 20s");
    let mut client = gateway.client();
    client.get("/first").expect_ok();
    assert!(
        client.silent_for(Duration::from_millis(700)),
        "idle is not a stalled head"
    );
    client.send("GET /second HTTP/1.1\r\nHo");
    client.response().expect_refusal(408, "request_timeout");
    client.expect_closed();
    assert_eq!(echo.upstream().requests().len(), 1);
}

#[test]
fn an_idle_connection_is_closed_silently() {
    let echo = Echo::start("app");
    let gateway = with_timeouts(&echo, "idle: 1s");
    let mut client = gateway.client();
    client.get("/").expect_ok();
    assert!(client.silent_for(Duration::from_millis(200)), "too early");
    client.expect_closed();
    assert_eq!(gateway.await_access_lines(1).len(), 1);
}

#[test]
fn a_body_that_stalls_gets_408() {
    let echo = Echo::start("app");
    let gateway = with_timeouts(&echo, "request_body: 1s");
    for beginning in [
        "Content-Length: 10\r\n\r\nhello",
        "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
    ] {
        let mut client = gateway.client();
        client.send(format!("POST / HTTP/1.1\r\nHost: a.test\r\n{beginning}"));
        assert!(client.silent_for(Duration::from_millis(200)), "too early");
        client.response().expect_refusal(408, "request_timeout");
        client.expect_closed();
    }
    echo.upstream().await_all_closed();
    let labels = [("route", "all"), ("reason", "request_timeout")];
    gateway.await_metric("tidegate_gateway_responses_total", &labels, 2.0);
}

#[test]
fn a_body_that_keeps_coming_may_take_its_time() {
    let echo = Echo::start("app");
    let gateway = with_timeouts(&echo, "request_body: 500ms");
    let mut client = gateway.client();
    client.send("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 10\r\n\r\n");
    for _ in 0..9 {
        client.send("x");
        assert!(
            client.silent_for(Duration::from_millis(100)),
            "cut although it moved"
        );
    }
    client.send("x");
    client.response().expect_ok();
}

#[test]
fn a_body_below_the_least_rate_gets_408() {
    let echo = Echo::start("app");
    let limits = "limits: { min_body_rate: { bytes_per_second: 1000, after: 500ms } }";
    let gateway = Setup::to(echo.address()).listener(limits).start();
    let mut client = gateway.client();
    client.send("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 100000\r\n\r\n");
    let begin = Instant::now();
    let answer = drip(&mut client, Duration::from_millis(50), "x");
    answer.expect_refusal(408, "request_timeout");
    assert!(begin.elapsed() >= Duration::from_millis(450), "too early");
    echo.upstream().await_all_closed();
}

#[test]
fn an_upstream_that_does_not_read_is_no_slow_client() {
    let gate = Gate::default();
    let shut = gate.clone();
    let upstream = Upstream::start(move |peer| {
        let request = peer.request().unwrap();
        shut.pass();
        let mut count = 0;
        peer.stream_body(&request, &mut |bytes| count += bytes.len())
            .unwrap();
        let _ = peer.send(answer(200, &count.to_string()));
    });
    let limits = "limits: { min_body_rate: { bytes_per_second: 1MiB, after: 300ms } }, timeouts: { request_body: 500ms }";
    let gateway = Setup::to(upstream.address())
        .route("max_body: off")
        .listener(&limits.replace("1MiB", "1000000"))
        .start();
    let mut client = gateway.client();
    let mut writer = client.writer();
    let body = vec![b'x'; 16 << 20];
    let sending = std::thread::spawn(move || {
        std::io::Write::write_all(
            &mut writer,
            format!(
                "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: {}\r\n\r\n",
                body.len()
            )
            .as_bytes(),
        )?;
        std::io::Write::write_all(&mut writer, &body)
    });
    assert!(
        client.silent_for(Duration::from_millis(1500)),
        "the client was blamed for the upstream"
    );
    gate.open();
    assert_eq!(client.response().expect_ok().text(), (16 << 20).to_string());
    sending.join().unwrap().unwrap();
}

#[test]
fn an_answer_that_is_not_read_is_given_up() {
    let (seen, closed) = std::sync::mpsc::channel();
    let seen = std::sync::Mutex::new(seen);
    let upstream = Upstream::start(move |peer| {
        if peer.request().is_none() {
            return;
        }
        let _ = peer.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        let chunk = [b"10000\r\n".as_slice(), &[b'x'; 0x10000], b"\r\n"].concat();
        while peer.send(&chunk).is_ok() {}
        seen.lock().unwrap().send(()).unwrap();
    });
    let gateway = with_write_timeout(&upstream);
    let mut client = Client::connect_narrow(gateway.address());
    client.send_get("/");
    closed
        .recv_timeout(Duration::from_secs(9))
        .expect("the upstream is let go");
    assert_eq!(gateway.await_access("path", "/")["status"], 200);
    gateway.await_metric("tidegate_connections", &[("listener", "main")], 0.0);
}

fn with_write_timeout(upstream: &Upstream) -> Gateway {
    Setup::to(upstream.address())
        .listener("timeouts: { write: 500ms }")
        .start()
}

#[test]
fn the_deadlines_of_silence_end_with_the_head() {
    let gate = Gate::default();
    let shut = gate.clone();
    let upstream = Upstream::start(move |peer| {
        while let Some(request) = peer.request() {
            if request.target == "/slow" {
                shut.pass();
            }
            let Ok(body) = peer.body(&request) else {
                return;
            };
            let _ = peer.send(answer(200, &body.len().to_string()));
        }
    });
    let short = "timeouts: { first_byte: 1s, request_head: 1s, idle: 1s }";
    let gateway = Setup::to(upstream.address()).listener(short).start();
    let mut waiting = gateway.client();
    waiting.send_get("/slow");
    let mut uploading = gateway.client();
    uploading.send("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 10\r\n\r\n");
    for _ in 0..10 {
        assert!(uploading.silent_for(Duration::from_millis(150)), "cut");
        uploading.send("x");
    }
    assert_eq!(uploading.response().expect_ok().text(), "10");
    assert!(waiting.silent_for(Duration::from_millis(50)), "cut");
    gate.open();
    waiting.response().expect_ok();
    // The second request of a connection, with a head that comes whole and one that does not.
    waiting.get("/again").expect_ok();
    waiting.send("POST / HTTP/1.1\r\nHost: a.test\r\n");
    waiting.send("Content-Length: 5\r\n\r\n");
    for _ in 0..5 {
        assert!(waiting.silent_for(Duration::from_millis(250)), "cut");
        waiting.send("x");
    }
    waiting.response().expect_ok();
}

//! The harness itself: client and upstream talk to each other without a gateway, and notice what is wrong.

use std::time::Duration;

use crate::support::{Client, Echo, Gate, Head, PATIENCE, Report, Samples, Setup, Upstream, until};

#[test]
fn a_client_reads_what_an_upstream_says() {
    let echo = Echo::start("one");
    let mut client = Client::connect(echo.address());
    let request =
        "POST /p?q HTTP/1.1\r\nHost: a\r\nX-A: 1\r\nX-A: 2\r\nContent-Length: 5\r\n\r\nhello";
    let report = Report::of(client.ask(request));
    assert_eq!(
        (report.upstream(), report.method(), report.target()),
        ("one", "POST", "/p?q")
    );
    assert_eq!(
        (report.body(), report.all("x-a")),
        ("hello", vec!["1", "2"])
    );
    assert_eq!(report.field("host"), Some("a"));
    let chunked = "PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nX-T: t\r\n\r\n";
    let report = Report::of(client.ask(chunked));
    assert_eq!(
        (report.body(), report.trailers("x-t")),
        ("abcde", vec!["t"])
    );
    assert_eq!(report.connection(), 0);
    assert_eq!(echo.upstream().requests().len(), 2);
    assert!(echo.upstream().received()[0].starts_with(request));
}

#[test]
fn an_end_a_reset_and_a_stall_are_told_apart() {
    let gate = Gate::default();
    let shut = gate.clone();
    let upstream = Upstream::start(move |peer| {
        match peer.request().map(|request| request.target).as_deref() {
            Some("/end") => {}
            Some("/reset") => peer.reset(),
            Some("/short") => peer
                .send("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc")
                .unwrap(),
            _ => shut.pass(),
        }
    });
    Client::connect(upstream.address())
        .send_get("/end")
        .expect_closed();
    let reset = Client::connect(upstream.address())
        .send_get("/reset")
        .read_to_end()
        .unwrap_err();
    assert_eq!(reset.kind(), std::io::ErrorKind::ConnectionReset);
    let short = Client::connect(upstream.address())
        .send_get("/short")
        .try_response()
        .unwrap_err();
    assert_eq!(short.kind(), std::io::ErrorKind::UnexpectedEof);
    let mut stalled = Client::connect(upstream.address());
    assert!(
        stalled
            .send_get("/stall")
            .silent_for(Duration::from_millis(50))
    );
    assert_eq!((upstream.connections(), upstream.open()), (4, 1));
    gate.open();
    stalled.expect_closed();
    upstream.await_all_closed();
}

#[test]
#[should_panic(expected = "the connection is still open")]
fn an_open_connection_is_not_taken_for_closed() {
    let upstream = Upstream::start(|peer| {
        peer.closed();
    });
    let mut client = Client::connect(upstream.address());
    client
        .writer()
        .set_read_timeout(Some(Duration::from_millis(50)))
        .unwrap();
    client.expect_closed();
}

#[test]
#[should_panic(expected = "the upstream's script failed")]
fn a_script_that_fails_fails_the_test() {
    let upstream = Upstream::start(|peer| {
        let request = peer.request().expect("a request");
        assert_eq!(request.target, "/right");
    });
    Client::connect(upstream.address())
        .send_get("/wrong")
        .expect_closed();
    upstream.await_all_closed();
}

#[test]
#[should_panic(expected = "not within")]
fn what_never_happens_ends_the_wait() {
    until(Duration::from_millis(20), "never", || false);
}

#[test]
fn the_metrics_page_is_read() {
    let page = "# HELP a b\n# TYPE a_total counter\na_total{x=\"1\",y=\"q\\\"u,}\"} 3\na_total{x=\"2\",y=\"z\"} 4\nb 1.5\n";
    let samples = Samples::parse(page);
    assert_eq!(samples.sum("a_total", &[]), Some(7.0));
    assert_eq!(samples.sum("a_total", &[("x", "2")]), Some(4.0));
    assert_eq!(samples.sum("a_total", &[("y", "q\"u,}")]), Some(3.0));
    assert_eq!(samples.sum("a_total", &[("x", "3")]), None);
    assert_eq!(samples.all()[2].value, 1.5);
    Samples::parse("a_total{x=\"1\",y=\"q\\\"u,}\"} 3\na_total{x=\"2\",y=\"z\"} 9\n")
        .expect_not_below(&samples);
}

#[test]
#[should_panic(expected = "fell to 6")]
fn a_counter_that_falls_is_noticed() {
    Samples::parse("a_total 6\n").expect_not_below(&Samples::parse("a_total 7\n"));
}

#[test]
fn fields_are_looked_up_without_regard_to_case() {
    let fields = [("A", "1"), ("Connection", "close, X-b"), ("a", "2")];
    let fields = fields
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec();
    let head = Head {
        start: String::new(),
        fields,
    };
    assert_eq!(head.all("a"), ["1", "2"]);
    assert!(
        head.lists("connection", "CLOSE")
            && head.lists("connection", "x-B")
            && !head.lists("connection", "x")
    );
}

#[test]
fn a_setup_is_a_file() {
    let text = Setup::to("127.0.0.1:1")
        .listener("timeouts: { idle: 1s }")
        .top("workers: 1")
        .text();
    let expected = "admin: { bind: \"127.0.0.1:0\" }\nworkers: 1\nlisteners:\n  - { name: main, bind: \"127.0.0.1:0\", timeouts: { idle: 1s } }\nroutes:\n  - { name: all, upstream: app }\nupstreams:\n  app: { endpoints: [\"http://127.0.0.1:1\"] }\n";
    assert_eq!(text, expected);
    assert!(PATIENCE > Duration::from_secs(1));
}

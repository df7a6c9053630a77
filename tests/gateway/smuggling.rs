//! Every way to frame a request against every other: whatever a client sends, the upstream sees well-formed requests only.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use crate::support::{Client, Setup, Upstream, answer};

const LENGTHS: [&str; 7] = [
    "",
    "Content-Length: 0\r\n",
    "Content-Length: 5\r\n",
    "Content-Length: 5\r\nContent-Length: 5\r\n",
    "Content-Length: 5\r\ncontent-length: 44\r\n",
    "Content-Length: 0005\r\n",
    "Content-Length: 0x5\r\n",
];

const CODINGS: [&str; 15] = [
    "",
    "Transfer-Encoding: chunked\r\n",
    "Transfer-Encoding: CHUNKED\r\n",
    "Transfer-Encoding:\tchunked\r\n",
    "Transfer-Encoding: chunked \r\n",
    "Transfer-Encoding: \x0bchunked\r\n",
    "Transfer-Encoding: \"chunked\"\r\n",
    "Transfer-Encoding: chunked, identity\r\n",
    "Transfer-Encoding: chunked, chunked\r\n",
    "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n",
    "Transfer-Encoding: ,chunked\r\n",
    "Transfer-Encoding: chunked;q=1\r\n",
    "Transfer-Encoding : chunked\r\n",
    "Transfer_Encoding: chunked\r\n",
    "X: y\r\n Transfer-Encoding: chunked\r\n",
];

const BODIES: [&str; 6] = [
    "",
    "hello",
    "5\r\nhello\r\n0\r\n\r\n",
    "0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a.test\r\n\r\n",
    "5\r\nhello\r\n0\r\nX-Trailer: t\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a.test\r\n\r\n",
    "GET /smuggled HTTP/1.1\r\nHost: a.test\r\n\r\n",
];

#[test]
fn whatever_the_framing_the_upstream_sees_whole_requests() {
    thread::scope(|scope| {
        for length in LENGTHS {
            scope.spawn(move || converse(length));
        }
    });
}

/// Sends every coding and every body behind `length`, each on a connection of its own.
fn converse(length: &str) {
    let answered = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&answered);
    // The script reads strictly: a head with two framings or an odd one fails it, and with it the test.
    let upstream = Upstream::start(move |peer| {
        while let Some((request, _)) = peer.whole_request() {
            assert_eq!(request.all("host").len(), 1, "{request:?}");
            assert!(
                request.method == "POST" || request.target == "/smuggled",
                "{request:?}"
            );
            counted.fetch_add(1, Ordering::SeqCst);
            if peer.send(answer(200, &request.target)).is_err() {
                return;
            }
        }
    });
    let gateway = Setup::to(upstream.address()).start();
    let mut served = 0;
    for coding in CODINGS {
        for body in BODIES {
            let framing = format!("{length}{coding}");
            let mut client = gateway.client();
            client.send(format!(
                "POST / HTTP/1.1\r\nHost: a.test\r\n{framing}\r\n{body}"
            ));
            let statuses = read_all(&mut client);
            served += statuses.iter().filter(|status| **status == 200).count();
            let behind = statuses
                .iter()
                .skip_while(|status| **status == 200)
                .any(|status| *status == 200);
            assert!(
                !behind,
                "{framing:?} {body:?}: served behind a refusal: {statuses:?}"
            );
        }
    }
    assert_eq!(
        served,
        answered.load(Ordering::SeqCst),
        "the upstream served requests that no client made"
    );
}

/// Reads answers until the gateway closes or has nothing more to say.
fn read_all(client: &mut Client) -> Vec<u16> {
    let mut statuses = Vec::new();
    while !client.silent_for(Duration::from_millis(60)) {
        match client.try_response() {
            Ok(answer) => statuses.push(answer.status),
            Err(_) => break,
        }
    }
    statuses
}

//! Every way to frame a request against every other: whatever a client sends, the upstream sees well-formed requests only.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use crate::support::{Client, PATIENCE, Setup, Upstream, answer, until};

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
    let mut talks = Vec::new();
    for coding in CODINGS {
        for body in BODIES {
            let framing = format!("{length}{coding}");
            let mut client = gateway.client();
            client.send(format!(
                "POST / HTTP/1.1\r\nHost: a.test\r\n{framing}\r\n{body}"
            ));
            let mut talk = Talk {
                client,
                what: format!("{framing:?} {body:?}"),
                statuses: Vec::new(),
                over: false,
            };
            talk.read(Duration::from_millis(60));
            talks.push(talk);
        }
    }
    // A busy machine may be slower than the look above was long, so all are looked at until the numbers agree.
    until(
        PATIENCE,
        "each answer of the upstream to reach its client",
        || {
            talks
                .iter_mut()
                .for_each(|talk| talk.read(Duration::from_millis(1)));
            served(&talks) == answered.load(Ordering::SeqCst)
        },
    );
    for talk in &talks {
        let mut behind = talk.statuses.iter().skip_while(|status| **status == 200);
        let served_behind = behind.any(|status| *status == 200);
        assert!(
            !served_behind,
            "{}: served behind a refusal: {:?}",
            talk.what, talk.statuses
        );
    }
}

/// One connection with what was sent on it and what came back.
struct Talk {
    client: Client,
    what: String,
    statuses: Vec<u16>,
    over: bool,
}

impl Talk {
    /// Reads answers until the gateway closes, or is silent for so long.
    fn read(&mut self, silence: Duration) {
        while !self.over && !self.client.silent_for(silence) {
            match self.client.try_response() {
                Ok(answer) => self.statuses.push(answer.status),
                Err(_) => self.over = true,
            }
        }
    }
}

fn served(talks: &[Talk]) -> usize {
    talks
        .iter()
        .flat_map(|talk| &talk.statuses)
        .filter(|status| **status == 200)
        .count()
}

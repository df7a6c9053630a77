//! Requests with bodies, sent again: whole or not at all.

use std::io::Write;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use crate::retry::{ALL, Deed, doing, retrying};
use crate::support::{Gate, Upstream, answer};

type Bodies = Arc<Mutex<Vec<(Vec<u8>, Vec<(String, String)>)>>>;

/// An upstream that keeps every body that it got whole, with its trailers. What it does with its first requests is up to
/// `deed`, which tells whether it went wrong; all others get 200.
fn keeping(deed: Deed, wrong: usize) -> (Upstream, Bodies) {
    let bodies = Bodies::default();
    let (kept, arrived) = (bodies.clone(), AtomicUsize::new(0));
    let upstream = Upstream::start(move |peer| {
        while let Some(request) = peer.request() {
            let fails = arrived.fetch_add(1, Ordering::SeqCst) < wrong;
            if fails && matches!(deed, Deed::ResetEarly) {
                peer.reset();
                return;
            }
            let Ok(whole) = peer.body_and_trailers(&request) else {
                return;
            };
            kept.lock().unwrap().push(whole);
            let status = match deed {
                Deed::Answer(status) if fails => status,
                _ if fails => return,
                _ => 200,
            };
            if peer.send(answer(status, "said")).is_err() {
                return;
            }
        }
    });
    (upstream, bodies)
}

fn body(len: usize) -> Vec<u8> {
    (0..len).map(|i| b'a' + (i % 23) as u8).collect()
}

fn put(body: &[u8]) -> Vec<u8> {
    let head = format!(
        "PUT /p HTTP/1.1\r\nHost: a.test\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

/// In chunks of odd lengths, with trailers.
fn put_chunked(body: &[u8]) -> Vec<u8> {
    let mut request =
        b"PUT /p HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\nTrailer: x-sum\r\n\r\n"
            .to_vec();
    for chunk in body.chunks(977) {
        write!(request, "{:x}\r\n", chunk.len()).unwrap();
        request.extend_from_slice(chunk);
        request.extend_from_slice(b"\r\n");
    }
    request.extend_from_slice(b"0\r\nx-sum: 7\r\n\r\n");
    request
}

const FAULTS: [Deed; 3] = [Deed::Answer(503), Deed::Close, Deed::ResetEarly];

#[test]
fn a_short_body_is_sent_whole_each_time() {
    for fault in FAULTS {
        for len in [0, 1, 10 * 1024, 64 * 1024] {
            let (upstream, bodies) = keeping(fault, 2);
            let gateway = retrying(&upstream, "attempts: 2, on: [503, reset]").start();
            let sent = body(len);
            gateway.client().ask(put(&sent)).expect_ok();
            assert_eq!(upstream.requests().len(), 3, "{fault:?} {len}");
            let bodies = bodies.lock().unwrap();
            assert!(!bodies.is_empty());
            for (body, trailers) in &*bodies {
                assert!(*body == sent, "{fault:?} {len}: {} bytes came", body.len());
                assert!(trailers.is_empty());
            }
            for request in upstream.requests() {
                assert_eq!(request.field("content-length"), Some(&*len.to_string()));
            }
            let line = gateway.await_access("path", "/p");
            assert_eq!(
                (&line["attempts"], &line["bytes_in"]),
                (&3.into(), &len.into())
            );
        }
    }
}

#[test]
fn a_chunked_body_is_sent_whole_each_time_with_its_trailers() {
    for fault in FAULTS {
        for len in [0, 5, 10 * 1024] {
            let (upstream, bodies) = keeping(fault, 1);
            let gateway = retrying(&upstream, "attempts: 2, on: [503, reset]").start();
            let sent = body(len);
            gateway.client().ask(put_chunked(&sent)).expect_ok();
            assert_eq!(upstream.requests().len(), 2, "{fault:?} {len}");
            for (body, trailers) in &*bodies.lock().unwrap() {
                assert!(*body == sent, "{fault:?} {len}: {} bytes came", body.len());
                assert_eq!(*trailers, [("x-sum".to_owned(), "7".to_owned())]);
            }
            for request in upstream.requests() {
                assert!(request.lists("transfer-encoding", "chunked"));
                assert_eq!(request.field("content-length"), None);
            }
        }
    }
}

/// R173 for an idempotent method: what is not kept whole is not sent again.
#[test]
fn a_long_body_is_sent_once() {
    let sent = body(100 * 1024);
    for request in [put(&sent), put_chunked(&sent)] {
        for (fault, status) in [(Deed::Answer(503), 503), (Deed::Close, 502)] {
            let (upstream, bodies) = keeping(fault, 1);
            let gateway = retrying(&upstream, "attempts: 2, on: [503, reset]").start();
            let mut client = gateway.client();
            assert_eq!(client.ask(&request).status, status);
            assert_eq!(upstream.requests().len(), 1, "{fault:?}");
            let mut bodies = bodies.lock().unwrap();
            assert_eq!(bodies.len(), 1);
            assert!(bodies.pop().unwrap().0 == sent);
        }
    }
}

/// B45.
#[test]
fn a_post_is_sent_once_when_any_of_it_may_have_come() {
    let request = |len: usize| {
        let head = format!("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: {len}\r\n\r\n");
        [head.into_bytes(), body(len)].concat()
    };
    for deed in FAULTS {
        for len in [0, 10, 50_000] {
            let upstream = match deed {
                Deed::Answer(_) => doing(&[Deed::Answer(503)]),
                Deed::Close => doing(&[Deed::Close]),
                _ => doing(&[Deed::ResetEarly]),
            };
            let gateway = retrying(&upstream, &format!("attempts: 3, {ALL}")).start();
            let status = gateway.client().ask(request(len)).status;
            assert_eq!(
                status,
                if matches!(deed, Deed::Answer(_)) {
                    503
                } else {
                    502
                }
            );
            assert_eq!(upstream.requests().len(), 1, "{deed:?} {len}");
        }
    }
}

/// The first try fails when half of the body has come; the second gets all of it, and the client notices nothing.
#[test]
fn a_try_may_fail_in_the_middle_of_a_body() {
    for early in [true, false] {
        let first = Gate::default();
        let (failed, arrived) = (first.clone(), AtomicUsize::new(0));
        let got = Arc::new(Mutex::new(Vec::new()));
        let kept = got.clone();
        let upstream = Upstream::start(move |peer| {
            while let Some(request) = peer.request() {
                if arrived.fetch_add(1, Ordering::SeqCst) == 0 {
                    failed.open();
                    if early {
                        let _ = peer.send(answer(503, "too early"));
                        assert!(peer.closed(), "the first try goes on");
                    } else {
                        peer.reset();
                    }
                    return;
                }
                let Ok(body) = peer.body(&request) else {
                    return;
                };
                *kept.lock().unwrap() = body;
                let _ = peer.send(answer(200, "ok"));
            }
        });
        let gateway = retrying(&upstream, "attempts: 2, on: [503, reset]").start();
        let sent = body(20_000);
        let request = put(&sent);
        let half = request.len() - 10_000;
        let mut client = gateway.client();
        client.send(&request[..half]);
        first.pass();
        upstream.await_requests(2);
        client.send(&request[half..]);
        client.response().expect_ok();
        assert!(
            *got.lock().unwrap() == sent,
            "{} bytes came",
            got.lock().unwrap().len()
        );
        assert_eq!(upstream.requests().len(), 2);
        // The client's connection is as good as ever.
        client.get("/").expect_ok();
    }
}

#[test]
fn a_body_that_waits_for_100_is_sent_again() {
    let (upstream, bodies) = keeping(Deed::Answer(503), 1);
    let gateway = retrying(&upstream, "attempts: 1, on: [503]").start();
    let mut client = gateway.client();
    client.send(
        "PUT / HTTP/1.1\r\nHost: a.test\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n",
    );
    assert_eq!(client.head().status, 100);
    client.ask("hello").expect_ok();
    let bodies: Vec<Vec<u8>> = bodies
        .lock()
        .unwrap()
        .iter()
        .map(|(body, _)| body.clone())
        .collect();
    assert_eq!(bodies, [b"hello", b"hello"]);
}

/// A kept connection that the upstream had closed is no try, and whoever may send a body twice may do so here too.
#[test]
fn a_body_that_meets_a_dying_connection_is_sent_again() {
    let upstream = Upstream::start(|peer| {
        // Every connection answers once, then reads a request and dies.
        if let Some((_, body)) = peer.whole_request()
            && peer.send(answer(200, &body.len().to_string())).is_ok()
        {
            let _ = peer.request();
        }
    });
    let gateway = retrying(&upstream, "attempts: 1, on: [reset]")
        .top("workers: 1")
        .start();
    let mut client = gateway.client();
    for len in [1, 1000, 60_000] {
        for _ in 0..20 {
            assert_eq!(
                client.ask(put(&body(len))).expect_ok().text(),
                len.to_string()
            );
        }
    }
}

/// The first try fails, and so does the second; the rest of the body is nobody's, and the client hears why.
#[test]
fn when_all_tries_failed_the_rest_of_the_body_does_no_harm() {
    let upstream = doing(&[Deed::ResetEarly, Deed::ResetEarly]);
    let gateway = retrying(&upstream, "attempts: 1, on: [reset]").start();
    let sent = body(30_000);
    let mut client = gateway.client();
    client.ask(put(&sent)).expect_refusal(502, "upstream_reset");
    assert_eq!(upstream.requests().len(), 2);
    let line = gateway.await_access("path", "/p");
    assert_eq!(
        (&line["attempts"], &line["reason"]),
        (&2.into(), &"upstream_reset".into())
    );
    client.get("/").expect_ok();
}

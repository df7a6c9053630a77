//! The last words on a connection: an answer where hyper has given up, and a close that does not take it back.
//!
//! A socket that is closed with unread input resets the connection, and the reset may overtake our answer. So the write
//! side is shut first, and what still comes is thrown away for a while (RFC 9112, section 9.6).

use std::rc::Rc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use http::{HeaderValue, Method};

use crate::error::Reason;
use crate::http::reply::{self, Refusal};
use crate::proxy::client::Client;
use crate::telemetry::access_log::{Entry, Shape};
use crate::time;

const MOST: usize = 1024 * 1024;
const WITHIN: Duration = Duration::from_secs(2);

/// Refuses a request whose head never became whole: answered, counted and logged with what is known.
pub(super) async fn refuse(
    client: &Rc<Client>,
    mut stream: TcpStream,
    reason: Reason,
    detail: &str,
) {
    let worker = &client.worker;
    let pin = worker.view.pin();
    let id = worker.ids.make();
    let answer = reply::raw(&Refusal::because(reason, detail), &id, pin.show_detail);
    let method = Method::from_bytes(b"-").unwrap_or_default();
    pin.unrouted.count_request(
        worker.index,
        pin.listeners[client.listener].number,
        &method,
        reason.status(),
    );
    pin.unrouted.count_reason(worker.index, reason);
    pin.unrouted.duration.record(worker.index, 0);
    if let Some(shape) = &pin.access_log {
        log(client, shape, &id, reason, answer.len());
    }
    drop(pin);
    if timeout(WITHIN, stream.write_all(&answer))
        .await
        .is_ok_and(|written| written.is_ok())
    {
        linger(stream).await;
    }
}

fn log(client: &Client, shape: &Shape, id: &HeaderValue, reason: Reason, bytes: usize) {
    let pin = client.worker.view.pin();
    let entry = Entry {
        request_id: Some(id.as_bytes()),
        client: Some(client.peer_text.as_bytes()),
        listener: Some(&pin.listeners[client.listener].name),
        status: Some(reason.status().as_u16()),
        reason: Some(reason.word()),
        bytes_out: Some(bytes as u64),
        ..Entry::default()
    };
    client
        .worker
        .log
        .borrow_mut()
        .push(&entry, time::wall_nanos(), shape);
}

/// Shuts the write side and throws away up to 1 MiB for at most 2 s.
pub(super) async fn linger(mut stream: TcpStream) {
    if stream.shutdown().await.is_err() {
        return;
    }
    let _ = timeout(WITHIN, async {
        let mut scratch = vec![0; 16 * 1024];
        let mut left = MOST;
        while let Ok(n @ 1..) = stream.read(&mut scratch).await {
            let Some(now_left) = left.checked_sub(n) else {
                return;
            };
            left = now_left;
        }
    })
    .await;
}

//! The last words on a connection: an answer where hyper has given up, and a close that does not take it back.
//!
//! A socket that is closed with unread input resets the connection, and the reset may overtake our answer. So the write
//! side is shut first, and what still comes is thrown away for a while (RFC 9112, section 9.6).

use std::rc::Rc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
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
pub(super) async fn refuse<S>(client: &Rc<Client>, mut stream: S, reason: Reason, detail: &str)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let id = client.worker.ids.make();
    let show_detail = client.worker.view.pin().show_detail;
    let answer = reply::raw(&Refusal::because(reason, detail), &id, show_detail);
    note(client, &id, reason, answer.len());
    let written = async {
        stream.write_all(&answer).await?;
        stream.flush().await
    };
    if timeout(WITHIN, written)
        .await
        .is_ok_and(|said| said.is_ok())
    {
        linger(stream).await;
    }
}

/// Counts and logs a request that gets no answer, with what is known.
pub(super) fn count(client: &Client, reason: Reason) {
    note(client, &client.worker.ids.make(), reason, 0);
}

fn note(client: &Client, id: &HeaderValue, reason: Reason, bytes: usize) {
    let worker = &client.worker;
    let pin = worker.view.pin();
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
        log(client, shape, id, reason, bytes);
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
pub(super) async fn linger<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S) {
    let shut = timeout(WITHIN, stream.shutdown()).await;
    if !shut.is_ok_and(|shut| shut.is_ok()) {
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

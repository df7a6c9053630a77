//! The rest of a request's body when the answer is already out: a small one is read, so that the connection can be kept.

use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

use http_body::Body;
use hyper::body::Incoming;
use tokio::task::spawn_local;

use super::client::Client;
use crate::http::guard::{BODY_UNREAD, DRAINING, HEAD_BEGUN};

/// Most bytes that are read to keep a connection.
pub(super) const KEPT_UP_TO: u64 = 64 * 1024;
const WITHIN: Duration = Duration::from_secs(1);

/// Reads the rest beside the connection's own task. A rest that is too large or slow is dropped, upon which hyper ends
/// the connection and the linger takes over.
pub(super) fn drain_rest(client: &Rc<Client>, rest: Incoming) {
    client.wire.turn(DRAINING, 0);
    let client = client.clone();
    spawn_local(async move {
        let whole = tokio::time::timeout(WITHIN, read_out(rest, KEPT_UP_TO))
            .await
            .unwrap_or(false);
        // What came in meanwhile was body, not the head of a next request.
        let unread = if whole { 0 } else { BODY_UNREAD };
        client.wire.turn(unread, DRAINING | HEAD_BEGUN);
        client.wake();
    });
}

/// Reads a body to its end and throws it away; false where it broke, or is longer than `most` bytes.
pub(super) async fn read_out(mut body: Incoming, most: u64) -> bool {
    let mut left = most;
    loop {
        match poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
            None => return true,
            Some(Err(_)) => return false,
            Some(Ok(frame)) => {
                let n = frame.data_ref().map_or(0, |d| d.len() as u64);
                let Some(now_left) = left.checked_sub(n) else {
                    return false;
                };
                left = now_left;
            }
        }
    }
}

//! Waiting on the way of a request, never longer than its deadlines allow.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use super::exchange::Exchange;
use super::forward::Plan;
use crate::http::upload::Progress;
use crate::time::Nanos;

/// Waits for `future` until `due`; `None` when the time is over.
pub(super) async fn within<F: Future>(
    exchange: &Exchange,
    due: Option<Nanos>,
    future: F,
) -> Option<F::Output> {
    let deadline = &exchange.client.deadline;
    deadline.set_at(exchange.client.worker.recent(), due);
    let mut future = pin!(future);
    poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending if deadline.fired() => Poll::Ready(None),
        Poll::Pending => Poll::Pending,
    })
    .await
}

/// Waits for `delay`, but for as long as the client stays.
pub(super) async fn pause(exchange: &Exchange, delay: Duration) {
    let deadline = &exchange.client.deadline;
    deadline.set(exchange.client.worker.read_clock(), Some(delay));
    deadline.expired().await;
}

/// Waits for the answer's head; `None` when `timeouts.response`, `timeouts.body` or `end` is over.
///
/// While the request's body is still on its way only the looser `body` deadline holds. It is found out late whether the
/// upload has ended: so the nearer of the two is set, and looked at again when it falls.
pub(super) async fn wait_for_head<F: Future>(
    exchange: &Exchange,
    plan: &Plan<'_>,
    end: Option<Nanos>,
    sending: F,
) -> Option<F::Output> {
    let (worker, deadline) = (&exchange.client.worker, &exchange.client.deadline);
    let sent = worker.recent();
    let nearer = plan
        .timeouts
        .response
        .into_iter()
        .chain(exchange.upload.as_ref().and(plan.timeouts.body))
        .min();
    deadline.set_at(
        sent,
        nearer.map(|t| sent.plus(t)).into_iter().chain(end).min(),
    );
    let mut sending = pin!(sending);
    poll_fn(|cx| {
        if let Poll::Ready(output) = sending.as_mut().poll(cx) {
            return Poll::Ready(Some(output));
        }
        if !deadline.fired() {
            return Poll::Pending;
        }
        let now = worker.read_clock();
        let due = head_due(exchange, plan, sent).into_iter().chain(end).min();
        if due.is_some_and(|due| due <= now) {
            return Poll::Ready(None);
        }
        let look = nearer.map(|t| now.plus(t));
        deadline.set_at(now, look.into_iter().chain(due).min());
        Poll::Pending
    })
    .await
}

fn head_due(exchange: &Exchange, plan: &Plan<'_>, sent: Nanos) -> Option<Nanos> {
    match &exchange.upload {
        Some(upload) if upload.progress() == Progress::Streaming => {
            plan.timeouts.body.map(|t| upload.moved_at().plus(t))
        }
        Some(upload) => plan.timeouts.response.map(|t| upload.moved_at().plus(t)),
        None => plan.timeouts.response.map(|t| sent.plus(t)),
    }
}

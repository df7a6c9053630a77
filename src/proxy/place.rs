//! A place in the bulkhead of the upstream, or the wait for one.

use http::header::{self, HeaderValue};

use super::breaker::{Asker, ask, refusal};
use super::exchange::Exchange;
use super::forward::Plan;
use super::wait::within;
use crate::error::Reason;
use crate::http::reply::Refusal;
use crate::upstream::bulkhead::BulkheadPolicy;

/// Takes a place for the request, at once or, where it has to wait, in time.
///
/// # Errors
/// 503 `upstream_overloaded`, 504 when the time of the whole request is over; 503 `breaker_open` where the breaker has
/// opened meanwhile.
pub(super) async fn take_place(
    exchange: &mut Exchange,
    plan: &Plan<'_>,
) -> Result<(), Box<Refusal>> {
    let upstream = &exchange.pin.upstreams[plan.upstream];
    let Some(policy) = upstream.bulkhead else {
        return Ok(());
    };
    let worker = exchange.client.worker.index;
    exchange.upstream = plan.upstream as u32;
    if upstream.state.bulkhead.enter(worker, policy.limit) {
        exchange.in_bulkhead = true;
        return Ok(());
    }
    // Boxed: to wait is rare, and its size would be every request's.
    Ok(Box::pin(wait_for_place(exchange, plan, policy)).await?)
}

#[cold]
async fn wait_for_place(
    exchange: &mut Exchange,
    plan: &Plan<'_>,
    policy: BulkheadPolicy,
) -> Result<(), Refusal> {
    let pin = exchange.pin.clone();
    let (upstream, worker) = (
        &pin.upstreams[plan.upstream],
        exchange.client.worker.clone(),
    );
    let overloaded = |detail: &str| {
        let detail = format!("upstream {}: {detail}", upstream.name);
        Refusal::because(Reason::UpstreamOverloaded, detail)
            .with(header::RETRY_AFTER, HeaderValue::from_static("1"))
    };
    let waiting = upstream.state.bulkhead.wait(worker.index, &policy);
    let Some(mut waiting) = waiting else {
        let detail = format!("{} requests are under way", policy.limit);
        return Err(overloaded(&detail));
    };
    let until = worker.read_clock().plus(policy.timeout);
    let end = plan.due.map_or(until, |due| due.min(until));
    let began = exchange.clock_for_log();
    let place = within(exchange, Some(end), waiting.place()).await;
    exchange.waited_since(began);
    let now = worker.read_clock();
    match place.flatten() {
        Some(place) => place.keep(),
        None if end < until => {
            let detail = "the time for the whole request was over in the queue";
            return Err(Refusal::because(Reason::UpstreamTimeout, detail));
        }
        None => return Err(overloaded("no place came free in time")),
    }
    exchange.in_bulkhead = true;
    // Who passed the breaker before the queue may find it open behind it.
    let asker = Asker {
        now,
        worker: worker.index,
    };
    exchange.permit = None;
    exchange.permit = ask(upstream, asker).map_err(|refused| refusal(upstream, refused))?;
    Ok(())
}

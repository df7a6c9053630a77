//! Breakers on the way of a request: who may pass, what is done with those who may not, and the line that is logged when
//! one moves.

use std::time::Duration;

use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::{HeaderMap, Response, StatusCode};

use super::exchange::Exchange;
use super::outcome::Report;
use crate::breaker::{Kind, Permit, Refused, Transition};
use crate::error::Reason;
use crate::http::reply::{Refusal, X_GATEWAY_REASON};
use crate::snapshot::Snapshot;
use crate::time::Nanos;
use crate::upstream::Upstream;
use crate::upstream::breaking::{Fallback, Scope};

/// Who asks to pass.
#[derive(Clone, Copy)]
pub(super) struct Asker {
    pub(super) now: Nanos,
    pub(super) worker: usize,
}

/// A request that no breaker lets pass.
pub(super) struct Stopped {
    /// The index of the last upstream that was asked.
    pub(super) upstream: usize,
    refused: Refused,
}

/// The upstream that takes a request for which the route has `drawn` one: that one, or one that stands in for it.
///
/// # Errors
/// None of them may be bothered now.
pub(super) fn enter(exchange: &mut Exchange, drawn: usize) -> Result<usize, Stopped> {
    let worker = &exchange.client.worker;
    let asker = Asker {
        now: worker.recent(),
        worker: worker.index,
    };
    let meant = exchange.pin.stand_in(drawn, asker.now);
    let (upstream, permit) = pass(&exchange.pin, meant, asker)?;
    exchange.permit = permit;
    Ok(upstream)
}

/// The upstream where a request goes that was meant for `upstream`: that one, or what its fallback names. With the
/// permit, where a breaker stands for the whole upstream.
///
/// # Errors
/// None of them lets it pass.
#[inline]
fn pass(
    snapshot: &Snapshot,
    upstream: usize,
    asker: Asker,
) -> Result<(usize, Option<Permit>), Stopped> {
    if snapshot.upstreams[upstream].breaking.is_none() {
        return Ok((upstream, None));
    }
    follow(snapshot, upstream, asker)
}

fn follow(
    snapshot: &Snapshot,
    mut at: usize,
    asker: Asker,
) -> Result<(usize, Option<Permit>), Stopped> {
    loop {
        let upstream = &snapshot.upstreams[at];
        let refused = match ask(upstream, asker) {
            Ok(permit) => return Ok((at, permit)),
            Err(refused) => refused,
        };
        let breaking = upstream.breaking.as_deref();
        match breaking.and_then(|breaking| breaking.fallback.as_ref()) {
            // They make no circle: the file would have been refused.
            Some(Fallback::Upstream(next)) => at = *next,
            Some(Fallback::Respond(..)) | None => {
                return Err(Stopped {
                    upstream: at,
                    refused,
                });
            }
        }
    }
}

/// Asks the breaker of the upstream as a whole. Where each endpoint has one, it is asked when the endpoint is chosen;
/// here only whether there is any that could be.
pub(super) fn ask(upstream: &Upstream, asker: Asker) -> Result<Option<Permit>, Refused> {
    let Some(breaking) = upstream.breaking.as_deref() else {
        return Ok(None);
    };
    if breaking.scope == Scope::Endpoint {
        return upstream.look_for_endpoint(asker.now).map(|()| None);
    }
    let circuit = &upstream.state.circuit;
    match circuit.state.admit(&breaking.policy, asker.now) {
        Ok((permit, moved)) => {
            announce(upstream, 0, moved, asker.worker);
            Ok(Some(permit))
        }
        Err(_) if breaking.policy.observes => Ok(None),
        Err(refused) => Err(refused),
    }
}

/// Asks the breaker of one endpoint, where it has its own.
pub(super) fn ask_endpoint(
    upstream: &Upstream,
    endpoint: usize,
    asker: Asker,
) -> Result<Option<Permit>, Refused> {
    let Some((breaking, circuit)) = upstream.circuit_of_endpoint(endpoint) else {
        return Ok(None);
    };
    match circuit.state.admit(&breaking.policy, asker.now) {
        Ok((permit, moved)) => {
            announce(upstream, endpoint, moved, asker.worker);
            Ok(Some(permit))
        }
        Err(_) if breaking.policy.observes => Ok(None),
        Err(refused) => Err(refused),
    }
}

/// Settles the permit of an attempt at `endpoint`.
pub(super) fn settle(upstream: &Upstream, endpoint: usize, permit: Permit, report: &Report) {
    let Some((breaking, circuit)) = upstream.circuit(endpoint) else {
        return;
    };
    let verdict = breaking.policy.failures.judge(report.outcome);
    let moved = circuit.state.settle(
        permit,
        &breaking.policy,
        (verdict, report.took),
        report.now,
        report.worker,
    );
    announce(upstream, endpoint, moved, report.worker);
}

/// May a request be tried again at its upstream?
pub(super) fn may_try_again(upstream: &Upstream, held: Option<&Permit>, now: Nanos) -> bool {
    let Some(breaking) = upstream.breaking.as_deref() else {
        return true;
    };
    let policy = &breaking.policy;
    let state = &upstream.state.circuit.state;
    match breaking.scope {
        _ if policy.observes => true,
        Scope::Endpoint => upstream.look_for_endpoint(now).is_ok(),
        Scope::Upstream => {
            held.is_some_and(|permit| state.still_holds(permit)) || state.would_admit(policy, now)
        }
    }
}

/// Counts and logs that a breaker moved, with the numbers that made it move.
#[inline]
fn announce(upstream: &Upstream, endpoint: usize, moved: Option<Box<Transition>>, worker: usize) {
    if let Some(moved) = moved
        && let Some((breaking, circuit)) = upstream.circuit(endpoint)
    {
        circuit.count(worker, &moved);
        let endpoint = match breaking.scope {
            Scope::Upstream => "",
            Scope::Endpoint => &upstream.endpoints[endpoint].state.label,
        };
        log(&upstream.name, endpoint, &moved, breaking.policy.observes);
    }
}

/// The line in the control log.
#[cold]
pub fn log(upstream: &str, endpoint: &str, moved: &Transition, observes: bool) {
    let open_for = moved.open_for.map(|time| format!("{time:?}"));
    let (from, to) = (moved.from.word(), moved.to.word());
    let cause = moved.cause.word();
    macro_rules! line {
        ($level:ident, $message:literal) => {
            tracing::$level!(
                upstream,
                endpoint,
                from,
                to,
                cause,
                consecutive_failures = moved.consecutive,
                failed = moved.failures.bad,
                requests = moved.failures.total,
                slow = moved.slow.bad,
                timed = moved.slow.total,
                open_for,
                observes,
                $message
            )
        };
    }
    match moved.to {
        Kind::Open => line!(warn, "circuit breaker opened"),
        Kind::HalfOpen => line!(info, "circuit breaker probes"),
        Kind::Closed => line!(info, "circuit breaker closed"),
    }
}

/// What is said to a request that was stopped: 503 with the time until a probe is due, or the fixed answer of the file.
#[cold]
pub(super) fn answer(
    exchange: &mut Exchange,
    stopped: &Stopped,
) -> Result<Box<Response<Bytes>>, Refusal> {
    let pin = exchange.pin.clone();
    let upstream = &pin.upstreams[stopped.upstream];
    let breaking = upstream.breaking.as_deref();
    if let Some(Fallback::Respond(status, headers, body)) =
        breaking.and_then(|breaking| breaking.fallback.as_ref())
    {
        exchange.failed(Reason::BreakerOpen);
        return Ok(Box::new(fixed(*status, headers, body)));
    }
    Err(refusal(upstream, stopped.refused))
}

fn fixed(status: StatusCode, headers: &HeaderMap, body: &Bytes) -> Response<Bytes> {
    let mut response = Response::new(body.clone());
    *response.status_mut() = status;
    response.headers_mut().clone_from(headers);
    let reason = HeaderValue::from_static(Reason::BreakerOpen.word());
    response.headers_mut().insert(X_GATEWAY_REASON, reason);
    response
}

/// 503 `breaker_open`.
pub(super) fn refusal(upstream: &Upstream, refused: Refused) -> Refusal {
    let detail = match refused.left {
        Some(left) => format!(
            "the circuit breaker of upstream {} is open for another {left:?}",
            upstream.name
        ),
        None => format!(
            "the circuit breaker of upstream {} lets nothing more through now",
            upstream.name
        ),
    };
    Refusal::because(Reason::BreakerOpen, detail).with(
        header::RETRY_AFTER,
        HeaderValue::from(seconds_up(refused.left.unwrap_or_default())),
    )
}

/// Whole seconds, rounded up, at least one (RFC 9110, section 10.2.3).
fn seconds_up(time: Duration) -> u64 {
    let more = u64::from(time.subsec_nanos() > 0);
    (time.as_secs() + more).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// B23.
    #[test]
    fn b23_retry_after_is_rounded_up_and_never_zero() {
        let millis = |ms| seconds_up(Duration::from_millis(ms));
        assert_eq!([0, 1, 999, 1000, 1001].map(millis), [1, 1, 1, 1, 2]);
        assert_eq!(seconds_up(Duration::from_nanos(60_000_000_001)), 61);
    }
}

//! A connection for a try that found none idle: the wait for its turn where the endpoint bears no more, then the
//! dialling.

use std::time::Duration;

use super::again::Failure;
use super::exchange::Exchange;
use super::forward::{Plan, blame, late};
use super::wait::within;
use crate::error::Reason;
use crate::http::reply::Refusal;
use crate::time::Nanos;
use crate::upstream::connect::{Connection, DialError, dial};
use crate::upstream::endpoint::Endpoint;
use crate::upstream::permits::Permit;
use crate::upstream::pool::{QueueFull, Turn, await_turn};
use crate::upstream::race::{Winner, race};
use crate::upstream::retry::Cause;

/// How long a request waits for its turn where `timeouts.connect` is off.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// What may be done at the endpoint.
enum Next {
    Use(Connection),
    Dial(Option<Permit>),
}

/// Gives the exchange a connection, until `due`; tells whether it has been used before. `turn_due` is when the wait for
/// a turn ends; set by the first of several calls for one try.
pub(super) async fn open(
    exchange: &mut Exchange,
    plan: &Plan<'_>,
    due: Option<Nanos>,
    turn_due: &mut Option<Nanos>,
) -> Result<bool, Box<Failure>> {
    let lock = exchange.held_endpoint().map_or(0, Endpoint::lock);
    let permit = loop {
        match await_next(exchange, plan, due, turn_due).await? {
            Next::Dial(permit) => break permit,
            Next::Use(connection) if connection.lock == lock => {
                exchange.connection = Some(connection);
                return Ok(true);
            }
            // Made under TLS settings that are gone.
            Next::Use(_) => {}
        }
    };
    let began = exchange.clock_for_log();
    let dialled = connect(exchange, plan, due, permit).await;
    exchange.connected_since(began);
    exchange.connection = Some(dialled?);
    Ok(false)
}

async fn await_next(
    exchange: &mut Exchange,
    plan: &Plan<'_>,
    due: Option<Nanos>,
    turn_due: &mut Option<Nanos>,
) -> Result<Next, Box<Failure>> {
    let (upstream, endpoint) = exchange.held().ok_or_else(unheld)?;
    if upstream.pool.max_connections.is_none() {
        return Ok(Next::Dial(None));
    }
    let worker = &exchange.client.worker;
    let longest = plan.timeouts.connect.unwrap_or(LONGEST_WAIT);
    let until = *turn_due.get_or_insert_with(|| worker.read_clock().plus(longest));
    let end = due.map_or(until, |due| due.min(until));
    let began = exchange.clock_for_log();
    let turn = await_turn(&worker.pool, endpoint, worker.index);
    let turn = within(exchange, Some(end), turn).await;
    exchange.waited_since(began);
    match turn {
        Some(Ok(Turn::Use(connection))) => Ok(Next::Use(connection)),
        Some(Ok(Turn::Dial(permit))) => Ok(Next::Dial(Some(permit))),
        Some(Err(QueueFull)) => Err(overloaded(exchange, "too many wait for a connection")),
        None if end < until => {
            Err(late(exchange, plan, "before a connection was free", false).innocently())
        }
        None => Err(overloaded(exchange, "no connection came free in time")),
    }
}

async fn connect(
    exchange: &mut Exchange,
    plan: &Plan<'_>,
    due: Option<Nanos>,
    permit: Option<Permit>,
) -> Result<Connection, Box<Failure>> {
    let (_, endpoint) = exchange.held().ok_or_else(unheld)?;
    let address = endpoint.address;
    // A bounded endpoint has lent one permit, and that is not for another.
    let sibling = if permit.is_none() {
        exchange.sibling(exchange.client.worker.recent())
    } else {
        None
    };
    let limit = plan.timeouts.connect;
    let secure = exchange.held_endpoint().and_then(|e| e.secure.as_deref());
    let dialled = match sibling {
        None => within(exchange, due, dial(address, secure, limit, permit)).await,
        Some((index, other)) => {
            let racing = within(exchange, due, race(address, other, secure, limit)).await;
            racing.map(|won| settle_race(exchange, index, won))
        }
    };
    let (_, endpoint) = exchange.held().ok_or_else(unheld)?;
    let error = match dialled {
        Some(Ok(connection)) => {
            endpoint.connected();
            return Ok(connection);
        }
        Some(Err(error)) => error,
        None => return Err(late(exchange, plan, "while connecting", false)),
    };
    let own_lack = error.is_own_lack();
    if !own_lack {
        endpoint.connect_failed(exchange.client.worker.read_clock());
        complain(exchange);
    }
    let (reason, detail) = match error {
        DialError::TimedOut => (
            Reason::UpstreamConnectTimeout,
            format!("connecting to {} took too long", endpoint.label),
        ),
        DialError::Tls(error) => (
            Reason::UpstreamTlsFailed,
            format!("no TLS came to be with {}: {error}", endpoint.label),
        ),
        DialError::Failed(error) => (
            Reason::UpstreamConnectFailed,
            format!("connecting to {}: {error}", endpoint.label),
        ),
    };
    let refusal = blame(exchange, reason, &detail);
    let failure = Failure::of(Cause::Connect, refusal, false);
    // What the gateway lacks is nothing that endpoints are left out for.
    Err(if own_lack {
        failure.innocently()
    } else {
        failure
    })
}

/// The attempt goes on at the endpoint that was there first; one that lost is avoided for a while.
fn settle_race(
    exchange: &mut Exchange,
    second: usize,
    won: Result<(Connection, Winner), DialError>,
) -> Result<Connection, DialError> {
    let (connection, winner) = won.inspect_err(|_| {
        // The first is told of by the caller.
        let upstream = exchange.held().map(|(upstream, _)| upstream);
        if let Some(other) = upstream.and_then(|upstream| upstream.endpoints.get(second)) {
            let now = exchange.client.worker.read_clock();
            other.state.connect_failed(now);
        }
    })?;
    if winner == Winner::Second {
        let now = exchange.client.worker.read_clock();
        if let Some((_, first)) = exchange.held() {
            first.connect_failed(now);
        }
        exchange.move_to(second);
    }
    Ok(connection)
}

/// DNS may know better by now.
#[cold]
fn complain(exchange: &Exchange) {
    if let Some(name) = exchange.held_name() {
        exchange.client.worker.complaints.unreached(name);
    }
}

/// No connection came to be. Where there is no other endpoint, another try would only wait in the same queue.
#[cold]
fn overloaded(exchange: &Exchange, what: &str) -> Box<Failure> {
    let Some((upstream, endpoint)) = exchange.held() else {
        return unheld();
    };
    let label = &endpoint.label;
    let detail = format!("{label} bears no more connections, and {what}");
    let refusal = blame(exchange, Reason::UpstreamOverloaded, &detail);
    if upstream.endpoints.len() > 1 {
        Failure::of(Cause::Connect, refusal, false)
    } else {
        Failure::last(refusal)
    }
}

#[cold]
fn unheld() -> Box<Failure> {
    Failure::last(Refusal::from(Reason::InternalError))
}

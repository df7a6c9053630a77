//! Happy eyeballs (RFC 8305): where a name has addresses of both families, the second is tried beside the first one that
//! keeps silent, and who is there first has it.

use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;

use super::connect::{Connection, DialError, dial};
use crate::tls::Target;

/// The Connection Attempt Delay of RFC 8305, section 5.
const HEAD_START: Duration = Duration::from_millis(250);

/// Who won.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Winner {
    /// The address that was tried first.
    First,
    /// The other one; the first had failed or kept silent.
    Second,
}

/// Dials `first`, and `second` too when the first has failed or kept silent for 250 ms; each within `timeout`.
///
/// # Errors
/// What the first met, when both have failed.
pub async fn race(
    first: SocketAddr,
    second: SocketAddr,
    secure: Option<&Target>,
    timeout: Option<Duration>,
) -> Result<(Connection, Winner), DialError> {
    let mut one = pin!(dial(first, secure, timeout, None));
    match tokio::time::timeout(HEAD_START, one.as_mut()).await {
        Ok(Ok(connection)) => return Ok((connection, Winner::First)),
        Ok(Err(error)) => return last_chance(second, secure, timeout, error).await,
        Err(_silent) => {}
    }
    let mut two = pin!(dial(second, secure, timeout, None));
    tokio::select! {
        dialled = one.as_mut() => match dialled {
            Ok(connection) => Ok((connection, Winner::First)),
            Err(error) => or_that(two.await, Winner::Second, error),
        },
        dialled = two.as_mut() => match dialled {
            Ok(connection) => Ok((connection, Winner::Second)),
            Err(_) => one.await.map(|connection| (connection, Winner::First)),
        },
    }
}

async fn last_chance(
    address: SocketAddr,
    secure: Option<&Target>,
    timeout: Option<Duration>,
    error: DialError,
) -> Result<(Connection, Winner), DialError> {
    let dialled = dial(address, secure, timeout, None).await;
    or_that(dialled, Winner::Second, error)
}

fn or_that(
    dialled: Result<Connection, DialError>,
    winner: Winner,
    error: DialError,
) -> Result<(Connection, Winner), DialError> {
    dialled
        .map(|connection| (connection, winner))
        .map_err(|_| error)
}

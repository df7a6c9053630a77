//! The wait at an endpoint's bound, for a permit to dial or for a connection of the own worker: whichever comes first.

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::sync::oneshot;

use super::Pool;
use crate::upstream::connect::Connection;
use crate::upstream::endpoint::EndpointState;
use crate::upstream::permits::{Asking, Permit};

/// What a request may do that found no idle connection.
pub enum Turn {
    /// Dial, with this permit.
    Dial(Permit),
    /// Use this connection, which just came back.
    Use(Connection),
}

/// Too many wait already.
#[derive(Debug)]
pub struct QueueFull;

/// Waits until a request of `worker`, whose pool this is, may connect to `endpoint`. Whoever drops the future leaves
/// the queue.
///
/// # Errors
/// At most 1,024 requests wait for one endpoint.
pub async fn await_turn(
    pool: &RefCell<Pool>,
    endpoint: &Arc<EndpointState>,
    worker: usize,
) -> Result<Turn, QueueFull> {
    let asking = endpoint.permits.ask(worker, &pool.borrow().call);
    match asking {
        Asking::Granted(permit) => Ok(Turn::Dial(permit)),
        Asking::Full => Err(QueueFull),
        Asking::Queued(number, answer) => {
            // Who waits keeps no connection busy.
            endpoint.stats.busy.add(worker, -1);
            let waiting = Waiting {
                pool,
                endpoint,
                worker,
                number,
                answer,
            };
            waiting.await.ok_or(QueueFull)
        }
    }
}

/// A place in the queue.
struct Waiting<'a> {
    pool: &'a RefCell<Pool>,
    endpoint: &'a Arc<EndpointState>,
    worker: usize,
    number: u64,
    answer: oneshot::Receiver<Permit>,
}

impl Future for Waiting<'_> {
    type Output = Option<Turn>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Turn>> {
        let permit = ready!(Pin::new(&mut self.answer).poll(cx));
        Poll::Ready(match permit {
            Ok(permit) => Some(Turn::Dial(permit)),
            Err(_) => {
                let mut pool = self.pool.borrow_mut();
                pool.take_ready(self.endpoint, self.number).map(Turn::Use)
            }
        })
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.endpoint.stats.busy.add(self.worker, 1);
        self.endpoint.permits.leave(self.worker, self.number);
        // It may have come in the moment in which the client left.
        let unused = self
            .pool
            .borrow_mut()
            .take_ready(self.endpoint, self.number);
        drop(unused);
    }
}

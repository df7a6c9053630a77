//! What is asked of a store about one bucket, and what is answered.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use redis::{Cmd, Pipeline, Value};
use tokio::sync::oneshot;

use super::Terms;
use super::bucket::Bucket;
use super::cause::Cause;
use super::lease::Landing;
use super::shared::Shared;
use crate::time;

/// Extra tokens that one question takes at most: more would leave what the script computes exactly.
pub const MOST_EXTRA: u64 = 1_000_000;

/// What is to be done with a bucket. Amounts are tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// Take `least`, all or nothing, and then of `extra` as many as are there.
    Take {
        /// What is needed.
        least: u64,
        /// It is enough if they come within this time: who takes them waits for them.
        patience: Duration,
        /// What would be welcome.
        extra: u64,
    },
    /// Take these, whether they are there or not: the price of what has happened already.
    Owe(u64),
    /// Put these back.
    Give(u64),
    /// Only look.
    Look,
    /// Make it full.
    Fill,
}

/// A bucket after the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Level {
    /// What was needed was taken (with `Wish::Look`: false).
    pub granted: bool,
    /// Extra tokens taken.
    pub extra: u64,
    /// Time until it is full, in nanoseconds.
    pub debt: u128,
}

/// A question on its way. Whoever asked hears something in any case: at the latest when this is dropped.
pub(super) struct Question {
    pub(super) shared: Arc<Shared>,
    pub(super) bucket: Bucket,
    pub(super) terms: Terms,
    pub(super) wish: Wish,
    pub(super) asker: Option<oneshot::Sender<Result<Level, Cause>>>,
    pub(super) landing: Option<Landing>,
    pub(super) is_answered: bool,
}

impl Question {
    /// Whether whoever asked does not wait any more.
    pub(super) fn is_given_up(&self) -> bool {
        self.asker.as_ref().is_some_and(oneshot::Sender::is_closed)
    }

    pub(super) fn answer(mut self, answer: Result<Level, Cause>) {
        self.settle(answer);
    }

    fn settle(&mut self, answer: Result<Level, Cause>) {
        self.is_answered = true;
        let back = self
            .landing
            .take()
            .map_or(0, |landing| landing.land(&self.terms, answer, time::now()));
        match answer {
            // Who stopped waiting has counted that himself; who hears it may look at the count at once.
            Err(cause) if !self.is_given_up() => self.shared.count(cause),
            _ => {}
        }
        if let Some(asker) = self.asker.take() {
            let _ = asker.send(answer);
        }
        if back > 0 {
            self.shared
                .return_later(self.bucket.clone(), self.terms, back);
        }
    }

    /// The command that asks it; `script` is the digest that the server knows the script by.
    pub(super) fn write(&self, script: &str, to: &mut Pipeline) {
        let name = self.bucket.name();
        let (verb, amount, patience, extra) = match self.wish {
            Wish::Fill => {
                to.add_command(Cmd::del(name));
                return;
            }
            Wish::Take {
                least,
                patience,
                extra,
            } => ("take", least, patience.as_nanos(), extra.min(MOST_EXTRA)),
            Wish::Owe(amount) => ("owe", amount, 0, 0),
            Wish::Give(amount) => ("give", amount, 0, 0),
            Wish::Look => ("look", 0, 0, 0),
        };
        let size = halves(self.terms.size());
        let amount = halves(self.terms.time_of(amount));
        let patience = halves(patience);
        let one = halves(self.terms.time_of(1));
        to.cmd("EVALSHA").arg(script).arg(1).arg(name).arg(verb);
        for number in [
            size.0, size.1, amount.0, amount.1, patience.0, patience.1, extra, one.0, one.1,
        ] {
            to.arg(number);
        }
    }

    /// Reads what the server answered.
    pub(super) fn read(&self, value: &Value) -> Result<Level, Cause> {
        let number = |value: &Value| match value {
            Value::Int(number) => u64::try_from(*number).map_err(|_| Cause::Reply),
            _ => Err(Cause::Reply),
        };
        match value {
            Value::Int(_) if self.wish == Wish::Fill => Ok(Level {
                granted: true,
                extra: 0,
                debt: 0,
            }),
            Value::Array(four) => match four.as_slice() {
                [granted, extra, seconds, nanos] => Ok(Level {
                    granted: number(granted)? == 1,
                    extra: number(extra)?,
                    debt: u128::from(number(seconds)?) * SECOND + u128::from(number(nanos)?),
                }),
                _ => Err(Cause::Reply),
            },
            _ => Err(Cause::Reply),
        }
    }
}

impl Drop for Question {
    fn drop(&mut self) {
        if !self.is_answered {
            let cause = self.shared.standing().cause.unwrap_or(Cause::Closed);
            self.settle(Err(cause));
        }
    }
}

/// The answer to a question, when it comes. It always comes; how long one waits for it is the asker's choice.
#[derive(Debug)]
pub struct Asking(pub(super) oneshot::Receiver<Result<Level, Cause>>);

impl Future for Asking {
    type Output = Result<Level, Cause>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0)
            .poll(context)
            .map(|heard| heard.unwrap_or(Err(Cause::Closed)))
    }
}

/// Whole seconds, of which a number of Lua holds 2^53 (more is more than anybody waits), and the nanoseconds beside them.
fn halves(nanos: u128) -> (u64, u64) {
    let seconds = u64::try_from(nanos / SECOND).unwrap_or(u64::MAX);
    let rest = u64::try_from(nanos % SECOND).unwrap_or_default();
    (seconds.min(MOST_SECONDS), rest)
}

const SECOND: u128 = 1_000_000_000;
/// Sums of two of them are exact still.
const MOST_SECONDS: u64 = 1 << 51;

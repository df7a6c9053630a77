//! The thread of a store: connects, sends what waits, hears the answers, and tries again when the store was lost.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use redis::aio::MultiplexedConnection;
use redis::{Pipeline, ServerErrorKind, Value};
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;

use super::cause::{Cause, Failure};
use super::dial::{self, Connection, dial};
use super::lease::{Leases, SHARDS};
use super::news::News;
use super::question::{Question, Wish};
use super::shared::{Presence, Shared};
use crate::time::{self, Nanos};

/// Questions that leave in one write.
const MOST_AT_ONCE: usize = 256;
/// Writes whose answers are outstanding.
const MOST_OPEN: usize = 64;
/// Between a failure and the next try; doubled at each further one.
pub(super) const FIRST_REST: Duration = Duration::from_millis(50);
/// With the time of a dial it stays below the three seconds within which a store is back.
const LONGEST_REST: Duration = Duration::from_millis(800);
/// A store that was here so long begins anew with short rests.
const STEADY: Duration = Duration::from_secs(2);
/// Shards of leases are looked through one after the other: all of them within a second and a half.
const SWEEP: Duration = Duration::from_millis(25);
/// Threads for the system's resolver, which may hang.
const LOOK_UPS: usize = 2;

/// The whole life of the thread.
pub(super) fn live(shared: &Arc<Shared>, questions: mpsc::Receiver<Question>) {
    let runtime = Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(LOOK_UPS)
        .build_local(LocalOptions::default());
    match runtime {
        Ok(runtime) => {
            let mut room = Room {
                shared: shared.clone(),
                questions,
                leases: Vec::new(),
                news: News::default(),
                rest: FIRST_REST,
                swept: 0,
            };
            let mut life = || runtime.block_on(room.run());
            while catch_unwind(AssertUnwindSafe(&mut life)).is_err() {
                tracing::error!(
                    store = &*shared.name,
                    "the store's thread panicked: it begins anew"
                );
                shared.leave(Cause::Closed, time::now());
                std::thread::sleep(FIRST_REST);
            }
            // A name that is still looked up holds nobody up.
            runtime.shutdown_background();
        }
        Err(error) => {
            tracing::error!(store = &*shared.name, %error, "this store is away until a restart: it has no runtime");
            shared.leave(Cause::Connect, time::now());
        }
    }
}

/// The rest after the one that was in vain.
pub(super) fn next_rest(rest: Duration) -> Duration {
    (rest * 2).min(LONGEST_REST)
}

struct Room {
    shared: Arc<Shared>,
    questions: mpsc::Receiver<Question>,
    /// The leases that have asked here.
    leases: Vec<Weak<Leases>>,
    news: News,
    rest: Duration,
    /// The shard whose turn it was last.
    swept: usize,
}

/// Why the room is left for good: nobody can ask any more.
struct Over;

impl Room {
    async fn run(&mut self) {
        while self.stay().await.is_ok() {}
    }

    /// One connection, from the dial to the rest after its loss.
    async fn stay(&mut self) -> Result<(), Over> {
        self.wait_until_wanted().await?;
        let failure = match self.connect().await? {
            Ok(connection) => {
                let arrived = time::now();
                self.shared.arrive(arrived);
                self.news.back(&self.shared);
                let Some(failure) = self.serve(connection).await? else {
                    self.shared.rest(time::now());
                    return Ok(());
                };
                if time::now().since(arrived) >= STEADY {
                    self.rest = FIRST_REST;
                }
                failure
            }
            Err(failure) => {
                self.shared.count(failure.cause);
                failure
            }
        };
        self.leave(&failure);
        self.pause().await
    }

    /// Has no connection as long as nobody needs one.
    async fn wait_until_wanted(&mut self) -> Result<(), Over> {
        let shared = self.shared.clone();
        if shared.is_wanted() {
            return Ok(());
        }
        while !shared.is_wanted() {
            tokio::select! {
                () = shared.doubt.notified() => {}
                question = self.questions.recv() => turn_away(&shared, question)?,
            }
        }
        // Nobody knows yet how it stands: questions wait for the first connection.
        shared.rest(time::now());
        Ok(())
    }

    /// Dials. The first time questions wait meanwhile; later they are told that the store is away.
    async fn connect(&mut self) -> Result<Result<Connection, Failure>, Over> {
        let shared = self.shared.clone();
        let mut dialling = std::pin::pin!(dial(&shared));
        loop {
            let is_away = shared.standing().presence == Presence::Away;
            tokio::select! {
                connection = &mut dialling => return Ok(connection),
                question = self.questions.recv(), if is_away => turn_away(&shared, question)?,
                () = shared.doubt.notified(), if !is_away => {}
            }
        }
    }

    /// Passes questions on until the connection fails; `None` where nobody needs it any more.
    async fn serve(&mut self, connection: Connection) -> Result<Option<Failure>, Over> {
        let shared = self.shared.clone();
        let Connection {
            redis,
            script,
            mut driver,
        } = connection;
        let pass_on = |batch| pass_on(&shared, redis.clone(), &script, batch);
        let mut open = FuturesUnordered::new();
        let mut sweep = tokio::time::interval(SWEEP);
        sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            if !shared.is_wanted() {
                return Ok(None);
            }
            let mut batch = Vec::new();
            tokio::select! {
                Some(done) = open.next() => {
                    let done: Result<(), Failure> = done;
                    if let Err(failure) = done {
                        // What is open yet is told the same, as it is dropped.
                        return Ok(Some(failure));
                    }
                }
                count = self.questions.recv_many(&mut batch, MOST_AT_ONCE), if open.len() < MOST_OPEN => {
                    if count == 0 {
                        return Err(Over);
                    }
                    // Nothing is taken for somebody who has left.
                    batch.retain(|question| !question.is_given_up());
                    self.know(&batch);
                    if !batch.is_empty() {
                        open.push(pass_on(batch));
                    }
                }
                failure = driver.end() => return Ok(Some(failure)),
                // The doubt may be older than this connection.
                () = shared.doubt.notified() => {
                    if shared.standing().presence == Presence::Away {
                        let said = format!("no answer within {:?}", shared.timeout());
                        return Ok(Some(Failure::new(Cause::Timeout, said)));
                    }
                }
                _ = sweep.tick(), if !self.leases.is_empty() => {
                    let returns = self.sweep(time::now());
                    if !returns.is_empty() {
                        open.push(pass_on(returns));
                    }
                }
            }
        }
    }

    fn leave(&mut self, failure: &Failure) {
        let now = time::now();
        self.shared.leave(failure.cause, now);
        self.news.left(&self.shared, failure, now);
    }

    /// Rests before the next try; who asks meanwhile is told that the store is away.
    async fn pause(&mut self) -> Result<(), Over> {
        let resting = tokio::time::sleep(self.rest);
        self.rest = next_rest(self.rest);
        let mut resting = std::pin::pin!(resting);
        loop {
            tokio::select! {
                () = &mut resting => return Ok(()),
                question = self.questions.recv() => turn_away(&self.shared, question)?,
            }
        }
    }

    /// Remembers whose leases are to be swept.
    fn know(&mut self, batch: &[Question]) {
        for landing in batch
            .iter()
            .filter_map(|question| question.landing.as_ref())
        {
            let leases = landing.leases();
            if !self.leases.iter().any(|known| known.ptr_eq(&leases)) {
                self.leases.retain(|known| known.strong_count() > 0);
                self.leases.push(leases);
            }
        }
    }

    /// Ends leases that nobody uses, and makes questions of what is to be put back.
    fn sweep(&mut self, now: Nanos) -> Vec<Question> {
        self.swept = (self.swept + 1) % SHARDS;
        let mut back = self.shared.take_returns();
        for leases in self.leases.iter().filter_map(Weak::upgrade) {
            back.append(&mut leases.sweep(self.swept, now));
        }
        let questions = back.into_iter().map(|(bucket, terms, tokens)| Question {
            shared: self.shared.clone(),
            bucket,
            terms,
            wish: Wish::Give(tokens),
            asker: None,
            landing: None,
            is_answered: false,
        });
        questions.collect()
    }
}

fn turn_away(shared: &Shared, question: Option<Question>) -> Result<(), Over> {
    let cause = shared.standing().cause.unwrap_or(Cause::Closed);
    question.ok_or(Over)?.answer(Err(cause));
    Ok(())
}

/// Asks all of `batch` in one write and hands out the answers. Fails where the store has failed, not where it refuses
/// one question.
async fn pass_on(
    shared: &Shared,
    mut redis: MultiplexedConnection,
    script: &str,
    batch: Vec<Question>,
) -> Result<(), Failure> {
    let timeout = shared.timeout();
    let answered = tokio::time::timeout(timeout, put(&mut redis, script, &batch));
    let values = match answered.await {
        Ok(Ok(values)) => values,
        Ok(Err(failure)) => return Err(fail_all(shared, batch, failure)),
        Err(_) => {
            let said = format!("no answer within {timeout:?}");
            return Err(fail_all(shared, batch, Failure::new(Cause::Timeout, said)));
        }
    };
    let mut failed = Ok(());
    for (question, value) in batch.into_iter().zip(values) {
        let answer = match &value {
            Value::ServerError(error) => {
                let failure = dial::refusal(error);
                let cause = failure.cause;
                if cause.is_of_the_store() {
                    shared.leave(cause, time::now());
                    failed = Err(failure);
                }
                Err(cause)
            }
            value => question.read(value),
        };
        question.answer(answer);
    }
    failed
}

/// Whoever hears of it finds the store away already.
fn fail_all(shared: &Shared, batch: Vec<Question>, failure: Failure) -> Failure {
    shared.leave(failure.cause, time::now());
    for question in batch {
        question.answer(Err(failure.cause));
    }
    failure
}

/// One value for each question. Where the server has forgotten the script it is told it, and asked again: a question
/// that found no script has changed nothing.
async fn put(
    redis: &mut MultiplexedConnection,
    script: &str,
    batch: &[Question],
) -> Result<Vec<Value>, Failure> {
    let all: Vec<usize> = (0..batch.len()).collect();
    let mut values = put_some(redis, script, batch, &all).await?;
    let is_lost = |value: &Value| matches!(value, Value::ServerError(error) if error.kind() == Some(ServerErrorKind::NoScript));
    let again: Vec<usize> = all.into_iter().filter(|at| is_lost(&values[*at])).collect();
    if !again.is_empty() {
        dial::load(redis).await?;
        let anew = put_some(redis, script, batch, &again).await?;
        for (at, value) in again.into_iter().zip(anew) {
            values[at] = value;
        }
    }
    Ok(values)
}

async fn put_some(
    redis: &mut MultiplexedConnection,
    script: &str,
    batch: &[Question],
    which: &[usize],
) -> Result<Vec<Value>, Failure> {
    let mut pipeline = Pipeline::with_capacity(which.len());
    for at in which {
        batch[*at].write(script, &mut pipeline);
    }
    let values = redis
        .send_packed_commands(&pipeline, 0, which.len())
        .await
        .map_err(|error| Failure::new(Cause::of_connection(&error), error.to_string()))?;
    if values.len() != which.len() {
        return Err(Failure::new(
            Cause::Reply,
            "more or fewer answers than questions",
        ));
    }
    Ok(values)
}

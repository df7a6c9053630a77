//! One worker thread: its runtime, its sockets, its tasks, and how it ends.

use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::mpsc;
use tokio::task::spawn_local;

use super::accept::{self, Order};
use super::listener::Admission;
use crate::drain::{Drain, Phase};
use crate::metrics::GatewayStats;
use crate::proxy::{self, worker::Worker};
use crate::snapshot::shared::{Shared, View};
use crate::telemetry::access_log::{Buffer, Sender};
use crate::upstream::names::Complaints;

/// How long a line of the access log may wait in a worker.
const LOG_DELAY: Duration = Duration::from_millis(100);
/// The pool is swept every so many flushes: once a second.
const SWEEP_TURNS: u32 = 10;
const FINISH_LOOK: Duration = Duration::from_millis(10);
/// Connections that were cut have so many looks to count and log themselves.
const LOOKS_AFTER_CUT: u32 = 10;

/// What a worker is made of.
pub(super) struct Parts {
    pub(super) index: usize,
    /// What it accepts on.
    pub(super) orders: mpsc::Receiver<Vec<Order>>,
    pub(super) shared: Arc<Shared>,
    pub(super) admission: Arc<Admission>,
    pub(super) log: Sender,
    pub(super) drain: Drain,
    pub(super) gateway: Arc<GatewayStats>,
    pub(super) complaints: Complaints,
}

/// Starts the thread. It ends when the drain has ended.
///
/// # Errors
/// The system gives no thread.
pub(super) fn start(parts: Parts) -> std::io::Result<JoinHandle<()>> {
    std::thread::Builder::new()
        .name(format!("worker-{}", parts.index))
        .spawn(move || {
            let runtime = Builder::new_current_thread()
                .enable_all()
                .max_blocking_threads(1)
                .build_local(LocalOptions::default());
            match runtime {
                Ok(runtime) => runtime.block_on(run(parts)),
                Err(error) => {
                    super::die(&format!("worker {} has no runtime: {error}", parts.index))
                }
            }
        })
}

async fn run(parts: Parts) {
    let view = View::new(parts.shared.clone());
    let worker = Worker::new(
        parts.index,
        view,
        Buffer::new(parts.log),
        parts.drain,
        parts.gateway,
        parts.complaints,
    );
    vital("deadlines", worker.timers.clone().run());
    vital("snapshots", follow(worker.clone(), parts.shared));
    vital("housekeeping", keep_house(worker.clone()));
    vital("giving way", worker.clone().give_way());
    vital("drain", heed(worker.clone()));
    let accepting = Rc::new(());
    vital(
        "sockets",
        accept::heed(
            worker.clone(),
            parts.admission,
            parts.orders,
            Rc::downgrade(&accepting),
        ),
    );
    worker.drain.reached(Phase::Closing).await;
    finish(&worker, &accepting).await;
    worker.log.borrow_mut().flush();
}

/// A loop of a thread itself: should it panic, the process ends with a message instead of serving by half.
pub(super) fn vital(name: &'static str, task: impl Future<Output = ()> + 'static) {
    spawn_local(async move {
        if proxy::caught(task).await.is_err() {
            super::die(&format!("the {name} loop panicked"));
        }
    });
}

/// Takes up each new snapshot at once, so that an idle worker does not keep an old one alive.
async fn follow(worker: Rc<Worker>, shared: Arc<Shared>) {
    let mut published = shared.subscribe();
    while published.changed().await.is_ok() {
        worker.sweep();
    }
}

async fn keep_house(worker: Rc<Worker>) {
    let mut tick = tokio::time::interval(LOG_DELAY);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    for turn in 0u32.. {
        tick.tick().await;
        worker.log.borrow_mut().flush();
        worker.settle_due();
        if turn % SWEEP_TURNS == 0 {
            worker.sweep();
        }
    }
}

/// Wakes every connection when the drain moves on, so that idle ones close and the last ones are cut.
async fn heed(worker: Rc<Worker>) {
    for phase in [Phase::Announced, Phase::Closing, Phase::Cut] {
        worker.drain.reached(phase).await;
        worker.timers.wake_all();
    }
}

/// Waits until nobody accepts and nobody is served, or the deadline has cut what was left.
async fn finish(worker: &Rc<Worker>, accepting: &Rc<()>) {
    let mut tick = tokio::time::interval(FINISH_LOOK);
    let mut looks_after_cut = 0;
    while Rc::strong_count(accepting) > 1 || worker.connections.get() > 0 {
        tick.tick().await;
        if worker.drain.phase() == Phase::Cut {
            looks_after_cut += 1;
            if looks_after_cut > LOOKS_AFTER_CUT {
                return;
            }
        }
    }
}

//! Permits under threads that come, wait, leave and end in any order: none is lost, and none is out twice.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use super::*;

const BOUND: usize = 3;
const WORKERS: usize = 4;

/// What all threads see of the permits that are out.
#[derive(Default)]
struct Out {
    now: AtomicUsize,
    most: AtomicUsize,
    served: AtomicUsize,
}

/// One thread, as a worker would use its permits: it dials, serves its own, gives up, leaves.
struct Thread<'a> {
    number: usize,
    permits: &'a Arc<Permits>,
    out: &'a Out,
    call: Arc<Notify>,
    random: u64,
}

impl Thread<'_> {
    fn draw(&mut self, n: u64) -> u64 {
        self.random = self
            .random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.random >> 33) % n
    }

    async fn ask(&mut self) -> Option<Permit> {
        match self.permits.ask(self.number, &self.call) {
            Asking::Granted(permit) => Some(permit),
            Asking::Full => None,
            Asking::Queued(number, answer) => {
                let patience = match self.draw(4) {
                    0 => Duration::ZERO,
                    1 => Duration::from_micros(50),
                    _ => Duration::from_secs(20),
                };
                let granted = tokio::time::timeout(patience, answer).await;
                self.permits.leave(self.number, number);
                match granted {
                    Ok(permit) => {
                        Some(permit.expect("nobody else holds a connection of this thread"))
                    }
                    Err(_) => None,
                }
            }
        }
    }

    async fn work(mut self, turns: usize) {
        for _ in 0..turns {
            let Some(permit) = self.ask().await else {
                continue;
            };
            let now = self.out.now.fetch_add(1, SeqCst) + 1;
            self.out.most.fetch_max(now, SeqCst);
            self.out.served.fetch_add(1, SeqCst);
            if self.draw(3) == 0 {
                tokio::task::yield_now().await;
            }
            let permit = Rc::new(permit);
            let hold = Hold::of(Some(&permit));
            assert!(hold.is_there());
            // The thread has no other request that waits, so nothing is ever served on what it judges.
            assert!(!matches!(
                hold.judge(self.number, false),
                Judgement::Serve(..)
            ));
            self.out.now.fetch_sub(1, SeqCst);
            drop(permit);
            assert!(!hold.is_there() && matches!(hold.judge(self.number, false), Judgement::Keep));
        }
    }
}

#[test]
fn nothing_is_lost_when_threads_wait_leave_and_close_at_once() {
    let permits = Permits::new(WORKERS);
    permits.bind(Some(BOUND));
    let out = Out::default();
    std::thread::scope(|scope| {
        for number in 0..WORKERS {
            let thread = Thread {
                number,
                permits: &permits,
                out: &out,
                call: Arc::default(),
                random: number as u64,
            };
            scope.spawn(move || {
                tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()
                    .unwrap()
                    .block_on(thread.work(5_000));
            });
        }
    });
    assert!(out.most.load(SeqCst) <= BOUND && out.served.load(SeqCst) > 5_000);
    assert!(!permits.pressed.load(Relaxed));
    // All are back, and no more than that.
    let call = Arc::default();
    let all: Vec<Asking> = (0..=BOUND).map(|_| permits.ask(0, &call)).collect();
    let granted = all
        .iter()
        .filter(|asking| matches!(asking, Asking::Granted(_)));
    assert_eq!(granted.count(), BOUND);
}

/// What `future` comes to; fails if it takes long.
async fn soon<T>(future: impl Future<Output = T>) -> T {
    let end = tokio::time::timeout(Duration::from_secs(10), future).await;
    end.expect("it comes at once")
}

#[tokio::test]
async fn who_leaves_while_the_permit_is_on_its_way_passes_it_on() {
    let permits = Permits::new(1);
    permits.bind(Some(1));
    let call = Arc::default();
    let Asking::Granted(first) = permits.ask(0, &call) else {
        panic!("the first is granted")
    };
    let (Asking::Queued(_, leaver), Asking::Queued(_, stayer)) =
        (permits.ask(0, &call), permits.ask(0, &call))
    else {
        panic!("the others wait")
    };
    drop(first);
    // The permit lies in the leaver's hand, unseen.
    drop(leaver);
    assert!(soon(stayer).await.is_ok());
}

#[tokio::test]
async fn a_bound_that_rises_lets_in_who_waits_and_one_that_falls_calls_the_workers() {
    let permits = Permits::new(2);
    permits.bind(Some(1));
    let calls: [Arc<Notify>; 2] = Default::default();
    let Asking::Granted(first) = permits.ask(0, &calls[0]) else {
        panic!("the first is granted")
    };
    let (Asking::Queued(_, second), Asking::Queued(_, third)) =
        (permits.ask(1, &calls[1]), permits.ask(1, &calls[1]))
    else {
        panic!("the others wait")
    };
    soon(calls[0].notified()).await;
    permits.bind(None);
    let permits_out = (soon(second).await.unwrap(), soon(third).await.unwrap());
    permits.bind(Some(2));
    soon(calls[0].notified()).await;
    soon(calls[1].notified()).await;
    let first = Rc::new(first);
    assert!(matches!(
        Hold::of(Some(&first)).judge(0, true),
        Judgement::GiveUp
    ));
    drop(first);
    assert!(!permits.pressed.load(Relaxed));
    drop(permits_out);
}

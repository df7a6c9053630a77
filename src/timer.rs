//! Deadlines without timer registrations: one coarse wheel per worker, touched only when a deadline moves nearer.
//!
//! A [`Deadline`] lives as long as its connection. Moving it further away is one store: the wheel finds out when the
//! old moment comes, and puts it where it now belongs. So a busy connection that moves its deadline with each request
//! enters the wheel about once per timeout, and a request registers nothing.
//!
//! Granularity is 10 ms for what is due within 10 s and 100 ms beyond; an idle worker does not tick at all. The wheel
//! takes `now` as an argument; only [`Timers::run`] waits.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use crate::time::{self, Nanos};

const TICK: u64 = 10_000_000;
const SLOTS: u64 = 1024;
/// Ticks after which a deadline is rounded up to whole tenths of a second.
const FINE: u64 = 1000;
const NEVER: u64 = u64::MAX;
const NONE: u32 = u32::MAX;

/// The deadlines of one worker.
#[derive(Default)]
pub struct Timers {
    wheel: RefCell<Wheel>,
    ticker: RefCell<Option<Waker>>,
    /// The tick that the ticker sleeps for; `NEVER` while nothing is linked.
    sleeping_until: Cell<u64>,
}

/// One deadline of one task; leaves the wheel when dropped.
pub struct Deadline {
    timers: Rc<Timers>,
    id: u32,
}

struct Wheel {
    heads: Vec<u32>,
    used: [u64; (SLOTS / 64) as usize],
    nodes: Vec<Node>,
    free: u32,
    /// The last tick that was worked off.
    tick: u64,
    linked: usize,
}

struct Node {
    /// When the deadline falls, in nanoseconds.
    at: u64,
    /// The tick at which the wheel looks at it, `NEVER` while it is not linked.
    due: u64,
    fired: bool,
    prev: u32,
    next: u32,
    waker: Option<Waker>,
}

impl Timers {
    /// A wheel without deadlines.
    #[must_use]
    pub fn new() -> Rc<Timers> {
        Rc::new(Timers {
            sleeping_until: Cell::new(NEVER),
            ..Timers::default()
        })
    }

    /// A new deadline, switched off.
    #[must_use]
    pub fn deadline(self: &Rc<Self>) -> Deadline {
        Deadline {
            timers: self.clone(),
            id: self.wheel.borrow_mut().allocate(),
        }
    }

    /// Looks at everything due by `now` and wakes the tasks whose deadline has fallen.
    pub fn advance(&self, now: Nanos) {
        let mut woken = Vec::new();
        self.wheel.borrow_mut().advance(now.0, &mut woken);
        // Outside the borrow: a waker may run code that sets a deadline.
        for waker in woken {
            waker.wake();
        }
    }

    /// Wakes every task that owns a deadline here, so that it looks at the state of the world again.
    pub fn wake_all(&self) {
        let woken: Vec<Waker> = self
            .wheel
            .borrow()
            .nodes
            .iter()
            .filter_map(|n| n.waker.clone())
            .collect();
        for waker in woken {
            waker.wake();
        }
    }

    /// Ticks for ever; asleep while no deadline is pending.
    pub async fn run(self: Rc<Self>) {
        let mut sleep = pin!(tokio::time::sleep(Duration::ZERO));
        poll_fn(|cx| {
            loop {
                let now = time::now();
                self.advance(now);
                let next = self.wheel.borrow().next_tick();
                self.sleeping_until.set(next);
                self.keep_ticker(cx);
                if next == NEVER {
                    return Poll::Pending;
                }
                let wait = Duration::from_nanos((next * TICK).saturating_sub(now.0));
                sleep.as_mut().reset(tokio::time::Instant::now() + wait);
                if sleep.as_mut().poll(cx).is_pending() {
                    return Poll::<()>::Pending;
                }
            }
        })
        .await;
    }

    fn keep_ticker(&self, cx: &Context<'_>) {
        let mut ticker = self.ticker.borrow_mut();
        if !ticker.as_ref().is_some_and(|w| w.will_wake(cx.waker())) {
            *ticker = Some(cx.waker().clone());
        }
    }

    fn link(&self, id: u32, now: u64) {
        let due = self.wheel.borrow_mut().link(id, now);
        if due < self.sleeping_until.get() {
            self.sleeping_until.set(due);
            if let Some(ticker) = self.ticker.borrow().as_ref() {
                ticker.wake_by_ref();
            }
        }
    }
}

impl Deadline {
    /// The task to wake when the deadline falls.
    pub fn register(&self, waker: &Waker) {
        let mut wheel = self.timers.wheel.borrow_mut();
        let node = &mut wheel.nodes[self.id as usize];
        if !node.waker.as_ref().is_some_and(|w| w.will_wake(waker)) {
            node.waker = Some(waker.clone());
        }
    }

    /// Moves the deadline to `after` from `now`; `None` switches it off.
    pub fn set(&self, now: Nanos, after: Option<Duration>) {
        self.set_at(now, after.map(|d| now.plus(d)));
    }

    /// Moves the deadline to the moment `at`; `None` switches it off.
    pub fn set_at(&self, now: Nanos, at: Option<Nanos>) {
        let at = at.map_or(NEVER, |at| at.0);
        let nearer = {
            let mut wheel = self.timers.wheel.borrow_mut();
            let node = &mut wheel.nodes[self.id as usize];
            node.at = at;
            node.fired = false;
            at != NEVER && at < node.due.saturating_mul(TICK)
        };
        if nearer {
            self.timers.link(self.id, now.0);
        }
    }

    /// Switches the deadline off.
    pub fn clear(&self) {
        self.set_at(Nanos(0), None);
    }

    /// Has it fallen since it was last set?
    #[must_use]
    pub fn fired(&self) -> bool {
        self.timers.wheel.borrow().nodes[self.id as usize].fired
    }

    /// Wakes its task at once.
    pub fn wake(&self) {
        let waker = self.timers.wheel.borrow().nodes[self.id as usize]
            .waker
            .clone();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Waits until it falls.
    pub async fn expired(&self) {
        poll_fn(|cx| {
            self.register(cx.waker());
            if self.fired() {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        })
        .await;
    }
}

impl Drop for Deadline {
    fn drop(&mut self) {
        self.timers.wheel.borrow_mut().release(self.id);
    }
}

impl Default for Wheel {
    fn default() -> Self {
        Wheel {
            heads: vec![NONE; SLOTS as usize],
            used: [0; (SLOTS / 64) as usize],
            nodes: Vec::new(),
            free: NONE,
            tick: 0,
            linked: 0,
        }
    }
}

impl Wheel {
    fn allocate(&mut self) -> u32 {
        let node = Node {
            at: NEVER,
            due: NEVER,
            fired: false,
            prev: NONE,
            next: NONE,
            waker: None,
        };
        if self.free == NONE {
            self.nodes.push(node);
            return (self.nodes.len() - 1) as u32;
        }
        let id = self.free;
        self.free = self.nodes[id as usize].next;
        self.nodes[id as usize] = node;
        id
    }

    fn release(&mut self, id: u32) {
        self.unlink(id);
        let node = &mut self.nodes[id as usize];
        node.waker = None;
        node.next = self.free;
        self.free = id;
    }

    /// Puts the node where its deadline belongs, or as far ahead as the wheel reaches; returns that tick.
    fn link(&mut self, id: u32, now: u64) -> u64 {
        self.unlink(id);
        if self.linked == 0 {
            self.tick = self.tick.max(now / TICK);
        }
        let mut due = self.nodes[id as usize].at.div_ceil(TICK).max(self.tick + 1);
        if due > self.tick + FINE {
            due = due
                .next_multiple_of(10)
                .min((self.tick + SLOTS - 1) / 10 * 10);
        }
        let slot = (due % SLOTS) as usize;
        let head = std::mem::replace(&mut self.heads[slot], id);
        if head != NONE {
            self.nodes[head as usize].prev = id;
        }
        self.used[slot / 64] |= 1 << (slot % 64);
        self.linked += 1;
        let node = &mut self.nodes[id as usize];
        node.due = due;
        node.prev = NONE;
        node.next = head;
        due
    }

    fn unlink(&mut self, id: u32) {
        let (due, prev, next) = {
            let node = &mut self.nodes[id as usize];
            (
                std::mem::replace(&mut node.due, NEVER),
                node.prev,
                node.next,
            )
        };
        if due == NEVER {
            return;
        }
        let slot = (due % SLOTS) as usize;
        if prev == NONE {
            self.heads[slot] = next;
        } else {
            self.nodes[prev as usize].next = next;
        }
        if next != NONE {
            self.nodes[next as usize].prev = prev;
        }
        if self.heads[slot] == NONE {
            self.used[slot / 64] &= !(1 << (slot % 64));
        }
        self.linked -= 1;
    }

    fn advance(&mut self, now: u64, woken: &mut Vec<Waker>) {
        let target = now / TICK;
        if target.saturating_sub(self.tick) >= SLOTS {
            // The worker slept for longer than a turn: every slot is due.
            self.tick = target - SLOTS;
        }
        while self.tick < target {
            self.tick += 1;
            let slot = (self.tick % SLOTS) as usize;
            if self.used[slot / 64] & (1 << (slot % 64)) != 0 {
                self.work_off(slot, now, woken);
            }
        }
    }

    fn work_off(&mut self, slot: usize, now: u64, woken: &mut Vec<Waker>) {
        let mut id = self.heads[slot];
        while id != NONE {
            let next = self.nodes[id as usize].next;
            self.unlink(id);
            let node = &mut self.nodes[id as usize];
            if node.at <= now {
                node.at = NEVER;
                node.fired = true;
                woken.extend(node.waker.clone());
            } else if node.at != NEVER {
                // It was moved since: look again at its own time. Never this slot: that lies a turn ahead.
                self.link(id, now);
            }
            id = next;
        }
    }

    fn next_tick(&self) -> u64 {
        if self.linked == 0 {
            return NEVER;
        }
        let first = self.tick + 1;
        (first..first + SLOTS)
            .find(|tick| {
                let slot = (tick % SLOTS) as usize;
                self.used[slot / 64] & (1 << (slot % 64)) != 0
            })
            .unwrap_or(NEVER)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn at(ms: u64) -> Nanos {
        Nanos(ms * MS)
    }

    #[test]
    fn falls_within_a_tick_of_its_time() {
        let timers = Timers::new();
        let deadline = timers.deadline();
        deadline.set(at(5), Some(Duration::from_millis(500)));
        timers.advance(at(504));
        assert!(!deadline.fired());
        timers.advance(at(511));
        assert!(deadline.fired());
    }

    #[test]
    fn a_deadline_moved_away_is_found_again() {
        let timers = Timers::new();
        let deadline = timers.deadline();
        deadline.set(at(0), Some(Duration::from_secs(1)));
        deadline.set(at(900), Some(Duration::from_secs(60)));
        for ms in (1000..60_900).step_by(50) {
            timers.advance(at(ms));
            assert!(!deadline.fired(), "at {ms}");
        }
        timers.advance(at(61_010));
        assert!(deadline.fired());
    }

    #[test]
    fn a_deadline_moved_nearer_falls_earlier_and_one_switched_off_never() {
        let timers = Timers::new();
        let (near, off) = (timers.deadline(), timers.deadline());
        near.set(at(0), Some(Duration::from_secs(60)));
        near.set(at(10), Some(Duration::from_millis(20)));
        off.set(at(0), Some(Duration::from_millis(20)));
        off.clear();
        timers.advance(at(45));
        assert!(near.fired());
        timers.advance(at(100_000));
        assert!(!off.fired());
        assert_eq!(timers.wheel.borrow().linked, 0);
        assert_eq!(timers.wheel.borrow().next_tick(), NEVER);
    }

    #[test]
    fn a_long_sleep_loses_nothing() {
        let timers = Timers::new();
        let deadlines: Vec<Deadline> = (0..50).map(|_| timers.deadline()).collect();
        for (i, d) in deadlines.iter().enumerate() {
            d.set(at(0), Some(Duration::from_millis(300 * (i as u64 + 1))));
        }
        timers.advance(at(1_000_000));
        assert!(deadlines.iter().all(Deadline::fired));
        drop(deadlines);
        let again = timers.deadline();
        assert!(timers.wheel.borrow().nodes.len() == 50 && !again.fired());
    }

    proptest::proptest! {
        #[test]
        fn never_early_and_never_more_than_two_coarse_ticks_late(
            steps in proptest::collection::vec((0u64..40_000, 1u64..30_000), 1..40)
        ) {
            let timers = Timers::new();
            let deadline = timers.deadline();
            let mut now = 0;
            for (wait, after) in steps {
                deadline.set(at(now), Some(Duration::from_millis(after)));
                let end = now + wait;
                let due = now + after;
                while now < end {
                    now += 10;
                    timers.advance(at(now));
                    if now < due { proptest::prop_assert!(!deadline.fired()); }
                    if now >= due + 200 { proptest::prop_assert!(deadline.fired()); }
                }
            }
        }
    }
}

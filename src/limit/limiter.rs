//! One limit: a quota that is in force for all, and a bucket for each key, in shards with a short lock each.

use std::num::NonZeroU32;
use std::sync::{Arc, OnceLock, PoisonError, TryLockError};
use std::time::Duration;

use super::cells::{Cells, PROBED};
use super::heavy::{SKETCH_BYTES, Sketch};
use super::law::{Law, Laws};
use super::page::Slot;
use super::room::Ledger;
use super::{Fill, Heavy, KeyId, Quota, Room, Verdict};
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{Mutex, MutexGuard};
use crate::time::Nanos;

/// A limit's buckets. It outlives snapshots: the quota lies beside the buckets, and whoever asks gets the answer of the
/// quota that is in force, whichever snapshot he holds.
///
/// A key takes 20 to 25 bytes, never more than 32; a limiter without keys a few KiB, and about 90 KiB more once a key
/// was noted as limited.
#[derive(Debug)]
pub struct Limiter {
    /// The epoch of `current`: all that a check reads of it while nothing changes.
    epoch: AtomicU64,
    current: Mutex<Arc<Law>>,
    /// Held for as long as a change of law takes.
    laws: Mutex<Laws>,
    shards: Box<[Shard]>,
    ledger: Ledger,
    sketch: Sketch,
}

/// Alone in its cache lines: two threads with different keys do not slow each other.
#[derive(Debug)]
#[repr(align(128))]
struct Shard(Mutex<Cells>);

impl Limiter {
    /// A limiter whose buckets are all full. `max_keys` (at least 1) is a hard bound.
    #[must_use]
    pub fn new(quota: Quota, max_keys: u64, room: Arc<Room>, now: Nanos) -> Limiter {
        Limiter::with_shards(shards(), quota, max_keys, room, now)
    }

    pub(super) fn with_shards(
        shards: usize,
        quota: Quota,
        max_keys: u64,
        room: Arc<Room>,
        now: Nanos,
    ) -> Limiter {
        let laws = Laws::new(quota, now.0);
        let law = laws.current().clone();
        let ledger = Ledger::new(room, max_keys);
        ledger.need_bytes((size_of::<Limiter>() + shards * size_of::<Shard>()) as u64);
        Limiter {
            epoch: AtomicU64::new(law.epoch),
            shards: (0..shards)
                .map(|_| Shard(Mutex::new(Cells::new(law.clone()))))
                .collect(),
            current: Mutex::new(law),
            laws: Mutex::new(laws),
            ledger,
            sketch: Sketch::default(),
        }
    }

    /// A policy with this quota and bound came into force. Where both are as before, nothing changes.
    ///
    /// Each bucket keeps its fill ratio, counted from `now`: no key gets credit for the past, none is locked out by the
    /// old rate. Requests that meet a page of the old quota convert it (about 500 buckets); the rest is converted before
    /// this returns, a few milliseconds for a million keys, while requests go on. A lower `max_keys` forgets what is
    /// nearest to full.
    pub fn enforce(&self, quota: Quota, max_keys: u64, now: Nanos) {
        let mut laws = hold(&self.laws);
        self.ledger.bound_keys(max_keys);
        if laws.current().quota != quota {
            laws.change(quota, now.0);
            let law = laws.current().clone();
            let epoch = law.epoch;
            *hold(&self.current) = law;
            self.epoch.store(epoch, Ordering::Release);
            self.convert_all();
        }
        self.shed_keys(now);
    }

    /// Takes `cost` tokens if they are there; a refusal takes nothing. A cost above the burst is never admitted
    /// ([`Verdict::wait`] is [`Duration::MAX`]), a cost of 0 always.
    pub fn check(&self, key: KeyId, cost: u64, now: Nanos) -> Verdict {
        self.take(key, cost, now, 0)
    }

    /// Takes `cost` tokens if they are there or will come within `max_wait`: the caller goes on after [`Verdict::wait`].
    /// Gives up before that? [`Limiter::give_back`].
    pub fn reserve(&self, key: KeyId, cost: u64, now: Nanos, max_wait: Duration) -> Verdict {
        let patience = u64::try_from(max_wait.as_nanos()).unwrap_or(u64::MAX);
        self.take(key, cost, now, patience.min(LONGEST_WAIT))
    }

    /// Gives `cost` tokens back; a bucket is never more than full.
    pub fn give_back(&self, key: KeyId, cost: u64, now: Nanos) {
        let mut cells = self.cells(key, now);
        let back = cost.saturating_mul(cells.law.quota.interval());
        if let (Some(place), backlog) = cells.find(key.tag) {
            cells.set(place, backlog.saturating_sub(back));
        }
    }

    /// Takes `cost` tokens whether they are there or not, for a cost that is known only afterwards.
    ///
    /// The debt ends at one burst below empty: one answer that names an absurd cost, or many that were under way at
    /// once, keep a key out for no longer than two fillings of its bucket.
    pub fn charge(&self, key: KeyId, cost: u64, now: Nanos) {
        let mut cells = self.cells(key, now);
        let quota = cells.law.quota;
        let (place, backlog) = cells.find(key.tag);
        let taken = cost.saturating_mul(quota.interval());
        let deepest = (2 * quota.scale()).max(backlog);
        let next = backlog.saturating_add(taken).min(deepest);
        match place {
            Some(place) => cells.set(place, next),
            None if next > 0 => self.hold_new(&mut cells, key, next),
            None => {}
        }
    }

    /// How full the bucket of a key is.
    #[must_use]
    pub fn look(&self, key: KeyId, now: Nanos) -> Fill {
        let mut cells = self.cells(key, now);
        let (_, backlog) = cells.find(key.tag);
        let quota = cells.law.quota;
        let late = cells.latest.saturating_sub(now.0);
        let wait = match quota.burst() {
            0 => None,
            _ => Some((backlog + quota.interval()).saturating_sub(quota.fills_in())),
        };
        Fill {
            left: left(&quota, backlog),
            full_in: span(backlog, late),
            wait_for_one: wait.map_or(Duration::MAX, |wait| span(wait, late)),
        }
    }

    /// Makes the bucket of a key full; false where it was not held, which it is not when it is full.
    pub fn refill(&self, key: KeyId) -> bool {
        let mut cells = self.cells(key, Nanos(0));
        cells.forget(key.tag, None, &self.ledger)
    }

    /// Keys held: those whose buckets are not full, and some whose buckets are full since a while.
    #[must_use]
    pub fn keys(&self) -> u64 {
        self.ledger.keys()
    }

    /// Buckets that were forgotten before they were full, for want of keys or memory.
    #[must_use]
    pub fn evictions(&self) -> u64 {
        self.ledger.evictions()
    }

    /// Bytes held, as they are charged to the room.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.ledger.bytes()
    }

    /// Forgets every bucket that is full by now, and gives memory back that is not needed for the rest. Checks do that
    /// by themselves, a slot at a time; this is for limits that nobody asks any more. A millisecond for a million keys.
    pub fn forget_full(&self, now: Nanos) {
        (0..PARTS).for_each(|turn| self.forget_full_part(turn, now));
    }

    /// The same for one of sixteen parts of the buckets, whose turn it is.
    pub fn forget_full_part(&self, turn: usize, now: Nanos) {
        for shard in self.shards.iter().skip(turn % PARTS).step_by(PARTS) {
            let slots = self.enter(shard, now).round();
            for _ in 0..slots.div_ceil(SWEPT_AT_ONCE) {
                self.enter(shard, now).sweep(SWEPT_AT_ONCE, &self.ledger);
            }
        }
    }

    /// A request was limited on this key, which people call `name`; its first [`super::LONGEST_NAME`] bytes are kept.
    pub fn note_limited(&self, key: KeyId, name: &[u8]) {
        if self.sketch.note(key, name) {
            self.ledger.need_bytes(SKETCH_BYTES);
        }
    }

    /// The `n` keys that were limited most, of at most 1,024 that are counted; most limited first.
    #[must_use]
    pub fn top(&self, n: usize) -> Vec<Heavy> {
        self.sketch.top(n)
    }

    #[inline]
    fn take(&self, key: KeyId, cost: u64, now: Nanos, patience: u64) -> Verdict {
        let mut cells = self.cells(key, now);
        let (place, backlog) = cells.find(key.tag);
        let late = cells.latest.saturating_sub(now.0);
        let decision = decide(&cells.law, cost, backlog, patience);
        let quota = cells.law.quota;
        let Ok(next) = decision else {
            cells.tend(&self.ledger);
            let wait = decision.err().flatten();
            return Verdict {
                admitted: false,
                left: left(&quota, backlog),
                wait: wait.map_or(Duration::MAX, |wait| span(wait, late)),
                full_in: span(backlog, late),
            };
        };
        match place {
            Some(place) => cells.set(place, next),
            None if next > 0 => self.hold_new(&mut cells, key, next),
            None => {}
        }
        cells.tend(&self.ledger);
        let owed = next.saturating_sub(quota.fills_in());
        Verdict {
            admitted: true,
            left: left(&quota, next),
            wait: if owed > 0 && patience > 0 {
                span(owed, late)
            } else {
                Duration::ZERO
            },
            full_in: span(next, late),
        }
    }

    /// Begins to hold a bucket. For want of keys another is forgotten: a full one if the hand finds one, else the one
    /// nearest to full of at least [`PROBED`].
    #[inline(never)]
    fn hold_new(&self, cells: &mut Cells, key: KeyId, backlog: u64) {
        cells.sweep(SWEPT_FOR_A_KEY, &self.ledger);
        if self.ledger.is_over_room() {
            self.shed(cells, key);
            self.shed(cells, key);
        }
        let mut tries = 0..MOST_TRIES;
        while !self.ledger.take_key() {
            if tries.next().is_none() {
                // Nobody can be forgotten, because others hold all other shards: so it is this one.
                self.ledger.count_eviction();
                return;
            }
            self.shed(cells, key);
        }
        for tried in 0..MOST_TRIES {
            if cells.insert(key.tag, backlog, &self.ledger) {
                return;
            }
            cells.make_way(key.tag, tried > 0, &self.ledger);
        }
        self.ledger.drop_keys(1);
        self.ledger.count_eviction();
    }

    /// Forgets a bucket, here or, where these are too few to choose from, in any other shard that is free.
    fn shed(&self, cells: &mut Cells, key: KeyId) {
        let here = cells.probe(&self.ledger);
        if here.forgotten > 0 {
            return;
        }
        let mut seen = here.live;
        let mut victim = here.nearest.map(|slot| (None, slot));
        let (own, now) = (self.number_of(key), cells.latest);
        let others = (1..self.shards.len()).map(|step| (own + step) % self.shards.len());
        for number in others {
            if seen >= PROBED as u64 {
                break;
            }
            let Some(mut cells) = self.try_enter(number, now) else {
                continue;
            };
            let there = cells.probe(&self.ledger);
            if there.forgotten > 0 {
                return;
            }
            seen += there.live;
            victim = nearer(victim, there.nearest.map(|slot| (Some(number), slot)));
        }
        match victim {
            Some((None, slot)) => self.evict(cells, slot),
            Some((Some(number), slot)) => {
                if let Some(mut cells) = self.try_enter(number, now) {
                    self.evict(&mut cells, slot);
                }
            }
            None => {}
        }
    }

    fn evict(&self, cells: &mut Cells, slot: Slot) {
        if cells.forget(slot.tag, Some(slot.full_at), &self.ledger) {
            self.ledger.count_eviction();
        }
    }

    fn convert_all(&self) {
        for shard in &self.shards {
            let mut number = 0;
            loop {
                let mut cells = self.enter(shard, Nanos(0));
                if number >= cells.pages() {
                    break;
                }
                cells.convert(number);
                number += 1;
            }
        }
    }

    /// Forgets buckets until there are no more than the bound.
    fn shed_keys(&self, now: Nanos) {
        let mut shards = self.shards.iter().cycle();
        while self.ledger.holds_too_many() {
            let Some(shard) = shards.next() else {
                return;
            };
            let mut cells = self.enter(shard, now);
            let swept = cells.probe(&self.ledger);
            if let (0, Some(slot)) = (swept.forgotten, swept.nearest) {
                self.evict(&mut cells, slot);
            }
        }
    }

    fn number_of(&self, key: KeyId) -> usize {
        key.place as usize & (self.shards.len() - 1)
    }

    /// The shard of a key, locked, under the law in force, at the latest moment that anybody saw there.
    #[inline]
    fn cells(&self, key: KeyId, now: Nanos) -> MutexGuard<'_, Cells> {
        self.enter(&self.shards[self.number_of(key)], now)
    }

    #[inline]
    fn enter<'a>(&self, shard: &'a Shard, now: Nanos) -> MutexGuard<'a, Cells> {
        // Before the lock: a law that comes into force later is the next one's to see.
        let epoch = self.epoch.load(Ordering::Acquire);
        let mut cells = hold(&shard.0);
        self.bring_up_to(&mut cells, epoch);
        cells.latest = cells.latest.max(now.0);
        cells
    }

    fn try_enter(&self, number: usize, now: u64) -> Option<MutexGuard<'_, Cells>> {
        let epoch = self.epoch.load(Ordering::Acquire);
        let mut cells = match self.shards[number].0.try_lock() {
            Ok(cells) => cells,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return None,
        };
        self.bring_up_to(&mut cells, epoch);
        cells.latest = cells.latest.max(now);
        Some(cells)
    }

    #[inline]
    fn bring_up_to(&self, cells: &mut Cells, epoch: u64) {
        if cells.law.epoch < epoch {
            cells.adopt(hold(&self.current).clone());
        }
    }
}

/// The backlog after `cost` tokens were taken, or how long they are missing (`None`: for ever).
#[inline]
fn decide(law: &Law, cost: u64, backlog: u64, patience: u64) -> Result<u64, Option<u64>> {
    if cost > law.quota.burst() {
        return Err(None);
    }
    let Some(tokens) = u32::try_from(cost).ok().and_then(NonZeroU32::new) else {
        return Ok(backlog);
    };
    // What is there after so much patience is governor's to say; what has been taken by then begins now.
    match law.engine.decide(backlog.saturating_sub(patience), tokens) {
        Ok(next) if patience == 0 => Ok(next),
        Ok(_) => Ok(backlog + cost * law.quota.interval()),
        Err(wait) => Err(Some(wait)),
    }
}

fn nearer(
    a: Option<(Option<usize>, Slot)>,
    b: Option<(Option<usize>, Slot)>,
) -> Option<(Option<usize>, Slot)> {
    match (a, b) {
        (Some(a), Some(b)) if b.1.full_at < a.1.full_at => Some(b),
        (Some(a), _) => Some(a),
        (None, b) => b,
    }
}

/// Whole tokens in a bucket.
#[inline]
fn left(quota: &Quota, backlog: u64) -> u64 {
    quota.fills_in().saturating_sub(backlog) / quota.interval()
}

/// A span from the caller's moment, which is `late` nanoseconds before the shard's.
#[inline]
fn span(nanos: u64, late: u64) -> Duration {
    Duration::from_nanos(if nanos == 0 {
        0
    } else {
        nanos.saturating_add(late)
    })
}

fn hold<T>(lock: &Mutex<T>) -> MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A power of two, at least eight for each core that this process may use.
pub(super) fn shards() -> usize {
    static SHARDS: OnceLock<usize> = OnceLock::new();
    *SHARDS.get_or_init(|| {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        (8 * cores).next_power_of_two().clamp(PARTS, 2048)
    })
}

/// 73 years: with a bucket's debt on top, still a moment that fits.
const LONGEST_WAIT: u64 = 1 << 61;

/// Slots that a new key pays for, beyond the one of every check.
const SWEPT_FOR_A_KEY: usize = 4;

const SWEPT_AT_ONCE: usize = 512;

/// Parts in which [`Limiter::forget_full_part`] goes round: the fewest shards.
const PARTS: usize = 16;

const MOST_TRIES: usize = 64;

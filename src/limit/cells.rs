//! One shard's buckets: pages that split one at a time, and a hand that goes round and forgets full buckets.
//!
//! Growing never stalls: a shard of many keys is many pages of about five hundred, and one new key makes at most one
//! of them larger and splits at most one in two (linear hashing: pages are split in turn, each by one more low bit of
//! its tags). Memory: a page is rebuilt with two thirds of its homes taken and grows at thirteen sixteenths, so a
//! bucket costs 20 to 25 bytes, page tables included ([`super::Limiter`] states the bound, a test holds it).

use std::sync::Arc;

use super::law::Law;
use super::page::{Page, Slot, Swept, bytes_of, homes_for};
use super::room::Ledger;

/// What one lock protects.
#[derive(Debug)]
pub(super) struct Cells {
    /// The law that applies here, whatever the limiter's is by now.
    pub(super) law: Arc<Law>,
    /// When it came to apply here.
    switched: u64,
    /// The latest moment seen: time does not run backwards between threads.
    pub(super) latest: u64,
    pages: Vec<Page>,
    /// Buckets in all pages.
    held: u64,
    /// Where the hand stands: page and slot.
    hand: (usize, usize),
    uses: u32,
}

/// A bucket that is not full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    page: usize,
    slot: usize,
}

impl Cells {
    pub(super) fn new(law: Arc<Law>) -> Cells {
        Cells {
            switched: law.since,
            latest: law.since,
            law,
            pages: Vec::new(),
            held: 0,
            hand: (0, 0),
            uses: 0,
        }
    }

    /// Follows a newer law from now on; pages are converted when they are next touched.
    pub(super) fn adopt(&mut self, law: Arc<Law>) {
        self.latest = self.latest.max(law.since);
        self.switched = self.latest;
        self.law = law;
    }

    /// The bucket of a tag, and how far it is from full.
    #[inline]
    pub(super) fn find(&mut self, tag: u64) -> (Option<Place>, u64) {
        let Some(number) = page_of(tag, self.pages.len()) else {
            return (None, 0);
        };
        self.convert(number);
        let page = &self.pages[number];
        let Some((slot, full_at)) = page.find(tag) else {
            return (None, 0);
        };
        let place = Place { page: number, slot };
        (Some(place), full_at.saturating_sub(self.latest))
    }

    /// Sets how far a bucket is from full, in nanoseconds.
    #[inline]
    pub(super) fn set(&mut self, place: Place, backlog: u64) {
        let full_at = self.latest + backlog;
        self.pages[place.page].set(place.slot, full_at);
    }

    /// Puts in a bucket that is not there; its key has been counted. False where memory is short: see `make_way`.
    pub(super) fn insert(&mut self, tag: u64, backlog: u64, ledger: &Ledger) -> bool {
        let slot = Slot {
            tag,
            full_at: self.latest + backlog,
        };
        if self.pages.is_empty() {
            self.add_page(Page::new(self.law.epoch), ledger);
        }
        let Some(number) = page_of(tag, self.pages.len()) else {
            return false;
        };
        self.convert(number);
        if self.pages[number].is_crowded() && !self.grow(number, ledger) {
            return false;
        }
        let mut done = self.pages[number].insert(slot);
        if !done && self.grow(number, ledger) {
            done = self.pages[number].insert(slot);
        }
        self.held += u64::from(done);
        if self.held > EASY_PAGE * self.pages.len() as u64 {
            self.split(ledger);
        }
        done
    }

    /// Forgets a bucket in the page of `tag`, so that there is a slot for it without more memory: near its home, or at
    /// the end of the page, whose last run is too long.
    pub(super) fn make_way(&mut self, tag: u64, at_end: bool, ledger: &Ledger) {
        let Some(number) = page_of(tag, self.pages.len()) else {
            return;
        };
        self.convert(number);
        let page = &mut self.pages[number];
        let near = if at_end {
            page.end()
        } else {
            page.near(tag, PROBED)
        };
        let Some(place) = page.nearest_to_full(near) else {
            return;
        };
        let was_full = page
            .at(place)
            .is_none_or(|slot| slot.full_at <= self.latest);
        page.remove(place);
        self.held -= 1;
        ledger.drop_keys(1);
        if !was_full {
            ledger.count_eviction();
        }
    }

    /// Forgets the bucket of a tag, if it is there and will be full at `full_at` (or whenever).
    pub(super) fn forget(&mut self, tag: u64, full_at: Option<u64>, ledger: &Ledger) -> bool {
        let (Some(place), _) = self.find(tag) else {
            return false;
        };
        let page = &mut self.pages[place.page];
        let is_meant = full_at.is_none_or(|full_at| {
            page.at(place.slot)
                .is_some_and(|slot| slot.full_at == full_at)
        });
        if is_meant {
            page.remove(place.slot);
            self.held -= 1;
            ledger.drop_keys(1);
        }
        is_meant
    }

    /// One slot further with the hand for each use; it moves once for every sixteen.
    #[inline]
    pub(super) fn tend(&mut self, ledger: &Ledger) {
        self.uses = self.uses.wrapping_add(1);
        if self.uses.is_multiple_of(USES) {
            self.sweep(USES as usize, ledger);
        }
    }

    /// Moves the hand over so many slots, and forgets what is full and need not be remembered.
    #[inline(never)]
    pub(super) fn sweep(&mut self, slots: usize, ledger: &Ledger) -> Swept {
        let keeps = self.law.keeps(self.latest);
        self.pass(slots, self.latest.saturating_sub(keeps), ledger)
    }

    /// Moves the hand over so many slots, and forgets what was full at a moment.
    #[inline]
    fn pass(&mut self, slots: usize, full_by: u64, ledger: &Ledger) -> Swept {
        let mut swept = Swept::default();
        let mut steps = slots;
        while steps > 0 {
            let (number, at) = self.hand;
            self.convert(number);
            let Some(page) = self.pages.get_mut(number) else {
                self.hand = (0, 0);
                steps -= 1;
                continue;
            };
            self.hand.1 = page.pass(at, &mut steps, full_by, &mut swept);
            if steps > 0 {
                steps -= 1;
                self.ease(number, ledger);
                self.hand = (number + 1, 0);
            }
        }
        if swept.forgotten > 0 {
            self.held -= swept.forgotten;
            ledger.drop_keys(swept.forgotten);
        }
        swept
    }

    /// Moves the hand over enough slots to meet [`PROBED`] buckets, but over none twice, and forgets what is full.
    pub(super) fn probe(&mut self, ledger: &Ledger) -> Swept {
        let most = 2 * PROBED;
        let slots = if self.pages.len() > 1 {
            most
        } else {
            self.round().min(most)
        };
        self.pass(slots, self.latest, ledger)
    }

    /// Steps of the hand for one way round, even if it forgets all that it meets.
    pub(super) fn round(&self) -> usize {
        let slots: u64 = self.pages.iter().map(|page| page.bytes() / 16 + 1).sum();
        usize::try_from(slots + self.held).unwrap_or(usize::MAX) + 1
    }

    pub(super) fn pages(&self) -> usize {
        self.pages.len()
    }

    /// Brings a page under the law of its shard.
    #[inline]
    pub(super) fn convert(&mut self, number: usize) {
        if let Some(page) = self.pages.get_mut(number)
            && page.epoch != self.law.epoch
        {
            rewrite(page, &self.law, self.switched);
        }
    }

    fn add_page(&mut self, page: Page, ledger: &Ledger) {
        // Twice: the list of pages doubles when it is full.
        ledger.need_bytes(2 * size_of::<Page>() as u64);
        self.pages.push(page);
    }

    /// Makes a page larger by a quarter; false where there is no memory.
    fn grow(&mut self, number: usize, ledger: &Ledger) -> bool {
        let page = &self.pages[number];
        let homes = homes_for(page.len()).max(page.homes() + page.homes() / 8);
        // The smallest page is every shard's due.
        if page.homes() == 0 {
            ledger.need_bytes(bytes_of(homes));
        } else if !ledger.take_bytes(bytes_of(homes)) {
            return false;
        }
        self.rebuild(number, homes, ledger);
        true
    }

    /// Gives memory back that a page does not need any more.
    fn ease(&mut self, number: usize, ledger: &Ledger) {
        let page = &self.pages[number];
        let homes = homes_for(page.len());
        let wasteful = homes * 2 < page.homes();
        if wasteful || (homes < page.homes() && ledger.is_over_room()) {
            ledger.need_bytes(bytes_of(homes));
            self.rebuild(number, homes, ledger);
        }
    }

    /// Replaces a page by one of so many homes, for which has been paid.
    fn rebuild(&mut self, number: usize, homes: u32, ledger: &Ledger) {
        let page = &self.pages[number];
        let rebuilt = Page::packed(page.epoch, homes, page.held());
        ledger.need_bytes(rebuilt.bytes() - bytes_of(homes));
        ledger.give_bytes(page.bytes());
        self.pages[number] = rebuilt;
    }

    /// Splits the page whose turn it is in two.
    fn split(&mut self, ledger: &Ledger) {
        let (number, bit) = next_split(self.pages.len());
        self.convert(number);
        let page = &self.pages[number];
        let part = |set: bool| page.held().filter(move |slot| (slot.tag & bit != 0) == set);
        let moving = u32::try_from(part(true).count()).unwrap_or(u32::MAX);
        let homes = homes_for(page.len() - moving);
        if !ledger.take_bytes(bytes_of(homes) + bytes_of(homes_for(moving))) {
            return;
        }
        let staying = Page::packed(page.epoch, homes, part(false));
        let moved = Page::packed(page.epoch, homes_for(moving), part(true));
        let paid = bytes_of(homes) + bytes_of(homes_for(moving));
        ledger.need_bytes(staying.bytes() + moved.bytes() - paid);
        ledger.give_bytes(page.bytes());
        self.pages[number] = staying;
        self.add_page(moved, ledger);
    }
}

#[cold]
fn rewrite(page: &mut Page, law: &Law, switched: u64) {
    page.convert(law.epoch, |full_at| law.convert(full_at, switched));
}

/// Which of so many pages holds a tag: its low bits, with one bit less where that page is not split off yet.
#[inline]
fn page_of(tag: u64, pages: usize) -> Option<usize> {
    let mask = pages.checked_next_power_of_two()?.wrapping_sub(1);
    let page = tag as usize & mask;
    match page {
        page if page < pages => Some(page),
        page => (pages > 0).then_some(page & (mask >> 1)),
    }
}

/// The page to be split where there are so many, and the bit by which.
fn next_split(pages: usize) -> (usize, u64) {
    let bit = 1 << pages.ilog2();
    (pages - bit, bit as u64)
}

/// Uses of a shard for which the hand moves at once.
const USES: u32 = 16;

/// Buckets for each page, on average, before one is split.
const EASY_PAGE: u64 = 512;

/// Buckets that are looked at before one that is not full is forgotten.
pub(super) const PROBED: usize = 32;

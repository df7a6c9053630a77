//! A small table of buckets, 16 bytes each, in the order of their tags: growing is one pass from left to right.
//!
//! Open addressing with linear probing, kept sorted: a bucket stands at its home (its tag, scaled to the table) or, if
//! that is taken, in the run that begins there, behind the smaller tags. A search ends at the first larger tag, so an
//! absent key is found to be absent as fast as a present one is found. Nothing wraps around: the last homes overflow
//! into a few slots behind them.

use std::ops::Range;

/// One bucket of a key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Slot {
    /// 0: nobody's.
    pub(super) tag: u64,
    /// When the bucket will be full, in nanoseconds of the process.
    pub(super) full_at: u64,
}

/// Up to about a thousand buckets.
#[derive(Debug)]
pub(super) struct Page {
    slots: Box<[Slot]>,
    /// Slots that are the home of a tag; those behind them take what runs over.
    homes: u32,
    held: u32,
    /// The law that the times in the slots follow.
    pub(super) epoch: u64,
}

/// What a table of so many homes costs, in bytes.
pub(super) fn bytes_of(homes: u32) -> u64 {
    (u64::from(homes) + u64::from(spare(homes))) * size_of::<Slot>() as u64
}

/// Homes with which `held` buckets are at ease: two thirds of them are taken.
pub(super) fn homes_for(held: u32) -> u32 {
    (held + held / 2 + 1).max(FEWEST_HOMES)
}

/// What a walk over buckets met.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Swept {
    /// Full buckets, which were forgotten.
    pub(super) forgotten: u64,
    /// Others.
    pub(super) live: u64,
    /// Of those, the one that will be full first.
    pub(super) nearest: Option<Slot>,
}

impl Page {
    /// A page without memory.
    pub(super) fn new(epoch: u64) -> Page {
        Page {
            slots: Box::default(),
            homes: 0,
            held: 0,
            epoch,
        }
    }

    /// The page with at least so many homes that holds `slots`, which come in the order of their tags.
    pub(super) fn packed(
        epoch: u64,
        mut homes: u32,
        slots: impl Iterator<Item = Slot> + Clone,
    ) -> Page {
        loop {
            let mut page = Page {
                slots: vec![Slot::default(); (homes + spare(homes)) as usize].into(),
                homes,
                held: 0,
                epoch,
            };
            if page.fill(slots.clone()) {
                return page;
            }
            // A run went over the end, which one in a million does.
            homes += homes / 8 + 1;
        }
    }

    fn fill(&mut self, slots: impl Iterator<Item = Slot>) -> bool {
        let mut free = 0;
        for slot in slots {
            let at = self.home(slot.tag).max(free);
            let Some(place) = self.slots.get_mut(at) else {
                return false;
            };
            *place = slot;
            self.held += 1;
            free = at + 1;
        }
        true
    }

    /// The buckets, in the order of their tags.
    pub(super) fn held(&self) -> impl Iterator<Item = Slot> + Clone + '_ {
        self.slots.iter().copied().filter(|slot| slot.tag != 0)
    }

    pub(super) fn len(&self) -> u32 {
        self.held
    }

    pub(super) fn homes(&self) -> u32 {
        self.homes
    }

    pub(super) fn bytes(&self) -> u64 {
        size_of_val::<[Slot]>(&self.slots) as u64
    }

    /// Would one more bucket make searches long?
    pub(super) fn is_crowded(&self) -> bool {
        u64::from(self.held) * 16 >= u64::from(self.homes) * 13
    }

    /// Where the bucket of a tag is, and when it is full.
    #[inline]
    pub(super) fn find(&self, tag: u64) -> Option<(usize, u64)> {
        let at = self.place_of(tag);
        let slot = self.slots.get(at)?;
        (slot.tag == tag).then_some((at, slot.full_at))
    }

    /// The slot at a place, empty or not.
    #[inline]
    pub(super) fn at(&self, place: usize) -> Option<Slot> {
        self.slots.get(place).copied()
    }

    #[inline]
    pub(super) fn set(&mut self, place: usize, full_at: u64) {
        if let Some(slot) = self.slots.get_mut(place) {
            slot.full_at = full_at;
        }
    }

    /// Puts in a bucket that is not there yet; false where its run reaches the end of the table.
    pub(super) fn insert(&mut self, slot: Slot) -> bool {
        let at = self.place_of(slot.tag);
        let run = self.slots[at.min(self.slots.len())..].iter();
        let Some(shifted) = run.clone().position(|slot| slot.tag == 0) else {
            return false;
        };
        self.slots.copy_within(at..at + shifted, at + 1);
        self.slots[at] = slot;
        self.held += 1;
        true
    }

    /// Forgets the bucket at a place; those behind it in its run move up.
    pub(super) fn remove(&mut self, place: usize) {
        let behind = self.slots.iter().enumerate().skip(place + 1);
        let end = behind
            .take_while(|(at, slot)| slot.tag != 0 && self.home(slot.tag) < *at)
            .last()
            .map_or(place, |(at, _)| at);
        self.slots.copy_within(place + 1..end + 1, place);
        self.slots[end] = Slot::default();
        self.held -= 1;
    }

    /// Walks on from a place for so many steps or to the end, where steps are left over; forgets what was full at a
    /// moment. Gives the place to go on from.
    #[inline]
    pub(super) fn pass(
        &mut self,
        from: usize,
        steps: &mut usize,
        full_by: u64,
        swept: &mut Swept,
    ) -> usize {
        let mut at = from;
        while *steps > 0 {
            let Some(slot) = self.slots.get(at).copied() else {
                break;
            };
            *steps -= 1;
            if slot.tag == 0 {
                at += 1;
            } else if slot.full_at <= full_by {
                // What follows moves into its place.
                self.remove(at);
                swept.forgotten += 1;
            } else {
                swept.meet(slot);
                at += 1;
            }
        }
        at
    }

    /// Rewrites the time of every bucket.
    pub(super) fn convert(&mut self, epoch: u64, convert: impl Fn(u64) -> u64) {
        for slot in self.slots.iter_mut().filter(|slot| slot.tag != 0) {
            slot.full_at = convert(slot.full_at);
        }
        self.epoch = epoch;
    }

    /// The places around the home of a tag.
    pub(super) fn near(&self, tag: u64, many: usize) -> Range<usize> {
        let from = self.home(tag).min(self.slots.len().saturating_sub(many));
        from..self.slots.len().min(from + many)
    }

    /// The places behind the homes: whatever is forgotten there, what is behind it moves up.
    pub(super) fn end(&self) -> Range<usize> {
        self.homes as usize..self.slots.len()
    }

    /// Of the buckets in some places, that of the one that will be full first.
    pub(super) fn nearest_to_full(&self, places: Range<usize>) -> Option<usize> {
        let slots = places.filter_map(|at| Some((at, self.at(at)?)));
        slots
            .filter(|(_, slot)| slot.tag != 0)
            .min_by_key(|(_, slot)| slot.full_at)
            .map(|(at, _)| at)
    }

    /// The first place, from its home on, that is empty or holds a tag not smaller.
    #[inline]
    fn place_of(&self, tag: u64) -> usize {
        let home = self.home(tag);
        let run = self.slots.get(home..).unwrap_or_default();
        let ahead = run.iter().position(|slot| slot.tag == 0 || slot.tag >= tag);
        home + ahead.unwrap_or(run.len())
    }

    /// Grows with the tag, so that the order of homes is the order of tags. The low bits chose the page.
    #[inline]
    fn home(&self, tag: u64) -> usize {
        (((tag >> 32) * u64::from(self.homes)) >> 32) as usize
    }
}

impl Swept {
    fn meet(&mut self, slot: Slot) {
        self.live += 1;
        if self
            .nearest
            .is_none_or(|nearest| slot.full_at < nearest.full_at)
        {
            self.nearest = Some(slot);
        }
    }
}

/// Slots behind the homes. At four fifths full a run of more than 16 over the end is one in a thousand tables, and then
/// the table grows a little early.
fn spare(homes: u32) -> u32 {
    (homes / 2).min(16)
}

const FEWEST_HOMES: u32 = 8;

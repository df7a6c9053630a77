//! What is known of each name and when it is looked up next. Pure: it is told what DNS said and what time it is.
//!
//! A name that had addresses never loses them because DNS fails or suddenly knows none: only addresses replace
//! addresses. A/AAAA are kept apart for the same reason.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::time::Nanos;
use crate::upstream::names::Addresses;

/// Most addresses of one name.
pub(super) const MOST_ADDRESSES: usize = 1000;
/// How long the addresses of a name that no configuration has any more are kept.
const KEPT_FOR: Duration = Duration::from_secs(600);
/// The shortest pause between two look-ups of one name, whatever `min_ttl` says.
const SHORTEST: Duration = Duration::from_millis(100);
/// The longest pause after a look-up that found no address.
const LONGEST_RETRY: Duration = Duration::from_secs(5);
const SECOND: Duration = Duration::from_secs(1);

/// What DNS said of one family of addresses.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Family {
    /// At least one, and for how long they hold.
    Addresses(Vec<IpAddr>, Duration),
    /// There is none: the name does not exist, or has none of this family.
    Nothing(String),
    /// No usable answer, and why.
    Failed(String),
    /// The answer is still awaited.
    Late,
}

/// What a look-up brought.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Found {
    pub(super) v4: Family,
    pub(super) v6: Family,
}

/// A change of state that somebody should read of.
#[derive(Debug, PartialEq)]
pub(super) enum News {
    /// No usable answer, while so many addresses are held.
    Failing(usize, String),
    /// The answer is that there is no address, while so many are held.
    Nothing(usize, String),
    /// So many addresses again.
    Mended(usize),
    /// More addresses than are used.
    Cut,
}

/// How a name stands, for the admin's pages.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Standing {
    /// Addresses in use.
    pub addresses: usize,
    /// When addresses were last found, in nanoseconds since 1970; `None` = never.
    pub resolved_at: Option<u64>,
    /// What the last look-up met with instead of addresses.
    pub error: Option<String>,
}

/// How long answers hold.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Lifetimes {
    pub(super) min_ttl: Duration,
    pub(super) max_ttl: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Health {
    New,
    Good,
    Failing,
    Nothing,
}

#[derive(Debug)]
struct Entry {
    v4: Vec<IpAddr>,
    v6: Vec<IpAddr>,
    health: Health,
    standing: Standing,
    cut: bool,
    /// Looked up at this moment, or, of a name that is gone, forgotten. `None` while it is looked up.
    due: Option<Nanos>,
    asking: bool,
    /// The look-up under way may bring what holds no more.
    again: bool,
    asked_at: Option<Nanos>,
    gone: bool,
}

/// All names.
#[derive(Debug)]
pub(super) struct Book {
    names: HashMap<Arc<str>, Entry>,
    due: BTreeSet<(Nanos, Arc<str>)>,
    lifetimes: Lifetimes,
    /// The addresses differ from those last handed out.
    changed: bool,
    random: u64,
}

impl Book {
    /// An empty one; `seed` spreads retries.
    pub(super) fn new(lifetimes: Lifetimes, seed: u64) -> Book {
        Book {
            names: HashMap::new(),
            due: BTreeSet::new(),
            lifetimes,
            changed: false,
            random: seed | 1,
        }
    }

    /// From now on these names are followed, and no others. New ones are due at once.
    pub(super) fn follow(&mut self, lifetimes: Lifetimes, names: &BTreeSet<Arc<str>>, now: Nanos) {
        self.lifetimes = lifetimes;
        let gone: Vec<Arc<str>> = self
            .names
            .iter()
            .filter(|(name, entry)| !entry.gone && !names.contains(*name))
            .map(|(name, _)| name.clone())
            .collect();
        for name in gone {
            self.changed = true;
            self.change(&name, |entry| entry.gone = true);
            self.plan(&name, Some(now.plus(KEPT_FOR)));
        }
        for name in names {
            let entry = self.names.entry(name.clone()).or_insert_with(Entry::new);
            let (is_back, asking) = (entry.gone, entry.asking);
            entry.gone = false;
            if is_back || entry.health == Health::New {
                self.changed |= is_back;
                self.plan(name, (!asking).then_some(now));
            }
        }
    }

    /// Is a name followed?
    pub(super) fn is_empty(&self) -> bool {
        self.names.values().all(|entry| entry.gone)
    }

    /// Was `name` never answered, neither with addresses nor otherwise? Not of one that nobody follows.
    pub(super) fn is_awaited(&self, name: &str) -> bool {
        let entry = self.names.get(name);
        entry.is_some_and(|entry| entry.health == Health::New && !entry.gone)
    }

    /// A name to look up now, if one is due.
    pub(super) fn begin(&mut self, now: Nanos) -> Option<Arc<str>> {
        loop {
            let (at, name) = self.due.first().cloned()?;
            if at > now {
                return None;
            }
            self.plan(&name, None);
            let Some(entry) = self.names.get_mut(&name) else {
                continue;
            };
            if entry.gone {
                self.names.remove(&name);
                continue;
            }
            entry.asking = true;
            entry.asked_at = Some(now);
            return Some(name);
        }
    }

    /// When the next name is due.
    pub(super) fn next_due(&self) -> Option<Nanos> {
        self.due.first().map(|(at, _)| *at)
    }

    /// An address of `name` was not reached: it is looked up at once, but not again within `min_ttl` or a second.
    pub(super) fn complain(&mut self, name: &str, now: Nanos) {
        let pause = self.lifetimes.min_ttl.max(SECOND);
        let Some((name, entry)) = self.names.get_key_value(name) else {
            return;
        };
        // While it is looked up, news is on its way.
        if entry.asking || entry.gone {
            return;
        }
        let soonest = entry.asked_at.map_or(now, |at| at.plus(pause).max(now));
        if entry.due.is_none_or(|due| due > soonest) {
            self.plan(&name.clone(), Some(soonest));
        }
    }

    /// The machine's files say something new: every name is looked up again.
    pub(super) fn doubt_all(&mut self, now: Nanos) {
        let mut names: Vec<Arc<str>> = Vec::new();
        for (name, entry) in self.names.iter_mut().filter(|(_, entry)| !entry.gone) {
            if entry.asking {
                entry.again = true;
            } else {
                names.push(name.clone());
            }
        }
        for name in names {
            self.plan(&name, Some(now));
        }
    }

    /// Takes up what a look-up brought; `wall` is the time in nanoseconds since 1970.
    pub(super) fn hear(
        &mut self,
        name: &Arc<str>,
        found: Found,
        now: Nanos,
        wall: u64,
    ) -> Vec<News> {
        let Some(entry) = self.names.get_mut(name) else {
            return Vec::new();
        };
        let is_whole = found.v4 != Family::Late && found.v6 != Family::Late;
        let (ttl, error) = (found.ttl(), found.error());
        let mut news = Vec::new();
        if ttl.is_some() {
            let before = entry.addresses();
            entry.take(found);
            self.changed |= entry.addresses() != before;
            entry.standing.resolved_at = Some(wall);
            news.extend(entry.cut());
        }
        let turned = match (ttl, &error) {
            (Some(_), _) => Health::Good,
            (None, Some((true, _))) => Health::Failing,
            (None, _) => Health::Nothing,
        };
        entry.standing.error = error.map(|(_, text)| text);
        news.extend(entry.turn(turned));
        if is_whole {
            entry.asking = false;
            if !entry.gone {
                let pause = match ttl {
                    _ if std::mem::take(&mut entry.again) => Duration::ZERO,
                    Some(ttl) => self.lifetimes.clamp(ttl),
                    None => self.retry(),
                };
                self.plan(name, Some(now.plus(pause)));
            }
        }
        news
    }

    /// The addresses of all names, if they differ from those handed out last.
    pub(super) fn publish(&mut self) -> Option<Addresses> {
        std::mem::take(&mut self.changed).then(|| {
            let followed = self.names.iter().filter(|(_, entry)| !entry.gone);
            followed
                .map(|(name, entry)| (name.clone(), entry.addresses()))
                .collect()
        })
    }

    /// Do the addresses differ from those handed out last?
    pub(super) fn is_changed(&self) -> bool {
        self.changed
    }

    /// How every followed name stands.
    pub(super) fn standings(&self) -> BTreeMap<Arc<str>, Standing> {
        let followed = self.names.iter().filter(|(_, entry)| !entry.gone);
        followed
            .map(|(name, entry)| (name.clone(), entry.standing.clone()))
            .collect()
    }

    /// How one name stands.
    pub(super) fn standing(&self, name: &str) -> Standing {
        let entry = self.names.get(name);
        entry
            .map(|entry| entry.standing.clone())
            .unwrap_or_default()
    }

    fn change(&mut self, name: &str, change: impl FnOnce(&mut Entry)) {
        if let Some(entry) = self.names.get_mut(name) {
            change(entry);
        }
    }

    fn plan(&mut self, name: &Arc<str>, at: Option<Nanos>) {
        let Some(entry) = self.names.get_mut(name) else {
            return;
        };
        if let Some(before) = std::mem::replace(&mut entry.due, at) {
            self.due.remove(&(before, name.clone()));
        }
        if let Some(at) = at {
            self.due.insert((at, name.clone()));
        }
    }

    /// The pause after a look-up that found nothing: less by up to a quarter, so that many names do not ask in step.
    fn retry(&mut self) -> Duration {
        let longest = self.lifetimes.min_ttl.max(SECOND).min(LONGEST_RETRY);
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        let share = u32::try_from(self.random % 256).unwrap_or_default();
        longest - longest / 1024 * share
    }
}

impl Lifetimes {
    fn clamp(self, ttl: Duration) -> Duration {
        ttl.max(self.min_ttl).min(self.max_ttl).max(SHORTEST)
    }
}

impl Found {
    /// How long the addresses hold; `None` where there are none.
    fn ttl(&self) -> Option<Duration> {
        let ttls = [&self.v4, &self.v6].into_iter().filter_map(|family| {
            let Family::Addresses(_, ttl) = family else {
                return None;
            };
            Some(*ttl)
        });
        ttls.min()
    }

    /// What went wrong, if addresses may be missing because of it, and whether that is a failure of DNS.
    fn error(&self) -> Option<(bool, String)> {
        let families = [&self.v4, &self.v6];
        let failed = families.into_iter().find_map(|family| match family {
            Family::Failed(why) => Some((true, why.clone())),
            _ => None,
        });
        let nothing = families.into_iter().find_map(|family| match family {
            Family::Nothing(why) if self.ttl().is_none() => Some((false, why.clone())),
            _ => None,
        });
        failed.or(nothing)
    }
}

impl Entry {
    fn new() -> Entry {
        Entry {
            v4: Vec::new(),
            v6: Vec::new(),
            health: Health::New,
            standing: Standing::default(),
            cut: false,
            due: None,
            asking: false,
            again: false,
            asked_at: None,
            gone: false,
        }
    }

    /// Called with addresses of one family at least: then a family without any really has none.
    fn take(&mut self, found: Found) {
        for (held, family) in [(&mut self.v4, found.v4), (&mut self.v6, found.v6)] {
            match family {
                Family::Addresses(mut addresses, _) => {
                    addresses.sort_unstable();
                    addresses.dedup();
                    *held = addresses;
                }
                Family::Nothing(_) => held.clear(),
                Family::Failed(_) | Family::Late => {}
            }
        }
    }

    fn addresses(&self) -> Vec<IpAddr> {
        let all = self.v4.iter().chain(&self.v6);
        all.take(MOST_ADDRESSES).copied().collect()
    }

    fn cut(&mut self) -> Option<News> {
        let count = self.v4.len() + self.v6.len();
        self.standing.addresses = count.min(MOST_ADDRESSES);
        let was_cut = std::mem::replace(&mut self.cut, count > MOST_ADDRESSES);
        (self.cut && !was_cut).then_some(News::Cut)
    }

    fn turn(&mut self, health: Health) -> Option<News> {
        let before = std::mem::replace(&mut self.health, health);
        let held = self.standing.addresses;
        let error = || self.standing.error.clone().unwrap_or_default();
        match (before, health) {
            (before, after) if before == after => None,
            (_, Health::Failing) => Some(News::Failing(held, error())),
            (_, Health::Nothing) => Some(News::Nothing(held, error())),
            (Health::New, _) | (_, Health::New) => None,
            (_, Health::Good) => Some(News::Mended(held)),
        }
    }
}

//! What keeps an endpoint from serving: a small set of reasons, each of which comes and goes by itself. Its circuit
//! breaker is none of them: that is asked when the endpoint is chosen, for it counts who passes.

/// Reasons why an endpoint does not serve; empty = it serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Bars(u8);

impl Bars {
    /// Nothing.
    pub const NONE: Bars = Bars(0);
    /// It failed several times in a row and is left out for a while.
    pub const EJECTED: Bars = Bars(1);
    /// Probes say that it does not work.
    pub const UNHEALTHY: Bars = Bars(2);

    /// Both.
    #[must_use]
    pub const fn and(self, other: Bars) -> Bars {
        Bars(self.0 | other.0)
    }

    /// This one only where `holds`.
    #[must_use]
    pub const fn when(self, holds: bool) -> Bars {
        if holds { self } else { Bars::NONE }
    }

    /// Does anything speak against it?
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Is `other` among them?
    #[must_use]
    pub const fn has(self, other: Bars) -> bool {
        self.0 & other.0 != 0
    }

    /// Is there none that `other` does not have?
    #[must_use]
    pub const fn is_within(self, other: Bars) -> bool {
        self.0 & !other.0 == 0
    }

    /// As pages write them.
    pub fn words(self) -> impl Iterator<Item = &'static str> {
        const WORDS: [(Bars, &str); 2] =
            [(Bars::EJECTED, "ejected"), (Bars::UNHEALTHY, "unhealthy")];
        let there = WORDS.into_iter().filter(move |(bar, _)| self.has(*bar));
        there.map(|(_, word)| word)
    }
}

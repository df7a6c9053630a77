//! What is told of stores in the control log: a line when one leaves and when one is back, a bounded number of them.

use std::time::Duration;

use super::cause::Failure;
use super::shared::Shared;
use crate::time::Nanos;

/// Lines in each [`LINES_PER`].
const MOST_LINES: u32 = 10;
const LINES_PER: Duration = Duration::from_secs(10);

/// Tells how one store stands.
#[derive(Default)]
pub(super) struct News {
    since: Nanos,
    told: u32,
    /// The last line said that it is away.
    is_told_away: bool,
}

impl News {
    pub(super) fn left(&mut self, shared: &Shared, failure: &Failure, now: Nanos) {
        if self.is_told_away || !self.has_room(now) {
            return;
        }
        self.is_told_away = true;
        let (store, cause) = (&*shared.name, failure.cause.word());
        tracing::warn!(
            store,
            cause,
            address = %shared.address,
            said = failure.said,
            help = "see that Redis runs there, has memory left and answers within the store's `timeout`",
            "the store {store} is away ({cause}): its limits hold by their `on_store_failure`"
        );
    }

    pub(super) fn back(&mut self, shared: &Shared) {
        // Who reads that it is away reads in any case that it is back.
        if std::mem::take(&mut self.is_told_away) {
            let store = &*shared.name;
            tracing::info!(store, "the store {store} is back");
        }
    }

    fn has_room(&mut self, now: Nanos) -> bool {
        if now.since(self.since) >= LINES_PER {
            self.since = now;
            self.told = 0;
        }
        self.told = self.told.saturating_add(1);
        self.told <= MOST_LINES
    }
}

//! Full buckets of limits that nobody asks any more: forgotten on the control thread, a part of them at each turn.
//!
//! A limit that is asked forgets as it goes. One that is not would keep the memory of a flood for as long as the flood
//! is over, and what it holds is not there for other limits.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::MissedTickBehavior;

use crate::snapshot::shared::Shared;
use crate::time;

/// Between two turns; [`crate::limit::Limiter::forget_full_part`] goes round in sixteen. A turn looks at a sixteenth of what
/// `limits_memory` holds: a millisecond or two of 256 MiB.
const TURN: Duration = Duration::from_millis(250);

/// Goes round all limits, those too that are gone from the file and still kept, for as long as the process lives.
pub(super) async fn keep_forgetting(shared: Arc<Shared>) {
    let mut tick = tokio::time::interval(TURN);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for turn in 0_usize.. {
        tick.tick().await;
        let (snapshot, now) = (shared.load(), time::now());
        for (_, buckets) in snapshot.carry.buckets.alive(now) {
            buckets.forget_full_part(turn, now);
        }
    }
}

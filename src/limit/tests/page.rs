//! The sorted table against a map, and the doors of a shard that grows.

use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::*;

use super::super::page::{Page, Slot, bytes_of, homes_for};

fn slot(tag: u64) -> Slot {
    Slot {
        tag,
        full_at: tag ^ 1,
    }
}

/// Tags of which many have one home.
fn tag() -> impl Strategy<Value = u64> {
    prop_oneof![
        any::<u64>(),
        (0..4_u64, 0..40_u64).prop_map(|(high, low)| (high << 62) | low)
    ]
    .prop_map(|tag| tag.max(1))
}

proptest! {
    #[test]
    fn a_page_holds_what_a_map_holds(steps in vec((any::<bool>(), tag()), 0..300)) {
        let mut page = Page::packed(0, homes_for(0), std::iter::empty());
        let mut map = BTreeMap::new();
        for (adds, tag) in steps {
            match (page.find(tag), adds) {
                (Some((at, _)), false) => {
                    page.remove(at);
                    map.remove(&tag);
                }
                (None, true) => {
                    if page.is_crowded() || !page.insert(slot(tag)) {
                        page = Page::packed(0, homes_for(page.len()).max(page.homes() + 1), page.held());
                        prop_assert!(page.insert(slot(tag)));
                    }
                    map.insert(tag, slot(tag));
                }
                _ => {}
            }
            prop_assert_eq!(page.len() as usize, map.len());
            prop_assert!(page.held().eq(map.values().copied()));
            for (tag, slot) in &map {
                prop_assert_eq!(page.find(*tag).map(|(_, full_at)| full_at), Some(slot.full_at));
            }
            prop_assert!(page.find(tag ^ (1 << 50)).is_none() || map.contains_key(&(tag ^ (1 << 50))));
        }
        prop_assert!(page.bytes() >= bytes_of(page.homes()));
    }
}

#[test]
fn the_run_at_the_end_is_refused_when_it_is_too_long_and_way_can_be_made() {
    let mut page = Page::packed(0, 8, std::iter::empty());
    let tags: Vec<u64> = (0..12).map(|low| u64::MAX - low).collect();
    let fit = tags
        .iter()
        .take_while(|tag| page.insert(slot(**tag)))
        .count();
    // The last home, and the four slots behind it.
    assert_eq!(fit, 5);
    let place = page.nearest_to_full(page.end()).unwrap();
    page.remove(place);
    assert!(page.insert(slot(1 << 63)));
    assert!(page.insert(slot(tags[11])));
}

//! The interrupt entry cache.

use vtd_cache::InterruptEntryCache;
use vtd_spec::{Capabilities, InterruptRemappingEntry};

fn entry(vector: u64) -> InterruptRemappingEntry {
    let caps = Capabilities::new(0x81d2_008c_222f_0686, 0x0001_8998_0000_0f46).unwrap();
    InterruptRemappingEntry::decode([1 | vector << 16, 0], false, &caps).present().unwrap()
}

#[test]
fn a_fill_that_races_an_invalidation_is_dropped() {
    type Invalidate = fn(&mut InterruptEntryCache);
    let invalidations: [Invalidate; 3] = [
        InterruptEntryCache::invalidate_all,
        |cache| cache.invalidate(3..=3),
        // Another index: more may always be dropped.
        |cache| cache.invalidate(9..=9),
    ];
    for invalidate in invalidations {
        let mut cache = InterruptEntryCache::new(64);
        let lookup = cache.begin();
        invalidate(&mut cache);
        cache.fill(lookup, 3, entry(0x31));
        assert_eq!(cache.get(3), None);
        cache.fill(cache.begin(), 3, entry(0x32));
        assert_eq!(cache.get(3), Some(entry(0x32)));
    }
}

#[test]
#[cfg_attr(miri, ignore = "65,536 entries for each capacity")]
fn it_is_bounded_and_drops_exactly_what_is_meant() {
    for capacity in [0, 1, 16, 4_096] {
        let mut cache = InterruptEntryCache::new(capacity);
        for index in 0..=u16::MAX {
            cache.fill(cache.begin(), index, entry(u64::from(index & 0xff)));
        }
        let held = (0..=u16::MAX).filter(|index| cache.get(*index).is_some()).count();
        assert_eq!(held, if capacity == 0 { 0 } else { capacity.max(4) });
        for range in [0x10..=0x10, 0x8000..=0x80ff, 0..=0x7fff, 0..=u16::MAX] {
            cache.invalidate(range.clone());
            assert!(range.into_iter().all(|index| cache.get(index).is_none()));
        }
    }
}

#[test]
fn the_oldest_entry_of_a_set_gives_way() {
    // One set of four: (indices filled in this order, which are left)
    let rows: &[(&[u16], &[u16])] = &[
        (&[0, 1, 2, 3], &[0, 1, 2, 3]),
        (&[0, 1, 2, 3, 4], &[1, 2, 3, 4]),
        (&[0, 1, 2, 3, 4, 5], &[2, 3, 4, 5]),
        (&[0, 1, 2, 3, 4, 5, 6, 7], &[4, 5, 6, 7]),
        (&[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10], &[7, 8, 9, 10]),
        // An entry that is there already takes its own place.
        (&[0, 1, 2, 3, 3, 3], &[0, 1, 2, 3]),
    ];
    for (filled, left) in rows {
        let mut cache = InterruptEntryCache::new(4);
        filled.iter().for_each(|index| cache.fill(cache.begin(), *index, entry(0x31)));
        let found: Vec<_> = (0..16).filter(|index| cache.get(*index).is_some()).collect();
        assert_eq!(found, *left, "{filled:?}");
    }
}

#[test]
fn other_entries_stay() {
    // (capacity, what is dropped of 0 to f): ranges of fewer indices than there is room for, and of more
    for (capacity, range) in
        [(64, 3..=5), (64, 8..=15), (64, 0..=200), (64, 8..=300), (4, 12..=300), (4, 13..=13)]
    {
        let mut cache = InterruptEntryCache::new(capacity);
        (0..16).for_each(|index| cache.fill(cache.begin(), index, entry(0x31)));
        let there = |cache: &InterruptEntryCache| -> Vec<u16> {
            (0..16).filter(|index| cache.get(*index).is_some()).collect()
        };
        let mut expected = there(&cache);
        expected.retain(|index| !range.contains(index));
        cache.invalidate(range.clone());
        assert_eq!(there(&cache), expected, "{capacity}: {range:?}");
    }
}

//! Rows 1, 2, 5 and 17 where both stages translate.

use crate::guest::{Dma, Guest, Shape};
use crate::path::{NESTED, map_nested, second_stage_leaf};
use crate::raw::*;

/// The leaf of the first stage.
const LEAF: u64 = FIRST_A + 0x3000 + (PAGE >> 12) * 8;
/// SSADE of a PASID-table entry.
const SSADE: u64 = 1 << 9;

fn guest(shape: Shape) -> (Guest, Dma) {
    let guest = Guest::of(Shape { ecap: ECAP | ECAP_NEST | ECAP_SSADS, ..shape });
    map_nested(&guest);
    guest.set_pasid(5, nested(SSADE, 7));
    let dma = guest.emulated();
    (guest, dma)
}

// feature: 1.nested: both stages (PGTT 3, ECAP.NEST)
#[test]
fn known_failure_01_emulated_dma_follows_a_nested_entry() {
    let entries = [
        (nested(0, 7), Ok(FRAME_SECOND)),
        (first_stage(FIRST_A, 7), Ok(NESTED)),
        (second_stage(SECOND, 7), Err(0x79)),
        (pass_through(7), Ok(PAGE)),
        (ABSENT, Err(0x59)),
    ];
    for (before, expected_before) in entries {
        for (after, expected_after) in entries {
            let (guest, dma) = guest(Shape::default());
            guest.ram.put(second_stage_leaf(PAGE), &[0]);
            for (entry, expected) in [(before, expected_before), (after, expected_after)] {
                guest.set_pasid(5, entry);
                guest.flush(&[pasid_cache_of_pasid(7, 5), pasid_iotlb(7, 5), iotlb_of_domain(7)]);
                for _ in 0..2 {
                    let found = dma.read_or_code(Some(5), PAGE);
                    assert_eq!(found, expected, "{before:x?}, then {after:x?}");
                }
            }
        }
    }
}

#[test]
fn known_failure_02_a_nested_entry_with_p_clear_does_not_translate() {
    let (guest, dma) = guest(Shape::default());
    assert_eq!(dma.write_or_code(Some(5), PAGE), Ok(FRAME_SECOND));
    let mut entry = nested(SSADE, 7);
    entry[0] &= !1;
    guest.set_pasid(5, entry);
    guest.flush(&[pasid_cache_of_pasid(7, 5), iotlb_of_domain(7)]);
    assert_eq!(dma.write_or_code(Some(5), PAGE), Err(0x59));
}

// feature: 1.nested: accessed and dirty bits in both stages (SSADE)
#[test]
fn known_failure_05_a_write_after_a_cached_read_sets_the_dirty_bits_of_both_stages() {
    let (guest, dma) = guest(Shape::default());
    let last = second_stage_leaf(NESTED);
    let bits = || (guest.ram.at(LEAF) & 0xfff, guest.ram.at(last) & 0xfff);
    assert_eq!(bits(), (7, 3));
    for _ in 0..2 {
        assert_eq!(dma.read_or_code(Some(5), PAGE), Ok(FRAME_SECOND));
        assert_eq!(bits(), (0x27, 0x103), "a read sets A alone");
    }
    assert_eq!(dma.write_or_code(Some(5), PAGE), Ok(FRAME_SECOND));
    assert_eq!(bits(), (0x67, 0x303), "D is set when the write is let through");
    // A bit was set in each first-stage table, so the second stage has those pages written.
    for level in 0..4 {
        let table = second_stage_leaf(FIRST_A + level * 0x1000);
        assert_eq!(guest.ram.at(table) & 0xfff, 0x303, "the table of level {}", 4 - level);
    }
    guest.ram.take_reads();
    assert_eq!(dma.write_or_code(Some(5), PAGE), Ok(FRAME_SECOND));
    assert_eq!(guest.ram.take_reads(), [], "a write to a dirty page is a plain hit");

    // Either of them cleared by software is set again.
    for (place, cleared, flush) in
        [(LEAF, 0x40, pasid_iotlb(7, 5)), (last, 0x200, iotlb_of_domain(7))]
    {
        guest.ram.put(place, &[guest.ram.at(place) & !cleared]);
        guest.flush(&[flush]);
        assert_eq!(dma.read_or_code(Some(5), PAGE), Ok(FRAME_SECOND));
        assert_ne!(bits(), (0x67, 0x303), "a read sets no D");
        assert_eq!(dma.write_or_code(Some(5), PAGE), Ok(FRAME_SECOND));
        assert_eq!(bits(), (0x67, 0x303), "D is set again");
    }
}

// feature: 1.walks: each entry is read once, into a copy
#[test]
fn known_failure_17_one_nested_translation_reads_each_entry_once() {
    let (guest, dma) = guest(Shape::uncached());
    // From here on A and D are set, so the walk is not taken twice.
    assert_eq!(dma.write_or_code(Some(5), PAGE), Ok(FRAME_SECOND));
    guest.ram.take_reads();
    assert_eq!(dma.write_or_code(Some(5), PAGE), Ok(FRAME_SECOND));
    let reads = guest.ram.take_reads();
    let times = |place: u64| reads.iter().filter(|read| **read == place).count();
    let first = [FIRST_A, FIRST_A + 0x1000, FIRST_A + 0x2000, LEAF];
    for place in first.into_iter().chain([PASIDS + 5 * 64]) {
        assert_eq!(times(place), 1, "the entry at {place:x}");
    }
    // The second stage is walked for each table of the first and for the page; each of these walks reads its leaf once.
    for page in [0, 1, 2, 3].map(|level| FIRST_A + level * 0x1000).into_iter().chain([NESTED]) {
        assert_eq!(times(second_stage_leaf(page)), 1, "the second stage of {page:x}");
    }
    assert_eq!(times(SECOND), 5);
}

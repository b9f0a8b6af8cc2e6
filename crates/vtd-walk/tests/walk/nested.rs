//! The nested walk: a second stage of four levels at 20000 maps guest pages 100 to 105 and 200 to 40000 and up; first-stage tables are
//! guest pages 100 to 103.

use vtd_spec::table::{SecondStage, SecondStageLevels};
use vtd_spec::{FirstStage, FirstStageLevels, Gpa, Iova};
use vtd_walk::{Access, FirstStageRules, TableUpdates, Translated, walk_nested};

use crate::guest::{Guest, most};

/// The first-stage tables and the page, as the guest numbers them and where the second stage puts them.
const TABLES: [(u64, u64); 4] =
    [(0x10_0000, 0x4_0000), (0x10_1000, 0x4_1000), (0x10_2000, 0x4_2000), (0x10_3000, 0x4_3000)];
/// Second-stage leaves of the guest pages 100 to 103 and 200.
const LEAVES: [u64; 5] = [0x2_3800, 0x2_3808, 0x2_3810, 0x2_3818, 0x2_4000];
/// First-stage entries for address 5678, root first.
const ENTRIES: [u64; 4] = [0x4_0000, 0x4_1000, 0x4_2000, 0x4_3028];

fn guest() -> Guest {
    let mut qwords = vec![
        (0x2_0000, 0x2_1003),
        (0x2_1000, 0x2_2003),
        (0x2_2000, 0x2_3003),
        (0x2_2008, 0x2_4003),
        (LEAVES[4], 0x7_0003),
        (ENTRIES[0], 0x10_1007),
        (ENTRIES[1], 0x10_2007),
        (ENTRIES[2], 0x10_3007),
        (ENTRIES[3], 0x20_0007),
    ];
    qwords.extend(LEAVES.iter().zip(TABLES).map(|(leaf, (_, host))| (*leaf, host | 3)));
    Guest::new(&qwords)
}

fn walk(guest: &Guest, accessed_dirty: bool, iova: u64, access: Access) -> Result<Translated, u8> {
    let stage = FirstStage {
        table: Gpa(0x10_0000),
        levels: FirstStageLevels::Four,
        supervisor: false,
        write_protect: false,
        extended_accessed: false,
    };
    let rules = FirstStageRules { stage, no_execute: false, prevent_supervisor_execute: false };
    let levels = SecondStageLevels::Four;
    let second = SecondStage { table: Gpa(0x2_0000), levels, accessed_dirty };
    let updates = TableUpdates::Made;
    walk_nested(guest, &most(), &rules, &second, Iova(iova), access, updates)
        .map_err(|reason| reason.code())
}

// feature: 1.nested: both stages (PGTT 3, ECAP.NEST)
#[test]
fn both_stages_lead_to_the_page() {
    let found = walk(&guest(), false, 0x5678, Access::WRITE).unwrap();
    assert_eq!((found.page.0, found.address.0, found.size.bytes()), (0x7_0000, 0x7_0678, 0x1000));
    assert!(found.granted.read && found.granted.write && found.dirty);
}

// feature: 1.nested: both stages (PGTT 3, ECAP.NEST)
#[test]
fn the_page_is_the_smaller_one_and_both_stages_permit() {
    // (first-stage entry and its place, second-stage entry and its place, page, bytes, writable)
    let rows = [
        // 2 MiB over 4 KiB.
        ((ENTRIES[2], 0x20_0087), (LEAVES[4] + 0x28, 0x7_1003), 0x7_1000, 0x1000, true),
        // 4 KiB over 2 MiB.
        ((ENTRIES[3], 0x40_3007), (0x2_2010, 0x60_0083), 0x60_3000, 0x1000, true),
        // 2 MiB over 1 GiB.
        ((ENTRIES[2], 0x4020_0087), (0x2_1008, 0x1_4000_0083), 0x1_4020_0000, 0x20_0000, true),
        // The first stage, then the second, does not permit writes.
        ((ENTRIES[3], 0x20_0005), (LEAVES[4], 0x7_0003), 0x7_0000, 0x1000, false),
        ((ENTRIES[3], 0x20_0007), (LEAVES[4], 0x7_0001), 0x7_0000, 0x1000, false),
    ];
    for (first, second, page, bytes, writable) in rows {
        let guest = guest();
        guest.write(&[first, second]);
        let found = walk(&guest, false, 0x5678, Access::READ).unwrap();
        assert_eq!((found.page.0, found.size.bytes()), (page, bytes));
        assert_eq!(found.granted.write, writable);
        let written = walk(&guest, false, 0x5678, Access::WRITE).map(|found| found.page.0);
        assert_eq!(written, if writable { Ok(page) } else { Err(0x85) });
    }
}

// feature: 2.fault codes: nested translation (74 to 77)
#[test]
fn faults_of_each_stage() {
    // (place, value, code)
    let rows = [
        (LEAVES[0], 0x4_0002, 0x75),
        (LEAVES[1], 0x4_1002, 0x76),
        (LEAVES[3], 0x4_3002, 0x76),
        (LEAVES[1], 0, 0x79),
        (LEAVES[0], 0x4_0001, 0x77),
        (LEAVES[3], 0x4_3001, 0x77),
        (ENTRIES[1], 0x1_0000_0010_2007, 0x74),
        (ENTRIES[3], 0x1_0000_0020_0007, 0x74),
        (ENTRIES[2], 0, 0x71),
        (ENTRIES[3], 0x20_0003, 0x81),
        (LEAVES[4], 0, 0x79),
        (LEAVES[4], 0x7_0002, 0x86),
        (LEAVES[4], 0xfee0_0003, 0x87),
        (0x2_0000, 0x2_1083, 0x7a),
    ];
    for (place, value, code) in rows {
        let guest = guest();
        guest.write(&[(place, value)]);
        let found = walk(&guest, true, 0x5678, Access::READ).map(|found| found.page.0);
        assert_eq!(found, Err(code), "{place:x} is {value:x}");
        assert_eq!(guest.take_exchanges(), [], "a walk that faults sets nothing: {place:x}");
    }
    assert_eq!(walk(&guest(), false, 1 << 47, Access::READ).map(|found| found.page.0), Err(0x80));
}

// feature: 1.nested: both stages (PGTT 3, ECAP.NEST)
#[test]
fn a_first_stage_entry_that_needs_no_mark_needs_no_write_permission() {
    let guest = guest();
    let marked = [0x10_1027, 0x10_2027, 0x10_3027, 0x20_0027];
    for (entry, value) in ENTRIES.into_iter().zip(marked) {
        guest.write(&[(entry, value)]);
    }
    for (leaf, (_, host)) in LEAVES.into_iter().zip(TABLES) {
        guest.write(&[(leaf, host | 1)]);
    }
    assert_eq!(walk(&guest, false, 0x5678, Access::READ).map(|found| found.page.0), Ok(0x7_0000));
    // D is needed: the last table is not writable.
    assert_eq!(walk(&guest, false, 0x5678, Access::WRITE).map(|found| found.page.0), Err(0x77));
}

// feature: 1.nested: both stages (PGTT 3, ECAP.NEST)
/// Nothing has to be set for a request that faults otherwise, so the permission to set it is not missed.
#[test]
fn write_permission_for_tables_is_asked_for_last() {
    for (place, value, code) in
        [(ENTRIES[3], 0x20_0003, 0x81), (ENTRIES[2], 0, 0x71), (LEAVES[4], 0x7_0002, 0x86)]
    {
        let guest = guest();
        guest.write(&[(LEAVES[0], 0x4_0001), (place, value)]);
        let found = walk(&guest, true, 0x5678, Access::READ).map(|found| found.page.0);
        assert_eq!(found, Err(code), "{place:x} is {value:x}");
    }
}

// feature: 1.nested: accessed and dirty bits in both stages (SSADE)
#[test]
fn accessed_and_dirty_bits_of_both_stages() {
    let guest = guest();
    assert!(walk(&guest, true, 0x5678, Access::WRITE).unwrap().dirty);
    for (entry, value) in ENTRIES.into_iter().zip([0x10_1027, 0x10_2027, 0x10_3027, 0x20_0067]) {
        assert_eq!(guest.at(entry), value, "{entry:x}");
    }
    // Marking a first-stage entry writes its table, so the page of the table is dirty.
    for (leaf, value) in LEAVES.into_iter().zip([0x4_0303, 0x4_1303, 0x4_2303, 0x4_3303, 0x7_0303])
    {
        assert_eq!(guest.at(leaf), value, "{leaf:x}");
    }
    for upper in [(0x2_0000, 0x2_1103), (0x2_1000, 0x2_2103), (0x2_2000, 0x2_3103)] {
        assert_eq!(guest.at(upper.0), upper.1);
    }
    // Everything is marked: another walk marks nothing.
    guest.take_exchanges();
    assert!(walk(&guest, true, 0x5678, Access::WRITE).unwrap().dirty);
    assert_eq!(guest.take_exchanges(), []);
}

#[test]
fn a_table_on_the_way_twice_is_written_through_the_first_page_alone() {
    let guest = guest();
    // Guest pages 100 and 101 are one page, whose first entry leads to 101: the entries of all four levels are one.
    guest.write(&[(LEAVES[1], 0x4_0003), (ENTRIES[0], 0x10_1007)]);
    // What leads there has been used before.
    guest.write(&[(0x2_0000, 0x2_1103), (0x2_1000, 0x2_2103), (0x2_2000, 0x2_3103)]);
    assert_eq!(walk(&guest, true, 0x678, Access::READ).unwrap().address.0, 0x4_0678);
    for (place, value) in [(ENTRIES[0], 0x10_1027), (LEAVES[0], 0x4_0303), (LEAVES[1], 0x4_0103)] {
        assert_eq!(guest.at(place), value, "{place:x}");
    }
    assert_eq!(walk(&guest, true, 0x678, Access::WRITE).unwrap().address.0, 0x4_0678);
    for (place, value) in [(ENTRIES[0], 0x10_1067), (LEAVES[0], 0x4_0303), (LEAVES[1], 0x4_0303)] {
        assert_eq!(guest.at(place), value, "{place:x}");
    }
    // So the second page need not permit writes.
    guest.write(&[(LEAVES[0], 0x4_0003), (LEAVES[1], 0x4_0001), (ENTRIES[0], 0x10_1007)]);
    assert_eq!(walk(&guest, true, 0x678, Access::READ).unwrap().address.0, 0x4_0678);
    for (place, value) in [(ENTRIES[0], 0x10_1027), (LEAVES[0], 0x4_0303), (LEAVES[1], 0x4_0101)] {
        assert_eq!(guest.at(place), value, "{place:x}");
    }
    guest.write(&[(LEAVES[0], 0x4_0001), (LEAVES[1], 0x4_0003), (ENTRIES[0], 0x10_1007)]);
    assert_eq!(walk(&guest, true, 0x678, Access::READ).map(|found| found.address.0), Err(0x77));
}

/// What both stages grant, as one walk under these rules sees it.
fn granted(guest: &Guest, no_execute: bool, accessed_dirty: bool, access: Access) -> Translated {
    let stage = FirstStage {
        table: Gpa(0x10_0000),
        levels: FirstStageLevels::Four,
        supervisor: false,
        write_protect: false,
        extended_accessed: false,
    };
    let rules = FirstStageRules { stage, no_execute, prevent_supervisor_execute: false };
    let levels = SecondStageLevels::Four;
    let second = SecondStage { table: Gpa(0x2_0000), levels, accessed_dirty };
    // Nothing is set, so that D is what the tables say.
    let updates = TableUpdates::Withheld;
    walk_nested(guest, &most(), &rules, &second, Iova(0x5678), access, updates).unwrap()
}

#[test]
fn what_is_granted_is_granted_by_both_stages() {
    const XD: u64 = 1 << 63;
    // (first-stage leaf, second-stage leaf, access; read, execute, dirty, snoop). D is 6 in the first stage and 9 in the second, SNP 11.
    let rows = [
        (0x20_0007, 0x7_0003, Access::READ, [true, true, false, false]),
        // The second stage permits writes alone.
        (0x20_0007, 0x7_0002, Access::WRITE, [false, false, false, false]),
        (0x20_0007 | XD, 0x7_0003, Access::READ, [true, false, false, false]),
        (0x20_0047, 0x7_0003, Access::READ, [true, true, false, false]),
        (0x20_0007, 0x7_0203, Access::READ, [true, true, false, false]),
        (0x20_0047, 0x7_0203, Access::READ, [true, true, true, false]),
        (0x20_0007, 0x7_0803, Access::READ, [true, true, false, true]),
    ];
    for (first, second, access, expected) in rows {
        let guest = guest();
        guest.write(&[(ENTRIES[3], first), (LEAVES[4], second)]);
        let Translated { granted: found, dirty, snoop, .. } = granted(&guest, true, true, access);
        let found = [found.read, found.execute, dirty, snoop];
        assert_eq!(found, expected, "{first:x} {second:x}");
    }
}

//! The first-stage walk: tables of levels 5 to 1 at 15000, 14000 … 11000, and an address with another index at each.

use vtd_spec::{Capabilities, FirstStage, FirstStageLevels, Gpa, Iova};
use vtd_walk::{Access, FirstStageRules, TableUpdates, Translated, walk_first_stage};

use crate::guest::{FEWEST_ECAP, Guest, MOST_CAP, MOST_ECAP, bits, caps, fewest, most};

/// Indices 1, 2, 3, 4 and 5 from the top level down, offset 678.
const FIVE: u64 = 0x0001_0100_c080_5678;
/// The same without the top level.
const FOUR: u64 = 0x0000_0100_c080_5678;
/// Where the entry of each level lies on the way; level 1 first.
const PLACES: [u64; 5] = [0x1_1028, 0x1_2020, 0x1_3018, 0x1_4010, 0x1_5008];
/// P, RW and US.
const OPEN: u64 = 7;

const READ: Access = Access::READ;
const WRITE: Access = Access::WRITE;

/// All entries on the way to a leaf at `level`, open to all; the leaf has this value.
fn tables(level: usize, leaf: u64) -> Guest {
    let mut qwords = vec![(PLACES[level - 1], leaf)];
    // Each entry above leads to the table that the next one lies in.
    for pair in PLACES[level - 1..].windows(2) {
        qwords.push((pair[1], pair[0] & !0xfff | OPEN));
    }
    Guest::new(&qwords)
}

/// The way to a 4 KiB page, with another entry at `level`.
fn with_entry(level: usize, raw: u64) -> Guest {
    let guest = tables(1, 0xabc_d007);
    guest.write(&[(PLACES[level - 1], raw)]);
    guest
}

fn rules(levels: FirstStageLevels) -> FirstStageRules {
    FirstStageRules {
        stage: FirstStage {
            table: Gpa(if levels == FirstStageLevels::Four { 0x1_4000 } else { 0x1_5000 }),
            levels,
            supervisor: true,
            write_protect: false,
            extended_accessed: false,
        },
        no_execute: false,
        prevent_supervisor_execute: false,
    }
}

fn walk_with(
    guest: &Guest,
    caps: &Capabilities,
    rules: &FirstStageRules,
    iova: u64,
    access: Access,
) -> Result<Translated, u8> {
    walk_first_stage(guest, caps, rules, Iova(iova), access, TableUpdates::Made)
        .map_err(|reason| reason.code())
}

fn walk(guest: &Guest, iova: u64, access: Access) -> Result<u64, u8> {
    let rules = rules(if iova == FOUR { FirstStageLevels::Four } else { FirstStageLevels::Five });
    walk_with(guest, &most(), &rules, iova, access).map(|translated| translated.address.0)
}

// feature: 1.first-stage: tables of 4 and 5 levels (FSPM, CAP.FS5LP)
// feature: 1.first-stage: pages of 2 MiB and 1 GiB (CAP.FS1GP)
#[test]
fn pages_of_three_sizes_under_four_and_five_levels() {
    // (level of the leaf, leaf, page, address)
    let rows = [
        (1, 0xabc_d007, 0xabc_d000, 0xabc_d678),
        (2, 0x4020_0087, 0x4020_0000, 0x4020_5678),
        (2, 0x4020_1087, 0x4020_0000, 0x4020_5678), // PAT is bit 12
        (3, 0x1_4000_0087, 0x1_4000_0000, 0x1_4080_5678),
    ];
    for (level, leaf, page, address) in rows {
        for iova in [FOUR, FIVE] {
            let guest = tables(level, leaf);
            let top = if iova == FOUR { 4 } else { 5 };
            let levels = if iova == FOUR { FirstStageLevels::Four } else { FirstStageLevels::Five };
            let found = walk_with(&guest, &most(), &rules(levels), iova, READ).unwrap();
            assert_eq!((found.page.0, found.address.0), (page, address));
            assert_eq!(found.size.bytes(), [0x1000, 0x20_0000, 0x4000_0000][level - 1]);
            assert!(found.granted.read && found.granted.write && found.granted.execute);
            assert!(!found.dirty);
            let mut way: Vec<_> = PLACES[level - 1..top].to_vec();
            way.reverse();
            assert_eq!(guest.take_reads(), way, "known_failure_17: each entry once");
        }
    }
}

// feature: 1.walks: each entry is read once, into a copy
#[test]
fn known_failure_17_an_entry_is_read_once_even_if_it_is_about_to_change() {
    // Each entry loses P as soon as it has been read: the walk goes by its copy, and the change shows at the exchange.
    let guest = tables(1, 0xabc_d027);
    for place in &PLACES[1..] {
        guest.write(&[(*place, guest.at(*place) | 0x20)]);
    }
    guest.take_reads();
    guest.after_read(Box::new(|memory, place| memory.write_u64(Gpa(place), 0).unwrap()));
    assert_eq!(walk(&guest, FIVE, READ), Ok(0xabc_d678));
    assert_eq!(guest.take_reads().len(), 5);
}

// feature: 1.first-stage: canonical addresses (FSPM)
#[test]
fn known_failure_08_canonical_by_the_levels_alone() {
    // (levels, address, canonical); the second-stage widths of the unit are 39 to 57 bits.
    let rows = [
        (4, 0x0000_7fff_ffff_f000, true),
        (4, 0x0000_8000_0000_0000, false),
        (4, 0xffff_8000_0000_0000, true),
        (4, 0xffff_7fff_ffff_ffff, false),
        (4, 0xffff_ffff_ffff_ffff, true),
        (4, 0x0001_0000_0000_0000, false),
        (4, 0x7fff_8000_0000_0000, false),
        (5, 0x0000_8000_0000_0000, true),
        (5, 0x00ff_ffff_ffff_ffff, true),
        (5, 0x0100_0000_0000_0000, false),
        (5, 0xff00_0000_0000_0000, true),
        (5, 0xfeff_ffff_ffff_ffff, false),
        (5, 0xffff_7fff_ffff_ffff, true),
        (5, 0xffff_ffff_ffff_ffff, true),
    ];
    for (levels, iova, canonical) in rows {
        let levels = if levels == 4 { FirstStageLevels::Four } else { FirstStageLevels::Five };
        let guest = Guest::new(&[(0x1_4000, 0), (0x1_5000, 0)]);
        let expected = if canonical { 0x71 } else { 0x80 };
        for caps in [fewest(), most(), caps(0x1000_0000_2226_0286, FEWEST_ECAP, 39)] {
            let found = walk_with(&guest, &caps, &rules(levels), iova, READ).unwrap_err();
            assert_eq!(found, expected, "{levels:?} {iova:x}");
        }
    }
}

// feature: 1.first-stage: tables of 4 and 5 levels (FSPM, CAP.FS5LP)
#[test]
fn upper_half_addresses_index_the_upper_half_of_the_tables() {
    let guest = Guest::new(&[
        (0x1_4ff8, 0x1_3007),
        (0x1_3ff8, 0x1_2007),
        (0x1_2ff8, 0x1_1007),
        (0x1_1ff8, 0xabc_d007),
    ]);
    assert_eq!(
        walk_with(&guest, &most(), &rules(FirstStageLevels::Four), 0xffff_ffff_ffff_fabc, READ)
            .unwrap()
            .address,
        Gpa(0xabc_dabc)
    );
}

// feature: 2.fault codes: first-stage tables
#[test]
fn what_cannot_be_read_is_70_or_73_at_the_root() {
    assert_eq!(walk(&Guest::new(&[]), FIVE, READ), Err(0x73));
    assert_eq!(walk(&Guest::new(&[]), FOUR, READ), Err(0x73));
    for level in 1..5 {
        let guest = tables(level + 1, 0x99_9000 | OPEN);
        assert_eq!(walk(&guest, FIVE, READ), Err(0x70), "{level}");
    }
    let guest = tables(4, 0x99_9000 | OPEN);
    assert_eq!(walk(&guest, FOUR, READ), Err(0x70));
}

// feature: 2.fault codes: first-stage tables
#[test]
fn p_is_tested_first_at_each_level() {
    for level in 1..=5 {
        for raw in [0, !1, 0x80, 0x40_0086] {
            let guest = tables(level, raw);
            assert_eq!(walk(&guest, FIVE, WRITE), Err(0x71), "{level} {raw:x}");
            assert!(guest.take_exchanges().is_empty());
        }
    }
}

// feature: 2.fault codes: first-stage tables
#[test]
fn known_failure_07_every_reserved_bit_of_a_first_stage_entry_faults_72() {
    let no_1g = caps(0x1000_000c_222f_0e86, MOST_ECAP, 52);
    // (caps, level, good entry, reserved bits)
    let rows = [
        (most(), 5, 0x1_4007, 0x80),
        (most(), 4, 0x1_3007, 0x80),
        (most(), 3, 0x1_2007, 0),
        (no_1g, 3, 0x1_2007, 0x80),
        (most(), 3, 0x4000_0087, 0x3fff_e000),
        (most(), 2, 0x4020_0087, 0x001f_e000),
        (no_1g, 2, 0x4020_0087, 0x001f_e000),
        (most(), 1, 0xabc_d007, 0),
    ];
    let rules = rules(FirstStageLevels::Five);
    for (set, level, good, reserved) in rows {
        for width in [36, 48, 52] {
            let set = set.with_host_address_width(width).unwrap();
            let reserved = reserved | 0x000f_ffff_ffff_f000 & !((1 << width) - 1);
            let found = walk_with(&with_entry(level, good), &set, &rules, FIVE, READ);
            assert!(found.is_ok(), "{level} {found:?}");
            // 0 is P; 7 is PS, which makes a table a page or a page a table where it is not reserved.
            for bit in bits(!0x81 | reserved & 0x80) {
                let guest = with_entry(level, good ^ 1 << bit);
                let found = walk_with(&guest, &set, &rules, FIVE, READ);
                let expected = reserved >> bit & 1 == 1;
                assert_eq!(found == Err(0x72), expected, "level {level} bit {bit} width {width}");
                assert!(!expected || guest.take_exchanges().is_empty());
            }
        }
    }
    // Without FS1GP a 1 GiB page is reserved as such.
    for bit in bits(!0x81) {
        let guest = with_entry(3, 0x4000_0087 ^ 1 << bit);
        assert_eq!(walk_with(&guest, &no_1g, &rules, FIVE, READ), Err(0x72));
    }
}

// feature: 1.first-stage: user and write permission of every level (U/S, R/W)
#[test]
fn user_and_write_permission_of_every_level_count() {
    let write_protect = |on| {
        let mut rules = rules(FirstStageLevels::Five);
        rules.stage.write_protect = on;
        rules
    };
    for level in 1..=5 {
        // (bit taken away, access, WPE, outcome)
        let rows = [
            (4, READ, false, Some(0x81)),
            (4, WRITE, false, Some(0x81)),
            (4, READ.with_privilege(), true, None),
            (4, WRITE.with_privilege(), true, None),
            (2, READ, true, None),
            (2, WRITE, false, Some(0x85)),
            (2, WRITE, true, Some(0x85)),
            (2, WRITE.with_privilege(), false, None),
            (2, WRITE.with_privilege(), true, Some(0x85)),
            (6, WRITE, true, Some(0x81)),
            (6, WRITE.with_privilege(), true, Some(0x85)),
        ];
        for (bit, access, wpe, outcome) in rows {
            let guest = tables(1, 0xabc_d007);
            let place = PLACES[level - 1];
            guest.write(&[(place, guest.at(place) & !bit)]);
            let found = walk_with(&guest, &most(), &write_protect(wpe), FIVE, access);
            assert_eq!(found.err(), outcome, "level {level} -{bit} {access:?} {wpe}");
            assert_eq!(
                guest.take_exchanges().is_empty(),
                outcome.is_some(),
                "a fault sets nothing"
            );
            if let Ok(found) = found {
                let write = bit & 2 == 0 || access.privileged && !wpe;
                assert_eq!(found.granted.write, write);
                assert!(found.granted.read);
            }
        }
    }
}

// feature: 1.requests to execute, and execute disable (ERE, NXE, XD)
#[test]
fn known_failure_07_xd_counts_with_nxe_alone() {
    for level in 1..=5 {
        for (no_execute, expected) in [(false, None), (true, Some(0x82))] {
            let guest = tables(1, 0xabc_d007);
            let place = PLACES[level - 1];
            guest.write(&[(place, guest.at(place) | 1 << 63)]);
            let rules = FirstStageRules { no_execute, ..rules(FirstStageLevels::Five) };
            for access in [READ.executing(), READ.executing().with_privilege()] {
                let found = walk_with(&guest, &most(), &rules, FIVE, access);
                assert_eq!(found.err(), expected, "{level}");
            }
            let read = walk_with(&guest, &most(), &rules, FIVE, READ).unwrap();
            assert_eq!(read.granted.execute, !no_execute);
        }
    }
}

// feature: 1.first-stage: accessed and dirty bits (A, D)
// feature: 1.first-stage: extended accessed bits (EAFE, EA)
#[test]
fn known_failure_05_accessed_and_dirty_are_exchanged_root_first_and_leaf_last() {
    for (level, leaf) in [(1, 0xabc_d007), (2, 0x4020_0087), (3, 0x1_4000_0087)] {
        for (access, leaf_bits) in [(READ, 0x20), (WRITE, 0x60)] {
            for (extended, mark) in [(false, 0), (true, 0x400)] {
                let guest = tables(level, leaf);
                let before: Vec<_> = (level..=5)
                    .rev()
                    .map(|level| (PLACES[level - 1], guest.at(PLACES[level - 1])))
                    .collect();
                let mut rules = rules(FirstStageLevels::Five);
                rules.stage.extended_accessed = extended;
                let found = walk_with(&guest, &most(), &rules, FIVE, access).unwrap();
                assert_eq!(found.dirty, access.write);
                let last = before.len() - 1;
                let expected: Vec<_> = (0..)
                    .zip(&before)
                    .map(|(at, (place, raw))| {
                        (*place, raw | mark | if at == last { leaf_bits } else { 0x20 })
                    })
                    .collect();
                assert_eq!(guest.take_exchanges(), expected, "A and D of the leaf in one write");
                // What is set already is not written again.
                walk_with(&guest, &most(), &rules, FIVE, access).unwrap();
                assert!(guest.take_exchanges().is_empty());
                // A write after a read sets D alone.
                let found = walk_with(&guest, &most(), &rules, FIVE, WRITE).unwrap();
                assert!(found.dirty);
                assert_eq!(guest.take_exchanges().len(), usize::from(!access.write));
                assert_eq!(guest.at(PLACES[level - 1]), leaf | mark | 0x60);
                assert!(walk_with(&guest, &most(), &rules, FIVE, READ).unwrap().dirty);
            }
        }
    }
}

#[test]
fn a_walk_that_only_looks_writes_nothing_and_claims_no_dirty_bit() {
    let guest = tables(1, 0xabc_d007);
    let rules = rules(FirstStageLevels::Five);
    let look = |access| {
        walk_first_stage(&guest, &most(), &rules, Iova(FIVE), access, TableUpdates::Withheld)
            .unwrap()
    };
    assert!(!look(READ).dirty && !look(WRITE).dirty);
    assert!(guest.take_exchanges().is_empty());
    guest.write(&[(PLACES[0], 0xabc_d047)]);
    assert!(look(READ).dirty && look(WRITE).dirty);
    assert!(guest.take_exchanges().is_empty());
}

// feature: 1.first-stage: accessed and dirty bits (A, D)
#[test]
fn known_failure_05_an_entry_that_changed_is_walked_again() {
    // (level whose entry changes before its exchange, its new value, outcome)
    let rows = [
        (1, 0xddd_d007, Ok(0xddd_d678)),
        (1, 0, Err(0x71)),
        (1, 0xabc_d005, Err(0x85)),
        (2, 0x4020_0087, Ok(0x4020_5678)),
        (2, 0, Err(0x71)),
        (3, 0x1_4000_0087, Ok(0x1_4080_5678)),
        (4, 0x99_9007, Err(0x70)),
        (5, 0x1_4087, Err(0x72)),
    ];
    for (level, new, outcome) in rows {
        let guest = tables(1, 0xabc_d007);
        let target = PLACES[level - 1];
        let mut done = false;
        guest.before_exchange(Box::new(move |memory, place| {
            if place == target && !done {
                done = true;
                memory.write_u64(Gpa(place), new).unwrap();
            }
        }));
        assert_eq!(walk(&guest, FIVE, WRITE), outcome, "{level} {new:x}");
        // The guest's new value was not overwritten by the old one.
        assert_eq!(guest.at(target) & !0x60, new & !0x60);
        if outcome.is_ok() {
            assert_ne!(guest.at(target) & 0x20, 0);
        }
    }
}

#[test]
fn an_entry_that_changes_for_ever_is_91_after_a_bounded_number_of_walks() {
    for level in 1..=5 {
        let guest = tables(1, 0xabc_d007);
        let target = PLACES[level - 1];
        guest.before_exchange(Box::new(move |memory, place| {
            if place == target {
                let mut raw = [0; 8];
                memory.read_bytes(Gpa(place), &mut raw).unwrap();
                memory.write_u64(Gpa(place), u64::from_le_bytes(raw) ^ 1 << 55).unwrap();
            }
        }));
        assert_eq!(walk(&guest, FIVE, READ), Err(0x91));
        assert!(guest.take_reads().len() <= 16 * 5);
    }
}

// feature: 2.fault codes: first-stage tables
#[test]
fn memory_that_cannot_be_written_is_91() {
    let mut guest = tables(1, 0xabc_d007);
    guest.read_only = true;
    assert_eq!(walk(&guest, FIVE, READ), Err(0x91));
    // Nothing to write, nothing to fail.
    for place in PLACES {
        guest.write(&[(place, guest.at(place) | 0x20)]);
    }
    assert_eq!(walk(&guest, FIVE, READ), Ok(0xabc_d678));
    assert_eq!(walk(&guest, FIVE, WRITE), Err(0x91));
    guest.write(&[(PLACES[0], 0xabc_d067)]);
    assert_eq!(walk(&guest, FIVE, WRITE), Ok(0xabc_d678));
}

#[test]
fn a_table_that_leads_to_itself_is_walked_level_by_level() {
    let guest = Guest::new(&[]);
    for index in 0..512 {
        guest.write(&[(0x1_5000 + index * 8, 0x1_5007)]);
    }
    guest.take_reads();
    assert_eq!(walk(&guest, FIVE, READ), Ok(0x1_5678));
    // It marks itself, which is no reason to walk again.
    assert_eq!(guest.take_reads().len(), 5);
    // The same index at every level: one entry is all five.
    let guest = Guest::new(&[(0x1_5000, 0x1_5007)]);
    assert_eq!(walk(&guest, 0, WRITE), Ok(0x1_5000));
    assert_eq!(guest.at(0x1_5000), 0x1_5067);
    let mut fixed = Guest::new(&[(0x1_5000, 0x1_5067)]);
    fixed.read_only = true;
    assert_eq!(walk(&fixed, 0, WRITE), Ok(0x1_5000));
    assert_eq!(MOST_CAP >> 60 & 1, 1);
}

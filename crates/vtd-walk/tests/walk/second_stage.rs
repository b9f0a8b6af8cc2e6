//! The second-stage walk: tables of levels 5 to 1 at 15000, 14000 … 11000, and an address with another index at each.

use vtd_spec::table::{SecondStage, SecondStageLevels};
use vtd_spec::{Capabilities, Gpa, Iova};
use vtd_walk::{Access, SecondStageCodes, TableUpdates, Translated, walk_second_stage};

use crate::guest::{FEWEST_CAP, Guest, MOST_CAP, MOST_ECAP, bits, caps, fewest, most};

/// Indices 1 to 5 from level 5 down, 2 to 5 from level 4, 3 to 5 from level 3.
const IOVAS: [u64; 3] = [0x0000_0000_c080_5678, 0x0000_0100_c080_5678, 0x0001_0100_c080_5678];
const FIVE: u64 = IOVAS[2];
const LEVELS: [SecondStageLevels; 3] =
    [SecondStageLevels::Three, SecondStageLevels::Four, SecondStageLevels::Five];
const PLACES: [u64; 5] = [0x1_1028, 0x1_2020, 0x1_3018, 0x1_4010, 0x1_5008];
const READ: Access = Access::READ;
const WRITE: Access = Access::WRITE;

/// All entries on the way to a leaf at `level`, with R and W; the leaf has this value.
fn tables(level: usize, leaf: u64) -> Guest {
    let mut qwords = vec![(PLACES[level - 1], leaf)];
    // Each entry above leads to the table that the next one lies in.
    for pair in PLACES[level - 1..].windows(2) {
        qwords.push((pair[1], pair[0] & !0xfff | 3));
    }
    Guest::new(&qwords)
}

/// The way to a 4 KiB page, with another entry at `level`.
fn with_entry(level: usize, raw: u64) -> Guest {
    let guest = tables(1, 0xabc_d003);
    guest.write(&[(PLACES[level - 1], raw)]);
    guest
}

fn stage(levels: SecondStageLevels, accessed_dirty: bool) -> SecondStage {
    let table = match levels {
        SecondStageLevels::Three => 0x1_3000,
        SecondStageLevels::Four => 0x1_4000,
        SecondStageLevels::Five => 0x1_5000,
    };
    SecondStage { table: Gpa(table), levels, accessed_dirty }
}

fn walk_with(
    guest: &Guest,
    caps: &Capabilities,
    stage: &SecondStage,
    codes: SecondStageCodes,
    iova: u64,
    access: Access,
) -> Result<Translated, u8> {
    walk_second_stage(guest, caps, stage, codes, Iova(iova), access, TableUpdates::Made)
        .map_err(|reason| reason.code())
}

/// Through five levels, in scalable mode and in legacy mode.
fn both(guest: &Guest, caps: &Capabilities, access: Access) -> [Result<u64, u8>; 2] {
    [SecondStageCodes::Scalable, SecondStageCodes::Legacy].map(|codes| {
        let stage = stage(SecondStageLevels::Five, false);
        walk_with(guest, caps, &stage, codes, FIVE, access).map(|found| found.address.0)
    })
}

// feature: 1.second-stage: tables of 3, 4 and 5 levels (AW, CAP.SAGAW)
// feature: 1.second-stage: pages of 2 MiB and 1 GiB (CAP.SSLPS)
#[test]
fn pages_of_three_sizes_under_three_to_five_levels() {
    // (level of the leaf, leaf, page, address); EMT, IPAT, 61:52, TM and 63 are ignored.
    let rows = [
        (1, 0xabc_d003, 0xabc_d000, 0xabc_d678),
        (1, 0xfff0_0000_0abc_d07b, 0xabc_d000, 0xabc_d678),
        (2, 0x4020_0083, 0x4020_0000, 0x4020_5678),
        (3, 0x1_4000_0083, 0x1_4000_0000, 0x1_4080_5678),
    ];
    for (level, leaf, page, address) in rows {
        for (levels, iova) in LEVELS.into_iter().zip(IOVAS) {
            let guest = tables(level, leaf);
            let stage = stage(levels, false);
            let found = walk_with(&guest, &most(), &stage, SecondStageCodes::Scalable, iova, WRITE)
                .unwrap();
            assert_eq!((found.page.0, found.address.0), (page, address));
            assert_eq!(found.size.bytes(), [0x1000, 0x20_0000, 0x4000_0000][level - 1]);
            assert!(found.dirty, "there is no dirty bit to set");
            let mut way: Vec<_> = PLACES[level - 1..usize::from(levels.count())].to_vec();
            way.reverse();
            assert_eq!(guest.take_reads(), way, "each entry once");
            assert!(guest.take_exchanges().is_empty(), "no SSADE");
        }
    }
}

// feature: 1.second-stage: tables of 3, 4 and 5 levels (AW, CAP.SAGAW)
#[test]
fn an_address_beyond_aw_is_84_or_4() {
    let rows = [(39, 0), (48, 1), (57, 2)];
    for (width, at) in rows {
        for bit in 12..64 {
            let guest = Guest::new(&[(0x1_3000, 0), (0x1_4000, 0), (0x1_5000, 0)]);
            let stage = stage(LEVELS[at], false);
            for (codes, beyond, absent) in
                [(SecondStageCodes::Scalable, 0x84, 0x79), (SecondStageCodes::Legacy, 4, 6)]
            {
                let found = walk_with(&guest, &most(), &stage, codes, 1 << bit, READ);
                let expected = if bit < width { absent } else { beyond };
                assert_eq!(found.unwrap_err(), expected, "{width} {bit}");
            }
        }
    }
}

// feature: 2.fault codes: second-stage tables
#[test]
fn what_cannot_be_read_is_7b_or_3_at_the_root_and_78_or_7_below() {
    assert_eq!(both(&Guest::new(&[]), &most(), READ), [Err(0x7b), Err(3)]);
    for level in 2..=5 {
        let guest = tables(level, 0x99_9003);
        assert_eq!(both(&guest, &most(), WRITE), [Err(0x78), Err(7)], "{level}");
    }
}

// feature: 1.second-stage: permissions of every level (R, W)
#[test]
fn no_permission_at_all_is_79_and_a_lacking_one_85_or_86() {
    for level in 1..=5 {
        // (R and W of this entry, access, scalable code, legacy code)
        let rows = [
            (0, READ, 0x79, 6),
            (0, WRITE, 0x79, 5),
            (1, READ, 0, 0),
            (1, WRITE, 0x85, 5),
            (2, READ, 0x86, 6),
            (2, WRITE, 0, 0),
            (3, READ, 0, 0),
            (3, WRITE, 0, 0),
        ];
        for (permissions, access, scalable, legacy) in rows {
            let guest = tables(1, 0xabc_d003);
            let place = PLACES[level - 1];
            guest.write(&[(place, guest.at(place) & !3 | permissions)]);
            let expected =
                [scalable, legacy].map(|code| if code == 0 { Ok(0xabc_d678) } else { Err(code) });
            assert_eq!(
                both(&guest, &most(), access),
                expected,
                "level {level} {permissions} {access:?}"
            );
        }
        // X alone (bit 2) is not presence without nested execute.
        let guest = tables(1, 0xabc_d003);
        let place = PLACES[level - 1];
        guest.write(&[(place, guest.at(place) & !3 | 4)]);
        assert_eq!(both(&guest, &most(), READ), [Err(0x79), Err(6)]);
    }
}

// feature: 1.second-stage: permissions of every level (R, W)
#[test]
fn permissions_accumulate_and_79_is_only_for_an_entry_that_grants_nothing() {
    // Read-only above, write-only below: the entry is present, the path grants nothing.
    let guest = tables(1, 0xabc_d002);
    guest.write(&[(PLACES[2], 0x1_2001)]);
    assert_eq!(both(&guest, &most(), READ), [Err(0x86), Err(6)]);
    assert_eq!(both(&guest, &most(), WRITE), [Err(0x85), Err(5)]);
    // What is granted is what all entries grant.
    let guest = tables(1, 0xabc_d003);
    guest.write(&[(PLACES[2], 0x1_2001)]);
    let stage = stage(SecondStageLevels::Five, false);
    let found = walk_with(&guest, &most(), &stage, SecondStageCodes::Scalable, FIVE, READ).unwrap();
    assert!(found.granted.read && !found.granted.write);
}

// feature: 1.second-stage: permissions of every level (R, W)
#[test]
fn permission_is_tested_before_reserved_bits() {
    for level in 1..=5 {
        // A reserved bit that is one at every level and size: beyond 48 bits.
        let beyond = 1 << 50;
        for (permissions, access, scalable, legacy) in [
            (0, READ, 0x79, 6),
            (1, WRITE, 0x85, 5),
            (2, READ, 0x86, 6),
            (1, READ, 0x7a, 0xc),
            (2, WRITE, 0x7a, 0xc),
        ] {
            let guest = tables(1, 0xabc_d003);
            let place = PLACES[level - 1];
            guest.write(&[(place, guest.at(place) & !3 | permissions | beyond)]);
            let caps = caps(MOST_CAP, MOST_ECAP, 48);
            assert_eq!(both(&guest, &caps, access), [Err(scalable), Err(legacy)], "{level}");
        }
    }
}

// feature: 2.fault codes: second-stage tables
#[test]
fn known_failure_07_every_reserved_bit_of_a_second_stage_entry_faults_7a_or_c() {
    let no_snoop = caps(MOST_CAP, MOST_ECAP & !0x80, 52);
    let only_2m = caps(FEWEST_CAP | 1 << 34, MOST_ECAP, 52);
    // (caps, level, good entry, reserved bits)
    let rows = [
        (most(), 5, 0x1_4003, 0x880),
        (most(), 4, 0x1_3003, 0x880),
        (most(), 3, 0x1_2003, 0x800),
        (most(), 2, 0x1_1003, 0x800),
        (only_2m, 3, 0x1_2003, 0x880),
        (only_2m, 2, 0x1_1003, 0x800),
        (fewest(), 3, 0x1_2003, 0xf_0000_0000_0880),
        (fewest(), 2, 0x1_1003, 0xf_0000_0000_0880),
        (most(), 3, 0x4000_0083, 0x3fff_f000),
        (no_snoop, 3, 0x4000_0083, 0x3fff_f800),
        (most(), 2, 0x4020_0083, 0x001f_f000),
        (no_snoop, 2, 0x4020_0083, 0x001f_f800),
        // PS of a 4 KiB entry has no meaning.
        (most(), 1, 0xabc_d003, 0),
        (no_snoop, 1, 0xabc_d003, 0x800),
        (fewest(), 1, 0xabc_d003, 0xf_0000_0000_0800),
    ];
    for (caps, level, good, reserved) in rows {
        assert_eq!(
            both(&with_entry(level, good), &caps, READ).map(|found| found.is_ok()),
            [true; 2]
        );
        // 0 and 1 are permissions; 7 is PS where it is not reserved.
        for bit in bits(!3 & !0x80 | reserved & 0x80) {
            let found = both(&with_entry(level, good ^ 1 << bit), &caps, READ);
            let expected = reserved >> bit & 1 == 1;
            let is = [found[0] == Err(0x7a), found[1] == Err(0xc)];
            assert_eq!(is, [expected; 2], "level {level} {good:x} bit {bit}");
        }
    }
    // The reserved bits of a large page that is not shown are beside the point.
    for (level, leaf) in [(2, 0x4020_0083), (3, 0x4000_0083)] {
        assert_eq!(both(&tables(level, leaf), &fewest(), READ), [Err(0x7a), Err(0xc)]);
    }
}

// feature: 1.second-stage: accessed and dirty bits (SSADE)
#[test]
fn known_failure_05_accessed_and_dirty_with_ssade_alone() {
    let stage = |on| stage(SecondStageLevels::Five, on);
    let walk = |guest: &Guest, on, access| {
        walk_with(guest, &most(), &stage(on), SecondStageCodes::Scalable, FIVE, access)
    };
    for (level, leaf) in [(1, 0xabc_d003), (2, 0x4020_0083), (3, 0x1_4000_0083)] {
        for (access, leaf_bits) in [(READ, 0x100), (WRITE, 0x300)] {
            let guest = tables(level, leaf);
            walk(&guest, false, access).unwrap();
            assert!(guest.take_exchanges().is_empty());
            let before: Vec<_> = (level..=5)
                .rev()
                .map(|level| (PLACES[level - 1], guest.at(PLACES[level - 1])))
                .collect();
            let found = walk(&guest, true, access).unwrap();
            assert_eq!(found.dirty, access.write);
            let last = before.len() - 1;
            let expected: Vec<_> = (0..)
                .zip(before)
                .map(|(at, (place, raw))| (place, raw | if at == last { leaf_bits } else { 0x100 }))
                .collect();
            assert_eq!(guest.take_exchanges(), expected);
            assert!(walk(&guest, true, WRITE).unwrap().dirty);
            assert_eq!(guest.at(PLACES[level - 1]), leaf | 0x300);
        }
    }
    // A fault sets nothing.
    let guest = tables(1, 0xabc_d001);
    assert_eq!(walk(&guest, true, WRITE).unwrap_err(), 0x85);
    assert!(guest.take_exchanges().is_empty());
    // Memory that cannot be written, and an entry that changes for ever
    let mut guest = tables(1, 0xabc_d003);
    guest.read_only = true;
    assert_eq!(walk(&guest, true, READ).unwrap_err(), 0x7d);
    let guest = tables(1, 0xabc_d003);
    guest.before_exchange(Box::new(|memory, place| {
        let mut raw = [0; 8];
        memory.read_bytes(Gpa(place), &mut raw).unwrap();
        memory.write_u64(Gpa(place), u64::from_le_bytes(raw) ^ 1 << 55).unwrap();
    }));
    assert_eq!(walk(&guest, true, READ).unwrap_err(), 0x7d);
    assert!(guest.take_reads().len() <= 16 * 5);
}

// feature: 1.second-stage: accessed and dirty bits (SSADE)
#[test]
fn known_failure_05_an_entry_that_changed_is_walked_again() {
    for (new, outcome) in [(0xddd_d003, Ok(0xddd_d678)), (0, Err(0x79)), (0xabc_d001, Err(0x85))] {
        let guest = tables(1, 0xabc_d003);
        let mut done = false;
        guest.before_exchange(Box::new(move |memory, place| {
            if place == PLACES[0] && !done {
                done = true;
                memory.write_u64(Gpa(place), new).unwrap();
            }
        }));
        let stage = stage(SecondStageLevels::Five, true);
        let found = walk_with(&guest, &most(), &stage, SecondStageCodes::Scalable, FIVE, WRITE);
        assert_eq!(found.map(|found| found.address.0), outcome);
        assert_eq!(guest.at(PLACES[0]) & !0x300, new);
    }
}

#[test]
fn a_table_that_leads_to_itself_is_walked_level_by_level() {
    let guest = Guest::new(&[]);
    for index in 0..512 {
        guest.write(&[(0x1_5000 + index * 8, 0x1_5003)]);
    }
    guest.take_reads();
    let stage = stage(SecondStageLevels::Five, true);
    let found = walk_with(&guest, &most(), &stage, SecondStageCodes::Scalable, FIVE, WRITE);
    assert_eq!(found.unwrap().address.0, 0x1_5678);
    // It marks itself, which is no reason to walk again.
    assert_eq!(guest.take_reads().len(), 5);
}

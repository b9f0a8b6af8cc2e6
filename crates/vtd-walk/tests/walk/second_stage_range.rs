//! The walk over a range of a second-stage table: tables of levels 5 to 1 at 15000, 14000 … 11000.

use std::collections::BTreeMap;

use vtd_spec::table::{SecondStage, SecondStageLevels};
use vtd_spec::{Capabilities, Gpa, Iova};
use vtd_walk::{
    Access, LeafStep, SecondStageCodes, SecondStageRange, TableUpdates, walk_second_stage,
};

use crate::guest::{Guest, Numbers, bits, fewest, most};

/// First page, pages, address, and R and W as 1 and 2.
type Leaf = (u64, u64, u64, u8);

const ALL: (u64, u64) = (0, u64::MAX);

fn stage(levels: u8) -> SecondStage {
    let (table, levels) = match levels {
        3 => (0x1_3000, SecondStageLevels::Three),
        4 => (0x1_4000, SecondStageLevels::Four),
        _ => (0x1_5000, SecondStageLevels::Five),
    };
    SecondStage { table: Gpa(table), levels, accessed_dirty: true }
}

/// All leaves of a range, by one walk with budgets of this size, or by a new walk from its position after each budget.
fn leaves_in_steps(
    guest: &Guest,
    caps: &Capabilities,
    levels: u8,
    (first, end): (u64, u64),
    size: u32,
    anew: bool,
) -> Vec<Leaf> {
    let stage = stage(levels);
    let mut walk = SecondStageRange::new(guest, caps, &stage, first, end);
    let mut found = Vec::new();
    let mut budget = size;
    for _ in 0..2_000_000 {
        let before = (walk.position(), guest.take_reads().len());
        let step = walk.step(&mut budget);
        assert!(walk.position() >= before.0, "the walk goes back");
        match step {
            LeafStep::Leaf(leaf) => {
                let granted =
                    u8::from(leaf.permissions.read) | u8::from(leaf.permissions.write) << 1;
                found.push((leaf.first, leaf.pages, leaf.address.0, granted));
            }
            LeafStep::Pause => {
                assert_eq!(budget, 0);
                budget = size;
                if anew {
                    walk = SecondStageRange::new(guest, caps, &stage, walk.position(), end);
                }
            }
            LeafStep::End => return found,
        }
    }
    panic!("the walk does not end");
}

fn leaves(guest: &Guest, caps: &Capabilities, levels: u8, range: (u64, u64)) -> Vec<Leaf> {
    let found = leaves_in_steps(guest, caps, levels, range, 1_000_000, false);
    // However small the budget, and wherever a new walk takes over: as many entries as there are levels get on.
    assert_eq!(leaves_in_steps(guest, caps, levels, range, 1, false), found);
    assert_eq!(leaves_in_steps(guest, caps, levels, range, u32::from(levels), true), found);
    found
}

/// Tables of all levels, each with the one below it at index 0, and these entries.
fn chain(entries: &[(u64, u64)]) -> Guest {
    let guest = Guest::new(&[
        (0x1_5000, 0x1_4003),
        (0x1_4000, 0x1_3003),
        (0x1_3000, 0x1_2003),
        (0x1_2000, 0x1_1003),
        (0x1_1ff8, 0),
    ]);
    guest.write(entries);
    guest
}

#[test]
fn leaves_of_three_sizes_under_three_to_five_levels() {
    let guest = chain(&[
        (0x1_1008, 0x5000 | 3),
        (0x1_1010, 0x6000 | 1),
        (0x1_1ff8, 0x7000 | 2),
        (0x1_2008, 0x4020_0083),
        (0x1_2018, 0x4060_0081),
        (0x1_3008, 0x1_4000_0082),
    ]);
    let expected = [
        (1, 1, 0x5000, 3),
        (2, 1, 0x6000, 1),
        (0x1ff, 1, 0x7000, 2),
        (0x200, 0x200, 0x4020_0000, 3),
        (0x600, 0x200, 0x4060_0000, 1),
        (0x4_0000, 0x4_0000, 0x1_4000_0000, 2),
    ];
    for levels in 3..=5 {
        assert_eq!(leaves(&guest, &most(), levels, ALL), expected, "{levels} levels");
    }
    // Where no large pages are shown, PS is reserved, and what it covers is skipped.
    assert_eq!(leaves(&guest, &fewest(), 4, ALL), expected[..3]);
}

#[test]
fn the_last_entries_of_every_level() {
    // Index 511 at every level.
    let guest = Guest::new(&[
        (0x1_5ff8, 0x1_4003),
        (0x1_4ff8, 0x1_3003),
        (0x1_3ff8, 0x1_2003),
        (0x1_2ff8, 0x1_1003),
        (0x1_1ff8, 0x8003),
    ]);
    for levels in 3..=5_u8 {
        let last = (1_u64 << (9 * levels)) - 1;
        assert_eq!(leaves(&guest, &most(), levels, ALL), [(last, 1, 0x8000, 3)]);
        assert_eq!(leaves(&guest, &most(), levels, (last, u64::MAX)), [(last, 1, 0x8000, 3)]);
        assert_eq!(leaves(&guest, &most(), levels, (0, last)), []);
        assert_eq!(leaves(&guest, &most(), levels, (last + 1, u64::MAX)), []);
    }
}

#[test]
fn permissions_are_those_of_all_levels() {
    // (R and W of levels 5 to 1, what is granted)
    for raw in (0..1 << 10).step_by(if cfg!(miri) { 341 } else { 1 }) {
        let own: [u64; 5] = std::array::from_fn(|index| raw >> (2 * index) & 3);
        let guest = Guest::new(&[
            (0x1_5000, 0x1_4000 | own[0]),
            (0x1_4000, 0x1_3000 | own[1]),
            (0x1_3000, 0x1_2000 | own[2]),
            (0x1_2000, 0x1_1000 | own[3]),
            (0x1_1000, 0x9000 | own[4]),
        ]);
        let granted = own.iter().fold(3, |all, own| all & own);
        let found = leaves_in_steps(&guest, &most(), 5, ALL, 1_000_000, false);
        let granted = u8::try_from(granted).unwrap();
        let expected = [(0, 1, 0x9000, granted)];
        assert_eq!(found, expected[..usize::from(granted != 0)], "{own:?}");
        assert_eq!(guest.take_exchanges(), [], "nothing is set in any entry");
    }
}

#[test]
fn a_reserved_bit_skips_what_the_entry_covers() {
    // A host of 48 bits: 51:48 of every entry are reserved, and of a table entry 7 at levels 5 and 4, of a large leaf the low bits
    // of its address.
    let caps = most().with_host_address_width(48).unwrap();
    let whole = [
        (0x1_1000, 0x5003),
        (0x1_1008, 0x6003),
        (0x1_2008, 0x4020_0083),
        (0x1_3008, 0x1_4000_0083),
    ];
    let places = [(5, 0x1_5000), (4, 0x1_4000), (3, 0x1_3000), (2, 0x1_2000), (1, 0x1_1000)];
    for (level, place) in places {
        for bit in bits(0x000f_0000_0000_0000) {
            let guest = chain(&whole);
            guest.write(&[(place, guest.at(place) | 1 << bit)]);
            let found = leaves(&guest, &caps, 5, ALL);
            let expected: &[u64] = match level {
                5 | 4 => &[],
                3 => &[0x4_0000],
                2 => &[0x200, 0x4_0000],
                _ => &[1, 0x200, 0x4_0000],
            };
            let firsts: Vec<_> = found.iter().map(|leaf| leaf.0).collect();
            assert_eq!(firsts, expected, "level {level} bit {bit}");
        }
    }
    for (place, bits_of_address) in [(0x1_2008, 0x001f_f000), (0x1_3008, 0x3fff_f000)] {
        for bit in bits(bits_of_address) {
            let guest = chain(&whole);
            guest.write(&[(place, guest.at(place) | 1 << bit)]);
            assert_eq!(leaves(&guest, &caps, 5, ALL).len(), 3, "{place:x} bit {bit}");
        }
    }
    for place in [0x1_5000, 0x1_4000] {
        let guest = chain(&whole);
        guest.write(&[(place, guest.at(place) | 0x80)]);
        assert_eq!(leaves(&guest, &caps, 5, ALL), [], "{place:x}");
    }
}

#[test]
fn a_table_that_cannot_be_read_is_empty() {
    let guest = chain(&[(0x1_1000, 0x5003), (0x1_2008, 0x66_6003), (0x1_2010, 0x4040_0083)]);
    let found = leaves(&guest, &most(), 4, ALL);
    assert_eq!(found, [(0, 1, 0x5000, 3), (0x400, 0x200, 0x4040_0000, 3)]);
    assert_eq!(leaves(&Guest::new(&[]), &most(), 3, (0x1000, 0x1400)), []);
}

#[test]
fn a_range_begins_and_ends_in_the_middle_of_a_leaf() {
    let guest = chain(&[
        (0x1_1ff8, 0x5003),
        (0x1_2008, 0x4020_0083),
        (0x1_2010, 0x4040_0083),
        (0x1_3008, 0x1_4000_0083),
    ]);
    let (one, two, three) = ((0x1ff, 1, 0x5000, 3), (0x200, 0x200, 0x4020_0000, 3), 0x400);
    let three = (three, 0x200, 0x4040_0000, 3);
    let large = (0x4_0000, 0x4_0000, 0x1_4000_0000, 3);
    let rows: [((u64, u64), &[Leaf]); 11] = [
        ((0, 0), &[]),
        ((0x1ff, 0x1ff), &[]),
        ((0x200, 0x1ff), &[]),
        ((0x1ff, 0x200), &[one]),
        ((0x1ff, 0x201), &[one, two]),
        ((0x2ff, 0x300), &[two]),
        ((0x3ff, 0x401), &[two, three]),
        ((0x5ff, 0x600), &[three]),
        ((0x600, 0x4_0000), &[]),
        ((0x4_1234, 0x4_1235), &[large]),
        ((0x7_ffff, u64::MAX), &[large]),
    ];
    for (range, expected) in rows {
        assert_eq!(leaves(&guest, &most(), 4, range), expected, "{range:x?}");
    }
}

#[test]
fn every_entry_is_read_once() {
    let guest = chain(&[(0x1_1000, 0x5003), (0x1_1008, 0x6003), (0x1_2008, 0x4020_0083)]);
    let stage = stage(4);
    let (caps, mut budget) = (most(), 10_000);
    let mut walk = SecondStageRange::new(&guest, &caps, &stage, 0, 0x400);
    while walk.step(&mut budget) != LeafStep::End {}
    let reads = guest.take_reads();
    // The way down, the 511 others of the lowest table, and one more of the table above it.
    assert_eq!(reads.len(), 3 + 512 + 1);
    assert_eq!(reads.iter().collect::<std::collections::BTreeSet<_>>().len(), reads.len());
    assert_eq!(budget, 10_000 - 516);
    // Past the end it stays there.
    assert_eq!(walk.step(&mut budget), LeafStep::End);
    assert_eq!((walk.position() >= 0x400, guest.take_reads()), (true, Vec::new()));
    let mut none = 0;
    let mut walk = SecondStageRange::new(&guest, &caps, &stage, 0, 0x400);
    assert_eq!((walk.step(&mut none), guest.take_reads().len()), (LeafStep::Pause, 0));
}

/// One page that is a table of every level: 2^45 pages that all lead to it.
#[test]
fn a_table_that_points_to_itself_is_walked_in_bounded_steps() {
    let guest = Guest::new(&[]);
    for index in 0..512 {
        guest.write(&[(0x1_5000 + index * 8, 0x1_5003)]);
    }
    let (caps, stage) = (most(), stage(5));
    let mut walk = SecondStageRange::new(&guest, &caps, &stage, 0, u64::MAX);
    for count in [1, 7, 4_096] {
        let mut budget = count;
        while walk.step(&mut budget) != LeafStep::Pause {}
        assert_eq!(guest.take_reads().len(), usize::try_from(count).unwrap());
    }
    // Tables that all lead to one that is empty: nothing is found, and a step ends all the same.
    let guest = chain(&[]);
    for index in 0..512 {
        guest.write(&[(0x1_5000 + index * 8, 0x1_4003), (0x1_4000 + index * 8, 0x1_3003)]);
        guest.write(&[(0x1_3000 + index * 8, 0x1_2003), (0x1_2000 + index * 8, 0x1_1003)]);
    }
    let mut walk = SecondStageRange::new(&guest, &caps, &stage, 0, u64::MAX);
    let mut budget = 100_000;
    assert_eq!(walk.step(&mut budget), LeafStep::Pause);
    assert_eq!((walk.position() / 512, guest.take_reads().len()), (194, 100_000));
}

/// What single walks say of a page: where it leads and what is granted. What leads to the interrupt range is left out.
fn page(guest: &Guest, caps: &Capabilities, levels: u8, page: u64) -> Option<(u64, u8)> {
    let stage = stage(levels);
    let walk = |access| {
        let iova = Iova(page << 12);
        let codes = SecondStageCodes::Scalable;
        let withheld = TableUpdates::Withheld;
        walk_second_stage(guest, caps, &stage, codes, iova, access, withheld).ok()
    };
    let (read, write) = (walk(Access::READ), walk(Access::WRITE));
    let address = read.or(write)?.address.0;
    Some((address, u8::from(read.is_some()) | u8::from(write.is_some()) << 1))
}

#[test]
fn random_tables_against_a_walk_of_every_page() {
    let mut numbers = Numbers(0x2545_f491_4f6c_dd1d);
    let caps = most().with_host_address_width(46).unwrap();
    for round in 0..if cfg!(miri) { 2 } else { 120 } {
        let levels = 3 + u8::try_from(numbers.below(3)).unwrap();
        // Few indices, so that paths meet: 0, 1, 2 and 511 of every table; tables at 10000 to 18000 lead to each other.
        let guest = Guest::new(&[]);
        let indices = [0, 1, 2, 511];
        for table in 0..8 {
            let place = 0x1_1000 + table * 0x1000;
            guest.write(&[(place + 0x800, 0)]);
            for index in indices {
                let kind = numbers.below(12);
                let permissions = if numbers.below(3) == 0 { numbers.below(4) } else { 3 };
                let raw = match kind {
                    0 | 1 => 0,
                    2 => numbers.next() & !(0x7f << 52),
                    3 => (numbers.below(0x100) << 30) | 0x80 | permissions,
                    4 => (numbers.below(0x100) << 21) | 0x80 | permissions,
                    5 => 0x2_0000 | permissions,
                    _ => 0x1_1000 + numbers.below(8) * 0x1000 | permissions,
                };
                guest.write(&[(place + index * 8, raw)]);
            }
        }
        // Pages at the corners of what the indices name, and around them.
        let shifts = |count: u8| (0..count).map(|level| 9 * u32::from(level));
        let mut pages = vec![0_u64];
        for shift in shifts(levels) {
            let base = std::mem::take(&mut pages);
            pages.extend(base.iter().flat_map(|page| indices.map(|index| page | index << shift)));
        }
        pages.sort_unstable();
        let (first, end) = match round % 3 {
            0 => ALL,
            _ => {
                let at = |numbers: &mut Numbers| {
                    pages[usize::try_from(numbers.below(pages.len() as u64)).unwrap()]
                };
                let (a, b) = (at(&mut numbers), at(&mut numbers));
                (a.min(b), a.max(b))
            }
        };
        // A whole walk of tables that lead to each other meets indices beyond the four: those are absent.
        let found = leaves_in_steps(&guest, &caps, levels, (first, end), 1_000_000, false);
        let size = 1 + u32::try_from(numbers.below(30)).unwrap();
        let in_steps = leaves_in_steps(&guest, &caps, levels, (first, end), size, false);
        assert_eq!(in_steps, found, "budgets of {size}");
        let mut by_first = BTreeMap::new();
        let mut reached = 0;
        for leaf in &found {
            assert!(leaf.0 >= reached && leaf.0 + leaf.1 > first && leaf.0 < end, "{leaf:x?}");
            reached = leaf.0 + leaf.1;
            by_first.insert(leaf.0, *leaf);
        }
        let interrupts = 0xf_ee00..0xf_ef00;
        for number in pages.iter().flat_map(|page| [*page, page + 1, page + 255]) {
            if number < first || number >= end || number >> (9 * levels) != 0 {
                continue;
            }
            let leaf = by_first.range(..=number).next_back().map(|(_, leaf)| *leaf);
            let leaf = leaf.filter(|(first, pages, ..)| number < first + pages);
            let ours = leaf
                .map(|(first, _, address, granted)| (address + ((number - first) << 12), granted));
            let ours = ours.filter(|(address, _)| !interrupts.contains(&(address >> 12)));
            assert_eq!(page(&guest, &caps, levels, number), ours, "round {round} page {number:x}");
        }
    }
}

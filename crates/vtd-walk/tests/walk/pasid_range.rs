//! The walk over a range of PASIDs against a loop over all of them.

use std::collections::BTreeMap;

use vtd_memory::GuestMemory;
use vtd_spec::Entry;
use vtd_spec::table::ContextEntry;
use vtd_walk::{PasidRange, RangeStep};

use crate::guest::{Guest, Numbers, most};

fn context(low: u64) -> ContextEntry {
    let Entry::Present(context) = ContextEntry::decode([low, 0, 0, 0], &most()) else { panic!() };
    context
}

/// What is found with budgets of this size, and how many of them it takes.
fn walk(guest: &Guest, low: u64, start: u32, end: u32, size: u32) -> (Vec<(u32, u64)>, u32) {
    let (context, caps) = (context(low), most());
    let mut range = PasidRange::new(guest, &caps, &context, start, end);
    let mut found = Vec::new();
    let mut budgets = 0;
    loop {
        let mut budget = size;
        budgets += 1;
        loop {
            match range.step(&mut budget) {
                RangeStep::Entry { pasid, place, raw } => {
                    let mut there = [0; 8];
                    guest.load_qwords(place, &mut there).unwrap();
                    assert_eq!(raw, there);
                    found.push((pasid.get(), raw[1]));
                }
                RangeStep::Pause => {
                    assert_eq!(budget, 0);
                    break;
                }
                RangeStep::End => {
                    assert!(range.position() >= end.min(context.pasid_end()));
                    return (found, budgets);
                }
            }
        }
    }
}

/// The same, each budget with a new walk from where the last one stopped.
fn walk_anew(guest: &Guest, low: u64, start: u32, end: u32, size: u32) -> Vec<(u32, u64)> {
    let (context, caps) = (context(low), most());
    let mut found = Vec::new();
    let mut position = start;
    for _ in 0..=(end.saturating_sub(start)) {
        let mut range = PasidRange::new(guest, &caps, &context, position, end);
        let mut budget = size;
        loop {
            match range.step(&mut budget) {
                RangeStep::Entry { pasid, raw, .. } => found.push((pasid.get(), raw[1])),
                RangeStep::Pause => break,
                RangeStep::End => return found,
            }
        }
        assert!(range.position() > position, "a budget of {size} gets nowhere");
        position = range.position();
    }
    panic!("the walk does not end")
}

/// Every PASID looked up by itself, in raw integers: directory at 10000, every page known or not.
fn naive(memory: &BTreeMap<u64, u64>, pdts: u32, start: u32, end: u32) -> Vec<(u32, u64)> {
    let known = |place: u64| memory.contains_key(&(place & !0xfff));
    let at = |place: u64| memory.get(&(place | 1)).copied().unwrap_or(0);
    (start..end.min(0x2000 << pdts))
        .filter_map(|pasid| {
            let directory = 0x1_0000 + u64::from(pasid >> 6) * 8;
            let entry = at(directory);
            let table = entry & 0x000f_ffff_ffff_f000;
            let place = table + u64::from(pasid & 63) * 64;
            let usable = known(directory) && entry & 0xfff0_0000_0000_0ffd == 1 && known(place);
            (usable && at(place) & 1 == 1).then(|| (pasid, at(place + 8)))
        })
        .collect()
}

/// Tables at random: values of the qword at p under p | 1, known pages under their address.
fn random_tables(numbers: &mut Numbers, pdts: u64) -> (Guest, BTreeMap<u64, u64>) {
    let mut memory = BTreeMap::new();
    let mut put = |place: u64, value: u64| {
        memory.insert(place & !0xfff, 0);
        memory.insert(place | 1, value);
    };
    for index in 0..(128_u64 << pdts) {
        let table = 0x10_0000 + numbers.below(6) * 0x1000;
        // absent, FPD alone, reserved bits, unreadable, beyond the width, and tables that alias each other
        let entry = match numbers.below(12) {
            0..=4 => 0,
            5 => 2,
            6 => table | 1 | 4 << numbers.below(10),
            7 => 0x20_0001,
            8 => table | 1 | 1 << (52 + numbers.below(12)),
            9 => table | 3,
            _ => table | 1,
        };
        // A page of the directory in 512 entries may be missing as a whole.
        if index / 512 != 1 || numbers.0 & 1 == 0 {
            put(0x1_0000 + index * 8, entry);
        }
    }
    for page in 0..5 {
        for index in 0..64 {
            let low = [0, 1, 0x101, 2, !1][usize::try_from(numbers.below(5)).unwrap()];
            put(0x10_0000 + page * 0x1000 + index * 64, low);
            put(0x10_0000 + page * 0x1000 + index * 64 + 8, page << 8 | index);
        }
    }
    let guest = Guest::new(&[]);
    for (place, value) in memory.iter().filter(|(place, _)| *place & 1 == 1) {
        guest.write(&[(place & !1, *value)]);
    }
    (guest, memory)
}

#[test]
fn it_finds_what_a_loop_over_all_pasids_finds() {
    let mut numbers = Numbers(0x5eed);
    for _ in 0..if cfg!(miri) { 1 } else { 20 } {
        let pdts = numbers.below(3);
        let (guest, memory) = random_tables(&mut numbers, pdts);
        let pdts_u32 = u32::try_from(pdts).unwrap();
        let low = 0x1_0001 | pdts << 9;
        for _ in 0..if cfg!(miri) { 1 } else { 8 } {
            let mut bound = || u32::try_from(numbers.below(0x9000)).unwrap();
            let (start, end) = (bound(), bound());
            let expected = naive(&memory, pdts_u32, start, end);
            let sizes = [65, 1000, 1, 2, 3, 63, 64, 66, u32::MAX];
            for size in sizes.into_iter().take(if cfg!(miri) { 2 } else { 9 }) {
                assert_eq!(
                    walk(&guest, low, start, end, size).0,
                    expected,
                    "{start:x} {end:x} {size}"
                );
                assert_eq!(
                    walk_anew(&guest, low, start, end, size),
                    expected,
                    "{start:x} {end:x} {size}"
                );
            }
        }
    }
}

#[test]
#[cfg_attr(miri, ignore = "65,000 walks")]
fn every_small_range_and_budget_gives_the_same() {
    // PASIDs 0 to 63 at 7000, 64 to 127 absent, 128 to 191 the same table again
    let guest = Guest::new(&[(0x5000, 0x7001), (0x5008, 0), (0x5010, 0x7001)]);
    for present in [0, 1, 31, 62, 63] {
        guest.write(&[(0x7000 + present * 64, 0x101), (0x7008 + present * 64, present)]);
    }
    let all: Vec<_> =
        [0, 1, 31, 62, 63].into_iter().flat_map(|at| [(at, at), (at + 128, at)]).collect();
    for start in (0..200).step_by(7).chain([63, 64, 65, 127, 128]) {
        for end in (0..200).step_by(11).chain([63, 64, 65, 127, 128, 191, 192, 1 << 20, u32::MAX]) {
            let mut expected: Vec<_> = all
                .iter()
                .map(|(pasid, value)| (u32::try_from(*pasid).unwrap(), *value))
                .filter(|(pasid, _)| (start..end).contains(pasid))
                .collect();
            expected.sort_unstable();
            for size in 1..70 {
                assert_eq!(walk(&guest, 0x5001, start, end, size).0, expected);
            }
        }
    }
}

#[test]
fn a_directory_that_leads_nowhere_costs_one_step() {
    // 128 directory entries; (their value, how many steps the whole range costs)
    for (entry, steps) in
        [(0, 128), (2, 128), (0x7005, 128), (0x8001, 128 * 64), (0x7001, 128 * 64)]
    {
        let guest = Guest::new(&[(0x7000, 0)]);
        for index in 0..128 {
            guest.write(&[(0x5000 + index * 8, entry)]);
        }
        let (context, caps) = (context(0x5001), most());
        let mut range = PasidRange::new(&guest, &caps, &context, 0, 1 << 20);
        let mut budget = 100_000;
        assert_eq!(range.step(&mut budget), RangeStep::End);
        assert_eq!(100_000 - budget, steps, "{entry:x}");
    }
    // From the middle of what an absent entry covers: (first PASID, steps)
    for (start, steps) in [(1, 128), (0x3f, 128), (0x40, 127), (0x1f, 128), (0x1fff, 1)] {
        let guest = Guest::new(&[(0x5000, 0)]);
        let (context, caps) = (context(0x5001), most());
        let mut range = PasidRange::new(&guest, &caps, &context, start, 1 << 20);
        let mut budget = 1_000;
        assert_eq!(range.step(&mut budget), RangeStep::End);
        assert_eq!(1_000 - budget, steps, "from {start:x}");
    }
    // An unreadable directory
    let guest = Guest::new(&[]);
    assert_eq!(walk(&guest, 0x5001, 0, 1 << 20, 128), (vec![], 1));
}

#[test]
fn pdts_bounds_the_walk() {
    for pdts in 0..8_u64 {
        let guest = Guest::new(&[(0x10_0000, 0)]);
        for page in 0..33 {
            guest.write(&[(0x5000 + page * 0x1000, 0)]);
        }
        let end = 0x2000_u64 << pdts;
        // The last entry within, and the first past the end
        guest.write(&[
            (0x5000 + (end / 64 - 1) * 8, 0x10_0001),
            (0x10_0fc0, 0x101),
            (0x5000 + end / 8, 0x10_0001),
        ]);
        let last = u32::try_from(end - 1).unwrap();
        assert_eq!(walk(&guest, 0x5001 | pdts << 9, 0, 1 << 20, 1 << 20).0, [(last, 0)]);
        assert_eq!(walk(&guest, 0x5001 | pdts << 9, last + 1, 1 << 20, 1), (vec![], 1));
    }
}

#[test]
#[cfg_attr(miri, ignore = "a million entries")]
fn tables_that_alias_each_other_are_bounded_by_the_budget() {
    // 16,384 directory entries lead to one full table: 2^20 PASIDs from 33 pages.
    let guest = Guest::new(&[]);
    for index in 0..16_384 {
        guest.write(&[(0x5000 + index * 8, 0x10_0001)]);
    }
    for index in 0..64 {
        guest.write(&[(0x10_0000 + index * 64, 0x101)]);
    }
    guest.take_reads();
    let (context, caps) = (context(0x5e01), most());
    let mut range = PasidRange::new(&guest, &caps, &context, 0, 1 << 20);
    let mut budget = 1000;
    for _ in 0..1000 {
        assert!(matches!(range.step(&mut budget), RangeStep::Entry { .. }));
    }
    assert_eq!(range.step(&mut budget), RangeStep::Pause);
    assert_eq!(range.position(), 1000);
    assert!(guest.take_reads().len() <= 1000 + 16);
    assert_eq!(walk(&guest, 0x5e01, 0, 1 << 20, 1 << 16).0.len(), 1 << 20);
}

#[test]
fn a_limit_ends_a_step_and_the_walk_goes_on_behind_it() {
    let guest = Guest::new(&[(0x5000, 0x7001), (0x7040, 0x101), (0x7140, 0x101), (0x7180, 0x101)]);
    let (context, caps) = (context(0x5001), most());
    let mut range = PasidRange::new(&guest, &caps, &context, 0, 64);
    let mut budget = 1000;
    let mut at = |limit| match range.step_below(limit, &mut budget) {
        RangeStep::Entry { pasid, .. } => Some(pasid.get()),
        RangeStep::Pause => panic!("the budget is ample"),
        RangeStep::End => None,
    };
    assert_eq!(
        [0, 1, 2, 2, 5, 6, 6, 1000, 1000].map(&mut at),
        [None, None, Some(1), None, None, Some(5), None, Some(6), None]
    );
}

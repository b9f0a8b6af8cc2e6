//! Accessed and dirty bits: of both stages, extended, and where page walks are not coherent.

use vtd::Access;

use crate::machine::{ALL, CAP, FIRST, FRAME, Machine, SECOND, SMPWCS, place};

const READ: Access = Access::READ;
const WRITE: Access = Access::WRITE;

/// First-stage, 4 levels, with these flags of qw2; all entries have `bits` beside what permits.
fn first(ecap: u64, flags: u64, bits: u64) -> Machine {
    let machine = Machine::scalable(CAP, ecap, &[0x41, 5, FIRST + 0x1000 | flags]);
    machine.map(FIRST, 0x5000, 1, FRAME | 7 | bits, 7 | bits & !0x40);
    machine
}

/// Second-stage, 4 levels, with these flags of qw0.
fn second(ecap: u64, flags: u64, bits: u64) -> Machine {
    let machine = Machine::scalable(CAP, ecap, &[SECOND + 0x1000 | 0x89 | flags, 5]);
    machine.map(SECOND, 0x5000, 1, FRAME | 3 | bits, 3 | bits & !0x200);
    machine
}

/// Both; the second stage maps everything below 80_0000 to itself, in pages of 4 KiB where the tables are.
fn nested(ecap: u64, second_flags: u64, first_bits: u64, second_bits: u64) -> Machine {
    let flags = 0xc9 | second_flags;
    let machine = Machine::scalable(CAP, ecap, &[SECOND + 0x1000 | flags, 5, FIRST + 0x1000]);
    machine.map(FIRST, 0x5000, 1, FRAME | 7 | first_bits, 7 | first_bits & !0x40);
    let above = 3 | second_bits & !0x200;
    machine.map(SECOND, FIRST, 1, FIRST | 3, above);
    for page in 0..5 {
        let table = FIRST + page * 0x1000;
        machine.guest.put(place(SECOND, 1, table), &[table | 3 | second_bits]);
    }
    machine.guest.put(place(SECOND, 2, FRAME), &[FRAME | 0x83 | second_bits]);
    machine
}

/// A bits of the path, root first, then what the leaf holds below its address.
fn path(machine: &Machine, table: u64, iova: u64, accessed: u64) -> ([bool; 3], u64) {
    let above = [4, 3, 2].map(|level| machine.guest.get(place(table, level, iova)) & accessed != 0);
    (above, machine.guest.get(place(table, 1, iova)) & 0xfff)
}

// feature: 1.first-stage: accessed and dirty bits (A, D)
#[test]
fn first_stage_bits() {
    let machine = first(ALL, 0, 0);
    assert_eq!(machine.access(Some(1), 0x5000, READ), Ok(FRAME));
    assert_eq!(path(&machine, FIRST, 0x5000, 0x20), ([true; 3], 0x27));
    assert_eq!(machine.access(Some(1), 0x5000, WRITE), Ok(FRAME));
    assert_eq!(path(&machine, FIRST, 0x5000, 0x20), ([true; 3], 0x67));
}

// feature: 1.first-stage: extended accessed bits (EAFE, EA)
#[test]
fn extended_accessed_bits() {
    for (flags, above, leaf) in [(0, [false; 3], 0x27), (1 << 7, [true; 3], 0x427)] {
        let machine = first(ALL, flags, 0);
        assert_eq!(machine.access(Some(1), 0x5000, READ), Ok(FRAME));
        assert_eq!(path(&machine, FIRST, 0x5000, 0x400), (above, leaf));
    }
}

// feature: 1.second-stage: accessed and dirty bits (SSADE)
#[test]
fn second_stage_bits() {
    for (flags, above, read, written) in
        [(0, [false; 3], 0x003, 0x003), (1 << 9, [true; 3], 0x103, 0x303)]
    {
        let machine = second(ALL, flags, 0);
        assert_eq!(machine.access(Some(1), 0x5000, READ), Ok(FRAME));
        assert_eq!(path(&machine, SECOND, 0x5000, 0x100), (above, read));
        assert_eq!(machine.access(Some(1), 0x5000, WRITE), Ok(FRAME));
        assert_eq!(path(&machine, SECOND, 0x5000, 0x100), (above, written));
    }
}

// feature: 1.nested: accessed and dirty bits in both stages (SSADE)
#[test]
fn nested_bits_of_both_stages() {
    let machine = nested(ALL, 1 << 9, 0, 0);
    assert_eq!(machine.access(Some(1), 0x5000, READ), Ok(FRAME));
    assert_eq!(path(&machine, FIRST, 0x5000, 0x20), ([true; 3], 0x27));
    // Marking a first-stage entry is a write to its table.
    assert_eq!(path(&machine, SECOND, FIRST + 0x4000, 0x100), ([true; 3], 0x303));
    assert_eq!(machine.guest.get(place(SECOND, 2, FRAME)) & 0xfff, 0x183);
    assert_eq!(machine.access(Some(1), 0x5000, WRITE), Ok(FRAME));
    assert_eq!(path(&machine, FIRST, 0x5000, 0x20), ([true; 3], 0x67));
    assert_eq!(machine.guest.get(place(SECOND, 2, FRAME)) & 0xfff, 0x383);
    // Without SSADE those of the second stage stay.
    let machine = nested(ALL, 0, 0, 0);
    assert_eq!(machine.access(Some(1), 0x5000, WRITE), Ok(FRAME));
    assert_eq!(path(&machine, FIRST, 0x5000, 0x20), ([true; 3], 0x67));
    assert_eq!(machine.guest.get(place(SECOND, 2, FRAME)) & 0xfff, 0x083);
}

// feature: 1.walks: not coherent (ECAP.SMPWCS absent)
#[test]
fn bits_have_to_be_there_where_walks_are_not_coherent() {
    let without = ALL & !SMPWCS;
    type Row = (Machine, [Result<u64, u8>; 2]);
    let served = Ok(FRAME);
    let rows: [Row; 11] = [
        // A read, then a write.
        (first(without, 0, 0), [Err(0x90); 2]),
        (first(without, 0, 0x20), [served, Err(0x90)]),
        (first(without, 0, 0x60), [served; 2]),
        (first(without, 1 << 7, 0x60), [Err(0x90); 2]),
        (first(without, 1 << 7, 0x460), [served; 2]),
        (second(without, 0, 0), [served; 2]),
        (second(without, 1 << 9, 0), [Err(0x7c); 2]),
        (second(without, 1 << 9, 0x100), [served, Err(0x7c)]),
        (second(without, 1 << 9, 0x300), [served; 2]),
        (nested(without, 1 << 9, 0x60, 0x100), [served, Err(0x7c)]),
        (nested(without, 1 << 9, 0x20, 0x300), [served, Err(0x90)]),
    ];
    for (number, (machine, expected)) in rows.into_iter().enumerate() {
        let tables = [FIRST, SECOND].map(|table| machine.guest.get(place(table, 1, 0x5000)));
        for (access, expected) in [READ, WRITE].into_iter().zip(expected) {
            assert_eq!(machine.access(Some(1), 0x5000, access), expected, "{number} {access:?}");
            let recorded = machine.recorded_code();
            assert_eq!(recorded, expected.err().map(u64::from), "{number} {access:?}");
        }
        let after = [FIRST, SECOND].map(|table| machine.guest.get(place(table, 1, 0x5000)));
        assert_eq!(after, tables, "{number}: nothing is written");
    }
    // With SMPWCS they are set whatever PWSNP says.
    for snoop in [0, 1 << 23] {
        let machine = Machine::scalable(CAP, ALL, &[0x41, 5 | snoop, FIRST + 0x1000]);
        machine.map(FIRST, 0x5000, 1, FRAME | 7, 7);
        assert_eq!(machine.access(Some(1), 0x5000, WRITE), served);
        assert_eq!(machine.guest.get(place(FIRST, 1, 0x5000)), FRAME | 0x67);
    }
}

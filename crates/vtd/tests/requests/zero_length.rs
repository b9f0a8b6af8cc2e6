//! Reads of no bytes.

use vtd::Access;

use crate::machine::{ALL, CAP, FIRST, FRAME, Machine, SECOND, SSADS, ZLR, place};

const READ: Access = Access::READ;
const WRITE: Access = Access::WRITE;
const ZERO: Access = Access::ZERO_LENGTH_READ;

/// Second-stage pages of each permission at 5000, 6000 and 7000: write-only, read-only, both.
fn pages(machine: &Machine) {
    for (iova, permission) in [(0x5000, 2), (0x6000, 1), (0x7000, 3)] {
        machine.map(SECOND, iova, 1, FRAME + iova | permission, 3);
    }
}

// feature: 1.zero-length reads (CAP.ZLR)
#[test]
fn a_write_permission_serves_a_zero_length_read_with_zlr() {
    let scalable = |cap| Machine::scalable(cap, ALL, &[SECOND + 0x1000 | 0x89, 5]);
    let legacy = |cap| Machine::legacy(cap, ALL, [SECOND + 0x1000 | 1, 0x502]);
    // The page of write permission alone: with ZLR, without it; in scalable mode and in legacy mode.
    for (machine, expected) in [
        (scalable(CAP), Ok(FRAME + 0x5123)),
        (scalable(CAP & !ZLR), Err(0x86)),
        (legacy(CAP), Ok(FRAME + 0x5123)),
        (legacy(CAP & !ZLR), Err(6)),
    ] {
        pages(&machine);
        // Twice, as the second may be answered by the IOTLB; and after a write has filled it.
        for filler in [ZERO, ZERO, WRITE] {
            let _filled = machine.access(None, 0x5123, filler);
            assert_eq!(machine.access(None, 0x5123, ZERO), expected);
            let plain = machine.access(None, 0x5123, READ).unwrap_err();
            assert!(plain == 0x86 || plain == 6, "a read of bytes is refused: {plain:x}");
        }
        for iova in [0x6123, 0x7123] {
            assert_eq!(machine.access(None, iova, ZERO), Ok(FRAME + iova));
        }
    }
}

// feature: 1.zero-length reads (CAP.ZLR)
#[test]
fn a_zero_length_read_of_nothing_faults_like_any_other() {
    // Absent in the second stage; write-only above read-only, which together permit nothing.
    let machine = Machine::scalable(CAP, ALL, &[SECOND + 0x1000 | 0x89, 5]);
    pages(&machine);
    machine.guest.put(place(SECOND, 1, 0x8000), &[FRAME]);
    assert_eq!(machine.access(Some(1), 0x8000, ZERO), Err(0x79));
    machine.guest.put(place(SECOND, 2, 0x20_0000), &[SECOND + 0x4000 | 2]);
    assert_eq!(machine.access(Some(1), 0x20_6000, ZERO), Err(0x86));
    assert_eq!(machine.recorded_code(), Some(0x79));
    // A first stage without write permission has nothing to do with it, and one of a supervisor refuses it.
    let machine = Machine::scalable(CAP, ALL, &[0x41, 5, FIRST + 0x1000]);
    machine.map(FIRST, 0x5000, 1, FRAME | 5, 7);
    machine.map(FIRST, 0x6000, 1, FRAME | 3, 7);
    assert_eq!(machine.access(Some(1), 0x5000, ZERO), Ok(FRAME));
    assert_eq!(machine.access(Some(1), 0x6000, ZERO), Err(0x81));
}

// feature: 1.zero-length reads (CAP.ZLR)
#[test]
fn a_zero_length_read_sets_accessed_and_never_dirty() {
    let first = Machine::scalable(CAP, ALL, &[0x41, 5, FIRST + 0x1000]);
    first.map(FIRST, 0x5000, 1, FRAME | 7, 7);
    assert_eq!(first.access(Some(1), 0x5000, ZERO), Ok(FRAME));
    assert_eq!(first.guest.get(place(FIRST, 1, 0x5000)), FRAME | 0x27);
    let second = Machine::scalable(CAP, ALL | SSADS, &[SECOND + 0x1000 | 0x289, 5]);
    second.map(SECOND, 0x5000, 1, FRAME | 2, 3);
    assert_eq!(second.access(Some(1), 0x5000, ZERO), Ok(FRAME));
    assert_eq!(second.guest.get(place(SECOND, 1, 0x5000)), FRAME | 0x102);
    // A write that hits what it filled still sets D.
    assert_eq!(second.access(Some(1), 0x5000, WRITE), Ok(FRAME));
    assert_eq!(second.guest.get(place(SECOND, 1, 0x5000)), FRAME | 0x302);
}

// feature: 1.zero-length reads (CAP.ZLR)
#[test]
fn nested_zero_length_reads_need_one_permission_of_the_page_and_reads_of_the_tables() {
    let machine = Machine::scalable(CAP, ALL, &[SECOND + 0x1000 | 0xc9, 5, FIRST + 0x1000]);
    machine.map(FIRST, 0x5000, 1, 0x7_0000 | 7, 7);
    machine.map(SECOND, 0x7_0000, 1, FRAME | 2, 3);
    // The first-stage tables lie in the same 2 MiB.
    for page in 0..5 {
        let table = FIRST + page * 0x1000;
        machine.guest.put(place(SECOND, 1, table), &[table | 3]);
    }
    assert_eq!(machine.access(Some(1), 0x5000, ZERO), Ok(FRAME));
    assert_eq!(machine.access(Some(1), 0x5000, READ), Err(0x86));
    machine.guest.put(place(SECOND, 1, FIRST + 0x1000), &[FIRST + 0x1000 | 2]);
    machine.guest.command(0x4000_0000);
    machine.guest.command(0x8000_0000);
    assert_eq!(machine.access(Some(1), 0x5000, ZERO), Err(0x75), "a table is read, not touched");
}

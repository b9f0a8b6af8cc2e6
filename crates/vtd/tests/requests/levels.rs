//! Tables of every number of levels, and pages of every size, as capabilities show them.

use vtd::Access;

use crate::machine::{ALL, CAP, FIRST, FRAME, Machine, SECOND, place};

const READ: Access = Access::READ;
/// Another index at each level.
const IOVA: u64 = 0x0001_0100_c080_5678;

// feature: 1.first-stage: tables of 4 and 5 levels (FSPM, CAP.FS5LP)
#[test]
fn first_stage_levels() {
    let (five_levels, mode) = (1 << 60, 1 << 2);
    // CAP, root and FSPM, address, what comes of it.
    let low = IOVA & 0xff_ffff_ffff;
    let top = 0xffff_ffff_ffff_f678;
    for (cap, entry, iova, expected) in [
        (CAP, FIRST + 0x1000, low, Ok(FRAME + 0x678)),
        (CAP, FIRST | mode, IOVA, Ok(FRAME + 0x678)),
        (CAP, FIRST + 0x1000, top, Ok(FRAME + 0x678)),
        (CAP, FIRST | mode, top, Ok(FRAME + 0x678)),
        // Canonical by the mode: bit 47, bit 56.
        (CAP, FIRST + 0x1000, 1 << 47, Err(0x80)),
        (CAP, FIRST | mode, 1 << 47, Ok(FRAME)),
        (CAP, FIRST | mode, 1 << 56, Err(0x80)),
        (CAP, FIRST + 0x1000, IOVA, Err(0x80)),
        (CAP & !five_levels, FIRST | mode, IOVA, Err(0x5b)),
        (CAP, FIRST | 2 * mode, IOVA, Err(0x5b)),
    ] {
        let machine = Machine::scalable(cap, ALL, &[0x41, 5, entry]);
        machine.map(FIRST, iova, 1, FRAME | 7, 7);
        assert_eq!(machine.access(Some(1), iova, READ), expected, "{cap:x} {entry:x} {iova:x}");
        assert_eq!(machine.access(None, iova, READ), expected);
    }
}

// feature: 1.second-stage: tables of 3, 4 and 5 levels (AW, CAP.SAGAW)
#[test]
fn second_stage_levels() {
    // AW, the page of the root, the width.
    for (aw, root, width) in [(1, 2, 39), (2, 1, 48), (3, 0, 57)] {
        let iova = IOVA & ((1 << width) - 1);
        let table = SECOND + root * 0x1000;
        // Each width shown, and not.
        let shown = CAP;
        let hidden = CAP & !(1 << (8 + aw));
        for (cap, iova, expected, legacy) in [
            (shown, iova, Ok(FRAME + 0x678), Ok(FRAME + 0x678)),
            (shown, 1 << width, Err(0x84), Err(4)),
            (hidden, iova, Err(0x5b), Err(3)),
        ] {
            let machine = Machine::scalable(cap, ALL, &[table | 0x81 | aw << 2, 5]);
            machine.map(SECOND, iova, 1, FRAME | 3, 3);
            assert_eq!(machine.access(Some(1), iova, READ), expected, "{aw} {cap:x} {iova:x}");
            let machine = Machine::legacy(cap, ALL, [table | 1, 0x500 | aw]);
            machine.map(SECOND, iova, 1, FRAME | 3, 3);
            assert_eq!(machine.access(None, iova, READ), legacy, "{aw} {cap:x} {iova:x}");
        }
    }
}

// feature: 1.first-stage: pages of 2 MiB and 1 GiB (CAP.FS1GP)
#[test]
fn first_stage_pages() {
    let one_g = 1 << 56;
    for (cap, level, leaf, expected) in [
        (CAP, 2, 0x8020_0087, Ok(0x8020_5678)),
        (CAP, 3, 0x1_0000_0087, Ok(0x1_0080_5678)),
        (CAP & !one_g, 3, 0x1_0000_0087, Err(0x72)),
        (CAP & !one_g, 2, 0x8020_0087, Ok(0x8020_5678)),
        (CAP, 4, 0x1_0000_0087, Err(0x72)),
    ] {
        let machine = Machine::scalable(cap, ALL, &[0x41, 5, FIRST | 1 << 2]);
        machine.map(FIRST, IOVA, level, leaf, 7);
        assert_eq!(machine.access(Some(1), IOVA, READ), expected, "{cap:x} {level}");
    }
}

// feature: 1.second-stage: pages of 2 MiB and 1 GiB (CAP.SSLPS)
#[test]
fn second_stage_pages() {
    let (two_m, one_g) = (1 << 34, 1 << 35);
    for (cap, level, leaf, expected, legacy) in [
        (CAP, 2, 0x8020_0083, Ok(0x8020_5678), 0),
        (CAP, 3, 0x1_0000_0083, Ok(0x1_0080_5678), 0),
        (CAP & !two_m, 2, 0x8020_0083, Err(0x7a), 0xc),
        (CAP & !two_m, 3, 0x1_0000_0083, Ok(0x1_0080_5678), 0),
        (CAP & !one_g, 3, 0x1_0000_0083, Err(0x7a), 0xc),
        (CAP, 4, 0x1_0000_0083, Err(0x7a), 0xc),
    ] {
        let machine = Machine::scalable(cap, ALL, &[SECOND | 0x8d, 5]);
        machine.map(SECOND, IOVA, level, leaf, 3);
        assert_eq!(machine.access(Some(1), IOVA, READ), expected, "{cap:x} {level}");
        let machine = Machine::legacy(cap, ALL, [SECOND | 1, 0x503]);
        machine.map(SECOND, IOVA, level, leaf, 3);
        assert_eq!(machine.access(None, IOVA, READ).err().unwrap_or(0), legacy);
    }
}

// feature: 1.nested: every number of levels (FSPM, AW)
#[test]
fn nested_levels() {
    for (aw, second_root) in [(1, 2), (2, 1), (3, 0)] {
        for (first_root, mode) in [(1, 0), (0, 1 << 2)] {
            let second = SECOND + second_root * 0x1000 | 0xc1 | aw << 2;
            let first = FIRST + first_root * 0x1000 | mode;
            let machine = Machine::scalable(CAP, ALL, &[second, 5, first]);
            let iova = if mode == 0 { IOVA & 0xff_ffff_ffff } else { IOVA };
            // The first stage yields an address that the second stage maps; the tables lie where they lie.
            machine.map(FIRST, iova, 1, 0x1_2000_3007, 7);
            machine.map(SECOND, 0x1_2000_3000, 1, FRAME | 3, 3);
            machine.map(SECOND, FIRST, 2, 0x83, 3);
            // Both ways share the upper tables, and each has its own of the third level.
            machine.guest.memory.fill_zero_page(vtd::spec::Gpa(SECOND + 0x5000));
            machine.guest.put(place(SECOND, 3, FIRST), &[SECOND + 0x5003]);
            machine.guest.put(SECOND + 0x5000, &[0x83]);
            assert_eq!(machine.access(Some(1), iova, READ), Ok(FRAME + 0x678), "{aw} {mode}");
        }
    }
    // An address that the second stage's width does not hold.
    let machine = Machine::scalable(CAP, ALL, &[SECOND + 0x2000 | 0xc5, 5, FIRST + 0x1000]);
    machine.map(FIRST, 0x5000, 1, 1 << 39 | 7, 7);
    machine.map(SECOND, FIRST, 3, 0x83, 3);
    assert_eq!(machine.access(Some(1), 0x5000, READ), Err(0x74));
}

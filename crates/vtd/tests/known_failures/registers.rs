//! Row 3: accesses of the register page.

use vtd::ResetKind;

use crate::guest::{Guest, Shape};
use crate::raw::*;

const SIZES: [u8; 12] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 16, 255];

/// Every offset of the register page and some past its end.
fn offsets() -> impl Iterator<Item = u64> {
    (0..0x1010).chain([0x2000, 1 << 32, u64::MAX - 8, u64::MAX - 7, u64::MAX - 3, u64::MAX])
}

fn is_access(offset: u64, size: u8) -> bool {
    matches!(size, 4 | 8) && offset.is_multiple_of(u64::from(size))
}

// feature: 8.registers: accesses of any size and offset
#[test]
fn known_failure_03_every_offset_size_and_alignment_is_harmless() {
    let all = ECAP_IR | ECAP_PRS | ECAP_ERS | ECAP_SRS | ECAP_DIT | ECAP_PDS | ECAP_ADMS;
    let guest = Guest::of(Shape { ecap: ECAP | all, ..Shape::default() });
    let dma = guest.emulated();
    let _device = guest.assigned_at(0x20);
    for value in [u64::MAX, 0, 0x5555_5555_5555_5555, 0xaaaa_aaaa_aaaa_aaaa] {
        for size in SIZES {
            for offset in offsets() {
                guest.unit.write(offset, size, value);
                let _anything = guest.unit.read(offset, size);
            }
            guest.run();
        }
        let _anything = dma.read(Some(5), PAGE);
    }
    guest.unit.reset(ResetKind::PowerOn);
    guest.run();
    assert_eq!(guest.read32(GSTS), 0);
    assert_eq!(dma.read_or_code(None, PAGE), Ok(PAGE), "the unit still works");
}

// feature: 8.registers: accesses of any size and offset
#[test]
fn known_failure_03_odd_accesses_read_zero_and_change_nothing() {
    let guest = Guest::new();
    let page = || (0..0x400).map(|word| guest.read32(word * 4)).collect::<Vec<_>>();
    let before = page();
    for size in SIZES {
        for offset in offsets().filter(|offset| !is_access(*offset, size)) {
            assert_eq!(guest.unit.read(offset, size), 0, "{size} bytes at {offset:x}");
            guest.unit.write(offset, size, u64::MAX);
        }
    }
    assert!(page() == before, "an access that is no access has changed a register");
}

// feature: 8.registers: accesses of any size and offset
/// Pairs of 4-byte registers side by side, and 64-bit registers.
#[test]
fn known_failure_03_eight_bytes_are_two_halves() {
    let guest = Guest::off(Shape::default());
    // FEDATA is the upper half of 38, whose lower half is FECTL; the event registers keep what is written to them.
    for (offset, kept) in [
        (0x38, 0xffff_ffff_8000_0000_u64),
        (0x40, 0xffff_ffff_ffff_fffc),
        (0xa0, 0xffff_ffff_8000_0000),
        (0xa8, 0xffff_ffff_ffff_fffc),
        (RTADDR, 0xffff_ffff_ffff_fc00),
        (IQA, 0xffff_ffff_ffff_f807),
    ] {
        for value in [u64::MAX, 0, 0x1234_5678_9abc_def0, 0xfedc_ba98_7654_3210] {
            guest.write64(offset, value);
            let whole = guest.read64(offset);
            assert_eq!(whole, value & kept, "8 bytes at {offset:x}");
            assert_eq!(guest.read32(offset), whole & 0xffff_ffff);
            assert_eq!(guest.read32(offset + 4), whole >> 32);
            guest.write64(offset, 0);
            guest.write32(offset, value & 0xffff_ffff);
            guest.write32(offset + 4, value >> 32);
            assert_eq!(guest.read64(offset), whole, "4 and 4 bytes at {offset:x}");
        }
        guest.write64(offset, 0);
    }
}

// feature: 8.registers: accesses of any size and offset
/// VER, CAP, ECAP, GSTS, IQH and the fault records' contents cannot be written.
#[test]
fn known_failure_03_read_only_registers_stay() {
    let guest = Guest::new();
    for (offset, size) in [(0, 4), (0x08, 8), (0x10, 8), (GSTS, 4), (IQH, 8), (RECORDS, 8)] {
        let before = guest.unit.read(offset, size);
        guest.unit.write(offset, size, u64::MAX);
        assert_eq!(guest.unit.read(offset, size), before, "register {offset:x}");
    }
}

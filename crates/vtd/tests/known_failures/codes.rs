//! Row 9: which fault a request gets.

use crate::fault_cases::{
    BEYOND_DIRECTORY, expect_code, legacy_cases, record_of, scalable, scalable_cases,
};
use crate::guest::{Guest, Shape};
use crate::path::{Path, build_path, legacy_guest};
use crate::raw::*;

// feature: 2.codes of scalable mode
#[test]
fn known_failure_09_scalable_mode_has_its_own_codes() {
    for case in scalable_cases().into_iter().chain([BEYOND_DIRECTORY]) {
        for pasid in [Some(0x2_0007), None] {
            if pasid.is_none() && !case.without_pasid {
                continue;
            }
            let (guest, dma) = scalable(&case);
            let path = build_path(&guest, pasid);
            let whole = dma.read_or_code(pasid, PAGE);
            assert_eq!(whole, Ok(FRAME_A), "{}: the path is all right before", case.what);
            (case.break_path)(&guest, &path);
            expect_code(&dma, &case, pasid);
            assert_eq!(guest.take_records(), [record_of(&case, pasid)], "{}", case.what);
        }
    }
}

// feature: 2.codes of scalable mode
#[test]
fn known_failure_09_scalable_tables_without_scalable_mode_fault_30() {
    // ECAP without PASID, SMTS, SSTS and FSTS.
    let guest =
        Guest::off(Shape { ecap: ECAP & !(1 << 40 | 1 << 43 | 3 << 46), ..Shape::default() });
    guest.write64(RTADDR, ROOT | 0x400);
    guest.command(SRTP);
    guest.command(TE);
    let dma = guest.emulated();
    assert_eq!(dma.read_or_code(None, PAGE), Err(0x30));
}

// feature: 2.codes of legacy mode
#[test]
fn known_failure_09_legacy_mode_keeps_the_legacy_codes() {
    for case in legacy_cases() {
        let (guest, dma) = legacy_guest();
        assert_eq!(dma.read_or_code(None, PAGE), Ok(FRAME_SECOND), "{}", case.what);
        (case.break_path)(&guest, &Path::NONE);
        expect_code(&dma, &case, None);
        assert_eq!(guest.take_records(), [record_of(&case, None)], "{}", case.what);
    }
}

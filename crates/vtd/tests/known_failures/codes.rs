//! Row 9: which fault a request gets.

use crate::fault_cases::{
    BEYOND_DIRECTORY, Case, expect_code, legacy_cases, record_of, scalable, scalable_cases, set,
};
use crate::guest::{Guest, Shape};
use crate::path::{Path, build_path, legacy_guest};
use crate::raw::*;

/// Each code of the reference that a DMA can get; 32, 47 and 48 are of page requests.
// feature: 2.fault codes: every one of DMA remapping
#[test]
fn known_failure_09_every_code_has_a_case() {
    let codes = |ranges: &[(u8, u8)]| -> Vec<_> {
        ranges.iter().flat_map(|(first, last)| *first..=*last).collect()
    };
    let of = |cases: Vec<Case>| {
        let mut codes: Vec<_> = cases.iter().map(|case| case.code).collect();
        codes.sort_unstable();
        codes.dedup();
        codes
    };
    assert_eq!(of(legacy_cases()), codes(&[(1, 0xe)]));
    let mut scalable = scalable_cases();
    scalable.push(BEYOND_DIRECTORY);
    let upper = [(0x70, 0x7d), (0x80, 0x87), (0x90, 0x91)];
    let tables = [(0x30, 0x31), (0x38, 0x3a), (0x40, 0x46), (0x50, 0x52), (0x58, 0x5d)];
    assert_eq!(of(scalable), codes(&[&tables[..], &upper[..]].concat()));
}

// feature: 2.fault codes: translation requests
/// A translation request that meets a fault it can recover from is answered, and nobody is told.
#[test]
fn known_failure_09_recoverable_faults_of_translation_requests_have_no_record() {
    for case in scalable_cases().into_iter().chain([BEYOND_DIRECTORY]) {
        // The request of the case is a plain read or write: what is more than that is not asked for here.
        if case.translation || case.access.execute || case.access.privileged {
            continue;
        }
        let (guest, dma) = scalable(&case);
        let path = build_path(&guest, Some(0x2_0007));
        set(&guest, path.context, 4);
        (case.break_path)(&guest, &path);
        // A write that is refused leaves the read; 43 is what PRE without DTE is, and DTE is set.
        if matches!(case.code, 0x85 | 0x43) {
            continue;
        }
        let found = dma.ask(Some(0x2_0007), case.address);
        let is_recoverable = matches!(
            case.code,
            0x51 | 0x59 | 0x70..=0x77 | 0x79 | 0x80..=0x84 | 0x86 | 0x90 | 0x91
        );
        // A page of write permission alone is granted that.
        let granted = case.code == 0x86;
        let told = format!("{} ({:x}): {found:?}", case.what, case.code);
        assert_eq!(found.is_ok(), is_recoverable, "{told}");
        assert_eq!(found.is_ok_and(|found| found.grants_any()), granted, "{told}");
        // 91 is told of although it is recoverable.
        let is_recorded = !is_recoverable || case.code == 0x91;
        assert_eq!(guest.take_records().len(), usize::from(is_recorded), "{told}");
    }
}

// feature: 2.fault codes: scalable mode
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

// feature: 2.fault codes: scalable mode
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

// feature: 2.fault codes: legacy mode
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

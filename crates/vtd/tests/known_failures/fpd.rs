//! Row 11: when a fault has no record.

use vtd::HostFault;
use vtd::spec::{FaultReason, Iova, Slot};

use crate::fault_cases::{
    BEYOND_DIRECTORY, WRITE, expect_code, legacy_cases, record_of, scalable, scalable_cases, set,
};
use crate::guest::{Guest, pasid_of};
use crate::path::{LEGACY_CONTEXT, Path, build_path, legacy_guest};
use crate::raw::*;

// feature: 2.faults of assigned devices, as the host reports them
#[test]
fn known_failure_11_fpd_counts_for_faults_that_the_host_reports() {
    for (words, recorded) in [([0x43, 5, 0x20_0000], 0), ([0x41, 5, 0x20_0000], 1)] {
        let guest = Guest::new();
        let device = guest.assigned();
        let path = build_path(&guest, Some(5));
        guest.ram.put(path.entry, &words);
        for code in [0x71, 0x85] {
            let reason = FaultReason::from_code(code).unwrap();
            let fault = HostFault::new(Slot::Pasid(pasid_of(5)), Iova(0x5000), WRITE, reason);
            guest.unit.report_host_fault(device.id, fault).unwrap();
            assert_eq!(guest.take_records().len(), recorded, "{code:x} under {words:x?}");
        }
    }
}

/// How many of context, directory and PASID entry have been read when this fault comes up.
fn entries_read(code: u8) -> usize {
    match code {
        0x30..=0x40 => 0,
        0x41..=0x50 => 1,
        0x51..=0x58 => 2,
        _ => 3,
    }
}

/// Faults that FPD never suppresses.
fn is_always_recorded(code: u8) -> bool {
    matches!(code, 1 | 8 | 9 | 0xa | 0x30..=0x40 | 0x50 | 0x58 | 0x78)
}

// feature: 2.fault processing disable (FPD) of every entry
#[test]
fn known_failure_11_fpd_accumulates_over_every_entry_read() {
    for case in scalable_cases().into_iter().chain([BEYOND_DIRECTORY]) {
        for pasid in [Some(0x2_0007), None] {
            if pasid.is_none() && !case.without_pasid {
                continue;
            }
            for marked in 0..8_usize {
                let (guest, dma) = scalable(&case);
                let path = build_path(&guest, pasid);
                (case.break_path)(&guest, &path);
                let places = [path.context, path.directory, path.entry];
                for (index, place) in places.into_iter().enumerate() {
                    if marked >> index & 1 == 1 {
                        set(&guest, place, 2);
                    }
                }
                expect_code(&dma, &case, pasid);
                let seen = marked & ((1 << entries_read(case.code)) - 1);
                let expected = if seen == 0 || is_always_recorded(case.code) {
                    vec![record_of(&case, pasid)]
                } else {
                    Vec::new()
                };
                let told = format!(
                    "{} ({:x}), PASID {pasid:x?}, FPD in (entry, directory, context) {marked:03b}",
                    case.what, case.code
                );
                assert_eq!(guest.take_records(), expected, "{told}");
                let suppressed = guest.unit.counts().faults_suppressed;
                assert_eq!(suppressed, u64::from(expected.is_empty()), "counted: {told}");
            }
        }
    }
}

// feature: 2.fault processing disable (FPD) of every entry
#[test]
fn known_failure_11_fpd_of_a_legacy_context_entry_counts() {
    for case in legacy_cases() {
        let (guest, dma) = legacy_guest();
        (case.break_path)(&guest, &Path::NONE);
        set(&guest, LEGACY_CONTEXT, 2);
        expect_code(&dma, &case, None);
        // A read of the interrupt range is decided before any entry is read.
        let recorded = is_always_recorded(case.code) || case.address == 0xfee0_0000;
        assert_eq!(guest.take_records().len(), usize::from(recorded), "{}", case.what);
    }
}

// feature: 2.fault processing disable (FPD) of every entry
#[test]
fn known_failure_11_fpd_of_cached_entries_counts() {
    for index in 0..3 {
        let guest = Guest::new();
        let dma = guest.emulated();
        let path = build_path(&guest, Some(5));
        set(&guest, [path.context, path.directory, path.entry][index], 2);
        assert_eq!(dma.read_or_code(Some(5), PAGE), Ok(FRAME_A));
        for address in [PAGE + 0x1000, 1 << 47] {
            assert!(dma.read_or_code(Some(5), address).is_err(), "blocked all the same");
        }
        assert_eq!(guest.take_records(), [], "FPD in entry {index} of the way");
    }
}

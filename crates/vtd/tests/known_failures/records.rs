//! Row 10: what the record of a fault says.

use vtd::HostFault;
use vtd::spec::{FaultReason, Iova, Slot};

use crate::fault_cases::{
    BEYOND_DIRECTORY, WRITE, expect_code, record_of, scalable, scalable_cases,
};
use crate::guest::{Guest, Record, pasid_of};
use crate::path::build_path;
use crate::raw::*;

// feature: 2.fault records: source-id, PASID, address and reason (FRCD)
#[test]
fn known_failure_10_every_fault_of_a_request_with_pasid_records_all_of_it() {
    for case in scalable_cases().into_iter().chain([BEYOND_DIRECTORY]) {
        let (guest, dma) = scalable(&case);
        for pasid in [1, 0x3f, 0x40, 0x7fff, 0xffff, 0x1_0000, 0x2_0001, 0x8_8000, 0xf_ffff] {
            if case.code == 0x46 && pasid < 0x2000 {
                continue;
            }
            guest.ram.put(ROOT, &[LOWER_CONTEXTS | 1]);
            let path = build_path(&guest, Some(pasid));
            (case.break_path)(&guest, &path);
            expect_code(&dma, &case, Some(pasid));
            assert_eq!(
                guest.take_records(),
                [record_of(&case, Some(pasid))],
                "{}: PP and 20 bits of PASID",
                case.what
            );
        }
    }
}

// feature: 2.fault records: source-id, PASID, address and reason (FRCD)
#[test]
fn known_failure_10_a_request_without_pasid_records_none() {
    for case in scalable_cases().into_iter().filter(|case| case.without_pasid) {
        let (guest, dma) = scalable(&case);
        let path = build_path(&guest, None);
        (case.break_path)(&guest, &path);
        expect_code(&dma, &case, None);
        let [record] = guest.take_records()[..] else { panic!("one record") };
        assert_eq!(record.pasid, None, "{}: PP is 0, RID_PASID is not recorded", case.what);
    }
}

// feature: 2.faults of assigned devices, as the host reports them
#[test]
fn known_failure_10_a_fault_that_the_host_reports_records_all_of_its_pasid() {
    let guest = Guest::new();
    let device = guest.assigned();
    let pasids = [None, Some(0), Some(5), Some(0x1_0000), Some(0x8_8001), Some(0xf_ffff)];
    for (pasid, code) in pasids.into_iter().flat_map(|pasid| [(pasid, 0x71), (pasid, 0x85)]) {
        let slot = pasid.map_or(Slot::Rid, |pasid| Slot::Pasid(pasid_of(pasid)));
        let reason = FaultReason::from_code(code).unwrap();
        let fault = HostFault::new(slot, Iova(0xffff_8000_1234_5678), WRITE, reason);
        guest.unit.report_host_fault(device.id, fault).unwrap();
        let expected = Record {
            address: 0xffff_8000_1234_5000,
            source: u64::from(DEVICE),
            pasid,
            code: u64::from(code),
            read: false,
            address_type: 0,
        };
        assert_eq!(guest.take_records(), [expected]);
    }
}

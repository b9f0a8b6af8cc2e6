//! Fault records against raw values.

use vtd_spec::{AddressType, FaultReason, FaultRecord, Pasid, RequestKind, SourceId};

/// A write by 01:03.0 to page 1234_5000 that found no first-stage entry.
const PLAIN: FaultRecord = FaultRecord {
    address: 0x1234_5000,
    source_id: SourceId(0x0118),
    pasid: None,
    reason: FaultReason::FirstStageNotPresent,
    kind: RequestKind::Write,
    execute: false,
    privileged: false,
    address_type: AddressType::Untranslated,
};

// feature: 2.fault records: source-id, PASID, address and reason (FRCD)
#[test]
fn raw_values() {
    let pasid = Some(Pasid::from_low_bits(0xa_bcde));
    let rows = [
        (
            0x8000_0071_0000_0118,
            PLAIN,
            "01:03.0 write of 0x12345000: first-stage entry not present (71)",
        ),
        (
            0xc000_0071_0000_0118,
            FaultRecord { kind: RequestKind::Read, ..PLAIN },
            "01:03.0 read of 0x12345000: first-stage entry not present (71)",
        ),
        (
            0x8000_0071_1000_0118,
            FaultRecord { kind: RequestKind::PageRequest, ..PLAIN },
            "01:03.0 page request of 0x12345000: first-stage entry not present (71)",
        ),
        (
            0xc000_0071_1000_0118,
            FaultRecord { kind: RequestKind::AtomicOp, ..PLAIN },
            "01:03.0 atomic operation of 0x12345000: first-stage entry not present (71)",
        ),
        (
            0x8abc_de71_8000_0118,
            FaultRecord { pasid, ..PLAIN },
            "01:03.0 PASID abcde write of 0x12345000: first-stage entry not present (71)",
        ),
        (
            0x8000_0071_8000_0118,
            FaultRecord { pasid: Some(Pasid::ZERO), ..PLAIN },
            "01:03.0 PASID 0 write of 0x12345000: first-stage entry not present (71)",
        ),
        (
            0x8000_0071_2000_0118,
            FaultRecord { privileged: true, ..PLAIN },
            "01:03.0 supervisor write of 0x12345000: first-stage entry not present (71)",
        ),
        (
            0x8000_0071_4000_0118,
            FaultRecord { execute: true, ..PLAIN },
            "01:03.0 execute write of 0x12345000: first-stage entry not present (71)",
        ),
        (
            0x9000_0071_0000_0118,
            FaultRecord { address_type: AddressType::TranslationRequest, ..PLAIN },
            "01:03.0 write of 0x12345000 (translation request): first-stage entry not present (71)",
        ),
        (
            0xa000_0071_0000_0118,
            FaultRecord { address_type: AddressType::Translated, ..PLAIN },
            "01:03.0 write of 0x12345000 (translated): first-stage entry not present (71)",
        ),
        (
            0xb000_0071_0000_0118,
            FaultRecord { address_type: AddressType::Reserved, ..PLAIN },
            "01:03.0 write of 0x12345000 (reserved address type): first-stage entry not present (71)",
        ),
    ];
    for (qw1, record, text) in rows {
        assert_eq!(record.encode(), [0x1234_5000, qw1], "{record:?}");
        assert_eq!(FaultRecord::decode([0x1234_5000, qw1]), Some(record), "{qw1:#x}");
        assert_eq!(record.to_string(), text);
    }
}

#[test]
fn interrupt_faults_hold_an_index() {
    let record = FaultRecord {
        address: 0x1234 << 48,
        reason: FaultReason::InterruptEntryNotPresent,
        ..PLAIN
    };
    assert_eq!(record.encode(), [0x1234_0000_0000_0000, 0x8000_0022_0000_0118]);
    assert_eq!(
        record.to_string(),
        "01:03.0 interrupt index 1234: interrupt remapping entry not present (22)"
    );
}

// feature: 2.fault records: source-id, PASID, address and reason (FRCD)
#[test]
fn every_reason_comes_back() {
    for code in 0..=u8::MAX {
        let raw = [0, 0x8000_0000_0000_0118 | u64::from(code) << 32];
        let record = FaultRecord::decode(raw);
        assert_eq!(record.map(|r| r.reason), FaultReason::from_code(code));
        if let Some(record) = record {
            assert_eq!(record.encode(), raw);
        }
    }
}

#[test]
fn a_clear_register_holds_no_fault() {
    assert_eq!(FaultRecord::decode([0, 0]), None);
    assert_eq!(FaultRecord::decode([0x1234_5000, 0x0000_0071_0000_0118]), None);
}

#[test]
fn reserved_bits_and_the_page_offset_are_cut_off() {
    assert_eq!(FaultRecord::decode([0x1234_5fff, 0x8000_0071_0fff_0118]), Some(PLAIN));
    let record = FaultRecord { address: 0x1234_5fff, ..PLAIN };
    assert_eq!(record.encode(), [0x1234_5000, 0x8000_0071_0000_0118]);
}

//! Interrupt remapping entries against raw values.

use vtd_spec::descriptor::FunctionMask;
use vtd_spec::{
    Capabilities, CapabilityError, Entry, FaultReason, Gpa, InterruptDelivery,
    InterruptRemappingEntry, Malformed, SourceId, SourceValidation,
};

/// No CAP.PI (59); MGAW is 48 bits.
const CAP: u64 = 0x81d2_008c_222f_0686;
/// CAP.PI.
const PI: u64 = 1 << 59;
/// QI, IR and EIM.
const ECAP: u64 = 0x00f0_0f5a;

const REMAPPED: InterruptDelivery = InterruptDelivery::Remapped {
    logical_destination: false,
    redirection_hint: false,
    level_triggered: false,
    delivery_mode: 0,
    destination: 0,
};

const PLAIN: InterruptRemappingEntry = InterruptRemappingEntry {
    fpd: false,
    vector: 0,
    source: SourceValidation::Any,
    delivery: REMAPPED,
};

// feature: 6.entries: format
#[test]
fn raw_values() -> Result<(), CapabilityError> {
    let caps = Capabilities::new(CAP | PI, ECAP)?;
    let fields = InterruptDelivery::Remapped {
        logical_destination: true,
        redirection_hint: true,
        level_triggered: true,
        delivery_mode: 7,
        destination: 0xa5,
    };
    let delivery = |destination| InterruptDelivery::Remapped {
        logical_destination: true,
        redirection_hint: false,
        level_triggered: false,
        delivery_mode: 1,
        destination,
    };
    let by_source =
        |function_mask| SourceValidation::SourceId { source_id: SourceId(0x0118), function_mask };
    let posted =
        |urgent, descriptor| InterruptDelivery::Posted { urgent, descriptor: Gpa(descriptor) };
    // Quadwords, EIME, entry.
    let rows = [
        ([0x0000_0000_0000_0001, 0], true, PLAIN),
        ([0x0000_0000_0000_0003, 0], true, InterruptRemappingEntry { fpd: true, ..PLAIN }),
        ([0x0000_0000_00fe_0001, 0], true, InterruptRemappingEntry { vector: 0xfe, ..PLAIN }),
        ([0x0000_a500_0000_00fd, 0], false, InterruptRemappingEntry { delivery: fields, ..PLAIN }),
        ([0x0000_00a5_0000_00fd, 0], true, InterruptRemappingEntry { delivery: fields, ..PLAIN }),
        (
            [0x89ab_cdef_0000_0025, 0],
            true,
            InterruptRemappingEntry { delivery: delivery(0x89ab_cdef), ..PLAIN },
        ),
        (
            [1, 0x0004_0118],
            true,
            InterruptRemappingEntry { source: by_source(FunctionMask::Exact), ..PLAIN },
        ),
        (
            [1, 0x0005_0118],
            true,
            InterruptRemappingEntry { source: by_source(FunctionMask::Bit2), ..PLAIN },
        ),
        (
            [1, 0x0007_0118],
            true,
            InterruptRemappingEntry { source: by_source(FunctionMask::Bits2To0), ..PLAIN },
        ),
        (
            [1, 0x0008_0118],
            true,
            InterruptRemappingEntry {
                source: SourceValidation::Buses { first: 1, last: 0x18 },
                ..PLAIN
            },
        ),
        (
            [1, 0x000c_0000],
            true,
            InterruptRemappingEntry { source: SourceValidation::Reserved, ..PLAIN },
        ),
        (
            [0x1234_5640_0041_8001, 0x0000_789a_0000_0000],
            true,
            InterruptRemappingEntry {
                vector: 0x41,
                delivery: posted(false, 0x789a_1234_5640),
                ..PLAIN
            },
        ),
        (
            [0xffff_ffc0_0000_c001, 0],
            false,
            InterruptRemappingEntry { delivery: posted(true, 0xffff_ffc0), ..PLAIN },
        ),
    ];
    for (raw, extended, entry) in rows {
        let decoded = InterruptRemappingEntry::decode(raw, extended, &caps);
        assert_eq!(decoded, Entry::Present(entry), "{raw:x?}");
        assert_eq!(entry.encode(extended), raw, "{entry:?}");
    }
    Ok(())
}

// feature: 6.entries: format
#[test]
fn not_present_entries_keep_fpd() -> Result<(), CapabilityError> {
    let caps = Capabilities::new(CAP, ECAP)?;
    for (qw0, fpd) in [(0, false), (2, true), (0xffff_ffff_ffff_fffe, true)] {
        let decoded = InterruptRemappingEntry::decode([qw0, u64::MAX], true, &caps);
        assert_eq!(decoded, Entry::NotPresent { fpd }, "{qw0:#x}");
    }
    Ok(())
}

// feature: 6.entries: format
#[test]
fn every_reserved_bit() -> Result<(), CapabilityError> {
    // CAP, EIME, well-formed first quadword, reserved bits of both quadwords.
    let rows = [
        (CAP | PI, true, 0x0001, 0x0000_0000_ff00_7000, 0xffff_ffff_fff0_0000),
        (CAP | PI, false, 0x0001, 0xffff_00ff_ff00_7000, 0xffff_ffff_fff0_0000),
        // IM itself.
        (CAP, true, 0x0001, 0x0000_0000_ff00_f000, 0xffff_ffff_fff0_0000),
        // Posted; 63:48 of the descriptor's address lie above the host address width.
        (CAP | PI, true, 0x8001, 0x0000_003f_ff00_30fc, 0xffff_0000_fff0_0000),
        (CAP | PI, false, 0x8001, 0x0000_003f_ff00_30fc, 0xffff_0000_fff0_0000),
    ];
    for (cap, extended, qw0, reserved0, reserved1) in rows {
        let caps = Capabilities::new(cap, ECAP)?;
        for bit in (1..64).map(|bit| 1_u64 << bit) {
            for (raw, reserved) in
                [([qw0 ^ bit, 0], reserved0 & bit), ([qw0, bit], reserved1 & bit)]
            {
                let decoded = InterruptRemappingEntry::decode(raw, extended, &caps);
                let malformed = matches!(
                    decoded,
                    Entry::Malformed(Malformed {
                        reason: FaultReason::InterruptEntryReserved,
                        domain: None,
                        ..
                    })
                );
                assert_eq!(malformed, reserved != 0, "{raw:x?} {cap:#x} {extended}");
                assert_eq!(malformed, decoded.present().is_none(), "{raw:x?}");
            }
        }
    }
    // FPD counts in a malformed entry too.
    let caps = Capabilities::new(CAP, ECAP)?;
    for (qw0, fpd) in [(0x1001, false), (0x1003, true)] {
        let Entry::Malformed(why) = InterruptRemappingEntry::decode([qw0, 0], true, &caps) else {
            panic!("{qw0:#x}");
        };
        assert_eq!((why.fpd, why.field), (fpd, "reserved 14:12"));
    }
    Ok(())
}

// feature: 6.entries: format
#[test]
fn sources() -> Result<(), CapabilityError> {
    let caps = Capabilities::new(CAP, ECAP)?;
    // Second quadword, requester, accepted.
    let rows = [
        (0x0000_0118, 0x0118, true),
        (0x0000_0118, 0xffff, true),
        (0x0004_0118, 0x0118, true),
        (0x0004_0118, 0x0119, false),
        (0x0004_0118, 0x0218, false),
        (0x0005_0118, 0x011c, true),
        (0x0005_0118, 0x011a, false),
        (0x0006_0118, 0x011e, true),
        (0x0006_0118, 0x0119, false),
        (0x0007_0118, 0x011f, true),
        (0x0007_0118, 0x0110, false),
        (0x0008_0204, 0x01ff, false),
        (0x0008_0204, 0x0200, true),
        (0x0008_0204, 0x04ff, true),
        (0x0008_0204, 0x0500, false),
        // An empty range of buses, in spite of SQ.
        (0x000b_0402, 0x0300, false),
        (0x000c_0118, 0x0118, false),
    ];
    for (qw1, requester, accepted) in rows {
        let Entry::Present(entry) = InterruptRemappingEntry::decode([1, qw1], true, &caps) else {
            panic!("{qw1:#x}");
        };
        assert_eq!(entry.accepts(SourceId(requester)), accepted, "{qw1:#x} {requester:#x}");
    }
    Ok(())
}

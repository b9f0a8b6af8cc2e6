//! Invalidation descriptors against raw values.

use vtd_spec::descriptor::*;
use vtd_spec::register::QueueErrorInfo;
use vtd_spec::{Capabilities, CapabilityError, DomainId, Gpa, Iova, Pasid, SourceId};

/// PSI is bit 39, MAMV 53:48 is 12.
const CAP: u64 = 0x81d2_008c_222f_0686;
/// QI, SMTS, PASID and FSTS; neither DT, IR, PRS, DIT nor PDS.
const ECAP: u64 = 0x0001_8998_0000_0f42;
/// ECAP.DT.
const DT: u64 = 1 << 2;
/// ECAP.IR, with MHMV 9.
const IR: u64 = 1 << 3 | 9 << 20;
/// ECAP.PRS.
const PRS: u64 = 1 << 29;
/// ECAP.DIT.
const DIT: u64 = 1 << 41;
/// ECAP.PDS.
const PDS: u64 = 1 << 42;
/// Everything above.
const FULL: u64 = ECAP | DT | IR | PRS | DIT | PDS;

/// IQEI, or 0 for a well-formed descriptor.
fn info(raw: [u64; 4], wide: bool, caps: &Capabilities) -> u8 {
    match Descriptor::decode(raw, wide, caps) {
        Ok(_) => 0,
        Err(error) => error.info().code(),
    }
}

/// A well-formed descriptor of each type, the capabilities, and the reserved bits of qw0 and qw1.
const RESERVED: [(u64, u64, u64, u64, u64); 17] = [
    (0x11, 0, FULL, 0xfffc_0000_0000_f1c0, 0xffff_ffff_ffff_ffff),
    (0x21, 0, FULL, 0xfffc_0000_0000_f1c0, 0xffff_ffff_ffff_ffff),
    (0x31, 0, FULL, 0xfffc_0000_0000_f1c0, 0xffff_ffff_ffff_ffff),
    (0x12, 0, FULL, 0xffff_ffff_0000_f100, 0xf80),
    (0x32, 0, FULL, 0xffff_ffff_0000_f100, 0xf80),
    (0x03, 0, FULL, 0x000f_0000_ffe0_01f0, 0xffe),
    (0x03, 0, FULL & !DIT, 0xffff_0000_ffe0_f1f0, 0xffe),
    (0x04, 0, FULL, 0xffff_0000_07ff_f1e0, 0xffff_ffff_ffff_ffff),
    (0x14, 0, FULL, 0xffff_0000_07ff_f1e0, 0xffff_ffff_ffff_ffff),
    (0x25, 0, FULL, 0x0000_0000_ffff_f100, 0x3),
    (0x25, 0, FULL & !PDS, 0x0000_0000_ffff_f180, 0x3),
    (0x26, 0, FULL, 0xfff0_0000_0000_f1c0, 0xf80),
    (0x36, 0, FULL, 0xfff0_0000_0000_f1c0, 0xf80),
    (0x17, 0, FULL, 0xfff0_0000_0000_f1c0, 0xffff_ffff_ffff_ffff),
    (0x08, 0, FULL, 0x0000_0000_0000_0000, 0x7fe),
    (0x08, 0, FULL & !DIT, 0xfff0_0000_0000_f000, 0x7fe),
    (0x09, 0, FULL, 0xfff0_0000_0000_01e0, 0xffff_ffff_ffff_f003),
];

// feature: 3.descriptors: reserved bits and granularities
#[test]
fn every_reserved_bit() -> Result<(), CapabilityError> {
    for (qw0, qw1, ecap, reserved0, reserved1) in RESERVED {
        let caps = Capabilities::new(CAP, ecap)?;
        for wide in [false, true] {
            if !wide && qw0 & 0xf > 5 {
                continue;
            }
            assert_eq!(info([qw0, qw1, 0, 0], wide, &caps), 0, "{qw0:#x}");
            for bit in (0..64).map(|bit| 1 << bit) {
                // A bit of the type makes another descriptor.
                if bit & 0xe0f == 0 {
                    let raw = [qw0 ^ bit, qw1, 0, 0];
                    check_reserved(raw, wide, &caps, (0, reserved0 & bit));
                }
                check_reserved([qw0, qw1 ^ bit, 0, 0], wide, &caps, (1, reserved1 & bit));
                let beyond = if wide { bit } else { 0 };
                check_reserved([qw0, qw1, bit, 0], wide, &caps, (2, beyond));
                check_reserved([qw0, qw1, 0, bit], wide, &caps, (3, beyond));
            }
        }
    }
    Ok(())
}

/// The descriptor has exactly these reserved bits, or none.
fn check_reserved(raw: [u64; 4], wide: bool, caps: &Capabilities, expected: (u8, u64)) {
    let result = Descriptor::decode(raw, wide, caps);
    let found = match result {
        Err(DescriptorError::Reserved { word, bits, .. }) => Some((word, bits)),
        _ => None,
    };
    let expected = (expected.1 != 0).then_some(expected);
    assert_eq!(found, expected, "{raw:x?} {wide} {caps:?}");
    if expected.is_some() {
        assert_eq!(info(raw, wide, caps), 4, "{raw:x?}");
    }
}

// feature: 3.descriptors: all nine types, 128 and 256 bits (IQA.DW)
#[test]
fn narrow_descriptors_end_after_two_quadwords() -> Result<(), CapabilityError> {
    let caps = Capabilities::new(CAP, FULL)?;
    for (qw0, qw1, ..) in RESERVED.into_iter().filter(|(qw0, ..)| qw0 & 0xf <= 5) {
        assert_eq!(
            Descriptor::decode([qw0, qw1, u64::MAX, u64::MAX], false, &caps),
            Descriptor::decode([qw0, qw1, 0, 0], true, &caps)
        );
    }
    Ok(())
}

// feature: 3.descriptors: all nine types, 128 and 256 bits (IQA.DW)
#[test]
fn every_type_number() -> Result<(), CapabilityError> {
    // IQEI of a descriptor with this type: 128 bits wide, 256 bits wide.
    let rows = [
        (0x11, (0, 0)),
        (0x12, (0, 0)),
        (0x03, (0, 0)),
        (0x04, (0, 0)),
        (0x25, (0, 0)),
        (0x26, (5, 0)),
        (0x07, (5, 0)),
        (0x08, (5, 0)),
        (0x09, (5, 0)),
    ];
    let caps = Capabilities::new(CAP, FULL)?;
    for (qw0, (narrow, wide)) in rows {
        assert_eq!(info([qw0, 0, 0, 0], false, &caps), narrow, "{qw0:#x}");
        assert_eq!(info([qw0, 0, 0, 0], true, &caps), wide, "{qw0:#x}");
    }
    for high in 0..8 {
        for low in 0..16 {
            if high == 0 && (1..=9).contains(&low) {
                continue;
            }
            // Granularity 1 and a reserved bit do not matter: the type comes first.
            for other in [0, 0x10, 1 << 63] {
                let raw = [high << 9 | low | other, 0, 0, 0];
                assert_eq!(info(raw, false, &caps), 3, "{raw:x?}");
                assert_eq!(info(raw, true, &caps), 3, "{raw:x?}");
            }
        }
    }
    Ok(())
}

// feature: 3.descriptors: all nine types, 128 and 256 bits (IQA.DW)
#[test]
fn types_whose_capability_is_not_shown() -> Result<(), CapabilityError> {
    // First quadword, capability, IQEI without it: 128 bits wide, 256 bits wide.
    let rows = [
        (0x03, FULL & !DT & !PRS, (3, 3)),
        (0x04, FULL & !IR, (3, 3)),
        (0x08, FULL & !DT & !PRS, (5, 3)),
        (0x09, FULL & !PRS, (5, 3)),
        // Without scalable mode there are no 256-bit descriptors, but the decoder answers all the same.
        (0x26, 0x0f42, (5, 3)),
        (0x07, 0x0f42, (5, 3)),
    ];
    for (qw0, ecap, (narrow, wide)) in rows {
        let caps = Capabilities::new(CAP, ecap)?;
        assert_eq!(info([qw0, 0, 0, 0], false, &caps), narrow, "{qw0:#x}");
        assert_eq!(info([qw0, 0, 0, 0], true, &caps), wide, "{qw0:#x}");
    }
    // Requests without PASID have PASID-table entries too.
    let caps = Capabilities::new(CAP, 0x0000_8800_0000_0f42)?;
    assert_eq!(info([0x26, 0, 0, 0], true, &caps), 0);
    assert_eq!(info([0x07, 0, 0, 0], true, &caps), 0);
    Ok(())
}

// feature: 3.descriptors: reserved bits and granularities
#[test]
fn every_granularity() -> Result<(), CapabilityError> {
    // Type and the IQEI of granularities 0 to 3.
    let rows = [(1, [4, 0, 0, 0]), (2, [4, 0, 0, 0]), (6, [4, 4, 0, 0]), (7, [0, 0, 4, 0])];
    let caps = Capabilities::new(CAP, FULL)?;
    for (kind, expected) in rows {
        for (granularity, expected) in (0..).zip(expected) {
            let raw = [kind | granularity << 4, 0, 0, 0];
            assert_eq!(info(raw, true, &caps), expected, "{raw:x?}");
        }
    }
    // Pages without CAP.PSI.
    let caps = Capabilities::new(CAP & !(1 << 39), FULL)?;
    assert_eq!(info([0x32, 0, 0, 0], true, &caps), 4);
    assert_eq!(info([0x22, 0, 0, 0], true, &caps), 0);
    assert_eq!(info([0x36, 0, 0, 0], true, &caps), 0);
    Ok(())
}

// feature: 3.descriptors: wait: status, interrupt, fence (type 5)
#[test]
fn waits_wait_for_something() -> Result<(), CapabilityError> {
    let caps = Capabilities::new(CAP, FULL)?;
    for flags in 0..16 {
        let expected = if flags & 7 == 0 { 4 } else { 0 };
        assert_eq!(info([5 | flags << 4, 0, 0, 0], false, &caps), expected, "{flags:#x}");
    }
    Ok(())
}

// feature: 3.descriptors: PASID-based IOTLB (type 6)
#[test]
fn every_address_mask() -> Result<(), CapabilityError> {
    let address = 0xfedc_ba98_7654_3000_u64;
    for mamv in [0, 9, 0x12, 63] {
        let caps = Capabilities::new(CAP & !(0x3f << 48) | mamv << 48, FULL)?;
        for mask in 0..64 {
            let within = info([0x32, address | mask, 0, 0], true, &caps);
            assert_eq!(within, if mask > mamv { 4 } else { 0 }, "type 2, AM {mask}, MAMV {mamv}");
            // With the other granularities AM means nothing.
            assert_eq!(info([0x12, address | mask, 0, 0], true, &caps), 0);
            assert_eq!(info([0x22, address | mask, 0, 0], true, &caps), 0);

            let raw = [0x36, address | mask, 0, 0];
            let decoded = Descriptor::decode(raw, true, &caps);
            let Ok(Descriptor::PasidIotlb(PasidIotlbInvalidation { pages: Some(pages), .. })) =
                decoded
            else {
                panic!("type 6, AM {mask}: {decoded:?}");
            };
            let range = pages.range();
            // In 128 bits nothing overflows.
            let size = 1_u128 << mask.min(52);
            let first = u128::from(address >> 12) / size * size;
            assert_eq!(u128::from(range.first()), first, "AM {mask}");
            assert_eq!(u128::from(range.last()), first + size - 1, "AM {mask}");
            assert_eq!(u128::from(range.pages()), size, "AM {mask}");
            assert_eq!(range.is_everything(), mask >= 52, "AM {mask}");
            assert!(range.contains(Iova(address)));
            // The address has bit 56 clear and bits 63:57 set.
            assert_eq!(range.contains(Iova(u64::MAX)), mask >= 45, "AM {mask}");
            assert_eq!(range.contains(Iova(0)), mask >= 52, "AM {mask}");
        }
    }
    Ok(())
}

// feature: 3.device TLBs: ranges (S)
#[test]
fn every_device_tlb_range() -> Result<(), CapabilityError> {
    let caps = Capabilities::new(CAP, FULL)?;
    let everything = (0, (1 << 52) - 1);
    // Address, S, first and last page.
    let mut rows = vec![
        (0x0000_0000_0000_0000, 0, (0, 0)),
        (0x0000_0000_0000_1000, 0, (1, 1)),
        (0x0000_0000_0000_0000, 1, (0, 1)),
        (0x0000_0000_0000_1000, 1, (0, 3)),
        (0x0000_0000_0000_5000, 1, (4, 7)),
        (0x0000_0000_0000_3000, 1, (0, 7)),
        (0xffff_ffff_ffff_f000, 0, ((1 << 52) - 1, (1 << 52) - 1)),
        (0x3fff_ffff_ffff_f000, 1, (0, (1 << 51) - 1)),
        (0xbfff_ffff_ffff_f000, 1, (1 << 51, (1 << 52) - 1)),
        (0x7fff_ffff_ffff_f000, 1, everything),
        (0xffff_ffff_ffff_f000, 1, everything),
    ];
    for ones in 0..51 {
        // One zero above the ones, and a one above that where there is room.
        let below = (1_u64 << ones) - 1;
        let base = if ones < 50 { 1 << (ones + 1) } else { 0 };
        rows.push(((base | below) << 12, 1, (base, base | below << 1 | 1)));
    }
    for (address, sized, expected) in rows {
        let Ok(Descriptor::DeviceTlb(plain)) =
            Descriptor::decode([3, address | sized, 0, 0], false, &caps)
        else {
            panic!("{address:#x}");
        };
        let Ok(Descriptor::PasidDeviceTlb(with_pasid)) =
            Descriptor::decode([8, address | sized << 11, 0, 0], true, &caps)
        else {
            panic!("{address:#x}");
        };
        let range = plain.pages;
        assert_eq!((range.first(), range.last()), expected, "{address:#x} S {sized}");
        assert_eq!(range.is_everything(), expected == everything);
        assert_eq!(with_pasid.pages, range);
        if address != 0xffff_ffff_ffff_f000 || sized == 0 {
            assert_eq!(Descriptor::DeviceTlb(plain).encode(), [3, address | sized, 0, 0]);
            let raw = [8, address | sized << 11, 0, 0];
            assert_eq!(Descriptor::PasidDeviceTlb(with_pasid).encode(), raw);
        }
    }
    let largest = DeviceTlbInvalidation {
        source_id: SourceId(0),
        pfsid: SourceId(0),
        max_pending: 0,
        pages: PageRange::EVERYTHING,
    };
    assert_eq!(Descriptor::DeviceTlb(largest).encode(), [3, 0x7fff_ffff_ffff_f001, 0, 0]);
    Ok(())
}

#[test]
fn page_ranges_overlap() {
    // Two ranges by address and order, and whether they have a page in common.
    let rows = [
        ((0x0000, 0), (0x0000, 0), true),
        ((0x0000, 0), (0x1000, 0), false),
        ((0x0000, 1), (0x1000, 0), true),
        ((0x2000, 1), (0x1000, 0), false),
        ((0x2000, 1), (0x4000, 0), false),
        ((0x2000, 2), (0x1000, 0), true),
        ((0x0000, 52), (u64::MAX, 0), true),
        ((0x0000, 51), (u64::MAX, 0), false),
    ];
    for ((a, a_order), (b, b_order), expected) in rows {
        let (a, b) = (PageRange::around(Iova(a), a_order), PageRange::around(Iova(b), b_order));
        assert_eq!(a.overlaps(b), expected, "{a} and {b}");
        assert_eq!(b.overlaps(a), expected, "{b} and {a}");
    }
}

#[test]
fn address_masks_beyond_the_field_stay_everything() {
    for mask in [52, 63, 64, 255] {
        let pages = AddressMask { address: Iova(0x1000), mask, leaf_only: false };
        assert!(pages.range().is_everything());
        assert!(AddressMask::from_bits(pages.bits()).range().is_everything());
    }
}

#[test]
fn every_index_mask() -> Result<(), CapabilityError> {
    for mhmv in 0..16 {
        let caps = Capabilities::new(CAP, FULL & !(0xf << 20) | mhmv << 20)?;
        for mask in 0..32 {
            let raw = [0x1234_0000_0014 | mask << 27, 0, 0, 0];
            assert_eq!(info(raw, false, &caps), if mask > mhmv { 4 } else { 0 }, "{mask}");
            // All entries: index and mask mean nothing.
            let raw = [0x1234_0000_0004 | mask << 27, 0, 0, 0];
            assert_eq!(info(raw, false, &caps), 0, "{mask}");
        }
    }
    // Index, mask, first and last index.
    let rows = [
        (0x1234, 0, (0x1234, 0x1234)),
        (0x1237, 3, (0x1230, 0x1237)),
        (0x8001, 15, (0x8000, 0xffff)),
        (0x8001, 16, (0, 0xffff)),
        (0x8001, 255, (0, 0xffff)),
    ];
    for (index, mask, (first, last)) in rows {
        let invalidation = InterruptEntryCacheInvalidation::Indices { index, mask };
        assert_eq!(invalidation.indices(), first..=last);
    }
    assert_eq!(InterruptEntryCacheInvalidation::Global.indices(), 0..=0xffff);
    Ok(())
}

// feature: 3.descriptors: context cache (type 1)
#[test]
fn function_masks() {
    // Mask and which of the functions 0 to 7 are the same as function 1 of the device.
    let rows = [
        (FunctionMask::Exact, [1].as_slice()),
        (FunctionMask::Bit2, &[1, 5]),
        (FunctionMask::Bits2To1, &[1, 3, 5, 7]),
        (FunctionMask::Bits2To0, &[0, 1, 2, 3, 4, 5, 6, 7]),
    ];
    for (bits, (mask, expected)) in (0..).zip(rows) {
        assert_eq!((mask.bits(), FunctionMask::from_bits(bits)), (bits, mask));
        for function in 0..8 {
            let same = mask.matches(SourceId(0x0119), SourceId(0x0118 | function));
            assert_eq!(same, expected.contains(&function), "{mask:?} {function}");
        }
        assert!(!mask.matches(SourceId(0x0119), SourceId(0x0111)));
        assert!(!mask.matches(SourceId(0x0119), SourceId(0x0219)));
    }
}

/// Raw quadwords, what they mean, and how it reads.
fn descriptors() -> Vec<([u64; 2], Descriptor, &'static str)> {
    let domain = DomainId(0x5a);
    let source_id = SourceId(0x0118);
    let pasid = Pasid::from_low_bits(0xa_bcde);
    let pfsid = SourceId(0xabcd);
    let pages = AddressMask { address: Iova(0x1234_5000), mask: 0, leaf_only: false };
    let hinted = AddressMask { address: Iova(0x1234_5000), mask: 9, leaf_only: true };
    let everything = AddressMask { address: Iova(0x1234_5000), mask: 52, leaf_only: false };
    let range = |address, order| PageRange::around(Iova(address), order);
    let scope = |scope| {
        Descriptor::Iotlb(IotlbInvalidation { scope, drain_reads: false, drain_writes: false })
    };
    let wait = Wait { interrupt: false, status: None, fence: false, drain: false };
    vec![
        (
            [0x11, 0],
            Descriptor::ContextCache(ContextCacheInvalidation::Global),
            "context cache: global",
        ),
        (
            [0x5a_0021, 0],
            Descriptor::ContextCache(ContextCacheInvalidation::Domain(domain)),
            "context cache: domain 5a",
        ),
        (
            [0x0000_0118_005a_0031, 0],
            Descriptor::ContextCache(ContextCacheInvalidation::Device {
                domain,
                source_id,
                function_mask: FunctionMask::Exact,
            }),
            "context cache: device 01:03.0, domain 5a",
        ),
        (
            [0x0003_0118_005a_0031, 0],
            Descriptor::ContextCache(ContextCacheInvalidation::Device {
                domain,
                source_id,
                function_mask: FunctionMask::Bits2To0,
            }),
            "context cache: device 01:03.0, domain 5a, function mask 3",
        ),
        ([0x12, 0], scope(IotlbScope::Global), "IOTLB: global"),
        ([0x5a_0022, 0], scope(IotlbScope::Domain(domain)), "IOTLB: domain 5a"),
        (
            [0x5a_0032, 0x1234_5000],
            scope(IotlbScope::Pages { domain, pages }),
            "IOTLB: domain 5a, page 0x12345000",
        ),
        (
            [0x5a_0032, 0x1234_5049],
            scope(IotlbScope::Pages { domain, pages: hinted }),
            "IOTLB: domain 5a, pages 0x12200000 to 0x123fffff, leaf only",
        ),
        (
            [0x92, 0],
            Descriptor::Iotlb(IotlbInvalidation {
                scope: IotlbScope::Global,
                drain_reads: true,
                drain_writes: false,
            }),
            "IOTLB: global, drain reads",
        ),
        (
            [0x52, 0],
            Descriptor::Iotlb(IotlbInvalidation {
                scope: IotlbScope::Global,
                drain_reads: false,
                drain_writes: true,
            }),
            "IOTLB: global, drain writes",
        ),
        (
            [0xabc0_0118_001f_d003, 0x2000_1001],
            Descriptor::DeviceTlb(DeviceTlbInvalidation {
                source_id,
                pfsid,
                max_pending: 31,
                pages: range(0x2000_0000, 2),
            }),
            "device TLB: device 01:03.0, pages 0x20000000 to 0x20003fff",
        ),
        (
            [0x0000_0118_0000_0003, 0x2000_1000],
            Descriptor::DeviceTlb(DeviceTlbInvalidation {
                source_id,
                pfsid: SourceId(0),
                max_pending: 0,
                pages: range(0x2000_1000, 0),
            }),
            "device TLB: device 01:03.0, page 0x20001000",
        ),
        (
            [0x04, 0],
            Descriptor::InterruptEntryCache(InterruptEntryCacheInvalidation::Global),
            "interrupt entry cache: global",
        ),
        (
            [0x1234_0000_0014, 0],
            Descriptor::InterruptEntryCache(InterruptEntryCacheInvalidation::Indices {
                index: 0x1234,
                mask: 0,
            }),
            "interrupt entry cache: index 1234",
        ),
        (
            [0x1234_1800_0014, 0],
            Descriptor::InterruptEntryCache(InterruptEntryCacheInvalidation::Indices {
                index: 0x1234,
                mask: 3,
            }),
            "interrupt entry cache: indices 1230 to 1237",
        ),
        (
            [0x0000_0002_0000_0025, 0x01f6_a804],
            Descriptor::Wait(Wait {
                status: Some(WaitStatus { address: Gpa(0x01f6_a804), data: 2 }),
                ..wait
            }),
            "wait: status 2 to 0x1f6a804",
        ),
        ([0x15, 0], Descriptor::Wait(Wait { interrupt: true, ..wait }), "wait: interrupt"),
        ([0x45, 0], Descriptor::Wait(Wait { fence: true, ..wait }), "wait: fence"),
        (
            [0xffff_ffff_0000_00f5, 0xffff_ffff_ffff_fffc],
            Descriptor::Wait(Wait {
                interrupt: true,
                status: Some(WaitStatus { address: Gpa(0xffff_ffff_ffff_fffc), data: u32::MAX }),
                fence: true,
                drain: true,
            }),
            "wait: status ffffffff to 0xfffffffffffffffc, interrupt, fence, drain page requests",
        ),
        (
            [0x000a_bcde_005a_0026, 0],
            Descriptor::PasidIotlb(PasidIotlbInvalidation { domain, pasid, pages: None }),
            "PASID IOTLB: PASID abcde, domain 5a",
        ),
        (
            [0x000a_bcde_005a_0036, 0x1234_5049],
            Descriptor::PasidIotlb(PasidIotlbInvalidation { domain, pasid, pages: Some(hinted) }),
            "PASID IOTLB: PASID abcde, domain 5a, pages 0x12200000 to 0x123fffff, leaf only",
        ),
        (
            [0x000a_bcde_005a_0036, 0x1234_5034],
            Descriptor::PasidIotlb(PasidIotlbInvalidation {
                domain,
                pasid,
                pages: Some(everything),
            }),
            "PASID IOTLB: PASID abcde, domain 5a, every page",
        ),
        (
            [0x5a_0007, 0],
            Descriptor::PasidCache(PasidCacheInvalidation::Domain(domain)),
            "PASID cache: domain 5a",
        ),
        (
            [0x0000_0009_0005_0017, 0],
            Descriptor::PasidCache(PasidCacheInvalidation::Pasid {
                domain: DomainId(5),
                pasid: Pasid::from_low_bits(9),
            }),
            "PASID cache: PASID 9, domain 5",
        ),
        ([0x37, 0], Descriptor::PasidCache(PasidCacheInvalidation::Global), "PASID cache: global"),
        (
            [0xabca_bcde_0118_d1f8, 0x2000_0800],
            Descriptor::PasidDeviceTlb(PasidDeviceTlbInvalidation {
                source_id,
                pfsid,
                max_pending: 31,
                pasids: PasidSelection::One(pasid),
                pages: range(0x2000_0000, 1),
            }),
            "PASID device TLB: device 01:03.0, PASID abcde, pages 0x20000000 to 0x20001fff",
        ),
        (
            [0x0118_0008, 0x7fff_ffff_ffff_f801],
            Descriptor::PasidDeviceTlb(PasidDeviceTlbInvalidation {
                source_id,
                pfsid: SourceId(0),
                max_pending: 0,
                pasids: PasidSelection::All,
                pages: PageRange::EVERYTHING,
            }),
            "PASID device TLB: device 01:03.0, every PASID, every page",
        ),
        (
            [0x000a_bcde_0118_1019, 0xffc],
            Descriptor::PageGroupResponse(PageGroupResponse {
                source_id,
                pasid: Some(pasid),
                code: ResponseCode::Invalid,
                last_in_group: true,
                group_index: 0x1ff,
            }),
            "page group response: device 01:03.0, PASID abcde, group 1ff, invalid, last",
        ),
        (
            [0x0118_0009, 0x28],
            Descriptor::PageGroupResponse(PageGroupResponse {
                source_id,
                pasid: None,
                code: ResponseCode::Success,
                last_in_group: false,
                group_index: 5,
            }),
            "page group response: device 01:03.0, group 5, success",
        ),
        (
            [0x0118_f009, 0],
            Descriptor::PageGroupResponse(PageGroupResponse {
                source_id,
                pasid: None,
                code: ResponseCode::Failure,
                last_in_group: false,
                group_index: 0,
            }),
            "page group response: device 01:03.0, group 0, failure",
        ),
    ]
}

// feature: 3.descriptors: all nine types, 128 and 256 bits (IQA.DW)
#[test]
fn raw_values() -> Result<(), CapabilityError> {
    let caps = Capabilities::new(CAP, FULL)?;
    for ([qw0, qw1], descriptor, text) in descriptors() {
        let raw = [qw0, qw1, 0, 0];
        assert_eq!(Descriptor::decode(raw, true, &caps), Ok(descriptor), "{raw:x?}");
        assert_eq!(descriptor.encode(), raw, "{descriptor:?}");
        assert_eq!(descriptor.to_string(), text);
        if qw0 & 0xf <= 5 {
            assert_eq!(Descriptor::decode(raw, false, &caps), Ok(descriptor), "{raw:x?}");
        }
    }
    Ok(())
}

// feature: 4.page group responses: format (type 9), with and without PASID
#[test]
fn response_codes_without_a_meaning_are_failures() -> Result<(), CapabilityError> {
    let caps = Capabilities::new(CAP, FULL)?;
    for code in 2..16 {
        let decoded = Descriptor::decode([9 | code << 12, 0, 0, 0], true, &caps);
        let Ok(Descriptor::PageGroupResponse(response)) = decoded else {
            panic!("{code:#x}: {decoded:?}");
        };
        assert_eq!(response.code, ResponseCode::Failure, "{code:#x}");
    }
    Ok(())
}

#[test]
fn what_decodes_comes_back() -> Result<(), CapabilityError> {
    // A fixed pseudo-random sequence (xorshift), so that a failure repeats.
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let all = [ECAP, ECAP | DT, ECAP | IR, ECAP | DT | PRS, ECAP | DT | DIT, ECAP | PDS, FULL];
    // Under Miri the last alone.
    for ecap in all.into_iter().skip(if cfg!(miri) { 6 } else { 0 }) {
        let caps = Capabilities::new(CAP | 0x3f << 48, ecap)?;
        for kind in 1..=9 {
            let mut well_formed = 0;
            for _ in 0..if cfg!(miri) { 1_000 } else { 3_000 } {
                // Few bits at a time, or hardly anything would be well formed.
                let qw0 = next() & next() & next();
                let qw1 = next() & next() & next();
                for qw1 in [0, qw1, qw1 & 0xfff] {
                    let raw = [qw0 & !0xe0f | kind, qw1, 0, 0];
                    let Ok(descriptor) = Descriptor::decode(raw, true, &caps) else { continue };
                    well_formed += 1;
                    let again = Descriptor::decode(descriptor.encode(), true, &caps);
                    assert_eq!(again, Ok(descriptor), "{raw:x?}");
                }
            }
            assert!(well_formed > 0 || ecap != FULL, "type {kind}");
        }
    }
    Ok(())
}

#[test]
fn errors_say_what_and_where() -> Result<(), CapabilityError> {
    let full = Capabilities::new(CAP, FULL)?;
    let bare = Capabilities::new(CAP, ECAP)?;
    let rows = [
        ([0x0f, 0], true, full, "unknown descriptor type in qw0 0xf"),
        ([0x26, 0], false, full, "PASID IOTLB descriptor in a queue of 128-bit descriptors"),
        ([0x09, 0], true, bare, "page group response descriptor, which needs ECAP.PRS"),
        ([0x12, 0xf81], true, full, "IOTLB descriptor with reserved bits 0xf80 in qw1 0xf81"),
        ([0x27, 0], true, full, "PASID cache descriptor with reserved granularity in qw0 0x27"),
        ([0x32, 0x13], true, full, "IOTLB descriptor with AM 0x13, above CAP.MAMV 0x12"),
        (
            [0x5000_0014, 0],
            true,
            full,
            "interrupt entry cache descriptor with IM 0xa, above ECAP.MHMV 0x9",
        ),
        ([0x85, 0], true, full, "wait descriptor that waits for nothing, qw0 0x85"),
    ];
    for ([qw0, qw1], wide, caps, text) in rows {
        let result = Descriptor::decode([qw0, qw1, 0, 0], wide, &caps);
        assert_eq!(result.map_err(|error| error.to_string()), Err(text.to_owned()));
    }
    let error = Descriptor::decode([0x0f, 0, 0, 0], true, &full);
    assert_eq!(error.map_err(|error| error.info()), Err(QueueErrorInfo::InvalidType));
    Ok(())
}

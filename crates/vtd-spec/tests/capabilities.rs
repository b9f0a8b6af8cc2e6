//! Capabilities against raw register values.

use vtd_spec::{Capabilities, CapabilityError};

/// First-stage only, caching mode: what a recorded unit showed.
const CAP: u64 = 0x81d2_008c_222f_0686;
const ECAP: u64 = 0x0001_8998_0000_0f46;

// feature: 10.raw values, refused where they do not fit
#[test]
fn fields() -> Result<(), CapabilityError> {
    let caps = Capabilities::new(CAP, ECAP)?;
    assert_eq!((caps.cap(), caps.ecap()), (CAP, ECAP));
    assert_eq!(caps.domain_count(), 65_536);
    assert_eq!(caps.second_stage_widths(), 0b0110);
    assert_eq!(caps.maximum_guest_address_width(), 48);
    assert_eq!(caps.host_address_width(), 48);
    assert_eq!(caps.fault_record_offset(), 0x220);
    assert_eq!(caps.fault_record_count(), 1);
    assert_eq!(caps.maximum_address_mask(), 18);
    assert_eq!(caps.invalidate_register_offset(), 0xf0);
    assert_eq!(caps.maximum_handle_mask(), 0);
    assert_eq!(caps.pasid_bits(), 20);
    assert_eq!(caps.register_page_size(), 0x1000);
    assert_eq!(
        format!("{caps:?}"),
        "Capabilities { cap: 0x81d2008c222f0686, ecap: 0x1899800000f46, host_address_width: 48 }"
    );
    // 256 fault records from 3FF0 on.
    let caps = Capabilities::new(CAP & !(0x3ff << 24) | 0x3ff << 24 | 0xff << 40, ECAP)?;
    assert_eq!((caps.fault_record_offset(), caps.fault_record_count()), (0x3ff0, 256));
    assert_eq!(caps.register_page_size(), 0x5000);
    // FRO, NFR, IRO, and the size that holds them
    for (fault_records, count, invalidate, size) in [
        (0x22, 0, 0x0f, 0x1000),
        (0xff, 0, 0x0f, 0x1000),
        (0xff, 1, 0x0f, 0x2000),
        (0x22, 0, 0xff, 0x1000),
        (0x22, 0, 0x100, 0x2000),
    ] {
        let cap = CAP & !(0xff << 40 | 0x3ff << 24) | count << 40 | fault_records << 24;
        let caps = Capabilities::new(cap, ECAP & !(0x3ff << 8) | invalidate << 8)?;
        assert_eq!(caps.register_page_size(), size, "{fault_records:x} {count} {invalidate:x}");
    }
    Ok(())
}

// feature: 10.raw values, refused where they do not fit
#[test]
fn every_flag() -> Result<(), CapabilityError> {
    type Shown = fn(&Capabilities) -> bool;
    let cap: [(u32, Shown); 14] = [
        (3, Capabilities::advanced_fault_log),
        (4, Capabilities::write_buffer_flush),
        (5, Capabilities::protected_low_memory),
        (6, Capabilities::protected_high_memory),
        (7, Capabilities::caching_mode),
        (22, Capabilities::zero_length_read),
        (34, Capabilities::second_stage_2m),
        (35, Capabilities::second_stage_1g),
        (39, Capabilities::page_selective),
        (56, Capabilities::first_stage_1g),
        (59, Capabilities::posted_interrupts),
        (60, Capabilities::five_level_first_stage),
        (62, Capabilities::enhanced_interrupt_table_pointer),
        (63, Capabilities::enhanced_root_table_pointer),
    ];
    for (bit, shown) in cap {
        for value in [CAP | 1 << bit, CAP & !(1 << bit)] {
            assert_eq!(shown(&Capabilities::new(value, ECAP)?), value >> bit & 1 == 1, "CAP {bit}");
        }
    }
    // Features that each bit needs, or that need it, are shown or not shown along with it.
    let full = ECAP | 1 << 3 | 1 << 26 | 1 << 46;
    let ecap: [(u32, u64, u64, Shown); 26] = [
        (1, full, 0xf40, Capabilities::queued_invalidation),
        (2, full, full & !(1 << 29), Capabilities::device_tlbs),
        (3, full, full, Capabilities::interrupt_remapping),
        (4, full, full, Capabilities::extended_interrupt_mode),
        (6, full, full, Capabilities::pass_through),
        (7, full, full, Capabilities::snoop_control),
        (25, full, full, Capabilities::memory_types),
        (26, full, full, Capabilities::nested),
        (29, full, full, Capabilities::page_requests),
        (30, full, full, Capabilities::execute_requests),
        (31, full, full, Capabilities::supervisor_requests),
        (33, full, full, Capabilities::no_write_flag),
        (34, full, full, Capabilities::extended_accessed),
        (40, full, full, Capabilities::pasid),
        (41, full, full, Capabilities::device_tlb_throttle),
        (42, full, full, Capabilities::page_request_drain),
        (43, full, 0xf42, Capabilities::scalable_mode),
        (44, full, full, Capabilities::virtual_commands),
        (45, full, full, Capabilities::second_stage_accessed_dirty),
        (46, full, full & !(1 << 26), Capabilities::scalable_second_stage),
        (47, full, full & !(1 << 26), Capabilities::first_stage),
        (48, full, full, Capabilities::coherent_page_walk),
        (49, full, full, Capabilities::rid_pasid),
        (51, full, full, Capabilities::performance_monitoring),
        (52, full, full, Capabilities::abort_mode),
        (53, full, full, Capabilities::rid_privilege),
    ];
    for (bit, with, without, shown) in ecap {
        assert!(shown(&Capabilities::new(CAP, with | 1 << bit)?), "ECAP {bit}");
        assert!(!shown(&Capabilities::new(CAP, without & !(1 << bit))?), "ECAP {bit}");
    }
    Ok(())
}

#[test]
fn every_domain_count() -> Result<(), CapabilityError> {
    for (nd, count) in (0..).zip([16, 64, 256, 1024, 4096, 16_384, 65_536]) {
        let caps = Capabilities::new(CAP & !7 | nd, ECAP)?;
        assert_eq!(caps.domain_count(), count, "ND {nd}");
    }
    Ok(())
}

// feature: 10.host address width (HAW)
#[test]
fn host_address_width() -> Result<(), CapabilityError> {
    let caps = Capabilities::new(CAP, ECAP)?;
    // Width and the reserved bits of an address field.
    let rows = [
        (12, 0x000f_ffff_ffff_f000),
        (39, 0x000f_ff80_0000_0000),
        (48, 0x000f_0000_0000_0000),
        (52, 0),
    ];
    for (width, reserved) in rows {
        let caps = caps.with_host_address_width(width)?;
        assert_eq!(caps.host_address_width(), width);
        assert_eq!(caps.reserved_address_bits(), reserved, "{width}");
        assert_eq!((caps.cap(), caps.ecap()), (CAP, ECAP));
    }
    for width in [0, 11, 53, 255] {
        assert_eq!(
            caps.with_host_address_width(width),
            Err(CapabilityError::HostAddressWidth(width))
        );
    }
    // MGAW of 57 and of 64 bits: at most 52 are the host's. MGAW of 11 bits: too few.
    for mgaw in [56, 63] {
        let caps = Capabilities::new(CAP & !(0x3f << 16) | mgaw << 16, ECAP)?;
        assert_eq!(caps.host_address_width(), 52);
    }
    let narrow = Capabilities::new(CAP & !(0x3f << 16) | 10 << 16, ECAP);
    assert_eq!(narrow, Err(CapabilityError::HostAddressWidth(11)));
    Ok(())
}

// feature: 10.raw values, refused where they do not fit
#[test]
fn features_without_what_they_need() {
    // CAP, ECAP, the message.
    let rows = [
        (CAP, 0x0000_0800_0000_0f44, "ECAP shows SMTS, which needs ECAP.QI"),
        (CAP, 0x0000_0198_0000_0f46, "ECAP shows PASID, which needs ECAP.SMTS"),
        (CAP, 0x0000_8000_0000_0f46, "ECAP shows FSTS, which needs ECAP.SMTS"),
        (CAP, 0x0000_4000_0000_0f46, "ECAP shows SSTS, which needs ECAP.SMTS"),
        (CAP, 0x0000_4800_0400_0f46, "ECAP shows NEST, which needs ECAP.FSTS"),
        (CAP, 0x0000_8800_0400_0f46, "ECAP shows NEST, which needs ECAP.SSTS"),
        (CAP, 0x0000_0000_0000_0f4c, "ECAP shows IR, which needs ECAP.QI"),
        (CAP, 0x0000_0000_0000_0f52, "ECAP shows EIM, which needs ECAP.IR"),
        (CAP, 0x0001_8998_2000_0f42, "ECAP shows PRS, which needs ECAP.DT"),
        (CAP, 0x0001_8800_2000_0f46, "ECAP shows PRS, which needs ECAP.PASID"),
        (CAP, 0x0001_9800_0000_0f46, "ECAP shows VCS, which needs ECAP.PASID"),
        (CAP | 1 << 60, 0x0000_4800_0000_0f46, "CAP shows FS5LP, which needs ECAP.FSTS"),
    ];
    for (cap, ecap, text) in rows {
        let result = Capabilities::new(cap, ecap);
        assert!(matches!(result, Err(CapabilityError::Needs { .. })), "{text}");
        assert_eq!(result.map_err(|error| error.to_string()), Err(text.to_owned()));
    }
}

// feature: 10.raw values, refused where they do not fit
#[test]
fn second_stage_widths() -> Result<(), CapabilityError> {
    for widths in 0..32_u8 {
        let cap = CAP & !(0x1f << 8) | u64::from(widths) << 8;
        let unknown = Err(CapabilityError::UnknownSecondStageWidth(widths));
        let expected = if widths & 0b1_0001 != 0 { unknown } else { Ok(widths) };
        // Scalable mode with first-stage tables only: no width is needed.
        let first = Capabilities::new(cap, ECAP).map(|caps| caps.second_stage_widths());
        assert_eq!(first, expected, "{widths:#x}");
        let expected =
            if widths == 0 { Err(CapabilityError::NoSecondStageWidth) } else { expected };
        for ecap in [ECAP | 1 << 46, 0x0f46] {
            let second = Capabilities::new(cap, ecap).map(|caps| caps.second_stage_widths());
            assert_eq!(second, expected, "{widths:#x}");
        }
    }
    Ok(())
}

// feature: 10.raw values, refused where they do not fit
#[test]
fn pasid_sizes() {
    for pss in 0..32_u8 {
        let ecap = ECAP & !(0x1f << 35) | u64::from(pss) << 35;
        let expected = if pss > 19 { Err(CapabilityError::PasidTooWide(pss)) } else { Ok(pss + 1) };
        let bits = Capabilities::new(CAP, ecap).map(|caps| caps.pasid_bits());
        assert_eq!(bits, expected, "PSS {pss}");
        // Without PASID the size means nothing.
        assert!(Capabilities::new(CAP, ecap & !(1 << 40)).is_ok(), "PSS {pss}");
    }
}

// feature: 10.raw values, refused where they do not fit
#[test]
fn register_places() {
    let at = |fro: u64, nfr: u64, iro: u64, vcs: u64| {
        let cap = CAP & !(0x3ff << 24) | fro << 24 | nfr << 40;
        let ecap = ECAP & !(0x3ff << 8) | iro << 8 | vcs << 44;
        Capabilities::new(cap, ecap)
    };
    let overlap = |group, offset, size, other| {
        Err(CapabilityError::RegistersOverlap { group, offset, size, other })
    };
    // FRO, NFR, IRO and VCS, and what is wrong.
    let rows = [
        ((0x22, 0, 0x0f, 0), Ok(())),
        ((0x10, 0, 0x0f, 0), Ok(())),
        ((0x0e, 0, 0x0f, 0), overlap("FRCD", 0xe0, 16, "the fixed registers")),
        ((0x22, 0, 0x0e, 0), overlap("IVA and IOTLB", 0xe0, 16, "the fixed registers")),
        ((0x0f, 0, 0x0f, 0), overlap("FRCD", 0xf0, 16, "IVA and IOTLB")),
        ((0x20, 2, 0x22, 0), overlap("FRCD", 0x200, 48, "IVA and IOTLB")),
        ((0x20, 2, 0x23, 0), Ok(())),
        ((0xd0, 15, 0x0f, 1), Ok(())),
        ((0xd0, 16, 0x0f, 1), overlap("FRCD", 0xd00, 272, "VCMD, VCRSP and VCCAP")),
        ((0xe4, 0, 0x0f, 1), Ok(())),
        ((0x22, 0, 0xe3, 1), overlap("IVA and IOTLB", 0xe30, 16, "VCMD, VCRSP and VCCAP")),
        ((0x22, 0, 0xe3, 0), Ok(())),
    ];
    for ((fro, nfr, iro, vcs), expected) in rows {
        assert_eq!(at(fro, nfr, iro, vcs).map(|_| ()), expected, "{fro:#x} {nfr:#x} {iro:#x}");
    }
}

// feature: 10.raw values, refused where they do not fit
#[test]
fn errors_are_readable() {
    let rows = [
        (
            CapabilityError::UnknownSecondStageWidth(0x10),
            "CAP.SAGAW is 0x10: only bits 1, 2 and 3 (39, 48 and 57 bits) are second-stage widths",
        ),
        (
            CapabilityError::NoSecondStageWidth,
            "CAP.SAGAW is 0, yet the unit has second-stage tables",
        ),
        (CapabilityError::PasidTooWide(0x14), "ECAP.PSS is 0x14: a PASID has at most 20 bits (13)"),
        (
            CapabilityError::RegistersOverlap {
                group: "FRCD",
                offset: 0xe0,
                size: 0x10,
                other: "the fixed registers",
            },
            "FRCD at offset 0xe0, 0x10 bytes, lies over the fixed registers",
        ),
        (
            CapabilityError::HostAddressWidth(11),
            "a host address width of 11 bits: it lies between 12 and 52",
        ),
    ];
    for (error, text) in rows {
        assert_eq!(error.to_string(), text);
    }
}

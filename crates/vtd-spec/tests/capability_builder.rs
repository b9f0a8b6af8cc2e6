//! Capabilities in words against raw register values.
#![cfg(test)]

use vtd_spec::table::SecondStageLevels::{Five, Four, Three};
use vtd_spec::{
    Capabilities, CapabilitiesBuilder, CapabilityError, FirstStageLevels, InterruptRemapping,
};

type Change = fn(CapabilitiesBuilder) -> CapabilitiesBuilder;

/// CAP and ECAP.
fn built(builder: CapabilitiesBuilder) -> Result<(u64, u64), CapabilityError> {
    let capabilities = builder.build()?;
    let (cap, ecap) = (capabilities.cap(), capabilities.ecap());
    // What is built passes as raw values too.
    let raw = Capabilities::new(cap, ecap)?;
    assert_eq!(raw.with_host_address_width(capabilities.host_address_width()), Ok(capabilities));
    assert_eq!(
        (cap & !Capabilities::IMPLEMENTED_CAP, ecap & !Capabilities::IMPLEMENTED_ECAP),
        (0, 0)
    );
    Ok((cap, ecap))
}

// feature: 10.builder: capabilities of recorded Linux guests
#[test]
fn what_recorded_units_showed() {
    let scalable = CapabilitiesBuilder::scalable;
    let second_stage = scalable()
        .without_first_stage()
        .second_stage(&[Three, Four])
        .supervisor_requests(true)
        .caching_mode(false);
    let rows = [
        (scalable(), (0x81d2_008c_222f_0686, 0x0001_8998_0000_0f46)),
        (scalable().caching_mode(false), (0x81d2_008c_222f_0606, 0x0001_8998_0000_0f46)),
        (
            scalable().enhanced_root_table_pointer(false),
            (0x01d2_008c_222f_0686, 0x0001_8998_0000_0f46),
        ),
        (second_stage, (0x80d2_008c_222f_0606, 0x0001_4998_8000_0f46)),
        (CapabilitiesBuilder::legacy().caching_mode(false), (0x80d2_008c_222f_0606, 0xf42)),
        (
            CapabilitiesBuilder::legacy().caching_mode(false).second_stage(&[Three, Four]),
            (0x80d2_008c_222f_0606, 0xf42),
        ),
    ];
    for (builder, expected) in rows {
        assert_eq!(built(builder), Ok(expected), "{expected:x?}");
    }
}

// feature: 10.builder: every capability in words
#[test]
fn every_flag() {
    let cap: [(u32, Change, Change); 14] = [
        (4, |b| b.write_buffer_flush(true), |b| b.write_buffer_flush(false)),
        (5, |b| b.protected_low_memory(true), |b| b.protected_low_memory(false)),
        (6, |b| b.protected_high_memory(true), |b| b.protected_high_memory(false)),
        (7, |b| b.caching_mode(true), |b| b.caching_mode(false)),
        (22, |b| b.zero_length_read(true), |b| b.zero_length_read(false)),
        (34, |b| b.second_stage_2m(true), |b| b.second_stage_2m(false)),
        (35, |b| b.second_stage_1g(true), |b| b.second_stage_1g(false)),
        (39, |b| b.page_selective(true), |b| b.page_selective(false)),
        (54, |b| b.drain(true), |b| b.drain(false)),
        (55, |b| b.drain(true), |b| b.drain(false)),
        (56, |b| b.first_stage_1g(true), |b| b.first_stage_1g(false)),
        (60, |b| b.first_stage(FirstStageLevels::Five), |b| b.first_stage(FirstStageLevels::Four)),
        (
            62,
            |b| b.enhanced_interrupt_table_pointer(true),
            |b| b.enhanced_interrupt_table_pointer(false),
        ),
        (63, |b| b.enhanced_root_table_pointer(true), |b| b.enhanced_root_table_pointer(false)),
    ];
    let ecap: [(u32, Change, Change); 28] = [
        (0, |b| b.coherent(true), |b| b.coherent(false)),
        (
            1,
            |b| b.queued_invalidation(true),
            |_| CapabilitiesBuilder::legacy().queued_invalidation(false),
        ),
        (
            2,
            |b| b.device_tlbs(true),
            |b| {
                b.device_tlbs(false)
                    .page_requests(false)
                    .no_write_flag(false)
                    .device_tlb_throttle(false)
            },
        ),
        (
            3,
            |b| b.interrupt_remapping(InterruptRemapping::Xapic),
            |b| {
                let b = b.interrupt_remapping(InterruptRemapping::None);
                b.enhanced_interrupt_table_pointer(false)
            },
        ),
        (
            4,
            |b| b.interrupt_remapping(InterruptRemapping::Extended),
            |b| b.interrupt_remapping(InterruptRemapping::Xapic),
        ),
        (6, |b| b.pass_through(true), |b| b.pass_through(false)),
        (7, |b| b.snoop_control(true), |b| b.snoop_control(false)),
        (26, |b| b.nested(true), |b| b.nested(false)),
        (29, |b| b.page_requests(true), |b| b.page_requests(false)),
        (30, |b| b.execute_requests(true), |b| b.execute_requests(false)),
        (31, |b| b.supervisor_requests(true), |b| b.supervisor_requests(false)),
        (33, |b| b.no_write_flag(true), |b| b.no_write_flag(false)),
        (34, |b| b.extended_accessed(true), |b| b.extended_accessed(false)),
        (
            40,
            |b| b.pasid_bits(1),
            |b| {
                let b = b.pasid_bits(0).page_requests(false);
                b.virtual_commands(false).execute_requests(false)
            },
        ),
        (41, |b| b.device_tlb_throttle(true), |b| b.device_tlb_throttle(false)),
        (42, |b| b.page_request_drain(true), |b| b.page_request_drain(false)),
        (43, |b| b, |_| CapabilitiesBuilder::legacy()),
        (44, |b| b.virtual_commands(true), |b| b.virtual_commands(false)),
        (45, |b| b.second_stage_accessed_dirty(true), |b| b.second_stage_accessed_dirty(false)),
        (46, |b| b, |b| b.second_stage(&[])),
        (46, |b| b, |b| b.legacy_second_stage(&[Four])),
        (47, |b| b, CapabilitiesBuilder::without_first_stage),
        (48, |b| b.coherent_page_walk(true), |b| b.coherent_page_walk(false)),
        (49, |b| b.rid_pasid(true), |b| b.rid_pasid(false)),
        (52, |b| b.abort_mode(true), |b| b.abort_mode(false)),
        (53, |b| b.rid_privilege(true), |b| b.rid_privilege(false)),
        // Never shown, whatever is said.
        (25, |b| b, |b| b),
        (51, |b| b, |b| b),
    ];
    let full = CapabilitiesBuilder::scalable()
        .first_stage(FirstStageLevels::Five)
        .second_stage(&[Three, Four, Five])
        .guest_address_bits(57)
        .interrupt_remapping(InterruptRemapping::Extended)
        .enhanced_interrupt_table_pointer(true)
        .page_requests(true)
        .nested(true)
        .no_write_flag(true)
        .device_tlb_throttle(true)
        .execute_requests(true)
        .virtual_commands(true)
        .extended_accessed(true)
        .second_stage_accessed_dirty(true);
    for (bit, with, without) in cap {
        assert_eq!(built(with(full)).unwrap().0 >> bit & 1, 1, "CAP {bit}");
        assert_eq!(built(without(full)).unwrap().0 >> bit & 1, 0, "CAP {bit}");
    }
    for (bit, with, without) in ecap {
        let shown = u64::from(!matches!(bit, 25 | 51));
        assert_eq!(built(with(full)).unwrap().1 >> bit & 1, shown, "ECAP {bit}");
        assert_eq!(built(without(full)).unwrap().1 >> bit & 1, 0, "ECAP {bit}");
    }
}

// feature: 10.builder: every capability in words
#[test]
fn every_number() {
    let scalable = CapabilitiesBuilder::scalable;
    // The register (0 is CAP), the field's low bit and its mask, its value.
    let rows = [
        (scalable().domains(16), 0, 0, 7, 0),
        (scalable().domains(64), 0, 0, 7, 1),
        (scalable().domains(16_384), 0, 0, 7, 5),
        (scalable().domains(65_536), 0, 0, 7, 6),
        (scalable().second_stage(&[Three]), 0, 8, 0x1f, 2),
        (scalable().second_stage(&[Five, Four]), 0, 8, 0x1f, 0xc),
        (scalable().second_stage(&[]), 0, 8, 0x1f, 0),
        (scalable().legacy_second_stage(&[Four]), 0, 8, 0x1f, 4),
        (scalable().guest_address_bits(39), 0, 16, 0x3f, 38),
        (scalable().guest_address_bits(64), 0, 16, 0x3f, 63),
        (scalable().fault_records(256), 0, 40, 0xff, 255),
        (scalable().maximum_address_mask(63), 0, 48, 0x3f, 63),
        (scalable().maximum_address_mask(0), 0, 48, 0x3f, 0),
        (
            scalable().interrupt_remapping(InterruptRemapping::Xapic).maximum_handle_mask(15),
            1,
            20,
            0xf,
            15,
        ),
        (scalable().pasid_bits(1), 1, 35, 0x1f, 0),
        (scalable().pasid_bits(20), 1, 35, 0x1f, 19),
    ];
    for (builder, register, low, mask, value) in rows {
        let (cap, ecap) = built(builder).unwrap();
        assert_eq!([cap, ecap][register] >> low & mask, value, "{builder:?}");
    }
    let wide = scalable().guest_address_bits(57);
    assert_eq!(wide.build().unwrap().host_address_width(), 52);
    assert_eq!(wide.host_address_bits(46).build().unwrap().host_address_width(), 46);
}

#[test]
fn places_of_registers() {
    let scalable = CapabilitiesBuilder::scalable;
    // FRO and IRO.
    let rows = [
        (scalable(), 0x22, 0xf),
        (scalable().fault_records(190), 0x22, 0xf),
        (scalable().fault_records(190).virtual_commands(true), 0x22, 0xf),
        (scalable().fault_records(191), 0x100, 0xf),
        (scalable().fault_records(256).virtual_commands(true), 0x100, 0xf),
        (scalable().fault_records_at(0x3ff0).invalidate_registers_at(0x200), 0x3ff, 0x20),
        (scalable().invalidate_registers_at(0x500), 0x22, 0x50),
    ];
    for (builder, fro, iro) in rows {
        let (cap, ecap) = built(builder).unwrap();
        assert_eq!((cap >> 24 & 0x3ff, ecap >> 8 & 0x3ff), (fro, iro), "{builder:?}");
    }
}

// feature: 10.builder: what does not fit together is refused
#[test]
fn what_does_not_fit() {
    let legacy = CapabilitiesBuilder::legacy;
    let scalable = CapabilitiesBuilder::scalable;
    let rows = [
        (scalable().queued_invalidation(false), "ECAP shows SMTS, which needs ECAP.QI"),
        (legacy().pasid_bits(20), "ECAP shows PASID, which needs ECAP.SMTS"),
        (legacy().first_stage(FirstStageLevels::Four), "ECAP shows FSTS, which needs ECAP.SMTS"),
        (legacy().first_stage_1g(true), "CAP shows FS1GP, which needs ECAP.FSTS"),
        (legacy().coherent_page_walk(true), "ECAP shows SMPWCS, which needs ECAP.SMTS"),
        (legacy().rid_pasid(true), "ECAP shows RPS, which needs ECAP.SMTS"),
        (legacy().rid_privilege(true), "ECAP shows RPRIVS, which needs ECAP.SMTS"),
        (legacy().supervisor_requests(true), "ECAP shows SRS, which needs ECAP.SMTS"),
        (legacy().page_requests(true), "ECAP shows PRS, which needs ECAP.DT"),
        (legacy().second_stage(&[]), "CAP.SAGAW is 0, yet the unit has second-stage tables"),
        (legacy().no_write_flag(true), "ECAP shows NWFS, which needs ECAP.DT"),
        (legacy().device_tlb_throttle(true), "ECAP shows DIT, which needs ECAP.DT"),
        (
            legacy().interrupt_remapping(InterruptRemapping::Xapic).queued_invalidation(false),
            "ECAP shows IR, which needs ECAP.QI",
        ),
        (scalable().nested(true), "ECAP shows NEST, which needs ECAP.SSTS"),
        (
            scalable().second_stage(&[Four]).without_first_stage().nested(true),
            "ECAP shows NEST, which needs ECAP.FSTS",
        ),
        (
            scalable().without_first_stage().first_stage_1g(true),
            "CAP shows FS1GP, which needs ECAP.FSTS",
        ),
        (
            scalable().without_first_stage().extended_accessed(true),
            "ECAP shows EAFS, which needs ECAP.FSTS",
        ),
        (scalable().second_stage_accessed_dirty(true), "ECAP shows SSADS, which needs ECAP.SSTS"),
        (scalable().pasid_bits(0).page_requests(true), "ECAP shows PRS, which needs ECAP.PASID"),
        (scalable().pasid_bits(0).virtual_commands(true), "ECAP shows VCS, which needs ECAP.PASID"),
        (scalable().pasid_bits(0).execute_requests(true), "ECAP shows ERS, which needs ECAP.PASID"),
        (scalable().device_tlbs(false).page_requests(true), "ECAP shows PRS, which needs ECAP.DT"),
        (scalable().page_request_drain(true), "ECAP shows PDS, which needs ECAP.PRS"),
        (
            scalable().enhanced_interrupt_table_pointer(true),
            "CAP shows ESIRTPS, which needs ECAP.IR",
        ),
        (scalable().maximum_handle_mask(1), "ECAP shows MHMV, which needs ECAP.IR"),
        (scalable().pasid_bits(21), "ECAP.PSS, PASID bits is 0x15: it is 0 to 20"),
        (
            scalable().domains(17),
            "CAP.ND, domains is 0x11: it is 16, 64, 256, 1024, 4096, 16384 or 65536",
        ),
        (
            scalable().domains(1 << 18),
            "CAP.ND, domains is 0x40000: it is 16, 64, 256, 1024, 4096, 16384 or 65536",
        ),
        (scalable().guest_address_bits(0), "CAP.MGAW, guest address bits is 0x0: it is 1 to 64"),
        (scalable().guest_address_bits(65), "CAP.MGAW, guest address bits is 0x41: it is 1 to 64"),
        (
            scalable().guest_address_bits(11),
            "a host address width of 11 bits: it lies between 12 and 52",
        ),
        (
            scalable().host_address_bits(53),
            "a host address width of 53 bits: it lies between 12 and 52",
        ),
        (scalable().fault_records(0), "CAP.NFR, fault records is 0x0: it is 1 to 256"),
        (scalable().fault_records(257), "CAP.NFR, fault records is 0x101: it is 1 to 256"),
        (scalable().maximum_address_mask(64), "CAP.MAMV, address mask is 0x40: it is 0 to 63"),
        (scalable().maximum_handle_mask(16), "ECAP.MHMV, handle mask is 0x10: it is 0 to 15"),
        (
            scalable().fault_records_at(0x228),
            "CAP.FRO, fault records is 0x228: it is a multiple of 16 up to 0x3ff0",
        ),
        (
            scalable().invalidate_registers_at(0x4000),
            "ECAP.IRO, IVA and IOTLB is 0x4000: it is a multiple of 16 up to 0x3ff0",
        ),
        (
            scalable().fault_records_at(0xf0),
            "FRCD at offset 0xf0, 0x10 bytes, lies over IVA and IOTLB",
        ),
        (
            scalable().fault_records_at(0xd00).fault_records(17).virtual_commands(true),
            "FRCD at offset 0xd00, 0x110 bytes, lies over VCMD, VCRSP and VCCAP",
        ),
    ];
    for (builder, text) in rows {
        let error = builder.build().map_err(|error| error.to_string());
        assert_eq!(error, Err(text.to_owned()), "{text}");
    }
}

#[test]
fn capabilities_are_readable() {
    let shown = Capabilities::new(0x81d2_008c_222f_0686, 0x0001_8998_0000_0f46).unwrap();
    assert_eq!(
        shown.to_string(),
        "scalable mode, first-stage tables of 4 levels with pages of 1 GiB, second-stage tables of 3 and 4 levels in legacy \
         mode alone, second-stage pages of 2 MiB and 1 GiB, PASIDs of 20 bits, pass-through, queued invalidation, page-selective \
         invalidation, caching mode, device TLBs, coherent page walks, enhanced root table pointer, 65536 domains, 1 fault \
         record at 0x220, IVA at 0xf0, address masks up to 18, guest addresses of 48 bits, host addresses of 48 bits"
    );
    let shown = Capabilities::new(0x80d2_008c_222f_0606, 0xf42).unwrap().to_string();
    assert!(
        shown.starts_with("legacy mode, second-stage tables of 3 and 4 levels, second-stage"),
        "{shown}"
    );
    // What a unit never shows is told of all the same, where somebody else's registers have it.
    let foreign = Capabilities::new(0xa1d2_008c_222f_068e, 0x0009_8998_0200_0f46).unwrap();
    for name in
        ["advanced fault log", "enhanced commands", "performance monitoring", "memory types"]
    {
        assert!(foreign.to_string().contains(name), "{name}");
    }
    assert_eq!(
        (Capabilities::IMPLEMENTED_CAP, Capabilities::IMPLEMENTED_ECAP),
        (0xd1ff_ff8f_ff7f_1ff7, 0x0033_fffe_e4f3_ffdf)
    );
}

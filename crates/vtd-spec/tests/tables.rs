//! Entries of every table against raw values, in both directions.

use vtd_spec::table::{
    ContextEntry, FirstStageEntry, FirstStagePermissions, LegacyContextEntry, LegacyRootEntry,
    LegacyTranslation, PageSize, PasidDirectoryEntry, PasidEntry, RootHalf, SecondStage,
    SecondStageEntry, SecondStageLevels, SecondStagePermissions, Target, Translation, context_half,
};
use vtd_spec::{
    Binding, Capabilities, CapabilityError, DomainId, Entry, FirstStage, FirstStageLevels, Gpa,
    Pasid, SourceId,
};

/// The largest address of 52 bits that is 4 KiB aligned.
const FAR: u64 = 0x000f_ffff_ffff_f000;

/// SAGAW 39, 48 and 57 bits, both large page sizes of both stages, FS5LP; all of ECAP that a table has a field for.
fn most() -> Result<Capabilities, CapabilityError> {
    Capabilities::new(0x1100_000c_222f_0e86, 0x0023_e99c_e400_0fc6)?.with_host_address_width(52)
}

#[test]
fn root_entries() -> Result<(), CapabilityError> {
    let caps = most()?;
    for table in [0, 0x5000, FAR] {
        let legacy = LegacyRootEntry { context_table: Gpa(table) };
        assert_eq!(LegacyRootEntry::decode([table | 1, 0], &caps), Entry::Present(legacy));
        assert_eq!(legacy.encode(), [table | 1, 0]);
        let half = RootHalf { context_table: Gpa(table) };
        assert_eq!(RootHalf::decode(table | 1, &caps), Entry::Present(half));
        assert_eq!(half.encode(), table | 1);
    }
    for (source_id, half) in [(0, 0), (0x7f, 0), (0x80, 1), (0xff, 1), (0x017f, 0), (0xff80, 1)] {
        assert_eq!(context_half(SourceId(source_id)), half, "{source_id:x}");
    }
    Ok(())
}

#[test]
fn context_entries() -> Result<(), CapabilityError> {
    let caps = most()?;
    let plain = ContextEntry {
        fpd: false,
        device_tlb: false,
        pasids: false,
        page_requests: false,
        directory_size: 0,
        directory: Gpa(0x5000),
        rid_pasid: Pasid::ZERO,
        rid_privileged: false,
    };
    let rid = |number| ContextEntry { rid_pasid: Pasid::new(number).unwrap(), ..plain };
    let rows = [
        ([0x5001, 0], plain),
        ([0x5003, 0], ContextEntry { fpd: true, ..plain }),
        ([0x5005, 0], ContextEntry { device_tlb: true, ..plain }),
        ([0x5009, 0], ContextEntry { pasids: true, ..plain }),
        ([0x5015, 0], ContextEntry { device_tlb: true, page_requests: true, ..plain }),
        ([0x5201, 0], ContextEntry { directory_size: 1, ..plain }),
        ([0x5801, 0], ContextEntry { directory_size: 4, ..plain }),
        ([0x5e01, 0], ContextEntry { directory_size: 7, ..plain }),
        ([FAR | 1, 0], ContextEntry { directory: Gpa(FAR), ..plain }),
        ([0x5001, 0xf_ffff], rid(0xf_ffff)),
        ([0x5001, 0x8_0001], rid(0x8_0001)),
        ([0x5001, 0x10_0000], ContextEntry { rid_privileged: true, ..plain }),
        ([0x5001, 0x1a_bcde], ContextEntry { rid_privileged: true, ..rid(0xa_bcde) }),
    ];
    for ([low, high], entry) in rows {
        let raw = [low, high, 0, 0];
        assert_eq!(ContextEntry::decode(raw, &caps), Entry::Present(entry), "{raw:x?}");
        assert_eq!(entry.encode(), raw);
    }
    Ok(())
}

#[test]
fn legacy_context_entries() -> Result<(), CapabilityError> {
    let caps = most()?;
    let stage = |table, levels| SecondStage { table: Gpa(table), levels, accessed_dirty: false };
    let (three, five) = (SecondStageLevels::Three, SecondStageLevels::Five);
    let second = LegacyTranslation::SecondStage;
    let with_tlb = LegacyTranslation::SecondStageWithDeviceTlb;
    // quadwords, FPD, domain, translation
    let rows = [
        ([0x5001, 1], false, 0, second(stage(0x5000, three))),
        ([0x5003, 1], true, 0, second(stage(0x5000, three))),
        ([0x5001, 0x0003], false, 0, second(stage(0x5000, five))),
        ([0x5001, 0x0101], false, 1, second(stage(0x5000, three))),
        ([FAR | 1, 0x00ff_ff02], false, 0xffff, second(stage(FAR, SecondStageLevels::Four))),
        ([0x5005, 0x0080_0001], false, 0x8000, with_tlb(stage(0x5000, three))),
        ([0x0009, 0x0503], false, 5, LegacyTranslation::PassThrough { levels: five }),
        ([0x000b, 0x0003], true, 0, LegacyTranslation::PassThrough { levels: five }),
    ];
    for (raw, fpd, domain, translation) in rows {
        let entry = LegacyContextEntry { fpd, domain: DomainId(domain), translation };
        assert_eq!(LegacyContextEntry::decode(raw, &caps), Entry::Present(entry), "{raw:x?}");
        assert_eq!(entry.encode(), raw);
    }
    // 6:3 of the second quadword mean nothing.
    let ignored = LegacyContextEntry::decode([0x5001, 0x79], &caps).present();
    assert_eq!(ignored, LegacyContextEntry::decode([0x5001, 1], &caps).present());
    Ok(())
}

#[test]
fn pasid_directory_entries() -> Result<(), CapabilityError> {
    let caps = most()?;
    for (raw, fpd, table) in
        [(0x5001, false, 0x5000), (0x5003, true, 0x5000), (FAR | 1, false, FAR)]
    {
        let entry = PasidDirectoryEntry { fpd, table: Gpa(table) };
        assert_eq!(PasidDirectoryEntry::decode(raw, &caps), Entry::Present(entry), "{raw:x}");
        assert_eq!(entry.encode(), raw);
    }
    let absent = [(0x5000, false), (0x5002, true)];
    for (raw, fpd) in absent {
        assert_eq!(PasidDirectoryEntry::decode(raw, &caps), Entry::NotPresent { fpd });
        assert_eq!(PasidDirectoryEntry::decode(raw, &caps).present(), None);
    }
    Ok(())
}

#[test]
fn pasid_entries() -> Result<(), CapabilityError> {
    let caps = most()?;
    let first = FirstStage {
        table: Gpa(0x9000),
        levels: FirstStageLevels::Four,
        supervisor: false,
        write_protect: false,
        extended_accessed: false,
    };
    let levels = SecondStageLevels::Three;
    let second = SecondStage { table: Gpa(0x5000), levels, accessed_dirty: false };
    let plain = PasidEntry {
        fpd: false,
        domain: DomainId(7),
        translation: Translation::FirstStage(first),
        supervisor: false,
        execute: false,
        no_execute: false,
        prevent_supervisor_execute: false,
        page_snoop: false,
    };
    let of_first = |first| PasidEntry { translation: Translation::FirstStage(first), ..plain };
    let of_second = |second| PasidEntry { translation: Translation::SecondStage(second), ..plain };
    let supervisor = FirstStage { supervisor: true, ..first };
    let all = FirstStage {
        table: Gpa(FAR),
        levels: FirstStageLevels::Five,
        supervisor: true,
        write_protect: true,
        extended_accessed: true,
    };
    let marked = SecondStage { accessed_dirty: true, levels: SecondStageLevels::Five, ..second };
    let rows = [
        ([0x41, 7, 0x9000], plain),
        ([0x43, 7, 0x9000], PasidEntry { fpd: true, ..plain }),
        ([0x41, 0xffff, 0x9000], PasidEntry { domain: DomainId(0xffff), ..plain }),
        ([0x41, 0x100_0007, 0x9000], PasidEntry { page_snoop: true, ..plain }),
        ([0x41, 7, 0x9001], PasidEntry { supervisor: true, ..of_first(supervisor) }),
        ([0x41, 7, 0x9002], PasidEntry { execute: true, ..plain }),
        ([0x41, 7, 0x9004], of_first(FirstStage { levels: FirstStageLevels::Five, ..first })),
        ([0x41, 7, 0x9010], of_first(FirstStage { write_protect: true, ..first })),
        ([0x41, 7, 0x9020], PasidEntry { no_execute: true, ..plain }),
        ([0x41, 7, 0x9040], PasidEntry { prevent_supervisor_execute: true, ..plain }),
        ([0x41, 7, 0x9080], of_first(FirstStage { extended_accessed: true, ..first })),
        ([0x41, 7, FAR], of_first(FirstStage { table: Gpa(FAR), ..first })),
        ([0x5085, 7, 0], of_second(second)),
        ([0x5089, 7, 0], of_second(SecondStage { levels: SecondStageLevels::Four, ..second })),
        ([0x508d, 7, 0], of_second(SecondStage { levels: SecondStageLevels::Five, ..second })),
        ([0x5285, 7, 0], of_second(SecondStage { accessed_dirty: true, ..second })),
        ([FAR | 0x85, 7, 0], of_second(SecondStage { table: Gpa(FAR), ..second })),
        ([0x5085, 7, 1], PasidEntry { supervisor: true, ..of_second(second) }),
        (
            [0x50c5, 7, 0x9000],
            PasidEntry { translation: Translation::Nested(first, second), ..plain },
        ),
        (
            [0x52cd, 7, FAR | 0x95],
            PasidEntry { supervisor: true, translation: Translation::Nested(all, marked), ..plain },
        ),
        ([0x101, 7, 0], PasidEntry { translation: Translation::PassThrough, ..plain }),
        (
            [0x101, 7, 0x62],
            PasidEntry {
                execute: true,
                no_execute: true,
                prevent_supervisor_execute: true,
                translation: Translation::PassThrough,
                ..plain
            },
        ),
    ];
    for ([low, tag, paging], entry) in rows {
        let raw = [low, tag, paging, 0, 0, 0, 0, 0];
        assert_eq!(PasidEntry::decode(&raw, &caps), Entry::Present(entry), "{raw:x?}");
        assert_eq!(entry.encode(), raw);
        assert_eq!(PasidEntry::raw_domain(&raw), Some(entry.domain));
    }
    // The domain of a raw entry: P=0 has none, reserved bits do not matter.
    for (low, tag, domain) in [
        (0, 7, None),
        (0x40, 7, None),
        (!1, !0, None),
        (1, 7, Some(7)),
        (!0, 0xffff_ffff_ffff_0009, Some(9)),
    ] {
        let raw = [low, tag, 0, 0, 0, 0, 0, 0];
        assert_eq!(PasidEntry::raw_domain(&raw), domain.map(DomainId), "{low:x} {tag:x}");
    }
    Ok(())
}

#[test]
fn first_stage_entries() -> Result<(), CapabilityError> {
    let caps = most()?;
    let page = |address| Target::Page(Gpa(address), PageSize::Size4K);
    let none = FirstStagePermissions { write: false, user: false, execute: true };
    // entry, level, permissions, target, [A, D, EA]
    let rows = [
        (0x5001, 1, none, page(0x5000), [false; 3]),
        (0x5003, 1, FirstStagePermissions { write: true, ..none }, page(0x5000), [false; 3]),
        (0x5005, 1, FirstStagePermissions { user: true, ..none }, page(0x5000), [false; 3]),
        (
            0x8000_0000_0000_5001,
            1,
            FirstStagePermissions { execute: false, ..none },
            page(0x5000),
            [false; 3],
        ),
        (0x5021, 1, none, page(0x5000), [true, false, false]),
        (0x5041, 1, none, page(0x5000), [false, true, false]),
        (0x5401, 1, none, page(0x5000), [false, false, true]),
        (FAR | 1, 1, none, page(FAR), [false; 3]),
        (0x5001, 2, none, Target::Table(Gpa(0x5000)), [false; 3]),
        (FAR | 0x21, 5, none, Target::Table(Gpa(FAR)), [true, false, false]),
        (0x20_0081, 2, none, Target::Page(Gpa(0x20_0000), PageSize::Size2M), [false; 3]),
        (
            0x000f_ffff_ffe0_04e1,
            2,
            none,
            Target::Page(Gpa(0x000f_ffff_ffe0_0000), PageSize::Size2M),
            [true; 3],
        ),
        (0x4000_0081, 3, none, Target::Page(Gpa(0x4000_0000), PageSize::Size1G), [false; 3]),
    ];
    for (raw, level, permissions, target, [accessed, dirty, extended_accessed]) in rows {
        let entry =
            FirstStageEntry::Present { permissions, target, accessed, dirty, extended_accessed };
        assert_eq!(FirstStageEntry::decode(raw, level, &caps), entry, "{raw:x} at {level}");
        assert_eq!(entry.encode(), Some(raw));
    }
    // PAT, and what is ignored: the same as without.
    for (raw, level, same) in [
        (0x5081, 1, 0x5001),
        (0x20_1081, 2, 0x20_0081),
        (0x4000_1081, 3, 0x4000_0081),
        (0x7ff0_0000_0000_5b19, 1, 0x5001),
    ] {
        let entry = FirstStageEntry::decode(raw, level, &caps);
        assert_eq!(entry.encode(), Some(same), "{raw:x} at {level}");
    }
    for (raw, level) in [(0, 1), (!1, 1), (0x5081, 4), (0x5081, 5), (0x20_2081, 2)] {
        assert_eq!(FirstStageEntry::decode(raw, level, &caps).encode(), None, "{raw:x}");
    }
    Ok(())
}

#[test]
fn second_stage_entries() -> Result<(), CapabilityError> {
    let caps = most()?;
    let page = |address| Target::Page(Gpa(address), PageSize::Size4K);
    let table = |address| Target::Table(Gpa(address));
    // entry, level, [R, W], target, [A, D, SNP]
    let rows = [
        (0x5001, 1, [true, false], page(0x5000), [false; 3]),
        (0x5002, 1, [false, true], page(0x5000), [false; 3]),
        (0x5003, 1, [true, true], page(0x5000), [false; 3]),
        (0x5101, 1, [true, false], page(0x5000), [true, false, false]),
        (0x5201, 1, [true, false], page(0x5000), [false, true, false]),
        (0x5801, 1, [true, false], page(0x5000), [false, false, true]),
        (FAR | 3, 1, [true, true], page(FAR), [false; 3]),
        (0x5001, 2, [true, false], table(0x5000), [false; 3]),
        (FAR | 0x103, 5, [true, true], table(FAR), [true, false, false]),
        (0x20_0083, 2, [true, true], Target::Page(Gpa(0x20_0000), PageSize::Size2M), [false; 3]),
        (
            0x4000_0b81,
            3,
            [true, false],
            Target::Page(Gpa(0x4000_0000), PageSize::Size1G),
            [true; 3],
        ),
    ];
    for (raw, level, [read, write], target, [accessed, dirty, snoop]) in rows {
        let permissions = SecondStagePermissions { read, write };
        let entry = SecondStageEntry::Present { permissions, target, accessed, dirty, snoop };
        assert_eq!(SecondStageEntry::decode(raw, level, &caps), entry, "{raw:x} at {level}");
        assert_eq!(entry.encode(), Some(raw));
    }
    // EMT, IPAT, TM and what is ignored, PS of a page of 4 KiB among it: the same as without.
    for (raw, same) in [(0xfff0_0000_0000_5479, 0x5001), (0x5081, 0x5001)] {
        let entry = SecondStageEntry::decode(raw, 1, &caps);
        assert_eq!(entry.encode(), Some(same), "{raw:x}");
    }
    for (raw, level) in [(0, 1), (!3, 1), (0x5083, 4), (0x5803, 2), (0x20_1083, 2)] {
        assert_eq!(SecondStageEntry::decode(raw, level, &caps).encode(), None, "{raw:x}");
    }
    Ok(())
}

#[test]
fn widths_and_sizes() -> Result<(), CapabilityError> {
    use SecondStageLevels::{Five, Four, Three};
    for (aw, levels, count, bits) in [(1, Three, 3, 39), (2, Four, 4, 48), (3, Five, 5, 57)] {
        assert_eq!(SecondStageLevels::from_address_width(aw), Some(levels));
        assert_eq!(
            (levels.address_width(), levels.count(), levels.address_bits()),
            (aw, count, bits)
        );
    }
    for aw in [0, 4, 5, 6, 7] {
        assert_eq!(SecondStageLevels::from_address_width(aw), None);
    }
    // SAGAW, and of 3, 4 and 5 levels: shown, and the largest
    for (sagaw, shown, largest) in [
        (0x2, [true, false, false], [true, false, false]),
        (0x4, [false, true, false], [false, true, false]),
        (0x6, [true, true, false], [false, true, false]),
        (0xe, [true, true, true], [false, false, true]),
        (0xa, [true, false, true], [false, false, true]),
    ] {
        let caps = Capabilities::new(0x1100_000c_222f_0086 | sagaw << 8, 0x0023_e99c_e400_0fc6);
        let caps = caps?;
        assert_eq!([Three, Four, Five].map(|levels| levels.is_supported(&caps)), shown);
        assert_eq!([Three, Four, Five].map(|levels| levels.is_largest(&caps)), largest);
    }
    let sizes = [PageSize::Size4K, PageSize::Size2M, PageSize::Size1G];
    assert_eq!(sizes.map(PageSize::bytes), [0x1000, 0x20_0000, 0x4000_0000]);
    assert_eq!(sizes.map(PageSize::shift), [12, 21, 30]);
    Ok(())
}

#[test]
fn bindings() {
    let second = |levels| SecondStage { table: Gpa(0x5000), levels, accessed_dirty: true };
    let Binding::SecondStage(shadow) = Binding::shadow(second(SecondStageLevels::Four)) else {
        panic!()
    };
    assert_eq!(
        shadow,
        SecondStage { accessed_dirty: false, ..second(SecondStageLevels::Four) },
        "a shadow sets no bits"
    );
    let first = FirstStage {
        table: Gpa(0x9000),
        levels: FirstStageLevels::Five,
        supervisor: true,
        write_protect: false,
        extended_accessed: true,
    };
    let plain = FirstStage { supervisor: false, extended_accessed: false, ..first };
    let rows = [
        (Binding::PassThrough, "pt 0"),
        (Binding::SecondStage(second(SecondStageLevels::Three)), "ss3 5000"),
        (Binding::FirstStage(first), "fs5 9000 sre eafe"),
        (Binding::FirstStage(FirstStage { write_protect: true, ..plain }), "fs5 9000 wpe"),
        (Binding::FirstStage(FirstStage { levels: FirstStageLevels::Four, ..plain }), "fs4 9000"),
    ];
    for (binding, text) in rows {
        assert_eq!(binding.to_string(), text);
    }
}

#[test]
fn fields_at_fault_in_legacy_context_entries() -> Result<(), CapabilityError> {
    let caps = most()?.with_host_address_width(40)?;
    // Neither DT nor PT.
    let few = Capabilities::new(0x0000_0000_222f_0e86, 0x0000_c898_0000_0f02)?;
    let rows = [
        (caps, [0x5011, 1], 0xb, "reserved 11:4"),
        (caps, [0x5801, 1], 0xb, "reserved 11:4"),
        (caps, [0x5001, 0x81], 0xb, "reserved 127:88 and 71"),
        (caps, [0x5001, 0x100_0001], 0xb, "reserved 127:88 and 71"),
        (caps, [0x100_0000_5001, 1], 0xb, "second-stage table beyond the host address width"),
        (caps, [0x5001, 0], 3, "AW"),
        (caps, [0x5001, 4], 3, "AW"),
        (caps, [0x5009, 1], 3, "AW"),
        (caps, [0x500d, 1], 3, "TT"),
        (few, [0x5005, 1], 3, "TT"),
        (few, [0x5009, 1], 3, "TT"),
        (few, [0x5009, 3], 3, "TT"),
    ];
    for (caps, raw, code, field) in rows {
        let Entry::Malformed(why) = LegacyContextEntry::decode(raw, &caps) else {
            panic!("{raw:x?} is well formed");
        };
        assert_eq!((why.reason.code(), why.field), (code, field), "{raw:x?}");
        assert_eq!((why.fpd, why.domain), (false, Some(DomainId(0))));
    }
    Ok(())
}

//! Source-ids, PASIDs, domains, addresses, slots and bindings as they are shown and read.

use vtd_spec::{
    Binding, DomainId, FirstStage, FirstStageLevels, Gpa, Iova, ParseSourceIdError, Pasid, Slot,
    SourceId,
};

#[test]
fn source_ids() {
    // Raw value, bus, devfn, text.
    let rows = [
        (0x0000, 0x00, 0x00, "00:00.0"),
        (0x0018, 0x00, 0x18, "00:03.0"),
        (0x0118, 0x01, 0x18, "01:03.0"),
        (0xabcd, 0xab, 0xcd, "ab:19.5"),
        (0xffff, 0xff, 0xff, "ff:1f.7"),
    ];
    for (raw, bus, devfn, text) in rows {
        let source_id = SourceId(raw);
        assert_eq!((source_id.bus(), source_id.devfn()), (bus, devfn));
        assert_eq!(source_id.to_string(), text);
        assert_eq!(format!("{source_id:?}"), text);
        assert_eq!(text.parse(), Ok(source_id));
    }
    assert_eq!("0:3.0".parse(), Ok(SourceId(0x18)));
    assert_eq!("AB:1F.7".parse(), Ok(SourceId(0xabff)));
}

#[test]
fn texts_that_are_no_source_id() {
    let rows = [
        "",
        ":",
        ".",
        ":.",
        "00",
        "00:03",
        "00.03:0",
        "100:00.0",
        "00:20.0",
        "00:03.8",
        "00:03.00",
        "000:03.0",
        "00:003.0",
        ":03.0",
        "00:.0",
        "00:03.",
        "+0:03.0",
        "00:+3.0",
        "00:03.+",
        "-1:00.0",
        "0x:03.0",
        "gg:00.0",
        " 00:03.0",
        "00:03.0 ",
        "00:03.0.0",
        "0000:00:03.0",
        "é:03.0",
    ];
    for text in rows {
        assert_eq!(text.parse::<SourceId>(), Err(ParseSourceIdError), "{text:?}");
    }
    assert_eq!(
        ParseSourceIdError.to_string(),
        "not a source-id of the form bus:device.function, such as 00:03.0"
    );
}

#[test]
fn every_source_id_comes_back() {
    for raw in 0..=u16::MAX {
        assert_eq!(SourceId(raw).to_string().parse(), Ok(SourceId(raw)));
    }
}

#[test]
fn pasids() {
    // Number, directory index, table index, text.
    let rows = [
        (0, 0, 0, "0"),
        (9, 0, 9, "9"),
        (63, 0, 63, "3f"),
        (64, 1, 0, "40"),
        (0xa_bcde, 0x2af3, 0x1e, "abcde"),
        (0xf_ffff, 0x3fff, 0x3f, "fffff"),
    ];
    for (number, directory, table, text) in rows {
        let pasid = Pasid::new(number).unwrap();
        assert_eq!(pasid.get(), number);
        assert_eq!((pasid.directory_index(), pasid.table_index()), (directory, table));
        assert_eq!(pasid.to_string(), text);
        assert_eq!(format!("{pasid:?}"), format!("Pasid(0x{text})"));
        assert_eq!(Pasid::from_low_bits(0xfff0_0000 | u64::from(number)), pasid);
    }
    assert_eq!(Pasid::new(0x10_0000), None);
    assert_eq!(Pasid::new(u32::MAX), None);
    assert_eq!(Pasid::ZERO.get(), 0);
    assert_eq!(Pasid::END, 0x10_0000);
    assert_eq!(Pasid::from_low_bits(u64::MAX).get(), 0xf_ffff);
}

#[test]
fn domains() {
    assert_eq!(DomainId(0x5a).to_string(), "5a");
    assert_eq!(format!("{:?}", DomainId(0x5a)), "DomainId(0x5a)");
}

#[test]
fn addresses() {
    assert_eq!(Gpa(0x1f6_a804).to_string(), "0x1f6a804");
    assert_eq!(format!("{:?}", Gpa(0x1f6_a804)), "Gpa(0x1f6a804)");
    assert_eq!(format!("{:x}", Gpa(0x1f6_a804)), "1f6a804");
    assert_eq!(Iova(0x1f6_a804).to_string(), "0x1f6a804");
    assert_eq!(format!("{:?}", Iova(0x1f6_a804)), "Iova(0x1f6a804)");
    assert_eq!(format!("{:x}", Iova(0x1f6_a804)), "1f6a804");
    assert_eq!(Gpa(0x1f6_a804).page(), Gpa(0x1f6_a000));
    assert_eq!(Iova(u64::MAX).page(), Iova(0xffff_ffff_ffff_f000));
    assert_eq!(Gpa(0x1000).checked_add(8), Some(Gpa(0x1008)));
    assert_eq!(Gpa(u64::MAX).checked_add(1), None);
}

#[test]
fn slots_and_bindings() {
    assert_eq!(Slot::Rid.to_string(), "-");
    assert_eq!(Slot::Pasid(Pasid::from_low_bits(0x40)).to_string(), "40");
    assert!(Slot::Rid < Slot::Pasid(Pasid::ZERO));

    let plain = FirstStage {
        table: Gpa(0x123_4000),
        levels: FirstStageLevels::Four,
        supervisor: false,
        write_protect: false,
        extended_accessed: false,
    };
    let rows = [
        (Binding::PassThrough, "pt 0"),
        (Binding::FirstStage(plain), "fs4 1234000"),
        (
            Binding::FirstStage(FirstStage {
                levels: FirstStageLevels::Five,
                supervisor: true,
                write_protect: true,
                extended_accessed: true,
                ..plain
            }),
            "fs5 1234000 sre wpe eafe",
        ),
        (Binding::FirstStage(FirstStage { write_protect: true, ..plain }), "fs4 1234000 wpe"),
    ];
    for (binding, text) in rows {
        assert_eq!(binding.to_string(), text);
    }
    let rows = [(FirstStageLevels::Four, 4, 48), (FirstStageLevels::Five, 5, 57)];
    for (levels, count, bits) in rows {
        assert_eq!((levels.count(), levels.address_bits()), (count, bits));
    }
}

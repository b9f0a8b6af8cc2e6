//! The table as raw bytes: written, read, refused.

use vtd_acpi::{
    Andd, Atsr, DecodeErrorKind, DeviceScope, Dmar, Drhd, EncodeError, OtherStructure, PathStep,
    Rhsa, Rmrr, Satc, ScopedDevice, Sidp, TableIds,
};

/// A table with one structure of each type and one device scope of each kind, written by hand from the architecture's chapter 8.
const BYTES: &[u8] = &[
    // Signature, length FA, revision, checksum.
    b'D', b'M', b'A', b'R', 0xfa, 0x00, 0x00, 0x00, 0x01, 0x9f, //
    // OEM ID, OEM table ID, OEM revision, creator ID and revision.
    b'M', b'A', b'K', b'E', b'R', b' ', //
    b'M', b'A', b'C', b'H', b'I', b'N', b'E', b' ', //
    0x04, 0x03, 0x02, 0x01, b'H', b'A', b'N', b'D', 0x08, 0x07, 0x06, 0x05, //
    // Host address width of 46 bits; INTR_REMAP and DMA_CTRL_PLATFORM_OPT_IN; ten reserved bytes.
    0x2d, 0x05, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, //
    // DRHD: type 0, length 1A, no flags, 2^1 pages, segment 1, base; an endpoint 02:03.4 behind the bridges 1c.5 and 00.0 of bus 2.
    0x00, 0x00, 0x1a, 0x00, 0x00, 0x01, 0x01, 0x00, //
    0x00, 0x00, 0xd9, 0xfe, 0x10, 0x00, 0x00, 0x00, //
    0x01, 0x0a, 0x00, 0x00, 0x00, 0x02, 0x1c, 0x05, 0x03, 0x04, //
    // DRHD: INCLUDE_PCI_ALL, one page, segment 0; I/O APIC 2 as f0:1f.0, HPET 3 as 00:1e.7, name space device 4 as 00:15.1.
    0x00, 0x00, 0x28, 0x00, 0x01, 0x00, 0x00, 0x00, //
    0x00, 0x10, 0xd9, 0xfe, 0x00, 0x00, 0x00, 0x00, //
    0x03, 0x08, 0x00, 0x00, 0x02, 0xf0, 0x1f, 0x00, //
    0x04, 0x08, 0x00, 0x00, 0x03, 0x00, 0x1e, 0x07, //
    0x05, 0x08, 0x00, 0x00, 0x04, 0x00, 0x15, 0x01, //
    // RMRR: segment 0, 7D00_0000 to 7F7F_FFFF, the endpoint 00:02.0.
    0x01, 0x00, 0x20, 0x00, 0x00, 0x00, 0x00, 0x00, //
    0x00, 0x00, 0x00, 0x7d, 0x00, 0x00, 0x00, 0x00, //
    0xff, 0xff, 0x7f, 0x7f, 0x00, 0x00, 0x00, 0x00, //
    0x01, 0x08, 0x00, 0x00, 0x00, 0x00, 0x02, 0x00, //
    // ATSR: segment 1, the sub-hierarchy behind 00:1d.2. ATSR: ALL_PORTS of segment 0.
    0x02, 0x00, 0x10, 0x00, 0x00, 0x00, 0x01, 0x00, //
    0x02, 0x08, 0x00, 0x00, 0x00, 0x00, 0x1d, 0x02, //
    0x02, 0x00, 0x08, 0x00, 0x01, 0x00, 0x00, 0x00, //
    // RHSA: base, proximity domain 01020304.
    0x03, 0x00, 0x14, 0x00, 0x00, 0x00, 0x00, 0x00, //
    0x00, 0x10, 0xd9, 0xfe, 0x00, 0x00, 0x00, 0x00, 0x04, 0x03, 0x02, 0x01, //
    // ANDD: device 4.
    0x04, 0x00, 0x16, 0x00, 0x00, 0x00, 0x00, 0x04, //
    b'\\', b'_', b'S', b'B', b'.', b'P', b'C', b'I', b'0', b'.', b'I', b'2', b'C', 0x00, //
    // SATC: ATC_REQUIRED, segment 0, the endpoint 00:05.0.
    0x05, 0x00, 0x10, 0x00, 0x01, 0x00, 0x00, 0x00, //
    0x01, 0x08, 0x00, 0x00, 0x00, 0x00, 0x05, 0x00, //
    // SIDP: segment 0, the endpoint 00:05.0 with flags 18.
    0x06, 0x00, 0x10, 0x00, 0x00, 0x00, 0x00, 0x00, //
    0x01, 0x08, 0x18, 0x00, 0x00, 0x00, 0x05, 0x00, //
    // A type to come.
    0x07, 0x00, 0x06, 0x00, 0xab, 0xcd,
];

/// What the bytes say.
fn table() -> Dmar {
    let mut dmar = Dmar::new(46);
    dmar.ids = TableIds::new(*b"MAKER ", *b"MACHINE ");
    dmar.ids.oem_revision = 0x0102_0304;
    dmar.ids.creator_id = *b"HAND";
    dmar.ids.creator_revision = 0x0506_0708;
    dmar.interrupt_remapping = true;
    dmar.dma_control_opt_in = true;

    let mut one = Drhd::new(0x10_fed9_0000);
    one.size = 1;
    one.segment = 1;
    one.scopes.push(DeviceScope::pci_endpoint(2, 0x1c, 5).behind(3, 4));
    let mut all = Drhd::new(0xfed9_1000);
    all.include_pci_all = true;
    all.scopes = vec![
        DeviceScope::io_apic(2, 0xf0, 0x1f, 0),
        DeviceScope::new(ScopedDevice::Hpet { number: 3 }, 0, 0x1e, 7),
        DeviceScope::new(ScopedDevice::NamespaceDevice { number: 4 }, 0, 0x15, 1),
    ];
    dmar.drhds = vec![one, all];
    let graphics = vec![DeviceScope::pci_endpoint(0, 2, 0)];
    dmar.rmrrs = vec![Rmrr::new(0x7d00_0000, 0x7f7f_ffff, graphics)];
    dmar.atsrs = vec![
        Atsr::of_ports(1, vec![DeviceScope::pci_sub_hierarchy(0, 0x1d, 2)]),
        Atsr::all_ports(0),
    ];
    dmar.rhsas = vec![Rhsa::new(0xfed9_1000, 0x0102_0304)];
    dmar.andds = vec![Andd::new(4, "\\_SB.PCI0.I2C")];
    let mut satc = Satc::new(0, vec![DeviceScope::pci_endpoint(0, 5, 0)]);
    satc.atc_required = true;
    dmar.satcs = vec![satc];
    dmar.sidps = vec![Sidp::new(0, vec![DeviceScope::pci_endpoint(0, 5, 0).with_flags(0x18)])];
    dmar.others = vec![OtherStructure::new(7, vec![0xab, 0xcd])];
    dmar
}

#[test]
fn a_table_is_written_as_by_hand() {
    assert_eq!(table().encode().unwrap(), BYTES);
    assert_eq!(table().body().unwrap(), BYTES[36..]);
    assert_eq!(BYTES.iter().fold(0, |sum: u8, byte| sum.wrapping_add(*byte)), 0);
}

#[test]
fn a_table_is_read_as_by_hand() {
    assert_eq!(Dmar::decode(BYTES).unwrap(), table());
    let body = Dmar::decode_body(&BYTES[36..]).unwrap();
    assert_eq!(body, {
        let mut table = table();
        table.ids = TableIds::default();
        table
    });
    assert_eq!(body.drhds[0].register_bytes(), 0x2000);
    assert_eq!(body.drhds[0].scopes[0].path[1], PathStep { device: 3, function: 4 });
}

#[test]
fn the_smallest_table() {
    let dmar = Dmar::new(39);
    assert_eq!(dmar.body().unwrap(), [38, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    let table = dmar.encode().unwrap();
    assert_eq!(table[..10], [b'D', b'M', b'A', b'R', 48, 0, 0, 0, 1, table[9]]);
    assert_eq!(Dmar::decode(&table).unwrap(), dmar);
    for (x2apic, interrupts, flags) in [(true, false, 2), (true, true, 3), (false, true, 1)] {
        let mut dmar = Dmar::new(64);
        (dmar.x2apic_opt_out, dmar.interrupt_remapping) = (x2apic, interrupts);
        assert_eq!(dmar.body().unwrap()[..2], [63, flags]);
        assert_eq!(Dmar::decode_body(&dmar.body().unwrap()).unwrap(), dmar);
    }
}

/// The hand-written table with bytes of its body changed (offsets count from the first byte of the table), and its checksum set right.
fn changed(changes: &[(usize, u8)]) -> Vec<u8> {
    let mut bytes = BYTES.to_vec();
    for (offset, value) in changes {
        if let Some(byte) = bytes.get_mut(*offset) {
            *byte = *value;
        }
    }
    let sum = bytes.iter().fold(0, |sum: u8, byte| sum.wrapping_add(*byte));
    if let Some(checksum) = bytes.get_mut(9) {
        *checksum = checksum.wrapping_sub(sum);
    }
    bytes
}

#[test]
fn what_is_no_table_is_refused_by_field_and_byte() {
    let cut = |left| DecodeErrorKind::Cut { needed: 4, left };
    assert_eq!(Dmar::decode(&[]).unwrap_err().kind, cut(0));
    assert_eq!(Dmar::decode(b"DM").unwrap_err().kind, cut(2));
    // Changes, and what is said about them.
    let table: [(&[(usize, u8)], &str); 17] = [
        (&[(0, b'X')], "signature at byte 0: 0x584d4152 is not DMAR"),
        (&[(4, 0xf9)], "length at byte 4: 0xf9 is not that of the table"),
        (&[(7, 0x01)], "length at byte 4: 0x10000fa is not that of the table"),
        (&[(8, 2)], "revision at byte 8: 0x2 is not 1"),
        (&[(36, 10)], "host address width at byte 36: 0xa is not 11 to 63"),
        (&[(36, 64)], "host address width at byte 36: 0x40 is not 11 to 63"),
        // Lengths of structures: too short for its header, for its fields, for a scope; too long.
        (&[(50, 3)], "remapping structure: length at byte 50: 0x3 is not 4 or more"),
        (&[(50, 0)], "remapping structure: length at byte 50: 0x0 is not 4 or more"),
        (&[(50, 15)], "DRHD: register base address at byte 56: it has 8 bytes, and 7 are left"),
        (&[(50, 17)], "device scope: length at byte 65: it has 1 bytes, and 0 are left"),
        (&[(51, 1)], "remapping structure at byte 48: it has 282 bytes, and 202 are left"),
        // Lengths of scopes: odd, too short, too long.
        (
            &[(65, 9)],
            "device scope: length at byte 65: 0x9 is not 6 and two for each step of a path",
        ),
        (
            &[(65, 4)],
            "device scope: length at byte 65: 0x4 is not 6 and two for each step of a path",
        ),
        (&[(65, 12)], "device scope at byte 64: it has 12 bytes, and 10 are left"),
        (
            &[(65, 8)],
            "device scope: length at byte 73: 0x4 is not 6 and two for each step of a path",
        ),
        // A name without an end, and one that is no ASCII.
        (&[(211, b'X')], "ANDD: object name at byte 212: it has 1 bytes, and 0 are left"),
        (&[(200, 0xc4)], "ANDD: object name at byte 200: 0xc4 is not ASCII"),
    ];
    for (changes, text) in table {
        assert_eq!(Dmar::decode(&changed(changes)).unwrap_err().to_string(), text);
    }
    let mut wrong = BYTES.to_vec();
    wrong[9] = 0x9e;
    assert_eq!(
        Dmar::decode(&wrong).unwrap_err().to_string(),
        "checksum at byte 9: 0x9e is not the right one"
    );
    // Offsets in a body count from its first byte.
    let error = Dmar::decode_body(&changed(&[(50, 3)])[36..]).unwrap_err();
    assert_eq!((error.offset, error.field), (14, "remapping structure: length"));
}

#[test]
fn what_is_reserved_does_not_matter() {
    // Flags of the table, of a DRHD and of an ATSR; the upper half of size; reserved fields; the enumeration ID of an endpoint.
    let changes =
        [(37, 0xf5), (40, 1), (52, 0xfe), (53, 0xf1), (67, 7), (68, 9), (118, 3), (150, 0x80)];
    assert_eq!(Dmar::decode(&changed(&changes)).unwrap(), table());
    // Types that this crate does not know are kept as they are: a scope's, and a structure's.
    let found = Dmar::decode(&changed(&[(64, 9), (68, 5), (244, 0xff), (245, 0xff)])).unwrap();
    let expected = ScopedDevice::Other { kind: 9, enumeration_id: 5 };
    assert_eq!(found.drhds[0].scopes[0].device, expected);
    assert_eq!(found.others, [OtherStructure::new(0xffff, vec![0xab, 0xcd])]);
    assert_eq!(Dmar::decode(&found.encode().unwrap()).unwrap(), found);
}

/// A change of the table, and why it is refused then.
type Refusal = (fn(&mut Dmar), EncodeError);

#[test]
fn what_would_be_read_as_something_else_is_not_written() {
    let all = |segment| {
        let mut unit = Drhd::new(0x1000);
        (unit.include_pci_all, unit.segment) = (true, segment);
        unit
    };
    let mut fine = Dmar::new(46);
    fine.drhds = vec![Drhd::new(0), all(1), all(0)];
    fine.encode().unwrap();

    let table: [Refusal; 18] = [
        (|dmar| dmar.host_address_width = 11, EncodeError::HostAddressWidth(11)),
        (|dmar| dmar.host_address_width = 65, EncodeError::HostAddressWidth(65)),
        (|dmar| dmar.host_address_width = 0, EncodeError::HostAddressWidth(0)),
        (
            |dmar| dmar.drhds[0].register_base = 0x1008,
            EncodeError::Registers { base: 0x1008, size: 1 },
        ),
        (|dmar| dmar.drhds[1].size = 16, EncodeError::Registers { base: 0xfed9_1000, size: 16 }),
        (
            |dmar| dmar.drhds[0].register_base = 0xffff_ffff_ffff_f000,
            EncodeError::Registers { base: 0xffff_ffff_ffff_f000, size: 1 },
        ),
        (
            |dmar| {
                dmar.drhds[0].segment = 0;
                dmar.drhds.reverse();
            },
            EncodeError::IncludeAllNotLast { segment: 0 },
        ),
        (
            |dmar| dmar.rmrrs[0].base += 1,
            EncodeError::ReservedRegion { base: 0x7d00_0001, limit: 0x7f7f_ffff },
        ),
        (
            |dmar| dmar.rmrrs[0].limit += 1,
            EncodeError::ReservedRegion { base: 0x7d00_0000, limit: 0x7f80_0000 },
        ),
        (
            |dmar| dmar.rmrrs[0].limit = 0xfff,
            EncodeError::ReservedRegion { base: 0x7d00_0000, limit: 0xfff },
        ),
        (
            |dmar| dmar.satcs[0].scopes[0].path[0].device = 32,
            EncodeError::PathStep { device: 32, function: 0 },
        ),
        (
            |dmar| dmar.sidps[0].scopes[0].path[0].function = 8,
            EncodeError::PathStep { device: 5, function: 8 },
        ),
        (|dmar| dmar.atsrs[0].scopes[0].path.clear(), EncodeError::PathLength(0)),
        (
            |dmar| dmar.atsrs[0].scopes[0].path = vec![PathStep { device: 0, function: 0 }; 125],
            EncodeError::PathLength(125),
        ),
        (|dmar| dmar.andds[0].object_name.clear(), EncodeError::ObjectName { number: 4 }),
        (|dmar| dmar.andds[0].object_name.push('\0'), EncodeError::ObjectName { number: 4 }),
        (|dmar| dmar.others[0].kind = 6, EncodeError::KnownType(6)),
        (
            |dmar| dmar.others[0].body = vec![0; 0xfffc],
            EncodeError::TooLong { what: "a structure of another type" },
        ),
    ];
    for (change, expected) in table {
        let mut dmar = self::table();
        change(&mut dmar);
        assert_eq!(dmar.encode(), Err(expected.clone()));
        assert_eq!(dmar.body(), Err(expected));
    }
    // As long as they may be.
    let mut dmar = self::table();
    dmar.others[0].body = vec![0; 0xfffb];
    dmar.atsrs[0].scopes[0].path = vec![PathStep { device: 31, function: 7 }; 124];
    assert_eq!(Dmar::decode(&dmar.encode().unwrap()).unwrap(), dmar);
    let known = ScopedDevice::Other { kind: 5, enumeration_id: 0 };
    dmar.drhds[0].scopes[0].device = known;
    assert_eq!(dmar.encode(), Err(EncodeError::KnownType(5)));
}

/// Numbers that look random and are the same each time.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).unwrap_or(0) % end.max(1)
    }

    fn byte(&mut self) -> u8 {
        // Small ones are lengths and types.
        let end = 9 << (self.below(3) * 2);
        u8::try_from(self.below(end)).unwrap_or(255)
    }
}

/// Whatever the bytes are: there is an answer, and what is read and can be written is read again as the same.
fn check(body: &[u8]) -> bool {
    let Ok(found) = Dmar::decode_body(body) else { return false };
    if let Ok(bytes) = found.body() {
        assert_eq!(Dmar::decode_body(&bytes), Ok(found.clone()));
    }
    if let Ok(bytes) = found.encode() {
        assert_eq!(Dmar::decode(&bytes), Ok(found));
    }
    true
}

#[test]
fn any_bytes_have_an_answer() {
    let mut numbers = Numbers(0x5eed_0123_4567_89ab);
    let mut read = 0;
    for _ in 0..30_000 {
        // The hand-written table with some bytes changed, cut or lengthened.
        let mut body = BYTES[36..].to_vec();
        for _ in 0..numbers.below(6) {
            let place = numbers.below(body.len());
            body[place] = numbers.byte();
        }
        if numbers.below(3) == 0 {
            body.truncate(numbers.below(body.len()));
        }
        body.extend([0xab; 3].iter().take(numbers.below(8) / 2));
        read += u32::from(check(&body));
        // Nothing but numbers.
        let body: Vec<u8> = (0..numbers.below(96)).map(|_| numbers.byte()).collect();
        check(&body);
        let _any = Dmar::decode(&body);
    }
    assert!(read > 3_000, "{read}");
}

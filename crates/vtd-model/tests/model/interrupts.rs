//! Interrupt remapping. Reference, "Interrupt requests", "interrupt remapping entry", codes 20 to 26.

use vtd_model::{Interrupt, InterruptAnswer, InterruptRequest, Path};

use super::guest::{Changes, Guest, SOURCE};

const TABLE: u64 = 0x4_0000;

/// A unit with 256 entries at 40000, EIME=0; entry 3 is vector 41 to APIC 2, for anybody.
fn guest() -> Guest {
    let mut guest = Guest::scalable();
    guest.unit.interrupts.enabled = true;
    guest.unit.interrupts.table = Some(TABLE | 7);
    guest.set(TABLE + 0x30, 0x200_0041_0001);
    guest
}

fn ask(guest: &Guest, address: u32, data: u32) -> InterruptAnswer {
    let request = InterruptRequest { source_id: SOURCE, address, data };
    guest.unit.interrupt(&guest.memory, &request, &mut Path::new())
}

/// Handle in 19:5 and 2, SHV in 3, format in 4.
fn code(answer: InterruptAnswer) -> (u8, u16, bool) {
    match answer {
        InterruptAnswer::Fault { code, index, recorded } => (code, index, recorded),
        _ => (0, 0, false),
    }
}

#[test]
fn remapped() {
    let guest = guest();
    let InterruptAnswer::Remapped(interrupt) = ask(&guest, 0xfee0_0070, 0) else { panic!() };
    let expected = Interrupt {
        destination: 2,
        vector: 0x41,
        delivery_mode: 0,
        logical: false,
        redirection_hint: false,
        level: false,
    };
    assert_eq!(interrupt, expected);
    assert_eq!(interrupt.message(), (0xfee0_2000, 0x41));
    let shv = ask(&guest, 0xfee0_0058, 1);
    assert_eq!(shv, InterruptAnswer::Remapped(expected), "handle 2, sub-handle 1");
}

#[test]
fn codes() {
    type Row = (&'static str, Changes, u32, u32, (u8, u16, bool));
    let rows: &[Row] = &[
        ("20: data 31:16", &[], 0xfee0_0070, 0x1_0000, (0x20, 3, true)),
        ("21: beyond the table", &[], 0xfee0_2010, 0, (0x21, 0x100, true)),
        ("21: handle and sub-handle", &[], 0xfee0_0058, 0xff, (0x21, 0x101, true)),
        ("22: not present", &[], 0xfee0_0090, 0, (0x22, 4, true)),
        ("22: with FPD", &[(TABLE + 0x40, 2)], 0xfee0_0090, 0, (0x22, 4, false)),
        ("24: reserved", &[(TABLE + 0x30, 0x1001)], 0xfee0_0070, 0, (0x24, 3, true)),
        ("24: posted", &[(TABLE + 0x30, 0x8001)], 0xfee0_0070, 0, (0x24, 3, true)),
        (
            "24: 32 bits of destination without EIME",
            &[(TABLE + 0x30, 1 << 32 | 1)],
            0xfee0_0070,
            0,
            (0x24, 3, true),
        ),
        ("24: reserved above", &[(TABLE + 0x38, 1 << 20)], 0xfee0_0070, 0, (0x24, 3, true)),
        ("26: SVT 3", &[(TABLE + 0x38, 3 << 18)], 0xfee0_0070, 0, (0x26, 3, true)),
        (
            "26: another source-id",
            &[(TABLE + 0x38, 1 << 18 | 0x19)],
            0xfee0_0070,
            0,
            (0x26, 3, true),
        ),
        (
            "SQ 1 leaves out bit 2",
            &[(TABLE + 0x38, 1 << 18 | 1 << 16 | 0x1c)],
            0xfee0_0070,
            0,
            (0, 0, false),
        ),
        (
            "SQ 2 leaves out 2:1",
            &[(TABLE + 0x38, 1 << 18 | 2 << 16 | 0x1e)],
            0xfee0_0070,
            0,
            (0, 0, false),
        ),
        (
            "SQ 2 keeps bit 0",
            &[(TABLE + 0x38, 1 << 18 | 2 << 16 | 0x1f)],
            0xfee0_0070,
            0,
            (0x26, 3, true),
        ),
        (
            "SQ 3 leaves out 2:0",
            &[(TABLE + 0x38, 1 << 18 | 3 << 16 | 0x1f)],
            0xfee0_0070,
            0,
            (0, 0, false),
        ),
        ("a bus range", &[(TABLE + 0x38, 2 << 18 | 0x0001)], 0xfee0_0070, 0, (0, 0, false)),
        (
            "26: outside of a bus range",
            &[(TABLE + 0x38, 2 << 18 | 0x0102)],
            0xfee0_0070,
            0,
            (0x26, 3, true),
        ),
        ("25: compatibility format", &[], 0xfee0_0000, 0x41, (0x25, 0, true)),
    ];
    for &(name, changes, address, data, expected) in rows {
        let mut guest = guest();
        for &(address, value) in changes {
            guest.set(address, value);
        }
        assert_eq!(code(ask(&guest, address, data)), expected, "{name}");
    }
}

#[test]
fn off_and_compatibility() {
    let mut guest = guest();
    guest.unit.interrupts.compatibility = true;
    assert_eq!(ask(&guest, 0xfee0_0000, 0x41), InterruptAnswer::Unchanged);
    guest.unit.interrupts.table = Some(TABLE | 1 << 11 | 7);
    assert_eq!(code(ask(&guest, 0xfee0_0000, 0x41)).0, 0x25, "EIME=1");
    guest.unit.interrupts.table = None;
    assert_eq!(code(ask(&guest, 0xfee0_0070, 0)).0, 0x23, "no SIRTP before");
    guest.unit.interrupts.enabled = false;
    assert_eq!(ask(&guest, 0xfee0_0070, 0), InterruptAnswer::Unchanged);
}

#[test]
fn extended_destination() {
    let mut guest = guest();
    guest.unit.interrupts.table = Some(TABLE | 1 << 11 | 7);
    guest.set(TABLE + 0x30, 0x1234_5678_0041_0001 | 1 << 2 | 1 << 3 | 1 << 4 | 1 << 5);
    let InterruptAnswer::Remapped(interrupt) = ask(&guest, 0xfee0_0070, 0) else { panic!() };
    assert_eq!(interrupt.message(), (0x1234_5600_fee7_800c, 0xc141));
}

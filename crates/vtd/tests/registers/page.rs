//! What each offset reads, and what an access of any size does to it.

use vtd::spec::Capabilities;

use crate::guest::{CAP, ECAP, Guest, Numbers};

/// ECAP with interrupt remapping and page requests besides.
pub(crate) const ECAP_WIDE: u64 = ECAP | 1 << 3 | 1 << 29;

// feature: 8.registers: power-on values and resets
#[test]
fn power_on_values() {
    let guest = Guest::new();
    let wide = Guest::made(Capabilities::new(CAP, ECAP_WIDE).unwrap(), |_| {});
    let table = [
        (0x000, 4, 0x10),
        (0x000, 8, 0x10),
        (0x008, 8, CAP),
        (0x008, 4, CAP & 0xffff_ffff),
        (0x00c, 4, CAP >> 32),
        (0x018, 4, 0),
        (0x01c, 4, 0),
        (0x020, 8, 0),
        (0x028, 8, 0),
        (0x034, 4, 0),
        (0x038, 4, 0x8000_0000),
        (0x03c, 4, 0),
        (0x040, 8, 0),
        (0x058, 8, 0),
        (0x080, 8, 0),
        (0x088, 8, 0),
        (0x090, 8, 0),
        (0x09c, 4, 0),
        (0x0a0, 4, 0x8000_0000),
        (0x0a4, 4, 0),
        (0x0a8, 8, 0),
        (0x0b0, 8, 0),
        (0x0b8, 8, 0),
        (0x0c0, 8, 0),
        (0x0c8, 8, 0),
        (0x0d0, 8, 0),
        (0x0dc, 4, 0),
        (0x0f0, 8, 0),
        (0x0f8, 8, 0),
        (0x220, 8, 0),
        (0x228, 8, 0),
    ];
    for (offset, size, value) in table {
        assert_eq!(guest.read(offset, size), value, "{offset:x}");
        assert_eq!(wide.read(offset, size), value, "{offset:x}");
    }
    assert_eq!(guest.read(0x10, 8), ECAP);
    assert_eq!(wide.read(0x10, 8), ECAP_WIDE);
    // PECTL exists where page requests do.
    assert_eq!(guest.read(0xe0, 4), 0);
    assert_eq!(wide.read(0xe0, 4), 0x8000_0000);
}

pub(crate) fn page(guest: &Guest) -> Vec<u64> {
    (0..0x1000).step_by(4).map(|offset| guest.read(offset, 4)).collect()
}

// feature: 8.registers: accesses of any size and offset
#[test]
fn accesses_of_odd_size_or_alignment_do_nothing() {
    let mut guest = Guest::new();
    guest.enable();
    let before = page(&guest);
    for offset in 0..0x1008 {
        for size in (0..=16).chain([0x7f, 0x80, 0xff]) {
            let aligned = matches!(size, 4 | 8) && offset % u64::from(size) == 0;
            if !aligned {
                guest.write(offset, size, u64::MAX);
                assert_eq!(guest.read(offset, size), 0, "{offset:x} {size}");
            }
        }
    }
    assert_eq!(page(&guest), before);
}

// feature: 8.registers: accesses of any size and offset
#[test]
fn every_aligned_access_is_harmless() {
    let values = [0, u64::MAX, 0xaaaa_aaaa_5555_5555, 0x8000_0000_8000_0000, 0x1400];
    let mut numbers = Numbers(7);
    for ecap in [ECAP, ECAP_WIDE] {
        let guest = Guest::made(Capabilities::new(CAP, ecap).unwrap(), |_| {});
        let places = (0..0x1010).step_by(4).chain([u64::MAX - 7, u64::MAX - 3, 1 << 32]);
        for offset in places {
            for size in [4_u8, 8] {
                for value in values.into_iter().chain([numbers.next()]) {
                    guest.write(offset, size, value);
                    let _any = guest.read(offset, size);
                }
            }
        }
        let _left = guest.unit.run();
        assert_eq!(guest.read(0x08, 8), CAP);
        assert_eq!(guest.read(0x10, 8), ecap);
    }
}

// feature: 8.registers: accesses of any size and offset
#[test]
fn eight_bytes_reach_two_registers_of_four() {
    let guest = Guest::new();
    let table = [
        // register pair, written, read
        (0x38, 0x1234_5678_8000_0000_u64, 0x1234_5678_8000_0000),
        (0x40, 0x9abc_def0_fee0_0003, 0x9abc_def0_fee0_0000),
        (0xa0, 0x8765_4321_0000_0000, 0x8765_4321_0000_0000),
        (0xa8, 0x0000_0001_fee0_1000, 0x0000_0001_fee0_1000),
        // GCMD reads 0, and GSTS is read-only.
        (0x18, 0xffff_ffff_0400_0000, 0x0400_0000_0000_0000),
        // FSTS and ICS are upper halves, with nothing to clear here.
        (0x30, u64::MAX, 0),
        (0x98, u64::MAX, 0),
    ];
    for (offset, written, read) in table {
        guest.write(offset, 8, written);
        assert_eq!(guest.read(offset, 8), read, "{offset:x}");
        assert_eq!(guest.read(offset, 4), read & 0xffff_ffff, "{offset:x}");
        assert_eq!(guest.read(offset + 4, 4), read >> 32, "{offset:x}");
    }
}

// feature: 8.registers: accesses of any size and offset
#[test]
fn registers_of_eight_bytes_are_written_by_halves() {
    let guest = Guest::made(Capabilities::new(CAP, ECAP_WIDE).unwrap(), |_| {});
    let table = [
        // register, written, what of it stays
        (0x20, 0x1234_5678_9abc_d7ff_u64, 0x1234_5678_9abc_d400),
        (0x28, 0x0000_0003_1234_5678, 0x0000_0003_1234_5678),
        (0x88, u64::MAX, 0x7_fff0),
        (0x90, 0x1234_5678_9abc_dfff, 0x1234_5678_9abc_d807),
        // EIME (11) is reserved without EIM.
        (0xb8, 0x1234_5678_9abc_dfff, 0x1234_5678_9abc_d00f),
        (0xc0, u64::MAX, 0x7_ffe0),
        (0xc8, u64::MAX, 0x7_ffe0),
        (0xd0, 0x1234_5678_9abc_dfff, 0x1234_5678_9abc_d007),
        (0x80, u64::MAX, 0),
        (0xb0, u64::MAX, 0),
        (0x08, u64::MAX, CAP),
        (0x10, u64::MAX, ECAP_WIDE),
    ];
    for (offset, written, kept) in table {
        let [low, high] = [written & 0xffff_ffff, written >> 32];
        guest.write(offset + 4, 4, high);
        guest.write(offset, 4, low);
        assert_eq!(guest.read(offset, 8), kept, "{offset:x} by halves");
        guest.write(offset, 8, 0);
        guest.write(offset, 8, written);
        assert_eq!(guest.read(offset, 8), kept, "{offset:x} at once");
        // One half leaves the other as it is.
        guest.write(offset, 4, 0);
        assert_eq!(guest.read(offset + 4, 4), kept >> 32, "{offset:x}");
    }
}

// feature: 8.registers: writable and reserved bits of every one
#[test]
fn reserved_bits_read_0() {
    // Nothing besides what the other tests show, and everything that has registers of its own: PLMR, PHMR; IR, EIM, PRS, VCS.
    let wide = (CAP | 3 << 5, ECAP | 1 << 3 | 1 << 4 | 1 << 29 | 1 << 44);
    for (is_wide, (cap, ecap)) in [(false, (CAP, ECAP)), (true, wide)] {
        let guest = Guest::made(Capabilities::new(cap, ecap).unwrap(), |_| {});
        let only = |value: u64| if is_wide { value } else { 0 };
        // What is left after all ones were written to each quadword; GCMD is left alone, as it changes the rest.
        let kept = |offset| match offset {
            0x00 => 0x10,
            0x08 => cap,
            0x10 => ecap,
            0x20 => 0xffff_ffff_ffff_fc00,
            // ICC is over at once, and CAIG says that it was global.
            0x28 => 0x7800_0003_ffff_ffff,
            0x38 => 0xffff_ffff_8000_0000,
            0x40 => 0xffff_ffff_ffff_fffc,
            0x60 => only(0x8000_0001_0000_0000),
            0x88 => 0x7_fff0,
            0x90 => 0xffff_ffff_ffff_f807,
            0xa0 => 0xffff_ffff_8000_0000,
            0xa8 => 0xffff_ffff_ffff_fffc,
            0xb8 => only(0xffff_ffff_ffff_f80f),
            0xc0 | 0xc8 => only(0x7_ffe0),
            0xd0 => only(0xffff_ffff_ffff_f007),
            0xe0 => only(0xffff_ffff_8000_0000),
            0xe8 => only(0xffff_ffff_ffff_fffc),
            // AM above MAMV: refused, so IAIG is 0.
            0xf8 => 0x3003_ffff_0000_0000,
            // An unknown virtual command.
            0xe10 => only(2),
            0xe30 => only(1),
            _ => 0,
        };
        for offset in (0..0x1000).step_by(8).filter(|offset| *offset != 0x18) {
            guest.write(offset, 8, u64::MAX);
        }
        let _left = guest.unit.run();
        for offset in (0..0x1000).step_by(8) {
            assert_eq!(guest.read(offset, 8), kept(offset), "{offset:x} {is_wide}");
        }
    }
}

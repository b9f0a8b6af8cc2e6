//! Which entry a request means, and when it passes unchanged.

use vtd::InterruptError;
use vtd::spec::SourceId;

use crate::machine::*;

// feature: 6.requests: unchanged while remapping is off (IRES 0)
#[test]
fn with_ires_0_every_message_passes_unchanged() {
    let guest = off(|_| {});
    let requests = [
        (0xfee0_0000, 0),
        (0xfee1_200c, 0xc531),
        (0xfee0_0010, 0xffff_ffff),
        (0xfeef_ffff, 0x1_0000),
        (0xfee0_0018, 5),
    ];
    for (address, data) in requests {
        assert_eq!(remap(&guest, address, data), Ok((address, data)));
    }
    let read = guest.unit.remap_interrupt(SourceId(0), 0xfee1_200c, 0xc531).unwrap();
    assert_eq!((read.index, read.vector, read.delivery_mode), (None, 0x31, 5));
    assert_eq!((read.destination, read.redirection_hint), (0x12, true));
    assert!(read.level_triggered && read.logical_destination);
    assert_eq!(guest.read(0x34, 4), 0);
}

// feature: 6.requests: addresses outside the interrupt range
#[test]
fn what_is_no_interrupt_request() {
    for guest in [off(|_| {}), on(|_| {})] {
        for address in [0, 0xfedf_fffc, 0xfef0_0000, 0x1_fee0_0010, u64::MAX] {
            let answer = guest.unit.remap_interrupt(SourceId(0x18), address, 0);
            assert_eq!(answer.unwrap_err(), InterruptError::NotAnInterrupt, "{address:x}");
        }
        assert_eq!(guest.read(0x34, 4), 0);
    }
}

// feature: 6.requests: remappable format (handle, SHV, sub-handle)
#[test]
fn the_index_of_a_request() {
    let guest = on(|_| {});
    // A table of 65,536 entries, all at once.
    for page in 0..256 {
        guest.put(0x100_0000 + page * 0x1000, &[0; 512]);
    }
    set_table(&guest, 0x100_000f);
    let table = [
        // address, data, index
        (0xfee0_0010_u64, 0_u32, 0_u64),
        (0xfee0_0030, 0, 1),
        (0xfeef_fff0, 0, 0x7fff),
        // Bit 2 is handle 15.
        (0xfee0_0014, 0, 0x8000),
        (0xfeef_fff4, 0, 0xffff),
        // Bits 1:0 mean nothing.
        (0xfee0_0033, 0, 1),
        // Without SHV the data means nothing (an I/O APIC's vector is there).
        (0xfee0_0030, 0xffff, 1),
        (0xfee0_0030, 0x8031, 1),
        // With SHV the sub-handle is added.
        (0xfee0_0038, 0, 1),
        (0xfee0_0038, 5, 6),
        (0xfee0_0018, 0xffff, 0xffff),
        (0xfeef_fff8, 0x8000, 0xffff),
        (0xfee0_001c, 0x7fff, 0xffff),
    ];
    for (address, data, index) in table {
        let place = 0x100_0000 + index * 16;
        let vector = 0x20 + (index & 0x7f);
        guest.put(place, &entry(vector));
        let answer = guest.unit.remap_interrupt(SourceId(REQUESTER), address, data).unwrap();
        assert_eq!(u64::from(answer.index.unwrap()), index, "{address:x} {data:x}");
        assert_eq!(u64::from(answer.vector), vector, "{address:x} {data:x}");
        guest.put(place, &[0, 0]);
        assert!(guest_flushed(&guest));
    }
    // The sum does not wrap.
    for (address, data) in [(0xfeef_fffc, 1), (0xfeef_fffc, 0xffff), (0xfee0_003c, 0x7fff)] {
        assert_eq!(remap(&guest, address, data), Err(0x21), "{address:x} {data:x}");
    }
}

/// By SIRTP, which drops what is cached.
fn guest_flushed(guest: &crate::guest::Guest) -> bool {
    command(guest, SIRTP);
    guest.read(0x1c, 4) & SIRTP != 0
}

// feature: 6.requests: compatibility format (CFI, EIME)
#[test]
fn messages_of_the_compatibility_format() {
    let table = [
        // IRTA.EIME, CFI, whether the message passes
        (0, 0, false),
        (0, CFI, true),
        (0x800, 0, false),
        (0x800, CFI, false),
    ];
    for (extended, cfi, passes) in table {
        let guest = on(|_| {});
        set_table(&guest, TABLE | 7 | extended);
        guest.command(guest.read(0x1c, 4) & KEPT & !CFI | cfi);
        assert_eq!(guest.read(0x1c, 4), 0x0700_0000 | cfi);
        for (address, data) in [(0xfee0_1000, 0x31), (0xfeef_f00c, 0xc7ff), (0xfee0_0000, 0x1_0000)]
        {
            let expected = if passes { Ok((address, data)) } else { Err(0x25) };
            assert_eq!(remap(&guest, address, data), expected, "{extended:x} {cfi:x}");
            guest.write(0x34, 4, 1);
            guest.write(0x22c, 4, 0x8000_0000);
        }
    }
}

//! What an entry delivers, and to whom it belongs.

use vtd::spec::SourceId;

use crate::guest::Guest;
use crate::machine::*;

// feature: 6.entries: vector, modes, destinations of 8 and 32 bits (V, DM, RH, TM, DLM, DST)
#[test]
fn what_an_entry_delivers() {
    let table = [
        // EIME, entry (low), message
        (0, 0x0000_0100_0031_0001, (0xfee0_1000_u64, 0x31_u32)),
        (0, 0x0000_ff00_00ff_0001, (0xfeef_f000, 0xff)),
        // DM: logical. RH. TM: level, asserted.
        (0, 0x0000_0100_0031_0005, (0xfee0_1004, 0x31)),
        (0, 0x0000_0100_0031_0009, (0xfee0_1008, 0x31)),
        (0, 0x0000_0100_0031_0011, (0xfee0_1000, 0xc031)),
        // DLM 1, 2, 4, 5, 7; software's own bits 11:8 mean nothing.
        (0, 0x0000_0100_0031_0021, (0xfee0_1000, 0x131)),
        (0, 0x0000_0100_0031_0041, (0xfee0_1000, 0x231)),
        (0, 0x0000_0100_0031_0081, (0xfee0_1000, 0x431)),
        (0, 0x0000_0100_0031_00a1, (0xfee0_1000, 0x531)),
        (0, 0x0000_0100_0031_0fe1, (0xfee0_1000, 0x731)),
        // EIME: 32 bits of destination, bits 31:8 of which are in address 63:40.
        (0x800, 0x0000_0001_0031_0001, (0xfee0_1000, 0x31)),
        (0x800, 0x0000_0100_0031_0001, (0x0000_0100_fee0_0000, 0x31)),
        (0x800, 0x1234_5678_0031_001d, (0x1234_5600_fee7_800c, 0xc031)),
        (0x800, 0xffff_ffff_0031_0001, (0xffff_ff00_feef_f000, 0x31)),
    ];
    for (extended, low, message) in table {
        let guest = on(|_| {});
        set_table(&guest, TABLE | 7 | extended);
        put_entry(&guest, 3, [low, 0]);
        // A second time, when it is cached.
        for _ in 0..2 {
            assert_eq!(remap(&guest, request(3), 0), Ok(message), "{low:x}");
        }
        let found = guest.unit.remap_interrupt(SourceId(0x18), request(3), 0).unwrap();
        assert_eq!((found.index, u64::from(found.vector)), (Some(3), low >> 16 & 0xff));
        assert_eq!(u64::from(found.delivery_mode), low >> 5 & 7);
        assert_eq!(found.level_triggered, low >> 4 & 1 == 1);
        assert_eq!(found.redirection_hint, low >> 3 & 1 == 1);
        assert_eq!(found.logical_destination, low >> 2 & 1 == 1);
        let destination = if extended == 0 { low >> 40 & 0xff } else { low >> 32 };
        assert_eq!(u64::from(found.destination), destination);
    }
}

// feature: 6.entries: source-id check (SVT, SQ, SID)
#[test]
fn whose_an_entry_is() {
    let table: [(u64, &[u16], &[u16]); 9] = [
        // SVT, SQ and SID, who may, who may not
        (0x0_0000, &[0, 0x18, 0xffff], &[]),
        // SVT 0 leaves SQ and SID alone.
        (0x3_1234, &[0, 0x18, 0xffff], &[]),
        (0x4_0018, &[0x18], &[0x19, 0x1a, 0x1c, 0x1f, 0x10, 0x118, 0]),
        // SQ 1, 2, 3 ignore function bits 2, 2:1, 2:0.
        (0x5_0018, &[0x18, 0x1c], &[0x19, 0x1a, 0x1d, 0x10, 0x118]),
        (0x6_0018, &[0x18, 0x1a, 0x1c, 0x1e], &[0x19, 0x1f, 0x10, 0x118]),
        (0x7_001b, &[0x18, 0x19, 0x1f], &[0x17, 0x20, 0x118]),
        // SVT 2: buses 5 to 7.
        (0x8_0507, &[0x500, 0x5ff, 0x612, 0x7ff], &[0x4ff, 0x800, 0]),
        // Buses 7 to 5: none.
        (0xb_0705, &[], &[0x500, 0x600, 0x700, 0]),
        // SVT 3 is reserved.
        (0xc_0018, &[], &[0x18, 0, 0xffff]),
    ];
    for (high, allowed, refused) in table {
        let guest = on(|_| {});
        put_entry(&guest, 3, [entry(0x31)[0], high]);
        for source in allowed.iter().chain(refused) {
            let answer = guest.unit.remap_interrupt(SourceId(*source), request(3), 0);
            let expected = if allowed.contains(source) { Ok(0x31) } else { Err(0x26) };
            let found = answer.map(|interrupt| interrupt.vector).map_err(code);
            assert_eq!(found, expected, "{high:x} {source:x}");
        }
    }
}

// feature: 6.entries: reserved bits (24)
/// Every reserved bit of an entry, in both forms of IRTA.
#[test]
fn reserved_bits_of_an_entry() {
    let reserved = |extended: bool| {
        let low = if extended { 0x0000_0000_ff00_f000 } else { 0xffff_00ff_ff00_f000_u64 };
        [low, 0xffff_ffff_fff0_0000]
    };
    for (extended, eime) in [(false, 0), (true, 0x800)] {
        let guest = on(|_| {});
        set_table(&guest, TABLE | 7 | eime);
        for bit in 0..128 {
            let word = bit / 64;
            let mut raw = [0x0031_0001, 0];
            raw[word] ^= 1 << (bit % 64);
            put_entry(&guest, 3, raw);
            let is_reserved = reserved(extended)[word] >> (bit % 64) & 1 == 1;
            let expected = match (is_reserved, bit) {
                (true, _) => Some(0x24),
                (_, 0) => Some(0x22),
                // SVT 1 and 3 with SID 0; SVT 2 is bus 0 to 0.
                (_, 82) => Some(0x26),
                _ => None,
            };
            assert_eq!(vector(&guest, 3).err(), expected, "{bit} {eime:x}");
            command(&guest, SIRTP);
            clear_record(&guest);
        }
    }
}

fn clear_record(guest: &Guest) {
    guest.write(0x22c, 4, 0x8000_0000);
}

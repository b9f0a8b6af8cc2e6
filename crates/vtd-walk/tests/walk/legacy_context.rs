//! Requester to legacy-mode context entry, root 1000.

use vtd_spec::table::{LegacyContextEntry, LegacyTranslation, SecondStageLevels};
use vtd_spec::{Capabilities, DomainId, Gpa, SourceId};
use vtd_walk::{Fault, read_legacy_context};

use crate::guest::{FEWEST_CAP, FEWEST_ECAP, Guest, caps, fewest, most};

fn read(guest: &Guest, caps: &Capabilities, source_id: u16) -> Result<LegacyContextEntry, Fault> {
    read_legacy_context(guest, caps, Gpa(0x1000), SourceId(source_id))
}

fn entry(low: u64, high: u64) -> Guest {
    Guest::new(&[(0x1120, 0x2001), (0x1128, 0), (0x2180, low), (0x2188, high)])
}

// feature: 1.legacy mode: root, context and second-stage tables (TTM 0)
#[test]
fn one_table_serves_all_functions_of_a_bus() {
    let rows = [
        (0x0000, 0x1000, 0x2000),
        (0x007f, 0x1000, 0x27f0),
        (0x0080, 0x1000, 0x2800),
        (0x12ff, 0x1120, 0x2ff0),
        (0xffff, 0x1ff0, 0x2ff0),
    ];
    for (source_id, root, place) in rows {
        let guest = Guest::new(&[(root, 0x2001), (place, 0x9001), (place + 8, 0xab_cd02)]);
        let context = read(&guest, &fewest(), source_id).unwrap();
        assert_eq!(context.domain, DomainId(0xabcd), "{source_id:x}");
        let LegacyTranslation::SecondStage(stage) = context.translation else { panic!() };
        assert_eq!((stage.table, stage.levels), (Gpa(0x9000), SecondStageLevels::Four));
        assert!(!stage.accessed_dirty);
        assert_eq!(guest.take_reads(), [root, place], "each entry once");
    }
}

// feature: 2.fault codes: legacy mode
#[test]
fn each_root_and_context_fault_has_its_legacy_code() {
    // (root qwords, context qwords, code, FPD, recorded)
    type Row = (Option<[u64; 2]>, Option<[u64; 2]>, u8, bool, bool);
    let rows: &[Row] = &[
        (None, None, 8, false, true),
        (Some([0, 0]), None, 1, false, true),
        (Some([0x2003, 0]), None, 0xa, false, true),
        (Some([0x2001, 1]), None, 0xa, false, true),
        (Some([0x2001, 0]), None, 9, false, true),
        (Some([0x2001, 0]), Some([0, 2]), 2, false, true),
        (Some([0x2001, 0]), Some([2, 2]), 2, true, false),
        (Some([0x2001, 0]), Some([0x11, 2]), 0xb, false, true),
        (Some([0x2001, 0]), Some([0x13, 2]), 0xb, true, false),
        // AW 0, 4 and 7; TT 1 without DT, TT 3; TT 2 with a width that is not the largest
        (Some([0x2001, 0]), Some([1, 0]), 3, false, true),
        (Some([0x2001, 0]), Some([3, 4]), 3, true, false),
        (Some([0x2001, 0]), Some([1, 7]), 3, false, true),
        (Some([0x2001, 0]), Some([5, 2]), 3, false, true),
        (Some([0x2001, 0]), Some([0xd, 2]), 3, false, true),
        (Some([0x2001, 0]), Some([9, 2]), 3, false, true),
    ];
    for (root, context, code, fpd, recorded) in rows {
        let guest = Guest::new(&[]);
        if let Some([low, high]) = root {
            guest.write(&[(0x1120, *low), (0x1128, *high)]);
        }
        if let Some([low, high]) = context {
            guest.write(&[(0x2180, *low), (0x2188, *high)]);
        }
        let fault = read(&guest, &fewest(), 0x1218).unwrap_err();
        assert_eq!(
            (fault.reason.code(), fault.fpd, fault.is_recorded()),
            (*code, *fpd, *recorded),
            "{root:x?} {context:x?}"
        );
    }
}

// feature: 2.fault codes: legacy mode
#[test]
fn known_failure_07_every_reserved_bit_of_a_legacy_root_entry_faults_a() {
    for (caps, reserved) in [(fewest(), 0xffff_0000_0000_0ffe_u64), (most(), 0xfff0_0000_0000_0ffe)]
    {
        for bit in 1..64 {
            let low = Guest::new(&[(0x1120, 0x2001 ^ 1 << bit), (0x2180, 0)]);
            let fault = read(&low, &caps, 0x1218).unwrap_err();
            // A changed address leads to another page: 9, or to this one.
            let expected = if reserved >> bit & 1 == 1 { 0xa } else { 9 };
            assert_eq!(fault.reason.code(), expected, "bit {bit}");
            let high = Guest::new(&[(0x1120, 0x2001), (0x1128, 1 << bit)]);
            assert_eq!(read(&high, &caps, 0x1218).unwrap_err().reason.code(), 0xa);
        }
    }
}

// feature: 2.fault codes: legacy mode
#[test]
fn known_failure_07_every_reserved_bit_of_a_legacy_context_entry_faults_b() {
    // (caps, entry, reserved bits of both qwords, bits that make it invalid)
    let rows = [
        (fewest(), [0x9001, 2], [0xffff_0000_0000_0ff0, 0xffff_ffff_ff00_0080], [0xc & !8, 0b110]),
        (most(), [0x9001, 2], [0xfff0_0000_0000_0ff0, 0xffff_ffff_ff00_0080], [0, 0b110]),
        // TT=2: the address is ignored; AW is to be the largest.
        (fewest(), [9, 3], [0xff0, 0xffff_ffff_ff00_0080], [4, 0b111]),
        (most(), [9, 3], [0xff0, 0xffff_ffff_ff00_0080], [4, 0b111]),
    ];
    for (caps, [low, high], reserved, invalid) in rows {
        for bit in 0..64 {
            for (word, raw) in [(0, [low ^ 1 << bit, high]), (1, [low, high ^ 1 << bit])] {
                let [low, high] = raw;
                let found = read(&entry(low, high), &caps, 0x1218).err();
                let found = found.map(|fault| fault.reason.code());
                let of = |masks: [u64; 2]| masks[word] >> bit & 1 == 1;
                let expected = match (word, bit) {
                    (0, 0) => Some(2),
                    _ if of(reserved) => Some(0xb),
                    // Exceptions that depend on more than the bit: 01 and 11 are widths, 2 to 0 with TT=2 is not the largest.
                    (1, 0) if raw[1] & 7 == 3 => None,
                    (0, 3) if raw[0] & 0xc == 8 => Some(3),
                    _ if of(invalid) => Some(3),
                    _ => None,
                };
                assert_eq!(found, expected, "{caps:?} {raw:x?} qw{word} bit {bit}");
            }
        }
    }
}

// feature: 1.legacy mode: root, context and second-stage tables (TTM 0)
#[test]
fn the_widths_are_those_of_sagaw() {
    for sagaw in 1..8 {
        let caps = caps(0x222f_0086 | sagaw << 9, FEWEST_ECAP, 48);
        for aw in 0..8 {
            let found =
                read(&entry(0x9001, aw), &caps, 0x1218).map_err(|fault| fault.reason.code());
            assert_eq!(found.is_ok(), aw != 0 && sagaw << 1 >> aw & 1 == 1, "{sagaw} {aw}");
            // Pass-through takes the largest only.
            let found = read(&entry(9, aw), &caps, 0x1218);
            let largest = u64::from(sagaw.ilog2()) + 1;
            assert_eq!(found.is_ok(), aw == largest, "{sagaw} {aw}");
        }
    }
}

/// A table beyond the host address width is reserved, but for pass-through, which has none.
#[test]
fn the_table_of_pass_through_means_nothing() {
    for (low, code) in [(1 << 47 | 1, Some(0xb)), (1 << 47 | 9, None), (1 << 63 | 9, None)] {
        let found = read(&entry(low, 3), &caps(FEWEST_CAP, 0xf42, 47), 0x1218);
        assert_eq!(found.map_err(|fault| fault.reason.code()).err(), code, "{low:x}");
    }
}

// feature: 1.legacy mode: root, context and second-stage tables (TTM 0)
#[test]
fn translation_types_need_their_capabilities() {
    // (TT, ECAP, accepted)
    let rows = [
        (0, 0xf02, true),
        (1, 0xf02, false),
        (1, 0xf06, true),
        (2, 0xf02, false),
        (2, 0xf42, true),
        (3, 0xf46, false),
    ];
    for (tt, ecap, accepted) in rows {
        let guest = entry(0x9001 | tt << 2, 3);
        let found = read(&guest, &caps(FEWEST_CAP, ecap, 48), 0x1218);
        assert_eq!(found.map_err(|fault| fault.reason.code()).err(), (!accepted).then_some(3));
    }
}

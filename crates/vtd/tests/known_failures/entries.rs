//! Row 7: every reserved bit of every entry, for each capability that changes it.

use vtd::Access;

use crate::guest::{Guest, Shape, code};
use crate::path::{
    LEGACY_CONTEXT, Path, WIDE_DIRECTORY, WIDE_TABLE, build_path, legacy_guest, map_nested,
};
use crate::raw::*;

/// One kind of entry under one set of capabilities.
struct Entry {
    what: &'static str,
    cap: u64,
    ecap: u64,
    /// Where it lies.
    place: fn(&Path) -> u64,
    /// What it holds where nothing is wrong with it. Other entries are those of the path.
    sound: Vec<u64>,
    /// What else has to be in place.
    around: fn(&Guest, &Path),
    /// The reserved bits of each word, from the reference.
    reserved: Vec<u64>,
    code: u8,
    pasid: Option<u64>,
}

/// Address bits that a host of 48 bits does not have, and all above them.
const ABOVE: u64 = 0xffff_0000_0000_0000;
/// Those of a page-table entry, whose bits 63:52 mean other things.
const ABOVE_IN_PAGES: u64 = 0x000f_0000_0000_0000;
const ALL: u64 = u64::MAX;

fn plain(what: &'static str, code: u8, place: fn(&Path) -> u64) -> Entry {
    Entry {
        what,
        cap: CAP,
        ecap: ECAP,
        place,
        sound: Vec::new(),
        around: |_, _| {},
        reserved: Vec::new(),
        code,
        pasid: Some(5),
    }
}

/// Sets each bit of the entry in turn: reserved ones fault, all others do something else.
fn check(entry: &Entry) {
    let shape = Shape { cap: entry.cap, ecap: entry.ecap, ..Shape::uncached() };
    let guest = Guest::of(shape);
    let dma = guest.emulated();
    let path = build_path(&guest, entry.pasid);
    (entry.around)(&guest, &path);
    let place = (entry.place)(&path);
    guest.ram.put(place, &entry.sound);
    let sound = dma.read_or_code(entry.pasid, PAGE);
    assert!(sound.is_ok(), "{}: a request is served through {:x?}", entry.what, entry.sound);
    for word in 0..entry.sound.len() {
        for bit in 0..64 {
            let flag = 1_u64 << bit;
            if entry.sound[word] & flag != 0 {
                continue;
            }
            let mut changed = entry.sound.clone();
            changed[word] |= flag;
            guest.ram.put(place, &changed);
            let found = dma.read_or_code(entry.pasid, PAGE);
            let told = format!("{}: bit {bit} of qw{word}", entry.what);
            if entry.reserved[word] & flag != 0 {
                assert_eq!(found, Err(entry.code), "{told} is reserved");
            } else {
                assert_ne!(found, Err(entry.code), "{told} is not reserved");
            }
        }
        guest.ram.put(place, &entry.sound);
    }
}

// feature: 2.fault codes: root and context entries
#[test]
fn known_failure_07_root_entries() {
    check(&Entry {
        sound: vec![LOWER_CONTEXTS | 1, UPPER_CONTEXTS | 1],
        // The upper half has no say for a device of the lower one.
        reserved: vec![ABOVE | 0xffe, 0],
        ..plain("root entry", 0x3a, |path| path.root)
    });
    for (gaw, above) in [(0x26, 0xffff_ff80_0000_0000), (0x33, 0xfff0_0000_0000_0000)] {
        check(&Entry {
            cap: CAP & !(0x3f << 16) | gaw << 16,
            sound: vec![LOWER_CONTEXTS | 1, UPPER_CONTEXTS | 1],
            reserved: vec![above | 0xffe, 0],
            ..plain("root entry of another address width", 0x3a, |path| path.root)
        });
    }
}

// feature: 2.fault codes: root and context entries
#[test]
fn known_failure_07_context_entries() {
    let sound = vec![WIDE_DIRECTORY | 0xe09, 0, 0, 0];
    let place: fn(&Path) -> u64 = |path| path.context;
    let wide_rid = 0xffff_ffff_fff0_0000;
    check(&Entry {
        sound: sound.clone(),
        reserved: vec![ABOVE | 0x1f0, wide_rid, ALL, ALL],
        ..plain("context entry", 0x42, place)
    });
    check(&Entry {
        ecap: ECAP | ECAP_PRS,
        sound: sound.clone(),
        reserved: vec![ABOVE | 0x1e0, wide_rid, ALL, ALL],
        ..plain("context entry with PRS", 0x42, place)
    });
    check(&Entry {
        ecap: ECAP & !4,
        sound: sound.clone(),
        reserved: vec![ABOVE | 0x1f4, wide_rid, ALL, ALL],
        ..plain("context entry without DT", 0x42, place)
    });
    check(&Entry {
        ecap: ECAP | ECAP_RPRIVS,
        sound,
        reserved: vec![ABOVE | 0x1f0, 0xffff_ffff_ffe0_0000, ALL, ALL],
        ..plain("context entry with RPRIVS", 0x42, place)
    });
    check(&Entry {
        ecap: ECAP & !(1 << 40),
        sound: vec![WIDE_DIRECTORY | 0xe01, 0, 0, 0],
        around: |guest, _| {
            guest.ram.put(WIDE_DIRECTORY, &[WIDE_TABLE | 1]);
            guest.ram.put(WIDE_TABLE, &first_stage(FIRST_A, 7));
        },
        reserved: vec![ABOVE | 0x1f8, wide_rid, ALL, ALL],
        pasid: None,
        ..plain("context entry without PASID", 0x42, place)
    });
}

// feature: 2.fault codes: PASID directory entries
#[test]
fn known_failure_07_pasid_directory_entries() {
    check(&Entry {
        sound: vec![WIDE_TABLE | 1],
        reserved: vec![ABOVE | 0xffc],
        ..plain("directory entry", 0x52, |path| path.directory)
    });
}

/// A PASID entry with the reserved bits of its first three words; the others are reserved.
fn pasid_entry(what: &'static str, ecap: u64, sound: [u64; 8], reserved: [u64; 3]) -> Entry {
    let [first, second, third] = reserved;
    Entry {
        ecap,
        sound: sound.to_vec(),
        reserved: vec![first, second, third, ALL, ALL, ALL, ALL, ALL],
        ..plain(what, 0x5a, |path| path.entry)
    }
}

// feature: 2.fault codes: PASID-table entries
#[test]
fn known_failure_07_pasid_table_entries() {
    let first = first_stage(FIRST_A, 7);
    let second = second_stage(SECOND, 7);
    let through = pass_through(7);
    // PGSNP, SSADE, SRE and EAFE are reserved, PWSNP is not: that is what ECAP shows.
    let entries = [
        pasid_entry("first-stage", ECAP, first, [0xe20, 0x17f_0000, ABOVE | 0xf81]),
        pasid_entry("second-stage", ECAP, second, [ABOVE | 0xe20, 0x17f_0000, 0xf81]),
        pasid_entry("pass-through", ECAP, through, [0xe20, 0x17f_0000, 0xf81]),
        pasid_entry(
            "first-stage with SSADS",
            ECAP | ECAP_SSADS,
            first,
            [0xc20, 0x17f_0000, ABOVE | 0xf81],
        ),
        pasid_entry(
            "second-stage with SSADS",
            ECAP | ECAP_SSADS,
            second,
            [ABOVE | 0xc20, 0x17f_0000, 0xf81],
        ),
        pasid_entry(
            "first-stage with SC",
            ECAP | ECAP_SC,
            first,
            [0xe20, 0x7f_0000, ABOVE | 0xf81],
        ),
        Entry {
            // Nothing sets A for a walk that is not snooped.
            around: |guest, _| {
                for place in [0, 0x1000, 0x2000, 0x3000 + (PAGE >> 12) * 8] {
                    guest.ram.put(FIRST_A + place, &[guest.ram.at(FIRST_A + place) | 0x20]);
                }
            },
            ..pasid_entry(
                "first-stage without SMPWCS",
                ECAP & !(1 << 48),
                first,
                [0xe20, 0x1ff_0000, ABOVE | 0xf81],
            )
        },
        pasid_entry(
            "first-stage with SRS",
            ECAP | ECAP_SRS,
            first,
            [0xe20, 0x17f_0000, ABOVE | 0xf80],
        ),
        pasid_entry(
            "first-stage with EAFS",
            ECAP | ECAP_EAFS,
            first,
            [0xe20, 0x17f_0000, ABOVE | 0xf01],
        ),
        // ERE and NXE are accepted with ERS and without it.
        pasid_entry(
            "first-stage with ERS",
            ECAP | ECAP_ERS,
            first,
            [0xe20, 0x17f_0000, ABOVE | 0xf81],
        ),
    ];
    for entry in &entries {
        check(entry);
    }
}

// feature: 2.fault codes: first-stage tables
#[test]
fn known_failure_07_first_stage_entries() {
    // PS in an entry that leads to a table makes it a large page that is not aligned.
    for (level, what) in ["first-stage level 4", "first-stage level 3", "first-stage level 2"]
        .into_iter()
        .enumerate()
    {
        let places: [fn(&Path) -> u64; 3] =
            [|_| FIRST_A, |_| FIRST_A + 0x1000, |_| FIRST_A + 0x2000];
        check(&Entry {
            sound: vec![FIRST_A + 0x1000 * (level as u64 + 1) | 7],
            reserved: vec![ABOVE_IN_PAGES | 0x80],
            ..plain(what, 0x72, places[level])
        });
    }
    check(&Entry {
        sound: vec![FRAME_A | 7],
        reserved: vec![ABOVE_IN_PAGES],
        ..plain("first-stage page of 4 KiB", 0x72, |_| FIRST_A + 0x3000 + (PAGE >> 12) * 8)
    });
    check(&Entry {
        sound: vec![0x4020_0087],
        reserved: vec![ABOVE_IN_PAGES | 0x1f_e000],
        ..plain("first-stage page of 2 MiB", 0x72, |_| FIRST_A + 0x2000)
    });
    check(&Entry {
        sound: vec![0x4000_0087],
        reserved: vec![ABOVE_IN_PAGES | 0x3fff_e000],
        ..plain("first-stage page of 1 GiB", 0x72, |_| FIRST_A + 0x1000)
    });
}

// feature: 2.fault codes: second-stage tables
#[test]
fn known_failure_07_second_stage_entries() {
    let around: fn(&Guest, &Path) =
        |guest, path| guest.ram.put(path.entry, &second_stage(SECOND, 7));
    for (level, what) in ["second-stage level 4", "second-stage level 3", "second-stage level 2"]
        .into_iter()
        .enumerate()
    {
        let places: [fn(&Path) -> u64; 3] = [|_| SECOND, |_| SECOND + 0x1000, |_| SECOND + 0x2000];
        check(&Entry {
            sound: vec![SECOND + 0x1000 * (level as u64 + 1) | 3],
            around,
            reserved: vec![ABOVE_IN_PAGES | 0x880],
            ..plain(what, 0x7a, places[level])
        });
    }
    let leaf: fn(&Path) -> u64 = |_| SECOND + 0x3000 + (PAGE >> 12) * 8;
    check(&Entry {
        sound: vec![FRAME_SECOND | 3],
        around,
        reserved: vec![ABOVE_IN_PAGES | 0x800],
        ..plain("second-stage page of 4 KiB", 0x7a, leaf)
    });
    check(&Entry {
        ecap: ECAP | ECAP_SC,
        sound: vec![FRAME_SECOND | 3],
        around,
        reserved: vec![ABOVE_IN_PAGES],
        ..plain("second-stage page of 4 KiB with SC", 0x7a, leaf)
    });
    check(&Entry {
        sound: vec![0x4020_0083],
        around,
        reserved: vec![ABOVE_IN_PAGES | 0x1f_f800],
        ..plain("second-stage page of 2 MiB", 0x7a, |_| SECOND + 0x2000)
    });
    check(&Entry {
        sound: vec![0x4000_0083],
        around,
        reserved: vec![ABOVE_IN_PAGES | 0x3fff_f800],
        ..plain("second-stage page of 1 GiB", 0x7a, |_| SECOND + 0x1000)
    });
}

// feature: 1.first-stage: pages of 2 MiB and 1 GiB (CAP.FS1GP)
/// PS is reserved where the capability lacks the size.
#[test]
fn known_failure_07_page_sizes_that_are_not_shown() {
    let second = |guest: &Guest, path: &Path| guest.ram.put(path.entry, &second_stage(SECOND, 7));
    let cases = [
        (CAP & !(1 << 56), FIRST_A + 0x1000, 0x4000_0087, false, 0x72),
        (CAP & !(1 << 34), SECOND + 0x2000, 0x4020_0083, true, 0x7a),
        (CAP & !(1 << 35), SECOND + 0x1000, 0x4000_0083, true, 0x7a),
    ];
    for (cap, place, entry, is_second, expected) in cases {
        for (cap, expected) in [(CAP, None), (cap, Some(expected))] {
            let guest = Guest::of(Shape { cap, ..Shape::uncached() });
            let dma = guest.emulated();
            let path = build_path(&guest, Some(5));
            if is_second {
                second(&guest, &path);
            }
            guest.ram.put(place, &[entry]);
            let found = dma.read_or_code(Some(5), PAGE);
            assert_eq!(found.err(), expected, "PS of {entry:x} under CAP {cap:x}");
        }
    }
}

// feature: 2.fault codes: legacy mode
#[test]
fn known_failure_07_legacy_entries() {
    let root = [LOWER_CONTEXTS | 1, 0];
    let context = [SECOND | 1, 7 << 8 | 2];
    // Pass-through names no table, so nothing of an address is looked at.
    let through = [9, 7 << 8 | 2];
    let high = 0xffff_ffff_ff00_0080;
    for (place, sound, reserved, expected) in [
        (ROOT, root, [ABOVE | 0xffe, ALL], 0xa),
        (LEGACY_CONTEXT, context, [ABOVE | 0xff0, high], 0xb),
        (LEGACY_CONTEXT, through, [0xff0, high], 0xb),
    ] {
        let (guest, dma) = legacy_guest();
        guest.ram.put(place, &sound);
        assert!(dma.read(None, PAGE).is_ok(), "{sound:x?} is sound");
        for word in 0..2 {
            for bit in (0..64).filter(|bit| sound[word] >> bit & 1 == 0) {
                let mut changed = sound;
                changed[word] |= 1 << bit;
                guest.ram.put(place, &changed);
                let found = dma.read_or_code(None, PAGE);
                let is_reserved = reserved[word] >> bit & 1 == 1;
                let told =
                    format!("code {expected:x}, bit {bit} of qw{word}, reserved: {is_reserved}");
                assert_eq!(found == Err(expected), is_reserved, "{told}");
            }
        }
    }
}

// feature: 1.requests to execute, and execute disable (ERE, NXE, XD)
/// XD counts with ERS and NXE, and for execute requests alone.
#[test]
fn known_failure_07_execute_disable_by_the_right_rule() {
    for bits in 0..16_u64 {
        let [shown, enabled, no_execute, disabled] = [0, 1, 2, 3].map(|bit| bits >> bit & 1);
        let ecap = if shown == 1 { ECAP | ECAP_ERS } else { ECAP };
        let guest = Guest::of(Shape { ecap, ..Shape::uncached() });
        let dma = guest.emulated();
        let path = build_path(&guest, Some(5));
        guest.ram.put(path.entry + 16, &[FIRST_A | enabled << 1 | no_execute << 5]);
        // XD at any level of the way counts.
        for place in [FIRST_A, FIRST_A + 0x2000, FIRST_A + 0x3000 + (PAGE >> 12) * 8] {
            let sound = guest.ram.at(place);
            guest.ram.put(place, &[sound | disabled << 63]);
            let told = format!("ERS {shown}, ERE {enabled}, NXE {no_execute}, XD {disabled}");
            assert_eq!(dma.read_or_code(Some(5), PAGE), Ok(FRAME_A), "a read, {told}");
            assert_eq!(dma.write_or_code(Some(5), PAGE), Ok(FRAME_A), "a write, {told}");
            let fetched = dma.access(Some(5), PAGE, Access::READ.executing()).map_err(code);
            let expected = match (shown & enabled, no_execute & disabled) {
                (0, _) => Err(0x5c),
                (_, 1) => Err(0x82),
                _ => Ok(FRAME_A),
            };
            assert_eq!(fetched, expected, "an execute request, {told}");
            guest.ram.put(place, &[sound]);
        }
    }
}

// feature: 2.fault codes: PASID-table entries
/// Both tables of a nested entry are looked at.
#[test]
fn known_failure_07_nested_pasid_table_entries() {
    for (ecap, first) in [(0, 0xe20), (ECAP_SSADS, 0xc20)] {
        check(&Entry {
            around: |guest, _| map_nested(guest),
            ..pasid_entry(
                "nested",
                ECAP | ECAP_NEST | ecap,
                nested(0, 7),
                [ABOVE | first, 0x17f_0000, ABOVE | 0xf81],
            )
        });
    }
}

// feature: 2.fault codes: first-stage tables
// feature: 2.fault codes: second-stage tables
#[test]
fn known_failure_07_entries_of_the_fifth_level() {
    const FIFTH: u64 = 0x13_0000;
    check(&Entry {
        cap: CAP | FIVE_LEVELS,
        sound: vec![FIRST_A | 7],
        around: |guest, path| {
            guest.ram.put(path.entry, &first_stage(FIFTH | 1 << 2, 7));
        },
        reserved: vec![ABOVE_IN_PAGES | 0x80],
        ..plain("first-stage level 5", 0x72, |_| FIFTH)
    });
    check(&Entry {
        cap: CAP | 1 << 11,
        sound: vec![SECOND | 3],
        // AW 3: 57 bits.
        around: |guest, path| guest.ram.put(path.entry, &[FIFTH | 0x8d, 7, 0, 0, 0, 0, 0, 0]),
        reserved: vec![ABOVE_IN_PAGES | 0x880],
        ..plain("second-stage level 5", 0x7a, |_| FIFTH)
    });
    check(&Entry {
        cap: CAP | 1 << 11,
        sound: vec![SECOND + 0x1000 | 3],
        around: |guest, path| {
            guest.ram.put(path.entry, &[FIFTH | 0x8d, 7, 0, 0, 0, 0, 0, 0]);
            guest.ram.put(FIFTH, &[SECOND | 3]);
        },
        reserved: vec![ABOVE_IN_PAGES | 0x880],
        ..plain("second-stage level 4 of 5", 0x7a, |_| SECOND)
    });
}

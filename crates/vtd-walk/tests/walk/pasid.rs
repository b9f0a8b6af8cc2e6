//! Context entry to PASID-table entry: directory 5000, table 7000.

use vtd_memory::GuestMemory;
use vtd_spec::table::{ContextEntry, PasidEntry, Translation};
use vtd_spec::{Capabilities, Entry, Gpa, Pasid};
use vtd_walk::{Fault, PasidLookup, read_pasid, read_stable_entry};

use crate::guest::{FEWEST_CAP, FEWEST_ECAP, Guest, MOST_CAP, MOST_ECAP, caps, fewest, most};

fn context(low: u64) -> ContextEntry {
    let Entry::Present(context) = ContextEntry::decode([low, 0, 0, 0], &most()) else { panic!() };
    context
}

fn read(
    guest: &Guest,
    caps: &Capabilities,
    context_low: u64,
    pasid: u32,
) -> Result<PasidLookup, Fault> {
    read_pasid(guest, caps, &context(context_low), Pasid::new(pasid).unwrap())
}

/// PASID 41 has this entry: directory entry 1, table entry 1.
fn entry(raw: [u64; 8]) -> Guest {
    let guest = Guest::new(&[(0x5008, 0x7001)]);
    for (place, value) in (0x7040..).step_by(8).zip(raw) {
        guest.write(&[(place, value)]);
    }
    guest
}

fn code(guest: &Guest, caps: &Capabilities) -> Option<u8> {
    read(guest, caps, 0x5009, 0x41).err().map(|fault| fault.reason.code())
}

// feature: 1.walks: each entry is read once, into a copy
#[test]
fn known_failure_17_each_entry_is_read_once() {
    for (pasid, directory, place) in [
        (0, 0x5000, 0x7000),
        (0x3f, 0x5000, 0x7fc0),
        (0x40, 0x5008, 0x7000),
        (0x1fff, 0x53f8, 0x7fc0),
    ] {
        let guest = Guest::new(&[(directory, 0x7001), (place, 0x101), (place + 8, 0xbeef)]);
        let found = read(&guest, &most(), 0x5001, pasid).unwrap();
        assert_eq!(found.entry.domain.0, 0xbeef);
        assert_eq!(guest.take_reads(), [directory, place], "{pasid:x}");
    }
}

// feature: 1.requests with PASID (PASIDE, PDTS)
#[test]
fn a_directory_of_many_pages_need_not_be_aligned_to_its_size() {
    // 16,384 entries from 5000: the last is at 5000 + 1fff8.
    let guest = Guest::new(&[(0x2_4ff8, 0x7001), (0x7fc0, 0x101)]);
    assert!(read(&guest, &most(), 0x5e01, 0xf_ffff).is_ok());
    assert_eq!(guest.take_reads(), [0x2_4ff8, 0x7fc0]);
}

// feature: 1.requests with PASID (PASIDE, PDTS)
#[test]
fn known_failure_06_the_first_pasid_past_the_directory_faults_46() {
    for (pdts, end) in [
        (0, 0x2000),
        (1, 0x4000),
        (2, 0x8000),
        (3, 0x1_0000),
        (4, 0x2_0000),
        (5, 0x4_0000),
        (6, 0x8_0000),
    ] {
        let guest = Guest::new(&[]);
        let low = 0x5009 | pdts << 9;
        assert_eq!(read(&guest, &most(), low, end - 1).unwrap_err().reason.code(), 0x50);
        guest.take_reads();
        let fault = read(&guest, &most(), low, end).unwrap_err();
        assert_eq!((fault.reason.code(), fault.is_recorded()), (0x46, true));
        assert!(!read(&guest, &most(), low | 2, end).unwrap_err().is_recorded());
        assert_eq!(read(&guest, &most(), low, 0xf_ffff).unwrap_err().reason.code(), 0x46);
        assert!(guest.take_reads().is_empty(), "nothing is read past the end");
    }
}

// feature: 2.fault codes: PASID directory entries
// feature: 2.fault codes: PASID-table entries
#[test]
fn known_failure_09_each_directory_and_table_fault_has_its_code() {
    // (directory entry, qw0 of the PASID entry, code)
    let rows: &[(Option<u64>, Option<u64>, u8)] = &[
        (None, None, 0x50),
        (Some(0), None, 0x51),
        (Some(0x7000), Some(0x101), 0x51),
        (Some(0x7005), None, 0x52),
        (Some(0x7001), None, 0x58),
        (Some(0x7001), Some(0), 0x59),
        (Some(0x7001), Some(0x100), 0x59),
        (Some(0x7001), Some(0x121), 0x5a),
        // PGTT 0, 3 without nesting, 5, 6 and 7; FSPM is in qw2, so a zero one is 4-level.
        (Some(0x7001), Some(0x001), 0x5b),
        (Some(0x7001), Some(0x0c9), 0x5b),
        (Some(0x7001), Some(0x141), 0x5b),
        (Some(0x7001), Some(0x181), 0x5b),
        (Some(0x7001), Some(0x1c1), 0x5b),
        // Second stage with AW 0 and 4.
        (Some(0x7001), Some(0x081), 0x5b),
        (Some(0x7001), Some(0x091), 0x5b),
    ];
    for (directory, low, code) in rows {
        let guest = Guest::new(&[]);
        guest.write(&directory.map(|raw| (0x5008, raw)).into_iter().collect::<Vec<_>>());
        guest.write(&low.map(|raw| (0x7040, raw)).into_iter().collect::<Vec<_>>());
        let fault = read(&guest, &most(), 0x5009, 0x41).unwrap_err();
        assert_eq!((fault.reason.code(), fault.fpd), (*code, false), "{directory:x?} {low:x?}");
    }
}

// feature: 2.fault processing disable (FPD) of every entry
#[test]
fn known_failure_11_fpd_accumulates_over_every_entry_read() {
    // FPD of the context entry, the directory entry and the PASID entry; what the last two say otherwise; code; recorded.
    let directories = [(0x0000, 0x51), (0x7004 | 1, 0x52), (0x7001, 0)];
    let entries = [(0x000, 0x59), (0x121, 0x5a), (0x001, 0x5b), (0x101, 0)];
    for flags in 0..8_u64 {
        let low = 0x5009 | (flags & 1) << 1;
        for (directory, directory_code) in directories {
            for (entry, entry_code) in entries {
                let guest = Guest::new(&[
                    (0x5008, directory | flags & 2),
                    (0x7040, entry | (flags & 4) >> 1),
                ]);
                let (code, fpd) = match (directory_code, entry_code) {
                    (0, code) => (code, flags != 0),
                    (code, _) => (code, flags & 3 != 0),
                };
                match read(&guest, &most(), low, 0x41) {
                    Ok(found) => assert_eq!((0, found.fpd), (code, fpd)),
                    Err(fault) => {
                        assert_eq!((fault.reason.code(), fault.fpd), (code, fpd), "{flags}");
                        assert_eq!(fault.is_recorded(), !fpd);
                    }
                }
            }
        }
        // A failed read of a table is recorded whatever FPD says.
        let guest = Guest::new(&[]);
        let fault = read(&guest, &most(), low, 0x41).unwrap_err();
        assert_eq!(
            (fault.reason.code(), fault.fpd, fault.is_recorded()),
            (0x50, flags & 1 != 0, true)
        );
        let guest = Guest::new(&[(0x5008, 0x7001 | flags & 2)]);
        let fault = read(&guest, &most(), low, 0x41).unwrap_err();
        assert_eq!(
            (fault.reason.code(), fault.fpd, fault.is_recorded()),
            (0x58, flags & 3 != 0, true)
        );
    }
}

#[test]
fn known_failure_02_p_is_all_that_counts_in_an_entry_without_it() {
    let raw = [0x101, 0x5, 0, 0, 0, 0, 0, 0];
    let guest = entry(raw);
    assert_eq!(code(&guest, &most()), None);
    guest.write(&[(0x7040, 0x100)]);
    assert_eq!(code(&guest, &most()), Some(0x59));
    let guest = entry([!1, !0, !0, !0, !0, !0, !0, !0]);
    assert_eq!(code(&guest, &fewest()), Some(0x59));
}

// feature: 2.fault codes: PASID directory entries
#[test]
fn known_failure_07_every_reserved_bit_of_a_directory_entry_faults_52() {
    for (caps, reserved) in [
        (fewest(), 0xffff_0000_0000_0ffc_u64),
        (most(), 0xfff0_0000_0000_0ffc),
        (caps(FEWEST_CAP, FEWEST_ECAP, 36), 0xffff_fff0_0000_0ffc),
    ] {
        for bit in 0..64 {
            let guest = Guest::new(&[(0x5008, 0x1_0000_7001 ^ 1 << bit)]);
            let expected = match bit {
                0 => 0x51,
                _ if reserved >> bit & 1 == 1 => 0x52,
                _ => 0x58,
            };
            assert_eq!(code(&guest, &caps), Some(expected), "bit {bit}");
        }
    }
}

// feature: 2.fault codes: PASID-table entries
#[test]
fn known_failure_07_every_reserved_bit_of_a_pasid_entry_faults_5a() {
    const HIGH: u64 = 0xffff_ffff_ffff_ffff;
    let plus = |ecap: u64| caps(FEWEST_CAP, FEWEST_ECAP | ecap, 48);
    // (caps, reserved in qw0 to qw2 whatever PGTT is, reserved in a table address)
    let sets = [
        (fewest(), [0xe20, 0x01ff_0000, 0xf81], 0xffff_0000_0000_0000),
        (plus(1 << 45), [0xc20, 0x01ff_0000, 0xf81], 0xffff_0000_0000_0000), // SSADS
        (plus(1 << 48), [0xe20, 0x017f_0000, 0xf81], 0xffff_0000_0000_0000), // SMPWCS
        (plus(1 << 7), [0xe20, 0x00ff_0000, 0xf81], 0xffff_0000_0000_0000),  // SC
        (plus(1 << 31), [0xe20, 0x01ff_0000, 0xf80], 0xffff_0000_0000_0000), // SRS
        (plus(1 << 34), [0xe20, 0x01ff_0000, 0xf01], 0xffff_0000_0000_0000), // EAFS
        (plus(1 << 30), [0xe20, 0x01ff_0000, 0xf81], 0xffff_0000_0000_0000), // ERS: ERE and NXE are accepted anyway
        (most(), [0xc20, 0x007f_0000, 0xf00], 0xfff0_0000_0000_0000),
        (
            caps(MOST_CAP, MOST_ECAP | 1 << 26, 52),
            [0xc20, 0x007f_0000, 0xf00],
            0xfff0_0000_0000_0000,
        ),
        (caps(FEWEST_CAP, FEWEST_ECAP, 40), [0xe20, 0x01ff_0000, 0xf81], 0xffff_ff00_0000_0000),
    ];
    for (caps, common, address) in sets {
        let nests = caps.ecap() >> 26 & 1 == 1;
        let five_level = caps.cap() >> 60 & 1 == 1;
        // qw0 and qw2 of a first-stage, second-stage, nested and pass-through entry
        for (low, first) in [(0x041, 0x9000), (0x8089, 0), (0x80c9, 0x9000), (0x101, 0)] {
            let kind = low >> 6 & 7;
            if kind == 3 && !nests {
                continue;
            }
            let raw = [low, 0x5, first, 0, 0, 0, 0, 0];
            assert_eq!(code(&entry(raw), &caps), None);
            for (word, bit) in (0..8).flat_map(|word| (0..64).map(move |bit| (word, bit))) {
                let mut raw = raw;
                raw[word] ^= 1 << bit;
                let reserved = match word {
                    0 if kind & 2 != 0 => common[0] | address,
                    2 if kind & 1 != 0 => common[2] | address,
                    0..=2 => common[word],
                    _ => HIGH,
                };
                let kind = raw[0] >> 6 & 7;
                let expected = match (word, bit) {
                    (0, 0) => Some(0x59),
                    _ if reserved >> bit & 1 == 1 => Some(0x5a),
                    // The type as it is now; another than the four is invalid, as is nesting that is not shown.
                    (0, 6..=8) => match kind {
                        1 | 4 => None,
                        3 if !nests => Some(0x5b),
                        2 | 3 if (1..4).contains(&(raw[0] >> 2 & 7)) => None,
                        _ => Some(0x5b),
                    },
                    // AW 0 or more than 3, where it counts
                    (0, 2..=4) if kind & 2 != 0 && !(1..4).contains(&(raw[0] >> 2 & 7)) => {
                        Some(0x5b)
                    }
                    (2, 2) if kind & 1 != 0 && !five_level => Some(0x5b),
                    (2, 3) if kind & 1 != 0 => Some(0x5b),
                    _ => None,
                };
                assert_eq!(
                    code(&entry(raw), &caps),
                    expected,
                    "{caps:?} {raw:x?} qw{word} bit {bit}"
                );
            }
        }
    }
}

// feature: 1.requests to execute, and execute disable (ERE, NXE, XD)
#[test]
fn ere_and_nxe_count_only_with_ers() {
    let guest = entry([0x41, 5, 0x9022, 0, 0, 0, 0, 0]);
    let without = read(&guest, &fewest(), 0x5009, 0x41).unwrap().entry;
    assert!(!without.execute && !without.no_execute);
    let with = read(&guest, &most(), 0x5009, 0x41).unwrap().entry;
    assert!(with.execute && with.no_execute);
    assert!(matches!(with.translation, Translation::FirstStage(_)));
}

// feature: 1.PASID-table entries of every type (PGTT)
#[test]
fn types_need_their_capabilities() {
    // ECAP without PT, FSTS and SSTS in turn
    for (low, missing) in [(0x41, 1_u64 << 47), (0x89, 1 << 46), (0x101, 1 << 6)] {
        let guest = entry([low, 5, 0, 0, 0, 0, 0, 0]);
        assert_eq!(code(&guest, &fewest()), None);
        let caps = caps(FEWEST_CAP, FEWEST_ECAP & !missing, 48);
        assert_eq!(code(&guest, &caps), Some(0x5b), "{low:x}");
    }
}

#[test]
fn known_failure_28_a_torn_entry_is_read_until_two_copies_agree() {
    // How often the guest still changes the entry after the first copy, what comes of it, and how often it is read again.
    for (changes, settled, reads) in
        [(0_u64, true, 1), (1, true, 2), (2, true, 3), (3, true, 4), (4, false, 4), (100, false, 4)]
    {
        let guest = entry([0x101, 0, 0, 0, 0, 0, 0, 0]);
        let mut copy = [0; 8];
        guest.load_qwords(Gpa(0x7040), &mut copy).unwrap();
        guest.take_reads();
        let mut change = 0;
        if changes != 0 {
            guest.write(&[(0x7078, 1)]);
            change = 1;
        }
        guest.after_read(Box::new(move |memory, _| {
            if change < changes {
                change += 1;
                memory.write_u64(Gpa(0x7078), change).unwrap();
            }
        }));
        let found = read_stable_entry(&guest, Gpa(0x7040), copy);
        let expected = settled.then_some([0x101, 0, 0, 0, 0, 0, 0, changes]);
        assert_eq!((found, guest.take_reads().len()), (expected, reads), "{changes}");
    }
    let guest = Guest::new(&[]);
    assert_eq!(read_stable_entry(&guest, Gpa(0x7040), [0; 8]), None, "memory that is gone");
}

#[test]
fn the_field_at_fault_is_named() {
    let fault = read(&entry([0x121, 0, 0, 0, 0, 0, 0, 0]), &most(), 0x500b, 0x41).unwrap_err();
    assert_eq!(
        fault.to_string(),
        "reserved field in PASID-table entry (5a): reserved 11:10 and 5, not recorded (FPD)"
    );
    assert_eq!(
        PasidEntry::raw_domain(&[0x121, 7, 0, 0, 0, 0, 0, 0]).map(|domain| domain.0),
        Some(7)
    );
}

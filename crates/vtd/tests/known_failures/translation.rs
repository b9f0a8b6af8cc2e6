//! Rows 5, 6, 8, 12 and 17: how requests of emulated devices are translated.

use std::collections::HashMap;

use vtd::memory::SparseMemory;
use vtd::spec::Gpa;

use crate::guest::{Guest, Shape, code};
use crate::path::{build_path, legacy_guest};
use crate::ram::Moment;
use crate::raw::*;

/// A mapping of `PAGE` whose dirty bit is to be set.
struct Mapping {
    what: &'static str,
    entry: [u64; 8],
    leaf: u64,
    /// The leaf before anything was read or written, and with another frame.
    before: [u64; 2],
    accessed: u64,
    dirty: u64,
    leads_to: [u64; 2],
}

fn mappings() -> [Mapping; 6] {
    let first = |what, leaf, before, leads_to| Mapping {
        what,
        entry: first_stage(FIRST_A, 7),
        leaf,
        before,
        accessed: 0x20,
        dirty: 0x40,
        leads_to,
    };
    let second = |what, leaf, before, leads_to| Mapping {
        what,
        entry: second_stage(SECOND | 1 << 9, 7),
        leaf,
        before,
        accessed: 0x100,
        dirty: 0x200,
        leads_to,
    };
    [
        first(
            "first-stage, 4 KiB",
            FIRST_A + 0x3000 + 5 * 8,
            [FRAME_A | 7, FRAME_B | 7],
            [FRAME_A, FRAME_B],
        ),
        first(
            "first-stage, 2 MiB",
            FIRST_A + 0x2000,
            [0x20_0087, 0x40_0087],
            [0x20_5000, 0x40_5000],
        ),
        first(
            "first-stage, 1 GiB",
            FIRST_A + 0x1000,
            [0x4000_0087, 0x8000_0087],
            [0x4000_5000, 0x8000_5000],
        ),
        second(
            "second-stage, 4 KiB",
            SECOND + 0x3000 + 5 * 8,
            [FRAME_A | 3, FRAME_B | 3],
            [FRAME_A, FRAME_B],
        ),
        second(
            "second-stage, 2 MiB",
            SECOND + 0x2000,
            [0x20_0083, 0x40_0083],
            [0x20_5000, 0x40_5000],
        ),
        second(
            "second-stage, 1 GiB",
            SECOND + 0x1000,
            [0x4000_0083, 0x8000_0083],
            [0x4000_5000, 0x8000_5000],
        ),
    ]
}

fn guest_with(mapping: &Mapping) -> Guest {
    let guest = Guest::of(Shape { ecap: ECAP | ECAP_SSADS, ..Shape::default() });
    guest.set_pasid(5, mapping.entry);
    guest.ram.put(mapping.leaf, &[mapping.before[0]]);
    guest
}

// feature: 1.first-stage: accessed and dirty bits (A, D)
#[test]
fn known_failure_05_a_write_after_a_cached_read_sets_the_dirty_bit() {
    for mapping in mappings() {
        let guest = guest_with(&mapping);
        let dma = guest.emulated();
        let Mapping { what, leaf, before, accessed, dirty, leads_to, .. } = mapping;
        for _ in 0..2 {
            assert_eq!(dma.read_or_code(Some(5), PAGE), Ok(leads_to[0]), "{what}");
            assert_eq!(guest.ram.at(leaf), before[0] | accessed, "{what}: a read sets A alone");
        }
        assert_eq!(dma.write_or_code(Some(5), PAGE), Ok(leads_to[0]), "{what}");
        let marked = before[0] | accessed | dirty;
        assert_eq!(guest.ram.at(leaf), marked, "{what}: D is set when the write is let through");
        guest.ram.take_reads();
        assert_eq!(dma.write_or_code(Some(5), PAGE), Ok(leads_to[0]), "{what}");
        assert_eq!(guest.ram.take_reads(), [], "{what}: a write to a dirty page is a plain hit");

        // Software clears D to track writes, and flushes: the next write sets it again.
        guest.ram.put(leaf, &[before[0] | accessed]);
        guest.flush(&[pasid_iotlb(7, 5), iotlb_of_domain(7)]);
        assert_eq!(dma.read_or_code(Some(5), PAGE), Ok(leads_to[0]), "{what}");
        assert_eq!(dma.write_or_code(Some(5), PAGE), Ok(leads_to[0]), "{what}");
        assert_eq!(guest.ram.at(leaf), marked, "{what}: D is set again");
    }
}

// feature: 1.first-stage: accessed and dirty bits (A, D)
#[test]
fn known_failure_05_a_write_after_a_cached_read_walks_again() {
    for mapping in mappings() {
        let guest = guest_with(&mapping);
        let dma = guest.emulated();
        let Mapping { what, leaf, before, accessed, dirty, leads_to, .. } = mapping;
        assert_eq!(dma.read_or_code(Some(5), PAGE), Ok(leads_to[0]), "{what}");
        // No flush: the write has to look at the entry anyway, and marks what it then finds.
        guest.ram.put(leaf, &[before[1]]);
        assert_eq!(dma.write_or_code(Some(5), PAGE), Ok(leads_to[1]), "{what}");
        assert_eq!(guest.ram.at(leaf), before[1] | accessed | dirty, "{what}");

        let guest = guest_with(&mapping);
        let dma = guest.emulated();
        assert_eq!(dma.read_or_code(Some(5), PAGE), Ok(leads_to[0]), "{what}");
        guest.ram.put(leaf, &[0]);
        assert!(dma.write_or_code(Some(5), PAGE).is_err(), "{what}: the entry is gone");
        assert_eq!(guest.ram.at(leaf), 0, "{what}: no bit is set in an absent entry");
    }
}

// feature: 1.first-stage: accessed and dirty bits (A, D)
#[test]
fn known_failure_05_bits_are_set_by_compare_and_exchange() {
    for mapping in mappings() {
        let guest = guest_with(&mapping);
        let dma = guest.emulated();
        let Mapping { what, leaf, before, accessed, dirty, leads_to, .. } = mapping;
        // The guest changes the entry between the walk's read and its write.
        let mut left = 3;
        guest.ram.interfere(move |pages: &SparseMemory, moment| {
            if let Moment::Exchange(at) = moment
                && at == leaf
                && left > 0
            {
                left -= 1;
                pages.write_u64(Gpa(leaf), before[usize::from(left % 2 == 0)]).unwrap();
            }
        });
        guest.take_tape();
        let found = dma.write_or_code(Some(5), PAGE);
        guest.ram.leave_alone();
        let held = guest.ram.at(leaf);
        assert_eq!(guest.take_tape(), [""; 0], "{what}: nothing is stored plainly");
        assert_eq!(held, before[1] | accessed | dirty, "{what}: the guest's change is not lost");
        assert_eq!(found, Ok(leads_to[1]), "{what}: what was marked is where the write goes");

        // And where the guest takes the page away at that moment, it stays away.
        let guest = guest_with(&mapping);
        let dma = guest.emulated();
        guest.ram.interfere(move |pages: &SparseMemory, moment| {
            if let Moment::Exchange(at) = moment
                && at == leaf
            {
                pages.write_u64(Gpa(leaf), 0).unwrap();
            }
        });
        assert!(dma.write_or_code(Some(5), PAGE).is_err(), "{what}");
        assert_eq!(guest.ram.at(leaf), 0, "{what}: the entry is not brought back");
    }
}

// feature: 1.requests with PASID (PASIDE, PDTS)
#[test]
fn known_failure_06_the_first_pasid_past_the_directory_faults_46() {
    let directory = 0x100_0000;
    for size in 0..8_u64 {
        let guest = Guest::of(Shape::uncached());
        let dma = guest.emulated();
        let end = 1 << (size + 13);
        // The directory has room for more PASIDs, so a walk past its end would find something.
        for index in 0..0x4000 {
            if index % 64 == 0 || index % 128 == 127 {
                guest.ram.put(directory + index * 8, &[PASIDS | 1]);
            }
        }
        guest.set_pasid(0, first_stage(FIRST_A, 7));
        guest.set_pasid(0x3f, first_stage(FIRST_B, 7));
        guest.set_context(DEVICE, [directory | size << 9 | 9, 1, 0, 0]);
        assert_eq!(dma.read_or_code(Some(end - 1), PAGE), Ok(FRAME_B), "PDTS {size}: the last");
        let past = [end, end + 0x3f, 0xf_ffff];
        for pasid in past.into_iter().filter(|pasid| (end..1 << 20).contains(pasid)) {
            assert_eq!(dma.read_or_code(Some(pasid), PAGE), Err(0x46), "PDTS {size}");
        }
    }
}

// feature: 1.requests with PASID (PASIDE, PDTS)
#[test]
fn known_failure_06_pasids_that_are_not_enabled_fault_45() {
    for shape in [Shape::uncached(), Shape::default()] {
        let guest = Guest::of(shape);
        let dma = guest.emulated();
        guest.set_pasid(0, first_stage(FIRST_B, 7));
        guest.set_pasid(5, first_stage(FIRST_A, 7));
        assert_eq!(dma.read_or_code(Some(5), PAGE), Ok(FRAME_A));
        guest.set_context(DEVICE, [DIRECTORY | 1, 0, 0, 0]);
        guest.flush(&[context_cache_of_device(DEVICE)]);
        for _ in 0..2 {
            assert_eq!(dma.read_or_code(Some(5), PAGE), Err(0x45), "PASIDE=0");
            assert_eq!(dma.read_or_code(Some(0), PAGE), Err(0x45), "RID_PASID is a PASID too");
            assert_eq!(dma.read_or_code(None, PAGE), Ok(FRAME_B), "requests without PASID");
        }
    }
}

// feature: 1.translation requests (ATS): device-TLB enable (DTE, ECAP.DT)
// feature: 1.translated requests (DTE, ECAP.DT)
#[test]
fn known_failure_06_devices_without_dte_get_44() {
    for shape in [Shape::uncached(), Shape::default()] {
        let guest = Guest::of(shape);
        let dma = guest.emulated();
        guest.set_pasid(0, first_stage(FIRST_B, 7));
        guest.set_pasid(5, first_stage(FIRST_A, 7));
        for (dte, expected) in [(4, None), (0, Some(0x44)), (4, None)] {
            guest.set_context(DEVICE, [DIRECTORY | 9 | dte, 0, 0, 0]);
            guest.flush(&[context_cache_of_device(DEVICE)]);
            for _ in 0..2 {
                for pasid in [None, Some(5)] {
                    let asked = dma.ask(pasid, PAGE).map_err(code).err();
                    assert_eq!(asked, expected, "a translation request, DTE={}", dte >> 2);
                }
                let translated = dma.translated(FRAME_A).map_err(code).err();
                assert_eq!(translated, expected, "a translated request, DTE={}", dte >> 2);
                assert_eq!(dma.read_or_code(Some(5), PAGE), Ok(FRAME_A), "an untranslated one");
            }
            assert_eq!(guest.take_records().len(), if dte == 0 { 6 } else { 0 });
        }
    }
}

// feature: 1.translation requests (ATS): no-write flag, accessed and dirty bits (ECAP.NWFS)
#[test]
fn known_failure_05_a_translation_request_sets_d_for_the_write_that_it_grants() {
    let guest = Guest::new();
    let dma = guest.emulated();
    guest.set_context(DEVICE, [DIRECTORY | 0xd, 0, 0, 0]);
    guest.set_pasid(5, first_stage(FIRST_A, 7));
    assert_eq!(dma.read_or_code(Some(5), PAGE), Ok(FRAME_A));
    let leaf = FIRST_A + 0x3000 + (PAGE >> 12) * 8;
    assert_eq!(guest.ram.at(leaf), FRAME_A | 0x27);
    assert!(dma.ask(Some(5), PAGE).unwrap().granted.write, "a read has filled the IOTLB");
    assert_eq!(guest.ram.at(leaf), FRAME_A | 0x67, "what is granted may be written any time");
}

// feature: 1.first-stage: canonical addresses (FSPM)
#[test]
fn known_failure_08_canonical_is_a_matter_of_fspm_alone() {
    let four = [
        (0x0000_7fff_ffff_f000, true),
        (0x0000_8000_0000_0000, false),
        (0x0100_0000_0000_0000, false),
        (0xffff_7fff_ffff_f000, false),
        (0xffff_8000_0000_0000, true),
        (0xffff_ffff_ffff_f000, true),
    ];
    let five = [
        (0x0000_8000_0000_0000, true),
        (0x00ff_ffff_ffff_f000, true),
        (0x0100_0000_0000_0000, false),
        (0x7fff_ffff_ffff_f000, false),
        (0xfeff_ffff_ffff_f000, false),
        (0xff00_0000_0000_0000, true),
        (0xffff_7fff_ffff_f000, true),
    ];
    // The widths of the host's and of second-stage addresses have no say: 39, 48 and 57 bits of MGAW, and every AW.
    for width in [0x26, 0x2f, 0x38] {
        let cap = (CAP | FIVE_LEVELS) & !(0x3f << 16) | width << 16;
        let guest = Guest::of(Shape { cap, ..Shape::uncached() });
        let dma = guest.emulated();
        for (fspm, addresses) in [(0, &four[..]), (1, &five[..])] {
            for address_width in 0..8 {
                let mut entry = first_stage(FIRST_A, 7);
                entry[0] |= address_width << 2;
                entry[2] |= fspm << 2;
                guest.set_pasid(5, entry);
                for (address, canonical) in addresses {
                    let expected = if *canonical { 0x71 } else { 0x80 };
                    let found = dma.read_or_code(Some(5), *address);
                    let told = format!("{address:x}, FSPM {fspm}, AW {address_width}");
                    assert_eq!(found, Err(expected), "{told}, MGAW {width:x}");
                }
            }
        }
    }
}

// feature: 8.abort mode (TTM 3, ECAP.ADMS)
#[test]
fn known_failure_12_abort_mode_blocks_without_a_record() {
    let guest = Guest::of(Shape { ecap: ECAP | ECAP_ADMS, ..Shape::default() });
    let dma = guest.emulated();
    build_path(&guest, Some(5));
    build_path(&guest, None);
    assert_eq!(dma.read_or_code(Some(5), PAGE), Ok(FRAME_A));
    assert_eq!(dma.read_or_code(None, PAGE), Ok(FRAME_A));
    guest.write64(RTADDR, ROOT | 0xc00);
    guest.command(TE | QIE | SRTP);
    for pasid in [Some(5), None] {
        assert_eq!(dma.read_or_code(pasid, PAGE), Err(0), "TTM=11 blocks {pasid:x?}");
        assert_eq!(dma.write_or_code(pasid, PAGE), Err(0), "TTM=11 blocks {pasid:x?}");
    }
    assert_eq!(guest.take_records(), [], "and records nothing");
    assert_eq!(guest.read32(FSTS), 0);
}

// feature: 8.abort mode (TTM 3, ECAP.ADMS)
#[test]
fn known_failure_12_table_modes_that_are_not_shown_fault_30() {
    for mode in [0xc00, 0x800] {
        let guest = Guest::new();
        let dma = guest.emulated();
        guest.set_pasid(5, first_stage(FIRST_A, 7));
        guest.write64(RTADDR, ROOT | mode);
        guest.command(TE | QIE | SRTP);
        assert_eq!(dma.read_or_code(Some(5), PAGE), Err(0x30), "TTM {:b}", mode >> 10);
        assert_eq!(guest.take_records().len(), 1);
    }
}

/// How often each qword was read.
fn counts(reads: Vec<u64>) -> HashMap<u64, u32> {
    let mut counts = HashMap::new();
    for read in reads {
        *counts.entry(read).or_insert(0) += 1;
    }
    counts
}

// feature: 1.walks: each entry is read once, into a copy
#[test]
fn known_failure_17_one_translation_reads_each_entry_once() {
    for shape in [Shape::uncached(), Shape::default()] {
        for entry in [first_stage(FIRST_A, 7), second_stage(SECOND, 7), pass_through(7), ABSENT] {
            let guest = Guest::of(shape);
            let dma = guest.emulated();
            for pasid in [Some(5), None] {
                guest.set_pasid(pasid.unwrap_or(0), entry);
                guest.ram.take_reads();
                let _found = dma.write(pasid, PAGE);
                let reads = counts(guest.ram.take_reads());
                assert!(reads.contains_key(&(PASIDS + pasid.unwrap_or(0) * 64)), "it was walked");
                let again: Vec<_> = reads.iter().filter(|(_, count)| **count > 1).collect();
                assert!(again.is_empty(), "read more than once: {again:x?}");
            }
        }
    }
}

// feature: 1.walks: each entry is read once, into a copy
/// The guest changes every entry as soon as it has been read: the translation is one of the entries as they were.
#[test]
fn known_failure_17_an_entry_that_changes_after_it_was_read_changes_nothing() {
    let guest = Guest::of(Shape::uncached());
    let dma = guest.emulated();
    let path = build_path(&guest, Some(5));
    let places = [path.root, path.context, path.directory, path.entry];
    let levels = [0, 1, 2].map(|level| FIRST_A + level * 0x1000);
    // From here on A and D are set, so no entry is written to.
    assert_eq!(dma.write_or_code(Some(5), PAGE), Ok(FRAME_A));
    for place in places.into_iter().chain(levels) {
        let sound = guest.ram.at(place);
        guest.ram.interfere(move |pages: &SparseMemory, moment| {
            if let Moment::Read(at, _) = moment
                && at == place
            {
                // Absent, and of another kind.
                pages.write_u64(Gpa(place), sound & !0x1c1 | 0x100).unwrap();
            }
        });
        assert_eq!(dma.write_or_code(Some(5), PAGE), Ok(FRAME_A), "the entry at {place:x}");
        guest.ram.leave_alone();
        assert!(dma.write_or_code(Some(5), PAGE).is_err(), "the entry at {place:x} has changed");
        guest.ram.put(place, &[sound]);
    }
}

// feature: 1.walks: each entry is read once, into a copy
/// Legacy tables as well.
#[test]
fn known_failure_17_one_legacy_translation_reads_each_entry_once() {
    let (guest, dma) = legacy_guest();
    guest.ram.take_reads();
    assert_eq!(dma.read_or_code(None, PAGE), Ok(FRAME_SECOND));
    let reads = counts(guest.ram.take_reads());
    assert!(reads.values().all(|count| *count == 1), "{reads:x?}");
}

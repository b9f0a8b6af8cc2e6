//! What translation requests are granted, and what they do to the tables.

use vtd::TranslationRequest as Ask;

use crate::machine::{
    ALL, CAP, ERS, FIRST, FRAME, Machine, NWFS, RPRIVS, SC, SECOND, SMPWCS, SRS, place,
};

const PLAIN: Ask = Ask::READ_WRITE;
const NO_WRITE: Ask = Ask::READ;

/// First-stage, PASID 1, supervisor and execute requests enabled, XD counting, SMEP.
fn first() -> Machine {
    let machine = Machine::scalable(CAP, ALL, &[0x41, 5, FIRST + 0x1000 | 0x63]);
    for (iova, bits) in [(0x5000, 7), (0x6000, 5), (0x7000, 3), (0x8000, 7 | 1 << 63)] {
        machine.map(FIRST, iova, 1, FRAME + iova | bits, 7);
    }
    machine
}

// feature: 1.translation requests (ATS): permissions that are granted (R, W, EXE, PRIV)
#[test]
fn permissions_are_those_of_the_tables_that_were_asked_for() {
    let machine = first();
    let (x, p) = (PLAIN.executing(), PLAIN.with_privilege());
    for (pasid, iova, request, expected) in [
        (Some(1), 0x5123, PLAIN, "405000 1000 rw"),
        (Some(1), 0x5123, NO_WRITE, "405000 1000 r"),
        (Some(1), 0x5123, x, "405000 1000 rwx"),
        (Some(1), 0x5123, NO_WRITE.executing(), "405000 1000 rx"),
        (Some(1), 0x6123, PLAIN, "406000 1000 r"),
        (Some(1), 0x6123, x, "406000 1000 rx"),
        (Some(1), 0x7123, PLAIN, "none"),
        (Some(1), 0x7123, x, "none"),
        (Some(1), 0x8123, x, "408000 1000 rw"),
        (Some(1), 0x8123, PLAIN, "408000 1000 rw"),
        (Some(1), 0x9123, PLAIN, "none"),
        // A supervisor: PRIV is as asked. WPE is clear, SMEP keeps it from executing pages of users.
        (Some(1), 0x5123, p, "405000 1000 rwp"),
        (Some(1), 0x6123, p, "406000 1000 rwp"),
        (Some(1), 0x7123, p.executing(), "407000 1000 rwxp"),
        (Some(1), 0x5123, p.executing(), "405000 1000 rwp"),
        (Some(1), 0x9123, p, "nonep"),
        // Without PASID the context entry (RID_PRIV) decides about privilege, and PRIV is not there.
        (None, 0x5123, p, "405000 1000 rw"),
        (None, 0x7123, p, "none"),
        (None, 0x6123, PLAIN, "406000 1000 r"),
    ] {
        for _ in 0..2 {
            assert_eq!(
                machine.told(pasid, iova, request),
                expected,
                "{pasid:?} {iova:x} {request:?}"
            );
            assert_eq!(machine.record(), None);
        }
    }
    // RID_PRIV: the permissions of a supervisor, without PRIV.
    let machine = first();
    machine.guest.put(crate::machine::CONTEXT + 8, &[1 | 1 << 20]);
    assert_eq!(machine.told(None, 0x7123, PLAIN), "407000 1000 rw");
}

// feature: 1.translation requests (ATS): permissions that are granted (R, W, EXE, PRIV)
#[test]
fn requests_that_are_not_enabled_are_granted_nothing() {
    let (x, p) = (PLAIN.executing(), PLAIN.with_privilege());
    for (ecap, flags, request, expected) in [
        (ALL, 0, x, "none"),
        (ALL & !ERS, 2, x, "none"),
        (ALL, 2, x, "405000 1000 rwx"),
        (ALL, 0, p, "nonep"),
        (ALL & !SRS, 0, p, "nonep"),
        (ALL, 1, p, "405000 1000 rwp"),
        // Without NWFS the flag is ignored.
        (ALL & !NWFS, 0, NO_WRITE, "405000 1000 rw"),
    ] {
        let machine = Machine::scalable(CAP, ecap, &[0x41, 5, FIRST + 0x1000 | flags]);
        machine.map(FIRST, 0x5000, 1, FRAME + 0x5000 | 7, 7);
        assert_eq!(machine.told(Some(1), 0x5000, request), expected, "{ecap:x} {flags:x}");
        assert_eq!(machine.record(), None);
    }
}

// feature: 1.translation requests (ATS): no-write flag, accessed and dirty bits (ECAP.NWFS)
#[test]
fn bits_are_set_for_what_is_granted() {
    // ECAP, request, bits of the leaf before, granted, bits after.
    for (ecap, request, before, expected, after) in [
        (ALL, PLAIN, 7, "405000 1000 rw", 0x67),
        (ALL, NO_WRITE, 7, "405000 1000 r", 0x27),
        (ALL, NO_WRITE, 0x67, "405000 1000 r", 0x67),
        (ALL & !NWFS, NO_WRITE, 7, "405000 1000 rw", 0x67),
        (ALL, PLAIN, 5, "405000 1000 r", 0x25),
        (ALL, PLAIN, 3, "none", 3),
        // Where walks are not coherent nothing can be set.
        (ALL & !SMPWCS, PLAIN, 0x67, "none", 0x67),
    ] {
        let machine = Machine::scalable(CAP, ecap, &[0x41, 5, FIRST + 0x1000]);
        machine.map(FIRST, 0x5000, 1, FRAME + 0x5000 | before, 7);
        assert_eq!(machine.told(Some(1), 0x5000, request), expected, "{ecap:x} {request:?}");
        assert_eq!(machine.guest.get(place(FIRST, 1, 0x5000)) & 0xfff, after);
        assert_eq!(machine.record(), None);
    }
    let machine = Machine::scalable(CAP, ALL, &[SECOND + 0x1000 | 0x289, 5]);
    machine.map(SECOND, 0x5000, 1, FRAME | 3, 3);
    assert_eq!(machine.told(Some(1), 0x5000, NO_WRITE), "400000 1000 r");
    assert_eq!(machine.guest.get(place(SECOND, 1, 0x5000)), FRAME | 0x103);
    assert_eq!(machine.told(Some(1), 0x5000, PLAIN), "400000 1000 rw");
    assert_eq!(machine.guest.get(place(SECOND, 1, 0x5000)), FRAME | 0x303);
}

// feature: 1.legacy mode: translation and translated requests (TT 1)
// feature: 1.translation requests (ATS): permissions that are granted (R, W, EXE, PRIV)
#[test]
fn second_stage_permissions_in_both_modes() {
    let scalable = Machine::scalable(CAP, ALL, &[SECOND + 0x1000 | 0x89, 5]);
    let legacy = Machine::legacy(CAP, ALL, [SECOND + 0x1000 | 5, 0x502]);
    for machine in [scalable, legacy] {
        for (iova, bits) in [(0x5000, 3), (0x6000, 1), (0x7000, 2), (0x8000, 0)] {
            machine.map(SECOND, iova, 1, FRAME + iova | bits, 3);
        }
        for (iova, request, expected) in [
            (0x5000, PLAIN, "405000 1000 rw"),
            (0x5000, NO_WRITE, "405000 1000 r"),
            (0x6000, PLAIN, "406000 1000 r"),
            (0x7000, PLAIN, "407000 1000 w"),
            (0x7000, NO_WRITE, "none"),
            (0x8000, PLAIN, "none"),
        ] {
            for _ in 0..2 {
                assert_eq!(machine.told(None, iova, request), expected, "{iova:x} {request:?}");
            }
        }
        assert_eq!(machine.record(), None);
    }
}

// feature: 1.translation requests (ATS): permissions that are granted (R, W, EXE, PRIV)
#[test]
fn nested_requests_are_granted_what_both_stages_grant() {
    let machine = Machine::scalable(CAP, ALL, &[SECOND + 0x1000 | 0xc9, 5, FIRST + 0x1000]);
    machine.map(SECOND, 0, 3, 0x83, 3);
    machine.guest.put(place(SECOND, 3, 0), &[SECOND + 0x3000 | 3]);
    machine.guest.put(place(SECOND, 2, FIRST), &[0x83]);
    for (number, bits) in [(2, 3), (3, 1), (4, 2), (5, 0)] {
        machine.guest.put(place(SECOND, 2, number << 21), &[number << 21 | 0x80 | bits]);
        machine.map(FIRST, number << 12, 1, number << 21 | 7, 7);
        machine.map(FIRST, 0x10_0000 | number << 12, 1, number << 21 | 5, 7);
    }
    for (iova, expected) in [
        (0x2000, "400000 1000 rw"),
        (0x3000, "600000 1000 r"),
        (0x4000, "800000 1000 w"),
        (0x5000, "none"),
        (0x10_2000, "400000 1000 r"),
        (0x10_3000, "600000 1000 r"),
        (0x10_4000, "none"),
    ] {
        assert_eq!(machine.told(Some(1), iova, PLAIN), expected, "{iova:x}");
        assert_eq!(machine.record(), None);
    }
}

// feature: 1.translation requests (ATS): size of the page
#[test]
fn the_size_is_that_of_the_page() {
    let machine = Machine::scalable(CAP, ALL, &[0x41, 5, FIRST + 0x1000]);
    machine.map(FIRST, 0x4020_0000, 2, 0x8020_0087, 7);
    machine.map(FIRST, 0x1_0000_0000, 3, 0x1_4000_0087, 7);
    assert_eq!(machine.told(Some(1), 0x4021_2345, PLAIN), "80200000 200000 rw");
    assert_eq!(machine.told(Some(1), 0x1_0001_2345, PLAIN), "140000000 40000000 rw");
    // A page that holds the interrupt range too is given as 4 KiB outside, and not at all inside.
    machine.map(FIRST, 0xc000_0000, 3, 0xc000_0087, 7);
    assert_eq!(machine.told(Some(1), 0xfedf_f123, PLAIN), "fedff000 1000 rw");
    assert_eq!(machine.told(Some(1), 0xfef0_0123, PLAIN), "fef00000 1000 rw");
    assert_eq!(machine.record(), None);
    assert_eq!(machine.told(Some(1), 0xfee0_0123, PLAIN), "fault 87");
    assert_eq!(machine.recorded_code(), Some(0x87));
}

// feature: 1.translation requests (ATS): pass-through
#[test]
fn pass_through_is_given_in_pages_as_large_as_the_tables_have() {
    let (one_g, two_m) = (1 << 35 | 1 << 56, 1 << 34);
    let first_stage = 1 << 47 | 1 << 26;
    for (cap, ecap, iova, expected) in [
        (CAP, ALL, 0x1_2345_6789, "100000000 40000000 rw"),
        (CAP & !one_g, ALL, 0x1_2345_6789, "123400000 200000 rw"),
        (
            CAP & !one_g & !two_m & !(1 << 60),
            ALL & !first_stage,
            0x1_2345_6789,
            "123456000 1000 rw",
        ),
        // The interrupt range, and what lies around it.
        (CAP, ALL, 0xc000_0123, "c0000000 200000 rw"),
        (CAP, ALL, 0xfed0_0123, "fec00000 200000 rw"),
        (CAP, ALL, 0xfef0_0123, "fef00000 1000 rw"),
        (CAP, ALL, 0xff00_0123, "ff000000 200000 rw"),
        // The end of host addresses.
        (CAP, ALL, 0xf_ffff_ffff_f123, "fffffc0000000 40000000 rw"),
        (CAP, ALL, 0x10_0000_0000_0123, "none"),
    ] {
        let machine = Machine::scalable(cap, ecap, &[0x101, 5]);
        for pasid in [Some(1), None] {
            assert_eq!(machine.told(pasid, iova, PLAIN), expected, "{cap:x} {pasid:?}");
            assert_eq!(machine.record(), None);
        }
        assert!(machine.told(Some(1), iova, NO_WRITE).ends_with(['r', 'e']));
    }
    let machine = Machine::scalable(CAP, ALL, &[0x101, 5]);
    assert_eq!(machine.told(Some(1), 0xfee0_0123, PLAIN), "fault 87");
}

// feature: 1.translation requests (ATS): untranslated access only (U)
#[test]
fn the_interrupt_range_is_for_untranslated_writes() {
    let scalable = Machine::scalable(CAP, ALL, &[0x41, 5, FIRST + 0x1000]);
    let legacy = Machine::legacy(CAP, ALL, [SECOND + 0x1000 | 5, 0x502]);
    for machine in [&scalable, &legacy] {
        for iova in [0xfee0_0000, 0xfee1_2345, 0xfeef_ffff] {
            let page = format!("{:x} 1000 w u", iova & !0xfff);
            assert_eq!(machine.told(None, iova, PLAIN), page);
            assert_eq!(machine.told(None, iova, NO_WRITE), "none");
        }
        assert_eq!(machine.record(), None);
    }
    // It takes a device that may ask.
    let blocked = Machine::legacy(CAP, ALL, [SECOND + 0x1000 | 1, 0x502]);
    assert_eq!(blocked.told(None, 0xfee0_0000, PLAIN), "fault d");
    // With a PASID it is an address like others.
    scalable.map(FIRST, 0xfee0_0000, 1, FRAME | 7, 7);
    assert_eq!(scalable.told(Some(1), 0xfee0_0000, PLAIN), "400000 1000 rw");
}

// feature: 1.translation requests (ATS): snooping (N)
#[test]
fn n_is_pgsnp_or_snp_of_the_leaf() {
    let pgsnp = 1 << 24;
    let plain = ALL & !SC;
    for (ecap, entry, leaf, expected) in [
        (ALL, [0x41, 5 | pgsnp, FIRST + 0x1000], 0, "405000 1000 rw n"),
        (ALL, [0x41, 5, FIRST + 0x1000], 0, "405000 1000 rw"),
        (ALL, [SECOND + 0x1000 | 0x89, 5, 0], 0x800, "405000 1000 rw n"),
        (ALL, [SECOND + 0x1000 | 0x89, 5 | pgsnp, 0], 0, "405000 1000 rw n"),
        (ALL, [SECOND + 0x1000 | 0x89, 5, 0], 0, "405000 1000 rw"),
        (plain, [SECOND + 0x1000 | 0x89, 5, 0], 0, "405000 1000 rw"),
        (ALL, [0x101, 5 | pgsnp, 0], 0, "0 40000000 rw n"),
        (ALL, [0x101, 5, 0], 0, "0 40000000 rw"),
    ] {
        let machine = Machine::scalable(CAP, ecap, &entry);
        machine.map(FIRST, 0x5000, 1, FRAME + 0x5000 | 7, 7);
        machine.map(SECOND, 0x5000, 1, FRAME + 0x5000 | 3 | leaf, 3);
        // From the tables, and from the IOTLB.
        for _ in 0..2 {
            assert_eq!(machine.told(Some(1), 0x5000, PLAIN), expected, "{entry:x?} {leaf:x}");
        }
    }
    let machine = Machine::legacy(CAP, ALL, [SECOND + 0x1000 | 5, 0x502]);
    machine.map(SECOND, 0x5000, 1, FRAME | 0x803, 3);
    assert_eq!(machine.told(None, 0x5000, PLAIN), "400000 1000 rw n");
}

#[test]
fn requests_end_with_their_device() {
    let machine = first();
    let handle = machine.dma(Some(1));
    machine.guest.unit.release(machine.device).unwrap();
    let told = handle.with_guard(|guard| {
        let asked = guard.translation_request(vtd::spec::Iova(0x5000), PLAIN);
        let translated = guard.translated(vtd::spec::Gpa(0x5000), vtd::Access::READ);
        (asked.unwrap_err(), translated.unwrap_err())
    });
    assert_eq!(told, (vtd::DmaError::Released, vtd::DmaError::Released));
}

// feature: 1.requests without PASID (RID_PASID, RID_PRIV)
#[test]
fn rid_privilege_is_shown_by_rprivs() {
    let machine = Machine::scalable(CAP, ALL & !RPRIVS, &[0x41, 5, FIRST + 0x1001]);
    machine.map(FIRST, 0x7000, 1, FRAME | 3, 7);
    assert_eq!(machine.told(None, 0x7000, PLAIN), "none");
    assert_eq!(machine.told(Some(1), 0x7000, PLAIN.with_privilege()), "400000 1000 rwp");
}

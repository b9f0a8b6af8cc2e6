//! Translated requests: what is checked of an address that the device has had translated.

use vtd::Access;

use crate::guest::CONTEXT_GLOBAL;
use crate::machine::{ALL, CAP, CONTEXT, FIRST, LEGACY_CONTEXT, Machine, SECOND};

const READ: Access = Access::READ;
const WRITE: Access = Access::WRITE;

// feature: 1.translated requests (DTE, ECAP.DT)
#[test]
fn what_a_translated_request_comes_to() {
    let scalable = || Machine::scalable(CAP, ALL, &[0x41, 5, FIRST + 0x1000]);
    let legacy = |tt: u64| Machine::legacy(CAP, ALL, [SECOND + 0x1000 | 1 | tt << 2, 0x503]);
    let without_dte = scalable();
    without_dte.guest.put(CONTEXT, &[0x1_0009]);
    // Machine, address, what comes of it, with its code if it is recorded.
    let (last, beyond) = (0xf_ffff_ffff_ffff, 0x10_0000_0000_0000);
    for (machine, address, expected, code) in [
        // No table is looked at.
        (&scalable(), 0x1234_5678, "ok", None),
        (&scalable(), last, "ok", None),
        (&scalable(), beyond, "fault 83", Some(0x83)),
        (&scalable(), 0xfedf_ffff, "ok", None),
        (&scalable(), 0xfee0_0000, "fault 87", Some(0x87)),
        (&scalable(), 0xfeef_ffff, "fault 87", Some(0x87)),
        (&scalable(), 0xfef0_0000, "ok", None),
        (&without_dte, 0x1234_5678, "fault 44", Some(0x44)),
        (&without_dte, 0xfee0_0000, "fault 44", Some(0x44)),
        (&legacy(1), 0x1234_5678, "ok", None),
        (&legacy(1), last, "ok", None),
        (&legacy(1), beyond, "fault 4", Some(4)),
        (&legacy(1), 0xfee0_0000, "fault e", Some(0xe)),
        (&legacy(0), 0x1234_5678, "fault d", Some(0xd)),
        (&legacy(2), 0x1234_5678, "fault d", Some(0xd)),
        (&Machine::off(CAP, ALL), 0x1234_5678, "blocked", None),
    ] {
        for access in [READ, WRITE] {
            // The context entry is cached the second time.
            for _ in 0..2 {
                assert_eq!(machine.translated(None, address, access), expected, "{address:x}");
                assert_eq!(machine.recorded_code(), code, "{address:x}");
            }
        }
        // They have no PASID.
        assert_eq!(machine.translated(Some(1), address, READ), "blocked");
        assert_eq!(machine.record(), None);
    }
}

// feature: 1.translated requests (DTE, ECAP.DT)
#[test]
fn each_request_is_checked_against_the_entry_of_its_time() {
    let mut machine = Machine::scalable(CAP, ALL, &[0x41, 5, FIRST + 0x1000]);
    machine.guest.enable_queue();
    machine.guest.command(0x8400_0000);
    assert_eq!(machine.translated(None, 0x5000, READ), "ok");
    machine.guest.put(CONTEXT, &[0x1_0009]);
    assert!(machine.guest.invalidate(&[CONTEXT_GLOBAL]));
    assert_eq!(machine.translated(None, 0x5000, READ), "fault 44");
    machine.guest.put(CONTEXT, &[0x1_000d]);
    assert!(machine.guest.invalidate(&[CONTEXT_GLOBAL]));
    assert_eq!(machine.translated(None, 0x5000, READ), "ok");
}

// feature: 1.translated requests (DTE, ECAP.DT)
#[test]
fn roots_and_context_entries_fault_as_for_other_requests() {
    let adms = ALL | 1 << 52;
    for (ecap, place, value, root, expected) in [
        (ALL, 0x1000, 0x2000, 0x1400, "fault 39"),
        (ALL, 0x1000, 0x2003, 0x1400, "fault 3a"),
        (ALL, 0x1000, 0x6666_6001, 0x1400, "fault 40"),
        (ALL, CONTEXT, 0, 0x1400, "fault 41"),
        (ALL, CONTEXT, 0x1_002d, 0x1400, "fault 42"),
        (ALL, 0x1000, 0, 0x6666_6400, "fault 38"),
        (ALL, 0x1000, 0, 0x1800, "fault 30"),
        (adms, 0x1000, 0, 0x1c00, "blocked"),
    ] {
        let machine = Machine::scalable(CAP, ecap, &[0x41, 5, FIRST + 0x1000]);
        machine.guest.put(place, &[value]);
        machine.guest.set_root(root);
        machine.guest.command(0x8000_0000);
        let code = machine.translated(None, 0x5000, READ);
        assert_eq!(code, expected);
        assert_eq!(machine.record().is_some(), expected != "blocked");
    }
    for (place, value, expected) in [
        (0x1000, 0, "fault 1"),
        (0x1000, 0x2003, "fault a"),
        (0x1000, 0x6666_6001, "fault 9"),
        (LEGACY_CONTEXT, 0, "fault 2"),
        (LEGACY_CONTEXT, SECOND | 0x15, "fault b"),
        (LEGACY_CONTEXT, SECOND | 0xd, "fault 3"),
    ] {
        let machine = Machine::legacy(CAP, ALL, [SECOND + 0x1000 | 5, 0x502]);
        machine.guest.put(place, &[value]);
        assert_eq!(machine.translated(None, 0x5000, WRITE), expected);
        assert!(machine.record().is_some());
    }
}

// feature: 2.fault processing disable (FPD) for translated requests
#[test]
fn fpd_of_the_context_entry_suppresses_the_record() {
    let beyond = 0x10_0000_0000_0000;
    for (dte, address, expected) in [
        (0, 0x5000, "fault 44"),
        (4, beyond, "fault 83"),
        (4, 0xfee0_0000, "fault 87"),
        (0x20, 0x5000, "fault 42"),
    ] {
        for fpd in [0, 2] {
            let machine = Machine::scalable(CAP, ALL, &[0x41, 5, FIRST + 0x1000]);
            machine.guest.put(CONTEXT, &[0x1_0009 | dte | fpd]);
            assert_eq!(machine.translated(None, address, READ), expected);
            assert_eq!(machine.record().is_some(), fpd == 0, "{expected}");
        }
    }
    for (tt, address, expected) in
        [(0, 0x5000, "fault d"), (1, beyond, "fault 4"), (1, 0xfee0_0000, "fault e")]
    {
        for fpd in [0, 2] {
            let context = [SECOND + 0x1000 | 1 | tt << 2 | fpd, 0x502];
            let machine = Machine::legacy(CAP, ALL, context);
            assert_eq!(machine.translated(None, address, READ), expected);
            assert_eq!(machine.record().is_some(), fpd == 0, "{expected}");
        }
    }
}

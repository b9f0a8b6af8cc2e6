//! What should be bound, for each mode and each kind of table.

use vtd::ResetKind;

use crate::guest::calls::held_by;
use crate::guest::{ECAP, Guest, context_of, first_stage, pass_through};
use crate::machine::Machine;

// feature: 7.bindings: change of root table or translation enable (SRTP, TE)
#[test]
fn translation_off_and_on_and_reset() {
    for off in ["te", "warm", "power"] {
        let Machine { mut guest, host, calls } = Machine::new();
        guest.put_entry(3, 0, &first_stage(0x10_0000, 4));
        guest.put_entry(3, 1, &first_stage(0x14_0000, 5));
        guest.put_entry(3, 9, &pass_through(5));
        guest.assign(3);
        assert_eq!(
            calls.take(),
            ["bind 00:03.0 - fs4 100000 4", "bind 00:03.0 1 fs4 140000 5", "bind 00:03.0 9 pt 0 5"]
        );
        match off {
            "te" => guest.command(0x0400_0000),
            "warm" => guest.unit.reset(ResetKind::Warm),
            _ => guest.unit.reset(ResetKind::PowerOn),
        }
        assert!(guest.is_idle());
        let expected = ["replace 00:03.0 - pt 0 0", "unbind 00:03.0 1", "unbind 00:03.0 9"];
        assert_eq!(calls.take(), expected, "{off}");
        assert_eq!(held_by(&host), ["3 - pt 0"]);
        if off == "te" {
            guest.command(0x8400_0000);
        } else {
            guest.enable();
        }
        assert_eq!(
            calls.take(),
            [
                "replace 00:03.0 - fs4 100000 4",
                "bind 00:03.0 1 fs4 140000 5",
                "bind 00:03.0 9 pt 0 5"
            ],
            "{off}"
        );
    }
}

// feature: 7.bindings: tables that name nothing bind nothing
#[test]
fn what_is_desired() {
    let adms = ECAP | 1 << 52;
    let both = "3 - fs4 100000, 3 1 fs4 140000";
    let set = |place: u64, value: u64| vec![(place, value)];
    let context = 0x2000 + 0x18 * 32;
    let directory = Guest::directory(3);
    let entry = |pasid| Guest::entry_place(3, pasid);
    // Name, ECAP, RTADDR if translation is on, what is written, what is held.
    type Row = (&'static str, u64, Option<u64>, Vec<(u64, u64)>, &'static str);
    let table: [Row; 28] = [
        ("translation off", ECAP, None, vec![], "3 - pt 0"),
        ("scalable", ECAP, Some(0x1400), vec![], both),
        ("abort", adms, Some(0x1c00), vec![], ""),
        ("abort not shown", ECAP, Some(0x1c00), vec![], ""),
        ("reserved mode", ECAP, Some(0x1800), vec![], ""),
        ("scalable not shown", 0xf46, Some(0x1400), vec![], ""),
        ("no memory for the root table", ECAP, Some(0x7000_0400), vec![], ""),
        ("root absent", ECAP, Some(0x1400), set(0x1000, 0x2000), ""),
        ("root reserved", ECAP, Some(0x1400), set(0x1000, 0x2003), ""),
        ("no memory for the context table", ECAP, Some(0x1400), set(0x1000, 0x7000_0001), ""),
        ("context absent", ECAP, Some(0x1400), set(context, directory | 8), ""),
        ("context reserved", ECAP, Some(0x1400), set(context, directory | 9 | 1 << 5), ""),
        ("context reserved high", ECAP, Some(0x1400), set(context + 16, 1), ""),
        ("PASIDE 0", ECAP, Some(0x1400), set(context, directory | 1), "3 - fs4 100000"),
        ("RID_PASID 1", ECAP, Some(0x1400), set(context + 8, 1), "3 - fs4 140000, 3 0 fs4 100000"),
        (
            "RID_PASID not there",
            ECAP,
            Some(0x1400),
            set(context + 8, 2),
            "3 0 fs4 100000, 3 1 fs4 140000",
        ),
        ("directory absent", ECAP, Some(0x1400), set(directory, directory | 0x1000), ""),
        ("directory reserved", ECAP, Some(0x1400), set(directory, directory | 0x1005), ""),
        ("no memory for the directory", ECAP, Some(0x1400), set(context, 0x7000_0009), ""),
        ("no memory for the table", ECAP, Some(0x1400), set(directory, 0x7000_0001), ""),
        ("entry absent", ECAP, Some(0x1400), set(entry(1), 0x40), "3 - fs4 100000"),
        ("entry reserved", ECAP, Some(0x1400), set(entry(1), 0x61), "3 - fs4 100000"),
        ("entry reserved above", ECAP, Some(0x1400), set(entry(1) + 56, 1), "3 - fs4 100000"),
        (
            "table beyond the width",
            ECAP,
            Some(0x1400),
            set(entry(1) + 16, 1 << 48),
            "3 - fs4 100000",
        ),
        ("second-stage", ECAP, Some(0x1400), set(entry(0), 0x14_0089), "3 1 fs4 140000"),
        ("FPD alone changes nothing", ECAP, Some(0x1400), set(entry(1), 0x43), both),
        // In legacy mode: TT 2, and TT 0.
        (
            "legacy pass-through",
            ECAP,
            Some(0x1000),
            vec![(0x1008, 0), (0x2000 + 0x18 * 16, 9), (0x2008 + 0x18 * 16, 0x502)],
            "3 - pt 0",
        ),
        (
            "legacy second-stage",
            ECAP,
            Some(0x1000),
            vec![(0x1008, 0), (0x2000 + 0x18 * 16, 0x10_0001), (0x2008 + 0x18 * 16, 0x502)],
            "",
        ),
    ];
    for (name, ecap, root, writes, expected) in table {
        let Machine { guest, host, .. } = Machine::with_ecap(ecap);
        guest.put_entry(3, 0, &first_stage(0x10_0000, 4));
        guest.put_entry(3, 1, &first_stage(0x14_0000, 5));
        for (place, value) in &writes {
            guest.put(*place, &[*value]);
        }
        guest.assign(3);
        assert_eq!(held_by(&host), ["3 - pt 0"], "{name}: translation is off");
        if let Some(root) = root {
            guest.set_root(root);
            guest.command(0x8000_0000);
        }
        assert!(guest.is_idle());
        assert_eq!(held_by(&host).join(", "), expected, "{name}");
        // Attached at the end it is the same.
        let device = guest.unit.devices()[0].id;
        guest.unit.release(device).unwrap();
        assert!(guest.is_idle());
        assert_eq!(held_by(&host), [""; 0], "{name}");
        guest.assign(3);
        assert_eq!(held_by(&host).join(", "), expected, "{name}: attached late");
    }
}

// feature: 7.bindings: tables that name nothing bind nothing
#[test]
fn a_smaller_directory_unbinds_what_lies_behind_it() {
    let Machine { mut guest, host, calls } = Machine::new();
    // 256 directory entries; PASID 2040 is in entry 1FC and has the table of PASIDs 0 to 63 too.
    let directory = Guest::directory(3);
    guest.put(0x2000 + 0x18 * 32, &[directory | 9 | 1 << 9]);
    guest.put(directory + 0x81 * 8, &[directory + 0x1001]);
    guest.put_entry(3, 1, &first_stage(0x14_0000, 5));
    guest.assign(3);
    assert_eq!(held_by(&host), ["3 1 fs4 140000", "3 2041 fs4 140000"]);
    calls.take();
    guest.put(0x2000 + 0x18 * 32, &[directory | 9]);
    assert!(guest.invalidate(&[context_of(3)]));
    assert_eq!(calls.take(), ["unbind 00:03.0 2041"]);
}

// feature: 7.bindings: RID_PASID of any value, changed while bound
#[test]
fn a_new_rid_pasid_moves_in_order() {
    let Machine { mut guest, calls, .. } = Machine::new();
    guest.put_entry(3, 0, &first_stage(0x10_0000, 4));
    guest.put_entry(3, 7, &first_stage(0x14_0000, 5));
    guest.assign(3);
    assert_eq!(calls.take(), ["bind 00:03.0 - fs4 100000 4", "bind 00:03.0 7 fs4 140000 5"]);
    guest.put(0x2008 + 0x18 * 32, &[7]);
    assert!(guest.invalidate(&[context_of(3)]));
    assert_eq!(
        calls.take(),
        ["unbind 00:03.0 7", "replace 00:03.0 - fs4 140000 5", "bind 00:03.0 0 fs4 100000 4"]
    );
}

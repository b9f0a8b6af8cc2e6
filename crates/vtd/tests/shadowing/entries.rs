//! Entries that name a second-stage table, and what takes their place.

use vtd::ResetKind;
use vtd::host::HostDevice;
use vtd::spec::{Capabilities, Slot};

use crate::guest::{
    CAP, CONTEXT_GLOBAL, ECAP, IOTLB_GLOBAL, PASID_GLOBAL, first_stage, pasid_domain,
    pasid_selective, pass_through, second_stage,
};
use crate::machine::{A, B, Machine, iotlb_domain};

// feature: 7.shadows: legacy tables (TT 0 and 1)
#[test]
fn legacy_tables() {
    for tt in [0, 1] {
        let mut machine = Machine::legacy(tt);
        machine.guest.assign(3);
        assert_eq!(machine.short(), ["bind - ss4 200000 7", "map - 5+1"], "TT {tt}");
        machine.guest.map_second_stage(A, 0x6000, 0x7_6000, 3);
        assert_eq!(machine.invalidate(&[CONTEXT_GLOBAL]), [""; 0], "no translation is named");
        assert_eq!(machine.invalidate(&[iotlb_domain(7)]), ["map - 6+1"]);
        assert_eq!(machine.reach(Slot::Rid, 0x6123), Some(0x7_6123));
        // Another domain and table, and pass-through.
        machine.guest.put(0x2000 + 3 * 8 * 16, &[B | tt << 2 | 1, 8 << 8 | 2]);
        let calls = machine.invalidate(&[CONTEXT_GLOBAL]);
        assert_eq!(calls, ["replace - ss4 210000 8", "map - 10+1"]);
        machine.guest.put(0x2000 + 3 * 8 * 16, &[8 | 1, 8 << 8 | 2]);
        assert_eq!(machine.invalidate(&[CONTEXT_GLOBAL]), ["replace - pt 0 8"]);
        assert_eq!(machine.mapped(), [""; 0]);
        // Three levels of the same table.
        machine.guest.put(0x2000 + 3 * 8 * 16, &[A + 0x1000 | tt << 2 | 1, 8 << 8 | 1]);
        let calls = machine.invalidate(&[CONTEXT_GLOBAL]);
        assert_eq!(calls, ["replace - ss3 201000 8", "map - 5+2"]);
    }
}

// feature: 7.shadows: second-stage tables (PGTT 2)
#[test]
fn second_stage_entries_with_and_without_pasid() {
    for rid_pasid in [0, 5, 63] {
        let mut machine = Machine::new();
        machine.guest.put_context(3, rid_pasid);
        machine.guest.put_entry(3, rid_pasid, &second_stage(A, 5));
        machine.guest.put_entry(3, 7, &second_stage(B, 6));
        machine.guest.put_entry(3, 9, &second_stage(A, 6));
        // SSADE: a shadow sets no bits, and it is the same binding.
        machine.guest.put_entry(3, 11, &[second_stage(A, 6)[0] | 0x200, 6, 0]);
        machine.guest.assign(3);
        assert_eq!(machine.held(), ["3 - ss4 200000", "3 7 ss4 210000", "3 9 ss4 200000"]);
        let mapped = ["- 5+1 75000", "7 10+1 90000", "9 5+1 75000"];
        assert_eq!(machine.mapped(), mapped, "RID_PASID {rid_pasid}");
        machine.guest.map_second_stage(A, 0x6000, 0x7_6000, 3);
        assert_eq!(machine.invalidate(&[iotlb_domain(5)]), ["map - 6+1"]);
        assert_eq!(machine.invalidate(&[iotlb_domain(6)]), ["map 9 6+1"]);
    }
}

/// SSADE where it is shown: it makes no other binding.
#[test]
fn ssade_makes_no_other_binding() {
    let mut machine = Machine::made(true, |config| {
        config.capabilities = Capabilities::new(CAP, ECAP | 1 << 45).unwrap();
    });
    machine.guest.put_context(3, 0);
    machine.guest.enable();
    machine.guest.map_second_stage(A, 0x5000, 0x7_5000, 3);
    machine.guest.put_entry(3, 0, &second_stage(A, 5));
    machine.guest.assign(3);
    assert_eq!(machine.mapped(), ["- 5+1 75000"]);
    machine.guest.put_entry(3, 0, &[second_stage(A, 5)[0] | 0x200, 5, 0]);
    assert_eq!(machine.invalidate(&[PASID_GLOBAL, IOTLB_GLOBAL]), [""; 0]);
    assert_eq!(machine.guest.get(A + 0x3028), 0x7_5003, "no bit is set");
}

// feature: 7.shadows: an entry of every kind in the place of every other
#[test]
fn every_kind_of_entry_takes_the_place_of_every_other() {
    let kinds: [(&str, [u64; 3], &[&str]); 5] = [
        ("nothing", [0; 3], &[]),
        ("pt 0", pass_through(5), &[]),
        ("fs4 300000", first_stage(0x30_0000, 5), &[]),
        ("ss4 200000", second_stage(A, 5), &["5+1 75000"]),
        ("ss4 210000", second_stage(B, 5), &["10+1 90000"]),
    ];
    for number in [0, 7] {
        let slot = if number == 0 { "-".into() } else { format!("{number}") };
        for (from, first, _) in kinds {
            for (to, second, pages) in kinds {
                for domain in [5, 6] {
                    for named in [5, 6] {
                        let mut machine = Machine::new();
                        machine.guest.put_entry(3, number, &first);
                        machine.guest.assign(3);
                        let mut entry = second;
                        entry[1] = if to == "nothing" { 0 } else { domain };
                        machine.guest.put_entry(3, number, &entry);
                        let by = match named {
                            5 => pasid_selective(5, number),
                            _ => pasid_domain(domain),
                        };
                        // By the domain of what was or of what is; neither names nothing in place of nothing.
                        let is_named = from != "nothing" || to != "nothing";
                        let by_old = named == 5 && (from != "nothing" || domain == 5);
                        let by_new = named == 6 && (to != "nothing" || domain == 5);
                        machine.invalidate(&[by]);
                        if !is_named || !(by_old || by_new) {
                            continue;
                        }
                        let context = format!("{from} to {to}, {domain}, by {named}");
                        let held: Vec<_> = match to {
                            "nothing" => vec![],
                            _ => vec![format!("3 {slot} {to}")],
                        };
                        assert_eq!(machine.held(), held, "{context}");
                        let mapped: Vec<_> =
                            pages.iter().map(|pages| format!("{slot} {pages}")).collect();
                        assert_eq!(machine.mapped(), mapped, "{context}");
                        // The domain is that of the entry now.
                        let held = machine.guest.unit.slots(machine.guest.unit.devices()[0].id);
                        let found = held.first().and_then(|(_, state)| state.held);
                        if to != "nothing" {
                            assert_eq!(found.map(|held| u64::from(held.domain.0)), Some(domain));
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn a_domain_that_changes_alone_keeps_what_is_mapped() {
    let mut machine = Machine::new();
    machine.guest.put_entry(3, 0, &second_stage(A, 5));
    machine.guest.assign(3);
    machine.guest.put_entry(3, 0, &second_stage(A, 6));
    assert_eq!(machine.invalidate(&[pasid_selective(5, 0)]), [""; 0]);
    machine.guest.map_second_stage(A, 0x6000, 0x7_6000, 3);
    assert_eq!(machine.invalidate(&[iotlb_domain(5)]), [""; 0]);
    assert_eq!(machine.invalidate(&[iotlb_domain(6)]), ["map - 6+1"]);
}

// feature: 7.shadows: change of root table or translation enable (SRTP, TE)
#[test]
fn translation_off_and_on_and_another_root_table() {
    let mut machine = Machine::new();
    machine.guest.put_entry(3, 0, &second_stage(A, 5));
    machine.guest.put_entry(3, 7, &second_stage(B, 5));
    machine.guest.assign(3);
    let mapped = ["- 5+1 75000", "7 10+1 90000"];
    assert_eq!(machine.mapped(), mapped);
    machine.calls.take();
    machine.guest.command(0x0400_0000);
    assert_eq!(machine.short(), ["replace - pt 0 0", "unbind 7"]);
    // Nothing is shadowed, so nothing follows.
    machine.guest.map_second_stage(A, 0x6000, 0x7_6000, 3);
    assert_eq!(machine.invalidate(&[IOTLB_GLOBAL]), [""; 0]);
    machine.guest.command(0x8400_0000);
    let calls = ["replace - ss4 200000 5", "bind 7 ss4 210000 5", "map - 5+2", "map 7 10+1"];
    assert_eq!(machine.short(), calls);
    // SRTP invalidates every translation (CAP.ESRTPS), those of bindings that stay among them.
    machine.guest.map_second_stage(A, 0x7000, 0x7_7000, 3);
    machine.guest.put(A + 0x3000 + 5 * 8, &[0]);
    machine.guest.set_root(0x1400);
    assert_eq!(machine.short(), ["unmap - 5+1", "map - 7+1"]);
    // Abort mode, and back.
    machine.guest.set_root(0x1c00);
    assert_eq!(machine.short(), ["unbind -", "unbind 7"]);
    machine.guest.set_root(0x1400);
    assert_eq!(machine.mapped(), ["- 6+2 76000", "7 10+1 90000"]);
    // Legacy mode, with the first words of the scalable context entry: TT 2 is pass-through, here nothing.
    machine.guest.put(0x4000, &[0x5001]);
    machine.guest.put(0x5000 + 3 * 8 * 16, &[B | 1, 8 << 8 | 2]);
    machine.calls.take();
    machine.guest.set_root(0x4000);
    assert_eq!(machine.short(), ["replace - ss4 210000 8", "unbind 7", "map - 10+1"]);
}

// feature: 7.devices: hot plug and unplug mid-traffic
#[test]
fn release_and_hot_unplug_in_the_midst_of_a_fill() {
    let begin = |fresh: &Machine, steps: u32| {
        for index in 0..8 {
            fresh.guest.map_second_stage(A, 0x1_0000 + index * 0x2000, 0x8_0000, 3);
        }
        fresh.guest.put_entry(3, 0, &second_stage(A, 5));
        fresh
            .guest
            .unit
            .attach(crate::guest::source_id(3), vtd::Attachment::Assigned(HostDevice(3)))
            .unwrap();
        for _ in 0..steps {
            let _step = fresh.guest.unit.step(1);
        }
    };
    for steps in 0..60 {
        let machine = Machine::new();
        begin(&machine, steps);
        let device = machine.guest.unit.devices()[0].id;
        machine.guest.unit.release(device).unwrap();
        assert!(machine.guest.is_idle());
        assert_eq!((machine.held(), machine.mapped()), (vec![], vec![]), "after {steps} steps");
        let counts = machine.guest.unit.counts().ledger;
        assert_eq!((counts.mapped, counts.held, counts.failed), (0, 0, 0));
        assert!(machine.guest.unit.devices().is_empty());
        // Gone from the host as well: its calls fail, and no more pages are mapped.
        let machine = Machine::new();
        begin(&machine, steps);
        let device = machine.guest.unit.devices()[0].id;
        machine.calls.take();
        machine.host.inner().remove_device(HostDevice(3));
        machine.guest.unit.release(device).unwrap();
        let _step = machine.guest.unit.run();
        assert!(machine.short().iter().all(|call| !call.contains("map")), "after {steps} steps");
    }
}

// feature: 7.shadows: reset
#[test]
fn a_reset_leaves_pass_through_and_nothing_mapped() {
    for kind in [ResetKind::PowerOn, ResetKind::Warm] {
        let machine = Machine::new();
        machine.guest.put_entry(3, 0, &second_stage(A, 5));
        machine.guest.put_entry(3, 7, &second_stage(B, 5));
        machine.guest.assign(3);
        machine.guest.unit.reset(kind);
        assert!(machine.guest.is_idle());
        assert_eq!((machine.held(), machine.mapped()), (vec!["3 - pt 0".to_owned()], vec![]));
        assert_eq!(machine.guest.unit.counts().ledger.mapped, 0);
    }
}

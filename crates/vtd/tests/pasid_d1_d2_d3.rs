//! Three devices: D1 with PASID 1, D2 with PASID 2, D3 with PASID 1. What the unit holds and asks of the host, step by step.
#![cfg(test)]

mod guest;

use std::fmt::Write;
use std::sync::Arc;

use guest::calls::{Calls, held_by, host};
use guest::{Guest, STATUS, first_stage, pasid_selective};
use vtd::ResetKind;

// feature: 7.bindings: equal to the guest's tables after every invalidation
#[test]
fn bindings_follow_each_invalidation() {
    let (machine, calls) = (host(), Arc::new(Calls::default()));
    let mut guest = Guest::made(guest::caps(), |config| {
        config.host = Some(Arc::clone(&machine) as _);
        config.observer = Some(Arc::clone(&calls) as _);
    });
    let mut log = String::new();
    let mut note = |guest: &Guest, step: &str| {
        assert!(guest.is_idle());
        writeln!(log, "{step}").unwrap();
        for call in calls.take() {
            writeln!(log, "    host: {call}").unwrap();
        }
        for device in guest.unit.devices() {
            write!(log, "    {}:", device.source_id).unwrap();
            for (slot, state) in guest.unit.slots(device.id) {
                assert!(state.failure.is_none());
                let held = state.held.unwrap();
                write!(log, " [{slot} {} domain {}]", held.binding, held.domain).unwrap();
            }
            writeln!(log).unwrap();
        }
        writeln!(log, "    wait {}", guest.get(STATUS)).unwrap();
        // What the ledger says is what the host holds.
        let slots = guest
            .unit
            .devices()
            .iter()
            .map(|device| guest.unit.slots(device.id).len())
            .sum::<usize>();
        assert_eq!(slots, held_by(&machine).len());
    };
    for device in [3, 4, 5] {
        guest.put_context(device, 0);
    }
    guest.enable();
    for device in [3, 4, 5] {
        guest.assign(device);
    }
    note(&guest, "D1, D2 and D3 are attached, their tables are empty");

    guest.put_entry(3, 1, &first_stage(0x10_0000, 5));
    assert!(guest.invalidate(&[pasid_selective(5, 1)]));
    note(&guest, "D1 enters PASID 1 and invalidates it");

    guest.put_entry(4, 2, &first_stage(0x20_0000, 6));
    assert!(guest.invalidate(&[pasid_selective(6, 2)]));
    note(&guest, "D2 enters PASID 2 and invalidates it");

    guest.put_entry(5, 1, &first_stage(0x30_0000, 5));
    assert!(guest.invalidate(&[pasid_selective(5, 1)]));
    note(&guest, "D3 enters PASID 1 and invalidates it: D1 is not touched, D2 gets nothing");

    guest.put_entry(3, 1, &first_stage(0x14_0000, 7));
    assert!(guest.invalidate(&[pasid_selective(5, 1)]));
    note(
        &guest,
        "D1 replaces its entry, another domain with it, and invalidates by the old domain",
    );

    guest.put_entry(5, 1, &[0]);
    assert!(guest.invalidate(&[pasid_selective(5, 1)]));
    note(&guest, "D3 clears PASID 1 and invalidates it");

    guest.put_entry(4, 1, &first_stage(0x24_0000, 7));
    assert!(guest.invalidate(&[pasid_selective(9, 1)]));
    note(&guest, "D2 enters PASID 1, and the invalidation names a domain that is nobody's");

    assert!(guest.invalidate(&[guest::pasid_domain(7)]));
    note(&guest, "domain 7 is invalidated: D2 is bound, D1 is not touched");

    guest.unit.release(guest.unit.devices()[1].id).unwrap();
    note(&guest, "D2 is released");

    guest.unit.reset(ResetKind::PowerOn);
    note(&guest, "reset");

    insta::assert_snapshot!(log);
}

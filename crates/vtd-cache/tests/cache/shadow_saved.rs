//! Shadows carried to the same host, and to one that holds nothing yet.

use vtd_cache::{
    DeviceKey, NextMapping, Quotas, SavedShadow, Scope, ShadowRange, ShadowScope, ShadowWalk,
    Wanted,
};
use vtd_spec::{Gpa, Iova};

use crate::host::{RID, pasid};
use crate::shadow::{LOWEST, Machine, ROOT, machine, run};
use crate::shadow_host::{ShadowHost, raw, shadow_ledger};

/// What the ledger would save of slot Rid, carried to another one.
fn carry(machine: &mut Machine, fresh: bool) {
    let mut after = shadow_ledger(1, Quotas::default(), machine.host.cuts);
    for slot in machine.ledger.save(DeviceKey(0)) {
        let shadow = machine.ledger.save_shadow(DeviceKey(0), slot.slot);
        if fresh {
            after.mourn(DeviceKey(0), &slot);
            shadow
                .into_iter()
                .for_each(|shadow| after.mourn_shadow(DeviceKey(0), slot.slot, shadow));
        } else {
            after.adopt(DeviceKey(0), &slot);
            shadow
                .into_iter()
                .for_each(|shadow| after.adopt_shadow(DeviceKey(0), slot.slot, shadow));
        }
    }
    if fresh {
        machine.host = ShadowHost::new(machine.host.cuts);
    }
    machine.ledger = after;
}

/// Binds what was held and maps what was mapped, with budgets of 1; `calls` at most.
fn restore(machine: &mut Machine, calls: usize) -> bool {
    let Machine { guest, ledger, host } = machine;
    host.bind(ledger, &Scope::everything(), &Wanted::Restored, 1);
    let mut walk = ShadowWalk::new(ShadowScope::Unfilled);
    for _ in 0..calls {
        let mut budget = 1_000;
        match ledger.next_mapping(&mut walk, guest, &guest.caps, &mut budget) {
            NextMapping::Call(change) => host.map_one(ledger, &change),
            NextMapping::More => {}
            NextMapping::Done => return true,
        }
    }
    false
}

#[test]
fn an_adopted_shadow_needs_no_call_and_goes_on() {
    for cuts in [true, false] {
        let mut machine = machine(cuts, Quotas::default(), &run(0x10, 4));
        machine.host.take_calls();
        carry(&mut machine, false);
        machine.reconcile();
        machine.host.check(&machine.ledger);
        assert_eq!(machine.host.take_calls(), [""; 0]);
        assert_eq!(machine.after(&[(LOWEST + 0x10 * 8, 0)], None), ["unmap 10+1"]);
    }
}

#[test]
fn a_shadow_that_was_not_complete_is_completed_by_the_next_reconciliation() {
    for fresh in [false, true] {
        let mut machine = machine(true, Quotas::default(), &[]);
        machine.host.fails = Some(Box::new(|call| call == "map 20+1"));
        let entries: Vec<_> = run(0x10, 1).into_iter().chain(run(0x20, 1)).collect();
        machine.after(&entries, None);
        carry(&mut machine, fresh);
        machine.host.fails = None;
        if fresh {
            assert!(restore(&mut machine, 100));
            assert_eq!(machine.host.take_calls(), ["bind", "map 10+1"], "exactly what was mapped");
        }
        machine.reconcile();
        assert_eq!(machine.host.take_calls(), ["map 20+1"]);
    }
}

#[test]
fn a_restore_that_the_host_refuses_maps_no_more() {
    let entries: Vec<_> = [0x10, 0x20, 0x30].into_iter().flat_map(|index| run(index, 2)).collect();
    let mut machine = machine(true, Quotas::default(), &entries);
    carry(&mut machine, true);
    machine.host.fails = Some(Box::new(|call| call == "map 20+2"));
    assert!(restore(&mut machine, 100));
    assert_eq!(machine.host.take_calls(), ["bind", "map 10+2", "!map 20+2"]);
    machine.host.fails = None;
    machine.reconcile();
    assert_eq!(machine.host.take_calls(), ["map 20+2", "map 30+2"]);
}

/// A restore onto a fresh host that is itself saved at every call, onto the same host and onto a fresh one.
#[test]
fn a_restore_that_is_saved_again_loses_nothing() {
    let entries: Vec<_> = [0x10, 0x20, 0x30].into_iter().flat_map(|index| run(index, 2)).collect();
    for (calls, fresh) in (0..6).flat_map(|calls| [(calls, false), (calls, true)]) {
        let mut machine = machine(true, Quotas::default(), &entries);
        let mapped = machine.host.ranges(0, RID);
        // The guest has changed its table since, and has not said so.
        machine.guest.write(&[(ROOT, 0)]);
        carry(&mut machine, true);
        if calls > 0 {
            restore(&mut machine, calls - 1);
        }
        carry(&mut machine, fresh);
        assert_eq!(machine.host.count(0), machine.ledger.counts().mapped, "{calls} {fresh}");
        assert!(restore(&mut machine, 100));
        assert_eq!(machine.host.ranges(0, RID), mapped, "{calls} {fresh}");
        machine.host.check(&machine.ledger);
        machine.reconcile();
        assert_eq!(machine.host.ranges(0, RID), mapped, "complete as it was");
        assert_eq!(machine.after(&[], None), ["unmap 10+2", "unmap 20+2", "unmap 30+2"]);
    }
}

/// An ordinary reconciliation comes before the restore: the tables count, and not what was mapped.
#[test]
fn a_slot_bound_by_its_table_is_filled_from_its_table() {
    let mut machine = machine(true, Quotas::default(), &run(0x10, 4));
    carry(&mut machine, true);
    machine.guest.write(&[(LOWEST + 0x11 * 8, 0)]);
    machine.reconcile();
    assert_eq!(machine.host.take_calls(), ["bind", "map 10+1", "map 12+2"]);
}

/// An invalidation while a fresh host is still given back what was mapped: the tables count.
#[test]
fn an_invalidation_overtakes_a_restore() {
    let entries: Vec<_> = [0x10, 0x20, 0x30].into_iter().flat_map(|index| run(index, 2)).collect();
    for calls in 0..5 {
        let mut machine = machine(true, Quotas::default(), &entries);
        carry(&mut machine, true);
        assert!(machine.ledger.has_shadows());
        if calls > 0 {
            restore(&mut machine, calls - 1);
        }
        // Page 20 is gone.
        machine.after(&[(LOWEST + 0x20 * 8, 0)], Some((0x20, 0x20)));
        assert!(restore(&mut machine, 100));
        let pages: u64 = machine.host.ranges(0, RID).iter().map(|range| range.1).sum();
        assert_eq!(pages, 5, "after {calls} calls");
        machine.host.check(&machine.ledger);
    }
}

#[test]
fn a_saved_shadow_is_what_is_mapped() {
    let mut machine = machine(true, Quotas::default(), &run(0x10, 4));
    let saved = machine.ledger.save_shadow(DeviceKey(0), RID).unwrap();
    let range =
        ShadowRange { first: 0x10, pages: 4, address: Gpa(0x6_0000), read: true, write: true };
    assert_eq!(saved, SavedShadow { mapped: vec![range], lost: vec![], complete: true });
    assert_eq!(raw(&range), (0x10, 4, 0x6_0000, 3));
    assert_eq!((range.iova(), range.end()), (Iova(0x1_0000), 0x14));
    assert_eq!(machine.ledger.save_shadow(DeviceKey(0), pasid(1)), None);
    carry(&mut machine, true);
    let lost = machine.ledger.save_shadow(DeviceKey(0), RID).unwrap();
    assert_eq!(lost, SavedShadow { mapped: vec![], lost: vec![range], complete: true });
}

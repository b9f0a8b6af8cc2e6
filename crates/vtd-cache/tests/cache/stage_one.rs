//! Which bindings a stage-1 invalidation concerns.

use vtd_cache::{DeviceKey, NextStageOne, Scope, StageOneScope, StageOneWalk};
use vtd_spec::{DomainId, Pasid};

use crate::guest::Guest;
use crate::host::{Host, ledger};

#[test]
fn held_first_stage_bindings_by_held_domain() {
    let guest = Guest::new();
    guest.context(0, 0, 0);
    guest.context(1, 0, 3);
    guest.context(2, 0, 0);
    for (device, pasid, entry) in [
        (0, 0, (0x101, 1, 0)),
        (0, 3, (0x41, 1, 0x9000)),
        (0, 64, (0x41, 2, 0x9000)),
        (1, 3, (0x41, 1, 0x9000)), // Rid
        (1, 5, (0x101, 1, 0)),
        (2, 0, (0x41, 2, 0x9000)), // Rid
        (2, 3, (0x41, 2, 0x9000)),
        (2, 0x1fff, (0x41, 1, 0x9000)),
    ] {
        guest.entry(device, pasid, entry);
    }
    let (mut ledger, mut host) = (ledger(4), Host::default());
    host.run(&mut ledger, &Scope::everything(), &guest.wanted());
    // What the tables say now does not matter.
    guest.write(&[(0x1000, 0)]);
    let by = |domain, pasid| StageOneScope::Pasid(DomainId(domain), Pasid::new(pasid).unwrap());
    let rows: &[(StageOneScope, &[&str])] = &[
        (StageOneScope::All, &["0 3", "0 40", "1 -", "2 -", "2 3", "2 1fff"]),
        (StageOneScope::Domain(DomainId(1)), &["0 3", "1 -", "2 1fff"]),
        (StageOneScope::Domain(DomainId(2)), &["0 40", "2 -", "2 3"]),
        (StageOneScope::Domain(DomainId(3)), &[]),
        (by(1, 3), &["0 3", "1 -"]),
        (by(2, 3), &["2 3"]),
        (by(2, 0), &["2 -"]),
        (by(1, 0), &[]),
        (by(1, 5), &[]),
        (by(2, 64), &["0 40"]),
    ];
    for (scope, expected) in rows {
        for size in 1..40 {
            let mut walk = StageOneWalk::new(*scope);
            let mut found = Vec::new();
            let mut budget = size;
            let mut pauses = 0;
            loop {
                match ledger.next_stage_one(&mut walk, &mut budget) {
                    NextStageOne::Slot(DeviceKey(device), slot) => {
                        found.push(format!("{device} {slot}"));
                    }
                    NextStageOne::More => {
                        assert_eq!(budget, 0);
                        budget = size;
                        pauses += 1;
                        assert!(pauses < 100);
                    }
                    NextStageOne::Done => break,
                }
            }
            assert_eq!(found, *expected, "{scope:?} {size}");
        }
    }
}

#[test]
fn a_walk_outlives_the_devices_and_slots_that_it_was_at() {
    let guest = Guest::new();
    (0..3).for_each(|device| {
        guest.context(device, 0, 0);
        guest.entry(device, 3, (0x41, 1, 0x9000));
        guest.entry(device, 4, (0x41, 1, 0x9000));
    });
    let (mut ledger, mut host) = (ledger(3), Host::default());
    host.run(&mut ledger, &Scope::everything(), &guest.wanted());
    let mut walk = StageOneWalk::new(StageOneScope::All);
    let mut budget = 100;
    let NextStageOne::Slot(DeviceKey(0), _) = ledger.next_stage_one(&mut walk, &mut budget) else {
        panic!()
    };
    ledger.remove_device(DeviceKey(0));
    let NextStageOne::Slot(DeviceKey(1), _) = ledger.next_stage_one(&mut walk, &mut budget) else {
        panic!()
    };
    ledger.remove_device(DeviceKey(1));
    ledger.remove_device(DeviceKey(2));
    assert_eq!(ledger.next_stage_one(&mut walk, &mut budget), NextStageOne::Done);
}

#[test]
fn each_slot_takes_its_part_of_the_budget() {
    // Slots that no invalidation concerns: (slots, budget, what is left of it, done)
    for (slots, budget, left, done) in
        [(0, 9, 6, true), (1, 9, 5, true), (6, 9, 0, true), (6, 8, 0, false), (100, 9, 0, false)]
    {
        let guest = Guest::new();
        guest.context(0, 0, 0);
        (1..=slots).for_each(|pasid| guest.entry(0, pasid, (0x101, 1, 0)));
        let (mut ledger, mut host) = (ledger(1), Host::default());
        host.run(&mut ledger, &Scope::everything(), &guest.wanted());
        let mut rest = budget;
        let mut walk = StageOneWalk::new(StageOneScope::All);
        let next = ledger.next_stage_one(&mut walk, &mut rest);
        assert_eq!(rest, left, "{slots} slots, {budget}");
        assert_eq!(next, if done { NextStageOne::Done } else { NextStageOne::More }, "{slots}");
    }
}

//! Reconciliations in steps of every size.

use vtd_cache::{
    DeviceKey, Next, NextMapping, Quotas, Reconciliation, Scope, ShadowScope, ShadowWalk, Wanted,
};
use vtd_spec::DomainId;

use crate::guest::{Guest, Numbers};
use crate::host::{Host, ledger, pasids, short};
use crate::shadow_host::{self, ShadowHost, shadow_ledger};

/// Entries at random, with gaps in the directory, before the first reconciliation or after it.
fn scatter(guest: &Guest, numbers: &mut Numbers) {
    for _ in 0..24 {
        let device = numbers.of(&[0, 1, 2]);
        let pasid =
            numbers.of(&[0, 1, 2, 62, 63, 64, 65, 127, 128, 129, 500, 0x1000, 0x1ffe, 0x1fff]);
        let low = numbers.of(&[0, 0x41, 0x41, 0x101, 0x61, 0x8089]);
        guest.entry(device, pasid, (low, numbers.of(&[1, 2]), numbers.of(&[0x9000, 0xa000])));
    }
    for device in 0..3 {
        guest.context(device, 0, numbers.of(&[0, 1, 64]));
    }
}

#[test]
fn every_budget_from_one_gives_the_same_calls() {
    for seed in 1..if cfg!(miri) { 2 } else { 9 } {
        let sizes: Vec<_> =
            (1..if cfg!(miri) { 4 } else { 80 }).chain([128, 1000, 1_000_000]).collect();
        let mut all = Vec::new();
        for size in sizes {
            let guest = Guest::new();
            let mut numbers = Numbers(seed);
            let (mut ledger, mut host) = (ledger(4), Host::default());
            let mut calls = Vec::new();
            for scope in [Scope::everything(), pasids(1..0x1000, None), pasids(0..1 << 20, Some(1))]
            {
                scatter(&guest, &mut numbers);
                let ran =
                    host.run_in_steps(&mut ledger, &scope, &guest.wanted(), size, &|_, _, _| true);
                calls.extend(short(&ran));
            }
            all.push(calls);
        }
        assert!(all.windows(2).all(|pair| pair[0] == pair[1]), "{seed}");
        assert!(all[0].len() > 10);
    }
}

#[test]
#[cfg_attr(miri, ignore = "8,192 entries five times")]
fn a_budget_bounds_what_is_read() {
    // Nothing is present, in 128 directory entries that all lead to one table.
    let guest = Guest::new();
    guest.context(0, 0, 200);
    guest.entry(0, 0, (0, 0, 0));
    for index in 0..128 {
        guest.write(&[(0x10_0000 + index * 8, 0x12_0001)]);
    }
    for size in [1, 2, 10, 100, 1000] {
        let (mut ledger, mut host) = (ledger(1), Host::default());
        guest.reads();
        host.run_in_steps(&mut ledger, &Scope::everything(), &guest.wanted(), size, &|_, _, _| {
            true
        });
        let steps = host.pauses + 1;
        assert!((steps - 2) * u64::from(size) <= 0x2000 + 10, "{size}: {steps}");
        // Each step reads the root, context and directory entries again.
        let entries = 0x2000 + 128 + 10;
        assert!(guest.reads() <= entries + steps * 6, "{size}");
    }
}

#[test]
#[cfg_attr(miri, ignore = "8,192 entries several times")]
fn the_work_is_in_proportion_to_the_tables_however_many_slots_are_emptied() {
    // 2,048 PASIDs held; then all 8,192 entries are absent.
    let guest = Guest::new();
    guest.context(0, 0, 0x1fff);
    (0..0x2000).step_by(4).for_each(|pasid| guest.entry(0, pasid, (0x101, 1, 0)));
    let (mut ledger, mut host) = (ledger(1), Host::default());
    host.run(&mut ledger, &Scope::everything(), &guest.wanted());
    assert_eq!(host.held.len(), 2048);
    (0..0x2000).step_by(4).for_each(|pasid| guest.entry(0, pasid, (0, 0, 0)));
    guest.reads();
    assert_eq!(host.run(&mut ledger, &pasids(0..1 << 20, Some(1)), &guest.wanted()).len(), 2048);
    let reads = guest.reads();
    assert!(reads < 0x2000 + 128 + 2048 * 10, "{reads} reads");
}

#[test]
fn each_device_takes_its_part_of_the_budget() {
    // There are no tables: (devices, budget, what is left of it, done)
    for (devices, budget, left, done) in [
        (0, 5, 4, true),
        (1, 5, 3, true),
        (1, 1, 0, false),
        (4, 5, 0, true),
        (4, 4, 0, false),
        (100, 10_000, 9_899, true),
        (100, 100, 0, false),
    ] {
        let guest = Guest::new();
        let mut ledger = ledger(devices);
        let mut cursor = Reconciliation::new(Scope::everything());
        let mut rest = budget;
        let next = ledger.next_change(&mut cursor, &guest.wanted(), &|_, _, _| true, &mut rest);
        assert_eq!(rest, left, "{devices} devices, {budget}");
        assert_eq!(next, if done { Next::Done } else { Next::More }, "{devices} devices, {budget}");
    }
}

#[test]
fn each_slot_takes_its_part_of_the_budget_of_a_restore() {
    // Slots whose calls had failed, of which none is bound again: (slots, budget, what is left of it, done)
    for (slots, budget, left, done) in
        [(0, 9, 7, true), (1, 9, 6, true), (7, 9, 0, true), (7, 8, 0, false), (100, 9, 0, false)]
    {
        let guest = Guest::new();
        guest.context(0, 0, 0);
        (1..=slots).for_each(|pasid| guest.entry(0, pasid, (0x101, 1, 0)));
        let (mut before, mut host) = (ledger(1), Host::default());
        host.fail(&["bind"]);
        host.run(&mut before, &Scope::everything(), &guest.wanted());
        let mut after = ledger(1);
        before.save(DeviceKey(0)).iter().for_each(|slot| after.mourn(DeviceKey(0), slot));
        let mut cursor = Reconciliation::new(Scope::everything());
        let mut rest = budget;
        let wanted = Wanted::Restored;
        let next = after.next_change(&mut cursor, &wanted, &|_, _, _| true, &mut rest);
        assert_eq!(rest, left, "{slots} slots, {budget}");
        assert_eq!(next, if done { Next::Done } else { Next::More }, "{slots} slots, {budget}");
    }
}

#[test]
fn each_shadow_takes_its_part_of_the_budget_of_a_comparison() {
    // Shadows of another domain than the one asked for: (shadows, budget, what is left of it, done)
    for (shadows, budget, left, done) in
        [(0, 9, 8, true), (1, 9, 7, true), (8, 9, 0, true), (9, 9, 0, false), (20, 9, 0, false)]
    {
        let guest = shadow_host::guest();
        guest.context(0, 0, 0);
        (1..=shadows).for_each(|pasid| guest.entry(0, pasid, (0x10_3085, 1, 0)));
        let mut ledger = shadow_ledger(1, Quotas::default(), true);
        let mut host = ShadowHost::new(true);
        host.bind(&mut ledger, &Scope::everything(), &guest.wanted(), 1_000);
        let mut walk = ShadowWalk::new(ShadowScope::Domain(DomainId(2)));
        let mut rest = budget;
        let next = ledger.next_mapping(&mut walk, &guest, &guest.caps, &mut rest);
        assert_eq!(rest, left, "{shadows} shadows, {budget}");
        let expected = if done { NextMapping::Done } else { NextMapping::More };
        assert_eq!(next, expected, "{shadows} shadows, {budget}");
    }
}

#[test]
fn each_entry_read_takes_its_part_of_the_budget_of_a_comparison() {
    // Tables of three levels, one below the other, with 512 entries each: read once each, beside the slot and the end.
    let guest = shadow_host::guest();
    guest.write(&[(0x10_3000, 0x10_2003), (0x10_2000, 0x10_1003), (0x10_1000, 0)]);
    guest.context(0, 0, 0);
    guest.entry(0, 1, (0x10_3085, 1, 0));
    let mut ledger = shadow_ledger(1, Quotas::default(), true);
    let mut host = ShadowHost::new(true);
    host.bind(&mut ledger, &Scope::everything(), &guest.wanted(), 1_000);
    let mut walk = ShadowWalk::new(ShadowScope::All);
    let mut budget = 10_000;
    let next = ledger.next_mapping(&mut walk, &guest, &guest.caps, &mut budget);
    assert_eq!((next, budget), (NextMapping::Done, 10_000 - 3 * 512 - 3));
}

//! Shadows of second-stage tables: each call that a change of the tables leads to.

use vtd_cache::{
    DeviceKey, Ledger, NextMapping, Quotas, SavedShadow, Scope, ShadowRange, ShadowScope,
    ShadowWalk, Wanted,
};
use vtd_spec::{DomainId, Gpa, Iova};

use crate::guest::Guest;
use crate::host::{RID, pasid};
use crate::shadow_host::{ShadowHost, guest, raw, second_stage, shadow_ledger};

/// Of three levels: the root at 100_3000 with an entry for the first GiB, 100_2000 with one for the first 2 MiB, 100_1000.
const ROOT: u64 = 0x100_3000;
const MIDDLE: u64 = 0x100_2000;
const LOWEST: u64 = 0x100_1000;

struct Machine {
    guest: Guest,
    ledger: Ledger,
    host: ShadowHost,
}

/// Slot Rid of device 0 holds the table, with domain 7.
fn machine(cuts: bool, quotas: Quotas, entries: &[(u64, u64)]) -> Machine {
    let guest = guest();
    guest.write(&[(ROOT, MIDDLE | 3), (MIDDLE, LOWEST | 3), (LOWEST, 0)]);
    guest.write(entries);
    guest.context(0, 0, 0);
    guest.entry(0, 0, second_stage(ROOT, 3, 7));
    let mut machine =
        Machine { guest, ledger: shadow_ledger(1, quotas, cuts), host: ShadowHost::new(cuts) };
    machine.reconcile();
    machine
}

impl Machine {
    fn reconcile(&mut self) {
        let Self { guest, ledger, host } = self;
        host.reconcile(ledger, guest, &Scope::everything(), &guest.wanted(), 1_000_000);
    }

    /// Tables change, these pages are invalidated: the calls.
    fn after(&mut self, entries: &[(u64, u64)], pages: Option<(u64, u64)>) -> Vec<String> {
        self.guest.write(entries);
        self.host.take_calls();
        let scope = match pages {
            Some((first, last)) => ShadowScope::Pages(DomainId(7), first, last),
            None => ShadowScope::Domain(DomainId(7)),
        };
        self.host.sync(&mut self.ledger, &self.guest, scope, 1_000_000);
        self.host.take_calls()
    }
}

/// `count` leaves of the lowest table from this index on, all with R and W, that continue each other from 5_0000 on.
fn run(first: u64, count: u64) -> Vec<(u64, u64)> {
    (first..first + count).map(|index| (LOWEST + index * 8, 0x5_0003 + (index << 12))).collect()
}

// feature: 7.shadows: hosts that can cut a mapping, and hosts that cannot
#[test]
fn calls_of_hosts_that_cut_and_that_do_not() {
    type Row = (
        &'static [(u64, u64)],
        Option<(u64, u64)>,
        &'static [&'static str],
        &'static [&'static str],
    );
    // Pages 10 to 13, one after the other. (changes, pages invalidated, calls of a host that cuts, of one that does not)
    let rows: [Row; 12] = [
        (&[], None, &[], &[]),
        (&[(LOWEST + 0x11 * 8, 0)], None, &["unmap 11+1"], &["unmap 11+1"]),
        (&[(LOWEST + 0x11 * 8, 0)], Some((0x11, 0x11)), &["unmap 11+1"], &["unmap 11+1"]),
        (&[(LOWEST + 0x11 * 8, 0)], Some((0x10, 0x10)), &[], &[]),
        (&[(LOWEST + 0x11 * 8, 0)], Some((0x12, 0x1ff)), &[], &[]),
        (
            &[(LOWEST + 0x11 * 8, 0x6_1001)],
            None,
            &["unmap 11+1", "map 11+1"],
            &["unmap 11+1", "map 11+1"],
        ),
        (
            &[(LOWEST + 0x11 * 8, 0x7_1003)],
            None,
            &["unmap 11+1", "map 11+1"],
            &["unmap 11+1", "map 11+1"],
        ),
        (&[(LOWEST + 0x14 * 8, 0x6_4003)], None, &["map 14+1"], &["map 14+1"]),
        (&[(MIDDLE, 0)], None, &["unmap 10+4"], &["unmap 10+4"]),
        (&[(MIDDLE, 0)], Some((0x12, 0x12)), &["unmap 12+1"], &["unmap 12+1"]),
        (
            &[(MIDDLE, 0x83 | 0x20_0000)],
            None,
            &["map 0+10", "unmap 10+4", "map 10+1f0"],
            &["unmap 10+1", "unmap 11+1", "unmap 12+1", "unmap 13+1", "map 0+200"],
        ),
        (
            &[(MIDDLE, 0x83 | 0x20_0000)],
            Some((0x12, 0x12)),
            &["unmap 12+1", "map 12+1"],
            &["unmap 10+1", "unmap 11+1", "unmap 12+1", "unmap 13+1", "map 0+200"],
        ),
    ];
    for (changes, pages, cutting, whole) in rows {
        for (cuts, expected) in [(true, cutting), (false, whole)] {
            let mut machine = machine(cuts, Quotas::default(), &run(0x10, 4));
            let first: &[&str] = match cuts {
                true => &["bind", "map 10+4"],
                false => &["bind", "map 10+1", "map 11+1", "map 12+1", "map 13+1"],
            };
            assert_eq!(machine.host.take_calls(), first);
            assert_eq!(machine.after(changes, pages), expected, "{changes:x?} {pages:x?} {cuts}");
            assert_eq!(machine.after(&[], pages), [""; 0], "nothing is left");
        }
    }
}

#[test]
fn a_large_leaf_that_becomes_a_table() {
    let large = [(MIDDLE, 0x4000_0083)];
    let table: Vec<_> = (0..512)
        .map(|index| (LOWEST + index * 8, 0x4000_0003 + (index << 12)))
        .chain([(MIDDLE, LOWEST | 3), (LOWEST + 0x80 * 8, 0)])
        .collect();
    let machine_of = |cuts| {
        let mut machine = machine(cuts, Quotas::default(), &large);
        assert_eq!(machine.host.take_calls(), ["bind", "map 0+200"]);
        machine.after(&table, Some((0x80, 0x80)))
    };
    assert_eq!(machine_of(true), ["unmap 80+1"]);
    // What is mapped as a whole goes as a whole, and the rest of it comes back.
    let calls = machine_of(false);
    assert_eq!((calls[0].as_str(), calls.len()), ("unmap 0+200", 512));
}

#[test]
fn a_hole_and_what_fills_it_in_the_middle_of_a_range() {
    let mut machine = machine(true, Quotas::default(), &run(0, 512));
    assert_eq!(machine.host.take_calls(), ["bind", "map 0+200"]);
    assert_eq!(machine.after(&[(LOWEST + 0x100 * 8, 0)], None), ["unmap 100+1"]);
    assert_eq!(machine.ledger.counts().mapped, 2);
    assert_eq!(machine.after(&run(0x100, 1), None), ["map 100+1"]);
    assert_eq!(machine.ledger.counts().mapped, 3);
    // Where a window ends, a range is cut there.
    let rest: Vec<_> = (0..512).map(|index| (LOWEST + index * 8, 0)).collect();
    assert_eq!(machine.after(&rest, Some((0x80, 0xff))), ["unmap 80+80"]);
    assert_eq!(machine.after(&[], Some((0x180, 0x1ff))), ["unmap 180+80"]);
    assert_eq!(machine.after(&[], None), ["unmap 0+80", "unmap 100+80"]);
}

#[test]
fn the_interrupt_range_is_left_out_on_both_sides() {
    for cuts in [true, false] {
        // IOVA 0 to 3FFF_FFFF lead to C000_0000 on: FEE0_0000 is at 3EE0_0000. IOVA C000_0000 on lead to 1_0000_0000 on.
        let mut machine =
            machine(cuts, Quotas::default(), &[(ROOT, 0xc000_0083), (ROOT + 0x18, 0x1_0000_0083)]);
        let calls = ["bind", "map 0+3ee00", "map 3ef00+1100", "map c0000+3ee00", "map fef00+1100"];
        let as_whole = machine.host.take_calls();
        assert_eq!(as_whole, calls);
        assert_eq!(machine.after(&[], None), [""; 0]);
        assert_eq!(machine.after(&[], Some((0xf_ee00, 0xf_eeff))), [""; 0]);
        // A page of it by itself is never mapped either.
        let page = (LOWEST, 0xfee0_0003);
        assert_eq!(machine.after(&[(ROOT, MIDDLE | 3), (ROOT + 0x18, 0), page], None).len(), 4);
        assert_eq!(machine.host.count(0), 0);
    }
}

#[test]
fn other_domains_and_first_stage_slots_are_left_alone() {
    let mut machine = machine(true, Quotas::default(), &run(0x10, 4));
    machine.guest.entry(0, 1, second_stage(ROOT, 3, 8));
    machine.guest.entry(0, 2, (0x41, 7, 0x9000));
    machine.reconcile();
    machine.guest.write(&run(0x20, 1));
    machine.host.take_calls();
    let Machine { guest, ledger, host } = &mut machine;
    host.sync(ledger, guest, ShadowScope::Domain(DomainId(9)), 100);
    host.sync(ledger, guest, ShadowScope::Pages(DomainId(9), 0, 0x1ff), 100);
    assert_eq!(host.take_calls(), [""; 0]);
    host.sync(ledger, guest, ShadowScope::Domain(DomainId(8)), 100_000);
    assert_eq!((host.ranges(0, RID).len(), host.ranges(0, pasid(1)).len()), (1, 2));
    host.sync(ledger, guest, ShadowScope::All, 100_000);
    assert_eq!((host.ranges(0, RID).len(), host.ranges(0, pasid(1)).len()), (2, 2));
    // The domain of what is held follows the entry, and only by that is it found.
    guest.entry(0, 0, second_stage(ROOT, 3, 8));
    host.reconcile(ledger, guest, &Scope::everything(), &guest.wanted(), 100);
    guest.write(&run(0x30, 1));
    host.take_calls();
    host.sync(ledger, guest, ShadowScope::Domain(DomainId(7)), 100_000);
    assert_eq!(host.take_calls(), [""; 0]);
    host.sync(ledger, guest, ShadowScope::Domain(DomainId(8)), 100_000);
    assert_eq!(host.take_calls(), ["map 30+1", "map 30+1"]);
}

#[test]
fn what_the_host_refuses_to_map_is_tried_again() {
    let entries: Vec<_> =
        run(0x10, 1).into_iter().chain(run(0x20, 1)).chain(run(0x30, 1)).collect();
    for again in 0..4 {
        let mut machine = machine(true, Quotas::default(), &[]);
        machine.host.fails = Some(Box::new(|call| call == "map 20+1"));
        assert_eq!(machine.after(&entries, None), ["map 10+1", "!map 20+1"], "then no more are");
        assert_eq!(machine.ledger.counts().failed, 0);
        machine.host.fails = None;
        let calls = match again {
            0 => machine.after(&[], None),
            // Over its pages alone.
            1 => machine.after(&[], Some((0x20, 0x20))),
            2 => machine.after(&[], Some((0x30, 0x3f))),
            // And by a reconciliation of the slot, whatever it finds.
            _ => {
                machine.reconcile();
                machine.host.take_calls()
            }
        };
        let expected: &[&str] = match again {
            1 => &["map 20+1"],
            2 => &["map 30+1"],
            _ => &["map 20+1", "map 30+1"],
        };
        assert_eq!(calls, expected);
        machine.reconcile();
        assert_eq!(machine.host.count(0), 3);
        machine.host.take_calls();
        machine.guest.write(&run(0x40, 1));
        machine.reconcile();
        assert_eq!(machine.host.take_calls(), [""; 0], "what is complete is not compared");
    }
}

#[test]
fn what_is_gone_goes_even_behind_what_was_refused() {
    let mut machine = machine(true, Quotas::default(), &run(0x30, 1));
    machine.host.fails = Some(Box::new(|call| call.starts_with("map")));
    let changes =
        [(LOWEST + 0x30 * 8, 0), (LOWEST + 0x10 * 8, 0x5003), (LOWEST + 0x20 * 8, 0x7003)];
    let calls = machine.after(&changes, None);
    assert_eq!(calls, ["!map 10+1", "unmap 30+1"]);
}

#[test]
fn an_unmap_that_fails_ends_the_binding() {
    for unbind_fails in [false, true] {
        let mut machine = machine(true, Quotas::default(), &run(0x10, 4));
        machine.host.fails = Some(Box::new(move |call| {
            call.starts_with("unmap") || call == "unbind" && unbind_fails
        }));
        let calls = machine.after(&[(MIDDLE, 0)], None);
        let unbind = if unbind_fails { "!unbind" } else { "unbind" };
        assert_eq!(calls, ["!unmap 10+4", unbind], "and then it ends");
        let counts = machine.ledger.counts();
        assert_eq!((counts.failed, counts.contradicting), (1, usize::from(unbind_fails)));
        assert_eq!(counts.mapped, usize::from(unbind_fails));
        // No further comparison relies on what cannot be known, or reads memory for it: a reset may have taken that away.
        machine.guest.reads();
        assert_eq!(machine.after(&run(0x20, 1), None), [""; 0]);
        assert_eq!(machine.guest.reads(), 0);
        machine.guest.write(&[(MIDDLE, LOWEST | 3)]);
        machine.host.fails = None;
        machine.reconcile();
        let renewed = if unbind_fails { "replace" } else { "bind" };
        assert_eq!(machine.host.take_calls(), [renewed, "map 10+4", "map 20+1"]);
        assert_eq!(machine.ledger.counts().contradicting, 0);
    }
}

/// The guest takes the entry away, the host does not unbind, and the guest puts it back with another table content meanwhile.
#[test]
fn a_binding_that_became_right_again_is_compared_as_a_whole() {
    let mut machine = machine(true, Quotas::default(), &run(0x10, 4));
    machine.host.fails = Some(Box::new(|call| call == "unbind"));
    machine.guest.entry(0, 0, (0, 0, 0));
    machine.reconcile();
    assert_eq!(machine.ledger.counts().contradicting, 1);
    assert_eq!(machine.after(&[(LOWEST + 0x10 * 8, 0)], None), [""; 0]);
    machine.guest.entry(0, 0, second_stage(ROOT, 3, 7));
    machine.reconcile();
    assert_eq!(machine.host.take_calls(), ["unmap 10+1"]);
    assert_eq!(machine.ledger.counts().contradicting, 0);
}

#[test]
fn a_slot_that_holds_something_else_has_no_mappings() {
    let mut machine = machine(true, Quotas::default(), &run(0x10, 4));
    for entry in [(0x101, 7, 0), second_stage(ROOT, 3, 7), (0, 0, 0), second_stage(ROOT, 3, 7)] {
        machine.guest.entry(0, 0, entry);
        machine.reconcile();
        let count = usize::from(entry.0 & 0x1c0 == 0x80);
        assert_eq!(machine.ledger.counts().mapped, count, "{entry:x?}");
        machine.host.check(&machine.ledger);
    }
    machine.ledger.remove_device(DeviceKey(0));
    assert_eq!((machine.ledger.counts().mapped, machine.ledger.has_shadows()), (0, false));
}

#[test]
fn quotas_count_ranges_and_starved_devices_come_back() {
    for quotas in [
        Quotas { mappings_per_device: 2, ..Quotas::default() },
        Quotas { mappings_per_unit: 2, ..Quotas::default() },
    ] {
        let entries: Vec<_> =
            [0x10, 0x20, 0x30, 0x40].into_iter().flat_map(|index| run(index, 1)).collect();
        let mut machine = machine(true, quotas, &entries);
        assert_eq!(machine.host.take_calls(), ["bind", "map 10+1", "map 20+1"]);
        let counts = machine.ledger.counts();
        assert_eq!((counts.mapped, counts.over_quota, counts.failed), (2, 1, 0));
        assert!(machine.ledger.is_starved_of_mappings(DeviceKey(0)));
        assert_eq!(machine.ledger.take_refused(), Some(DeviceKey(0)));
        assert_eq!(machine.ledger.take_starved(), None, "no space has come free");
        assert_eq!(machine.after(&[(LOWEST + 0x10 * 8, 0)], Some((0x10, 0x10))), ["unmap 10+1"]);
        assert_eq!(machine.ledger.take_starved(), Some(DeviceKey(0)));
        assert_eq!(machine.ledger.take_starved(), None);
        assert!(!machine.ledger.is_starved_of_mappings(DeviceKey(0)));
        machine.reconcile();
        assert_eq!(machine.host.take_calls(), ["map 30+1"]);
        assert_eq!(machine.ledger.counts().over_quota, 2);
        assert_eq!(machine.ledger.take_starved(), None, "what came free is used up");
        // A range that grows into its neighbour needs no more space; what has no space keeps nothing that is stale.
        let calls = machine.after(&[(LOWEST + 0x20 * 8, 0x9003)], None);
        assert_eq!(calls, ["unmap 20+1", "map 20+1"]);
        // What a slot had mapped is free once it holds something else.
        for (entry, calls) in [
            ((0x101, 7, 0), ["replace"].as_slice()),
            (second_stage(ROOT, 3, 7), &["replace", "map 20+1", "map 30+1"]),
        ] {
            machine.guest.entry(0, 0, entry);
            machine.reconcile();
            assert_eq!(machine.host.take_calls(), calls);
        }
    }
}

#[test]
fn a_hole_that_has_no_space_takes_the_rest_of_its_range() {
    let quotas = Quotas { mappings_per_device: 1, ..Quotas::default() };
    let mut machine = machine(true, quotas, &run(0x10, 16));
    assert_eq!(machine.host.take_calls(), ["bind", "map 10+10"]);
    assert_eq!(machine.after(&[(LOWEST + 0x14 * 8, 0)], None), ["unmap 14+c"]);
    assert_eq!(machine.ledger.counts().mapped, 1);
    assert!(machine.ledger.is_starved_of_mappings(DeviceKey(0)));
    // By page as well: what is beyond the window is not kept either.
    assert_eq!(machine.after(&[(LOWEST + 0x12 * 8, 0)], Some((0x12, 0x12))), ["unmap 12+2"]);
    assert_eq!(
        machine.after(&[(LOWEST + 0x10 * 8, 0), (LOWEST + 0x11 * 8, 0)], None),
        ["unmap 10+2", "map 13+1"]
    );
}

/// A table of 2^27 pages that leads to itself, on a host with space for 3 ranges.
#[test]
fn once_the_quota_is_used_up_only_what_is_mapped_is_looked_at() {
    let quotas = Quotas { mappings_per_device: 3, ..Quotas::default() };
    let entries: Vec<_> = (0..512).map(|index| (ROOT + index * 8, ROOT | 3)).collect();
    for cuts in [true, false] {
        let mut machine = machine(cuts, quotas, &entries);
        assert_eq!(machine.host.count(0), 3);
        machine.guest.reads();
        machine.after(&[], None);
        let reads = machine.guest.reads();
        assert!(reads < 30, "{reads} entries were read");
    }
}

#[test]
fn tables_that_lead_nowhere_are_walked_in_bounded_steps() {
    let entries: Vec<_> = (0..512)
        .flat_map(|index| [(ROOT + index * 8, MIDDLE | 3), (MIDDLE + index * 8, LOWEST | 3)])
        .collect();
    let guest = guest();
    guest.write(&entries);
    guest.write(&[(LOWEST, 0)]);
    guest.context(0, 0, 0);
    guest.entry(0, 0, second_stage(ROOT, 3, 7));
    let (mut ledger, mut host) = (shadow_ledger(1, Quotas::default(), true), ShadowHost::new(true));
    host.bind(&mut ledger, &Scope::everything(), &guest.wanted(), 100);
    let mut walk = ShadowWalk::new(ShadowScope::Unfilled);
    guest.reads();
    for size in [1, 2, 3, 10, 1_000] {
        let mut budget = size;
        assert_eq!(
            ledger.next_mapping(&mut walk, &guest, &guest.caps, &mut budget),
            NextMapping::More
        );
        assert!(guest.reads() <= u64::from(size.max(5)));
    }
    // Whatever takes the binding away ends the walk.
    host.bind(&mut ledger, &Scope::everything(), &Wanted::Nothing, 100);
    let mut budget = 2;
    assert_eq!(ledger.next_mapping(&mut walk, &guest, &guest.caps, &mut budget), NextMapping::Done);
    assert_eq!(guest.reads(), 0);
}

/// The binding is replaced while a comparison of all shadows is in the middle of the old one.
#[test]
fn a_comparison_of_what_was_held_says_nothing_of_what_is_held_now() {
    let mut machine = machine(true, Quotas::default(), &run(0x10, 4));
    let Machine { guest, ledger, host } = &mut machine;
    let mut walk = ShadowWalk::new(ShadowScope::All);
    let mut budget = 100;
    assert_eq!(ledger.next_mapping(&mut walk, guest, &guest.caps, &mut budget), NextMapping::More);
    guest.entry(0, 0, second_stage(MIDDLE, 3, 7));
    host.bind(ledger, &Scope::everything(), &guest.wanted(), 1_000);
    let mut budget = 1_000_000;
    assert_eq!(ledger.next_mapping(&mut walk, guest, &guest.caps, &mut budget), NextMapping::Done);
    assert!(ledger.has_unfilled(), "it is still to be filled");
    guest.entry(0, 0, second_stage(ROOT, 3, 7));
    host.bind(ledger, &Scope::everything(), &guest.wanted(), 1_000);
    host.sync(ledger, guest, ShadowScope::Unfilled, 1_000);
    assert_eq!(host.ranges(0, RID), [(0x10, 4, 0x6_0000, 3)]);
    assert!(!ledger.has_unfilled());
}

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

//! Shadows of second-stage tables: each call that a change of the tables leads to.

use vtd_cache::{DeviceKey, Ledger, NextMapping, Quotas, Scope, ShadowScope, ShadowWalk, Wanted};
use vtd_spec::DomainId;

use crate::guest::Guest;
use crate::host::{RID, pasid};
use crate::shadow_host::{ShadowHost, guest, second_stage, shadow_ledger};

/// Of three levels: the root at 100_3000 with an entry for the first GiB, 100_2000 with one for the first 2 MiB, 100_1000.
pub(crate) const ROOT: u64 = 0x100_3000;
pub(crate) const MIDDLE: u64 = 0x100_2000;
pub(crate) const LOWEST: u64 = 0x100_1000;

pub(crate) struct Machine {
    pub(crate) guest: Guest,
    pub(crate) ledger: Ledger,
    pub(crate) host: ShadowHost,
}

/// Slot Rid of device 0 holds the table, with domain 7.
pub(crate) fn machine(cuts: bool, quotas: Quotas, entries: &[(u64, u64)]) -> Machine {
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
    pub(crate) fn reconcile(&mut self) {
        let Self { guest, ledger, host } = self;
        host.reconcile(ledger, guest, &Scope::everything(), &guest.wanted(), 1_000_000);
    }

    /// Tables change, these pages are invalidated: the calls.
    pub(crate) fn after(
        &mut self,
        entries: &[(u64, u64)],
        pages: Option<(u64, u64)>,
    ) -> Vec<String> {
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
pub(crate) fn run(first: u64, count: u64) -> Vec<(u64, u64)> {
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
    let rows: [Row; 13] = [
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
        (
            // Four that moved go with one call, and come back with one each, as they do not continue each other.
            &[
                (LOWEST + 0x10 * 8, 0x7_0003),
                (LOWEST + 0x11 * 8, 0x8_0003),
                (LOWEST + 0x12 * 8, 0x9_0003),
                (LOWEST + 0x13 * 8, 0xa_0003),
            ],
            None,
            &["unmap 10+4", "map 10+1", "map 11+1", "map 12+1", "map 13+1"],
            &["unmap 10+4", "map 10+1", "map 11+1", "map 12+1", "map 13+1"],
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
fn what_is_mapped_in_part_of_a_new_leaf_goes_by_itself() {
    let second = LOWEST + 0x3000;
    let pages = (0..16).map(|index| (second + index * 8, 0x9_0003 + (index << 12)));
    let entries: Vec<_> =
        pages.chain([(MIDDLE + 8, second | 3), (LOWEST + 0x1ff * 8, 0x5_0003)]).collect();
    let mut machine = machine(true, Quotas::default(), &entries);
    assert_eq!(machine.host.take_calls(), ["bind", "map 1ff+1", "map 200+10"]);
    // The page before moves, and 2 MiB take the place of the 16 pages.
    let changes = [(LOWEST + 0x1ff * 8, 0x6_0003), (MIDDLE + 8, 0x4000_0083)];
    let calls = ["unmap 1ff+1", "map 1ff+1", "unmap 200+10", "map 200+200"];
    assert_eq!(machine.after(&changes, None), calls);
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
    for again in 0..5 {
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
            // From the first page on, and to the last: neither is all of it.
            3 => {
                let calls = machine.after(&[], Some((0, 0xf)));
                assert_eq!(machine.after(&[], Some((0x40, u64::MAX))), [""; 0]);
                calls
            }
            // And by a reconciliation of the slot, whatever it finds.
            _ => {
                machine.reconcile();
                machine.host.take_calls()
            }
        };
        let expected: &[&str] = match again {
            1 => &["map 20+1"],
            2 => &["map 30+1"],
            3 => &[],
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
    // What leads elsewhere goes too, with as few calls as ever.
    let mut machine = self::machine(true, Quotas::default(), &run(0x30, 4));
    machine.host.fails = Some(Box::new(|call| call.starts_with("map")));
    let moved = (0x30..0x34).map(|index| (LOWEST + index * 8, (index << 16) | 3));
    let changes: Vec<_> = moved.chain([(LOWEST + 0x10 * 8, 0x5003)]).collect();
    assert_eq!(machine.after(&changes, None), ["!map 10+1", "unmap 30+4"]);
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
fn a_range_that_is_cut_at_one_end_needs_no_space() {
    // (page that goes, call)
    for (page, call) in [(0x10, "unmap 10+1"), (0x1f, "unmap 1f+1")] {
        let quotas = Quotas { mappings_per_device: 1, ..Quotas::default() };
        let mut machine = machine(true, quotas, &run(0x10, 16));
        assert_eq!(machine.after(&[(LOWEST + page * 8, 0)], Some((page, page))), [call]);
        assert_eq!(machine.ledger.counts().over_quota, 0);
        assert!(!machine.ledger.is_starved_of_mappings(DeviceKey(0)));
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
fn once_the_quota_is_used_up_each_entry_is_read_once() {
    let quotas = Quotas { mappings_per_device: 256, ..Quotas::default() };
    let mut machine = machine(false, quotas, &run(0x100, 256));
    assert_eq!(machine.host.count(0), 256);
    machine.guest.reads();
    assert_eq!(machine.after(&run(0, 1), None), [""; 0]);
    let reads = machine.guest.reads();
    assert!(reads < 256 + 16, "{reads} entries were read");
}

/// The first 2 MiB and the last of 2^27 pages are mapped; then what lies between is a table that leads to itself.
#[test]
fn once_the_quota_is_used_up_what_lies_between_is_not_looked_at() {
    let quotas = Quotas { mappings_per_device: 2, ..Quotas::default() };
    let ends = [(LOWEST, 0x5_0003), (ROOT + 0x1ff * 8, 0x4000_0083)];
    let mut machine = machine(true, quotas, &ends);
    assert_eq!(machine.host.take_calls(), ["bind", "map 0+1", "map 7fc0000+40000"]);
    let between: Vec<_> = (1..0x1ff).map(|index| (ROOT + index * 8, ROOT | 3)).collect();
    machine.guest.reads();
    assert_eq!(machine.after(&between, None), [""; 0]);
    let reads = machine.guest.reads();
    assert!(reads < 1_100, "{reads} entries were read");
    // What goes at the far end goes all the same.
    assert_eq!(machine.after(&[(ROOT + 0x1ff * 8, 0)], None)[0], "unmap 7fc0000+40000");
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

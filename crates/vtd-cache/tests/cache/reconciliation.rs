//! The table of the reconciliation: what is held, what is desired, what is called.

use vtd_cache::{DeviceKey, DeviceScope, Scope, SlotScope};
use vtd_spec::{Binding, DomainId, FirstStageLevels, SourceId};

use crate::guest::Guest;
use crate::host::{Host, RID, domain, first_stage, held, ledger, pasid, pasids, short};

/// qw0, domain, qw2
type Raw = (u64, u64, u64);
const ABSENT: Raw = (0x40, 1, 0x9000);
const MALFORMED: Raw = (0x61, 1, 0x9000);
const INVALID: Raw = (0x001, 1, 0x9000);
const SECOND_STAGE: Raw = (0x8089, 1, 0);
const FIRST: Raw = (0x41, 1, 0x9000);
const OTHER: Raw = (0x41, 1, 0xa000);
const THROUGH: Raw = (0x101, 1, 0);

/// What a host holds for an entry.
fn meaning(raw: Raw) -> Option<Binding> {
    match raw.0 {
        0x41 => Some(first_stage(raw.2)),
        0x101 => Some(Binding::PassThrough),
        _ => None,
    }
}

// feature: 7.bindings: equal to the guest's tables after every invalidation
#[test]
fn each_pair_of_held_and_desired_has_its_call() {
    // (entry before, entry now, calls)
    let nothing = [ABSENT, MALFORMED, INVALID, SECOND_STAGE];
    let something = [(FIRST, "fs4 9000"), (OTHER, "fs4 a000"), (THROUGH, "pt 0")];
    let mut rows = Vec::new();
    for before in nothing {
        rows.extend(nothing.map(|now| (before, now, None)));
        rows.extend(something.map(|(now, text)| (before, now, Some(format!("bind {text}")))));
    }
    for (before, _) in something {
        rows.extend(nothing.map(|now| (before, now, Some("unbind".to_owned()))));
        rows.extend(
            something.map(|(now, text)| {
                (before, now, (before != now).then(|| format!("replace {text}")))
            }),
        );
    }
    for slot in [RID, pasid(3)] {
        let number = if slot == RID { 0 } else { 3 };
        for (before, now, call) in &rows {
            let guest = Guest::new();
            guest.context(0, 0, 0);
            guest.entry(0, number, *before);
            let (mut ledger, mut host) = (ledger(1), Host::default());
            host.run(&mut ledger, &Scope::everything(), &guest.wanted());
            assert_eq!(host.held.get(&(0, slot)).copied(), meaning(*before));
            guest.entry(0, number, *now);
            let calls = host.run(&mut ledger, &Scope::everything(), &guest.wanted());
            let expected: Vec<_> = call.iter().map(|call| (0, slot, call.clone())).collect();
            assert_eq!(calls, expected, "{before:x?} {now:x?}");
            assert_eq!(host.held.get(&(0, slot)).copied(), meaning(*now));
            let state = ledger.slot(DeviceKey(0), slot);
            assert_eq!(state.is_some(), meaning(*now).is_some(), "no state without need");
        }
    }
}

#[test]
fn what_the_host_is_given_decides_and_nothing_else() {
    // (entry now instead of a plain first-stage entry of domain 1 with the table at 9000, call)
    let rows: &[(Raw, Option<&str>)] = &[
        ((0x41, 2, 0x9000), None),
        ((0x43, 1, 0x9000), None),           // FPD
        ((0x5d, 1, 0x9000), None),           // AW of another type
        ((0x8041, 1, 0x9000), None),         // second-stage table of another type
        ((0x41, 0xfe00_0001, 0x9000), None), // memory types
        ((0x41, 1, 0x9062), None),           // ERE, NXE, SMEP
        ((0x41, 1, 0x9001), Some("fs4 9000 sre")),
        ((0x41, 1, 0x9010), Some("fs4 9000 wpe")),
        ((0x41, 1, 0x9080), Some("fs4 9000 eafe")),
        ((0x41, 1, 0x9004), Some("fs5 9000")),
        ((0x41, 1, 0xb000), Some("fs4 b000")),
    ];
    for (now, call) in rows {
        let guest = Guest::new();
        guest.context(0, 0, 0);
        guest.entry(0, 3, FIRST);
        let (mut ledger, mut host) = (ledger(1), Host::default());
        host.run(&mut ledger, &Scope::everything(), &guest.wanted());
        guest.entry(0, 3, *now);
        let calls = host.run(&mut ledger, &Scope::everything(), &guest.wanted());
        let expected: Vec<_> = call.iter().map(|text| format!("0 3 replace {text}")).collect();
        assert_eq!(short(&calls), expected, "{now:x?}");
        let domain = ledger.slot(DeviceKey(0), pasid(3)).unwrap().held.unwrap().domain;
        assert_eq!(u64::from(domain.0), now.1 & 0xffff, "the ledger knows the domain");
    }
    assert_eq!(FirstStageLevels::Five.count(), 5);
}

/// Whether a pair is of the domain that was asked for: what is held, or the entry as it stands now.
fn reached(before: Raw, now: Raw, asked: u64) -> bool {
    meaning(before).is_some() && before.1 == asked || now.0 & 1 == 1 && now.1 == asked
}

fn every_sequence(check: impl Fn(&Guest, Raw, Raw)) {
    let kinds = [ABSENT, FIRST, OTHER, THROUGH, MALFORMED, SECOND_STAGE];
    for before in kinds {
        for now in kinds {
            for domain in [1, 2] {
                let guest = Guest::new();
                guest.context(0, 0, 0);
                check(&guest, before, (now.0, domain, now.2));
            }
        }
    }
}

#[test]
fn known_failure_01_every_change_of_an_entry_reaches_the_binding() {
    every_sequence(|guest, before, now| {
        // By PASID, by domain, by both and all at once: held and desired agree wherever the scope reaches.
        for asked in [before.1, now.1] {
            let asked_domain = u16::try_from(asked).unwrap();
            let scopes = [
                (pasids(3..4, None), true),
                (Scope::everything(), true),
                (pasids(3..4, Some(asked_domain)), reached(before, now, asked)),
                (domain(asked_domain), reached(before, now, asked)),
                (pasids(4..5, None), false),
                (pasids(3..4, Some(7)), false),
                (domain(7), false),
            ];
            for (scope, reached) in scopes {
                guest.entry(0, 3, before);
                let (mut ledger, mut host) = (ledger(1), Host::default());
                host.run(&mut ledger, &Scope::everything(), &guest.wanted());
                guest.entry(0, 3, now);
                host.run(&mut ledger, &scope, &guest.wanted());
                let expected = if reached { meaning(now) } else { meaning(before) };
                assert_eq!(
                    host.held.get(&(0, pasid(3))).copied(),
                    expected,
                    "{before:x?} {now:x?} {scope:?}"
                );
            }
        }
    });
}

#[test]
fn known_failure_26_the_old_domain_leads_to_the_entry_too() {
    every_sequence(|guest, before, now| {
        if meaning(before).is_none() {
            return;
        }
        guest.entry(0, 3, before);
        let (mut ledger, mut host) = (ledger(1), Host::default());
        host.run(&mut ledger, &Scope::everything(), &guest.wanted());
        guest.entry(0, 3, now);
        host.run(&mut ledger, &pasids(3..4, Some(1)), &guest.wanted());
        assert_eq!(host.held.get(&(0, pasid(3))).copied(), meaning(now), "{before:x?} {now:x?}");
    });
}

#[test]
fn known_failure_01_first_stage_to_pass_through_and_back() {
    let guest = Guest::new();
    guest.context(0, 0, 0);
    let (mut ledger, mut host) = (ledger(1), Host::default());
    for (entry, text) in
        [(FIRST, "bind fs4 9000"), (THROUGH, "replace pt 0"), (FIRST, "replace fs4 9000")]
    {
        guest.entry(0, 0, entry);
        let calls = host.run(&mut ledger, &pasids(0..1, Some(1)), &guest.wanted());
        assert_eq!(short(&calls), [format!("0 - {text}")]);
    }
}

#[test]
fn a_domain_filters_the_pair_and_never_one_side() {
    // A replace with another domain is a replace for both domains, never an unbind.
    for asked in [1, 2] {
        let guest = Guest::new();
        guest.context(0, 0, 0);
        guest.entry(0, 3, FIRST);
        let (mut ledger, mut host) = (ledger(1), Host::default());
        host.run(&mut ledger, &Scope::everything(), &guest.wanted());
        guest.entry(0, 3, (0x41, 2, 0xa000));
        let calls = host.run(&mut ledger, &domain(asked), &guest.wanted());
        assert_eq!(short(&calls), ["0 3 replace fs4 a000"]);
        let state = ledger.slot(DeviceKey(0), pasid(3)).unwrap();
        assert_eq!(state.held, Some(held(first_stage(0xa000), 2)));
    }
    // An entry that became malformed or absent is found by what is held, or by its own raw domain.
    for (now, asked, calls) in [
        ((0x61, 2, 0), 1, 1),
        ((0x61, 2, 0), 2, 1),
        ((0x60, 2, 0), 1, 1),
        ((0x60, 2, 0), 2, 0),
        ((0x60, 2, 0), 0, 0),
    ] {
        let guest = Guest::new();
        guest.context(0, 0, 0);
        guest.entry(0, 3, FIRST);
        let (mut ledger, mut host) = (ledger(1), Host::default());
        host.run(&mut ledger, &Scope::everything(), &guest.wanted());
        guest.entry(0, 3, now);
        assert_eq!(host.run(&mut ledger, &domain(asked), &guest.wanted()).len(), calls);
    }
}

// feature: 7.bindings: equal to the guest's tables after every invalidation
#[test]
fn three_devices_two_pasids() {
    // D1 uses PASID 1, D2 PASID 2, D3 PASID 1: invalidating PASID 1 touches D3 alone once D1 is bound.
    let guest = Guest::new();
    (0..3).for_each(|device| guest.context(device, 0, 0));
    guest.entry(0, 1, FIRST);
    let (mut ledger, mut host) = (ledger(3), Host::default());
    host.run(&mut ledger, &pasids(1..2, Some(1)), &guest.wanted());
    guest.entry(1, 2, FIRST);
    guest.entry(2, 1, FIRST);
    let calls = host.run(&mut ledger, &pasids(1..2, Some(1)), &guest.wanted());
    assert_eq!(short(&calls), ["2 1 bind fs4 9000"]);
    assert_eq!(ledger.slots(DeviceKey(1)).count(), 0, "no state is made for D2");
    assert_eq!(ledger.counts().held, 2);
}

// feature: 7.bindings: RID_PASID of any value, changed while bound
#[test]
fn a_change_of_rid_pasid_empties_the_new_one_first_and_binds_the_old_one_last() {
    for (a, b) in [(0, 5), (5, 0), (64, 70), (70, 64), (1, 0x1fff)] {
        let guest = Guest::new();
        guest.context(0, 0, a.into());
        guest.entry(0, a, (0x41, 1, 0xa000));
        guest.entry(0, b, (0x41, 2, 0xb000));
        let (mut ledger, mut host) = (ledger(1), Host::default());
        let calls = host.run(&mut ledger, &Scope::everything(), &guest.wanted());
        assert_eq!(short(&calls), ["0 - bind fs4 a000".into(), format!("0 {b:x} bind fs4 b000")]);
        guest.context(0, 0, b.into());
        let calls = host.run(&mut ledger, &Scope::device(DeviceKey(0)), &guest.wanted());
        assert_eq!(
            short(&calls),
            [
                format!("0 {b:x} unbind"),
                "0 - replace fs4 b000".into(),
                format!("0 {a:x} bind fs4 a000")
            ]
        );
        assert!(host.run(&mut ledger, &Scope::everything(), &guest.wanted()).is_empty());
    }
}

// feature: 7.bindings: RID_PASID of any value, changed while bound
#[test]
fn rid_is_in_a_scope_by_its_held_or_its_current_rid_pasid() {
    for (range, reached) in
        [(5..6, true), (9..10, true), (6..9, false), (0..1, false), (0..100, true)]
    {
        for asked in [None, Some(1), Some(2), Some(3)] {
            let guest = Guest::new();
            guest.context(0, 0, 5);
            guest.entry(0, 5, (0x41, 1, 0xa000));
            let (mut ledger, mut host) = (ledger(1), Host::default());
            host.run(&mut ledger, &Scope::everything(), &guest.wanted());
            guest.context(0, 0, 9);
            guest.entry(0, 9, (0x41, 2, 0xb000));
            guest.entry(0, 5, ABSENT);
            let calls = host.run(&mut ledger, &pasids(range.clone(), asked), &guest.wanted());
            let expected: &[&str] =
                if reached && asked != Some(3) { &["0 - replace fs4 b000"] } else { &[] };
            assert_eq!(short(&calls), expected, "{range:?} {asked:?}");
        }
    }
}

#[test]
fn a_shrunken_directory_unbinds_what_is_past_its_end() {
    let guest = Guest::new();
    guest.context(0, 1, 0);
    for pasid in [1, 0x1fff, 0x2000, 0x3fff] {
        guest.entry(0, pasid, FIRST);
    }
    let (mut ledger, mut host) = (ledger(1), Host::default());
    host.run(&mut ledger, &Scope::everything(), &guest.wanted());
    assert_eq!(host.held.len(), 4);
    guest.context(0, 0, 0);
    let calls = host.run(&mut ledger, &domain(1), &guest.wanted());
    assert_eq!(short(&calls), ["0 2000 unbind", "0 3fff unbind"]);
    // RID_PASID past the directory is nothing, too.
    guest.context(0, 0, 0x3fff);
    let calls = host.run(&mut ledger, &Scope::everything(), &guest.wanted());
    assert!(calls.is_empty());
}

// feature: 7.bindings: tables that name nothing bind nothing
#[test]
fn tables_that_lead_nowhere_mean_nothing() {
    // What the guest does to its tables; whether Rid survives it, and PASID 3.
    type Break = fn(&Guest);
    let rows: &[(Break, bool, bool)] = &[
        (|_| {}, true, true),
        (|guest| guest.write(&[(0x1000, 0)]), false, false),
        (|guest| guest.write(&[(0x1000, 0x2003)]), false, false),
        (|guest| guest.write(&[(0x1000, 0x77_7001)]), false, false),
        (|guest| guest.write(&[(0x2000, 0x10_0008)]), false, false),
        (|guest| guest.write(&[(0x2000, 0x10_0029)]), false, false),
        (|guest| guest.write(&[(0x2000, 0x77_7009)]), false, false),
        (|guest| guest.write(&[(0x2000, 0x10_0001)]), true, false), // PASIDE=0
        (|guest| guest.write(&[(0x10_0000, 0)]), false, false),
        (|guest| guest.write(&[(0x10_0000, 0x12_0005)]), false, false),
        (|guest| guest.write(&[(0x10_0000, 0x77_7001)]), false, false),
    ];
    for (at, (break_tables, rid, three)) in rows.iter().enumerate() {
        let guest = Guest::new();
        guest.context(0, 0, 0);
        guest.entry(0, 0, THROUGH);
        guest.entry(0, 3, FIRST);
        let (mut ledger, mut host) = (ledger(1), Host::default());
        host.run(&mut ledger, &Scope::everything(), &guest.wanted());
        break_tables(&guest);
        host.run(&mut ledger, &Scope::everything(), &guest.wanted());
        assert_eq!(host.held.contains_key(&(0, RID)), *rid, "row {at}");
        assert_eq!(host.held.contains_key(&(0, pasid(3))), *three, "row {at}");
        assert_eq!(ledger.slots(DeviceKey(0)).count(), host.held.len());
    }
}

// feature: 7.bindings: entries that the host cannot take
#[test]
fn what_the_host_cannot_take_is_nothing() {
    let guest = Guest::new();
    guest.context(0, 0, 0);
    guest.entry(0, 0, THROUGH);
    guest.entry(0, 3, FIRST);
    let (mut ledger, mut host) = (ledger(1), Host::default());
    host.run(&mut ledger, &Scope::everything(), &guest.wanted());
    guest.entry(0, 3, (0x41, 2, 0xa000));
    let takes = |_, _, binding: &Binding| *binding == Binding::PassThrough;
    // The entry's domain leads to the pair all the same.
    let calls = host.run_in_steps(&mut ledger, &domain(2), &guest.wanted(), 100, &takes);
    assert_eq!(short(&calls), ["0 3 unbind"]);
}

#[test]
fn devices_of_a_scope() {
    let devices = [(0, 0), (1, 8), (2, 0x10)];
    // (scope, devices meant)
    let requesters =
        |source_id, ignored| DeviceScope::Requesters { source_id: SourceId(source_id), ignored };
    let rows: &[(DeviceScope, &[u32])] = &[
        (DeviceScope::All, &[0, 1, 2]),
        (DeviceScope::One(DeviceKey(1)), &[1]),
        (DeviceScope::One(DeviceKey(9)), &[]),
        (requesters(8, 0), &[1]),
        (requesters(0xf, 7), &[1]),
        (requesters(0xf, 3), &[]),
        (requesters(0x18, 0x18), &[0, 1, 2]),
        (requesters(0xffff, 0xffff), &[0, 1, 2]),
    ];
    for (scope, expected) in rows {
        let guest = Guest::new();
        let (mut ledger, mut host) = (ledger(3), Host::default());
        for (device, source_id) in devices {
            assert_eq!(
                scope.contains(DeviceKey(device), SourceId(source_id)),
                expected.contains(&device)
            );
            guest.context(device, 0, 0);
            guest.entry(device, 0, THROUGH);
        }
        let scope = Scope { devices: *scope, slots: SlotScope::All, domain: Some(DomainId(1)) };
        host.run(&mut ledger, &scope, &guest.wanted());
        let bound: Vec<_> = host.held.keys().map(|(device, _)| *device).collect();
        assert_eq!(bound, *expected);
    }
}

#[test]
fn pasids_at_the_edges_of_a_range() {
    let all = [0, 1, 62, 63, 64, 65, 127, 128, 0x1fff];
    for start in [0, 1, 63, 64, 65, 128, 0x1fff, 1 << 20] {
        for end in [0, 1, 63, 64, 65, 128, 0x1fff, 0x2000, 1 << 20, u32::MAX] {
            let guest = Guest::new();
            // RID_PASID elsewhere, so that PASID 0 is an ordinary one
            guest.context(0, 0, 200);
            all.iter().for_each(|pasid| guest.entry(0, *pasid, FIRST));
            let (mut ledger, mut host) = (ledger(1), Host::default());
            host.run(&mut ledger, &pasids(start..end, None), &guest.wanted());
            let expected: Vec<_> = all
                .iter()
                .filter(|at| (start..end).contains(at))
                .map(|at| (0, pasid(*at)))
                .collect();
            assert_eq!(host.held.keys().copied().collect::<Vec<_>>(), expected);
            // And out again
            all.iter().for_each(|pasid| guest.entry(0, *pasid, ABSENT));
            host.run(&mut ledger, &pasids(start..end, None), &guest.wanted());
            assert!(host.held.is_empty());
        }
    }
}

#[test]
fn a_renumbered_device_has_the_entries_of_its_new_source_id() {
    let guest = Guest::new();
    for device in [0, 1] {
        guest.context(device, 0, 0);
    }
    guest.entry(0, 0, FIRST);
    guest.entry(0, 3, OTHER);
    guest.entry(0, 4, FIRST);
    // The same table under another domain, another table, nothing, and one that is new.
    guest.entry(1, 0, (FIRST.0, 2, FIRST.2));
    guest.entry(1, 3, FIRST);
    guest.entry(1, 5, THROUGH);
    let (mut ledger, mut host) = (ledger(1), Host::default());
    host.run(&mut ledger, &Scope::everything(), &guest.wanted());
    ledger.renumber_device(DeviceKey(0), SourceId(8));
    assert_eq!(ledger.devices().collect::<Vec<_>>(), [(DeviceKey(0), SourceId(8))]);
    // Nothing has changed until its slots are reconciled, and what names the old source-id does not do that.
    let requester = |source_id| Scope {
        devices: DeviceScope::Requesters { source_id: SourceId(source_id), ignored: 0 },
        ..Scope::everything()
    };
    assert_eq!(host.run(&mut ledger, &requester(0), &guest.wanted()), []);
    let calls = host.run(&mut ledger, &requester(8), &guest.wanted());
    let expected = [(pasid(3), "replace fs4 9000"), (pasid(4), "unbind"), (pasid(5), "bind pt 0")];
    assert_eq!(calls, expected.map(|(slot, call)| (0, slot, call.to_owned())));
    let rid = ledger.slot(DeviceKey(0), RID).and_then(|state| state.held);
    assert_eq!(rid.map(|held| held.domain), Some(DomainId(2)));
    // No device, nothing to do.
    ledger.renumber_device(DeviceKey(7), SourceId(8));
    assert_eq!(ledger.devices().count(), 1);
}

//! Calls that the host refuses, and caches that it does not invalidate.

use vtd_cache::{DeviceKey, Failure, FailureKind, Ledger, Outcome, Scope};
use vtd_spec::{Binding, Slot};

use crate::guest::Guest;
use crate::host::{Host, RID, domain, first_stage, held, ledger, pasid, pasids, short};

const ABSENT: (u64, u64, u64) = (0, 0, 0);
const FIRST: (u64, u64, u64) = (0x41, 1, 0x9000);
const OTHER: (u64, u64, u64) = (0x41, 2, 0xa000);

fn failure(ledger: &Ledger, slot: Slot) -> Option<Failure> {
    ledger.slot(DeviceKey(0), slot)?.failure.as_deref().copied()
}

fn bound(slot: Slot, entry: (u64, u64, u64)) -> (Guest, Ledger, Host) {
    let guest = Guest::new();
    guest.context(0, 0, 0);
    put(&guest, slot, entry);
    let (mut ledger, mut host) = (ledger(1), Host::default());
    host.run(&mut ledger, &Scope::everything(), &guest.wanted());
    (guest, ledger, host)
}

fn put(guest: &Guest, slot: Slot, entry: (u64, u64, u64)) {
    guest.entry(0, if slot == RID { 0 } else { 3 }, entry);
}

#[test]
fn known_failure_22_a_refused_bind_is_kept_and_tried_again() {
    for slot in [RID, pasid(3)] {
        let (guest, mut ledger, mut host) = bound(slot, ABSENT);
        put(&guest, slot, FIRST);
        host.fail(&["bind"]);
        let calls = host.run(&mut ledger, &domain(1), &guest.wanted());
        assert_eq!(short(&calls), [format!("0 {slot} bind fs4 9000 failed")]);
        let attempted = Some(held(first_stage(0x9000), 1));
        let expected = Failure { attempted, kind: FailureKind::Bind, errno: Some(16) };
        assert_eq!(failure(&ledger, slot), Some(expected));
        assert_eq!(ledger.slot(DeviceKey(0), slot).unwrap().held, None);
        assert_eq!((ledger.counts().failed, ledger.contradicts()), (1, false));
        // Every reconciliation over it tries again, found by the domain that was attempted.
        assert_eq!(host.run(&mut ledger, &domain(1), &guest.wanted()).len(), 1);
        assert_eq!(host.run(&mut ledger, &domain(2), &guest.wanted()).len(), 0);
        host.fails = None;
        assert_eq!(host.run(&mut ledger, &domain(1), &guest.wanted()).len(), 1);
        assert_eq!(failure(&ledger, slot), None);
        assert_eq!(ledger.counts().failed, 0);
    }
}

#[test]
fn a_failure_is_forgotten_when_nothing_is_desired_any_more() {
    for (asked, forgotten) in [(1, true), (2, false)] {
        let (guest, mut ledger, mut host) = bound(pasid(3), ABSENT);
        put(&guest, pasid(3), FIRST);
        host.fail(&["bind"]);
        host.run(&mut ledger, &domain(1), &guest.wanted());
        put(&guest, pasid(3), ABSENT);
        // The entry has no domain now: what was attempted leads to the slot.
        let calls = host.run(&mut ledger, &pasids(3..4, Some(asked)), &guest.wanted());
        assert!(calls.is_empty());
        assert_eq!(ledger.slot(DeviceKey(0), pasid(3)).is_none(), forgotten);
    }
}

#[test]
fn known_failure_27_a_refused_replace_is_followed_by_an_unbind() {
    for slot in [RID, pasid(3)] {
        let (guest, mut ledger, mut host) = bound(slot, FIRST);
        put(&guest, slot, OTHER);
        host.fail(&["replace"]);
        let calls = host.run(&mut ledger, &domain(1), &guest.wanted());
        let expected = ["replace fs4 a000 failed", "unbind"].map(|text| format!("0 {slot} {text}"));
        assert_eq!(short(&calls), expected);
        let attempted = Some(held(first_stage(0xa000), 2));
        let expected = Failure { attempted, kind: FailureKind::Replace, errno: Some(16) };
        assert_eq!(failure(&ledger, slot), Some(expected));
        assert!(host.held.is_empty() && !ledger.contradicts());
        // The held domain is gone; the attempted one leads on.
        assert!(host.run(&mut ledger, &domain(1), &guest.wanted()).is_empty());
        let calls = host.run(&mut ledger, &domain(2), &guest.wanted());
        assert_eq!(short(&calls), [format!("0 {slot} bind fs4 a000")]);
        assert_eq!(failure(&ledger, slot), None);
    }
}

#[test]
fn known_failure_27_a_refused_unbind_leaves_what_is_held() {
    for slot in [RID, pasid(3)] {
        for (now, expected_calls) in [
            (ABSENT, vec!["unbind failed"]),
            (OTHER, vec!["replace fs4 a000 failed", "unbind failed"]),
        ] {
            let (guest, mut ledger, mut host) = bound(slot, FIRST);
            put(&guest, slot, now);
            host.fail(&["replace", "unbind"]);
            let expected: Vec<_> =
                expected_calls.iter().map(|text| format!("0 {slot} {text}")).collect();
            for _ in 0..3 {
                let calls = host.run(&mut ledger, &domain(1), &guest.wanted());
                assert_eq!(short(&calls), expected, "found by the held domain");
                let state = ledger.slot(DeviceKey(0), slot).unwrap();
                assert_eq!(state.held, Some(held(first_stage(0x9000), 1)));
                assert!(state.contradicts() && ledger.contradicts());
                assert!(ledger.device_contradicts(DeviceKey(0)));
                assert_eq!(ledger.counts().contradicting, 1);
            }
            host.fails = None;
            host.run(&mut ledger, &domain(1), &guest.wanted());
            assert!(!ledger.contradicts());
            assert_eq!(host.held.is_empty(), now == ABSENT);
            assert_eq!(failure(&ledger, slot), None);
        }
    }
}

#[test]
fn only_the_device_whose_unbind_was_refused_contradicts_its_tables() {
    let guest = Guest::new();
    (0..3).for_each(|device| {
        guest.context(device, 0, 0);
        guest.entry(device, 3, FIRST);
    });
    let (mut ledger, mut host) = (ledger(3), Host::default());
    host.run(&mut ledger, &Scope::everything(), &guest.wanted());
    let contradicts =
        |ledger: &Ledger| [0, 1, 2].map(|device| ledger.device_contradicts(DeviceKey(device)));
    assert_eq!(contradicts(&ledger), [false; 3]);
    (0..2).for_each(|device| guest.entry(device, 3, ABSENT));
    host.fails = Some(Box::new(|change| change.device == DeviceKey(1)));
    host.run(&mut ledger, &Scope::everything(), &guest.wanted());
    assert_eq!(contradicts(&ledger), [false, true, false]);
}

#[test]
fn a_guest_that_restores_its_old_entry_after_a_refused_replace_needs_no_call() {
    let (guest, mut ledger, mut host) = bound(pasid(3), FIRST);
    put(&guest, pasid(3), OTHER);
    host.fail(&["replace", "unbind"]);
    host.run(&mut ledger, &domain(1), &guest.wanted());
    put(&guest, pasid(3), FIRST);
    assert!(host.run(&mut ledger, &domain(1), &guest.wanted()).is_empty());
    assert!(!ledger.contradicts());
    assert_eq!(ledger.counts().failed, 0);
}

#[test]
fn what_rid_still_holds_keeps_the_rid_pasid_that_it_was_bound_under() {
    // RID_PASID 5 becomes 9; the host refuses everything. The old table is reached by PASID 5 until it is gone.
    let guest = Guest::new();
    guest.context(0, 0, 5);
    guest.entry(0, 5, FIRST);
    let (mut ledger, mut host) = (ledger(1), Host::default());
    host.run(&mut ledger, &Scope::everything(), &guest.wanted());
    guest.context(0, 0, 9);
    guest.entry(0, 9, OTHER);
    guest.entry(0, 5, ABSENT);
    host.fail(&["replace", "unbind"]);
    host.run(&mut ledger, &pasids(9..10, None), &guest.wanted());
    assert_eq!(ledger.save(DeviceKey(0))[0].rid_pasid.map(vtd_spec::Pasid::get), Some(5));
    host.fails = None;
    // The context entry goes; an invalidation of PASID 5 finds what Rid holds.
    guest.write(&[(0x2000, 0)]);
    let calls = host.run(&mut ledger, &pasids(5..6, Some(1)), &guest.wanted());
    assert_eq!(short(&calls), ["0 - unbind"]);
}

#[test]
fn a_binding_whose_host_caches_are_stale_is_unbound_and_bound_anew() {
    for slot in [RID, pasid(3)] {
        let (guest, mut ledger, mut host) = bound(slot, FIRST);
        let unbind = ledger.distrust(DeviceKey(0), slot, Some(5)).unwrap();
        assert!(ledger.contradicts());
        let outcome = host.perform(&unbind);
        assert_eq!(ledger.settle(&unbind, outcome), None);
        assert!(!ledger.contradicts());
        let attempted = Some(held(first_stage(0x9000), 1));
        let expected = Failure { attempted, kind: FailureKind::Invalidate, errno: Some(5) };
        assert_eq!(failure(&ledger, slot), Some(expected));
        host.run(&mut ledger, &domain(1), &guest.wanted());
        assert_eq!(host.held.get(&(0, slot)), Some(&first_stage(0x9000)));
        assert_eq!(failure(&ledger, slot), None);
    }
    assert_eq!(ledger(1).distrust(DeviceKey(0), RID, None), None, "nothing is held");
    assert_eq!(ledger(1).distrust(DeviceKey(7), RID, None), None, "no such device");
}

#[test]
fn stale_caches_are_not_forgotten_by_further_failures() {
    // The unbind fails, then whatever the reconciliation tries: equal bindings do not mean that all is well.
    for attempts in 0..3 {
        let (guest, mut ledger, mut host) = bound(pasid(3), FIRST);
        host.stale = true;
        let unbind = ledger.distrust(DeviceKey(0), pasid(3), None).unwrap();
        assert_eq!(ledger.settle(&unbind, Outcome::Failed { errno: None }), None);
        host.fail(&["replace", "unbind"]);
        for _ in 0..attempts {
            let calls = host.run(&mut ledger, &domain(1), &guest.wanted());
            assert_eq!(
                short(&calls[..]),
                ["0 3 replace fs4 9000 failed".to_owned(), "0 3 unbind failed".to_owned(),]
            );
            assert!(ledger.contradicts());
        }
        // An entry that is gone and comes back makes it no better.
        put(&guest, pasid(3), ABSENT);
        assert_eq!(host.run(&mut ledger, &domain(1), &guest.wanted()).len(), 1);
        put(&guest, pasid(3), FIRST);
        host.fails = None;
        let calls = host.run(&mut ledger, &domain(1), &guest.wanted());
        assert_eq!(short(&calls), ["0 3 replace fs4 9000"]);
        assert!(!ledger.contradicts());
        assert!(host.run(&mut ledger, &domain(1), &guest.wanted()).is_empty());
    }
}

#[test]
fn a_device_that_goes_leaves_nothing_behind() {
    let (guest, mut ledger, mut host) = bound(RID, (0x101, 1, 0));
    guest.entry(0, 3, FIRST);
    host.run(&mut ledger, &Scope::everything(), &guest.wanted());
    assert!(ledger.has_device(DeviceKey(0)));
    let left = ledger.remove_device(DeviceKey(0));
    assert_eq!(
        left,
        [(RID, held(Binding::PassThrough, 1)), (pasid(3), held(first_stage(0x9000), 1))]
    );
    assert!(!ledger.has_device(DeviceKey(0)));
    assert_eq!((ledger.counts().held, ledger.devices().count()), (0, 0));
    assert!(ledger.remove_device(DeviceKey(0)).is_empty());
}

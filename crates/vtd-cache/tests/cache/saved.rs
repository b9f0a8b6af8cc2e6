//! A ledger carried over to the same host, and to one that holds nothing yet.

use vtd_cache::{DeviceKey, FailureKind, Ledger, SavedSlot, Scope, Wanted};

use crate::guest::Guest;
use crate::host::{Host, RID, domain, ledger, pasid, pasids, short};

/// Rid under RID_PASID 5 and PASIDs 3 and 7 held; the bind of PASID 9 has failed.
fn unit() -> (Guest, Ledger, Host) {
    let guest = Guest::new();
    guest.context(0, 0, 5);
    guest.entry(0, 5, (0x41, 1, 0x9000));
    guest.entry(0, 3, (0x41, 1, 0xa000));
    guest.entry(0, 7, (0x101, 2, 0));
    guest.entry(0, 9, (0x41, 2, 0xb000));
    let (mut ledger, mut host) = (ledger(1), Host::default());
    host.fails = Some(Box::new(|change| change.slot == pasid(9)));
    host.run(&mut ledger, &Scope::everything(), &guest.wanted());
    host.fails = None;
    (guest, ledger, host)
}

fn states(ledger: &Ledger) -> Vec<SavedSlot> {
    ledger.save(DeviceKey(0))
}

// feature: 9.bindings: same host adopted, fresh host bound
#[test]
fn the_same_host_is_adopted_without_a_call() {
    let (guest, before, mut host) = unit();
    let mut after = ledger(1);
    for slot in states(&before) {
        after.adopt(DeviceKey(0), &slot);
    }
    assert_eq!(states(&after), states(&before));
    assert_eq!(after.counts(), before.counts());
    // RID_PASID came along: Rid is found by it when the context entry is gone.
    guest.write(&[(0x2000, 0)]);
    let calls = host.run(&mut after, &pasids(5..6, None), &guest.wanted());
    assert_eq!(short(&calls), ["0 - unbind"]);
}

// feature: 9.bindings: same host adopted, fresh host bound
#[test]
fn a_fresh_host_is_given_exactly_what_was_held() {
    for size in 1..20 {
        let (guest, before, _) = unit();
        // The guest has changed its tables since; they are not looked at.
        guest.entry(0, 3, (0, 0, 0));
        guest.reads();
        let (mut after, mut host) = (ledger(1), Host::default());
        for slot in states(&before) {
            after.mourn(DeviceKey(0), &slot);
        }
        assert_eq!((after.counts().held, after.counts().failed), (0, 4));
        let calls = host.run_in_steps(
            &mut after,
            &Scope::everything(),
            &Wanted::Restored,
            size,
            &|_, _, _| true,
        );
        assert_eq!(
            short(&calls),
            ["0 - bind fs4 9000", "0 3 bind fs4 a000", "0 7 bind pt 0"],
            "{size}"
        );
        assert_eq!(guest.reads(), 0);
        assert_eq!(states(&after), states(&before), "PASID 9 stays failed");
        assert!(host.run(&mut after, &Scope::everything(), &Wanted::Restored).is_empty());
        // The next invalidation reads the tables again.
        let calls = host.run(&mut after, &domain(1), &guest.wanted());
        assert_eq!(short(&calls), ["0 3 unbind"]);
    }
}

// feature: 9.bindings: same host adopted, fresh host bound
#[test]
fn what_a_fresh_host_refuses_is_a_failed_bind() {
    let (guest, before, _) = unit();
    let (mut after, mut host) = (ledger(1), Host::default());
    for slot in states(&before) {
        after.mourn(DeviceKey(0), &slot);
    }
    host.fail(&["bind"]);
    assert_eq!(host.run(&mut after, &Scope::everything(), &Wanted::Restored).len(), 3);
    assert!(host.run(&mut after, &Scope::everything(), &Wanted::Restored).is_empty());
    host.fails = None;
    assert_eq!(host.run(&mut after, &Scope::everything(), &guest.wanted()).len(), 4);
    assert_eq!(after.counts().failed, 0);
}

#[test]
fn a_unit_saved_before_it_was_restored_is_still_to_be_restored() {
    let (_, before, _) = unit();
    let mut between = ledger(1);
    for slot in states(&before) {
        between.mourn(DeviceKey(0), &slot);
    }
    let (mut after, mut host) = (ledger(1), Host::default());
    for slot in states(&between) {
        after.mourn(DeviceKey(0), &slot);
    }
    assert_eq!(host.run(&mut after, &Scope::everything(), &Wanted::Restored).len(), 3);
    assert_eq!(states(&after), states(&before));
}

#[test]
fn what_contradicted_the_tables_is_not_bound_on_a_fresh_host() {
    let (guest, mut before, mut host) = unit();
    guest.entry(0, 3, (0, 0, 0));
    guest.entry(0, 7, (0x41, 2, 0xc000));
    host.fail(&["unbind", "replace"]);
    host.run(&mut before, &Scope::everything(), &guest.wanted());
    assert_eq!(before.counts().contradicting, 2);
    let (mut after, mut fresh) = (ledger(1), Host::default());
    for slot in states(&before) {
        after.mourn(DeviceKey(0), &slot);
    }
    let calls = fresh.run(&mut after, &Scope::everything(), &Wanted::Restored);
    assert_eq!(short(&calls), ["0 - bind fs4 9000", "0 9 bind fs4 b000"]);
    assert_eq!(after.slot(DeviceKey(0), pasid(3)), None, "nothing should be held, and nothing is");
    let seven = after.slot(DeviceKey(0), pasid(7)).unwrap();
    assert_eq!(seven.failure.as_ref().unwrap().kind, FailureKind::Bind);
    // On the same host it still is, and is tried again.
    let mut same = ledger(1);
    for slot in states(&before) {
        same.adopt(DeviceKey(0), &slot);
    }
    assert_eq!(same.counts(), before.counts());
    host.fails = None;
    let calls = host.run(&mut same, &Scope::everything(), &guest.wanted());
    assert_eq!(short(&calls), ["0 3 unbind", "0 7 replace fs4 c000"]);
    assert_eq!(same.slot(DeviceKey(0), RID).unwrap().failure, None);
}

#[test]
fn what_had_failed_for_good_is_a_failed_bind_on_a_fresh_host() {
    // The replace is refused and the unbind done: nothing is held, and the replace is what failed.
    let (guest, mut before, mut host) = unit();
    guest.entry(0, 7, (0x41, 2, 0xc000));
    host.fail(&["replace"]);
    host.run(&mut before, &pasids(7..8, None), &guest.wanted());
    let kind = |ledger: &Ledger| {
        let state = ledger.slot(DeviceKey(0), pasid(7)).unwrap();
        (state.held, state.failure.as_ref().unwrap().kind)
    };
    assert_eq!(kind(&before), (None, FailureKind::Replace));
    let mut after = ledger(1);
    for slot in states(&before) {
        after.mourn(DeviceKey(0), &slot);
    }
    assert_eq!(kind(&after), (None, FailureKind::Bind), "there was nothing to replace");
}

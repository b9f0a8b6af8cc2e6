//! Rows 22, 23 and 27: a host that refuses.

use std::sync::atomic::Ordering;

use vtd::host::HostCall;
use vtd::spec::Slot;
use vtd::{Effect, HostOperation, ResetKind, SlotState};

use crate::guest::{Assigned, Guest, Shape, pasid_of};
use crate::raw::*;

/// What the unit knows of PASID 5.
fn slot(guest: &Guest, device: &Assigned<'_>) -> Option<SlotState> {
    let slots = guest.unit.slots(device.id);
    slots.into_iter().find(|(slot, _)| *slot == Slot::Pasid(pasid_of(5))).map(|(_, state)| state)
}

/// What the unit says that the host holds for PASID 5, as the host itself says it.
fn held(guest: &Guest, device: &Assigned<'_>) -> Option<String> {
    slot(guest, device).and_then(|state| state.held).map(|held| held.binding.to_string())
}

fn check_ledger(guest: &Guest, device: &Assigned<'_>, when: &str) {
    assert_eq!(held(guest, device), device.bound(5), "{when}: the unit knows what the host holds");
}

fn is_failed(guest: &Guest, device: &Assigned<'_>) -> bool {
    slot(guest, device).is_some_and(|state| state.failure.is_some())
}

/// The failures told, by operation.
fn told(guest: &Guest) -> Vec<HostOperation> {
    let effects = guest.effects().into_iter();
    effects
        .filter_map(|effect| match effect {
            Effect::HostCallFailed { operation, .. } => Some(operation),
            _ => None,
        })
        .collect()
}

// feature: 7.bindings: host failures are kept, told and tried again
#[test]
fn known_failure_22_a_refused_bind_is_failed_and_tried_again() {
    let guest = Guest::new();
    let device = guest.assigned();
    guest.set_pasid(5, first_stage(FIRST_A, 7));
    guest.fail_host_calls(|call| matches!(call, HostCall::Bind { .. }));
    for round in 1..4 {
        guest.take_tape();
        guest.flush(&[pasid_cache_of_pasid(7, 5)]);
        let calls = guest.take_tape();
        assert_eq!(calls[..calls.len() - 1], ["bind 1 5 fs4 100000"], "tried, round {round}");
        check_ledger(&guest, &device, "after a refused bind");
        assert!(is_failed(&guest, &device), "the failure is kept");
        assert_eq!(told(&guest), [HostOperation::Bind], "and told, round {round}");
    }
    guest.fail_host_calls(|_| false);
    guest.flush(&[pasid_cache_of_pasid(7, 5)]);
    assert_eq!(device.bound(5).as_deref(), Some("fs4 100000"), "the same entry is tried again");
    assert!(!is_failed(&guest, &device));
}

// feature: 7.bindings: host failures are kept, told and tried again
/// The binding that a device gets when it is attached.
#[test]
fn known_failure_22_a_refused_attach_is_failed_and_tried_again() {
    let guest = Guest::off(Shape::default());
    guest.fail_host_calls(|call| matches!(call, HostCall::Bind { .. }));
    let device = guest.assigned();
    assert_eq!(device.rid_bound(), None);
    let state = || guest.unit.slots(device.id);
    let [(Slot::Rid, SlotState { held: None, failure: Some(_), .. })] = state()[..] else {
        panic!("not kept as failed: {:?}", state())
    };
    assert_eq!(told(&guest), [HostOperation::Bind]);
    guest.fail_host_calls(|_| false);
    guest.command(SRTP);
    assert_eq!(device.rid_bound().as_deref(), Some("pt 0"), "tried again");
    let [(Slot::Rid, SlotState { held: Some(_), failure: None, .. })] = state()[..] else {
        panic!("not kept as bound: {:?}", state())
    };
}

// feature: 7.bindings: host failures are kept, told and tried again
#[test]
fn known_failure_22_a_refused_bind_is_tried_again_when_the_vmm_asks() {
    let guest = Guest::new();
    let device = guest.assigned();
    guest.set_pasid(5, first_stage(FIRST_A, 7));
    guest.fail_host_calls(|call| matches!(call, HostCall::Bind { .. }));
    guest.flush(&[pasid_cache_of_pasid(7, 5)]);
    assert_eq!(device.bound(5), None);
    guest.fail_host_calls(|_| false);
    guest.unit.retry(device.id).unwrap();
    guest.run();
    assert_eq!(device.bound(5).as_deref(), Some("fs4 100000"));
}

// feature: 7.bindings: host failures are kept, told and tried again
#[test]
fn known_failure_22_a_refused_replace_leaves_nothing_stale_and_is_tried_again() {
    let guest = Guest::new();
    guest.set_pasid(5, first_stage(FIRST_A, 7));
    let device = guest.assigned();
    guest.set_pasid(5, first_stage(FIRST_B, 9));
    guest.fail_host_calls(|call| matches!(call, HostCall::Replace { .. }));
    guest.take_tape();
    guest.flush(&[pasid_cache_of_pasid(7, 5)]);
    let calls = guest.take_tape();
    assert_eq!(calls[..calls.len() - 1], ["replace 1 5 fs4 110000", "unbind 1 5"]);
    check_ledger(&guest, &device, "after a refused replace");
    assert_eq!(device.bound(5), None, "no stale table stays in use");
    guest.fail_host_calls(|_| false);
    guest.flush(&[pasid_cache_of_domain(9)]);
    assert_eq!(device.bound(5).as_deref(), Some("fs4 110000"), "by the domain that was attempted");
}

// feature: 7.bindings: host failures are kept, told and tried again
/// Whether the failed slot is forgotten once the guest wants nothing there any more.
#[test]
fn known_failure_22_a_failure_is_forgotten_with_its_entry() {
    let guest = Guest::new();
    let device = guest.assigned();
    guest.set_pasid(5, first_stage(FIRST_A, 7));
    guest.fail_host_calls(|call| matches!(call, HostCall::Bind { .. }));
    guest.flush(&[pasid_cache_of_pasid(7, 5)]);
    assert!(is_failed(&guest, &device));
    guest.set_pasid(5, ABSENT);
    guest.take_tape();
    guest.flush(&[pasid_cache_of_pasid(7, 5)]);
    assert_eq!(guest.take_tape().len(), 1, "the wait alone: there is nothing to unbind");
    assert_eq!(slot(&guest, &device), None);
}

// feature: 7.bindings: reset
#[test]
fn known_failure_23_reset_succeeds_when_the_host_fails() {
    for kind in [ResetKind::PowerOn, ResetKind::Warm] {
        let guest = Guest::new();
        guest.set_pasid(0, first_stage(FIRST_A, 7));
        guest.set_pasid(5, first_stage(FIRST_A, 7));
        let device = guest.assigned();
        let status = guest.ram.status(STATUS);
        guest.fail_host_calls(|_| true);
        guest.effects();
        guest.ram.gone.store(true, Ordering::Relaxed);
        guest.unit.reset(kind);
        guest.run();
        guest.ram.gone.store(false, Ordering::Relaxed);
        for (offset, what) in [(GSTS, "GSTS"), (IQH, "IQH"), (IQT, "IQT"), (RTADDR, "RTADDR")] {
            assert_eq!(guest.read32(offset), 0, "{what} after the reset");
        }
        // Rid was to become pass-through: the replace fails, then the unbind; PASID 5 was to be unbound.
        let operations = told(&guest);
        assert!(operations.len() >= 3, "every failure is reported: {operations:?}");
        check_ledger(&guest, &device, "after the reset");
        assert_eq!(guest.ram.status(STATUS), status, "no wait is completed");

        guest.fail_host_calls(|_| false);
        guest.unit.retry(device.id).unwrap();
        guest.run();
        assert_eq!(device.bound(5), None, "the retry succeeds");
        assert_eq!(device.rid_bound().as_deref(), Some("pt 0"), "as after power-on");
    }
}

// feature: 7.bindings: reset
/// Each call of a reset fails once, whichever it is.
#[test]
fn known_failure_23_reset_succeeds_whichever_call_fails() {
    for failing in 1..6 {
        let guest = Guest::of(Shape::default());
        for pasid in [0, 5, 6, 7] {
            guest.set_pasid(pasid, first_stage(FIRST_A, 7));
        }
        let device = guest.assigned();
        guest.host.fail_nth(failing);
        guest.unit.reset(ResetKind::PowerOn);
        guest.run();
        assert_eq!(guest.read32(GSTS), 0, "call {failing}");
        check_ledger(&guest, &device, "after the reset");
        guest.host.stop_failing();
        guest.unit.retry(device.id).unwrap();
        guest.run();
        assert_eq!(device.rid_bound().as_deref(), Some("pt 0"), "call {failing}");
        assert_eq!(device.bound_pasids(), 0, "call {failing}");
    }
}

// feature: 7.bindings: host failures are kept, told and tried again
#[test]
fn known_failure_27_a_binding_that_the_host_kept_is_not_forgotten() {
    let guest = Guest::new();
    guest.set_pasid(5, first_stage(FIRST_A, 7));
    let device = guest.assigned();
    guest.fail_host_calls(|call| matches!(call, HostCall::Unbind { .. }));
    guest.set_pasid(5, ABSENT);
    guest.try_flush(&[pasid_cache_of_pasid(7, 5)]);
    assert_eq!(device.bound(5).as_deref(), Some("fs4 100000"), "the host kept it");
    check_ledger(&guest, &device, "after a refused unbind");
    assert!(is_failed(&guest, &device));
    assert!(told(&guest).contains(&HostOperation::Unbind));
    guest.fail_host_calls(|_| false);
    guest.unit.retry(device.id).unwrap();
    guest.run();
    assert_eq!((device.bound(5), slot(&guest, &device)), (None, None));
    // And it can be bound again.
    guest.set_pasid(5, first_stage(FIRST_B, 7));
    guest.flush(&[pasid_cache_of_pasid(7, 5)]);
    assert_eq!(device.bound(5).as_deref(), Some("fs4 110000"));
    assert_eq!(guest.host.inner().call_counts().refused, 0, "no call was illegal");
}

// feature: 7.bindings: host failures are kept, told and tried again
/// Every call of a long sequence fails once, and now and then two in a row: at each moment the unit knows what the host holds,
/// and once the host does what it is asked, everything is as the guest says.
#[test]
fn known_failure_27_the_state_follows_the_hosts_answer_whichever_call_fails() {
    let entries = [
        first_stage(FIRST_A, 7),
        first_stage(FIRST_B, 9),
        pass_through(9),
        ABSENT,
        pass_through(7),
        first_stage(FIRST_A, 7),
        ABSENT,
    ];
    for failing in 1..12 {
        for more in [None, Some(failing + 1), Some(failing + 2)] {
            let guest = Guest::new();
            let device = guest.assigned();
            guest.host.fail_nth(failing);
            more.into_iter().for_each(|more| guest.host.fail_nth(more));
            let when = format!("calls {failing} and {more:?} fail");
            for entry in entries {
                guest.set_pasid(5, entry);
                guest.try_flush(&[PASID_CACHE]);
                check_ledger(&guest, &device, &when);
                // What stood in the way of a wait is tried again.
                guest.unit.retry(device.id).unwrap();
                guest.run();
                check_ledger(&guest, &device, &when);
            }
            guest.host.stop_failing();
            guest.fail_host_calls(|_| false);
            guest.set_pasid(5, first_stage(FIRST_B, 8));
            guest.flush(&[PASID_CACHE]);
            assert_eq!(device.bound(5).as_deref(), Some("fs4 110000"), "{when}");
            assert_eq!(guest.host.inner().call_counts().refused, 0, "{when}: no illegal call");
        }
    }
}

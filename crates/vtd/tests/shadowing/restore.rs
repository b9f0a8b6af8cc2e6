//! Saved and restored at every step of a fill and of an invalidation.

use std::sync::Arc;

use vtd::host::HostCapabilities;
use vtd::{RemappingUnit, RestoreOnto, Step, UnitConfig, UnitState};

use crate::guest::calls::{Host, host_with};
use crate::guest::{self, Guest, IOTLB_GLOBAL, PASID_GLOBAL, STATUS, first_stage, second_stage};
use crate::machine::{A, B, Machine, iotlb_pages, mapped_by};

fn saved(guest: &Guest) -> UnitState {
    let text = serde_json::to_string(&guest.unit.save().unwrap()).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn restored(machine: &Machine, state: &UnitState, host: &Host, onto: RestoreOnto) -> RemappingUnit {
    let mut config = UnitConfig::new(guest::caps(), Arc::clone(&machine.guest.memory) as _);
    config.host = Some(Arc::clone(host) as _);
    config.observer = Some(Arc::clone(&machine.calls) as _);
    RemappingUnit::restore(config, state, onto).unwrap()
}

/// A device with slots Rid and 7; what the guest is about to do, and has not told yet.
fn begun(action: &str, cuts: bool) -> Machine {
    let mut machine = Machine::made(cuts, |_| {});
    machine.guest.put_context(3, 0);
    machine.guest.enable();
    machine.guest.map_second_stage(A, 0x5000, 0x7_5000, 3);
    machine.guest.map_second_stage(B, 0x1_0000, 0x9_0000, 1);
    for index in 0..6 {
        machine.guest.map_second_stage(A, 0x2_0000 + (index << 13), 0x8_0000, 3);
    }
    machine.guest.put_entry(3, 0, &second_stage(A, 5));
    machine.guest.put_entry(3, 7, &second_stage(B, 6));
    if action == "attach" {
        let attachment = vtd::Attachment::Assigned(vtd::host::HostDevice(3));
        machine.guest.unit.attach(guest::source_id(3), attachment).unwrap();
        return machine;
    }
    machine.guest.assign(3);
    machine.guest.put(A + 0x3028, &[0]);
    machine.guest.map_second_stage(A, 0x8_0000, 0x9_9000, 3);
    machine.guest.put_entry(3, 9, &second_stage(A, 6));
    match action {
        "queue" => machine.guest.ring(&[
            PASID_GLOBAL,
            IOTLB_GLOBAL,
            iotlb_pages(5, 0x8_0000, 0),
            guest::wait(0x11),
        ]),
        "root" => machine.guest.write(0x18, 4, 0xc400_0000),
        _ => machine.guest.unit.reset(vtd::ResetKind::Warm),
    }
    machine
}

// feature: 9.shadows: same host adopted, fresh host mapped
#[test]
fn saved_after_any_step_the_end_is_the_same() {
    for (action, cuts) in
        ["attach", "queue", "root", "reset"].into_iter().flat_map(|act| [(act, true), (act, false)])
    {
        let machine = begun(action, cuts);
        assert!(machine.guest.is_idle());
        let expected = (machine.held(), machine.mapped(), machine.guest.get(STATUS));
        let mut steps = 0;
        loop {
            let mut machine = begun(action, cuts);
            let mut step = Step::More;
            for _ in 0..steps {
                step = machine.guest.unit.step(50);
            }
            let state = saved(&machine.guest);
            let status = machine.guest.get(STATUS);
            for onto in [RestoreOnto::FreshHost, RestoreOnto::SameHost] {
                let mut capabilities = HostCapabilities::everything();
                capabilities.unmap_cuts = cuts;
                let host = match onto {
                    RestoreOnto::SameHost => Arc::clone(&machine.host),
                    RestoreOnto::FreshHost => host_with(capabilities),
                };
                machine.guest.put(STATUS, &[status]);
                machine.guest.unit = restored(&machine, &state, &host, onto);
                assert!(machine.guest.is_idle());
                let held = guest::calls::held_by(&host);
                let found = (held, mapped_by(&host), machine.guest.get(STATUS));
                assert_eq!(found, expected, "{action} {steps} {onto:?}");
                let counts = machine.guest.unit.counts().ledger;
                assert_eq!(counts.mapped, expected.1.len());
            }
            if step == Step::Idle {
                break;
            }
            steps += 1;
        }
        assert!(steps > 0, "{action} took {steps} steps");
    }
}

// feature: 9.shadows: same host adopted, fresh host mapped
/// With nothing pending, the same host gets no call and a fresh one exactly what was held, tables that changed meanwhile or not.
#[test]
fn what_was_held_and_nothing_else() {
    let machine = begun("attach", true);
    assert!(machine.guest.is_idle());
    let before = (machine.held(), machine.mapped());
    let mut machine = machine;
    machine.guest.put(A, &[0]);
    let state = saved(&machine.guest);
    machine.calls.take();
    let same = Arc::clone(&machine.host);
    machine.guest.unit = restored(&machine, &state, &same, RestoreOnto::SameHost);
    assert!(machine.guest.is_idle());
    assert_eq!((machine.calls.take(), machine.mapped()), (vec![], before.1.clone()));
    // A fresh host, saved again after every step of that, onto the same host and onto a third one.
    for steps in 0..24 {
        for onto in [RestoreOnto::SameHost, RestoreOnto::FreshHost] {
            let fresh = host_with(HostCapabilities::everything());
            machine.guest.unit = restored(&machine, &state, &fresh, RestoreOnto::FreshHost);
            for _ in 0..steps {
                let _step = machine.guest.unit.step(1);
            }
            let again = saved(&machine.guest);
            let host = match onto {
                RestoreOnto::SameHost => fresh,
                RestoreOnto::FreshHost => host_with(HostCapabilities::everything()),
            };
            machine.guest.unit = restored(&machine, &again, &host, onto);
            assert!(machine.guest.is_idle());
            let found = (guest::calls::held_by(&host), mapped_by(&host));
            assert_eq!(found, before, "{steps} {onto:?}");
        }
    }
    // And then it goes on: the invalidation that the guest owes.
    assert_eq!(machine.invalidate(&[IOTLB_GLOBAL]).len(), 7);
    assert_eq!(guest::calls::held_by(&machine.host).len(), 2);
}

// feature: 9.shadows: same host adopted, fresh host mapped
/// A replace of a second-stage table that failed, and the unbind behind it: a fresh host is given neither, and the unit can be saved and
/// restored again at once.
#[test]
fn what_a_failed_replace_has_left_is_gone_on_a_fresh_host() {
    let mut machine = begun("attach", true);
    assert!(machine.guest.is_idle());
    machine.guest.put_entry(3, 7, &first_stage(0x30_0000, 6));
    machine.host.fail_calls(|_| true);
    machine.guest.ring(&[PASID_GLOBAL, guest::wait(0x11)]);
    assert!(!machine.guest.is_idle());
    assert_eq!(machine.held().len(), 2, "the old table is still held");
    let state = saved(&machine.guest);
    for onto in [RestoreOnto::SameHost, RestoreOnto::FreshHost] {
        let fresh = host_with(HostCapabilities::everything());
        machine.guest.unit = restored(&machine, &state, &fresh, RestoreOnto::FreshHost);
        let again = saved(&machine.guest);
        let host = match onto {
            RestoreOnto::SameHost => fresh,
            RestoreOnto::FreshHost => host_with(HostCapabilities::everything()),
        };
        machine.guest.unit = restored(&machine, &again, &host, onto);
        assert!(machine.guest.is_idle());
        let held = guest::calls::held_by(&host);
        assert!(held.iter().all(|binding| !binding.contains("210000")), "{onto:?}: {held:?}");
        assert!(mapped_by(&host).iter().all(|mapping| mapping.starts_with("- ")), "{onto:?}");
    }
}

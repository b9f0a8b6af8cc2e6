//! Hosts that refuse, and quotas.

use vtd::host::HostCall;
use vtd::spec::Slot;
use vtd::{Effect, HostOperation, Quotas, ResetKind, Step};

use crate::guest::{IOTLB_GLOBAL, PASID_GLOBAL, second_stage};
use crate::machine::{A, Machine, iotlb_domain, iotlb_pages};

fn pages(machine: &Machine, indices: impl Iterator<Item = u64>) {
    for index in indices {
        machine.guest.map_second_stage(A, index << 12, 0x8_0000, 3);
    }
}

/// Slot Rid holds table A, which maps page 5, with domain 5.
fn machine() -> Machine {
    let machine = Machine::new();
    machine.guest.put_entry(3, 0, &second_stage(A, 5));
    machine.guest.assign(3);
    machine.calls.take();
    machine
}

// feature: 7.shadows: host failures are kept, told and tried again
#[test]
fn a_refused_map_leaves_the_rest_and_is_tried_again() {
    for again in ["page", "domain", "retry", "pasid cache"] {
        let mut machine = machine();
        pages(&machine, [0x10, 0x20, 0x30].into_iter());
        machine.host.fail_calls(
            |call| matches!(call, HostCall::Map { mapping, .. } if mapping.iova.0 == 0x2_0000),
        );
        let calls = machine.invalidate(&[iotlb_domain(5)]);
        assert_eq!(calls, ["map - 10+1", "!map - 20+1"], "the wait is done all the same");
        assert_eq!(machine.failures(), [(HostOperation::Map, Slot::Rid)]);
        assert_eq!(machine.mapped(), ["- 5+1 75000", "- 10+1 80000"]);
        machine.host.stop_failing();
        let calls = match again {
            "page" => machine.invalidate(&[iotlb_pages(5, 0x2_0000, 0)]),
            "domain" => machine.invalidate(&[iotlb_domain(5)]),
            "pasid cache" => machine.invalidate(&[PASID_GLOBAL]),
            _ => {
                machine.guest.unit.retry(machine.guest.unit.devices()[0].id).unwrap();
                assert!(machine.guest.is_idle());
                machine.short()
            }
        };
        let expected: &[&str] = match again {
            "page" => &["map - 20+1"],
            _ => &["map - 20+1", "map - 30+1"],
        };
        assert_eq!(calls, expected, "{again}");
        assert_eq!(machine.failures(), []);
    }
}

// feature: 7.shadows: host failures are kept, told and tried again
#[test]
fn a_refused_unmap_ends_the_binding() {
    let mut machine = machine();
    machine.guest.put(A + 0x3028, &[0]);
    machine.host.fail_calls(|call| matches!(call, HostCall::Unmap { .. }));
    let calls = machine.invalidate(&[IOTLB_GLOBAL]);
    assert_eq!(calls, ["!unmap - 5+1", "unbind -"], "nothing stale is reached");
    assert_eq!(machine.failures(), [(HostOperation::Unmap, Slot::Rid)]);
    assert_eq!((machine.held(), machine.mapped()), (vec![], vec![]));
    machine.host.stop_failing();
    pages(&machine, [0x10].into_iter());
    assert_eq!(machine.invalidate(&[PASID_GLOBAL]), ["bind - ss4 200000 5", "map - 10+1"]);
}

// feature: 7.shadows: host failures are kept, told and tried again
#[test]
fn a_refused_unmap_and_unbind_hold_the_wait() {
    for budget in [1, 10_000] {
        let mut machine = machine();
        machine.guest.put(A + 0x3028, &[0]);
        machine.host.fail_calls(|call| {
            matches!(
                call,
                HostCall::Unmap { .. } | HostCall::Unbind { .. } | HostCall::Replace { .. }
            )
        });
        machine.guest.ring(&[IOTLB_GLOBAL, crate::guest::wait(0x11)]);
        let mut steps = 0;
        while machine.guest.unit.step(budget) == Step::More {
            steps += 1;
            assert!(steps < 100, "the host is asked for ever");
        }
        assert_eq!(machine.guest.unit.step(budget), Step::Waiting);
        assert_eq!(machine.short(), ["!unmap - 5+1", "!unbind -"]);
        let effects = machine.guest.effects();
        let stuck = effects.iter().filter(|effect| matches!(effect, Effect::HostStuck(_)));
        assert_eq!((stuck.count(), machine.guest.get(crate::guest::STATUS)), (1, 0));
        machine.host.stop_failing();
        machine.guest.unit.retry(machine.guest.unit.devices()[0].id).unwrap();
        assert!(machine.guest.is_idle());
        assert_eq!(machine.guest.get(crate::guest::STATUS), 0x11);
        assert_eq!(machine.short(), ["replace - ss4 200000 5"]);
        assert_eq!(machine.mapped(), [""; 0]);
    }
}

#[test]
fn a_reset_with_a_host_that_gives_up_nothing_ends() {
    let machine = machine();
    machine.host.fail_calls(|_| true);
    machine.guest.unit.reset(ResetKind::PowerOn);
    assert!(machine.guest.is_idle());
    assert_eq!(machine.short(), ["!replace - pt 0 0", "!unbind -"]);
    machine.host.stop_failing();
    machine.guest.unit.retry(machine.guest.unit.devices()[0].id).unwrap();
    assert!(machine.guest.is_idle());
    assert_eq!((machine.held(), machine.mapped()), (vec!["3 - pt 0".to_owned()], vec![]));
}

// feature: 7.shadows: quotas of mapped ranges
#[test]
fn quotas_of_mappings() {
    for (mappings_per_device, mappings_per_unit) in [(3, 100), (100, 3)] {
        let quotas = Quotas { mappings_per_device, mappings_per_unit, ..Quotas::default() };
        let mut machine = Machine::with_quotas(quotas);
        pages(&machine, [0x10, 0x20, 0x30, 0x40].into_iter());
        machine.guest.put_entry(3, 0, &second_stage(A, 5));
        let device = machine.guest.assign(3);
        let first = ["bind - ss4 200000 5", "map - 5+1", "map - 10+1", "map - 20+1"];
        assert_eq!(machine.short(), first);
        let effects = machine.guest.effects();
        assert!(matches!(effects[..], [Effect::OverQuota(over)] if over == device), "{effects:?}");
        let counts = machine.guest.unit.counts().ledger;
        assert_eq!((counts.mapped, counts.over_quota, counts.failed), (3, 1, 0));
        // Where one goes, another comes, without being asked for; before the wait or not.
        machine.guest.put(A + 0x3028, &[0]);
        let calls = machine.invalidate(&[iotlb_pages(5, 0x5000, 0)]);
        assert_eq!(calls, ["unmap - 5+1", "map - 30+1"]);
        assert!(machine.guest.is_idle());
        assert_eq!(machine.guest.unit.counts().ledger.mapped, 3);
        // What is left out comes with the quota of another slot that goes.
        machine.guest.put_entry(3, 0, &[0]);
        machine.guest.put_entry(3, 7, &second_stage(A, 5));
        machine.invalidate(&[PASID_GLOBAL]);
        assert_eq!(machine.mapped().len(), 3);
    }
}

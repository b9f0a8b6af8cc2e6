//! Several units in one machine, over one host.
#![cfg(test)]

mod guest;

use std::sync::Arc;

use guest::calls::{Calls, Host, held_by, host};
use guest::{
    CONTEXT_GLOBAL, Guest, IOTLB_GLOBAL, PASID_GLOBAL, first_stage, pasid_domain, pasid_iotlb,
    pasid_selective, source_id,
};
use vtd::host::HostDevice;
use vtd::{Attachment, DeviceId, Effect, ResetKind, Step};

/// A unit with device `device` under 00:`source`.0: RID_PASID 0 and PASIDs 1 and 2, all of domain 5.
fn unit(machine: &Host, source: u64, device: u64, tables: u64) -> (Guest, Arc<Calls>, DeviceId) {
    let calls = Arc::new(Calls::default());
    let mut guest = Guest::made(guest::caps(), |config| {
        config.host = Some(Arc::clone(machine) as _);
        config.observer = Some(Arc::clone(&calls) as _);
    });
    guest.enable();
    guest.put_context(source, 0);
    for pasid in 0..3 {
        guest.put_entry(source, pasid, &first_stage(tables + (pasid << 16), 5));
    }
    let id = attach(&guest, source, device);
    assert!(guest.is_idle());
    calls.take();
    (guest, calls, id)
}

fn attach(guest: &Guest, source: u64, device: u64) -> DeviceId {
    let attachment = Attachment::Assigned(HostDevice(device));
    guest.unit.attach(source_id(source), attachment).unwrap()
}

fn of(machine: &Host, device: u64) -> Vec<String> {
    let mut held = held_by(machine);
    held.retain(|text| text.starts_with(&device.to_string()));
    held
}

// feature: 7.units: several in one machine
#[test]
fn what_one_unit_does_does_not_touch_the_other() {
    type Act = fn(&mut Guest, DeviceId);
    let changes: [(&str, Act); 11] = [
        ("PASID by domain", |guest, _| assert!(guest.invalidate(&[pasid_domain(5)]))),
        ("PASID by PASID", |guest, _| assert!(guest.invalidate(&[pasid_selective(5, 1)]))),
        ("PASID global", |guest, _| assert!(guest.invalidate(&[PASID_GLOBAL]))),
        ("context global", |guest, _| assert!(guest.invalidate(&[CONTEXT_GLOBAL]))),
        ("IOTLB global", |guest, _| assert!(guest.invalidate(&[IOTLB_GLOBAL]))),
        ("IOTLB of a PASID", |guest, _| assert!(guest.invalidate(&[pasid_iotlb(5, 1)]))),
        ("root", |guest, _| guest.set_root(0x1400)),
        ("off", |guest, _| guest.command(0x0400_0000)),
        ("reset", |guest, _| guest.unit.reset(ResetKind::PowerOn)),
        ("renumber", |guest, device| guest.unit.renumber(device, source_id(9)).unwrap()),
        ("release", |guest, device| guest.unit.release(device).unwrap()),
    ];
    for (name, act) in changes {
        let machine = host();
        // The same source-id, domain and PASIDs; other devices of the host.
        let (mut first, first_calls, device) = unit(&machine, 3, 3, 0x10_0000);
        let (second, second_calls, other) = unit(&machine, 3, 4, 0x40_0000);
        let before = (of(&machine, 4), second.unit.slots(other), second.read(0x1c, 4));
        assert_eq!(before.0, ["4 - fs4 400000", "4 1 fs4 410000", "4 2 fs4 420000"]);
        first.put_entry(3, 1, &[0]);
        first.put_entry(3, 2, &first_stage(0x90_0000, 6));
        act(&mut first, device);
        assert!(first.is_idle());
        assert!(!first_calls.take().is_empty(), "{name}");
        assert_eq!(second_calls.take(), [""; 0], "{name}");
        let after = (of(&machine, 4), second.unit.slots(other), second.read(0x1c, 4));
        assert_eq!(after, before, "{name}");
        assert_eq!(second.unit.counts().host_calls, 3, "{name}");
        assert!(second.effects().iter().all(|effect| matches!(effect, Effect::Interrupt(_))));
    }
}

// feature: 7.units: a device moves from one to another
#[test]
fn a_device_moves_to_another_unit() {
    let machine = host();
    let (first, _, device) = unit(&machine, 3, 3, 0x10_0000);
    let (second, _, _) = unit(&machine, 4, 4, 0x40_0000);
    second.put_context(6, 0);
    second.put_entry(6, 1, &first_stage(0x70_0000, 5));
    first.unit.release(device).unwrap();
    assert!(first.is_idle());
    assert!(matches!(first.effects()[..], [Effect::Released(found)] if found == device));
    attach(&second, 6, 3);
    assert!(second.is_idle());
    assert_eq!(of(&machine, 3), ["3 1 fs4 700000"]);
    assert_eq!(of(&machine, 4).len(), 3);
    assert_eq!((first.unit.counts().ledger.held, second.unit.counts().ledger.held), (0, 4));
}

// feature: 7.units: a device moves from one to another
#[test]
fn a_device_that_comes_before_it_has_gone_is_bound_when_it_is_tried_again() {
    let machine = host();
    let (first, _, device) = unit(&machine, 3, 3, 0x10_0000);
    let (second, _, _) = unit(&machine, 4, 4, 0x40_0000);
    second.put_context(6, 0);
    second.put_entry(6, 1, &first_stage(0x70_0000, 5));
    let early = attach(&second, 6, 3);
    assert_eq!(second.unit.run(), Step::Idle);
    let refused = second.effects();
    assert!(matches!(refused[..], [Effect::HostCallFailed { device, .. }] if device == early));
    // What the other unit holds is untouched, and nothing counts as bound here.
    assert_eq!(of(&machine, 3), ["3 - fs4 100000", "3 1 fs4 110000", "3 2 fs4 120000"]);
    assert_eq!(second.unit.counts().ledger.held, 3);
    first.unit.release(device).unwrap();
    assert!(first.is_idle());
    second.unit.retry(early).unwrap();
    assert!(second.is_idle());
    assert_eq!(of(&machine, 3), ["3 1 fs4 700000"]);
}

// feature: 7.units: several in one machine
#[test]
fn two_units_at_work_at_once() {
    let machine = host();
    std::thread::scope(|scope| {
        for (device, tables) in [(3, 0x10_0000), (4, 0x40_0000), (5, 0x80_0000)] {
            let machine = &machine;
            scope.spawn(move || {
                let (mut guest, _, id) = unit(machine, 3, device, tables);
                for round in 0..200 {
                    let table = tables + ((round % 7) << 12);
                    guest.put_entry(3, 1, &first_stage(table, 5 + round % 2));
                    guest.put_entry(3, 2, &[0]);
                    assert!(guest.invalidate(&[pasid_domain(5), pasid_domain(6)]));
                    assert_eq!(
                        of(machine, device),
                        [format!("{device} - fs4 {tables:x}"), format!("{device} 1 fs4 {table:x}")]
                    );
                }
                guest.unit.release(id).unwrap();
                assert!(guest.is_idle());
            });
        }
    });
    assert_eq!(held_by(&machine), [""; 0]);
}

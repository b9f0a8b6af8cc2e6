//! Devices that get another source-id.
#![cfg(test)]

mod guest;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use guest::calls::{Calls, Host, held_by, host};
use guest::{
    CONTEXT_GLOBAL, Guest, PASID_GLOBAL, STATUS, context_of, fault_of, first_stage, pasid,
    pass_through, source_id, translate,
};
use vtd::{
    Access, Attachment, DmaError, Effect, RemappingUnit, RenumberError, ResetKind, RestoreOnto,
    Step, UnitConfig,
};

/// The guest page 5000 of PASID 1 leads to 7000 for device 5, and to b000 for device 6.
fn two_contexts() -> Guest {
    let mut guest = Guest::new();
    guest.enable();
    for (device, table, page) in [(5, 0x10_0000, 0x7000), (6, 0x20_0000, 0xb000)] {
        guest.put_context(device, 0);
        guest.put_entry(device, 1, &first_stage(table, device));
        guest.map_first_stage(table, 0x5000, page, 7);
    }
    guest
}

// feature: 7.devices: renumbered (new source-id)
#[test]
fn a_handle_goes_on_under_the_new_source_id() {
    let guest = two_contexts();
    let device = guest.emulate(5);
    let handle = guest.unit.dma(device, Some(pasid(1))).unwrap();
    let read = || translate(&handle, 0x5000, Access::READ);
    assert_eq!(read(), Ok(0x7000));
    guest.unit.renumber(device, source_id(6)).unwrap();
    assert_eq!(read(), Ok(0xb000));
    assert_eq!(guest.unit.devices()[0].source_id, source_id(6));
    assert!(guest.effects().is_empty());
    // Faults are the new one's: read, PP, source-id 30, PASID 1.
    assert_eq!(fault_of(&handle, 0x9000), 0x71);
    assert_eq!(guest.read(0x220, 8), 0x9000);
    assert_eq!(guest.read(0x228, 8), 0xc000_0171_8000_0030);
    // The old one is free, and has nothing of the device's.
    let other = guest.emulate(5);
    let old = guest.unit.dma(other, Some(pasid(1))).unwrap();
    assert_eq!(translate(&old, 0x5000, Access::READ), Ok(0x7000));
    // Back, by way of a free one, and past a context entry that is not there.
    guest.unit.renumber(other, source_id(9)).unwrap();
    guest.unit.renumber(device, source_id(5)).unwrap();
    assert_eq!((fault_of(&old, 0x5000), read()), (0x41, Ok(0x7000)));
}

// feature: 7.devices: renumbered (new source-id)
#[test]
fn invalidations_find_the_new_source_id_alone() {
    let mut guest = two_contexts();
    let device = guest.emulate(5);
    let handle = guest.unit.dma(device, Some(pasid(1))).unwrap();
    guest.unit.renumber(device, source_id(6)).unwrap();
    assert_eq!(translate(&handle, 0x5000, Access::READ), Ok(0xb000));
    // The context entry of 00:06.0 goes. What names the old source-id does not drop it from the caches, what names the new does.
    guest.put(0x2000 + 6 * 8 * 32, &[0]);
    assert!(guest.invalidate(&[context_of(5)]));
    assert_eq!(translate(&handle, 0x5000, Access::READ), Ok(0xb000));
    assert!(guest.invalidate(&[context_of(6)]));
    assert_eq!(fault_of(&handle, 0x5000), 0x41);
}

// feature: 7.devices: renumbered (new source-id)
#[test]
fn what_is_in_flight_stays_good() {
    let mut guest = two_contexts();
    let device = guest.emulate(5);
    let handle = guest.unit.dma(device, Some(pasid(1))).unwrap();
    let guard = handle.guard();
    let before = guard.translate(vtd::spec::Iova(0x5000), Access::READ).unwrap();
    guest.unit.renumber(device, source_id(6)).unwrap();
    assert_eq!(before.address().0, 0x7000);
    // Later requests in the same guard are the new one's.
    let after = guard.translate(vtd::spec::Iova(0x5000), Access::READ).unwrap();
    assert_eq!(after.address().0, 0xb000);
    assert!(!guest.invalidate(&[CONTEXT_GLOBAL]));
    drop(guard);
    assert!(guest.is_idle());
    assert_eq!(guest.get(STATUS), 1);
}

// feature: 7.devices: renumbered (new source-id)
#[test]
fn refusals() {
    let machine = host();
    let mut guest = Guest::with_host(Arc::clone(&machine) as _);
    guest.enable();
    guest.put_context(3, 0);
    guest.put_entry(3, 0, &pass_through(1));
    let assigned = guest.assign(3);
    let emulated = guest.emulate(5);
    let renumber = |device, to| guest.unit.renumber(device, source_id(to));
    assert_eq!(renumber(emulated, 3), Err(RenumberError::SourceIdTaken(source_id(3))));
    assert_eq!(renumber(assigned, 5), Err(RenumberError::SourceIdTaken(source_id(5))));
    assert_eq!((renumber(assigned, 3), renumber(emulated, 5)), (Ok(()), Ok(())));
    // While a release is under way, and after it.
    machine.fail_calls(|_| true);
    guest.unit.release(assigned).unwrap();
    assert_eq!(guest.unit.run(), Step::Waiting);
    assert_eq!(renumber(assigned, 4), Err(RenumberError::Releasing(source_id(3))));
    assert_eq!(renumber(emulated, 3), Err(RenumberError::SourceIdTaken(source_id(3))));
    machine.stop_failing();
    guest.unit.retry(assigned).unwrap();
    assert!(guest.is_idle());
    assert_eq!(renumber(assigned, 4), Err(RenumberError::UnknownDevice));
    assert_eq!(renumber(emulated, 3), Ok(()));
    guest.unit.release(emulated).unwrap();
    assert!(guest.is_idle());
    assert_eq!(renumber(emulated, 5), Err(RenumberError::UnknownDevice));
    let handle = guest.unit.dma(guest.emulate(3), None).unwrap();
    assert_eq!(translate(&handle, 0x1000, Access::READ), Ok(0x1000));
    assert_eq!(held_by(&machine), [""; 0]);
}

/// Device 3, assigned, with bindings under 00:03.0; others are in the context of 00:07.0.
fn assigned() -> (Guest, Host, Arc<Calls>) {
    let (machine, calls) = (host(), Arc::new(Calls::default()));
    let mut guest = Guest::made(guest::caps(), |config| {
        config.host = Some(Arc::clone(&machine) as _);
        config.observer = Some(Arc::clone(&calls) as _);
    });
    guest.enable();
    guest.put_context(3, 0);
    guest.put_context(7, 0);
    for (device, entries) in [
        (3, [Some(0x10_0000), Some(0x11_0000), Some(0x12_0000), Some(0x13_0000), None]),
        (7, [Some(0x10_0000), Some(0x11_0000), Some(0x22_0000), None, Some(0x24_0000)]),
    ] {
        for (pasid, table) in (0..).zip(entries) {
            let entry = table.map_or([0; 3], |table| first_stage(table, device));
            guest.put_entry(device, pasid, &entry);
        }
    }
    guest.assign(3);
    calls.take();
    (guest, machine, calls)
}

const UNDER_SEVEN: [&str; 4] =
    ["3 - fs4 100000", "3 1 fs4 110000", "3 2 fs4 220000", "3 4 fs4 240000"];

// feature: 7.devices: renumbered (new source-id)
#[test]
fn equal_bindings_stay_without_a_call() {
    let (mut guest, machine, calls) = assigned();
    let device = guest.unit.devices()[0].id;
    guest.unit.renumber(device, source_id(7)).unwrap();
    assert!(guest.is_idle());
    assert_eq!(
        calls.take(),
        ["replace 00:07.0 2 fs4 220000 7", "unbind 00:07.0 3", "bind 00:07.0 4 fs4 240000 7"]
    );
    assert_eq!(held_by(&machine), UNDER_SEVEN);
    // The domains of the bindings that stay are the new ones.
    guest.put_entry(7, 1, &[0]);
    assert!(guest.invalidate(&[guest::pasid_selective(7, 1)]));
    assert_eq!(calls.take(), ["unbind 00:07.0 1"]);
    // To where there is no context entry: nothing is bound.
    guest.unit.renumber(device, source_id(9)).unwrap();
    assert!(guest.is_idle());
    assert_eq!(held_by(&machine), [""; 0]);
    assert_eq!(guest.unit.counts().ledger.held, 0);
}

// feature: 7.devices: renumbered (new source-id)
#[test]
fn a_renumbering_at_any_moment() {
    for what in ["nothing", "queue", "root", "te off", "reset", "failing"] {
        for steps in 0..24 {
            for save in [None, Some(RestoreOnto::SameHost), Some(RestoreOnto::FreshHost)] {
                let (mut guest, mut machine, _calls) = assigned();
                let device = guest.unit.devices()[0].id;
                match what {
                    "queue" => guest.ring(&[CONTEXT_GLOBAL, PASID_GLOBAL, guest::wait(9)]),
                    "root" => guest.write(0x18, 4, 0xc400_0000),
                    "te off" => guest.write(0x18, 4, 0x0400_0000),
                    "reset" => guest.unit.reset(ResetKind::PowerOn),
                    "failing" => machine.fail_nth(steps / 6 + 1),
                    _ => {}
                }
                for _ in 0..steps / 2 {
                    let _step = guest.unit.step(1);
                }
                guest.unit.renumber(device, source_id(7)).unwrap();
                for _ in 0..steps / 3 {
                    let _step = guest.unit.step(1);
                }
                if let Some(onto) = save {
                    let state = guest.unit.save().unwrap();
                    if onto == RestoreOnto::FreshHost {
                        machine = host();
                    }
                    let mut config = UnitConfig::new(guest::caps(), Arc::clone(&guest.memory) as _);
                    config.host = Some(Arc::clone(&machine) as _);
                    guest.unit = RemappingUnit::restore(config, &state, onto).unwrap();
                }
                let name = format!("{what} {steps} {save:?}");
                assert!(guest.is_idle(), "{name}");
                if what == "failing" {
                    machine.stop_failing();
                    guest.unit.retry(device).unwrap();
                    assert!(guest.is_idle(), "{name}");
                }
                let expected = match what {
                    "te off" | "reset" => &["3 - pt 0"],
                    _ => &UNDER_SEVEN[..],
                };
                assert_eq!(held_by(&machine), expected, "{name}");
                assert_eq!(guest.unit.devices()[0].source_id, source_id(7), "{name}");
                let status = u64::from(what == "queue") * 9;
                assert_eq!(guest.get(STATUS), status, "{name}");
            }
        }
    }
}

#[test]
fn nothing_of_the_old_source_id_gets_into_the_caches() {
    let guest = two_contexts();
    let device = guest.emulate(5);
    let handle = guest.unit.dma(device, Some(pasid(1))).unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let done = &done;
        for _ in 0..2 {
            let handle = handle.clone();
            scope.spawn(move || {
                while !done.load(Ordering::Relaxed) {
                    let found = translate(&handle, 0x5000, Access::READ);
                    assert!(matches!(found, Ok(0x7000 | 0xb000)), "{found:?}");
                }
            });
        }
        for _ in 0..2_000 {
            for (id, page) in [(6, 0xb000), (5, 0x7000)] {
                guest.unit.renumber(device, source_id(id)).unwrap();
                assert_eq!(translate(&handle, 0x5000, Access::READ), Ok(page));
            }
        }
        done.store(true, Ordering::Relaxed);
    });
    guest.unit.release(device).unwrap();
    assert_eq!(translate(&handle, 0x5000, Access::READ), Err(DmaError::Released));
    assert!(guest.is_idle());
    assert!(matches!(guest.effects()[..], [Effect::Released(_)]));
    let attachment = Attachment::Emulated;
    for id in [5, 6] {
        guest.unit.attach(source_id(id), attachment).unwrap();
    }
}

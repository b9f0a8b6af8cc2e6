//! Tables whose walk does not end in a lifetime, and what goes on all the same.

use std::time::{Duration, Instant};

use vtd::{Effect, ResetKind, Step};

use crate::guest::{IOTLB_GLOBAL, STATUS, second_stage, source_id, wait};
use crate::machine::{A, Machine};

/// A table of four levels, 2^36 pages, without any: each of its tables leads to the one below it from every entry.
fn put_empty(machine: &Machine) {
    for index in 0..512 {
        for level in 0..3 {
            machine.guest.put(A + level * 0x1000 + index * 8, &[A + (level + 1) * 0x1000 | 3]);
        }
    }
    machine.guest.put(A + 0x3028, &[0]);
}

fn unending() -> Machine {
    let machine = Machine::new();
    put_empty(&machine);
    machine.guest.put_entry(3, 0, &second_stage(A, 5));
    machine
}

fn attach(machine: &Machine, device: u64) {
    let attachment = vtd::Attachment::Assigned(vtd::host::HostDevice(device));
    machine.guest.unit.attach(source_id(device), attachment).unwrap();
}

// feature: 7.shadows: tables without an end
#[test]
fn a_step_stays_bounded() {
    let machine = unending();
    attach(&machine, 3);
    let began = Instant::now();
    for _ in 0..100 {
        assert_eq!(machine.guest.unit.step(1_000), Step::More);
    }
    assert!(began.elapsed() < Duration::from_secs(20));
    // A register write does its share at most, and a read none.
    machine.guest.write(0x38, 4, 0x8000_0000);
    assert_eq!(machine.guest.read(0x1c, 4), 0xc400_0000);
}

// feature: 7.shadows: tables without an end
#[test]
fn a_release_does_not_wait_for_it() {
    // Of the device whose table it is, and of another.
    for released in [3, 4] {
        let machine = unending();
        attach(&machine, 3);
        attach(&machine, 4);
        for _ in 0..10 {
            let _step = machine.guest.unit.step(1_000);
        }
        let device = machine.guest.unit.devices();
        let device =
            device.iter().find(|device| device.source_id == source_id(released)).unwrap().id;
        machine.guest.unit.release(device).unwrap();
        let mut steps = 0;
        while !machine.guest.effects().iter().any(|effect| matches!(effect, Effect::Released(_))) {
            let _step = machine.guest.unit.step(1_000);
            steps += 1;
            assert!(steps < 50, "00:0{released}.0 is not released");
        }
        let left: Vec<_> = machine.held();
        assert!(left.iter().all(|held| !held.starts_with(&released.to_string())), "{left:?}");
    }
}

// feature: 7.shadows: tables without an end
#[test]
fn a_reset_ends_it() {
    let machine = unending();
    attach(&machine, 3);
    for _ in 0..10 {
        let _step = machine.guest.unit.step(1_000);
    }
    machine.guest.unit.reset(ResetKind::Warm);
    assert!(machine.guest.is_idle());
    assert_eq!(machine.held(), ["3 - pt 0"]);
}

// feature: 7.shadows: tables without an end
#[test]
fn the_guest_ends_it_by_turning_translation_off() {
    let mut machine = Machine::new();
    machine.guest.put_entry(3, 0, &second_stage(A, 5));
    machine.guest.assign(3);
    put_empty(&machine);
    machine.guest.ring(&[IOTLB_GLOBAL, wait(0x11)]);
    for _ in 0..10 {
        assert_eq!(machine.guest.unit.step(1_000), Step::More);
    }
    assert_eq!(machine.guest.get(STATUS), 0, "the guest's own queue waits");
    assert_eq!(machine.held(), ["3 - ss4 200000"]);
    machine.guest.command(0x0400_0000);
    assert_eq!((machine.guest.get(STATUS), machine.guest.read(0x1c, 4)), (0x11, 0x4400_0000));
    assert_eq!(machine.held(), ["3 - pt 0"]);
}

// feature: 7.shadows: tables without an end
/// A table that leads to itself has endless leaves as well: the quota ends that.
#[test]
fn a_table_that_leads_to_itself_ends_at_the_quota() {
    let quotas = vtd::Quotas { mappings_per_device: 100, ..vtd::Quotas::default() };
    let mut machine = Machine::with_quotas(quotas);
    for index in 0..512 {
        machine.guest.put(A + index * 8, &[A | 3]);
    }
    machine.guest.put_entry(3, 0, &second_stage(A, 5));
    machine.guest.assign(3);
    assert!(machine.guest.is_idle());
    assert_eq!(machine.guest.unit.counts().ledger.mapped, 100);
    let began = Instant::now();
    assert_eq!(machine.invalidate(&[IOTLB_GLOBAL]), [""; 0]);
    assert!(began.elapsed() < Duration::from_secs(20));
}

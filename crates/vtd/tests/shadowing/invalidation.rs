//! Type 2 and register-based invalidations: what is mapped follows, before anything behind them is done.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use vtd::host::HostCall;

use crate::guest::{IOTLB_GLOBAL, PASID_GLOBAL, STATUS, second_stage, wait};
use crate::machine::{A, B, Machine, iotlb_domain, iotlb_pages};

/// Slot Rid holds table A with domain 5, PASID 7 table B with domain 6.
fn machine() -> Machine {
    let machine = Machine::new();
    machine.guest.put_entry(3, 0, &second_stage(A, 5));
    machine.guest.put_entry(3, 7, &second_stage(B, 6));
    machine.guest.assign(3);
    machine.calls.take();
    machine
}

// feature: 7.shadows: in step with second-stage invalidations (type 2, IOTLB)
#[test]
fn type_2_by_every_granularity() {
    let rows: [([u64; 4], &[&str]); 9] = [
        (IOTLB_GLOBAL, &["unmap - 5+1", "map - 80+1", "map 7 80+1"]),
        (iotlb_domain(5), &["unmap - 5+1", "map - 80+1"]),
        (iotlb_domain(6), &["map 7 80+1"]),
        (iotlb_domain(7), &[]),
        (iotlb_pages(5, 0x5000, 0), &["unmap - 5+1"]),
        (iotlb_pages(5, 0x8_0000, 0), &["map - 80+1"]),
        (iotlb_pages(5, 0x6000, 0), &[]),
        // The low bits of the address are ignored: pages 0 to ff.
        (iotlb_pages(5, 0x8_0000, 8), &["unmap - 5+1", "map - 80+1"]),
        (iotlb_pages(6, 0x8_0000, 8), &["map 7 80+1"]),
    ];
    for (descriptor, calls) in rows {
        let mut machine = machine();
        machine.guest.put(A + 0x3028, &[0]);
        machine.guest.map_second_stage(A, 0x8_0000, 0x8_0000, 3);
        machine.guest.map_second_stage(B, 0x8_0000, 0x8_0000, 3);
        assert_eq!(machine.invalidate(&[PASID_GLOBAL]), [""; 0], "that names no translation");
        assert_eq!(machine.invalidate(&[descriptor]), calls, "{descriptor:x?}");
        assert_eq!(machine.invalidate(&[descriptor]), [""; 0], "nothing is left");
    }
}

// feature: 7.shadows: in step with second-stage invalidations (type 2, IOTLB)
#[test]
fn the_register_based_interface_in_legacy_mode() {
    // (IVA, IOTLB_REG, calls)
    let rows: [(u64, u64, &[&str]); 4] = [
        (0, 0x9000_0000_0000_0000, &["unmap - 5+1", "map - 80+1"]),
        (0, 0xa000_0007_0000_0000, &["unmap - 5+1", "map - 80+1"]),
        (0, 0xa000_0008_0000_0000, &[]),
        (0x8_0000, 0xb000_0007_0000_0000, &["map - 80+1"]),
    ];
    for (address, command, calls) in rows {
        let machine = Machine::legacy(0);
        machine.guest.assign(3);
        machine.guest.command(0x8000_0000);
        machine.guest.put(A + 0x3028, &[0]);
        machine.guest.map_second_stage(A, 0x8_0000, 0x8_0000, 3);
        machine.calls.take();
        machine.guest.write(0xf0, 8, address);
        machine.guest.write(0xf8, 8, command);
        assert_eq!(
            machine.guest.read(0xf8, 8) >> 63,
            u64::from(!calls.is_empty()),
            "until it is so"
        );
        assert!(machine.guest.is_idle());
        assert_eq!(machine.guest.read(0xf8, 8) >> 63, 0);
        assert_eq!(machine.short(), calls, "{command:x}");
    }
}

// feature: 7.shadows: waits follow the mappings
/// At every call the wait behind it is not done, whatever the budget; with a fill and with changes.
#[test]
fn every_effect_is_seen_before_the_wait_behind_it() {
    for budget in [1, 2, 7, 100_000] {
        let mut machine = machine();
        let early = Arc::new(AtomicBool::new(false));
        let (memory, seen) = (Arc::clone(&machine.guest.memory), Arc::clone(&early));
        machine.host.fail_calls(move |call| {
            let mut status = [0; 4];
            memory.read_bytes(vtd::spec::Gpa(STATUS), &mut status).unwrap();
            let done = matches!(call, HostCall::Map { .. } | HostCall::Unmap { .. });
            seen.fetch_or(done && status != [0; 4], Ordering::SeqCst);
            false
        });
        for index in 0..20 {
            machine.guest.map_second_stage(A, 0x10_0000 + index * 0x2000, 0x8_0000, 3);
            machine.guest.map_second_stage(B, 0x10_0000 + index * 0x2000, 0x8_0000, 3);
        }
        machine.guest.put(A + 0x3028, &[0]);
        machine.guest.put_entry(3, 9, &second_stage(B, 6));
        machine.guest.ring(&[PASID_GLOBAL, IOTLB_GLOBAL, wait(0x11)]);
        for _ in 0..100_000 {
            if machine.guest.unit.step(budget) == vtd::Step::Idle {
                break;
            }
        }
        assert_eq!(machine.guest.get(STATUS) & 0xffff_ffff, 0x11, "budgets of {budget}");
        assert_eq!(machine.mapped().len(), 20 + 21 + 21);
        assert!(!early.load(Ordering::SeqCst), "a wait was done before what it waits for");
    }
}

// feature: 7.shadows: hosts that can cut a mapping, and hosts that cannot
#[test]
fn a_host_that_does_not_cut_is_given_each_leaf() {
    for cuts in [true, false] {
        let mut machine = Machine::made(cuts, |_| {});
        machine.guest.put_context(3, 0);
        machine.guest.enable();
        for index in 0..4 {
            machine.guest.map_second_stage(A, index << 12, 0x8_0000 + (index << 12), 3);
        }
        machine.guest.put_entry(3, 0, &second_stage(A, 5));
        machine.guest.assign(3);
        assert_eq!(machine.mapped().len(), if cuts { 1 } else { 4 });
        machine.guest.put(A + 0x3008, &[0]);
        assert_eq!(machine.invalidate(&[iotlb_pages(5, 0x1000, 0)]), ["unmap - 1+1"]);
        assert_eq!(machine.mapped().len(), if cuts { 2 } else { 3 });
        // 2 MiB in place of the table: a window over one page of it.
        machine.guest.put(A + 0x2000, &[0x4000_0083]);
        let calls = machine.invalidate(&[iotlb_pages(5, 0x2000, 0)]);
        let expected: &[&str] = match cuts {
            true => &["unmap - 2+1", "map - 2+1"],
            false => &["unmap - 0+1", "unmap - 2+1", "unmap - 3+1", "map - 0+200"],
        };
        assert_eq!(calls, expected);
    }
}

//! The interrupt entry cache, type 4 descriptors, and the listener.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use vtd::{
    Capacities, InterruptListener, InvalidatedInterruptEntries, RemappingUnit, ResetKind, Step,
};

use crate::guest::{self, Guest, STATUS};
use crate::machine::*;

// feature: 6.interrupt entry cache: global and index-selective invalidation (type 4)
#[test]
fn what_an_invalidation_drops() {
    let table = [
        // descriptor, indices dropped of 0 to ff
        (INTERRUPTS_GLOBAL, 0..=0xff),
        (interrupts(0x10, 0), 0x10..=0x10),
        (interrupts(0x10, 2), 0x10..=0x13),
        // IIDX as it stands need not be aligned.
        (interrupts(0x13, 2), 0x10..=0x13),
        (interrupts(0x80, 7), 0x80..=0xff),
        (interrupts(0x80, 8), 0..=0xff),
        (interrupts(0xff, 15), 0..=0xff),
        // Past the table.
        (interrupts(0xffff, 4), 0xfff0..=0xffff),
    ];
    for (descriptor, dropped) in table {
        let mut guest = on(|_| {});
        for index in 0..256 {
            put_entry(&guest, index, entry(0x31));
            assert_eq!(vector(&guest, index), Ok(0x31));
            put_entry(&guest, index, entry(0x32));
        }
        assert!(guest.invalidate(&[descriptor]));
        for index in 0..256 {
            let expected = if dropped.contains(&index) { 0x32 } else { 0x31 };
            assert_eq!(vector(&guest, index), Ok(expected), "{descriptor:x?} {index:x}");
        }
    }
}

// feature: 6.interrupt entry cache: entries that fault are not kept
/// Not-present and malformed entries are not kept, and without a cache nothing is.
#[test]
fn what_is_cached() {
    let guest = on(|_| {});
    assert_eq!(vector(&guest, 3), Err(0x22));
    put_entry(&guest, 3, [0x0031_1001, 0]);
    assert_eq!(vector(&guest, 3), Err(0x24));
    put_entry(&guest, 3, entry(0x31));
    assert_eq!(vector(&guest, 3), Ok(0x31));
    let guest = on(|config| config.capacities = Capacities::NONE);
    for vector_now in 0x20..0x40 {
        put_entry(&guest, 3, entry(u64::from(vector_now)));
        assert_eq!(vector(&guest, 3), Ok(vector_now));
    }
}

// feature: 3.bounded work and memory, whatever the guest writes
/// An invalidation of many indices looks at as many places, and takes as much of the budget.
#[test]
fn a_queue_of_wide_invalidations_is_served_piece_by_piece() {
    let guest = on(|_| {});
    for place in 0..0x1000 {
        guest.put(0x10_0000 + place * 16, &interrupts(0, 12)[..2]);
    }
    guest.command(IRE);
    guest.write(0x88, 8, 0);
    guest.write(0x90, 8, 0x10_0007);
    guest.command(0x0600_0000);
    guest.write(0x88, 8, 0xfff0);
    // 4,096 places each, 64 of which count as one entry of a table.
    assert!((1..=64).contains(&(guest.read(0x80, 8) / 16)), "{:x}", guest.read(0x80, 8));
    assert!(guest.is_idle());
    assert_eq!(guest.read(0x80, 8), 0xfff0);
}

// feature: 6.interrupt entry cache: index masks up to ECAP.MHMV (IM)
#[test]
fn index_masks_up_to_mhmv() {
    let mut guest = on(|_| {});
    assert!(guest.invalidate(&[interrupts(0, 15)]));
    assert!(!guest.invalidate(&[interrupts(0, 16)]));
    assert_eq!((guest.read(0x34, 4), guest.read(0xb0, 8)), (0x10, 4));
}

// feature: 6.listener: told before the wait behind an invalidation completes
#[test]
fn the_listener_is_told_in_order() {
    let (mut guest, log) = heard();
    guest.ring(&[interrupts(0x12, 1), guest::wait(1), INTERRUPTS_GLOBAL, guest::wait(2)]);
    // A register write calls nobody, so nothing completes.
    assert_eq!(log.take(), [""; 0]);
    assert_eq!((guest.get(STATUS), guest.read(0x80, 8)), (0, 0));
    assert!(guest.is_idle());
    assert_eq!(log.take(), ["seen 12 2", "told 12 2", "wait 1", "seen all", "told all", "wait 2"]);
    // SIRTP, IRE, CFI and a reset: all, and before the status changes.
    let expect = |what: &str, before: u64, after: u64| {
        assert_eq!((log.take().len(), guest.read(0x1c, 4)), (0, before), "{what}");
        let _left = guest.unit.run();
        assert_eq!(log.take(), ["seen all", "told all"], "{what}");
        assert_eq!(guest.read(0x1c, 4), after, "{what}");
    };
    guest.write(0x18, 4, 0x0700_0000);
    expect("SIRTP", 0x0600_0000, 0x0700_0000);
    guest.write(0x18, 4, 0x0400_0000);
    expect("IRE off", 0x0700_0000, 0x0500_0000);
    guest.write(0x18, 4, 0x0480_0000);
    expect("CFI on", 0x0500_0000, 0x0580_0000);
    guest.write(0x18, 4, 0x0680_0000);
    expect("IRE on", 0x0580_0000, 0x0780_0000);
    guest.unit.reset(ResetKind::Warm);
    expect("reset", 0, 0);
    // No change, nothing to tell.
    guest.command(0);
    assert_eq!(log.take(), [""; 0]);
}

/// Several changes in one command are told one after the other.
#[test]
fn changes_at_once_are_told_one_by_one() {
    let (guest, log) = heard();
    guest.write(0x18, 4, 0x0580_0000);
    assert_eq!(guest.unit.step(1), Step::More);
    guest.command(0x0480_0000);
    assert_eq!(guest.read(0x1c, 4), 0x0580_0000);
    assert_eq!(log.take().iter().filter(|line| *line == "told all").count(), 3);
}

#[test]
fn the_observer_hears_of_requests() {
    let (guest, log) = heard();
    put_entry(&guest, 3, entry(0x31));
    assert_eq!(remap(&guest, 0xfee0_0070, 5), Ok((0xfee0_1000, 0x31)));
    assert_eq!(remap(&guest, 0xfee0_0090, 0), Err(0x22));
    let _route = guest.unit.route_interrupt(vtd::spec::SourceId(1), 0xfee0_0070, 0);
    assert_eq!(
        log.take(),
        [
            "00:03.0 fee00070 5: fee01000 31",
            "00:03.0 fee00090 0: blocked: interrupt remapping entry not present (22)",
        ]
    );
}

/// A listener that keeps a route up to date by asking the unit again.
struct Router {
    unit: std::sync::OnceLock<RemappingUnit>,
    route: AtomicU64,
}

impl Router {
    fn ask(&self) {
        let unit = self.unit.get().unwrap();
        let found = unit.route_interrupt(vtd::spec::SourceId(REQUESTER), request(3), 0);
        let vector = found.map_or(0, |interrupt| u64::from(interrupt.vector));
        self.route.store(vector, Ordering::SeqCst);
    }
}

impl InterruptListener for Router {
    fn entries_invalidated(&self, entries: InvalidatedInterruptEntries) {
        if entries.contains(Some(3)) && self.unit.get().is_some() {
            self.ask();
        }
    }
}

// feature: 6.listener: may translate anew
#[test]
fn a_kept_route_follows_the_entries() {
    let router = Arc::new(Router { unit: Default::default(), route: AtomicU64::new(0) });
    let mut guest: Guest = on(|config| config.interrupt_listener = Some(Arc::clone(&router) as _));
    assert!(router.unit.set(guest.unit.clone()).is_ok());
    let route = || router.route.load(Ordering::SeqCst);
    put_entry(&guest, 3, entry(0x31));
    assert!(guest.invalidate(&[interrupts(4, 0)]));
    assert_eq!(route(), 0, "another entry");
    assert!(guest.invalidate(&[interrupts(2, 1)]));
    assert_eq!(route(), 0x31);
    put_entry(&guest, 3, [0, 0]);
    assert!(guest.invalidate(&[INTERRUPTS_GLOBAL]));
    assert_eq!((route(), guest.read(0x34, 4)), (0, 0), "blocked, and no fault yet");
}

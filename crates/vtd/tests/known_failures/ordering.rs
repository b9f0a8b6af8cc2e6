//! Row 29, and row 24 where it is about the host: what is done before what.

use std::sync::{Arc, Mutex};

use vtd::spec::Iova;
use vtd::{Access, Step};

use crate::guest::Guest;
use crate::raw::*;

// feature: 7.bindings: waits follow the calls of the host
#[test]
fn known_failure_29_host_calls_come_before_the_wait_behind_them() {
    let guest = Guest::new();
    guest.set_pasid(5, first_stage(FIRST_A, 7));
    guest.set_pasid(6, first_stage(FIRST_A, 7));
    let _device = guest.assigned();
    guest.set_pasid(5, first_stage(FIRST_B, 7));
    guest.set_pasid(6, ABSENT);
    guest.set_pasid(7, pass_through(7));
    guest.take_tape();
    guest.ring(&[
        pasid_cache_of_pasid(7, 5),
        wait(1),
        pasid_iotlb(7, 5),
        pasid_cache_of_pasid(7, 6),
        wait(2),
        iotlb_of_domain(7),
        pasid_cache_of_domain(7),
        wait(3),
    ]);
    guest.run();
    assert_eq!(
        guest.take_tape(),
        [
            "replace 1 5 fs4 110000",
            "status 1",
            "invalidate 1 5 0 all",
            "unbind 1 6",
            "status 2",
            "invalidate 1 5 0 all",
            "bind 1 7 pt 0",
            "status 3",
        ]
    );
}

// feature: 7.bindings: waits follow the calls of the host
/// A register write calls no host, so it completes no wait behind a descriptor that has to.
#[test]
fn known_failure_29_a_register_write_completes_no_wait_ahead_of_the_host() {
    let guest = Guest::new();
    guest.set_pasid(5, first_stage(FIRST_A, 7));
    let _device = guest.assigned();
    for descriptor in
        [pasid_cache_of_pasid(7, 5), pasid_iotlb(7, 5), context_cache_of_device(DEVICE)]
    {
        guest.set_pasid(5, first_stage(FIRST_A, 7));
        guest.flush(&[PASID_CACHE]);
        guest.set_pasid(5, first_stage(FIRST_B, 7));
        guest.take_tape();
        guest.ring(&[descriptor, wait(9)]);
        assert_eq!(guest.take_tape(), [""; 0], "nothing has happened yet: {descriptor:x?}");
        guest.run();
        let tape = guest.take_tape();
        assert_eq!(tape.len(), 2, "{tape:?}");
        assert_eq!(tape[1], "status 9", "{tape:?}");
    }
}

// feature: 3.queue: waits follow DMA under way
#[test]
fn known_failure_29_a_transfer_under_way_holds_back_the_wait() {
    for descriptors in [
        vec![pasid_cache_of_pasid(7, 5), pasid_iotlb(7, 5)],
        vec![pasid_iotlb(7, 5)],
        vec![pasid_iotlb_of_pages(7, 5, PAGE, 0)],
        vec![iotlb_of_domain(7)],
        vec![IOTLB],
        vec![context_cache_of_device(DEVICE)],
        vec![PASID_CACHE],
    ] {
        let guest = Guest::new();
        guest.set_pasid(5, first_stage(FIRST_A, 7));
        let dma = guest.emulated();
        let handle = dma.handle(Some(5));
        let guard = handle.guard();
        let found = guard.translate(Iova(PAGE), Access::WRITE).map(|found| found.address().0);
        assert_eq!(found, Ok(FRAME_A));
        guest.set_pasid(5, ABSENT);
        assert!(!guest.try_flush(&descriptors), "a guard is open: {descriptors:x?}");
        assert_eq!(guest.unit.step(1000), Step::Waiting);
        let waiting = descriptors.len() as u64 * 32;
        assert_eq!(guest.read64(IQH), waiting, "IQH is at the wait");
        drop(guard);
        guest.run();
        assert!(guest.is_flushed(), "the guard is closed: {descriptors:x?}");
        assert_eq!(guest.read64(IQH), waiting + 32);
    }
}

// feature: 7.bindings: waits follow the calls of the host
#[test]
fn known_failure_29_a_binding_that_the_host_keeps_holds_back_the_wait() {
    let guest = Guest::new();
    guest.set_pasid(5, first_stage(FIRST_A, 7));
    let device = guest.assigned();
    guest.fail_host_calls(|call| matches!(call, vtd::host::HostCall::Unbind { .. }));
    guest.set_pasid(5, ABSENT);
    assert!(!guest.try_flush(&[pasid_cache_of_pasid(7, 5)]), "the host still holds it");
    assert!(device.bound(5).is_some());
    guest.fail_host_calls(|_| false);
    guest.unit.retry(device.id).unwrap();
    guest.run();
    assert_eq!(device.bound(5), None);
    assert!(guest.is_flushed(), "the host has given it up");
}

// feature: 7.bindings: waits follow the calls of the host
/// GSTS.TES and RTPS say that translation has changed: not before the host has been told.
#[test]
fn known_failure_29_global_status_follows_the_host_calls() {
    let guest = Guest::of(crate::guest::Shape::default());
    guest.set_pasid(0, first_stage(FIRST_A, 7));
    guest.set_pasid(5, first_stage(FIRST_A, 7));
    let device = guest.assigned();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let (unit, log) = (guest.unit.clone(), Arc::clone(&seen));
    guest.on_host_calls(move || log.lock().unwrap().push(unit.read(GSTS, 4)));

    guest.command(QIE);
    assert_eq!(device.rid_bound().as_deref(), Some("pt 0"), "translation is off");
    assert_eq!(guest.read32(GSTS) & TE, 0);
    let during = std::mem::take(&mut *seen.lock().unwrap());
    assert_eq!(during.len(), 2, "a replace and an unbind");
    assert!(during.iter().all(|status| status & TE != 0), "TES was still set: {during:x?}");

    guest.command(QIE | TE);
    assert_eq!(guest.read32(GSTS) & TE, TE);
    let during = std::mem::take(&mut *seen.lock().unwrap());
    assert!(during.len() == 2 && during.iter().all(|status| status & TE == 0), "{during:x?}");

    guest.ram.put(ROOT + 0x4_0000, &[0, 0]);
    guest.write64(RTADDR, ROOT + 0x4_0000 | 0x400);
    guest.command(QIE | TE | SRTP);
    assert_eq!(guest.read32(GSTS) & SRTP, SRTP);
    let during = std::mem::take(&mut *seen.lock().unwrap());
    assert!(during.len() == 2 && during.iter().all(|status| status & SRTP == 0), "{during:x?}");
}

// feature: 3.queue: every size, head and tail (IQA.QS, IQH, IQT)
#[test]
fn known_failure_24_iqh_stays_at_a_descriptor_while_the_host_is_called() {
    let guest = Guest::new();
    guest.set_pasid(5, first_stage(FIRST_A, 7));
    let _device = guest.assigned();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let (unit, log) = (guest.unit.clone(), Arc::clone(&seen));
    guest.on_host_calls(move || log.lock().unwrap().push(unit.read(IQH, 8)));
    guest.set_pasid(5, first_stage(FIRST_B, 7));
    guest.set_pasid(6, pass_through(7));
    guest.ring(&[
        iotlb_of_domain(7),
        pasid_cache_of_pasid(7, 5),
        pasid_iotlb(7, 5),
        pasid_cache_of_domain(7),
        wait(1),
    ]);
    guest.run();
    let places = std::mem::take(&mut *seen.lock().unwrap());
    assert_eq!(places, [0, 0x20, 0x40, 0x60], "each call within its own descriptor");
    assert_eq!(guest.read64(IQH), 0xa0);
}

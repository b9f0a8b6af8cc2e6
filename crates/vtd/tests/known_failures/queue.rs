//! Rows 13 to 16, 21, 24 and 25: the invalidation queue.

use std::sync::{Arc, Mutex};

use vtd::spec::Gpa;

use crate::guest::{Guest, Shape};
use crate::ram::Moment;
use crate::raw::*;

/// All that descriptors can need.
const EVERYTHING: u64 = ECAP | ECAP_IR | ECAP_PRS | ECAP_DIT | ECAP_PDS;

/// One descriptor of each type.
fn each_type() -> [[u64; 4]; 9] {
    [
        context_cache_of_device(DEVICE),
        IOTLB,
        [3 | u64::from(DEVICE) << 32, 0x7fff_ffff_ffff_f001, 0, 0],
        [4, 0, 0, 0],
        wait(0x77),
        pasid_iotlb(7, 5),
        PASID_CACHE,
        [8 | u64::from(DEVICE) << 16 | 5 << 32, 0x7fff_ffff_ffff_f800, 0, 0],
        [9 | 1 << 4 | u64::from(DEVICE) << 16 | 5 << 32, 4, 0, 0],
    ]
}

fn check_closes(guest: &Guest, told: &str) {
    guest.command(TE);
    assert_eq!(guest.read32(GSTS) & QIE, 0, "QIES follows QIE, {told}");
    assert_eq!(guest.read32(GSTS) & TE, TE, "translation stays on, {told}");
    assert_eq!(guest.read64(IQH), 0, "IQH is 0 while the queue is off, {told}");
    guest.write32(FSTS, IQE);
    guest.ram.put(QUEUE, &wait(0xabc));
    guest.write64(IQT, 0x20);
    guest.command(TE | QIE);
    assert_eq!(guest.read32(GSTS) & QIE, QIE, "the queue is enabled again, {told}");
    assert_eq!(guest.ram.status(STATUS), 0xabc, "and begins at 0, with the tail there is, {told}");
    assert_eq!(guest.read64(IQH), 0x20, "{told}");
}

// feature: 3.queue: disabled and enabled at any moment (QIE, QIES)
#[test]
fn known_failure_13_the_queue_closes_whatever_came_last() {
    for last in each_type() {
        let guest = Guest::of(Shape { ecap: EVERYTHING, ..Shape::default() });
        guest.ring(&[IOTLB, wait(1), last]);
        guest.run();
        assert_eq!(guest.read64(IQH), 0x60);
        check_closes(&guest, &format!("after {last:x?}"));
    }
}

// feature: 3.queue: disabled and enabled at any moment (QIE, QIES)
#[test]
fn known_failure_13_the_queue_closes_empty_and_stopped() {
    let guest = Guest::new();
    check_closes(&guest, "with nothing in it");

    let guest = Guest::new();
    guest.ring(&[IOTLB, [0xf, 0, 0, 0], IOTLB]);
    guest.run();
    assert_eq!(guest.read32(FSTS) & IQE, IQE);
    check_closes(&guest, "at a malformed descriptor");
}

// feature: 3.queue: disabled and enabled at any moment (QIE, QIES)
/// While an open guard holds a wait back the queue closes no sooner than the wait completes.
#[test]
fn known_failure_13_the_queue_closes_behind_a_pending_wait() {
    let guest = Guest::new();
    guest.set_pasid(5, first_stage(FIRST_A, 7));
    let dma = guest.emulated();
    let handle = dma.handle(Some(5));
    let guard = handle.guard();
    assert!(!guest.try_flush(&[IOTLB]), "the guard is open");
    guest.command(TE);
    assert_eq!(guest.read32(GSTS) & QIE, QIE, "the wait is pending");
    drop(guard);
    guest.run();
    assert!(guest.is_flushed());
    check_closes(&guest, "after the wait");
}

/// What stops the queue: the descriptor, and IQEI.
fn malformed() -> Vec<([u64; 4], u64)> {
    vec![
        ([0, 0, 0, 0], 3),
        ([0xa, 0, 0, 0], 3),
        ([0x200 | 2, 0, 0, 0], 3),
        // Interrupt entry cache without IR, page group response without PRS.
        ([4, 0, 0, 0], 3),
        ([9, 0, 0, 0], 3),
        // Reserved bits of each word.
        ([0x12 | 1 << 12, 0, 0, 0], 4),
        ([0x12, 0x80, 0, 0], 4),
        ([0x12, 0, 1, 0], 4),
        ([0x12, 0, 0, 1 << 63], 4),
        ([0x37, 1, 0, 0], 4),
        ([0x25 | 1 << 8, STATUS, 0, 0], 4),
        ([0x25, STATUS | 2, 0, 0], 4),
        // Reserved granularities.
        ([0x01, 0, 0, 0], 4),
        ([0x02, 0, 0, 0], 4),
        ([0x06, 0, 0, 0], 4),
        ([0x16, 0, 0, 0], 4),
        ([0x27, 0, 0, 0], 4),
        // AM above MAMV, and a wait for nothing.
        ([0x32, 19, 0, 0], 4),
        ([0x05, 0, 0, 0], 4),
    ]
}

// feature: 3.queue: resumed when IQE is cleared
#[test]
fn known_failure_14_the_queue_goes_on_when_iqe_is_cleared() {
    for (descriptor, info) in malformed() {
        let guest = Guest::new();
        guest.ring(&[IOTLB, descriptor, wait(1)]);
        guest.run();
        let told = format!("{descriptor:x?}");
        assert_eq!(guest.read32(FSTS), IQE, "{told}");
        assert_eq!(guest.read64(IQERCD), info, "IQERCD says why, {told}");
        assert_eq!(guest.read64(IQH), 0x20, "IQH stays at it, {told}");
        assert_eq!(guest.ram.status(STATUS), 0, "nothing behind it is done, {told}");

        // A new tail alone changes nothing.
        guest.ring(&[wait(2)]);
        guest.run();
        assert_eq!((guest.read64(IQH), guest.ram.status(STATUS)), (0x20, 0), "{told}");

        // Cleared as it stands, it stops there again.
        guest.write32(FSTS, IQE);
        guest.run();
        assert_eq!((guest.read32(FSTS), guest.read64(IQH)), (IQE, 0x20), "{told}");

        // Put right and cleared: on it goes, without a new tail. Linux writes bit 7 too.
        guest.ram.put(QUEUE + 0x20, &IOTLB);
        guest.write32(FSTS, 0xf0);
        guest.run();
        assert_eq!(guest.read32(FSTS), 0, "{told}");
        assert_eq!((guest.read64(IQH), guest.ram.status(STATUS)), (0x80, 2), "resumed, {told}");
        assert_eq!(guest.read64(IQERCD), info, "IQERCD stays until the next error, {told}");
    }
}

// feature: 3.queue: resumed when IQE is cleared
#[test]
fn known_failure_14_a_queue_that_cannot_be_read_goes_on_when_it_can() {
    let guest = Guest::new();
    let elsewhere = 0x5555_5000;
    guest.command(TE);
    guest.write64(IQT, 0);
    guest.write64(IQA, elsewhere | 0x800);
    guest.command(TE | QIE);
    guest.write64(IQT, 0x20);
    assert_eq!((guest.read32(FSTS), guest.read64(IQERCD)), (IQE, 2), "the fetch failed");
    guest.ram.put(elsewhere, &wait(1));
    guest.write32(FSTS, IQE);
    assert_eq!((guest.read32(FSTS), guest.ram.status(STATUS)), (0, 1), "resumed");
}

// feature: 3.queue: resumed when IQE is cleared
#[test]
fn known_failure_14_a_bad_tail_put_right_goes_on_when_iqe_is_cleared() {
    for (tail, info) in [(0x1000, 1), (0x7_ffe0, 1), (0x30, 6), (0x7_fff0, 6)] {
        let guest = Guest::new();
        guest.ram.put(QUEUE, &wait(1));
        guest.write64(IQT, tail);
        assert_eq!((guest.read32(FSTS), guest.read64(IQERCD)), (IQE, info), "tail {tail:x}");
        guest.write64(IQT, 0x20);
        assert_eq!((guest.read64(IQH), guest.ram.status(STATUS)), (0, 0), "stopped, {tail:x}");
        guest.write32(FSTS, IQE);
        assert_eq!((guest.read64(IQH), guest.ram.status(STATUS)), (0x20, 1), "resumed, {tail:x}");
    }
}

// feature: 3.descriptors: all nine types, 128 and 256 bits (IQA.DW)
#[test]
fn known_failure_14_types_that_need_wide_descriptors() {
    for kind in [0x26, 0x37, 8, 9] {
        let guest = Guest::off(Shape { ecap: EVERYTHING, ..Shape::default() });
        guest.enable_queue(QUEUE);
        guest.ram.put(QUEUE, &[kind, 0]);
        guest.write64(IQT, 0x10);
        assert_eq!((guest.read32(FSTS), guest.read64(IQERCD)), (IQE, 5), "type {kind:x} with DW=0");
    }
}

// feature: 3.queue: address latched (IQA)
/// A queue address that is written while the queue is enabled counts from the next time on.
#[test]
fn known_failure_15_the_queue_address_is_latched() {
    let elsewhere = 0x50_0000;
    for other in [elsewhere | 0x800, elsewhere, QUEUE, elsewhere | 0x807, elsewhere | 0x3] {
        let guest = Guest::new();
        for index in 0..4 {
            guest.ram.put(elsewhere + index * 16, &[0x25 | 0xdead << 32, STATUS]);
        }
        guest.flush(&[IOTLB, PASID_CACHE]);
        guest.write64(IQA, other);
        assert_eq!(guest.read64(IQA), other, "the register shows what was written");
        for _ in 0..200 {
            guest.flush(&[pasid_iotlb(7, 5), PASID_CACHE]);
        }
        assert_eq!(guest.read32(FSTS), 0, "IQA {other:x}");

        // A descriptor that was waiting when it was written, too.
        guest.write64(IQA, QUEUE | 0x800);
        guest.ring(&[IOTLB, [0xf, 0, 0, 0], wait(0x55)]);
        let stopped = guest.read64(IQH);
        guest.write64(IQA, other);
        guest.ram.put(QUEUE + stopped, &PASID_CACHE);
        guest.write32(FSTS, IQE);
        guest.run();
        assert_eq!(guest.ram.status(STATUS), 0x55, "IQA {other:x}");
    }
    let guest = Guest::new();
    guest.write64(IQA, elsewhere);
    guest.ram.put(elsewhere, &[0x25 | 1 << 32, STATUS, 0x25 | 2 << 32, STATUS]);
    guest.command(TE);
    guest.write64(IQT, 0x20);
    guest.command(TE | QIE);
    assert_eq!(guest.ram.status(STATUS), 2, "from the next enabling on it is 128 bits, elsewhere");
}

// feature: 10.fields of capabilities that are not shown are reserved
#[test]
fn known_failure_16_pfsid_is_a_field_where_dit_is_shown() {
    let pfsid = (12..16).chain(52..64).map(|bit| 1_u64 << bit);
    let device_tlb = [3 | u64::from(DEVICE) << 32, PAGE, 0, 0];
    let pasid_device_tlb = [8 | u64::from(DEVICE) << 16 | 5 << 32, PAGE, 0, 0];
    for bits in pfsid.chain([0xfff0_0000_0000_f000]) {
        for [qw0, qw1, ..] in [device_tlb, pasid_device_tlb] {
            for (ecap, shown) in [(ECAP | ECAP_DIT, true), (ECAP, false)] {
                let guest = Guest::of(Shape { ecap, ..Shape::default() });
                let flushed = guest.try_flush(&[[qw0 | bits, qw1, 0, 0]]);
                assert_eq!(flushed, shown, "PFSID {bits:x} in {qw0:x}, DIT {shown}");
                let error = (guest.read32(FSTS), guest.read64(IQERCD));
                assert_eq!(error, if shown { (0, 0) } else { (IQE, 4) }, "DIT {shown}");
            }
        }
    }
}

// feature: 10.fields of capabilities that are not shown are reserved
#[test]
fn known_failure_16_a_drain_is_a_field_where_pds_is_shown() {
    for (ecap, shown) in [(ECAP | ECAP_PDS, true), (ECAP, false)] {
        let guest = Guest::of(Shape { ecap, ..Shape::default() });
        let [qw0, qw1, ..] = wait(0x99);
        guest.ring(&[[qw0 | 1 << 7, qw1, 0, 0]]);
        guest.run();
        assert_eq!(guest.ram.status(STATUS) == 0x99, shown);
        assert_eq!(guest.read32(FSTS) & IQE == 0, shown);
    }
}

// feature: 3.descriptors: reserved bits and granularities
/// Other bits of these descriptors stay reserved whatever is shown.
#[test]
fn known_failure_16_reserved_bits_stay_reserved() {
    let reserved = [(3, 0x000f_0000_ffe0_01f0_u64, 0xffe), (8, 0, 0x7fe)];
    for (kind, low, high) in reserved {
        for bit in 0..128 {
            let (qw0, qw1) =
                if bit < 64 { (1 << bit & low, 0) } else { (0, 1 << (bit - 64) & high) };
            if qw0 | qw1 == 0 {
                continue;
            }
            let guest = Guest::of(Shape { ecap: EVERYTHING, ..Shape::default() });
            assert!(!guest.try_flush(&[[kind | qw0, qw1, 0, 0]]), "type {kind}, bit {bit}");
            assert_eq!(guest.read64(IQERCD), 4, "type {kind}, bit {bit}");
        }
    }
}

// feature: 4.page group responses: format (type 9), with and without PASID
#[test]
fn known_failure_21_a_page_group_response_has_two_forms() {
    let guest = Guest::of(Shape { ecap: EVERYTHING, ..Shape::default() });
    let _device = guest.emulated();
    for code in 0..16 {
        for with_pasid in [0, 1] {
            for last in [0, 1] {
                for group in [0, 1, 0x1ff] {
                    let response = [
                        9 | with_pasid << 4
                            | code << 12
                            | u64::from(DEVICE) << 16
                            | (with_pasid * 0xf_ffff) << 32,
                        last << 2 | group << 3,
                        0,
                        0,
                    ];
                    let told = format!("{response:x?}");
                    assert!(guest.try_flush(&[response, IOTLB]), "the queue goes on after {told}");
                    assert_eq!(guest.read32(FSTS), 0, "{told}");
                }
            }
        }
    }
}

/// Where the queue lies that the tests of every size use; no memory follows it.
const LARGE_QUEUE: u64 = 0x400_0000;

/// Enables a queue of 2^`order` pages, of waits that write their number.
fn large_queue(order: u64, wide: bool) -> (Guest, u64, u64) {
    let guest = Guest::off(Shape::default());
    let (bytes, each) = (0x1000 << order, if wide { 32 } else { 16 });
    for page in (0..bytes).step_by(0x1000) {
        guest.ram.pages.fill_zero_page(Gpa(LARGE_QUEUE + page));
    }
    guest.enable_queue(LARGE_QUEUE | u64::from(wide) << 11 | order);
    (guest, bytes, each)
}

// feature: 3.queue: every size, head and tail (IQA.QS, IQH, IQT)
#[test]
fn known_failure_24_the_queue_wraps_at_every_size() {
    for order in 0..8 {
        for wide in [false, true] {
            let (guest, bytes, each) = large_queue(order, wide);
            let told = format!("QS {order}, wide {wide}");
            assert_eq!(bytes / each, 1 << (order + if wide { 7 } else { 8 }), "{told}");
            let mut tail = 0;
            let mut number = 0;
            // Full once, then twice across the end, with the last descriptor in each place near it.
            for count in [bytes / each - 1, 1, 1, 2, bytes / each - 4, 3, bytes / each - 1] {
                for _ in 0..count {
                    number += 1;
                    let [qw0, qw1, ..] = wait(number);
                    guest.ram.put(LARGE_QUEUE + tail, &[qw0, qw1]);
                    tail = (tail + each) % bytes;
                }
                guest.write64(IQT, tail);
                guest.run();
                assert_eq!(guest.read32(FSTS), 0, "{told}, tail {tail:x}");
                assert_eq!(guest.read64(IQH), tail, "{told}");
                assert_eq!(guest.ram.status(STATUS), number, "{told}, tail {tail:x}");
                guest.ram.take_reads();
            }
            let done = guest.unit.counts().descriptors;
            assert_eq!(done, u64::from(number), "each is done once, {told}");
        }
    }
}

// feature: 3.queue: every size, head and tail (IQA.QS, IQH, IQT)
#[test]
fn known_failure_24_iqh_moves_after_each_descriptor() {
    for wide in [false, true] {
        let (guest, bytes, each) = large_queue(0, wide);
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (unit, log) = (guest.unit.clone(), Arc::clone(&seen));
        guest.ram.interfere(move |_, moment| {
            if let Moment::Status = moment {
                log.lock().unwrap().push(unit.read(IQH, 8));
            }
        });
        for place in (0..bytes).step_by(usize::try_from(each).unwrap()) {
            guest.ram.put(LARGE_QUEUE + place, &wait(1)[..2]);
        }
        guest.write64(IQT, bytes - each);
        guest.run();
        let expected: Vec<_> = (0..bytes - each).step_by(usize::try_from(each).unwrap()).collect();
        assert_eq!(*seen.lock().unwrap(), expected, "IQH is at a wait while its status is written");
    }
}

// feature: 3.queue: every size, head and tail (IQA.QS, IQH, IQT)
#[test]
fn known_failure_25_bit_11_is_the_width() {
    // 128 bits: three waits side by side. 256 bits: the first two words of each pair.
    for (queue_address, expected) in [(0, 3), (0x800, 2)] {
        for others in [0, 0x8, 0x400, 0x7f8 & !0x408, 0x408] {
            let guest = Guest::off(Shape::default());
            guest.ram.put(QUEUE, &[0x25 | 1 << 32, STATUS, 0, 0]);
            if expected == 3 {
                guest.ram.put(QUEUE + 0x10, &[0x25 | 2 << 32, STATUS]);
            }
            guest.ram.put(QUEUE + 0x20, &[0x25 | expected << 32, STATUS, 0, 0]);
            guest.enable_queue(QUEUE | queue_address | others);
            assert_eq!(guest.read64(IQA), QUEUE | queue_address, "bits 10:3 hold nothing");
            let tail = if expected == 3 { 0x30 } else { 0x40 };
            guest.write64(IQT, tail);
            let told = format!("IQA {:x}", QUEUE | queue_address | others);
            assert_eq!(guest.read32(FSTS), 0, "{told}");
            assert_eq!(guest.unit.counts().descriptors, expected, "{told}");
            assert_eq!(guest.read64(IQH), tail, "{told}");
            assert_eq!(u64::from(guest.ram.status(STATUS)), expected, "{told}");
        }
    }
}

// feature: 3.queue: every size, head and tail (IQA.QS, IQH, IQT)
#[test]
fn known_failure_25_wide_descriptors_need_scalable_mode() {
    let ecap = ECAP & !(1 << 40 | 1 << 43 | 3 << 46);
    let guest = Guest::off(Shape { ecap, ..Shape::default() });
    guest.ram.put(QUEUE, &wait(1));
    guest.enable_queue(QUEUE | 0x800);
    guest.write64(IQT, 0x20);
    assert_eq!((guest.read32(FSTS), guest.read64(IQERCD)), (IQE, 5));
    assert_eq!(guest.ram.status(STATUS), 0);
}

// feature: 3.queue: every size, head and tail (IQA.QS, IQH, IQT)
/// A queue full of sound descriptors and a tail that its head never reaches.
#[test]
fn known_failure_25_a_tail_that_is_none_stops_the_queue_at_once() {
    for order in [0, 1, 3] {
        for wide in [false, true] {
            let (guest, bytes, each) = large_queue(order, wide);
            for place in (0..bytes).step_by(16) {
                guest.ram.put(LARGE_QUEUE + place, &[0x12, 0]);
            }
            if wide {
                for place in (16..bytes).step_by(32) {
                    guest.ram.put(LARGE_QUEUE + place, &[0, 0]);
                }
            }
            let beyond = [bytes, bytes + each, bytes * 2, 0x7_ffe0, 0x4_0000];
            let beyond = beyond.into_iter().filter(|tail| *tail >= bytes).map(|tail| (tail, 1));
            let odd = [0x10, 0x30, bytes - 16, bytes + 16, 0x7_fff0];
            let odd = odd.into_iter().filter(|_| wide).map(|tail| (tail, 6));
            for (tail, info) in beyond.chain(odd) {
                let told = format!("tail {tail:x} of {bytes:x} bytes, wide {wide}");
                let before = guest.unit.counts();
                guest.write64(IQT, tail);
                assert_eq!(guest.read32(FSTS), IQE, "{told}");
                assert_eq!(guest.read64(IQERCD), info, "{told}");
                let after = guest.unit.counts();
                assert_eq!(after.descriptors, before.descriptors, "nothing is fetched, {told}");
                assert_eq!(after.queue_errors, before.queue_errors + 1, "{told}");
                guest.write64(IQT, 0);
                guest.write32(FSTS, IQE);
                assert_eq!((guest.read32(FSTS), guest.read64(IQH)), (0, 0), "{told}");
            }
            // The largest tail there is: the work is that of one queue.
            guest.write64(IQT, bytes - each);
            guest.run();
            assert_eq!(guest.unit.counts().descriptors, bytes / each - 1, "order {order}");
        }
    }
}

//! An access happens inside its guard.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use vm_memory::{Bytes, GuestAddress, GuestMemory, IommuMemory, Permissions, VolatileSlice};
use vtd_vm_memory::GuardIommu;

use crate::guest::{FIRST_STAGE, Guest, RID_IOTLB, get, leaf, map_page, put};

#[test]
fn an_iterator_holds_its_guard_until_it_ends_or_is_dropped() {
    for ends in [true, false] {
        let mut guest = Guest::enabled();
        map_page(&guest.map, FIRST_STAGE, 0x5000, 0x30_0000, 7);
        map_page(&guest.map, FIRST_STAGE, 0x6000, 0x30_4000, 7);
        let memory = guest.device_memory(None);
        let mut slices = memory.get_slices(GuestAddress(0x5ff0), 0x20, Permissions::Write).unwrap();
        let first = slices.next().unwrap().unwrap();

        // The guest takes the page away.
        map_page(&guest.map, FIRST_STAGE, 0x5000, 0, 0);
        let wait = guest.queue(RID_IOTLB);
        assert!(!guest.is_done(wait));
        first.write_slice(&[1; 0x10], 0).unwrap();
        assert_eq!(slices.next().unwrap().unwrap().len(), 0x10);
        assert!(!guest.is_done(wait));
        if ends {
            assert!(slices.next().is_none());
            assert!(guest.is_done(wait));
        } else {
            drop(slices);
            assert!(guest.is_done(wait));
        }
        memory.write_slice(&[2], GuestAddress(0x5ff0)).unwrap_err();
        assert_eq!(get(&guest.map, 0x30_0ff0), 0x0101_0101_0101_0101);
    }
}

#[test]
fn an_access_that_fails_holds_nothing() {
    let mut guest = Guest::enabled();
    map_page(&guest.map, FIRST_STAGE, 0x5000, 0x30_0000, 7);
    let memory = guest.device_memory(None);
    let failed = memory.get_slices(GuestAddress(0x5ff0), 0x20, Permissions::Write);
    assert!(failed.is_err());
    let wait = guest.queue(RID_IOTLB);
    assert!(guest.is_done(wait));
}

#[test]
fn one_guard_serves_a_whole_transfer() {
    let mut guest = Guest::enabled();
    map_page(&guest.map, FIRST_STAGE, 0x5000, 0x30_0000, 7);
    map_page(&guest.map, FIRST_STAGE, 0x6000, 0x30_4000, 7);
    let dma = guest.dma(None);
    let guard = dma.guard();
    let memory = IommuMemory::new(guest.map.clone(), GuardIommu::new(&guard), true, ());
    let mut kept: Vec<VolatileSlice<'_>> = Vec::new();
    for iova in [0x5000, 0x6000] {
        let slices = memory.get_slices(GuestAddress(iova), 8, Permissions::Write).unwrap();
        kept.extend(slices.map(|slice| slice.unwrap()));
    }
    map_page(&guest.map, FIRST_STAGE, 0x5000, 0, 0);
    let wait = guest.queue(RID_IOTLB);
    // The iterators are gone, the guard is not.
    assert!(!guest.is_done(wait));
    kept.iter().for_each(|slice| slice.write_slice(&[7; 8], 0).unwrap());
    // What was dropped is not translated anew.
    memory.write_slice(&[8; 8], GuestAddress(0x5000)).unwrap_err();
    memory.write_slice(&[8; 8], GuestAddress(0x6000)).unwrap();
    assert!(!guest.is_done(wait));
    drop(guard);
    assert!(guest.is_done(wait));
    assert_eq!(get(&guest.map, 0x30_0000), 0x0707_0707_0707_0707);
    assert_eq!(get(&guest.map, 0x30_4000), 0x0808_0808_0808_0808);
}

/// A device writes without a pause while its guest moves the page about. What the guest was told is free is never written again.
// feature: 3.queue: waits follow DMA under way
#[test]
fn nothing_is_written_after_the_guest_was_told() {
    const ROUNDS: u64 = 300;
    let mut guest = Guest::enabled();
    let pages = [0x30_0000, 0x31_0000];
    let page = 0x5000;
    map_page(&guest.map, FIRST_STAGE, page, pages[0], 7);
    let memory = guest.device_memory(None);
    let mut late = false;
    let (over, written) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut number = 0_u64;
            while !over.load(Ordering::Relaxed) {
                number += 1;
                let bytes = [u8::try_from(number % 200 + 1).unwrap(); 256];
                // Between two pages there is none.
                let place = GuestAddress(page + 0x100);
                let Ok(slices) = memory.get_slices(place, 256, Permissions::Write) else {
                    continue;
                };
                for slice in slices {
                    // A slow device.
                    (0..number % 4).for_each(|_| thread::yield_now());
                    slice.unwrap().write_slice(&bytes, 0).unwrap();
                }
                written.fetch_add(1, Ordering::Relaxed);
            }
        });
        for round in 0..ROUNDS {
            let here = pages[usize::try_from(round % 2).unwrap()];
            let next = pages[usize::try_from((round + 1) % 2).unwrap()];
            let before = written.load(Ordering::Relaxed);
            while written.load(Ordering::Relaxed) < before + 2 {
                thread::yield_now();
            }
            // Not present, invalidated, the new one.
            put(&guest.map, leaf(FIRST_STAGE, page), &[0]);
            let wait = guest.queue(RID_IOTLB);
            while !guest.is_done(wait) {
                thread::yield_now();
            }
            // The page is the guest's own again.
            put(&guest.map, here + 0x100, &[!0; 32]);
            put(&guest.map, leaf(FIRST_STAGE, page), &[next | 7]);
            while written.load(Ordering::Relaxed) < before + 4 {
                thread::yield_now();
            }
            late =
                (here + 0x100..here + 0x200).step_by(8).any(|place| get(&guest.map, place) != !0);
            if late {
                break;
            }
        }
        over.store(true, Ordering::Relaxed);
    });
    assert!(!late, "the device wrote a page that its guest had back");
}

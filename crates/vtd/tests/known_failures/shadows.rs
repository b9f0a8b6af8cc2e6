//! Rows 1, 19, 27 and 29 for shadowed second-stage tables: what is mapped on the host.

use vtd::Quotas;
use vtd::host::HostCall;
use vtd::spec::{Iova, Slot};

use crate::guest::{Assigned, Guest, Shape, pasid_of};
use crate::raw::*;

/// Where the device's host leads a request with PASID 5 to a page.
fn reach(guest: &Guest, device: &Assigned<'_>, page: u64) -> Option<u64> {
    let slot = Slot::Pasid(pasid_of(5));
    guest.host.inner().translate(device.host, slot, Iova(page)).map(|(gpa, _)| gpa.0)
}

/// The entry of the lowest table of `SECOND` for a page.
fn leaf(page: u64) -> u64 {
    SECOND + 0x3000 + (page >> 12) * 8
}

// feature: 7.shadows: an entry of every kind in the place of every other
#[test]
fn known_failure_01_a_shadow_is_filled_whatever_was_held_before() {
    for before in [ABSENT, first_stage(FIRST_A, 7), pass_through(7), second_stage(FIRST_B, 7)] {
        let guest = Guest::new();
        guest.set_pasid(5, before);
        let device = guest.assigned();
        guest.set_pasid(5, second_stage(SECOND, 7));
        guest.flush(&[pasid_cache_of_pasid(7, 5), iotlb_of_domain(8)]);
        assert_eq!(device.bound(5).as_deref(), Some("ss4 120000"));
        assert_eq!(reach(&guest, &device, PAGE), Some(FRAME_SECOND), "{before:x?}");
        guest.set_pasid(5, pass_through(7));
        guest.flush(&[pasid_cache_of_pasid(7, 5)]);
        assert_eq!(guest.unit.counts().ledger.mapped, 0);
    }
}

// feature: 7.shadows: quotas of mapped ranges
#[test]
fn known_failure_19_mapped_ranges_are_no_more_than_the_quota() {
    let quotas = Quotas { mappings_per_device: 6, ..Quotas::default() };
    let guest = Guest::of(Shape { quotas, ..Shape::default() });
    guest.set_pasid(5, second_stage(SECOND, 7));
    let device = guest.assigned();
    for page in 0x10..0x30 {
        guest.ram.put(leaf(page << 12), &[FRAME_A | 3]);
        guest.flush(&[iotlb_of_domain(7)]);
        let mapped = guest.host.inner().mappings(device.host, Slot::Pasid(pasid_of(5))).len();
        assert!(mapped <= 6, "{mapped} ranges");
        assert_eq!(guest.unit.counts().ledger.mapped, mapped);
    }
    assert!(guest.unit.counts().ledger.over_quota > 0);
}

// feature: 7.shadows: host failures are kept, told and tried again
#[test]
fn known_failure_27_pages_that_the_host_kept_are_not_forgotten() {
    let guest = Guest::new();
    guest.set_pasid(5, second_stage(SECOND, 7));
    let device = guest.assigned();
    assert_eq!(reach(&guest, &device, PAGE), Some(FRAME_SECOND));
    guest.ram.put(leaf(PAGE), &[0]);
    guest.fail_host_calls(|call| matches!(call, HostCall::Unmap { .. }));
    guest.flush(&[iotlb_of_pages(7, PAGE, 0)]);
    assert_eq!(reach(&guest, &device, PAGE), None, "the binding goes with what it keeps");
    guest.fail_host_calls(|call| matches!(call, HostCall::Unmap { .. } | HostCall::Unbind { .. }));
    guest.ram.put(leaf(PAGE), &[FRAME_A | 3]);
    guest.flush(&[PASID_CACHE]);
    guest.ram.put(leaf(PAGE), &[0]);
    assert!(!guest.try_flush(&[iotlb_of_pages(7, PAGE, 0)]), "the host keeps the page");
    assert_eq!(reach(&guest, &device, PAGE), Some(FRAME_A));
    guest.fail_host_calls(|_| false);
    guest.unit.retry(device.id).unwrap();
    guest.run();
    assert!(guest.is_flushed());
    assert_eq!(reach(&guest, &device, PAGE), None);
}

// feature: 7.shadows: waits follow the mappings
#[test]
fn known_failure_29_mappings_follow_before_the_wait_behind_them() {
    let guest = Guest::new();
    guest.set_pasid(5, second_stage(SECOND, 7));
    let _device = guest.assigned();
    guest.ram.put(leaf(PAGE), &[0]);
    guest.ram.put(leaf(0x6000), &[FRAME_A | 3]);
    guest.take_tape();
    guest.ring(&[iotlb_of_pages(7, PAGE, 0), wait(1), iotlb_of_domain(7), wait(2)]);
    guest.run();
    let order: Vec<_> = guest.take_tape();
    let kinds: Vec<_> = order.iter().map(|call| call.split(' ').next().unwrap()).collect();
    assert_eq!(kinds, ["unmap", "status", "map", "status"]);
}

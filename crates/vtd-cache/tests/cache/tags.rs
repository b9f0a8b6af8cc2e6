//! No entry finds the translations of another, or those from before it was dropped.

use vtd_cache::{Caches, Capacities, DeviceKey};
use vtd_spec::table::{PageSize, PasidEntry};
use vtd_spec::{Capabilities, DomainId, Entry, Iova};
use vtd_walk::PasidLookup;

use crate::caches::{READ, full, lookup, page, pasid, serves};

#[test]
fn a_key_that_is_used_again_finds_nothing_of_the_device_before() {
    let mut caches = full();
    caches.invalidate_devices([DeviceKey(1)].into_iter());
    assert!(caches.context(DeviceKey(1)).is_none());
    let now = caches.begin();
    caches.fill_pasid(now, DeviceKey(1), pasid(3), lookup(2)).unwrap();
    assert!(!serves(&mut caches, 1, 3, 0x5000));
    assert!(serves(&mut caches, 0, 3, 0x5000) && serves(&mut caches, 2, 3, 0x5000));
}

#[test]
fn by_page_every_nested_translation_of_the_domain_goes() {
    // (PGTT: 2 second-stage, 3 nested; domain, pages of the second stage, whether a translation of input page 5 is left)
    for (kind, domain, first, last, survives) in [
        (2, 1, 5, 5, false),
        (2, 1, 6, 9, true),
        (2, 2, 5, 5, true),
        (3, 1, 5, 5, false),
        (3, 1, 6, 9, false),
        (3, 2, 5, 5, true),
        (3, 2, 6, 9, true),
    ] {
        let mut caches = Caches::new(Capacities::default());
        let now = caches.begin();
        let nests = Capabilities::new(0x1000_0000_222f_0686, 0x0002_c99c_a400_0f46).unwrap();
        let raw = [0x8009 | kind << 6, 1, 0x9000, 0, 0, 0, 0, 0];
        let Entry::Present(entry) = PasidEntry::decode(&raw, &nests) else { panic!() };
        for device in 0..3 {
            let entry = PasidLookup { entry, fpd: false };
            let tag = caches.fill_pasid(now, DeviceKey(device), pasid(3), entry).unwrap();
            let translation = page(0x9000, PageSize::Size4K);
            caches.fill_translation(now, tag, Iova(0x5000), READ, translation);
        }
        caches.invalidate_domain_pages(DomainId(domain), first, last);
        for device in 0..3 {
            let found = serves(&mut caches, device, 3, 0x5000);
            assert_eq!(found, survives, "{device}: {kind} {domain} {first} {last}");
        }
    }
}

#[test]
fn an_entry_entered_after_an_invalidation_finds_nothing_of_others() {
    type Invalidate = fn(&mut Caches);
    let rows: [Invalidate; 6] = [
        Caches::invalidate_translations,
        |caches| caches.invalidate_translation_domain(DomainId(1)),
        |caches| caches.invalidate_domain_pages(DomainId(1), 5, 5),
        |caches| caches.invalidate_page(DeviceKey(0), pasid(3), 5),
        |caches| {
            let devices = (0..2).map(DeviceKey);
            caches.invalidate_pasid_translations(DomainId(1), pasid(3), None, devices);
        },
        |caches| {
            let devices = (0..2).map(DeviceKey);
            caches.invalidate_pasid_translations(DomainId(1), pasid(3), Some((5, 5)), devices);
        },
    ];
    for (at, invalidate) in rows.into_iter().enumerate() {
        let mut caches = Caches::new(Capacities::default());
        let enter = |caches: &mut Caches, device| {
            let now = caches.begin();
            caches.fill_pasid(now, DeviceKey(device), pasid(3), lookup(1)).unwrap()
        };
        let fill = |caches: &mut Caches, device| {
            let now = caches.begin();
            let tag = caches.pasid(DeviceKey(device), pasid(3)).unwrap().tag;
            caches.fill_translation(now, tag, Iova(0x5000), READ, page(0x9000, PageSize::Size4K));
        };
        (0..2).for_each(|device| {
            enter(&mut caches, device);
        });
        invalidate(&mut caches);
        (0..2).for_each(|device| fill(&mut caches, device));
        for device in 2..6 {
            enter(&mut caches, device);
            assert!(!serves(&mut caches, device, 3, 0x5000), "row {at}, device {device}");
        }
    }
}
